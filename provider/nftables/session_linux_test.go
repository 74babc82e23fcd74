package nftables

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"golang.org/x/sys/unix"
)

// early and tardy bound the end of a session against a deadline: it lies between the moment at which the last word was sent
// that came back, and the one at which the next had failed. The kernel ends an element within one tick before it; what is
// beyond that here leaves room for a busy machine.
const (
	early = 500 * time.Millisecond
	tardy = 150 * time.Millisecond
)

// ends applies want with the end of all its rules a little from now, so that what came before took as long as it liked.
func ends(t *testing.T, f *Firewall, want ajar.Ruleset) time.Time {
	t.Helper()
	end := time.Now().Add(700 * time.Millisecond)
	for i, r := range want.Allow {
		want.Allow[i].Expires, want.Allow[i].HardStop = end, end.Add(r.HardStop.Sub(r.Expires))
	}
	apply(t, f, want)
	return end
}

func wantEnd(t *testing.T, what string, k *keeper, last, end time.Time) {
	t.Helper()
	if k.gone.Before(end.Add(-early)) || last.After(end.Add(tardy)) {
		t.Errorf("%s: it ended between %v and %v after the deadline", what, last.Sub(end), k.gone.Sub(end))
	}
}

// wantSilence is wantEnd for what was read, which may have lain there for a while: for as long as the reader was held up, too.
func wantSilence(t *testing.T, what string, h heard, end time.Time) {
	t.Helper()
	if d := h.last.Sub(end); d < -early-h.heldUp || d > time.Second+h.heldUp {
		t.Errorf("%s: last word %v after the deadline", what, d)
	}
}

// TestSessionIsCutAtExpiryByTheKernelAlone: another table accepts what is established, conntrack picks up in the middle,
// and no process of ours is left.
func TestSessionIsCutAtExpiryByTheKernelAlone(t *testing.T) {
	p := newPair(t)
	p.host.serve("tcp", ":22")
	p.host.nft(acceptsEstablished)
	p.host.sysctl("netfilter/nf_conntrack_tcp_loose", "1")
	f := p.host.firewall(Config{})
	want := ajar.Ruleset{Guard: guardOf(22), Allow: []ajar.Rule{leaseOf("a", 22, time.Now().Add(time.Hour), guest4, guest6)}}
	apply(t, f, want)
	var ks []*keeper
	for from, to := range map[string]string{guest4: host4, guest6: host6} {
		c, err := p.guest.dial("tcp", ap(from, 0), ap(to, 22))
		if err != nil {
			t.Fatal(err)
		}
		ks = append(ks, keep(c))
	}
	end := ends(t, f, want)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for _, k := range ks {
		last, err := k.ended(t)
		wantEnd(t, "session", k, last, end)
		// A client that was only waiting is told when it speaks.
		if !errors.Is(err, unix.ECONNRESET) {
			err = talks(k.conn)
		}
		if !errors.Is(err, unix.ECONNRESET) {
			t.Errorf("the client should see a reset, saw %v", err)
		}
	}
	p.guest.wantRefused(guest4, ap(host4, 22))
}

// TestServersSideIsCutToo: the server talks without being asked.
func TestServersSideIsCutToo(t *testing.T) {
	p := newPair(t)
	p.host.nft(acceptsEstablished)
	ended := p.host.chatter(":22")
	f := p.host.firewall(Config{})
	want := ajar.Ruleset{Guard: guardOf(22), Allow: []ajar.Rule{leaseOf("a", 22, time.Now().Add(time.Hour), guest4)}}
	apply(t, f, want)
	c, err := p.guest.dial("tcp", ap(guest4, 0), ap(host4, 22))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	end := ends(t, f, want)
	f.Close()
	wantSilence(t, "server's last byte at the client", listen(c, end.Add(2*time.Second)), end)
	select {
	case err := <-ended:
		if !errors.Is(err, unix.ECONNRESET) {
			t.Errorf("the server should see a reset, saw %v", err)
		}
	case <-time.After(patience):
		t.Error("the server still talks")
	}
}

