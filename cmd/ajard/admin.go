package main

import (
	"context"
	"fmt"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/authn"
	"github.com/ajar-access/ajar/broker"
)

// firstAdmin makes the first administrator and shows its one-time credential, once.
func (p *plane) firstAdmin(ctx context.Context, e env) error {
	return p.oneTime(ctx, e, p.cfg.Admin.Name, false)
}

// recoverAdmin makes an administrator again. Whoever can read the configuration, the key-encryption key and the database
// is on the plane's own machine and could take the plane over anyway.
func recoverAdmin(ctx context.Context, e env, args []string) error {
	fs, path := flags(e, "recover", "[-name NAME]")
	name := fs.String("name", "", "the administrator's `name`; the configuration's if empty")
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
	// Opening the keys proves that the key-encryption key is at hand.
	p, err := openPlane(ctx, c, e, nil)
	if err != nil {
		return err
	}
	defer p.store.Close()
	if _, err := p.broker.Bootstrap(ctx); err != nil {
		return err
	}
	def(name, c.Admin.Name)
	return p.oneTime(ctx, e, *name, true)
}

func (p *plane) oneTime(ctx context.Context, e env, name string, again bool) error {
	c := p.cfg
	secret, hash, err := authn.NewHasher(1).NewOnce(ctx)
	if err != nil {
		return err
	}
	within := c.Admin.Within.or(time.Hour)
	admin, made, err := p.broker.EnsureAdmin(ctx, broker.Admin{Name: name, Hash: hash, Kind: ajar.Once, Recover: again})
	if err != nil {
		return fmt.Errorf("make the administrator: %w", err)
	}
	if !made {
		return nil
	}
	end := p.clock().Add(within)
	if err := authn.ExpireOnce(ctx, p.store, admin.ID, end); err != nil {
		return fmt.Errorf("make the administrator: %w", err)
	}
	until := end.UTC().Format(time.RFC3339)
	login := fmt.Sprintf("ajar login --server %s --ca-hash %s --user %s", c.PublicURL, p.ca.Hash(), name)
	if path := (reference{File: c.Admin.File}).path(c.dir); path != "" {
		if err := writePrivate(path, []byte(secret+"\n"), true); err != nil {
			return fmt.Errorf("admin.file: %w", err)
		}
		fmt.Fprintf(e.stderr, "ajard: the one-time password of %q is in %s, good for one log-in until %s:\n\n    %s --password-file %s\n\n", name, path, until, login, path)
		return nil
	}
	fmt.Fprintf(e.stderr, `ajard: the one-time password of %q, shown this once and good for one log-in until %s, is

    %s

    %s
    ajar user password

`, name, until, secret, login)
	return nil
}
