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
	for _, d := range []time.Duration{30 * time.Minute, 90 * time.Minute} {
		if got := at(d); len(got) != 0 {
			t.Errorf("revoked, after %s: %v", d, got)
		}
	}
}

func TestStrictestEndModeWinsOnAPort(t *testing.T) {
	drain, cut := lease("a", Open, time.Hour, Drain), lease("b", Open, 2*time.Hour, "")
	both := Desired(noon, nil, []*Lease{drain, cut}).Allow
	if len(both) != 2 || !both[0].HardStop.Equal(both[0].Expires) {
		t.Errorf("beside a lease that cuts, one drains: %v", both)
	}
	if got := Desired(noon.Add(90*time.Minute), nil, []*Lease{drain, cut}).Allow; len(got) != 1 || got[0].Lease != "b" {
		t.Errorf("beside a lease that cuts, one that ended drains: %v", got)
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
			g := Guard{Flow: Flow{Port: Port{uint16(20 + i), TCP}}}
			if r.IntN(2) == 0 {
				g.ConfirmBy = noon.Add(time.Minute)
			}
			guard = append(guard, g)
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
	if got := l.MayBeOpenUntil(noon); !got.IsZero() {
		t.Errorf("open as it should be, it may be open until %v", got)
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

func TestNobodyLivesOnPastTheHardStop(t *testing.T) {
	l := lease("a", Closing, time.Hour, Drain)
	l.Outlived = &Outlived{Sessions: 2, At: noon.Add(time.Hour)}
	on := func(at time.Duration, want int) {
		t.Helper()
		if got := l.LiveOn(noon.Add(at)); got != want {
			t.Errorf("%s after its start %d sessions live on, want %d", at, got, want)
		}
	}
	on(90*time.Minute, 2)
	on(2*time.Hour, 0) // whatever is heard of the host
	l.Outlived.Over = noon.Add(80 * time.Minute)
	on(90*time.Minute, 0)
	l.Outlived.Over, l.State = time.Time{}, Closed
	on(90*time.Minute, 0)
	l.Unverified = true // nobody saw its rule go
	on(90*time.Minute, 2)
}

func TestASlotIsTheSameInWhateverOrderTheSourcesCome(t *testing.T) {
	l := lease("a", Open, time.Hour, Cut)
	slot := func(list ...string) ID { l.Sources = prefixes(t, list...); return l.Slot() }
	if a, b := slot("203.0.113.7", "2001:db8::/64"), slot("2001:db8::/64", "203.0.113.7"); a != b {
		t.Errorf("%s and %s", a, b)
	}
	if a, b := slot("203.0.113.7", "2001:db8::/64"), slot("203.0.113.7", "2001:db8::/65"); a == b {
		t.Errorf("other sources have the same slot %s", a)
	}
}

// TestALeaseWithoutAnEndOpensNothing: a rule without an end would be one that the kernel keeps for ever.
func TestALeaseWithoutAnEndOpensNothing(t *testing.T) {
	for _, s := range LeaseStates {
		for _, m := range []EndMode{Cut, Drain, Warn} {
			l := lease("a", s, time.Hour, m)
			l.End = time.Time{}
			if got := Desired(noon, nil, []*Lease{l}).Allow; len(got) != 0 || l.Live(noon) || l.Draining(noon) {
				t.Errorf("%s, %s: %v", s, m, got)
			}
		}
	}
}
