package broker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/ajar-access/ajar"
)

// Extension says how far a lease should go: to an absolute time, or for so much longer than it would. Exactly one is
// set.
type Extension struct {
	Until time.Time
	By    time.Duration
}

// LeaseFilter selects leases. Zero fields do not filter.
type LeaseFilter struct {
	Scope     ajar.ID // of the target
	Requester ajar.PrincipalID
	Live      bool // only Opening and Open ones that have not ended, and those whose sessions live on
	// Since and Before select those that let anybody in, or may have, at some moment from the one on and before the other.
	Since, Before time.Time
	Page          Page
}

// in reports whether l let anybody in, or may have, in f's time.
func (f *LeaseFilter) in(l *ajar.Lease) bool {
	if !f.Before.IsZero() && !l.Start.Before(f.Before) {
		return false
	}
	if f.Since.IsZero() {
		return true
	}
	over := l.HardStop() // the kernel keeps it, whenever that was seen
	if l.State == ajar.Closed && !l.Unverified && l.Closed.Before(over) {
		over = l.Closed
	}
	return !over.Before(f.Since)
}

// end takes l, if it still lets anybody in or live sessions go on, to Closing. Its End stays as it was granted.
func (t *txn) end(l *ajar.Lease, why ajar.Reason) error {
	switch {
	case l.Live(t.now), l.Draining(t.now) && l.State != ajar.Closing:
		if err := l.Move(ajar.Closing, why); err != nil {
			return err
		}
	case l.Draining(t.now):
		l.Reason = why // a lease that is revoked cuts, whatever its mode
	default:
		return nil
	}
	l.Ended, l.ClosedBy = t.now, t.who.Principal
	if err := t.Put(l); err != nil {
		return err
	}
	return t.due(l.Endpoint)
}

// ended reports whether end would do nothing for l.
func (t *txn) ended(l *ajar.Lease) bool { return !l.Live(t.now) && !l.Draining(t.now) }

func (t *txn) lease(id ajar.LeaseID) (*ajar.Lease, error) {
	l, err := ajar.Get[ajar.Lease](t, string(id))
	if errors.Is(err, ajar.NotFound) {
		return nil, &ajar.Error{Kind: ajar.NotFound, Code: "LeaseNotFound", Msg: fmt.Sprintf("there is no lease %.60q", id)}
	}
	return l, err
}

