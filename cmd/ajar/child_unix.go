//go:build unix

package main

import (
	"os/exec"
	"syscall"
)

// childCode is a child's exit code, or 128 and the signal that ended it, as shells have it.
func childCode(e *exec.ExitError) int {
	if s, ok := e.Sys().(syscall.WaitStatus); ok && s.Signaled() {
		return 128 + int(s.Signal())
	}
	return e.ExitCode()
}
