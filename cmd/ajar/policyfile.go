package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
)

// policyFileHelp documents the whole format. The test reads the example in it.
const policyFileHelp = `A policy file holds one or more policies, as YAML documents:

  policy: default                  # name, or the whole id; default if left out
  scope: /subscriptions/0c1b…/resourceGroups/prod   # its group; that of its first machine if left out
  location: westeurope             # that of its first machine if left out
  unguard: lift                    # lift or keep: what becomes of ports that a later version drops
  breakGlass: on                   # off: the machines' own administrators cannot open ports without the plane
  machines:
  - machine: web1                  # name in the scope, or the whole id
    publicIpAddress: 198.51.100.1  # of a firewall in front, if there is one
    ports:                         # 22, 3389, 5985 and 5986 for 3h if left out
    - port: 22
      protocol: tcp                # tcp, udp or any; tcp if left out
      sources: [203.0.113.0/24, 2001:db8::/32]   # who may ask to connect from where; any if left out
      max: 3h                      # longest time; 3h if left out
      widest: {ipv4: 32, ipv6: 128}   # widest source that may be asked for, as prefix lengths
      end: cut                     # cut, drain or warn: what becomes of live sessions at the end
      drain: 15m                   # with drain and warn: how long they may go on
      approvals: 1                 # how many others must say yes

Keys that are not listed here are errors.`

// maxPolicyFile bounds a policy file; a thousand machines fit.
const maxPolicyFile = 4 << 20

// fileFaults are all that is wrong with a policy file.
type fileFaults []string

func (f fileFaults) Error() string { return strings.Join(f, "\n  ") }

// maxFaults is how many are worth reading at once.
const maxFaults = 50

// filePolicy is one policy of a file. Its machines' names are resolved by whoever has a plane to ask.
type filePolicy struct {
	name, scope, location string
	unguard               ajar.Unguard
	breakGlass            ajar.Switch
	machines              []fileMachine
}

type fileMachine struct {
	name, public string
	ports        []client.PortPolicy
	line         int
}

// parsePolicies reads a policy file and reports every fault in it at once.
func parsePolicies(b []byte) ([]filePolicy, error) {
	if len(b) > maxPolicyFile {
		return nil, fmt.Errorf("the file is longer than %d bytes", maxPolicyFile)
	}
	p := &policyParser{}
	d := yaml.NewDecoder(bytes.NewReader(b))
	var all []filePolicy
	for {
		var n yaml.Node
		err := d.Decode(&n)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			p.faults = append(p.faults, strings.TrimPrefix(err.Error(), "yaml: "))
			break
		}
		if n.Kind == yaml.DocumentNode && len(n.Content) == 1 {
			all = append(all, p.policy(n.Content[0]))
		}
	}
	if len(p.faults) > 0 {
		return nil, p.faults
	}
	if len(all) == 0 {
		return nil, errors.New("there is no policy in the file")
	}
	return all, nil
}

// policyParser walks nodes, so that each fault has its line.
type policyParser struct {
	faults fileFaults
	ports  int
}

func (p *policyParser) bad(n *yaml.Node, format string, args ...any) {
	if len(p.faults) < maxFaults {
		p.faults = append(p.faults, fmt.Sprintf("line %d: ", n.Line)+fmt.Sprintf(format, args...))
	}
}

// fields calls the reader of each key of a mapping, and faults what has none, what stands twice, and what is missing.
func (p *policyParser) fields(n *yaml.Node, what string, needed []string, readers map[string]func(*yaml.Node)) {
	n = deref(n)
	if n.Kind != yaml.MappingNode {
		p.bad(n, "%s must be keys and values", what)
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		read, known := readers[k.Value]
		switch {
		case !known:
			p.bad(k, "%s has no key %q; it can have %s", what, clip(k.Value), strings.Join(keys(readers), ", "))
		case seen[k.Value]:
			p.bad(k, "%s has %q twice", what, k.Value)
		default:
			read(deref(n.Content[i+1]))
		}
		seen[k.Value] = true
	}
	for _, k := range needed {
		if !seen[k] {
			p.bad(n, "%s needs %q", what, k)
		}
	}
}

