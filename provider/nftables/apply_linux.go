package nftables

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/ajar-access/ajar"
	"golang.org/x/sys/unix"
)

// Apply makes the table exactly want.
func (f *Firewall) Apply(ctx context.Context, _ ajar.Endpoint, want ajar.Ruleset) error {
	return f.apply(ctx, want, 0, false)
}

// ApplyAt is Apply, and the next Change may start from rev.
func (f *Firewall) ApplyAt(ctx context.Context, _ ajar.Endpoint, want ajar.Ruleset, rev uint64) error {
	return f.apply(ctx, want, rev, true)
}

func (f *Firewall) apply(ctx context.Context, want ajar.Ruleset, rev uint64, based bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer f.ring()
	if f.sock == nil {
		return errClosed
	}
	f.based = false
	if err := f.settle(ctx, want); err != nil {
		return fmt.Errorf("apply to table %s: %w", f.table, err)
	}
	f.rev, f.based = rev, based
	return nil
}

// settle brings the kernel from whatever it has to want.
func (f *Firewall) settle(ctx context.Context, want ajar.Ruleset) error {
	if len(want.Guard) == 0 && len(want.Allow) == 0 {
		return f.remove()
	}
	found := f.laid
	if !found {
		if err := f.adopt(ctx); err != nil {
			return err
		}
	} else if f.suspect || !f.persist {
		// Nobody else can write to a table that we own, so memory is the truth there. Elsewhere look.
		if err := f.survey(ctx); err != nil {
			return err
		}
	}
	d := want.Diff(ajar.Ruleset{Guard: f.guards, Allow: f.allow()})
	d.Guard = &want.Guard
	if err := f.change(ctx, d, f.stale()); err != nil {
		return err
	}
	if !found {
		f.losing(anyBar) // openings may have ended while nobody was there
	}
	return nil
}

// allow is the rules in memory.
func (f *Firewall) allow() []ajar.Rule {
	rs := make([]ajar.Rule, 0, len(f.book.rules))
	for id, p := range f.book.rules {
		rs = append(rs, p.Rule(id))
	}
	slices.SortFunc(rs, func(a, b ajar.Rule) int { return cmp.Compare(a.Lease, b.Lease) })
	return rs
}

// stale is every place where the kernel does not have what memory wants.
func (f *Firewall) stale() map[place]struct{} {
	touched := map[place]struct{}{}
	now := f.clock().UnixMilli()
	for p, e := range f.book.elems {
		if end := e.until(); e.wrote != end && (e.wrote != 0 || end > now) {
			touched[p] = struct{}{}
		}
	}
	return touched
}

// Change applies a difference. Its cost does not depend on how much there is already.
func (f *Firewall) Change(ctx context.Context, _ ajar.Endpoint, d ajar.Delta) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer f.ring()
	switch {
	case f.sock == nil:
		return errClosed
	case !f.based || f.rev != d.Base || f.suspect:
		return ajar.Errorf(ajar.Conflict, "the host is not at revision %d", d.Base)
	}
	f.based = false
	if err := f.changeFrom(ctx, d); err != nil {
		return fmt.Errorf("change table %s: %w", f.table, err)
	}
	f.rev, f.based = d.Rev, true
	return nil
}

func (f *Firewall) changeFrom(ctx context.Context, d ajar.Delta) error {
	if d.Empty() {
		return nil
	}
	if !f.laid {
		// The last revision was the empty Ruleset.
		if err := f.adopt(ctx); err != nil {
			return err
		}
	}
	if err := f.change(ctx, d, map[place]struct{}{}); err != nil {
		return err
	}
	if len(f.guards) == 0 && len(f.book.rules) == 0 {
		return f.remove()
	}
	return nil
}

// change works d into memory and brings the kernel in line for all that it touches, and for touched. Guards are looked at
// only if d has any.
func (f *Firewall) change(ctx context.Context, d ajar.Delta, touched map[place]struct{}) error {
	puts, err := check(d)
	if err != nil {
		return err
	}
	for _, id := range d.Drop {
		f.book.drop(id, touched)
	}
	for i, r := range d.Put {
		f.book.put(r, puts[i], touched)
	}
	// Until the kernel has all of it and it was read back, memory is ahead.
	f.suspect = true
	if err := f.carryOut(ctx, d.Guard, touched); err != nil {
		return err
	}
	f.suspect = false
	return nil
}

// check finds what cannot be carried out before anything is touched, and spells out what each rule to put wants.
func check(d ajar.Delta) ([][]wish, error) {
	puts := make([][]wish, len(d.Put))
	for i, r := range d.Put {
		ws, err := wishes(r)
		if err != nil {
			return nil, err
		}
		puts[i] = ws
	}
	if d.Guard != nil {
		for _, g := range *d.Guard {
			if _, err := bars(g, 0); err != nil {
				return nil, err
			}
		}
	}
	return puts, nil
}

// chunk bounds the elements of one transaction, so that it fits the socket buffer that any user has, and so that the
// lives in it, counted from before it is built, are still right when the kernel gets to the last.
//
// Openings need not appear together. What must not be torn apart is done in order: openings first, guards last, so
// that a guard never stands without the openings that pass it.
const chunk = 2000

