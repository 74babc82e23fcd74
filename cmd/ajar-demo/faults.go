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
	if err := until(ctx, time.Now().Add(500*time.Millisecond)); err != nil {
		return lab.Seen{}, err
	}
	seen := w.Stop()
	if err := d.refusedTo(d.lab.Attacker, m); err != nil {
		return seen, fmt.Errorf("half a second later: %w", err)
	}
	return seen, nil
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
	lease, err := d.open(ctx, m, "4s", "kernel update")
	if err != nil {
		return "", err
	}
	d.lab.Plane.Kill()
	fmt.Fprintf(d.out, "    root  $ kill -9 ajard; reboot %s\n", m.Name)
	w := d.lab.Attacker.Watch(m.SSH(), 0)
	down := time.Now()
	if err := m.Reboot(ctx); err != nil {
		w.Stop()
		return "", err
	}
	back, err := d.lab.Requester.AwaitOpen(ctx, m.SSH())
	if err != nil {
		w.Stop()
		return "", fmt.Errorf("the opening did not survive the reboot: %w", err)
	}
	if err := until(ctx, lease.End.Add(-100*time.Millisecond)); err != nil {
		return "", err
	}
	mine := d.lab.Requester.Watch(m.SSH(), 2*time.Millisecond)
	if err := until(ctx, lease.End.Add(150*time.Millisecond)); err != nil {
		return "", err
	}
	last, seen := mine.Stop(), w.Stop()
	if seen.EverOpen() {
		return "", fmt.Errorf("%w during the reboot", errNever)
	}
	if late := last.LastOpen.Sub(lease.End); late > 50*time.Millisecond || !last.EverOpen() {
		return "", fmt.Errorf("after the reboot the deadline was not met: %s late", late)
	}
	if err := d.lab.Plane.Start(ctx); err != nil {
		return "", err
	}
	return fmt.Sprintf("guarded before the network was up (0 of %d tries got in), opening back after %s, closed %s, all without the plane",
		seen.Tries, ms(back.Sub(down)), aboutDeadline(last.LastOpen, lease.End)), nil
}

// log shows the end of the log and has it verified.
func (d *demo) log(ctx context.Context) (string, error) {
	for _, m := range d.lab.Machines {
		if err := d.lab.Plane.AwaitHost(ctx, m, 10*time.Second); err != nil {
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
