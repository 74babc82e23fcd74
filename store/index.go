package store

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ajar-access/ajar"
)

// The keys that events are found by, and the columns that hold them. The numbers are in the database.
const (
	keyAction = iota + 1
	keyScope
	keyCaller
	keyCorr
	keyRequest
	keyOutcome // of refused events alone
)

var eventKeys = []struct {
	field  int64
	column string
}{{keyAction, "action"}, {keyScope, "scope"}, {keyCaller, "caller"}, {keyCorr, "corr"}, {keyRequest, "request"}}

// How many events are indexed in one go, how long they are let gather, and the pause after a fault. While one lot is
// written everybody waits; and the more that is not yet indexed, the more a list has to read.
const (
	indexStep  = 512
	indexPause = 250 * time.Millisecond
	indexRetry = 5 * time.Second
)

// How many positions a span has, and the SQL of the span that a position is in.
const (
	spanSize = 1024
	spanOf   = "pos / 1024"
)

// indexer writes the keys of events behind the commits that log them: in the commits they would dirty as many pages as
// all else together, here many events share them. What it writes need not be durable with anything; it goes on from
// the counter. Each replica has one, and whoever comes second finds nothing to do.
type indexer struct {
	store *Store
	woken chan struct{}
	end   context.CancelFunc
	ended sync.WaitGroup
}

func newIndexer(s *Store) *indexer {
	ctx, cancel := context.WithCancel(context.Background())
	x := &indexer{store: s, woken: make(chan struct{}, 1), end: cancel}
	x.ended.Go(func() { x.run(ctx) })
	return x
}

// wake says that there is something to index.
func (x *indexer) wake() {
	select {
	case x.woken <- struct{}{}:
	default:
	}
}

func (x *indexer) stop() {
	x.end()
	x.ended.Wait()
}

