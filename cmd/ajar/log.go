package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/activity"
	"github.com/ajar-access/ajar/client"
)

type logFlags struct {
	scope, caller, action, outcome, request string
	period                                  period
	limit                                   limit
	follow                                  bool
}

func logCmd(a *app) *cobra.Command {
	var f logFlags
	c := command("log [TARGET]", "the activity log: what was done, refused, and happened", `  ajar log
  ajar log web1 --since 2d
  ajar log --caller anna --outcome refused -o json
  ajar log --action initiate --since 2026-10 --until 2026-11 -o csv
  ajar log access web1 --since 30d          # who had access, and who approved it
  ajar log --follow
  ajar log verify`, cobra.MaximumNArgs(1), nil)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return a.log(cmd.Context(), f)
		}
		f.scope = args[0]
		return orCommand(cmd, args[0], a.log(cmd.Context(), f))
	}
	c.Flags().StringVar(&f.scope, "scope", "", "only at or below this ID or machine")
	c.Flags().StringVar(&f.caller, "caller", "", "only of this person, group or service principal")
	c.Flags().StringVar(&f.action, "action", "", "only this action, as it is shown or the end of it: initiate, leases/opened")
	c.Flags().StringVar(&f.outcome, "outcome", "", "accepted, refused or happened")
	c.Flags().StringVar(&f.request, "request", "", "only of this request; the end of its id is enough")
	c.Flags().BoolVar(&f.follow, "follow", false, "go on showing what happens")
	f.limit.add(c, 50)
	f.period.add(a, c)
	c.AddCommand(logAccessCmd(a), logVerifyCmd(a), logExportCmd(a))
	return withCSV(c)
}

func (a *app) log(ctx context.Context, f logFlags) error {
	if f.follow && a.csv() {
		return usage("--follow writes lines for people, or JSON")
	}
	c, q, most, err := a.eventQuery(ctx, f)
	if err != nil {
		return err
	}
	last, more, err := newest(ctx, c, q, most)
	if err != nil {
		return err
	}
	names := a.namesOf(c)
	if f.follow {
		return a.follow(ctx, c, q, last, names)
	}
	heads := []string{"WHEN", "WHO", "WHAT", "OUTCOME", "WHERE", "MESSAGE"}
	err = list(a, last, "nothing was found", heads, func(e ajar.Event) []string { return a.eventRow(ctx, e, names) })
	a.cutOff(more, most)
	return err
}

// eventQuery reads the flags, and asks the plane what names in them stand for.
func (a *app) eventQuery(ctx context.Context, f logFlags) (c *client.Client, q client.EventQuery, most int, err error) {
	for _, o := range []ajar.Outcome{ajar.Accepted, ajar.Refused, ajar.Happened} {
		if strings.EqualFold(string(o), f.outcome) {
			q.Outcome = o
		}
	}
	if f.outcome != "" && q.Outcome == "" {
		return nil, q, 0, usage("there is no outcome %q; it can be accepted, refused or happened", f.outcome)
	}
	if q.Action, err = action(f.action); err != nil {
		return nil, q, 0, err
	}
	if err = f.period.check(); err != nil {
		return nil, q, 0, err
	}
	// The whole log is nothing that somebody asks for by leaving things out.
	if most = f.limit.n; f.limit.said() || f.period.set() || f.request != "" {
		if most, err = f.limit.most(a); err != nil {
			return nil, q, 0, err
		}
	}
	if c, _, err = a.client(); err != nil {
		return nil, q, 0, err
	}
	if q.Scope, err = scopeOf(ctx, c, f.scope); err != nil {
		return nil, q, 0, err
	}
	if q.Caller, err = callerOf(ctx, c, f.caller); err != nil {
		return nil, q, 0, err
	}
	if f.request != "" {
		r, err := request(ctx, c, f.request)
		if err != nil {
			return nil, q, 0, err
		}
		q.Request = r.ID
	}
	q.Since, q.Before = f.period.since.t, f.period.until.t
	return c, q, most, nil
}

// callerOf sees that a name is somebody's: a slip would find nothing, and look like nothing having been done. Who is
// gone is found by ID.
func callerOf(ctx context.Context, c *client.Client, who string) (string, error) {
	if who == "" || len(who) == 36 {
		return who, nil
	}
	_, err := c.Principal(ctx, who)
	if ajar.KindOf(err) == ajar.NotFound {
		return "", hint(err, "ajar user list, ajar sp list; who was removed is found by id")
	}
	return who, nil
}

