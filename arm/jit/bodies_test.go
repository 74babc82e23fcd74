package jit

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/ajartest"
)

// FuzzBodies: no body makes the parsers panic, and what they take names only ports that there are.
func FuzzBodies(f *testing.F) {
	f.Add([]byte(`{"kind":"Basic","properties":{"virtualMachines":[{"id":"/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/v","ports":[{"number":22,"protocol":"TCP","allowedSourceAddressPrefix":"*","maxRequestAccessDuration":"PT3H"},{"number":3389,"protocol":"*","allowedSourceAddressPrefixes":["203.0.113.0/24","2001:db8::/32"],"maxRequestAccessDuration":"PT1H30M"}]}]}}`))
	f.Add([]byte(`{"virtualMachines":[{"id":"/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/v","ports":[{"number":"22","endTimeUtc":"2026-01-01T00:00:00.1234567Z","allowedSourceAddressPrefix":["10.0.0.1"]}]}]}`))
	f.Add([]byte(`{"properties":{"virtualMachines":[null,{"ports":[null]}]}}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var p policyIn
		if json.Unmarshal(b, &p) == nil {
			if got, err := p.policy("/x"); err == nil {
				for _, m := range got.Machines {
					if !m.Target.IsMachine() {
						t.Errorf("%q is no machine", m.Target)
					}
				}
			} else if ajar.KindOf(err) != ajar.Invalid {
				t.Errorf("%s: %v", b, err)
			}
		}
		var in initiateIn
		if json.Unmarshal(b, &in) == nil {
			asks, err := in.asks()
			if err != nil && ajar.KindOf(err) != ajar.Invalid {
				t.Errorf("%s: %v", b, err)
			}
			for _, a := range asks {
				if a.Port.Number == 0 || a.End.IsZero() == (a.Duration == 0) {
					t.Errorf("%s: %+v", b, a)
				}
			}
		}
	})
}

// BenchmarkParse is what reading a request's body costs.
func BenchmarkParse(b *testing.B) {
	vm := ajartest.MachineID("vm1")
	text := strings.ReplaceAll(`{"virtualMachines":[{"id":"%M","ports":[{"number":22,"duration":"PT1H","allowedSourceAddressPrefix":"10.1.2.3"}]}],"justification":"bench"}`, "%M", string(vm))
	b.ReportAllocs()
	for b.Loop() {
		var in initiateIn
		if err := json.Unmarshal([]byte(text), &in); err != nil {
			b.Fatal(err)
		}
		if _, err := in.asks(); err != nil {
			b.Fatal(err)
		}
	}
}
