package agent

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
)

// breakGlass starts the lease IDs of openings that were made on the host itself. The plane has no say in them.
const breakGlass = "break-glass-"

func isBreakGlass(id ajar.LeaseID) bool { return strings.HasPrefix(string(id), breakGlass) }

// desired is what this host is to have: what the plane last said, and what was opened here by break-glass.
type desired struct {
	hub   string // which Hub said so; "" = the plane must say it whole before it may say a difference
	rev   uint64
	guard []heldGuard
	rules holdings
	own   map[ajar.LeaseID]ajar.Rule // break-glass, in the Clock's time
}

// held is a rule of the plane's. Shift is what the plane's clock had been set back by when the rule came, so that
// Expires+Shift is its end by the Clock; see Clock.
type held struct {
	ajar.Rule
	Shift time.Duration `json:"shift,omitempty"`
}

// holdings are the rules of the plane's by their leases, packed: a host may have ten thousand.
type holdings map[ajar.LeaseID]*packed

type packed struct {
	ajar.Packed
	shift time.Duration
}

func (p *packed) held(id ajar.LeaseID) held { return held{Rule: p.Rule(id), Shift: p.shift} }

func (hs holdings) get(id ajar.LeaseID) (r held, ok bool) {
	p, ok := hs[id]
	if ok {
		r = p.held(id)
	}
	return r, ok
}

func (hs holdings) put(r held) { hs[r.Lease] = &packed{r.Pack(), r.Shift} }

func (r held) local() ajar.Rule {
	l := r.Rule
	l.Expires, l.HardStop = l.Expires.Add(r.Shift), l.HardStop.Add(r.Shift)
	return l
}

// onlyAdds reports whether whoever old lets in, r lets in as long or longer.
func (r held) onlyAdds(old held) bool {
	a, b := r.local(), old.local()
	return a.Flow == b.Flow && slices.Equal(a.Sources, b.Sources) && !a.Expires.Before(b.Expires) && !a.HardStop.Before(b.HardStop)
}

// opens reports whether r opens more than old did.
func (r held) opens(old held) bool {
	a, b := r.local(), old.local()
	return a.Flow != b.Flow || !slices.Equal(a.Sources, b.Sources) || a.Expires.After(b.Expires) || a.HardStop.After(b.HardStop)
}

type heldGuard struct {
	ajar.Guard
	Shift time.Duration `json:"shift,omitempty"`
}

// due is when g is rolled back unless confirmed, by the Clock; zero = confirmed.
func (g heldGuard) due() time.Time {
	if g.ConfirmBy.IsZero() {
		return time.Time{}
	}
	return g.ConfirmBy.Add(g.Shift)
}

func (g heldGuard) wanted(now time.Time) bool { return g.ConfirmBy.IsZero() || now.Before(g.due()) }

// local is what the firewall must have at now.
func (d *desired) local(now time.Time) ajar.Ruleset {
	w := ajar.Ruleset{Guard: localGuard(d.guard, now)}
	if n := len(d.rules) + len(d.own); n > 0 {
		w.Allow = make([]ajar.Rule, 0, n)
	}
	for id, p := range d.rules {
		if l := p.held(id).local(); now.Before(l.HardStop) {
			w.Allow = append(w.Allow, l)
		}
	}
	for _, l := range d.own {
		if now.Before(l.HardStop) {
			w.Allow = append(w.Allow, l)
		}
	}
	slices.SortFunc(w.Allow, func(a, b ajar.Rule) int { return cmp.Compare(a.Lease, b.Lease) })
	return w
}

func localGuard(gs []heldGuard, now time.Time) []ajar.Guard {
	var out []ajar.Guard
	for _, g := range gs {
		if g.wanted(now) {
			out = append(out, ajar.Guard{Flow: g.Flow, ConfirmBy: g.due()})
		}
	}
	return out
}

// take makes d what it is after r.
func (d *desired) take(r *record) {
	if r.Whole || d.rules == nil {
		d.guard, d.rules, d.own = nil, holdings{}, map[ajar.LeaseID]ajar.Rule{}
	}
	d.hub, d.rev = r.Hub, r.Rev
	if r.Guard != nil {
		d.guard = *r.Guard
	}
	for _, id := range r.Drop {
		delete(d.rules, id)
		delete(d.own, id)
	}
	for _, p := range r.Put {
		d.rules.put(p)
	}
	for _, p := range r.Own {
		d.own[p.Lease] = p
	}
}

// recordPart is how many rules go into one record of those that are the whole.
const recordPart = 256

// whole are the records that make any desired this one, one after the other in the same place. What is over is left out.
// The first has the guard, and the last alone the revision: who lost some of them does not claim to have all.
func (d *desired) whole(now time.Time) iter.Seq[*record] {
	return func(yield func(*record) bool) {
		r := &record{Whole: true, Guard: &d.guard}
		for _, p := range d.own {
			if now.Before(p.HardStop) {
				r.Own = append(r.Own, p)
			}
		}
		for id, p := range d.rules {
			h := p.held(id)
			if !now.Before(h.local().HardStop) {
				continue
			}
			if len(r.Put) == recordPart {
				if !yield(r) {
					return
				}
				*r = record{Put: r.Put[:0]}
			}
			r.Put = append(r.Put, h)
		}
		r.Hub, r.Rev = d.hub, d.rev
		yield(r)
	}
}

// clone is a copy that can be changed.
func (d *desired) clone() desired {
	c := *d
	c.rules, c.own = maps.Clone(d.rules), maps.Clone(d.own)
	return c
}

// close takes everything out that is open.
func (d *desired) close() {
	clear(d.rules)
	clear(d.own)
	d.hub, d.rev = "", 0
}
