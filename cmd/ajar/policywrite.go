package main

import (
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
)

// writePolicy writes p as a policy file, such that reading it gives p.
func writePolicy(w io.Writer, p client.Policy) error {
	type widest struct {
		IPv4 int `yaml:"ipv4,omitempty"`
		IPv6 int `yaml:"ipv6,omitempty"`
	}
	type onePort struct {
		Port      uint16  `yaml:"port"`
		Protocol  string  `yaml:"protocol"`
		Sources   any     `yaml:"sources"`
		Max       string  `yaml:"max"`
		Widest    *widest `yaml:"widest,omitempty,flow"`
		End       string  `yaml:"end,omitempty"`
		Drain     string  `yaml:"drain,omitempty"`
		Approvals int     `yaml:"approvals,omitempty"`
	}
	type machine struct {
		Machine string    `yaml:"machine"`
		Public  string    `yaml:"publicIpAddress,omitempty"`
		Ports   []onePort `yaml:"ports"`
	}
	type file struct {
		Policy     string    `yaml:"policy"`
		Unguard    string    `yaml:"unguard,omitempty"`
		BreakGlass string    `yaml:"breakGlass,omitempty"`
		Machines   []machine `yaml:"machines"`
	}
	f := file{Policy: string(p.ID), Unguard: string(p.Properties.Unguard), BreakGlass: string(p.Properties.BreakGlass), Machines: []machine{}}
	for _, m := range p.Properties.Machines {
		fm := machine{Machine: string(m.ID), Public: m.PublicIPAddress, Ports: []onePort{}}
		for _, c := range m.Ports {
			o := onePort{Port: c.Number, Protocol: protocolWord(c.Protocol), Max: c.MaxDuration, End: string(c.EndMode), Drain: c.DrainFor, Approvals: c.Approvals}
			switch {
			case len(c.Sources) > 0:
				o.Sources = c.Sources
			case c.Source == "*" || c.Source == "":
				o.Sources = "any"
			default:
				o.Sources = c.Source
			}
			if c.WidestV4 != 0 || c.WidestV6 != 0 {
				o.Widest = &widest{c.WidestV4, c.WidestV6}
			}
			fm.Ports = append(fm.Ports, o)
		}
		f.Machines = append(f.Machines, fm)
	}
	e := yaml.NewEncoder(w)
	e.SetIndent(2)
	if err := e.Encode(f); err != nil {
		return fmt.Errorf("write the policy: %w", err)
	}
	return e.Close()
}

func protocolWord(p ajar.Protocol) string {
	if p == ajar.Both {
		return "any"
	}
	return strings.ToLower(string(p))
}

// rule is one port of a policy in a line.
func rule(c client.PortPolicy) string {
	from := c.Source
	switch {
	case len(c.Sources) > 0:
		from = strings.Join(c.Sources, ", ")
	case from == "*" || from == "":
		from = "anywhere"
	}
	s := fmt.Sprintf("%s from %s for at most %s", port(c.Number, c.Protocol), from, iso(c.MaxDuration))
	if c.WidestV4 != 0 {
		s += fmt.Sprintf(", no wider than an IPv4 /%d", c.WidestV4)
	}
	if c.WidestV6 != 0 {
		s += fmt.Sprintf(", no wider than an IPv6 /%d", c.WidestV6)
	}
	if c.EndMode != "" && c.EndMode != ajar.Cut {
		s += ", then " + string(c.EndMode)
		if c.DrainFor != "" {
			s += " for " + iso(c.DrainFor)
		}
	}
	if c.Approvals > 0 {
		s += fmt.Sprintf(", %d to approve", c.Approvals)
	}
	return s
}
