package jit

import (
	"context"
	"net/netip"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/arm/rest"
	"github.com/ajar-access/ajar/broker"
)

// whatIfBody is what putting a policy would change.
type whatIfBody struct {
	Guard  []changeBody `json:"guard"`  // would be closed unless leased
	Lift   []changeBody `json:"lift"`   // would be open to everybody again
	Keep   []changeBody `json:"keep"`   // would stay closed though no policy names them
	Leases []leaseBody  `json:"leases"` // would end
	Impact []impactBody `json:"impact"` // who is connected to what would be guarded
	// In what time a new guard must be confirmed where the PUT does not say, or is rolled back; those connected are spared
	// until then.
	ConfirmWithin string `json:"confirmWithin,omitempty"`
}

type changeBody struct {
	Target   ajar.ID       `json:"target"`
	Number   uint16        `json:"number"`
	Protocol ajar.Protocol `json:"protocol"`
}

type impactBody struct {
	Target      ajar.ID          `json:"target"`
	Listening   []listenerBody   `json:"listening,omitempty"`
	Connections []connectionBody `json:"connections,omitempty"`
	Unknown     string           `json:"unknown,omitempty"` // why nobody can tell
}

type listenerBody struct {
	Number   uint16        `json:"number"`
	Protocol ajar.Protocol `json:"protocol"`
	Address  netip.Addr    `json:"address"`
	Process  string        `json:"process,omitempty"`
}

type connectionBody struct {
	Number   uint16         `json:"number"`
	Protocol ajar.Protocol  `json:"protocol"`
	Local    netip.AddrPort `json:"local"`
	Remote   netip.AddrPort `json:"remote"`
}

// whatIf takes a policy as PUT does, with its id in the body, and changes nothing.
func (s room) whatIf(ctx context.Context, c *rest.Call, in policyIn) (*whatIfBody, error) {
	if in.ID == "" {
		return nil, rest.Bad("id is required: the policy that would be put")
	}
	id, err := ajar.ParseID(string(in.ID))
	if err != nil {
		return nil, rest.Bad("id: %s", ajar.Message(err))
	}
	p, err := in.policy(id)
	if err != nil {
		return nil, err
	}
	impact, err := s.Broker.PolicyImpact(ctx, c.Who, p)
	if err != nil {
		return nil, err
	}
	b := &whatIfBody{Guard: showChanges(impact.Guard), Lift: showChanges(impact.Lift), Keep: showChanges(impact.Keep), Leases: []leaseBody{}, Impact: []impactBody{}}
	if impact.ConfirmWithin > 0 {
		b.ConfirmWithin = ajar.FormatDuration(impact.ConfirmWithin)
	}
	now := s.Clock()
	for _, l := range impact.Leases {
		b.Leases = append(b.Leases, showLease(l, now))
	}
	for _, t := range impact.Targets {
		b.Impact = append(b.Impact, showImpact(t))
	}
	return b, nil
}

func showChanges(all []broker.GuardChange) []changeBody {
	list := make([]changeBody, 0, len(all))
	for _, g := range all {
		list = append(list, changeBody{g.Target, g.Flow.Port.Number, g.Flow.Port.Protocol})
	}
	return list
}

func showImpact(t broker.TargetImpact) impactBody {
	b := impactBody{Target: t.Target, Unknown: t.Trouble}
	for _, l := range t.Impact.Listening {
		b.Listening = append(b.Listening, listenerBody{l.Port.Number, l.Port.Protocol, l.Address, l.Process})
	}
	for _, n := range t.Impact.Connections {
		b.Connections = append(b.Connections, connectionBody{n.Port.Number, n.Port.Protocol, n.Local, n.Remote})
	}
	return b
}
