//go:build linux

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
)

// planned has the plane run, at the next boot, too, or not.
func (p *proof) planned(ctx context.Context, next string) error {
	if _, err := p.m.do(ctx, "systemctl start ajard; systemctl "+next+" -q ajard"); err != nil {
		return err
	}
	return p.connected(ctx)
}

// cutOpening cuts the power in the moment in which somebody was told that the port is open. The host may have lost it;
// the plane has not.
func (p *proof) cutOpening(ctx context.Context) (string, error) {
	if err := p.planned(ctx, "enable"); err != nil {
		return "", err
	}
	return p.through(ctx, func() (time.Time, error) {
		end, err := p.open(ctx, p.outlast())
		if err == nil {
			p.m.stop()
		}
		return end, err
	})
}

// cutPast leaves the power off until the opening is over.
func (p *proof) cutPast(ctx context.Context) (string, error) {
	if err := p.planned(ctx, "enable"); err != nil {
		return "", err
	}
	end, err := p.open(ctx, 10*time.Second+p.pace/3)
	if err != nil {
		return "", err
	}
	p.m.stop()
	if err := pass(ctx, end.Add(2*time.Second)); err != nil {
		return "", err
	}
	d := p.atTheDoor(10*time.Millisecond, 300*time.Millisecond)
	err = p.boots(ctx)
	if err == nil {
		err = p.connected(ctx)
	}
	d.stop()
	return p.nobody(ctx, d, err)
}

// nobody sees that nobody was let in during a boot and that the guard came before the network.
func (p *proof) nobody(ctx context.Context, d *door, err error) (string, error) {
	if err == nil {
		err = p.shut(ctx)
	}
	if err != nil {
		return "", err
	}
	order, err := p.order(ctx)
	if err != nil {
		return "", err
	}
	if n := len(d.in.in) + len(d.out.in); n > 0 {
		return "", fmt.Errorf("%d were let in; %s", n, order)
	}
	state, err := p.state(ctx)
	return fmt.Sprintf("let in: 0 of %d, while %d got into a port that nobody guards; %s; %s", d.in.knocks.Load()+d.out.knocks.Load(), len(d.up.in), state, order), err
}

// state tells whether what the host had on disk at its last boot was whole.
func (p *proof) state(ctx context.Context) (string, error) {
	return p.m.do(ctx, `if journalctl -b -u ajar-agent-restore -u ajar-agent --no-pager | grep -q 'state file is damaged'; then echo 'the state file had a torn end'; else echo 'the state file was whole'; fi`)
}

const wider = policy + "  - {port: 7090, max: 1h}\n"

// cutGuard cuts the power as soon as the host has told that it guards one more port, and keeps the plane away from the boot.
func (p *proof) cutGuard(ctx context.Context) (string, error) {
	if err := p.planned(ctx, "disable"); err != nil {
		return "", err
	}
	file := filepath.Join(p.dir, "wider.yaml")
	if err := os.WriteFile(file, []byte(wider), 0o600); err != nil {
		return "", err
	}
	if !knock(ctx, stranger, later) {
		return "", fmt.Errorf("port %d was closed before it was guarded", later)
	}
	if _, err := p.ajar(ctx, "policy", "set", "-f", file, "--yes"); err != nil {
		return "", err
	}
	if _, err := p.ajar(ctx, "policy", "confirm", "web1"); err != nil {
		return "", err
	}
	err := eventually(ctx, patience, "one more guard", func() (bool, error) {
		s, err := p.status(ctx)
		for _, g := range s.Guarded {
			if g.Port == (ajar.Port{Number: later, Protocol: ajar.TCP}) && g.ConfirmBy.IsZero() {
				return true, nil
			}
		}
		return false, err
	})
	if err != nil {
		return "", err
	}
	p.m.stop()
	d := &door{probe(stranger, later, 10*time.Millisecond, 300*time.Millisecond), probe(stranger, guarded, 40*time.Millisecond, 300*time.Millisecond),
		probe(stranger, free, 20*time.Millisecond, 300*time.Millisecond)}
	err = p.boots(ctx)
	if err == nil {
		err = pass(ctx, time.Now().Add(3*time.Second))
	}
	d.stop()
	return p.alone(ctx)(p.nobody(ctx, d, err))
}

