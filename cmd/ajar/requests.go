package main

import (
	"context"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
)

func requestsCmd(a *app) *cobra.Command {
	c := family("requests", "who asked for what; say yes or no to it", `  ajar requests list --state pending
  ajar requests approve 91aa03de --reason "as agreed"`,
		requestsListCmd(a), requestShowCmd(a),
		decideCmd(a, "approve", "say yes to somebody else's request", (*client.Client).Approve),
		decideCmd(a, "deny", "say no to somebody else's request", (*client.Client).Deny),
		decideCmd(a, "withdraw", "take back a request that waits for approval", (*client.Client).Withdraw))
	c.Aliases = []string{"request"}
	return c
}

func requestsListCmd(a *app) *cobra.Command {
	var q client.RequestQuery
	var state, scope string
	var watch bool
	var n limit
	c := command("list", "requests, newest first", `  ajar requests list
  ajar requests list --state pending --watch     # whoever approves
  ajar requests list --mine --limit 10 -o csv`, cobra.NoArgs, func(ctx context.Context, _ []string) error {
		for _, s := range ajar.RequestStates {
			if strings.EqualFold(string(s), state) {
				q.State = s
			}
		}
		if state != "" && q.State == "" {
			return usage("there is no state %q; states are %s", state, strings.ToLower(join(ajar.RequestStates, "")))
		}
		most, err := n.most(a)
		if err != nil {
			return err
		}
		q.Page = page(most)
		c, _, err := a.client()
		if err != nil {
			return err
		}
		at, err := scopeOf(ctx, c, scope)
		if err != nil {
			return err
		}
		if !at.IsMachine() {
			q.Scope = at // requests lie below policies, which name machines
		}
		return a.watching(ctx, watch, func(ctx context.Context) error {
			all, more, err := some(about(c.Requests(ctx, q), at), most)
			if err != nil {
				return err
			}
			err = list(a, all, "there are no such requests", []string{"REQUEST", "WHO", "WHAT", "STATE", "ASKED", "REASON"}, func(r client.Request) []string {
				return []string{a.id(string(r.ID)), r.Name, asked(r), lowerFirst(string(r.State)), a.when(r.Created), r.Justification}
			})
			a.cutOff(more, most)
			return err
		})
	})
	c.Flags().BoolVarP(&watch, "watch", "w", false, "keep showing it, until Ctrl-C")
	n.add(c, usualRows)
	c.Flags().StringVar(&state, "state", "", "pending, approved, denied, withdrawn or lapsed")
	c.Flags().BoolVar(&q.Mine, "mine", false, "only your own")
	c.Flags().StringVar(&scope, "scope", "", "only of a machine, or at or below this ID")
	return c
}

// about leaves out requests that do not ask for a machine.
func about(seq iter.Seq2[client.Request, error], at ajar.ID) iter.Seq2[client.Request, error] {
	if !at.IsMachine() {
		return seq
	}
	return func(yield func(client.Request, error) bool) {
		for r, err := range seq {
			asks := slices.ContainsFunc(r.Asks, func(x client.RequestedPort) bool { return x.Target.Equal(at) })
			if (err != nil || asks) && !yield(r, err) {
				return
			}
		}
	}
}

// asked is what a request asks for, in short.
func asked(r client.Request) string {
	var all []string
	for _, x := range r.Asks {
		s := x.Target.Name() + ":" + fmt.Sprint(x.Number)
		if len(x.Sources) > 0 {
			s += " from " + join(x.Sources, "")
		}
		all = append(all, s)
	}
	return join(all, "-")
}

func requestShowCmd(a *app) *cobra.Command {
	return command("show REQUEST", "one request, its approvals and its leases", `  ajar requests show 91aa03de`, cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		c, _, err := a.client()
		if err != nil {
			return err
		}
		r, err := request(ctx, c, args[0])
		if err != nil {
			return err
		}
		return a.show(r, func(w io.Writer) { a.showRequest(w, r) })
	})
}

func (a *app) showRequest(w io.Writer, r client.Request) {
	rows := [][]string{{"id", string(r.ID)}, {"state", lowerFirst(string(r.State))}, {"who", r.Name}, {"policy", string(r.Policy)}, {"asked", a.when(r.Created)}}
	add := func(k, v string) {
		if v != "" && v != "-" {
			rows = append(rows, []string{k, v})
		}
	}
	if r.From.IsValid() {
		add("from", r.From.String())
	}
	add("reason", r.Justification)
	if r.State == ajar.Pending {
		add("lapses", a.when(r.Deadline))
		add("needs", fmt.Sprintf("%d approval(s)", r.Needs))
	} else {
		add("decided", a.when(r.Decided))
	}
	for _, x := range r.Asks {
		s := fmt.Sprintf("%s on %s from %s", port(x.Number, x.Protocol), x.Target.Name(), join(x.Sources, "?"))
		if x.Duration != "" {
			s += " for " + iso(x.Duration)
		} else {
			s += " until " + a.clock(x.End)
		}
		add("ask", s)
	}
	for _, ap := range r.Approvals {
		add(map[bool]string{true: "yes", false: "no"}[ap.Yes], strings.TrimRight(ap.Name+", "+a.when(ap.At)+": "+ap.Reason, ": "))
	}
	for _, s := range r.Warnings {
		add("warning", s)
	}
	for _, l := range r.Leases {
		add("lease", fmt.Sprintf("%s %s on %s, %s, ends %s", tail(l.ID), port(l.Number, l.Protocol), l.Target.Name(), a.leaseState(l), a.when(l.End)))
	}
	table(w, 0, nil, rows, func(r []string) []string { return r })
}

func decideCmd(a *app, verb, short string, do func(*client.Client, context.Context, ajar.RequestID, string) (client.Request, error)) *cobra.Command {
	var reason string
	c := command(verb+" REQUEST", short, fmt.Sprintf("  ajar requests %s 91aa03de --reason \"as agreed\"", verb), cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		c, _, err := a.client()
		if err != nil {
			return err
		}
		id := ajar.RequestID(strings.ToLower(args[0]))
		if len(id) != 36 {
			r, err := request(ctx, c, args[0])
			if err != nil {
				return err
			}
			id = r.ID
		}
		r, err := do(c, ctx, id, reason)
		if err != nil {
			return err
		}
		return a.done(r, "request %s is %s", r.ID, lowerFirst(string(r.State)))
	})
	c.Flags().StringVarP(&reason, "reason", "r", "", "why; the requester and the log's readers see it")
	return c
}
