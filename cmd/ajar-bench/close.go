//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ajar-access/ajar/lab"
)

// closePart measures how exactly deadlines are met, with everything alive and with plane and agent killed.
func (b *bench) closePart(ctx context.Context) error {
	r, err := b.rig(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	n := b.n(60, 20)
	alive, err := r.deadlines(ctx, n, func() {})
	if err != nil {
		return err
	}
	dead, err := r.deadlines(ctx, n, func() {
		r.Plane.Kill()
		r.vm.KillAgent()
	})
	if err != nil {
		return err
	}
	b.note("close: the deadline against the last connection that came about and the last byte of a live session, either way")
	b.note("close, alive: last connection %s to %s ms late, last byte %s to %s ms late", figure(ms(alive.connect.min)), figure(ms(alive.connect.max)), figure(ms(alive.bytes.min)), figure(ms(alive.bytes.max)))
	b.note("close, all killed: last connection %s to %s ms late, last byte %s to %s ms late", figure(ms(dead.connect.min)), figure(ms(dead.connect.max)), figure(ms(dead.bytes.min)), figure(ms(dead.bytes.max)))
	b.note("close: %d and %d deadlines were watched, %d missed by the watcher", alive.connect.n, dead.connect.n, alive.missed+dead.missed)
	b.metric("close_late_max", ms(max(0, alive.connect.max, alive.bytes.max)), "ms")
	b.metric("close_early_max", ms(max(0, -min(alive.connect.min, alive.bytes.min))), "ms")
	b.metric("close_dead_late_max", ms(max(0, dead.connect.max, dead.bytes.max)), "ms")
	return nil
}

// lateness is how late things ended, negative if early.
type lateness struct {
	min, max time.Duration
	n        int
}

func (l *lateness) add(d time.Duration) {
	if l.n == 0 || d < l.min {
		l.min = d
	}
	if l.n == 0 || d > l.max {
		l.max = d
	}
	l.n++
}

type closings struct {
	connect, bytes lateness
	missed         int // the watcher came too late, as it does on a busy machine
}

// deadlines opens n ports that close one shortly after the other, does something to the lab once all are open, and
// watches each close.
func (r *rig) deadlines(ctx context.Context, n int, meanwhile func()) (closings, error) {
	const apart = 160 * time.Millisecond
	first := time.Now().Add(2 * time.Second).Truncate(time.Millisecond)
	end := func(i int) time.Time { return first.Add(time.Duration(i) * apart) }
	for i := range n {
		if _, err := r.ask(ctx, i, end(i), 0); err != nil {
			return closings{}, err
		}
	}
	for i := range n {
		if _, err := r.Requester.AwaitOpen(ctx, r.at(i)); err != nil {
			return closings{}, err
		}
	}
	meanwhile()
	if !time.Now().Before(first.Add(-apart)) {
		return closings{}, fmt.Errorf("opening %d ports took too long to watch the first one close", n)
	}
	var c closings
	var missed []error
	for i := range n {
		if err := r.deadline(ctx, i, end(i), &c); err != nil {
			missed = append(missed, fmt.Errorf("deadline %d: %w", i, err))
		}
	}
	if 2*len(missed) > n {
		return c, errors.Join(missed...)
	}
	c.missed = len(missed)
	return c, nil
}

func (r *rig) deadline(ctx context.Context, i int, end time.Time, c *closings) error {
	time.Sleep(time.Until(end.Add(-100 * time.Millisecond)))
	if time.Until(end) < 50*time.Millisecond {
		return errors.New("it was too late to watch")
	}
	talk, err := r.Requester.Talk(ctx, r.vm, port(i))
	if err != nil {
		return err
	}
	w := r.Requester.Watch(r.at(i), 100*time.Microsecond)
	time.Sleep(time.Until(end.Add(40 * time.Millisecond)))
	seen := w.Stop()
	last := talk.LastByte()
	talk.Close()
	if !seen.EverOpen() || last.IsZero() {
		return fmt.Errorf("it was never open")
	}
	if n := len(seen.Changes); n != 2 {
		return fmt.Errorf("it changed %d times: %s", n, changes(seen, end))
	}
	c.connect.add(seen.LastOpen.Sub(end))
	c.bytes.add(last.Sub(end))
	return nil
}

func changes(s lab.Seen, end time.Time) (text string) {
	for _, c := range s.Changes {
		text += fmt.Sprintf("open %v %s; ", c.Open, c.At.Sub(end))
	}
	return text
}
