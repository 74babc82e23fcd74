//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
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
	cmd := exec.Command("go", "build", "-trimpath", "-o", dir+"/", "../cmd/ajard", "../cmd/ajar", "../cmd/ajar-agent")
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
		if err := l.Plane.AwaitHost(t.Context(), m, bound); err != nil {
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

// soak is how long to go on: as long as the environment says, else short.
func soak(t *testing.T, short time.Duration) (long time.Duration, all bool) {
	t.Helper()
	s := os.Getenv("AJAR_SOAK")
	if s == "" {
		return short, false
	}
	long, err := time.ParseDuration(s)
	if err != nil {
		t.Fatal(err)
	}
	return long, true
}

// answers are the operations that the plane said yes to. What was answered is recorded, whatever dies afterwards.
type answers struct {
	mu    sync.Mutex
	given map[ajar.RequestID][]ajar.Action
}

func (a *answers) add(id ajar.RequestID, what ajar.Action) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.given == nil {
		a.given = map[ajar.RequestID][]ajar.Action{}
	}
	a.given[id] = append(a.given[id], what)
}

// missing finds an answer that the log does not have, and a lease whose end it has not exactly once.
func (a *answers) missing(ctx context.Context, c *client.Client) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	accepted := map[ajar.RequestID]map[ajar.Action]bool{}
	opened, closed := map[ajar.RequestID]int{}, map[ajar.RequestID]int{}
	for e, err := range c.Events(ctx, client.EventQuery{}) {
		switch {
		case err != nil:
			return err
		case e.Action == ajar.LeaseOpened:
			opened[e.Request]++
		case e.Action == ajar.LeaseClosed:
			closed[e.Request]++
		case e.Outcome == ajar.Accepted && e.Request != "":
			if accepted[e.Request] == nil {
				accepted[e.Request] = map[ajar.Action]bool{}
			}
			accepted[e.Request][e.Action] = true
		}
	}
	for id, given := range a.given {
		for _, what := range given {
			if !accepted[id][what] {
				return fmt.Errorf("%s of request %s was accepted, but no event of that is left", what, id)
			}
		}
	}
	for id := range accepted {
		if opened[id] > 1 || closed[id] != 1 {
			return fmt.Errorf("the lease of request %s was opened %d times and closed %d times, as the log has it", id, opened[id], closed[id])
		}
	}
	return nil
}

// ended lets everything come back and end, and reads what is left.
func ended(t *testing.T, l *Lab, a *answers) {
	t.Helper()
	ctx := t.Context()
	if !l.Plane.Proc().Alive() {
		if err := l.Plane.Start(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range l.Machines {
		if !m.Agent().Alive() {
			if err := m.StartAgent(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Plane.AwaitHost(ctx, m, bound); err != nil {
			t.Fatal(err)
		}
	}
	err := Await(ctx, bound, func() (bool, error) {
		for l, err := range l.Plane.Admin.Leases(ctx, client.LeaseQuery{Live: true}) {
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
	if err := Await(ctx, bound, func() (bool, error) {
		err := a.missing(ctx, l.Plane.Admin)
		return err == nil, err
	}); err != nil {
		t.Error(err)
	}
	out, err := l.Ajar(ctx, l.Plane.AdminEnv, "log", "verify")
	if err != nil {
		t.Errorf("ajar log verify: %v", err)
	}
	first, _, _ := strings.Cut(out, "\n")
	t.Log(first)
}

func pauseFor(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// forgiven reports whether a killed plane explains why an operation was not carried out.
func forgiven(err error) bool {
	return errors.Is(err, ajar.Unavailable) || errors.Is(err, context.Canceled) || errors.Is(err, ajar.Conflict)
}
