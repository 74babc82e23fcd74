package model

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/ajar-access/ajar"
)

// check is what must hold after every act, a breath later; sometimes it waits until liveness can be asked for too.
func (m *Model) check(t *rapid.T) {
	if m.over() {
		return
	}
	m.pass(m.pace.Breath)
	m.safety(t)
	if even(t, "rest", m.pace.Rest) == 0 {
		m.pass(m.pace.Settle)
		m.safety(t)
		m.liveness(t)
	}
}

// safety tries every port from every source, and every session.
func (m *Model) safety(t *rapid.T) {
	for i, h := range m.hosts {
		for _, port := range Ports {
			if now := m.real(); h.guards[port] && m.hears(h, now) && !m.cutOff(h, now, h.changed) {
				h.loose[port] = false
			}
			if m.unguarded(h, port) {
				continue
			}
			for _, src := range Probes {
				at := m.real()
				if m.w.Connects(i, src, port) && !m.allows(i, port, src, func(g *grant) bool { return m.mayBeOpen(g, at) }) {
					t.Fatalf("port %d of host %d was open to %s at %s, and nothing allows it\n%s", port, i, src, at.UTC().Format(stamp), m.story(i))
				}
			}
		}
	}
	m.sessions = slices.DeleteFunc(m.sessions, func(s *session) bool { return !m.goesOn(t, s) })
}

// unguarded reports whether a port may be open to everybody now.
func (m *Model) unguarded(h *host, port uint16) bool {
	return !h.guards[port] || h.loose[port] || !h.flushed.IsZero() && m.real().Sub(m.counted(h.flushed, m.pace.Late)) < m.pace.Late
}

// allows reports whether some grant for a source passes the test.
func (m *Model) allows(host int, port uint16, src netip.Addr, test func(*grant) bool) bool {
	return slices.ContainsFunc(m.grants, func(g *grant) bool {
		return g.host == host && g.port == port && g.source.Contains(src) && test(g)
	})
}

// hears reports whether the plane had, at that time, the link to a host that it has now.
func (m *Model) hears(h *host, at time.Time) bool {
	linked := m.w.Linked(h.i)
	return h.downAt.IsZero() && !linked.IsZero() && !linked.Before(h.lost) && !linked.After(at)
}

// cutOff reports whether, at a time, what happened at another may not have come to the host yet.
func (m *Model) cutOff(h *host, at, happened time.Time) bool {
	if m.hears(h, at) {
		late := func(then time.Time) bool { return at.Sub(m.counted(then, m.pace.Late)) < m.pace.Late }
		return late(happened) || late(m.w.Linked(h.i))
	}
	late := max(m.pace.Late, m.pace.Breath)
	return !h.outage.After(m.counted(happened, late).Add(late))
}

// mayBeOpen is the promise, for one lease and a connection that began at that time.
func (m *Model) mayBeOpen(g *grant, at time.Time) bool {
	return at.Before(g.hardEnd.Add(m.pace.Tick)) && m.holds(g, at, g.end)
}

// holds reports whether at a time the host may still have g, whose own is over at end.
func (m *Model) holds(g *grant, at, end time.Time) bool {
	h := m.hosts[g.host]
	if !g.revoked.IsZero() {
		return m.cutOff(h, at, g.revoked)
	}
	over := m.planeAt(at).Sub(end)
	if over < m.pace.Tick {
		return true
	}
	// Only a step of the plane's clock makes a lease end before the kernel thinks so. It is noticed within a second.
	since := at.Add(-over)
	if noticed := m.stepped.Add(time.Second); noticed.After(since) {
		since = noticed
	}
	return m.cutOff(h, at, since)
}

// planeAt is what the plane's clock showed.
func (m *Model) planeAt(at time.Time) time.Time {
	real, plane := m.clocks()
	return plane.Add(at.Sub(real))
}

