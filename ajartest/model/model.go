package model

import (
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/ajartest"
	"github.com/ajar-access/ajar/broker"
	"github.com/ajar-access/ajar/enforce"
)

// Model is the machine: a plane, a world, and what was granted.
type Model struct {
	Machines []ajar.ID

	t        *rapid.T
	p        *ajartest.Plane
	w        World
	pace     Pace
	users    []ajar.Caller
	boss     ajar.Caller
	grants   []*grant
	pending  []*broker.Outcome
	sessions []*session
	done     []string // for people

	up      bool // the plane runs
	arm     *atomic.Value
	hosts   [Hosts]*host
	stepped time.Time // the plane's clock
	until   time.Time
	stalls  func() []Stall
}

// host is what the model knows of one.
type host struct {
	i         int
	cut, dead bool
	downAt    time.Time // since when it cannot be told anything; zero = it can
	upAt      time.Time // since when it can
	lost      time.Time // when its link was last lost
	outage    time.Time // when the last time began in which it was not heard
	booted    time.Time
	flushed   time.Time
	changed   time.Time               // its policy
	skew      time.Duration           // of its own clock
	guards    map[uint16]bool         // what the policy guards
	modes     map[uint16]ajar.EndMode // what becomes of sessions there
	loose     map[uint16]bool         // may be unguarded: it was dropped, and the host may not know that it is back
}

// grant is what the model knows of one lease. It does not ask the product what is open: it remembers what was granted.
type grant struct {
	id      ajar.LeaseID
	who     int
	host    int
	port    uint16
	source  netip.Prefix
	mode    ajar.EndMode
	since   time.Time // by a clock that nobody steps
	start   time.Time // by the plane's clock
	end     time.Time // by the plane's clock
	hardEnd time.Time // by a clock that nobody steps: no later can it be open, whatever happens
	revoked time.Time // by that clock; zero = not
}

// session is a connection that goes on.
type session struct {
	Session
	host   int
	port   uint16
	src    netip.Addr
	opened time.Time
}

// Options say what a Model is run over.
type Options struct {
	Plane ajartest.Options
	Pace  Pace
	// Until ends a history in real time: what it would still do is left out. Zero = it goes to its end.
	Until time.Time
	// Stalls are those so far, in their order; nil = there never is one. What has to happen within some time has that time anew
	// after each.
	Stalls func() []Stall
	// World makes the world of m's machines, once the plane runs.
	World func(m *Model, p *ajartest.Plane) World
}

// sessionsKept is how many connections stay at a time.
const sessionsKept = 8

// New makes a plane and a world, and has policies guard every port.
func New(rt *rapid.T, t testing.TB, o Options) *Model {
	m := &Model{t: rt, arm: new(atomic.Value), up: true, pace: o.Pace, until: o.Until, stalls: o.Stalls}
	m.arm.Store(enforce.Step(""))
	o.Plane.Tune = func(l *enforce.Loop) {
		l.Chunk = 2
		l.Failpoint = func(s enforce.Step, _ ajar.EndpointID) error {
			if !m.arm.CompareAndSwap(s, enforce.Step("")) {
				return nil
			}
			m.p.Die()
			return errKilled
		}
	}
	o.Plane.Bounds = ajar.DefaultBounds
	o.Plane.Bounds.Shortest = o.Pace.Unit
	m.p = ajartest.New(t, o.Plane)
	for _, name := range []string{"alice", "bob"} {
		m.users = append(m.users, m.p.User(name, ajartest.At("Just-in-time Requester", ajar.Root)))
	}
	m.boss = m.p.Admin()
	now := m.real()
	for i := range Hosts {
		m.Machines = append(m.Machines, m.p.Machine(fmt.Sprintf("vm%d", i)))
		h := &host{i: i, upAt: now, booted: now, changed: now, guards: map[uint16]bool{}, loose: map[uint16]bool{}, modes: map[uint16]ajar.EndMode{}}
		m.hosts[i] = h
		for n, p := range Ports {
			h.guards[p], h.modes[p], h.loose[p] = true, ajar.Cut, true
			if n == 2 {
				h.modes[p] = ajar.Drain
			}
		}
		m.putPolicy(i)
	}
	m.w = o.World(m, m.p)
	m.pass(o.Pace.Settle)
	return m
}

// Run is one history.
func (m *Model) Run() { m.t.Repeat(map[string]func(*rapid.T){"act": m.act, "": m.check}) }

// Up reports whether the plane runs.
func (m *Model) Up() bool { return m.up }

// Grants is how many leases there were.
func (m *Model) Grants() int { return len(m.grants) }

