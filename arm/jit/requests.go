package jit

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/arm/rest"
	"github.com/ajar-access/ajar/broker"
)

// A request stands below its policy, and under its id alone.
func (s room) requestRoutes() []rest.Route {
	const below = "/subscriptions/{s}/resourcegroups/{g}/providers/microsoft.security/locations/{l}/jitnetworkaccesspolicies/{n}/requests"
	var all []rest.Route
	for _, at := range []struct {
		path  string
		kind  rest.Kind
		query []string
	}{{below, rest.Azure, []string{"state", "mine", "$top"}}, {"/ajar/v1/requests", rest.Ours, []string{"scope", "state", "mine", "$top"}}} {
		all = append(all,
			rest.Get(at.path, at.kind, rest.Op(200, s.listRequests), "Lists requests.", ajar.RequestRead, at.query...),
			rest.Get(at.path+"/{id}", at.kind, rest.Op(200, s.getRequest), "Shows a request; with wait it holds until that is so.", ajar.RequestRead, "wait", "timeout"),
			rest.Post(at.path+"/{id}/approve", at.kind, rest.Op(200, s.settle(s.Broker.Approve)), "Approves a request.", ajar.RequestApprove),
			rest.Post(at.path+"/{id}/deny", at.kind, rest.Op(200, s.settle(s.Broker.Deny)), "Denies a request.", ajar.RequestDeny),
			rest.Post(at.path+"/{id}/withdraw", at.kind, rest.Op(200, s.settle(s.Broker.Withdraw)), "Withdraws a request of one's own.", ajar.PolicyInitiate),
			rest.Post(at.path+"/{id}/revoke", at.kind, rest.Op(200, s.settle(s.Broker.Revoke)), "Ends what a request opened.", ajar.RequestRevoke),
			rest.Post(at.path+"/{id}/extend", at.kind, rest.Op(200, s.extendRequest), "Extends what a request opened, without a gap.", ajar.RequestExtend),
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
	Reason rest.Text `json:"reason"`
}

// extendIn moves an end.
type extendIn struct {
	End      rest.Time     `json:"endTimeUtc"`
	Duration rest.Duration `json:"duration"`
}

func (in *extendIn) extension() (e broker.Extension, err error) {
	switch {
	case !in.End.IsZero() && in.Duration.Given():
		return e, rest.Bad("give endTimeUtc or duration, not both")
	case in.End.IsZero() && in.Duration.Duration <= 0:
		return e, rest.Bad("endTimeUtc is required (or duration, such as PT30M, longer than zero)")
	}
	return broker.Extension{Until: in.End.Time, By: in.Duration.Duration}, nil
}

func (s room) listRequests(ctx context.Context, c *rest.Call, _ rest.Nothing) (l rest.List[outcomeBody], err error) {
	f, err := s.requestFilter(c)
	if err != nil {
		return l, err
	}
	all, next, err := s.Broker.Requests(ctx, c.Who, f)
	if err != nil {
		return l, err
	}
	now := s.Clock()
	return rest.Each(c, all, next, func(o *broker.Outcome) outcomeBody { return showOutcome(o, now) }), nil
}

func (s room) requestFilter(c *rest.Call) (f broker.RequestFilter, err error) {
	if f.Page, err = c.Page(rest.EntriesAPage); err != nil {
		return f, err
	}
	if c.Value("s") != "" {
		f.Policy, err = policyAt(c)
	} else {
		f.Policy, err = c.ScopeParam("scope", "")
	}
	if err != nil {
		return f, err
	}
	if st := c.Param("state"); st != "" {
		f.State = ajar.RequestState(st)
		if !slices.Contains(ajar.RequestStates, f.State) {
			return f, rest.Coded(ajar.Invalid, "InvalidParameter", "query parameter state is %.20q; it can be one of %v", st, ajar.RequestStates)
		}
	}
	mine, err := c.Flag("mine")
	if mine {
		f.Requester = c.Who.Principal
	}
	return f, err
}

// requestID is the request that the path names. Below a policy it must be that policy's.
func (s room) requestID(ctx context.Context, c *rest.Call) (ajar.RequestID, error) {
	id := ajar.RequestID(c.Value("id"))
	if len(id) > 100 {
		return "", rest.Coded(ajar.NotFound, "", "there is no request %.100q", id)
	}
	if c.Value("s") == "" {
		return id, nil
	}
	policy, err := policyAt(c)
	if err != nil {
		return "", err
	}
	o, err := s.Broker.Request(ctx, c.Who, id)
	if err != nil {
		return "", err
	}
	if !o.Request.Policy.Equal(policy) {
		return "", rest.Coded(ajar.NotFound, "", "policy %s has no request %.100q", policy.Name(), id)
	}
	return id, nil
}

func (s room) getRequest(ctx context.Context, c *rest.Call, _ rest.Nothing) (*outcomeBody, error) {
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
func (s room) settle(verb func(context.Context, ajar.Caller, ajar.RequestID, string) (*broker.Outcome, error)) func(context.Context, *rest.Call, reasonIn) (*outcomeBody, error) {
	return func(ctx context.Context, c *rest.Call, in reasonIn) (*outcomeBody, error) {
		id, err := s.requestID(ctx, c)
		if err != nil {
			return nil, err
		}
		return s.showVerb(verb(ctx, c.Who, id, string(in.Reason)))
	}
}

func (s room) extendRequest(ctx context.Context, c *rest.Call, in extendIn) (*outcomeBody, error) {
	id, err := s.requestID(ctx, c)
	if err != nil {
		return nil, err
	}
	to, err := in.extension()
	if err != nil {
		return nil, err
	}
	return s.showVerb(s.Broker.Extend(ctx, c.Who, id, to))
}

func (s room) showVerb(o *broker.Outcome, err error) (*outcomeBody, error) {
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
		Justification: r.Justification, Created: rest.When(r.Created), Decided: rest.When(r.Decided), Needs: r.Needs,
		Asks: make([]askBody, 0, len(r.Asks)), Leases: make([]leaseBody, 0, len(o.Leases)), Warnings: r.Warnings,
	}
	if r.State == ajar.Pending {
		b.Deadline = rest.When(r.Deadline)
	}
	for _, a := range r.Approvals {
		b.Approvals = append(b.Approvals, approvalBody{a.By, a.Name, a.Yes, a.Reason, a.At})
	}
	for i := range r.Asks {
		a := &r.Asks[i]
		ab := askBody{Target: a.Target, Number: a.Port.Number, Protocol: a.Port.Protocol, Sources: sourceTexts(a), End: rest.When(a.End)}
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
