package store

import (
	"time"

	"github.com/ajar-access/ajar"
)

// addDue makes a new endpoint due at once.
func (t *tx) addDue(endpoint string) error {
	return t.later(1, insertDue, endpoint)
}

const insertDue = "INSERT INTO due (endpoint, due, mark, failures, owner, held, home, home_until) VALUES ($1, 0, 0, 0, '', 0, '', 0)"

// MarkDue implements ajar.Tx. Where there is no such endpoint there is nothing to look at.
func (t *tx) MarkDue(ep ajar.EndpointID, when time.Time) error {
	if err := t.writable(); err != nil {
		return err
	}
	if !clean(string(ep)) {
		return nil
	}
	return t.later(anyRows, "UPDATE due SET mark = mark + 1, due = CASE WHEN due < $2 THEN due ELSE $2 END WHERE endpoint = $1", string(ep), ceil(when))
}

// SetHome implements ajar.Tx.
func (t *tx) SetHome(ep ajar.EndpointID, owner string, until time.Time) error {
	if err := t.writable(); err != nil {
		return err
	}
	if !clean(string(ep)) || !clean(owner) {
		return ajar.Errorf(ajar.Invalid, "the name of an endpoint or a replica holds a zero byte or is not UTF-8")
	}
	end := int64(0)
	if owner != "" {
		end = floor(until)
	}
	const q = "UPDATE due SET home = $2, home_until = $3 WHERE endpoint = $1"
	if t.c.guesses() {
		return t.later(1, q, string(ep), owner, end)
	}
	n, err := t.exec(q, string(ep), owner, end)
	if err == nil && n == 0 {
		return ajar.Errorf(ajar.NotFound, "there is no endpoint %s", ep)
	}
	return err
}

// ClaimDue implements ajar.Tx. Updates run one after the other, so what is read here as free is free.
func (t *tx) ClaimDue(now time.Time, n int, hold time.Duration, owner string) (claims []ajar.Claim, err error) {
	if err := t.writable(); err != nil {
		return nil, err
	}
	if owner == "" || !clean(owner) {
		return nil, ajar.Errorf(ajar.Invalid, "whoever claims must have a name")
	}
	if n <= 0 || hold < time.Millisecond {
		return nil, ajar.Errorf(ajar.Invalid, "a claim is for at least one endpoint and one millisecond")
	}
	var docs []found
	until := floor(now.Add(hold))
	const q = `SELECT d.key, d.rev, d.seq, d.doc, due.mark, due.failures FROM due JOIN docs d ON d.kind = 'endpoint' AND d.key = due.endpoint
		WHERE due.due <= $1 AND due.held <= $1 AND (due.home = '' OR due.home = $2 OR due.home_until <= $1) ORDER BY due.due, due.endpoint LIMIT $3`
	err = t.query(q, []any{floor(now), owner, int64(n)}, func(r row) error {
		docs = append(docs, found{key: r.text(0), rev: r.int(1), seq: r.int(2), body: r.bytes(3)})
		claims = append(claims, ajar.Claim{Owner: owner, Mark: r.int(4), Failures: int(r.int(5)), Until: at(until)})
		return nil
	})
	if err != nil {
		return nil, t.fault(err)
	}
	for i, d := range docs {
		claims[i].Endpoint = new(ajar.Endpoint)
		if err := decode(ajar.KindEndpoint, d.key, d.rev, d.seq, d.body, claims[i].Endpoint); err != nil {
			return nil, err
		}
		if err := t.later(1, "UPDATE due SET owner = $2, held = $3 WHERE endpoint = $1", d.key, owner, until); err != nil {
			return nil, err
		}
	}
	return claims, nil
}

