package store

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
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
	cache  cache     // nil in a View
	events []logged
	wrote  bool
	moved  []movedStamp
	broken error // a fault of the database, after which nothing can be done in this transaction
	over   bool
}

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

func (t *tx) query(q string, args []any, each func(row) error) error {
	return t.c.query(t.ctx, q, args, each)
}

func (t *tx) later(want int64, q string, args ...any) error {
	t.wrote = true
	return t.fault(t.c.later(t.ctx, want, q, args...))
}

func (t *tx) exec(q string, args ...any) (int64, error) {
	t.wrote = true
	n, err := t.c.exec(t.ctx, q, args...)
	return n, t.fault(err)
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
	d, found := t.cache[cacheKey{kind, key}]
	if !found {
		err = t.query("SELECT rev, seq, doc FROM docs WHERE kind = "+k+" AND key = $1", []any{key}, func(r row) error {
			found, d = true, cached{r.int(0), r.int(1), r.bytes(2)}
			return nil
		})
		if err != nil {
			return t.fault(err)
		}
	}
	if !found {
		return ajar.Errorf(ajar.NotFound, "there is no %s %s", kind, key)
	}
	t.cache.keep(kind, key, d)
	return decode(kind, key, d.rev, d.seq, d.body, into)
}

func decode(kind ajar.DocKind, key string, rev, seq int64, body []byte, into ajar.Doc) error {
	if err := json.Unmarshal(body, into); err != nil {
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
	kind, err := quote(e.Kind)
	if err != nil {
		return err
	}
	body, err := json.Marshal(d)
	if err != nil {
		return ajar.Because(ajar.Invalid, err, "this %s cannot be stored: %v", e.Kind, err)
	}
	if err := checkEntry(e, body); err != nil {
		return err
	}
	seq, stamp := t.w.seq+1, d.Stamped()
	p := put{kind: kind, Entry: e, seq: seq, rev: stamp.Rev, scope: scopeColumn(e.Scope), until: untilColumn(e.Until), body: body}
	if e.Kind == ajar.KindLease && p.until == nil && e.State != string(ajar.Closed) {
		p.until = int64(math.MaxInt64) // it is found among those that are not Closed
	}
	if e.Kind == ajar.KindRequest {
		p.Ref = "" // it is the scope
	}
	switch {
	case stamp.Rev == 0:
		err = t.insert(p)
	case t.store.db.dialect().narrowUpdates:
		err = t.updateNarrow(p)
	default:
		err = t.update(p)
	}
	if err != nil {
		return err
	}
	if e.Kind == ajar.KindEndpoint && stamp.Rev == 0 {
		if err := t.addDue(e.Key); err != nil {
			return err
		}
	}
	if isRight(e.Kind, e.State) {
		t.w.rights++
	}
	t.w.seq = seq
	t.cache.drop(e.Kind, e.Key)
	t.cache.keep(e.Kind, e.Key, cached{stamp.Rev + 1, seq, body})
	t.moved = append(t.moved, movedStamp{stamp, *stamp})
	*stamp = ajar.Stamp{Rev: stamp.Rev + 1, Seq: seq}
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

// put is a document on its way into its row.
type put struct {
	kind string // quoted
	ajar.Entry
	seq, rev int64
	scope    string
	until    any
	body     []byte
}

func (p put) conflict() error {
	if p.rev == 0 {
		return ajar.Errorf(ajar.Conflict, "%s %s exists already", p.Kind, p.Key)
	}
	return ajar.Errorf(ajar.Conflict, "%s %s was changed by somebody else; read it again", p.Kind, p.Key)
}

func (t *tx) insert(p put) error {
	q := "INSERT INTO docs (kind, key, rev, seq, scope, owner, ref, state, until, doc) VALUES (" + p.kind +
		", $1, 1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (kind, key) DO NOTHING"
	return t.one(p, q, p.Key, p.seq, p.scope, p.Owner, p.Ref, p.State, p.until, p.body)
}

func (t *tx) update(p put) error {
	q := "UPDATE docs SET rev = rev + 1, seq = $3, scope = $4, owner = $5, ref = $6, state = $7, until = $8, doc = $9 WHERE kind = " +
		p.kind + " AND key = $1 AND rev = $2"
	return t.one(p, q, p.Key, p.rev, p.seq, p.scope, p.Owner, p.Ref, p.State, p.until, p.body)
}

// one runs a statement that changes one row or says Conflict.
func (t *tx) one(p put, q string, args ...any) error {
	if t.c.guesses() {
		return t.later(1, q, args...)
	}
	n, err := t.exec(q, args...)
	if err == nil && n != 1 {
		err = p.conflict()
	}
	return err
}

// updateNarrow reads the row first and names only the columns that change, so that only their indexes are written.
func (t *tx) updateNarrow(p put) error {
	var id, until int64
	var have put
	found := false
	err := t.query("SELECT id, scope, owner, ref, state, coalesce(until, 0), until IS NULL FROM docs WHERE kind = "+p.kind+" AND key = $1 AND rev = $2",
		[]any{p.Key, p.rev}, func(r row) error {
			found, id, until = true, r.int(0), r.int(5)
			have.scope, have.Owner, have.Ref, have.State = r.text(1), r.text(2), r.text(3), r.text(4)
			if r.int(6) == 0 {
				have.until = until
			}
			return nil
		})
	if err != nil {
		return t.fault(err)
	}
	if !found {
		return p.conflict()
	}
	q, args := "UPDATE docs SET rev = rev + 1, seq = $2, doc = $3", []any{id, p.seq, p.body}
	set := func(columns string, values ...any) {
		q += columns
		args = append(args, values...)
	}
	if have.scope != p.scope || have.Owner != p.Owner || have.Ref != p.Ref {
		set(", state = $4, until = $5, scope = $6, owner = $7, ref = $8", p.State, p.until, p.scope, p.Owner, p.Ref)
	} else if have.until != p.until {
		set(", state = $4, until = $5", p.State, p.until)
	} else if have.State != p.State {
		set(", state = $4", p.State)
	}
	return t.later(1, q+" WHERE id = $1", args...)
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
	found, state := false, ""
	if clean(key) {
		err = t.query("SELECT state FROM docs WHERE kind = "+k+" AND key = $1", []any{key}, func(r row) error {
			found, state = true, r.text(0)
			return nil
		})
	}
	if err != nil {
		return t.fault(err)
	}
	if !found {
		return ajar.Errorf(ajar.NotFound, "there is no %s %s", kind, key)
	}
	if err := t.later(1, "DELETE FROM docs WHERE kind = "+k+" AND key = $1", key); err != nil {
		return err
	}
	t.cache.drop(kind, key)
	if kind == ajar.KindEndpoint {
		if err := t.later(1, "DELETE FROM due WHERE endpoint = $1", key); err != nil {
			return err
		}
	}
	if isRight(kind, state) {
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

func untilColumn(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return ceil(t)
}

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
