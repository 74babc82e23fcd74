package ajar

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Protocol is TCP, UDP or Both, as Azure spells them.
type Protocol string

// The protocols a port may have.
const (
	TCP  Protocol = "TCP"
	UDP  Protocol = "UDP"
	Both Protocol = "*"
)

// ParseProtocol reads s without regard to case.
func ParseProtocol(s string) (Protocol, error) {
	switch p := Protocol(strings.ToUpper(s)); p {
	case TCP, UDP, Both:
		return p, nil
	}
	return "", Errorf(Invalid, "protocol %.20q is not TCP, UDP or *", s)
}

// Has reports whether p includes q.
func (p Protocol) Has(q Protocol) bool { return p == q || p == Both }

// Meets reports whether some packet is of both.
func (p Protocol) Meets(q Protocol) bool { return p == q || p == Both || q == Both }

// EndMode says what becomes of live sessions when a lease ends at its deadline. Where leases meet on a port the
// strictest wins: the one that lets sessions go on for the shortest time. A lease that is revoked cuts, whatever its mode.
type EndMode string

// The end modes, strictest first.
const (
	Cut   EndMode = "cut"   // live sessions end with the lease (default)
	Drain EndMode = "drain" // no new connections; live ones until a hard stop
	Warn  EndMode = "warn"  // no new connections; live ones go on for up to Bounds.MaxWarn
)

// Bounds are the plane-wide limits on policies.
type Bounds struct {
	Shortest, Longest time.Duration // of a port's longest duration; Azure: PT5M and PT24H
	Drain             time.Duration // hard stop after the end where a policy says drain and no time
	MaxWarn           time.Duration // how long a session may outlive a lease whose mode is warn
	Lapse             time.Duration // how long a Pending request waits
	Names             int           // of a policy's name and a machine's together, in characters; 0 = any. Azure: AzureNames
}

// DefaultBounds are Azure's, and ours where Azure has none.
var DefaultBounds = Bounds{Shortest: 5 * time.Minute, Longest: 24 * time.Hour, Drain: 15 * time.Minute, MaxWarn: 24 * time.Hour, Lapse: 24 * time.Hour}

// AzureNames is how long a policy's name and a machine's can be together in Azure.
const AzureNames = 56

// The defaults when a policy says nothing: SSH, RDP and WinRM for three hours.
var (
	DefaultPorts       = []uint16{22, 3389, 5985, 5986}
	DefaultMaxDuration = 3 * time.Hour
)

// Limits on the size of one policy and one request.
const (
	MaxMachines = 1000
	MaxPorts    = 100 // per machine
	MaxSources  = 200 // per port
	MaxText     = 1024
)

// Policy says what may be asked for. Its ID is
// …/resourceGroups/{g}/providers/Microsoft.Security/locations/{l}/jitNetworkAccessPolicies/{name}.
type Policy struct {
	Stamp
	ID       ID
	Kind     string // Azure's "Basic"; kept as given
	Machines []MachinePolicy
	Unguard  Unguard // what becomes of the guard of ports that a later PUT or DELETE drops
	// BreakGlass Off keeps the machines' own administrators from opening ports without the plane; "" = as the others say.
	BreakGlass Switch `json:",omitempty"`
	Created    time.Time
	Updated    time.Time
	// ConfirmWithin is what the last writer asked for: a guard that a host gets on joining later waits for confirmation
	// as long as one that was laid at once. 0 = the plane's default, negative = none.
	ConfirmWithin time.Duration
}

// Unguard says what happens to a port's guard when no policy names the port any longer.
type Unguard string

// What becomes of a guard nobody refers to.
const (
	Lift Unguard = "lift" // the port is open as it was before (default); an Event of its own
	Keep Unguard = "keep" // the port stays closed until somebody releases it
)

// Switch is on or off, or "" where nothing is said.
type Switch string

// The two ways a Switch can be.
const (
	On  Switch = "on"
	Off Switch = "off"
)

// MachinePolicy is one machine of a policy.
type MachinePolicy struct {
	Target          ID
	PublicIPAddress string // of a firewall in front (Azure); kept as given
	Ports           []PortPolicy
}

// PortPolicy is what may be asked for on one port.
type PortPolicy struct {
	Number   uint16
	Protocol Protocol
	// Sources are the prefixes that a request's sources must lie in. Any stands for all of both families.
	Sources []netip.Prefix
	Any     bool
	// Plural remembers that the list form was given, so that it is shown as it came.
	Plural       bool
	MaxDuration  time.Duration // longest lease, from its first start to its last end
	DurationText string        // as given (PT3H0M), so that a reader gets back what was written
	// WidestV4 and WidestV6 bound how wide a source a request may name, as prefix lengths; 0 = as wide as Sources.
	WidestV4, WidestV6 int
	EndMode            EndMode       // "" = Cut
	DrainFor           time.Duration // 0 = the plane's default
	Approvals          int           // how many other people must approve; 0 = none
	SourceText         []string      // sources as given
}

