// Command ajard is Ajar's control plane: the store, the gate, the loop, the REST surface and the agents' listener, wired
// together. It decides nothing; the packages that it joins do.
//
//	ajard serve -c ajard.yaml      run the plane
//	ajard check -c ajard.yaml      say everything that is wrong with the configuration
//	ajard backup | restore         save the store, put it back
//	ajard recover                  a new one-time administrator, on the plane's own machine
//	ajard log verify               find any cut or edit of the activity log
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/ajar-access/ajar"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Getenv)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "ajard: "+text(err))
		os.Exit(exitCode(err))
	}
}

// env is what a command may use of the world.
type env struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
}

// command is one of ajard's.
type command struct {
	name  string
	short string
	run   func(ctx context.Context, e env, args []string) error
}

func commands() []command {
	return []command{
		{"serve", "run the control plane", serve},
		{"check", "check the configuration and say everything that is wrong with it", check},
		{"backup", "save the store to a file", backup},
		{"restore", "put a backup back into an empty store; what was open is closed", restore},
		{"recover", "make a one-time administrator credential, on the plane's own machine", recoverAdmin},
		{"rotate-keys", "withdraw the keys that sign access tokens, and all that they signed", rotateKeys},
		{"log", "verify the activity log (ajard log verify)", logCommand},
		{"version", "print the version", version},
	}
}

// errUsage is a command line that makes no sense; what is right was printed.
var errUsage = errors.New("usage")

// run is the program, with everything it uses handed in.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, getenv func(string) string) error {
	e := env{stdin, stdout, stderr, getenv}
	if len(args) == 0 || slices.Contains([]string{"-h", "-help", "--help", "help"}, args[0]) {
		usage(stdout)
		return nil
	}
	for _, c := range commands() {
		if c.name == args[0] {
			err := c.run(ctx, e, args[1:])
			if errors.Is(err, flag.ErrHelp) {
				return nil
			}
			return err
		}
	}
	usage(stderr)
	return fmt.Errorf("%w: there is no command %.40q", errUsage, args[0])
}

func usage(w io.Writer) {
	fmt.Fprintln(w, "ajard is the control plane of Ajar: just-in-time network access.\n\nCommands:")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-8s  %s\n", c.name, c.short)
	}
	fmt.Fprintln(w, "\nEach takes -c FILE (default "+defaultConfig+") and -h.")
}

const defaultConfig = "/etc/ajard/ajard.yaml"

// flags is a command's flag set with -c, and what stands in its usage line.
func flags(e env, name, more string) (fs *flag.FlagSet, config *string) {
	fs = flag.NewFlagSet("ajard "+name, flag.ContinueOnError)
	fs.SetOutput(e.stderr)
	config = fs.String("c", defaultConfig, "configuration `file`")
	fs.Usage = func() {
		fmt.Fprintf(e.stderr, "usage: ajard %s\n", strings.TrimSpace(name+" [-c FILE] "+more))
		fs.PrintDefaults()
	}
	return fs, config
}

// parse reads args; anything that is left over is refused unless n words are expected.
func parse(fs *flag.FlagSet, args []string, n int) error {
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	if fs.NArg() != n {
		fs.Usage()
		return fmt.Errorf("%w: %d words are expected after the flags, not %d", errUsage, n, fs.NArg())
	}
	return nil
}

// text is what a person at the terminal reads of err: ajard's operator may read causes.
func text(err error) string {
	return strings.TrimSpace(err.Error())
}

// Exit codes.
const (
	exitFailed  = 1
	exitUsage   = 2
	exitAltered = 3 // the log is not what it was
)

func exitCode(err error) int {
	var e *ajar.Error
	switch {
	case errors.Is(err, errUsage):
		return exitUsage
	case errors.As(err, &e) && e.Code == codeAltered:
		return exitAltered
	}
	return exitFailed
}
