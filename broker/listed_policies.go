package broker

import (
	"context"
	"errors"

	"github.com/ajar-access/ajar"
)

// Asked is a policy with the newest of what was asked for under it, the newest first.
type Asked struct {
	Policy   *ajar.Policy
	Requests []*Outcome
}

// The bounds of a page of policies beside their number: how many are read at once, and with how many machines and
// requests together a page is full.
const (
	readAtOnce = 50
	fullPage   = 4000
)

// PoliciesAsked lists the policies at and below under that the caller may read, each with the newest n requests, which
// whoever may read a policy may see. A page ends sooner where policies are large. What is given is for reading.
func (b *Broker) PoliciesAsked(ctx context.Context, who ajar.Caller, under ajar.ID, n int, page Page) (out []Asked, next string, err error) {
	if under, err = scope(under); err != nil {
		return nil, "", err
	}
	err = b.view(ctx, who, func(t *txn) error {
		out, next = nil, page.Cursor
		reach, weight := t.reach(ajar.PolicyRead, under), 0
		for {
			part := Page{Cursor: next, Limit: page.Limit - len(out)}
			if page.Limit <= 0 || part.Limit > readAtOnce {
				part.Limit = readAtOnce
			}
			found, more, err := list(t, ajar.Filter{}, reach, part, func(d *unread[ajar.Policy, *ajar.Policy]) (bool, error) {
				p, err := t.b.read.policies.of(d)
				return err == nil && t.can(ajar.PolicyRead, p.ID), err
			})
			if err != nil {
				return err
			}
			for _, d := range found {
				a := Asked{Policy: d.doc}
				if a.Requests, err = t.newestUnder(d.doc.ID, n); err != nil {
					return err
				}
				out, weight = append(out, a), weight+len(d.doc.Machines)+len(a.Requests)
			}
			if next = more; more == "" || len(found) == 0 || len(out) >= page.Limit || weight >= fullPage {
				return nil
			}
		}
	})
	return out, next, err
}

// newestUnder reads the newest n requests under a policy.
func (t *txn) newestUnder(policy ajar.ID, n int) (out []*Outcome, err error) {
	read := &t.b.read
	rs, _, err := ajar.List[unread[ajar.Request, *ajar.Request]](t, ajar.Filter{Ref: policy.Key(), Limit: n})
	if err != nil {
		return nil, err
	}
	for _, d := range rs {
		r, err := read.requests.of(d)
		if err != nil {
			return nil, err
		}
		o := &Outcome{r, make([]*ajar.Lease, 0, len(r.Leases))}
		for _, id := range r.Leases {
			d, err := ajar.Get[unread[ajar.Lease, *ajar.Lease]](t, string(id))
			if errors.Is(err, ajar.NotFound) {
				continue
			} else if err != nil {
				return nil, err
			}
			l, err := read.leases.of(d)
			if err != nil {
				return nil, err
			}
			o.Leases = append(o.Leases, l)
		}
		out = append(out, o)
	}
	return out, nil
}
