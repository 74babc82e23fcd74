//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
)

// cell is one field of the kill matrix: during an act, a victim is killed just before a step of its own, and the rest
// of the blow follows at once.
type cell struct {
	blow   blow
	act    act
	victim victim
	step   string // "" = when the act is through
}

// victim is whose steps are counted.
type victim string

const (
	thePlane victim = "plane"
	theAgent victim = "agent"
)

// act is what goes on meanwhile.
type act string

const (
	rest   act = "rest" // a lease is open
	open   act = "open"
	extend act = "extend"
	revoke act = "revoke"
	expire act = "expire"
)

// blow is what is taken down, and how it comes back.
type blow string

const (
	alone  blow = "alone"  // the victim, which starts again at once
	twice  blow = "both"   // plane and agent, which start again at once
	late   blow = "late"   // plane and agent, which start again when the deadline has passed, of whatever is not revoked
	reboot blow = "reboot" // the agent and its machine's kernel, while the plane goes on
	dark   blow = "dark"   // the agent and its machine's kernel, and the plane, which starts again after the machine
)

func (c cell) String() string {
	return fmt.Sprintf("%s/%s/%s at %q", c.blow, c.act, c.victim, c.step)
}

// bound is how soon at the latest everything is right again once all is started: it takes a tenth of a second, but the
// machine under the lab may be busy.
const bound = time.Minute

// fewest is how many steps every act has at least.
const fewest = 4

// extension is by how much the act extends.
const extension = 500 * time.Millisecond

// duration is how long the lease lasts: as short as a lease can be, if all goes fast enough here to see it open again
// after the blow. A revoked one would show if it stayed open.
func (s *scene) duration() time.Duration {
	switch {
	case s.act == revoke:
		return time.Minute
	case s.blow == late || s.act == expire && s.blow == alone:
		return time.Second + s.pace/2 // nobody is to see it open again
	case s.act == rest && s.blow == dark:
		return 3*time.Second + s.pace
	}
	return min(700*time.Millisecond+s.pace, 10*time.Second)
}

// quiet is how long a victim takes no step when the act is through: on busy cores, longer.
func (s *scene) quiet() time.Duration {
	return min(max(150*time.Millisecond, s.pace/3), 3*time.Second)
}

// ground is a lab in which one cell after the other is played.
type ground struct {
	*Lab
	m         *Machine
	to        netip.AddrPort
	watch     *Watch
	strangers []*Watch
	answers   answers
	pace      time.Duration // how long it lately took from a lease to everything being right after a blow, and as much again

	mu   sync.Mutex
	last time.Time // when the requester's last connection of this cell began
}

const groundPort = 7001

func newGround(t *testing.T, side byte) *ground {
	t.Helper()
	l := full(t, Options{Machines: 1, Ports: []uint16{groundPort}, side: side})
	guard(t, l, groundPort)
	g := &ground{Lab: l, m: l.Machines[0], to: netip.AddrPortFrom(l.Machines[0].IPv4, groundPort), pace: 500 * time.Millisecond}
	g.watch = l.Requester.WatchFunc(g.to, 2*time.Millisecond, func(began, _ time.Time) {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.last = began
	})
	for range 2 { // while one waits for a machine that is down, the other tries
		g.strangers = append(g.strangers, l.Attacker.Watch(g.to, 3*time.Millisecond))
	}
	return g
}

// played is how a cell went.
type played struct {
	cell
	steps  []string      // of the victim, up to its death
	struck bool          // it died at the step, and not because the act was through without coming to it
	down   time.Duration // from the blow until everything was started again
	behind time.Duration // from then on until everything was right
	held   bool          // the lease was seen to be open afterwards
}