func clip(s string) string {
	if r := []rune(s); len(r) > 40 {
		return string(r[:40]) + "…"
	}
	return s
}

func keys(m map[string]func(*yaml.Node)) []string {
	var all []string
	for k := range m {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}

// deref follows an alias. The shape of the file is fixed, so that aliases cannot lead in circles.
func deref(n *yaml.Node) *yaml.Node {
	for range 10 {
		if n.Kind != yaml.AliasNode || n.Alias == nil {
			break
		}
		n = n.Alias
	}
	return n
}

func (p *policyParser) items(n *yaml.Node, what string, limit int, each func(*yaml.Node)) {
	switch {
	case n.Kind != yaml.SequenceNode:
		p.bad(n, "%s must be a list", what)
	case len(n.Content) > limit:
		p.bad(n, "%s are %d; at most %d are taken", what, len(n.Content), limit)
	default:
		for _, c := range n.Content {
			each(deref(c))
		}
	}
}

// text reads a scalar.
func (p *policyParser) text(into *string, what string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if n.Kind != yaml.ScalarNode || n.Tag == "!!null" || strings.TrimSpace(n.Value) == "" {
			p.bad(n, "%s must be a text", what)
			return
		}
		*into = n.Value
	}
}

func (p *policyParser) number(into *int, what string, from, to int) func(*yaml.Node) {
	return func(n *yaml.Node) {
		v, err := strconv.Atoi(n.Value)
		if n.Kind != yaml.ScalarNode || err != nil || v < from || v > to {
			p.bad(n, "%s is %q; it must be a number between %d and %d", what, clip(n.Value), from, to)
			return
		}
		*into = v
	}
}

func (p *policyParser) length(into *string, what string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		d, err := parseSpan(n.Value)
		if n.Kind != yaml.ScalarNode || err != nil {
			p.bad(n, "%s is %q; it must be a length of time such as 90m, 3h or PT3H", what, clip(n.Value))
			return
		}
		if *into = ajar.FormatDuration(d); strings.HasPrefix(n.Value, "P") {
			*into = n.Value // as its author wrote it
		}
	}
}

func (p *policyParser) oneOf(into *string, what string, words ...string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if n.Kind != yaml.ScalarNode || !slices.Contains(words, strings.ToLower(n.Value)) {
			p.bad(n, "%s is %q; it can be %s", what, clip(n.Value), strings.Join(words, ", "))
			return
		}
		*into = strings.ToLower(n.Value)
	}
}

func (p *policyParser) policy(n *yaml.Node) filePolicy {
	var f filePolicy
	var unguard, glass string
	p.fields(n, "a policy", []string{"machines"}, map[string]func(*yaml.Node){
		"policy": p.text(&f.name, "policy"), "scope": p.text(&f.scope, "scope"), "location": p.text(&f.location, "location"),
		"unguard":    p.oneOf(&unguard, "unguard", "lift", "keep"),
		"breakGlass": p.oneOf(&glass, "breakGlass", "on", "off"),
		"machines": func(n *yaml.Node) {
			p.items(n, "machines", ajar.MaxMachines, func(n *yaml.Node) { f.machines = append(f.machines, p.machine(n)) })
		},
	})
	f.unguard, f.breakGlass = ajar.Unguard(unguard), ajar.Switch(glass)
	for _, id := range []string{f.name, f.scope} {
		if strings.HasPrefix(id, "/") {
			if _, err := ajar.ParseID(id); err != nil {
				p.bad(n, "%s", ajar.Message(err))
			}
		}
	}
	return f
}

