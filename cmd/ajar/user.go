package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
)

func userCmd(a *app) *cobra.Command {
	k := principalKind{ajar.User, "user", "person"}
	return family("user", "people: add, list, show, links, link, unlink, password, reset-factors, disable, enable, remove", `  ajar user add anna
  ajar user password anna
  ajar user disable anna`,
		userAddCmd(a, k), k.listCmd(a), k.showCmd(a), k.linksCmd(a), k.linkCmd(a), k.unlinkCmd(a), userPasswordCmd(a), userResetCmd(a), k.disableCmd(a, true), k.disableCmd(a, false), k.removeCmd(a))
}

func userAddCmd(a *app, k principalKind) *cobra.Command {
	var display, file string
	c := command("add NAME", "add a person", `  ajar user add anna --display "Anna Berg"
  ajar user add anna --password-file - < first-password`, cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		c, _, err := a.client()
		if err != nil {
			return err
		}
		password, err := a.newPassword(args[0], file)
		if err != nil {
			return err
		}
		p, err := c.CreatePrincipal(ctx, client.Principal{Kind: k.kind, Name: args[0], Display: display}, password)
		if err != nil {
			return err
		}
		return a.done(p, "%s is added (%s); what one may do comes from roles: ajar role assign ROLE %s --scope …", plain(p.Name), p.ID, p.Name)
	})
	c.Flags().StringVar(&display, "display", "", "how the person is shown")
	c.Flags().StringVar(&file, "password-file", "", "file that holds the first password; - reads it from standard input")
	return c
}

func userPasswordCmd(a *app) *cobra.Command {
	var file, currentFile string
	c := command("password [NAME]", "give yourself, or somebody else, another password", `  ajar user password
  ajar user password anna --password-file new.txt`, cobra.MaximumNArgs(1), func(ctx context.Context, args []string) error {
		c, cfg, err := a.client()
		if err != nil {
			return err
		}
		if len(args) == 0 {
			me, err := c.Me(ctx)
			if err != nil {
				return err
			}
			args = []string{or(me.Name, cfg.Name)}
		}
		password, err := a.newPassword(args[0], file)
		if err != nil {
			return err
		}
		current := ""
		if currentFile != "" {
			if current, err = a.secret("current password of "+args[0], currentFile); err != nil {
				return err
			}
		}
		err = c.SetPassword(ctx, args[0], password, current)
		var plane *client.Error
		if errors.As(err, &plane) && plane.Err.Code == client.CurrentPasswordRequired && current == "" {
			if current, err = a.secret("current password of "+args[0], ""); err != nil {
				return hint(err, "your own password takes the one you have now: --current-password-file FILE")
			}
			err = c.SetPassword(ctx, args[0], password, current)
		}
		if err != nil {
			return err
		}
		return a.done(map[string]string{"name": args[0]}, "the password of %s is another one now", args[0])
	})
	c.Flags().StringVar(&file, "password-file", "", "file that holds the new password; - reads it from standard input")
	c.Flags().StringVar(&currentFile, "current-password-file", "", "file that holds the password you have now, which your own takes; asked for otherwise")
	return c
}

func userResetCmd(a *app) *cobra.Command {
	return command("reset-factors NAME", "remove a person's second factors, and sign out their browsers and the programs these signed in", `  ajar user reset-factors anna      # her phone is lost`,
		cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
			c, _, err := a.client()
			if err != nil {
				return err
			}
			if err := c.ResetFactors(ctx, args[0]); err != nil {
				return err
			}
			return a.done(map[string]string{"name": args[0]}, "%s has no second factor any longer; the password alone signs in until there is another", args[0])
		})
}

// newPassword reads a password that does not exist yet: twice, where a person types it unseen.
func (a *app) newPassword(name, file string) (string, error) {
	p, err := a.secret("new password of "+name, file)
	if err != nil || file != "" {
		return p, err
	}
	again, err := a.secret("once more", "")
	if err == nil && again != p {
		err = usage("the two passwords are not the same")
	}
	return p, err
}
