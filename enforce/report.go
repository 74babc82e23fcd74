package enforce

import (
	"context"
	"errors"
	"reflect"
	"time"

	"github.com/ajar-access/ajar"
)

// report makes a report durable: an Event, what is shown of the endpoint, a look where one is asked for. It returns nil
// only after the commit.
func (l *Loop) report(ctx context.Context, r ajar.Report) error {
	if r.Time.IsZero() {
		r.Time = l.Clock()
	}
	// Whoever reconnects may have missed anything, and may have been waited for.
	look := r.Look || (r.Connected != nil && *r.Connected)
	err := l.Store.Update(ctx, func(tx ajar.Tx) error {
		ep, err := ajar.Get[ajar.Endpoint](tx, string(r.Endpoint))
		if err != nil && !errors.Is(err, ajar.NotFound) {
			return err
		}
		if ep != nil {
			if look {
				ep.Looks++
			}
			if show(ep, r) || look {
				ep.LastSeen = milli(l.Clock())
				if err := tx.Put(ep); err != nil {
					return err
				}
			}
			if look {
				if err := tx.MarkDue(ep.ID, milli(l.Clock())); err != nil {
					return err
				}
			}
		}
		switch r.Action {
		case "":
			return nil
		case ajar.SessionsOutlive, ajar.SessionsOver:
			return outlived(tx, r)
		case ajar.GuardRolledBack:
			if ep == nil || foreseen(ep, r) {
				return nil
			}
		}
		ev := ajar.Event{Time: milli(r.Time), Action: r.Action, Outcome: ajar.Happened, Endpoint: r.Endpoint, Message: r.Message, Details: r.Details}
		if ep != nil {
			ev.Scope = ep.Target
		}
		return tx.Append(ev)
	})
	if err != nil {
		return err
	}
	if !l.at(StepReported, r.Endpoint) {
		return errCrash
	}
	if r.Action == ajar.DriftRepaired && l.Hooks.Drift != nil {
		l.Hooks.Drift(1)
	}
	if look {
		l.Wake(r.Endpoint)
	}
	return nil
}

// foreseen reports whether the loop itself says, or has said, that the guard went which the host tells of: the plane rolls
// it back at the same time. What a host rolled back although it was confirmed here meanwhile is news.
func foreseen(ep *ajar.Endpoint, r ajar.Report) bool {
	for _, g := range ep.Guards {
		dest := ""
		if g.Dest.IsValid() {
			dest = g.Dest.String()
		}
		if g.Port.String() == r.Details["port"] && dest == r.Details["destination"] {
			return !g.ConfirmBy.IsZero() && g.ConfirmBy.UTC().Format(time.RFC3339) == r.Details["confirmBy"]
		}
	}
	return true
}

// show enters into ep what r says of it, and reports whether that is news.
func show(ep *ajar.Endpoint, r ajar.Report) (news bool) {
	if r.Connected != nil && *r.Connected != ep.Connected {
		ep.Connected, ep.Since, news = *r.Connected, milli(r.Time), true
	}
	if r.SkewMS != nil && *r.SkewMS != ep.SkewMS {
		ep.SkewMS, news = *r.SkewMS, true
	}
	if r.Status != nil && !reflect.DeepEqual(*r.Status, ep.Status) {
		ep.Status, news = *r.Status, true
	}
	return news
}
