//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
)

// chaos is the model beside the lab: until when each port may be open at the latest, and what was promised.
type chaos struct {
	l     *Lab
	m     *Machine
	began chan struct{} // an operation began: a good moment to kill

	mu      sync.Mutex
	until   map[uint16]time.Time // no later than this is a port open to the requester
	kills   int
	faults  []string
	through int
	ops     map[string]int
	answers answers
}

func (c *chaos) fault(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.faults) < 20 {
		c.faults = append(c.faults, fmt.Sprintf(format, args...))
	}
}

// may allows a port to be open until then, if it was not allowed longer.
func (c *chaos) may(port uint16, until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if until.After(c.until[port]) {
		c.until[port] = until
	}
}

// lets is told of each connection of the requester that came about.
func (c *chaos) lets(port uint16, began time.Time) {
	c.mu.Lock()
	until := c.until[port]
	c.through++
	c.mu.Unlock()
	if began.After(until.Add(slack)) {
		c.fault("port %d let a connection in %s after its deadline", port, began.Sub(until))
	}
}

// begin is called as an operation is sent.
func (c *chaos) begin(op string) (kills int) {
	select {
	case c.began <- struct{}{}:
	default:
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ops[op]++
	return c.kills
}

// calm reports whether nothing was killed since.
func (c *chaos) calm(kills int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.kills == kills
}

// work opens, extends and closes one port again and again.
func (c *chaos) work(ctx context.Context, port uint16, rnd *rand.Rand) {
	for ctx.Err() == nil {
		d := time.Duration(500+rnd.IntN(1500)) * time.Millisecond
		kills := c.begin("open")
		c.may(port, time.Now().Add(d+bound)) // while it is not known when it is decided
		req, err := c.l.Plane.Admin.Initiate(ctx, client.Initiate{Policy: testPolicy, Justification: "chaos", Asks: []client.Ask{{
			Target: c.m.ID, Number: port, Source: c.l.RequesterAddr().String(), Duration: d,
		}}})
		if err != nil {
			c.forgive(err)
			c.mu.Lock()
			c.until[port] = time.Now().Add(d) // it may have been granted all the same, but by now
			c.mu.Unlock()
			pauseFor(ctx, d)
			continue
		}
		end := time.Now().Add(d)
		c.answers.add(req.ID, ajar.PolicyInitiate)
		c.mu.Lock()
		c.until[port] = end
		c.mu.Unlock()
		switch rnd.IntN(4) {
		case 0:
			c.begin("close")
			if _, err := c.l.Plane.Admin.Revoke(ctx, req.ID, "chaos"); err != nil {
				c.forgive(err)
				break
			}
			c.answers.add(req.ID, ajar.RequestRevoke)
			c.revoked(ctx, req.ID, port, kills)
		case 1:
			by := time.Duration(200+rnd.IntN(800)) * time.Millisecond
			c.begin("extend")
			c.may(port, end.Add(by))
			if _, err := c.l.Plane.Admin.Extend(ctx, req.ID, client.Extension{By: by}); err != nil {
				c.forgive(err)
			} else {
				c.answers.add(req.ID, ajar.RequestExtend)
			}
			pauseFor(ctx, time.Until(end.Add(by)))
		default:
			pauseFor(ctx, time.Until(end))
		}
		pauseFor(ctx, 2*slack)
	}
}

// revoked waits until the plane says that a lease is closed. Then it is, unless something was killed.
func (c *chaos) revoked(ctx context.Context, id ajar.RequestID, port uint16, kills int) {
	err := Await(ctx, bound, func() (bool, error) {
		for l, err := range c.l.Plane.Admin.Leases(ctx, client.LeaseQuery{}) {
			if err != nil || l.Request == id {
				return err == nil && l.State == ajar.Closed || !c.calm(kills), fmt.Errorf("%s: %w", l.State, err)
			}
		}
		return !c.calm(kills), errors.New("it is not there")
	})
	switch {
	case ctx.Err() != nil || !c.calm(kills):
	case err != nil:
		c.fault("port %d: the lease that was revoked is not closed: %v", port, err)
	case c.l.Requester.Try(netip.AddrPortFrom(c.m.IPv4, port)) == nil && c.calm(kills):
		c.fault("port %d is open though its lease is closed", port)
	}
}

// tested reports whether enough has happened.
func (c *chaos) tested() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.through > 0 && c.kills >= 3
}

