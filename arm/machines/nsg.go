package machines

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/arm/rest"
	"github.com/ajar-access/ajar/broker"
)

// A network security group as it would be if Azure's just-in-time access had laid it: what is guarded as deny rules from
// the bottom, live leases as allow rules from the top.

type securityGroupProperties struct {
	ProvisioningState string         `json:"provisioningState"`
	ResourceGUID      string         `json:"resourceGuid"`
	Rules             []securityRule `json:"securityRules"`
	DefaultRules      []securityRule `json:"defaultSecurityRules"`
	Interfaces        []reference    `json:"networkInterfaces"`
}

type securityRule struct {
	ID         ajar.ID        `json:"id"`
	Name       string         `json:"name"`
	Type       string         `json:"type"`
	Properties ruleProperties `json:"properties"`
}

type ruleProperties struct {
	ProvisioningState    string   `json:"provisioningState"`
	Description          string   `json:"description"`
	Protocol             string   `json:"protocol"`
	SourcePort           string   `json:"sourcePortRange"`
	DestinationPort      string   `json:"destinationPortRange"`
	Source               string   `json:"sourceAddressPrefix,omitempty"`
	Destination          string   `json:"destinationAddressPrefix,omitempty"`
	Access               string   `json:"access"`
	Priority             int      `json:"priority"`
	Direction            string   `json:"direction"`
	SourcePorts          []string `json:"sourcePortRanges"`
	DestinationPorts     []string `json:"destinationPortRanges"`
	SourceAddresses      []string `json:"sourceAddressPrefixes"`
	DestinationAddresses []string `json:"destinationAddressPrefixes"`
}

// How Azure names the rules of just-in-time access, and where it puts them.
const (
	ruleName     = "MicrosoftDefenderForCloud-JITRule"
	ruleAbout    = "MDC JIT Network Access rule"
	topRule      = 100
	bottomRule   = 4096
	longestAbout = 140
)

func showSecurityGroup(m *broker.Machine, now time.Time) networkSecurityGroup {
	return facetOf(broker.AsSecurityGroup, m, securityGroupProperties{
		ProvisioningState: "Succeeded", ResourceGUID: guidOf(m.ID.Key(), "nsg"), Rules: showRules(m, now), DefaultRules: []securityRule{},
		Interfaces: []reference{{broker.AsInterface.ID(m.ID)}},
	})
}

// showRules gives a machine's rules, what allows first. What several hosts of the machine have alike is one rule.
func showRules(m *broker.Machine, now time.Time) []securityRule {
	rules, seen := []securityRule{}, map[string]bool{}
	for _, l := range m.Leases {
		same := fmt.Sprint(l.Request, l.Flow, l.Sources, l.End.UnixMilli())
		if seen[same] || len(rules) == broker.MostShown {
			continue
		}
		seen[same] = true
		rules = append(rules, allowRule(m, l, topRule+len(rules)))
	}
	priority, floor := bottomRule, topRule+len(rules)
	for _, h := range m.Hosts {
		policies := map[ajar.Flow][]ajar.ID{}
		for _, g := range h.Guards {
			policies[g.Flow] = g.Policies
		}
		for _, g := range h.Guarded(now) {
			same := fmt.Sprint("deny ", g.Flow)
			if seen[same] || priority < floor {
				continue
			}
			seen[same] = true
			rules = append(rules, denyRule(m, g.Flow, policies[g.Flow], priority))
			priority--
		}
	}
	return rules
}

func allowRule(m *broker.Machine, l *ajar.Lease, priority int) securityRule {
	id := strings.ToUpper(strings.ReplaceAll(string(l.ID), "-", ""))
	about := fmt.Sprintf("%s created by an initiation request for policy '%s' of VM '%s'.", ruleAbout, l.Policy.Name(), m.ID.Name())
	r := newRule(m, l.Flow, fmt.Sprintf("%s-%d-%s", ruleName, numberOf(string(l.ID)), id), about)
	r.Properties.Access, r.Properties.Priority = "Allow", priority
	if l.State == ajar.Opening {
		r.Properties.ProvisioningState = "Updating" // no host was seen to have it yet
	}
	from := make([]string, 0, len(l.Sources))
	wide := 0
	for _, s := range l.Sources {
		if s.Bits() == 0 {
			wide++
		}
		if s.IsSingleIP() {
			from = append(from, s.Addr().String())
		} else {
			from = append(from, s.String())
		}
	}
	if wide == 2 { // of both families
		from = []string{"*"}
	}
	r.Properties.Source, r.Properties.SourceAddresses = oneOrMore(from)
	return r
}

func denyRule(m *broker.Machine, f ajar.Flow, policies []ajar.ID, priority int) securityRule {
	about := fmt.Sprintf("%s of VM '%s', kept after its policy.", ruleAbout, m.ID.Name())
	if len(policies) > 0 {
		about = fmt.Sprintf("%s for policy '%s' of VM '%s'.", ruleAbout, policies[0].Name(), m.ID.Name())
	}
	text := m.ID.Key() + " " + f.Dest.String() + " " + f.Port.String()
	id := strings.ToUpper(strings.ReplaceAll(guidOf(text, "deny"), "-", ""))
	r := newRule(m, f, fmt.Sprintf("%s_%d_%s", ruleName, numberOf(text), id), about)
	r.Properties.Access, r.Properties.Priority, r.Properties.Source = "Deny", priority, "*"
	return r
}

