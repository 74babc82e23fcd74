//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/ajar-access/ajar/lab"
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == echoWord {
		fmt.Fprintln(os.Stderr, "vm:", echo())
		os.Exit(1)
	}
	if err := lab.Enter(); err != nil {
		fmt.Fprintln(os.Stderr, "vm:", err)
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := prove(ctx, os.Stdout, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "vm:", err)
		os.Exit(1)
	}
}
