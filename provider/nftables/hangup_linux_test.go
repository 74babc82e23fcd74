package nftables

import (
	"errors"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"golang.org/x/sys/unix"
)

// waiting is one end of a session that only waits to be told something.
type waiting struct {
	conn  net.Conn
	ended chan time.Time
	fault error // after ended
}

func await(c net.Conn) *waiting {
	w := &waiting{conn: c, ended: make(chan time.Time, 1)}
	go func() {
		_, w.fault = c.Read(make([]byte, 1))
		w.ended <- time.Now()
	}()
	return w
}

// end waits until the read returned, and wants it after a moment.
func (w *waiting) end(t *testing.T, who string, after time.Time, fault error) {
	t.Helper()
	select {
	case at := <-w.ended:
		if d := at.Sub(after); d < -early {
			t.Errorf("%s was told %v after the end", who, d)
		} else {
			t.Logf("%s was told %v after the end: %v", who, d, w.fault)
		}
		if !errors.Is(w.fault, fault) {
			t.Errorf("%s should be told %v, was told %v", who, fault, w.fault)
		}
	case <-time.After(patience):
		t.Errorf("%s still waits", who)
	}
}

// lives checks that nobody ended the session.
func (w *waiting) lives(t *testing.T, who string) {
	t.Helper()
	select {
	case <-w.ended:
		t.Errorf("%s: the session ended: %v", who, w.fault)
	default:
	}
}

// idle is a session in which nobody says anything.
type idle struct{ client, server *waiting }

// idler is a listener whose sessions are idle.
type idler struct {
	p *pair
	l net.Listener
	a string
}

func (p *pair) idler(t *testing.T, addr string) *idler {
	t.Helper()
	var l net.Listener
	p.host.must(p.host.do(func() (err error) { l, err = net.Listen("tcp", addr); return err }))
	t.Cleanup(func() { l.Close() })
	return &idler{p, l, addr}
}

func (i *idler) session(t *testing.T, from, to string) *idle {
	t.Helper()
	client, err := i.p.guest.dial("tcp", ap(from, 0), to)
	if err != nil {
		t.Fatal(err)
	}
	server, err := i.l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	return &idle{await(client), await(server)}
}

func (i *idle) end(t *testing.T, after time.Time) {
	t.Helper()
	i.client.end(t, "the guest", after, unix.ECONNRESET)
	i.server.end(t, "the server", after, unix.ECONNABORTED)
}

func (i *idle) lives(t *testing.T, what string) {
	t.Helper()
	i.client.lives(t, what+": guest")
	i.server.lives(t, what+": server")
}

// swept waits for the sweep that a change caused, which shows that what lives on was looked at.
func swept(t *testing.T, f *Firewall, before int64) {
	t.Helper()
	within(t, patience, "a sweep", func() bool { return f.hang.sweeps.Load() > before && f.hang.quiet() })
}

// quiet reports whether no sweep is due or running.
func (h *hanger) quiet() bool {
	n := h.ended.Load()
	return n == h.sweeps.Load()
}

func TestIdleSessionIsHungUpAtItsEnd(t *testing.T) {
	p := newPair(t)
	srv := p.idler(t, ":22")
	f := p.host.firewall(Config{})
	long := leaseOf("b", 22, anEnd, other4)
	want := ajar.Ruleset{Guard: guardOf(22), Allow: []ajar.Rule{leaseOf("a", 22, anEnd, guest4, guest6)}}
	apply(t, f, ajar.Ruleset{Guard: want.Guard, Allow: append(want.Allow, long)})
	four, six, other := srv.session(t, guest4, ap(host4, 22)), srv.session(t, guest6, ap(host6, 22)), srv.session(t, other4, ap(host4, 22))
	end := time.Now().Add(300 * time.Millisecond)
	apply(t, f, ajar.Ruleset{Guard: want.Guard, Allow: []ajar.Rule{leaseOf("a", 22, end, guest4, guest6), long}})
	four.end(t, end)
	six.end(t, end)
	other.lives(t, "another source's")
	if got := f.Status().HangUp; got != "on" {
		t.Errorf("status %q", got)
	}
}