// Claim implements ajar.Tx.
func (t *tx) Claim(ep ajar.EndpointID, now time.Time, hold time.Duration, owner string) (c ajar.Claim, ok bool, err error) {
	if err := t.writable(); err != nil {
		return c, false, err
	}
	if owner == "" || !clean(owner) || hold < time.Millisecond {
		return c, false, ajar.Errorf(ajar.Invalid, "whoever claims must have a name, and a claim is for at least one millisecond")
	}
	if !clean(string(ep)) {
		return c, false, nil
	}
	until := floor(now.Add(hold))
	var d found
	const q = `SELECT d.key, d.rev, d.seq, d.doc, due.mark, due.failures FROM due JOIN docs d ON d.kind = 'endpoint' AND d.key = due.endpoint
		WHERE due.endpoint = $1 AND due.held <= $2 AND (due.home = '' OR due.home = $3 OR due.home_until <= $2)`
	err = t.query(q, []any{string(ep), floor(now), owner}, func(r row) error {
		d = found{key: r.text(0), rev: r.int(1), seq: r.int(2), body: r.bytes(3)}
		c = ajar.Claim{Owner: owner, Mark: r.int(4), Failures: int(r.int(5)), Until: at(until), Endpoint: new(ajar.Endpoint)}
		return nil
	})
	if err != nil || c.Endpoint == nil {
		return c, false, t.fault(err)
	}
	if err := decode(ajar.KindEndpoint, d.key, d.rev, d.seq, d.body, c.Endpoint); err != nil {
		return c, false, err
	}
	return c, true, t.later(1, "UPDATE due SET owner = $2, held = $3 WHERE endpoint = $1", d.key, owner, until)
}

// Release implements ajar.Tx. It needs no clock: a claim is held until somebody else takes the endpoint after its end.
func (t *tx) Release(c ajar.Claim, due time.Time, failures int) error {
	if err := t.writable(); err != nil {
		return err
	}
	if c.Endpoint == nil {
		return ajar.Errorf(ajar.Invalid, "a claim must name its endpoint")
	}
	gone := ajar.Errorf(ajar.Conflict, "endpoint %s is no longer claimed by %s", c.Endpoint.ID, c.Owner)
	if c.Owner == "" || !clean(c.Owner) || !clean(string(c.Endpoint.ID)) {
		return gone
	}
	// Whoever marked it due meanwhile has left the earlier due in place.
	const q = `UPDATE due SET owner = '', held = 0, failures = $5, due = CASE WHEN mark = $4 THEN $6 ELSE due END
		WHERE endpoint = $1 AND owner = $2 AND held = $3`
	args := []any{string(c.Endpoint.ID), c.Owner, floor(c.Until), c.Mark, int64(failures), ceil(due)}
	if t.c.guesses() {
		return t.later(1, q, args...)
	}
	n, err := t.exec(q, args...)
	if err == nil && n == 0 {
		return gone
	}
	return err
}

// DropClaims implements ajar.Tx.
func (t *tx) DropClaims(owner string) error {
	if err := t.writable(); err != nil {
		return err
	}
	if owner == "" || !clean(owner) {
		return nil // nobody can have claimed under such a name
	}
	return t.later(anyRows, "UPDATE due SET owner = '', held = 0 WHERE owner = $1", owner)
}

// How many endpoints NextDue looks at in one go.
const nextPage = 64

// NextDue implements ajar.Tx. An endpoint that somebody holds, or that has its home elsewhere, can be claimed when that
// ends; so the earliest due is not always the answer, but none that is due after an answer can beat it.
func (t *tx) NextDue(owner string) (time.Time, error) {
	if err := t.ready(); err != nil {
		return time.Time{}, err
	}
	best, some := int64(0), false
	due, endpoint := int64(-1<<63), ""
	for {
		n := 0
		const q = `SELECT due, endpoint, held, CASE WHEN home = '' OR home = $1 THEN 0 ELSE home_until END FROM due
			WHERE (due, endpoint) > ($2, $3) ORDER BY due, endpoint LIMIT $4`
		err := t.query(q, []any{owner, due, endpoint, int64(nextPage)}, func(r row) error {
			n++
			due, endpoint = r.int(0), r.text(1)
			if free := max(due, r.int(2), r.int(3)); !some || free < best {
				best, some = free, true
			}
			return nil
		})
		if err != nil {
			return time.Time{}, t.fault(err)
		}
		if n < nextPage || (some && due >= best) {
			break
		}
	}
	if !some {
		return time.Time{}, nil
	}
	return at(best), nil
}
