package broker

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
)

// shift is what becomes of one endpoint's guards when a policy changes.
type shift struct {
	set, lifted, kept []ajar.Flow
	changed           bool
}

// regard makes policy want exactly the given flows guarded on ep. A guard that only this policy named is dropped, or
// kept if keep. confirmBy is when a guard that is new is rolled back; zero = it counts at once.
func regard(ep *ajar.Endpoint, policy ajar.ID, want []ajar.Flow, keep bool, confirmBy, now time.Time) shift {
	var s shift
	var left []ajar.EndpointGuard
	var dropped []ajar.EndpointGuard
	seen := map[ajar.Flow]bool{}
	for _, g := range ep.Guards {
		named := slices.IndexFunc(g.Policies, policy.Equal)
		seen[g.Flow] = true
		switch {
		case slices.Contains(want, g.Flow):
			if rolledBack(g, now) {
				g.ConfirmBy, g.Since = confirmBy, now
				s.set = append(s.set, g.Flow)
				s.changed = true
			}
			if named < 0 {
				g.Policies = append(slices.Clone(g.Policies), policy)
				g.Kept = false
				s.changed = true
			}
		case named >= 0:
			s.changed = true
			g.Policies = slices.Delete(slices.Clone(g.Policies), named, named+1)
			if len(g.Policies) == 0 {
				if !keep || rolledBack(g, now) {
					dropped = append(dropped, g)
					continue
				}
				g.Kept = true
				s.kept = append(s.kept, g.Flow)
			}
		}
		left = append(left, g)
	}
	for _, f := range want {
		if seen[f] {
			continue
		}
		seen[f] = true
		g := ajar.EndpointGuard{Flow: f, Policies: []ajar.ID{policy}, ConfirmBy: confirmBy, Since: now}
		if slices.ContainsFunc(dropped, func(d ajar.EndpointGuard) bool { return covers(d.Flow, f) && d.ConfirmBy.IsZero() }) {
			g.ConfirmBy = time.Time{} // it closes nothing that was not closed before
		}
		left = append(left, g)
		s.set = append(s.set, f)
		s.changed = true
	}
	ep.Guards = left
	for _, d := range dropped {
		if !rolledBack(d, now) && !covered(ep, d.Flow, now) {
			s.lifted = append(s.lifted, d.Flow)
		}
	}
	return s
}

// rolledBack reports whether g was not confirmed in time, so that its host lifted it.
func rolledBack(g ajar.EndpointGuard, now time.Time) bool {
	return !g.ConfirmBy.IsZero() && !now.Before(g.ConfirmBy)
}

func covers(wide, narrow ajar.Flow) bool {
	return wide.Dest == narrow.Dest && wide.Port.Number == narrow.Port.Number && wide.Port.Protocol.Has(narrow.Port.Protocol)
}

// covered reports whether what is guarded on ep closes all of f.
func covered(ep *ajar.Endpoint, f ajar.Flow, now time.Time) bool {
	var tcp, udp bool
	for _, g := range ep.Guarded(now) {
		one := f
		one.Port.Protocol = ajar.TCP
		tcp = tcp || covers(g.Flow, one)
		one.Port.Protocol = ajar.UDP
		udp = udp || covers(g.Flow, one)
	}
	return (tcp || !f.Port.Protocol.Has(ajar.TCP)) && (udp || !f.Port.Protocol.Has(ajar.UDP))
}

// regardTarget makes policy want what m says of target guarded on each of its endpoints, records it, and keeps the
// target's list of policies. A nil m wants nothing.
func (t *txn) regardTarget(target *ajar.Target, policy ajar.ID, m *ajar.MachinePolicy, glass ajar.Switch, keep bool, confirmBy time.Time) error {
	var want []ajar.Flow
	if m != nil {
		want = m.Flows()
	}
	for _, id := range target.Endpoints {
		ep, err := ajar.Get[ajar.Endpoint](t, string(id))
		if errors.Is(err, ajar.NotFound) {
			continue
		} else if err != nil {
			return err
		}
		s := regard(ep, policy, want, keep, confirmBy, t.now)
		told := forbid(ep, policy, m != nil && glass == ajar.Off)
		if !s.changed && !told {
			continue
		}
		if s.changed {
			ep.GuardsSet++
		}
		if err := t.Put(ep); err != nil {
			return err
		}
		t.recordShift(ep, s, confirmBy)
		if err := t.due(id); err != nil {
			return err
		}
	}
	at := slices.IndexFunc(target.Policies, policy.Equal)
	switch {
	case m != nil && at < 0:
		target.Policies = append(target.Policies, policy)
	case m == nil && at >= 0:
		target.Policies = slices.Delete(target.Policies, at, at+1)
	default:
		return nil
	}
	return t.Put(target)
}

// forbid notes whether policy forbids break-glass on ep, and reports whether that is news to the host: then the next pass
// is from whole state, with which the host is told.
func forbid(ep *ajar.Endpoint, policy ajar.ID, off bool) bool {
	at := slices.IndexFunc(ep.NoBreakGlass, policy.Equal)
	switch {
	case off && at < 0:
		ep.NoBreakGlass = append(slices.Clone(ep.NoBreakGlass), policy)
	case !off && at >= 0:
		ep.NoBreakGlass = slices.Delete(slices.Clone(ep.NoBreakGlass), at, at+1)
	default:
		return false
	}
	ep.Looks++
	return true
}

func (t *txn) recordShift(ep *ajar.Endpoint, s shift, confirmBy time.Time) {
	for _, x := range []struct {
		action ajar.Action
		flows  []ajar.Flow
	}{{ajar.GuardSet, s.set}, {ajar.GuardLifted, s.lifted}, {ajar.GuardKept, s.kept}} {
		if len(x.flows) == 0 {
			continue
		}
		t.also(x.action, ep.Target, func(e *ajar.Event) {
			e.Endpoint = ep.ID
			e.Details = map[string]string{"ports": portList(x.flows), "count": strconv.Itoa(len(x.flows))}
			if x.action == ajar.GuardSet && !confirmBy.IsZero() {
				e.Details["confirmBy"] = confirmBy.Format(time.RFC3339)
			}
		})
	}
}

func portList(flows []ajar.Flow) string {
	list := make([]string, len(flows))
	for i, f := range flows {
		list[i] = f.Port.String()
		if f.Dest.IsValid() {
			list[i] = f.Dest.String() + ":" + list[i]
		}
	}
	slices.Sort(list)
	return clean(strings.Join(list, ", "), 2048)
}
