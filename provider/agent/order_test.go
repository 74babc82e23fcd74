package agent

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
)

// running is a plane with one connected host that guards ssh at revision 1.
func running(t *testing.T) (*plane, *machine) {
	t.Helper()
	p := newPlane(t)
	m := newMachine(t, p, "web")
	m.start()
	m.await(true)
	m.whole(1, guarding(ssh))
	return p, m
}

func (m *machine) setWall(off time.Duration) {
	m.mu.Lock()
	m.wall = off
	m.mu.Unlock()
	m.stepped <- struct{}{}
}

func TestEachHostSeesOnlyItsOwn(t *testing.T) {
	p := newPlane(t)
	a, b := newMachine(t, p, "a"), newMachine(t, p, "b")
	a.start()
	b.start()
	a.await(true)
	b.await(true)
	end := p.now().Add(time.Hour)
	a.whole(1, guarding(ssh), rule("for-a", end))
	b.whole(1, guarding(rdp), rule("for-b", end))
	wantOpen(t, a, "for-a")
	wantOpen(t, b, "for-b")
	b.mem.reports <- ajar.Report{Endpoint: "a", Action: ajar.DriftRepaired, Message: "said b"}
	if r := p.report(ajar.DriftRepaired); r.Endpoint != "b" {
		t.Errorf("b's report came in the name of %s", r.Endpoint)
	}
}

func TestLiftingEveryGuardIsNotKeepingIt(t *testing.T) {
	_, m := running(t)
	lifted := func() bool {
		got, _ := m.mem.Observe(t.Context(), ajar.Endpoint{})
		return len(got.Guard) == 0
	}
	var none []ajar.Guard
	m.change(ajar.Delta{Base: 1, Rev: 2, Guard: &none})
	if !lifted() {
		t.Error("a change to no guard left it")
	}
	m.whole(3, guarding(ssh))
	m.whole(4, nil)
	if !lifted() {
		t.Error("a whole without a guard left it")
	}
	m.halt()
	m.start()
	if !lifted() {
		t.Error("a restart brought the guard back")
	}
}

func TestSlowHostBlocksNobody(t *testing.T) {
	p := newPlane(t)
	slow, quick := newMachine(t, p, "slow"), newMachine(t, p, "quick")
	slow.start()
	quick.start()
	slow.await(true)
	quick.await(true)
	block := make(chan struct{})
	slow.mem.mu.Lock()
	slow.mem.block = block
	slow.mem.mu.Unlock()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	for range 2 { // the second waits behind the first
		go func() { done <- p.hub.ApplyAt(ctx, slow.at(), ajar.Ruleset{Guard: guarding(ssh)}, 1) }()
	}
	for rev := range uint64(50) {
		quick.whole(rev+1, guarding(ssh))
	}
	select {
	case err := <-done:
		t.Fatalf("the slow host answered: %v", err)
	default:
	}
	cancel()
	for range 2 {
		if err := <-done; !errors.Is(err, ajar.Unavailable) {
			t.Errorf("an apply that was given up: %v, want Unavailable", err)
		}
	}
	short, stop := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer stop()
	if err := p.hub.Change(short, slow.at(), ajar.Delta{Base: 1, Rev: 2}); !errors.Is(err, ajar.Unavailable) {
		t.Errorf("a change before the first order was answered: %v, want Unavailable", err)
	}
	close(block)
	// The first order is still answered, and a whole goes through after it.
	slow.mem.mu.Lock()
	slow.mem.block = nil
	slow.mem.mu.Unlock()
	slow.whole(3, guarding(ssh))
}

func TestOversizedFramesAreRefused(t *testing.T) {
	p, m := running(t)
	long := strings.Repeat("x", 1000)
	var rules []ajar.Rule
	for range 66000 {
		rules = append(rules, rule(ajar.LeaseID(long), p.now().Add(time.Hour)))
	}
	err := p.hub.ApplyAt(t.Context(), m.at(), ajar.Ruleset{Allow: rules}, 2)
	if !errors.Is(err, ajar.Invalid) {
		t.Errorf("a state of more than 64 MiB: %v, want Invalid", err)
	}
	m.whole(3, guarding(ssh)) // the connection lives on
	if _, up := p.hub.Connected("web"); !up {
		t.Error("the connection was lost")
	}
}

