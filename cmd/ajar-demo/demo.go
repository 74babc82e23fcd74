//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
	"github.com/ajar-access/ajar/lab"
)

// demo is one run: the lab, and what the people in it have.
type demo struct {
	out    io.Writer
	bin    string
	lab    *lab.Lab
	steps  int
	began  time.Time
	admin  []string // environment of the administrator's ajar
	dana   []string // of dana, who may request
	policy string   // the file with the policy
}

// step is one thing to be seen: what it is called, and what was seen.
type step struct {
	name string
	see  func(context.Context) (string, error)
}

func (d *demo) play(ctx context.Context) error {
	for _, s := range []step{
		{"guard", d.guard},
		{"closed", d.closed},
		{"refused", d.refused},
		{"accepted", d.accepted},
		{"closed early", d.closedEarly},
		{"extended", d.extended},
		{"deadline", d.deadline},
		{"all killed", d.killed},
		{"flushed, own table", d.flushedOwned},
		{"flushed, no owner", d.flushedUnowned},
		{"rebooted", d.rebooted},
		{"the log", d.log},
	} {
		if err := d.show(ctx, s); err != nil {
			return err
		}
	}
	fmt.Fprintf(d.out, "\nall of it was seen, in %.1f s\n", time.Since(d.began).Seconds())
	return nil
}

func (d *demo) show(ctx context.Context, s step) error {
	d.steps++
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	seen, err := s.see(ctx)
	if err != nil {
		fmt.Fprintf(d.out, "%2d  %-19s NOT SEEN: %v\n", d.steps, s.name, err)
		d.lab.Dump(d.out)
		return fmt.Errorf("step %d, %s: %w", d.steps, s.name, err)
	}
	fmt.Fprintf(d.out, "%2d  %-19s %s\n", d.steps, s.name, seen)
	return nil
}

// begin makes the lab: three machines whose agents have joined, an administrator and dana. Nothing is guarded yet.
func (d *demo) begin(ctx context.Context) error {
	d.began = time.Now()
	l, err := lab.New(ctx, lab.Options{Bin: d.bin, OwnTable: func(machine int) string {
		if machine == 3 {
			return "off"
		}
		return "auto"
	}})
	if err != nil {
		return err
	}
	d.lab = l
	for _, m := range l.Machines {
		if err := m.Join(ctx); err != nil {
			return err
		}
	}
	for _, m := range l.Machines {
		if err := l.Plane.AwaitHost(ctx, m, time.Minute); err != nil {
			return err
		}
	}
	if d.dana, err = l.AddPerson(ctx, "dana", "Just-in-time Requester"); err != nil {
		return err
	}
	d.admin = l.Plane.AdminEnv
	d.policy = filepath.Join(l.Home, "policy.yaml")
	if err := os.WriteFile(d.policy, []byte(d.policyText()), 0o644); err != nil {
		return err
	}
	fmt.Fprintf(d.out, "three machines, a plane, a requester %s and an attacker %s, up in %.1f s\n\n",
		l.RequesterAddr(), l.AttackerAddr(), time.Since(d.began).Seconds())
	return nil
}

func (d *demo) end() error {
	if d.lab != nil {
		d.lab.Close()
	}
	return nil
}

// type_ types a command of ajar as somebody does, at the requester's machine, and shows it.
func (d *demo) ajar(ctx context.Context, env []string, args ...string) (string, error) {
	who := "dana "
	if len(env) > 0 && len(d.admin) > 0 && env[0] == d.admin[0] {
		who = "admin"
	}
	fmt.Fprintf(d.out, "    %s $ ajar %s\n", who, shown(args))
	out, err := d.lab.Requester.Output(ctx, env, append([]string{filepath.Join(d.bin, "ajar")}, args...)...)
	return strings.TrimSpace(out), err
}

// shown quotes what a shell would need quoted.
func shown(args []string) string {
	var b strings.Builder
	for i, a := range args {
		if i > 0 {
			b.WriteByte(' ')
		}
		if strings.ContainsAny(a, " *$") {
			a = "'" + a + "'"
		}
		b.WriteString(a)
	}
	return b.String()
}

// lease is dana's one live lease on m.
func (d *demo) lease(ctx context.Context, m *lab.Machine) (client.Lease, error) {
	var found []client.Lease
	for l, err := range d.lab.Plane.Admin.Leases(ctx, client.LeaseQuery{Scope: m.ID, Live: true}) {
		if err != nil {
			return client.Lease{}, err
		}
		if l.State == ajar.Open || l.State == ajar.Opening {
			found = append(found, l)
		}
	}
	if len(found) != 1 {
		return client.Lease{}, fmt.Errorf("%d live leases on %s", len(found), m.Name)
	}
	return found[0], nil
}

// open asks for m's port 22 and returns the lease that came of it.
func (d *demo) open(ctx context.Context, m *lab.Machine, lasting time.Duration, reason string) (client.Lease, error) {
	end := time.Now().Add(lasting) // at the earliest
	if _, err := d.ajar(ctx, d.dana, "open", m.Name, "22", "--for", short(lasting), "--reason", reason, "--wait"); err != nil {
		return client.Lease{}, over(err, end)
	}
	l, err := d.lease(ctx, m)
	return l, over(err, end)
}

// short writes a duration as people do.
func short(d time.Duration) string {
	if d%time.Minute == 0 {
		return fmt.Sprintf("%dm", d/time.Minute)
	}
	return d.String()
}

// onlyRequester sees that the requester gets through and the attacker does not.
func (d *demo) onlyRequester(ctx context.Context, m *lab.Machine) error {
	if _, err := d.lab.Requester.AwaitOpen(ctx, m.SSH()); err != nil {
		return fmt.Errorf("the requester does not get through to %s: %w", m.Name, err)
	}
	return d.refusedTo(d.lab.Attacker, m)
}

func (d *demo) refusedTo(s *lab.Space, m *lab.Machine) error {
	for _, a := range []netip.Addr{m.IPv4, m.IPv6} {
		if s.Try(netip.AddrPortFrom(a, 22)) == nil {
			return fmt.Errorf("the %s gets through to %s at %s", s.Name, m.Name, a)
		}
	}
	return nil
}

var errNever = errors.New("the attacker got through")
