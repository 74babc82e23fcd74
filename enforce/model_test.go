package enforce_test

import (
	"context"
	"flag"
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/ajartest"
	"github.com/ajar-access/ajar/broker"
	"github.com/ajar-access/ajar/enforce"
	"pgregory.net/rapid"
)

// What the model knows of one lease. It does not ask the product what is open: it remembers what was granted.
type grant struct {
	id      ajar.LeaseID
	request ajar.RequestID
	who     int
	host    int
	port    uint16
	source  netip.Prefix
	start   time.Time // by the plane's clock
	end     time.Time // by the plane's clock
	hardEnd time.Time // by a clock that nobody steps: no later can it be open, whatever happens
	revoked time.Time // by that clock; zero = not
	expired time.Time // by that clock, when the model first saw it past its end
}

// model is the machine: a plane, a world, and what was granted.
type model struct {
	t        *rapid.T
	p        *ajartest.Plane
	w        world
	users    []ajar.Caller
	boss     ajar.Caller
	machines []ajar.ID
	grants   []*grant
	pending  []*broker.Outcome

	up      bool // the plane runs
	arm     *atomic.Value
	cut     []bool // the host's link; dead, its agent
	dead    []bool
	downAt  []time.Time // since when it cannot be told anything
	upAt    []time.Time
	guards  []map[uint16]bool // what the policies guard
	loose   []map[uint16]bool // may be unguarded: it was dropped, and the host may not know that it is back
	stepped time.Time
}

const hosts = 2

var (
	ports   = []uint16{22, 3389} // the second needs an approval
	sources = []string{"10.0.0.1", "10.0.0.2", "10.0.0.0/30", "10.0.0.0/24", "0.0.0.0/0"}
	probes  = []string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.77", "192.0.2.1"}
)

// breath is how long what is reachable may take, at most, before an act counts as carried out.
const breath = 2 * time.Millisecond

// TestModel drives the whole plane at random against a model of what may be open.
//
// Safety: a port is open to a source only if an unexpired lease was granted, and if that was revoked, only while its
// host has been unreachable since. Liveness: a host that was reachable for a second has exactly what was granted.
//
// -rapid.checks=1000 asks for more histories than an ordinary run has time for.
func TestModel(t *testing.T) {
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
		if err := f.Value.Set("15"); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Value.Set(f.DefValue) }()
	}
	rapid.Check(t, func(rt *rapid.T) {
		var failed any
		synctest.Test(t, func(t *testing.T) {
			defer func() { failed = recover() }()
			m := newModel(rt, t)
			rt.Repeat(m.acts())
		})
		if failed != nil {
			panic(failed)
		}
	})
}

func newModel(rt *rapid.T, t *testing.T) *model {
	m := &model{t: rt, arm: new(atomic.Value), up: true}
	m.arm.Store(enforce.Step(""))
	m.p = ajartest.New(t, ajartest.Options{Tune: func(l *enforce.Loop) {
		l.Chunk = 2
		l.Failpoint = func(s enforce.Step, _ ajar.EndpointID) error {
			if !m.arm.CompareAndSwap(s, enforce.Step("")) {
				return nil
			}
			m.p.Die()
			return errKilled
		}
	}})
	for _, name := range []string{"alice", "bob"} {
		m.users = append(m.users, m.p.User(name, ajartest.At("Just-in-time Requester", ajar.Root)))
	}
	m.boss = m.p.Admin()
	now := m.real()
	for i := range hosts {
		m.machines = append(m.machines, m.p.Machine(fmt.Sprintf("vm%d", i)))
		m.cut, m.dead = append(m.cut, false), append(m.dead, false)
		m.downAt, m.upAt = append(m.downAt, time.Time{}), append(m.upAt, now)
		m.guards = append(m.guards, map[uint16]bool{22: true, 3389: true})
		m.loose = append(m.loose, map[uint16]bool{})
		m.putPolicy(i)
	}
	m.w = imagine(m.p.Firewall, m.machines, func() bool { return m.up })
	m.w.Pass(time.Second)
	return m
}

// real is the clock that nobody steps.
func (m *model) real() time.Time { return time.Now() }

