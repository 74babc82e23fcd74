//go:build !linux

// Command ajar-agent runs on Linux hosts only.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "ajar-agent: this program drives the firewall of Linux hosts and runs nowhere else")
	os.Exit(1)
}
