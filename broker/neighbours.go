package broker

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/ajar-access/ajar"
)

// Facet is a resource that Azure has where Ajar has a machine: the machine itself, its network interface, what is found
// about it. Each has an ID and a right to read of its own, and says nothing that the machine, its hosts and its leases do
// not say.
type Facet int

// The facets there are.
const (
	AsMachine       Facet = iota // the machine
	AsInstance                   // how the machine is now
	AsInterface                  // its network interface, {machine}-nic
	AsSecurityGroup              // the rules in front of it, {machine}-nsg
	AsSecurityRule               // those rules, asked for by themselves
	AsPublicAddress              // its public address, {machine}-ip
	AsAssessment                 // whether just-in-time access is as it should be
	AsPolicyState                // the same, as state of a policy of Azure's
	AsPolicySummary              // the same, counted
)

// AssessmentKey is Azure's key of "Management ports of virtual machines should be protected with just-in-time network
// access control".
const AssessmentKey = "805651bc-6ecd-4c73-9b55-97a19d0582d0"

// facets: one beside a machine has a type and an ending of its name; others lie below the machine.
var facets = [...]struct {
	read                ajar.Action
	kind, ending, below string
	hosts, leases       bool // what it takes to show it
}{
	AsMachine:       {read: ajar.MachineRead},
	AsInstance:      {read: ajar.MachineViewRead, hosts: true},
	AsInterface:     {read: ajar.InterfaceRead, kind: "Microsoft.Network/networkInterfaces", ending: "-nic"},
	AsSecurityGroup: {read: ajar.SecurityGroupRead, kind: "Microsoft.Network/networkSecurityGroups", ending: "-nsg", hosts: true, leases: true},
	AsSecurityRule:  {read: ajar.SecurityRuleRead, kind: "Microsoft.Network/networkSecurityGroups", ending: "-nsg", hosts: true, leases: true},
	AsPublicAddress: {read: ajar.PublicAddressRead, kind: "Microsoft.Network/publicIPAddresses", ending: "-ip"},
	AsAssessment:    {read: ajar.AssessmentRead, below: "/providers/Microsoft.Security/assessments/" + AssessmentKey, hosts: true},
	AsPolicyState:   {read: ajar.PolicyStateRead, hosts: true},
	AsPolicySummary: {read: ajar.PolicyStateSummarized, hosts: true},
}

const machinesIn = "/providers/" + ajar.MachineType + "/"

// Type is the facet's resource type if it is one beside the machine, otherwise "".
func (f Facet) Type() string { return facets[f].kind }

// ID is the ID of a machine's facet.
func (f Facet) ID(machine ajar.ID) ajar.ID {
	x := facets[f]
	if x.kind == "" {
		return machine + ajar.ID(x.below)
	}
	return machine.Group() + "/providers/" + ajar.ID(x.kind) + "/" + ajar.ID(machine.Name()+x.ending)
}

// machine is the machine that id, the ID of a facet or of something below, belongs to.
func (f Facet) machine(id ajar.ID) (ajar.ID, bool) {
	group := id.Group()
	if group == "" || !group.Covers(id) {
		return "", false
	}
	x, rest := facets[f], string(id[len(group):])
	head := machinesIn
	if x.kind != "" {
		head = "/providers/" + x.kind + "/"
	}
	if len(rest) <= len(head) || !strings.EqualFold(rest[:len(head)], head) {
		return "", false
	}
	name, _, _ := strings.Cut(rest[len(head):], "/")
	n := len(name) - len(x.ending)
	if n < 1 || !strings.EqualFold(name[n:], x.ending) {
		return "", false
	}
	return group + machinesIn + ajar.ID(name[:n]), true
}

// Machine is a target with what its facets show of it.
type Machine struct {
	*ajar.Target
	Hosts      []*ajar.Endpoint // where rules are enforced; for facets that show it, or where no address is known otherwise
	Leases     []*ajar.Lease    // live ones, the first begun first; for facets that show them
	KnowsHosts bool             // the caller may read hosts by themselves, too
}

// The most leases of one machine that are shown together, and how much one page looks at.
const (
	MostShown = 3000
	fullLook  = 4000
)

// Look says which machines to list, and how.
type Look struct {
	Under ajar.ID
	Hosts bool                // have the hosts, too, where the facet does not show them by itself
	Keep  func(*Machine) bool // nil = all
	Page  Page
}

// Machines lists the machines at and below what is looked at whose facet the caller may read. A page may be shorter than
// its limit, or empty, and still have a next.
func (b *Broker) Machines(ctx context.Context, who ajar.Caller, f Facet, l Look) (out []*Machine, next string, err error) {
	if l.Under, err = scope(l.Under); err != nil {
		return nil, "", err
	}
	limit, err := l.Page.limit()
	if err != nil {
		return nil, "", err
	}
	err = b.view(ctx, who, func(t *txn) error {
		out, next = nil, l.Page.Cursor
		scopes, looked := t.facetReach(f, l.Under), 0
		for {
			part := Page{Cursor: next, Limit: min(limit-len(out), fewMachines)}
			ms, more, err := list(t, ajar.Filter{}, scopes, part, func(m *ajar.Target) (bool, error) {
				return t.can(facets[f].read, f.ID(m.ID)), nil
			})
			for i := 0; err == nil && i < len(ms); i++ {
				var m *Machine
				if m, err = t.machineAs(f, ms[i], l.Hosts); err == nil && (l.Keep == nil || l.Keep(m)) {
					out = append(out, m)
				}
				looked += 1 + len(m.Hosts) + len(m.Leases)
			}
			if next = more; err != nil || more == "" || len(ms) == 0 || len(out) >= limit || looked >= fullLook {
				return err
			}
		}
	})
	return out, next, err
}

