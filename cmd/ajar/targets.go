package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
)

func targetsCmd(a *app) *cobra.Command {
	var scope string
	c := command("targets [TARGET]", "machines that you can ask for, and their state", `  ajar targets
  ajar targets web1
  ajar targets --scope /subscriptions/0c1b…/resourceGroups/prod -o csv
  ajar targets set web1 --address 10.0.0.4 --login ops`, cobra.MaximumNArgs(1), nil)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 1 {
			return orCommand(cmd, args[0], a.showTarget(cmd.Context(), args[0]))
		}
		c, _, err := a.client()
		if err != nil {
			return err
		}
		all, err := client.Collect(c.Targets(cmd.Context(), client.TargetQuery{Scope: ajar.ID(scope)}))
		if err != nil {
			return err
		}
		return list(a, all, "there are no machines that you may see", []string{"NAME", "GROUP", "ADDRESS", "HOST", "PORTS", "ORIGIN"}, func(t client.Target) []string {
			return []string{a.name(t.ID), t.ID.ResourceGroup(), addressOf(t), a.hostOf(t), offered(t), a.origin(t)}
		})
	}
	c.Flags().StringVar(&scope, "scope", "", "only machines at or below this ID")
	c.AddCommand(targetShowCmd(a), targetSetCmd(a), targetRemoveCmd(a))
	return withCSV(c)
}

func addressOf(t client.Target) string {
	if len(t.Addresses) == 0 {
		return "-"
	}
	return t.Addresses[0].String()
}

// hostOf says how a machine's host is, as far as the caller may see it.
func (a *app) hostOf(t client.Target) string {
	switch {
	case t.Host != nil:
		return a.hostState(t.Host)
	case t.Joined:
		return "joined"
	}
	return "not joined"
}

// hostState says in a few words whether a host can be told anything.
func (a *app) hostState(h *client.HostState) string {
	switch {
	case h.Connected:
		return "connected"
	case h.Since.IsZero():
		return "unreachable"
	}
	return "unreachable since " + a.when(h.Since)
}

// origin says where a machine is known from, and whether it is about to go.
func (a *app) origin(t client.Target) string {
	switch {
	case t.Missing.IsZero():
		return t.Source
	case t.Kept != "":
		return t.Source + ", not listed since " + a.when(t.Missing) + ", kept: " + t.Kept
	}
	return t.Source + ", not listed since " + a.when(t.Missing)
}

func offered(t client.Target) string {
	var ports []string
	for _, p := range t.Policies {
		for _, o := range p.Ports {
			s := port(o.Number, o.Protocol)
			if o.MaxDuration != "" {
				s += " ≤" + iso(o.MaxDuration)
			}
			if o.Approvals > 0 {
				s += fmt.Sprintf(" (%d to approve)", o.Approvals)
			}
			ports = append(ports, s)
		}
	}
	return join(ports, "-")
}

func targetShowCmd(a *app) *cobra.Command {
	return command("show TARGET", "everything known of one machine", `  ajar targets show web1`, cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		return a.showTarget(ctx, args[0])
	})
}

func (a *app) showTarget(ctx context.Context, name string) error {
	c, _, err := a.client()
	if err != nil {
		return err
	}
	t, err := target(ctx, c, name)
	if err != nil {
		return err
	}
	return a.show(t, func(w io.Writer) {
		rows := [][]string{
			{"id", string(t.ID)}, {"location", t.Location}, {"os", t.OS}, {"addresses", addresses(t)}, {"login", t.Login},
			{"host", a.hostOf(t)}, {"ports", offered(t)}, {"origin", a.origin(t)},
		}
		for _, name := range slices.Sorted(maps.Keys(t.Tags)) {
			rows = append(rows, []string{"tag " + name, t.Tags[name]})
		}
		if t.FoundIn != "" {
			rows = append(rows, []string{"found in", string(t.FoundIn)})
		}
		if t.Clash != "" {
			rows = append(rows, []string{"also listed by", t.Clash})
		}
		if t.SSHPort != 0 {
			rows = append(rows, []string{"ssh port", fmt.Sprint(t.SSHPort)})
		}
		if t.Host != nil && t.Host.Trouble != "" {
			rows = append(rows, []string{"trouble", t.Host.Trouble})
		}
		if t.Host != nil {
			for _, r := range t.Host.Refused {
				rows = append(rows, []string{"refused", fmt.Sprintf("%s on %s, %s", r.Source, port(r.Number, r.Protocol), a.when(r.At))})
			}
		}
		table(w, 0, nil, rows, func(r []string) []string { return r })
	})
}

func addresses(t client.Target) string {
	var all []string
	for _, x := range t.Addresses {
		all = append(all, x.String())
	}
	return strings.Join(all, ", ")
}
