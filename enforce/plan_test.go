package enforce

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var epoch = time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)

func sameRules(t interface{ Fatalf(string, ...any) }, what string, got, want ajar.Ruleset) {
	opts := cmp.Options{cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) }), cmp.Transformer("nil", func(g []ajar.Guard) []ajar.Guard { return append([]ajar.Guard{}, g...) })}
	if len(got.Allow) == 0 && len(want.Allow) == 0 {
		got.Allow, want.Allow = nil, nil
	}
	if len(got.Guard) == 0 && len(want.Guard) == 0 {
		got.Guard, want.Guard = nil, nil
	}
	for i := range got.Allow {
		if i < len(want.Allow) && got.Allow[i].Same(want.Allow[i]) {
			continue
		}
		t.Fatalf("%s: rules differ:\n%s", what, cmp.Diff(want.Allow, got.Allow, opts))
	}
	if len(got.Allow) != len(want.Allow) || !sameGuards(got.Guard, want.Guard) {
		t.Fatalf("%s: %d rules and guard %v, want %d and %v", what, len(got.Allow), got.Guard, len(want.Allow), want.Guard)
	}
}

func drawLease(t *rapid.T, id int, now time.Time) *ajar.Lease {
	l := &ajar.Lease{
		ID:      ajar.LeaseID(fmt.Sprintf("lease-%02d", id)),
		Flow:    ajar.Flow{Port: ajar.Port{Number: rapid.SampledFrom([]uint16{22, 3389}).Draw(t, "port"), Protocol: ajar.TCP}},
		Sources: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(rapid.IntRange(0, 3).Draw(t, "source"))}), 32)},
		Start:   now,
		End:     now.Add(time.Duration(rapid.IntRange(-5000, 20000).Draw(t, "end")) * time.Millisecond),
		Mode:    rapid.SampledFrom([]ajar.EndMode{"", ajar.Cut, ajar.Drain, ajar.Warn}).Draw(t, "mode"),
		State:   rapid.SampledFrom(ajar.LeaseStates).Draw(t, "state"),
	}
	l.DrainFor = time.Duration(rapid.IntRange(0, 8000).Draw(t, "drain")) * time.Millisecond
	if l.State == ajar.Closing || l.State == ajar.Closed {
		l.Reason = rapid.SampledFrom([]ajar.Reason{ajar.Expired, ajar.Revoked, ajar.Superseded, ajar.ReasonGone, ajar.ReasonFailed}).Draw(t, "reason")
	}
	if rapid.Bool().Draw(t, "seen") {
		l.KernelEnd = l.End
	}
	return l
}

// The shortcut equals the recomputation: whatever happens, the sum of the plan's differences is what Desired says.
func TestPlanAgreesWithDesired(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, now, rev := newPlan(), epoch, int64(0)
		leases := map[ajar.LeaseID]*ajar.Lease{}
		var guard []ajar.Guard
		var have ajar.Ruleset
		at := uint64(0)
		agree := func(t *rapid.T) {
			all := make([]*ajar.Lease, 0, len(leases))
			for _, l := range leases {
				all = append(all, l)
			}
			want := ajar.Desired(now, guard, all)
			if rapid.IntRange(0, 9).Draw(t, "whole") == 0 {
				have = p.whole(now, guard)
				at = p.rev
			} else {
				d := p.delta(now, guard)
				if at != 0 && d.Base != at {
					t.Fatalf("delta starts from %d, firewall is at %d", d.Base, at)
				}
				at = d.Rev
				have = have.With(d)
				have.Guard = p.guard
			}
			sameRules(t, "plan", have, want)
			sameRules(t, "told", p.toldRules(), want)
			for e := range p.unsettled {
				if p.leases[e.id] != e {
					t.Fatalf("%s is to be settled, and is not in the plan", e.id)
				}
			}
			for e := range p.leases {
				if leases[e].State == ajar.Closed {
					t.Fatalf("%s is Closed and still in the plan", e)
				}
			}
			if next := p.next(); !next.IsZero() && !next.After(now) {
				t.Fatalf("the next turn %s is not after %s", next, now)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"": agree,
			"put": func(t *rapid.T) {
				for range rapid.IntRange(1, 3).Draw(t, "n") {
					l := drawLease(t, rapid.IntRange(0, 12).Draw(t, "id"), now)
					rev++
					l.Rev, l.Seq = rev, rev
					leases[l.ID] = l
					p.absorb([]*ajar.Lease{l}, now)
				}
			},
			"settle": func(t *rapid.T) {
				for _, l := range leases {
					if l.State != ajar.Opening || now.After(l.End) {
						continue
					}
					l := *l
					l.State, l.KernelEnd, rev = ajar.Open, l.End, rev+1
					l.Rev, l.Seq = rev, rev
					leases[l.ID] = &l
					p.wrote(&l, now, false)
				}
			},
			"time": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(0, 6000).Draw(t, "ms")) * time.Millisecond)
			},
			"step back": func(t *rapid.T) {
				now = now.Add(-time.Duration(rapid.IntRange(0, 6000).Draw(t, "ms")) * time.Millisecond)
			},
			"guard": func(t *rapid.T) {
				guard = nil
				for _, n := range []uint16{22, 3389} {
					if rapid.Bool().Draw(t, "guarded") {
						guard = append(guard, ajar.Guard{Flow: ajar.Flow{Port: ajar.Port{Number: n, Protocol: ajar.TCP}}})
					}
				}
			},
		})
	})
}

