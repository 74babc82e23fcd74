package jit

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/arm/rest"
	"github.com/ajar-access/ajar/broker"
)

func (s room) targetRoutes() []rest.Route {
	return []rest.Route{
		rest.Get("/ajar/v1/targets", rest.Ours, rest.Op(200, s.listTargets), "Lists machines.", ajar.MachineRead, "scope", "name", "$top"),
		rest.Get("/ajar/v1/target", rest.Ours, rest.Op(200, s.getTarget), "Shows a machine.", ajar.MachineRead, "id"),
		rest.Put("/ajar/v1/target", rest.Ours, rest.Op(200, s.putTarget), "Makes or changes a machine.", ajar.MachineWrite, "id"),
		rest.Delete("/ajar/v1/target", rest.Ours, rest.Op(204, s.deleteTarget), "Removes a machine; its leases end.", ajar.MachineDelete, "id", "keepGuard"),
	}
}

type targetBody struct {
	ID        ajar.ID           `json:"id"`
	Name      string            `json:"name"`
	Location  string            `json:"location,omitempty"`
	OS        string            `json:"os,omitempty"`
	Addresses []netip.Addr      `json:"addresses,omitempty"`
	Login     string            `json:"login,omitempty"`
	SSHPort   uint16            `json:"sshPort,omitempty"`
	Tags      map[string]string `json:"tags,omitempty"`
	Source    string            `json:"source,omitempty"` // "person", or the provider whose listing found it

	FoundIn ajar.ID    `json:"foundIn,omitempty"` // what that listing covers
	Missing *time.Time `json:"missing,omitempty"` // when it lacked the machine for the first time
	Kept    string     `json:"kept,omitempty"`    // why the machine stays all the same
	Clash   string     `json:"clash,omitempty"`   // another provider that lists it, and changes nothing of it

	Created *time.Time `json:"created,omitempty"`
	Removed *time.Time `json:"removed,omitempty"`

	Joined   bool        `json:"joined"`             // whether a host has joined as the machine
	Host     *hostState  `json:"host,omitempty"`     // how that is, for who may read hosts
	Policies []offerBody `json:"policies,omitempty"` // what may be asked for, as far as the caller may read it
}

type hostState struct {
	Connected bool          `json:"connected"`
	Since     *time.Time    `json:"since,omitempty"`
	LastSeen  *time.Time    `json:"lastSeen,omitempty"`
	Trouble   string        `json:"trouble,omitempty"`
	SkewMS    int64         `json:"skewMs,omitempty"`
	Pending   bool          `json:"guardsPending,omitempty"` // the firewall was not yet seen to have what it is to guard
	Refused   []refusalBody `json:"refused,omitempty"`
}

type refusalBody struct {
	Source   netip.Addr    `json:"source"`
	Number   uint16        `json:"number"`
	Protocol ajar.Protocol `json:"protocol,omitempty"`
	At       time.Time     `json:"at"`
}

// offerBody is what one policy offers on a machine.
type offerBody struct {
	ID    ajar.ID       `json:"id"`
	Ports []offeredPort `json:"ports"`
}

type offeredPort struct {
	Number      uint16        `json:"number"`
	Protocol    ajar.Protocol `json:"protocol"`
	MaxDuration string        `json:"maxRequestAccessDuration"`
	Approvals   int           `json:"approvals,omitempty"`
}

type targetIn struct {
	Location  rest.Text         `json:"location"`
	OS        rest.Text         `json:"os"`
	Addresses []string          `json:"addresses"`
	Login     rest.Text         `json:"login"`
	SSHPort   rest.Int          `json:"sshPort"`
	Tags      map[string]string `json:"tags"` // left out or null: as they are
}

func showTarget(t *ajar.Target) targetBody {
	return targetBody{
		ID: t.ID, Name: t.ID.Name(), Location: t.Location, OS: t.OS, Addresses: t.Addresses, Login: t.Login,
		SSHPort: t.SSHPort, Tags: t.Tags, Source: t.Source, Created: rest.When(t.Created), Removed: rest.When(t.Removed),
		FoundIn: t.Finding.Scope, Missing: rest.When(t.Finding.Missing), Kept: t.Finding.Kept, Clash: t.Finding.Clash.Provider, Joined: len(t.Endpoints) > 0,
	}
}

func showRefusal(r ajar.Refusal) refusalBody {
	return refusalBody{Source: r.Source, Number: r.Port.Number, Protocol: r.Port.Protocol, At: r.At.UTC()}
}

func showHostState(ep *ajar.Endpoint) *hostState {
	h := &hostState{Connected: ep.Connected, Since: rest.When(ep.Since), LastSeen: rest.When(ep.LastSeen), Trouble: ep.Trouble, SkewMS: ep.SkewMS, Pending: ep.GuardsPending()}
	for _, r := range ep.Status.Refused {
		h.Refused = append(h.Refused, showRefusal(r))
	}
	return h
}

