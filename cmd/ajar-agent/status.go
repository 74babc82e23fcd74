//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/ajar-access/ajar/provider/agent"
)

func statusCmd(a *app) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "what is guarded, what is open until when, and how things stand with the plane",
		Example: `  ajar-agent status
  ajar-agent status -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "table" && output != "json" {
				return usage("-o %s is not known; it can be table or json", output)
			}
			s, err := a.status(cmd.Context())
			if err != nil {
				return err
			}
			if output == "json" {
				return a.show(s)
			}
			a.printStatus(s)
			return nil
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table for people, json for programs")
	return cmd
}

func (a *app) status(ctx context.Context) (agent.Status, error) {
	answer, err := a.ask(ctx, agent.ControlAsk{Do: agent.AskStatus})
	if err == nil && answer.Status != nil {
		return *answer.Status, nil
	}
	if !errors.Is(err, errNoAgent) {
		return agent.Status{}, err
	}
	h := &agent.Host{
		Clock: &agent.Clock{Boot: sinceBoot, Wall: a.now}, Dir: a.state, Version: versionOf(), BootID: bootID(), TrustWall: wallIsKept(), Log: a.log,
	}
	return h.ReadStatus()
}

func (a *app) printStatus(s agent.Status) {
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	defer w.Flush()
	switch {
	case s.Connected:
		fmt.Fprintf(w, "plane\t%s, connected since %s\n", s.Server, when(s.Since))
	case s.Running && s.Server != "":
		fmt.Fprintf(w, "plane\t%s, not connected since %s\n", s.Server, when(s.Since))
	case s.Server != "":
		fmt.Fprintf(w, "plane\t%s\n", s.Server)
	}
	if !s.Heard.IsZero() {
		fmt.Fprintf(w, "last heard\t%s\n", when(s.Heard))
	}
	if s.Trouble != "" {
		fmt.Fprintf(w, "trouble\t%s\n", s.Trouble)
	}
	if s.Endpoint != "" {
		fmt.Fprintf(w, "this host\t%s\n", s.Endpoint)
	}
	if s.Advice != "" {
		fmt.Fprintf(w, "note\t%s\n", s.Advice)
	}
	if s.Host.OwnTable != "" {
		fmt.Fprintf(w, "table\t%s\n", s.Host.OwnTable)
	}
	if s.Adrift {
		fmt.Fprintln(w, "firewall\tdoes not have what is wanted; see the log")
	}
	if s.SkewMS != nil {
		fmt.Fprintf(w, "clock\t%s from the plane's\n", time.Duration(*s.SkewMS)*time.Millisecond)
	}
	if !s.BreakGlass {
		fmt.Fprintf(w, "break-glass\tswitched off%s\n", prefixed(" by ", s.GlassOffBy))
	}
	if s.Undelivered > 0 {
		fmt.Fprintf(w, "journal\t%d not yet delivered\n", s.Undelivered)
	}
	printGuard(w, s)
}

func printGuard(w io.Writer, s agent.Status) {
	if len(s.Guarded) == 0 {
		fmt.Fprintln(w, "guarded\tnothing")
	}
	for _, g := range s.Guarded {
		line := g.Port.String()
		if g.Dest.IsValid() {
			line += " towards " + g.Dest.String()
		}
		if !g.ConfirmBy.IsZero() {
			line += ", lifted unless confirmed by " + when(g.ConfirmBy)
		}
		fmt.Fprintf(w, "guarded\t%s\n", line)
	}
	for _, r := range s.Open {
		fmt.Fprintf(w, "open\t%s to %s until %s\t%s\n", r.Port, sources(r.Sources), when(r.Expires), r.Lease)
	}
	for _, r := range s.Host.Refused {
		fmt.Fprintf(w, "refused\t%s on %s at %s\n", r.Source, r.Port, when(r.At))
	}
}

func sources(ps []netip.Prefix) string {
	var out []string
	for _, p := range ps {
		if p.IsSingleIP() {
			out = append(out, p.Addr().String())
		} else {
			out = append(out, p.String())
		}
	}
	return strings.Join(out, ", ")
}

func when(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

// prefixed is s after p, or nothing.
func prefixed(p, s string) string {
	if s == "" {
		return ""
	}
	return p + s
}
