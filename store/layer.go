package store

import (
	"context"
	"math"
	"slices"

	"github.com/ajar-access/ajar"
)

// layer is what is to be written and was not committed yet: of the Updates of a batch that were accepted, or of the one
// that runs. A refused Update's layer is thrown away, and the database never hears of it.
type layer struct {
	docs      map[docKey]*pending
	keys      []docKey // in the order they came in
	due       map[string]*pendingDue
	endpoints []string
	open      int // how many were not written, or more
}

// pending is a document that is to be written, or was written in this transaction.
type pending struct {
	*doc
	was     *doc // as the database has it; nil = not at all
	gone    bool
	written bool
	guessed bool // nobody has looked whether there is one of that key
}

// pendingDue is the same for a row of due.
type pendingDue struct {
	dueRow
	added, gone, written bool
}

func newLayer() *layer { return &layer{docs: map[docKey]*pending{}, due: map[string]*pendingDue{}} }

func (l *layer) empty() bool { return len(l.keys) == 0 && len(l.endpoints) == 0 }

func (l *layer) put(k docKey, p *pending) {
	if l.docs[k] == nil {
		l.keys = append(l.keys, k)
	}
	l.docs[k] = p
	if !p.written {
		l.open++
	}
}

func (l *layer) putDue(ep string, p *pendingDue) {
	if l.due[ep] == nil {
		l.endpoints = append(l.endpoints, ep)
	}
	l.due[ep] = p
	if !p.written {
		l.open++
	}
}

// join lays what is in top over l.
func (l *layer) join(top *layer) {
	for _, k := range top.keys {
		l.put(k, top.docs[k])
	}
	for _, ep := range top.endpoints {
		l.putDue(ep, top.due[ep])
	}
}

// forgetDue takes out the rows of due, all of which were written.
func (l *layer) forgetDue() { l.due, l.endpoints = map[string]*pendingDue{}, nil }

// settle tells l's entries what lie on once those under them are written.
func (l *layer) settle(under *layer) {
	for _, k := range l.keys {
		if u, p := under.docs[k], l.docs[k]; u != nil && !p.written {
			p.was = u.stored()
		}
	}
	for _, ep := range l.endpoints {
		if u, p := under.due[ep], l.due[ep]; u != nil && !p.written {
			p.added = u.gone
		}
	}
}

// stored is what the database has of it once it was written.
func (p *pending) stored() *doc {
	if p.gone {
		return nil
	}
	return p.doc
}

// over is the entry that replaces p, or, where p is nil, what is committed.
func over(p *pending, committed, d *doc) *pending {
	switch {
	case p == nil:
		return &pending{doc: d, was: committed}
	case p.written:
		return &pending{doc: d, was: p.stored()}
	}
	return &pending{doc: d, was: p.was, guessed: p.guessed}
}

// laid is the uppermost entry of a document; nil if there is none.
func (t *tx) laid(k docKey) *pending {
	if t.b == nil {
		return nil
	}
	if p := t.part.docs[k]; p != nil {
		return p
	}
	return t.b.accepts.docs[k]
}

func (t *tx) laidDue(ep string) *pendingDue {
	if p := t.part.due[ep]; p != nil {
		return p
	}
	return t.b.accepts.due[ep]
}

// recall gives a document as this Update sees it, if that is known without asking the database.
func (t *tx) recall(k docKey) (d *doc, known bool) {
	if p := t.laid(k); p != nil {
		return p.stored(), true
	}
	return t.b.memory().doc(k)
}

// look gives a document as this Update sees it, or nil.
func (t *tx) look(k docKey) (*doc, error) {
	if d, known := t.recall(k); known {
		return d, nil
	}
	if k.kind == ajar.KindEndpoint {
		return t.lookEndpoint(k)
	}
	kind, err := quote(k.kind)
	if err != nil {
		return nil, err
	}
	var d *doc
	err = t.query("SELECT "+docColumns+" FROM docs d WHERE kind = "+kind+" AND key = $1", []any{k.key}, func(r row) error {
		d = readDoc(k, r)
		return nil
	})
	if err != nil {
		return nil, t.fault(err)
	}
	if d != nil {
		t.b.memory().put(d)
	}
	return d, nil
}

const docColumns = "d.rev, d.seq, d.scope, d.owner, d.ref, d.state, coalesce(d.until, 0), CASE WHEN d.until IS NULL THEN 0 ELSE 1 END, d.doc"

func readDoc(k docKey, r row) *doc {
	return &doc{docKey: k, rev: r.int(0), seq: r.int(1), scope: r.text(2), owner: r.text(3), ref: r.text(4), state: r.text(5),
		until: r.int(6), ends: r.int(7) == 1, body: r.bytes(8), copies: new(copies)}
}

// lookEndpoint reads an endpoint together with when it is due: who wants the one mostly wants the other.
func (t *tx) lookEndpoint(k docKey) (d *doc, err error) {
	const q = "SELECT " + docColumns + ", due.due, due.mark, due.failures, due.owner, due.held, due.home, due.home_until " +
		"FROM docs d JOIN due ON due.endpoint = d.key WHERE d.kind = 'endpoint' AND d.key = $1"
	var at dueRow
	err = t.query(q, []any{k.key}, func(r row) error {
		d, at = readDoc(k, r), readDue(r, 9)
		return nil
	})
	if err != nil || d == nil {
		return nil, t.fault(err)
	}
	m := t.b.memory()
	if t.laid(k) == nil {
		m.put(d)
	}
	if t.laidDue(k.key) == nil {
		m.due.put(k.key, at, 1)
	}
	return d, nil
}

