package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/ajar-access/ajar/client"
)

func tokenCmd(a *app) *cobra.Command {
	return family("token", "your bearer tokens: list, create, revoke", `  ajar token create backup --for 12h
  ajar token list
  ajar token revoke 9b1d…`, tokenListCmd(a), tokenCreateCmd(a), tokenRevokeCmd(a))
}

func tokenListCmd(a *app) *cobra.Command {
	return command("list", "your tokens; a sign-in has one, too", `  ajar token list`, cobra.NoArgs, func(ctx context.Context, _ []string) error {
		c, _, err := a.client()
		if err != nil {
			return err
		}
		all, err := client.Collect(c.Tokens(ctx))
		if err != nil {
			return err
		}
		return list(a, all, "you have none", []string{"TOKEN", "NAME", "FROM", "MADE", "ENDS", ""}, func(t client.Token) []string {
			from := "-"
			if t.From.IsValid() {
				from = t.From.String()
			}
			return []string{tokenHead(t.ID), t.Name, from, a.when(t.Created), a.when(t.Expires), yes(t.Current, "this one") + yes(!t.Revoked.IsZero(), "revoked")}
		})
	})
}

// tokenHead is enough of a token's ID, which is long, to tell it from others.
func tokenHead(id string) string {
	if len(id) > 16 {
		return id[:16]
	}
	return id
}

func tokenCreateCmd(a *app) *cobra.Command {
	var life span
	var file string
	c := command("create NAME", "make another token for yourself; it is shown this once", `  ajar token create backup --for 12h
  ajar token create backup --token-file backup.token`, cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		c, _, err := a.client()
		if err != nil {
			return err
		}
		var t client.NewToken
		err = secretOut(file, &t.Secret, func() (err error) {
			t, err = c.CreateToken(ctx, args[0], life.d)
			return err
		})
		if err != nil {
			return err
		}
		return a.show(t, func(w io.Writer) {
			a.say("token %s ends %s; it is not shown again", tokenHead(t.ID), a.when(t.Expires))
			if file == "" {
				fmt.Fprintln(w, t.Secret)
			}
		})
	})
	c.Flags().Var(&life, "for", "how long it is good (as long as the plane gives)")
	c.Flags().StringVar(&file, "token-file", "", "write it to this new file instead of showing it")
	return c
}

func tokenRevokeCmd(a *app) *cobra.Command {
	return command("revoke TOKEN", "end a token; the start of its id is enough", `  ajar token revoke 9b1d22aa`, cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		c, _, err := a.client()
		if err != nil {
			return err
		}
		t, err := byPart(c.Tokens(ctx), "token", args[0], func(t client.Token) string { return t.ID })
		if err != nil {
			return err
		}
		if err := c.RevokeToken(ctx, t.ID); err != nil {
			return err
		}
		return a.done(map[string]string{"id": t.ID, "name": t.Name}, "token %s (%s) is no good any longer", tokenHead(t.ID), plain(t.Name))
	})
}
