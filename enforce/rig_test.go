package enforce_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/enforce"
	"github.com/ajar-access/ajar/provider/fake"
	"github.com/ajar-access/ajar/store"
)

var (
	ssh       = ajar.Port{Number: 22, Protocol: ajar.TCP}
	elsewhere = netip.MustParsePrefix("10.0.0.2/32")
)

// rig is a loop over a real store and a fake firewall, without a broker: tests write the leases themselves.
type rig struct {
	t     testing.TB
	store *store.Store
	fw    *fake.Firewall
	loop  *enforce.Loop
	step  time.Duration // of the plane's clock
	stop  context.CancelFunc
	done  chan error
	n     int
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{t: t}
	s, err := store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "ajar.db"), store.Options{Clock: r.now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.halt()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	r.store, r.fw = s, fake.New(r.now)
	r.loop = r.newLoop("one")
	return r
}

func (r *rig) now() time.Time { return time.Now().Add(r.step) }

func (r *rig) newLoop(owner string) *enforce.Loop {
	return &enforce.Loop{Store: r.store, Enforcers: map[string]ajar.Enforcer{"fake": r.fw}, Clock: r.now, Owner: owner}
}

// run starts the loop, as ajard does.
func (r *rig) run() {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	if err := r.loop.Recover(ctx); err != nil {
		r.t.Fatal(err)
	}
	done := make(chan error, 1)
	r.stop, r.done = cancel, done
	loop := r.loop // a test may put another in its place
	go func() { done <- loop.Run(ctx) }()
}

func (r *rig) halt() {
	if r.stop != nil {
		r.stop()
		if err := <-r.done; !errors.Is(err, context.Canceled) {
			r.t.Errorf("Run: %v", err)
		}
		r.stop = nil
	}
}

