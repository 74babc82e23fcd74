package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
)

// maxAddresses bounds the addresses of one machine.
const maxAddresses = 64

// PutTarget creates or changes a machine (MachineWrite). Which hosts and policies belong to it is kept, and so are its
// tags if m has none at all, as clients that know of none have it.
func (b *Broker) PutTarget(ctx context.Context, who ajar.Caller, m ajar.Target) (*ajar.Target, error) {
	bad := checkTarget(&m)
	var out *ajar.Target
	err := b.do(ctx, who, op{action: ajar.MachineWrite, scope: m.ID, bad: bad}, func(t *txn) (err error) {
		out, err = t.putTarget(m)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (t *txn) putTarget(m ajar.Target) (*ajar.Target, error) {
	old, err := t.oldTarget(m.ID)
	if err != nil {
		return nil, err
	}
	m.Stamp, m.Endpoints, m.Policies, m.Kept, m.Removed, m.Created = ajar.Stamp{}, nil, nil, nil, time.Time{}, t.now
	m.Finding = ajar.Finding{}
	if m.Source == "" {
		m.Source = "person"
	}
	if old != nil {
		m.Stamp, m.Endpoints, m.Policies, m.Created, m.Source = old.Stamp, old.Endpoints, old.Policies, old.Created, old.Source
		m.Kept, m.Finding = old.Kept, old.Finding
		if m.Tags == nil {
			m.Tags = old.Tags
		}
		if err := keepFound(&m, old); err != nil {
			return nil, err
		}
	}
	return &m, t.Put(&m)
}

// oldTarget is the stored machine, or nil.
func (t *txn) oldTarget(id ajar.ID) (*ajar.Target, error) {
	m, err := ajar.Get[ajar.Target](t, id.Key())
	if errors.Is(err, ajar.NotFound) {
		return nil, nil
	}
	return m, err
}

func (t *txn) target(id ajar.ID) (*ajar.Target, error) {
	m, err := t.oldTarget(id)
	if m == nil && err == nil {
		err = &ajar.Error{Kind: ajar.NotFound, Code: "ResourceNotFound", Msg: "there is no machine " + string(id)}
	}
	return m, err
}

func checkTarget(m *ajar.Target) (err error) {
	if m.ID, err = readID(m.ID, machine); err != nil {
		return err
	}
	if len(m.ID.Name()) > 64 {
		return ajar.Errorf(ajar.Invalid, "the machine's name is longer than 64 bytes")
	}
	switch strings.ToLower(m.OS) {
	case "", "linux":
		m.OS = "Linux"
	case "windows":
		m.OS = "Windows"
	default:
		return ajar.Errorf(ajar.Invalid, "the operating system is %.40q; it can be Linux or Windows", m.OS)
	}
	if err := word("the location", m.Location, 64); err != nil {
		return err
	}
	if err := word("the source", m.Source, 64); err != nil {
		return err
	}
	if len(m.Login) > 64 || strings.HasPrefix(m.Login, "-") || strings.Trim(m.Login, `abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._@\+-`) != "" {
		return ajar.Errorf(ajar.Invalid, "the login name may hold letters, digits and . _ @ \\ + -, may not begin with - and may be 64 bytes long")
	}
	if err := checkTags(m.Tags); err != nil {
		return err
	}
	if len(m.Addresses) > maxAddresses {
		return ajar.Errorf(ajar.Invalid, "a machine has at most %d addresses", maxAddresses)
	}
	m.Addresses = slices.Clone(m.Addresses)
	for i, a := range m.Addresses {
		if !a.IsValid() || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() {
			return ajar.Errorf(ajar.Invalid, "address %d of the machine is not one that it can be reached at", i+1)
		}
		m.Addresses[i] = a.Unmap()
	}
	return nil
}

// The bounds of tags, which are Azure's.
const (
	maxTags     = 50
	maxTagName  = 512
	maxTagValue = 256
)

func checkTags(tags map[string]string) error {
	if len(tags) > maxTags {
		return ajar.Errorf(ajar.Invalid, "%d tags; at most %d are taken", len(tags), maxTags)
	}
	seen := map[string]bool{}
	for name, value := range tags {
		if err := word("the name of a tag", name, maxTagName); err != nil {
			return err
		}
		if name == "" || strings.ContainsAny(name, `<>%&\?/`) {
			return ajar.Errorf(ajar.Invalid, `the name of a tag is %.60q; it is some text without any of <>%%&\?/`, name)
		}
		key := strings.ToLower(name)
		if seen[key] {
			return ajar.Errorf(ajar.Invalid, "the tag %.60q is there twice, but for capitals", name)
		}
		seen[key] = true
		if err := text("the value of a tag", value, maxTagValue); err != nil {
			return err
		}
	}
	return nil
}

// DeleteTarget removes a machine (MachineDelete) with its host and from the policies that name it. Its leases are
// Closed, unverified. keepGuard leaves the guard on the host; otherwise it is lifted there, which takes GuardRelease
// too.
func (b *Broker) DeleteTarget(ctx context.Context, who ajar.Caller, id ajar.ID, keepGuard bool) (existed bool, err error) {
	id, bad := readID(id, machine)
	err = b.do(ctx, who, op{action: ajar.MachineDelete, scope: id, bad: bad}, func(t *txn) error {
		existed = false
		m, err := t.oldTarget(id)
		if m == nil || err != nil {
			return err
		}
		existed = true
		return t.removeTarget(m, keepGuard)
	})
	return existed && err == nil, err
}

// removeTarget is the one way for a machine to go, whether a person or a listing says so.
func (t *txn) removeTarget(m *ajar.Target, keepGuard bool) error {
	for _, ep := range slices.Clone(m.Endpoints) {
		if err := t.dropHost(m, ep, !keepGuard); err != nil {
			return err
		}
	}
	for _, p := range m.Policies {
		if err := t.dropMachine(p, m.ID); err != nil {
			return err
		}
	}
	if err := t.sweepTokens(m.ID, true); err != nil {
		return err
	}
	return t.Delete(ajar.KindTarget, m.ID.Key())
}

// dropMachine takes a machine that goes out of a policy.
func (t *txn) dropMachine(policy, id ajar.ID) error {
	p, err := t.oldPolicy(policy)
	if p == nil || err != nil {
		return err
	}
	p.Machines = slices.DeleteFunc(p.Machines, func(m ajar.MachinePolicy) bool { return m.Target.Equal(id) })
	p.Updated = t.now
	t.detail("policy "+p.ID.Name(), string(p.ID))
	return t.Put(p)
}

// Target reads one machine (MachineRead).
func (b *Broker) Target(ctx context.Context, who ajar.Caller, id ajar.ID) (*ajar.Target, error) {
	id, err := machine(id)
	if err != nil {
		return nil, err
	}
	var out *ajar.Target
	err = b.view(ctx, who, func(t *txn) (err error) {
		if err = t.need(ajar.MachineRead, id); err != nil {
			return err
		}
		out, err = t.target(id)
		return err
	})
	return out, err
}

// Targets lists the machines at and below under that the caller may read, those of that name alone if name is not empty.
func (b *Broker) Targets(ctx context.Context, who ajar.Caller, under ajar.ID, name string, page Page) (out []*ajar.Target, next string, err error) {
	if under, err = scope(under); err != nil {
		return nil, "", err
	}
	err = b.view(ctx, who, func(t *txn) (err error) {
		out, next, err = list(t, ajar.Filter{Ref: strings.ToLower(name)}, t.reach(ajar.MachineRead, under), page, func(m *ajar.Target) (bool, error) {
			return t.can(ajar.MachineRead, m.ID), nil
		})
		return err
	})
	return out, next, err
}

// eachEndpoint hands over the endpoints of a machine, writes back those that change, and asks for a look at them.
func (t *txn) eachEndpoint(m *ajar.Target, change func(ep *ajar.Endpoint) (bool, error)) error {
	for _, id := range m.Endpoints {
		ep, err := ajar.Get[ajar.Endpoint](t, string(id))
		if errors.Is(err, ajar.NotFound) {
			continue
		} else if err != nil {
			return err
		}
		changed, err := change(ep)
		if err != nil {
			return err
		}
		if !changed {
			continue
		}
		if err := t.Put(ep); err != nil {
			return err
		}
		if err := t.due(id); err != nil {
			return err
		}
	}
	return nil
}

// ReleaseGuard lifts a guard of target that no policy names any longer and that was kept (GuardRelease at target).
func (b *Broker) ReleaseGuard(ctx context.Context, who ajar.Caller, target ajar.ID, flow ajar.Flow) error {
	target, bad := readID(target, machine)
	if bad == nil {
		flow.Port.Protocol, bad = ajar.ParseProtocol(string(flow.Port.Protocol))
	}
	return b.do(ctx, who, op{action: ajar.GuardRelease, scope: target, bad: bad}, func(t *txn) error {
		m, err := t.target(target)
		if err != nil {
			return err
		}
		t.detail("port", flow.Port.String())
		found := false
		err = t.eachEndpoint(m, func(ep *ajar.Endpoint) (bool, error) {
			i := slices.IndexFunc(ep.Guards, func(g ajar.EndpointGuard) bool { return g.Flow == flow })
			if i < 0 {
				return false, nil
			}
			found = true
			if named := ep.Guards[i].Policies; len(named) > 0 {
				return false, ajar.Errorf(ajar.Conflict, "port %s of %s is guarded for policy %s; take it out of there", flow.Port, m.ID.Name(), named[0])
			}
			ep.Guards = slices.Delete(ep.Guards, i, i+1)
			ep.GuardsSet++
			if !covered(ep, flow, t.now) {
				t.recordShift(ep, shift{lifted: []ajar.Flow{flow}}, time.Time{})
			}
			return true, nil
		})
		if err == nil && !found {
			err = ajar.Errorf(ajar.NotFound, "port %s of %s is not guarded", flow.Port, m.ID.Name())
		}
		return err
	})
}

// ConfirmGuard confirms every guard of target that waits for it (GuardConfirm at target), and lists those.
func (b *Broker) ConfirmGuard(ctx context.Context, who ajar.Caller, target ajar.ID) ([]ajar.EndpointGuard, error) {
	target, bad := readID(target, machine)
	var out []ajar.EndpointGuard
	err := b.do(ctx, who, op{action: ajar.GuardConfirm, scope: target, bad: bad}, func(t *txn) error {
		out = nil
		m, err := t.target(target)
		if err != nil {
			return err
		}
		late := 0
		var flows []ajar.Flow
		err = t.eachEndpoint(m, func(ep *ajar.Endpoint) (bool, error) {
			before := len(out)
			for i := range ep.Guards {
				g := &ep.Guards[i]
				switch {
				case g.ConfirmBy.IsZero():
				case rolledBack(*g, t.now):
					late++
				default:
					g.ConfirmBy = time.Time{}
					out, flows = append(out, *g), append(flows, g.Flow)
				}
			}
			if len(out) == before {
				return false, nil
			}
			ep.GuardsSet++
			return true, nil
		})
		if err != nil {
			return err
		}
		if len(out) == 0 && late > 0 {
			return ajar.Errorf(ajar.Conflict, "the guards of %s were not confirmed in time and are rolled back; put the policy again", m.ID.Name())
		} else if len(out) == 0 {
			return ajar.Errorf(ajar.Conflict, "no guard of %s waits for confirmation", m.ID.Name())
		}
		t.detail("ports", portList(flows))
		t.detail("count", fmt.Sprint(len(flows)))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
