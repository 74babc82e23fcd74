package main

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
)

// The example in the help is a policy file itself.
func TestHelpOfThePolicyFileIsRight(t *testing.T) {
	_, text, _ := strings.Cut(policyFileHelp, "\n\n")
	text, _, _ = strings.Cut(text, "\n\nKeys")
	text = strings.ReplaceAll(text, "…", "-1111-1111-1111-111111111111")
	all, err := parsePolicies([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := []client.PortPolicy{{Number: 22, Protocol: ajar.TCP, Sources: []string{"203.0.113.0/24", "2001:db8::/32"}, MaxDuration: "PT3H",
		WidestV4: 32, WidestV6: 128, EndMode: ajar.Cut, DrainFor: "PT15M", Approvals: 1}}
	if d := cmp.Diff(want, all[0].machines[0].ports); d != "" {
		t.Error(d)
	}
	if all[0].name != "default" || all[0].location != "westeurope" || all[0].unguard != ajar.Lift {
		t.Errorf("got %+v", all[0])
	}
}

func TestPolicyFileDefaults(t *testing.T) {
	all, err := parsePolicies([]byte("machines:\n- machine: web1\n- machine: db1\n  ports:\n  - port: 53\n    protocol: UDP\n    sources: any\n---\nmachines: []\n"))
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 2 || len(all[0].machines[0].ports) != 4 {
		t.Fatalf("got %+v", all)
	}
	if d := cmp.Diff([]client.PortPolicy{{Number: 53, Protocol: ajar.UDP, Source: "*", MaxDuration: "PT3H"}}, all[0].machines[1].ports); d != "" {
		t.Error(d)
	}
}

func TestPolicyFileReportsEveryFaultAtOnce(t *testing.T) {
	_, err := parsePolicies([]byte(`policy: default
scoop: /x
scope: no/../id
machines:
- machine: web1
  machine: web2
  ports:
  - port: 0
    protocol: icmp
    sources: [203.0.113.0/33, any]
    max: 3 hours
    widest: {ipv4: 99}
    end: never
    approvals: many
  - {protocol: tcp}
- ports: 22
---
machines: web1
`))
	var faults fileFaults
	if !errors.As(err, &faults) {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{
		`line 2: a policy has no key "scoop"`, `line 6: a machine has "machine" twice`, `line 8: port is "0"`, `line 9: protocol is "icmp"`,
		`line 10: source "203.0.113.0/33"`, `line 11: max is "3 hours"`, `line 12: widest.ipv4 is "99"`, `line 13: end is "never"`,
		`line 14: approvals is "many"`, `line 15: a port needs "port"`, `line 16: a machine needs "machine"`, `line 16: ports must be a list`,
		`line 18: machines must be a list`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("nobody said %q", want)
		}
	}
	if t.Failed() {
		t.Log(err)
	}
}

func TestPolicyFileIsNoPolicy(t *testing.T) {
	for _, s := range []string{"", "# nothing\n", "- a\n", "just text", "a: [", "machines: &a [*a]\n", "\x00", strings.Repeat("x", maxPolicyFile+1)} {
		if _, err := parsePolicies([]byte(s)); err == nil {
			t.Errorf("%.20q was taken", s)
		}
	}
}

// What is shown with -o yaml is read back as it was.
func TestPolicyFileRoundTrip(t *testing.T) {
	p := client.Policy{ID: "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/g/providers/Microsoft.Security/locations/l/jitNetworkAccessPolicies/default",
		Properties: client.PolicyProperties{Unguard: ajar.Keep, BreakGlass: ajar.Off, Machines: []client.MachinePolicy{{ID: "/subscriptions/x/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/web1",
			PublicIPAddress: "198.51.100.1", Ports: []client.PortPolicy{
				{Number: 22, Protocol: ajar.TCP, Sources: []string{"203.0.113.0/24", "2001:db8::/32"}, MaxDuration: "PT3H0M", WidestV4: 30, EndMode: ajar.Drain, DrainFor: "PT5M", Approvals: 2},
				{Number: 53, Protocol: ajar.Both, Source: "*", MaxDuration: "PT1H"},
				{Number: 53, Protocol: ajar.UDP, Source: "192.0.2.1", MaxDuration: "P1D"},
			}}}}}
	var b bytes.Buffer
	if err := writePolicy(&b, p); err != nil {
		t.Fatal(err)
	}
	all, err := parsePolicies(b.Bytes())
	if err != nil {
		t.Fatalf("%v in\n%s", err, b.String())
	}
	if d := cmp.Diff(p.Properties.Machines[0].Ports, all[0].machines[0].ports); d != "" {
		t.Error(d)
	}
	if all[0].name != string(p.ID) || all[0].unguard != ajar.Keep || all[0].breakGlass != ajar.Off || all[0].machines[0].public != "198.51.100.1" {
		t.Errorf("got %+v", all[0])
	}
}

func FuzzPolicyFile(f *testing.F) {
	_, text, _ := strings.Cut(policyFileHelp, "\n\n")
	f.Add([]byte(text))
	f.Add([]byte("machines:\n- machine: web1\n  ports: [{port: 22}]\n"))
	f.Add([]byte("a: &a [*a, *a]\nmachines: *a\n"))
	f.Add([]byte("machines:\n- &m {machine: x, ports: &p [{port: 1}]}\n- *m\n- {machine: y, ports: *p}\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := parsePolicies(b)
		if err != nil {
			return
		}
		for _, p := range all {
			for _, m := range p.machines {
				for _, c := range m.ports {
					if c.Number == 0 || c.Protocol == "" || (c.Source == "") == (len(c.Sources) == 0) {
						t.Fatalf("half a port was taken: %+v", c)
					}
				}
			}
		}
	})
}

// Where the plane has new guards wait for a yes, the preview says that who is connected is spared until then.
func TestPreviewKnowsWhatThePlaneSpares(t *testing.T) {
	for confirm, want := range map[string]string{"": "connected now\n", "PT10M": "connected now, once that is confirmed\n"} {
		var said strings.Builder
		a := &app{err: &said}
		a.sayChange(change{Policy: "/p", WhatIf: client.WhatIf{ConfirmWithin: confirm, Impact: []client.Impact{{
			Target: "/vm", Connections: []client.Connection{{Number: 22, Protocol: ajar.TCP, Remote: netip.MustParseAddrPort("192.0.2.1:50000")}}}}}}, false)
		if !strings.Contains(said.String(), want) {
			t.Errorf("confirmed within %q: got %q, want %q in it", confirm, said.String(), want)
		}
	}
}
