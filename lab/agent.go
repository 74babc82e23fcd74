//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

func (m *Machine) agentCommand(verb string, more ...string) []string {
	argv := []string{filepath.Join(m.lab.o.Bin, "ajar-agent"), verb, "--state", filepath.Join(m.dir, "agent")}
	if m.lab.o.OwnTable != nil && (verb == "run" || verb == "restore") {
		argv = append(argv, "--own-table", m.lab.o.OwnTable(m.number))
	}
	return append(argv, more...)
}

// AgentExec runs a command of ajar-agent on the machine, as its root would type it.
func (m *Machine) AgentExec(ctx context.Context, verb string, more ...string) (string, error) {
	return m.Exec(ctx, m.agentCommand(verb, more...)...)
}

// Join makes the machine known to the plane, lets its agent join with a token, and starts it.
func (m *Machine) Join(ctx context.Context) error {
	p := m.lab.Plane
	token, err := p.Admin.JoinToken(ctx, m.ID, Location, false)
	if err != nil {
		return fmt.Errorf("join token for %s: %w", m.Name, err)
	}
	file := filepath.Join(m.dir, "token")
	if err := os.WriteFile(file, []byte(token.Token), 0o600); err != nil {
		return err
	}
	if _, err := m.AgentExec(ctx, "join", "--server", p.AgentAddr, "--ca-hash", p.CAHash, "--token-file", file); err != nil {
		return fmt.Errorf("join %s: %w", m.Name, err)
	}
	m.joined = true
	if err := m.StartAgent(ctx); err != nil {
		return err
	}
	return p.setAddresses(ctx, m)
}

// StartAgent starts the agent's daemon. It need not be connected yet when this returns.
func (m *Machine) StartAgent(context.Context) error {
	if !m.joined {
		return errNotJoined
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	agent, err := start(m.space, m.lab.logs, "agent-"+m.Name, nil, m.agentCommand("run")...)
	if err != nil {
		return err
	}
	m.agent = agent
	return nil
}

// restore is what the shipped systemd unit does before the network is up.
func (m *Machine) restore(ctx context.Context) error {
	if _, err := m.AgentExec(ctx, "restore"); err != nil {
		return fmt.Errorf("restore the firewall of %s: %w", m.Name, err)
	}
	return nil
}

var errTimeout = errors.New("it did not happen in time")

// Await asks ready again and again until it says yes, for at most the given time.
func Await(ctx context.Context, within time.Duration, ready func() (bool, error)) error {
	deadline := time.Now().Add(within)
	for {
		ok, err := ready()
		if ok {
			return nil
		}
		if ctx.Err() != nil {
			return errors.Join(context.Cause(ctx), err)
		}
		if time.Now().After(deadline) {
			return errors.Join(errTimeout, err)
		}
		time.Sleep(2 * time.Millisecond)
	}
}
