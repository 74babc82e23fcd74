//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/provider/agent"
)

// errNoAgent says that no agent runs on this state directory.
var errNoAgent = errors.New("no agent runs")

// doorPatience is how long an agent that starts is waited for: it is at work, and not at its door yet.
const doorPatience = 10 * time.Second

// ask puts a question to the running agent.
func (a *app) ask(ctx context.Context, q agent.ControlAsk) (answer agent.ControlAnswer, err error) {
	for limit := time.Now().Add(doorPatience); ; {
		answer, err = a.askOnce(ctx, q)
		if !errors.Is(err, errNoAgent) || !a.atWork() || time.Now().After(limit) {
			return answer, err
		}
		select {
		case <-ctx.Done():
			return answer, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// atWork reports whether some process has the state directory.
func (a *app) atWork() bool {
	if _, err := os.Stat(filepath.Join(a.state, "lock")); err != nil {
		return false
	}
	lock, err := a.lock()
	if err == nil {
		lock.Close()
	}
	return errors.Is(err, ajar.Conflict)
}

func (a *app) askOnce(ctx context.Context, q agent.ControlAsk) (agent.ControlAnswer, error) {
	path, keep, err := a.socketPath()
	if keep != nil {
		defer keep.Close()
	}
	var conn net.Conn
	if err == nil {
		var d net.Dialer
		conn, err = d.DialContext(ctx, "unix", path)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ECONNREFUSED):
		return agent.ControlAnswer{}, errNoAgent
	case errors.Is(err, fs.ErrPermission):
		return agent.ControlAnswer{}, hint(ajar.Errorf(ajar.Forbidden, "only root may ask the agent"), "sudo ajar-agent …")
	case err != nil:
		return agent.ControlAnswer{}, ajar.Errorf(ajar.Unavailable, "reach the agent: %w", err)
	}
	defer conn.Close()
	return agent.AskAgent(ctx, conn, q)
}

func breakGlassCmd(a *app) *cobra.Command {
	var from, reason string
	var span time.Duration
	cmd := &cobra.Command{
		Use:   "break-glass PORT --from ADDRESS --for DURATION --reason TEXT",
		Short: "open a port from this host itself, without the plane",
		Long: `break-glass opens a port from this host itself when the plane cannot be asked. Only root may. It is written down before it
happens, delivered to the activity log when the plane is back, and closes by the kernel's own timeout after an hour at
the latest. A policy can switch it off.`,
		Example: `  ajar-agent break-glass 22 --from 192.0.2.7 --for 30m --reason "plane down, disk full"`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := parseBreakGlass(args[0], from, span, reason)
			if err != nil {
				return err
			}
			b.User = a.getenv("SUDO_USER")
			return a.breakGlass(cmd.Context(), b)
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "the address or prefix that may come in")
	cmd.Flags().DurationVar(&span, "for", 0, "how long, at most 1h")
	cmd.Flags().StringVar(&reason, "reason", "", "why; it goes into the activity log")
	a.firewallFlags(cmd)
	return cmd
}

// parseBreakGlass reads 22, 22/tcp and 53/udp, and an address or a prefix.
func parseBreakGlass(port, from string, span time.Duration, reason string) (b agent.BreakGlass, err error) {
	if from == "" || span == 0 || reason == "" {
		return b, usage("break-glass needs --from, --for and --reason")
	}
	number, proto, ok := strings.Cut(port, "/")
	n, err := strconv.ParseUint(number, 10, 16)
	if !ok {
		proto = "TCP"
	}
	if proto = strings.ToUpper(proto); err != nil || n == 0 || proto != string(ajar.TCP) && proto != string(ajar.UDP) {
		return b, usage("port %q is not of the form 22 or 53/udp", port)
	}
	var src netip.Prefix
	if addr, aerr := netip.ParseAddr(from); aerr == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		src = netip.PrefixFrom(addr, addr.BitLen())
	} else if src, err = netip.ParsePrefix(from); err != nil {
		return b, usage("--from %q is neither an address nor a prefix", from)
	}
	return agent.BreakGlass{Port: ajar.Port{Number: uint16(n), Protocol: ajar.Protocol(proto)}, From: src, For: span, Reason: reason}, nil
}

func (a *app) breakGlass(ctx context.Context, b agent.BreakGlass) error {
	var rule ajar.Rule
	answer, err := a.ask(ctx, agent.ControlAsk{Do: agent.AskBreakGlass, BreakGlass: &b})
	if answer.Rule != nil {
		rule = *answer.Rule
	}
	if errors.Is(err, errNoAgent) {
		rule, err = a.breakGlassAlone(ctx, b)
	}
	var e *ajar.Error
	if errors.As(err, &e) && e.Code == agent.GlassOff {
		return hint(err, "who may write the policy can switch it on again: ajar policy set TARGET --break-glass on")
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.out, "port %s is open to %s until %s\n", rule.Port, rule.Sources[0], rule.Expires.UTC().Format(time.RFC3339))
	return err
}

// breakGlassAlone does it where the agent is dead: the kernel needs none to close.
func (a *app) breakGlassAlone(ctx context.Context, b agent.BreakGlass) (ajar.Rule, error) {
	p, err := a.assemble(ctx)
	if err != nil {
		return ajar.Rule{}, err
	}
	defer p.close()
	if p.host.Endpoint() == "" {
		return ajar.Rule{}, notJoined()
	}
	if err := p.host.Resume(ctx); err != nil {
		return ajar.Rule{}, err
	}
	if b.User == "" {
		b.User = userName(os.Getuid())
	}
	r, err := p.host.BreakGlass(ctx, b)
	if err != nil {
		return r, err
	}
	return r, giveToOwner(a.state)
}

func leaveCmd(a *app) *cobra.Command {
	var yes bool
	var notes string
	cmd := &cobra.Command{
		Use:   "leave --yes",
		Short: "take this host out: its ports are as if Ajar had never been here",
		Long: `leave takes this host out. Its ports are as open as they were before Ajar, its identity and state are deleted, and the
plane is told if it can be reached. If something happened here that the plane has not heard of yet, such as break-glass, leave
refuses: let the agent reach the plane first, or have it written to a file of JSON lines with --untold.`,
		Example: `  ajar-agent leave --yes
  ajar-agent leave --yes --untold /root/ajar-untold.jsonl`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !yes {
				return hint(usage("leave opens every port that is guarded here"), "say --yes if that is meant")
			}
			return a.leave(cmd.Context(), notes)
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "open every guarded port and forget the plane")
	cmd.Flags().StringVar(&notes, "untold", "", "write what the plane has not heard of to this file, which must not exist, and go without it")
	a.firewallFlags(cmd)
	return cmd
}

// leaver is who can make the host leave: the agent that runs, or this process where none does.
type leaver interface {
	notes(context.Context) ([]json.RawMessage, error)
	leave(ctx context.Context, kept int) (untold string, err error)
}

func (a *app) leave(ctx context.Context, file string) error {
	var who leaver = running{a}
	list, err := who.notes(ctx)
	if errors.Is(err, errNoAgent) {
		p, err := a.assemble(ctx)
		if err != nil {
			return err
		}
		defer p.close()
		who = alone{p.host}
		if list, err = who.notes(ctx); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	kept := 0
	if file != "" && len(list) > 0 {
		if err := writeNotes(file, list); err != nil {
			return fmt.Errorf("nothing was changed: %w", err)
		}
		kept = len(list)
		fmt.Fprintf(a.out, "what the plane does not know of is in %s, a line each: %d\n", file, kept)
	}
	untold, err := who.leave(ctx, kept)
	if e := (*ajar.Error)(nil); errors.As(err, &e) && e.Code == agent.NotesUntold {
		return hint(err, "let the agent reach the plane (ajar-agent status says what keeps it), or say --untold FILE to have them written there")
	}
	if err != nil {
		return err
	}
	fmt.Fprintln(a.out, "this host has left; its ports are no longer guarded")
	if untold != "" {
		fmt.Fprintf(a.err, "ajar-agent: the plane could not be told: %s\nhint: remove the host there: ajar hosts remove\n", untold)
	}
	return nil
}

type running struct{ a *app }

func (r running) notes(ctx context.Context) ([]json.RawMessage, error) {
	answer, err := r.a.ask(ctx, agent.ControlAsk{Do: agent.AskNotes})
	return answer.Notes, err
}

func (r running) leave(ctx context.Context, kept int) (string, error) {
	answer, err := r.a.ask(ctx, agent.ControlAsk{Do: agent.AskLeave, Kept: kept})
	return answer.Untold, err
}

type alone struct{ h *agent.Host }

func (l alone) notes(context.Context) ([]json.RawMessage, error) { return l.h.Notes() }

func (l alone) leave(ctx context.Context, kept int) (string, error) {
	cause, err := l.h.Leave(ctx, kept)
	if cause != nil {
		return cause.Error(), err
	}
	return "", err
}

// writeNotes has them on disk, for their owner alone, before it returns.
func writeNotes(file string, list []json.RawMessage) (err error) {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := bufio.NewWriter(f)
	for _, n := range list {
		w.Write(n) //nolint:errcheck // Flush says it
		w.WriteByte('\n')
	}
	return errors.Join(w.Flush(), f.Sync())
}
