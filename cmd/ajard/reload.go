package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// heed reads the configuration again whenever the process is sent SIGHUP, which would end it otherwise, until ctx ends.
func (p *plane) heed(ctx context.Context) error {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hangup:
			p.reload()
		}
	}
}

// reload takes over what can change while the plane runs: the names that its certificate is for, with the machine's addresses
// as they are now, and how much it says. With a configuration that is wrong everything stays.
func (p *plane) reload() {
	c, err := p.again()
	if err != nil {
		p.log.Error("configuration not read again; everything stays as it is", "err", err)
		return
	}
	c.Listen, c.AgentListen = p.cfg.Listen, p.cfg.AgentListen
	c.derive()
	names := c.serverNames()
	p.hosts.server.Rename(names)
	p.cfg.loud.Set(c.LogLevel.Level())
	p.log.Info("configuration read again: names and logLevel; everything else takes a restart", "names", names, "logLevel", c.LogLevel.Level())
}