func (m *model) acts() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"":                m.check,
		"request":         m.request,
		"request again":   m.request,
		"approve":         m.approve,
		"revoke":          m.revoke,
		"extend":          m.extend,
		"pass":            func(t *rapid.T) { m.w.Pass(time.Duration(rapid.IntRange(1, 40_000).Draw(t, "ms")) * time.Millisecond) },
		"pass a little":   func(t *rapid.T) { m.w.Pass(time.Duration(rapid.IntRange(1, 2000).Draw(t, "ms")) * time.Millisecond) },
		"change policy":   m.changePolicy,
		"partition":       func(t *rapid.T) { i := m.drawHost(t); m.cut[i] = !m.cut[i]; m.w.Reach(i, !m.cut[i]); m.links() },
		"crash agent":     func(t *rapid.T) { i := m.drawHost(t); m.dead[i] = !m.dead[i]; m.w.Crash(i, !m.dead[i]); m.links() },
		"reboot":          func(t *rapid.T) { m.w.Reboot(m.drawHost(t)) },
		"flush":           func(t *rapid.T) { m.w.Flush(m.drawHost(t)) },
		"crash plane":     m.crash,
		"crash in a step": func(t *rapid.T) { m.crashIn(t) },
		"restart plane":   m.restart,
		"step clock":      m.stepClock,
	}
}

func (m *model) drawHost(t *rapid.T) int { return rapid.IntRange(0, hosts-1).Draw(t, "host") }

// links notes since when each host can, or cannot, be told anything.
func (m *model) links() {
	for i := range m.cut {
		if down := m.cut[i] || m.dead[i] || !m.up; down && m.downAt[i].IsZero() {
			m.downAt[i], m.upAt[i] = m.real(), time.Time{}
		} else if !down && !m.downAt[i].IsZero() {
			m.downAt[i], m.upAt[i] = time.Time{}, m.real()
		}
	}
}

func (m *model) request(t *rapid.T) {
	if !m.up {
		return
	}
	who, host := rapid.IntRange(0, 1).Draw(t, "who"), m.drawHost(t)
	port, source := rapid.SampledFrom(ports).Draw(t, "port"), rapid.SampledFrom(sources).Draw(t, "source")
	d := time.Duration(rapid.IntRange(1000, 60_000).Draw(t, "for")) * time.Millisecond
	out, err := m.p.Initiate(m.users[who], policyOf(host), m.machines[host], port, source, d)
	if offered := m.guards[host][port]; (err == nil) != offered {
		t.Fatalf("port %d is offered: %v; the answer is %v", port, offered, err)
	}
	if err != nil {
		return
	}
	if port == ports[1] {
		if len(out.Leases) != 0 {
			t.Fatal("leases without an approval")
		}
		m.pending = append(m.pending, out)
		return
	}
	m.granted(out)
}

// granted notes new leases, and that they supersede the same person's on the same port from the same source.
func (m *model) granted(out *broker.Outcome) {
	real, now := m.real(), m.p.Now()
	for _, l := range out.Leases {
		g := &grant{id: l.ID, request: out.Request.ID, start: l.Start, end: l.End, hardEnd: real.Add(l.End.Sub(now)), source: l.Sources[0], port: l.Flow.Port.Number}
		for i, id := range m.machines {
			if l.Target.Equal(id) {
				g.host = i
			}
		}
		for i, u := range m.users {
			if l.Requester == u.Principal {
				g.who = i
			}
		}
		for _, o := range m.grants {
			if o.who == g.who && o.host == g.host && o.port == g.port && o.source == g.source && m.live(o) {
				o.revoked = real
			}
		}
		m.grants = append(m.grants, g)
	}
}

func (m *model) live(g *grant) bool { return g.revoked.IsZero() && m.p.Now().Before(g.end) }

func (m *model) approve(t *rapid.T) {
	if !m.up || len(m.pending) == 0 {
		return
	}
	out := m.pending[0]
	m.pending = m.pending[1:]
	if _, err := m.p.Broker.Approve(context.Background(), m.users[0], out.Request.ID, ""); err == nil {
		t.Fatal("somebody approved who may not")
	}
	done, err := m.p.Broker.Approve(context.Background(), m.boss, out.Request.ID, "")
	if err != nil {
		return // the policy changed meanwhile
	}
	m.granted(done)
}

