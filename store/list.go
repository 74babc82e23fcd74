package store

import (
	"cmp"
	"encoding/base64"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/ajar-access/ajar"
)

// order is what a list is sorted by, and so what its cursor holds.
type order struct {
	name    string   // one letter, the first of a cursor
	columns []string // the last is unique
}

var (
	byKey   = order{"k", []string{"key"}}
	bySeq   = order{"s", []string{"seq"}}
	byUntil = order{"u", []string{"until", "key"}}
	byScope = order{"p", []string{"scope", "key"}}
)

func orderOf(f ajar.Filter) order {
	switch {
	case f.After != nil:
		return bySeq
	case !f.UntilBefore.IsZero():
		return byUntil
	case f.Scope != "":
		return byScope
	}
	return byKey
}

// The most documents that are held in memory at once while a list is read.
const listPage = 1000

// found is a row of a list.
type found struct {
	key, scope      string
	rev, seq, until int64
	body            []byte
	doc             *doc // instead of the body
}

func foundDoc(d *doc) found {
	return found{key: d.key, scope: d.scope, rev: d.rev, seq: d.seq, until: d.until, doc: d}
}

func (d *found) decode(kind ajar.DocKind, into ajar.Doc) error {
	if d.doc != nil {
		return d.doc.decode(into)
	}
	return decode(kind, d.key, d.rev, d.seq, d.body, into)
}

// ListDocs implements ajar.Tx. It reads page by page, so that each may use the transaction.
func (t *tx) ListDocs(kind ajar.DocKind, f ajar.Filter, each func(decode func(into ajar.Doc) error) error) (string, error) {
	if err := t.ready(); err != nil {
		return "", err
	}
	if f.Limit < 0 {
		return "", ajar.Errorf(ajar.Invalid, "a list cannot have %d entries", f.Limit)
	}
	o := orderOf(f)
	last := int64(math.MaxInt64)
	if f.After != nil && t.w != nil {
		last = t.w.seq // what each writes is not listed again
	}
	for left := f.Limit; ; {
		n := listPage
		if f.Limit > 0 {
			n = min(n, left)
		}
		page, next, err := t.page(kind, f, o, n, last)
		if err != nil {
			return "", err
		}
		for _, d := range page {
			if err := each(func(into ajar.Doc) error { return d.decode(kind, into) }); err != nil {
				return "", err
			}
		}
		if left -= len(page); next == "" || (f.Limit > 0 && left == 0) {
			return next, nil
		}
		f.Cursor = next
	}
}

// page reads up to n documents; next is "" if there are no more.
func (t *tx) page(kind ajar.DocKind, f ajar.Filter, o order, n int, last int64) (page []found, next string, err error) {
	if t.b == nil {
		page, more, err := t.stored(kind, f, o, n, last)
		if err != nil || !more {
			return page, "", err
		}
		return page, o.cursor(page[n-1]), nil
	}
	if page, ok, err := t.remembered(kind, f, o, last); ok || err != nil {
		return page, "", err
	}
	page, more, err := t.stored(kind, f, o, n, last)
	if err != nil {
		return nil, "", err
	}
	var end found
	if more {
		end = page[n-1]
	}
	page = slices.DeleteFunc(page, func(d found) bool { return t.laid(docKey{kind, d.key}) != nil })
	place, err := o.parse(f.Cursor)
	if err != nil {
		return nil, "", err
	}
	for _, d := range t.unsaid(kind, f, last) {
		if (place == nil || o.compare(d, *place) > 0) && (!more || o.compare(d, end) <= 0) {
			page = append(page, d)
		}
	}
	slices.SortFunc(page, o.compare)
	switch {
	case len(page) > n:
		page = page[:n]
		return page, o.cursor(page[n-1]), nil
	case more:
		return page, o.cursor(end), nil
	}
	return page, "", nil
}

// unsaid lists what this Update sees otherwise than the database may have it, and f selects.
func (t *tx) unsaid(kind ajar.DocKind, f ajar.Filter, last int64) (ds []found) {
	c := choose(kind, f, last)
	add := func(l, above *layer) {
		for _, k := range l.keys {
			if k.kind != kind || (above != nil && above.docs[k] != nil) {
				continue
			}
			if p := l.docs[k]; !p.gone && c.takes(p.doc) {
				ds = append(ds, foundDoc(p.doc))
			}
		}
	}
	add(t.b.accepts, t.part)
	add(t.part, nil)
	return ds
}

