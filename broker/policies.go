package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"github.com/ajar-access/ajar"
)

// PutOptions are how a policy is put.
type PutOptions struct {
	// ConfirmWithin rolls guards that are new back unless they are confirmed in that time; 0 = the plane's default,
	// negative = they are confirmed at once.
	ConfirmWithin time.Duration
	// Force guards the plane's own listeners all the same.
	Force bool
	// IfMatch is the Rev that the stored policy must have, or one of the constants below; 0 = whatever it has.
	IfMatch int64
}

// What can be asked of a stored policy in the place of a Rev.
const (
	IfNone int64 = -1 // that there is none
	IfAny  int64 = -2 // that there is one
)

// Unmatched is the Code of a Conflict with IfMatch.
const Unmatched = "PreconditionFailed"

// PutPolicy creates or replaces a policy. It needs PolicyWrite at the policy and MachineWrite on each machine that the
// old or the new body names. Machines must exist (NotFound, Code LinkedResourceNotFound), unless the old body named
// them already. Ports that are new get guarded, ports that no policy names any longer are lifted or kept, and leases
// on what this policy dropped are closed.
func (b *Broker) PutPolicy(ctx context.Context, who ajar.Caller, p ajar.Policy, o PutOptions) (*ajar.Policy, error) {
	bad := b.checkPolicy(&p)
	if bad == nil && (o.ConfirmWithin > 24*time.Hour) {
		bad = ajar.Errorf(ajar.Invalid, "a guard can wait for confirmation for up to %s", ajar.FormatDuration(24*time.Hour))
	}
	var out *ajar.Policy
	err := b.do(ctx, who, op{action: ajar.PolicyWrite, scope: p.ID, bad: bad}, func(t *txn) error {
		old, err := t.oldPolicy(p.ID)
		if err != nil {
			return err
		}
		if err := mustMatch(old, o.IfMatch); err != nil {
			return err
		}
		out, err = t.putPolicy(old, p, o)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// checkPolicy reads p's IDs and refuses what cannot be.
func (b *Broker) checkPolicy(p *ajar.Policy) (err error) {
	if p.ID, err = policyID(p.ID); err != nil {
		return err
	}
	if len(p.Machines) > ajar.MaxMachines {
		return p.Validate(b.Bounds)
	}
	if err := word("kind", p.Kind, 64); err != nil {
		return err
	}
	machines := make([]ajar.MachinePolicy, len(p.Machines))
	copy(machines, p.Machines)
	p.Machines = machines
	for i := range machines {
		m := &machines[i]
		if m.Target, err = machine(m.Target); err != nil {
			return ajar.Errorf(ajar.Invalid, "virtualMachines[%d].id: %s", i, ajar.Message(err))
		}
		if err := word("publicIpAddress", m.PublicIPAddress, 200); err != nil {
			return err
		}
		if len(m.Ports) > ajar.MaxPorts {
			return p.Validate(b.Bounds)
		}
		ports := make([]ajar.PortPolicy, len(m.Ports))
		copy(ports, m.Ports)
		m.Ports = ports
		for j := range ports {
			if err := checkPort(&ports[j]); err != nil {
				return ajar.Errorf(ajar.Invalid, "machine %s, port %d: %s", m.Target.Name(), ports[j].Number, ajar.Message(err))
			}
		}
	}
	return p.Validate(b.Bounds)
}

func checkPort(q *ajar.PortPolicy) (err error) {
	if q.Protocol, err = ajar.ParseProtocol(string(q.Protocol)); err != nil {
		return err
	}
	if len(q.SourceText) > ajar.MaxSources {
		return ajar.Errorf(ajar.Invalid, "%d allowed sources; at most %d are taken", len(q.SourceText), ajar.MaxSources)
	}
	for _, s := range q.SourceText {
		if err := word("an allowed source", s, 100); err != nil {
			return err
		}
	}
	if err := word("the duration", q.DurationText, 64); err != nil {
		return err
	}
	if len(q.Sources) > 0 {
		q.Sources, err = sources("allowed sources", q.Sources)
	}
	return err
}

// oldPolicy is the stored policy, or nil.
func (t *txn) oldPolicy(id ajar.ID) (*ajar.Policy, error) {
	old, err := ajar.Get[ajar.Policy](t, id.Key())
	if errors.Is(err, ajar.NotFound) {
		return nil, nil
	}
	return old, err
}

func mustMatch(old *ajar.Policy, want int64) error {
	why := ""
	switch {
	case want == 0 || want == IfNone && old == nil || want == IfAny && old != nil:
	case want == IfNone:
		why = "there is such a policy already"
	case old == nil:
		why = "there is no such policy"
	case old.Rev != want:
		why = "the policy has changed since you read it; read it again"
	}
	if why != "" {
		return &ajar.Error{Kind: ajar.Conflict, Code: Unmatched, Msg: why}
	}
	return nil
}

func (t *txn) putPolicy(old *ajar.Policy, p ajar.Policy, o PutOptions) (*ajar.Policy, error) {
	if err := t.mayTouchMachines(old, &p); err != nil {
		return nil, err
	}
	targets, err := t.policyTargets(old, &p)
	if err != nil {
		return nil, err
	}
	if !o.Force {
		if err := t.spareListeners(&p, targets); err != nil {
			return nil, err
		}
	}
	p.Stamp, p.Created, p.Updated, p.ConfirmWithin = ajar.Stamp{}, t.now, t.now, o.ConfirmWithin
	keep := p.Unguard == ajar.Keep
	was := ajar.Switch("")
	if old != nil {
		p.Stamp, p.Created = old.Stamp, old.Created
		was = old.BreakGlass
		keep = keep || old.Unguard == ajar.Keep
	}
	confirmBy := t.b.confirmBy(t.now, o.ConfirmWithin)
	for _, target := range targets {
		if err := t.regardTarget(target, p.ID, p.Machine(target.ID), p.BreakGlass, keep, confirmBy); err != nil {
			return nil, err
		}
	}
	if old != nil {
		if err := t.closeDropped(old, &p); err != nil {
			return nil, err
		}
	}
	if err := t.Put(&p); err != nil {
		return nil, err
	}
	t.detail("machines", strconv.Itoa(len(p.Machines)))
	if (p.BreakGlass == ajar.Off) != (was == ajar.Off) {
		t.detail("breakGlass", string(cmp.Or(p.BreakGlass, ajar.On)))
	}
	return &p, nil
}

func (b *Broker) confirmBy(now time.Time, within time.Duration) time.Time {
	if within == 0 {
		within = b.GuardConfirm
	}
	if within <= 0 {
		return time.Time{}
	}
	return now.Add(within).Truncate(time.Millisecond)
}

// mayTouchMachines asks for MachineWrite on each machine that either body names.
func (t *txn) mayTouchMachines(bodies ...*ajar.Policy) error {
	asked := map[string]bool{}
	for _, p := range bodies {
		if p == nil {
			continue
		}
		for _, m := range p.Machines {
			if k := m.Target.Key(); !asked[k] {
				asked[k] = true
				if err := t.linked(ajar.MachineWrite, m.Target); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// policyTargets reads every machine that the old or the new body names. A machine that is gone may stay named.
func (t *txn) policyTargets(old, p *ajar.Policy) ([]*ajar.Target, error) {
	var out []*ajar.Target
	for i, m := range p.Machines {
		target, err := ajar.Get[ajar.Target](t, m.Target.Key())
		switch {
		case err == nil:
			out = append(out, target)
		case !errors.Is(err, ajar.NotFound):
			return nil, err
		case !isGUID(m.Target.Subscription()):
			// ARM's words for an id with a segment too few or too many: it has looked for what stands second.
			return nil, &ajar.Error{Kind: ajar.Forbidden, Code: "LinkedAuthorizationFailed",
				Msg: fmt.Sprintf("The client has permission to perform action '%s' on scope '%s', however the linked subscription '%s' was not found. (virtualMachines[%d].id is '%s')",
					ajar.MachineWrite, p.ID, m.Target.Subscription(), i, m.Target)}
		case old == nil || old.Machine(m.Target) == nil:
			return nil, &ajar.Error{Kind: ajar.NotFound, Code: "LinkedResourceNotFound",
				Msg: "virtualMachines[" + strconv.Itoa(i) + "]: no machine " + string(m.Target) + " is known; make a join token for it or put it as a target first"}
		}
	}
	if old == nil {
		return out, nil
	}
	for _, m := range old.Machines {
		if p.Machine(m.Target) != nil {
			continue
		}
		target, err := ajar.Get[ajar.Target](t, m.Target.Key())
		if err == nil {
			out = append(out, target)
		} else if !errors.Is(err, ajar.NotFound) {
			return nil, err
		}
	}
	return out, nil
}

// spareListeners refuses to guard what people and agents reach the plane at.
func (t *txn) spareListeners(p *ajar.Policy, targets []*ajar.Target) error {
	for _, target := range targets {
		m := p.Machine(target.ID)
		if m == nil {
			continue
		}
		for _, l := range t.b.PlaneListeners {
			if m.Port(l.Port(), ajar.TCP) == nil {
				continue
			}
			if here, err := t.isAt(target, l.Addr()); err != nil {
				return err
			} else if !here {
				continue
			}
			return ajar.Errorf(ajar.Invalid, "port %d of %s is the plane's own listener %s: guarding it could lock everybody out; force it if that is meant", l.Port(), target.ID.Name(), l)
		}
	}
	return nil
}

// isAt reports whether target is the machine that has address a: by its addresses, or by where its host joined from.
// Whoever joined over loopback is on the plane's own machine.
func (t *txn) isAt(target *ajar.Target, a netip.Addr) (bool, error) {
	for _, x := range target.Addresses {
		if x.Unmap() == a.Unmap() {
			return true, nil
		}
	}
	for _, id := range target.Endpoints {
		ep, err := ajar.Get[ajar.Endpoint](t, string(id))
		if err != nil && !errors.Is(err, ajar.NotFound) {
			return false, err
		}
		if err == nil && ep.From.IsValid() && (ep.From == a.Unmap() || ep.From.IsLoopback()) {
			return true, nil
		}
	}
	return false, nil
}

// closeDropped closes the leases of old's that p has no row for any longer. p nil drops everything.
func (t *txn) closeDropped(old, p *ajar.Policy) error {
	n := 0
	err := t.eachDropped(old, p, func(l *ajar.Lease) error {
		if t.ended(l) {
			return nil
		}
		n++
		return t.end(l, ajar.ReasonGone)
	})
	if n > 0 {
		t.detail("leasesClosed", strconv.Itoa(n))
	}
	return err
}

func (t *txn) eachDropped(old, p *ajar.Policy, each func(l *ajar.Lease) error) error {
	for _, m := range old.Machines {
		var still *ajar.MachinePolicy
		if p != nil {
			still = p.Machine(m.Target)
		}
		gone := still == nil
		for _, q := range m.Ports {
			gone = gone || still.Port(q.Number, q.Protocol) == nil
		}
		if !gone {
			continue
		}
		leases, _, err := ajar.List[ajar.Lease](t, ajar.Filter{Scope: m.Target + "/leases"})
		if err != nil {
			return err
		}
		for _, l := range leases {
			if l.Policy.Equal(old.ID) && (still == nil || still.Port(l.Flow.Port.Number, l.Flow.Port.Protocol) == nil) {
				if err := each(l); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// DeletePolicy removes a policy: PolicyDelete, and MachineWrite on each machine it names. Its requests stay as history;
// those still Pending are denied, and its live leases are closed. ifMatch is as in PutOptions; nothing is wrong with a policy
// that is gone already.
func (b *Broker) DeletePolicy(ctx context.Context, who ajar.Caller, id ajar.ID, ifMatch int64) (existed bool, err error) {
	id, bad := readID(id, policyID)
	err = b.do(ctx, who, op{action: ajar.PolicyDelete, scope: id, bad: bad}, func(t *txn) error {
		existed = false
		old, err := t.oldPolicy(id)
		if old == nil || err != nil {
			return err
		}
		existed = true
		if err := mustMatch(old, ifMatch); err != nil {
			return err
		}
		if err := t.mayTouchMachines(old); err != nil {
			return err
		}
		targets, err := t.policyTargets(old, &ajar.Policy{ID: old.ID})
		if err != nil {
			return err
		}
		for _, target := range targets {
			if err := t.regardTarget(target, old.ID, nil, "", old.Unguard == ajar.Keep, time.Time{}); err != nil {
				return err
			}
		}
		if err := t.closeDropped(old, nil); err != nil {
			return err
		}
		if err := t.denyPending(old.ID); err != nil {
			return err
		}
		return t.Delete(ajar.KindPolicy, old.ID.Key())
	})
	return existed && err == nil, err
}

// denyPending denies what was asked for under a policy that goes.
func (t *txn) denyPending(policy ajar.ID) error {
	rs, _, err := ajar.List[ajar.Request](t, ajar.Filter{Ref: policy.Key(), States: []string{string(ajar.Pending)}})
	if err != nil {
		return err
	}
	if len(rs) > 0 {
		t.detail("requestsDenied", strconv.Itoa(len(rs)))
	}
	for _, r := range rs {
		to := ajar.Denied
		if r.Now(t.now) == ajar.Lapsed {
			to = ajar.Lapsed
		} else {
			r.Approvals = append(r.Approvals, ajar.Approval{By: t.who.Principal, Name: t.who.Name, Reason: "the policy was deleted", At: t.now})
		}
		if err := r.Move(to, t.now); err != nil {
			return err
		}
		if err := t.Put(r); err != nil {
			return err
		}
	}
	return nil
}

// Policy reads one policy.
func (b *Broker) Policy(ctx context.Context, who ajar.Caller, id ajar.ID) (*ajar.Policy, error) {
	id, err := policyID(id)
	if err != nil {
		return nil, err
	}
	var out *ajar.Policy
	err = b.view(ctx, who, func(t *txn) (err error) {
		if err = t.need(ajar.PolicyRead, id); err != nil {
			return err
		}
		out, err = t.policy(id)
		return err
	})
	return out, err
}

// policy is the stored policy, or NotFound in words.
func (t *txn) policy(id ajar.ID) (*ajar.Policy, error) {
	p, err := t.oldPolicy(id)
	if p == nil && err == nil {
		err = &ajar.Error{Kind: ajar.NotFound, Code: "ResourceNotFound", Msg: "there is no policy " + string(id)}
	}
	return p, err
}

// Policies lists the policies at and below under that the caller may read.
func (b *Broker) Policies(ctx context.Context, who ajar.Caller, under ajar.ID, page Page) (out []*ajar.Policy, next string, err error) {
	if under, err = scope(under); err != nil {
		return nil, "", err
	}
	err = b.view(ctx, who, func(t *txn) (err error) {
		out, next, err = list(t, ajar.Filter{}, t.reach(ajar.PolicyRead, under), page, func(p *ajar.Policy) (bool, error) {
			return t.can(ajar.PolicyRead, p.ID), nil
		})
		return err
	})
	return out, next, err
}
