//go:build linux

// Command ajar-agent runs on each Linux host: it keeps the host's ports closed and opens what the plane says, for as
// long as it says. It joins provider/agent, which talks to the plane, to provider/nftables, which talks to the kernel,
// and decides nothing itself.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Getenv)
	stop()
	os.Exit(code)
}

// run is the whole program with everything it touches handed in. It returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, getenv func(string) string) int {
	a := &app{in: stdin, out: stdout, err: stderr, getenv: getenv, now: time.Now}
	root := a.root()
	root.SetArgs(args)
	return a.report(root.ExecuteContext(ctx))
}
