package main

import (
	"context"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
)

type leasesFlags struct {
	everyone, all, watch bool
	scope                string
	limit                limit
	period               period
}

// usualRows is how many rows of a list a person is shown who says nothing else.
const usualRows = 100

func leasesCmd(a *app) *cobra.Command {
	var f leasesFlags
	c := command("leases [TARGET]", "what is open now, and until when", `  ajar leases
  ajar leases --everyone
  ajar leases --everyone --watch
  ajar leases web1 --everyone --all --since 7d -o json`, cobra.MaximumNArgs(1), func(ctx context.Context, args []string) error {
		if len(args) == 1 {
			f.scope = args[0]
		}
		return a.leases(ctx, f)
	})
	c.Flags().BoolVar(&f.everyone, "everyone", false, "those of others, too, as far as you may see them")
	c.Flags().BoolVar(&f.all, "all", false, "closed ones, too")
	c.Flags().StringVar(&f.scope, "scope", "", "only of a machine, or of machines at or below this ID")
	c.Flags().BoolVarP(&f.watch, "watch", "w", false, "keep showing it, until Ctrl-C")
	f.limit.add(c, usualRows)
	f.period.add(a, c)
	return withCSV(c)
}

// selected is what a list of leases needs before it begins: a client, the scope, and how many.
func (a *app) selected(ctx context.Context, f leasesFlags) (c *client.Client, in ajar.ID, most int, err error) {
	if most, err = f.limit.most(a); err != nil {
		return nil, "", 0, err
	}
	if err = f.period.check(); err != nil {
		return nil, "", 0, err
	}
	if c, _, err = a.client(); err != nil {
		return nil, "", 0, err
	}
	in, err = scopeOf(ctx, c, f.scope)
	return c, in, most, err
}

func (a *app) leases(ctx context.Context, f leasesFlags) error {
	c, in, most, err := a.selected(ctx, f)
	if err != nil {
		return err
	}
	q := client.LeaseQuery{Scope: in, Live: !f.all && !f.period.set(), Mine: !f.everyone, Since: f.period.since.t, Before: f.period.until.t, Page: page(most)}
	none := "nothing of yours is open; --everyone shows what others have open, --all what was"
	if f.everyone {
		none = "nothing is open that you may see; --all shows what was"
	}
	return a.watching(ctx, f.watch, func(ctx context.Context) error {
		all, more, err := some(c.Leases(ctx, q), most)
		if err != nil {
			return err
		}
		err = list(a, all, none, []string{"LEASE", "TARGET", "PORT", "FROM", "WHO", "STATE", "ENDS", "REQUEST"}, a.leaseRow)
		a.cutOff(more, most)
		return err
	})
}

func (a *app) leaseRow(l client.Lease) []string {
	return []string{a.id(string(l.ID)), a.name(l.Target), port(l.Number, l.Protocol), join(l.Sources, "-"), l.Name, a.leaseState(l), a.when(leaseEnd(l)), a.id(string(l.Request))}
}

// leaseEnd is when l ends, or when it ended.
func leaseEnd(l client.Lease) time.Time {
	if l.State == ajar.Closed && !l.Closed.IsZero() && l.Closed.Before(l.End) {
		return l.Closed
	}
	return l.End
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
