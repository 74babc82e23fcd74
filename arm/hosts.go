package arm

import (
	"context"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/broker"
)

func (s *Server) hostRoutes() []route {
	return []route{
		Get("/ajar/v1/hosts", ours, op(200, s.listHosts), "Lists hosts: machines with an agent.", ajar.HostRead, "scope", "$top"),
		Delete("/ajar/v1/hosts", ours, op(204, s.removeHost), "Removes a host: revokes its identity and cuts it off at once.", ajar.HostDelete, "target", "lift"),
		Post("/ajar/v1/hosts/join-token", ours, op(201, s.joinToken), "Makes a single-use token with which one machine's agent may join.", ajar.HostWrite),
		Post("/ajar/v1/hosts/confirm", ours, op(200, s.confirmGuard), "Confirms a guard that would be rolled back otherwise.", ajar.GuardConfirm),
		Post("/ajar/v1/hosts/in-force", ours, op(200, s.inForce), "Says whether machines' firewalls were seen to have what they are to guard; with wait it holds until there is news.", ajar.MachineRead, "wait"),
		Post("/ajar/v1/hosts/release-guard", ours, op(204, s.releaseGuard), "Releases a guard that was kept after its policy was gone.", ajar.GuardRelease),
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
	Target    wireText `json:"target" openapi:"needed"`
	Location  wireText `json:"location"`
	OS        wireText `json:"os"`
	Addresses []string `json:"addresses"`
	Replace   bool     `json:"replace"`
}

type joinBody struct {
	Token   string    `json:"token"`
	Expires time.Time `json:"expires"`
	Command string    `json:"command,omitempty"`
}

type hostIn struct {
	Target   wireText `json:"target" openapi:"needed"`
	Port     wireInt  `json:"port"`
	Protocol wireText `json:"protocol"`
}

func (s *Server) listHosts(ctx context.Context, c *call, _ nothing) (l list[hostBody], err error) {
	page, err := c.page(entriesAPage)
	if err != nil {
		return l, err
	}
	scope, err := c.scope("scope", ajar.Root)
	if err != nil {
		return l, err
	}
	all, next, err := s.Broker.Hosts(ctx, c.who, scope, page)
	if err != nil {
		return l, err
	}
	return each(c, all, next, showHost), nil
}

func showHost(h *broker.Host) hostBody {
	ep, st := h.Endpoint, h.Endpoint.Status
	b := hostBody{
		ID: ep.ID, Target: ep.Target, Provider: ep.Provider, Connected: ep.Connected, Since: rfc(ep.Since),
		LastSeen: rfc(ep.LastSeen), Trouble: ep.Trouble, SkewMS: ep.SkewMS,
		Version: st.Version, Kernel: st.Kernel, OwnTable: st.OwnTable,
		Guards: showGuards(ep.Guards), GuardsPending: ep.GuardsPending(), Refused: showHostState(ep).Refused,
	}
	if h.Identity != nil {
		b.CertificateExpires = rfc(h.Identity.Expires)
	}
	return b
}

func showGuards(gs []ajar.EndpointGuard) (all []guardBody) {
	for _, g := range gs {
		all = append(all, guardBody{
			Number: g.Port.Number, Protocol: g.Port.Protocol, Policies: g.Policies, Kept: g.Kept,
			ConfirmBy: rfc(g.ConfirmBy), Since: rfc(g.Since),
		})
	}
	return all
}

func (s *Server) removeHost(ctx context.Context, c *call, _ nothing) (nothing, error) {
	id, err := c.targetID("target")
	if err != nil {
		return nothing{}, err
	}
	lift, err := c.flag("lift")
	if err != nil {
		return nothing{}, err
	}
	return nothing{}, s.Broker.RemoveHost(ctx, c.who, id, lift)
}

func (s *Server) joinToken(ctx context.Context, c *call, in joinIn) (*joinBody, error) {
	id, err := machineID(string(in.Target), "target")
	if err != nil {
		return nil, err
	}
	t := ajar.Target{ID: id, Location: string(in.Location), OS: string(in.OS), Source: "person"}
	token, doc, err := s.Broker.CreateJoinToken(ctx, c.who, t, in.Replace)
	if err != nil {
		return nil, err
	}
	return &joinBody{Token: token, Expires: doc.Expires.UTC(), Command: s.JoinCommand}, nil
}

func (s *Server) confirmGuard(ctx context.Context, c *call, in hostIn) (list[guardBody], error) {
	id, err := machineID(string(in.Target), "target")
	if err != nil {
		return list[guardBody]{}, err
	}
	confirmed, err := s.Broker.ConfirmGuard(ctx, c.who, id)
	if err != nil {
		return list[guardBody]{}, err
	}
	return list[guardBody]{Value: append([]guardBody{}, showGuards(confirmed)...)}, nil
}

func (s *Server) releaseGuard(ctx context.Context, c *call, in hostIn) (nothing, error) {
	id, err := machineID(string(in.Target), "target")
	if err != nil {
		return nothing{}, err
	}
	f := ajar.Flow{Port: ajar.Port{Protocol: ajar.Protocol(strings.ToUpper(string(in.Protocol)))}}
	if !in.Port.set || in.Port.n < 1 || in.Port.n > 65535 {
		return nothing{}, bad("port is required: a number between 1 and 65535")
	}
	f.Port.Number = uint16(in.Port.n)
	if in.Protocol != "" {
		if f.Port.Protocol, err = ajar.ParseProtocol(string(in.Protocol)); err != nil {
			return nothing{}, err
		}
	}
	return nothing{}, s.Broker.ReleaseGuard(ctx, c.who, id, f)
}
