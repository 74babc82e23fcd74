package broker

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/ajar-access/ajar"
)

// EndListing ends a listing that was whole: listed has the key of every machine in it (MachineWrite and MachineDelete at
// its scope). What it lacks is noted, and what two listings in a row lack is removed, as by a person: its leases Closed,
// unverified. What was written since the listing began is left alone. A listing that lacks too much of what is known
// removes nothing. The next one is due at due.
func (b *Broker) EndListing(ctx context.Context, who ajar.Caller, l *ajar.Listing, listed map[string]bool, due time.Time) (end ajar.Ended, err error) {
	w, err := b.lacking(ctx, who, l, listed)
	if err != nil {
		return end, err
	}
	end.Targets, end.Missing = w.known, len(w.fresh)+len(w.again)+w.waiting+w.kept
	most := w.known * b.RemovePercent / 100
	if b.RemovePercent > 0 {
		most = max(most, 1)
	}
	if n := len(w.fresh) + len(w.again) + w.waiting; n > max(most, 0) {
		end.Refused = true
		why := fmt.Sprintf("the listing lacks %d of the %d machines that are known from it, and at most %d may go at once (discovery.removePercent); none was removed", n, w.known, max(most, 0))
		return end, b.closeListing(ctx, who, l, due, func(now *ajar.Listing) { now.Refused, now.Trouble = true, why })
	}
	if end.Gone, err = b.removeLacking(ctx, who, l, w); err != nil {
		return end, err
	}
	end.Targets, end.Missing = end.Targets-end.Gone, end.Missing-end.Gone
	return end, b.closeListing(ctx, who, l, due, func(now *ajar.Listing) {
		now.Targets, now.Missing, now.Failures, now.Refused, now.Trouble = end.Targets, end.Missing, 0, false, ""
		now.Listed = b.now()
	})
}

// FailListing ends a listing that was not whole. Nothing goes for it.
func (b *Broker) FailListing(ctx context.Context, who ajar.Caller, l *ajar.Listing, why string, due time.Time) error {
	return b.closeListing(ctx, who, l, due, func(now *ajar.Listing) { now.Refused, now.Trouble = false, clean(why, 1024) })
}

// closeListing gives the claim back. What changed since the listing before is recorded; a failure like the last is not.
func (b *Broker) closeListing(ctx context.Context, who ajar.Caller, l *ajar.Listing, due time.Time, change func(now *ajar.Listing)) error {
	return b.listing(ctx, who, l.Origin, func(t *txn) error {
		now, err := t.held(l)
		if err != nil {
			return err
		}
		was := *now
		change(now)
		now.Owner, now.Until, now.Due = "", time.Time{}, trim(due)
		if now.Trouble != "" {
			now.Failures++
		}
		var action ajar.Action
		switch {
		case now.Refused && !was.Refused:
			action = ajar.ListingRefused
		case now.Trouble != "" && !now.Refused && (was.Trouble == "" || was.Refused):
			action = ajar.ListingFailed
		case now.Trouble == "" && was.Trouble != "":
			action = ajar.ListingWorked
		}
		if action != "" {
			t.also(action, l.Scope, func(e *ajar.Event) {
				e.Outcome, e.Message, e.Details = ajar.Happened, now.Trouble, map[string]string{"provider": l.Provider}
			})
		}
		return t.Put(now)
	})
}

// lack is what a listing does not have of what is known from it, as keys.
type lack struct {
	known   int
	fresh   []string // lacked for the first time
	again   []string // lacked by the listing before, too
	keep    []string // lacked, but somebody else's host lives on them, which was not said yet
	unclash []string // no longer listed, and not its own
	waiting int      // lacked, but written since the listing began
	kept    int
}

// lacking walks through what is known from an origin, by the index of owners.
func (b *Broker) lacking(ctx context.Context, who ajar.Caller, l *ajar.Listing, listed map[string]bool) (w lack, err error) {
	f := ajar.Filter{Owner: ajar.PrincipalID(l.Origin.Key()), Limit: 500}
	for more := true; more; {
		err := b.view(ctx, who, func(t *txn) error {
			if err := t.need(ajar.MachineDelete, l.Scope); err != nil {
				return err
			}
			part := lack{}
			ms, cursor, err := ajar.List[ajar.Target](t, f)
			for i := 0; err == nil && i < len(ms); i++ {
				err = t.sort(l, ms[i], listed[ms[i].ID.Key()], &part)
			}
			if err != nil {
				return err
			}
			w.join(part)
			f.Cursor, more = cursor, cursor != ""
			return nil
		})
		if err != nil {
			return w, err
		}
	}
	return w, nil
}

func (w *lack) join(p lack) {
	w.known, w.waiting, w.kept = w.known+p.known, w.waiting+p.waiting, w.kept+p.kept
	w.fresh, w.again = append(w.fresh, p.fresh...), append(w.again, p.again...)
	w.keep, w.unclash = append(w.keep, p.keep...), append(w.unclash, p.unclash...)
}

