//go:build linux

package lab

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
)

// Somebody flushes the firewall of a guarded machine while no agent runs. The next agent closes what was closed, and the log
// says that strangers could come in.
func TestAFlushWhileNoAgentRunsIsInTheLog(t *testing.T) {
	l := full(t, Options{Machines: 1, Ports: []uint16{firstPort}})
	guard(t, l, firstPort)
	m, port := l.Machines[0], netip.AddrPortFrom(l.Machines[0].IPv4, firstPort)
	m.KillAgent()
	if _, err := m.Nft(t.Context(), "flush", "ruleset"); err != nil {
		t.Fatal(err)
	}
	strangers := l.Attacker.Watch(port, 2*time.Millisecond)
	defer strangers.Stop()
	if err := Await(t.Context(), bound, func() (bool, error) { return strangers.Now().EverOpen(), nil }); err != nil {
		t.Fatalf("the flush did not open the port: %v", err)
	}
	if err := m.StartAgent(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Attacker.AwaitClosed(t.Context(), port); err != nil {
		t.Fatal(err)
	}
	var said string
	err := Await(t.Context(), bound, func() (bool, error) {
		for e, err := range l.Plane.Admin.Events(t.Context(), client.EventQuery{Action: ajar.DriftRepaired}) {
			if err != nil {
				return false, err
			}
			if said = e.Message; strings.Contains(said, "open to everybody") && e.Scope.Equal(m.ID) {
				return true, nil
			}
		}
		return false, nil
	})
	if err != nil {
		t.Fatalf("the log does not say that the machine was bare, but %q: %v\n%s", said, err, m.Agent().Tail())
	}
	t.Logf("the log: %s", said)
	// An agent that finds what it left says nothing.
	m.KillAgent()
	if err := m.StartAgent(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := l.Plane.AwaitHost(t.Context(), m, bound); err != nil {
		t.Fatal(err)
	}
	said, err = l.Ajar(t.Context(), l.Plane.AdminEnv, "log", "--action", string(ajar.DriftRepaired))
	if n := strings.Count(said, "open to everybody"); err != nil || n != 1 {
		t.Errorf("the log says it %d times, want once: %v\n%s", n, err, said)
	}
}
