package enforce

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ajar-access/ajar"
)

// record is what one Update of a settlement did. It is made anew whenever the Update runs again, and looked at after the
// commit only.
type record struct {
	checked bool          // others' writes were looked for
	landed  []*ajar.Lease // that is: written since the plan was read
	seen    int64         // the Seq up to which that was read now
	written []*ajar.Lease
	idle    []*entry // that the store need not be told about
	opened  []time.Duration
	closed  []time.Duration
	due     time.Time
}

// settle tells the store what happened, in Updates of at most Chunk leases, the last of which ends the claim.
func (w *work) settle(ctx context.Context) (due time.Time, err error) {
	unsettled := make([]*entry, 0, len(w.plan.unsettled))
	for e := range w.plan.unsettled {
		unsettled = append(unsettled, e)
	}
	slices.SortFunc(unsettled, func(a, b *entry) int { return cmp.Or(cmp.Compare(a.end, b.end), cmp.Compare(a.id, b.id)) })
	w.text()
	for {
		n := min(len(unsettled), w.l.Chunk)
		last := n == len(unsettled)
		if due, err = w.update(ctx, unsettled[:n], last); err != nil || last {
			return due, err
		}
		unsettled = unsettled[n:]
		if !w.l.at(StepChunk, w.ep.ID) {
			return due, errCrash
		}
	}
}

// update settles some leases in one Update, and the endpoint with the last. Whether others wrote meanwhile it asks the
// store only where something says so: what it knows to have come in, or a Conflict. What it does not see stands in the
// endpoint's mark, by which Release leaves it due.
func (w *work) update(ctx context.Context, unsettled []*entry, last bool) (time.Time, error) {
	if last && w.err != nil && w.err != errWaits {
		w.plan.retryAt = w.done.Add(w.l.backoff(w.claim.Failures + 1))
	}
	r, err := w.record(ctx, unsettled, last, false)
	if errors.Is(err, ajar.Conflict) && !r.checked {
		r, err = w.record(ctx, unsettled, last, true)
	}
	if err != nil {
		return time.Time{}, err
	}
	if !w.l.at(StepSettled, w.ep.ID) {
		return time.Time{}, errCrash
	}
	w.after(r, last)
	return r.due, nil
}

// record is that Update.
func (w *work) record(ctx context.Context, unsettled []*entry, last, check bool) (r *record, err error) {
	r = new(record)
	err = w.l.Store.Update(ctx, func(tx ajar.Tx) error {
		*r = record{checked: check || w.l.disturbed(w.ep.ID)}
		if err := w.look(tx, r); err != nil {
			return err
		}
		if err := w.leases(tx, r, unsettled); err != nil || !last {
			return err
		}
		if err := w.endpoint(tx); err != nil {
			return err
		}
		return w.release(tx, r)
	})
	return r, err
}

// look finds what others wrote since the plan was read.
func (w *work) look(tx ajar.Tx, r *record) error {
	if !r.checked {
		return nil
	}
	ls, err := w.plan.changes(tx, w.ep.ID)
	if err != nil {
		return err
	}
	r.landed = slices.DeleteFunc(ls, func(l *ajar.Lease) bool {
		r.seen = max(r.seen, l.Seq)
		e := w.plan.leases[l.ID]
		return e != nil && e.rev == l.Rev // it was told of
	})
	return nil
}

// leases writes what became of those leases of unsettled that nobody touched meanwhile. The others are dropped: the next
// pass looks at them anew.
func (w *work) leases(tx ajar.Tx, r *record, unsettled []*entry) error {
	moved := make(map[ajar.LeaseID]bool, len(r.landed))
	for _, l := range r.landed {
		moved[l.ID] = true
	}
	for _, e := range unsettled {
		if moved[e.id] {
			continue
		}
		if !w.needs(e) {
			r.idle = append(r.idle, e)
			continue
		}
		l := new(ajar.Lease)
		if e.doc != nil && !r.checked {
			*l = *e.doc
		} else if err := tx.GetDoc(ajar.KindLease, string(e.id), l); err != nil {
			return err
		}
		if l.Rev != e.rev {
			if !r.checked {
				return ajar.Errorf(ajar.Conflict, "lease %s changed", e.id)
			}
			r.landed = append(r.landed, l) // by somebody who marks nothing due: another replica's loop, or a host's report
			continue
		}
		if err := w.advance(tx, r, e, l); err != nil {
			return err
		}
		if err := tx.Put(l); err != nil {
			return err
		}
		r.written = append(r.written, l)
	}
	return nil
}

// needs reports whether the store must be told something about e. It says what advance would do, without the document.
func (w *work) needs(e *entry) bool {
	opened := e.state == ajar.Opening || e.state == ajar.Open
	over := w.now.UnixMilli() >= e.end
	if w.err != nil {
		return (opened && over) || (w.unsettled(e) && e.trouble != w.ep.Trouble)
	}
	switch {
	case opened && over, e.state == ajar.Closing && !e.told, e.trouble != "":
		return true
	case opened:
		return e.told && w.done.UnixMilli() < e.end && (e.state == ajar.Opening || e.kernel != e.end)
	}
	return false
}

