package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ajar-access/ajar"
)

// Outcome is a request with the leases that came of it, in the order of its asks.
type Outcome struct {
	Request *ajar.Request
	Leases  []*ajar.Lease
}

// RequestFilter selects requests. Zero fields do not filter.
type RequestFilter struct {
	Policy    ajar.ID // this policy, or any scope above policies
	Requester ajar.PrincipalID
	State     ajar.RequestState // as it reads now: a Pending request past its deadline is Lapsed
	Page      Page
}

// request is the stored request, or NotFound in words.
func (t *txn) request(id ajar.RequestID) (*ajar.Request, error) {
	r, err := ajar.Get[ajar.Request](t, string(id))
	if errors.Is(err, ajar.NotFound) {
		return nil, &ajar.Error{Kind: ajar.NotFound, Code: "RequestNotFound", Msg: fmt.Sprintf("there is no request %.60q", id)}
	}
	return r, err
}

// leasesOf reads the leases of r.
func (t *txn) leasesOf(r *ajar.Request) ([]*ajar.Lease, error) {
	out := make([]*ajar.Lease, 0, len(r.Leases))
	for _, id := range r.Leases {
		l, err := ajar.Get[ajar.Lease](t, string(id))
		if errors.Is(err, ajar.NotFound) {
			continue
		} else if err != nil {
			return nil, err
		}
		out = append(out, l)
	}
	return out, nil
}

// maySee reports whether the caller may read what was asked for or granted under policy by owner.
func (t *txn) maySee(owner ajar.PrincipalID, policy ajar.ID) bool {
	return t.self(owner) || t.can(ajar.RequestRead, policy) || t.can(ajar.PolicyRead, policy)
}

// ownOnly narrows a list down to what is the caller's own where nothing else could be seen, so that it is found at once.
func (t *txn) ownOnly(f *ajar.Filter) {
	if f.Owner == "" && len(t.reach(ajar.RequestRead, ajar.Root)) == 0 && len(t.reach(ajar.PolicyRead, ajar.Root)) == 0 {
		f.Owner = t.who.Principal
	}
}

func (t *txn) see(owner ajar.PrincipalID, policy ajar.ID) error {
	if t.maySee(owner, policy) {
		return nil
	}
	return t.need(ajar.RequestRead, policy)
}

// Request reads one request: one's own, or with RequestRead or PolicyRead at its policy.
func (b *Broker) Request(ctx context.Context, who ajar.Caller, id ajar.RequestID) (*Outcome, error) {
	key, err := guid("the request", string(id))
	if err != nil {
		return nil, err
	}
	var out *Outcome
	err = b.view(ctx, who, func(t *txn) error {
		r, err := t.request(ajar.RequestID(key))
		if err != nil {
			return err
		}
		if err := t.see(r.Requester, r.Policy); err != nil {
			return err
		}
		ls, err := t.leasesOf(r)
		out = &Outcome{r, ls}
		return err
	})
	return out, err
}

// RequestsByID reads several requests at one moment, without their leases: those that there are and that the caller may read.
func (b *Broker) RequestsByID(ctx context.Context, who ajar.Caller, ids []ajar.RequestID) (found map[ajar.RequestID]*ajar.Request, err error) {
	err = b.view(ctx, who, func(t *txn) error {
		found = make(map[ajar.RequestID]*ajar.Request, len(ids))
		for _, id := range ids {
			if found[id] != nil {
				continue
			}
			r, err := t.request(id)
			if errors.Is(err, ajar.NotFound) {
				continue
			} else if err != nil {
				return err
			}
			if t.maySee(r.Requester, r.Policy) {
				found[id] = r
			}
		}
		return nil
	})
	return found, err
}

