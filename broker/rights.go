package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/rbac"
)

// The rights are in memory, and every transaction asks the store whether they have moved since. If so the verb steps
// out of the writers' queue, lets them be read in a View, where that holds nobody up, and tries again; the View reads
// what has changed, not everything. Rights read inside an Update are used there and never kept: what they were read
// from may yet be rolled back, and its number used again for something else.

// errStale steps out of a transaction whose rights are not in memory.
var errStale = errors.New("the rights in memory are not the store's")

// maxStale is how often a verb steps out before it reads the rights where it stands.
const maxStale = 2

// docs are the documents of one kind as last read.
type docs[D any, P interface {
	*D
	ajar.Doc
}] struct {
	all map[string]P
	seq int64
}

// read brings d up to what f selects in tx. What was written since has a higher Seq; what was deleted shows in the
// number of documents, upon which all are read anew.
func (d *docs[D, P]) read(tx ajar.Tx, f ajar.Filter) error {
	since := f
	since.After = &d.seq
	if d.all == nil {
		since.After = nil
	}
	changed, _, err := ajar.List[D, P](tx, since)
	if err != nil {
		return err
	}
	if d.all == nil {
		d.all = make(map[string]P, len(changed))
	}
	for _, c := range changed {
		d.all[c.Entry().Key] = c
		d.seq = max(d.seq, c.Stamped().Seq)
	}
	n, err := tx.Count(P(new(D)).Entry().Kind, f)
	if err != nil || n == int64(len(d.all)) {
		return err
	}
	all, _, err := ajar.List[D, P](tx, f)
	if err != nil {
		return err
	}
	clear(d.all)
	for _, c := range all {
		d.all[c.Entry().Key] = c
		d.seq = max(d.seq, c.Stamped().Seq)
	}
	return nil
}

func (d *docs[D, P]) list() []P {
	out := make([]P, 0, len(d.all))
	for _, p := range d.all {
		out = append(out, p)
	}
	return out
}

// rights is all that an rbac.Index is made from.
type rights struct {
	roles       docs[ajar.RoleDefinition, *ajar.RoleDefinition]
	assignments docs[ajar.RoleAssignment, *ajar.RoleAssignment]
	denies      docs[ajar.DenyAssignment, *ajar.DenyAssignment]
	groups      docs[ajar.Principal, *ajar.Principal]
	management  docs[ajar.ManagementGroup, *ajar.ManagementGroup]
}

func (r *rights) read(tx ajar.Tx) (*rbac.Index, error) {
	err := errors.Join(
		r.roles.read(tx, ajar.Filter{}), r.assignments.read(tx, ajar.Filter{}), r.denies.read(tx, ajar.Filter{}),
		r.groups.read(tx, ajar.Filter{States: []string{string(ajar.Group)}}), r.management.read(tx, ajar.Filter{}))
	if err != nil {
		return nil, fmt.Errorf("read the rights: %w", err)
	}
	return rbac.New(rbac.Data{Roles: r.roles.list(), Assignments: r.assignments.list(), Denies: r.denies.list(),
		Principals: r.groups.list(), ManagementGroups: r.management.list()}), nil
}

// load finds the rights in memory, or says errStale if they have moved since.
func (t *txn) load() error {
	gen, err := t.RightsGen()
	if err != nil {
		return err
	}
	t.b.mu.Lock()
	defer t.b.mu.Unlock()
	if t.b.index == nil || t.b.indexGen != gen {
		return errStale
	}
	t.rights = t.b.index
	return nil
}

// rebuild reads the rights as this transaction sees them.
func (t *txn) rebuild() (err error) {
	t.rights, err = new(rights).read(t)
	return err
}

// refresh brings the rights in memory up to date. Of many callers one reads.
func (b *Broker) refresh(ctx context.Context) error {
	b.reading.Lock()
	defer b.reading.Unlock()
	err := b.Store.View(ctx, func(tx ajar.Tx) error {
		t := b.txn(tx, ajar.Plane)
		if err := t.load(); !errors.Is(err, errStale) {
			return err
		}
		gen, err := tx.RightsGen()
		if err != nil {
			return err
		}
		ix, err := b.held.read(tx)
		if err != nil {
			b.held = rights{} // half read
			return err
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.index, b.indexGen = ix, gen
		return nil
	})
	return err
}

// fresh runs a transaction, and again with the rights read if they were stale. patient is false on the last try, which
// reads the rights by itself.
func (b *Broker) fresh(ctx context.Context, run func(patient bool) error) error {
	for try := 0; ; try++ {
		err := run(try < maxStale)
		if !errors.Is(err, errStale) {
			return err
		}
		if err := b.refresh(ctx); err != nil {
			return err
		}
	}
}
