package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
)

func hostsCmd(a *app) *cobra.Command {
	c := family("hosts", "machines whose agent keeps the rules: list, show, add, remove, release-guard", `  ajar hosts list
  ajar hosts add web1 --location westeurope
  ajar hosts remove web1`,
		hostsListCmd(a), hostShowCmd(a), hostAddCmd(a), hostRemoveCmd(a), hostReleaseCmd(a))
	c.Aliases = []string{"host"}
	return c
}

func hostsListCmd(a *app) *cobra.Command {
	var scope string
	c := command("list", "hosts and when they were last heard of", `  ajar hosts list
  ajar hosts list -o json`, cobra.NoArgs, func(ctx context.Context, _ []string) error {
		c, _, err := a.client()
		if err != nil {
			return err
		}
		all, err := client.Collect(c.Hosts(ctx, ajar.ID(scope)))
		if err != nil {
			return err
		}
		return list(a, all, "there are no hosts that you may see; ajar targets tells which machines have joined", []string{"HOST", "STATE", "GUARDS", "OWN TABLE", "CLOCK", "VERSION", "TROUBLE"}, func(h client.Host) []string {
			return []string{h.Target.Name(), a.connected(h), a.guards(h), or(h.OwnTable, "-"), skew(h.SkewMS), or(h.Version, "-"), h.Trouble}
		})
	})
	c.Flags().StringVar(&scope, "scope", "", "only at or below this ID")
	return c
}

func (a *app) connected(h client.Host) string {
	return a.hostState(&client.HostState{Connected: h.Connected, Since: h.Since})
}

func (a *app) guards(h client.Host) string {
	var all []string
	for _, g := range h.Guards {
		s := port(g.Number, g.Protocol)
		switch {
		case !g.ConfirmBy.IsZero():
			s += " (confirm " + a.when(g.ConfirmBy) + ")"
		case g.Kept:
			s += " (kept)"
		}
		all = append(all, s)
	}
	return join(all, "-") + yes(h.GuardsPending, ", not yet in force")
}

func skew(ms int64) string {
	if ms > -500 && ms < 500 {
		return "ok"
	}
	return fmt.Sprintf("%+.1fs", float64(ms)/1000)
}

func hostShowCmd(a *app) *cobra.Command {
	return command("show TARGET", "one host: guards, refused sources, versions", `  ajar hosts show web1`, cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		c, _, err := a.client()
		if err != nil {
			return err
		}
		t, err := target(ctx, c, args[0])
		if err != nil {
			return err
		}
		all, err := client.Collect(c.Hosts(ctx, t.ID))
		if err != nil {
			return err
		}
		if len(all) == 0 && t.Joined {
			return exits(exitRefused, hint(fmt.Errorf("you may not read the host of %s", t.ID.Name()), "it has joined; ajar targets show %s says what you may see", t.ID.Name()))
		}
		if len(all) == 0 {
			return hint(ajar.Errorf(ajar.NotFound, "no host has joined as %s", t.ID.Name()), "ajar hosts add %s", t.ID.Name())
		}
		return a.show(all, func(w io.Writer) {
			for _, h := range all {
				a.showHost(w, h)
			}
		})
	})
}

func (a *app) showHost(w io.Writer, h client.Host) {
	rows := [][]string{{"machine", string(h.Target)}, {"id", string(h.ID)}, {"provider", h.Provider}, {"state", a.connected(h)}, {"last seen", a.when(h.LastSeen)},
		{"guards", a.guards(h)}, {"own table", or(h.OwnTable, "-")}, {"clock", skew(h.SkewMS)}, {"agent", or(h.Version, "-")}, {"kernel", or(h.Kernel, "-")}}
	if !h.CertificateExpires.IsZero() {
		rows = append(rows, []string{"certificate", "ends " + a.when(h.CertificateExpires)})
	}
	if h.Trouble != "" {
		rows = append(rows, []string{"trouble", h.Trouble})
	}
	for _, r := range h.Refused {
		rows = append(rows, []string{"refused", fmt.Sprintf("%s on %s, %s", r.Source, port(r.Number, r.Protocol), a.when(r.At))})
	}
	table(w, 0, nil, rows, func(r []string) []string { return r })
}

func hostAddCmd(a *app) *cobra.Command {
	var location, tokenFile string
	var replace bool
	c := command("add TARGET", "let a host join as a machine, once", `  ajar hosts add web1
  ajar hosts add web1 --location westeurope --token-file web1.token
  ajar hosts add web1 --replace        # the machine was made anew`, cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		c, cfg, err := a.client()
		if err != nil {
			return err
		}
		t, err := targetOrNew(ctx, c, cfg, args[0], location)
		if err != nil {
			return err
		}
		var j client.Join
		err = secretOut(tokenFile, &j.Token, func() (err error) {
			j, err = c.JoinToken(ctx, t.ID, or(location, t.Location), replace)
			return err
		})
		if err != nil {
			return err
		}
		if t.Created.IsZero() {
			a.say("%s is new, in %s", t.ID.Name(), t.ID.Group())
		}
		return a.joinToken(t.ID, j, tokenFile)
	})
	c.Long = `Makes a token with which one host can join as the machine, once, within a quarter of an hour, and prints what to run on
the host. The machine is made if there is none of that name. The token is a secret: it goes to the host in a file, not
on a command line.`
	c.Flags().StringVar(&location, "location", "", "location of a new machine")
	c.Flags().StringVar(&tokenFile, "token-file", "", "write the token to this new file instead of showing it")
	c.Flags().BoolVar(&replace, "replace", false, "take the place of the host that is joined now, which is cut off")
	return c
}