// Revoke closes every lease of a request that is still live or draining: one's own, or with RequestRevoke at its
// policy.
func (b *Broker) Revoke(ctx context.Context, who ajar.Caller, id ajar.RequestID, reason string) (*Outcome, error) {
	key, bad := guid("the request", string(id))
	if bad == nil {
		bad = text("the reason", reason, ajar.MaxText)
	}
	var out *Outcome
	var r *ajar.Request
	o := op{action: ajar.RequestRevoke, bad: bad, may: func(t *txn) (err error) {
		if r, err = t.request(ajar.RequestID(key)); err != nil {
			return err
		}
		t.event.Scope, t.event.Request = r.Policy, r.ID
		return t.mayClose(r.Requester, r.Policy)
	}}
	err := b.do(ctx, who, o, func(t *txn) error {
		if now := r.Now(t.now); now != ajar.Approved {
			return ajar.Errorf(ajar.Conflict, "request %s is %s; nothing of it is open", r.ID, now)
		}
		ls, err := t.leasesOf(r)
		if err != nil {
			return err
		}
		n := 0
		for _, l := range ls {
			if t.ended(l) {
				continue
			}
			n++
			if err := t.end(l, ajar.Revoked); err != nil {
				return err
			}
		}
		if n == 0 {
			return ajar.Errorf(ajar.Conflict, "nothing of request %s is open any longer", r.ID)
		}
		t.detail("leases", strconv.Itoa(n))
		t.detail("reason", reason)
		out = &Outcome{r, ls}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// mayClose authorizes closing what owner has open under policy. One's own needs no right: to have less never does.
func (t *txn) mayClose(owner ajar.PrincipalID, policy ajar.ID) error {
	if t.self(owner) {
		t.event.By = "requester"
		return nil
	}
	return t.need(ajar.RequestRevoke, policy)
}

// CloseLease closes one lease early: one's own, or with RequestRevoke at its policy.
func (b *Broker) CloseLease(ctx context.Context, who ajar.Caller, id ajar.LeaseID, reason string) (*ajar.Lease, error) {
	key, bad := guid("the lease", string(id))
	if bad == nil {
		bad = text("the reason", reason, ajar.MaxText)
	}
	var l *ajar.Lease
	o := op{action: ajar.RequestRevoke, bad: bad, may: func(t *txn) (err error) {
		if l, err = t.lease(ajar.LeaseID(key)); err != nil {
			return err
		}
		t.about(l)
		return t.mayClose(l.Requester, l.Policy)
	}}
	err := b.do(ctx, who, o, func(t *txn) error {
		if t.ended(l) {
			return ajar.Errorf(ajar.Conflict, "lease %s is %s already", l.ID, l.Now(t.now))
		}
		t.detail("reason", reason)
		return t.end(l, ajar.Revoked)
	})
	if err != nil {
		return nil, err
	}
	return l, nil
}

// about says in the event which lease the verb is about.
func (t *txn) about(l *ajar.Lease) {
	t.event.Scope, t.event.Request, t.event.Lease, t.event.Endpoint = l.Policy, l.Request, l.ID, l.Endpoint
	t.detail("port", l.Flow.Port.String())
	t.detail("machine", string(l.Target))
}

// Extend moves the end of every live lease of a request, all of them or none: one's own (with PolicyInitiate, and
// MachineRead on each machine, as when asking), or with RequestExtend at its policy, while who asked still may. The same leases go on without a gap, never beyond the longest duration counted from
// their first start, and only while the policy still offers them.
func (b *Broker) Extend(ctx context.Context, who ajar.Caller, id ajar.RequestID, to Extension) (*Outcome, error) {
	key, bad := guid("the request", string(id))
	if bad == nil {
		bad = to.check()
	}
	var out *Outcome
	var r *ajar.Request
	o := op{action: ajar.RequestExtend, bad: bad, may: func(t *txn) (err error) {
		if r, err = t.request(ajar.RequestID(key)); err != nil {
			return err
		}
		t.event.Scope, t.event.Request = r.Policy, r.ID
		return t.mayExtend(r.Requester, r.Policy)
	}}
	err := b.do(ctx, who, o, func(t *txn) error {
		ls, err := t.leasesOf(r)
		if err != nil {
			return err
		}
		n := 0
		for _, l := range ls {
			if !l.Live(t.now) {
				continue
			}
			n++
			if err := t.extend(r, l, to); err != nil {
				return err
			}
		}
		if n == 0 {
			return ajar.Errorf(ajar.Conflict, "nothing of request %s is open any longer; ask anew", r.ID)
		}
		t.detail("leases", strconv.Itoa(n))
		out = &Outcome{r, ls}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (t *txn) mayExtend(owner ajar.PrincipalID, policy ajar.ID) error {
	if t.self(owner) {
		return t.might(ajar.PolicyInitiate, policy)
	}
	return t.need(ajar.RequestExtend, policy)
}

// ExtendLease is Extend for one lease.
func (b *Broker) ExtendLease(ctx context.Context, who ajar.Caller, id ajar.LeaseID, to Extension) (*ajar.Lease, error) {
	key, bad := guid("the lease", string(id))
	if bad == nil {
		bad = to.check()
	}
	var l *ajar.Lease
	o := op{action: ajar.RequestExtend, bad: bad, may: func(t *txn) (err error) {
		if l, err = t.lease(ajar.LeaseID(key)); err != nil {
			return err
		}
		t.about(l)
		return t.mayExtend(l.Requester, l.Policy)
	}}
	err := b.do(ctx, who, o, func(t *txn) error {
		r, err := t.request(l.Request)
		if err != nil {
			return err
		}
		return t.extend(r, l, to)
	})
	if err != nil {
		return nil, err
	}
	return l, nil
}

func (to Extension) check() error {
	switch {
	case to.Until.IsZero() == (to.By == 0):
		return ajar.Errorf(ajar.Invalid, "say how far: exactly one of a new end and a duration")
	case to.By < 0:
		return ajar.Errorf(ajar.Invalid, "a lease cannot be extended by less than nothing; close it to end it sooner")
	case to.Until.Year() > 9999:
		return ajar.Errorf(ajar.Invalid, "the end lies beyond the year 9999")
	}
	return nil
}

// extend moves l's end, or says what would be possible.
func (t *txn) extend(r *ajar.Request, l *ajar.Lease, to Extension) error {
	end := trim(to.Until)
	if to.By > 0 {
		end = trim(l.End.Add(to.By))
	}
	if !l.Live(t.now) {
		return ajar.Errorf(ajar.Conflict, "lease %s is %s; ask anew", l.ID, l.Now(t.now))
	}
	if !end.After(l.End) {
		return ajar.Errorf(ajar.Invalid, "the lease runs until %s already; close it to end it sooner", l.End.Format(time.RFC3339))
	}
	longer := []ajar.Ask{{Target: l.Target, Port: l.Flow.Port, Sources: l.Sources, End: end}}
	if t.self(l.Requester) {
		if err := t.linked(ajar.MachineRead, l.Target); err != nil {
			return err
		}
		if err := t.mayAsk(r, longer, l.Start); err != nil {
			return err
		}
	} else if err := t.stillMay(r, longer, l.Start); err != nil {
		return err
	}
	p, err := t.rules(l.Policy, []ajar.Ask{{Target: l.Target}})
	if err != nil {
		return err
	}
	row := rowOf(p, l.Target, l.Flow.Port)
	if r.Needs > 0 || (row != nil && row.Approvals > 0) {
		return ajar.Errorf(ajar.Conflict, "port %s of %s needs approval, and what was approved ends at %s; ask anew", l.Flow.Port, l.Target.Name(), l.End.Format(time.RFC3339))
	}
	if last := l.Start.Add(l.Max); end.After(last) {
		return ajar.Errorf(ajar.Invalid, "port %s of %s may be open for at most %s from its first start, until %s; past that, ask anew",
			l.Flow.Port, l.Target.Name(), ajar.FormatDuration(l.Max), last.Format(time.RFC3339))
	}
	if d := p.Check(longer[0], l.Start); !d.Allow {
		return notSubset(p, d)
	}
	t.detail("from", l.End.Format(time.RFC3339Nano))
	t.detail("until", end.Format(time.RFC3339Nano))
	l.End = end
	if err := t.Put(l); err != nil {
		return err
	}
	return t.due(l.Endpoint)
}

// Lease reads one lease: one's own, or with RequestRead or PolicyRead at its policy.
func (b *Broker) Lease(ctx context.Context, who ajar.Caller, id ajar.LeaseID) (*ajar.Lease, error) {
	key, err := guid("the lease", string(id))
	if err != nil {
		return nil, err
	}
	var l *ajar.Lease
	err = b.view(ctx, who, func(t *txn) (err error) {
		if l, err = t.lease(ajar.LeaseID(key)); err != nil {
			return err
		}
		return t.see(l.Requester, l.Policy)
	})
	if err != nil {
		return nil, err
	}
	return l, nil
}

// Leases lists the leases that the caller may read, newest first below each scope, as Requests does. Live ones of all
// machines come in the order in which they end.
func (b *Broker) Leases(ctx context.Context, who ajar.Caller, f LeaseFilter) (out []*ajar.Lease, next string, err error) {
	under, err := scope(f.Scope)
	if err != nil {
		return nil, "", err
	}
	sel := ajar.Filter{Owner: foldID(f.Requester)}
	if f.Live {
		sel.States = []string{string(ajar.Opening), string(ajar.Open), string(ajar.Closing)}
	}
	err = b.view(ctx, who, func(t *txn) (err error) {
		t.ownOnly(&sel)
		out, next, err = t.seenLeases(sel, under, f.Page, func(l *ajar.Lease) bool {
			return (!f.Live || l.Live(t.now) || l.LiveOn(t.now) > 0) && f.in(l)
		})
		return err
	})
	return out, next, err
}