// remembered lists leases without asking the database, if that can be.
func (t *tx) remembered(kind ajar.DocKind, f ajar.Filter, o order, last int64) (page []found, ok bool, err error) {
	if kind != ajar.KindLease || f.Cursor != "" || f.Limit != 0 {
		return nil, false, nil
	}
	switch {
	case f.Ref != "" && f.After != nil:
		keys, known := t.b.memory().news.since(f.Ref, *f.After)
		if !known {
			return nil, false, nil
		}
		c := choose(kind, f, last)
		for _, key := range keys {
			k := docKey{kind, key}
			if t.laid(k) != nil {
				continue
			}
			d, err := t.look(k)
			if err != nil {
				return nil, false, err
			}
			if d != nil && c.takes(d) {
				page = append(page, foundDoc(d))
			}
		}
	case f.Scope != "" && f.Owner == "" && f.Ref == "" && f.After == nil && f.UntilBefore.IsZero() && len(f.States) == 0:
		if free, err := t.slotIsFree(f.Scope); err != nil || !free {
			return nil, false, err
		}
	default:
		return nil, false, nil
	}
	page = append(page, t.unsaid(kind, f, last)...)
	slices.SortFunc(page, o.compare)
	return page, true, nil
}

// slotIsFree reports whether no committed lease that is not Closed has that slot; false may also mean that it is not
// known.
func (t *tx) slotIsFree(slot ajar.ID) (bool, error) {
	column := scopeColumn(slot.Key())
	parent, ok := familyOf(column)
	if !ok {
		return false, nil
	}
	m := t.b.memory()
	f, ok := m.slots.get(parent)
	if !ok {
		f = &family{members: map[uint64]struct{}{}}
		err := t.query("SELECT scope FROM docs WHERE kind = 'lease' AND scope >= $1 AND scope < $2 AND scope <> '' LIMIT $3",
			[]any{parent, parent[:len(parent)-1] + "0", int64(familyMost)}, func(r row) error {
				f.members[slotHash(r.text(0))] = struct{}{}
				return nil
			})
		if err != nil {
			return false, t.fault(err)
		}
		if len(f.members) >= familyMost {
			f.members = nil
		}
		m.slots.put(parent, f, f.weight())
	}
	if f.members == nil {
		return false, nil
	}
	_, taken := f.members[slotHash(column)]
	return !taken, nil
}

// stored reads up to n documents as the database has them, and says whether there are more.
func (t *tx) stored(kind ajar.DocKind, f ajar.Filter, o order, n int, last int64) (page []found, more bool, err error) {
	for _, part := range parts(kind, f) {
		q, args, err := listQuery(kind, part, o, n+1, last)
		if err != nil {
			return nil, false, err
		}
		err = t.query(q, args, func(r row) error {
			page = append(page, found{key: r.text(0), scope: r.text(1), rev: r.int(2), seq: r.int(3), until: r.int(4), body: r.bytes(5)})
			return nil
		})
		if err != nil {
			return nil, false, t.fault(err)
		}
	}
	if len(f.States) > 1 && o.name == byKey.name {
		slices.SortFunc(page, o.compare)
	}
	if more = len(page) > n; more {
		page = page[:n]
	}
	return page, more, nil
}

// parts takes a list of several states apart where it is by states alone: the index of states has each in order of key,
// and no index has several.
func parts(kind ajar.DocKind, f ajar.Filter) (parts []ajar.Filter) {
	if kind == ajar.KindLease || len(f.States) < 2 || f.Scope != "" || f.Owner != "" || f.Ref != "" || f.After != nil || !f.UntilBefore.IsZero() {
		return []ajar.Filter{f}
	}
	for _, s := range slices.Compact(slices.Sorted(slices.Values(f.States))) {
		f.States = []string{s}
		parts = append(parts, f)
	}
	return parts
}

