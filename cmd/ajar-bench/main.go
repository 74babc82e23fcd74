//go:build linux

// Command ajar-bench measures what the project promises about speed and size, in package lab's network with the real
// programs, and prints one line `metric value unit` each. With QUICK set it does fewer runs. It is no part of an
// installation.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ajar-access/ajar/lab"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	err := lead(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "ajar-bench:", err)
		os.Exit(1)
	}
}

func lead(ctx context.Context) error {
	if dsn := os.Getenv(planeEnv); dsn != "" {
		return servePlane(ctx, dsn, os.Stdin, os.Stdout)
	}
	if err := lab.Enter(); err != nil {
		return err
	}
	return run(ctx, os.Args[1:], os.Stdout, os.Getenv)
}

// part is a group of metrics that are measured together.
type part struct {
	name string
	run  func(*bench, context.Context) error
}

var parts = []part{
	{"open", (*bench).openPart},
	{"close", (*bench).closePart},
	{"crowd", (*bench).crowdPart},
	{"fleet", (*bench).fleetPart},
	{"rights", (*bench).rightsPart},
	{"list", (*bench).listPart},
	{"signin", (*bench).signinPart},
	{"sqlite", (*bench).sqlitePart},
	{"postgres", (*bench).postgresPart},
}

// bench is one run.
type bench struct {
	report
	quick bool
	bin   string
	base  time.Duration // open_p50

	planeRSS, planeCPU float64
}

// n is how many runs to make: the first number, or the second if it shall be quick.
func (b *bench) n(full, quick int) int {
	if b.quick {
		return quick
	}
	return full
}

// run measures the parts that are named, or all of them.
func run(ctx context.Context, names []string, out io.Writer, getenv func(string) string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	b := &bench{report: report{out}, quick: getenv("QUICK") != "", bin: filepath.Dir(self)}
	began := time.Now()
	b.note("%s/%s, %d cores, %s, kernel %s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version(), kernel())
	for _, p := range parts {
		if len(names) > 0 && !slices.Contains(names, p.name) {
			continue
		}
		// What the part before has written and removed is not to be waited for in this one: a commit waits for the disk.
		unix.Sync()
		if err := p.run(b, ctx); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	b.note("measured in %.0f s", time.Since(began).Seconds())
	return nil
}

func kernel() string {
	v, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(v))
}
