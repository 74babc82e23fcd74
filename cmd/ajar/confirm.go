package main

import (
	"bufio"
	"fmt"
	"strings"
)

// confirm asks a person whether something that cannot be taken back shall be done. Who is not at a terminal says so
// with --yes.
func (a *app) confirm(sure bool, format string, args ...any) error {
	if sure {
		return nil
	}
	what := fmt.Sprintf(format, args...)
	if !terminal(a.in) {
		return hint(usage("%s: this needs a yes", what), "--yes, once you have read the above")
	}
	fmt.Fprintf(a.err, "%s. go on? [y/N] ", what)
	line, _ := bufio.NewReader(a.in).ReadString('\n')
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return nil
	}
	return exits(exitOther, fmt.Errorf("nothing was changed"))
}
