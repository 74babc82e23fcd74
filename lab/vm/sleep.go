//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Ways to put the machine to sleep, and how long past a deadline it sleeps.
const (
	byKernel  = "echo mem >/sys/power/state"
	bySystemd = "systemctl suspend"
	overslept = 5 * time.Second
)

// suspend puts the machine to sleep and wakes it after a deadline, with who may at the door all the time.
func (p *proof) suspend(ctx context.Context, by string, end time.Time) (woken time.Time, in, out *prober, err error) {
	if err := p.m.launch(ctx, by); err != nil {
		return woken, nil, nil, err
	}
	p.dozed = true
	err = eventually(ctx, 2*time.Minute, "the machine sleeps", func() (bool, error) {
		s, err := p.m.running(ctx)
		return s == "suspended", err
	})
	if err != nil {
		return woken, nil, nil, err
	}
	if time.Now().After(end) {
		_, err = p.m.qmp.ask(ctx, "system_wakeup", nil)
		return woken, nil, nil, errors.Join(fmt.Errorf("%w: the opening was over before it slept", errSlow), err, p.m.await(ctx, patience))
	}
	if err := pass(ctx, end.Add(overslept)); err != nil {
		return woken, nil, nil, err
	}
	// At the door when it wakes; not before, or what was sent while it slept would come in bulk.
	in, out = probe(asker, guarded, 5*time.Millisecond, 5*time.Second), probe(stranger, guarded, 20*time.Millisecond, 5*time.Second)
	woken = time.Now()
	if _, err = p.m.qmp.ask(ctx, "system_wakeup", nil); err == nil {
		err = p.m.await(ctx, patience)
	}
	if err != nil {
		in.stop()
		out.stop()
	}
	return woken, in, out, err
}

// rested boots a machine that has slept already: the emulator wakes it at once when it goes to sleep again.
func (p *proof) rested(ctx context.Context) error {
	if !p.dozed {
		return nil
	}
	if err := p.m.launch(ctx, "systemctl reboot"); err != nil {
		return err
	}
	if err := p.boots(ctx); err != nil {
		return err
	}
	return eventually(ctx, patience, "the agent runs", func() (bool, error) {
		o, err := p.m.run(ctx, "systemctl is-active -q ajar-agent")
		return o.Code == 0, err
	})
}

// slept: the agent counts anew when the machine wakes.
func (p *proof) slept(ctx context.Context) (string, error) {
	if err := p.rested(ctx); err != nil {
		return "", err
	}
	span := 30*time.Second + p.pace/4
	end, err := p.breakGlass(ctx, span)
	if err != nil {
		return "", err
	}
	woken, in, out, err := p.suspend(ctx, byKernel, end)
	if err != nil {
		return "", err
	}
	err = pass(ctx, time.Now().Add(20*time.Second)) // the kernel's timeout would have had longer to go
	in.stop()
	out.stop()
	if err != nil {
		return "", err
	}
	if len(out.in) > 0 {
		return "", fmt.Errorf("a stranger got in %d times", len(out.in))
	}
	kernel, err := p.m.do(ctx, `journalctl -b -k -o short-unix --no-pager | sed -n 's/^\([0-9.]*\) .*PM: suspend exit.*/\1/p' | tail -1`)
	if err != nil {
		return "", err
	}
	agent, err := p.m.do(ctx, `journalctl -b -u ajar-agent -o short-unix --no-pager | grep 'the machine was suspended' | tail -1`)
	if err != nil {
		return "", fmt.Errorf("the agent did not notice: %w", err)
	}
	_, slept, _ := strings.Cut(agent, " for=")
	seen := "nobody was let in after it woke"
	if last := in.last(); !last.IsZero() {
		first := in.first(woken)
		seen = fmt.Sprintf("%d were let in, from %s until %s after the wake-up", len(in.in), ms(first.Sub(woken)), ms(last.Sub(woken)))
		if last.Sub(first) > time.Second+p.pace/20 {
			return "", errors.New("closed too late: " + seen)
		}
	}
	var exit, told float64
	_, _ = fmt.Sscan(kernel, &exit)
	_, _ = fmt.Sscan(agent, &told)
	return fmt.Sprintf("%s; the agent noticed %s of sleep %.0f ms after the kernel's resume was over", seen, slept, (told-exit)*1000), p.shut(ctx)
}

