package enforce

import (
	"cmp"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/ajar-access/ajar"
)

// plan is what the loop holds of one endpoint between passes: its leases in compact form, what the firewall was last
// told, and when what is wanted changes next. It yields differences whose cost grows with what changed. Losing it costs
// a reading, never correctness.
type plan struct {
	after     int64 // leases written up to this Seq are known
	loaded    bool
	leases    map[ajar.LeaseID]*entry
	ports     map[uint16]*port
	turns     turns               // when entries change by themselves
	dirty     map[*entry]struct{} // what is wanted of them may differ from what the firewall was told
	unsettled map[*entry]struct{} // the store may have to be told something about them
	seen      int64               // the latest now, in milliseconds

	guard  []ajar.Guard // as the firewall was last told
	rev    uint64       // of what the firewall was last told
	synced bool         // the firewall has what it was told

	looks   int64     // Endpoint.Looks as of the last pass
	syncAt  time.Time // when to look for drift
	mark    int64     // of the last claim
	retryAt time.Time // after a failure, when to try again although nothing changed
	used    time.Time
}

// entry is a lease as the plan needs it.
type entry struct {
	id          ajar.LeaseID
	rev         int64
	flow        ajar.Flow
	port        *port
	sources     []netip.Prefix
	end, stop   int64 // End and HardStop in milliseconds
	kernel      int64 // KernelEnd in milliseconds, 0 = never seen
	state       ajar.LeaseState
	reason      ajar.Reason
	trouble     string
	counted     bool // among port.spares
	turn        int64
	told        bool // the firewall was told a rule, with
	tEnd, tStop int64
	moved       bool        // flow or sources changed since it was told, or it must be told the same again
	doc         *ajar.Lease // while the store may have to be told something; may be nil even then
}

// port is where leases meet, whatever the protocol: how long the sessions of each may outlive its End, among those that
// are live. The shortest holds for all.
type port struct {
	number uint16
	refs   int           // entries that point here
	spares map[int64]int // how many live entries spare sessions for so many milliseconds
	least  int64         // the shortest of them; unmet if there is none
	soft   map[*entry]struct{}
}

// unmet is more than any lease spares sessions.
const unmet = math.MaxInt64

func (e *entry) spare() int64 { return e.stop - e.end }

// meet counts n more live entries that spare sessions for so long, and reports whether that changes what holds for all.
func (q *port) meet(spare int64, n int) bool {
	if q.spares == nil {
		q.spares = map[int64]int{}
	}
	if q.spares[spare] += n; q.spares[spare] == 0 {
		delete(q.spares, spare)
	}
	was := q.least
	if q.least = min(q.least, spare); n < 0 {
		q.least = unmet
		for s := range q.spares { // as many as there are different drain times on the port
			q.least = min(q.least, s)
		}
	}
	return q.least != was
}

func newPlan() *plan {
	return &plan{
		leases: map[ajar.LeaseID]*entry{}, ports: map[uint16]*port{},
		dirty: map[*entry]struct{}{}, unsettled: map[*entry]struct{}{},
		// A new plan must never share a revision with what a predecessor told the firewall. 52 bits survive JSON.
		rev: rand.Uint64() >> 12,
	}
}

// put takes in a lease as it was read or written. now is the time of the pass.
func (p *plan) put(l *ajar.Lease, now time.Time) {
	e := p.leases[l.ID]
	if e == nil {
		if l.State == ajar.Closed {
			return
		}
		e = &entry{id: l.ID}
		p.leases[l.ID] = e
	} else if l.Rev != 0 && l.Rev <= e.rev {
		return
	}
	p.leave(e)
	e.moved = e.moved || (e.told && (e.flow != l.Flow || !slices.Equal(e.sources, l.Sources)))
	p.route(e, l.Flow)
	e.rev, e.sources = l.Rev, l.Sources
	e.end, e.stop, e.kernel = l.End.UnixMilli(), l.HardStop().UnixMilli(), 0
	if !l.KernelEnd.IsZero() {
		e.kernel = l.KernelEnd.UnixMilli()
	}
	e.state, e.reason, e.trouble = l.State, l.Reason, l.Trouble
	e.doc = l
	p.seen = max(p.seen, now.UnixMilli())
	p.join(e, now.UnixMilli())
	p.touch(e)
}

