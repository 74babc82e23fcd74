package jit

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/arm/rest"
	"github.com/ajar-access/ajar/broker"
)

// initiateIn is what somebody asks for.
type initiateIn struct {
	VirtualMachines *[]askedMachine `json:"virtualMachines" openapi:"needed"`
	Justification   rest.Text       `json:"justification"`
}

type askedMachine struct {
	ID    rest.Text    `json:"id" openapi:"needed"`
	Ports *[]askedPort `json:"ports" openapi:"needed"`
}

// askedPort carries an end, or the duration that clients of the older api-version send.
type askedPort struct {
	Number   rest.Int      `json:"number" openapi:"needed"`
	Protocol rest.Text     `json:"protocol"` // beyond Azure: where a policy lists one number for TCP and for UDP
	Source   rest.Text     `json:"allowedSourceAddressPrefix"`
	Sources  []string      `json:"allowedSourceAddressPrefixes"`
	End      rest.Time     `json:"endTimeUtc"`
	Duration rest.Duration `json:"duration"`
	Mapped   rest.Int      `json:"mappedPort"`
}

// requestBody is a request as Azure writes it, in answers to initiate and in a policy's history.
type requestBody struct {
	VirtualMachines []requestedMachine `json:"virtualMachines"`
	StartTimeUtc    rest.Stamp         `json:"startTimeUtc"`
	Requestor       string             `json:"requestor"`
	Justification   string             `json:"justification,omitempty"`
}

type requestedMachine struct {
	ID    ajar.ID         `json:"id"`
	Ports []requestedPort `json:"ports"`
}

type requestedPort struct {
	Number       uint16     `json:"number"`
	Source       string     `json:"allowedSourceAddressPrefix,omitempty"`
	Sources      []string   `json:"allowedSourceAddressPrefixes,omitempty"`
	EndTimeUtc   rest.Stamp `json:"endTimeUtc"`
	Status       string     `json:"status"`
	StatusReason string     `json:"statusReason"`
	Mapped       uint16     `json:"mappedPort,omitempty"`
}

// initiated is the answer to initiate: Azure's request, and after it what Ajar's own clients need.
type initiated struct {
	requestBody
	ID       ajar.RequestID    `json:"id"`
	State    ajar.RequestState `json:"state"`
	Policy   ajar.ID           `json:"policy"`
	Needs    int               `json:"needs,omitempty"`
	Deadline *time.Time        `json:"deadline,omitempty"`
	Leases   []leaseBody       `json:"leases,omitempty"`
	Warnings []string          `json:"warnings,omitempty"`
}

func (s room) initiate(ctx context.Context, c *rest.Call, in initiateIn) (*initiated, error) {
	id, err := policyAt(c)
	if err != nil {
		return nil, err
	}
	r := ajar.Request{Policy: id, Justification: string(in.Justification)}
	if r.Asks, err = in.asks(); err != nil {
		return nil, err
	}
	done, err := s.Broker.Initiate(ctx, c.Who, r)
	if err != nil {
		return nil, err
	}
	return s.showInitiated(done), nil
}

func (s room) showInitiated(o *broker.Outcome) *initiated {
	r, now := o.Request, s.Clock()
	b := &initiated{
		requestBody: showRequest(o, now, true),
		ID:          r.ID, State: r.Now(now), Policy: r.Policy, Warnings: r.Warnings,
		Leases: make([]leaseBody, 0, len(o.Leases)),
	}
	if b.State == ajar.Pending {
		b.Needs, b.Deadline = r.Needs, rest.When(r.Deadline)
	}
	for _, l := range o.Leases {
		b.Leases = append(b.Leases, showLease(l, now))
	}
	return b
}

// asks translates a body into the lines of a request. What may be asked for is not looked at here.
func (in *initiateIn) asks() ([]ajar.Ask, error) {
	if in.VirtualMachines == nil || len(*in.VirtualMachines) == 0 {
		return nil, rest.Bad("virtualMachines is required: the machines and ports to open")
	}
	var asks []ajar.Ask
	for i, m := range *in.VirtualMachines {
		where := fmt.Sprintf("virtualMachines[%d]", i)
		target, err := rest.MachineID(string(m.ID), where)
		if err != nil {
			return nil, err
		}
		if m.Ports == nil || len(*m.Ports) == 0 {
			return nil, rest.Bad("%s.ports is required: the ports to open", where)
		}
		for j := range *m.Ports {
			a, err := (*m.Ports)[j].ask(fmt.Sprintf("%s.ports[%d]", where, j))
			if err != nil {
				return nil, err
			}
			a.Target = target
			asks = append(asks, a)
		}
	}
	return asks, nil
}

func (in *askedPort) ask(where string) (a ajar.Ask, err error) {
	if a.Port.Number, err = in.Number.Port(where); err != nil {
		return a, err
	}
	if in.Protocol != "" {
		if a.Port.Protocol, err = ajar.ParseProtocol(string(in.Protocol)); err != nil {
			return a, rest.Bad("%s.%s", where, ajar.Message(err))
		}
	}
	switch {
	case !in.End.IsZero() && in.Duration.Given():
		return a, rest.Bad("%s has both endTimeUtc and duration; give one of them", where)
	case !in.End.IsZero():
		a.End = in.End.Time
	case in.Duration.Duration > 0:
		a.Duration = in.Duration.Duration
	case in.Duration.Given():
		return a, rest.Bad("%s.duration is zero; it must be longer", where)
	default:
		return a, rest.Bad("%s.endTimeUtc is required (or duration, such as PT1H)", where)
	}
	texts := in.Sources
	if in.Source != "" {
		if len(texts) > 0 {
			return a, rest.Bad("%s has both allowedSourceAddressPrefix and allowedSourceAddressPrefixes; give one of them", where)
		}
		texts = []string{string(in.Source)}
	}
	if len(texts) > ajar.MaxSources {
		return a, rest.Bad("%s has %d sources; at most %d are taken", where, len(texts), ajar.MaxSources)
	}
	for _, text := range texts {
		ps, err := ajar.ParsePrefix(strings.TrimSpace(text))
		if err != nil {
			return a, rest.Bad("%s: %s", where, ajar.Message(err))
		}
		a.Sources = append(a.Sources, ps...)
	}
	a.Shown = strings.Join(texts, ",")
	if in.Mapped.N < 0 || in.Mapped.N > 65535 {
		return a, rest.Bad("%s.mappedPort is %d; it must be between 0 and 65535", where, in.Mapped.N)
	}
	a.Mapped = uint16(in.Mapped.N)
	return a, nil
}

