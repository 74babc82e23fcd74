package broker

import (
	"context"
	"encoding/json"
	"hash/maphash"
	"sync"

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
			found, more, err := list(t, ajar.Filter{}, reach, part, func(d *unread) (bool, error) {
				p, err := t.b.read.policy(d)
				return err == nil && t.can(ajar.PolicyRead, p.ID), err
			})
			if err != nil {
				return err
			}
			for _, d := range found {
				a := Asked{Policy: d.policy}
				if a.Requests, err = t.newestUnder(d.policy.ID, n); err != nil {
					return err
				}
				out, weight = append(out, a), weight+len(d.policy.Machines)+len(a.Requests)
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
	rs, _, err := ajar.List[ajar.Request](t, ajar.Filter{Ref: policy.Key(), Limit: n})
	if err != nil {
		return nil, err
	}
	for _, r := range rs {
		ls, err := t.leasesOf(r)
		if err != nil {
			return nil, err
		}
		out = append(out, &Outcome{r, ls})
	}
	return out, nil
}

// unread is a stored policy as it stands, until somebody reads it.
type unread struct {
	ajar.Stamp
	body   []byte
	policy *ajar.Policy
}

// Entry implements ajar.Doc.
func (*unread) Entry() ajar.Entry { return ajar.Entry{Kind: ajar.KindPolicy} }

// UnmarshalJSON keeps the body, which the store does not use any further.
func (u *unread) UnmarshalJSON(b []byte) error {
	u.body = b
	return nil
}

// readings remembers what policies were read from which bytes, for lists read the same ones again and again and most of
// their time. It cannot be out of date: other bytes are another reading.
type readings struct {
	seed maphash.Seed

	mu         sync.Mutex
	young, old map[uint64]reading
	bytes      int // of young
}

type reading struct {
	body   string
	policy *ajar.Policy
}

// maxReadings bounds the bytes that one of the two generations holds.
const maxReadings = 8 << 20

func newReadings() *readings { return &readings{seed: maphash.MakeSeed()} }

// policy reads u. The machines are shared with whoever read the same.
func (r *readings) policy(u *unread) (*ajar.Policy, error) {
	key := maphash.Bytes(r.seed, u.body)
	r.mu.Lock()
	known, ok := r.young[key]
	if !ok {
		known, ok = r.old[key]
	}
	if ok = ok && known.body == string(u.body); ok {
		r.keep(key, known)
	}
	r.mu.Unlock()
	if !ok {
		known = reading{string(u.body), new(ajar.Policy)}
		if err := json.Unmarshal(u.body, known.policy); err != nil {
			return nil, ajar.Because(ajar.Internal, err, "a stored policy cannot be read")
		}
		r.mu.Lock()
		r.keep(key, known)
		r.mu.Unlock()
	}
	p := *known.policy
	p.Stamp = u.Stamp
	u.policy = &p
	return u.policy, nil
}

// keep makes known one of the young. When they are full they are the old, and the old go.
func (r *readings) keep(key uint64, known reading) {
	if _, ok := r.young[key]; ok || len(known.body) > maxReadings/8 {
		return
	}
	if r.bytes += len(known.body); r.young == nil || r.bytes > maxReadings {
		r.old, r.young, r.bytes = r.young, map[uint64]reading{}, len(known.body)
	}
	r.young[key] = known
}
