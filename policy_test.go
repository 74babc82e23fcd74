package ajar

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func prefixes(t testing.TB, list ...string) (ps []netip.Prefix) {
	t.Helper()
	for _, s := range list {
		p, err := ParsePrefix(s)
		if err != nil {
			t.Fatal(err)
		}
		ps = append(ps, p...)
	}
	return ps
}

func port(n uint16, proto Protocol) PortPolicy {
	return PortPolicy{Number: n, Protocol: proto, Any: true, MaxDuration: 3 * time.Hour}
}

func TestPolicyCheck(t *testing.T) {
	p := &Policy{ID: "/subscriptions/s/resourceGroups/g/providers/Microsoft.Security/locations/l/jitNetworkAccessPolicies/default",
		Machines: []MachinePolicy{{Target: vm1, Ports: []PortPolicy{
			{Number: 22, Protocol: TCP, Sources: prefixes(t, "10.0.0.0/8", "2001:db8::/32"), MaxDuration: 3 * time.Hour, WidestV4: 24},
			{Number: 3389, Protocol: Both, Any: true, MaxDuration: time.Hour},
			{Number: 53, Protocol: UDP, Any: true, MaxDuration: time.Hour},
		}}}}
	ask := func(n uint16, proto Protocol, d time.Duration, sources ...string) Ask {
		return Ask{Target: ID(strings.ToUpper(string(vm1))), Port: Port{n, proto}, Duration: d, Sources: prefixes(t, sources...)}
	}
	allow := func(a Ask) {
		t.Helper()
		if d := p.Check(a, noon); !d.Allow || d.By == "" {
			t.Errorf("refused: %v", d.Unmet)
		}
	}
	deny := func(why string, a Ask) {
		t.Helper()
		d := p.Check(a, noon)
		if d.Allow || len(d.Unmet) == 0 || !strings.Contains(d.Unmet[0], why) {
			t.Errorf("allow=%v unmet=%q, want a refusal that says %q", d.Allow, d.Unmet, why)
		}
	}
	allow(ask(22, TCP, time.Hour, "10.1.2.3"))
	allow(ask(22, "", 3*time.Hour, "10.1.2.0/24"))
	allow(ask(22, TCP, time.Hour, "2001:db8:1::/48"))
	allow(ask(22, TCP, time.Hour, "::ffff:10.1.2.3"))
	allow(ask(3389, UDP, time.Hour, "198.51.100.7"))
	allow(ask(3389, Both, time.Hour, "*"))
	allow(Ask{Target: vm1, Port: Port{22, TCP}, End: noon.Add(3 * time.Hour), Sources: prefixes(t, "10.1.2.3")})

	deny("not in the policy", Ask{Target: vm1 + "x", Port: Port{22, TCP}, Duration: time.Hour})
	deny("offered: 22/TCP, 3389/*, 53/UDP", ask(23, TCP, time.Hour, "10.1.2.3"))
	deny("offered for protocol UDP", ask(53, TCP, time.Hour, "10.1.2.3"))
	deny("offered for protocol TCP, not *", ask(22, Both, time.Hour, "10.1.2.3"))
	deny("at most PT3H, until 2026-11-20T15:00:00Z", ask(22, TCP, 3*time.Hour+time.Millisecond*1000, "10.1.2.3"))
	deny("not in the future", ask(22, TCP, 0, "10.1.2.3"))
	deny("not in the future", Ask{Target: vm1, Port: Port{22, TCP}, End: noon, Sources: prefixes(t, "10.1.2.3")})
	deny("until 9999-01-01T00:00:00Z is longer than", Ask{Target: vm1, Port: Port{22, TCP}, End: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), Sources: prefixes(t, "10.1.2.3")})
	deny("no source", ask(22, TCP, time.Hour))
	deny("not within the allowed sources 10.0.0.0/8, 2001:db8::/32", ask(22, TCP, time.Hour, "11.0.0.1"))
	deny("widest is a /24", ask(22, TCP, time.Hour, "10.0.0.0/8"))
	deny("widest is a /24", ask(22, TCP, time.Hour, "10.1.2.0/24", "*"))
	deny("not within", ask(22, TCP, time.Hour, "2001::/16"))
	deny("not within", ask(22, TCP, time.Hour, "2001:db8::/31")) // wider than what is allowed, and begins where that does
}

