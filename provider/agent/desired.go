package agent

import (
	"cmp"
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
	rules map[ajar.LeaseID]held
	own   map[ajar.LeaseID]ajar.Rule // break-glass, in the Clock's time
}

// held is a rule of the plane's. Shift is what the plane's clock had been set back by when the rule came, so that
// Expires+Shift is its end by the Clock; see Clock.
type held struct {
	ajar.Rule
	Shift time.Duration `json:"shift,omitempty"`
}

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
	for _, r := range d.rules {
		if l := r.local(); now.Before(l.HardStop) {
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
		d.guard, d.rules, d.own = nil, map[ajar.LeaseID]held{}, map[ajar.LeaseID]ajar.Rule{}
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
		d.rules[p.Lease] = p
	}
	for _, p := range r.Own {
		d.own[p.Lease] = p
	}
}

// whole is the record that makes any desired this one. What is over is left out.
func (d *desired) whole(now time.Time) *record {
	r := &record{Whole: true, Hub: d.hub, Rev: d.rev, Guard: &d.guard}
	for _, p := range d.rules {
		if now.Before(p.local().HardStop) {
			r.Put = append(r.Put, p)
		}
	}
	for _, p := range d.own {
		if now.Before(p.HardStop) {
			r.Own = append(r.Own, p)
		}
	}
	return r
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
