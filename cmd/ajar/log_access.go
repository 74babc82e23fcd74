package main

import (
	"cmp"
	"context"
	"slices"

	"github.com/spf13/cobra"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
)

func logAccessCmd(a *app) *cobra.Command {
	f := leasesFlags{everyone: true, all: true}
	var who string
	c := command("access [TARGET]", "who had access to what and when, why, and who approved it", `  ajar log access
  ajar log access web1 --since 30d
  ajar log access --since 2026-10 --until 2026-11 -o csv > october.csv
  ajar log access --who anna -o json`, cobra.MaximumNArgs(1), func(ctx context.Context, args []string) error {
		if len(args) == 1 {
			f.scope = args[0]
		}
		return a.access(ctx, f, who)
	})
	c.Long = `Lists who was let in where, from which address, from when until when, why they asked, and who approved it; the oldest
first. What was asked for and not granted is in ajar requests list and ajar log, and what root opened on a machine itself
in ajar log --action breakGlass: it says if there is such. With -o csv and -o json all of it is written, with whole IDs and
times in UTC.`
	c.Flags().StringVar(&f.scope, "scope", "", "only of a machine, or of machines at or below this ID")
	c.Flags().StringVar(&who, "who", "", "only of this person or service principal")
	f.limit.add(c, usualRows)
	f.period.add(a, c)
	return withCSV(c)
}

func (a *app) access(ctx context.Context, f leasesFlags, who string) error {
	c, in, most, err := a.selected(ctx, f)
	if err != nil {
		return err
	}
	if who, err = callerOf(ctx, c, who); err != nil {
		return err
	}
	all := []client.Lease{}
	for l, err := range c.Leases(ctx, client.LeaseQuery{Scope: in, Since: f.period.since.t, Before: f.period.until.t, Expand: most == 0}) {
		if err != nil {
			return err
		}
		if who == "" || sameName(who, l.Name) || sameName(who, string(l.Requester)) {
			all = append(all, l)
		}
	}
	slices.SortStableFunc(all, func(l, m client.Lease) int { return cmp.Or(l.Start.Compare(m.Start), cmp.Compare(l.ID, m.ID)) })
	more := most > 0 && len(all) > most
	if more {
		all = all[len(all)-most:]
	}
	if most > 0 { // few: who approved them is asked of these alone
		if err := addRequests(ctx, c, all); err != nil {
			return err
		}
	}
	heads := []string{"WHO", "TARGET", "PORT", "FROM", "OPENED", "UNTIL", "STATE", "APPROVED BY", "REASON"}
	if a.csv() {
		heads = append(heads, "ASKED FROM", "GRANTED", "GRANTED UNTIL", "POLICY", "REQUEST", "LEASE")
	}
	err = list(a, all, "nobody had access that you may see", heads, a.accessRow)
	a.cutOff(more, most)
	if err != nil || who != "" {
		return err
	}
	return a.sayGlass(ctx, c, in, f)
}

// sayGlass says what is in no list of leases: that somebody got in without the plane.
func (a *app) sayGlass(ctx context.Context, c *client.Client, in ajar.ID, f leasesFlags) error {
	q := client.EventQuery{Scope: in, Action: ajar.BreakGlass, Since: f.period.since.t, Before: f.period.until.t}
	found, more, err := some(c.Events(ctx, q), usualRows)
	if ajar.KindOf(err) == ajar.Forbidden {
		a.say("what root opened on the machines themselves is not in this list, and you may not read the log that has it")
		return nil
	} else if err != nil || len(found) == 0 {
		return err
	}
	times := "once"
	if len(found) > 1 {
		times = count(len(found), "time")
	}
	if more {
		times = "more than " + times
	}
	a.say("besides, root opened ports on the machines themselves, %s: ajar log --action breakGlass", times)
	return nil
}

// addRequests adds to leases why they were asked for and who approved. Who may not read a request goes without.
func addRequests(ctx context.Context, c *client.Client, leases []client.Lease) error {
	known := map[ajar.RequestID]client.Request{}
	for i := range leases {
		l := &leases[i]
		r, ok := known[l.Request]
		if !ok {
			var err error
			if r, err = c.Request(ctx, l.Request); err != nil && ajar.KindOf(err) != ajar.NotFound && ajar.KindOf(err) != ajar.Forbidden {
				return err
			}
			known[l.Request] = r
		}
		l.Justification, l.From, l.Approvals = r.Justification, r.From, r.Approvals
	}
	return nil
}

func (a *app) accessRow(l client.Lease) []string {
	opened, approved := "never", "nobody had to"
	if !l.Opened.IsZero() {
		opened = a.clock(l.Opened)
	}
	if a.csv() {
		approved = ""
	}
	var yes []string
	for _, p := range l.Approvals {
		if p.Yes {
			yes = append(yes, or(p.Name, string(p.By)))
		}
	}
	row := []string{l.Name, a.name(l.Target), port(l.Number, l.Protocol), join(l.Sources, "-"), opened, a.clock(leaseEnd(l)), a.leaseState(l), join(yes, approved), l.Justification}
	if a.csv() {
		from := ""
		if l.From.IsValid() {
			from = l.From.String()
		}
		row = append(row, from, a.clock(l.Start), a.clock(l.End), string(l.Policy), string(l.Request), string(l.ID))
	}
	return row
}
