package arm

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/broker"
)

// A request stands below its policy, and under its id alone.
func (s *Server) requestRoutes() []route {
	const below = "/subscriptions/{s}/resourcegroups/{g}/providers/microsoft.security/locations/{l}/jitnetworkaccesspolicies/{n}/requests"
	var all []route
	for _, at := range []struct {
		path  string
		kind  kind
		query []string
	}{{below, azure, []string{"state", "mine", "$top"}}, {"/ajar/v1/requests", ours, []string{"scope", "state", "mine", "$top"}}} {
		all = append(all,
			Get(at.path, at.kind, op(200, s.listRequests), "Lists requests.", ajar.RequestRead, at.query...),
			Get(at.path+"/{id}", at.kind, op(200, s.getRequest), "Shows a request; with wait it holds until that is so.", ajar.RequestRead, "wait", "timeout"),
			Post(at.path+"/{id}/approve", at.kind, op(200, s.settle(s.Broker.Approve)), "Approves a request.", ajar.RequestApprove),
			Post(at.path+"/{id}/deny", at.kind, op(200, s.settle(s.Broker.Deny)), "Denies a request.", ajar.RequestDeny),
			Post(at.path+"/{id}/withdraw", at.kind, op(200, s.settle(s.Broker.Withdraw)), "Withdraws a request of one's own.", ajar.PolicyInitiate),
			Post(at.path+"/{id}/revoke", at.kind, op(200, s.settle(s.Broker.Revoke)), "Ends what a request opened.", ajar.RequestRevoke),
			Post(at.path+"/{id}/extend", at.kind, op(200, s.extendRequest), "Extends what a request opened, without a gap.", ajar.RequestExtend),
		)
	}
	return all
}

// outcomeBody is a request with everything that is known of it.
type outcomeBody struct {
	ID            ajar.RequestID    `json:"id"`
	Policy        ajar.ID           `json:"policy"`
	State         ajar.RequestState `json:"state"`
	Requester     ajar.PrincipalID  `json:"requester"`
	Name          string            `json:"name"`
	From          netip.Addr        `json:"from,omitzero"`
	Justification string            `json:"justification,omitempty"`
	Created       *time.Time        `json:"created,omitempty"`
	Decided       *time.Time        `json:"decided,omitempty"`
	Deadline      *time.Time        `json:"deadline,omitempty"`
	Needs         int               `json:"needs,omitempty"`
	Approvals     []approvalBody    `json:"approvals,omitempty"`
	Asks          []askBody         `json:"asks"`
	Leases        []leaseBody       `json:"leases"`
	Warnings      []string          `json:"warnings,omitempty"`
}

type approvalBody struct {
	By     ajar.PrincipalID `json:"by"`
	Name   string           `json:"name,omitempty"`
	Yes    bool             `json:"yes"`
	Reason string           `json:"reason,omitempty"`
	At     time.Time        `json:"at"`
}

type askBody struct {
	Target   ajar.ID       `json:"target"`
	Number   uint16        `json:"number"`
	Protocol ajar.Protocol `json:"protocol,omitempty"`
	Sources  []string      `json:"sources,omitempty"`
	End      *time.Time    `json:"endTimeUtc,omitempty"`
	Duration string        `json:"duration,omitempty"`
}

// reasonIn is what goes with a yes, a no or an early close.
type reasonIn struct {
	Reason wireText `json:"reason"`
}

// extendIn moves an end.
type extendIn struct {
	End      wireTime     `json:"endTimeUtc"`
	Duration wireDuration `json:"duration"`
}

func (in *extendIn) extension() (e broker.Extension, err error) {
	switch {
	case !in.End.IsZero() && in.Duration.set():
		return e, bad("give endTimeUtc or duration, not both")
	case in.End.IsZero() && in.Duration.Duration <= 0:
		return e, bad("endTimeUtc is required (or duration, such as PT30M, longer than zero)")
	}
	return broker.Extension{Until: in.End.Time, By: in.Duration.Duration}, nil
}

func (s *Server) listRequests(ctx context.Context, c *call, _ nothing) (l list[outcomeBody], err error) {
	f, err := s.requestFilter(c)
	if err != nil {
		return l, err
	}
	all, next, err := s.Broker.Requests(ctx, c.who, f)
	if err != nil {
		return l, err
	}
	now := s.Clock()
	return each(c, all, next, func(o *broker.Outcome) outcomeBody { return showOutcome(o, now) }), nil
}