// chatter serves words without end on addr to one client, and tells how it ended.
func (m *machine) chatter(addr string) chan error {
	m.t.Helper()
	var l net.Listener
	m.must(m.do(func() (err error) { l, err = net.Listen("tcp", addr); return err }))
	m.t.Cleanup(func() { l.Close() })
	ended := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for range tick.C {
			if _, err := c.Write([]byte("word")); err != nil {
				ended <- err
				return
			}
		}
	}()
	return ended
}

// heard is when the last byte was read, and how long at most this process did not get its turn meanwhile.
type heard struct {
	last   time.Time
	heldUp time.Duration
}

// listen reads until nothing more comes.
func listen(c net.Conn, limit time.Time) (h heard) {
	quit, held := make(chan struct{}), make(chan time.Duration)
	go func() {
		const beat = 10 * time.Millisecond
		pulse := time.NewTicker(beat)
		defer pulse.Stop()
		var most time.Duration
		for at := time.Now(); ; {
			select {
			case <-pulse.C:
				now := time.Now()
				most = max(most, now.Sub(at)-beat)
				at = now
			case <-quit:
				held <- most
				return
			}
		}
	}()
	c.SetReadDeadline(limit)
	b := make([]byte, 4096)
	for {
		if _, err := c.Read(b); err != nil {
			close(quit)
			h.heldUp = <-held
			return h
		}
		h.last = time.Now()
	}
}

// TestSessionThatConntrackForgotIsCut: somebody flushes conntrack and the server speaks first, so that conntrack takes
// the server for the side that began.
func TestSessionThatConntrackForgotIsCut(t *testing.T) {
	p := newPair(t)
	p.host.nft(acceptsEstablished)
	p.host.sysctl("netfilter/nf_conntrack_tcp_loose", "1")
	p.host.chatter(":22")
	f := p.host.firewall(Config{})
	apply(t, f, ajar.Ruleset{Guard: guardOf(22), Allow: []ajar.Rule{leaseOf("a", 22, time.Now().Add(time.Hour), guest4)}})
	c, err := p.guest.dial("tcp", ap(guest4, 0), ap(host4, 22))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 3 {
		p.host.forgetConnections()
		if _, err := io.ReadFull(c, make([]byte, 400)); err != nil {
			t.Fatalf("a live session must survive conntrack's flush: %v", err)
		}
	}
	end := time.Now().Add(300 * time.Millisecond)
	apply(t, f, ajar.Ruleset{Guard: guardOf(22), Allow: []ajar.Rule{leaseOf("a", 22, end, guest4)}})
	wantSilence(t, "session", listen(c, end.Add(2*time.Second)), end)
}

func TestExtensionLosesNothing(t *testing.T) {
	p := newPair(t)
	p.host.serve("tcp", ":22")
	f := p.host.firewall(Config{})
	want := ajar.Ruleset{Guard: guardOf(22), Allow: []ajar.Rule{leaseOf("a", 22, time.Now().Add(time.Minute), guest4)}}
	if err := f.ApplyAt(t.Context(), anyEndpoint, want, 1); err != nil {
		t.Fatal(err)
	}
	c, err := p.guest.dial("tcp", ap(guest4, 0), ap(host4, 22))
	if err != nil {
		t.Fatal(err)
	}
	k := keep(c)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	rev := uint64(1)
	until := func(end time.Time) {
		t.Helper()
		d := ajar.Delta{Base: rev, Rev: rev + 1, Put: []ajar.Rule{leaseOf("a", 22, end, guest4)}}
		if err := f.Change(t.Context(), anyEndpoint, d); err != nil {
			t.Fatal(err)
		}
		rev++
	}
	for i := range 200 {
		<-tick.C
		until(time.Now().Add(time.Minute))
		if i%40 == 0 {
			p.guest.wantOpen(guest4, ap(host4, 22))
		}
	}
	k.lives(t, "extended 200 times")
	end := time.Now().Add(time.Second)
	until(end)
	last, _ := k.ended(t)
	wantEnd(t, "extended session", k, last, end)
}

