package jit

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/arm/rest"
	"github.com/ajar-access/ajar/broker"
)

// policyBody is a policy as Azure writes it; members in its order.
type policyBody struct {
	Kind       string           `json:"kind,omitempty"`
	Properties policyProperties `json:"properties"`
	ID         ajar.ID          `json:"id"`
	Name       string           `json:"name"`
	Type       string           `json:"type"`
	Location   string           `json:"location"`
}

type policyProperties struct {
	VirtualMachines   []policyMachineBody `json:"virtualMachines"`
	Requests          []requestBody       `json:"requests"`
	ProvisioningState string              `json:"provisioningState"`
	AppendMode        bool                `json:"appendMode"`
	Unguard           ajar.Unguard        `json:"unguard,omitempty"`
	BreakGlass        ajar.Switch         `json:"breakGlass,omitempty"`
}

type policyMachineBody struct {
	ID              ajar.ID          `json:"id"`
	Ports           []policyPortBody `json:"ports"`
	PublicIPAddress string           `json:"publicIpAddress,omitempty"`
}

// portBody is what may be asked for on a port; what stands after the duration is Ajar's.
type policyPortBody struct {
	Number      uint16        `json:"number"`
	Protocol    ajar.Protocol `json:"protocol"`
	Source      string        `json:"allowedSourceAddressPrefix,omitempty"`
	Sources     []string      `json:"allowedSourceAddressPrefixes,omitempty"`
	MaxDuration string        `json:"maxRequestAccessDuration"`
	EndMode     ajar.EndMode  `json:"endMode,omitempty"`
	Drain       string        `json:"drainDuration,omitempty"`
	WidestV4    int           `json:"widestIPv4Prefix,omitempty"`
	WidestV6    int           `json:"widestIPv6Prefix,omitempty"`
	Approvals   int           `json:"approvals,omitempty"`
}

// policyIn is what a PUT brings. Read-only members are let pass unread.
type policyIn struct {
	ID         rest.Text `json:"id"` // what-if alone
	Kind       rest.Text `json:"kind"`
	Location   rest.Text `json:"location"`
	Properties *struct {
		VirtualMachines *[]policyMachineIn `json:"virtualMachines"`
		Unguard         rest.Text          `json:"unguard"`
		BreakGlass      rest.Text          `json:"breakGlass"`
	} `json:"properties" openapi:"needed"`
}

type policyMachineIn struct {
	ID              rest.Text       `json:"id" openapi:"needed"`
	Ports           *[]policyPortIn `json:"ports"`
	PublicIPAddress rest.Text       `json:"publicIpAddress"`
}

type policyPortIn struct {
	Number      rest.Int      `json:"number" openapi:"needed"`
	Protocol    *string       `json:"protocol"`
	Source      rest.Text     `json:"allowedSourceAddressPrefix"`
	Sources     []string      `json:"allowedSourceAddressPrefixes"`
	MaxDuration rest.Duration `json:"maxRequestAccessDuration"`
	EndMode     rest.Text     `json:"endMode"`
	Drain       rest.Duration `json:"drainDuration"`
	WidestV4    rest.Int      `json:"widestIPv4Prefix"`
	WidestV6    rest.Int      `json:"widestIPv6Prefix"`
	Approvals   rest.Int      `json:"approvals"`
}

func (s room) showPolicy(p *ajar.Policy, history []*broker.Outcome, state string) *policyBody {
	b := &policyBody{Kind: p.Kind, ID: p.ID, Name: p.ID.Name(), Type: ajar.PolicyType, Location: p.ID.Location()}
	b.Properties = policyProperties{
		VirtualMachines:   make([]policyMachineBody, 0, len(p.Machines)),
		Requests:          make([]requestBody, 0, len(history)),
		ProvisioningState: state,
		Unguard:           p.Unguard,
		BreakGlass:        p.BreakGlass,
	}
	for i := range p.Machines {
		m := &p.Machines[i]
		mb := policyMachineBody{ID: m.Target, Ports: make([]policyPortBody, 0, len(m.Ports)), PublicIPAddress: m.PublicIPAddress}
		for j := range m.Ports {
			mb.Ports = append(mb.Ports, showPort(&m.Ports[j]))
		}
		b.Properties.VirtualMachines = append(b.Properties.VirtualMachines, mb)
	}
	now := s.Clock()
	for _, o := range slices.Backward(history) {
		b.Properties.Requests = append(b.Properties.Requests, showRequest(o, now, false))
	}
	return b
}

func showPort(p *ajar.PortPolicy) policyPortBody {
	b := policyPortBody{
		Number: p.Number, Protocol: p.Protocol, MaxDuration: p.DurationText, EndMode: p.EndMode,
		WidestV4: p.WidestV4, WidestV6: p.WidestV6, Approvals: p.Approvals,
	}
	if b.MaxDuration == "" {
		b.MaxDuration = ajar.FormatDuration(p.MaxDuration)
	}
	if p.DrainFor > 0 {
		b.Drain = ajar.FormatDuration(p.DrainFor)
	}
	texts := p.SourceText
	if len(texts) == 0 {
		if p.Any {
			texts = []string{"*"}
		}
		for _, src := range p.Sources {
			texts = append(texts, src.String())
		}
	}
	if p.Plural || len(texts) > 1 {
		b.Sources = texts
	} else if len(texts) == 1 {
		b.Source = texts[0]
	}
	return b
}

