package jit

import (
	"context"
	"net/netip"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/arm/rest"
	"github.com/ajar-access/ajar/broker"
)

func (s room) leaseRoutes() []rest.Route {
	return []rest.Route{
		rest.Get("/ajar/v1/leases", rest.Ours, rest.Op(200, s.listLeases), "Lists leases. Since and before take those that let anybody in between the two; $expand=request adds why they were asked for, from where, and who approved.", ajar.RequestRead, "scope", "live", "mine", "since", "before", "$expand", "$top"),
		rest.Get("/ajar/v1/leases/{id}", rest.Ours, rest.Op(200, s.getLease), "Shows a lease.", ajar.RequestRead),
		rest.Post("/ajar/v1/leases/{id}/close", rest.Ours, rest.Op(200, s.closeLease), "Closes a lease before its end.", ajar.RequestRevoke),
		rest.Post("/ajar/v1/leases/{id}/extend", rest.Ours, rest.Op(200, s.extendLease), "Extends a lease without a gap.", ajar.RequestExtend),
	}
}

// leaseBody is a lease with all that is known of it: where it stands, why not further, and what its host says.
type leaseBody struct {
	ID          ajar.LeaseID     `json:"id"`
	Request     ajar.RequestID   `json:"request"`
	Policy      ajar.ID          `json:"policy"`
	Target      ajar.ID          `json:"target"`
	Endpoint    ajar.EndpointID  `json:"endpoint,omitempty"`
	Number      uint16           `json:"number"`
	Protocol    ajar.Protocol    `json:"protocol"`
	Sources     []string         `json:"sources"`
	Requester   ajar.PrincipalID `json:"requester"`
	Name        string           `json:"name"`
	Start       *time.Time       `json:"start,omitempty"`
	End         time.Time        `json:"end"`
	MaxDuration string           `json:"maxDuration,omitempty"`
	Mode        ajar.EndMode     `json:"mode,omitempty"`
	HardStop    *time.Time       `json:"hardStop,omitempty"`
	State       ajar.LeaseState  `json:"state"`
	Reason      ajar.Reason      `json:"reason,omitempty"`
	Opened      *time.Time       `json:"opened,omitempty"`
	KernelEnd   *time.Time       `json:"kernelEnd,omitempty"`
	Closed      *time.Time       `json:"closed,omitempty"`
	Unverified  bool             `json:"unverified,omitempty"`
	Trouble     string           `json:"trouble,omitempty"`

	// Live sessions went on after the end, as the mode lets them.
	Outlived *outlivedBody `json:"outlived,omitempty"`

	// The firewall may hold the rule that long although it should be gone.
	MayBeOpenUntil *time.Time `json:"mayBeOpenUntil,omitempty"`

	// Of the request, with $expand=request.
	Justification string         `json:"justification,omitempty"`
	From          netip.Addr     `json:"from,omitzero"` // where it was asked from
	Approvals     []approvalBody `json:"approvals,omitempty"`

	// Of the host, where one lease or one request is read by somebody who may read the host.
	Connected *bool         `json:"connected,omitempty"`
	Since     *time.Time    `json:"since,omitempty"`
	Refused   []refusalBody `json:"refused,omitempty"` // sources lately turned away from this port
}

// outlivedBody is the sessions that outlived a lease, as its host saw them.
type outlivedBody struct {
	Live  int        `json:"live"`     // that may go on now
	Seen  int        `json:"sessions"` // when the host first looked
	Peers []peerBody `json:"peers"`    // some of them
	At    time.Time  `json:"at"`
	Over  *time.Time `json:"over,omitempty"`
}

type peerBody struct {
	Address string     `json:"address"`
	Since   *time.Time `json:"since,omitempty"`
}

func showOutlived(l *ajar.Lease, now time.Time) *outlivedBody {
	o := l.Outlived
	if o == nil {
		return nil
	}
	b := &outlivedBody{Live: l.LiveOn(now), Seen: o.Sessions, Peers: make([]peerBody, 0, len(o.Peers)), At: o.At, Over: rest.When(o.Over)}
	for _, p := range o.Peers {
		b.Peers = append(b.Peers, peerBody{p.Addr.String(), rest.When(p.Since)})
	}
	return b
}

func showLease(l *ajar.Lease, now time.Time) leaseBody {
	b := leaseBody{
		ID: l.ID, Request: l.Request, Policy: l.Policy, Target: l.Target, Endpoint: l.Endpoint,
		Number: l.Flow.Port.Number, Protocol: l.Flow.Port.Protocol, Sources: prefixTexts(l.Sources),
		Requester: l.Requester, Name: l.Name, Start: rest.When(l.Start), End: l.End.UTC(), Mode: l.Mode,
		State: l.Now(now), Reason: l.Reason, Opened: rest.When(l.Opened), KernelEnd: rest.When(l.KernelEnd), Closed: rest.When(l.Closed),
		Unverified: l.Unverified, Trouble: l.Trouble, MayBeOpenUntil: rest.When(l.MayBeOpenUntil(now)),
		Outlived: showOutlived(l, now),
	}
	if l.Max > 0 {
		b.MaxDuration = ajar.FormatDuration(l.Max)
	}
	if stop := l.HardStop(); stop.After(l.End) {
		b.HardStop = rest.When(stop)
	}
	if b.State == ajar.Closing && b.Reason == "" {
		b.Reason = ajar.Expired
	}
	return b
}