func TestIdleSessionIsHungUpOnRevocation(t *testing.T) {
	p := newPair(t)
	srv := p.idler(t, ":22")
	f := p.host.firewall(Config{})
	want := ajar.Ruleset{Guard: guardOf(22), Allow: []ajar.Rule{leaseOf("a", 22, anEnd, guest4), leaseOf("b", 22, anEnd, other4)}}
	if err := f.ApplyAt(t.Context(), anyEndpoint, want, 1); err != nil {
		t.Fatal(err)
	}
	revoked, other := srv.session(t, guest4, ap(host4, 22)), srv.session(t, other4, ap(host4, 22))
	if err := f.Change(t.Context(), anyEndpoint, ajar.Delta{Base: 1, Rev: 2, Drop: []ajar.LeaseID{"a"}}); err != nil {
		t.Fatal(err)
	}
	revoked.end(t, time.Now())
	other.lives(t, "another source's")
	apply(t, f, ajar.Ruleset{Guard: guardOf(22)})
	other.end(t, time.Now())
}

// TestLateDropStillHangsUp: the plane takes a lease away in the instant between its end and the hanger's look.
func TestLateDropStillHangsUp(t *testing.T) {
	p := newPair(t)
	srv := p.idler(t, ":22")
	f := p.host.firewall(Config{})
	want := ajar.Ruleset{Guard: guardOf(22), Allow: []ajar.Rule{leaseOf("a", 22, anEnd, guest4)}}
	apply(t, f, want)
	s := srv.session(t, guest4, ap(host4, 22))
	end := ends(t, f, want)
	until(end)
	apply(t, f, ajar.Ruleset{Guard: guardOf(22)})
	s.end(t, end)
}

// TestExtensionKeepsIdleSession, and nothing is looked at for it.
func TestExtensionKeepsIdleSession(t *testing.T) {
	p := newPair(t)
	srv := p.idler(t, ":22")
	f := p.host.firewall(Config{})
	apply(t, f, ajar.Ruleset{Guard: guardOf(22)})
	swept(t, f, 0)
	want := func(end time.Time) ajar.Ruleset {
		return ajar.Ruleset{Guard: guardOf(22), Allow: []ajar.Rule{leaseOf("a", 22, end, guest4)}}
	}
	var s *idle
	var before int64
	var first, end time.Time
	for d := time.Second; !time.Now().Before(first); d *= 2 { // again, if the first end passed before it was extended
		apply(t, f, want(anEnd))
		s = srv.session(t, guest4, ap(host4, 22))
		within(t, patience, "quiet", f.hang.quiet)
		before = f.hang.sweeps.Load()
		first = time.Now().Add(d)
		end = first.Add(d)
		apply(t, f, want(first))
		apply(t, f, want(end))
	}
	until(first.Add(10 * afterEnd))
	n := f.hang.sweeps.Load()
	if time.Now().Before(end) { // a busy machine may come here late
		s.lives(t, "extended")
	}
	if time.Now().Before(end) && n != before {
		t.Errorf("%d sweeps though nothing ended", n-before)
	}
	s.end(t, end)
	if n := f.hang.sweeps.Load(); n != before+1 {
		t.Errorf("%d sweeps for one end", n-before)
	}
}

// TestManyEndsAreOneSweep: also on many ports, which are asked for together.
func TestManyEndsAreOneSweep(t *testing.T) {
	p := newPair(t)
	f := p.host.firewall(Config{})
	var ports []uint16
	var rules []ajar.Rule
	var ss []*idle
	for port := uint16(2000); port < 2040; port++ {
		ports = append(ports, port)
		rules = append(rules, leaseOf(ap("a", int(port)), port, anEnd, guest4))
	}
	want := ajar.Ruleset{Guard: guardOf(ports...), Allow: rules}
	apply(t, f, want)
	for _, port := range []uint16{2000, 2017, 2039} {
		ss = append(ss, p.idler(t, ap(host4, int(port))).session(t, guest4, ap(host4, int(port))))
	}
	unguarded := p.idler(t, ap(host4, 2040)).session(t, guest4, ap(host4, 2040))
	swept(t, f, 0)
	before := f.hang.sweeps.Load()
	end := ends(t, f, want)
	for _, s := range ss {
		s.end(t, end)
	}
	if n := f.hang.sweeps.Load(); n != before+1 {
		t.Errorf("%d sweeps for ends that fall together", n-before)
	}
	unguarded.lives(t, "unguarded port")
}

