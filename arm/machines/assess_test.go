package machines

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/ajartest"
	"github.com/ajar-access/ajar/broker"
)

// TestAssess: what is said of a machine's management ports.
func TestAssess(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	guard := func(n uint16, p ajar.Protocol, change func(*ajar.EndpointGuard)) ajar.EndpointGuard {
		g := ajar.EndpointGuard{Flow: ajar.Flow{Port: ajar.Port{Number: n, Protocol: p}}, Kept: true}
		if change != nil {
			change(&g)
		}
		return g
	}
	late := func(g *ajar.EndpointGuard) { g.ConfirmBy = now.Add(-time.Minute) }
	policy := []ajar.ID{ajartest.PolicyID("default")}
	for _, c := range []struct {
		name        string
		m           ajar.Target
		hosts       [][]ajar.EndpointGuard
		code, cause string
		says        string
	}{
		{"no host", ajar.Target{}, nil, notApplicable, "NoHost", "No host has joined"},
		{"no host, in a policy", ajar.Target{Policies: policy}, nil, notApplicable, "NoHost", "Policy 'default'"},
		{"in a policy", ajar.Target{Policies: policy}, [][]ajar.EndpointGuard{{guard(22, ajar.TCP, nil)}}, healthy, "", ""},
		{"rolled back", ajar.Target{Policies: policy}, [][]ajar.EndpointGuard{{guard(22, ajar.TCP, late)}}, unhealthy, "GuardNotConfirmed", "1 of its guards"},
		{"no policy", ajar.Target{OS: "Linux"}, [][]ajar.EndpointGuard{{}}, unhealthy, "NoPolicy", "closed: 22."},
		{"no policy, Windows", ajar.Target{OS: "Windows"}, [][]ajar.EndpointGuard{{guard(3389, ajar.Both, nil)}}, unhealthy, "NoPolicy", "closed: 5985, 5986."},
		{"kept", ajar.Target{}, [][]ajar.EndpointGuard{{guard(22, ajar.TCP, nil)}}, healthy, "GuardKept", "kept"},
		{"kept elsewhere", ajar.Target{SSHPort: 2222}, [][]ajar.EndpointGuard{{guard(22, ajar.TCP, nil)}}, unhealthy, "NoPolicy", "closed: 2222."},
		{"kept for UDP", ajar.Target{}, [][]ajar.EndpointGuard{{guard(22, ajar.UDP, nil)}}, unhealthy, "NoPolicy", "closed: 22."},
		{"kept on one of two", ajar.Target{}, [][]ajar.EndpointGuard{{guard(22, ajar.TCP, nil)}, {}}, unhealthy, "NoPolicy", "closed: 22."},
	} {
		m := &broker.Machine{Target: &c.m}
		for _, g := range c.hosts {
			m.Hosts = append(m.Hosts, &ajar.Endpoint{Guards: g})
		}
		if st := assess(m, now); st.Code != c.code || st.Cause != c.cause || !strings.Contains(st.Description, c.says) {
			t.Errorf("%s: %+v", c.name, st)
		}
	}
}

// TestRulesOfASecurityGroup: how rules are numbered, what each says, and that they fit Azure's bounds.
func TestRulesOfASecurityGroup(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	any4, any6 := netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")
	id := ajartest.MachineID(strings.Repeat("m", 64))
	m := &broker.Machine{Target: &ajar.Target{ID: id, Endpoints: []ajar.EndpointID{"a"}, Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.4")}}}
	m.Hosts = []*ajar.Endpoint{{}, {}}
	for n := range uint16(1200) {
		g := ajar.EndpointGuard{Flow: ajar.Flow{Port: ajar.Port{Number: n + 1, Protocol: ajar.TCP}}, Policies: []ajar.ID{ajartest.PolicyID(strings.Repeat("p", 100))}}
		m.Hosts[0].Guards, m.Hosts[1].Guards = append(m.Hosts[0].Guards, g), append(m.Hosts[1].Guards, g)
	}
	for n := range 3500 {
		l := &ajar.Lease{ID: ajar.LeaseID(guidOf(fmt.Sprint(n))), Request: ajar.RequestID(fmt.Sprint(n)), Policy: ajartest.PolicyID("default"), Flow: ajar.Flow{Port: ajar.Port{Number: 22, Protocol: ajar.Both}}, Sources: []netip.Prefix{any4, any6}}
		m.Leases = append(m.Leases, l, l)
	}
	seen, names, allow := map[int]bool{}, map[string]bool{}, 0
	for _, r := range showRules(m, now) {
		p := r.Properties
		if p.Priority < 100 || p.Priority > 4096 || seen[p.Priority] || names[r.Name] || len([]rune(p.Description)) > 140 {
			t.Fatalf("%+v", r)
		}
		seen[p.Priority], names[r.Name] = true, true
		if p.Access == "Allow" {
			if allow++; p.Source != "*" || p.Protocol != "*" || p.Destination != "10.0.0.4" {
				t.Fatalf("%+v", r)
			}
		}
	}
	if allow != broker.MostShown || len(seen) != 4096-100+1 {
		t.Errorf("%d allow, %d in all", allow, len(seen))
	}
}

func FuzzStateFilter(f *testing.F) {
	for _, s := range []string{"", "complianceState eq 'NonCompliant' and isCompliant eq false", "resourceId ne 'a''b'", "'", "and and and", "isCompliant eq"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		keep, err := parseStateFilter(text, stateFields)
		if (keep == nil) != (err != nil) {
			t.Fatalf("%q: %v", text, err)
		}
		if err == nil {
			keep((&policyState{}).fields())
		} else if ajar.KindOf(err) != ajar.Invalid {
			t.Fatalf("%q: %v", text, err)
		}
	})
}
