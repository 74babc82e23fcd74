//go:build linux

package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/ajar-access/ajar/lab"
)

// flush has somebody who knows nothing of us clear the whole firewall of m, and tells how long that opened the port.
func (d *demo) flush(ctx context.Context, m *lab.Machine) (lab.Seen, error) {
	w := d.lab.Attacker.Watch(m.SSH(), 0)
	fmt.Fprintf(d.out, "    root of %s $ nft flush ruleset\n", m.Name)
	if _, err := m.Nft(ctx, "flush", "ruleset"); err != nil {
		w.Stop()
		return lab.Seen{}, err
	}
	later := time.Now().Add(500 * time.Millisecond)
	err := lab.Await(ctx, time.Minute, func() (bool, error) {
		seen := w.Now()
		return seen.Latest.After(later) && !seen.Changes[len(seen.Changes)-1].Open, nil
	})
	seen := w.Stop()
	if err != nil {
		return seen, fmt.Errorf("it is not repaired: %w", err)
	}
	return seen, d.refusedTo(d.lab.Attacker, m)
}

// flushedOwned flushes where the agent owns its table, if this kernel can do that.
func (d *demo) flushedOwned(ctx context.Context) (string, error) {
	m := d.lab.Machines[1]
	host, err := d.lab.Plane.Host(ctx, m)
	if err != nil {
		return "", err
	}
	seen, err := d.flush(ctx, m)
	if err != nil {
		return "", err
	}
	if !strings.HasPrefix(host.OwnTable, "owner") {
		return fmt.Sprintf("this kernel has no such table (%s); repaired, open for %s", host.OwnTable, ms(seen.OpenFor())), nil
	}
	if seen.EverOpen() {
		return "", fmt.Errorf("%w after a flush of an owned table", errNever)
	}
	return fmt.Sprintf("no effect: the attacker was refused %d times in half a second", seen.Tries), nil
}

// flushedUnowned flushes where it does not.
func (d *demo) flushedUnowned(ctx context.Context) (string, error) {
	seen, err := d.flush(ctx, d.lab.Machines[2])
	if err != nil {
		return "", err
	}
	if seen.EverOpen() {
		return fmt.Sprintf("repaired: the port was open for %s", ms(seen.OpenFor())), nil
	}
	return fmt.Sprintf("repaired before one of %d tries in half a second got through", seen.Tries), nil
}

// rebooted switches a machine off and on with an opening on it, and the plane dead.
func (d *demo) rebooted(ctx context.Context) (string, error) {
	m := d.lab.Machines[0]
	return d.measured(ctx, m, func(n time.Duration) (string, error) {
		lease, err := d.open(ctx, m, n*4*time.Second, "kernel update")
		if err != nil {
			return "", err
		}
		d.lab.Plane.Kill()
		fmt.Fprintf(d.out, "    root  $ kill -9 ajard; reboot %s\n", m.Name)
		w := d.lab.Attacker.Watch(m.SSH(), 0)
		down := time.Now()
		back, last, err := d.reboot(ctx, m, lease.End)
		seen := w.Stop()
		if seen.EverOpen() {
			return "", fmt.Errorf("%w during the reboot", errNever)
		}
		if err == nil {
			err = d.settle(ctx, m)
		}
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("guarded before the network was up (0 of %d tries got in), opening back after %s, closed %s, all without the plane",
			seen.Tries, ms(back.Sub(down)), aboutDeadline(last.LastOpen, lease.End)), nil
	})
}

// reboot reboots m, and sees its opening come back and end when it must.
func (d *demo) reboot(ctx context.Context, m *lab.Machine, end time.Time) (back time.Time, last lab.Seen, err error) {
	if err := m.Reboot(ctx); err != nil {
		return back, last, err
	}
	held, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	booted := time.Now()
	if back, err = d.lab.Requester.AwaitOpen(held, m.SSH()); err != nil {
		err = fmt.Errorf("the opening did not survive the reboot: %w", err)
		if end.Sub(booted) < time.Second { // it is there before the network is, so a second is long
			err = &disturbed{err.Error()}
		}
		return back, last, err
	}
	if last, err = d.watchTo(ctx, nil, m, end); err == nil {
		err = met(last, end)
	}
	return back, last, err
}

// log shows the end of the log and has it verified.
func (d *demo) log(ctx context.Context) (string, error) {
	for _, m := range d.lab.Machines {
		if err := d.lab.Plane.AwaitHost(ctx, m, time.Minute); err != nil {
			return "", err
		}
	}
	out, err := d.ajar(ctx, d.admin, "log", "--limit", "12")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(out) {
		fmt.Fprintf(d.out, "    | %s\n", strings.TrimRight(line, "\n"))
	}
	out, err = d.ajar(ctx, d.admin, "log", "verify")
	if err != nil {
		return "", err
	}
	return firstLine(out), nil
}
