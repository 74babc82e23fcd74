//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/provider/agent"
	"github.com/ajar-access/ajar/provider/nftables"
)

// The garbage collector's aim: an agent is small, and stays so on a host that has other things to do.
const memoryAim = 20 << 20

func runCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run",
		Short: "keep this host as the plane says, until stopped",
		Long: `run keeps this host as the plane says, until stopped. It needs CAP_NET_ADMIN and nothing else. It adopts what is guarded
and open already. When it stops or dies everything stays as it is, and what is open still closes on time.`,
		Example: `  ajar-agent run`,
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.run(cmd.Context()) },
	}
	a.firewallFlags(cmd)
	return cmd
}

// parts is an agent put together.
type parts struct {
	host     *agent.Host
	firewall *nftables.Firewall
	stepped  chan struct{}
	lock     *os.File
}

// local makes the kernel's firewall the agent's.
type local struct {
	*nftables.Firewall
	log *slog.Logger
}

// Refused lists what can be listed: nothing depends on it.
func (l local) Refused(ctx context.Context) []ajar.Refusal {
	rs, err := l.Firewall.Refused(ctx)
	if err != nil {
		l.log.Debug("list refused sources", "err", err)
	}
	return rs
}

// assemble opens everything and changes nothing.
func (a *app) assemble(ctx context.Context) (p *parts, err error) {
	p = &parts{stepped: make(chan struct{}, 1)}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	if p.lock, err = a.lock(); err != nil {
		return p, err
	}
	clock := &agent.Clock{Boot: sinceBoot, Wall: a.now}
	conf := nftables.Config{OwnTable: a.ownTable, Table: a.table, Clock: clock.Now}
	if p.firewall, err = conf.Open(ctx, a.log); err != nil {
		if errors.Is(err, ajar.Forbidden) {
			err = hint(err, "run it as root, or with CAP_NET_ADMIN: see the shipped systemd unit")
		}
		return p, err
	}
	h := &agent.Host{
		Local: local{p.firewall, a.log}, Clock: clock, Dir: a.state, Version: versionOf(), BootID: bootID(), TrustWall: wallIsKept(), Log: a.log,
		Mono: awake, Stepped: p.stepped,
	}
	if err := h.Open(); err != nil {
		return p, err
	}
	p.host = h
	return p, nil
}

func (p *parts) close() {
	if p.host != nil {
		p.host.Close()
	}
	if p.firewall != nil {
		p.firewall.Close()
	}
	if p.lock != nil {
		p.lock.Close()
	}
}

func (a *app) run(ctx context.Context) error {
	debug.SetGCPercent(50)
	debug.SetMemoryLimit(memoryAim)
	p, err := a.assemble(ctx)
	if err != nil {
		return err
	}
	defer p.close()
	if p.host.Endpoint() == "" {
		return notJoined()
	}
	if err := p.host.Resume(ctx); err != nil {
		a.log.Error("lay what was guarded; trying again", "err", err)
	}
	debug.FreeOSMemory() // reading the state and the firewall took several times what is kept of it
	ln, err := a.listen()
	if err != nil {
		return err
	}
	a.tellSystemd("READY=1")
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	g, ctx := errgroup.WithContext(ctx)
	control := &agent.Control{Host: p.host, Admit: admit}
	g.Go(func() error { return control.Serve(ctx, ln) })
	g.Go(func() error {
		if err := watchClock(ctx, p.stepped); err != nil && ctx.Err() == nil {
			a.log.Warn("clock steps are noticed late", "err", err)
		}
		return nil
	})
	g.Go(func() error {
		defer stop() // the host has left
		return p.host.Run(ctx)
	})
	return g.Wait()
}

func notJoined() error {
	return hint(ajar.Errorf(ajar.NotFound, "this host has not joined"), "ajar-agent join --server … --ca-hash … --token-file …")
}

// tellSystemd says how things stand to whoever started the agent and wants to know.
func (a *app) tellSystemd(state string) {
	name := a.getenv("NOTIFY_SOCKET")
	if name == "" {
		return
	}
	c, err := net.Dial("unixgram", name)
	if err != nil {
		a.log.Warn("tell systemd", "err", err)
		return
	}
	defer c.Close()
	fmt.Fprint(c, state)
}

func restoreCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "restore",
		Short: "lay what was guarded before the machine went down, without any plane",
		Long: `restore lays what was guarded before the machine went down, and what is still open, without any plane. The shipped unit
ajar-agent-restore.service runs it before the network is up.`,
		Example: `  ajar-agent restore`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := a.assemble(cmd.Context())
			if err != nil {
				return err
			}
			defer p.close()
			return p.host.Restore(cmd.Context())
		},
	}
	a.firewallFlags(cmd)
	return cmd
}