// play plays one cell. count = nothing is killed.
func (g *ground) play(ctx context.Context, c cell, count bool) (p played, err error) {
	p.cell = c
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	g.mu.Lock()
	g.last = time.Time{}
	g.mu.Unlock()
	s := scene{ground: g, cell: c, began: time.Now()}
	if err := s.prepare(ctx); err != nil {
		return p, fmt.Errorf("prepare: %w", err)
	}
	proc := g.m.Agent()
	if c.victim == thePlane {
		proc = g.Plane.Proc()
	}
	tr, err := follow(proc, c.step)
	if err != nil {
		return p, err
	}
	until, actErr := s.perform(ctx)
	quiet := s.quiet()
	if count {
		quiet = 400 * time.Millisecond // what is not seen now is never killed at; and the lease goes on meanwhile
	}
	p.steps, p.struck = tr.rest(until, quiet)
	for n := 0; count && len(p.steps) < fewest && n < 100; n++ { // they come late on busy cores
		more, _ := tr.rest(time.Time{}, quiet)
		p.steps = append(p.steps, more...)
	}
	if err := errors.Join(actErr, tr.end()); err != nil {
		return p, err
	}
	if !count {
		if err := s.strike(ctx, proc); err != nil {
			return p, err
		}
	}
	started := time.Now()
	p.down = started.Sub(s.struck)
	if p.held, err = s.recover(ctx); err != nil {
		return p, fmt.Errorf("afterwards: %w", err)
	}
	p.behind = time.Since(started)
	if !count && c.act != expire && c.blow != late && c.blow != dark {
		g.pace = (2*g.pace + 2*time.Since(s.granted)) / 3
	}
	if err := s.over(ctx); err != nil {
		return p, fmt.Errorf("in the end: %w", err)
	}
	return p, nil
}

// scene is a cell as it is played.
type scene struct {
	*ground
	cell
	began    time.Time
	granted  time.Time
	struck   time.Time
	id       ajar.RequestID // "" = not known
	end      time.Time      // of the lease before the act
	answered bool           // the act was
}

// prepare opens a lease for all acts but the opening itself.
func (s *scene) prepare(ctx context.Context) error {
	if s.act == open {
		return nil
	}
	if err := s.initiate(ctx); err != nil {
		return err
	}
	return Await(ctx, bound, func() (bool, error) {
		l, err := s.lease(ctx)
		if err != nil || l == nil {
			return false, err
		}
		s.end = l.End
		return l.State == ajar.Open, fmt.Errorf("lease is %s: %s", l.State, l.Trouble)
	})
}

func (s *scene) initiate(ctx context.Context) error {
	defer func() { s.granted = time.Now() }() // no later, also where the answer was lost
	req, err := s.Plane.Admin.Initiate(ctx, client.Initiate{Policy: testPolicy, Justification: s.cell.String(), Asks: []client.Ask{{
		Target: s.m.ID, Number: groundPort, Source: s.RequesterAddr().String(), Duration: s.duration(),
	}}})
	if err != nil {
		return err
	}
	s.id = req.ID
	s.answers.add(req.ID, ajar.PolicyInitiate)
	return nil
}

// perform does the act, and says until when it goes on at least.
func (s *scene) perform(ctx context.Context) (until time.Time, err error) {
	switch s.act {
	case open:
		err = s.initiate(ctx)
	case extend:
		if _, err = s.Plane.Admin.Extend(ctx, s.id, client.Extension{By: extension}); err == nil {
			s.answers.add(s.id, ajar.RequestExtend)
		}
	case revoke:
		if _, err = s.Plane.Admin.Revoke(ctx, s.id, s.cell.String()); err == nil {
			s.answers.add(s.id, ajar.RequestRevoke)
		}
	case expire:
		until = s.end.Add(s.quiet())
	}
	s.answered = err == nil
	if err != nil && !forgiven(err) {
		return until, err
	}
	return until, nil
}

// strike takes everything down that the blow says, and brings it back.
func (s *scene) strike(ctx context.Context, victim *Proc) error {
	victim.Kill() // if the act was through without coming to the step
	s.struck = time.Now()
	if s.blow != alone && s.blow != reboot {
		s.Plane.Kill()
	}
	if s.blow == twice || s.blow == late {
		s.m.KillAgent()
	}
	switch s.blow {
	case late:
		pauseFor(ctx, s.darkness())
		if s.act != revoke && s.Requester.Try(s.to) == nil {
			return errors.New("open past its deadline, while plane and agent are dead")
		}
	case reboot, dark:
		if err := s.m.Reboot(ctx); err != nil {
			return err
		}
	}
	if s.blow == dark && s.act == rest {
		if err := s.isHeld(ctx); err != nil {
			return fmt.Errorf("after a reboot without the plane: %w", err)
		}
	}
	if !s.Plane.Proc().Alive() {
		if err := s.Plane.Start(ctx); err != nil {
			return err
		}
	}
	if !s.m.Agent().Alive() {
		return s.m.StartAgent(ctx)
	}
	return nil
}