// Requests lists the requests that the caller may read, newest first below each scope: where all may be read that is the
// one asked for; otherwise the caller's own come first, and then each scope that is open to them.
func (b *Broker) Requests(ctx context.Context, who ajar.Caller, f RequestFilter) (out []*Outcome, next string, err error) {
	under, err := scope(f.Policy)
	if err != nil {
		return nil, "", err
	}
	sel := ajar.Filter{Owner: foldID(f.Requester)}
	switch f.State {
	case "":
	case ajar.Lapsed:
		sel.States = []string{string(ajar.Lapsed), string(ajar.Pending)}
	case ajar.Pending, ajar.Approved, ajar.Denied, ajar.Withdrawn:
		sel.States = []string{string(f.State)}
	default:
		return nil, "", ajar.Errorf(ajar.Invalid, "no request is ever in state %.20q", f.State)
	}
	err = b.view(ctx, who, func(t *txn) error {
		out = nil
		t.ownOnly(&sel)
		rs, more, err := t.seenRequests(sel, under, f.Page, func(r *ajar.Request) bool {
			return f.State == "" || r.Now(t.now) == f.State
		})
		next = more
		for _, r := range rs {
			ls, err := t.leasesOf(r)
			if err != nil {
				return err
			}
			out = append(out, &Outcome{r, ls})
		}
		return err
	})
	return out, next, err
}

// Approve says yes to somebody else's Pending request (RequestApprove at its policy). The last yes that is needed
// decides: the policy is checked again, durations start now, leases are granted.
func (b *Broker) Approve(ctx context.Context, who ajar.Caller, id ajar.RequestID, reason string) (*Outcome, error) {
	return b.decide(ctx, who, id, reason, ajar.RequestApprove, func(t *txn, r *ajar.Request) ([]*ajar.Lease, error) {
		if t.self(r.Requester) {
			return nil, &ajar.Error{Kind: ajar.Forbidden, Code: "OwnRequest", Msg: "nobody approves their own request; somebody else must"}
		}
		if err := t.vote(r, true, reason); err != nil {
			return nil, err
		}
		p, err := t.rules(r.Policy, r.Asks)
		if err != nil {
			return nil, err
		}
		yes := 0
		for _, a := range r.Approvals {
			if a.Yes {
				yes++
			}
		}
		t.detail("approvals", fmt.Sprintf("%d of %d", yes, max(r.Needs, 1)))
		if r.Needs = max(r.Needs, approvals(p, r.Asks)); yes < r.Needs {
			return nil, nil
		}
		if err := t.stillMay(r, r.Asks, t.now); err != nil {
			return nil, err
		}
		if err := r.Move(ajar.Approved, t.now); err != nil {
			return nil, err
		}
		return t.grant(p, r)
	})
}

// stillMay refuses to decide for somebody who could not ask for asks any longer.
func (t *txn) stillMay(r *ajar.Request, asks []ajar.Ask, from time.Time) error {
	p, err := ajar.Get[ajar.Principal](t, string(r.Requester))
	if errors.Is(err, ajar.NotFound) || (err == nil && p.Disabled) {
		return ajar.Errorf(ajar.Conflict, "%s, who asked, is disabled or gone; deny the request", r.Name)
	} else if err != nil {
		return err
	}
	if t.rights == nil {
		if err := t.know(); err != nil {
			return err
		}
	}
	them := ajar.Caller{Principal: p.ID, Name: p.Name}
	d, err := t.theyMay(them, r, asks, from)
	if err != nil {
		return err
	}
	for i := 0; d.Allow && i < len(r.Asks); i++ {
		d = t.rights.DecideWith(them, ajar.MachineRead, r.Asks[i].Target, &t.facts)
	}
	if !d.Allow {
		return ajar.Errorf(ajar.Conflict, "%s, who asked, may not any longer: %s", p.Name, d.Unmet[0])
	}
	return nil
}

// Deny says no to somebody else's Pending request (RequestDeny at its policy). One no denies it.
func (b *Broker) Deny(ctx context.Context, who ajar.Caller, id ajar.RequestID, reason string) (*Outcome, error) {
	return b.decide(ctx, who, id, reason, ajar.RequestDeny, func(t *txn, r *ajar.Request) ([]*ajar.Lease, error) {
		if t.self(r.Requester) {
			return nil, &ajar.Error{Kind: ajar.Forbidden, Code: "OwnRequest", Msg: "this is your own request; withdraw it instead"}
		}
		if err := t.vote(r, false, reason); err != nil {
			return nil, err
		}
		return nil, r.Move(ajar.Denied, t.now)
	})
}

// RequestWithdraw is what withdrawing one's own request is recorded as. It needs no right: to ask for less never does.
const RequestWithdraw ajar.Action = "Microsoft.Security/locations/jitNetworkAccessPolicies/requests/withdraw/action"

