package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
)

func extendCmd(a *app) *cobra.Command {
	var w whichFlags
	var by span
	var noWait bool
	end, timeout := until{now: a.now}, span{10 * time.Second}
	c := command("extend [TARGET [PORT]]", "move the end of what is open, without a gap", `  ajar extend web1 --by 30m
  ajar extend web1 22 --until 18:00
  ajar extend --request 91aa03de --by 1h`, cobra.MaximumNArgs(2), func(ctx context.Context, args []string) error {
		if err := w.check(args); err != nil {
			return err
		}
		if (by.d == 0) == end.t.IsZero() {
			return usage("say how far: --by 30m or --until 18:00")
		}
		c, _, err := a.client()
		if err != nil {
			return err
		}
		leases, err := extend(ctx, c, w, args, client.Extension{Until: end.t, By: by.d})
		if ajar.KindOf(err) == ajar.Invalid && errors.As(err, new(*client.Error)) {
			return exits(exitRefused, err) // longer than the policy lets it be
		}
		if err != nil {
			return err
		}
		if !noWait {
			err = a.awaitHeld(ctx, c, leases, timeout.d)
		}
		return errors.Join(a.show(leases, func(out io.Writer) {
			for _, l := range leases {
				fmt.Fprintf(out, "%s %s is granted to %s until %s (%s)\n", l.Target.Name(), port(l.Number, l.Protocol), join(l.Sources, "?"), a.clock(l.End), relative(l.End.Sub(a.now())))
			}
		}), err)
	})
	c.Long = `Moves the end of what is open. Counted from its start it can be no longer than the policy lets it be; past that, ask
anew with ajar open. It waits until the firewall itself has the new end; if the host cannot be told it exits with 5, and the
port closes there at the old end unless the host is back before.`
	w.add(c, "extend")
	c.Flags().Var(&by, "by", "how much longer")
	c.Flags().Var(&end, "until", "until when")
	c.MarkFlagsMutuallyExclusive("by", "until")
	c.Flags().BoolVar(&noWait, "no-wait", false, "do not wait until the firewall has it")
	c.Flags().Var(&timeout, "timeout", "how long to wait")
	return c
}

// awaitHeld brings leases up to date once their firewalls have their new ends, or says which do not.
func (a *app) awaitHeld(ctx context.Context, c *client.Client, leases []client.Lease, timeout time.Duration) error {
	return await(ctx, leases, timeout, c.WaitHeld, func(l client.Lease) error {
		return hint(fmt.Errorf("%s does not know of it yet", l.Target.Name()), "there the port closes at %s, unless the host can be told before", a.clock(l.KernelEnd))
	})
}

func extend(ctx context.Context, c *client.Client, w whichFlags, args []string, e client.Extension) ([]client.Lease, error) {
	switch {
	case w.request != "":
		r, err := request(ctx, c, w.request)
		if err != nil {
			return nil, err
		}
		r, err = c.Extend(ctx, r.ID, e)
		return r.Leases, err
	case w.lease != "":
		l, err := lease(ctx, c, w.lease)
		if err != nil {
			return nil, err
		}
		l, err = c.ExtendLease(ctx, l.ID, e)
		return []client.Lease{l}, err
	}
	found, err := w.find(ctx, c, args, live)
	if err != nil {
		return nil, err
	}
	for i := range found {
		if found[i], err = c.ExtendLease(ctx, found[i].ID, e); err != nil {
			return nil, err
		}
	}
	return found, nil
}
