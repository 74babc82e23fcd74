//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// unclear is how much later than the deadline it may be after a reboot. Earlier it may well be: the clock with the battery
// counts whole seconds, and the agent takes the later end of one.
const unclear = 100 * time.Millisecond

// outlast is how long an opening must be to be seen after a boot.
func (p *proof) outlast() time.Duration { return 30*time.Second + p.pace*5/4 }

// rebooted reboots with an opening that outlives it, and a plane that stays dead.
func (p *proof) rebooted(ctx context.Context) (string, error) {
	end, err := p.open(ctx, p.outlast())
	if err != nil {
		return "", err
	}
	if _, err := p.m.do(ctx, "systemctl disable -q --now ajard"); err != nil {
		return "", err
	}
	return p.alone(ctx)(p.through(ctx, func() (time.Time, error) { return end, p.m.launch(ctx, "systemctl reboot") }))
}

// reset cuts the power, with an opening made by hand.
func (p *proof) reset(ctx context.Context) (string, error) {
	if _, err := p.m.do(ctx, "systemctl disable -q --now ajard"); err != nil {
		return "", err
	}
	out, err := p.m.do(ctx, fmt.Sprintf("ajar-agent break-glass %d --from %s --for %s --reason 'the plane is down'", guarded, asker, p.outlast()))
	if err != nil {
		return "", err
	}
	_, at, _ := strings.Cut(out, "until ")
	end, err := time.Parse(time.RFC3339, at)
	if err != nil {
		return "", err
	}
	ahead, err := p.ahead(ctx)
	if err != nil {
		return "", err
	}
	// The answer is in whole seconds.
	return p.alone(ctx)(p.through(ctx, func() (time.Time, error) { p.m.stop(); return end.Add(time.Second - ahead), nil }))
}

// alone sees that no plane had a part in what was seen.
func (p *proof) alone(ctx context.Context) func(string, error) (string, error) {
	return func(got string, err error) (string, error) {
		if err == nil {
			_, err = p.m.do(ctx, "! systemctl is-active -q ajard")
		}
		return got, err
	}
}

// through goes through a boot with people at the door all the time, and waits for the deadline that down answers with.
func (p *proof) through(ctx context.Context, down func() (time.Time, error)) (string, error) {
	d := p.atTheDoor(10*time.Millisecond, 300*time.Millisecond)
	began := time.Now()
	end, err := down()
	if err == nil {
		err = p.boots(ctx)
	}
	if err == nil {
		err = pass(ctx, end.Add(3*time.Second))
	}
	d.stop()
	if err != nil {
		return "", err
	}
	// The machine was gone in between: the first knock after the longest silence is the first of the new boot.
	back, silence := afterSilence(began, d.up.entries(began, time.Time{}))
	inBack := d.in.first(back.Add(-time.Second))
	order, err := p.order(ctx)
	if err != nil {
		return "", err
	}
	if inBack.IsZero() && time.Until(end) < 0 && back.After(end.Add(-3*time.Second)) {
		return "", fmt.Errorf("%w: the opening was over before it had booted", errSlow)
	}
	if inBack.IsZero() {
		return "", fmt.Errorf("the opening did not come back; network after %s; %s", silence, order)
	}
	seen, err := d.told(end, unclear+p.unsure, 3*time.Second)
	if err != nil {
		return "", fmt.Errorf("%w; %s", err, order)
	}
	return fmt.Sprintf("away for %.1f s; who may was in %s a port that nobody guards answered; %s; %s", silence.Seconds(), about(inBack, back), seen, order), p.shut(ctx)
}

// boots waits for the machine to go down and come up. What was measured of its speed last counts.
func (p *proof) boots(ctx context.Context) error {
	if err := p.m.again(ctx, patience); err != nil {
		return err
	}
	began := time.Now()
	p.dozed = false
	err := p.m.await(ctx, patience)
	p.pace = time.Since(began).Round(time.Second)
	if err != nil {
		return err
	}
	// It answers over a cable of its own before it has a network.
	return eventually(ctx, patience, "its network", func() (bool, error) { return knock(ctx, stranger, free), nil })
}

func afterSilence(last time.Time, es []entry) (back time.Time, silence time.Duration) {
	for _, e := range es {
		if d := e.in.Sub(last); d > silence {
			back, silence = e.in, d
		}
		last = e.in
	}
	return back, silence
}

// order reads from systemd and the kernel when the guard was laid and when the network came up, since the kernel started.
func (p *proof) order(ctx context.Context) (string, error) {
	out, err := p.m.do(ctx, `systemctl show -P ActiveEnterTimestampMonotonic ajar-agent-restore
systemctl show -P ActiveEnterTimestampMonotonic network-pre.target
systemctl show -P ExecMainStartTimestampMonotonic networking
systemctl show -P ExecMainStartTimestampMonotonic ifup@eth0
systemctl show -P ActiveEnterTimestampMonotonic echo.socket`)
	if err != nil {
		return "", err
	}
	f := strings.Fields(out)
	if len(f) != 5 {
		return "", fmt.Errorf("the order of the boot: %q", f)
	}
	var at [5]float64
	for i := range at {
		us, err := strconv.ParseInt(f[i], 10, 64)
		if err != nil {
			return "", err
		}
		at[i] = float64(us) / 1e6
	}
	restored, pre, networking, ifup, listening := at[0], at[1], at[2], at[3], at[4]
	s := fmt.Sprintf("listening %.2f s, guard %.2f s, network-pre %.2f s, networking %.2f s, ifup %.2f s after the kernel's start", listening, restored, pre, networking, ifup)
	if restored == 0 || restored > pre || networking != 0 && restored > networking || ifup != 0 && restored > ifup {
		return "", errors.New("the guard came late: " + s)
	}
	return s, nil
}