// addHosts adds to leases what their hosts were last seen like, so that who waits learns why nothing opens and which
// address the host saw instead of theirs. Who may not read hosts goes without.
func (s room) addHosts(ctx context.Context, c *rest.Call, leases []leaseBody) {
	hosts := map[string]*ajar.Endpoint{}
	for i := range leases {
		b := &leases[i]
		if b.State == ajar.Closed {
			continue
		}
		if _, ok := hosts[b.Target.Key()]; !ok {
			hosts[b.Target.Key()] = nil
			if list, _, err := s.Broker.Hosts(ctx, c.Who, b.Target, broker.Page{Limit: 1}); err == nil && len(list) == 1 {
				hosts[b.Target.Key()] = list[0].Endpoint
			}
		}
		ep := hosts[b.Target.Key()]
		if ep == nil || ep.ID != b.Endpoint {
			continue
		}
		b.Connected, b.Since = &ep.Connected, rest.When(ep.Since)
		for _, r := range ep.Status.Refused {
			if r.Port.Number == b.Number {
				b.Refused = append(b.Refused, showRefusal(r))
			}
		}
	}
}

func (s room) listLeases(ctx context.Context, c *rest.Call, _ rest.Nothing) (l rest.List[leaseBody], err error) {
	var f broker.LeaseFilter
	if f.Page, err = c.Page(rest.EntriesAPage); err != nil {
		return l, err
	}
	if f.Scope, err = c.ScopeParam("scope", ""); err != nil {
		return l, err
	}
	if f.Live, err = c.Flag("live"); err != nil {
		return l, err
	}
	mine, err := c.Flag("mine")
	if err != nil {
		return l, err
	}
	if mine {
		f.Requester = c.Who.Principal
	}
	if err := c.Times(map[string]*time.Time{"since": &f.Since, "before": &f.Before}); err != nil {
		return l, err
	}
	all, next, err := s.Broker.Leases(ctx, c.Who, f)
	if err != nil {
		return l, err
	}
	now := s.Clock()
	l = rest.Each(c, all, next, func(x *ajar.Lease) leaseBody { return showLease(x, now) })
	if strings.EqualFold(c.Param("$expand"), "request") {
		err = s.addRequests(ctx, c, l.Value)
	}
	return l, err
}

// addRequests adds to leases why they were asked for, and who approved. Who may not read a request goes without.
func (s room) addRequests(ctx context.Context, c *rest.Call, leases []leaseBody) error {
	ids := make([]ajar.RequestID, 0, len(leases))
	for _, b := range leases {
		ids = append(ids, b.Request)
	}
	found, err := s.Broker.RequestsByID(ctx, c.Who, ids)
	if err != nil {
		return err
	}
	now := s.Clock()
	for i := range leases {
		b := &leases[i]
		if r := found[b.Request]; r != nil {
			shown := showOutcome(&broker.Outcome{Request: r}, now)
			b.Justification, b.From, b.Approvals = shown.Justification, shown.From, shown.Approvals
		}
	}
	return nil
}

func (s room) getLease(ctx context.Context, c *rest.Call, _ rest.Nothing) (*leaseBody, error) {
	l, err := s.Broker.Lease(ctx, c.Who, ajar.LeaseID(c.Value("id")))
	if err != nil {
		return nil, err
	}
	b := []leaseBody{showLease(l, s.Clock())}
	s.addHosts(ctx, c, b)
	return &b[0], nil
}

func (s room) closeLease(ctx context.Context, c *rest.Call, in reasonIn) (*leaseBody, error) {
	return s.showLeaseVerb(s.Broker.CloseLease(ctx, c.Who, ajar.LeaseID(c.Value("id")), string(in.Reason)))
}

func (s room) extendLease(ctx context.Context, c *rest.Call, in extendIn) (*leaseBody, error) {
	to, err := in.extension()
	if err != nil {
		return nil, err
	}
	return s.showLeaseVerb(s.Broker.ExtendLease(ctx, c.Who, ajar.LeaseID(c.Value("id")), to))
}

func (s room) showLeaseVerb(l *ajar.Lease, err error) (*leaseBody, error) {
	if err != nil {
		return nil, err
	}
	s.Changed(l.Request)
	b := showLease(l, s.Clock())
	return &b, nil
}