func TestPolicyValidate(t *testing.T) {
	ok := func(p PortPolicy) *Policy {
		return &Policy{Machines: []MachinePolicy{{Target: vm1, Ports: []PortPolicy{p}}}}
	}
	if err := ok(port(22, TCP)).Validate(DefaultBounds); err != nil {
		t.Fatal(err)
	}
	edit := func(f func(*PortPolicy)) *Policy { p := port(22, TCP); f(&p); return ok(p) }
	for why, p := range map[string]*Policy{
		"between 1 and 65535": ok(port(0, TCP)),
		"is not TCP, UDP":     ok(port(22, "SCTP")),
		"must be between PT5M": edit(func(p *PortPolicy) {
			p.MaxDuration = time.Minute
		}),
		"and PT24H":       edit(func(p *PortPolicy) { p.MaxDuration = 25 * time.Hour }),
		"not both":        edit(func(p *PortPolicy) { p.Any = false }),
		"prefix length":   edit(func(p *PortPolicy) { p.WidestV4 = 33 }),
		"end mode":        edit(func(p *PortPolicy) { p.EndMode = "never" }),
		"the drain time":  edit(func(p *PortPolicy) { p.DrainFor = -1 }),
		"10 approvals":    edit(func(p *PortPolicy) { p.Approvals = 11 }),
		"listed twice":    {Machines: []MachinePolicy{{Target: vm1, Ports: []PortPolicy{port(22, TCP), port(22, Both)}}}},
		"named twice":     {Machines: []MachinePolicy{{Target: vm1}, {Target: ID(strings.ToLower(string(vm1)))}}},
		"virtual machine": {Machines: []MachinePolicy{{Target: "/subscriptions/s"}}},
		"unguard":         {Unguard: "maybe"},
	} {
		if err := p.Validate(DefaultBounds); !errors.Is(err, Invalid) || !strings.Contains(Message(err), why) {
			t.Errorf("got %v, want a refusal that says %q", err, why)
		}
	}
	if err := (&Policy{Machines: []MachinePolicy{{Target: vm1, Ports: []PortPolicy{port(22, TCP), port(22, UDP)}}}}).Validate(DefaultBounds); err != nil {
		t.Errorf("one port number for two protocols: %v", err)
	}
}

func TestSourcesAreReadHonestly(t *testing.T) {
	for s, want := range map[string]string{
		"203.0.113.7": "203.0.113.7/32", "203.0.113.7/24": "203.0.113.0/24", "::ffff:203.0.113.7": "203.0.113.7/32", "::ffff:203.0.113.0/120": "203.0.113.0/24",
		"2001:DB8::1": "2001:db8::1/128", "*": "0.0.0.0/0",
	} {
		if got, err := ParsePrefix(s); err != nil || got[0].String() != want {
			t.Errorf("ParsePrefix(%q) = %v, %v; want %s", s, got, err, want)
		}
	}
	for _, s := range []string{"", "me", "fe80::1%eth0", "10.0.0.0/33", "10.0.0", "::ffff:0:0/90", "10.0.0.1-10.0.0.9", "010.0.0.1"} {
		if got, err := ParsePrefix(s); !errors.Is(err, Invalid) {
			t.Errorf("ParsePrefix(%q) = %v, %v; want Invalid", s, got, err)
		}
	}
	for s, why := range map[string]string{"127.0.0.1": "loopback", "192.168.1.9": "private", "100.64.3.4": "shared", "fe80::1": "link-local", "fd00::1": "private"} {
		if got := SourceWarning(netip.MustParseAddr(s)); !strings.Contains(got, why) {
			t.Errorf("warning for %s is %q, want %q", s, got, why)
		}
	}
	if got := SourceWarning(netip.MustParseAddr("198.51.100.7")); got != "" {
		t.Errorf("a public address is warned about: %q", got)
	}
}

func FuzzParsePrefix(f *testing.F) {
	f.Add("203.0.113.7/24")
	f.Add("::ffff:1.2.3.4")
	f.Fuzz(func(t *testing.T, s string) {
		ps, err := ParsePrefix(s)
		if err != nil {
			return
		}
		for _, p := range ps {
			if !p.IsValid() || p.Addr().Is4In6() || p.Addr().Zone() != "" || p != p.Masked() {
				t.Fatalf("%q gave %v", s, p)
			}
		}
	})
}

// FuzzCheckMeansContainment compares Check with what it means, address by address, on random prefixes.
func FuzzCheckMeansContainment(f *testing.F) {
	f.Add([]byte{10, 0, 0, 0}, uint8(8), []byte{10, 1, 2, 3}, uint8(32))
	f.Fuzz(func(t *testing.T, a []byte, aBits uint8, b []byte, bBits uint8) {
		x, ok1 := netip.AddrFromSlice(a)
		y, ok2 := netip.AddrFromSlice(b)
		if !ok1 || !ok2 {
			return
		}
		x, y = x.Unmap(), y.Unmap()
		p, err1 := x.Prefix(int(aBits))
		q, err2 := y.Prefix(int(bBits))
		if err1 != nil || err2 != nil {
			return
		}
		rule := PortPolicy{Number: 22, Protocol: TCP, Sources: []netip.Prefix{p}, MaxDuration: time.Hour}
		got := rule.checkSource(q).Allow
		want := x.Is4() == y.Is4() && p.Contains(q.Addr()) && p.Contains(last(q))
		if got != want {
			t.Fatalf("%s within %s: %v, want %v", q, p, got, want)
		}
	})
}

// last is the highest address of p.
func last(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
