//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ajar-access/ajar"
)

// app is one run of the program: what it was given, and the flags that all commands have.
type app struct {
	in       io.Reader
	out, err io.Writer
	getenv   func(string) string
	now      ajar.Clock

	state    string
	logLevel string
	ownTable string
	table    string
	log      *slog.Logger
	started  bool // a command runs; what fails before is the caller's usage
}

// commands is the table of commands, in the order of --help.
var commands = []func(*app) *cobra.Command{joinCmd, runCmd, restoreCmd, statusCmd, breakGlassCmd, leaveCmd, versionCmd}

const rootLong = `ajar-agent keeps the ports of this host closed, and opens one to one address for a limited time when the plane says so.

Exit codes:
  0    done
  1    something else went wrong
  2    the command line is wrong
  3    refused: the plane or a policy does not let you, or you are not root
  4    this host has not joined
  5    the plane or the agent cannot be reached
  7    this host has joined already, or another agent is at work on the same state`

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "ajar-agent",
		Short: "the agent of Ajar on a Linux host",
		Long:  rootLong,
		Example: `  ajar-agent join --server ajar.example.com:8444 --ca-hash sha256:2c26… --token-file /root/token
  systemctl enable --now ajar-agent-restore ajar-agent
  ajar-agent status`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.PersistentFlags().StringVar(&a.state, "state", "/var/lib/ajar-agent", "the directory of this host's identity and state")
	root.PersistentFlags().StringVar(&a.logLevel, "log-level", "info", "debug, info, warn or error")
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		var level slog.Level
		if err := level.UnmarshalText([]byte(a.logLevel)); err != nil {
			return fmt.Errorf("--log-level %s is not known; it can be debug, info, warn or error", a.logLevel)
		}
		a.log = slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: level}))
		a.started = true
		return nil
	}
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.CompletionOptions.DisableDefaultCmd = true
	for _, c := range commands {
		root.AddCommand(c(a))
	}
	return root
}

// firewallFlags are those of every command that may drive the kernel itself.
func (a *app) firewallFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.ownTable, "own-table", "auto", "auto: own the nftables table where the kernel can (6.9); off: watch and repair it")
	cmd.Flags().StringVar(&a.table, "table", "ajar", "the name of the nftables table")
}

// fault is an error with one line of advice and, if need be, an exit code of its own.
type fault struct {
	err  error
	code int
	hint string
}

func (f *fault) Error() string { return f.err.Error() }
func (f *fault) Unwrap() error { return f.err }

func hint(err error, format string, args ...any) error {
	return &fault{err: err, hint: fmt.Sprintf(format, args...)}
}

func usage(format string, args ...any) error {
	return &fault{err: fmt.Errorf(format, args...), code: 2, hint: "see ajar-agent --help"}
}

var kindExit = map[ajar.Kind]int{
	ajar.Invalid: 2, ajar.Forbidden: 3, ajar.Unauthenticated: 3, ajar.NotFound: 4, ajar.Unavailable: 5, ajar.TooMany: 5, ajar.Conflict: 7,
}

// report writes err for its reader and turns it into an exit code.
func (a *app) report(err error) int {
	if err == nil {
		return 0
	}
	if errors.Is(err, context.Canceled) {
		return 0 // stopping is no failure
	}
	fmt.Fprintf(a.err, "ajar-agent: %s\n", strings.TrimRight(err.Error(), ".\n"))
	code, advice := 0, ""
	var f *fault
	for e := err; errors.As(e, &f); e = f.err { // the outermost advice, and the code wherever it is
		if advice == "" {
			advice = f.hint
		}
		if code == 0 {
			code = f.code
		}
	}
	if advice != "" {
		fmt.Fprintf(a.err, "hint: %s\n", advice)
	}
	if code != 0 {
		return code
	}
	if !a.started {
		return 2
	}
	if code, ok := kindExit[ajar.KindOf(err)]; ok {
		return code
	}
	return 1
}

func (a *app) show(v any) error {
	enc := json.NewEncoder(a.out)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// version is set by the linker in releases.
var version = ""

func versionOf() string {
	if version != "" {
		return version
	}
	if b, ok := debug.ReadBuildInfo(); ok && b.Main.Version != "" && b.Main.Version != "(devel)" {
		return b.Main.Version
	}
	return "devel"
}

func versionCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "the version of this program", Example: "  ajar-agent version", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(a.out, "ajar-agent %s\n", versionOf())
			return err
		},
	}
}