func TestDrainLetsLiveSessionsGoOnUntilTheHardStop(t *testing.T) {
	p := newPair(t)
	p.host.serve("tcp", ":22")
	p.host.nft(acceptsEstablished)
	f := p.host.firewall(Config{})
	r := leaseOf("a", 22, time.Now().Add(time.Hour), guest4)
	r.HardStop = r.Expires.Add(time.Second)
	want := ajar.Ruleset{Guard: guardOf(22), Allow: []ajar.Rule{r}}
	apply(t, f, want)
	c, err := p.guest.dial("tcp", ap(guest4, 0), ap(host4, 22))
	if err != nil {
		t.Fatal(err)
	}
	k := keep(c)
	end := ends(t, f, want)
	stop := end.Add(time.Second)
	f.Close()
	until(end.Add(10 * time.Millisecond))
	p.guest.wantRefused(guest4, ap(host4, 22))
	k.lives(t, "draining")
	last, _ := k.ended(t)
	wantEnd(t, "drained session", k, last, stop)
}

// TestRuleThatExpiredDrainsOnly: an agent that comes back finds the opening over and the session still entitled.
func TestRuleThatExpiredDrainsOnly(t *testing.T) {
	p := newPair(t)
	p.host.serve("tcp", ":22")
	f := p.host.firewall(Config{})
	r := leaseOf("a", 22, time.Now().Add(time.Hour), "10.7.0.0/24")
	apply(t, f, ajar.Ruleset{Guard: guardOf(22), Allow: []ajar.Rule{r}})
	c, err := p.guest.dial("tcp", ap(guest4, 0), ap(host4, 22))
	if err != nil {
		t.Fatal(err)
	}
	k := keep(c)
	r.Expires, r.HardStop = time.Now().Add(-time.Second), time.Now().Add(time.Second)
	apply(t, f, ajar.Ruleset{Guard: guardOf(22), Allow: []ajar.Rule{r}})
	p.guest.wantRefused(guest4, ap(host4, 22))
	k.lives(t, "draining")
	last, _ := k.ended(t)
	wantEnd(t, "drained session", k, last, r.HardStop)
}

func TestRevokeCutsAtOnce(t *testing.T) {
	p := newPair(t)
	p.host.serve("tcp", ":22")
	f := p.host.firewall(Config{})
	apply(t, f, ajar.Ruleset{Guard: guardOf(22), Allow: []ajar.Rule{leaseOf("a", 22, time.Now().Add(time.Hour), guest4)}})
	c, err := p.guest.dial("tcp", ap(guest4, 0), ap(host4, 22))
	if err != nil {
		t.Fatal(err)
	}
	k := keep(c)
	apply(t, f, ajar.Ruleset{Guard: guardOf(22)})
	at := time.Now()
	last, _ := k.ended(t)
	wantEnd(t, "revoked session", k, last, at)
}

// TestLeasesShareAnElement: the port stays open for a source while any of its leases lives.
func TestLeasesShareAnElement(t *testing.T) {
	p := newPair(t)
	p.host.serve("tcp", ":22")
	f := p.host.firewall(Config{})
	long := time.Now().Add(time.Hour)
	a, b := leaseOf("a", 22, long, guest4), leaseOf("b", 22, long.Add(time.Minute), guest4, other4)
	apply(t, f, ajar.Ruleset{Guard: guardOf(22), Allow: []ajar.Rule{a, b}})
	apply(t, f, ajar.Ruleset{Guard: guardOf(22), Allow: []ajar.Rule{a}})
	p.guest.wantOpen(guest4, ap(host4, 22))
	p.guest.wantRefused(other4, ap(host4, 22))
	if got, err := f.Observe(t.Context(), anyEndpoint); err != nil || len(got.Allow) != 1 || !got.Allow[0].Same(a) {
		t.Errorf("observed %v, %v", got, err)
	}
}