// touch says that e has to be looked at, for the firewall and for the store.
func (p *plan) touch(e *entry) {
	p.dirty[e] = struct{}{}
	p.unsettled[e] = struct{}{}
}

// route points e to the port of f.
func (p *plan) route(e *entry, f ajar.Flow) {
	e.flow = f
	if e.port != nil && e.port.number == f.Port.Number {
		return
	}
	p.unroute(e)
	q := p.ports[f.Port.Number]
	if q == nil {
		q = &port{number: f.Port.Number, least: unmet}
		p.ports[q.number] = q
	}
	q.refs++
	e.port = q
}

func (p *plan) unroute(e *entry) {
	if e.port == nil {
		return
	}
	if e.port.refs--; e.port.refs == 0 {
		delete(p.ports, e.port.number)
	}
	e.port = nil
}

// join enters e into the counts and the turns as they are at now.
func (p *plan) join(e *entry, now int64) {
	if e.stop > e.end && e.state != ajar.Closed {
		if e.port.soft == nil {
			e.port.soft = map[*entry]struct{}{}
		}
		e.port.soft[e] = struct{}{}
	}
	if e.live(now) {
		e.counted = true
		if e.port.meet(e.spare(), 1) {
			p.flip(e.port)
		}
	}
	switch {
	case e.live(now), e.state == ajar.Closing && e.reason == ajar.Expired && now < e.end && e.end < e.stop: // after a clock went back
		p.turnAt(e, e.end)
	case e.draining(now):
		p.turnAt(e, e.until(now))
	default:
		e.turn = 0
	}
}

// leave takes e out of the counts.
func (p *plan) leave(e *entry) {
	if e.port == nil {
		return
	}
	delete(e.port.soft, e)
	if e.counted {
		e.counted = false
		if e.port.meet(e.spare(), -1) {
			p.flip(e.port)
		}
	}
	e.turn = 0
}

// flip has all entries looked at whose rule depends on what others on the port spare.
func (p *plan) flip(q *port) {
	for e := range q.soft {
		p.touch(e)
		if !e.counted && e.turn != 0 && e.draining(p.seen) { // one that is counted still has to come to its End
			p.turnAt(e, e.until(p.seen))
		}
	}
}

// until is when a draining entry changes next: when others on the port have its sessions end, or at its own hard stop.
func (e *entry) until(now int64) int64 {
	if stop := e.end + min(e.spare(), e.port.least); now < stop {
		return stop
	}
	return e.stop
}

func (p *plan) turnAt(e *entry, at int64) {
	e.turn = at
	p.turns.push(turn{at, e})
	if len(p.turns) > 2*len(p.leases)+64 {
		p.turns.compact()
	}
}

// advance brings the plan to now. When the clock went back, everything is looked at anew.
func (p *plan) advance(now time.Time) {
	ms := now.UnixMilli()
	back := ms < p.seen
	p.seen = ms
	if back {
		p.turns = p.turns[:0]
		for _, e := range p.leases {
			p.leave(e)
		}
		for _, e := range p.leases {
			p.join(e, ms)
			p.touch(e)
		}
	}
	for len(p.turns) > 0 && p.turns[0].at <= ms {
		t := p.turns.pop()
		if t.e.turn == t.at {
			p.leave(t.e)
			p.join(t.e, ms)
			p.touch(t.e)
			// Where sessions drain the rule stays as it is. If it ended because the clock was set forward the firewall does not
			// know: it is told once more, with the new time.
			t.e.moved = t.e.moved || t.e.told && t.at == t.e.end && t.e.end < t.e.stop
		}
	}
}

// next is when what is wanted changes by itself; zero if never.
func (p *plan) next() time.Time {
	for len(p.turns) > 0 && p.turns[0].e.turn != p.turns[0].at {
		p.turns.pop()
	}
	if len(p.turns) == 0 {
		return time.Time{}
	}
	return time.UnixMilli(p.turns[0].at).UTC()
}

