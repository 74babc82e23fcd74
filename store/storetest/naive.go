package storetest

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
)

// naive is an ajar.Tx over maps, as simple as can be: what a Store must agree with.
type naive struct {
	docs   map[naiveKey]naiveDoc
	due    map[ajar.EndpointID]naiveDue
	events []string
	rights int64
	seq    int64
}

type naiveKey struct {
	kind ajar.DocKind
	key  string
}

type naiveDoc struct {
	ajar.Entry
	ajar.Stamp
	body string
}

type naiveDue struct {
	due, held, homeUntil time.Time
	mark                 int64
	failures             int
	owner, home          string
}

func newNaive() *naive {
	return &naive{docs: map[naiveKey]naiveDoc{}, due: map[ajar.EndpointID]naiveDue{}}
}

func (n *naive) clone() *naive {
	c := *n
	c.docs, c.due, c.events = maps.Clone(n.docs), maps.Clone(n.due), slices.Clip(n.events)
	return &c
}

var (
	errNaiveGone     = ajar.Errorf(ajar.NotFound, "gone")
	errNaiveConflict = ajar.Errorf(ajar.Conflict, "conflict")
)

func (d naiveDoc) decode(into ajar.Doc) error {
	if err := json.Unmarshal([]byte(d.body), into); err != nil {
		return err
	}
	*into.Stamped() = d.Stamp
	return nil
}

func (n *naive) GetDoc(kind ajar.DocKind, key string, into ajar.Doc) error {
	d, ok := n.docs[naiveKey{kind, key}]
	if !ok {
		return errNaiveGone
	}
	return d.decode(into)
}

func (n *naive) Put(d ajar.Doc) error {
	e := d.Entry()
	k, stamp := naiveKey{e.Kind, e.Key}, d.Stamped()
	if n.docs[k].Rev != stamp.Rev {
		return errNaiveConflict
	}
	body, err := json.Marshal(d)
	if err != nil {
		return err
	}
	if e.Kind == ajar.KindEndpoint && stamp.Rev == 0 {
		n.due[ajar.EndpointID(e.Key)] = naiveDue{due: time.UnixMilli(0).UTC()}
	}
	n.move(e)
	n.seq++
	stamp.Rev, stamp.Seq = stamp.Rev+1, n.seq
	n.docs[k] = naiveDoc{e, *stamp, string(body)}
	return nil
}

// move counts a change of what rights depend on.
func (n *naive) move(e ajar.Entry) {
	if slices.Contains(ajar.RightsKinds, e.Kind) && (e.Kind != ajar.KindPrincipal || e.State == string(ajar.Group)) {
		n.rights++
	}
}

func (n *naive) Delete(kind ajar.DocKind, key string) error {
	k := naiveKey{kind, key}
	d, ok := n.docs[k]
	if !ok {
		return errNaiveGone
	}
	n.move(d.Entry)
	delete(n.docs, k)
	if kind == ajar.KindEndpoint {
		delete(n.due, ajar.EndpointID(key))
	}
	return nil
}

// selected lists what f selects, without its Limit and Cursor. What is in order of scope comes in order of key.
func (n *naive) selected(kind ajar.DocKind, f ajar.Filter) (ds []naiveDoc) {
	for k, d := range n.docs {
		switch {
		case k.kind != kind,
			f.Scope != "" && (d.Scope == "" || !f.Scope.Covers(ajar.ID(d.Scope))),
			f.Owner != "" && string(f.Owner) != d.Owner,
			f.Ref != "" && f.Ref != d.Ref,
			len(f.States) > 0 && !slices.Contains(f.States, d.State),
			!f.UntilBefore.IsZero() && (d.Until.IsZero() || d.Until.After(f.UntilBefore)),
			f.After != nil && d.Seq <= *f.After:
			continue
		}
		ds = append(ds, d)
	}
	slices.SortFunc(ds, func(a, b naiveDoc) int {
		switch {
		case f.After != nil:
			return int(a.Seq - b.Seq)
		case !f.UntilBefore.IsZero() && !a.Until.Equal(b.Until):
			return a.Until.Compare(b.Until)
		}
		return strings.Compare(a.Key, b.Key)
	})
	return ds
}

