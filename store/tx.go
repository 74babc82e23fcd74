package store

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ajar-access/ajar"
)

// tx is one Update or View. It implements ajar.Tx.
type tx struct {
	ctx    context.Context // of the database's work
	caller context.Context // of the Update's caller; nil in a View
	c      conn
	store  *Store
	w      *counters // nil in a View
	b      *batch    // nil in a View
	part   *layer    // what this Update wrote
	armed  bool      // it has also written in the database, or may have
	events []logged
	sealed []sealing
	moved  []movedStamp
	broken error // a fault of the database, after which nothing can be done in this transaction
	over   bool
}

// wrote reports whether there is anything to commit but events.
func (t *tx) wrote() bool { return t.armed || !t.part.empty() || len(t.sealed) > 0 }

// The longest document, key and column. Documents are read as a whole, and an index has to hold a key and a column.
const (
	maxDoc    = 1 << 20
	maxKey    = 1100
	maxColumn = 1100
)

// ready says whether the transaction can still be used.
func (t *tx) ready() error {
	switch {
	case t.over:
		return ajar.Errorf(ajar.Internal, "a transaction was used after its end")
	case t.broken != nil:
		return t.broken
	case t.caller != nil && t.caller.Err() != nil:
		return fmt.Errorf("update: %w", context.Cause(t.caller))
	case t.ctx.Err() != nil:
		return fmt.Errorf("transaction: %w", context.Cause(t.ctx))
	}
	return nil
}

// writable says whether it may write.
func (t *tx) writable() error {
	if err := t.ready(); err != nil {
		return err
	}
	if t.w == nil {
		return ajar.Errorf(ajar.Internal, "a View cannot write")
	}
	return nil
}

// fault ends the transaction: after an error of the database nothing that was read or written in it can be relied on.
// In an Update the raw error stays, for the writer to judge whether to try again.
func (t *tx) fault(err error) error {
	if err == nil {
		return nil
	}
	if t.broken == nil {
		t.broken = err
		if t.w == nil {
			t.broken, _ = t.store.db.classify(err)
		}
	}
	return t.broken
}

// reach waits until the batch may ask the database, which one that runs ahead does as late as it can.
func (t *tx) reach() error {
	if t.b == nil {
		return nil
	}
	if err := t.b.begin(t.ctx); err != nil {
		return t.fault(err)
	}
	t.c = t.b.c
	return nil
}

func (t *tx) query(q string, args []any, each func(row) error) error {
	if err := t.reach(); err != nil {
		return err
	}
	return t.c.query(t.ctx, q, args, each)
}

// later writes in the database at once, which must be so for whatever is not a document or a row of due.
func (t *tx) later(want int64, q string, args ...any) error {
	if err := t.arm(); err != nil {
		return err
	}
	return t.fault(t.c.later(t.ctx, want, q, args...))
}

// GetDoc implements ajar.Tx.
func (t *tx) GetDoc(kind ajar.DocKind, key string, into ajar.Doc) error {
	if err := t.ready(); err != nil {
		return err
	}
	k, err := quote(kind)
	if err != nil {
		return err
	}
	if !clean(key) {
		return ajar.Errorf(ajar.NotFound, "there is no such %s", kind)
	}
	if t.b != nil {
		d, err := t.look(docKey{kind, key})
		if err != nil {
			return err
		}
		if d == nil {
			return ajar.Errorf(ajar.NotFound, "there is no %s %s", kind, key)
		}
		return d.decode(into)
	}
	var rev, seq int64
	var body []byte
	err = t.query("SELECT rev, seq, doc FROM docs WHERE kind = "+k+" AND key = $1", []any{key}, func(r row) error {
		rev, seq, body = r.int(0), r.int(1), r.bytes(2)
		return nil
	})
	if err != nil {
		return t.fault(err)
	}
	if body == nil {
		return ajar.Errorf(ajar.NotFound, "there is no %s %s", kind, key)
	}
	return decode(kind, key, rev, seq, body, into)
}