// action finds an action as it is shown, by the end of that, or as it is written in full.
func action(s string) (ajar.Action, error) {
	var found []ajar.Action
	for _, x := range activity.Actions() {
		word := actionWord(x)
		if strings.EqualFold(string(x), s) || strings.EqualFold(word, s) {
			return x, nil
		}
		if n := len(word) - len(s); n > 0 && word[n-1] == '/' && strings.EqualFold(word[n:], s) {
			found = append(found, x)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case s == "" || (len(found) == 0 && strings.Contains(s, ".")):
		return ajar.Action(s), nil
	case len(found) == 0:
		return "", hint(usage("there is no action %q", s), "ajar log shows actions as they are written here, such as jitNetworkAccessPolicies/initiate")
	}
	words := make([]string, len(found))
	for i, x := range found {
		words[i] = actionWord(x)
	}
	slices.Sort(words)
	return "", usage("%q may be any of: %s", s, join(words, ""))
}

// newest reads the newest limit events, oldest first.
func newest(ctx context.Context, c *client.Client, q client.EventQuery, limit int) ([]ajar.Event, bool, error) {
	if q.Limit = page(limit); q.Limit == 0 {
		q.Limit = 1000
	}
	all, more, err := some(c.Events(ctx, q), limit)
	slices.Reverse(all)
	return all, more, err
}

// follow shows what there is and then what comes, line by line.
func (a *app) follow(ctx context.Context, c *client.Client, q client.EventQuery, last []ajar.Event, names func(context.Context, ajar.PrincipalID) string) error {
	for _, e := range last {
		a.eventLine(ctx, e, names)
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
		a.eventLine(ctx, e, names)
	}
	return nil
}

func (a *app) eventLine(ctx context.Context, e ajar.Event, names func(context.Context, ajar.PrincipalID) string) {
	if a.output == "json" {
		b, err := json.Marshal(e)
		if err == nil {
			fmt.Fprintf(a.out, "%s\n", b)
		}
		return
	}
	cells := a.eventRow(ctx, e, names)
	for i := range cells {
		cells[i] = plain(cells[i])
	}
	fmt.Fprintf(a.out, "%s  %s  %s  %s\n", a.clock(e.Time), cells[1], strings.Join(cells[2:5], " "), cells[5])
}

func (a *app) eventRow(ctx context.Context, e ajar.Event, names func(context.Context, ajar.PrincipalID) string) []string {
	who := or(e.Name, string(e.Caller))
	if who == "" && e.Principal != "" {
		who = "for " + names(ctx, e.Principal) // it happened to what they had asked for
	}
	if e.From.IsValid() {
		who += " (" + e.From.String() + ")"
	}
	where := "-"
	if e.Scope != "" && e.Scope != ajar.Root {
		where = a.name(e.Scope)
	}
	return []string{a.when(e.Time), or(who, "-"), actionWord(e.Action), strings.ToLower(string(e.Outcome)), where, eventText(e)}
}

// namesOf finds people's names, each once. Who may not read them sees the ends of their IDs.
func (a *app) namesOf(c *client.Client) func(context.Context, ajar.PrincipalID) string {
	known := map[ajar.PrincipalID]string{}
	return func(ctx context.Context, id ajar.PrincipalID) string {
		if name, ok := known[id]; ok {
			return name
		}
		p, err := c.Principal(ctx, string(id))
		known[id] = or(p.Name, a.id(string(id)))
		if err != nil {
			known[id] = a.id(string(id))
		}
		return known[id]
	}
}

// actionWord drops what every action begins with: jitNetworkAccessPolicies/initiate, leases/opened.
func actionWord(x ajar.Action) string {
	s := strings.TrimSuffix(string(x), "/action")
	if _, rest, ok := strings.Cut(s, "/"); ok {
		s = strings.TrimPrefix(rest, "locations/")
	}
	return s
}

// eventText is what an event says besides, for people: things by their names, and one address as an address.
func eventText(e ajar.Event) string {
	parts := []string{}
	msg := e.Message
	if e.Code == client.NotSubset {
		if _, why, ok := strings.Cut(msg, "Reason: "); ok {
			msg = why
		}
	}
	if msg != "" {
		parts = append(parts, briefly(msg))
	}
	for _, k := range slices.Sorted(maps.Keys(e.Details)) {
		if v := e.Details[k]; v != "" {
			parts = append(parts, k+"="+briefly(v))
		}
	}
	return strings.Join(parts, " ")
}

var (
	longID   = regexp.MustCompile(`/(?:subscriptions|providers)/[^\s'",;]*/([^/\s'",;]+)`)
	oneHost  = regexp.MustCompile(`(\d+\.\d+\.\d+\.\d+)/32\b|([0-9a-fA-F:]*:[0-9a-fA-F:.]*)/128\b`)
	inSquare = regexp.MustCompile(`^\[([^\[\]]*)\]$`)
)

func briefly(s string) string {
	s = oneHost.ReplaceAllString(longID.ReplaceAllString(s, "$1"), "$1$2")
	return inSquare.ReplaceAllString(s, "$1")
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
