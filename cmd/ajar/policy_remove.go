package main

import (
	"context"
	"errors"
	"slices"

	"github.com/spf13/cobra"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
)

func policyRemoveCmd(a *app) *cobra.Command {
	var ports []string
	var f policyFlags
	c := command("remove POLICY|TARGET", "remove a policy, or take a machine or some of its ports out of one", `  ajar policy remove web1 --port 3389     # this port only
  ajar policy remove web1                 # the machine
  ajar policy remove prod/default --yes   # the whole policy`, cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		c, _, err := a.client()
		if err != nil {
			return err
		}
		p, machine, err := policy(ctx, c, args[0])
		if err != nil {
			return err
		}
		if machine == "" && len(ports) > 0 {
			return usage("--port goes with a machine, and %q is a policy", args[0])
		}
		if err := takeOut(&p, machine, ports); err != nil {
			return err
		}
		if len(p.Properties.Machines) > 0 {
			return a.putPolicies(ctx, c, []client.Policy{p}, f)
		}
		return a.deletePolicy(ctx, c, p, f)
	})
	c.Long = `Removes a policy, or takes a machine or some of its ports out of one; a policy that is left without machines goes.
Leases under what is removed end. Unless the policy says "unguard: keep", ports that no policy names any longer are
open to everybody again: that is shown first and needs a yes.

` + guardsWaited
	c.Flags().StringSliceVarP(&ports, "port", "p", nil, "only this port; may be repeated")
	c.Flags().BoolVar(&f.dry, "dry-run", false, "show what would change and change nothing")
	c.Flags().BoolVarP(&f.yes, "yes", "y", false, "do not ask")
	f.guards.add(c)
	return c
}

// takeOut removes ports of a machine from p, or the machine, or all machines.
func takeOut(p *client.Policy, machine ajar.ID, ports []string) error {
	if machine == "" {
		p.Properties.Machines = nil
		return nil
	}
	i := slices.IndexFunc(p.Properties.Machines, func(m client.MachinePolicy) bool { return m.ID.Equal(machine) })
	m := &p.Properties.Machines[i]
	for _, s := range ports {
		want, err := parsePort(s)
		if err != nil {
			return err
		}
		n := len(m.Ports)
		m.Ports = slices.DeleteFunc(m.Ports, func(c client.PortPolicy) bool {
			return c.Number == want.Number && (want.Protocol == "" || c.Protocol == want.Protocol)
		})
		if len(m.Ports) == n {
			return ajar.Errorf(ajar.NotFound, "policy %s has no port %s on %s", p.ID.Name(), s, machine.Name())
		}
	}
	if len(ports) == 0 || len(m.Ports) == 0 {
		p.Properties.Machines = slices.Delete(p.Properties.Machines, i, i+1)
	}
	return nil
}

func (a *app) deletePolicy(ctx context.Context, c *client.Client, p client.Policy, f policyFlags) error {
	p.Properties.Machines = []client.MachinePolicy{}
	changes, err := a.preview(ctx, c, []client.Policy{p}, false)
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
	if _, err := c.DeletePolicy(ctx, p.ID); err != nil {
		return err
	}
	a.told("policy %s is removed", p.ID)
	all, changing := touched(changes)
	_, err = a.awaitGuards(ctx, c, all, changing, f.guards)
	return errors.Join(a.show(changes, nil), err)
}
