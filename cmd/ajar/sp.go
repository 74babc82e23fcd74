package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
)

func spCmd(a *app) *cobra.Command {
	k := principalKind{ajar.ServicePrincipal, "sp", "service principal"}
	secrets := family("secret", "secrets of a service principal: add, list, remove", `  ajar sp secret add deploy --for 90d --secret-file deploy.secret
  ajar sp secret list deploy`, secretAddCmd(a, k), secretListCmd(a, k), secretRemoveCmd(a, k))
	certificates := family("certificate", "certificates of a service principal: add, list, remove", `  ajar sp certificate add deploy deploy.pem
  ajar sp certificate list deploy`, certificateAddCmd(a, k), certificateListCmd(a, k), certificateRemoveCmd(a, k))
	return family("sp", "service principals, for programs: add, list, show, links, link, unlink, secret, certificate, disable, enable, remove", `  ajar sp add deploy
  ajar sp secret add deploy --for 90d --secret-file deploy.secret
  ajar login --user deploy --password-file deploy.secret`,
		spAddCmd(a, k), k.listCmd(a), k.showCmd(a), k.linksCmd(a), k.linkCmd(a), k.unlinkCmd(a), secrets, certificates, k.disableCmd(a, true), k.disableCmd(a, false), k.removeCmd(a))
}

func spAddCmd(a *app, k principalKind) *cobra.Command {
	var display string
	c := command("add NAME", "add a service principal", `  ajar sp add deploy --display "Deployment"`, cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		c, _, err := a.client()
		if err != nil {
			return err
		}
		p, err := c.CreatePrincipal(ctx, client.Principal{Kind: k.kind, Name: args[0], Display: display}, "")
		if err != nil {
			return err
		}
		return a.done(p, "service principal %s is added (%s); it needs a secret: ajar sp secret add %s", plain(p.Name), p.ID, p.Name)
	})
	c.Flags().StringVar(&display, "display", "", "how it is shown")
	return c
}

func secretAddCmd(a *app, k principalKind) *cobra.Command {
	var life span
	var file string
	c := command("add NAME", "make a secret; it is shown this once", `  ajar sp secret add deploy --for 90d
  ajar sp secret add deploy --secret-file deploy.secret`, cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		c, p, err := k.named(ctx, a, args[0])
		if err != nil {
			return err
		}
		var s client.NewSecret
		err = secretOut(file, &s.Value, func() (err error) {
			s, err = c.CreateSecret(ctx, string(p.ID), life.d)
			return err
		})
		if err != nil {
			return err
		}
		return a.show(s, func(w io.Writer) {
			a.say("secret %s of %s%s; it is not shown again", s.ID, plain(p.Name), ends(a, s.Secret))
			if file == "" {
				fmt.Fprintln(w, s.Value)
			}
		})
	})
	c.Flags().Var(&life, "for", "how long it is good (as long as the plane gives)")
	c.Flags().StringVar(&file, "secret-file", "", "write it to this new file instead of showing it")
	return c
}

func ends(a *app, s client.Secret) string {
	if s.Expires.IsZero() {
		return ""
	}
	return " ends " + a.when(s.Expires)
}

// secretOut has a secret made, and moves it to a new file that nobody else may read, if there is to be one. The file comes
// first: a secret that could not be written down would be good all the same.
func secretOut(file string, secret *string, make func() error) error {
	if file == "" {
		return make()
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("write the secret: %w", err)
	}
	if err = make(); err == nil {
		_, err = fmt.Fprintln(f, *secret)
	}
	*secret = ""
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		os.Remove(file)
	}
	return err
}

func secretListCmd(a *app, k principalKind) *cobra.Command {
	return command("list NAME", "secrets of a service principal, by their first characters", `  ajar sp secret list deploy`, cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		c, p, err := k.named(ctx, a, args[0])
		if err != nil {
			return err
		}
		all, err := client.Collect(c.Secrets(ctx, string(p.ID)))
		if err != nil {
			return err
		}
		return list(a, all, "there are none", []string{"SECRET", "BEGINS", "MADE", "ENDS"}, func(s client.Secret) []string {
			return []string{s.ID, or(s.Hint, "-"), a.when(s.Created), a.when(s.Expires)}
		})
	})
}

func secretRemoveCmd(a *app, k principalKind) *cobra.Command {
	return command("remove NAME SECRET", "end a secret", `  ajar sp secret remove deploy 3f1c…`, cobra.ExactArgs(2), func(ctx context.Context, args []string) error {
		c, p, err := k.named(ctx, a, args[0])
		if err != nil {
			return err
		}
		if err := c.DeleteSecret(ctx, string(p.ID), args[1]); err != nil {
			return err
		}
		return a.done(map[string]string{"id": args[1]}, "secret %s of %s is no good any longer", args[1], plain(p.Name))
	})
}