func (t *txn) sort(l *ajar.Listing, m *ajar.Target, listed bool, w *lack) error {
	key := m.ID.Key()
	if m.Finding.Origin.Key() != l.Origin.Key() {
		if !listed {
			w.unclash = append(w.unclash, key)
		}
		return nil
	}
	w.known++
	if listed {
		return nil
	}
	switch other, err := t.otherHost(l, m); {
	case err != nil:
		return err
	case other != "" && m.Finding.Kept != "":
		w.kept++
	case other != "" && !m.Finding.Missing.IsZero():
		w.kept++
		w.keep = append(w.keep, key)
	case m.Seq > l.Seq:
		w.waiting++
	case m.Finding.Missing.IsZero():
		w.fresh = append(w.fresh, key)
	default:
		w.again = append(w.again, key)
	}
	return nil
}

// otherHost is the provider of an endpoint of m that is not the listing's: a host that joined is there, whatever is
// listed.
func (t *txn) otherHost(l *ajar.Listing, m *ajar.Target) (string, error) {
	other := ""
	err := t.eachEndpoint(m, func(ep *ajar.Endpoint) (bool, error) {
		if ep.Provider != l.Provider {
			other = ep.Provider
		}
		return false, nil
	})
	return other, err
}

// removeLacking notes what is missing and removes what was missing before, a bounded part in each transaction.
func (b *Broker) removeLacking(ctx context.Context, who ajar.Caller, l *ajar.Listing, w lack) (gone int, err error) {
	for _, x := range []struct {
		keys   []string
		n      int
		action ajar.Action
		fn     func(t *txn, m *ajar.Target) (bool, error)
	}{
		{w.fresh, foundChunk, ajar.MachineWrite, func(t *txn, m *ajar.Target) (bool, error) { return true, t.missing(l, m) }},
		{w.keep, foundChunk, ajar.MachineWrite, func(t *txn, m *ajar.Target) (bool, error) { return true, t.keepMissing(l, m) }},
		{w.unclash, foundChunk, ajar.MachineWrite, func(t *txn, m *ajar.Target) (bool, error) { return true, t.unclash(l, m) }},
		{w.again, goneChunk, ajar.MachineDelete, func(t *txn, m *ajar.Target) (bool, error) { return t.gone(l, m) }},
	} {
		for part := range slices.Chunk(x.keys, x.n) {
			n := 0
			err := b.do(ctx, who, op{action: x.action, scope: l.Scope}, func(t *txn) error {
				n = 0
				if _, err := t.held(l); err != nil {
					return err
				}
				for _, key := range part {
					m, err := t.oldTarget(ajar.ID(key))
					if err == nil && m != nil {
						var did bool
						if did, err = x.fn(t, m); did {
							n++
						}
					}
					if err != nil {
						return err
					}
				}
				t.event.Endpoint = ""
				t.detail("provider", l.Provider)
				t.detail("machines", strconv.Itoa(n))
				return nil
			})
			if err != nil {
				return gone, err
			}
			if x.action == ajar.MachineDelete {
				gone += n
			}
		}
	}
	return gone, nil
}

// still reports whether m is still the listing's, and as old.
func still(l *ajar.Listing, m *ajar.Target) bool {
	return m.Finding.Origin.Key() == l.Origin.Key() && m.Seq <= l.Seq
}

func (t *txn) missing(l *ajar.Listing, m *ajar.Target) error {
	if !still(l, m) || !m.Finding.Missing.IsZero() {
		return nil
	}
	m.Finding.Missing, m.Finding.Round = t.now, l.Round
	t.also(ajar.TargetMissing, m.ID, func(e *ajar.Event) {
		e.Outcome, e.Details = ajar.Happened, map[string]string{"provider": l.Provider}
		e.Message = "provider " + l.Provider + " no longer lists the machine; it goes if the next listing lacks it, too"
	})
	return t.Put(m)
}

func (t *txn) keepMissing(l *ajar.Listing, m *ajar.Target) error {
	other, err := t.otherHost(l, m)
	if err != nil || other == "" || m.Finding.Origin.Key() != l.Origin.Key() || m.Finding.Kept != "" {
		return err
	}
	m.Finding.Kept = "it has a host of provider " + other
	t.also(ajar.TargetKept, m.ID, func(e *ajar.Event) {
		e.Outcome, e.Details = ajar.Happened, map[string]string{"provider": l.Provider}
		e.Message = "provider " + l.Provider + " no longer lists the machine; it stays, for " + m.Finding.Kept
	})
	return t.Put(m)
}

func (t *txn) unclash(l *ajar.Listing, m *ajar.Target) error {
	if m.Finding.Clash.Key() != l.Origin.Key() {
		return nil
	}
	m.Finding.Clash = ajar.Origin{}
	return t.Put(m)
}

// gone removes a machine that two listings in a row lack.
func (t *txn) gone(l *ajar.Listing, m *ajar.Target) (bool, error) {
	other, err := t.otherHost(l, m)
	if err != nil || other != "" || !still(l, m) || m.Finding.Missing.IsZero() || m.Finding.Round >= l.Round {
		return false, err
	}
	t.also(ajar.TargetGone, m.ID, func(e *ajar.Event) {
		e.Outcome, e.Details = ajar.Happened, map[string]string{"provider": l.Provider, "missing": m.Finding.Missing.Format(time.RFC3339)}
		e.Message = "two listings of provider " + l.Provider + " in a row lack the machine"
	})
	return true, t.removeTarget(m, true)
}
