//go:build unix

package main

import (
	"os"
	"syscall"
)

// stopSignals end ajar in good order.
var stopSignals = []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP}