// goesOn checks a session, and reports whether it lives.
func (m *Model) goesOn(t *rapid.T, s *session) bool {
	at := m.real()
	alive := s.Alive()
	h := m.hosts[s.host]
	may := m.unguarded(h, s.port) || m.allows(s.host, s.port, s.src, func(g *grant) bool { return m.mayBeOpen(g, at) || m.mayDrain(g, at) })
	if alive && !may {
		t.Fatalf("a session of %s to port %d of host %d lived at %s, and nothing allows it\n%s", s.src, s.port, s.host, at.UTC().Format(stamp), m.story(s.host))
	}
	if must := m.allows(s.host, s.port, s.src, func(g *grant) bool { return m.mustLast(s, g) }); !alive && must {
		t.Fatalf("a session of %s to port %d of host %d, begun at %s, was dead at %s though its lease lasts\n%s",
			s.src, s.port, s.host, s.opened.UTC().Format(stamp), at.UTC().Format(stamp), m.story(s.host))
	}
	return alive
}

// mayDrain is the promise for sessions of a lease that is over.
func (m *Model) mayDrain(g *grant, at time.Time) bool {
	if g.mode == ajar.Cut || !at.Before(g.hardEnd.Add(m.drains()+m.pace.Tick)) || !m.holds(g, at, g.end.Add(m.drains())) {
		return false
	}
	// Where leases meet the strictest wins, once the host can know of it.
	return !slices.ContainsFunc(m.grants, func(o *grant) bool {
		return o.host == g.host && o.port == g.port && o.mode == ajar.Cut && m.live(o) && m.planeAt(at).Add(m.pace.Tick).Before(o.end) && !m.cutOff(m.hosts[o.host], at, o.since)
	})
}

// mustLast reports whether s must still live because of g: nothing was done to either since s began.
func (m *Model) mustLast(s *session, g *grant) bool {
	h, real := m.hosts[s.host], m.real()
	if g.since.After(s.opened) || !g.revoked.IsZero() || h.booted.After(s.opened) || !h.downAt.IsZero() || h.upAt.After(s.opened) || m.stepped.After(s.opened) {
		return false
	}
	left := g.end.Sub(m.planeAt(real)) - m.pace.Tick - m.pace.Late
	if left > 0 {
		return true
	}
	if g.mode == ajar.Cut || left+m.drains() <= 0 || g.end.Sub(m.planeAt(s.opened)) <= m.pace.Tick+m.pace.Late {
		return false
	}
	return !slices.ContainsFunc(m.grants, func(o *grant) bool {
		return o.host == g.host && o.port == g.port && o.mode == ajar.Cut
	})
}

// liveness compares hosts that could be told for long enough with what was granted, and what the store says of it.
func (m *Model) liveness(t *rapid.T) {
	if now := m.real(); m.counted(now.Add(-m.pace.Settle), m.pace.Settle).After(now.Add(-m.pace.Settle)) {
		return // it had no time to settle
	}
	for i, h := range m.hosts {
		if now := m.real(); !m.hears(h, now) {
			if h.downAt.IsZero() && now.Sub(m.counted(h.upAt, m.pace.Redial)) > m.pace.Redial {
				t.Fatalf("host %d is not heard though it can be reached since %s\n%s", i, clock(h.upAt), m.story(i))
			}
			continue
		} else if now.Sub(h.upAt) < m.pace.Settle || now.Sub(m.w.Linked(i)) < m.pace.Settle {
			continue
		}
		want, near := map[ajar.LeaseID]*grant{}, map[ajar.LeaseID]bool{}
		for _, g := range m.grants {
			if g.host == i && m.live(g) {
				want[g.id] = g
			}
			if ends := g.end; m.pace.Tick > 0 && ends.Sub(m.p.Now()).Abs() < m.pace.Late { // it goes while we look
				near[g.id] = true
			}
		}
		got := m.w.Rules(i)
		for _, r := range got.Allow {
			g := want[r.Lease]
			delete(want, r.Lease)
			if near[r.Lease] || g == nil && m.drainsStill(i, r) {
				continue
			}
			if g == nil {
				t.Fatalf("host %d has the rule %+v, which nobody wants\n%s", i, r, m.story(i))
			}
			if r.Port.Number != g.port || len(r.Sources) != 1 || r.Sources[0] != g.source || !r.Expires.Equal(g.end) {
				t.Fatalf("host %d has the rule %+v for %+v", i, r, *g)
			}
			if l := m.p.Lease(r.Lease); l.State != ajar.Open && m.live(g) {
				t.Fatalf("lease %s is %s (%s) while its host has its rule", l.ID, l.State, l.Trouble)
			}
		}
		for _, g := range want {
			if !near[g.id] && !m.near(g.hardEnd) {
				t.Fatalf("host %d lacks the rule of %+v\n%s", i, *g, m.story(i))
			}
		}
		m.guarded(t, i, got)
		m.opened(t, i)
		m.closed(t, i)
	}
}