// Machine is the machine that the facet with this ID belongs to, for who may read the facet.
func (b *Broker) Machine(ctx context.Context, who ajar.Caller, f Facet, id ajar.ID, hosts bool) (out *Machine, err error) {
	if id, err = ajar.ParseID(string(id)); err != nil {
		return nil, err
	}
	err = b.view(ctx, who, func(t *txn) error {
		if err := t.need(facets[f].read, id); err != nil {
			return err
		}
		at, ok := f.machine(id)
		if !ok {
			return missing(id)
		}
		m, err := t.oldTarget(at)
		if err != nil {
			return err
		} else if m == nil {
			return missing(id)
		}
		out, err = t.machineAs(f, m, hosts)
		return err
	})
	return out, err
}

// missing says that a resource is not there, in Azure's words.
func missing(id ajar.ID) error {
	return &ajar.Error{Kind: ajar.NotFound, Code: "ResourceNotFound",
		Msg: "The Resource '" + id.Type() + "/" + id.Name() + "' under resource group '" + id.ResourceGroup() + "' was not found."}
}

// facetReach is reach for machines: where a role is held at one facet itself stands its machine.
func (t *txn) facetReach(f Facet, under ajar.ID) (scopes []ajar.ID) {
	for _, s := range t.reach(facets[f].read, under) {
		if g := s.Group(); g != "" && !s.Equal(g) {
			m, ok := f.machine(s)
			if !ok {
				continue
			}
			s = m
		}
		scopes = append(scopes, s)
	}
	slices.SortFunc(scopes, func(a, b ajar.ID) int { return strings.Compare(a.Key()+"/", b.Key()+"/") })
	return slices.CompactFunc(scopes, ajar.ID.Equal)
}

func (t *txn) machineAs(f Facet, m *ajar.Target, hosts bool) (*Machine, error) {
	out := &Machine{Target: m, KnowsHosts: t.can(ajar.HostRead, m.ID)}
	if facets[f].hosts || hosts || len(m.Addresses) == 0 {
		for _, id := range m.Endpoints {
			ep, err := ajar.Get[ajar.Endpoint](t, string(id))
			if errors.Is(err, ajar.NotFound) {
				continue
			} else if err != nil {
				return out, err
			}
			out.Hosts = append(out.Hosts, ep)
		}
	}
	if !facets[f].leases || len(m.Endpoints) == 0 {
		return out, nil
	}
	ls, _, err := ajar.List[ajar.Lease](t, ajar.Filter{
		Scope: m.ID + "/leases", States: []string{string(ajar.Opening), string(ajar.Open)}, Limit: MostShown,
	})
	out.Leases = slices.DeleteFunc(ls, func(l *ajar.Lease) bool { return !l.Live(t.now) })
	slices.SortFunc(out.Leases, func(x, y *ajar.Lease) int {
		return cmp.Or(x.Start.Compare(y.Start), cmp.Compare(x.ID, y.ID))
	})
	return out, err
}

// Tag gives a machine other tags (MachineWrite), if it is at location or that is empty; nil leaves them as they are.
// check, if it is not nil, may refuse.
func (b *Broker) Tag(ctx context.Context, who ajar.Caller, id ajar.ID, tags map[string]string, check func(*ajar.Target) error) (out *Machine, err error) {
	id, bad := readID(id, machine)
	if bad == nil {
		bad = checkTags(tags)
	}
	err = b.do(ctx, who, op{action: ajar.MachineWrite, scope: id, bad: bad}, func(t *txn) error {
		out = nil
		m, err := t.oldTarget(id)
		if err == nil && check != nil {
			err = check(m)
		}
		if err == nil && m == nil {
			err = missing(id)
		}
		if err != nil {
			return err
		}
		if tags != nil {
			m.Tags = tags
			if err := t.Put(m); err != nil {
				return err
			}
		}
		out, err = t.machineAs(AsMachine, m, false)
		return err
	})
	return out, err
}

// Decline refuses, for the reason why, what nobody can do here, whatever they may; who may not even that is told so. It
// is recorded as every refusal is.
func (b *Broker) Decline(ctx context.Context, who ajar.Caller, action ajar.Action, at ajar.ID, why error) error {
	at, bad := readID(at, scope)
	return b.do(ctx, who, op{action: action, scope: at, bad: bad}, func(*txn) error { return why })
}

// AgreeInSubscription agrees to what is so already (action at a subscription), and record that it was asked for.
func (b *Broker) AgreeInSubscription(ctx context.Context, who ajar.Caller, action ajar.Action, sub string) error {
	if err := b.InSubscription(ctx, who, action, sub); err != nil {
		return err
	}
	return b.do(ctx, who, op{action: action, scope: "/subscriptions/" + ajar.ID(sub)}, func(*txn) error { return nil })
}

// InSubscription lets through who may do action at a subscription that is there.
func (b *Broker) InSubscription(ctx context.Context, who ajar.Caller, action ajar.Action, sub string) error {
	sub, err := guid("the subscription", sub)
	if err != nil {
		return err
	}
	at := "/subscriptions/" + ajar.ID(sub)
	may := func(t *txn, _ func(ajar.ID) bool) error { return t.need(action, at) }
	return b.look(ctx, who, may, func(d *directory, _ func(ajar.ID) bool) error {
		_, err := d.at(sub)
		return err
	})
}

// May lets through who may do action at a scope.
func (b *Broker) May(ctx context.Context, who ajar.Caller, action ajar.Action, at ajar.ID) error {
	at, err := scope(at)
	if err != nil {
		return err
	}
	return b.view(ctx, who, func(t *txn) error { return t.need(action, at) })
}