func (s *Server) requestFilter(c *call) (f broker.RequestFilter, err error) {
	if f.Page, err = c.page(entriesAPage); err != nil {
		return f, err
	}
	if c.value("s") != "" {
		f.Policy, err = c.policyAt()
	} else {
		f.Policy, err = c.scope("scope", "")
	}
	if err != nil {
		return f, err
	}
	if st := c.param("state"); st != "" {
		f.State = ajar.RequestState(st)
		if !slices.Contains(ajar.RequestStates, f.State) {
			return f, coded(ajar.Invalid, "InvalidParameter", "query parameter state is %.20q; it can be one of %v", st, ajar.RequestStates)
		}
	}
	mine, err := c.flag("mine")
	if mine {
		f.Requester = c.who.Principal
	}
	return f, err
}

// requestID is the request that the path names. Below a policy it must be that policy's.
func (s *Server) requestID(ctx context.Context, c *call) (ajar.RequestID, error) {
	id := ajar.RequestID(c.value("id"))
	if len(id) > 100 {
		return "", coded(ajar.NotFound, "", "there is no request %.100q", id)
	}
	if c.value("s") == "" {
		return id, nil
	}
	policy, err := c.policyAt()
	if err != nil {
		return "", err
	}
	o, err := s.Broker.Request(ctx, c.who, id)
	if err != nil {
		return "", err
	}
	if !o.Request.Policy.Equal(policy) {
		return "", coded(ajar.NotFound, "", "policy %s has no request %.100q", policy.Name(), id)
	}
	return id, nil
}

func (s *Server) getRequest(ctx context.Context, c *call, _ nothing) (*outcomeBody, error) {
	id, err := s.requestID(ctx, c)
	if err != nil {
		return nil, err
	}
	o, err := s.wait(ctx, c, id)
	if err != nil {
		return nil, err
	}
	b := showOutcome(o, s.Clock())
	s.addHosts(ctx, c, b.Leases)
	return &b, nil
}

// settle makes a handler of a verb that takes a request and a reason.
func (s *Server) settle(verb func(context.Context, ajar.Caller, ajar.RequestID, string) (*broker.Outcome, error)) func(context.Context, *call, reasonIn) (*outcomeBody, error) {
	return func(ctx context.Context, c *call, in reasonIn) (*outcomeBody, error) {
		id, err := s.requestID(ctx, c)
		if err != nil {
			return nil, err
		}
		return s.showVerb(verb(ctx, c.who, id, string(in.Reason)))
	}
}

func (s *Server) extendRequest(ctx context.Context, c *call, in extendIn) (*outcomeBody, error) {
	id, err := s.requestID(ctx, c)
	if err != nil {
		return nil, err
	}
	to, err := in.extension()
	if err != nil {
		return nil, err
	}
	return s.showVerb(s.Broker.Extend(ctx, c.who, id, to))
}

func (s *Server) showVerb(o *broker.Outcome, err error) (*outcomeBody, error) {
	if err != nil {
		return nil, err
	}
	s.Changed(o.Request.ID)
	b := showOutcome(o, s.Clock())
	return &b, nil
}

func showOutcome(o *broker.Outcome, now time.Time) outcomeBody {
	r := o.Request
	b := outcomeBody{
		ID: r.ID, Policy: r.Policy, State: r.Now(now), Requester: r.Requester, Name: r.Name, From: r.From,
		Justification: r.Justification, Created: rfc(r.Created), Decided: rfc(r.Decided), Needs: r.Needs,
		Asks: make([]askBody, 0, len(r.Asks)), Leases: make([]leaseBody, 0, len(o.Leases)), Warnings: r.Warnings,
	}
	if r.State == ajar.Pending {
		b.Deadline = rfc(r.Deadline)
	}
	for _, a := range r.Approvals {
		b.Approvals = append(b.Approvals, approvalBody{a.By, a.Name, a.Yes, a.Reason, a.At})
	}
	for i := range r.Asks {
		a := &r.Asks[i]
		ab := askBody{Target: a.Target, Number: a.Port.Number, Protocol: a.Port.Protocol, Sources: sourceTexts(a), End: rfc(a.End)}
		if a.Duration > 0 {
			ab.Duration = ajar.FormatDuration(a.Duration)
		}
		b.Asks = append(b.Asks, ab)
	}
	for _, l := range o.Leases {
		b.Leases = append(b.Leases, showLease(l, now))
	}
	return b
}
