package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
)

type policyFlags struct {
	file             string
	ports, sources   []string
	max, drain       span
	end, unguard     string
	glass            string
	widest4, widest6 int
	approvals        int
	name             string
	yes, force, dry  bool
	confirm          span
	guards           guardFlags
	changed          func(string) bool
}

func policySetCmd(a *app) *cobra.Command {
	var f policyFlags
	c := command("set [TARGET | -f FILE]", "make or change a policy, after showing what that changes", `  ajar policy set web1                                        # 22, 3389, 5985, 5986 for 3h
  ajar policy set web1 --port 22 --source 203.0.113.0/24 --max 1h
  ajar policy set web1 --port 22 --confirm-within 5m          # then: ajar policy confirm web1
  ajar policy set -f prod.yaml --dry-run
  ajar policy set -f - --yes --timeout 2m < prod.yaml`, cobra.MaximumNArgs(1), nil)
	c.Long = `Makes or changes a policy. With TARGET, the named ports of that machine are set in its policy and everything else stays;
with -f, the policies are as the file says. First it shows what changes: which ports are guarded and which are open
again, which leases end, and which live connections would be cut. It asks for a yes when a guard is lifted or a
connection would be cut.

` + guardsWaited + `

` + policyFileHelp
	fl := c.Flags()
	fl.StringVarP(&f.file, "file", "f", "", "policy file; - reads standard input")
	fl.StringSliceVarP(&f.ports, "port", "p", nil, "port such as 22, 53/udp or rdp; may be repeated")
	fl.StringSliceVar(&f.sources, "source", nil, "address or prefix that may be asked for, or any; may be repeated")
	fl.Var(&f.max, "max", "longest time (3h)")
	fl.StringVar(&f.end, "end", "", "what becomes of live sessions at the end: cut, drain or warn")
	fl.Var(&f.drain, "drain", "how long they may go on")
	fl.IntVar(&f.widest4, "widest-ipv4", 0, "widest IPv4 source that may be asked for, as a prefix length")
	fl.IntVar(&f.widest6, "widest-ipv6", 0, "widest IPv6 source that may be asked for, as a prefix length")
	fl.IntVar(&f.approvals, "approvals", 0, "how many others must say yes")
	fl.StringVar(&f.unguard, "unguard", "", "what becomes of the guard of dropped ports: lift or keep")
	fl.StringVar(&f.glass, "break-glass", "", "on, or off: no machine of the policy can be opened by its own administrator without the plane")
	fl.StringVar(&f.name, "policy", "", "policy to change, if several name the machine, or to make")
	fl.Var(&f.confirm, "confirm-within", "lift new guards again unless confirmed in this time")
	fl.BoolVar(&f.force, "force", false, "guard even the plane's own ports")
	fl.BoolVar(&f.dry, "dry-run", false, "show what would change and change nothing")
	fl.BoolVarP(&f.yes, "yes", "y", false, "do not ask")
	f.guards.add(c)
	f.changed = fl.Changed
	c.RunE = func(cmd *cobra.Command, args []string) error { return a.policySet(cmd.Context(), args, f) }
	return c
}

func (a *app) policySet(ctx context.Context, args []string, f policyFlags) error {
	if (f.file == "") == (len(args) == 0) {
		return usage("say which machine, or give a file with -f")
	}
	c, cfg, err := a.client()
	if err != nil {
		return err
	}
	var want []client.Policy
	if f.file != "" {
		for _, name := range []string{"port", "source", "max", "end", "drain", "widest-ipv4", "widest-ipv6", "approvals", "unguard", "break-glass", "policy"} {
			if f.changed(name) {
				return usage("--%s stands in the file", name)
			}
		}
		want, err = a.policiesOf(ctx, c, cfg, f.file)
	} else {
		var p client.Policy
		p, err = policyWith(ctx, c, cfg, args[0], f)
		want = []client.Policy{p}
	}
	if err != nil {
		return err
	}
	return a.putPolicies(ctx, c, want, f)
}

// putPolicies shows what the policies would change, asks where that is called for, and puts them.
func (a *app) putPolicies(ctx context.Context, c *client.Client, want []client.Policy, f policyFlags) error {
	changes, err := a.preview(ctx, c, want, f.confirm.d > 0)
	if err != nil {
		return err
	}
	if f.dry {
		return a.show(changes, nil)
	}
	if risk := risks(changes); risk != "" {
		if err := a.confirm(f.yes, "%s", risk); err != nil {
			return err
		}
	}
	var put []client.Policy
	for _, ch := range changes {
		p, err := c.PutPolicy(ctx, ch.policy, client.PutOptions{ConfirmWithin: f.confirm.d, Force: f.force})
		if err != nil {
			return err
		}
		put = append(put, p)
	}
	for _, p := range put {
		a.told("policy %s is set", p.ID)
	}
	for _, ch := range changes {
		a.sayConfirm(ctx, c, ch.WhatIf)
	}
	all, changing := touched(changes)
	states, err := a.awaitGuards(ctx, c, all, changing, f.guards)
	return errors.Join(a.show(withHosts(put, states), nil), err)
}

