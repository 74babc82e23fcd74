package model_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"pgregory.net/rapid"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/ajartest"
	"github.com/ajar-access/ajar/ajartest/model"
	"github.com/ajar-access/ajar/provider/agent"
)

// TestModelOnTheKernel drives plane, wire, agents and the kernel's own firewall at random, in real time and with real
// connections, against the same model of what may be open as the fake hosts in enforce.
//
// AJAR_SOAK=10m in the environment has it go on for that long.
func TestModelOnTheKernel(t *testing.T) {
	long := 30 * time.Second
	if s := os.Getenv("AJAR_SOAK"); s != "" {
		var err error
		if long, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	// What happened in real time cannot be made to happen again, nor smaller.
	for name, v := range map[string]string{"checks": "1", "steps": "60", "shrinktime": "1ns", "nofailfile": "true"} {
		f := flag.Lookup("rapid." + name)
		was := f.Value.String()
		t.Cleanup(func() { _ = f.Value.Set(was) })
		if err := f.Value.Set(v); err != nil {
			t.Fatal(err)
		}
	}
	end, total, pulse := time.Now().Add(long), new(total), feel(t)
	var lines sync.WaitGroup
	for range 4 { // they mostly wait
		lines.Go(func() {
			for time.Now().Before(end) && !t.Failed() {
				t.Run("history", func(t *testing.T) { history(t, end, total, pulse) })
			}
		})
	}
	lines.Wait()
	t.Logf("%d histories with %d leases; of %d connections %d were let in", total.histories.Load(), total.leases.Load(), total.tries.Load(), total.through.Load())
}

// total is what all histories came to.
type total struct{ histories, leases, tries, through atomic.Int64 }

func history(t *testing.T, end time.Time, sum *total, p *pulse) {
	rapid.Check(t, func(rt *rapid.T) {
		if t.Failed() {
			return
		}
		k := newKernel(t)
		m := model.New(rt, t, model.Options{
			Plane: ajartest.Options{Enforcer: k},
			Pace: model.Pace{
				Unit: 50 * time.Millisecond, Breath: 5 * time.Millisecond, Late: 400 * time.Millisecond, Settle: time.Second, Redial: 3 * time.Second,
				Tick: 25 * time.Millisecond, Rest: 10,
			},
			Until: end, World: k.begin, Stalls: p.stalls,
		})
		defer func() {
			sum.histories.Add(1)
			sum.leases.Add(int64(m.Grants()))
			sum.tries.Add(int64(k.tries))
			sum.through.Add(int64(k.through))
			if t.Failed() || rt.Failed() {
				t.Log(k.log.String())
			}
		}()
		m.Run()
	})
}

// kernel is a world of real hosts. It is the plane's enforcer, too: whatever hub the plane has now.
type kernel struct {
	t     testing.TB
	ca    *authority
	names map[string]ajar.EndpointID
	hub   atomic.Pointer[agent.Hub]
	plane atomic.Pointer[ajartest.Plane]
	addr  string
	stop  func()
	guest *space
	hosts []*machine
	log   *tail

	tries, through int

	mu     sync.Mutex
	linked map[ajar.EndpointID]time.Time
}

func newKernel(t testing.TB) *kernel {
	k := &kernel{t: t, ca: newAuthority(t), names: map[string]ajar.EndpointID{}, guest: newSpace(t), log: new(tail), linked: map[ajar.EndpointID]time.Time{}}
	err := k.guest.do(func() error {
		l, err := netlink.LinkByName("lo")
		for _, a := range model.Probes {
			if err == nil {
				err = netlink.AddrAdd(l, &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(32, 32)}})
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	k.addr = "127.0.0.1:0"
	k.Plane(true)
	t.Cleanup(func() {
		k.Plane(false)
		for _, m := range k.hosts {
			m.down()
		}
		k.guest.close()
	})
	return k
}

// now is the plane's clock.
func (k *kernel) now() time.Time {
	if p := k.plane.Load(); p != nil {
		return p.Now()
	}
	return time.Now()
}

// begin has a host for each machine join.
func (k *kernel) begin(mod *model.Model, p *ajartest.Plane) model.World {
	k.plane.Store(p)
	for i, id := range mod.Machines {
		m := &machine{t: k.t, guest: k.guest, n: i, ep: ajartest.Endpoint(id), dir: k.t.TempDir(), conns: map[net.Conn]bool{}}
		m.log = slog.New(slog.NewTextHandler(k.log, &slog.HandlerOptions{Level: slog.LevelDebug})).With("host", i)
		if i == 1 {
			m.own = "off"
		}
		token := fmt.Sprint("token of ", m.ep)
		k.names[tokenHash(token)] = m.ep
		_, err := agent.Join(k.t.Context(), agent.JoinAsk{Dir: m.dir, Server: k.addr, CAHash: k.ca.hash(), Token: token, Clock: m.wallNow})
		if err != nil {
			k.t.Fatal(err)
		}
		k.hosts = append(k.hosts, m)
		m.boot(true)
	}
	return k
}

func (k *kernel) Plane(up bool) {
	if !up {
		if k.stop != nil {
			k.stop()
			k.stop = nil
		}
		return
	}
	ln, err := net.Listen("tcp4", k.addr)
	for limit := time.Now().Add(time.Minute); err != nil; ln, err = net.Listen("tcp4", k.addr) { // somebody else's call may have the port
		if time.Now().After(limit) {
			k.t.Fatal(err)
		}
		wait(5 * time.Millisecond)
	}
	k.addr = ln.Addr().String()
	hub := k.ca.hub(k.now, k.names)
	hub.Home = func(ep ajar.EndpointID, here bool) {
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(k.linked, ep)
		if here {
			k.linked[ep] = time.Now()
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = hub.Serve(ctx, ln) })
	k.hub.Store(hub)
	k.stop = func() { cancel(); wg.Wait() }
}

func (k *kernel) Connects(i int, src netip.Addr, port uint16) bool {
	c := k.connect(i, src, port)
	if c == nil {
		return false
	}
	c.Close()
	return true
}

// connect is nil where the host says no. Whatever else goes wrong is the test's own trouble.
func (k *kernel) connect(i int, src netip.Addr, port uint16) net.Conn {
	c, err := dialFrom(k.guest, src, k.hosts[i].at(port))
	if err != nil && !errors.Is(err, syscall.ECONNREFUSED) {
		k.t.Fatalf("connect from %s: %v", src, err)
	}
	k.tries++
	if err == nil {
		k.through++
	}
	return c
}

// dialFrom connects out of a namespace. What is closed again leaves nothing behind.
func dialFrom(s *space, src netip.Addr, to netip.AddrPort) (c net.Conn, err error) {
	d := net.Dialer{Timeout: 30 * time.Second, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(src, 0)), KeepAlive: -1}
	err = s.do(func() error {
		t, err := d.Dial("tcp4", to.String())
		if err != nil {
			return err
		}
		c = t
		return t.(*net.TCPConn).SetLinger(0)
	})
	return c, err
}

// conversation is a session with a host's server.
type conversation struct {
	net.Conn
	host  *machine
	boots int // of the host, when it began
	over  bool
}

func (k *kernel) Session(i int, src netip.Addr, port uint16) model.Session {
	c := k.connect(i, src, port)
	if c == nil {
		return nil
	}
	k.t.Cleanup(func() { c.Close() })
	return &conversation{Conn: c, host: k.hosts[i], boots: k.hosts[i].boots}
}

func (c *conversation) Alive() bool {
	if c.over {
		return false
	}
	b := []byte("word")
	patience := 30 * time.Second
	if c.host.boots != c.boots {
		patience = time.Second // nobody is there to end it
	}
	err := c.SetDeadline(time.Now().Add(patience))
	if err == nil {
		_, err = c.Write(b)
	}
	if err == nil {
		_, err = io.ReadFull(c, b)
	}
	if c.over = err != nil; c.over {
		c.Close()
	}
	return !c.over
}

func (k *kernel) Rules(i int) ajar.Ruleset {
	rs, err := k.Observe(k.t.Context(), ajar.Endpoint{ID: k.hosts[i].ep})
	if err != nil {
		k.t.Fatalf("ask host %d what it has: %v", i, err)
	}
	return rs
}

func (k *kernel) Linked(i int) time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.linked[k.hosts[i].ep]
}

func (k *kernel) Reach(i int, ok bool) { k.hosts[i].reach(ok) }

func (k *kernel) Crash(i int, back bool) {
	if back {
		k.hosts[i].start(true)
	} else {
		k.hosts[i].kill()
	}
}

func (k *kernel) Reboot(i int) {
	m := k.hosts[i]
	run := m.halt != nil
	m.down()
	m.boot(run)
}

// Nobody repairs what is flushed while the agent is dead. An owned table is not flushed while it lives.
func (k *kernel) Flush(i int) (opens bool) {
	m := k.hosts[i]
	if m.halt == nil {
		return false
	}
	if err := m.flush(); err != nil {
		k.t.Fatal(err)
	}
	return m.own == "off"
}

func (k *kernel) StepClock(i int, d time.Duration) { k.hosts[i].step(d) }

func (k *kernel) Pass(d time.Duration) { wait(d) }

func wait(d time.Duration) { <-time.NewTimer(d).C }

// Apply, ApplyAt, Change, Observe, Preview and Report are the hub's that the plane has now.

func (k *kernel) Apply(ctx context.Context, ep ajar.Endpoint, want ajar.Ruleset) error {
	return k.hub.Load().Apply(ctx, ep, want)
}

func (k *kernel) ApplyAt(ctx context.Context, ep ajar.Endpoint, want ajar.Ruleset, rev uint64) error {
	return k.hub.Load().ApplyAt(ctx, ep, want, rev)
}

func (k *kernel) Change(ctx context.Context, ep ajar.Endpoint, d ajar.Delta) error {
	return k.hub.Load().Change(ctx, ep, d)
}

func (k *kernel) Observe(ctx context.Context, ep ajar.Endpoint) (ajar.Ruleset, error) {
	return k.hub.Load().Observe(ctx, ep)
}

func (k *kernel) Preview(ctx context.Context, ep ajar.Endpoint, gs []ajar.Guard) (ajar.Impact, error) {
	return k.hub.Load().Preview(ctx, ep, gs)
}

func (k *kernel) Report(ctx context.Context, fn func(ajar.Report) error) error {
	return k.hub.Load().Report(ctx, fn)
}

// tail keeps the end of what was logged, for a history that fails.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (l *tail) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.b = append(l.b, b...); len(l.b) > 1<<16 {
		l.b = append([]byte(nil), l.b[len(l.b)-1<<15:]...)
	}
	return len(b), nil
}

func (l *tail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.b)
}
