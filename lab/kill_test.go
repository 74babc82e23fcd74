//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
)

// slack is how far a connection may be from what the model allows: a tick of the kernel, and a late thread of ours.
const slack = 25 * time.Millisecond

// binaries builds the programs, once for all tests.
var binaries = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(os.Getenv(inside), "bin")
	cmd := exec.Command("go", "build", "-o", dir+"/", "../cmd/ajard", "../cmd/ajar", "../cmd/ajar-agent")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return dir, nil
})

// full is a lab with programs, whose machines have joined.
func full(t *testing.T, o Options) *Lab {
	t.Helper()
	var err error
	if o.Bin, err = binaries(); err != nil {
		t.Fatal(err)
	}
	l, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			l.Dump(t.Output())
		}
		l.Close()
	})
	for _, m := range l.Machines {
		if err := m.Join(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := l.Plane.AwaitHost(t.Context(), m, 10*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

const testPolicy = Group + "/providers/Microsoft.Security/locations/" + Location + "/jitNetworkAccessPolicies/default"

// guard closes ports of the lab's machines but for leases.
func guard(t *testing.T, l *Lab, ports ...uint16) {
	t.Helper()
	p := client.Policy{Kind: "Basic", ID: testPolicy, Location: Location}
	for _, m := range l.Machines {
		mp := client.MachinePolicy{ID: m.ID}
		for _, n := range ports {
			mp.Ports = append(mp.Ports, client.PortPolicy{Number: n, Protocol: ajar.TCP, Source: "*", MaxDuration: "PT1H"})
		}
		p.Properties.Machines = append(p.Properties.Machines, mp)
	}
	if _, err := l.Plane.Admin.PutPolicy(t.Context(), p, client.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, m := range l.Machines {
		for _, n := range ports {
			if _, err := l.Attacker.AwaitClosed(t.Context(), netip.AddrPortFrom(m.IPv4, n)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// chaos is the model beside the lab: until when each port may be open at the latest, and what was promised.
type chaos struct {
	l     *Lab
	m     *Machine
	began chan struct{} // an operation began: a good moment to kill

	mu       sync.Mutex
	until    map[uint16]time.Time // no later than this is a port open to the requester
	kills    int
	accepted []ajar.RequestID
	faults   []string
	through  int
	ops      map[string]int
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
		c.may(port, time.Now().Add(d+3*time.Second)) // while it is not known when it is decided
		req, err := c.l.Plane.Admin.Initiate(ctx, client.Initiate{Policy: testPolicy, Justification: "chaos", Asks: []client.Ask{{
			Target: c.m.ID, Number: port, Source: c.l.RequesterAddr().String(), Duration: d,
		}}})
		if err != nil {
			c.forgive(err)
			pauseFor(ctx, d) // it may have been granted all the same, but ended by then
			continue
		}
		end := time.Now().Add(d)
		c.mu.Lock()
		c.accepted = append(c.accepted, req.ID)
		c.until[port] = end
		c.mu.Unlock()
		switch rnd.IntN(4) {
		case 0:
			c.begin("close")
			if _, err := c.l.Plane.Admin.Revoke(ctx, req.ID, "chaos"); err != nil {
				c.forgive(err)
			} else if pauseFor(ctx, time.Second); c.calm(kills) && ctx.Err() == nil && c.l.Requester.Try(netip.AddrPortFrom(c.m.IPv4, port)) == nil {
				c.fault("port %d is open a second after its lease was revoked", port)
			}
		case 1:
			by := time.Duration(200+rnd.IntN(800)) * time.Millisecond
			c.begin("extend")
			c.may(port, end.Add(by))
			if _, err := c.l.Plane.Admin.Extend(ctx, req.ID, client.Extension{By: by}); err != nil {
				c.forgive(err)
			}
			pauseFor(ctx, time.Until(end.Add(by)))
		default:
			pauseFor(ctx, time.Until(end))
		}
		pauseFor(ctx, 2*slack)
	}
}

// forgive takes an error that a killed plane explains.
func (c *chaos) forgive(err error) {
	if !errors.Is(err, ajar.Unavailable) && !errors.Is(err, context.Canceled) && !errors.Is(err, ajar.Conflict) {
		c.fault("refused: %v", err)
	}
}

func pauseFor(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
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

// Plane and agent are killed and the host is rebooted at every step of opening, extending and closing. Nothing is open
// past its deadline, the guard is never missing, and afterwards no event that was recorded is lost.
func TestKillMatrix(t *testing.T) {
	long := 40 * time.Second
	if s := os.Getenv("AJAR_SOAK"); s != "" {
		var err error
		if long, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
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
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	var workers sync.WaitGroup
	for i, p := range ports {
		workers.Go(func() { c.work(ctx, p, rand.New(rand.NewPCG(seed, uint64(i)))) })
	}
	rnd := rand.New(rand.NewPCG(seed, 99))
	for ctx.Err() == nil {
		if err := c.kill(ctx, rnd); err != nil {
			t.Fatal(err)
		}
	}
	workers.Wait()
	c.settle(t)
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
	if c.through == 0 || c.kills < 5 {
		t.Errorf("nothing was tested: %d connections, %d kills", c.through, c.kills)
	}
	t.Logf("%d kills, %v, %d requests accepted, %d connections of the requester, %d tries of the attacker", c.kills, c.ops, len(c.accepted), c.through, tries)
}

// settle lets everything come back and end, and reads what is left.
func (c *chaos) settle(t *testing.T) {
	ctx := t.Context()
	if !c.l.Plane.Proc().Alive() {
		if err := c.l.Plane.Start(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if !c.m.Agent().Alive() {
		if err := c.m.StartAgent(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.l.Plane.AwaitHost(ctx, c.m, 15*time.Second); err != nil {
		t.Fatal(err)
	}
	err := Await(ctx, 15*time.Second, func() (bool, error) {
		for l, err := range c.l.Plane.Admin.Leases(ctx, client.LeaseQuery{Live: true}) {
			if err != nil {
				return false, err
			}
			return false, fmt.Errorf("lease %s is still %s: %s", l.ID, l.State, l.Trouble)
		}
		return true, nil
	})
	if err != nil {
		t.Error(err)
	}
	// A lease that has just ended is Closing until its host was asked.
	if err := Await(ctx, 15*time.Second, func() (bool, error) {
		err := c.missing(ctx)
		return err == nil, err
	}); err != nil {
		t.Error(err)
	}
	out, err := c.l.Ajar(ctx, c.l.Plane.AdminEnv, "log", "verify")
	if err != nil {
		t.Errorf("ajar log verify: %v", err)
	}
	t.Log(strings.TrimSpace(out))
}

// missing finds an accepted request that the log does not have, or whose lease ended without an event.
func (c *chaos) missing(ctx context.Context) error {
	recorded := map[ajar.RequestID]bool{}
	closed := map[ajar.RequestID]bool{}
	for e, err := range c.l.Plane.Admin.Events(ctx, client.EventQuery{}) {
		if err != nil {
			return err
		}
		recorded[e.Request] = recorded[e.Request] || e.Outcome == ajar.Accepted
		closed[e.Request] = closed[e.Request] || e.Action == ajar.LeaseClosed
	}
	for _, id := range c.accepted {
		if !recorded[id] {
			return fmt.Errorf("request %s was accepted, but no event of that is left", id)
		}
		if !closed[id] {
			return fmt.Errorf("the lease of request %s ended without an event", id)
		}
	}
	return nil
}