// delta is what must be told to a firewall that has what it was told before. It counts as told from here on; when
// telling fails the caller clears synced and later tells the whole.
func (p *plan) delta(now time.Time, guard []ajar.Guard) ajar.Delta {
	p.advance(now)
	d := ajar.Delta{Base: p.rev}
	if !sameGuards(p.guard, guard) {
		g := slices.Clone(guard)
		d.Guard, p.guard = &g, g
	}
	for e := range p.dirty {
		r, want := e.rule(p.seen)
		switch {
		case want && (!e.told || e.moved || e.tEnd != r.Expires.UnixMilli() || e.tStop != r.HardStop.UnixMilli()):
			d.Put = append(d.Put, r)
		case !want && e.told:
			d.Drop = append(d.Drop, e.id)
		}
		p.tell(e, r, want)
	}
	p.dirty = fresh(p.dirty)
	slices.SortFunc(d.Put, func(a, b ajar.Rule) int { return cmp.Compare(a.Lease, b.Lease) })
	slices.Sort(d.Drop)
	if !d.Empty() {
		p.rev++
	}
	d.Rev = p.rev
	return d
}

// whole is everything that is wanted at now. It counts as told from here on.
func (p *plan) whole(now time.Time, guard []ajar.Guard) ajar.Ruleset {
	p.advance(now)
	p.guard = slices.Clone(guard)
	want := ajar.Ruleset{Guard: p.guard}
	for _, e := range p.leases {
		r, ok := e.rule(p.seen)
		if ok {
			want.Allow = append(want.Allow, r)
		}
		p.tell(e, r, ok)
	}
	p.dirty = fresh(p.dirty)
	slices.SortFunc(want.Allow, func(a, b ajar.Rule) int { return cmp.Compare(a.Lease, b.Lease) })
	p.rev++
	return want
}

// toldRules lists what the firewall was last told.
func (p *plan) toldRules() ajar.Ruleset {
	rs := ajar.Ruleset{Guard: p.guard}
	for _, e := range p.leases {
		if e.told {
			rs.Allow = append(rs.Allow, ajar.Rule{Flow: e.flow, Lease: e.id, Sources: e.sources, Expires: time.UnixMilli(e.tEnd).UTC(), HardStop: time.UnixMilli(e.tStop).UTC()})
		}
	}
	slices.SortFunc(rs.Allow, func(a, b ajar.Rule) int { return cmp.Compare(a.Lease, b.Lease) })
	return rs
}

func (p *plan) tell(e *entry, r ajar.Rule, want bool) {
	e.told, e.moved = want, false
	if want {
		e.tEnd, e.tStop = r.Expires.UnixMilli(), r.HardStop.UnixMilli()
	} else if e.state == ajar.Closed {
		p.forget(e)
	}
}

// forget drops an entry that is Closed and gone from the firewall.
func (p *plan) forget(e *entry) {
	p.leave(e)
	p.unroute(e)
	delete(p.leases, e.id)
	delete(p.unsettled, e)
	delete(p.dirty, e)
}

func (e *entry) live(now int64) bool {
	return (e.state == ajar.Opening || e.state == ajar.Open) && now < e.end
}

func (e *entry) draining(now int64) bool {
	over := e.state == ajar.Opening || e.state == ajar.Open || (e.state == ajar.Closing && e.reason == ajar.Expired)
	return over && now >= e.end && now < e.stop
}

// rule is e's rule at now, if it has one: what ajar.Desired says of it, on the compact form.
func (e *entry) rule(now int64) (ajar.Rule, bool) {
	stop := e.end + min(e.spare(), e.port.least)
	if !e.live(now) && (!e.draining(now) || now >= stop) {
		return ajar.Rule{}, false
	}
	return ajar.Rule{Flow: e.flow, Lease: e.id, Sources: e.sources, Expires: time.UnixMilli(e.end).UTC(), HardStop: time.UnixMilli(stop).UTC()}, true
}

// fresh gives an empty set in place of m, which may have grown large.
func fresh(m map[*entry]struct{}) map[*entry]struct{} {
	if len(m) > 32 {
		return map[*entry]struct{}{}
	}
	clear(m)
	return m
}

func sameGuards(a, b []ajar.Guard) bool {
	return slices.EqualFunc(a, b, func(a, b ajar.Guard) bool {
		return a.Flow == b.Flow && a.ConfirmBy.UnixMilli() == b.ConfirmBy.UnixMilli()
	})
}
