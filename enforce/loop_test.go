package enforce_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/provider/fake"
)

func TestLeaseOpensAndClosesOnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ep := r.endpoint("vm1")
		r.run()
		after(0)
		r.wantOpen(ep, false)
		id := r.lease(ep, time.Hour)
		after(0)
		l := r.want(id, ajar.Open, "")
		r.wantOpen(ep, true)
		if !l.KernelEnd.Equal(l.End) || l.Opened.Sub(l.Start) > time.Millisecond {
			t.Fatalf("opened %s after %s with kernel end %s", l.Opened, l.Start, l.KernelEnd)
		}
		after(59 * time.Minute)
		r.want(id, ajar.Open, "")
		r.wantOpen(ep, true)
		after(time.Minute)
		l = r.want(id, ajar.Closed, ajar.Expired)
		r.wantOpen(ep, false)
		if late := l.Closed.Sub(l.End); late < 0 || late > time.Millisecond {
			t.Fatalf("closed %s after the end", late)
		}
		count(t, r.events(ajar.LeaseOpened), 1)
		count(t, r.events(ajar.LeaseClosed), 1)
	})
}

func TestExtensionHasNoGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ep := r.endpoint("vm1")
		r.run()
		id := r.lease(ep, time.Minute)
		after(59 * time.Second)
		r.extend(time.Minute, id)
		after(0)
		if l := r.want(id, ajar.Open, ""); !l.KernelEnd.Equal(l.End) {
			t.Fatalf("kernel end %s, want %s", l.KernelEnd, l.End)
		}
		count(t, r.events(ajar.LeaseExtended), 1)
		after(60 * time.Second)
		r.wantOpen(ep, true)
		after(time.Second)
		r.wantOpen(ep, false)
		r.want(id, ajar.Closed, ajar.Expired)
	})
}

func TestDrainingLeaseStaysClosingUntilItsHardStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ep := r.endpoint("vm1")
		r.run()
		id := r.lease(ep, time.Minute, func(l *ajar.Lease) { l.Mode, l.DrainFor = ajar.Drain, time.Minute })
		after(61 * time.Second)
		r.want(id, ajar.Closing, ajar.Expired)
		r.wantOpen(ep, false)
		alive := func() bool { return r.fw.Host(ep).Alive(r.get(id).Sources[0].Addr(), ssh) }
		if !alive() {
			t.Fatal("a draining session was cut")
		}
		// A lease that cuts comes to the same port: the strictest wins.
		other := r.lease(ep, time.Second)
		after(0)
		r.want(id, ajar.Closed, ajar.Expired)
		after(2 * time.Second)
		r.want(other, ajar.Closed, ajar.Expired)
		if alive() {
			t.Fatal("a session lives beside a lease that cuts")
		}
	})
}

func TestRestartFindsItsWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ep := r.endpoint("vm1")
		r.run()
		id, long := r.lease(ep, time.Minute), r.lease(ep, time.Hour)
		after(0)
		r.halt()
		after(2 * time.Minute)
		r.want(id, ajar.Open, "")
		r.loop = r.newLoop("one")
		if err := r.loop.Recover(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.want(id, ajar.Closing, ajar.Expired) // before any request is served
		r.want(long, ajar.Open, "")
		r.run()
		after(0)
		r.want(id, ajar.Closed, ajar.Expired)
		r.wantOpen(ep, true)
		r.revoke(long)
		after(0)
		r.wantOpen(ep, false)
		r.want(long, ajar.Closed, ajar.Revoked)
	})
}

func TestUnreachableHostIsVisibleAndRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ep := r.endpoint("vm1")
		r.run()
		after(0)
		h := r.fw.Host(ep)
		h.Set(func(h *fake.Host) { h.Fault.Unreachable = true })
		id := r.lease(ep, 10*time.Minute)
		after(0)
		l := r.want(id, ajar.Opening, "")
		if l.Trouble == "" || r.ep(ep).Trouble != l.Trouble {
			t.Fatalf("trouble is %q on the lease, %q on the endpoint", l.Trouble, r.ep(ep).Trouble)
		}
		after(9 * time.Minute)
		if m := r.want(id, ajar.Opening, ""); m.Rev != l.Rev {
			t.Fatalf("the lease was written %d times by retries", m.Rev-l.Rev)
		}
		if n := h.Calls().Refused; n < 8 || n > 14 {
			t.Fatalf("%d tries in nine minutes", n)
		}
		after(time.Minute)
		r.want(id, ajar.Closing, ajar.Expired)
		count(t, r.events(ajar.LeaseUnreachable), 1)
		h.Set(func(h *fake.Host) { h.Fault.Unreachable = false })
		after(0)
		if l := r.want(id, ajar.Closed, ajar.Expired); l.Trouble != "" || r.ep(ep).Trouble != "" {
			t.Fatalf("trouble stays: %q, %q", l.Trouble, r.ep(ep).Trouble)
		}
		count(t, r.events(ajar.LeaseUnreachable), 1)
	})
}

