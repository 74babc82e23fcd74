package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// every command says how it is used, by example.
func TestEveryCommandHasAnExample(t *testing.T) {
	a := &app{in: strings.NewReader(""), out: &bytes.Buffer{}, err: &bytes.Buffer{}, getenv: func(string) string { return "" }}
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		if !strings.Contains(c.Example, "ajar "+strings.TrimPrefix(strings.TrimPrefix(c.CommandPath(), "ajar"), " ")) {
			t.Errorf("%s: no example of its own", c.CommandPath())
		}
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: the short text is %q", c.CommandPath(), c.Short)
		}
		for _, s := range c.Commands() {
			walk(s)
		}
	}
	walk(a.root())
}

// secrets are read from files and terminals. What stands on a command line is seen by everybody on the machine.
func TestNoFlagTakesASecret(t *testing.T) {
	a := &app{in: strings.NewReader(""), out: &bytes.Buffer{}, err: &bytes.Buffer{}, getenv: func(string) string { return "" }}
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		for _, name := range []string{"password", "secret", "token"} {
			if f := c.Flags().Lookup(name); f != nil {
				t.Errorf("%s takes --%s", c.CommandPath(), name)
			}
		}
		for _, s := range c.Commands() {
			walk(s)
		}
	}
	walk(a.root())
}