func TestManyRulesAreObservedInParts(t *testing.T) {
	p, m := running(t)
	end := p.now().Add(time.Hour)
	var rules []ajar.Rule
	for i := range 10_000 {
		r := rule(ajar.LeaseID("lease-"+string(rune('a'+i%26))+time.Duration(i).String()), end)
		r.Sources = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 32)}
		rules = append(rules, r)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	m.whole(2, guarding(ssh), rules...)
	until(t, "what reading so many took is given back", func() bool {
		runtime.ReadMemStats(&after)
		return after.NumForcedGC > before.NumForcedGC
	})
	got, err := p.hub.Observe(t.Context(), m.at())
	if err != nil || len(got.Allow) != len(rules) || len(got.Guard) != 1 {
		t.Fatalf("observed %d rules, %d guards, %v", len(got.Allow), len(got.Guard), err)
	}
	want := ajar.Ruleset{Guard: guarding(ssh), Allow: rules}
	if d := want.Diff(got); !d.Empty() {
		t.Errorf("differs: %d put, %d drop", len(d.Put), len(d.Drop))
	}
}

func TestFailedChangeClosesAndIsTriedAgain(t *testing.T) {
	p, m := running(t)
	end := p.now().Add(time.Hour)
	m.whole(2, guarding(ssh), rule("old", end))
	m.mem.mu.Lock()
	m.mem.fail = errors.New("netlink is upset")
	m.mem.mu.Unlock()
	err := p.hub.Change(t.Context(), m.at(), ajar.Delta{Base: 2, Rev: 3, Put: []ajar.Rule{rule("new", end)}, Drop: []ajar.LeaseID{"old"}})
	if err == nil || !strings.Contains(err.Error(), "netlink is upset") {
		t.Fatalf("a failed change: %v", err)
	}
	m.mem.mu.Lock()
	m.mem.fail = nil
	m.mem.mu.Unlock()
	until(t, "the firewall gets what is wanted", func() bool { return len(m.mem.open()) == 0 })
	if err := p.hub.Change(t.Context(), m.at(), ajar.Delta{Base: 2, Rev: 4}); !errors.Is(err, ajar.Conflict) {
		t.Errorf("a change after a failed one: %v, want Conflict", err)
	}
	m.whole(4, guarding(ssh), rule("new", end))
	wantOpen(t, m, "new")
}

func TestSkewIsToldAndBarsOpenings(t *testing.T) {
	p, m := running(t)
	end := p.now().Add(time.Hour)
	m.change(ajar.Delta{Base: 1, Rev: 2, Put: []ajar.Rule{rule("a", end), rule("b", end)}})
	m.setWall(3 * time.Second)
	if r := p.report(ajar.HostSkew); r.SkewMS == nil || *r.SkewMS < 2900 || *r.SkewMS > 3100 {
		t.Errorf("skew reported: %+v", r)
	}
	m.change(ajar.Delta{Base: 2, Rev: 3, Put: []ajar.Rule{rule("c", end)}})
	m.setWall(-10 * time.Minute)
	err := p.hub.Change(t.Context(), m.at(), ajar.Delta{Base: 3, Rev: 4, Put: []ajar.Rule{rule("d", end), rule("b", end.Add(time.Hour))}, Drop: []ajar.LeaseID{"a"}})
	if !errors.Is(err, ajar.Unavailable) || !strings.Contains(err.Error(), "the host's clock shows 20") || !strings.Contains(err.Error(), "and the plane's 20") {
		t.Errorf("an opening on a host ten minutes behind: %v", err)
	}
	wantOpen(t, m, "b", "c") // what was to close is closed, what runs runs on
	got, err := p.hub.Observe(t.Context(), m.at())
	if err != nil || len(got.Allow) != 2 || !got.Allow[0].Expires.Equal(rule("b", end).Expires) {
		t.Errorf("b was extended on a host that may not open: %v %v", got.Allow, err)
	}
	m.setWall(0)
	m.whole(9, guarding(ssh), rule("d", end))
	wantOpen(t, m, "d")
}

func TestWallClockStepsStretchNothing(t *testing.T) {
	p, m := running(t)
	end := p.now().Add(30 * time.Minute)
	m.change(ajar.Delta{Base: 1, Rev: 2, Put: []ajar.Rule{rule("a", end)}})
	for _, off := range []time.Duration{-time.Hour, time.Hour, -24 * time.Hour, 0} {
		m.setWall(off)
		p.hub.ApplyAt(t.Context(), m.at(), ajar.Ruleset{Guard: guarding(ssh), Allow: []ajar.Rule{rule("a", end)}}, 3)
		boot := m.bootNow()
		if got := m.mem.openAt(boot + 30*time.Minute + time.Millisecond); len(got) != 0 {
			t.Errorf("wall clock off by %s: %v is open past its deadline", off, got)
		}
		if got := m.mem.openAt(boot + 29*time.Minute); len(got) != 1 {
			t.Errorf("wall clock off by %s: closed a minute early", off)
		}
	}
}

