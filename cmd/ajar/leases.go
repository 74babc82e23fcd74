package main

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
)

func leasesCmd(a *app) *cobra.Command {
	var everyone, all bool
	var scope string
	c := command("leases [TARGET]", "what is open now, and until when", `  ajar leases
  ajar leases --everyone
  ajar leases web1 --everyone --all -o json`, cobra.MaximumNArgs(1), func(ctx context.Context, args []string) error {
		c, _, err := a.client()
		if err != nil {
			return err
		}
		if len(args) == 1 {
			scope = args[0]
		}
		in, err := scopeOf(ctx, c, scope)
		if err != nil {
			return err
		}
		leases, err := client.Collect(c.Leases(ctx, client.LeaseQuery{Scope: in, Live: !all, Mine: !everyone}))
		if err != nil {
			return err
		}
		return list(a, leases, "nothing is open", []string{"LEASE", "TARGET", "PORT", "FROM", "WHO", "STATE", "ENDS", "REQUEST"}, a.leaseRow)
	})
	c.Flags().BoolVar(&everyone, "everyone", false, "those of others, too, as far as you may see them")
	c.Flags().BoolVar(&all, "all", false, "closed ones, too")
	c.Flags().StringVar(&scope, "scope", "", "only machines at or below this ID")
	return a.completeTargets(c)
}

func (a *app) leaseRow(l client.Lease) []string {
	return []string{tail(l.ID), l.Target.Name(), port(l.Number, l.Protocol), join(l.Sources, "-"), l.Name, a.leaseState(l), a.when(l.End), tail(l.Request)}
}

// leaseState is the state, and what a person must know besides.
func (a *app) leaseState(l client.Lease) string {
	s := lowerFirst(string(l.State))
	switch {
	case !l.MayBeOpenUntil.IsZero():
		s += ", may be open until " + a.clock(l.MayBeOpenUntil)
	case (l.State == ajar.Closing || l.State == ajar.Closed) && l.Reason != "":
		s += " (" + lowerFirst(string(l.Reason)) + ")"
	}
	if o := l.Outlived; o != nil && o.Live > 0 {
		s += ", sessions that live on: " + strconv.Itoa(o.Live) + ", until " + a.clock(l.HardStop) + " at the latest"
	}
	if l.Unverified {
		s += ", not verified"
	}
	if l.Trouble != "" && l.State != ajar.Closed {
		s += ": " + l.Trouble
	}
	return s
}
