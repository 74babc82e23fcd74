package broker

import (
	"context"
	"errors"

	"github.com/ajar-access/ajar"
)

// A policy may hold a thousand machines (the portal keeps one policy for a whole resource group), and reading it takes
// a thousand times as long as looking at one of them. So large policies are kept in memory once they are known to be
// committed, and a request looks at the machines it names alone. Whether the one in memory is still the stored one is
// asked of the store inside the transaction, every time.

// largePolicy is the number of machines from which keeping a policy pays for asking whether it has changed.
const largePolicy = 3

// maxKept bounds the machines of all kept policies together.
const maxKept = 50_000

// kept is a large policy in memory. It never changes.
type kept struct {
	policy *ajar.Policy
	at     map[string]int // by machine
}

// only is p with no more machines than asks name.
func only(p *ajar.Policy, at map[string]int, asks []ajar.Ask) *ajar.Policy {
	q := *p
	q.Machines = nil
	seen := make(map[string]bool, len(asks))
	for _, a := range asks {
		k := a.Target.Key()
		if i, ok := at[k]; ok && !seen[k] {
			seen[k] = true
			q.Machines = append(q.Machines, p.Machines[i])
		}
	}
	return &q
}

func index(p *ajar.Policy) map[string]int {
	at := make(map[string]int, len(p.Machines))
	for i := range p.Machines {
		at[p.Machines[i].Target.Key()] = i
	}
	return at
}

// rules is the stored policy with no more machines than asks name. It is for reading.
func (t *txn) rules(id ajar.ID, asks []ajar.Ask) (*ajar.Policy, error) {
	key := id.Key()
	t.b.mu.Lock()
	k := t.b.large[key]
	t.b.mu.Unlock()
	if k != nil {
		same, err := t.unchanged(k.policy)
		if err != nil {
			return nil, err
		}
		if same {
			return only(k.policy, k.at, asks), nil
		}
	}
	p, err := t.policy(id)
	if err != nil {
		return nil, err
	}
	if len(p.Machines) < largePolicy {
		return p, nil
	}
	large := &kept{p, index(p)}
	t.after = append(t.after, func(context.Context) { t.b.keep(large) }) // with this Update, what it was read from is committed
	return only(p, large.at, asks), nil
}

// unchanged reports whether the stored policy is p.
func (t *txn) unchanged(p *ajar.Policy) (bool, error) {
	var now peek
	err := t.GetDoc(ajar.KindPolicy, p.ID.Key(), &now)
	if errors.Is(err, ajar.NotFound) {
		return false, nil
	}
	return now.Stamp == p.Stamp, err
}

// peek is a document of which only the stamp is looked at.
type peek struct{ ajar.Stamp }

// Entry implements ajar.Doc.
func (*peek) Entry() ajar.Entry { return ajar.Entry{} }

// UnmarshalJSON takes nothing in.
func (*peek) UnmarshalJSON([]byte) error { return nil }

// keep keeps a large policy that is committed, unless a newer one is kept.
func (b *Broker) keep(k *kept) {
	key, machines := k.policy.ID.Key(), len(k.policy.Machines)
	b.mu.Lock()
	defer b.mu.Unlock()
	if old := b.large[key]; old != nil {
		if old.policy.Seq >= k.policy.Seq {
			return
		}
		b.largeN -= len(old.policy.Machines)
	}
	if b.largeN += machines; b.largeN > maxKept {
		clear(b.large)
		b.largeN = machines
	}
	b.large[key] = k
}