// drainsStill reports whether a rule is there for sessions alone.
func (m *Model) drainsStill(host int, r ajar.Rule) bool {
	return slices.ContainsFunc(m.grants, func(g *grant) bool {
		return g.id == r.Lease && g.host == host && g.mode != ajar.Cut && g.revoked.IsZero() && m.p.Now().Before(g.end.Add(m.drains()+m.pace.Late))
	})
}

func (m *Model) guarded(t *rapid.T, i int, got ajar.Ruleset) {
	n := 0
	for _, port := range Ports {
		if m.hosts[i].guards[port] {
			n++
		}
	}
	if len(got.Guard) != n {
		t.Fatalf("host %d guards %v, policies guard %v", i, got.Guard, m.hosts[i].guards)
	}
}

// opened tries what must be open: what was granted, and what nobody guards.
func (m *Model) opened(t *rapid.T, i int) {
	for _, port := range Ports {
		for _, src := range Probes {
			must := func() bool {
				return !m.hosts[i].guards[port] || m.allows(i, port, src, func(g *grant) bool { return m.live(g) && !m.near(g.hardEnd) })
			}
			if must() && !m.w.Connects(i, src, port) && must() {
				t.Fatalf("port %d of host %d is closed to %s at %s, which may come in\n%s", port, i, src, m.real().UTC().Format(stamp), m.story(i))
			}
		}
	}
}

// closed asks what the store says of leases that are over.
func (m *Model) closed(t *rapid.T, i int) {
	now := m.p.Now()
	for _, g := range m.grants {
		if g.host != i || m.live(g) || m.pace.Tick > 0 && now.Sub(g.end).Abs() < m.pace.Late {
			continue
		}
		over := !g.revoked.IsZero() || g.mode == ajar.Cut || !now.Before(g.end.Add(m.drains()+m.pace.Late))
		if l := m.p.Lease(g.id); l.State != ajar.Closed && (over || l.State != ajar.Closing) {
			t.Fatalf("lease %s is over and %s (%s)\n%s", l.ID, l.State, l.Trouble, m.story(i))
		}
	}
}

// story is what was done, and what the store says of a host's leases.
func (m *Model) story(host int) string {
	var b strings.Builder
	h := m.hosts[host]
	fmt.Fprintf(&b, "host %d: down %s, up %s, outage %s, booted %s, flushed %s; plane up %v, stepped %s\n", host,
		clock(h.downAt), clock(h.upAt), clock(h.outage), clock(h.booted), clock(h.flushed), m.up, clock(m.stepped))
	for _, g := range m.grants {
		if g.host == host {
			l := m.p.Lease(g.id)
			fmt.Fprintf(&b, "%s %s %s %s %s from %v, granted %s to %s, hard %s, kernel %s; revoked %s\n",
				l.ID, l.State, l.Reason, l.Flow.Port, g.mode, l.Sources, clock(g.since), clock(l.End), clock(g.hardEnd), clock(l.KernelEnd), clock(g.revoked))
		}
	}
	return b.String() + strings.Join(m.done[max(0, len(m.done)-40):], "\n")
}

func clock(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format(stamp)
}
