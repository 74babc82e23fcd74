package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
)

func policyCmd(a *app) *cobra.Command {
	c := family("policy", "what may be asked for: list, show, set, remove, confirm", `  ajar policy list
  ajar policy set web1 --port 22 --source 203.0.113.0/24 --max 3h
  ajar policy show web1 -o yaml > web1.yaml
  ajar policy set -f web1.yaml`,
		policyListCmd(a), policyShowCmd(a), policySetCmd(a), policyRemoveCmd(a), policyConfirmCmd(a))
	c.Long = "What may be asked for, of which machines. A port that a policy names is closed unless somebody was let in.\n\n" + policyFileHelp
	return c
}

func policyListCmd(a *app) *cobra.Command {
	var scope string
	c := command("list", "policies that you may see", `  ajar policy list
  ajar policy list --scope /subscriptions/0c1b… -o json`, cobra.NoArgs, func(ctx context.Context, _ []string) error {
		c, _, err := a.client()
		if err != nil {
			return err
		}
		all, err := client.Collect(c.Policies(ctx, ajar.ID(scope)))
		if err != nil {
			return err
		}
		return list(a, all, "there are no policies that you may see", []string{"NAME", "GROUP", "LOCATION", "MACHINES"}, func(p client.Policy) []string {
			var ms []string
			for _, m := range p.Properties.Machines {
				ms = append(ms, m.ID.Name())
			}
			return []string{p.ID.Name(), p.ID.ResourceGroup(), p.ID.Location(), join(ms, "-")}
		})
	})
	c.Flags().StringVar(&scope, "scope", "", "only of this subscription or resource group")
	return c
}

func policyShowCmd(a *app) *cobra.Command {
	c := command("show POLICY|TARGET", "one policy", `  ajar policy show default
  ajar policy show web1
  ajar policy show prod/default -o yaml > default.yaml     # for policy set -f`, cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		c, _, err := a.client()
		if err != nil {
			return err
		}
		p, _, err := policy(ctx, c, args[0])
		if err != nil {
			return err
		}
		if a.output == "yaml" {
			return writePolicy(a.out, p)
		}
		return a.show(p, func(w io.Writer) {
			fmt.Fprintln(w, p.ID)
			if p.Properties.Unguard != "" {
				fmt.Fprintf(w, "ports that are dropped: %s\n", p.Properties.Unguard)
			}
			if p.Properties.BreakGlass != "" {
				fmt.Fprintf(w, "break-glass on the machines: %s\n", p.Properties.BreakGlass)
			}
			for _, m := range p.Properties.Machines {
				fmt.Fprintf(w, "%s\n", m.ID.Name())
				for _, c := range m.Ports {
					fmt.Fprintf(w, "  %s\n", plain(rule(c)))
				}
			}
		})
	})
	c.Annotations = map[string]string{"yaml": "yes"}
	return c
}

func policyConfirmCmd(a *app) *cobra.Command {
	var g guardFlags
	c := command("confirm TARGET", "keep the new guards of a machine, which would be lifted again otherwise", `  ajar policy confirm web1
  ajar policy confirm web1 --no-wait`, cobra.ExactArgs(1), func(ctx context.Context, args []string) error { return a.confirmGuards(ctx, args, g) })
	c.Long = `Keeps the new guards of a machine. Its host lifts them by itself unless it hears of this in time.

` + guardsWaited
	g.add(c)
	return c
}

func (a *app) confirmGuards(ctx context.Context, args []string, g guardFlags) error {
	c, _, err := a.client()
	if err != nil {
		return err
	}
	t, err := target(ctx, c, args[0])
	if err != nil {
		return err
	}
	if err := c.ConfirmGuards(ctx, t.ID); err != nil {
		return err
	}
	a.told("the guards of %s are confirmed", t.ID.Name())
	_, err = a.awaitGuards(ctx, c, []ajar.ID{t.ID}, []ajar.ID{t.ID}, g)
	return errors.Join(a.show(map[string]any{"target": t.ID}, nil), err)
}

// policyID is where a policy is kept. name may be its whole ID.
func policyID(cfg *config, name, scope, location string) (ajar.ID, error) {
	if strings.HasPrefix(name, "/") {
		return ajar.ParseID(name)
	}
	group := ajar.ID(or(scope, string(cfg.group()))).Group()
	if group == "" {
		return "", usage("scope %q is not a group (/subscriptions/…/resourceGroups/…)", scope)
	}
	location = or(location, or(cfg.Location, defaultLocation))
	return ajar.ParseID(string(group) + "/providers/Microsoft.Security/locations/" + location + "/jitNetworkAccessPolicies/" + or(name, "default"))
}
