package nftables

import (
	"context"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ti-mo/conntrack"
	"golang.org/x/sys/unix"
)

// TestSessionsAreListedWhoeverLetsThemLive: with a lease that is live, and with one that ended and spares them.
func TestSessionsAreListedWhoeverLetsThemLive(t *testing.T) {
	p := newPair(t)
	p.host.serve("tcp", ":22")
	f := p.host.firewall(Config{})
	r := leaseOf("a", 22, anEnd, guest4)
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
	r.Expires = time.Now().Add(300 * time.Millisecond) // it drains from then on
	apply(t, f, ajar.Ruleset{Guard: guardOf(22), Allow: []ajar.Rule{r}})
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

// TestOwnDatagramsAreNobodysSessions: the host calls a port elsewhere that has the number of a guarded one here.
func TestOwnDatagramsAreNobodysSessions(t *testing.T) {
	p := newPair(t)
	p.guest.serveUDP(ap(guest4, 161))
	p.host.serveUDP(ap(host4, 161))
	f := p.host.firewall(Config{})
	apply(t, f, ajar.Ruleset{Guard: udpGuard(161), Allow: []ajar.Rule{udpLease(161, anEnd, guest4)}})
	if err := p.host.open("udp", host4, ap(guest4, 161)); err != nil {
		t.Fatal(err)
	}
	flows := []ajar.Flow{flowAt(161, ajar.UDP)}
	if got, err := f.Sessions(t.Context(), flows); err != nil || len(got) != 0 {
		t.Errorf("the host's own call is listed: %v %v", got, err)
	}
	if err := p.guest.open("udp", guest4, ap(host4, 161)); err != nil {
		t.Fatal(err)
	}
	if got, err := f.Sessions(t.Context(), flows); err != nil || len(got) != 1 || got[0].Remote.Addr().String() != guest4 {
		t.Errorf("listed are %v %v, want the guest's", got, err)
	}
}

// TestLookingAtConnectionsTakesLittleMemory, however many others the host has.
func TestLookingAtConnectionsTakesLittleMemory(t *testing.T) {
	p := newPair(t)
	f := p.host.firewall(Config{})
	apply(t, f, ajar.Ruleset{Guard: guardOf(22)}) // conntrack is on
	const many = 5000
	p.host.must(p.host.do(func() error {
		c, err := conntrack.Dial(nil)
		if err != nil {
			return err
		}
		defer c.Close()
		for i := range many {
			from := netip.AddrFrom4([4]byte{10, 9, byte(i >> 8), byte(i)})
			if err := c.Create(conntrack.NewFlow(unix.IPPROTO_TCP, 0, from, netip.MustParseAddr(host4), 1024, 80, 3600, 0)); err != nil {
				return err
			}
		}
		return nil
	}))
	look := func() {
		if _, err := f.Sessions(t.Context(), []ajar.Flow{flowAt(22, ajar.TCP)}); err != nil {
			t.Fatal(err)
		}
	}
	look()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	look()
	runtime.ReadMemStats(&after)
	if each := (after.TotalAlloc - before.TotalAlloc) / many; each > 500 { // what is thrown away at once; 2,500 bytes when it was kept
		t.Errorf("%d bytes for each of the others", each)
	}
}
