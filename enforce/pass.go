package enforce

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/ajar-access/ajar"
)

// work is one pass over one endpoint.
type work struct {
	l     *Loop
	claim ajar.Claim
	ep    *ajar.Endpoint
	plan  *plan
	began time.Time
	now   time.Time // what is wanted was computed at
	done  time.Time // the firewall answered at
	guard []ajar.Guard
	drift *drift
	err   error // why the firewall does not have what is wanted
	// troubled: the text of ep.Trouble is new and must be written.
	troubled bool
}

// errCrash ends a pass as the death of the process would.
var errCrash = errors.New("failpoint")

// pass makes one claimed endpoint agree with the store and returns when it is due again; zero if somebody else knows.
// n is what is known of it already.
func (l *Loop) pass(ctx context.Context, c ajar.Claim, n *news) (due time.Time) {
	id := c.Endpoint.ID
	w := &work{l: l, claim: c, ep: c.Endpoint, plan: l.plan(id), began: l.Clock()}
	if !l.at(StepClaimed, id) {
		return due
	}
	if err := w.read(ctx, n); err != nil {
		return w.lost(ctx, "read leases", err)
	}
	if !l.at(StepRead, id) {
		return due
	}
	if !w.waits() {
		if l.spent(ctx, c) {
			return w.lost(ctx, "begin", ajar.Errorf(ajar.Conflict, "the claim is about to end"))
		}
		w.carry(ctx)
		if ctx.Err() != nil {
			l.drop(id) // stopping; nothing is known of what the firewall has
			return due
		}
	}
	step := StepApplied
	if w.err != nil {
		step = StepFailed
	}
	if !l.at(step, id) {
		return due
	}
	due, err := w.settle(ctx)
	if err != nil {
		return w.lost(ctx, "settle", err)
	}
	if l.Hooks.Passed != nil {
		l.Hooks.Passed(l.Clock().Sub(w.began), w.err)
	}
	return due
}

// lost ends a pass whose claim or reading is worth nothing. The plan goes, so that the next pass starts from the whole;
// a claim that still stands is given back at once.
func (w *work) lost(ctx context.Context, doing string, err error) time.Time {
	l, id := w.l, w.ep.ID
	l.drop(id)
	if ctx.Err() != nil || errors.Is(err, errCrash) {
		return time.Time{}
	}
	log := l.Log.Debug
	if !errors.Is(err, ajar.Conflict) && !errors.Is(err, ajar.NotFound) {
		log = l.Log.Warn
	}
	log("pass dropped", "endpoint", string(id), "doing", doing, "err", err)
	due := milli(l.Clock())
	if !errors.Is(err, ajar.Conflict) {
		due = due.Add(l.Backoff)
	}
	err = l.Store.Update(ctx, func(tx ajar.Tx) error { return tx.Release(w.claim, due, w.claim.Failures) })
	if err != nil {
		return time.Time{} // the endpoint is gone, or the claim is somebody else's, or ends by itself
	}
	return due
}

// plan gives the plan of an endpoint, a new one if there is none. It belongs to the pass under way.
func (l *Loop) plan(id ajar.EndpointID) *plan {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.plans[id]
	if p == nil {
		p = newPlan()
		l.plans[id] = p
	}
	return p
}

func (l *Loop) drop(id ajar.EndpointID) {
	l.mu.Lock()
	delete(l.plans, id)
	delete(l.trouble, id)
	l.mu.Unlock()
}

