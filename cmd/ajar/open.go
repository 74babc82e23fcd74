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

// usualTime is how long access is asked for when nobody says, or as long as the policy lets if that is shorter.
const usualTime = time.Hour

// askFlags are the flags of what asks for access: open and ssh.
type askFlags struct {
	length       span
	end          until
	from, reason string
	policy       string
	wait, noWait bool
	timeout      span
}

func (f *askFlags) add(a *app, c *cobra.Command) {
	f.end.now, f.timeout.d = a.now, time.Minute
	c.Flags().Var(&f.length, "for", "how long, from the decision on (1h, or less if the policy says so)")
	c.Flags().Var(&f.end, "until", "until when")
	c.Flags().StringVar(&f.from, "from", "me", "address or prefix that may connect; me = the address that the plane sees you at")
	c.Flags().StringVarP(&f.reason, "reason", "r", "", "why; approvers and the log's readers see it")
	c.Flags().StringVar(&f.policy, "policy", "", "policy to ask under, if several name the machine")
	c.Flags().Var(&f.timeout, "timeout", "how long to wait")
	c.MarkFlagsMutuallyExclusive("for", "until")
}

func openCmd(a *app) *cobra.Command {
	var f askFlags
	c := command("open TARGET PORT", "ask for a port to be opened to your address", `  ajar open web1 22
  ajar open web1 22 --for 2h --reason "disk full"
  ajar open web1 rdp --until 17:30 --from 203.0.113.7
  ajar open web1 22 --no-wait -o json`, cobra.ExactArgs(2), func(ctx context.Context, args []string) error {
		return a.open(ctx, args[0], args[1], f)
	})
	c.Long = `Asks for a port of a machine to be opened to an address, waits until the firewall has the rule, and prints the line to
connect with. If it needs somebody's approval, it waits for that, too, as long as --timeout says; then it exits with 6
and the request stays. If the host cannot be reached it exits with 5; the port opens when the host is back.`
	f.add(a, c)
	c.Flags().BoolVar(&f.wait, "wait", true, "wait until the port is open")
	c.Flags().BoolVar(&f.noWait, "no-wait", false, "do not wait")
	c.MarkFlagsMutuallyExclusive("wait", "no-wait")
	return c
}

func (a *app) open(ctx context.Context, machine, portText string, f askFlags) error {
	want, err := parsePort(portText)
	if err != nil {
		if _, swapped := parsePort(machine); swapped == nil {
			err = hint(err, "the machine comes first: ajar open %s %s", portText, machine)
		}
		return err
	}
	c, _, err := a.client()
	if err != nil {
		return err
	}
	t, err := target(ctx, c, machine)
	if err != nil {
		return a.orBreakGlass(err, want)
	}
	r, err := a.ask(ctx, c, t, want, f)
	if err != nil {
		return a.orBreakGlass(err, want)
	}
	if !f.wait || f.noWait {
		return a.opened(t, want.Number, r, pending(r))
	}
	r, err = a.await(ctx, c, r, f.timeout.d)
	switch {
	case errors.Is(err, context.Canceled):
		a.say("the request stays; to end it: ajar close --request %s", r.ID)
		return err
	case err == nil:
		err = a.notOpen(ctx, c, t, r)
	}
	return a.opened(t, want.Number, r, err)
}

// orBreakGlass says, of a plane that cannot be reached, what goes without it.
func (a *app) orBreakGlass(err error, p ajar.Port) error {
	if ajar.KindOf(err) != ajar.Unavailable || errors.As(err, new(*client.Error)) || untrusted(err) {
		return err
	}
	return hint(err, "what is open stays open until its end; without the plane, root on the machine itself can open: ajar-agent break-glass %d --from ADDRESS --for 30m --reason …", p.Number)
}

// ask makes the request.
func (a *app) ask(ctx context.Context, c *client.Client, t client.Target, want ajar.Port, f askFlags) (client.Request, error) {
	offer, longest, err := choose(t, want, f.policy)
	if err != nil {
		return client.Request{}, err
	}
	ask := client.Ask{Target: t.ID, Number: want.Number, Protocol: want.Protocol, End: f.end.t, Duration: f.length.d}
	if ask.End.IsZero() && ask.Duration == 0 {
		ask.Duration = usualTime
		if longest > 0 {
			ask.Duration = min(usualTime, longest)
		}
	}
	if f.from != "me" && f.from != "" {
		if _, err := ajar.ParsePrefix(f.from); err != nil {
			return client.Request{}, err
		}
		ask.Source = f.from
	}
	r, err := c.Initiate(ctx, client.Initiate{Policy: offer, Asks: []client.Ask{ask}, Justification: f.reason})
	if errors.Is(err, context.Canceled) {
		a.say("it is not known whether the request was made: ajar leases, ajar requests list --mine")
	}
	if err != nil {
		return r, err
	}
	for _, w := range r.Warnings {
		a.say("warning: %s", plain(w))
	}
	return r, nil
}