// redirect puts a container behind the host, reached by DNAT on the host's own port.
func redirect(t *testing.T, p *pair) *machine {
	t.Helper()
	box := newMachine(t)
	p.host.link("box", []string{"172.30.0.1/24", "fd30::1/64"}, box, []string{"172.30.0.2/24", "fd30::2/64"})
	box.route("0.0.0.0/0", "172.30.0.1")
	box.route("::/0", "fd30::1")
	p.host.sysctl("ipv4/ip_forward", "1")
	p.host.sysctl("ipv6/conf/all/forwarding", "1")
	p.host.nft(fmt.Sprintf(`table inet docker {
		chain pre { type nat hook prerouting priority dstnat
			ip daddr %s tcp dport 8022 dnat ip to 172.30.0.2:22
			ip6 daddr %s tcp dport 8022 dnat ip6 to [fd30::2]:22
		}
		chain post { type nat hook postrouting priority srcnat
			oifname box masquerade
		}
		chain forward { type filter hook forward priority filter; policy drop
			ct state established,related accept
			ct status dnat accept
		}
	}`, host4, host6))
	return box
}

func TestRedirectedPortIsDecidedByWhatTheClientNamed(t *testing.T) {
	p := newPair(t)
	box := redirect(t, p)
	box.serve("tcp", ":22")
	p.host.serve("tcp", ":22")
	p.guest.wantOpen(guest4, ap(host4, 8022))
	f := p.host.firewall(Config{})
	apply(t, f, ajar.Ruleset{Guard: guardOf(22)})
	p.guest.wantOpen(guest4, ap(host4, 8022)) // the container's own 22 is nobody's guarded port
	p.guest.wantOpen(guest6, ap(host6, 8022))
	apply(t, f, ajar.Ruleset{Guard: guardOf(22, 8022)})
	p.guest.wantRefused(guest4, ap(host4, 8022))
	p.guest.wantRefused(guest6, ap(host6, 8022))
	apply(t, f, ajar.Ruleset{Guard: guardOf(22, 8022), Allow: []ajar.Rule{leaseOf("a", 8022, time.Now().Add(time.Hour), guest4, guest6)}})
	p.guest.wantOpen(guest4, ap(host4, 8022))
	p.guest.wantOpen(guest6, ap(host6, 8022))
	p.guest.wantRefused(other4, ap(host4, 8022))
	p.guest.wantRefused(guest4, ap(host4, 22))
}

func TestRedirectedSessionIsCutBothWaysByTheKernelAlone(t *testing.T) {
	for us, them := range map[string]string{host4: guest4, host6: guest6} {
		p := newPair(t)
		box := redirect(t, p)
		ended := box.chatter(":22")
		f := p.host.firewall(Config{})
		want := ajar.Ruleset{Guard: guardOf(8022), Allow: []ajar.Rule{leaseOf("a", 8022, time.Now().Add(time.Hour), them)}}
		apply(t, f, want)
		c, err := p.guest.dial("tcp", ap(them, 0), ap(us, 8022))
		if err != nil {
			t.Fatal(err)
		}
		end := ends(t, f, want)
		f.Close()
		wantSilence(t, "container's last byte at the client", listen(c, end.Add(2*time.Second)), end)
		select {
		case err := <-ended:
			if !errors.Is(err, unix.ECONNRESET) {
				t.Errorf("the container should see a reset, saw %v", err)
			}
		case <-time.After(patience):
			t.Error("the container still talks")
		}
		c.Close()
	}
}

