package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
)

// change is what putting one policy would do.
type change struct {
	Policy  ajar.ID       `json:"policy"`
	Added   []string      `json:"added"`
	Dropped []string      `json:"dropped"`
	WhatIf  client.WhatIf `json:"whatIf"`

	policy client.Policy
}

// preview asks the plane what the policies would change, and writes it for a person on standard error. Connections to
// new guards that wait for confirmation are spared until then.
func (a *app) preview(ctx context.Context, c *client.Client, want []client.Policy, waits bool) ([]change, error) {
	var all []change
	for _, p := range want {
		w, err := c.WhatIf(ctx, p)
		if err != nil {
			return nil, err
		}
		ch := change{Policy: p.ID, WhatIf: w, policy: p, Added: []string{}, Dropped: []string{}}
		old, err := c.Policy(ctx, p.ID)
		if err != nil && ajar.KindOf(err) != ajar.NotFound {
			return nil, err
		}
		before, after := rules(old), rules(p)
		for _, r := range after {
			if !slices.Contains(before, r) {
				ch.Added = append(ch.Added, r)
			}
		}
		for _, r := range before {
			if !slices.Contains(after, r) {
				ch.Dropped = append(ch.Dropped, r)
			}
		}
		a.sayChange(ch, waits)
		all = append(all, ch)
	}
	return all, nil
}

// rules are what p says, a line each; what is as it would be if p did not say it is left out.
func rules(p client.Policy) []string {
	var all []string
	if p.Properties.Unguard == ajar.Keep {
		all = append(all, "unguard: keep, so that ports that are dropped stay closed")
	}
	if p.Properties.BreakGlass == ajar.Off {
		all = append(all, "breakGlass: off, so that nobody opens ports on the machines themselves")
	}
	for _, m := range p.Properties.Machines {
		if m.PublicIPAddress != "" {
			all = append(all, m.ID.Name()+": behind "+m.PublicIPAddress)
		}
		for _, c := range m.Ports {
			all = append(all, m.ID.Name()+": "+rule(c))
		}
	}
	return all
}

func (a *app) sayChange(ch change, waits bool) {
	a.say("policy %s in %s:", ch.Policy.Name(), ch.Policy.ResourceGroup())
	nothing := true
	line := func(mark, format string, args ...any) {
		nothing = false
		a.say("  %-7s %s", mark, plain(fmt.Sprintf(format, args...)))
	}
	for _, r := range ch.Dropped {
		line("-", "%s", r)
	}
	for _, r := range ch.Added {
		line("+", "%s", r)
	}
	w := ch.WhatIf
	for _, g := range w.Guard {
		line("closes", "%s on %s, to all who are not let in", port(g.Number, g.Protocol), g.Target.Name())
	}
	for _, g := range w.Lift {
		line("OPENS", "%s on %s, to everybody: no policy guards it any longer", port(g.Number, g.Protocol), g.Target.Name())
	}
	for _, g := range w.Keep {
		line("keeps", "%s on %s closed, though no policy names it any longer", port(g.Number, g.Protocol), g.Target.Name())
	}
	for _, l := range w.Leases {
		line("ends", "%s on %s for %s, open until %s", port(l.Number, l.Protocol), l.Target.Name(), l.Name, a.clock(l.End))
	}
	for _, i := range w.Impact {
		for _, c := range i.Connections {
			when := "connected now"
			if waits || w.ConfirmWithin != "" {
				when += ", once that is confirmed"
			}
			line("CUTS", "%s from %s on %s, %s", port(c.Number, c.Protocol), c.Remote, i.Target.Name(), when)
		}
		said := map[string]bool{} // a service that listens on IPv4 and IPv6 is one to people
		for _, l := range i.Listening {
			what := fmt.Sprintf("%s on %s, where %s listens", port(l.Number, l.Protocol), i.Target.Name(), or(l.Process, "something"))
			if !said[what] {
				line("hides", "%s", what)
			}
			said[what] = true
		}
		if i.Unknown != "" {
			line("?", "%s cannot be asked who is connected: %s", i.Target.Name(), i.Unknown)
		}
	}
	if nothing {
		a.say("  nothing changes")
	}
}

func or(s, t string) string {
	if s == "" {
		return t
	}
	return s
}

// risks says what about the changes needs a yes; "" if nothing does.
func risks(all []change) string {
	lifts, cuts := 0, 0
	for _, ch := range all {
		lifts += len(ch.WhatIf.Lift)
		for _, i := range ch.WhatIf.Impact {
			cuts += len(i.Connections)
		}
	}
	var s []string
	if lifts > 0 {
		s = append(s, fmt.Sprintf("%s will be open to everybody", count(lifts, "port")))
	}
	if cuts > 0 {
		s = append(s, fmt.Sprintf("%s will be cut", count(cuts, "live connection")))
	}
	return strings.Join(s, " and ")
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func guardedMachines(w client.WhatIf) []ajar.ID {
	var all []ajar.ID
	for _, g := range w.Guard {
		if !slices.ContainsFunc(all, g.Target.Equal) {
			all = append(all, g.Target)
		}
	}
	return all
}