func listQuery(kind ajar.DocKind, f ajar.Filter, o order, n int, last int64) (q string, args []any, err error) {
	w, err := where(kind, f)
	if err != nil {
		return "", nil, err
	}
	if err := w.after(o, f.Cursor); err != nil {
		return "", nil, err
	}
	if f.After != nil && last != math.MaxInt64 {
		w.add("seq <= ", last)
	}
	q = "SELECT key, scope, rev, seq, coalesce(until, 0), doc FROM docs WHERE " + w.String() +
		" ORDER BY " + strings.Join(o.columns, ", ") + " LIMIT " + w.bind(int64(n))
	return q, w.args, nil
}

// Count implements ajar.Tx.
func (t *tx) Count(kind ajar.DocKind, f ajar.Filter) (n int64, err error) {
	if err := t.ready(); err != nil {
		return 0, err
	}
	w, err := where(kind, f)
	if err != nil {
		return 0, err
	}
	if t.b != nil {
		if err := t.spill(); err != nil {
			return 0, err
		}
	}
	err = t.query("SELECT count(*) FROM docs WHERE "+w.String(), w.args, func(r row) error {
		n = r.int(0)
		return nil
	})
	return n, t.fault(err)
}

// terms is a condition under construction.
type terms struct {
	strings.Builder
	args []any
}

func (w *terms) bind(v any) string {
	w.args = append(w.args, v)
	return "$" + strconv.Itoa(len(w.args))
}

func (w *terms) and(text string) {
	if w.Len() > 0 {
		w.WriteString(" AND ")
	}
	w.WriteString(text)
}

func (w *terms) add(text string, v any) { w.and(text + w.bind(v)) }

func (w *terms) in(column string, values []string) {
	marks := make([]string, len(values))
	for i, v := range values {
		marks[i] = w.bind(v)
	}
	w.and(column + " IN (" + strings.Join(marks, ", ") + ")")
}

func (w *terms) scope(scope ajar.ID) {
	from, to := scopeRange(scope)
	w.add("scope >= ", from)
	w.add("scope < ", to)
	w.and("scope <> ''")
}

// Which states the index of states leaves out: those that most documents end in. A lease is Closed as soon as it has no
// end any more.
var unindexedStates = []string{"", "Approved", "Closed"}

// where makes f a condition. What looks redundant in it repeats the condition of a partial index, which a database
// uses only if it sees that the rows it wants are all there.
func where(kind ajar.DocKind, f ajar.Filter) (*terms, error) {
	k, err := quote(kind)
	if err != nil {
		return nil, err
	}
	w := &terms{}
	switch {
	case kind == ajar.KindLease && (f.Ref != "" || byLife(f)):
		w.and("kind || '' = " + k) // as the indexes of leases have it; and no index by kind tempts the planner
	case asked(kind) && f.Owner != "" && f.Scope == "" && f.Ref == "":
		w.and("'' || kind = " + k) // as above: they are found by their requester, and the kind is looked at there
	case f.After != nil && !asked(kind):
		w.and("'' || kind = " + k) // which leaves the index by seq
		w.and("kind NOT IN ('lease', 'request')")
	default:
		w.and("kind = " + k)
	}
	if f.Scope != "" {
		w.scope(f.Scope)
	}
	if f.Owner != "" {
		w.add("owner = ", string(f.Owner))
		if asked(kind) {
			w.and("kind IN ('lease', 'request')")
		} else {
			w.and("owner <> '' AND kind NOT IN ('lease', 'request')")
		}
	}
	if f.Ref != "" {
		w.ref(kind, f)
	}
	w.states(kind, f)
	if !f.UntilBefore.IsZero() {
		w.add("until <= ", floor(f.UntilBefore))
		if kind != ajar.KindLease {
			w.and("kind <> 'lease'")
		}
	}
	if f.After != nil {
		w.add("seq > ", *f.After)
	}
	for _, v := range w.args {
		if s, ok := v.(string); ok && !clean(s) {
			return nil, ajar.Errorf(ajar.Invalid, "a filter holds a zero byte or is not UTF-8")
		}
	}
	return w, nil
}

// asked reports whether documents of that kind have a requester, by whom they are found in an index of their own.
func asked(kind ajar.DocKind) bool { return kind == ajar.KindLease || kind == ajar.KindRequest }

// byLife reports whether leases are to be found among those that are not Closed, by nothing but that.
func byLife(f ajar.Filter) bool {
	if f.Scope != "" || f.Owner != "" || f.Ref != "" || f.After != nil {
		return false
	}
	return !f.UntilBefore.IsZero() || (len(f.States) > 0 && !anyUnindexed(f.States))
}

