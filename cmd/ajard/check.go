package main

import (
	"context"
	"fmt"
	"strings"
)

// check reads the configuration as serve does and touches nothing.
func check(_ context.Context, e env, args []string) error {
	fs, path := flags(e, "check", "")
	if err := parse(fs, args, 0); err != nil {
		return err
	}
	c, err := loadConfig(*path, e.getenv)
	if err != nil {
		return err
	}
	c.derive()
	dsn, _, err := c.database(e.getenv)
	if err != nil {
		return err
	}
	kind, _, _ := strings.Cut(dsn, ":")
	fmt.Fprintf(e.stdout, "%s is good: people at %s, agents at %s, database %s\n", *path, c.PublicURL, c.AgentURL, kind)
	return nil
}