// choose finds the policy to ask under: among those that offer the port, the one with the fewest approvals and then the
// longest time. If none offers it, the plane is asked all the same, so that it says why not and records it.
func choose(t client.Target, want ajar.Port, name string) (policy ajar.ID, longest time.Duration, _ error) {
	var any []ajar.ID
	approvals := -1
	for _, o := range t.Policies {
		if name != "" && !o.ID.Equal(ajar.ID(name)) && !ajar.ID(o.ID.Name()).Equal(ajar.ID(name)) {
			continue
		}
		any = append(any, o.ID)
		for _, p := range o.Ports {
			if p.Number != want.Number || (want.Protocol != "" && !p.Protocol.Has(want.Protocol)) {
				continue
			}
			d, _ := ajar.ParseDuration(p.MaxDuration)
			if approvals < 0 || p.Approvals < approvals || (p.Approvals == approvals && d > longest) {
				policy, longest, approvals = o.ID, d, p.Approvals
			}
		}
	}
	switch {
	case policy != "":
		return policy, longest, nil
	case len(any) == 1:
		return any[0], 0, nil
	case len(any) == 0 && name != "":
		return "", 0, hint(ajar.Errorf(ajar.NotFound, "policy %q does not name %s, or you may not see it", name, t.ID.Name()), "ajar targets show %s", t.ID.Name())
	case len(any) == 0:
		return "", 0, hint(ajar.Errorf(ajar.NotFound, "no policy that you may see names %s", t.ID.Name()), "whoever looks after it: ajar policy set %s --port %d", t.ID.Name(), want.Number)
	}
	return "", 0, exits(exitRefused, hint(fmt.Errorf("none of %d policies offers port %d on %s", len(any), want.Number, t.ID.Name()), "offered: %s", offered(t)))
}

// pending is the error of a request that waits for approval.
func pending(r client.Request) error {
	if r.State != ajar.Pending {
		return nil
	}
	need := max(r.Needs-len(r.Approvals), 1)
	return exits(exitPending, hint(fmt.Errorf("request %s waits for %d more approval(s)", r.ID, need),
		"somebody else: ajar requests approve %s; to take it back: ajar requests withdraw %s", r.ID, r.ID))
}

// await waits until r is settled, or for as long as timeout says; then it gives r as it stands.
func (a *app) await(ctx context.Context, c *client.Client, r client.Request, timeout time.Duration) (client.Request, error) {
	if r.Settled() && len(r.Leases) > 0 {
		return r, nil
	}
	waiting, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	shown := ""
	last, err := c.Wait(waiting, r.ID, func(r client.Request) {
		if now := progress(r); terminal(a.err) && now != shown && !r.Settled() {
			a.say("%s", now)
			shown = now
		}
	})
	if last.ID == "" {
		last = r
	}
	switch {
	case ctx.Err() != nil:
		return last, context.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		var gone *ajar.Error
		if errors.As(err, &gone) {
			return last, hint(gone, "the request stays, and opens without you; to look: ajar requests show %s", r.ID)
		}
		return last, nil
	}
	return last, err
}

func progress(r client.Request) string {
	if r.State == ajar.Pending {
		return "waiting for approval of " + string(r.ID) + " …"
	}
	for _, l := range r.Leases {
		if l.State == ajar.Opening && l.Trouble != "" {
			return "opening: " + plain(l.Trouble) + " …"
		}
	}
	return "opening …"
}

// opened shows what became of a request. err says why it is not what was wanted; it decides the exit code.
func (a *app) opened(t client.Target, number uint16, r client.Request, err error) error {
	out := struct {
		client.Request
		SSH     string `json:"ssh,omitempty"`
		Connect string `json:"connect,omitempty"`
	}{Request: r}
	if r.Opened() {
		out.SSH, out.Connect = connectLine(t, number)
	}
	if a.output == "json" {
		return errors.Join(a.show(out, nil), err)
	}
	if err != nil {
		return err
	}
	return a.show(out, func(w io.Writer) {
		for _, l := range r.Leases {
			what := "will be open"
			if l.State == ajar.Open {
				what = "is open"
			}
			fmt.Fprintf(w, "%s %s %s to %s until %s (%s)\n", t.ID.Name(), port(l.Number, l.Protocol), what, join(l.Sources, "?"), a.clock(l.End), relative(l.End.Sub(a.now())))
		}
		switch {
		case out.SSH != "":
			fmt.Fprintln(w, out.SSH)
		case out.Connect != "":
			fmt.Fprintln(w, out.Connect)
		}
	})
}