// policy translates a body. The path says which policy it is, whatever id the body has.
func (in *policyIn) policy(id ajar.ID) (ajar.Policy, error) {
	p := ajar.Policy{ID: id, Kind: string(in.Kind)}
	if at := string(in.Location); at != "" && id.Location() != "" && broker.PlainLocation(at) != broker.PlainLocation(id.Location()) {
		return p, rest.Coded(ajar.Invalid, "InvalidResourceLocation", "The location '%.100s' in the body is not the one in the path, '%s', where the policy '%s' is.", at, id.Location(), id.Name())
	}
	if in.Properties == nil {
		return p, rest.Bad("properties is required")
	}
	if in.Properties.VirtualMachines == nil {
		return p, rest.Bad("properties.virtualMachines is required; it may be empty")
	}
	p.Unguard = ajar.Unguard(strings.ToLower(string(in.Properties.Unguard)))
	p.BreakGlass = ajar.Switch(strings.ToLower(string(in.Properties.BreakGlass)))
	for i, m := range *in.Properties.VirtualMachines {
		where := fmt.Sprintf("properties.virtualMachines[%d]", i)
		target, err := rest.MachineID(string(m.ID), where)
		if err != nil {
			return p, err
		}
		mp := ajar.MachinePolicy{Target: target, PublicIPAddress: string(m.PublicIPAddress)}
		if m.Ports == nil {
			mp.Ports = defaultPorts()
		} else if mp.Ports, err = policyPorts(*m.Ports, where); err != nil {
			return p, err
		}
		p.Machines = append(p.Machines, mp)
	}
	return p, nil
}

// defaultPorts is what a machine gets whose body names no ports at all.
func defaultPorts() (ports []ajar.PortPolicy) {
	for _, n := range ajar.DefaultPorts {
		ports = append(ports, ajar.PortPolicy{Number: n, Protocol: ajar.Both, Any: true, SourceText: []string{"*"}, MaxDuration: ajar.DefaultMaxDuration})
	}
	return ports
}

func policyPorts(in []policyPortIn, where string) ([]ajar.PortPolicy, error) {
	ports := make([]ajar.PortPolicy, 0, len(in))
	for j := range in {
		p, err := in[j].port(fmt.Sprintf("%s.ports[%d]", where, j))
		if err != nil {
			return nil, err
		}
		ports = append(ports, p)
	}
	return ports, nil
}

func (in *policyPortIn) port(where string) (p ajar.PortPolicy, err error) {
	if p.Number, err = in.Number.Port(where); err != nil {
		return p, err
	}
	p.Protocol = ajar.Both
	if in.Protocol != nil {
		if p.Protocol, err = ajar.ParseProtocol(*in.Protocol); err != nil {
			return p, rest.Bad("%s.%s", where, ajar.Message(err))
		}
	}
	if err := in.sources(&p, where); err != nil {
		return p, err
	}
	p.MaxDuration, p.DurationText = in.MaxDuration.Duration, in.MaxDuration.Text
	if !in.MaxDuration.Given() {
		p.MaxDuration = ajar.DefaultMaxDuration
	}
	p.EndMode = ajar.EndMode(strings.ToLower(string(in.EndMode)))
	p.DrainFor, p.WidestV4, p.WidestV6, p.Approvals = in.Drain.Duration, in.WidestV4.N, in.WidestV6.N, in.Approvals.N
	return p, nil
}

// sources reads the one prefix or the list of them. Null and "" are absent; with neither, any source may be asked for.
func (in *policyPortIn) sources(p *ajar.PortPolicy, where string) error {
	texts := in.Sources
	p.Plural = len(texts) > 0
	switch {
	case in.Source != "" && p.Plural:
		return rest.Bad("%s has both allowedSourceAddressPrefix and allowedSourceAddressPrefixes; give one of them", where)
	case in.Source != "":
		texts = []string{string(in.Source)}
	case len(texts) == 0:
		texts = []string{"*"}
	}
	if len(texts) > ajar.MaxSources {
		return rest.Bad("%s has %d allowed sources; at most %d are taken", where, len(texts), ajar.MaxSources)
	}
	for _, text := range texts {
		text = strings.TrimSpace(text)
		if text == "*" {
			p.Any = true
			continue
		}
		prefixes, err := ajar.ParsePrefix(text)
		if err != nil {
			return rest.Bad("%s: %s", where, ajar.Message(err))
		}
		p.Sources = append(p.Sources, prefixes...)
	}
	if p.Any && len(texts) > 1 {
		return rest.Bad("%s allows * and more; * alone stands for every source", where)
	}
	p.SourceText = texts
	return nil
}
