package main

import (
	"context"
	"fmt"
)

// rotateKeys withdraws the keys that sign tokens. It may run while planes do: they notice within a second.
func rotateKeys(ctx context.Context, e env, args []string) error {
	fs, path := flags(e, "rotate-keys", "")
	if err := parse(fs, args, 0); err != nil {
		return err
	}
	c, err := loadConfig(*path, e.getenv)
	if err != nil {
		return err
	}
	if err := c.mustExist(e.getenv); err != nil {
		return err
	}
	p, err := openPlane(ctx, c, e, nil)
	if err != nil {
		return err
	}
	defer p.store.Close()
	if err := p.auth.Tokens.Keys.Withdraw(ctx); err != nil {
		return fmt.Errorf("withdraw the keys that sign tokens: %w", err)
	}
	fmt.Fprintln(e.stdout, "a new key signs tokens; what the others signed is no good any longer")
	return nil
}