// darkness is until when nobody but the kernel can close: past the deadline, which a revoked lease's is too far away for.
func (s *scene) darkness() time.Duration {
	if s.act == revoke {
		return extension
	}
	return time.Until(s.granted.Add(s.duration() + extension + slack))
}

// isHeld waits until the lease that the machine had is open again, unless it took so long to come back that the lease
// is all but over.
func (s *scene) isHeld(ctx context.Context) error {
	left := time.Until(s.end.Add(-slack))
	err := Await(ctx, left, func() (bool, error) {
		err := s.Requester.Try(s.to)
		return err == nil, err
	})
	if left < time.Second {
		return nil
	}
	return err
}

// lease is the one of this cell, or nil if the plane knows none.
func (s *scene) lease(ctx context.Context) (*client.Lease, error) {
	for l, err := range s.Plane.Admin.Leases(ctx, client.LeaseQuery{}) {
		if err != nil {
			return nil, err
		}
		if l.Request == s.id || s.id == "" && !l.Start.Before(s.began.Truncate(time.Millisecond)) {
			return &l, nil
		}
	}
	return nil, nil
}

// recover waits until the machine has what the plane says, and that is what was answered.
func (s *scene) recover(ctx context.Context) (held bool, err error) {
	if err := s.Plane.AwaitHost(ctx, s.m, bound); err != nil {
		return false, err
	}
	err = Await(ctx, bound, func() (ok bool, err error) {
		held, err = s.right(ctx)
		return err == nil, err
	})
	return held, err
}

// right compares the machine with the plane, and the plane with its answers.
func (s *scene) right(ctx context.Context) (held bool, err error) {
	l, err := s.lease(ctx)
	if err != nil {
		return false, err
	}
	now, through := time.Now(), s.Requester.Try(s.to)
	switch {
	case l == nil && (s.act != open || s.answered):
		return false, errors.New("the lease is lost")
	case l == nil:
		if through == nil {
			return false, errors.New("open, and the plane knows of no lease")
		}
		return false, nil
	case s.act == revoke && s.answered && l.State == ajar.Open:
		return false, errors.New("revoked, and still open to the plane")
	case s.act == extend && s.answered && l.End.Before(s.end.Add(extension)):
		return false, errors.New("extended, and that is lost")
	case time.Until(l.End) < slack && through != nil, l.State == ajar.Closed && through != nil:
		return false, nil
	case l.State == ajar.Closed && l.Reason != ajar.Revoked && now.Before(l.End):
		return false, fmt.Errorf("the lease was closed %s before its end: %s", time.Until(l.End), l.Reason)
	case l.State == ajar.Open && through == nil:
		return true, nil
	}
	return false, fmt.Errorf("the lease is %s (%s), and a connection says %v", l.State, l.Trouble, through)
}

// over lets the lease end, and finds the last connection not to be later than that.
func (s *scene) over(ctx context.Context) error {
	l, err := s.lease(ctx)
	if err != nil {
		return err
	}
	if s.act == revoke && l.State == ajar.Open { // the plane died before it was recorded
		if _, err := s.Plane.Admin.Revoke(ctx, s.id, "again"); err != nil {
			return err
		}
	}
	limit := s.began
	if l != nil && s.act != revoke {
		limit = l.End
		pauseFor(ctx, time.Until(l.End))
	}
	err = Await(ctx, bound, func() (bool, error) {
		if l, err = s.lease(ctx); err != nil {
			return false, err
		}
		if l == nil || l.State == ajar.Closed {
			return true, nil
		}
		return false, fmt.Errorf("lease is still %s: %s", l.State, l.Trouble)
	})
	if err != nil {
		return err
	}
	if s.act == revoke {
		limit = l.Closed
	}
	if s.Requester.Try(s.to) == nil {
		return errors.New("still open")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if l == nil && !s.last.IsZero() {
		return errors.New("it let a connection in, and no lease of that is recorded")
	}
	if s.last.After(limit.Add(slack)) {
		return fmt.Errorf("it let a connection in %s after its deadline", s.last.Sub(limit))
	}
	return nil
}