func TestRevokedLeaseOfAnUnreachableHostMayBeOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ep := r.endpoint("vm1")
		r.run()
		id := r.lease(ep, 10*time.Minute)
		after(0)
		r.fw.Host(ep).Set(func(h *fake.Host) { h.Fault.Unreachable = true })
		r.revoke(id)
		after(time.Minute)
		l := r.want(id, ajar.Closing, ajar.Revoked)
		if !l.MayBeOpenUntil(r.now()).Equal(l.End) {
			t.Fatalf("may be open until %s, want %s", l.MayBeOpenUntil(r.now()), l.End)
		}
		r.wantOpen(ep, true)
		after(10 * time.Minute) // the kernel's own deadline
		r.wantOpen(ep, false)
		r.want(id, ajar.Closing, ajar.Revoked)
		r.fw.Host(ep).Set(func(h *fake.Host) { h.Fault.Unreachable = false })
		after(0)
		r.want(id, ajar.Closed, ajar.Revoked)
	})
}

func TestCloseLagIsMeasuredFromWhateverEndedTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ep := r.endpoint("vm1")
		lags := make(chan time.Duration, 9)
		r.loop.Hooks.Closed = func(d time.Duration) { lags <- d }
		r.run()
		long, short := r.lease(ep, time.Hour), r.lease(ep, 10*time.Minute)
		before := r.lease(ep, time.Hour)
		after(5 * time.Minute)
		r.fw.Host(ep).Set(func(h *fake.Host) { h.Fault.Unreachable = true })
		r.revoke(long)
		r.change(func(l *ajar.Lease) error { return l.Move(ajar.Closing, ajar.Revoked) }, before) // by a program that did not say when
		after(time.Minute)
		r.fw.Host(ep).Set(func(h *fake.Host) { h.Fault.Unreachable = false })
		after(time.Minute)
		for _, id := range []ajar.LeaseID{long, before} {
			r.want(id, ajar.Closed, ajar.Revoked)
		}
		if d := <-lags; len(lags) != 0 || d < 5*time.Second || d > 2*time.Minute {
			t.Fatalf("closing what was revoked while its host was away took %s, and there are %d more", d, len(lags))
		}
		after(10 * time.Minute)
		r.want(short, ajar.Closed, ajar.Expired)
		if len(lags) != 1 {
			t.Fatalf("%d lags were told of one deadline", len(lags))
		}
	})
}

func TestUnconfirmedGuardIsRolledBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var by time.Time
		r := newRig(t)
		ep := r.endpoint("vm1")
		r.run()
		after(0)
		r.update(func(tx ajar.Tx) error {
			e, err := ajar.Get[ajar.Endpoint](tx, string(ep))
			if err != nil {
				return err
			}
			by = r.now().Add(5 * time.Minute)
			e.Guards[0].ConfirmBy = by
			return tx.Put(e)
		}, ep)
		after(4 * time.Minute)
		r.wantOpen(ep, false)
		count(t, r.events(ajar.GuardRolledBack), 0)
		say := func() {
			r.fw.Host(ep).Say(ajar.Report{Action: ajar.GuardRolledBack, Look: true,
				Details: map[string]string{"port": ssh.String(), "confirmBy": by.UTC().Format(time.RFC3339)}})
		}
		after(time.Minute - time.Millisecond)
		say() // its clock is a little ahead
		after(2 * time.Minute)
		say()
		after(time.Second)
		r.wantOpen(ep, true)
		count(t, r.events(ajar.GuardRolledBack), 1)
		if gs := r.ep(ep).Guards; len(gs) != 0 {
			t.Fatalf("guards stay: %v", gs)
		}
	})
}

