package enforce_test

import (
	"net/netip"
	"testing/synctest"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/ajartest"
	"github.com/ajar-access/ajar/ajartest/model"
	"github.com/ajar-access/ajar/provider/fake"
)

// imagined is a world of fake hosts, in a synctest bubble.
type imagined struct {
	fw    *fake.Firewall
	hosts []ajar.EndpointID
	cut   []bool
	dead  []bool
	boots []int
	since []time.Time // of the links
	up    bool        // the plane
}

func imagine(fw *fake.Firewall, machines []ajar.ID) *imagined {
	n := len(machines)
	w := &imagined{fw: fw, up: true, cut: make([]bool, n), dead: make([]bool, n), boots: make([]int, n), since: make([]time.Time, n)}
	for _, m := range machines {
		w.hosts = append(w.hosts, ajartest.Endpoint(m))
		w.since[len(w.hosts)-1] = time.Now()
	}
	return w
}

func (w *imagined) host(i int) *fake.Host { return w.fw.Host(w.hosts[i]) }

func (w *imagined) Connects(i int, src netip.Addr, port uint16) bool {
	return w.host(i).Open(src, ajar.Port{Number: port, Protocol: ajar.TCP})
}

// imaginedSession is a connection that nobody made.
type imaginedSession struct {
	w    *imagined
	host int
	boot int
	src  netip.Addr
	port ajar.Port
	dead bool
}

func (w *imagined) Session(i int, src netip.Addr, port uint16) model.Session {
	if !w.Connects(i, src, port) {
		return nil
	}
	return &imaginedSession{w: w, host: i, boot: w.boots[i], src: src, port: ajar.Port{Number: port, Protocol: ajar.TCP}}
}

func (s *imaginedSession) Alive() bool {
	s.dead = s.dead || s.w.boots[s.host] != s.boot || !s.w.host(s.host).Alive(s.src, s.port)
	return !s.dead
}

func (w *imagined) Rules(i int) ajar.Ruleset { return w.host(i).Rules() }

// Linked: the links of fake hosts are there at once.
func (w *imagined) Linked(i int) time.Time {
	if w.alone(i) {
		return time.Time{}
	}
	return w.since[i]
}

func (w *imagined) Reach(i int, ok bool) {
	w.cut[i] = !ok
	w.link(i)
}

func (w *imagined) Crash(i int, back bool) {
	w.dead[i] = !back
	w.link(i)
}

func (w *imagined) link(i int) {
	w.since[i] = time.Now()
	w.host(i).Set(func(h *fake.Host) { h.Fault.Unreachable = w.cut[i] || w.dead[i] })
}

// alone reports whether the host cannot tell the plane anything.
func (w *imagined) alone(i int) bool { return w.cut[i] || w.dead[i] || !w.up }

// A host that reaches the plane may have lost everything; one that does not has what its agent kept.
func (w *imagined) Reboot(i int) {
	w.boots[i]++
	w.host(i).Reboot(w.alone(i))
}

// While nobody can tell the plane, an owned table is not flushed.
func (w *imagined) Flush(i int) (opens bool) {
	if w.alone(i) {
		return false
	}
	w.host(i).Flush(false)
	return true
}

// StepClock does nothing: what a fake host counts by, nobody can set.
func (w *imagined) StepClock(int, time.Duration) {}

func (w *imagined) Plane(up bool) {
	w.up = up
	for i := range w.since {
		w.since[i] = time.Now()
	}
}

func (w *imagined) Pass(d time.Duration) {
	t := time.NewTimer(d)
	<-t.C
	synctest.Wait()
}
