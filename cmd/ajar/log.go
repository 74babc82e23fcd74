package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
)

type logFlags struct {
	scope, caller, action, outcome, request string
	since                                   span
	limit                                   int
	follow                                  bool
}

func logCmd(a *app) *cobra.Command {
	var f logFlags
	c := command("log", "the activity log: what was done, refused, and happened", `  ajar log
  ajar log --scope web1 --since 2d
  ajar log --caller anna --outcome refused -o json
  ajar log --follow
  ajar log verify`, cobra.NoArgs, func(ctx context.Context, _ []string) error { return a.log(ctx, f) })
	c.Flags().StringVar(&f.scope, "scope", "", "only at or below this ID or machine")
	c.Flags().StringVar(&f.caller, "caller", "", "only of this person, group or service principal")
	c.Flags().StringVar(&f.action, "action", "", "only this action, as it is shown")
	c.Flags().StringVar(&f.outcome, "outcome", "", "accepted, refused or happened")
	c.Flags().StringVar(&f.request, "request", "", "only of this request; the end of its id is enough")
	c.Flags().Var(&f.since, "since", "only what is younger than this")
	c.Flags().IntVarP(&f.limit, "limit", "n", 50, "at most so many, the newest; 0 shows all")
	c.Flags().BoolVar(&f.follow, "follow", false, "go on showing what happens")
	c.AddCommand(logVerifyCmd(a), logExportCmd(a))
	return c
}

func (a *app) log(ctx context.Context, f logFlags) error {
	q := client.EventQuery{Caller: f.caller, Action: ajar.Action(f.action)}
	for _, o := range []ajar.Outcome{ajar.Accepted, ajar.Refused, ajar.Happened} {
		if strings.EqualFold(string(o), f.outcome) {
			q.Outcome = o
		}
	}
	if f.outcome != "" && q.Outcome == "" {
		return usage("there is no outcome %q; it can be accepted, refused or happened", f.outcome)
	}
	if f.limit < 0 {
		return usage("--limit cannot be negative")
	}
	c, _, err := a.client()
	if err != nil {
		return err
	}
	if q.Scope, err = scopeOf(ctx, c, f.scope); err != nil {
		return err
	}
	if f.request != "" {
		r, err := request(ctx, c, f.request)
		if err != nil {
			return err
		}
		q.Request = r.ID
	}
	if f.since.d > 0 {
		q.Since = a.now().Add(-f.since.d)
	}
	last, err := newest(ctx, c, q, f.limit)
	if err != nil {
		return err
	}
	if !f.follow {
		return list(a, last, "nothing was found", []string{"WHEN", "WHO", "WHAT", "OUTCOME", "WHERE", "MESSAGE"}, a.eventRow)
	}
	return a.follow(ctx, c, q, last)
}

// newest reads the newest limit events, oldest first.
func newest(ctx context.Context, c *client.Client, q client.EventQuery, limit int) ([]ajar.Event, error) {
	q.Limit = 1000
	if limit > 0 {
		q.Limit = min(limit, 1000)
	}
	var all []ajar.Event
	for e, err := range c.Events(ctx, q) {
		if err != nil {
			return nil, err
		}
		if all = append(all, e); limit > 0 && len(all) == limit {
			break
		}
	}
	slices.Reverse(all)
	return all, nil
}

// follow shows what there is and then what comes, line by line.
func (a *app) follow(ctx context.Context, c *client.Client, q client.EventQuery, last []ajar.Event) error {
	for _, e := range last {
		a.eventLine(e)
		q.After = max(q.After, e.Pos)
	}
	for e, err := range c.Follow(ctx, q) {
		if ajar.KindOf(err) == ajar.Unavailable {
			a.say("ajar: %s; trying on", lowerFirst(err.Error()))
			continue
		}
		if err != nil {
			return err
		}
		a.eventLine(e)
	}
	return nil
}

func (a *app) eventLine(e ajar.Event) {
	if a.output == "json" {
		b, err := json.Marshal(e)
		if err == nil {
			fmt.Fprintf(a.out, "%s\n", b)
		}
		return
	}
	cells := a.eventRow(e)
	for i := range cells {
		cells[i] = plain(cells[i])
	}
	fmt.Fprintf(a.out, "%s  %s  %s  %s\n", a.clock(e.Time), cells[1], strings.Join(cells[2:5], " "), cells[5])
}

func (a *app) eventRow(e ajar.Event) []string {
	who := or(e.Name, string(e.Caller))
	if e.From.IsValid() {
		who += " (" + e.From.String() + ")"
	}
	return []string{a.when(e.Time), or(who, "-"), actionWord(e.Action), strings.ToLower(string(e.Outcome)), or(e.Scope.Name(), "-"), eventText(e)}
}

// actionWord drops what every action begins with: jitNetworkAccessPolicies/initiate, leases/opened.
func actionWord(x ajar.Action) string {
	s := strings.TrimSuffix(string(x), "/action")
	if _, rest, ok := strings.Cut(s, "/"); ok {
		s = strings.TrimPrefix(rest, "locations/")
	}
	return s
}

func eventText(e ajar.Event) string {
	parts := []string{}
	if e.Message != "" {
		parts = append(parts, e.Message)
	}
	for _, k := range slices.Sorted(maps.Keys(e.Details)) {
		parts = append(parts, k+"="+e.Details[k])
	}
	return strings.Join(parts, " ")
}

func logExportCmd(a *app) *cobra.Command {
	return command("export", "the whole log as it is stored, with its chain and signatures, as JSON lines", `  ajar log export > log.jsonl
  ajar log verify --file log.jsonl --key log.key`, cobra.NoArgs, func(ctx context.Context, _ []string) error {
		c, _, err := a.client()
		if err != nil {
			return err
		}
		r, err := c.Export(ctx, 1)
		if err != nil {
			return err
		}
		defer r.Close()
		if _, err := io.Copy(a.out, r); err != nil {
			return ajar.Errorf(ajar.Unavailable, "the export broke off: %w", err)
		}
		return nil
	})
}