// Validate reports the first thing in p that cannot be, in words for its author.
func (p *Policy) Validate(b Bounds) error {
	if len(p.Machines) > MaxMachines {
		return Errorf(Invalid, "the policy names %d machines; at most %d are taken", len(p.Machines), MaxMachines)
	}
	if len(p.Kind) > 64 {
		return Errorf(Invalid, "kind is longer than 64 bytes")
	}
	switch p.Unguard {
	case "", Lift, Keep:
	default:
		return Errorf(Invalid, "unguard is %.20q; it can be lift or keep", p.Unguard)
	}
	switch p.BreakGlass {
	case "", On, Off:
	default:
		return Errorf(Invalid, "breakGlass is %.20q; it can be on or off", p.BreakGlass)
	}
	seen := map[string]bool{}
	for i := range p.Machines {
		m := &p.Machines[i]
		if !m.Target.IsMachine() {
			return Errorf(Invalid, "virtualMachines[%d].id %.200q is not the id of a virtual machine (…/providers/Microsoft.Compute/virtualMachines/{name})", i, m.Target)
		}
		if seen[m.Target.Key()] {
			return Errorf(Invalid, "virtualMachines[%d].id %q is named twice", i, m.Target)
		}
		seen[m.Target.Key()] = true
		if n := utf8.RuneCountInString(p.ID.Name()) + utf8.RuneCountInString(m.Target.Name()); b.Names > 0 && n > b.Names {
			return Errorf(Invalid, "the names of policy %s and machine %s have %d characters together; at most %d are taken, as in Azure", p.ID.Name(), m.Target.Name(), n, b.Names)
		}
		if err := m.validate(b); err != nil {
			return err
		}
	}
	return nil
}

func (m *MachinePolicy) validate(b Bounds) error {
	name := m.Target.Name()
	if len(m.Ports) > MaxPorts {
		return Errorf(Invalid, "machine %s has %d ports; at most %d are taken", name, len(m.Ports), MaxPorts)
	}
	if len(m.PublicIPAddress) > 200 {
		return Errorf(Invalid, "machine %s: publicIpAddress is too long", name)
	}
	for j := range m.Ports {
		p := &m.Ports[j]
		if err := p.validate(b); err != nil {
			return Errorf(Invalid, "machine %s, port %d: %s", name, p.Number, Message(err))
		}
		for k := range j {
			if q := &m.Ports[k]; q.Number == p.Number && q.Protocol.Meets(p.Protocol) {
				return Errorf(Invalid, "machine %s: port %d is listed twice for the same protocol", name, p.Number)
			}
		}
	}
	return nil
}

func (p *PortPolicy) validate(b Bounds) error {
	if p.Number == 0 {
		return Errorf(Invalid, "number must be between 1 and 65535")
	}
	if _, err := ParseProtocol(string(p.Protocol)); err != nil {
		return err
	}
	if p.MaxDuration < b.Shortest || p.MaxDuration > b.Longest {
		return Errorf(Invalid, "maxRequestAccessDuration is %s; it must be between %s and %s", FormatDuration(p.MaxDuration), FormatDuration(b.Shortest), FormatDuration(b.Longest))
	}
	if p.Any == (len(p.Sources) > 0) {
		return Errorf(Invalid, "give the allowed sources as * or as at least one prefix, not both")
	}
	if len(p.Sources) > MaxSources {
		return Errorf(Invalid, "%d allowed sources; at most %d are taken", len(p.Sources), MaxSources)
	}
	if p.WidestV4 < 0 || p.WidestV4 > 32 || p.WidestV6 < 0 || p.WidestV6 > 128 {
		return Errorf(Invalid, "the widest source is given as a prefix length, 0 to 32 for IPv4 and 0 to 128 for IPv6")
	}
	switch p.EndMode {
	case "", Cut, Drain, Warn:
	default:
		return Errorf(Invalid, "end mode is %.20q; it can be cut, drain or warn", p.EndMode)
	}
	if p.DrainFor < 0 || p.DrainFor > b.Longest {
		return Errorf(Invalid, "the drain time must be between 0 and %s", FormatDuration(b.Longest))
	}
	if p.Approvals < 0 || p.Approvals > 10 {
		return Errorf(Invalid, "between 0 and 10 approvals can be asked for")
	}
	return nil
}

// Machine finds the entry of target, or nil.
func (p *Policy) Machine(target ID) *MachinePolicy {
	for i := range p.Machines {
		if p.Machines[i].Target.Equal(target) {
			return &p.Machines[i]
		}
	}
	return nil
}

// Flows lists what p wants guarded on target.
func (m *MachinePolicy) Flows() []Flow {
	fs := make([]Flow, 0, len(m.Ports))
	for _, p := range m.Ports {
		fs = append(fs, Flow{Port: Port{p.Number, p.Protocol}})
	}
	return fs
}

// Port finds the rule for a number and protocol; an empty protocol finds the first rule for the number.
func (m *MachinePolicy) Port(number uint16, proto Protocol) *PortPolicy {
	for i := range m.Ports {
		if q := &m.Ports[i]; q.Number == number && (proto == "" || q.Protocol.Has(proto)) {
			return q
		}
	}
	return nil
}

