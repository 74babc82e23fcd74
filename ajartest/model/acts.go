package model

import (
	"context"
	"errors"
	"fmt"
	"time"

	"pgregory.net/rapid"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/ajartest"
	"github.com/ajar-access/ajar/broker"
	"github.com/ajar-access/ajar/enforce"
)

var errKilled = errors.New("killed")

func (m *Model) request(t *rapid.T) {
	if !m.up {
		return
	}
	who, host := even(t, "who", 2), m.drawHost(t)
	port, source := one(t, "port", Ports), one(t, "source", sources)
	out, err := m.p.Initiate(m.users[who], policyOf(host), m.Machines[host], port, source, m.drawFor(t, "for"))
	if offered := m.hosts[host].guards[port]; (err == nil) != offered {
		t.Fatalf("port %d is offered: %v; the answer is %v", port, offered, err)
	}
	if err != nil {
		return
	}
	if port == Ports[1] {
		if len(out.Leases) != 0 {
			t.Fatal("leases without an approval")
		}
		m.pending = append(m.pending, out)
		return
	}
	m.granted(out)
}

// granted notes new leases, and that they supersede the same person's on the same port from the same source.
func (m *Model) granted(out *broker.Outcome) {
	real, now := m.clocks()
	for _, l := range out.Leases {
		g := &grant{
			id: l.ID, since: real, start: l.Start, end: l.End, hardEnd: real.Add(l.End.Sub(now)), source: l.Sources[0], port: l.Flow.Port.Number,
		}
		for i, id := range m.Machines {
			if l.Target.Equal(id) {
				g.host = i
			}
		}
		for i, u := range m.users {
			if l.Requester == u.Principal {
				g.who = i
			}
		}
		g.mode = m.hosts[g.host].modes[g.port]
		for _, o := range m.grants {
			if o.who == g.who && o.host == g.host && o.port == g.port && o.source == g.source && m.live(o) {
				o.revoked = real
			}
		}
		m.grants = append(m.grants, g)
	}
}

func (m *Model) live(g *grant) bool { return g.revoked.IsZero() && m.p.Now().Before(g.end) }

