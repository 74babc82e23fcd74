package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
)

// principalKind is what user, group and sp have in common.
type principalKind struct {
	kind       ajar.PrincipalKind
	word, noun string // user, person
}

func (k principalKind) listCmd(a *app) *cobra.Command {
	return command("list", "those there are", fmt.Sprintf("  ajar %s list\n  ajar %s list -o json", k.word, k.word), cobra.NoArgs, func(ctx context.Context, _ []string) error {
		c, _, err := a.client()
		if err != nil {
			return err
		}
		all, err := client.Collect(c.Principals(ctx, k.kind))
		if err != nil {
			return err
		}
		heads := []string{"NAME", "SHOWN AS", "ID", "STATE"}
		if k.kind == ajar.Group {
			heads[3] = "MEMBERS"
		}
		return list(a, all, "there are none that you may see", heads, func(p client.Principal) []string {
			last := yes(p.Disabled, "disabled")
			if k.kind == ajar.Group {
				last = members(p)
			}
			return []string{p.Name, or(p.Display, "-"), string(p.ID), last}
		})
	})
}

func members(p client.Principal) string {
	var all []string
	for _, m := range p.Members {
		all = append(all, or(m.Name, string(m.ID)))
	}
	return join(all, "-")
}

func (k principalKind) showCmd(a *app) *cobra.Command {
	return command("show NAME", "one of them", fmt.Sprintf("  ajar %s show %s", k.word, k.example()), cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		_, p, err := k.named(ctx, a, args[0])
		if err != nil {
			return err
		}
		return a.show(p, func(w io.Writer) {
			rows := [][]string{{"name", p.Name}, {"id", string(p.ID)}, {"shown as", or(p.Display, "-")}, {"since", a.when(p.Created)}, {"state", or(yes(p.Disabled, "disabled"), "enabled")}}
			if p.Upstream != nil {
				rows = append(rows, []string{"signs in as", p.Upstream.Subject + " at " + p.Upstream.Issuer})
			}
			if k.kind == ajar.Group {
				rows = append(rows, []string{"members", members(p)})
			}
			table(w, 0, nil, rows, func(r []string) []string { return r })
		})
	})
}

func (k principalKind) example() string {
	switch k.kind {
	case ajar.Group:
		return "admins"
	case ajar.ServicePrincipal:
		return "deploy"
	}
	return "anna"
}

// find looks somebody up and sees that he is of the kind that the command is for.
func (k principalKind) find(ctx context.Context, c *client.Client, name string) (client.Principal, error) {
	p, err := c.Principal(ctx, name)
	if err == nil && p.Kind != k.kind {
		return p, exits(exitUsage, fmt.Errorf("%q is no %s but a %s", name, k.noun, lowerFirst(string(p.Kind))))
	}
	return p, err
}

// named is a client, and whom a command names.
func (k principalKind) named(ctx context.Context, a *app, name string) (*client.Client, client.Principal, error) {
	c, _, err := a.client()
	if err != nil {
		return nil, client.Principal{}, err
	}
	p, err := k.find(ctx, c, name)
	return c, p, err
}

func (k principalKind) removeCmd(a *app) *cobra.Command {
	return command("remove NAME", "remove one, with its sessions and roles", fmt.Sprintf("  ajar %s remove %s", k.word, k.example()), cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		c, p, err := k.named(ctx, a, args[0])
		if err != nil {
			return err
		}
		if err := c.DeletePrincipal(ctx, string(p.ID)); err != nil {
			return err
		}
		return a.done(map[string]any{"id": p.ID, "name": p.Name}, "%s %s is removed", k.noun, plain(p.Name))
	})
}

// disableCmd is disable and, with disabled false, enable.
func (k principalKind) disableCmd(a *app, disabled bool) *cobra.Command {
	verb, short := "enable", "let one in again"
	if disabled {
		verb, short = "disable", "keep one from signing in, and end what it is signed in to"
	}
	return command(verb+" NAME", short, fmt.Sprintf("  ajar %s %s %s", k.word, verb, k.example()), cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		c, p, err := k.named(ctx, a, args[0])
		if err != nil {
			return err
		}
		if p, err = c.SetDisabled(ctx, p, disabled); err != nil {
			return err
		}
		return a.done(p, "%s %s is %sd", k.noun, plain(p.Name), verb)
	})
}
