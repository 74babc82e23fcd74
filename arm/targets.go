package arm

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/broker"
)

func (s *Server) targetRoutes() []route {
	return []route{
		{http.MethodGet, "/ajar/v1/targets", ours, op(200, s.listTargets)},
		{http.MethodGet, "/ajar/v1/target", ours, op(200, s.getTarget)},
		{http.MethodPut, "/ajar/v1/target", ours, op(200, s.putTarget)},
		{http.MethodDelete, "/ajar/v1/target", ours, op(204, s.deleteTarget)},
	}
}

type targetBody struct {
	ID        ajar.ID      `json:"id"`
	Name      string       `json:"name"`
	Location  string       `json:"location,omitempty"`
	OS        string       `json:"os,omitempty"`
	Addresses []netip.Addr `json:"addresses,omitempty"`
	Login     string       `json:"login,omitempty"`
	SSHPort   uint16       `json:"sshPort,omitempty"`
	Source    string       `json:"source,omitempty"`
	Created   *time.Time   `json:"created,omitempty"`
	Removed   *time.Time   `json:"removed,omitempty"`

	Host     *hostState  `json:"host,omitempty"`     // where a host joined, for who may read hosts
	Policies []offerBody `json:"policies,omitempty"` // what may be asked for, as far as the caller may read it
}

type hostState struct {
	Connected bool          `json:"connected"`
	Since     *time.Time    `json:"since,omitempty"`
	LastSeen  *time.Time    `json:"lastSeen,omitempty"`
	Trouble   string        `json:"trouble,omitempty"`
	SkewMS    int64         `json:"skewMs,omitempty"`
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
	Location  wireText `json:"location"`
	OS        wireText `json:"os"`
	Addresses []string `json:"addresses"`
	Login     wireText `json:"login"`
	SSHPort   wireInt  `json:"sshPort"`
}

func showTarget(t *ajar.Target) targetBody {
	return targetBody{
		ID: t.ID, Name: t.ID.Name(), Location: t.Location, OS: t.OS, Addresses: t.Addresses, Login: t.Login,
		SSHPort: t.SSHPort, Source: t.Source, Created: rfc(t.Created), Removed: rfc(t.Removed),
	}
}

func showRefusal(r ajar.Refusal) refusalBody {
	return refusalBody{Source: r.Source, Number: r.Port.Number, Protocol: r.Port.Protocol, At: r.At.UTC()}
}

func showHostState(ep *ajar.Endpoint) *hostState {
	h := &hostState{Connected: ep.Connected, Since: rfc(ep.Since), LastSeen: rfc(ep.LastSeen), Trouble: ep.Trouble, SkewMS: ep.SkewMS}
	for _, r := range ep.Status.Refused {
		h.Refused = append(h.Refused, showRefusal(r))
	}
	return h
}

// mostPolicies bounds how many policies are looked through for what they offer on listed machines.
const mostPolicies = 1000

func (s *Server) listTargets(ctx context.Context, c *call, _ nothing) (l list[targetBody], err error) {
	page, err := c.page(entriesAPage)
	if err != nil {
		return l, err
	}
	scope, err := c.scope("scope", ajar.Root)
	if err != nil {
		return l, err
	}
	name := c.param("name")
	if name != "" {
		page.Limit = mostAPage
	}
	all, next, err := s.Broker.Targets(ctx, c.who, scope, page)
	if err != nil {
		return l, err
	}
	l = list[targetBody]{Value: []targetBody{}, NextLink: c.next(next)}
	for _, t := range all {
		if name == "" || strings.EqualFold(name, t.ID.Name()) {
			l.Value = append(l.Value, showTarget(t))
		}
	}
	return l, s.addOffers(ctx, c, l.Value)
}

// addOffers adds to machines their hosts and what policies offer on them. A policy names machines of its own resource
// group as a rule, so those groups are looked through.
func (s *Server) addOffers(ctx context.Context, c *call, ts []targetBody) error {
	groups := map[string][]*ajar.Policy{}
	for i := range ts {
		b := &ts[i]
		if hosts, _, err := s.Broker.Hosts(ctx, c.who, b.ID, broker.Page{Limit: 1}); err == nil && len(hosts) == 1 {
			b.Host = showHostState(hosts[0].Endpoint)
		}
		group := b.ID.Group()
		if _, ok := groups[group.Key()]; !ok {
			ps, err := s.readable(ctx, c, group)
			if err != nil {
				return err
			}
			groups[group.Key()] = ps
		}
		for _, p := range groups[group.Key()] {
			if m := p.Machine(b.ID); m != nil {
				b.Policies = append(b.Policies, showOffer(p, m))
			}
		}
	}
	return nil
}

func (s *Server) readable(ctx context.Context, c *call, scope ajar.ID) (all []*ajar.Policy, err error) {
	page := broker.Page{Limit: mostAPage}
	for len(all) < mostPolicies {
		ps, next, err := s.Broker.Policies(ctx, c.who, scope, page)
		if err != nil && !errors.Is(err, ajar.Forbidden) {
			return nil, err
		}
		all = append(all, ps...)
		if next == "" || err != nil {
			break
		}
		page.Cursor = next
	}
	return all, nil
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
func (c *call) targetID(param string) (ajar.ID, error) {
	return machineID(c.param(param), "?"+param)
}

func (s *Server) getTarget(ctx context.Context, c *call, _ nothing) (*targetBody, error) {
	id, err := c.targetID("id")
	if err != nil {
		return nil, err
	}
	t, err := s.Broker.Target(ctx, c.who, id)
	if err != nil {
		return nil, err
	}
	return s.showWhole(ctx, c, t)
}

func (s *Server) showWhole(ctx context.Context, c *call, t *ajar.Target) (*targetBody, error) {
	b := []targetBody{showTarget(t)}
	err := s.addOffers(ctx, c, b)
	return &b[0], err
}

func (s *Server) putTarget(ctx context.Context, c *call, in targetIn) (*targetBody, error) {
	id, err := c.targetID("id")
	if err != nil {
		return nil, err
	}
	t := ajar.Target{ID: id, Location: string(in.Location), OS: string(in.OS), Login: string(in.Login), Source: "person"}
	if in.SSHPort.set && in.SSHPort.n != 0 {
		if t.SSHPort, err = in.SSHPort.port("sshPort"); err != nil {
			return nil, bad("sshPort is %d; it must be between 1 and 65535", in.SSHPort.n)
		}
	}
	for i, text := range in.Addresses {
		a, err := netip.ParseAddr(text)
		if err != nil || a.Zone() != "" {
			return nil, bad("addresses[%d] %.60q is not an address", i, text)
		}
		t.Addresses = append(t.Addresses, a.Unmap())
	}
	put, err := s.Broker.PutTarget(ctx, c.who, t)
	if err != nil {
		return nil, err
	}
	return s.showWhole(ctx, c, put)
}

func (s *Server) deleteTarget(ctx context.Context, c *call, _ nothing) (nothing, error) {
	id, err := c.targetID("id")
	if err != nil {
		return nothing{}, err
	}
	keep, err := c.flag("keepGuard")
	if err != nil {
		return nothing{}, err
	}
	existed, err := s.Broker.DeleteTarget(ctx, c.who, id, keep)
	if err == nil && !existed {
		err = coded(ajar.NotFound, "", "there is no machine %s", id)
	}
	return nothing{}, err
}