func (x *indexer) run(ctx context.Context) {
	pause := indexPause
	for {
		select {
		case <-x.woken:
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		pause = indexPause
		if err := x.catchUp(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, errClosed) {
			x.store.log.Warn("cannot index the log; lists of events are slow until it is done", "err", err)
			pause = indexRetry
			x.wake()
		}
	}
}

// catchUp indexes what is logged. It looks first without holding up a writer.
func (x *indexer) catchUp(ctx context.Context) error {
	for {
		if behind, err := x.behind(ctx); err != nil || !behind {
			return err
		}
		err := x.store.Update(ctx, func(at ajar.Tx) error {
			t := at.(*tx)
			if err := t.writable(); err != nil {
				return err
			}
			after, to := t.w.indexed, min(t.w.pos, t.w.indexed+indexStep)
			t.w.indexed = to
			t.sealed = append(t.sealed, func(ctx context.Context, c conn) error {
				if err := indexRefused(ctx, c, to); err != nil || to == after {
					return err
				}
				return indexEvents(ctx, c, after, to)
			})
			return nil
		})
		if err != nil {
			return err
		}
	}
}

// behind reports whether there is something to index.
func (x *indexer) behind(ctx context.Context) (is bool, err error) {
	err = x.store.View(ctx, func(at ajar.Tx) error {
		t := at.(*tx)
		n, err := readCounters(t.ctx, t.c)
		if err != nil {
			return t.fault(err)
		}
		mark, err := refusedMark(t.ctx, t.c)
		is = min(n.indexed, mark) < n.pos
		return t.fault(err)
	})
	return is, err
}

// indexEvents writes the keys and spans of the events behind after, up to the position to, and counts on.
func indexEvents(ctx context.Context, c conn, after, to int64) error {
	for _, k := range eventKeys {
		q := "INSERT INTO event_keys (field, value, pos) SELECT " + string(rune('0'+k.field)) + ", " + k.column +
			", pos FROM events WHERE pos > $1 AND pos <= $2 AND " + k.column + " <> '' ORDER BY " + k.column + ", pos"
		if err := c.later(ctx, anyRows, q, after, to); err != nil {
			return err
		}
	}
	const q = "INSERT INTO event_spans (span, earliest, latest) SELECT " + spanOf + ", min(time), max(time) FROM events WHERE pos > $1 AND pos <= $2 GROUP BY " + spanOf + `
		ON CONFLICT (span) DO UPDATE SET earliest = CASE WHEN excluded.earliest < event_spans.earliest THEN excluded.earliest ELSE event_spans.earliest END,
			latest = CASE WHEN excluded.latest > event_spans.latest THEN excluded.latest ELSE event_spans.latest END`
	if err := c.later(ctx, anyRows, q, after, to); err != nil {
		return err
	}
	return c.later(ctx, 1, "UPDATE counters SET indexed = $1 WHERE id = 1", to)
}

// How many events are looked through for refused ones in one go.
const refusedStep = 2048

// indexRefused writes the outcome of refused events, some positions further than it was written, but not further than to.
func indexRefused(ctx context.Context, c conn, to int64) error {
	mark, err := refusedMark(ctx, c)
	to = min(to, mark+refusedStep)
	if err != nil || to <= mark {
		return err
	}
	const q = "INSERT INTO event_keys (field, value, pos) SELECT 6, outcome, pos FROM events WHERE pos > $1 AND pos <= $2 AND outcome = 'Refused' ORDER BY pos"
	if err := c.later(ctx, anyRows, q, mark, to); err != nil {
		return err
	}
	return c.later(ctx, 1, "UPDATE event_marks SET pos = $1 WHERE field = 6", to)
}

// refusedMark is the position up to which refused events are found by their outcome.
func refusedMark(ctx context.Context, c conn) (mark int64, err error) {
	err = c.query(ctx, "SELECT pos FROM event_marks WHERE field = 6", nil, func(r row) error {
		mark = r.int(0)
		return nil
	})
	return mark, err
}

// indexRestored indexes the whole log in the transaction that wrote it.
func indexRestored(ctx context.Context, c conn) error {
	n, err := readCounters(ctx, c)
	if err != nil || n.pos == 0 {
		return err
	}
	if err := indexEvents(ctx, c, 0, n.pos); err != nil {
		return err
	}
	return c.flush(ctx)
}

// eventStep is one query of a list of events: those with a key, or, if field is 0, all between two positions.
type eventStep struct {
	ajar.EventFilter
	field int64
}

// How many positions a list by scope walks through before it asks the index.
const eventWalk = 2000

// eventSteps takes a list of events apart: what the index has, and what was logged since.
//
// The index has the positions of one scope in order but not those of all below it, so a wide scope would be sorted as
// a whole to find its newest hundred. Where a scope is wide they are among the newest anyway; where it is narrow,
// sorting costs nothing. So a list by scope walks a while first.
func (t *tx) eventSteps(f ajar.EventFilter) ([]eventStep, error) {
	field, timed := fieldOf(f), !f.Since.IsZero() || !f.Before.IsZero()
	if field == 0 && !timed {
		return []eventStep{{f, 0}}, nil
	}
	if err := t.reach(); err != nil {
		return nil, err
	}
	n, err := readCounters(t.ctx, t.c)
	if err == nil && field == keyOutcome {
		n.indexed, err = refusedMark(t.ctx, t.c)
	}
	if err != nil {
		return nil, t.fault(err)
	}
	if f.Until == 0 || f.Until > n.pos+1 {
		f.Until = n.pos + 1
	}
	after, until, err := t.timeBounds(f, n.indexed) // of what is asked of the index
	if err != nil {
		return nil, err
	}
	near := int64(0)
	if field == keyScope {
		near = eventWalk
	}
	from, to := after, until-1
	if f.Ascending {
		from = min(after+near, to)
	} else {
		to = max(to-near, from)
	}
	steps := []eventStep{{f, 0}, {f, field}, {f, 0}, {f, 0}}
	steps[0].After, steps[0].Until = after, from+1
	steps[1].After, steps[1].Until = from, to+1
	steps[2].After, steps[2].Until = to, until
	steps[3].After, steps[3].Until = max(f.After, n.indexed), f.Until
	steps = slices.DeleteFunc(steps, func(s eventStep) bool { return s.Until <= s.After+1 })
	if !f.Ascending {
		slices.Reverse(steps)
	}
	return steps, nil
}

// fieldOf is the key that finds the fewest events of what f names.
func fieldOf(f ajar.EventFilter) int64 {
	thing := strings.Contains(f.Scope.Key(), "/providers/")
	switch {
	case f.Request != "":
		return keyRequest
	case f.Corr != "":
		return keyCorr
	case thing:
		return keyScope
	case f.Outcome == ajar.Refused:
		return keyOutcome
	case f.Caller != "":
		return keyCaller
	case f.Action != "":
		return keyAction
	case f.Scope != "":
		return keyScope
	}
	return 0
}

// timeBounds gives the positions between which the index has what f asks for. Times are almost in the order of
// positions, so the spans before the first and behind the last that can have some are left out.
func (t *tx) timeBounds(f ajar.EventFilter, indexed int64) (after, until int64, err error) {
	after, until = f.After, min(f.Until, indexed+1)
	if !f.Since.IsZero() {
		first := indexed
		err := t.query("SELECT span FROM event_spans WHERE latest >= $1 ORDER BY span LIMIT 1", []any{floor(f.Since)}, func(r row) error {
			first = r.int(0)*spanSize - 1
			return nil
		})
		if err != nil {
			return 0, 0, t.fault(err)
		}
		after = max(after, first)
	}
	if !f.Before.IsZero() {
		end := int64(0)
		err := t.query("SELECT span FROM event_spans WHERE earliest < $1 ORDER BY span DESC LIMIT 1", []any{ceil(f.Before)}, func(r row) error {
			end = (r.int(0) + 1) * spanSize
			return nil
		})
		if err != nil {
			return 0, 0, t.fault(err)
		}
		until = min(until, end)
	}
	return after, max(until, after+1), nil
}

func (s eventStep) query(limit int) (q string, args []any) {
	if s.field == keyScope && s.onlyScope() {
		return s.queryScope(limit)
	}
	w := s.terms()
	from, pos := "events", "pos"
	if s.field != 0 {
		// The join is crossed, which tells SQLite not to turn it round.
		from, pos = "event_keys k CROSS JOIN events e", "k.pos"
	}
	q = "SELECT " + pos + ", body FROM " + from + " WHERE " + w.String() + " ORDER BY " + pos
	if !s.Ascending {
		q += " DESC"
	}
	q += " LIMIT " + w.bind(int64(limit))
	return q, w.args
}

// onlyScope reports whether nothing but the scope and positions selects.
func (s eventStep) onlyScope() bool {
	f := s.EventFilter
	f.Scope, f.After, f.Until, f.Ascending, f.Limit = "", 0, 0, false, 0
	return f == ajar.EventFilter{}
}

// queryScope sorts the positions of all below a scope without their events, and reads those that are left.
func (s eventStep) queryScope(limit int) (string, []any) {
	w, order := &terms{}, " ORDER BY k.pos"
	if !s.Ascending {
		order += " DESC"
	}
	w.and("k.field = 2")
	from, to := scopeRange(ajar.ID(eventColumn(s.Scope.Key())))
	w.add("k.value >= ", from)
	w.add("k.value < ", to)
	w.add("k.pos > ", s.After)
	if s.Until > 0 {
		w.add("k.pos < ", s.Until)
	}
	q := "SELECT k.pos, e.body FROM (SELECT k.pos FROM event_keys k WHERE " + w.String() + order + " LIMIT " + w.bind(int64(limit)) +
		") k CROSS JOIN events e WHERE e.pos = k.pos" + order
	return q, w.args
}

// terms is the condition of a step: the key, the positions, and what else f names.
func (s eventStep) terms() *terms {
	w := &terms{}
	f, pos := s.EventFilter, "pos"
	if s.field != 0 {
		pos = "k.pos"
		w.and("e.pos = k.pos")
		w.and("k.field = " + string(rune('0'+s.field)))
	}
	w.add(pos+" > ", f.After)
	if f.Until > 0 {
		w.add(pos+" < ", f.Until)
	}
	is := func(field int64, column, value string) {
		switch {
		case value == "":
		case s.field == field:
			w.add("k.value = ", eventColumn(value))
		default:
			w.add(column+" = ", eventColumn(value))
		}
	}
	if f.Scope != "" {
		column := "scope"
		if s.field == keyScope {
			column = "k.value"
		}
		from, to := scopeRange(ajar.ID(eventColumn(f.Scope.Key())))
		w.add(column+" >= ", from)
		w.add(column+" < ", to)
	}
	is(keyCaller, "caller", string(f.Caller))
	is(keyCorr, "corr", f.Corr)
	is(keyRequest, "request", string(f.Request))
	is(keyAction, "action", strings.ToLower(eventColumn(string(f.Action))))
	is(keyOutcome, "outcome", string(f.Outcome))
	if !f.Since.IsZero() {
		w.add("time >= ", floor(f.Since))
	}
	if !f.Before.IsZero() {
		w.add("time < ", ceil(f.Before))
	}
	return w
}
