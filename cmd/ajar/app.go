package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
)

// app is one run of the program: what it was given, and the flags that all commands have.
type app struct {
	in       io.Reader
	out, err io.Writer
	getenv   func(string) string
	now      ajar.Clock

	output  string // table or json
	utc     bool
	config  *config // that a client was made of
	plane   *client.Client
	columns int  // of the terminal that what is drawn goes to; 0 = ask it
	started bool // a command runs; what fails before is the caller's usage
}

// commands is the table of commands.
var commands = []func(*app) *cobra.Command{
	loginCmd, logoutCmd, whoamiCmd,
	targetsCmd, openCmd, sshCmd, leasesCmd, extendCmd, closeCmd, requestsCmd,
	policyCmd, hostsCmd,
	roleCmd, userCmd, groupCmd, spCmd, tokenCmd,
	logCmd, versionCmd, completionCmd,
}

const rootLong = `ajar opens a closed management port to your address, for a limited time, if a policy lets you.

Names: a machine can be named by its name alone (web1), by its group and name (prod/web1), or by its whole ID.
Durations are written 90m, 1h30m, 2d or PT1H30M; times 15:04, "2006-01-02 15:04" or 2006-01-02T15:04:05Z.

Exit codes:
  0    done
  1    something else went wrong
  2    the command line is wrong, a name is ambiguous, or a file that is named cannot be read
  3    refused: you may not, you are not signed in, or no policy allows it
  4    not found
  5    the plane or the host cannot be reached, did not answer in time, or asks to slow down
  6    not yet: the request waits for approval
  7    somebody was faster, or the state has no such step; look again
  8    the activity log is not what it was
  130  interrupted
"ajar ssh" exits with ssh's own code once ssh has started.

Environment: AJAR_CONFIG names the login file (0600; else ajar/config.json in the user's configuration directory);
AJAR_SERVER, AJAR_CA_FILE and AJAR_TOKEN take the place of what it says.`

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "ajar",
		Short: "just-in-time network access",
		Long:  rootLong,
		Example: `  ajar login --server https://ajar.example.com --ca-hash sha256:2c26… --user anna
  ajar open web1 22 --for 1h --reason "disk full"
  ajar ssh web1
  ajar leases`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noSuchCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		Version:       versionLine(),
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetFlagErrorFunc(noSuchFlag)
	root.PersistentFlags().StringVarP(&a.output, "output", "o", "table", "table for people, json for programs; csv for lists")
	root.PersistentFlags().BoolVar(&a.utc, "utc", false, "show times in full, in UTC, beside the relative ones")
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if ways := outputs(cmd); !slices.Contains(ways, a.output) {
			return fmt.Errorf("-o %s is not known here; it can be %s", a.output, join(ways, ""))
		}
		return nil
	}
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.CompletionOptions.DisableDefaultCmd = true
	for _, c := range commands {
		root.AddCommand(c(a))
	}
	root.InitDefaultHelpCmd()
	for _, c := range root.Commands() {
		if c.Name() == "help" {
			c.Example = "  ajar help open"
		}
	}
	if err := root.RegisterFlagCompletionFunc("output", func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return outputs(cmd), cobra.ShellCompDirectiveNoFileComp
	}); err != nil {
		panic(err) // a flag twice: a fault of the program
	}
	a.complete(root)
	a.marked(root)
	return root
}

// outputs lists what a command can write: -o csv is for lists alone.
func outputs(cmd *cobra.Command) []string {
	ways := []string{"table", "json"}
	for _, more := range []string{"csv", "yaml"} {
		if cmd.Annotations[more] != "" || (more == "csv" && cmd.Name() == "list") {
			ways = append(ways, more)
		}
	}
	return ways
}

// withCSV makes a command that is no list by its name write CSV, too.
func withCSV(c *cobra.Command) *cobra.Command {
	c.Annotations = map[string]string{"csv": "yes"}
	return c
}

// marked makes every command note that it was reached: until then all that fails is the command line.
func (a *app) marked(c *cobra.Command) {
	if run := c.RunE; run != nil {
		c.RunE = func(cmd *cobra.Command, args []string) error {
			a.started = true
			return run(cmd, args)
		}
	}
	for _, s := range c.Commands() {
		a.marked(s)
	}
}

// command makes a command that runs fn.
func command(use, short, example string, args cobra.PositionalArgs, fn func(context.Context, []string) error) *cobra.Command {
	fits := func(cmd *cobra.Command, given []string) error {
		if args(cmd, given) != nil {
			if len(given) > 0 && cmd.HasSubCommands() && args(cmd, nil) == nil {
				return noSuchCommand(cmd, given)
			}
			first, _, _ := strings.Cut(strings.TrimSpace(cmd.Example), "\n")
			return hint(usage("%s given; it is: %s", count(len(given), "argument"), strings.TrimSuffix(cmd.UseLine(), " [flags]")), "such as: %s", first)
		}
		return nil
	}
	return &cobra.Command{Use: use, Short: short, Example: example, Args: fits,
		RunE: func(cmd *cobra.Command, args []string) error { return fn(cmd.Context(), args) }}
}

// family makes a command that only holds others.
func family(use, short, example string, members ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Example: example, Args: noSuchCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	c.AddCommand(members...)
	return c
}

// client is a client of the plane that the caller is signed in to.
func (a *app) client() (*client.Client, *config, error) {
	cfg, err := a.loadConfig()
	if err != nil {
		return nil, nil, err
	}
	if cfg.Server == "" || cfg.Token == "" {
		return nil, nil, hint(ajar.Errorf(ajar.Unauthenticated, "you are not signed in"), "ajar login --server URL --ca-hash sha256:… --user NAME")
	}
	c, err := client.New(a.clientConfig(cfg))
	a.config, a.plane = cfg, c
	return c, cfg, err
}

// clientConfig is how to talk to a plane. At a terminal it is said that one has to be patient.
func (a *app) clientConfig(cfg *config) client.Config {
	cc := client.Config{Server: cfg.Server, CA: []byte(cfg.CA), Token: cfg.Token, UserAgent: userAgent(), Proxy: http.ProxyFromEnvironment}
	if terminal(a.err) {
		cc.Again = func(err error) { a.say("%s; trying on …", err) }
	}
	return cc
}

// clockFar is how far a clock may be off before it is said.
const clockFar = time.Minute

// sayClock warns of a clock by which every time that is shown is wrong.
func (a *app) sayClock() {
	if a.plane == nil {
		return
	}
	switch off := a.plane.ClockOff(); {
	case off > clockFar:
		a.say("warning: this machine's clock is %s ahead of the plane's, and times are shown by it", short(off))
	case off < -clockFar:
		a.say("warning: this machine's clock is %s behind the plane's, and times are shown by it", short(-off))
	}
}

// say writes a line of progress or advice for a person.
func (a *app) say(format string, args ...any) { fmt.Fprintf(a.err, format+"\n", args...) }

// terminal reports whether f is one.
func terminal(f any) bool {
	file, ok := f.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}