func (m *Model) approve(t *rapid.T) {
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

func (m *Model) drawLive(t *rapid.T) *grant {
	var live []*grant
	for _, g := range m.grants {
		if m.live(g) && !m.near(g.hardEnd) {
			live = append(live, g)
		}
	}
	if !m.up || len(live) == 0 {
		return nil
	}
	return live[even(t, "lease", len(live))]
}

// near reports whether an end is so near that nobody can tell which side of it an act comes to lie on.
func (m *Model) near(end time.Time) bool { return m.pace.Tick > 0 && end.Sub(m.real()) < m.pace.Late }

func (m *Model) revoke(t *rapid.T) {
	g := m.drawLive(t)
	if g == nil {
		return
	}
	if _, err := m.p.Broker.CloseLease(context.Background(), m.users[g.who], g.id, ""); err != nil {
		if !m.live(g) {
			return // it took until its end
		}
		t.Fatalf("close a live lease: %v", err)
	}
	g.revoked = m.real()
}

func (m *Model) extend(t *rapid.T) {
	g := m.drawLive(t)
	if g == nil {
		return
	}
	by := m.drawFor(t, "by")
	_, err := m.p.Broker.ExtendLease(context.Background(), m.users[g.who], g.id, broker.Extension{By: by})
	// What took an approval was approved as long as it was asked for.
	fits := g.port != Ports[1] && g.end.Add(by).Sub(g.start) <= m.longest()
	if err != nil && fits && !m.live(g) {
		return // it took until its end
	}
	if (err == nil) != fits {
		t.Fatalf("from %s to %s, extended by %s: fits %v, the answer is %v", g.start, g.end, by, fits, err)
	}
	if err == nil {
		g.end = g.end.Add(by)
		real, now := m.clocks()
		if hard := real.Add(g.end.Sub(now)); hard.After(g.hardEnd) { // a step may have brought the end nearer than the kernel knows
			g.hardEnd = hard
		}
	}
}

// session opens a connection that stays, where one can be opened.
func (m *Model) session(t *rapid.T) {
	s := &session{host: m.drawHost(t), port: one(t, "port", Ports), src: one(t, "from", Probes), opened: m.real()}
	if g := m.drawLive(t); g != nil { // one that is let in is worth more
		s.host, s.port = g.host, g.port
		for _, a := range Probes {
			if g.source.Contains(a) {
				s.src = a
			}
		}
	}
	if s.Session = m.w.Session(s.host, s.src, s.port); s.Session != nil && len(m.sessions) < sessionsKept {
		m.sessions = append(m.sessions, s)
	}
}

// passAnEnd waits until just after the nearest deadline.
func (m *Model) passAnEnd(*rapid.T) {
	var next time.Time
	for _, g := range m.grants {
		if left := g.hardEnd.Sub(m.real()); g.revoked.IsZero() && left > 0 && (next.IsZero() || g.hardEnd.Before(next)) {
			next = g.hardEnd
		}
	}
	if left := next.Sub(m.real()) + m.pace.Tick; !next.IsZero() && left > 0 {
		m.pass(left)
	}
}

func policyOf(host int) ajar.ID { return ajartest.PolicyID(fmt.Sprintf("p%d", host)) }

func (m *Model) putPolicy(host int) {
	pol := ajar.Policy{ID: policyOf(host), Kind: "Basic", Machines: []ajar.MachinePolicy{{Target: m.Machines[host]}}}
	for i, n := range Ports {
		if !m.hosts[host].guards[n] {
			continue
		}
		row := ajar.PortPolicy{Number: n, Protocol: ajar.TCP, Any: true, MaxDuration: m.longest(), EndMode: m.hosts[host].modes[n], DrainFor: m.drains()}
		if i == 1 {
			row.Approvals = 1
		}
		pol.Machines[0].Ports = append(pol.Machines[0].Ports, row)
	}
	if _, err := m.p.Broker.PutPolicy(context.Background(), m.boss, pol, broker.PutOptions{}); err != nil {
		m.t.Fatalf("put policy: %v", err)
	}
}

func (m *Model) changePolicy(t *rapid.T) {
	if !m.up {
		return
	}
	host, port := m.drawHost(t), one(t, "port", Ports)
	h := m.hosts[host]
	h.guards[port] = !h.guards[port]
	m.putPolicy(host)
	h.changed = m.real()
	if h.guards[port] {
		return
	}
	h.loose[port] = true
	for _, g := range m.grants {
		if g.host == host && g.port == port && m.live(g) {
			g.revoked = m.real()
		}
	}
}

// changeMode changes what becomes of sessions. Leases that were granted keep what they were granted with.
func (m *Model) changeMode(t *rapid.T) {
	if !m.up {
		return
	}
	host, port := m.drawHost(t), one(t, "port", Ports)
	m.hosts[host].modes[port] = one(t, "mode", []ajar.EndMode{ajar.Cut, ajar.Drain, ajar.Warn})
	m.putPolicy(host)
}

// links notes since when each host can, or cannot, be told anything.
//
// A link that was not made again before it is lost again is one outage.
func (m *Model) links() {
	now := m.real()
	for _, h := range m.hosts {
		if down := h.cut || h.dead || !m.up; down && h.downAt.IsZero() {
			m.lose(h, now)
			h.downAt, h.upAt = now, time.Time{}
		} else if !down && !h.downAt.IsZero() {
			h.downAt, h.upAt = time.Time{}, now
		}
	}
}

func (m *Model) lose(h *host, at time.Time) {
	if m.hears(h, at) {
		h.outage = at
	}
	h.lost = at
}

// mend has everything run and reach each other again.
func (m *Model) mend(t *rapid.T) {
	for i, h := range m.hosts {
		if h.cut {
			h.cut = false
			m.w.Reach(i, true)
		}
		if h.dead {
			h.dead = false
			m.w.Crash(i, true)
		}
	}
	m.links()
	m.restart(t)
}

func (m *Model) partition(t *rapid.T) {
	i := m.drawHost(t)
	m.hosts[i].cut = !m.hosts[i].cut
	m.w.Reach(i, !m.hosts[i].cut)
	m.links()
}

func (m *Model) crashAgent(t *rapid.T) {
	i := m.drawHost(t)
	m.hosts[i].dead = !m.hosts[i].dead
	m.w.Crash(i, !m.hosts[i].dead)
	m.links()
}

// reboot is an outage, too, where there is a link to lose.
func (m *Model) reboot(t *rapid.T) {
	i := m.drawHost(t)
	h := m.hosts[i]
	if h.downAt.IsZero() && m.pace.Redial > 0 {
		m.lose(h, m.real())
	}
	m.w.Reboot(i)
	h.booted = m.real()
	if h.downAt.IsZero() {
		h.upAt = h.booted
	}
}

func (m *Model) flush(t *rapid.T) {
	i := m.drawHost(t)
	if m.w.Flush(i) {
		m.hosts[i].flushed = m.real()
	}
}

func (m *Model) crash(*rapid.T) {
	if m.up {
		m.p.Crash()
		m.fell()
	}
}

func (m *Model) fell() {
	m.up = false
	m.w.Plane(false)
	m.links()
}

// crashIn has the plane die at a step of whatever it does next, which is a request, a revoke or an extension.
func (m *Model) crashIn(t *rapid.T) {
	if !m.up {
		return
	}
	from := m.real()
	m.arm.Store(one(t, "step", enforce.Steps))
	[]func(*rapid.T){m.request, m.revoke, m.extend}[even(t, "act", 3)](t)
	m.pass(m.pace.Breath)
	if m.arm.Swap(enforce.Step("")) == enforce.Step("") {
		m.p.Crash()
		m.fell()
		for _, h := range m.hosts { // it died at once
			h.downAt, h.outage = earlier(h.downAt, from), earlier(h.outage, from)
		}
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func (m *Model) restart(*rapid.T) {
	if !m.up {
		m.w.Plane(true)
		m.p.Restart()
		m.up = true
		m.links()
	}
}

func (m *Model) stepClock(t *rapid.T) {
	m.p.Step(m.draw(t, "forward", 1, 20*int(m.pace.Unit/time.Millisecond)))
	m.stepped = m.real()
}

// A host's own clock may show what it likes, as long as it is not so wrong that somebody must look. Nobody sets it while
// the agent is dead: what that can do is told of in docs/security.md.
func (m *Model) stepHostClock(t *rapid.T) {
	i := m.drawHost(t)
	h, d := m.hosts[i], m.draw(t, "by", -20_000, 20_000)
	if h.dead || (h.skew+d).Abs() > 50*time.Second {
		return
	}
	h.skew += d
	m.w.StepClock(i, d)
}
