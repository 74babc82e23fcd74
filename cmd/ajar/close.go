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

// whichFlags name leases: by machine and port, by lease, or by request.
type whichFlags struct {
	lease, request string
	everyone       bool
}

func (w *whichFlags) add(c *cobra.Command, verb string) {
	c.Flags().StringVar(&w.lease, "lease", "", verb+" this lease; the end of its id is enough")
	c.Flags().StringVar(&w.request, "request", "", verb+" all leases of this request; the end of its id is enough")
	c.Flags().BoolVar(&w.everyone, "everyone", false, verb+" those of others, too")
	c.MarkFlagsMutuallyExclusive("lease", "request")
}

// check sees that leases are named in one way.
func (w *whichFlags) check(args []string) error {
	if byID := w.lease != "" || w.request != ""; byID == (len(args) > 0) {
		return hint(usage("say which: TARGET [PORT], --lease ID or --request ID"), "ajar leases shows what is open")
	}
	return nil
}

// live reports whether l lets somebody in, outliving whether sessions go on at least.
func live(l client.Lease) bool      { return l.Live() }
func outliving(l client.Lease) bool { return l.Live() || l.Outlived != nil && l.Outlived.Live > 0 }

// find lists the leases of a machine that which is true of.
func (w *whichFlags) find(ctx context.Context, c *client.Client, args []string, which func(client.Lease) bool) ([]client.Lease, error) {
	var want ajar.Port
	if len(args) > 1 {
		var err error
		if want, err = parsePort(args[1]); err != nil {
			return nil, err
		}
	}
	t, err := target(ctx, c, args[0])
	if err != nil {
		return nil, err
	}
	var found []client.Lease
	for l, err := range c.Leases(ctx, client.LeaseQuery{Scope: t.ID, Live: true, Mine: !w.everyone}) {
		if err != nil {
			return nil, err
		}
		if which(l) && (want.Number == 0 || l.Number == want.Number) && (want.Protocol == "" || l.Protocol.Meets(want.Protocol)) {
			found = append(found, l)
		}
	}
	if len(found) == 0 {
		return nil, hint(ajar.Errorf(ajar.NotFound, "nothing of yours is open on %s", join(args, "")), "ajar leases --everyone shows what others have open")
	}
	return found, nil
}

func closeCmd(a *app) *cobra.Command {
	var w whichFlags
	var reason string
	var noWait bool
	timeout := span{10 * time.Second}
	c := command("close [TARGET [PORT]]", "close what is open, before its end", `  ajar close web1
  ajar close web1 22 --reason "done"
  ajar close --lease 5f0c2a1b
  ajar close --request 91aa03de --reason "wrong machine"`, cobra.MaximumNArgs(2), func(ctx context.Context, args []string) error {
		if err := w.check(args); err != nil {
			return err
		}
		c, _, err := a.client()
		if err != nil {
			return err
		}
		closed, err := a.close(ctx, c, w, args, reason)
		if len(closed) == 0 && err != nil {
			return err
		}
		if !noWait {
			err = errors.Join(err, a.awaitClosed(ctx, c, closed, timeout.d))
		}
		return errors.Join(a.show(closed, func(out io.Writer) {
			for _, l := range closed {
				fmt.Fprintf(out, "%s %s to %s is %s\n", l.Target.Name(), port(l.Number, l.Protocol), join(l.Sources, "?"), a.leaseState(l))
			}
		}), err)
	})
	c.Long = `Closes ports before their end, cuts the sessions on them, and waits until the rules were seen to be gone. If a host cannot
be told it exits with 5: the port closes when the host is back, and by itself at its end at the latest. With --request,
one that still waits for approval is withdrawn.`
	w.add(c, "close")
	c.Flags().StringVarP(&reason, "reason", "r", "", "why; the log keeps it")
	c.Flags().BoolVar(&noWait, "no-wait", false, "do not wait until they were seen to be closed")
	c.Flags().Var(&timeout, "timeout", "how long to wait")
	return c
}

// awaitClosed brings leases up to date once they are closed, or says that they could not be closed yet.
func (a *app) awaitClosed(ctx context.Context, c *client.Client, leases []client.Lease, timeout time.Duration) error {
	return await(ctx, leases, timeout, c.WaitClosed, func(l client.Lease) error {
		return hint(fmt.Errorf("%s on %s could not be closed yet", port(l.Number, l.Protocol), l.Target.Name()), "%s", a.stillOpen(l))
	})
}

// await brings leases up to date once wait has seen what it waits for on each. late says what is the matter with the
// first for which the time ran out.
func await(ctx context.Context, leases []client.Lease, timeout time.Duration,
	wait func(context.Context, client.Lease) (client.Lease, error), late func(client.Lease) error,
) error {
	waiting, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for i := range leases {
		var err error
		if leases[i], err = wait(waiting, leases[i]); errors.Is(err, context.DeadlineExceeded) {
			return exits(exitUnavailable, late(leases[i]))
		} else if err != nil {
			return err
		}
	}
	return nil
}

func (a *app) stillOpen(l client.Lease) string {
	s := "it closes when the host can be told"
	if !l.MayBeOpenUntil.IsZero() {
		s += "; until then, and until " + a.clock(l.MayBeOpenUntil) + " at the latest, it may be open"
	}
	return s
}

func (a *app) close(ctx context.Context, c *client.Client, w whichFlags, args []string, reason string) (closed []client.Lease, _ error) {
	switch {
	case w.request != "":
		r, err := request(ctx, c, w.request)
		if err != nil {
			return nil, err
		}
		if r.State == ajar.Pending {
			if _, err := c.Withdraw(ctx, r.ID, reason); err != nil {
				return nil, err
			}
			a.say("request %s is withdrawn", r.ID)
			return []client.Lease{}, nil
		}
		r, err = c.Revoke(ctx, r.ID, reason)
		return r.Leases, err
	case w.lease != "":
		l, err := lease(ctx, c, w.lease)
		if err != nil {
			return nil, err
		}
		l, err = c.CloseLease(ctx, l.ID, reason)
		return []client.Lease{l}, err
	}
	found, err := w.find(ctx, c, args, outliving)
	if err != nil {
		return nil, err
	}
	var faults []error
	for _, l := range found {
		done, err := c.CloseLease(ctx, l.ID, reason)
		if err != nil {
			faults = append(faults, err) // the others shall close all the same
			continue
		}
		closed = append(closed, done)
	}
	return closed, errors.Join(faults...)
}