// real is the clock that nobody steps.
func (m *Model) real() time.Time { return time.Now() }

// clocks reads the clock that nobody steps, and the plane's at the same time.
func (m *Model) clocks() (real, plane time.Time) {
	for {
		real, plane = m.real(), m.p.Now()
		if m.real().Sub(real) < time.Millisecond {
			return real, plane
		}
	}
}

// counted is from when on something may take d that began then: from the end of the last stall that it fell into.
func (m *Model) counted(then time.Time, d time.Duration) time.Time {
	if m.stalls == nil {
		return then
	}
	for _, s := range m.stalls() {
		if s.To.After(then) && s.From.Before(then.Add(d)) {
			then = s.To
		}
	}
	return then
}

// acts are what can happen, each as often as it stands there.
func (m *Model) acts() []act {
	u := int(m.pace.Unit / time.Millisecond)
	return []act{
		{"pass a little", func(t *rapid.T) { m.pass(m.draw(t, "time", 1, 2*u)) }},
		{"pass", func(t *rapid.T) { m.pass(m.draw(t, "time", 1, 30*u)) }},
		{"pass an end", m.passAnEnd}, {"pass an end", m.passAnEnd},
		{"request", m.request}, {"request", m.request}, {"request", m.request}, {"request", m.request}, {"request", m.request},
		{"request, yes", func(t *rapid.T) { m.request(t); m.approve(t) }},
		{"approve", m.approve},
		{"revoke", m.revoke},
		{"extend", m.extend}, {"extend", m.extend},
		{"session", m.session}, {"session", m.session}, {"session", m.session},
		{"change policy", m.changePolicy},
		{"change mode", m.changeMode},
		{"partition", m.partition},
		{"crash agent", m.crashAgent},
		{"reboot", m.reboot},
		{"flush", m.flush},
		{"crash plane", m.crash},
		{"crash in a step", m.crashIn},
		{"restart plane", m.restart},
		{"mend", m.mend}, {"mend", m.mend}, {"mend", m.mend},
		{"step clock", m.stepClock},
		{"step host clock", m.stepHostClock},
		// What by chance alone would seldom come one after the other.
		{"step clock, request, crash plane, pass an end", func(t *rapid.T) {
			m.mend(t)
			m.stepClock(t)
			m.request(t)
			m.pass(m.pace.Breath)
			m.crash(t)
			m.passAnEnd(t)
		}},
		{"request, crash plane, reboot, pass an end", func(t *rapid.T) {
			m.mend(t)
			m.request(t)
			m.request(t)
			m.pass(m.pace.Breath)
			m.crash(t)
			m.reboot(t)
			m.passAnEnd(t)
		}},
	}
}

type act struct {
	name string
	do   func(*rapid.T)
}

// act does something.
func (m *Model) act(t *rapid.T) {
	acts, began := m.acts(), m.real()
	if m.over() {
		return
	}
	a := acts[even(t, "act", len(acts))]
	a.do(t)
	m.done = append(m.done, fmt.Sprintf("%s %s", clock(began), a.name))
}

// even draws a number below n, each as likely as any other; rapid by itself prefers small ones.
func even(t *rapid.T, what string, n int) int {
	return rapid.Custom(func(t *rapid.T) (i int) {
		for range 16 {
			i <<= 1
			if rapid.Bool().Draw(t, "bit") {
				i++
			}
		}
		return i % n
	}).Draw(t, what)
}

func one[T any](t *rapid.T, what string, of []T) T { return of[even(t, what, len(of))] }

func (m *Model) over() bool { return !m.until.IsZero() && m.real().After(m.until) }

const stamp = "15:04:05.000"

// draw draws a time in milliseconds.
func (m *Model) draw(t *rapid.T, what string, from, to int) time.Duration {
	return time.Duration(from+even(t, what, to-from+1)) * time.Millisecond
}

func (m *Model) drawHost(t *rapid.T) int { return even(t, "host", Hosts) }

// drawFor draws how long a lease is asked for, or extended by.
func (m *Model) drawFor(t *rapid.T, what string) time.Duration {
	u := int(m.pace.Unit / time.Millisecond)
	return m.draw(t, what, u, 60*u)
}

// longest is the longest time from a lease's start to its end.
func (m *Model) longest() time.Duration { return 120 * m.pace.Unit }

// drains is how long sessions may outlive a lease that lets them drain.
func (m *Model) drains() time.Duration { return 10 * m.pace.Unit }

func (m *Model) pass(d time.Duration) { m.w.Pass(d) }
