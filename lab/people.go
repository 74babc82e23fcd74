//go:build linux

package lab

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
)

// AddPerson makes a person with a role over the whole lab, signs them in at the requester's machine as they would do
// it, and returns the environment of their ajar.
func (l *Lab) AddPerson(ctx context.Context, name, role string) (env []string, err error) {
	if _, err := l.Plane.Admin.CreatePrincipal(ctx, client.Principal{Kind: ajar.User, Name: name}, password); err != nil {
		return nil, fmt.Errorf("add %s: %w", name, err)
	}
	if _, err := l.Plane.Admin.Assign(ctx, client.Assignment{Principal: ajar.PrincipalID(name), Role: ajar.RoleID(role), Scope: Group}); err != nil {
		return nil, fmt.Errorf("make %s a %s: %w", name, role, err)
	}
	return l.signIn(ctx, name)
}

// signIn runs `ajar login` for somebody, with a login file of their own.
func (l *Lab) signIn(ctx context.Context, name string) (env []string, err error) {
	file := filepath.Join(l.Dir, name+".password")
	if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
		return nil, err
	}
	env = []string{"AJAR_CONFIG=" + filepath.Join(l.Dir, name+".json")}
	_, err = l.Ajar(ctx, env, "login", "--server", l.Plane.URL, "--ca-hash", l.Plane.CAHash, "--user", name,
		"--password-file", file, "--scope", string(Group), "--location", Location)
	if err != nil {
		return nil, fmt.Errorf("sign %s in: %w", name, err)
	}
	return env, nil
}

// Ajar runs the command line at the requester's machine, as the person whose environment it is.
func (l *Lab) Ajar(ctx context.Context, env []string, args ...string) (string, error) {
	return l.Requester.Output(ctx, env, append([]string{filepath.Join(l.o.Bin, "ajar")}, args...)...)
}

// Host is what the plane knows of m's agent.
func (p *Plane) Host(ctx context.Context, m *Machine) (client.Host, error) {
	for h, err := range p.Admin.Hosts(ctx, m.ID) {
		if err != nil {
			return h, err
		}
		if h.Target.Equal(m.ID) {
			return h, nil
		}
	}
	return client.Host{}, fmt.Errorf("the plane knows no host for %s", m.Name)
}

// AwaitHost waits until m's agent is connected, and every other agent that runs. What the plane remembers of a
// connection to the process that it was before does not count.
func (p *Plane) AwaitHost(ctx context.Context, m *Machine, within time.Duration) error {
	running := 0
	for _, other := range p.lab.Machines {
		if other.Agent().Alive() {
			running++
		}
	}
	err := Await(ctx, within, func() (bool, error) {
		seen, err := p.Metrics(ctx)
		if err != nil || seen["ajar_hosts_connected"] < float64(running) {
			return false, err
		}
		h, err := p.Host(ctx, m)
		return err == nil && h.Connected, err
	})
	if err != nil {
		return fmt.Errorf("the agent of %s does not connect: %w\n%s", m.Name, err, m.Agent().Tail())
	}
	return nil
}

// Dump writes the end of what each process of ours printed, for finding out what went wrong.
func (l *Lab) Dump(w io.Writer) {
	show := func(p *Proc) {
		if p != nil {
			fmt.Fprintf(w, "--- %s (%d)\n%s\n", p.Name, p.PID, p.Tail())
		}
	}
	if l.Plane != nil {
		show(l.Plane.proc)
	}
	for _, m := range l.Machines {
		show(m.Agent())
	}
}