// newRule is a rule towards the machine's own addresses, as Azure has them even where somebody asked for a public one.
func newRule(m *broker.Machine, f ajar.Flow, name, about string) securityRule {
	if r := []rune(about); len(r) > longestAbout {
		about = string(r[:longestAbout-1]) + "…"
	}
	protocol := map[ajar.Protocol]string{ajar.TCP: "Tcp", ajar.UDP: "Udp"}[f.Port.Protocol]
	if protocol == "" {
		protocol = "*"
	}
	var to []string
	if f.Dest.IsValid() {
		to = []string{f.Dest.String()}
	} else {
		own, _ := addressesOf(m)
		for _, a := range own {
			to = append(to, a.String())
		}
	}
	r := securityRule{
		ID: broker.AsSecurityGroup.ID(m.ID) + "/securityRules/" + ajar.ID(name), Name: name, Type: broker.AsSecurityGroup.Type() + "/securityRules",
		Properties: ruleProperties{
			ProvisioningState: "Succeeded", Description: about, Protocol: protocol, SourcePort: "*", DestinationPort: strconv.Itoa(int(f.Port.Number)), Direction: "Inbound",
			SourcePorts: []string{}, DestinationPorts: []string{}, SourceAddresses: []string{}, DestinationAddresses: []string{},
		},
	}
	r.Properties.Destination, r.Properties.DestinationAddresses = oneOrMore(to)
	return r
}

// oneOrMore writes addresses as rules do: one by itself, several as a list, and none as any.
func oneOrMore(all []string) (one string, more []string) {
	switch len(all) {
	case 0:
		return "*", []string{}
	case 1:
		return all[0], []string{}
	}
	return "", all
}

// numberOf is the number in a rule's name.
func numberOf(text string) int32 {
	sum := sha256.Sum256([]byte(text))
	return int32(binary.BigEndian.Uint32(sum[:4])) // any 32 bits do, and Azure has negative ones, too
}

// addressesOf is what a machine's interface has: its private addresses, or those that it can be reached at if it has no
// private one; and the public address, if one is known. Where nobody said any, it is where its host joined from.
func addressesOf(m *broker.Machine) (own []netip.Addr, public netip.Addr) {
	all := m.Addresses
	for _, h := range m.Hosts {
		if len(m.Addresses) == 0 && h.From.IsValid() {
			all = append(all, h.From.Unmap())
		}
	}
	for _, wantV4 := range []bool{true, false} {
		for _, a := range all {
			switch {
			case a.Is4() != wantV4:
			case !isPublic(a):
				own = append(own, a)
			case !public.IsValid():
				public = a
			}
		}
	}
	if len(own) == 0 {
		own = all
	}
	return own, public
}

func isPublic(a netip.Addr) bool {
	return a.IsGlobalUnicast() && !a.IsPrivate() && !sharedRange.Contains(a)
}

// sharedRange is behind a provider's address translation (RFC 6598).
var sharedRange = netip.MustParsePrefix("100.64.0.0/10")

func versionOf(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}

func configurationName(n int) string { return "ipconfig" + strconv.Itoa(n+1) }

func (s room) listSecurityGroups(ctx context.Context, c *rest.Call, _ rest.Nothing) (rest.List[networkSecurityGroup], error) {
	now := s.Clock()
	return listFacets(ctx, s, c, broker.AsSecurityGroup, hasSecurityGroup, func(m *broker.Machine) networkSecurityGroup { return showSecurityGroup(m, now) })
}

func (s room) getSecurityGroup(ctx context.Context, c *rest.Call, _ rest.Nothing) (*networkSecurityGroup, error) {
	m, err := s.facet(ctx, c, broker.AsSecurityGroup, hasSecurityGroup)
	if err != nil {
		return nil, err
	}
	b := showSecurityGroup(m, s.Clock())
	return &b, nil
}

func (s room) listSecurityRules(ctx context.Context, c *rest.Call, _ rest.Nothing) (l rest.List[securityRule], err error) {
	m, err := s.facet(ctx, c, broker.AsSecurityRule, hasSecurityGroup)
	if err != nil {
		return l, err
	}
	l.Value = showRules(m, s.Clock())
	return l, nil
}

func (s room) getSecurityRule(ctx context.Context, c *rest.Call, _ rest.Nothing) (*securityRule, error) {
	m, err := s.facet(ctx, c, broker.AsSecurityRule, hasSecurityGroup)
	if err != nil {
		return nil, err
	}
	for _, r := range showRules(m, s.Clock()) {
		if strings.EqualFold(r.Name, c.Value("rule")) {
			return &r, nil
		}
	}
	return nil, rest.Coded(ajar.NotFound, "", "Security rule '%.120s' of '%s' was not found.", c.Value("rule"), broker.AsSecurityGroup.ID(m.ID).Name())
}