// decode fills into, from a copy if there is one.
func (d *doc) decode(into ajar.Doc) error {
	fresh := blank(into)
	if fresh && d.copies.into(into) {
		*into.Stamped() = ajar.Stamp{Rev: d.rev, Seq: d.seq}
		return nil
	}
	err := decode(d.kind, d.key, d.rev, d.seq, d.body, into)
	if fresh && err == nil {
		d.copies.keep(into)
	}
	return err
}

func decode(kind ajar.DocKind, key string, rev, seq int64, body []byte, into ajar.Doc) error {
	read := json.Unmarshal
	if own, ok := into.(json.Unmarshaler); ok {
		read = func(b []byte, _ any) error { return own.UnmarshalJSON(b) } // nobody need look at it first
	}
	if err := read(body, into); err != nil {
		return ajar.Because(ajar.Internal, err, "the stored %s %s cannot be read", kind, key)
	}
	*into.Stamped() = ajar.Stamp{Rev: rev, Seq: seq}
	return nil
}

// Put implements ajar.Tx.
func (t *tx) Put(d ajar.Doc) error {
	if err := t.writable(); err != nil {
		return err
	}
	e := d.Entry()
	if _, err := quote(e.Kind); err != nil {
		return err
	}
	body, err := json.Marshal(d)
	if err != nil {
		return ajar.Because(ajar.Invalid, err, "this %s cannot be stored: %v", e.Kind, err)
	}
	if err := checkEntry(e, body); err != nil {
		return err
	}
	stamp := d.Stamped()
	p := newDoc(e, ajar.Stamp{Rev: stamp.Rev + 1, Seq: t.w.seq + 1}, body)
	if err := t.lay(p, stamp.Rev); err != nil {
		return err
	}
	if e.Kind == ajar.KindEndpoint && stamp.Rev == 0 {
		t.part.putDue(e.Key, &pendingDue{added: true}) // and due at once
	}
	if isRight(e.Kind, e.State) {
		t.w.rights++
	}
	t.w.seq = p.seq
	t.moved = append(t.moved, movedStamp{stamp, *stamp})
	*stamp = ajar.Stamp{Rev: p.rev, Seq: p.seq}
	return nil
}

func newDoc(e ajar.Entry, s ajar.Stamp, body []byte) *doc {
	d := &doc{docKey: docKey{e.Kind, e.Key}, rev: s.Rev, seq: s.Seq, scope: scopeColumn(e.Scope), owner: e.Owner, ref: e.Ref, state: e.State,
		body: body, copies: new(copies)}
	if !e.Until.IsZero() {
		d.until, d.ends = ceil(e.Until), true
	} else if e.Kind == ajar.KindLease && e.State != string(ajar.Closed) {
		d.until, d.ends = forever, true
	}
	if e.Kind == ajar.KindRequest {
		d.ref = "" // it is the scope
	}
	return d
}

// lay puts d among what is to be written, if rev is the stored one. Whether a new document is new is found out when it
// is written, unless it is known or a guess of this batch was wrong before: a key is seldom taken.
func (t *tx) lay(d *doc, rev int64) error {
	have, known := t.recall(d.docKey)
	if !known && (rev != 0 || t.b.sure) {
		var err error
		if have, err = t.look(d.docKey); err != nil {
			return err
		}
		known = true
	}
	switch {
	case rev == 0 && have != nil:
		return ajar.Errorf(ajar.Conflict, "%s %s exists already", d.kind, d.key)
	case rev != 0 && (have == nil || have.rev != rev):
		return ajar.Errorf(ajar.Conflict, "%s %s was changed by somebody else; read it again", d.kind, d.key)
	}
	p := over(t.laid(d.docKey), have, d)
	p.guessed = p.guessed || !known
	t.part.put(d.docKey, p)
	return nil
}

// movedStamp is what a Put did to a document in memory. It is put back when the Update does not come about, so that fn
// finds its documents as they were if it runs again.
type movedStamp struct {
	stamp *ajar.Stamp
	was   ajar.Stamp
}