func (a *app) joinToken(id ajar.ID, j client.Join, file string) error {
	if !strings.Contains(j.Command, "--token-file") {
		j.Command = or(j.Command, "ajar-agent join") + " --token-file -"
	}
	out := struct {
		Target  ajar.ID   `json:"target"`
		Token   string    `json:"token,omitempty"`
		File    string    `json:"tokenFile,omitempty"`
		Expires time.Time `json:"expires,omitzero"`
		Command string    `json:"command,omitempty"`
	}{id, j.Token, file, j.Expires, j.Command}
	return a.show(out, func(w io.Writer) {
		until := fmt.Sprintf("good once, until %s (%s)", a.clock(j.Expires), relative(j.Expires.Sub(a.now())))
		if file != "" {
			fmt.Fprintf(w, "# on %s, as root, with what is in %s as its input; %s\n%s\n", id.Name(), file, until, plain(j.Command))
			return
		}
		fmt.Fprintf(w, "# on %s, as root; %s\n%s <<'END'\n%s\nEND\n", id.Name(), until, plain(j.Command), j.Token)
	})
}

func hostRemoveCmd(a *app) *cobra.Command {
	var lift, sure bool
	c := command("remove TARGET", "revoke a host's identity and cut its connection at once", `  ajar hosts remove web1                # shows what that cuts, and asks
  ajar hosts remove web1 --yes
  ajar hosts remove web1 --lift --yes   # its guarded ports are open again`, cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		c, _, err := a.client()
		if err != nil {
			return err
		}
		t, err := target(ctx, c, args[0])
		if err != nil {
			return err
		}
		if err := a.previewRemoval(ctx, c, t); err != nil {
			return err
		}
		risk := t.ID.Name() + "'s host will be cut off, its openings closed, and its ports stay closed to everybody until it joins anew"
		if lift {
			risk = "every guarded port of " + t.ID.Name() + " will be open to everybody again"
		}
		if err := a.confirm(sure, "%s", risk); err != nil {
			return err
		}
		if err := c.RemoveHost(ctx, t.ID, lift); err != nil {
			return err
		}
		what := "its ports stay closed"
		if lift {
			what = "its ports are open again"
		}
		return a.done(map[string]any{"target": t.ID, "lifted": lift}, "%s is cut off; %s", t.ID.Name(), what)
	})
	c.Flags().BoolVar(&lift, "lift", false, "open its guarded ports to everybody again; otherwise they stay closed")
	c.Flags().BoolVarP(&sure, "yes", "y", false, "do not ask")
	return c
}

// previewRemoval shows what hangs on t's host, as far as the caller may see it.
func (a *app) previewRemoval(ctx context.Context, c *client.Client, t client.Target) error {
	hosts, err := client.Collect(c.Hosts(ctx, t.ID))
	if err != nil && ajar.KindOf(err) != ajar.Forbidden {
		return err
	}
	for _, h := range hosts {
		a.say("%s: %s, guards %s", t.ID.Name(), a.connected(h), a.guards(h))
	}
	leases, err := client.Collect(c.Leases(ctx, client.LeaseQuery{Scope: t.ID, Live: true}))
	if err != nil && ajar.KindOf(err) != ajar.Forbidden {
		return err
	}
	for _, l := range leases {
		a.say("ends %s to %s for %s, %s, until %s", port(l.Number, l.Protocol), join(l.Sources, "?"), plain(l.Name), a.leaseState(l), a.clock(l.End))
	}
	return nil
}

func hostReleaseCmd(a *app) *cobra.Command {
	var sure bool
	var g guardFlags
	c := command("release-guard TARGET PORT", "open a port that is kept closed though no policy names it", `  ajar hosts release-guard web1 3389
  ajar hosts release-guard web1 53/udp --yes`, cobra.ExactArgs(2), func(ctx context.Context, args []string) error {
		p, err := parsePort(args[1])
		if err != nil {
			return err
		}
		if p.Protocol == "" {
			p.Protocol = ajar.TCP
		}
		c, _, err := a.client()
		if err != nil {
			return err
		}
		t, err := target(ctx, c, args[0])
		if err != nil {
			return err
		}
		if err := a.confirm(sure, "%s on %s will be open to everybody", p, t.ID.Name()); err != nil {
			return err
		}
		if err := c.ReleaseGuard(ctx, t.ID, p.Number, p.Protocol); err != nil {
			return err
		}
		a.told("%s on %s is not guarded any longer", p, t.ID.Name())
		_, err = a.awaitGuards(ctx, c, []ajar.ID{t.ID}, []ajar.ID{t.ID}, g)
		return errors.Join(a.show(map[string]any{"target": t.ID, "number": p.Number, "protocol": p.Protocol}, nil), err)
	})
	c.Long = "Opens a port that is kept closed though no policy names it (unguard: keep).\n\n" + guardsWaited
	g.add(c)
	c.Flags().BoolVarP(&sure, "yes", "y", false, "do not ask")
	return c
}