// ListDocs has the place in the whole list as its cursor, so nothing may be written between two pages.
func (n *naive) ListDocs(kind ajar.DocKind, f ajar.Filter, each func(func(ajar.Doc) error) error) (next string, err error) {
	ds := n.selected(kind, f)
	from, _ := strconv.Atoi(f.Cursor)
	to := len(ds)
	if f.Limit > 0 && from+f.Limit < to {
		to = from + f.Limit
		next = strconv.Itoa(to)
	}
	for _, d := range ds[from:to] {
		if err := each(d.decode); err != nil {
			return "", err
		}
	}
	return next, nil
}

func (n *naive) Count(kind ajar.DocKind, f ajar.Filter) (int64, error) {
	return int64(len(n.selected(kind, f))), nil
}

func (n *naive) Append(e ajar.Event) error {
	n.events = append(n.events, e.Message)
	return nil
}

func (n *naive) Events(f ajar.EventFilter) (es []*ajar.Event, err error) {
	for i := int(f.After); i < len(n.events) && len(es) < f.Limit; i++ {
		es = append(es, &ajar.Event{Pos: int64(i + 1), Message: n.events[i]})
	}
	return es, nil
}

func (n *naive) Batches(int64, int) ([]ajar.Batch, error) { return nil, nil }

func (n *naive) RightsGen() (int64, error) { return n.rights, nil }

func (n *naive) MarkDue(ep ajar.EndpointID, at time.Time) error {
	if d, ok := n.due[ep]; ok {
		if d.mark++; at.Before(d.due) {
			d.due = at
		}
		n.due[ep] = d
	}
	return nil
}

func (n *naive) SetHome(ep ajar.EndpointID, owner string, until time.Time) error {
	d, ok := n.due[ep]
	if !ok {
		return errNaiveGone
	}
	d.home, d.homeUntil = owner, until
	n.due[ep] = d
	return nil
}

func (d naiveDue) free(now time.Time, owner string) bool {
	return !d.held.After(now) && (d.home == "" || d.home == owner || !d.homeUntil.After(now))
}

func (n *naive) ClaimDue(now time.Time, most int, hold time.Duration, owner string) (cs []ajar.Claim, err error) {
	eps := slices.SortedFunc(maps.Keys(n.due), func(a, b ajar.EndpointID) int {
		if c := n.due[a].due.Compare(n.due[b].due); c != 0 {
			return c
		}
		return strings.Compare(string(a), string(b))
	})
	for _, ep := range eps {
		if n.due[ep].due.After(now) || len(cs) == most {
			break
		}
		c, ok, err := n.Claim(ep, now, hold, owner)
		if err != nil {
			return nil, err
		}
		if ok {
			cs = append(cs, c)
		}
	}
	return cs, nil
}

func (n *naive) Claim(ep ajar.EndpointID, now time.Time, hold time.Duration, owner string) (c ajar.Claim, ok bool, err error) {
	d, ok := n.due[ep]
	if !ok || !d.free(now, owner) {
		return c, false, nil
	}
	d.owner, d.held = owner, now.Add(hold)
	n.due[ep] = d
	c = ajar.Claim{Owner: owner, Mark: d.mark, Failures: d.failures, Until: d.held, Endpoint: new(ajar.Endpoint)}
	return c, true, n.GetDoc(ajar.KindEndpoint, string(ep), c.Endpoint)
}

func (n *naive) Release(c ajar.Claim, due time.Time, failures int) error {
	d, ok := n.due[c.Endpoint.ID]
	if !ok || d.owner != c.Owner || !d.held.Equal(c.Until) {
		return errNaiveConflict
	}
	if d.mark == c.Mark {
		d.due = due
	}
	d.owner, d.held, d.failures = "", time.Time{}, failures
	n.due[c.Endpoint.ID] = d
	return nil
}

func (n *naive) DropClaims(owner string) error {
	for ep, d := range n.due {
		if d.owner == owner {
			d.owner, d.held = "", time.Time{}
			n.due[ep] = d
		}
	}
	return nil
}

func (n *naive) NextDue(owner string) (next time.Time, err error) {
	for _, d := range n.due {
		at := d.due
		if d.held.After(at) {
			at = d.held
		}
		if d.home != "" && d.home != owner && d.homeUntil.After(at) {
			at = d.homeUntil
		}
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	return next, nil
}