// Azure's words for where a port of a request stands, and why.
const (
	statusInitiating = "Initiating"
	statusInitiated  = "Initiated"
	statusRevoked    = "Revoked"

	reasonUser    = "UserRequested"
	reasonExpired = "Expired"
	reasonNewer   = "NewerRequestInitiated"
)

// showRequest translates a request and its leases. fresh says that it was accepted by this very call, which Azure
// always answers with Initiating.
func showRequest(o *broker.Outcome, now time.Time, fresh bool) requestBody {
	r := o.Request
	start := r.Decided
	if start.IsZero() {
		start = r.Created
	}
	b := requestBody{StartTimeUtc: rest.Stamp(start), Requestor: r.Name, Justification: r.Justification}
	for i := range r.Asks {
		a := &r.Asks[i]
		if slices.ContainsFunc(r.Asks[:i], func(e ajar.Ask) bool { return sameLine(&e, a) }) {
			continue
		}
		p := showAsk(a, o, start, now)
		if fresh {
			p.Status, p.StatusReason = statusInitiating, reasonUser
		}
		if n := len(b.VirtualMachines); n > 0 && b.VirtualMachines[n-1].ID.Equal(a.Target) {
			b.VirtualMachines[n-1].Ports = append(b.VirtualMachines[n-1].Ports, p)
			continue
		}
		b.VirtualMachines = append(b.VirtualMachines, requestedMachine{ID: a.Target, Ports: []requestedPort{p}})
	}
	return b
}

// showAsk is one line: its status is that of all its leases, since a machine may sit behind several endpoints.
func showAsk(a *ajar.Ask, o *broker.Outcome, start, now time.Time) requestedPort {
	p := requestedPort{Number: a.Port.Number, EndTimeUtc: rest.Stamp(a.EndAt(start)), Mapped: a.Mapped}
	switch shown := sourceTexts(a); len(shown) {
	case 0:
	case 1:
		p.Source = shown[0]
	default:
		p.Sources = shown
	}
	p.Status, p.StatusReason = requestStatus(o.Request.Now(now))
	all, open := 0, 0
	for _, l := range o.Leases {
		if !answers(l, a) {
			continue
		}
		all++
		p.EndTimeUtc = rest.Stamp(l.End)
		switch l.Now(now) {
		case ajar.Open:
			open++
		case ajar.Closing, ajar.Closed:
			p.Status, p.StatusReason = statusRevoked, leaseReason(l)
		}
	}
	if all > 0 && open == all {
		p.Status = statusInitiated
	}
	return p
}

// sameLine reports whether a and b are one line to Azure, which has no protocol in a request: the broker made two of a
// port that the policy lists for TCP and for UDP.
func sameLine(a, b *ajar.Ask) bool {
	return a.Port.Number == b.Port.Number && a.Target.Equal(b.Target) && slices.Equal(a.Sources, b.Sources)
}

// answers reports whether l came of a, or of another protocol's half of it.
func answers(l *ajar.Lease, a *ajar.Ask) bool {
	return l.Flow.Port.Number == a.Port.Number && l.Target.Equal(a.Target) && slices.Equal(l.Sources, a.Sources)
}

// requestStatus is what Azure's clients see of a request that has no leases: it knows no approvals.
func requestStatus(st ajar.RequestState) (status, reason string) {
	switch st {
	case ajar.Denied, ajar.Withdrawn:
		return statusRevoked, reasonUser
	case ajar.Lapsed:
		return statusRevoked, reasonExpired
	}
	return statusInitiating, reasonUser
}

func leaseReason(l *ajar.Lease) string {
	if l.State == ajar.Opening || l.State == ajar.Open { // past its end, and nobody wrote it down yet
		return reasonExpired
	}
	switch l.Reason {
	case ajar.Superseded:
		return reasonNewer
	case ajar.Expired, ajar.ReasonFailed:
		return reasonExpired
	}
	return reasonUser
}

// sourceTexts are a's sources as they were asked for, or the requester's own address where they were left out.
func sourceTexts(a *ajar.Ask) []string {
	if a.Shown != "" {
		return strings.Split(a.Shown, ",")
	}
	return prefixTexts(a.Sources)
}

// prefixTexts writes single addresses without a length, and everything as *.
func prefixTexts(ps []netip.Prefix) []string {
	texts := make([]string, 0, len(ps))
	any4, any6 := false, false
	for _, p := range ps {
		any4 = any4 || (p.Bits() == 0 && p.Addr().Is4())
		any6 = any6 || (p.Bits() == 0 && p.Addr().Is6())
		if p.IsSingleIP() {
			texts = append(texts, p.Addr().String())
		} else {
			texts = append(texts, p.String())
		}
	}
	if any4 && any6 {
		return []string{"*"}
	}
	return texts
}