func TestDrainedIdleSessionIsHungUpAtTheHardStop(t *testing.T) {
	p := newPair(t)
	srv := p.idler(t, ":22")
	f := p.host.firewall(Config{})
	r := leaseOf("a", 22, anEnd, guest4)
	r.HardStop = r.Expires.Add(300 * time.Millisecond)
	want := ajar.Ruleset{Guard: guardOf(22), Allow: []ajar.Rule{r}}
	apply(t, f, want)
	s := srv.session(t, guest4, ap(host4, 22))
	swept(t, f, 0)
	before := f.hang.sweeps.Load()
	end := ends(t, f, want)
	swept(t, f, before)
	s.lives(t, "draining")
	s.end(t, end.Add(300*time.Millisecond))
}

func TestConfirmationHangsUpWhatWasSpared(t *testing.T) {
	p := newPair(t)
	srv := p.idler(t, ":22")
	stranger, guest := srv.session(t, guest4, ap(host4, 22)), srv.session(t, guest6, ap(host6, 22))
	f := p.host.firewall(Config{})
	lease := leaseOf("b", 22, anEnd, guest6)
	revoked := leaseOf("a", 22, anEnd, other4)
	apply(t, f, ajar.Ruleset{Guard: unconfirmed(time.Now().Add(time.Hour), 22), Allow: []ajar.Rule{lease, revoked}})
	apply(t, f, ajar.Ruleset{Guard: unconfirmed(time.Now().Add(time.Hour), 22), Allow: []ajar.Rule{lease}})
	swept(t, f, 0)
	stranger.lives(t, "spared")
	apply(t, f, ajar.Ruleset{Guard: guardOf(22), Allow: []ajar.Rule{lease}})
	stranger.end(t, time.Now())
	guest.lives(t, "with an opening")
}

// TestOwnCallsAreNeverHungUp: called from guarded ports that nobody listens at, and from one that is listened at, too.
func TestOwnCallsAreNeverHungUp(t *testing.T) {
	p := newPair(t)
	p.guest.serve("tcp", ":80")
	f := p.host.firewall(Config{})
	lease := leaseOf("a", 50000, anEnd, other4)
	want := ajar.Ruleset{Guard: guardOf(22, 50000), Allow: []ajar.Rule{lease}}
	apply(t, f, want)
	var calls []*waiting
	for from, to := range map[string]string{ap(host4, 50000): ap(guest4, 80), ap(host6, 50000): ap(guest6, 80), ap(host4, 22): ap(guest4, 80)} {
		c, err := p.host.dial("tcp", from, to)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		calls = append(calls, await(c))
	}
	shared := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) })
		return err
	}}
	p.host.serveWith(shared, "tcp", ":50000")
	p.guest.wantOpen(other4, ap(host4, 50000))
	swept(t, f, 0)
	for range 2 {
		// The second time conntrack has forgotten who began.
		before := f.hang.sweeps.Load()
		apply(t, f, ajar.Ruleset{Guard: want.Guard})
		swept(t, f, before)
		apply(t, f, want)
		p.host.forgetConnections()
	}
	for _, c := range calls {
		c.lives(t, "our own call")
		c.conn.Close()
	}
}

// TestTalkWithinTheHostIsNeverHungUp: over loopback, and between two addresses of the host.
func TestTalkWithinTheHostIsNeverHungUp(t *testing.T) {
	p := newPair(t)
	p.host.address("cable", []string{"10.7.0.9/24", "fd07::9/64"})
	p.host.serve("tcp", ":22")
	f := p.host.firewall(Config{})
	var own []*waiting
	for from, to := range map[string]string{"127.0.0.1": "127.0.0.1", "::1": "::1", "10.7.0.9": host4, "fd07::9": host6, host4: host4, "127.0.0.2": host4} {
		var c net.Conn
		// The kernel takes an IPv6 address for its own only a while after it was given it.
		within(t, 4*patience, "a connection within the host", func() (ok bool) {
			var err error
			c, err = p.host.dial("tcp", ap(from, 0), ap(to, 22))
			return err == nil
		})
		t.Cleanup(func() { c.Close() })
		own = append(own, await(c))
	}
	apply(t, f, ajar.Ruleset{Guard: guardOf(22)})
	swept(t, f, 0)
	for _, w := range own {
		w.lives(t, "talk within the host")
	}
}

