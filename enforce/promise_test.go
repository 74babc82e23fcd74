package enforce_test

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/ajar-access/ajar"
	"pgregory.net/rapid"
)

// check is what must hold after every act, a breath later; sometimes it waits until liveness can be asked for too.
func (m *model) check(t *rapid.T) {
	m.w.Pass(breath)
	m.safety(t)
	if rapid.IntRange(0, 3).Draw(t, "rest") == 0 {
		m.w.Pass(time.Second)
		m.safety(t)
		m.liveness(t)
	}
}

// safety tries every port from every source.
func (m *model) safety(t *rapid.T) {
	real, now := m.real(), m.p.Now()
	for _, g := range m.grants {
		if g.expired.IsZero() && !now.Before(g.end) {
			g.expired = real
		}
	}
	for i := range m.machines {
		for _, port := range ports {
			if m.guards[i][port] && m.downAt[i].IsZero() {
				m.loose[i][port] = false
			}
			if !m.guards[i][port] || m.loose[i][port] {
				continue
			}
			for _, src := range probes {
				a := netip.MustParseAddr(src)
				if m.w.Connects(i, a, port) && !slices.ContainsFunc(m.grants, func(g *grant) bool {
					return g.host == i && g.port == port && g.source.Contains(a) && m.mayBeOpen(g)
				}) {
					t.Fatalf("port %d of host %d is open to %s at %s, and nothing allows it\n%s", port, i, src, now, m.story(i))
				}
			}
		}
	}
}

// mayBeOpen is the promise, for one lease.
func (m *model) mayBeOpen(g *grant) bool {
	real, now := m.real(), m.p.Now()
	if !real.Before(g.hardEnd) {
		return false
	}
	cutOffBy := func(at time.Time) bool { return !m.downAt[g.host].IsZero() && !m.downAt[g.host].After(at.Add(breath)) }
	if !g.revoked.IsZero() {
		return cutOffBy(g.revoked)
	}
	// Only a step of the clock makes a lease end before the kernel thinks so. It is noticed within a second.
	return now.Before(g.end) || cutOffBy(g.expired) || real.Sub(m.stepped) <= time.Second
}

// liveness compares hosts that could be told for a second with what was granted, and what the store says of it.
func (m *model) liveness(t *rapid.T) {
	real := m.real()
	for i := range m.machines {
		if m.upAt[i].IsZero() || real.Sub(m.upAt[i]) < time.Second {
			continue
		}
		got := m.w.Rules(i)
		want := map[ajar.LeaseID]*grant{}
		for _, g := range m.grants {
			if g.host == i && m.live(g) {
				want[g.id] = g
			}
		}
		for _, r := range got.Allow {
			g := want[r.Lease]
			if g == nil {
				t.Fatalf("host %d has the rule %+v, which nobody wants\n%s", i, r, m.story(i))
			}
			if r.Port.Number != g.port || len(r.Sources) != 1 || r.Sources[0] != g.source || !r.Expires.Equal(g.end) {
				t.Fatalf("host %d has the rule %+v for %+v", i, r, *g)
			}
			delete(want, r.Lease)
			if l := m.p.Lease(r.Lease); l.State != ajar.Open {
				t.Fatalf("lease %s is %s (%s) while its host has its rule", l.ID, l.State, l.Trouble)
			}
		}
		for _, g := range want {
			t.Fatalf("host %d lacks the rule of %+v\n%s", i, *g, m.story(i))
		}
		n := 0
		for _, port := range ports {
			if m.guards[i][port] {
				n++
			}
		}
		if len(got.Guard) != n {
			t.Fatalf("host %d guards %v, policies guard %v", i, got.Guard, m.guards[i])
		}
		for _, g := range m.grants {
			if g.host == i && !m.live(g) {
				if l := m.p.Lease(g.id); l.State != ajar.Closed {
					t.Fatalf("lease %s is over and %s (%s)\n%s", l.ID, l.State, l.Trouble, m.story(i))
				}
			}
		}
	}
}

// story is what the store says of a host's leases.
func (m *model) story(host int) (s string) {
	for _, g := range m.grants {
		if g.host == host {
			l := m.p.Lease(g.id)
			s += fmt.Sprintf("%s %s %s %s from %v to %s, kernel %s; revoked %s\n", l.ID, l.State, l.Reason, l.Flow.Port, l.Sources, l.End, l.KernelEnd, g.revoked)
		}
	}
	return s
}