// update writes to the store and has the loop go on from there, as a verb does.
func (r *rig) update(fn func(tx ajar.Tx) error, wake ...ajar.EndpointID) {
	r.t.Helper()
	var begun func()
	err := r.store.Update(context.Background(), func(tx ajar.Tx) error {
		w := &writing{Tx: tx}
		if err := fn(w); err != nil {
			return err
		}
		for _, id := range wake {
			if err := tx.MarkDue(id, r.now().Truncate(time.Millisecond)); err != nil {
				return err
			}
		}
		var err error
		begun, err = r.loop.Take(tx, wake, w.leases)
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	begun()
}

// writing keeps in mind which leases were written.
type writing struct {
	ajar.Tx
	leases []*ajar.Lease
}

// Put implements ajar.Tx.
func (w *writing) Put(d ajar.Doc) error {
	if l, ok := d.(*ajar.Lease); ok {
		w.leases = append(w.leases, l)
	}
	return w.Tx.Put(d)
}

func machine(name string) ajar.ID {
	return ajar.ID("/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/lab/providers/Microsoft.Compute/virtualMachines/" + name)
}

// endpoint makes an endpoint that guards SSH.
func (r *rig) endpoint(id ajar.EndpointID) ajar.EndpointID {
	r.t.Helper()
	r.update(func(tx ajar.Tx) error {
		return tx.Put(&ajar.Endpoint{ID: id, Provider: "fake", Target: machine(string(id)), Guards: []ajar.EndpointGuard{{Flow: ajar.Flow{Port: ssh}, Policies: []ajar.ID{"/p"}}}})
	}, id)
	return id
}

// lease grants 10.0.0.1 SSH for d; change adapts it first.
func (r *rig) lease(ep ajar.EndpointID, d time.Duration, change ...func(*ajar.Lease)) ajar.LeaseID {
	r.t.Helper()
	return r.leases(ep, d, 1, change...)[0]
}

// leases grants that n times, in one Update.
func (r *rig) leases(ep ajar.EndpointID, d time.Duration, n int, change ...func(*ajar.Lease)) (ids []ajar.LeaseID) {
	r.t.Helper()
	var ls []ajar.Lease
	for range n {
		l := r.newLease(ep, d)
		for _, fn := range change {
			fn(&l)
		}
		ls, ids = append(ls, l), append(ids, l.ID)
	}
	r.update(func(tx ajar.Tx) error {
		for _, l := range ls {
			if err := tx.Put(&l); err != nil {
				return err
			}
		}
		return nil
	}, ep)
	return ids
}

func (r *rig) newLease(ep ajar.EndpointID, d time.Duration) ajar.Lease {
	r.n++
	now := r.now().UTC().Truncate(time.Millisecond)
	return ajar.Lease{
		ID: ajar.LeaseID(fmt.Sprintf("lease-%04d", r.n)), Request: "request", Policy: "/p", Target: machine(string(ep)), Endpoint: ep,
		Flow: ajar.Flow{Port: ssh}, Sources: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32")}, Requester: "somebody", Name: "somebody",
		Start: now, End: now.Add(d), Max: d, Mode: ajar.Cut, State: ajar.Opening,
	}
}

func (r *rig) get(id ajar.LeaseID) *ajar.Lease {
	r.t.Helper()
	return get[ajar.Lease](r, string(id))
}

func (r *rig) ep(id ajar.EndpointID) *ajar.Endpoint {
	r.t.Helper()
	return get[ajar.Endpoint](r, string(id))
}

func get[D any, P interface {
	*D
	ajar.Doc
}](r *rig, key string) (d P) {
	r.t.Helper()
	err := r.store.View(context.Background(), func(tx ajar.Tx) (err error) {
		d, err = ajar.Get[D, P](tx, key)
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return d
}

// change rewrites leases of one endpoint as the broker would.
func (r *rig) change(fn func(*ajar.Lease) error, ids ...ajar.LeaseID) {
	r.t.Helper()
	r.update(func(tx ajar.Tx) error {
		for _, id := range ids {
			l, err := ajar.Get[ajar.Lease](tx, string(id))
			if err != nil {
				return err
			}
			if err := fn(l); err != nil {
				return err
			}
			if err := tx.Put(l); err != nil {
				return err
			}
		}
		return nil
	}, r.get(ids[0]).Endpoint)
}

func (r *rig) revoke(ids ...ajar.LeaseID) {
	r.t.Helper()
	r.change(func(l *ajar.Lease) error {
		l.Ended = r.now()
		return l.Move(ajar.Closing, ajar.Revoked)
	}, ids...)
}

func (r *rig) extend(by time.Duration, ids ...ajar.LeaseID) {
	r.t.Helper()
	r.change(func(l *ajar.Lease) error { l.End = l.End.Add(by); return nil }, ids...)
}

func (r *rig) events(a ajar.Action) (es []*ajar.Event) {
	r.t.Helper()
	err := r.store.View(context.Background(), func(tx ajar.Tx) (err error) {
		es, err = tx.Events(ajar.EventFilter{Action: a, Ascending: true, Limit: 1000})
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return es
}

// want fails unless the lease is in that state.
func (r *rig) want(id ajar.LeaseID, s ajar.LeaseState, why ajar.Reason) *ajar.Lease {
	r.t.Helper()
	l := r.get(id)
	if l.State != s || l.Reason != why {
		r.t.Fatalf("lease %s is %s %s (%s), want %s %s", id, l.State, l.Reason, l.Trouble, s, why)
	}
	return l
}

func (r *rig) open(ep ajar.EndpointID) bool {
	return r.fw.Host(ep).Open(netip.MustParseAddr("10.0.0.1"), ssh)
}

func (r *rig) wantOpen(ep ajar.EndpointID, open bool) {
	r.t.Helper()
	if got := r.open(ep); got != open {
		r.t.Fatalf("port of %s is open: %v, want %v", ep, got, open)
	}
}

// after lets d pass, and everything that wakes up then finish.
func after(d time.Duration) {
	t := time.NewTimer(d)
	<-t.C
	synctest.Wait()
}

// count is how many events there are.
func count(t testing.TB, es []*ajar.Event, n int) {
	t.Helper()
	if len(es) != n {
		t.Fatalf("%d events, want %d: %v", len(es), n, es)
	}
}