func (f *Firewall) carryOut(ctx context.Context, guards *[]ajar.Guard, touched map[place]struct{}) error {
	now := f.clock()
	es := f.book.edits(now.UnixMilli(), touched)
	// Closing comes before opening; what is in one set stays together.
	slices.SortFunc(es, func(a, b edit) int {
		return cmp.Or(cmp.Compare(min(a.end, 1), min(b.end, 1)), a.place.shape.compare(b.place.shape))
	})
	b := f.batch()
	f.reshape(b)
	for len(es) > chunk {
		if err := f.write(ctx, b, es[:chunk]); err != nil {
			return err
		}
		b, es = f.batch(), es[chunk:]
	}
	guarded := func(context.Context) error { return nil }
	if guards != nil {
		var err error
		if guarded, err = f.reguard(ctx, b, *guards, now); err != nil {
			return err
		}
	}
	if err := f.write(ctx, b, es); err != nil {
		return err
	}
	if err := guarded(ctx); err != nil {
		return err
	}
	return f.tidy()
}

// write sends b with the edits and reads each back. What the kernel got too late, because the machine paused between the
// clock and the kernel, or that somebody else wrote over, is written again in smaller pieces.
func (f *Firewall) write(ctx context.Context, b *batch, es []edit) error {
	wrong, err := f.writeOnce(ctx, b, es)
	for range tries {
		if err != nil || len(wrong) == 0 {
			return err
		}
		var still []edit
		for part := range slices.Chunk(wrong, piece) {
			again, err := f.writeOnce(ctx, f.batch(), part)
			if err != nil {
				return err
			}
			still = append(still, again...)
		}
		wrong = still
	}
	if err == nil && len(wrong) > 0 {
		err = ajar.Errorf(ajar.Unavailable, "%s was not read back with its deadline", wrong[0].place)
	}
	return err
}

const (
	tries = 8
	piece = 64
)

// writeOnce sends b with the edits, and returns those that do not read back as they should.
func (f *Firewall) writeOnce(ctx context.Context, b *batch, es []edit) ([]edit, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	f.pack(b, es)
	if b.empty() {
		return nil, nil
	}
	if err := f.sock.transact(b); err != nil {
		return nil, ajar.Because(ajar.Unavailable, err, "the kernel refused a change of the firewall")
	}
	for _, e := range es {
		f.note(e)
	}
	return f.readBack(ctx, es)
}

func (f *Firewall) note(e edit) {
	if el := f.book.elems[e.place]; el != nil {
		el.wrote = e.end
		f.book.forget(e.place)
	}
}

// pack appends the edits, grouped by set. What changes its end is deleted and added in one transaction: before Linux
// 6.12 adding again is silently ignored.
func (f *Firewall) pack(b *batch, es []edit) {
	type lists struct{ gone, add []member }
	by := map[shape]*lists{}
	var order []shape
	for _, e := range es {
		l := by[e.place.shape]
		if l == nil {
			l = &lists{}
			by[e.place.shape] = l
			order = append(order, e.place.shape)
		}
		m := member{key: e.place.key()}
		if el := f.book.elems[e.place]; el != nil && el.wrote != 0 {
			l.gone = append(l.gone, m)
		}
		if e.end != 0 {
			m.end = e.end
			l.add = append(l.add, m)
		}
	}
	for _, s := range order {
		f.destroyElems(b, s.name(), by[s].gone)
		b.elements(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, s.name(), by[s].add)
	}
}

// destroyElems deletes elements that the kernel may have timed out already.
func (f *Firewall) destroyElems(b *batch, set string, ms []member) {
	if f.destroy {
		b.elements(msgDestroyElem, 0, set, ms)
		return
	}
	// Older kernels refuse to delete what is not there: put it there first.
	there := make([]member, len(ms))
	for i, m := range ms {
		there[i] = member{key: m.key, life: time.Minute}
	}
	b.elements(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, set, there)
	b.elements(unix.NFT_MSG_DELSETELEM, 0, set, ms)
}

// reshape adds the sets that openings in memory need and the kernel does not have yet.
func (f *Firewall) reshape(b *batch) {
	shapes := f.book.shapes()
	grown := false
	for _, s := range shapes {
		if !f.built[s] {
			b.newSet(s.set(), uint32(len(f.built)+1))
			f.built[s], grown = true, true
		}
	}
	if grown {
		b.fill(f.shapesBuilt(), false)
	}
}

func (f *Firewall) shapesBuilt() []shape {
	ss := make([]shape, 0, len(f.built))
	for s := range f.built {
		ss = append(ss, s)
	}
	return ss
}

// tidy takes away the sets that no opening uses any longer, so that packets do not pay for them.
func (f *Firewall) tidy() error {
	var idle []shape
	for s := range f.built {
		if f.book.count[s] == 0 && !slices.Contains(exact, s) {
			idle = append(idle, s)
			delete(f.built, s)
		}
	}
	if len(idle) == 0 {
		return nil
	}
	b := f.batch()
	b.fill(f.shapesBuilt(), false)
	for _, s := range idle {
		b.delSet(s.name())
	}
	return f.sock.transact(b)
}

func (s shape) compare(t shape) int {
	return cmp.Or(cmp.Compare(order(s), order(t)), cmp.Compare(s.addrBits(), t.addrBits()), cmp.Compare(s.bits, t.bits))
}