func (s room) listTargets(ctx context.Context, c *rest.Call, _ rest.Nothing) (l rest.List[targetBody], err error) {
	page, err := c.Page(rest.EntriesAPage)
	if err != nil {
		return l, err
	}
	scope, err := c.ScopeParam("scope", ajar.Root)
	if err != nil {
		return l, err
	}
	all, next, err := s.Broker.Targets(ctx, c.Who, scope, c.Param("name"), page)
	if err != nil {
		return l, err
	}
	l = rest.Each(c, all, next, showTarget)
	return l, s.addOffers(ctx, c, all, l.Value)
}

// addOffers adds to machines their hosts and what policies offer on them, as far as the caller may read either.
func (s room) addOffers(ctx context.Context, c *rest.Call, ts []*ajar.Target, bodies []targetBody) error {
	policies := map[string]*ajar.Policy{}
	for i, t := range ts {
		b := &bodies[i]
		if len(t.Endpoints) > 0 {
			if hosts, _, err := s.Broker.Hosts(ctx, c.Who, t.ID, broker.Page{Limit: 1}); err == nil && len(hosts) == 1 {
				b.Host = showHostState(hosts[0].Endpoint)
			}
		}
		for _, id := range t.Policies {
			p, ok := policies[id.Key()]
			if !ok {
				var err error
				if p, err = s.Broker.Policy(ctx, c.Who, id); errors.Is(err, ajar.Internal) || errors.Is(err, ajar.Unavailable) {
					return err
				}
				policies[id.Key()] = p
			}
			if p == nil {
				continue
			}
			if m := p.Machine(t.ID); m != nil {
				b.Policies = append(b.Policies, showOffer(p, m))
			}
		}
	}
	return nil
}

func showOffer(p *ajar.Policy, m *ajar.MachinePolicy) offerBody {
	o := offerBody{ID: p.ID, Ports: make([]offeredPort, 0, len(m.Ports))}
	for i := range m.Ports {
		b := showPort(&m.Ports[i])
		o.Ports = append(o.Ports, offeredPort{b.Number, b.Protocol, b.MaxDuration, b.Approvals})
	}
	return o
}

// targetID is the machine that ?id= or ?target= names.
func targetID(c *rest.Call, param string) (ajar.ID, error) {
	return rest.MachineID(c.Param(param), "?"+param)
}

func (s room) getTarget(ctx context.Context, c *rest.Call, _ rest.Nothing) (*targetBody, error) {
	id, err := targetID(c, "id")
	if err != nil {
		return nil, err
	}
	t, err := s.Broker.Target(ctx, c.Who, id)
	if err != nil {
		return nil, err
	}
	return s.showWhole(ctx, c, t)
}

func (s room) showWhole(ctx context.Context, c *rest.Call, t *ajar.Target) (*targetBody, error) {
	b := []targetBody{showTarget(t)}
	err := s.addOffers(ctx, c, []*ajar.Target{t}, b)
	return &b[0], err
}

func (s room) putTarget(ctx context.Context, c *rest.Call, in targetIn) (*targetBody, error) {
	id, err := targetID(c, "id")
	if err != nil {
		return nil, err
	}
	t := ajar.Target{ID: id, Location: string(in.Location), OS: string(in.OS), Login: string(in.Login), Tags: in.Tags, Source: "person"}
	if in.SSHPort.Given && in.SSHPort.N != 0 {
		if t.SSHPort, err = in.SSHPort.Port("sshPort"); err != nil {
			return nil, rest.Bad("sshPort is %d; it must be between 1 and 65535", in.SSHPort.N)
		}
	}
	for i, text := range in.Addresses {
		a, err := netip.ParseAddr(text)
		if err != nil || a.Zone() != "" {
			return nil, rest.Bad("addresses[%d] %.60q is not an address", i, text)
		}
		t.Addresses = append(t.Addresses, a.Unmap())
	}
	put, err := s.Broker.PutTarget(ctx, c.Who, t)
	if err != nil {
		return nil, err
	}
	return s.showWhole(ctx, c, put)
}

func (s room) deleteTarget(ctx context.Context, c *rest.Call, _ rest.Nothing) (rest.Nothing, error) {
	id, err := targetID(c, "id")
	if err != nil {
		return rest.Nothing{}, err
	}
	keep, err := c.Flag("keepGuard")
	if err != nil {
		return rest.Nothing{}, err
	}
	existed, err := s.Broker.DeleteTarget(ctx, c.Who, id, keep)
	if err == nil && !existed {
		err = rest.Coded(ajar.NotFound, "", "there is no machine %s", id)
	}
	return rest.Nothing{}, err
}