func anyUnindexed(states []string) bool {
	return slices.ContainsFunc(states, func(s string) bool { return slices.Contains(unindexedStates, s) })
}

// ref finds what belongs to something. A request's ref is its scope and is not kept twice; a lease's index goes on with
// the state, so that the live ones of an endpoint, and those that changed, are found without its history.
func (w *terms) ref(kind ajar.DocKind, f ajar.Filter) {
	if kind == ajar.KindRequest {
		w.add("scope = ", scopeColumn(f.Ref))
		w.and("scope <> ''")
		return
	}
	w.add("ref = ", f.Ref)
	switch kind {
	case ajar.KindLease:
		if len(f.States) == 0 {
			w.and("state IN ('Opening', 'Open', 'Closing', 'Closed')")
		}
	default:
		w.and("ref <> '' AND kind <> 'lease'")
	}
}

func (w *terms) states(kind ajar.DocKind, f ajar.Filter) {
	states := f.States
	switch len(states) {
	case 0:
		return
	case 1:
		w.add("state = ", states[0])
	default:
		w.in("state", states)
	}
	if anyUnindexed(states) {
		return
	}
	if kind == ajar.KindLease {
		// As all those are that are not Closed. Where something else finds them it would only tempt a planner whose
		// statistics are of a quiet hour, when few were live, to look through all of them.
		if byLife(f) {
			w.and("until > -9223372036854775807")
		}
		return
	}
	w.and("state NOT IN ('', 'Approved') AND kind <> 'lease'")
}

// cursor is the place after d in a list of that order.
func (o order) cursor(d found) string {
	c := o.name
	for _, column := range o.columns {
		switch column {
		case "key":
			c += "\x00" + d.key
		case "scope":
			c += "\x00" + d.scope
		case "seq":
			c += "\x00" + strconv.FormatInt(d.seq, 10)
		case "until":
			c += "\x00" + strconv.FormatInt(d.until, 10)
		}
	}
	return base64.RawURLEncoding.EncodeToString([]byte(c))
}

// parse reads a cursor that the same kind of list gave; nil if there is none.
func (o order) parse(cursor string) (*found, error) {
	if cursor == "" {
		return nil, nil
	}
	bad := ajar.Errorf(ajar.Invalid, "the list cannot be continued here: the cursor is not one that it gave")
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return nil, bad
	}
	parts := strings.Split(string(raw), "\x00")
	if parts[0] != o.name || len(parts) != len(o.columns)+1 || !clean(strings.Join(parts, "")) {
		return nil, bad
	}
	var d found
	for i, column := range o.columns {
		v := parts[i+1]
		switch column {
		case "key":
			d.key = v
		case "scope":
			d.scope = v
		case "seq":
			d.seq, err = strconv.ParseInt(v, 10, 64)
		case "until":
			d.until, err = strconv.ParseInt(v, 10, 64)
		}
		if err != nil {
			return nil, bad
		}
	}
	return &d, nil
}

func (d *found) column(name string) any {
	switch name {
	case "key":
		return d.key
	case "scope":
		return d.scope
	case "seq":
		return d.seq
	}
	return d.until
}

// compare orders rows as the database does: text by its bytes.
func (o order) compare(a, b found) int {
	for _, column := range o.columns {
		c := 0
		switch column {
		case "key":
			c = strings.Compare(a.key, b.key)
		case "scope":
			c = strings.Compare(a.scope, b.scope)
		case "seq":
			c = cmp.Compare(a.seq, b.seq)
		case "until":
			c = cmp.Compare(a.until, b.until)
		}
		if c != 0 {
			return c
		}
	}
	return 0
}

// after continues a list at a cursor that the same kind of list gave.
func (w *terms) after(o order, cursor string) error {
	place, err := o.parse(cursor)
	if err != nil || place == nil {
		return err
	}
	var marks []string
	for _, column := range o.columns {
		marks = append(marks, w.bind(place.column(column)))
	}
	if len(marks) == 1 {
		w.and(o.columns[0] + " > " + marks[0])
		return nil
	}
	w.and("(" + strings.Join(o.columns, ", ") + ") > (" + strings.Join(marks, ", ") + ")")
	return nil
}
