package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
)

// guardFlags say whether to wait until firewalls have what they are to guard.
type guardFlags struct {
	noWait  bool
	timeout span
}

func (g *guardFlags) add(c *cobra.Command) {
	g.timeout.d = 30 * time.Second
	c.Flags().BoolVar(&g.noWait, "no-wait", false, "do not wait until the hosts were seen to have it")
	c.Flags().Var(&g.timeout, "timeout", "how long to wait")
}

const guardsWaited = `It waits until each machine's firewall was seen to have it, and names the machines that cannot be told now: these get
it when they reconnect or join. If there are hosts that were not seen to have it, it exits with 5; all else is done.`

// reached is how one machine stands to what it is to guard, for programs.
type reached struct {
	Target ajar.ID   `json:"target"`
	State  string    `json:"state"` // inForce, pending, unreachable, notJoined or unknown
	Since  time.Time `json:"since,omitzero"`
	Why    string    `json:"trouble,omitempty"` // why it is pending
}

func reachedOf(f client.InForce) reached {
	switch {
	case f.Done():
		return reached{Target: f.Target, State: "inForce"}
	case !f.Joined:
		return reached{Target: f.Target, State: "notJoined"}
	case f.Host == nil:
		return reached{Target: f.Target, State: "unknown"}
	case f.Host.Connected:
		return reached{Target: f.Target, State: "pending", Why: f.Host.Trouble}
	}
	return reached{Target: f.Target, State: "unreachable", Since: f.Host.Since}
}

// namedSingly is up to how many machines are told of one by one.
const namedSingly = 40

// awaitGuards waits until machines were seen to have what they are to guard, and tells of each that changes as it comes.
// The error says which were not; with a plane that cannot tell there is none.
func (a *app) awaitGuards(ctx context.Context, c *client.Client, targets, changing []ajar.ID, g guardFlags) ([]reached, error) {
	if g.noWait || len(targets) == 0 {
		return nil, nil
	}
	waiting, cancel := context.WithTimeout(ctx, g.timeout.d)
	defer cancel()
	began, have := a.now(), 0
	if terminal(a.err) {
		patience := time.AfterFunc(2*time.Second, func() {
			a.say("  waiting for hosts that have not answered yet, for %s at most …", short(g.timeout.d))
		})
		defer patience.Stop()
	}
	all, err := c.AwaitInForce(waiting, targets, func(f client.InForce) {
		have++
		switch {
		case len(changing) > namedSingly && have%100 == 0:
			a.say("  has it  %d of %d machines, after %s", have, len(targets), elapsed(a.now().Sub(began)))
		case len(changing) <= namedSingly && slices.ContainsFunc(changing, f.Target.Equal):
			a.say("  has it  %s, after %s", f.Target.Name(), elapsed(a.now().Sub(began)))
		}
	})
	switch {
	case ctx.Err() != nil:
		a.say("it is set, and comes into force without you; to look: ajar hosts list")
		return nil, context.Canceled
	case ajar.KindOf(err) == ajar.NotFound && errors.As(err, new(*client.Error)):
		return nil, nil // a plane from before it could tell
	case err != nil && !errors.Is(err, context.DeadlineExceeded):
		return nil, err
	}
	states := make([]reached, 0, len(targets))
	for _, f := range all {
		states = append(states, reachedOf(f))
	}
	for _, t := range targets {
		if err != nil && !slices.ContainsFunc(all, func(f client.InForce) bool { return f.Target.Equal(t) }) {
			states = append(states, reached{Target: t, State: "pending"}) // there was no time to ask
		}
	}
	if err != nil { // the time ran out; it may be that nothing was heard of some
		for _, t := range targets {
			if !slices.ContainsFunc(all, func(f client.InForce) bool { return f.Target.Equal(t) }) {
				states = append(states, reached{Target: t, State: "pending"})
			}
		}
	}
	if len(changing) > namedSingly && have%100 != 0 {
		a.say("  has it  %d of %d machines, after %s", have, len(targets), elapsed(a.now().Sub(began)))
	}
	return states, a.unreached(states, g.timeout.d)
}

// elapsed is a time that somebody waited, as exact as it matters.
func elapsed(d time.Duration) string {
	switch {
	case d < time.Second:
		return max(d, time.Millisecond).Round(time.Millisecond).String()
	case d < 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	}
	return short(d)
}

// unreached tells of the machines that were not seen to have it, and is an error if there are hosts among them.
func (a *app) unreached(states []reached, waited time.Duration) error {
	by := map[string][]string{}
	for _, r := range states {
		name := r.Target.Name()
		if r.State == "unreachable" && !r.Since.IsZero() {
			name += " (since " + a.clock(r.Since) + ", " + relative(r.Since.Sub(a.now())) + ")"
		}
		if r.State == "pending" && r.Why != "" {
			name += " (" + plain(r.Why) + ")"
		}
		by[r.State] = append(by[r.State], name)
	}
	if names := by["notJoined"]; names != nil {
		a.say("no host has joined yet as %s; it guards when it joins: ajar hosts add NAME", few(names))
	}
	if names := by["unknown"]; names != nil {
		a.say("you may not read the hosts of %s, and so not see when it is in force there", few(names))
	}
	var why string
	if names := by["unreachable"]; names != nil {
		why = "not connected: " + few(names)
	}
	if names := by["pending"]; names != nil {
		if why != "" {
			why += "; "
		}
		why += fmt.Sprintf("not seen to have it after %s: %s", elapsed(waited), few(names))
	}
	if why == "" {
		return nil
	}
	return exits(exitUnavailable, hint(fmt.Errorf("it is set, but not yet in force everywhere; %s", why),
		"it comes into force when they reconnect; to look: ajar hosts list"))
}

// few names some of many.
func few(names []string) string {
	const most = 10
	if len(names) <= most {
		return join(names, "")
	}
	return join(names[:most], "") + fmt.Sprintf(" and %d more", len(names)-most)
}

// touched lists the machines whose ports changes would guard, keep or lift, and with them those that the policies name.
func touched(changes []change) (all, changing []ajar.ID) {
	add := func(ids []ajar.ID, id ajar.ID) []ajar.ID {
		if slices.ContainsFunc(ids, id.Equal) {
			return ids
		}
		return append(ids, id)
	}
	for _, ch := range changes {
		for _, part := range [][]client.GuardChange{ch.WhatIf.Guard, ch.WhatIf.Lift, ch.WhatIf.Keep} {
			for _, g := range part {
				changing = add(changing, g.Target)
			}
		}
	}
	all = slices.Clone(changing)
	for _, ch := range changes {
		for _, m := range ch.policy.Properties.Machines {
			all = add(all, m.ID)
		}
	}
	return all, changing
}