// breakGlass opens from the host itself and returns the end by our clock, to the second.
func (p *proof) breakGlass(ctx context.Context, span time.Duration) (end time.Time, err error) {
	if _, err := p.m.do(ctx, "systemctl disable -q --now ajard"); err != nil {
		return end, err
	}
	began := time.Now()
	_, err = p.m.do(ctx, fmt.Sprintf("ajar-agent break-glass %d --from %s --for %s --reason 'the plane is down'", guarded, asker, span))
	if err == nil && !knock(ctx, asker, guarded) {
		err = errors.New("break-glass did not open")
	}
	return began.Add(span), err
}

// sleptAlone measures what a host's kernel does that nobody looks after.
func (p *proof) sleptAlone(ctx context.Context) (string, error) {
	left, _, err := p.sleepWithoutAgent(ctx, byKernel)
	if err != nil {
		return "", err
	}
	if left == 0 {
		return "nobody was let in after it woke: the kernel's timeout counts sleep", nil
	}
	return fmt.Sprintf("the kernel's timeout stood still: let in until %.1f s after the wake-up, which was %s after the deadline", left.Seconds(), overslept), nil
}

// sleptTended is the same where systemd put the machine to sleep: it runs a unit of ours when the machine wakes.
func (p *proof) sleptTended(ctx context.Context) (string, error) {
	left, last, err := p.sleepWithoutAgent(ctx, bySystemd)
	if err != nil {
		return "", err
	}
	// When the kernel was done with waking, and when the unit began and was done.
	said, err := p.m.do(ctx, `[ "$(systemctl show -P Result ajar-agent-wake)" = success ] || exit 1
journalctl -b -k -o short-unix --no-pager | sed -n 's/^\([0-9.]*\) .*PM: suspend exit.*/\1/p' | tail -1
journalctl -b -u ajar-agent-wake -o short-unix --no-pager | sed -n 's/^\([0-9.]*\) .*Starting .*/\1/p' | tail -1
journalctl -b -u ajar-agent-wake -o short-unix --no-pager | sed -n 's/^\([0-9.]*\) .*Finished .*/\1/p' | tail -1`)
	if err != nil {
		return "", fmt.Errorf("the unit did not run; let in until %s after the wake-up: %w", left, err)
	}
	var exit, began, done float64
	if _, err := fmt.Sscan(said, &exit, &began, &done); err != nil || began < exit || done < began {
		return "", fmt.Errorf("resume, begin and end of the unit: %q; let in until %s after the wake-up", said, left)
	}
	ahead, err := p.ahead(ctx)
	if err != nil {
		return "", err
	}
	seen := "nobody was let in after it woke"
	if left > 0 {
		seen = fmt.Sprintf("let in until %s after the wake-up", ms(left))
		closed := time.Unix(0, int64(done*1e9)).Add(-ahead)
		if over := last.Sub(closed); over > late+p.unsure {
			return "", fmt.Errorf("%s, which was %s after the unit was done", seen, ms(over))
		}
	}
	return fmt.Sprintf("%s; the unit began %.0f ms and was done %.0f ms after the kernel's resume was over", seen, (began-exit)*1000, (done-exit)*1000), nil
}

// sleepWithoutAgent returns for how long after the wake-up somebody was let in, and when the last of them had begun to knock.
func (p *proof) sleepWithoutAgent(ctx context.Context, by string) (left time.Duration, began time.Time, err error) {
	if err := p.rested(ctx); err != nil {
		return 0, began, err
	}
	span := 30*time.Second + p.pace/4
	end, err := p.breakGlass(ctx, span)
	if err != nil {
		return 0, began, err
	}
	if _, err := p.m.do(ctx, "systemctl kill -s KILL ajar-agent; systemctl stop ajar-agent; ! pgrep ajar"); err != nil {
		return 0, began, err
	}
	woken, in, out, err := p.suspend(ctx, by, end)
	if err == nil {
		err = pass(ctx, time.Now().Add(span))
		in.stop()
		out.stop()
	}
	_, again := p.m.do(ctx, "systemctl start ajar-agent")
	if err := errors.Join(err, again); err != nil {
		return 0, began, err
	}
	if len(out.in) > 0 {
		return 0, began, fmt.Errorf("a stranger got in %d times", len(out.in))
	}
	for _, e := range in.in {
		left = max(left, e.in.Sub(woken))
		if e.began.After(began) {
			began = e.began
		}
	}
	return left, began, p.shut(ctx)
}
