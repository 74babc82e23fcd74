package store

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/ajar-access/ajar"
)

// misfiled finds the first event from first to last that lists do not find by what it says: the chain is of the bytes of
// events, and what they are found by stands beside them. pos is 0 if there is none.
func (t *tx) misfiled(first, last int64) (pos int64, why string, err error) {
	for after := first - 1; after < last; {
		n := 0
		q := "SELECT pos, time, action, outcome, scope, caller, corr, request, body FROM events WHERE pos > $1 AND pos <= $2 ORDER BY pos LIMIT $3"
		err := t.query(q, []any{after, last, int64(verifyPage)}, func(r row) error {
			n++
			after = r.int(0)
			if what := otherwise(r); what != "" && pos == 0 {
				pos, why = after, "lists look for this event by another "+what+" than it says"
			}
			return nil
		})
		if err != nil || pos != 0 {
			return pos, why, t.fault(err)
		}
		if n == 0 {
			break
		}
	}
	return t.unfound(first, last)
}

// otherwise says which column of an event is not what its bytes say.
func otherwise(r row) string {
	var e ajar.Event
	if json.Unmarshal(r.bytes(8), &e) != nil {
		return "position" // the chain has found it already
	}
	var x eventColumns
	x.add(&e, nil)
	if r.int(1) != x.time[0] {
		return "time"
	}
	for i, c := range []struct{ name, want string }{{"action", x.action[0]}, {"outcome", x.outcome[0]}, {"scope", x.scope[0]},
		{"caller", x.caller[0]}, {"correlation id", x.corr[0]}, {"request", x.request[0]}} {
		// What was not text is replaced in the bytes and in the column, each in its own way.
		if r.text(2+i) != c.want && !strings.ContainsRune(c.want, '\uFFFD') {
			return c.name
		}
	}
	return ""
}

// unfound finds the first event from first to last that the index lacks.
func (t *tx) unfound(first, last int64) (pos int64, why string, err error) {
	n, err := readCounters(t.ctx, t.c)
	if err != nil {
		return 0, "", t.fault(err)
	}
	mark, err := refusedMark(t.ctx, t.c)
	if err != nil {
		return 0, "", t.fault(err)
	}
	missing := func(what string, until int64, lacks string) error {
		if pos != 0 {
			return nil
		}
		q := "SELECT e.pos FROM events e WHERE e.pos >= $1 AND e.pos <= $2 AND " + lacks + " ORDER BY e.pos LIMIT 1"
		return t.query(q, []any{first, min(last, until)}, func(r row) error {
			pos, why = r.int(0), "lists do not find this event by its "+what
			return nil
		})
	}
	const key = "NOT EXISTS (SELECT 1 FROM event_keys k WHERE k.field = %d AND k.value = e.%s AND k.pos = e.pos)"
	for _, k := range eventKeys {
		if err := missing(k.column, n.indexed, fmt.Sprintf("e.%s <> '' AND "+key, k.column, k.field, k.column)); err != nil {
			return 0, "", t.fault(err)
		}
	}
	if err := missing("outcome", mark, fmt.Sprintf("e.outcome = 'Refused' AND "+key, keyOutcome, "outcome")); err != nil {
		return 0, "", t.fault(err)
	}
	err = missing("time", n.indexed, "NOT EXISTS (SELECT 1 FROM event_spans s WHERE s.span = e."+spanOf+" AND s.earliest <= e.time AND s.latest >= e.time)")
	return pos, why, t.fault(err)
}
