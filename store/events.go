package store

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"hash"
	"strings"

	"github.com/ajar-access/ajar"
)

// The longest event, and the most of a column that is indexed; filters are cut alike.
const (
	maxEvent       = 1 << 20
	maxEventColumn = 512
)

// How many events a list gives by default and at most.
const (
	eventsDefault = 100
	eventsMost    = 1000
)

// Append implements ajar.Tx. The event is written when the batch is sealed.
func (t *tx) Append(e ajar.Event) error {
	if err := t.writable(); err != nil {
		return err
	}
	if e.Time.IsZero() {
		e.Time = t.store.clock()
	}
	e.Time = at(floor(e.Time))
	body, err := json.Marshal(e)
	if err != nil {
		return ajar.Because(ajar.Invalid, err, "this event cannot be logged: %v", err)
	}
	if len(body) > maxEvent {
		return ajar.Errorf(ajar.Invalid, "the event has %d bytes; at most %d are taken", len(body), maxEvent)
	}
	t.events = append(t.events, e)
	return nil
}

// insertEvent writes an event that has its position and adds its bytes to the chain.
func insertEvent(ctx context.Context, c conn, e *ajar.Event, chain hash.Hash) error {
	body, err := json.Marshal(e)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(body)
	chain.Write(sum[:])
	return insertEventBody(ctx, c, e, body)
}

func insertEventBody(ctx context.Context, c conn, e *ajar.Event, body []byte) error {
	return c.later(ctx, 1, "INSERT INTO events (pos, time, action, outcome, scope, caller, corr, request, body) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
		e.Pos, floor(e.Time), strings.ToLower(eventColumn(string(e.Action))), eventColumn(string(e.Outcome)), scopeColumn(eventColumn(e.Scope.Key())),
		eventColumn(string(e.Caller)), eventColumn(e.Corr), eventColumn(string(e.Request)), body)
}

func insertBatch(ctx context.Context, c conn, b ajar.Batch) error {
	return c.later(ctx, 1, "INSERT INTO log_batches (last, first, head, signature) VALUES ($1, $2, $3, $4)",
		b.Last, b.First, b.Head, append([]byte{}, b.Signature...))
}

// eventColumn makes s fit for an index. Refusals are logged whatever the caller sent, so nothing may fail here.
func eventColumn(s string) string {
	if len(s) > maxEventColumn {
		s = s[:maxEventColumn]
	}
	if clean(s) {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// Events implements ajar.Tx.
func (t *tx) Events(f ajar.EventFilter) (events []*ajar.Event, err error) {
	err = t.rawEvents(f, func(pos int64, body []byte) error {
		e := new(ajar.Event)
		if err := json.Unmarshal(body, e); err != nil {
			return ajar.Because(ajar.Internal, err, "the event at position %d cannot be read", pos)
		}
		events = append(events, e)
		return nil
	})
	return events, err
}

// rawEvent is an event as it is stored.
type rawEvent struct {
	pos  int64
	body []byte
}

// rawEvents gives the bytes as they were hashed.
func (t *tx) rawEvents(f ajar.EventFilter, each func(pos int64, body []byte) error) error {
	if err := t.ready(); err != nil {
		return err
	}
	if f.Limit <= 0 {
		f.Limit = eventsDefault
	}
	f.Limit = min(f.Limit, eventsMost)
	steps, err := t.eventSteps(f)
	if err != nil {
		return err
	}
	for _, step := range steps {
		var rows []rawEvent
		step.Limit = f.Limit
		q, args := eventQuery(step.EventFilter, step.walk)
		err := t.query(q, args, func(r row) error {
			rows = append(rows, rawEvent{r.int(0), r.bytes(1)})
			return nil
		})
		if err != nil {
			return t.fault(err)
		}
		for _, r := range rows {
			if err := each(r.pos, r.body); err != nil {
				return err
			}
		}
		if f.Limit -= len(rows); f.Limit <= 0 {
			return nil
		}
	}
	return nil
}

// eventStep is one query of a list of events; walk leaves the index of scopes aside.
type eventStep struct {
	ajar.EventFilter
	walk bool
}

// How many positions a list by scope walks through before it asks the index.
const eventWalk = 2000

// eventSteps takes a list by scope apart. The index of scopes has the positions of one scope in order but not those of
// all below it, so a wide scope would be sorted as a whole to find its newest hundred. Where a scope is wide they are
// among the newest anyway; where it is narrow, sorting costs nothing.
func (t *tx) eventSteps(f ajar.EventFilter) ([]eventStep, error) {
	if f.Scope == "" || f.Caller != "" || f.Corr != "" || f.Request != "" || f.Action != "" {
		return []eventStep{{f, false}}, nil
	}
	near, far := eventStep{f, true}, eventStep{f, false}
	if f.Ascending {
		end := f.After + eventWalk
		if f.Until == 0 || f.Until > end+1 {
			near.Until = end + 1
		}
		far.After = end
		return []eventStep{near, far}, nil
	}
	top := f.Until - 1
	if f.Until == 0 {
		n, err := readCounters(t.ctx, t.c)
		if err != nil {
			return nil, t.fault(err)
		}
		top = n.pos
	}
	if start := top - eventWalk; start > f.After {
		near.After, far.Until = start, start+1
		return []eventStep{near, far}, nil
	}
	return []eventStep{near}, nil
}

func eventQuery(f ajar.EventFilter, walk bool) (q string, args []any) {
	w := eventTerms(f, walk)
	q = "SELECT pos, body FROM events WHERE " + w.String() + " ORDER BY pos"
	if !f.Ascending {
		q += " DESC"
	}
	q += " LIMIT " + w.bind(int64(f.Limit))
	return q, w.args
}

func eventTerms(f ajar.EventFilter, walk bool) *terms {
	w := &terms{}
	w.add("pos > ", f.After)
	if f.Until > 0 {
		w.add("pos < ", f.Until)
	}
	switch scope := ajar.ID(eventColumn(f.Scope.Key())); {
	case f.Scope == "":
	case walk:
		from, to := scopeRange(scope)
		w.add("'' || scope >= ", from)
		w.add("'' || scope < ", to)
	default:
		w.scope(scope)
	}
	if f.Caller != "" {
		w.add("caller = ", eventColumn(string(f.Caller)))
		w.and("caller <> ''")
	}
	if f.Corr != "" {
		w.add("corr = ", eventColumn(f.Corr))
		w.and("corr <> ''")
	}
	if f.Request != "" {
		w.add("request = ", eventColumn(string(f.Request)))
		w.and("request <> ''")
	}
	if f.Action != "" {
		w.add("action = ", strings.ToLower(eventColumn(string(f.Action))))
	}
	if f.Outcome != "" {
		w.add("outcome = ", eventColumn(string(f.Outcome)))
	}
	if !f.Since.IsZero() {
		w.add("time >= ", floor(f.Since))
	}
	if !f.Before.IsZero() {
		w.add("time < ", ceil(f.Before))
	}
	return w
}

// Batches implements ajar.Tx.
func (t *tx) Batches(from int64, n int) (batches []ajar.Batch, err error) {
	if err := t.ready(); err != nil {
		return nil, err
	}
	if n <= 0 {
		return nil, nil
	}
	err = t.query("SELECT first, last, head, signature FROM log_batches WHERE last >= $1 ORDER BY last LIMIT $2", []any{from, int64(n)}, func(r row) error {
		batches = append(batches, ajar.Batch{First: r.int(0), Last: r.int(1), Head: r.bytes(2), Signature: r.bytes(3)})
		return nil
	})
	return batches, t.fault(err)
}
