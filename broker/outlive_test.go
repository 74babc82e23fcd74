package broker_test

import (
	"strings"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/broker"
)

// A lease that ended is listed among the live ones as long as sessions outlive it, so that somebody can cut them.
func TestLeaseThatSessionsOutliveIsListedAndCanBeCut(t *testing.T) {
	p := newPlane(t)
	p.standard(mode(ajar.Warn))
	alice := p.requester("alice")
	id := p.granted(alice, ask(vm(group, "vm1"), 22, time.Hour)).Leases[0].ID
	p.wait(time.Hour + time.Minute)
	live := func() int {
		t.Helper()
		ls, _, err := p.b.Leases(ctx, alice, broker.LeaseFilter{Live: true})
		p.must(err)
		return len(ls)
	}
	p.set(id, func(l *ajar.Lease) { l.State, l.Reason = ajar.Closing, ajar.Expired })
	if n := live(); n != 0 {
		t.Errorf("%d live leases after the end, want none", n)
	}
	p.set(id, func(l *ajar.Lease) { l.Outlived = &ajar.Outlived{Sessions: 2, At: p.clock()} })
	if n := live(); n != 1 {
		t.Errorf("%d live leases while sessions go on, want 1", n)
	}
	if _, err := p.b.CloseLease(ctx, alice, id, "enough"); err != nil && !strings.Contains(err.Error(), "over") {
		t.Error(err)
	}
	if l := p.lease(id); l.Draining(p.clock()) {
		t.Error("closing it by hand does not cut its sessions")
	}
	p.wait(25 * time.Hour)
	if n := live(); n != 0 {
		t.Errorf("%d live leases past the hard stop, want none", n)
	}
}