// Decision says why, not only whether. By names the rule or assignment that allowed; Unmet lists what stood in the
// way, the first failed rule first, each with what would be allowed.
type Decision struct {
	Allow bool
	By    string
	Role  string // the name of the role that By gives
	Unmet []string
}

func refuse(format string, a ...any) Decision {
	return Decision{Unmet: []string{fmt.Sprintf(format, a...)}}
}

// Check decides whether a, starting at start, is a subset of p: the machine and port are listed, the time from start
// to the end is no longer than the longest duration, and every source lies within an allowed prefix and is no wider
// than the policy lets a request name. (Containment, where Azure once wanted equality: see the access documentation.)
func (p *Policy) Check(a Ask, start time.Time) Decision {
	m := p.Machine(a.Target)
	if m == nil {
		return refuse("machine %q is not in the policy", a.Target.Name())
	}
	port := m.Port(a.Port.Number, a.Port.Protocol)
	if port == nil {
		if q := m.Port(a.Port.Number, ""); q != nil {
			return refuse("port %d is offered for protocol %s, not %s", a.Port.Number, q.Protocol, a.Port.Protocol)
		}
		return refuse("port %d is not offered on %s; offered: %s", a.Port.Number, m.Target.Name(), m.offered())
	}
	end := a.EndAt(start)
	switch {
	case !end.After(start):
		return refuse("the end %s is not in the future", end.UTC().Format(time.RFC3339))
	case end.Sub(start) > port.MaxDuration:
		long := FormatDuration(end.Sub(start).Round(time.Second))
		if end.Sub(start) > 366*24*time.Hour { // hours by the thousand say nothing, and there are ends beyond what can be counted
			long = "until " + end.UTC().Format(time.RFC3339)
		}
		return refuse("%s is longer than port %d may be open; at most %s, until %s", long, a.Port.Number, FormatDuration(port.MaxDuration), start.Add(port.MaxDuration).UTC().Format(time.RFC3339))
	}
	if len(a.Sources) == 0 {
		return refuse("no source address is given or known")
	}
	for _, s := range a.Sources {
		if d := port.checkSource(s); !d.Allow {
			return d
		}
	}
	return Decision{Allow: true, By: string(p.ID)}
}

func (p *PortPolicy) checkSource(s netip.Prefix) Decision {
	widest := p.WidestV4
	if s.Addr().Is6() {
		widest = p.WidestV6
	}
	if s.Bits() < widest {
		return refuse("source %s is wider than a request may name; the widest is a /%d", s, widest)
	}
	if p.Any {
		return Decision{Allow: true}
	}
	for _, q := range p.Sources {
		if q.Bits() <= s.Bits() && q.Contains(s.Addr()) {
			return Decision{Allow: true}
		}
	}
	list := make([]string, 0, len(p.Sources))
	for _, q := range p.Sources {
		list = append(list, q.String())
	}
	return refuse("source %s is not within the allowed sources %s", s, strings.Join(list, ", "))
}

func (m *MachinePolicy) offered() string {
	var list []string
	for _, p := range m.Ports {
		list = append(list, fmt.Sprintf("%d/%s", p.Number, p.Protocol))
	}
	slices.Sort(list)
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(slices.Compact(list), ", ")
}

// ParsePrefix reads one source: an address, a prefix, or * for every address of both families (two prefixes).
// Host bits are cleared, ::ffff: addresses unmapped, zones refused.
func ParsePrefix(s string) ([]netip.Prefix, error) {
	if s == "*" {
		return []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)}, nil
	}
	if strings.Contains(s, "%") {
		return nil, Errorf(Invalid, "source %.60q has a zone; zones mean nothing to another machine", s)
	}
	if p, err := netip.ParsePrefix(s); err == nil {
		if p.Addr().Is4In6() {
			if p.Bits() < 96 {
				return nil, Errorf(Invalid, "source %.60q is a wider range than IPv4; write it as IPv4 or IPv6", s)
			}
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		return []netip.Prefix{p.Masked()}, nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return nil, Errorf(Invalid, "source %.60q is not an address, a prefix such as 203.0.113.0/24, or *", s)
	}
	a = a.Unmap()
	return []netip.Prefix{netip.PrefixFrom(a, a.BitLen())}, nil
}

// SourceWarning says what is doubtful about a as the address a machine will see, or "".
func SourceWarning(a netip.Addr) string {
	shared := netip.MustParsePrefix("100.64.0.0/10") // RFC 6598
	switch {
	case a.IsLoopback():
		return fmt.Sprintf("%s is a loopback address: other machines never see it", a)
	case a.IsPrivate():
		return fmt.Sprintf("%s is a private address: the machine sees it only from inside the same network", a)
	case shared.Contains(a):
		return fmt.Sprintf("%s is in the shared range 100.64.0.0/10: many people may stand behind the address that the machine sees", a)
	case a.IsLinkLocalUnicast():
		return fmt.Sprintf("%s is a link-local address: only machines on the same link see it", a)
	}
	return ""
}