// policyOnHosts is a policy with how its machines stood to it in the end.
type policyOnHosts struct {
	client.Policy
	Hosts []reached `json:"hosts,omitempty"`
}

func withHosts(put []client.Policy, states []reached) []policyOnHosts {
	all := make([]policyOnHosts, len(put))
	for i, p := range put {
		all[i].Policy = p
		for _, r := range states {
			if slices.ContainsFunc(p.Properties.Machines, func(m client.MachinePolicy) bool { return m.ID.Equal(r.Target) }) {
				all[i].Hosts = append(all[i].Hosts, r)
			}
		}
	}
	return all
}

// sayConfirm tells which new guards are lifted again unless they are confirmed, because of --confirm-within or because
// the plane has it so. Who may not read hosts is not told.
func (a *app) sayConfirm(ctx context.Context, c *client.Client, w client.WhatIf) {
	for _, m := range guardedMachines(w) {
		for h, err := range c.Hosts(ctx, m) {
			if err != nil {
				return
			}
			for _, g := range h.Guards {
				if !g.ConfirmBy.IsZero() {
					a.say("new guards of %s are lifted again %s unless you confirm: ajar policy confirm %s", m.Name(), a.when(g.ConfirmBy), m.Name())
					break
				}
			}
		}
	}
}

// policiesOf reads a policy file and resolves its names.
func (a *app) policiesOf(ctx context.Context, c *client.Client, cfg *config, file string) ([]client.Policy, error) {
	var b []byte
	var err error
	if file == "-" {
		b, err = io.ReadAll(io.LimitReader(a.in, maxPolicyFile+1))
	} else {
		b, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, named("the policy file", err)
	}
	parsed, err := parsePolicies(b)
	if err != nil {
		return nil, hint(exits(exitUsage, fmt.Errorf("%s:\n  %w", file, err)), "ajar policy --help shows the format")
	}
	var all []client.Policy
	var faults []error
	for _, fp := range parsed {
		p, err := fp.resolve(ctx, c, cfg)
		faults = append(faults, err)
		all = append(all, p)
	}
	return all, errors.Join(faults...)
}

func (f filePolicy) resolve(ctx context.Context, c *client.Client, cfg *config) (client.Policy, error) {
	if err := f.place(ctx, c); err != nil {
		return client.Policy{}, err
	}
	id, err := policyID(cfg, f.name, f.scope, f.location)
	if err != nil {
		return client.Policy{}, err
	}
	p, err := c.Policy(ctx, id)
	if err != nil && ajar.KindOf(err) != ajar.NotFound {
		return p, err
	}
	if err != nil {
		p = client.Policy{ID: id, Kind: "Basic"}
	}
	p.Properties.Unguard, p.Properties.BreakGlass, p.Properties.Machines = f.unguard, f.breakGlass, nil
	for _, m := range f.machines {
		target, err := f.machineID(ctx, c, id, m)
		if err != nil {
			return p, err
		}
		p.Properties.Machines = append(p.Properties.Machines, client.MachinePolicy{ID: target, PublicIPAddress: m.public, Ports: m.ports})
	}
	return p, nil
}

// place puts a policy that does not say where it belongs beside its first machine.
func (f *filePolicy) place(ctx context.Context, c *client.Client) error {
	if strings.HasPrefix(f.name, "/") || len(f.machines) == 0 || (f.scope != "" && f.location != "") {
		return nil
	}
	name := f.machines[0].name
	if f.scope != "" && !strings.Contains(name, "/") {
		name = ajar.ID(f.scope).ResourceGroup() + "/" + name
	}
	t, err := target(ctx, c, name)
	if err != nil {
		return fmt.Errorf("line %d: %w", f.machines[0].line, err)
	}
	f.scope, f.location = or(f.scope, string(t.ID.Group())), or(f.location, t.Location)
	return nil
}

// machineID finds a machine of the file: by its ID, or by its name, first in the policy's own group.
func (f filePolicy) machineID(ctx context.Context, c *client.Client, policy ajar.ID, m fileMachine) (ajar.ID, error) {
	if strings.HasPrefix(m.name, "/") {
		return ajar.ParseID(m.name)
	}
	if !strings.Contains(m.name, "/") {
		if t, err := target(ctx, c, policy.ResourceGroup()+"/"+m.name); err == nil {
			return t.ID, nil
		}
	}
	t, err := target(ctx, c, m.name)
	if err != nil {
		return "", fmt.Errorf("line %d: %w", m.line, err)
	}
	return t.ID, nil
}