func (m *model) drawLive(t *rapid.T) *grant {
	var live []*grant
	for _, g := range m.grants {
		if m.live(g) {
			live = append(live, g)
		}
	}
	if !m.up || len(live) == 0 {
		return nil
	}
	return live[rapid.IntRange(0, len(live)-1).Draw(t, "lease")]
}

func (m *model) revoke(t *rapid.T) {
	g := m.drawLive(t)
	if g == nil {
		return
	}
	if _, err := m.p.Broker.CloseLease(context.Background(), m.users[g.who], g.id, ""); err != nil {
		t.Fatalf("close a live lease: %v", err)
	}
	g.revoked = m.real()
}

func (m *model) extend(t *rapid.T) {
	g := m.drawLive(t)
	if g == nil {
		return
	}
	by := time.Duration(rapid.IntRange(1000, 60_000).Draw(t, "by")) * time.Millisecond
	_, err := m.p.Broker.ExtendLease(context.Background(), m.users[g.who], g.id, broker.Extension{By: by})
	// What took an approval was approved as long as it was asked for.
	fits := g.port == ports[0] && g.end.Add(by).Sub(g.start) <= 2*time.Minute
	if (err == nil) != fits {
		t.Fatalf("from %s to %s, extended by %s: fits %v, the answer is %v", g.start, g.end, by, fits, err)
	}
	if err == nil {
		g.end = g.end.Add(by)
		g.hardEnd = m.real().Add(g.end.Sub(m.p.Now()))
	}
}

func policyOf(host int) ajar.ID { return ajartest.PolicyID(fmt.Sprintf("p%d", host)) }

func (m *model) putPolicy(host int) {
	pol := ajar.Policy{ID: policyOf(host), Kind: "Basic", Machines: []ajar.MachinePolicy{{Target: m.machines[host]}}}
	for i, n := range ports {
		if m.guards[host][n] {
			pol.Machines[0].Ports = append(pol.Machines[0].Ports, ajar.PortPolicy{Number: n, Protocol: ajar.TCP, Any: true, MaxDuration: 2 * time.Minute, Approvals: i})
		}
	}
	if _, err := m.p.Broker.PutPolicy(context.Background(), m.boss, pol, broker.PutOptions{}); err != nil {
		m.t.Fatalf("put policy: %v", err)
	}
}

func (m *model) changePolicy(t *rapid.T) {
	if !m.up {
		return
	}
	host, port := m.drawHost(t), rapid.SampledFrom(ports).Draw(t, "port")
	m.guards[host][port] = !m.guards[host][port]
	m.putPolicy(host)
	if m.guards[host][port] {
		return
	}
	m.loose[host][port] = true
	for _, g := range m.grants {
		if g.host == host && g.port == port && m.live(g) {
			g.revoked = m.real()
		}
	}
}

func (m *model) crash(*rapid.T) {
	if m.up {
		m.p.Crash()
		m.up = false
		m.links()
	}
}

// crashIn has the plane die at a step of whatever it does next, which is a request, a revoke or an extension.
func (m *model) crashIn(t *rapid.T) {
	if !m.up {
		return
	}
	m.arm.Store(rapid.SampledFrom(enforce.Steps).Draw(t, "step"))
	[]func(*rapid.T){m.request, m.revoke, m.extend}[rapid.IntRange(0, 2).Draw(t, "act")](t)
	m.w.Pass(breath)
	if m.arm.Swap(enforce.Step("")) == enforce.Step("") {
		m.p.Crash()
		m.up = false
		m.links()
		for i := range m.downAt {
			m.downAt[i] = minTime(m.downAt[i], m.real().Add(-breath)) // it died at once
		}
	}
}

func minTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func (m *model) restart(*rapid.T) {
	if !m.up {
		m.p.Restart()
		m.up = true
		m.links()
	}
}

func (m *model) stepClock(t *rapid.T) {
	m.p.Step(time.Duration(rapid.IntRange(1, 20_000).Draw(t, "forward")) * time.Millisecond)
	m.stepped = m.real()
}