// TestRedirectedSessionIsNotHungUpForAnotherPort: allowed by the port that the guest named, it ends in the socket of one
// that is closed.
func TestRedirectedSessionIsNotHungUpForAnotherPort(t *testing.T) {
	p := newPair(t)
	srv := p.idler(t, ":22")
	p.host.nft(`table ip nat {
		chain pre { type nat hook prerouting priority dstnat
			tcp dport 2222 redirect to :22
		}
	}`)
	f := p.host.firewall(Config{})
	named := leaseOf("a", 2222, anEnd, guest4)
	apply(t, f, ajar.Ruleset{Guard: guardOf(22, 2222), Allow: []ajar.Rule{named, leaseOf("b", 22, anEnd, other4)}})
	s, other := srv.session(t, guest4, ap(host4, 2222)), srv.session(t, other4, ap(host4, 22))
	apply(t, f, ajar.Ruleset{Guard: guardOf(22, 2222), Allow: []ajar.Rule{named}})
	other.end(t, time.Now())
	s.lives(t, "redirected")
	apply(t, f, ajar.Ruleset{Guard: guardOf(22, 2222)})
	f.mu.Lock()
	f.losing(anyBar) // its own port is not looked at for the named one's end
	f.mu.Unlock()
	f.hang.poke()
	s.end(t, time.Now())
}

// TestSuccessorHangsUpWhatEndedMeanwhile: the opening ended while no agent was alive.
func TestSuccessorHangsUpWhatEndedMeanwhile(t *testing.T) {
	p := newPair(t)
	srv := p.idler(t, ":22")
	f := p.host.firewall(Config{})
	other := leaseOf("b", 22, anEnd, other4)
	want := ajar.Ruleset{Guard: guardOf(22), Allow: []ajar.Rule{leaseOf("a", 22, anEnd, guest4), other}}
	apply(t, f, want)
	s, alive := srv.session(t, guest4, ap(host4, 22)), srv.session(t, other4, ap(host4, 22))
	end := time.Now().Add(100 * time.Millisecond)
	apply(t, f, ajar.Ruleset{Guard: guardOf(22), Allow: []ajar.Rule{leaseOf("a", 22, end, guest4), other}})
	f.Close()
	until(end.Add(10 * afterEnd))
	s.lives(t, "with the agent dead")
	f = p.host.firewall(Config{})
	apply(t, f, ajar.Ruleset{Guard: guardOf(22), Allow: []ajar.Rule{other}})
	s.end(t, time.Now())
	alive.lives(t, "another source's")
}

// TestKernelThatClosesNoSockets: it is said, and everything else goes on.
func TestKernelThatClosesNoSockets(t *testing.T) {
	h := newHanger(&Firewall{kernel: "4.4"})
	h.noted(unix.EOPNOTSUPP)
	if h.status() == "on" {
		t.Error("it should say why not")
	}
	h.noted(nil)
}

// TestIdleSessionThatConntrackForgotIsHungUp: the server spoke first after a flush, so that conntrack takes us for the beginner.
func TestIdleSessionThatConntrackForgotIsHungUp(t *testing.T) {
	p := newPair(t)
	p.host.sysctl("netfilter/nf_conntrack_tcp_loose", "1")
	srv := p.idler(t, ":22")
	f := p.host.firewall(Config{})
	apply(t, f, ajar.Ruleset{Guard: guardOf(22), Allow: []ajar.Rule{leaseOf("a", 22, anEnd, guest4)}})
	client, err := p.guest.dial("tcp", ap(guest4, 0), ap(host4, 22))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := srv.l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	p.host.forgetConnections()
	if err := passes(server, client, patience); err != nil {
		t.Fatal(err)
	}
	s := &idle{await(client), await(server)}
	end := time.Now()
	apply(t, f, ajar.Ruleset{Guard: guardOf(22)})
	s.end(t, end)
}
