package enforce

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
)

// slack is how far a deadline read back from a firewall may be from the one it was given: a kernel's tick and the time
// that reading takes. A deadline that is missing, or that anybody moved, is off by more.
const slack = 50 * time.Millisecond

// drift is what somebody else changed on an endpoint.
type drift struct {
	missing, foreign, changed []ajar.LeaseID
	guard                     bool
}

func (d *drift) rules() int {
	n := len(d.missing) + len(d.foreign) + len(d.changed)
	if d.guard {
		n++
	}
	return n
}

// String says it for the activity log.
func (d *drift) String() string {
	var parts []string
	if d.guard {
		parts = append(parts, "the guard was not as it should be")
	}
	for _, p := range []struct {
		what string
		ids  []ajar.LeaseID
	}{{"openings missing", d.missing}, {"openings nobody granted", d.foreign}, {"openings changed", d.changed}} {
		if len(p.ids) > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", len(p.ids), p.what))
		}
	}
	return strings.Join(parts, ", ")
}

// observe compares what the endpoint has with what it was told, and repairs it from the whole. nil = no drift.
func (w *work) observe(ctx context.Context, e ajar.Enforcer) (*drift, error) {
	got, err := e.Observe(ctx, *w.ep)
	if err != nil {
		return nil, err
	}
	d := compare(w.plan.toldRules(), got, w.l.Clock())
	if d.rules() == 0 {
		return nil, nil
	}
	w.now = w.l.Clock()
	w.guard = w.ep.Guarded(w.now)
	return d, w.applyWhole(ctx, e)
}

// compare finds the drift between what an endpoint was told and what it has at now. Rules that ended while it was read
// are none, on either side.
func compare(told, got ajar.Ruleset, now time.Time) *drift {
	d := &drift{guard: !sameGuards(standing(told.Guard, now), standing(got.Guard, now))}
	have := make(map[ajar.LeaseID]ajar.Rule, len(got.Allow))
	for _, r := range got.Allow {
		have[r.Lease] = r
	}
	for _, t := range told.Allow {
		h, ok := have[t.Lease]
		delete(have, t.Lease)
		over := !now.Before(t.HardStop.Add(-slack))
		switch {
		case !ok && !over:
			d.missing = append(d.missing, t.Lease)
		case ok && (h.Flow != t.Flow || !slices.Equal(h.Sources, t.Sources) || !near(h.HardStop, t.HardStop) || !nearOrOver(h.Expires, t.Expires, now)):
			d.changed = append(d.changed, t.Lease)
		}
	}
	for id, h := range have {
		if now.Before(h.HardStop) || h.HardStop.IsZero() {
			d.foreign = append(d.foreign, id)
		}
	}
	return d
}

func near(a, b time.Time) bool { return a.Sub(b).Abs() <= slack }

// nearOrOver lets a firewall forget when a draining opening stopped taking new connections.
func nearOrOver(got, told, now time.Time) bool {
	return near(got, told) || (!told.After(now) && !got.After(now))
}

// standing leaves out guards whose roll-back time came.
func standing(gs []ajar.Guard, now time.Time) (out []ajar.Guard) {
	for _, g := range gs {
		if g.ConfirmBy.IsZero() || now.Before(g.ConfirmBy) {
			out = append(out, g)
		}
	}
	return out
}