// TestRedirectedToOurself: what is redirected to another port of the host is decided by the port that was named.
func TestRedirectedToOurself(t *testing.T) {
	p := newPair(t)
	p.host.serve("tcp", ":22")
	p.host.nft(`table ip nat {
		chain pre { type nat hook prerouting priority dstnat
			tcp dport 2222 redirect to :22
		}
	}`)
	f := p.host.firewall(Config{})
	apply(t, f, ajar.Ruleset{Guard: guardOf(22)})
	p.guest.wantOpen(guest4, ap(host4, 2222))
	p.guest.wantRefused(guest4, ap(host4, 22))
	want := ajar.Ruleset{Guard: guardOf(22, 2222), Allow: []ajar.Rule{leaseOf("a", 2222, time.Now().Add(time.Hour), guest4)}}
	apply(t, f, want)
	c, err := p.guest.dial("tcp", ap(guest4, 0), ap(host4, 2222))
	if err != nil {
		t.Fatal(err)
	}
	k := keep(c)
	end := ends(t, f, want)
	last, _ := k.ended(t)
	wantEnd(t, "redirected session", k, last, end)
	p.guest.wantRefused(guest4, ap(host4, 2222))
}

// before makes a connection that is older than anything of ours, with the server's side in hand.
func (p *pair) before(t *testing.T, from, to string) (client, server net.Conn) {
	t.Helper()
	var l net.Listener
	p.host.must(p.host.do(func() (err error) { l, err = net.Listen("tcp", to); return err }))
	t.Cleanup(func() { l.Close() })
	client, err := p.guest.dial("tcp", ap(from, 0), to)
	if err != nil {
		t.Fatal(err)
	}
	server, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

// passes sends one way and reports whether it arrived.
func passes(from, to net.Conn, limit time.Duration) error {
	if _, err := from.Write([]byte("word")); err != nil {
		return err
	}
	to.SetReadDeadline(time.Now().Add(limit))
	_, err := io.ReadFull(to, make([]byte, 4))
	return err
}

// TestGuardCutsConnectionsThatConntrackNeverSaw: whichever side speaks first, and is thus taken for the beginner.
func TestGuardCutsConnectionsThatConntrackNeverSaw(t *testing.T) {
	for us, them := range map[string]string{host4: guest4, host6: guest6} {
		for _, serverFirst := range []bool{true, false} {
			p := newPair(t)
			client, server := p.before(t, them, ap(us, 22))
			f := p.host.firewall(Config{})
			apply(t, f, ajar.Ruleset{Guard: guardOf(22)})
			a, b := client, server
			if serverFirst {
				a, b = b, a
			}
			for range 3 {
				if passes(a, b, 100*time.Millisecond) == nil || passes(b, a, 100*time.Millisecond) == nil {
					t.Fatalf("server first %v: a connection from before the guard goes on", serverFirst)
				}
			}
		}
	}
}

// TestGuardSparesConnectionsWithAnOpening: also where conntrack has them the wrong way round.
func TestGuardSparesConnectionsWithAnOpening(t *testing.T) {
	p := newPair(t)
	client, server := p.before(t, guest4, ap(host4, 22))
	f := p.host.firewall(Config{})
	want := ajar.Ruleset{Guard: guardOf(22), Allow: []ajar.Rule{leaseOf("a", 22, time.Now().Add(time.Hour), guest4)}}
	apply(t, f, want)
	for range 3 {
		if err := errors.Join(passes(server, client, patience), passes(client, server, patience)); err != nil {
			t.Fatal(err)
		}
	}
	until(ends(t, f, want))
	if passes(server, client, 100*time.Millisecond) == nil || passes(client, server, 100*time.Millisecond) == nil {
		t.Error("the connection outlives its opening")
	}
}

func unconfirmed(by time.Time, ports ...uint16) []ajar.Guard {
	gs := guardOf(ports...)
	for i := range gs {
		gs[i].ConfirmBy = by
	}
	return gs
}

func TestGraceSparesLiveConnectionsUntilConfirmed(t *testing.T) {
	for _, serverFirst := range []bool{true, false} {
		p := newPair(t)
		client, server := p.before(t, guest4, ap(host4, 22))
		client6, server6 := p.before(t, guest6, ap(host6, 22))
		f := p.host.firewall(Config{})
		apply(t, f, ajar.Ruleset{Guard: unconfirmed(time.Now().Add(time.Hour), 22)})
		for range 3 {
			a, b, a6, b6 := client, server, client6, server6
			if serverFirst {
				a, b, a6, b6 = b, a, b6, a6
			}
			err := errors.Join(passes(a, b, patience), passes(b, a, patience), passes(a6, b6, patience), passes(b6, a6, patience))
			if err != nil {
				t.Fatalf("server first %v: a live connection was not spared: %v", serverFirst, err)
			}
		}
		p.guest.wantRefused(guest4, ap(host4, 22)) // new ones are not
		apply(t, f, ajar.Ruleset{Guard: guardOf(22), Allow: []ajar.Rule{leaseOf("a", 22, time.Now().Add(time.Hour), guest6)}})
		if err := errors.Join(passes(client6, server6, patience), passes(server6, client6, patience)); err != nil {
			t.Errorf("the one with an opening should go on: %v", err)
		}
		if passes(client, server, 100*time.Millisecond) == nil || passes(server, client, 100*time.Millisecond) == nil {
			t.Error("the one without an opening should be cut on confirmation")
		}
	}
}

// TestGraceSparesRedirectedConnections: conntrack alone knows those.
func TestGraceSparesRedirectedConnections(t *testing.T) {
	p := newPair(t)
	box := redirect(t, p)
	box.serve("tcp", ":22")
	c, err := p.guest.dial("tcp", ap(guest4, 0), ap(host4, 8022))
	if err != nil {
		t.Fatal(err)
	}
	f := p.host.firewall(Config{})
	apply(t, f, ajar.Ruleset{Guard: unconfirmed(time.Now().Add(time.Hour), 8022)})
	for range 3 {
		if err := talks(c); err != nil {
			t.Fatal(err)
		}
	}
	p.guest.wantRefused(guest4, ap(host4, 8022))
	apply(t, f, ajar.Ruleset{Guard: guardOf(8022)})
	if err := talks(c); err == nil {
		t.Error("not cut on confirmation")
	}
}

// TestUnconfirmedGuardLiftsItself: also if nobody is left to do it.
func TestUnconfirmedGuardLiftsItself(t *testing.T) {
	p := newPair(t)
	client, server := p.before(t, guest4, ap(host4, 22))
	p.host.serve("tcp", ap(host6, 22))
	f := p.host.firewall(Config{})
	apply(t, f, ajar.Ruleset{Guard: unconfirmed(time.Now().Add(time.Hour), 22)})
	p.guest.wantRefused(guest6, ap(host6, 22))
	by := time.Now().Add(time.Second)
	apply(t, f, ajar.Ruleset{Guard: unconfirmed(by, 22)}) // its time may be moved
	f.Close()
	until(by)
	p.guest.wantOpen(guest6, ap(host6, 22))
	if err := errors.Join(passes(client, server, patience), passes(server, client, patience)); err != nil {
		t.Errorf("the spared connection: %v", err)
	}
}

func TestPreviewTellsWhatAGuardWouldCut(t *testing.T) {
	p := newPair(t)
	client, _ := p.before(t, guest4, ap(host4, 22))
	p.before(t, guest6, ap(host6, 22))
	p.host.serve("tcp", "127.0.0.1:22")
	f := p.host.firewall(Config{})
	apply(t, f, ajar.Ruleset{Guard: guardOf(80), Allow: []ajar.Rule{leaseOf("a", 22, time.Now().Add(time.Hour), guest6)}})
	im, err := f.Preview(t.Context(), anyEndpoint, guardOf(22))
	if err != nil {
		t.Fatal(err)
	}
	if len(im.Listening) != 2 || im.Listening[0].Address != netip.MustParseAddr(host4) || im.Listening[0].Process == "" {
		t.Errorf("listening: %+v", im.Listening)
	}
	if len(im.Connections) != 1 || im.Connections[0].Remote.String() != client.LocalAddr().String() || im.Connections[0].Port.Number != 22 {
		t.Errorf("connections: %+v", im.Connections)
	}
	if err := talksOnce(client); err != nil {
		t.Errorf("a preview changes nothing: %v", err)
	}
}

func talksOnce(c net.Conn) error {
	_, err := c.Write([]byte("word"))
	return err
}
