package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/ajar-access/ajar"
)

func logoutCmd(a *app) *cobra.Command {
	return command("logout", "end the session", `  ajar logout`, cobra.NoArgs, func(ctx context.Context, _ []string) error {
		c, cfg, err := a.client()
		if err != nil {
			return err
		}
		if err := c.Logout(ctx); err != nil && ajar.KindOf(err) != ajar.Unauthenticated {
			return hint(err, "the token is still good; when the plane is back: ajar logout")
		}
		cfg.Token = ""
		if _, err := a.saveConfig(cfg); err != nil {
			return err
		}
		return a.done(map[string]string{"server": cfg.Server, "name": cfg.Name}, "signed out of %s", cfg.Server)
	})
}