func TestDriftIsFoundAndRepaired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ep := r.endpoint("vm1")
		drift := 0
		r.loop.Hooks.Drift = func(n int) { drift += n }
		r.run()
		id := r.lease(ep, time.Hour)
		after(30 * time.Minute)
		count(t, r.events(ajar.DriftRepaired), 0)
		if n := r.fw.Host(ep).Calls().Observed; n < 2 || n > 4 {
			t.Fatalf("looked for drift %d times in half an hour", n)
		}
		r.fw.Host(ep).Flush(true)
		after(15 * time.Minute)
		r.wantOpen(ep, true)
		count(t, r.events(ajar.DriftRepaired), 1)
		foreign := r.fw.Host(ep).Rules().Allow[0]
		foreign.Lease, foreign.HardStop, foreign.Expires = "nobody", foreign.HardStop.Add(time.Hour), foreign.Expires.Add(time.Hour)
		r.fw.Host(ep).Meddle(foreign)
		after(14 * time.Minute)
		count(t, r.events(ajar.DriftRepaired), 2)
		after(2 * time.Minute)
		r.wantOpen(ep, false)
		r.want(id, ajar.Closed, ajar.Expired)
		if drift != 3 {
			t.Errorf("%d faults counted, want guard, opening and stranger", drift)
		}
	})
}

func TestReportsAreDurableAndLookedInto(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ep := r.endpoint("vm1")
		r.run()
		id := r.lease(ep, time.Hour)
		after(0)
		r.fw.Host(ep).Connect()
		r.fw.Host(ep).Flush(false)
		after(0)
		r.wantOpen(ep, true)
		r.want(id, ajar.Open, "")
		count(t, r.events(ajar.DriftRepaired), 1)
		if e := r.ep(ep); !e.Connected || e.Since.IsZero() {
			t.Fatalf("connected %v since %s", e.Connected, e.Since)
		}
		if rs := r.fw.Host(ep).Rules(); len(rs.Guard) != 1 || len(rs.Allow) != 1 {
			t.Fatalf("after a flush the host has %+v", rs)
		}
	})
}

func TestVanishedEndpointIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ep, other := r.endpoint("vm1"), r.endpoint("vm2")
		r.run()
		after(0)
		r.fw.Host(ep).Set(func(h *fake.Host) { h.Fault.Slow = 100 * time.Millisecond })
		r.lease(ep, time.Hour)
		after(50 * time.Millisecond)
		r.update(func(tx ajar.Tx) error { return tx.Delete(ajar.KindEndpoint, string(ep)) })
		after(time.Second)
		id := r.lease(other, time.Hour)
		after(0)
		r.want(id, ajar.Open, "")
		s, err := r.loop.Stats(t.Context())
		if err != nil || s.Plans != 1 || s.Flying != 0 || s.Live != 2 {
			t.Fatalf("stats %+v, %v", s, err)
		}
	})
}

func TestTwoReplicasShareTheWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		two := r.newLoop("two")
		done := make(chan error, 1)
		go func() { done <- two.Run(t.Context()) }()
		r.run()
		var eps []ajar.EndpointID
		for _, id := range []ajar.EndpointID{"a", "b", "c", "d", "e", "f"} {
			eps = append(eps, r.endpoint(id))
		}
		var ids []ajar.LeaseID
		for i := range 30 {
			ids = append(ids, r.lease(eps[i%6], time.Duration(1+i)*time.Minute))
			if i%2 == 0 {
				two.Wake()
			}
			after(time.Second)
		}
		for _, id := range ids {
			r.want(id, ajar.Open, "")
		}
		after(31 * time.Minute)
		for _, id := range ids {
			r.want(id, ajar.Closed, ajar.Expired)
		}
		count(t, r.events(ajar.LeaseOpened), 30)
		count(t, r.events(ajar.LeaseClosed), 30)
	})
}

// A verb commits and wakes the loop between the commit of a claim and the start of its pass: the moment in which a wake
// is easiest lost. The lease opens at once, not at the next resync.
func TestNoWakeIsLostToAClaimUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ep := r.endpoint("vm1")
		between := &interlude{Store: r.store}
		r.loop.Store = between
		r.run()
		after(time.Second)
		var id ajar.LeaseID
		between.next = func() { id = r.lease(ep, time.Hour) }
		r.loop.Wake(ep)
		after(0)
		if id == "" {
			t.Fatal("nothing came in between")
		}
		r.want(id, ajar.Open, "")
	})
}

// interlude runs next once, after an Update has committed and before its caller knows.
type interlude struct {
	ajar.Store
	next func()
}

func (i *interlude) Update(ctx context.Context, fn func(ajar.Tx) error) error {
	err := i.Store.Update(ctx, fn)
	if do := i.next; do != nil {
		i.next = nil
		do()
	}
	return err
}
