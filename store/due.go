package store

import (
	"time"

	"github.com/ajar-access/ajar"
)

// MarkDue implements ajar.Tx. Where there is no such endpoint there is nothing to look at.
func (t *tx) MarkDue(ep ajar.EndpointID, when time.Time) error {
	if err := t.writable(); err != nil {
		return err
	}
	if !clean(string(ep)) {
		return nil
	}
	at, ok, err := t.lookDue(string(ep))
	if err != nil || !ok {
		return err
	}
	at.mark++
	at.due = min(at.due, ceil(when))
	t.setDue(string(ep), at)
	return nil
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
	at, ok, err := t.lookDue(string(ep))
	if err != nil {
		return err
	}
	if !ok {
		return ajar.Errorf(ajar.NotFound, "there is no endpoint %s", ep)
	}
	at.home, at.homeUntil = owner, end
	t.setDue(string(ep), at)
	return nil
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
	if err := t.spill(); err != nil {
		return nil, err
	}
	until := floor(now.Add(hold))
	const q = `SELECT ` + docColumns + `, due.due, due.mark, due.failures, due.owner, due.held, due.home, due.home_until, d.key
		FROM due JOIN docs d ON d.kind = 'endpoint' AND d.key = due.endpoint
		WHERE due.due <= $1 AND due.held <= $1 AND (due.home = '' OR due.home = $2 OR due.home_until <= $1) ORDER BY due.due, due.endpoint LIMIT $3`
	var docs []*doc
	err = t.query(q, []any{floor(now), owner, int64(n)}, func(r row) error {
		d, row := readDoc(docKey{ajar.KindEndpoint, r.text(16)}, r), readDue(r, 9)
		docs = append(docs, d)
		claims = append(claims, ajar.Claim{Owner: owner, Mark: row.mark, Failures: int(row.failures), Until: at(until)})
		row.owner, row.held = owner, until
		t.setDue(d.key, row)
		return nil
	})
	if err != nil {
		return nil, t.fault(err)
	}
	for i, d := range docs {
		claims[i].Endpoint = new(ajar.Endpoint)
		if err := d.decode(claims[i].Endpoint); err != nil {
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
	row, ok, err := t.lookDue(string(ep))
	if err != nil || !ok {
		return c, false, err
	}
	if row.held > floor(now) || (row.home != "" && row.home != owner && row.homeUntil > floor(now)) {
		return c, false, nil
	}
	d, err := t.look(docKey{ajar.KindEndpoint, string(ep)})
	if err != nil || d == nil {
		return c, false, err
	}
	row.owner, row.held = owner, floor(now.Add(hold))
	c = ajar.Claim{Owner: owner, Mark: row.mark, Failures: int(row.failures), Until: at(row.held), Endpoint: new(ajar.Endpoint)}
	if err := d.decode(c.Endpoint); err != nil {
		return ajar.Claim{}, false, err
	}
	t.setDue(string(ep), row)
	return c, true, nil
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
	row, ok, err := t.lookDue(string(c.Endpoint.ID))
	switch {
	case err != nil:
		return err
	case !ok, row.owner != c.Owner, row.held != floor(c.Until):
		return gone
	}
	if row.mark == c.Mark { // otherwise whoever marked it has left the earlier due in place
		row.due = ceil(due)
	}
	row.owner, row.held, row.failures = "", 0, int64(failures)
	t.setDue(string(c.Endpoint.ID), row)
	return nil
}

// DropClaims implements ajar.Tx.
func (t *tx) DropClaims(owner string) error {
	if err := t.writable(); err != nil {
		return err
	}
	if owner == "" || !clean(owner) {
		return nil // nobody can have claimed under such a name
	}
	if err := t.spill(); err != nil {
		return err
	}
	if err := t.later(anyRows, "UPDATE due SET owner = '', held = 0 WHERE owner = $1", owner); err != nil {
		return err
	}
	// All was written; what it is now, the database knows. If this Update is undone so are its writes alone.
	t.part.forgetDue()
	t.b.accepts.forgetDue()
	t.b.memory().due.clear()
	return nil
}

// How many endpoints NextDue looks at in one go.
const nextPage = 64

// NextDue implements ajar.Tx. An endpoint that somebody holds, or that has its home elsewhere, can be claimed when that
// ends; so the earliest due is not always the answer, but none that is due after an answer can beat it.
func (t *tx) NextDue(owner string) (time.Time, error) {
	if err := t.ready(); err != nil {
		return time.Time{}, err
	}
	if t.b != nil {
		if err := t.spill(); err != nil {
			return time.Time{}, err
		}
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
