package nftables

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
)

// TestSessionsAreListedWhoeverLetsThemLive: with a lease that is live, and with one that ended and spares them.
func TestSessionsAreListedWhoeverLetsThemLive(t *testing.T) {
	p := newPair(t)
	p.host.serve("tcp", ":22")
	f := p.host.firewall(Config{})
	now := time.Now()
	r := leaseOf("a", 22, now.Add(time.Second), guest4)
	r.HardStop = now.Add(time.Hour)
	apply(t, f, ajar.Ruleset{Guard: guardOf(22), Allow: []ajar.Rule{r}})
	c, err := p.guest.dial("tcp", ap(guest4, 0), ap(host4, 22))
	if err != nil {
		t.Fatal(err)
	}
	k := keep(c)
	sessions := func(port uint16) []ajar.Connection {
		t.Helper()
		cs, err := f.Sessions(context.Background(), []ajar.Flow{flowAt(port, ajar.TCP)})
		if err != nil {
			t.Fatal(err)
		}
		return cs
	}
	want := netip.MustParseAddrPort(c.LocalAddr().String())
	check := func(when string) {
		t.Helper()
		if cs := sessions(22); len(cs) != 1 || cs[0].Remote != want || cs[0].Port != flowAt(22, ajar.TCP).Port {
			t.Errorf("%s: %v, want the session of %v", when, cs, want)
		}
	}
	check("while the lease lives")
	until(r.Expires)
	k.lives(t, "a session that is spared")
	check("when the lease has ended")
	p.guest.wantRefused(guest4, ap(host4, 22))
	if cs := sessions(23); len(cs) != 0 {
		t.Errorf("on another port: %v", cs)
	}
	c.Close()
	within(t, patience, "the session is over", func() bool { return len(sessions(22)) == 0 })
}