// policyWith is the policy of a machine with the ports that the flags name set, and all else as it is.
func policyWith(ctx context.Context, c *client.Client, cfg *config, machine string, f policyFlags) (client.Policy, error) {
	ports, err := f.portPolicies()
	if err != nil {
		return client.Policy{}, err
	}
	t, err := target(ctx, c, machine)
	if err != nil {
		return client.Policy{}, err
	}
	p, err := policyOf(ctx, c, cfg, t, f.name)
	if err != nil {
		return p, err
	}
	if f.unguard != "" {
		p.Properties.Unguard = ajar.Unguard(f.unguard)
	}
	if f.glass != "" {
		p.Properties.BreakGlass = ajar.Switch(f.glass)
	}
	i := slices.IndexFunc(p.Properties.Machines, func(m client.MachinePolicy) bool { return m.ID.Equal(t.ID) })
	if i < 0 {
		i = len(p.Properties.Machines)
		p.Properties.Machines = append(p.Properties.Machines, client.MachinePolicy{ID: t.ID})
	}
	m := &p.Properties.Machines[i]
	for _, want := range ports {
		j := slices.IndexFunc(m.Ports, func(c client.PortPolicy) bool { return c.Number == want.Number && c.Protocol.Meets(want.Protocol) })
		if j < 0 {
			m.Ports = append(m.Ports, f.onto(client.PortPolicy{Source: "*", MaxDuration: ajar.FormatDuration(ajar.DefaultMaxDuration)}, want))
			continue
		}
		m.Ports[j] = f.onto(m.Ports[j], want)
	}
	return p, nil
}

// policyOf is the policy that a machine's ports belong to: the named one, the one that names the machine already, or a
// new one, called default, in its group and location.
func policyOf(ctx context.Context, c *client.Client, cfg *config, t client.Target, name string) (client.Policy, error) {
	if name == "" && len(t.Policies) > 1 {
		var names []string
		for _, o := range t.Policies {
			names = append(names, string(o.ID))
		}
		return client.Policy{}, hint(usage("several policies name %s:\n  %s", t.ID.Name(), strings.Join(names, "\n  ")), "--policy ID")
	}
	id := ajar.ID("")
	switch {
	case name == "" && len(t.Policies) == 1:
		id = t.Policies[0].ID
	default:
		var err error
		if id, err = policyID(cfg, name, string(t.ID.Group()), t.Location); err != nil {
			return client.Policy{}, err
		}
	}
	p, err := c.Policy(ctx, id)
	if ajar.KindOf(err) == ajar.NotFound {
		return client.Policy{ID: id, Kind: "Basic"}, nil
	}
	return p, err
}

// portPolicies are the ports that the flags name.
func (f policyFlags) portPolicies() ([]ajar.Port, error) {
	for _, s := range f.sources {
		if s == "any" {
			continue
		}
		if _, err := ajar.ParsePrefix(s); err != nil {
			return nil, err
		}
	}
	var all []ajar.Port
	for _, s := range f.ports {
		p, err := parsePort(s)
		if err != nil {
			return nil, err
		}
		if p.Protocol == "" {
			p.Protocol = ajar.TCP
		}
		all = append(all, p)
	}
	if len(f.ports) == 0 {
		for _, n := range ajar.DefaultPorts {
			all = append(all, ajar.Port{Number: n, Protocol: ajar.TCP})
		}
	}
	return all, nil
}

// onto sets in c what the flags say and leaves the rest.
func (f policyFlags) onto(c client.PortPolicy, p ajar.Port) client.PortPolicy {
	c.Number, c.Protocol = p.Number, p.Protocol
	if f.max.d > 0 {
		c.MaxDuration = ajar.FormatDuration(f.max.d)
	}
	if f.drain.d > 0 {
		c.DrainFor = ajar.FormatDuration(f.drain.d)
	}
	if f.end != "" {
		c.EndMode = ajar.EndMode(f.end)
	}
	if f.changed("widest-ipv4") {
		c.WidestV4 = f.widest4
	}
	if f.changed("widest-ipv6") {
		c.WidestV6 = f.widest6
	}
	if f.changed("approvals") {
		c.Approvals = f.approvals
	}
	switch {
	case len(f.sources) == 0:
	case slices.Contains(f.sources, "any") || slices.Contains(f.sources, "*"):
		c.Source, c.Sources = "*", nil
	case len(f.sources) == 1:
		c.Source, c.Sources = f.sources[0], nil
	default:
		c.Source, c.Sources = "", f.sources
	}
	return c
}
