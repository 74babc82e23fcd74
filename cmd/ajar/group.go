package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
)

func groupCmd(a *app) *cobra.Command {
	k := principalKind{ajar.Group, "group", "group"}
	return family("group", "groups: add, list, show, add-member, remove-member, remove", `  ajar group add admins
  ajar group add-member admins anna
  ajar role assign Owner admins --scope /`,
		groupAddCmd(a, k), k.listCmd(a), k.showCmd(a),
		memberCmd(a, k, "add-member", "put somebody into a group", "in", (*client.Client).AddMember),
		memberCmd(a, k, "remove-member", "take somebody out of a group", "out of", (*client.Client).RemoveMember),
		k.removeCmd(a))
}

func groupAddCmd(a *app, k principalKind) *cobra.Command {
	var display string
	c := command("add NAME", "add a group", `  ajar group add admins --display "Administrators"`, cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		c, _, err := a.client()
		if err != nil {
			return err
		}
		p, err := c.CreatePrincipal(ctx, client.Principal{Kind: k.kind, Name: args[0], Display: display}, "")
		if err != nil {
			return err
		}
		return a.done(p, "group %s is added (%s)", plain(p.Name), p.ID)
	})
	c.Flags().StringVar(&display, "display", "", "how the group is shown")
	return c
}

func memberCmd(a *app, k principalKind, verb, short, where string, do func(*client.Client, context.Context, string, string) error) *cobra.Command {
	return command(verb+" GROUP WHO...", short, "  ajar group "+verb+" admins anna\n  ajar group "+verb+" admins anna bert", cobra.MinimumNArgs(2), func(ctx context.Context, args []string) error {
		c, _, err := a.client()
		if err != nil {
			return err
		}
		g, err := k.find(ctx, c, args[0])
		if err != nil {
			return err
		}
		for _, name := range args[1:] {
			p, err := c.Principal(ctx, name)
			if err != nil {
				return err
			}
			if err := do(c, ctx, string(g.ID), string(p.ID)); err != nil {
				return err
			}
		}
		if g, err = c.Principal(ctx, string(g.ID)); err != nil {
			return err
		}
		return a.done(g, "%s: %s %s", join(args[1:], ""), where, plain(g.Name))
	})
}
