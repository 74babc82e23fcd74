package enforce_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/enforce"
)

// Two replicas take what verbs on both of them write. Never are two calls for one endpoint under way, and nothing that
// was written is forgotten.
func TestTwoReplicasTakeOneEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		o := &overlap{Firewall: r.fw, under: map[ajar.EndpointID]int{}, during: func() { <-time.After(3 * time.Millisecond) }}
		r.loop.Enforcers["fake"] = o
		one, two := r.loop, r.newLoop("two")
		two.Enforcers["fake"] = o
		done := make(chan error, 1)
		go func() { done <- two.Run(t.Context()) }()
		r.run()
		ep := r.endpoint("vm1")
		var ids []ajar.LeaseID
		for i := range 100 {
			r.loop = []*enforce.Loop{one, two}[i%2]
			ids = append(ids, r.lease(ep, time.Hour))
			<-time.After(time.Duration(i%7) * time.Millisecond)
		}
		r.loop = one
		after(20 * time.Second)
		for _, id := range ids {
			r.want(id, ajar.Open, "")
		}
		if o.most != 1 {
			t.Fatalf("%d calls at once for one endpoint", o.most)
		}
	})
}

// Only the home of an endpoint takes it, also when the verb runs elsewhere; and whoever becomes its home takes it then.
func TestOnlyTheHomeTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.run()
		ep := r.endpoint("vm1")
		after(0)
		home := func(owner string) {
			r.update(func(tx ajar.Tx) error { return tx.SetHome(ep, owner, r.now().Add(time.Minute)) })
		}
		home("elsewhere")
		id := r.lease(ep, time.Hour)
		after(20 * time.Second)
		r.want(id, ajar.Opening, "")
		home("one")
		r.lease(ep, time.Hour)
		after(0)
		r.want(id, ajar.Open, "")
	})
}

// A replica that dies between the commit that claimed and the first step of the pass leaves nothing behind that another
// does not find.
func TestWhatTheDeadTookIsTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.run()
		ep := r.endpoint("vm1")
		after(time.Second)
		r.loop.Failpoint = func(enforce.Step, ajar.EndpointID) error { return errors.New("dead") }
		id := r.lease(ep, time.Hour)
		after(time.Second)
		r.want(id, ajar.Opening, "")
		r.halt()
		two := r.newLoop("two")
		done := make(chan error, 1)
		go func() { done <- two.Run(t.Context()) }()
		after(10 * time.Second)
		r.want(id, ajar.Opening, "") // the claim stands
		after(10 * time.Second)
		r.want(id, ajar.Open, "")
	})
}

// A commit that takes nearly as long as the claim leaves no time to drive the firewall: it is claimed anew.
func TestAClaimThatIsNearlyOverIsNotUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		var calls []time.Time
		r.loop.Enforcers["fake"] = &overlap{Firewall: r.fw, under: map[ajar.EndpointID]int{}, during: func() { calls = append(calls, time.Now()) }}
		r.run()
		ep := r.endpoint("vm1")
		after(time.Second)
		calls = nil
		l := r.newLease(ep, time.Hour)
		var begun func()
		err := r.store.Update(context.Background(), func(tx ajar.Tx) (err error) {
			if err := errors.Join(tx.Put(&l), tx.MarkDue(ep, l.Start)); err != nil {
				return err
			}
			begun, err = r.loop.Take(tx, []ajar.EndpointID{ep}, nil)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		<-time.After(12 * time.Second)
		claims := 0
		r.loop.Failpoint = func(s enforce.Step, _ ajar.EndpointID) error {
			if s == enforce.StepClaimed {
				claims++
			}
			return nil
		}
		begun()
		after(time.Second)
		if r.want(l.ID, ajar.Open, ""); claims != 2 || len(calls) != 1 {
			t.Fatalf("%d claims and %d calls of the firewall, want 2 and 1", claims, len(calls))
		}
	})
}

// A pass that a verb began knows all that was written there, and asks the store nothing.
func TestAPassThatAVerbBeganReadsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		c := &reads{Store: r.store}
		r.loop.Store = c
		r.run()
		ep := r.endpoint("vm1")
		after(time.Second)
		for range 3 {
			before := c.n.Load()
			id := r.lease(ep, time.Hour)
			after(0)
			r.want(id, ajar.Open, "")
			r.revoke(id)
			after(0)
			r.want(id, ajar.Closed, ajar.Revoked)
			if n := c.n.Load() - before; n != 0 {
				t.Fatalf("an opening and a revocation read the leases %d times", n)
			}
		}
	})
}

// What another replica's verb wrote there is found by the next pass that any verb begins, and where a lease was written
// to without a mark, that is noticed before anything is made of it.
func TestATakenPassFindsWhatOthersWrote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.run()
		ep := r.endpoint("vm1")
		after(time.Second)
		first := r.lease(ep, time.Hour)
		after(time.Second)
		other := r.newLease(ep, time.Hour)
		err := r.store.Update(context.Background(), func(tx ajar.Tx) error {
			l, err := ajar.Get[ajar.Lease](tx, string(first))
			if err != nil {
				return err
			}
			l.Trouble = "written without a mark"
			return errors.Join(tx.Put(l), tx.Put(&other), tx.MarkDue(ep, other.Start.Add(time.Minute)))
		})
		if err != nil {
			t.Fatal(err)
		}
		third := r.lease(ep, time.Hour)
		after(0)
		r.want(other.ID, ajar.Open, "")
		r.want(third, ajar.Open, "")
		r.revoke(first)
		after(0)
		r.want(first, ajar.Closed, ajar.Revoked)
		r.wantOpen(ep, true)

		l := r.get(third)
		l.Trouble = "written without a mark"
		if err := r.store.Update(context.Background(), func(tx ajar.Tx) error { return tx.Put(l) }); err != nil {
			t.Fatal(err)
		}
		r.lease(ep, time.Hour)
		after(2 * time.Hour)
		r.want(third, ajar.Closed, ajar.Expired)
		r.want(other.ID, ajar.Closed, ajar.Expired)
		count(t, r.events(ajar.LeaseClosed), 4)
		r.wantOpen(ep, false)
	})
}

// reads counts how often the leases were listed.
type reads struct {
	ajar.Store
	n atomic.Int64
}

// View implements ajar.Store.
func (r *reads) View(ctx context.Context, fn func(ajar.Tx) error) error {
	return r.Store.View(ctx, func(tx ajar.Tx) error { return fn(listing{tx, r}) })
}

// Update implements ajar.Store.
func (r *reads) Update(ctx context.Context, fn func(ajar.Tx) error) error {
	return r.Store.Update(ctx, func(tx ajar.Tx) error { return fn(listing{tx, r}) })
}

type listing struct {
	ajar.Tx
	reads *reads
}

// ListDocs implements ajar.Tx.
func (l listing) ListDocs(kind ajar.DocKind, f ajar.Filter, each func(decode func(ajar.Doc) error) error) (string, error) {
	if kind == ajar.KindLease {
		l.reads.n.Add(1)
	}
	return l.Tx.ListDocs(kind, f, each)
}