// TestPlanTellsNothingWithoutAnEnd: what has no end is over, in a difference and in the whole.
func TestPlanTellsNothingWithoutAnEnd(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	for _, s := range []ajar.LeaseState{ajar.Opening, ajar.Open} {
		for _, m := range []ajar.EndMode{ajar.Cut, ajar.Drain, ajar.Warn} {
			p := newPlan()
			p.put(&ajar.Lease{ID: "a", State: s, Mode: m, DrainFor: time.Hour, Flow: ajar.Flow{Port: ajar.Port{Number: 22, Protocol: ajar.TCP}}}, now)
			if d := p.delta(now, nil); !d.Empty() {
				t.Errorf("%s, %s: told %+v", s, m, d)
			}
			if w := p.whole(now, nil); len(w.Allow) > 0 {
				t.Errorf("%s, %s: told %+v", s, m, w)
			}
		}
	}
}

// 100,000 leases over 1,000 endpoints fit into 60 MB of plans.
func TestPlansAreSmall(t *testing.T) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	plans := make([]*plan, 1000)
	for i := range plans {
		p := newPlan()
		ls := make([]*ajar.Lease, 100)
		for j := range ls {
			ls[j] = &ajar.Lease{
				ID: ajar.LeaseID(fmt.Sprintf("%08d-0000-0000-0000-%012d", i, j)), State: ajar.Open, End: epoch.Add(time.Hour), KernelEnd: epoch.Add(time.Hour),
				Flow:    ajar.Flow{Port: ajar.Port{Number: 22, Protocol: ajar.TCP}},
				Sources: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i), byte(j)}), 32)},
			}
			ls[j].Rev, ls[j].Seq = 1, int64(i*100+j+1)
		}
		p.absorb(ls, epoch)
		p.whole(epoch, nil)
		w := &work{l: &Loop{trouble: map[ajar.EndpointID]bool{}}, plan: p, ep: &ajar.Endpoint{}, now: epoch, done: epoch}
		r := &record{}
		for e := range p.unsettled {
			if w.needs(e) {
				t.Fatal("an Open lease that was read back needs nothing")
			}
			r.idle = append(r.idle, e)
		}
		w.after(r, true)
		plans[i] = p
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	mb := float64(after.HeapAlloc-before.HeapAlloc) / (1 << 20)
	t.Logf("%.1f MB for plans of 100,000 leases", mb)
	if mb > 60 {
		t.Errorf("plans take %.1f MB", mb)
	}
	runtime.KeepAlive(plans)
}

// What another replica saw go is not in trouble because this one's firewall is out of reach, or is waited for.
func TestClosedLeasesAreInNoTrouble(t *testing.T) {
	now := time.Now()
	for _, err := range []error{errWaits, errors.New("out of reach")} {
		w := &work{now: now, done: now, err: err, ep: &ajar.Endpoint{Trouble: "out of reach"}}
		for state, want := range map[ajar.LeaseState]bool{ajar.Closed: false, ajar.Closing: true, ajar.Open: true} {
			e := &entry{state: state, end: now.Add(-time.Minute).UnixMilli(), stop: now.Add(-time.Minute).UnixMilli(), told: true}
			if w.needs(e) != want {
				t.Errorf("%v: a lease that is %s has to be written to: %v, want %v", err, state, !want, want)
			}
		}
	}
}

// TestAnOlderReadingChangesNothing: what is known of a lease is never replaced by what was before.
func TestAnOlderReadingChangesNothing(t *testing.T) {
	p := newPlan()
	l := &ajar.Lease{ID: "a", State: ajar.Open, Start: epoch, End: epoch.Add(time.Hour), Flow: ajar.Flow{Port: ajar.Port{Number: 22, Protocol: ajar.TCP}}}
	l.Rev = 1
	p.put(l, epoch)
	if n := len(p.whole(epoch, nil).Allow); n != 1 {
		t.Fatalf("%d rules, want 1", n)
	}
	revoked := *l
	revoked.Rev, revoked.State, revoked.Reason = 2, ajar.Closing, ajar.Revoked
	p.put(&revoked, epoch)
	p.put(l, epoch)
	if n := len(p.whole(epoch, nil).Allow); n != 0 {
		t.Error("a revoked lease is live again")
	}
}