// Withdraw takes one's own Pending request back.
func (b *Broker) Withdraw(ctx context.Context, who ajar.Caller, id ajar.RequestID, reason string) (*Outcome, error) {
	return b.decide(ctx, who, id, reason, RequestWithdraw, func(t *txn, r *ajar.Request) ([]*ajar.Lease, error) {
		return nil, r.Move(ajar.Withdrawn, t.now)
	})
}

// vote adds the caller's yes or no to r, once.
func (t *txn) vote(r *ajar.Request, yes bool, reason string) error {
	for _, a := range r.Approvals {
		if a.By == t.who.Principal && a.Yes == yes {
			return ajar.Errorf(ajar.Conflict, "you have answered request %s already; it takes %d different people", r.ID, r.Needs)
		}
	}
	r.Approvals = append(r.Approvals, ajar.Approval{By: t.who.Principal, Name: t.who.Name, Yes: yes, Reason: reason, At: t.now})
	return nil
}

// decide is what Approve, Deny and Withdraw share: the request is read, must be Pending, and is written back.
func (b *Broker) decide(ctx context.Context, who ajar.Caller, id ajar.RequestID, reason string, action ajar.Action, fn func(t *txn, r *ajar.Request) ([]*ajar.Lease, error)) (*Outcome, error) {
	key, bad := guid("the request", string(id))
	if bad == nil {
		bad = text("the reason", reason, ajar.MaxText)
	}
	var out *Outcome
	var r *ajar.Request
	o := op{action: action, bad: bad,
		may: func(t *txn) (err error) {
			if r, err = t.request(ajar.RequestID(key)); err != nil {
				return err
			}
			t.event.Scope, t.event.Request = r.Policy, r.ID
			if action != RequestWithdraw {
				return t.mayDecide(action, r)
			}
			if !t.self(r.Requester) {
				return &ajar.Error{Kind: ajar.Forbidden, Code: "NotOwnRequest", Msg: "only who asked can withdraw a request; deny it instead"}
			}
			t.event.By = "requester"
			return nil
		},
		settle: func(t *txn) error { return t.lapse(ajar.RequestID(key)) },
	}
	err := b.do(ctx, who, o, func(t *txn) error {
		if now := r.Now(t.now); now == ajar.Lapsed && r.State == ajar.Pending {
			return r.Move(ajar.Approved, t.now) // answers that it lapsed
		} else if now != ajar.Pending {
			return ajar.Errorf(ajar.Conflict, "request %s is %s already", r.ID, now)
		}
		t.detail("reason", reason)
		ls, err := fn(t, r)
		if err != nil {
			return err
		}
		out = &Outcome{r, ls}
		return t.Put(r)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// RequestLapsed is recorded when a Pending request's deadline has passed.
const RequestLapsed ajar.Action = "Ajar.Access/requests/lapsed"

// lapse writes down that a request has passed its deadline, if it has.
func (t *txn) lapse(id ajar.RequestID) error {
	r, err := ajar.Get[ajar.Request](t, string(id))
	if errors.Is(err, ajar.NotFound) {
		return nil
	} else if err != nil {
		return err
	}
	if r.State != ajar.Pending || r.Now(t.now) != ajar.Lapsed {
		return nil
	}
	if err := r.Move(ajar.Lapsed, t.now); err != nil {
		return err
	}
	t.also(RequestLapsed, r.Policy, func(e *ajar.Event) {
		e.Outcome, e.Request, e.By = ajar.Happened, r.ID, ""
		e.Caller, e.Name, e.Via = r.Requester, r.Name, ""
		e.Details = map[string]string{"deadline": r.Deadline.UTC().Format(time.RFC3339)}
	})
	return t.Put(r)
}

// Lapse writes down which Pending requests have passed their deadline, at most a thousand at a time. They read as
// Lapsed without it; this makes the Event that notices are sent from.
func (b *Broker) Lapse(ctx context.Context) (n int, err error) {
	err = b.Store.Update(ctx, func(tx ajar.Tx) error {
		t := b.txn(tx, ajar.Plane)
		rs, _, err := ajar.List[ajar.Request](t, ajar.Filter{States: []string{string(ajar.Pending)}, UntilBefore: t.now, Limit: 1000})
		if err != nil {
			return err
		}
		n = len(rs)
		for _, r := range rs {
			if err := t.lapse(r.ID); err != nil {
				return err
			}
		}
		for _, e := range t.more {
			if err := t.Append(e); err != nil {
				return err
			}
		}
		return nil
	})
	return n, err
}