// cutAnywhere cuts the power while ports open and close: at once when somebody was told that one is closed, and in the
// middle of anything. The boots are without the plane.
func (p *proof) cutAnywhere(ctx context.Context) (string, error) {
	var seen []string
	for _, moment := range []string{"closed", "anything"} {
		if err := p.planned(ctx, "disable"); err != nil {
			return "", err
		}
		done, open, err := p.churn(ctx, moment == "anything")
		if err != nil {
			return "", err
		}
		d := p.atTheDoor(10*time.Millisecond, 300*time.Millisecond)
		err = p.boots(ctx)
		if err == nil {
			err = pass(ctx, time.Now().Add(3*time.Second))
		}
		d.stop()
		in := len(d.in.in)
		if open {
			d.in.in = nil // it may be open
		}
		if _, err = p.alone(ctx)(p.nobody(ctx, d, err)); err != nil {
			return "", fmt.Errorf("after %d commands: %w", done, err)
		}
		state, err := p.state(ctx)
		if err != nil {
			return "", err
		}
		s := fmt.Sprintf("after %d commands, in the middle of another: let in %d times", done, in)
		if moment == "closed" {
			s = fmt.Sprintf("at the end of command %d, which closed: let in %d times", done, in)
		}
		seen = append(seen, s+", "+state)
	}
	return strings.Join(seen, "; ") + "; guard before the network, strangers 0, each time", nil
}

// churn opens and closes a port until it cuts the power. open tells whether the port may be open now.
func (p *proof) churn(ctx context.Context, anywhere bool) (done int, open bool, err error) {
	var took time.Duration
	for done < 4 {
		began := time.Now()
		if err := p.turn(ctx, done%2 == 0); err != nil {
			return done, false, err
		}
		took = time.Since(began)
		done++
	}
	if !anywhere {
		p.m.stop()
		return done, false, nil
	}
	sub, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ; sub.Err() == nil; done++ {
			if p.turn(sub, done%2 == 0) != nil {
				return
			}
		}
	}()
	err = pass(ctx, time.Now().Add(rand.N(3*took)))
	p.m.stop()
	cancel()
	<-ended
	return done, true, err
}

// turn opens or closes.
func (p *proof) turn(ctx context.Context, opens bool) error {
	args := []string{"close", "web1", strconv.Itoa(guarded), "--everyone", "--timeout", "2m"}
	if opens {
		args = []string{"open", "web1", strconv.Itoa(guarded), "--from", asker.String(), "--for", "1h", "--timeout", "2m"}
	}
	_, err := p.ajar(ctx, args...)
	return err
}

// heard starts the plane again and looks for what happened meanwhile.
func (p *proof) heard(ctx context.Context) (string, error) {
	if _, err := p.m.do(ctx, "systemctl enable -q --now ajard"); err != nil {
		return "", err
	}
	if err := p.connected(ctx); err != nil {
		return "", err
	}
	var drift, glass int
	err := eventually(ctx, patience, "the log has it all", func() (bool, error) {
		out, err := p.ajar(ctx, "log", "-n", "0", "-o", "json")
		drift, glass = strings.Count(out, `"`+string(ajar.DriftRepaired)+`"`), strings.Count(out, `"`+string(ajar.BreakGlass)+`"`)
		return glass > 0 && (drift > 0 || p.owned), err
	})
	if err != nil {
		return "", fmt.Errorf("%w: %d, %d", err, drift, glass)
	}
	if _, err := p.ajar(ctx, "log", "verify"); err != nil {
		return "", err
	}
	return fmt.Sprintf("its log has %d repairs and %d times break-glass, and verifies", drift, glass), nil
}
