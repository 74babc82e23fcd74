//go:build linux

// Command ajar-demo shows Ajar alive: real ports of real hosts open for one address and close on time, whatever is
// killed. It makes its own network (package lab), types what people would type, measures with real packets, and exits 0
// only if it saw all that it shows. It is no part of an installation.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/ajar-access/ajar/lab"
)

func main() {
	if err := lab.Enter(); err != nil {
		fmt.Fprintln(os.Stderr, "ajar-demo:", err)
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Stdout, os.Getenv)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "ajar-demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, getenv func(string) string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	d := &demo{out: out, bin: filepath.Dir(self)}
	if err := d.begin(ctx); err != nil {
		return errors.Join(err, d.end())
	}
	err = d.play(ctx)
	if err == nil && getenv("KEEP") != "" {
		err = d.keep(ctx, os.Stdin)
	}
	return errors.Join(err, d.end())
}