func (p *policyParser) machine(n *yaml.Node) fileMachine {
	m := fileMachine{line: n.Line}
	given := false
	p.fields(n, "a machine", []string{"machine"}, map[string]func(*yaml.Node){
		"machine": p.text(&m.name, "machine"), "publicIpAddress": p.text(&m.public, "publicIpAddress"),
		"ports": func(n *yaml.Node) {
			given = true
			p.items(n, "ports", ajar.MaxPorts, func(n *yaml.Node) { m.ports = append(m.ports, p.port(n)) })
		},
	})
	if !given {
		m.ports = defaultPorts()
	}
	return m
}

// maxPortsInFile keeps aliases of aliases from making much of little.
const maxPortsInFile = 20_000

func (p *policyParser) port(n *yaml.Node) client.PortPolicy {
	c := client.PortPolicy{Protocol: ajar.TCP, MaxDuration: ajar.FormatDuration(ajar.DefaultMaxDuration)}
	var number int
	var proto, end string
	if p.ports++; p.ports == maxPortsInFile {
		p.bad(n, "there are more than %d ports in the file", maxPortsInFile)
	}
	if p.ports >= maxPortsInFile {
		return c
	}
	p.fields(n, "a port", []string{"port"}, map[string]func(*yaml.Node){
		"port":      p.number(&number, "port", 1, 65535),
		"protocol":  p.oneOf(&proto, "protocol", "tcp", "udp", "any", "*"),
		"sources":   func(n *yaml.Node) { p.sources(n, &c) },
		"max":       p.length(&c.MaxDuration, "max"),
		"end":       p.oneOf(&end, "end", "cut", "drain", "warn"),
		"drain":     p.length(&c.DrainFor, "drain"),
		"approvals": p.number(&c.Approvals, "approvals", 0, 10),
		"widest": func(n *yaml.Node) {
			p.fields(n, "widest", nil, map[string]func(*yaml.Node){
				"ipv4": p.number(&c.WidestV4, "widest.ipv4", 0, 32), "ipv6": p.number(&c.WidestV6, "widest.ipv6", 0, 128)})
		},
	})
	c.Number, c.EndMode = uint16(number), ajar.EndMode(end)
	switch proto {
	case "udp":
		c.Protocol = ajar.UDP
	case "any", "*":
		c.Protocol = ajar.Both
	}
	if c.Source == "" && c.Sources == nil {
		c.Source = "*"
	}
	return c
}

// sources reads one source or a list of them, each as it was written.
func (p *policyParser) sources(n *yaml.Node, c *client.PortPolicy) {
	check := func(n *yaml.Node) (string, bool) {
		s := n.Value
		if s == "any" {
			s = "*"
		}
		if _, err := ajar.ParsePrefix(s); n.Kind != yaml.ScalarNode || err != nil {
			p.bad(n, "source %q is not an address, a prefix such as 203.0.113.0/24, or any", clip(n.Value))
			return "", false
		}
		return s, true
	}
	if n.Kind != yaml.SequenceNode {
		c.Source, _ = check(n)
		return
	}
	p.items(n, "sources", ajar.MaxSources, func(n *yaml.Node) {
		if s, ok := check(n); ok {
			c.Sources = append(c.Sources, s)
		}
	})
	switch {
	case len(n.Content) == 0:
		p.bad(n, "sources is an empty list; leave it out for any")
	case slices.Contains(c.Sources, "*") && len(c.Sources) > 1:
		p.bad(n, "any stands for all sources; it cannot be one of several")
	case slices.Contains(c.Sources, "*"):
		c.Source, c.Sources = "*", nil
	}
}

// defaultPorts are what is guarded when nobody says which.
func defaultPorts() []client.PortPolicy {
	var all []client.PortPolicy
	for _, n := range ajar.DefaultPorts {
		all = append(all, client.PortPolicy{Number: n, Protocol: ajar.TCP, Source: "*", MaxDuration: ajar.FormatDuration(ajar.DefaultMaxDuration)})
	}
	return all
}
