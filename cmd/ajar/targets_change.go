package main

import (
	"context"
	"maps"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
)

func targetSetCmd(a *app) *cobra.Command {
	var t client.Target
	var addrs, tags, untag []string
	c := command("set TARGET", "make a machine, or change what is known of it", `  ajar targets set web1 --address 10.0.0.4 --login ops
  ajar targets set /subscriptions/0c1b…/resourceGroups/prod/providers/Microsoft.Compute/virtualMachines/web1 --location westeurope`,
		cobra.ExactArgs(1), nil)
	f := c.Flags()
	f.StringSliceVar(&addrs, "address", nil, "address at which people reach it; may be repeated, the first is shown first")
	f.StringVar(&t.Login, "login", "", "user name for the ssh line")
	f.Uint16Var(&t.SSHPort, "ssh-port", 0, "port of its sshd (22)")
	f.StringVar(&t.OS, "os", "", "Linux or Windows")
	f.StringVar(&t.Location, "location", "", "location, such as westeurope")
	f.StringArrayVar(&tags, "tag", nil, "NAME=VALUE to sort machines by; may be repeated")
	f.StringArrayVar(&untag, "untag", nil, "NAME of a tag to take off; may be repeated")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		c, cfg, err := a.client()
		if err != nil {
			return err
		}
		now, err := targetOrNew(cmd.Context(), c, cfg, args[0], t.Location)
		if err != nil {
			return err
		}
		if f.Changed("address") {
			now.Addresses = nil
		}
		for _, s := range addrs {
			ip, err := netip.ParseAddr(s)
			if err != nil {
				return usage("%q is not an address", s)
			}
			now.Addresses = append(now.Addresses, ip.Unmap())
		}
		for name, set := range map[string]func(){
			"login": func() { now.Login = t.Login }, "ssh-port": func() { now.SSHPort = t.SSHPort },
			"os": func() { now.OS = t.OS }, "location": func() { now.Location = t.Location },
		} {
			if f.Changed(name) {
				set()
			}
		}
		if now.Tags, err = retagged(now.Tags, tags, untag); err != nil {
			return err
		}
		out, err := c.PutTarget(cmd.Context(), now)
		if err != nil {
			return err
		}
		return a.done(out, "%s is set", out.ID)
	}
	return c
}

// retagged is tags with some more and without some. A name is found in whatever case it is written.
func retagged(tags map[string]string, more, less []string) (map[string]string, error) {
	if len(more)+len(less) == 0 {
		return nil, nil // which leaves them as they are
	}
	out := map[string]string{}
	maps.Copy(out, tags)
	drop := func(name string) {
		maps.DeleteFunc(out, func(k, _ string) bool { return strings.EqualFold(k, name) })
	}
	for _, name := range less {
		drop(name)
	}
	for _, tag := range more {
		name, value, ok := strings.Cut(tag, "=")
		if !ok || name == "" {
			return nil, usage("%q is not a tag; NAME=VALUE", tag)
		}
		drop(name)
		out[name] = value
	}
	return out, nil
}

// targetOrNew is the machine of that name, or a new one in the group that the caller works in.
func targetOrNew(ctx context.Context, c *client.Client, cfg *config, name, location string) (client.Target, error) {
	t, err := target(ctx, c, name)
	if ajar.KindOf(err) != ajar.NotFound {
		return t, err
	}
	id, err := newMachine(cfg, name)
	if err != nil {
		return t, err
	}
	return client.Target{ID: id, Location: or(location, or(cfg.Location, defaultLocation))}, nil
}

// newMachine is the ID that a machine which does not exist yet would have.
func newMachine(cfg *config, name string) (ajar.ID, error) {
	if strings.HasPrefix(name, "/") {
		id, err := ajar.ParseID(name)
		if err == nil && !id.IsMachine() {
			err = usage("%q is not the id of a machine (…/providers/Microsoft.Compute/virtualMachines/NAME)", name)
		}
		return id, err
	}
	if strings.Contains(name, "/") {
		return "", hint(ajar.Errorf(ajar.NotFound, "there is no machine %q that you may see", name),
			"to make one, give its whole id, or its name alone; its group is then the one of ajar login --scope")
	}
	return ajar.ParseID(string(cfg.group()) + "/providers/Microsoft.Compute/virtualMachines/" + name)
}

func targetRemoveCmd(a *app) *cobra.Command {
	var keep, sure bool
	c := command("remove TARGET", "forget a machine: its leases close and its ports are no longer guarded", `  ajar targets remove web1
  ajar targets remove web1 --keep-guard --yes`, cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		c, _, err := a.client()
		if err != nil {
			return err
		}
		t, err := target(ctx, c, args[0])
		if err != nil {
			return err
		}
		if !keep {
			if err := a.confirm(sure, "every guarded port of %s will be open to everybody again", t.ID.Name()); err != nil {
				return err
			}
		}
		if err := c.DeleteTarget(ctx, t.ID, keep); err != nil {
			return err
		}
		return a.done(map[string]any{"id": t.ID, "guardKept": keep}, "%s is removed%s", t.ID.Name(), yes(keep, "; its ports stay closed"))
	})
	c.Flags().BoolVar(&keep, "keep-guard", false, "leave its ports closed on the host")
	c.Flags().BoolVarP(&sure, "yes", "y", false, "do not ask")
	return c
}