// unsettled reports whether the firewall still has to do something for e. A lease whose live sessions drain is as it
// should be, and so is one whose rule another replica saw go.
func (w *work) unsettled(e *entry) bool {
	if e.state == ajar.Closed {
		return false
	}
	if e.state == ajar.Closing || w.now.UnixMilli() >= e.end {
		return !e.draining(w.now.UnixMilli())
	}
	return e.state == ajar.Opening || e.kernel != e.end
}

// advance takes the steps that l has come to, with their events.
func (w *work) advance(tx ajar.Tx, r *record, e *entry, l *ajar.Lease) error {
	if (l.State == ajar.Opening || l.State == ajar.Open) && !w.now.Before(l.End) {
		if err := l.Move(ajar.Closing, ajar.Expired); err != nil {
			return err
		}
	}
	if w.err != nil {
		if !w.unsettled(e) {
			return nil
		}
		first := l.Trouble == ""
		l.Trouble = w.ep.Trouble
		if !first || l.Trouble == "" {
			return nil
		}
		return tx.Append(w.event(ajar.LeaseUnreachable, l, map[string]string{"state": string(l.State), "mayBeOpenUntil": stamp(l.MayBeOpenUntil(w.done))}))
	}
	l.Trouble = ""
	switch {
	case l.State == ajar.Closing && !e.told:
		return w.closed(tx, r, l)
	case l.State == ajar.Opening && e.told && w.done.Before(l.End):
		return w.opened(tx, r, l)
	case l.State == ajar.Open && e.told && !l.KernelEnd.Equal(l.End):
		was := l.KernelEnd
		l.KernelEnd = l.End
		if was.IsZero() || was.After(l.End) {
			return nil
		}
		return tx.Append(w.event(ajar.LeaseExtended, l, map[string]string{"from": stamp(was)}))
	}
	return nil
}

func (w *work) opened(tx ajar.Tx, r *record, l *ajar.Lease) error {
	if err := l.Move(ajar.Open, ""); err != nil {
		return err
	}
	l.Opened, l.KernelEnd = milli(w.done), l.End
	lag := max(0, w.done.Sub(l.Start))
	r.opened = append(r.opened, lag)
	return tx.Append(w.event(ajar.LeaseOpened, l, map[string]string{"after": lag.Round(time.Millisecond).String()}))
}

func (w *work) closed(tx ajar.Tx, r *record, l *ajar.Lease) error {
	if err := l.Move(ajar.Closed, ""); err != nil {
		return err
	}
	l.Closed = milli(w.done)
	details := map[string]string{"reason": string(l.Reason)}
	over, word := l.Ended, "after"
	if l.Reason == ajar.Expired {
		over, word = l.HardStop(), "late"
	}
	if !over.IsZero() { // who was ended by an older program was not told when
		lag := max(0, w.done.Sub(over))
		r.closed = append(r.closed, lag)
		details[word] = lag.Round(time.Millisecond).String()
	}
	return tx.Append(w.event(ajar.LeaseClosed, l, details))
}

// event is one about l. The requester is its principal: nobody called.
func (w *work) event(a ajar.Action, l *ajar.Lease, details map[string]string) ajar.Event {
	from := make([]string, 0, len(l.Sources))
	for _, s := range l.Sources {
		from = append(from, s.String())
	}
	details["port"], details["source"], details["end"] = l.Flow.Port.String(), fmt.Sprint(from), stamp(l.End)
	for k, v := range details {
		if v == "" {
			delete(details, k)
		}
	}
	msg := ""
	if a == ajar.LeaseUnreachable {
		msg = l.Trouble
	}
	return ajar.Event{Time: milli(w.done), Action: a, Outcome: ajar.Happened, Scope: l.Target, Principal: l.Requester,
		Request: l.Request, Lease: l.ID, Endpoint: l.Endpoint, Message: msg, Details: details}
}

// after brings the plan to what the committed Update made of the store.
func (w *work) after(r *record, last bool) {
	l, p := w.l, w.plan
	if r.checked {
		p.absorb(r.landed, w.done)
		p.after = max(p.after, r.seen)
		for _, d := range r.written {
			p.after = max(p.after, d.Seq)
		}
	}
	for _, e := range r.idle {
		if p.leases[e.id] == e && w.err == nil {
			delete(p.unsettled, e)
		}
		e.doc = nil
	}
	for _, d := range r.written {
		p.wrote(d, w.now, w.err != nil)
	}
	if l.Hooks.Opened != nil {
		for _, d := range r.opened {
			l.Hooks.Opened(d)
		}
	}
	if l.Hooks.Closed != nil {
		for _, d := range r.closed {
			l.Hooks.Closed(d)
		}
	}
	if last {
		w.finish()
	}
}

// wrote takes in a lease as the loop itself wrote it, which changes nothing in what is wanted of it.
func (p *plan) wrote(l *ajar.Lease, now time.Time, failed bool) {
	e := p.leases[l.ID]
	if e == nil || l.Rev <= e.rev {
		return
	}
	p.leave(e)
	e.rev, e.state, e.reason, e.trouble, e.doc, e.kernel = l.Rev, l.State, l.Reason, l.Trouble, nil, 0
	if !l.KernelEnd.IsZero() {
		e.kernel = l.KernelEnd.UnixMilli()
	}
	if e.state == ajar.Closed && !e.told {
		p.forget(e)
		return
	}
	p.join(e, max(p.seen, now.UnixMilli()))
	if !failed {
		delete(p.unsettled, e)
	}
}

func milli(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z07:00")
}