func readDue(r row, i int) dueRow {
	return dueRow{due: r.int(i), mark: r.int(i + 1), failures: r.int(i + 2), owner: r.text(i + 3), held: r.int(i + 4), home: r.text(i + 5), homeUntil: r.int(i + 6)}
}

// lookDue gives an endpoint's row of due as this Update sees it.
func (t *tx) lookDue(ep string) (at dueRow, ok bool, err error) {
	for try := range 2 {
		if p := t.laidDue(ep); p != nil {
			return p.dueRow, !p.gone, nil
		}
		if at, ok = t.b.memory().due.get(ep); ok {
			return at, true, nil
		}
		if try == 0 && clean(ep) {
			if _, err := t.lookEndpoint(docKey{ajar.KindEndpoint, ep}); err != nil {
				return at, false, err
			}
		}
	}
	return at, false, nil
}

// setDue changes an endpoint's row of due.
func (t *tx) setDue(ep string, at dueRow) {
	was := t.laidDue(ep)
	t.part.putDue(ep, &pendingDue{dueRow: at, added: was != nil && !was.written && was.added})
}

// spill writes what this Update sees, for a question that only the database can answer.
func (t *tx) spill() error {
	if err := t.send(); err != nil {
		return err
	}
	if t.part.open > 0 {
		return t.arm()
	}
	return nil
}

// send writes what was accepted. What lies over it and was made since it was written says so already.
func (t *tx) send() error {
	if t.b.accepts.open == 0 {
		return nil
	}
	if err := t.reach(); err != nil {
		return err
	}
	if err := t.b.write(t.ctx, t.b.accepts); err != nil {
		return t.fault(err)
	}
	t.part.settle(t.b.accepts)
	return nil
}

// arm makes ready to write in the database what can still be refused: behind all that was accepted, and so that it can
// be undone alone.
func (t *tx) arm() error {
	if err := t.reach(); err != nil {
		return err
	}
	if !t.armed {
		if err := t.send(); err != nil {
			return err
		}
		t.armed, t.b.touched = true, true
		t.b.c.part(len(t.b.accepted) > 0)
	}
	return t.fault(t.b.write(t.ctx, t.part))
}

// checkGuesses looks whether a refused Update was wrongly told that a document is new.
func (t *tx) checkGuesses() error {
	for _, k := range t.part.keys {
		p := t.part.docs[k]
		if !p.guessed || p.written {
			continue
		}
		kind, err := quote(k.kind)
		if err != nil {
			return err
		}
		there := false
		err = t.query("SELECT rev FROM docs WHERE kind = "+kind+" AND key = $1", []any{k.key}, func(row) error {
			there = true
			return nil
		})
		if err != nil {
			return err
		}
		if there {
			return errGuess
		}
	}
	return nil
}

// write sends what of l was not sent yet.
func (b *batch) write(ctx context.Context, l *layer) error {
	if l.open == 0 {
		return nil
	}
	l.open = 0
	var fresh, changed []*pending
	for _, k := range l.keys {
		switch p := l.docs[k]; {
		case p.written:
			continue
		case p.was == nil:
			fresh = append(fresh, p)
		default:
			changed = append(changed, p)
		}
	}
	var added, moved []string
	for _, ep := range l.endpoints {
		switch p := l.due[ep]; {
		case p.written:
			continue
		case p.added:
			added = append(added, ep)
		default:
			moved = append(moved, ep)
		}
	}
	if len(fresh)+len(changed)+len(added)+len(moved) == 0 {
		return nil
	}
	b.touched = true
	w := writeRows
	if b.store.db.dialect().bulk {
		w = writeBulk
	}
	if err := w(ctx, b.c, rows{fresh, changed, added, moved, l.due}); err != nil {
		return err
	}
	for _, p := range append(fresh, changed...) {
		p.written = true
	}
	for _, ep := range append(added, moved...) {
		l.due[ep].written = true
	}
	return nil
}

// chooser is a filter made ready to be asked often.
type chooser struct {
	ajar.Filter
	kind     ajar.DocKind
	from, to string // of scopes
	ref      string // a scope column, of requests
	live     bool   // only leases that are not Closed
	last     int64
}

func choose(kind ajar.DocKind, f ajar.Filter, last int64) chooser {
	c := chooser{Filter: f, kind: kind, last: last}
	if f.Scope != "" {
		c.from, c.to = scopeRange(f.Scope)
	}
	if f.Ref != "" && kind == ajar.KindRequest {
		c.ref = scopeColumn(f.Ref)
	}
	c.live = kind == ajar.KindLease && len(f.States) > 0 && !anyUnindexed(f.States)
	return c
}

// takes reports whether it selects d, as where has the database do it.
func (c *chooser) takes(d *doc) bool {
	switch {
	case c.from != "" && (d.scope < c.from || d.scope >= c.to),
		c.Owner != "" && d.owner != string(c.Owner),
		c.ref != "" && d.scope != c.ref,
		c.Ref != "" && c.ref == "" && d.ref != c.Ref,
		c.Ref != "" && c.kind == ajar.KindLease && len(c.States) == 0 && !slices.Contains(leaseStates, d.state),
		len(c.States) > 0 && !slices.Contains(c.States, d.state),
		c.live && !d.ends,
		!c.UntilBefore.IsZero() && (!d.ends || d.until > floor(c.UntilBefore)):
		return false
	}
	return c.After == nil || (d.seq > *c.After && d.seq <= c.last)
}

var leaseStates = []string{string(ajar.Opening), string(ajar.Open), string(ajar.Closing), string(ajar.Closed)}

// forever is the until of a lease that has none though it is not Closed: it is found among those that are not.
const forever = int64(math.MaxInt64)
