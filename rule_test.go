package ajar

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var ssh = Flow{Port: Port{22, TCP}}

func lease(id string, state LeaseState, end time.Duration, mode EndMode) *Lease {
	return &Lease{ID: LeaseID(id), Flow: ssh, State: state, Start: noon, End: noon.Add(end), Mode: mode, DrainFor: time.Hour,
		Sources: []netip.Prefix{netip.MustParsePrefix("203.0.113.7/32")}}
}

func TestPastItsEndALeaseIsNotDesired(t *testing.T) {
	for _, s := range []LeaseState{Opening, Open} {
		l := []*Lease{lease("a", s, time.Hour, Cut)}
		if got := Desired(noon.Add(time.Hour-time.Millisecond), nil, l).Allow; len(got) != 1 || !got[0].Expires.Equal(noon.Add(time.Hour)) || !got[0].HardStop.Equal(got[0].Expires) {
			t.Errorf("%s before its end: %v", s, got)
		}
		if got := Desired(noon.Add(time.Hour), nil, l).Allow; len(got) != 0 {
			t.Errorf("%s at its end: %v", s, got)
		}
	}
	for _, s := range []LeaseState{Closing, Closed} {
		if got := Desired(noon, nil, []*Lease{lease("a", s, time.Hour, Cut)}).Allow; len(got) != 0 {
			t.Errorf("%s: %v", s, got)
		}
	}
}

func TestDrainOutlivesTheEndAndRevocationDoesNot(t *testing.T) {
	l := lease("a", Open, time.Hour, Drain)
	at := func(d time.Duration) []Rule { return Desired(noon.Add(d), nil, []*Lease{l}).Allow }
	if got := at(90 * time.Minute); len(got) != 1 || !got[0].HardStop.Equal(noon.Add(2*time.Hour)) || !got[0].Expires.Equal(noon.Add(time.Hour)) {
		t.Errorf("while draining: %v", got)
	}
	if got := at(2 * time.Hour); len(got) != 0 {
		t.Errorf("at the hard stop: %v", got)
	}
	if err := l.Move(Closing, Expired); err != nil {
		t.Fatal(err)
	}
	if got := at(90 * time.Minute); len(got) != 1 {
		t.Errorf("written down as Closing it drains no longer: %v", got)
	}
	l = lease("a", Open, time.Hour, Drain)
	if err := l.Move(Closing, Revoked); err != nil {
		t.Fatal(err)
	}
	if got := at(30 * time.Minute); len(got) != 0 {
		t.Errorf("revoked: %v", got)
	}
}

func TestStrictestEndModeWinsOnAPort(t *testing.T) {
	drain, cut := lease("a", Open, time.Hour, Drain), lease("b", Open, 2*time.Hour, "")
	both := Desired(noon, nil, []*Lease{drain, cut}).Allow
	if len(both) != 2 || !both[0].HardStop.Equal(both[0].Expires) {
		t.Errorf("beside a lease that cuts, one drains: %v", both)
	}
	udp := lease("b", Open, 2*time.Hour, Cut)
	udp.Flow.Port.Protocol = Both
	if got := Desired(noon, nil, []*Lease{drain, udp}).Allow; !got[0].HardStop.Equal(got[0].Expires) {
		t.Errorf("22/TCP drains beside 22/* that cuts: %v", got)
	}
	warn := lease("b", Open, 2*time.Hour, Warn)
	warn.DrainFor = 24 * time.Hour
	if got := Desired(noon, nil, []*Lease{drain, warn}).Allow; got[1].HardStop.Sub(got[1].Expires) != time.Hour {
		t.Errorf("beside a lease that drains for an hour, one that warns lets sessions go on: %v", got)
	}
	other := lease("b", Open, 2*time.Hour, Cut)
	other.Flow.Port.Number = 3389
	if got := Desired(noon, nil, []*Lease{drain, other}).Allow; got[0].HardStop.Equal(got[0].Expires) {
		t.Errorf("a lease on another port made it cut: %v", got)
	}
}

func TestDiffLeadsThere(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	some := func() Ruleset {
		var leases []*Lease
		for i := range r.IntN(8) {
			l := lease(fmt.Sprint(i), LeaseStates[r.IntN(4)], time.Duration(r.IntN(3))*time.Hour, []EndMode{Cut, Drain, Warn}[r.IntN(3)])
			l.Flow.Port.Number = uint16(20 + r.IntN(3))
			leases = append(leases, l)
		}
		var guard []Guard
		for i := range r.IntN(3) {
			guard = append(guard, Guard{Flow: Flow{Port: Port{uint16(20 + i), TCP}}})
		}
		return Desired(noon, guard, leases)
	}
	for range 2000 {
		want, got := some(), some()
		d := want.Diff(got)
		if diff := cmp.Diff(want, got.With(d), cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
			t.Fatal(diff)
		}
		if d := want.Diff(want); !d.Empty() {
			t.Fatalf("a ruleset differs from itself: %+v", d)
		}
	}
}

func TestLeasePastItsEndIsNeverShownAsOpen(t *testing.T) {
	l := lease("a", Open, time.Hour, Cut)
	l.KernelEnd = noon.Add(time.Hour)
	if got := l.Now(noon.Add(time.Hour)); got != Closing {
		t.Errorf("reads as %s", got)
	}
	if err := l.Move(Closing, Revoked); err != nil {
		t.Fatal(err)
	}
	if got := l.MayBeOpenUntil(noon.Add(time.Minute)); !got.Equal(l.KernelEnd) {
		t.Errorf("revoked on an unreachable host it may be open until %v", got)
	}
	if got := l.MayBeOpenUntil(noon.Add(time.Hour)); !got.IsZero() {
		t.Errorf("past the kernel's deadline it may be open until %v", got)
	}
}
