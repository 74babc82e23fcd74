//go:build linux

package lab

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ajar-access/ajar/client"
)

// burden is what a process has taken.
type burden struct {
	rss     int64
	fds     int
	threads int
}

func (b burden) String() string {
	return fmt.Sprintf("%.1f MB, %d files, %d threads", float64(b.rss)/1e6, b.fds, b.threads)
}

func burdenOf(t *testing.T, p *Proc) burden {
	t.Helper()
	u, err := p.Usage()
	if err != nil {
		t.Fatalf("%s: %v\n%s", p.Name, err, p.Tail())
	}
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.PID))
	if err != nil {
		t.Fatal(err)
	}
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", p.PID))
	if err != nil {
		t.Fatal(err)
	}
	return burden{u.RSS, len(fds), len(threads)}
}

// goroutines ends p with the list of its goroutines, and counts them.
func goroutines(t *testing.T, p *Proc) int {
	t.Helper()
	before, err := os.ReadFile(p.Log)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Process.Signal(syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	<-p.done
	after, err := os.ReadFile(p.Log)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(after[len(before):]), "\ngoroutine ")
}

// churn is leases that come and go on all ports of all machines, by several people, while machines lose the network,
// guards are lifted and laid, and strangers knock.
type churn struct {
	*Lab
	done   atomic.Int64 // leases that came and went
	mu     sync.Mutex
	faults map[string]int
}

func (c *churn) fault(err error) {
	if err == nil || strings.Contains(err.Error(), "context") {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults[err.Error()]++
}

// lease opens one port, uses it, and has it end in one of the ways there are.
func (c *churn) lease(ctx context.Context, m *Machine, port uint16, rnd *rand.Rand) error {
	req, err := c.Plane.Admin.Initiate(ctx, client.Initiate{Policy: testPolicy, Justification: "churn", Asks: []client.Ask{{
		Target: m.ID, Number: port, Source: c.RequesterAddr().String(), Duration: time.Second,
	}}})
	if err != nil {
		return err
	}
	to := netip.AddrPortFrom(m.IPv4, port)
	_ = Await(ctx, 500*time.Millisecond, func() (bool, error) { return c.Requester.Try(to) == nil, nil })
	var session *Talk
	if rnd.IntN(3) == 0 {
		session, _ = c.Requester.Talk(ctx, m, port) // it may be over already
	}
	_ = c.Attacker.Try(to)
	switch rnd.IntN(3) {
	case 0:
		_, err = c.Plane.Admin.Revoke(ctx, req.ID, "churn")
	case 1:
		_, err = c.Plane.Admin.Extend(ctx, req.ID, client.Extension{By: 300 * time.Millisecond})
		pauseFor(ctx, 1300*time.Millisecond)
	default:
		pauseFor(ctx, time.Second)
	}
	if session != nil {
		select {
		case <-session.Done():
		case <-time.After(bound):
			return fmt.Errorf("a session on port %d outlives its lease by far", port)
		case <-ctx.Done():
		}
		session.Close()
	}
	if ctx.Err() == nil {
		c.done.Add(1)
	}
	return err
}

// upheaval takes a machine off the network for a moment, and has a guard lifted and laid.
func (c *churn) upheaval(ctx context.Context, spare uint16, rnd *rand.Rand) error {
	p, err := c.Plane.Admin.Policy(ctx, testPolicy)
	if err != nil {
		return err
	}
	p.ETag = ""
	whole := p
	whole.Properties.Machines = slices.Clone(p.Properties.Machines)
	for i, m := range p.Properties.Machines {
		m.Ports = slices.DeleteFunc(slices.Clone(m.Ports), func(q client.PortPolicy) bool { return q.Number == spare })
		p.Properties.Machines[i] = m
	}
	for _, q := range []client.Policy{p, whole} {
		if _, err := c.Plane.Admin.PutPolicy(ctx, q, client.PutOptions{}); err != nil {
			return err
		}
		pauseFor(ctx, 300*time.Millisecond)
	}
	m := c.Machines[rnd.IntN(len(c.Machines))]
	if err := m.Partition(); err != nil {
		return err
	}
	pauseFor(ctx, 300*time.Millisecond)
	if err := m.Rejoin(); err != nil {
		return err
	}
	_, err = m.AgentExec(ctx, "break-glass", "7001", "--from", c.RequesterAddr().String(), "--for", "1s", "--reason", "churn")
	return err
}

// Whatever comes and goes, plane and agents end up with as many files, threads and goroutines as they had, and with
// little more memory: what is over is forgotten. With AJAR_SOAK this goes on for that long.
func TestChurnLeavesNothingBehind(t *testing.T) {
	long, soaking := soak(t, 3*time.Second)
	ports := []uint16{7001, 7002, 7003, 7004}
	const spare = 7005
	l := full(t, Options{Machines: 2, Ports: append(ports, spare)})
	guard(t, l, append(ports, spare)...)
	c := &churn{Lab: l, faults: map[string]int{}}
	procs := []*Proc{l.Plane.Proc(), l.Machines[0].Agent(), l.Machines[1].Agent()}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var workers sync.WaitGroup
	for i, m := range l.Machines {
		for _, p := range ports {
			workers.Go(func() {
				rnd := rand.New(rand.NewPCG(uint64(i), uint64(p)))
				for ctx.Err() == nil {
					c.fault(c.lease(ctx, m, p, rnd))
				}
			})
		}
	}
	workers.Go(func() {
		rnd := rand.New(rand.NewPCG(9, 9))
		for ctx.Err() == nil {
			c.fault(c.upheaval(ctx, spare, rnd))
			pauseFor(ctx, 2*time.Second)
		}
	})
	const looks = 12
	var seen [][]burden
	for i := range looks {
		pauseFor(ctx, long/looks)
		var now []burden
		for _, p := range procs {
			now = append(now, burdenOf(t, p))
		}
		if seen = append(seen, now); soaking || i == looks-1 {
			t.Logf("%v: %d leases; %v", long/looks*time.Duration(i+1), c.done.Load(), now)
		}
	}
	enough := Await(ctx, 2*bound, func() (bool, error) { return c.done.Load() >= 4, nil })
	cancel()
	workers.Wait()
	for f, n := range c.faults {
		t.Logf("%d × %s", n, f)
		if strings.Contains(f, "outlives") {
			t.Error(f)
		}
	}
	if enough != nil {
		t.Errorf("nothing was tested: %d leases", c.done.Load())
	}
	for i, p := range procs {
		// From a third of the time on everything has been done often.
		from, to := seen[looks/3][i], seen[looks-1][i]
		if soaking && (to.fds > from.fds+16 || to.rss > from.rss+from.rss/3+16<<20 || to.threads > from.threads+8) {
			t.Errorf("%s grows: from %v to %v", p.Name, from, to)
		}
	}
	for _, p := range procs {
		if n := goroutines(t, p); n < 3 || n > 200 {
			t.Errorf("%s has %d goroutines in the end", p.Name, n)
		} else {
			t.Logf("%s: %d goroutines in the end", p.Name, n)
		}
	}
}
