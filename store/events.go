package store

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"hash"
	"strconv"
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
	e.Time, e.Pos = at(floor(e.Time)), 0
	body, err := json.Marshal(e)
	if err != nil {
		return ajar.Because(ajar.Invalid, err, "this event cannot be logged: %v", err)
	}
	if len(body) > maxEvent {
		return ajar.Errorf(ajar.Invalid, "the event has %d bytes; at most %d are taken", len(body), maxEvent)
	}
	t.events = append(t.events, logged{e, body})
	return nil
}

// logged is an event on its way into the log, and its bytes but for the position.
type logged struct {
	ajar.Event
	body []byte
}

// noPosition is how the bytes of an event begin that has no position yet.
const noPosition = `{"pos":0,`

// number gives e its position and adds its bytes to the chain.
func (e *logged) number(pos int64, chain hash.Hash) {
	e.Pos = pos
	body := make([]byte, 0, len(e.body)+20)
	body = strconv.AppendInt(append(body, noPosition[:len(noPosition)-2]...), pos, 10)
	e.body = append(body, e.body[len(noPosition)-1:]...)
	sum := sha256.Sum256(e.body)
	chain.Write(sum[:])
}

const insertEvent = "INSERT INTO events (pos, time, action, outcome, scope, caller, corr, request, body) "

// insertEvents writes events that have their positions.
func insertEvents(ctx context.Context, c conn, d *dialect, events []logged) error {
	if !d.bulk {
		for i := range events {
			if err := insertEventBody(ctx, c, &events[i].Event, events[i].body); err != nil {
				return err
			}
		}
		return nil
	}
	for len(events) > 0 {
		var x eventColumns
		n := 0
		for size := 0; n < len(events) && (n == 0 || size+len(events[n].body) <= bulkMost); n++ {
			size += len(events[n].body)
			x.add(&events[n].Event, events[n].body)
		}
		err := c.later(ctx, int64(n), insertEvent+`SELECT v.* FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
			$8::text[], $9::bytea[]) AS v`, x.pos, x.time, x.action, x.outcome, x.scope, x.caller, x.corr, x.request, x.body)
		if err != nil {
			return err
		}
		events = events[n:]
	}
	return nil
}

// eventColumns are events turned on their side.
type eventColumns struct {
	pos, time                                     []int64
	action, outcome, scope, caller, corr, request []string
	body                                          [][]byte
}

func (x *eventColumns) add(e *ajar.Event, body []byte) {
	x.pos, x.time, x.body = append(x.pos, e.Pos), append(x.time, floor(e.Time)), append(x.body, body)
	x.action, x.outcome = append(x.action, strings.ToLower(eventColumn(string(e.Action)))), append(x.outcome, eventColumn(string(e.Outcome)))
	x.scope, x.caller = append(x.scope, scopeColumn(eventColumn(e.Scope.Key()))), append(x.caller, eventColumn(string(e.Caller)))
	x.corr, x.request = append(x.corr, eventColumn(e.Corr)), append(x.request, eventColumn(string(e.Request)))
}

func insertEventBody(ctx context.Context, c conn, e *ajar.Event, body []byte) error {
	return c.later(ctx, 1, insertEvent+"VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
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
		q, args := step.query(f.Limit)
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
