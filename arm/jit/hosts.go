package jit

import (
	"context"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/arm/rest"
	"github.com/ajar-access/ajar/broker"
)

func (s room) hostRoutes() []rest.Route {
	return []rest.Route{
		rest.Get("/ajar/v1/hosts", rest.Ours, rest.Op(200, s.listHosts), "Lists hosts: machines with an agent.", ajar.HostRead, "scope", "$top"),
		rest.Delete("/ajar/v1/hosts", rest.Ours, rest.Op(204, s.removeHost), "Removes a host: revokes its identity and cuts it off at once.", ajar.HostDelete, "target", "lift"),
		rest.Post("/ajar/v1/hosts/join-token", rest.Ours, rest.Op(201, s.joinToken), "Makes a single-use token with which one machine's agent may join.", ajar.HostWrite),
		rest.Post("/ajar/v1/hosts/confirm", rest.Ours, rest.Op(200, s.confirmGuard), "Confirms a guard that would be rolled back otherwise.", ajar.GuardConfirm),
		rest.Post("/ajar/v1/hosts/in-force", rest.Ours, rest.Op(200, s.inForce), "Says whether machines' firewalls were seen to have what they are to guard; with wait it holds until there is news.", ajar.MachineRead, "wait"),
		rest.Post("/ajar/v1/hosts/release-guard", rest.Ours, rest.Op(204, s.releaseGuard), "Releases a guard that was kept after its policy was gone.", ajar.GuardRelease),
	}
}

type hostBody struct {
	ID                 ajar.EndpointID `json:"id"`
	Target             ajar.ID         `json:"target"`
	Provider           string          `json:"provider,omitempty"`
	Connected          bool            `json:"connected"`
	Since              *time.Time      `json:"since,omitempty"`
	LastSeen           *time.Time      `json:"lastSeen,omitempty"`
	Trouble            string          `json:"trouble,omitempty"`
	SkewMS             int64           `json:"skewMs,omitempty"`
	Version            string          `json:"version,omitempty"`
	Kernel             string          `json:"kernel,omitempty"`
	OwnTable           string          `json:"ownTable,omitempty"`
	CertificateExpires *time.Time      `json:"certificateExpires,omitempty"`
	Guards             []guardBody     `json:"guards,omitempty"`
	GuardsPending      bool            `json:"guardsPending,omitempty"` // the firewall was not yet seen to have them so
	Refused            []refusalBody   `json:"refused,omitempty"`
}

type guardBody struct {
	Number    uint16        `json:"number"`
	Protocol  ajar.Protocol `json:"protocol"`
	Policies  []ajar.ID     `json:"policies,omitempty"`
	Kept      bool          `json:"kept,omitempty"`
	ConfirmBy *time.Time    `json:"confirmBy,omitempty"`
	Since     *time.Time    `json:"since,omitempty"`
}

type joinIn struct {
	Target    rest.Text `json:"target" openapi:"needed"`
	Location  rest.Text `json:"location"`
	OS        rest.Text `json:"os"`
	Addresses []string  `json:"addresses"`
	Replace   bool      `json:"replace"`
}

type joinBody struct {
	Token   string    `json:"token"`
	Expires time.Time `json:"expires"`
	Command string    `json:"command,omitempty"`
}

type hostIn struct {
	Target   rest.Text `json:"target" openapi:"needed"`
	Port     rest.Int  `json:"port"`
	Protocol rest.Text `json:"protocol"`
}

func (s room) listHosts(ctx context.Context, c *rest.Call, _ rest.Nothing) (l rest.List[hostBody], err error) {
	page, err := c.Page(rest.EntriesAPage)
	if err != nil {
		return l, err
	}
	scope, err := c.ScopeParam("scope", ajar.Root)
	if err != nil {
		return l, err
	}
	all, next, err := s.Broker.Hosts(ctx, c.Who, scope, page)
	if err != nil {
		return l, err
	}
	return rest.Each(c, all, next, showHost), nil
}

func showHost(h *broker.Host) hostBody {
	ep, st := h.Endpoint, h.Endpoint.Status
	b := hostBody{
		ID: ep.ID, Target: ep.Target, Provider: ep.Provider, Connected: ep.Connected, Since: rest.When(ep.Since),
		LastSeen: rest.When(ep.LastSeen), Trouble: ep.Trouble, SkewMS: ep.SkewMS,
		Version: st.Version, Kernel: st.Kernel, OwnTable: st.OwnTable,
		Guards: showGuards(ep.Guards), GuardsPending: ep.GuardsPending(), Refused: showHostState(ep).Refused,
	}
	if h.Identity != nil {
		b.CertificateExpires = rest.When(h.Identity.Expires)
	}
	return b
}

func showGuards(gs []ajar.EndpointGuard) (all []guardBody) {
	for _, g := range gs {
		all = append(all, guardBody{
			Number: g.Port.Number, Protocol: g.Port.Protocol, Policies: g.Policies, Kept: g.Kept,
			ConfirmBy: rest.When(g.ConfirmBy), Since: rest.When(g.Since),
		})
	}
	return all
}

func (s room) removeHost(ctx context.Context, c *rest.Call, _ rest.Nothing) (rest.Nothing, error) {
	id, err := targetID(c, "target")
	if err != nil {
		return rest.Nothing{}, err
	}
	lift, err := c.Flag("lift")
	if err != nil {
		return rest.Nothing{}, err
	}
	return rest.Nothing{}, s.Broker.RemoveHost(ctx, c.Who, id, lift)
}

func (s room) joinToken(ctx context.Context, c *rest.Call, in joinIn) (*joinBody, error) {
	id, err := rest.MachineID(string(in.Target), "target")
	if err != nil {
		return nil, err
	}
	t := ajar.Target{ID: id, Location: string(in.Location), OS: string(in.OS), Source: "person"}
	token, doc, err := s.Broker.CreateJoinToken(ctx, c.Who, t, in.Replace)
	if err != nil {
		return nil, err
	}
	return &joinBody{Token: token, Expires: doc.Expires.UTC(), Command: s.JoinCommand}, nil
}

func (s room) confirmGuard(ctx context.Context, c *rest.Call, in hostIn) (rest.List[guardBody], error) {
	id, err := rest.MachineID(string(in.Target), "target")
	if err != nil {
		return rest.List[guardBody]{}, err
	}
	confirmed, err := s.Broker.ConfirmGuard(ctx, c.Who, id)
	if err != nil {
		return rest.List[guardBody]{}, err
	}
	return rest.List[guardBody]{Value: append([]guardBody{}, showGuards(confirmed)...)}, nil
}

func (s room) releaseGuard(ctx context.Context, c *rest.Call, in hostIn) (rest.Nothing, error) {
	id, err := rest.MachineID(string(in.Target), "target")
	if err != nil {
		return rest.Nothing{}, err
	}
	f := ajar.Flow{Port: ajar.Port{Protocol: ajar.Protocol(strings.ToUpper(string(in.Protocol)))}}
	if !in.Port.Given || in.Port.N < 1 || in.Port.N > 65535 {
		return rest.Nothing{}, rest.Bad("port is required: a number between 1 and 65535")
	}
	f.Port.Number = uint16(in.Port.N)
	if in.Protocol != "" {
		if f.Port.Protocol, err = ajar.ParseProtocol(string(in.Protocol)); err != nil {
			return rest.Nothing{}, err
		}
	}
	return rest.Nothing{}, s.Broker.ReleaseGuard(ctx, c.Who, id, f)
}
