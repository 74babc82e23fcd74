package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/ajar-access/ajar/client"
)

func whoamiCmd(a *app) *cobra.Command {
	return command("whoami", "who the plane takes you for, and from which address", `  ajar whoami
  ajar whoami -o json`, cobra.NoArgs, func(ctx context.Context, _ []string) error {
		c, cfg, err := a.client()
		if err != nil {
			return err
		}
		me, err := c.Me(ctx)
		if err != nil {
			return err
		}
		out := struct {
			client.Me
			Server string `json:"server"`
		}{me, cfg.Server}
		return a.show(out, func(w io.Writer) {
			fmt.Fprintf(w, "%s (%s) on %s\n", plain(me.Name), me.Principal, cfg.Server)
			if len(me.Groups) > 0 {
				names, all := a.namesOf(c), []string{}
				for _, g := range me.Groups {
					all = append(all, names(ctx, g))
				}
				fmt.Fprintf(w, "groups: %s\n", plain(join(all, "")))
			}
			if !me.Expires.IsZero() {
				fmt.Fprintf(w, "the session ends %s\n", a.when(me.Expires))
			}
			if me.From.IsValid() {
				fmt.Fprintf(w, "the plane sees you at %s\n", me.From)
			}
			if me.Warning != "" {
				a.say("warning: %s", plain(me.Warning))
			}
		})
	})
}
