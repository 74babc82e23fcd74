package broker

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/ajar-access/ajar"
)

// Impact is what putting a policy would do.
type Impact struct {
	Guard   []GuardChange  // ports that would be closed unless leased
	Lift    []GuardChange  // ports that nobody would keep closed any longer
	Keep    []GuardChange  // ports that no policy would name but that would stay closed (unguard: keep)
	Leases  []*ajar.Lease  // live leases that would end
	Targets []TargetImpact // what the new guards would cut, asked of the hosts
	// ConfirmWithin is when each new guard is rolled back unless somebody confirms it, where PutPolicy does not say; until
	// then it spares who is connected. 0 = never.
	ConfirmWithin time.Duration
}

// GuardChange is one port of one machine.
type GuardChange struct {
	Target   ajar.ID
	Endpoint ajar.EndpointID // "" where no host has joined yet
	Flow     ajar.Flow
}

// TargetImpact is what a machine says its new guards would cut, or why it could not be asked.
type TargetImpact struct {
	Target   ajar.ID
	Endpoint ajar.EndpointID
	Impact   ajar.Impact
	Trouble  string // "" when the host answered
}

// The hosts that one what-if asks, and how long each may take.
const (
	maxPreviews = 50
	previewTime = 3 * time.Second
)

// PolicyImpact tells what PutPolicy would do, and does nothing. It needs what PutPolicy needs. At most 50 hosts are
// asked what their new guards would cut.
func (b *Broker) PolicyImpact(ctx context.Context, who ajar.Caller, p ajar.Policy) (*Impact, error) {
	if err := b.checkPolicy(&p); err != nil {
		return nil, err
	}
	type ask struct {
		ep    ajar.Endpoint
		guard []ajar.Guard
	}
	var im *Impact
	var asks []ask
	err := b.view(ctx, who, func(t *txn) error {
		im, asks = &Impact{ConfirmWithin: max(b.GuardConfirm, 0)}, nil
		if err := t.need(ajar.PolicyWrite, p.ID); err != nil {
			return err
		}
		old, err := t.oldPolicy(p.ID)
		if err != nil {
			return err
		}
		if err := t.mayTouchMachines(old, &p); err != nil {
			return err
		}
		targets, err := t.policyTargets(old, &p)
		if err != nil {
			return err
		}
		for _, target := range targets {
			eps, err := t.impactOn(im, target, old, &p)
			if err != nil {
				return err
			}
			for _, ep := range eps {
				asks = append(asks, ask{*ep.Endpoint, ep.fresh})
			}
		}
		if old == nil {
			return nil
		}
		return t.eachDropped(old, &p, func(l *ajar.Lease) error {
			if l.Live(t.now) {
				im.Leases = append(im.Leases, l)
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	for i, a := range asks {
		ti := TargetImpact{Target: a.ep.Target, Endpoint: a.ep.ID, Trouble: "not asked: too many machines at once"}
		if i < maxPreviews {
			ti.Impact, ti.Trouble = b.preview(ctx, a.ep, a.guard)
		}
		im.Targets = append(im.Targets, ti)
	}
	return im, nil
}

// preview asks one host, and says in words why it did not answer.
func (b *Broker) preview(ctx context.Context, ep ajar.Endpoint, guard []ajar.Guard) (ajar.Impact, string) {
	if b.Preview == nil {
		return ajar.Impact{}, "this plane cannot ask hosts"
	}
	ctx, cancel := context.WithTimeout(ctx, previewTime)
	defer cancel()
	im, err := b.Preview(ctx, ep, guard)
	if err == nil {
		return im, ""
	}
	if ajar.KindOf(err) == ajar.Internal {
		b.Log.Warn("host not asked what a guard would cut", "endpoint", ep.ID, "err", err)
		return im, "the host did not answer"
	}
	return im, ajar.Message(err)
}

// toGuard is an endpoint with the guards that it would get; those it has already cut nobody any more.
type toGuard struct {
	*ajar.Endpoint
	fresh []ajar.Guard
}

// impactOn adds what p would change on target, and gives the endpoints that would get new guards, as they would be.
func (t *txn) impactOn(im *Impact, target *ajar.Target, old, p *ajar.Policy) (eps []toGuard, err error) {
	var want []ajar.Flow
	if m := p.Machine(target.ID); m != nil {
		want = m.Flows()
	}
	keep := p.Unguard == ajar.Keep || old != nil && old.Unguard == ajar.Keep
	add := func(to *[]GuardChange, ep ajar.EndpointID, flows []ajar.Flow) {
		for _, f := range flows {
			*to = append(*to, GuardChange{target.ID, ep, f})
		}
	}
	if len(target.Endpoints) == 0 { // what is guarded when a host joins; what was wanted before is no change
		fresh := want
		if old != nil && old.Machine(target.ID) != nil {
			had := old.Machine(target.ID).Flows()
			fresh = slices.DeleteFunc(slices.Clone(want), func(f ajar.Flow) bool { return slices.Contains(had, f) })
		}
		add(&im.Guard, "", fresh)
	}
	for _, id := range target.Endpoints {
		ep, err := ajar.Get[ajar.Endpoint](t, string(id))
		if errors.Is(err, ajar.NotFound) {
			continue
		} else if err != nil {
			return nil, err
		}
		s := regard(ep, p.ID, want, keep, time.Time{}, t.now)
		add(&im.Guard, id, s.set)
		add(&im.Lift, id, s.lifted)
		add(&im.Keep, id, s.kept)
		if len(s.set) > 0 {
			fresh := slices.DeleteFunc(ep.Guarded(t.now), func(g ajar.Guard) bool { return !slices.Contains(s.set, g.Flow) })
			eps = append(eps, toGuard{ep, fresh})
		}
	}
	return eps, nil
}