func putBack(moved []movedStamp) {
	for i := len(moved) - 1; i >= 0; i-- {
		*moved[i].stamp = moved[i].was
	}
}

// Delete implements ajar.Tx.
func (t *tx) Delete(kind ajar.DocKind, key string) error {
	if err := t.writable(); err != nil {
		return err
	}
	k, err := quote(kind)
	if err != nil {
		return err
	}
	var d *doc
	if clean(key) {
		if d, err = t.look(docKey{kind, key}); err != nil {
			return err
		}
	}
	if d == nil {
		return ajar.Errorf(ajar.NotFound, "there is no %s %s", kind, key)
	}
	if err := t.later(1, "DELETE FROM docs WHERE kind = "+k+" AND key = $1", key); err != nil {
		return err
	}
	t.part.put(d.docKey, &pending{gone: true, written: true})
	if kind == ajar.KindEndpoint {
		if err := t.later(1, "DELETE FROM due WHERE endpoint = $1", key); err != nil {
			return err
		}
		t.part.putDue(key, &pendingDue{gone: true, written: true})
	}
	if isRight(kind, d.state) {
		t.w.rights++
	}
	return nil
}

// RightsGen implements ajar.Tx.
func (t *tx) RightsGen() (int64, error) {
	if err := t.ready(); err != nil {
		return 0, err
	}
	if t.w != nil {
		return t.w.rights, nil
	}
	n, err := readCounters(t.ctx, t.c)
	return n.rights, t.fault(err)
}

// isRight reports whether a change of such a document moves RightsGen. The state of a principal is its kind.
func isRight(kind ajar.DocKind, state string) bool {
	if kind == ajar.KindPrincipal {
		return state == string(ajar.Group)
	}
	for _, k := range ajar.RightsKinds {
		if k == kind {
			return true
		}
	}
	return false
}

// quote makes a kind part of a statement's text rather than a parameter, so that partial indexes can be chosen by it.
func quote(kind ajar.DocKind) (string, error) {
	for _, r := range kind {
		if r < 'a' || r > 'z' {
			return "", ajar.Errorf(ajar.Invalid, "%q is no kind of document", string(kind))
		}
	}
	if kind == "" {
		return "", ajar.Errorf(ajar.Invalid, "a document must have a kind")
	}
	return "'" + string(kind) + "'", nil
}

func checkEntry(e ajar.Entry, body []byte) error {
	switch {
	case e.Key == "":
		return ajar.Errorf(ajar.Invalid, "a %s must have a key", e.Kind)
	case len(e.Key) > maxKey:
		return ajar.Errorf(ajar.Invalid, "the key of a %s has %d bytes; at most %d are taken", e.Kind, len(e.Key), maxKey)
	case len(body) > maxDoc:
		return ajar.Errorf(ajar.Invalid, "%s %s has %d bytes; at most %d are taken", e.Kind, e.Key, len(body), maxDoc)
	}
	for _, column := range []string{e.Key, e.Scope, e.Owner, e.Ref, e.State} {
		if len(column) > maxColumn {
			return ajar.Errorf(ajar.Invalid, "a field that %s %s is found by has %d bytes; at most %d are taken", e.Kind, e.Key, len(column), maxColumn)
		}
		if !clean(column) {
			return ajar.Errorf(ajar.Invalid, "a field that %s is found by holds a zero byte or is not UTF-8", e.Kind)
		}
	}
	return nil
}

// clean reports whether both databases can hold s as text.
func clean(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }

// The store's times are whole milliseconds, UTC. What becomes due or ends is rounded up, what is asked for with it
// rounded down: so that nothing is looked at before its time and found not to be there yet.
func floor(t time.Time) int64 { return t.UnixMilli() }

func ceil(t time.Time) int64 {
	ms := t.UnixMilli()
	if t.Nanosecond()%int(time.Millisecond) != 0 {
		ms++
	}
	return ms
}

func at(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
