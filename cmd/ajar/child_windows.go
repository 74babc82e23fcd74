package main

import "os/exec"

// childCode is a child's exit code.
func childCode(e *exec.ExitError) int { return e.ExitCode() }