// read brings the plan up to what is stored: everything that is not final at first; what was written since afterwards,
// or what n says of that. Few are read as a whole at a time: after a start all of them are, and those that somebody waits
// for come first.
func (w *work) read(ctx context.Context, n *news) error {
	p := w.plan
	if !p.loaded && n == nil {
		select {
		case w.l.loads <- struct{}{}:
			defer func() { <-w.l.loads }()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	known := n.of(w.ep.ID)
	// Whoever writes a lease marks its endpoint due in the same Update: if that verb was the only one to, nobody else wrote.
	told := p.loaded && n != nil && w.claim.Mark == p.mark+1
	if !told {
		err := w.l.Store.View(ctx, func(tx ajar.Tx) (err error) {
			known, err = p.changes(tx, w.ep.ID)
			return err
		})
		if err != nil {
			return err
		}
	}
	w.now = w.l.Clock()
	p.used = w.now
	if p.looks != w.ep.Looks {
		p.looks, p.synced = w.ep.Looks, false
	}
	p.absorb(known, w.now)
	w.guard = w.ep.Guarded(w.now)
	return nil
}

// live is the states that a new plan starts from.
var live = []string{string(ajar.Opening), string(ajar.Open), string(ajar.Closing)}

// changes lists the leases that p does not know yet.
func (p *plan) changes(tx ajar.Tx, id ajar.EndpointID) ([]*ajar.Lease, error) {
	f := ajar.Filter{Ref: string(id), After: &p.after}
	if !p.loaded || p.after == 0 {
		f.After, f.States = nil, live
	}
	ls, _, err := ajar.List[ajar.Lease](tx, f)
	return ls, err
}

// absorb takes in what changes listed.
func (p *plan) absorb(ls []*ajar.Lease, now time.Time) {
	for _, l := range ls {
		p.put(l, now)
		p.after = max(p.after, l.Seq)
	}
	p.loaded = true
}

// waits reports whether the firewall failed lately and nothing new is wanted of it, so that this pass only records
// which deadlines came.
func (w *work) waits() bool {
	p := w.plan
	marked := p.mark != w.claim.Mark
	p.mark = w.claim.Mark
	if marked || w.claim.Failures == 0 || !w.now.Before(p.retryAt) {
		return false
	}
	w.done, w.err = w.now, errWaits
	p.advance(w.now)
	return true
}

var errWaits = errors.New("waits for the next try")

// carry has the firewall do what is wanted, within the time that the claim leaves.
func (w *work) carry(ctx context.Context) {
	l, p := w.l, w.plan
	e := l.Enforcers[w.ep.Provider]
	if e == nil {
		p.advance(w.now)
		w.done = w.now
		w.err = ajar.Errorf(ajar.Unavailable, "no firewall of kind %q is configured here", w.ep.Provider)
		return
	}
	limit, cancel := context.WithTimeout(ctx, l.ApplyTimeout)
	defer cancel()
	w.err = w.drive(limit, e)
	w.done = l.Clock()
	if w.err != nil {
		p.synced = false
		if errors.Is(w.err, context.DeadlineExceeded) || (limit.Err() != nil && ctx.Err() == nil) {
			w.err = ajar.Because(ajar.Unavailable, w.err, "no answer within %s", l.ApplyTimeout)
		}
	}
}

// drive applies, and looks for drift when it is time to. A firewall that panics is in trouble, and nobody else.
func (w *work) drive(ctx context.Context, e ajar.Enforcer) (err error) {
	defer func() {
		if r := recover(); r != nil {
			w.l.Log.Error("firewall panics", "endpoint", string(w.ep.ID), "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
			err = ajar.Errorf(ajar.Internal, "the firewall's driver panics")
		}
	}()
	if err := w.apply(ctx, e); err != nil {
		return err
	}
	if p := w.plan; p.syncAt.IsZero() {
		p.syncAt = w.l.syncTime(w.now)
	} else if !w.now.Before(p.syncAt) {
		if w.drift, err = w.observe(ctx, e); err != nil {
			return err
		}
		p.syncAt = w.l.syncTime(w.now)
	}
	return nil
}

// apply tells the difference where it can, the whole where it must.
func (w *work) apply(ctx context.Context, e ajar.Enforcer) error {
	p := w.plan
	c, changer := e.(ajar.Changer)
	if p.synced {
		d := p.delta(w.now, w.guard)
		if d.Empty() {
			return nil
		}
		if !changer {
			return e.Apply(ctx, *w.ep, p.whole(w.now, w.guard))
		}
		err := c.Change(ctx, *w.ep, d)
		if !errors.Is(err, ajar.Conflict) {
			return err
		}
	}
	return w.applyWhole(ctx, e)
}

func (w *work) applyWhole(ctx context.Context, e ajar.Enforcer) (err error) {
	p := w.plan
	p.synced = false
	want := p.whole(w.now, w.guard)
	if c, ok := e.(ajar.Changer); ok {
		err = c.ApplyAt(ctx, *w.ep, want, p.rev)
	} else {
		err = e.Apply(ctx, *w.ep, want)
	}
	p.synced = err == nil
	return err
}

// syncTime spreads the looks for drift.
func (l *Loop) syncTime(now time.Time) time.Time {
	return now.Add(l.Resync*3/4 + time.Duration(rand.Int64N(int64(l.Resync/2)+1)))
}
