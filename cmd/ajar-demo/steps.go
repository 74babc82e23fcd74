//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ajar-access/ajar/lab"
)

func (d *demo) policyText() string {
	text := "policy: default\nmachines:\n"
	for _, m := range d.lab.Machines {
		text += fmt.Sprintf("- machine: %s\n  ports:\n  - {port: 22, max: 1h}\n", m.Name)
	}
	return text
}

// guard writes the policy: what was open to everybody is closed.
func (d *demo) guard(ctx context.Context) (string, error) {
	for _, m := range d.lab.Machines {
		if _, err := d.lab.Attacker.AwaitOpen(ctx, m.SSH()); err != nil {
			return "", fmt.Errorf("%s is not open to begin with: %w", m.Name, err)
		}
	}
	began := time.Now()
	if _, err := d.ajar(ctx, d.admin, "policy", "set", "-f", d.policy, "--yes"); err != nil {
		return "", err
	}
	took := time.Since(began)
	for _, m := range d.lab.Machines { // the command waits until every firewall has it: the first try is refused
		if err := d.refusedTo(d.lab.Attacker, m); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("ssh was open to everybody on three machines; the command took %s, and closed it on all three", ms(took)), nil
}

// closed scans all machines from both sides.
func (d *demo) closed(context.Context) (string, error) {
	began := time.Now()
	for _, m := range d.lab.Machines {
		for _, s := range []*lab.Space{d.lab.Requester, d.lab.Attacker} {
			if err := d.refusedTo(s, m); err != nil {
				return "", err
			}
		}
	}
	return fmt.Sprintf("a scan of 3 machines from 2 sides over IPv4 and IPv6 finds port 22 closed (12 tries in %s)", ms(time.Since(began))), nil
}

// refused asks for longer than the policy has.
func (d *demo) refused(ctx context.Context) (string, error) {
	m := d.lab.Machines[0]
	began := time.Now()
	_, err := d.ajar(ctx, d.dana, "open", m.Name, "22", "--for", "9h", "--reason", "curious")
	took := time.Since(began)
	var why *lab.Failed
	if !errors.As(err, &why) {
		return "", fmt.Errorf("nine hours were not refused: %w", err)
	}
	if err := d.refusedTo(d.lab.Requester, m); err != nil {
		return "", err
	}
	return fmt.Sprintf("%q (%s)", firstLine(why.Stderr), ms(took)), nil
}

// accepted opens one machine for the requester alone.
func (d *demo) accepted(ctx context.Context) (string, error) {
	m := d.lab.Machines[0]
	w := d.lab.Requester.Watch(m.SSH(), time.Millisecond)
	began := time.Now()
	if _, err := d.open(ctx, m, 10*time.Minute, "disk full"); err != nil {
		w.Stop()
		return "", err
	}
	took := time.Since(began)
	if _, err := d.lab.Requester.AwaitOpen(ctx, m.SSH()); err != nil {
		return "", err
	}
	err := lab.Await(ctx, time.Minute, func() (bool, error) { return w.Now().EverOpen(), nil })
	if w.Stop(); err != nil {
		return "", fmt.Errorf("the watch never got through: %w", err)
	}
	s, err := d.ssh(ctx, m)
	if err != nil {
		return "", err
	}
	defer s.cmd.Process.Kill() //nolint:errcheck // it has ended, or it ends now
	if err := d.onlyRequester(ctx, m); err != nil {
		return "", err
	}
	return fmt.Sprintf("the whole command took %s; ssh works from %s, the attacker stays refused", ms(took), d.lab.RequesterAddr()), nil
}

// closedEarly closes what accepted opened, with a session alive in it.
func (d *demo) closedEarly(ctx context.Context) (string, error) {
	m := d.lab.Machines[0]
	s, err := d.ssh(ctx, m)
	if err != nil {
		return "", err
	}
	began := time.Now()
	if _, err := d.ajar(ctx, d.dana, "close", m.Name, "22"); err != nil {
		return "", err
	}
	shut, err := d.lab.Requester.AwaitClosed(ctx, m.SSH())
	if err != nil {
		return "", err
	}
	if err := s.ended(ctx); err != nil {
		return "", err
	}
	return fmt.Sprintf("closed %s after the command was typed, the live ssh session ended (last line after %s)",
		ms(shut.Sub(began)), ms(s.lastLine().Sub(began))), nil
}

// extended moves a deadline while it runs, and sees no gap.
func (d *demo) extended(ctx context.Context) (string, error) {
	m := d.lab.Machines[1]
	return d.measured(ctx, m, func(n time.Duration) (string, error) {
		first, err := d.open(ctx, m, n*2*time.Second, "copy a file")
		if err != nil {
			return "", err
		}
		w := d.lab.Requester.Watch(m.SSH(), 5*time.Millisecond)
		defer w.Stop()
		if _, err := d.ajar(ctx, d.dana, "extend", m.Name, "22", "--by", "2s"); err != nil {
			return "", over(err, first.End)
		}
		second, err := d.lease(ctx, m)
		if err != nil {
			return "", over(err, first.End.Add(2*time.Second))
		}
		seen, err := d.watchTo(ctx, w, m, second.End)
		if err == nil {
			err = met(seen, second.End)
		}
		if err != nil {
			return "", err
		}
		if seen.LastOpen.Before(first.End) {
			return "", &disturbed{"no try was made between the deadlines"}
		}
		return fmt.Sprintf("by 2 s, without one refusal in %d tries; closed %s at the new deadline", seen.Tries, aboutDeadline(seen.LastOpen, second.End)), nil
	})
}

// deadline lets a lease run out, with a second session in which nobody types: the agent must tell both its ends.
func (d *demo) deadline(ctx context.Context) (string, error) {
	m := d.lab.Machines[0]
	var idle *session
	var end time.Time
	seen, err := d.runOut(ctx, m, func(at time.Time) (err error) {
		end = at
		idle, _, err = d.signIn(ctx, m)
		return err
	})
	if err != nil {
		return "", err
	}
	if err := idle.ended(ctx); err != nil {
		return "", fmt.Errorf("idle session: %w", err)
	}
	return fmt.Sprintf("%s; an idle one was gone %s", seen, aboutDeadline(idle.gone, end)), nil
}

// killed lets a lease run out with nobody alive to end it.
func (d *demo) killed(ctx context.Context) (string, error) {
	m := d.lab.Machines[1]
	seen, err := d.runOut(ctx, m, func(time.Time) error {
		fmt.Fprintf(d.out, "    root  $ kill -9 %d %d   # ajard, and the agent of %s\n", d.lab.Plane.Proc().PID, m.Agent().PID, m.Name)
		d.lab.Plane.Kill()
		m.KillAgent()
		return nil
	})
	if err != nil {
		return "", err
	}
	return "plane and agent dead: " + seen, d.settle(ctx, m)
}

// runOut opens m for three seconds, does something to the lab, and measures how the deadline is met.
func (d *demo) runOut(ctx context.Context, m *lab.Machine, meanwhile func(end time.Time) error) (string, error) {
	return d.measured(ctx, m, func(n time.Duration) (string, error) {
		lease, err := d.open(ctx, m, n*3*time.Second, "a short look")
		if err != nil {
			return "", err
		}
		s, err := d.ssh(ctx, m)
		if err != nil {
			return "", over(err, lease.End)
		}
		if err := meanwhile(lease.End); err != nil {
			return "", over(err, lease.End)
		}
		seen, err := d.watchTo(ctx, nil, m, lease.End)
		if err != nil {
			return "", err
		}
		if err := s.ended(ctx); err != nil {
			return "", err
		}
		if err := worse(met(seen, lease.End), s.cut(lease.End)); err != nil {
			return "", err
		}
		return fmt.Sprintf("last connection %s, last line of the live ssh session %s",
			aboutDeadline(seen.LastOpen, lease.End), aboutDeadline(s.lastLine(), lease.End)), nil
	})
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return strings.TrimPrefix(line, "ajar: ")
}

func aboutDeadline(at, end time.Time) string {
	if late := at.Sub(end); late > 0 {
		return ms(late) + " after it"
	}
	return ms(end.Sub(at)) + " before it"
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }

// until waits for a time of day.
func until(ctx context.Context, t time.Time) error {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
