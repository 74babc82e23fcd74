package enforce

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
)

// text sets on the pass's own copy of the endpoint why it is in trouble. The text is the same for every try, so that
// it is written once, and is for people: causes go to the log.
func (w *work) text() {
	switch w.err {
	case nil, errWaits: // cleared by endpoint; unchanged
	default:
		t := ajar.Message(w.err) + "; tried again when it reconnects, and at the latest every " + w.l.MaxBackoff.String()
		if w.ep.Trouble == t {
			return
		}
		w.l.Log.Warn("endpoint cannot be driven", "endpoint", string(w.ep.ID), "provider", w.ep.Provider, "failures", w.claim.Failures+1, "err", w.err)
		ep := *w.ep
		ep.Trouble = t
		w.ep, w.troubled = &ep, true
	}
}

// endpoint writes what the pass found out about the endpoint itself: trouble that began or ended, guards that the firewall
// has now or that were not confirmed in time, drift that was repaired.
func (w *work) endpoint(tx ajar.Tx) error {
	rolled := slices.ContainsFunc(w.ep.Guards, func(g ajar.EndpointGuard) bool { return unconfirmed(g, w.now) })
	healed := w.err == nil && w.ep.Trouble != ""
	if w.drift != nil && w.err == nil {
		err := tx.Append(ajar.Event{Time: milli(w.done), Action: ajar.DriftRepaired, Outcome: ajar.Happened, Scope: w.ep.Target, Endpoint: w.ep.ID, Message: w.drift.String()})
		if err != nil {
			return err
		}
	}
	inForce := w.err == nil && w.ep.GuardsPending()
	if !rolled && !healed && !w.troubled && !inForce {
		return nil
	}
	// Others write it too. What is changed here does not depend on what they changed, so the newest is taken.
	ep, err := ajar.Get[ajar.Endpoint](tx, string(w.ep.ID))
	if err != nil {
		return err
	}
	switch {
	case healed:
		ep.Trouble = ""
	case w.troubled:
		ep.Trouble = w.ep.Trouble
	}
	if inForce {
		ep.GuardsSeen = w.ep.GuardsSet // what came since is for the next pass
		if err := tx.Append(w.inForce()); err != nil {
			return err
		}
	}
	kept := ep.Guards[:0:0]
	for _, g := range ep.Guards {
		if !unconfirmed(g, w.now) {
			kept = append(kept, g)
			continue
		}
		err := tx.Append(ajar.Event{Time: milli(w.done), Action: ajar.GuardRolledBack, Outcome: ajar.Happened, Scope: ep.Target, Endpoint: ep.ID,
			Message: "not confirmed in time", Details: map[string]string{"port": g.Port.String(), "count": "1", "confirmBy": stamp(g.ConfirmBy)}})
		if err != nil {
			return err
		}
	}
	ep.Guards = kept
	return tx.Put(ep)
}

// inForce says that the firewall was seen to have what is to be guarded.
func (w *work) inForce() ajar.Event {
	e := ajar.Event{Time: milli(w.done), Action: ajar.GuardInForce, Outcome: ajar.Happened, Scope: w.ep.Target, Endpoint: w.ep.ID}
	if len(w.guard) == 0 {
		e.Message = "nothing is guarded any longer"
		return e
	}
	ports := make([]string, len(w.guard))
	for i, g := range w.guard {
		ports[i] = g.Port.String()
	}
	e.Details = map[string]string{"ports": strings.Join(ports, ", ")}
	return e
}

func unconfirmed(g ajar.EndpointGuard, now time.Time) bool {
	return !g.ConfirmBy.IsZero() && !now.Before(g.ConfirmBy)
}

// release ends the claim and says when to look again: at the next moment that changes what is wanted, for drift, or for
// another try. What landed meanwhile is looked at now.
func (w *work) release(tx ajar.Tx, r *record) error {
	p, failures := w.plan, 0
	r.due = p.syncAt
	if w.err != nil {
		r.due, failures = p.retryAt, w.claim.Failures
		if w.err != errWaits {
			failures++
		}
	}
	sooner := func(t time.Time) {
		if !t.IsZero() && t.Before(r.due) {
			r.due = t
		}
	}
	sooner(p.next())
	for _, g := range w.ep.Guards {
		if !g.ConfirmBy.IsZero() && w.now.Before(g.ConfirmBy) {
			sooner(g.ConfirmBy)
		}
	}
	if len(r.landed) > 0 {
		sooner(milli(w.done))
	}
	return tx.Release(w.claim, r.due, failures)
}

// finish counts what the pass as a whole came to.
func (w *work) finish() {
	l := w.l
	if len(w.plan.unsettled) == 0 {
		w.plan.unsettled = map[*entry]struct{}{} // it may have grown large
	}
	if w.err == nil {
		if l.Hooks.Drift != nil && w.drift != nil {
			l.Hooks.Drift(w.drift.rules())
		}
		if w.drift != nil {
			l.Log.Warn("drift repaired", "endpoint", string(w.ep.ID), "found", w.drift.String())
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if w.err != nil {
		l.trouble[w.ep.ID] = true
	} else {
		delete(l.trouble, w.ep.ID)
	}
}

// backoff is the wait after so many failures: doubling, bounded, and spread so that many hosts behind one fault do not
// come back together.
func (l *Loop) backoff(failures int) time.Duration {
	d := l.Backoff << min(max(failures-1, 0), 20)
	if d <= 0 || d > l.MaxBackoff {
		d = l.MaxBackoff
	}
	return d*4/5 + time.Duration(rand.Int64N(int64(d)*2/5+1))
}

// listen takes an enforcer's reports until ctx ends.
func (l *Loop) listen(ctx context.Context, kind string, r ajar.Reporter) {
	for wait := l.Backoff; ; wait = min(2*wait, 30*time.Second) {
		err := r.Report(ctx, func(rep ajar.Report) error { return l.report(ctx, rep) })
		if ctx.Err() != nil {
			return
		}
		l.Log.Warn("reports interrupted", "provider", kind, "err", err)
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}