// forgive takes an error that a killed plane explains.
func (c *chaos) forgive(err error) {
	if !forgiven(err) {
		c.fault("refused: %v", err)
	}
}

// kill takes something down at a moment when an operation is under way, and brings it back.
func (c *chaos) kill(ctx context.Context, rnd *rand.Rand) error {
	select {
	case <-c.began:
	case <-ctx.Done():
		return nil
	}
	pauseFor(ctx, time.Duration(rnd.IntN(6000))*time.Microsecond)
	c.mu.Lock()
	c.kills++
	c.mu.Unlock()
	plane, agent, reboot := false, false, false
	switch rnd.IntN(4) {
	case 0:
		plane = true
	case 1:
		agent = true
	case 2:
		plane, agent = true, true
	case 3:
		reboot = true
	}
	if plane {
		c.l.Plane.Kill()
	}
	if agent {
		c.m.KillAgent()
	}
	if reboot {
		if err := c.m.Reboot(context.WithoutCancel(ctx)); err != nil {
			return err
		}
	}
	pauseFor(ctx, time.Duration(rnd.IntN(400))*time.Millisecond)
	if plane {
		if err := c.l.Plane.Start(context.WithoutCancel(ctx)); err != nil {
			return err
		}
	}
	if agent {
		if err := c.m.StartAgent(ctx); err != nil {
			return err
		}
	}
	pauseFor(ctx, time.Duration(rnd.IntN(1500))*time.Millisecond)
	return nil
}

// Where TestKillMatrix kills at each step of one operation, here several go on at a time, and what dies when is drawn
// by lot. Nothing is open past its deadline, the guard is never missing, and no event that was recorded is lost.
func TestKillAtRandom(t *testing.T) {
	long, _ := soak(t, 12*time.Second)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	ports := []uint16{7001, 7002, 7003, 7004}
	l := full(t, Options{Machines: 1, Ports: ports})
	guard(t, l, ports...)
	c := &chaos{l: l, m: l.Machines[0], began: make(chan struct{}), until: map[uint16]time.Time{}, ops: map[string]int{}}
	var watches, strangers []*Watch
	for _, p := range ports {
		to := netip.AddrPortFrom(c.m.IPv4, p)
		watches = append(watches, l.Requester.WatchFunc(to, 2*time.Millisecond, func(began, _ time.Time) { c.lets(p, began) }))
		strangers = append(strangers, l.Attacker.Watch(to, 2*time.Millisecond))
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var workers sync.WaitGroup
	for i, p := range ports {
		workers.Go(func() { c.work(ctx, p, rand.New(rand.NewPCG(seed, uint64(i)))) })
	}
	rnd := rand.New(rand.NewPCG(seed, 99))
	for end := time.Now().Add(long); time.Now().Before(end) || !c.tested(); {
		if err := c.kill(ctx, rnd); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	workers.Wait()
	ended(t, l, &c.answers)
	for _, w := range watches {
		w.Stop()
	}
	tries := 0
	for i, w := range strangers {
		seen := w.Stop()
		tries += seen.Tries
		if seen.EverOpen() {
			t.Errorf("port %d let a stranger in: %v", ports[i], seen.Changes)
		}
	}
	for _, f := range c.faults {
		t.Error(f)
	}
	t.Logf("%d kills, %v, %d requests granted, %d connections of the requester, %d tries of the attacker", c.kills, c.ops, len(c.answers.given), c.through, tries)
}
