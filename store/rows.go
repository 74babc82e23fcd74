package store

import "context"

// rows are what one write sends.
type rows struct {
	fresh, changed []*pending
	added, moved   []string // endpoints
	due            map[string]*pendingDue
}

const (
	insertDoc = "INSERT INTO docs (kind, key, rev, seq, scope, owner, ref, state, until, doc) "
	insertDue = "INSERT INTO due (endpoint, due, mark, failures, owner, held, home, home_until) "
)

// writeRows sends them one by one, which costs nothing where the database is in this process.
func writeRows(ctx context.Context, c conn, r rows) error {
	for _, p := range r.fresh {
		if err := c.later(ctx, 1, insertDoc+"VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (kind, key) DO NOTHING",
			string(p.kind), p.key, p.rev, p.seq, p.scope, p.owner, p.ref, p.state, p.untilColumn(), p.body); err != nil {
			return err
		}
	}
	for _, p := range r.changed {
		q, args := p.narrow()
		if err := c.later(ctx, 1, q, args...); err != nil {
			return err
		}
	}
	for _, ep := range r.added {
		d := r.due[ep]
		if err := c.later(ctx, 1, insertDue+"VALUES ($1, $2, $3, $4, $5, $6, $7, $8)", ep, d.due, d.mark, d.failures, d.owner, d.held, d.home, d.homeUntil); err != nil {
			return err
		}
	}
	for _, ep := range r.moved {
		d := r.due[ep]
		if err := c.later(ctx, 1, "UPDATE due SET due = $2, mark = $3, failures = $4, owner = $5, held = $6, home = $7, home_until = $8 WHERE endpoint = $1",
			ep, d.due, d.mark, d.failures, d.owner, d.held, d.home, d.homeUntil); err != nil {
			return err
		}
	}
	return nil
}

func (d *doc) untilColumn() any {
	if !d.ends {
		return nil
	}
	return d.until
}

// narrow names only the columns that change, so that only their indexes are written: an UPDATE rewrites every index
// whose columns it names, changed or not.
func (p *pending) narrow() (q string, args []any) {
	q, args = "UPDATE docs SET rev = $4, seq = $5, doc = $6", []any{string(p.kind), p.key, p.was.rev, p.rev, p.seq, p.body}
	switch was := p.was; {
	case was.scope != p.scope || was.owner != p.owner || was.ref != p.ref:
		q += ", state = $7, until = $8, scope = $9, owner = $10, ref = $11"
		args = append(args, p.state, p.untilColumn(), p.scope, p.owner, p.ref)
	case was.until != p.until || was.ends != p.ends:
		q += ", state = $7, until = $8"
		args = append(args, p.state, p.untilColumn())
	case was.state != p.state:
		q += ", state = $7"
		args = append(args, p.state)
	}
	return q + " WHERE kind = $1 AND key = $2 AND rev = $3", args
}

// The most bytes of documents that one statement takes.
const bulkMost = 4 << 20

// writeBulk sends all rows of a kind in one statement: a statement costs the server more than a row.
func writeBulk(ctx context.Context, c conn, r rows) error {
	for len(r.fresh) > 0 {
		x, rest := take(r.fresh)
		r.fresh = rest
		if err := c.later(ctx, int64(len(x.keys)), insertDoc+`SELECT v.* FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::text[],
				$6::text[], $7::text[], $8::text[], $9::bigint[], $10::bytea[]) AS v ON CONFLICT (kind, key) DO NOTHING`,
			x.kinds, x.keys, x.revs, x.seqs, x.scopes, x.owners, x.refs, x.states, x.untils, x.bodies); err != nil {
			return err
		}
	}
	for len(r.changed) > 0 {
		x, rest := take(r.changed)
		r.changed = rest
		if err := c.later(ctx, int64(len(x.keys)), `UPDATE docs SET rev = v.rev, seq = v.seq, scope = v.scope, owner = v.owner, ref = v.ref, state = v.state,
				until = v.until, doc = v.doc FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[],
				$9::bigint[], $10::bytea[], $11::bigint[]) AS v (kind, key, rev, seq, scope, owner, ref, state, until, doc, was)
				WHERE docs.kind = v.kind AND docs.key = v.key AND docs.rev = v.was`,
			x.kinds, x.keys, x.revs, x.seqs, x.scopes, x.owners, x.refs, x.states, x.untils, x.bodies, x.was); err != nil {
			return err
		}
	}
	if len(r.added) > 0 {
		if err := c.later(ctx, int64(len(r.added)), insertDue+"SELECT v.* FROM "+unnestDue+" AS v", r.dueColumns(r.added)...); err != nil {
			return err
		}
	}
	if len(r.moved) > 0 {
		return c.later(ctx, int64(len(r.moved)), `UPDATE due AS d SET due = v.due, mark = v.mark, failures = v.failures, owner = v.owner, held = v.held,
			home = v.home, home_until = v.home_until FROM `+unnestDue+` AS v (endpoint, due, mark, failures, owner, held, home, home_until)
			WHERE d.endpoint = v.endpoint`, r.dueColumns(r.moved)...)
	}
	return nil
}

const unnestDue = "unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::bigint[], $7::text[], $8::bigint[])"

// columns are documents turned on their side.
type columns struct {
	kinds, keys, scopes, owners, refs, states []string
	revs, seqs, was                           []int64
	untils                                    []*int64
	bodies                                    [][]byte
}

// take turns as many as one statement holds.
func take(ps []*pending) (x columns, rest []*pending) {
	size := 0
	for i, p := range ps {
		if size += len(p.body); i > 0 && size > bulkMost {
			return x, ps[i:]
		}
		x.kinds, x.keys, x.scopes = append(x.kinds, string(p.kind)), append(x.keys, p.key), append(x.scopes, p.scope)
		x.owners, x.refs, x.states = append(x.owners, p.owner), append(x.refs, p.ref), append(x.states, p.state)
		x.revs, x.seqs, x.bodies = append(x.revs, p.rev), append(x.seqs, p.seq), append(x.bodies, p.body)
		if p.was != nil {
			x.was = append(x.was, p.was.rev)
		}
		var until *int64
		if p.ends {
			until = &p.doc.until
		}
		x.untils = append(x.untils, until)
	}
	return x, nil
}

func (r rows) dueColumns(eps []string) []any {
	n := len(eps)
	due, mark, failures, held, homeUntil := make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n)
	owner, home := make([]string, n), make([]string, n)
	for i, ep := range eps {
		d := r.due[ep]
		due[i], mark[i], failures[i], held[i], homeUntil[i] = d.due, d.mark, d.failures, d.held, d.homeUntil
		owner[i], home[i] = d.owner, d.home
	}
	return []any{eps, due, mark, failures, owner, held, home, homeUntil}
}