func TestPlanesClockSetBackStretchesNothing(t *testing.T) {
	p, m := running(t)
	end := p.now().Add(30 * time.Minute)
	m.change(ajar.Delta{Base: 1, Rev: 2, Put: []ajar.Rule{rule("a", end)}})
	p.set(-30 * time.Second)
	until(t, "the host notices", func() bool { return m.Clock.Shift() > 25*time.Second })
	later := p.now().Add(10 * time.Minute)
	m.whole(3, guarding(ssh), rule("a", end), rule("b", later))
	boot := m.bootNow()
	if got := m.mem.openAt(boot + 30*time.Minute); len(got) != 0 {
		t.Errorf("%v got longer by the plane's clock going back", got)
	}
	if got := m.mem.openAt(boot + 10*time.Minute - time.Second); !slices.Equal(got, []ajar.LeaseID{"a", "b"}) {
		t.Errorf("open shortly before b's end: %v, want a and b", got)
	}
	if got := m.mem.openAt(boot + 10*time.Minute); !slices.Equal(got, []ajar.LeaseID{"a"}) {
		t.Errorf("open after b's end: %v, want a", got)
	}
	got, err := p.hub.Observe(t.Context(), m.at())
	want := ajar.Ruleset{Guard: guarding(ssh), Allow: []ajar.Rule{rule("a", end), rule("b", later)}}
	if d := want.Diff(got); err != nil || !d.Empty() {
		t.Errorf("in the plane's terms the host differs: %+v %v", d, err)
	}
}

func TestPlaneAheadShortens(t *testing.T) {
	p, m := running(t)
	end := p.now().Add(30 * time.Minute)
	m.change(ajar.Delta{Base: 1, Rev: 2, Put: []ajar.Rule{rule("a", end)}})
	p.set(20 * time.Minute)
	until(t, "timeouts are counted anew", func() bool { return len(m.mem.openAt(m.bootNow()+10*time.Minute)) == 0 })
}

func TestSuspendShortensTimeouts(t *testing.T) {
	p, m := running(t)
	end := p.now().Add(30 * time.Minute)
	m.change(ajar.Delta{Base: 1, Rev: 2, Put: []ajar.Rule{rule("a", end), rule("b", end.Add(time.Hour))}})
	before := m.mem.resyncs
	m.mu.Lock()
	m.slept += 40 * time.Minute
	m.mu.Unlock()
	// The kernel's timeouts stood still: by them a would be open for another half hour.
	m.mem.mu.Lock()
	for id := range m.mem.ends {
		m.mem.ends[id] += 40 * time.Minute
	}
	m.mem.mu.Unlock()
	m.stepped <- struct{}{}
	until(t, "resync", func() bool { return slices.Equal(m.mem.open(), []ajar.LeaseID{"b"}) })
	if m.mem.resyncs == before {
		t.Error("not by a resync")
	}
}

func addrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func TestDialFailsAtOnceWhereRefused(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := dialTCP(t.Context(), ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	// Our end of that has a port to which nobody listens, and which nobody else gets.
	if _, err := dialTCP(t.Context(), c.LocalAddr().String()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a refused dial: %v; it should not be tried until its time is over", err)
	}
}

// TestPlanesClockSetForwardStretchesNothing: what is granted just after a step of the plane's clock is not counted down by
// the time from before it, even if no beat told the host since.
func TestPlanesClockSetForwardStretchesNothing(t *testing.T) {
	p := newPlane(t)
	m := newMachine(t, p, "vm1")
	m.beat = time.Hour
	m.start()
	m.await(true)
	const step = 20 * time.Second
	until(t, "a quiet while between two beats", func() bool { return time.Since(m.boot) > time.Hour+500*time.Millisecond })
	p.set(step)
	m.whole(1, guarding(ssh), rule("a", p.now().Add(2*time.Second)))
	if behind := p.now().Sub(m.Clock.Now()); behind > 5*time.Second {
		t.Fatalf("the host has the opening, and counts it down by a clock that is %s behind the plane's", behind)
	}
	until(t, "the host's clock agrees with the plane's", func() bool { return p.now().Sub(m.Clock.Now()) <= 0 })
}
