package nftables

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Ways around the guard that a kernel offers, each tried with real packets.

func udpGuard(port uint16) []ajar.Guard { return []ajar.Guard{{Flow: flowAt(port, ajar.UDP)}} }

func udpLease(port uint16, end time.Time, sources ...string) ajar.Rule {
	r := leaseOf("udp", port, end, sources...)
	r.Port.Protocol = ajar.UDP
	return r
}

// socketOf has fn set options of a socket before it is used.
func socketOf(fn func(fd int) error) func(string, string, syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) (err error) {
		if cerr := c.Control(func(fd uintptr) { err = fn(int(fd)) }); cerr != nil {
			return cerr
		}
		return err
	}
}

// TestFragmentsDoNotSlip: a datagram that is larger than the link, of which only the first piece names the port.
func TestFragmentsDoNotSlip(t *testing.T) {
	p := newPair(t)
	for _, h := range []string{host4, host6} {
		p.host.serveUDP(ap(h, 161))
	}
	f := p.host.firewall(Config{})
	apply(t, f, ajar.Ruleset{Guard: udpGuard(161)})
	big := func(from, to string) error {
		c, err := p.guest.dial("udp", ap(from, 0), ap(to, 161))
		if err != nil {
			return err
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		if _, err := c.Write(make([]byte, 1900)); err != nil {
			return err
		}
		n, err := c.Read(make([]byte, 4000))
		if err == nil && n != 1900 {
			err = fmt.Errorf("%d bytes came back", n)
		}
		return err
	}
	for from, to := range map[string]string{guest4: host4, guest6: host6} {
		if err := big(from, to); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("%s: in pieces: %v", from, err)
		}
	}
	apply(t, f, ajar.Ruleset{Guard: udpGuard(161), Allow: []ajar.Rule{udpLease(161, anEnd, guest4, guest6)}})
	for from, to := range map[string]string{guest4: host4, guest6: host6} {
		if err := big(from, to); err != nil {
			t.Errorf("%s: in pieces, with an opening: %v", from, err)
		}
	}
	for from, to := range map[string]string{other4: host4, other6: host6} {
		if err := big(from, to); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("%s: in pieces: %v", from, err)
		}
	}
}

// TestExtensionHeadersDoNotSlip: in IPv6 the port may stand behind other headers.
func TestExtensionHeadersDoNotSlip(t *testing.T) {
	p := newPair(t)
	p.host.serve("tcp", ":22")
	f := p.host.firewall(Config{})
	const padding = "\x00\x00" + "\x01\x04\x00\x00\x00\x00" // eight bytes: what follows, filled in by the kernel; no more; PadN
	for name, option := range map[string]int{"hop by hop": unix.IPV6_HOPOPTS, "destination": unix.IPV6_DSTOPTS} {
		call := func(from string) error {
			d := net.Dialer{Timeout: patience, LocalAddr: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(ap(from, 0)))}
			d.Control = socketOf(func(fd int) error { return unix.SetsockoptString(fd, unix.IPPROTO_IPV6, option, padding) })
			return p.guest.do(func() error {
				c, err := d.Dial("tcp", ap(host6, 22))
				if err == nil {
					err = talks(c)
					c.Close()
				}
				return err
			})
		}
		apply(t, f, ajar.Ruleset{})
		if err := call(guest6); err != nil {
			t.Fatalf("%s, without a guard: %v", name, err)
		}
		apply(t, f, ajar.Ruleset{Guard: guardOf(22), Allow: []ajar.Rule{leaseOf("a", 22, anEnd, guest6)}})
		if err := call(guest6); err != nil {
			t.Errorf("%s: with an opening: %v", name, err)
		}
		if err := call(other6); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("%s: a stranger: %v", name, err)
		}
	}
}

// TestRoutingHeadersDoNotSlip: a packet that is sent to one address of the host and from there on to another one, which alone is
// guarded.
func TestRoutingHeadersDoNotSlip(t *testing.T) {
	p := newPair(t)
	p.host.address("cable", []string{"fd07::11/64"})
	p.guest.knows("cable", p.host, []string{"fd07::11/64"})
	p.host.serve("tcp", "[fd07::11]:22")
	p.host.serve("tcp", ap(host6, 80))
	for _, conf := range []string{"all", "cable"} {
		p.host.sysctl("ipv6/conf/"+conf+"/seg6_enabled", "1")
	}
	final := netip.MustParseAddr("fd07::11").As16()
	first := netip.MustParseAddr(host6).As16()
	header := string([]byte{0, 4, 4, 1, 1, 0, 0, 0}) + string(final[:]) + string(first[:])
	call := func(from string, wait time.Duration) error {
		d := net.Dialer{Timeout: wait, LocalAddr: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(ap(from, 0)))}
		d.Control = socketOf(func(fd int) error { return unix.SetsockoptString(fd, unix.IPPROTO_IPV6, unix.IPV6_RTHDR, header) })
		return p.guest.do(func() error {
			c, err := d.Dial("tcp", "[fd07::11]:22")
			if err == nil {
				err = talks(c)
				c.Close()
			}
			return err
		})
	}
	if err := call(guest6, patience); err != nil {
		t.Fatalf("without a guard: %v", err)
	}
	f := p.host.firewall(Config{})
	one := guardOf(22)
	one[0].Dest = netip.MustParseAddr("fd07::11")
	for name, g := range map[string][]ajar.Guard{"all": guardOf(22), "one": one} {
		apply(t, f, ajar.Ruleset{Guard: g})
		if err := p.guest.open("tcp", guest6, "[fd07::11]:22"); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("%s: %v", name, err)
		}
		if err := call(guest6, 300*time.Millisecond); err == nil {
			t.Errorf("guard of %s: by a detour it is open", name)
		}
	}
}

// TestUnusualBeginningsDoNotSlip: SYN cookies, data in the SYN, and several paths in one session.
func TestUnusualBeginningsDoNotSlip(t *testing.T) {
	p := newPair(t)
	p.host.sysctl("ipv4/tcp_syncookies", "2")  // always
	p.host.sysctl("ipv4/tcp_fastopen", "1027") // whoever comes, without a cookie
	p.guest.sysctl("ipv4/tcp_fastopen", "5")
	got := make(chan string, 64)
	var l net.Listener
	p.host.must(p.host.do(func() (err error) {
		lc := net.ListenConfig{Control: socketOf(func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_TCP, unix.TCP_FASTOPEN, 16) })}
		l, err = lc.Listen(t.Context(), "tcp", ":22")
		return err
	}))
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				b := make([]byte, 64)
				n, _ := c.Read(b)
				got <- c.RemoteAddr().(*net.TCPAddr).IP.String() + " " + string(b[:n])
				c.Write(b[:n])
			}()
		}
	}()
	f := p.host.firewall(Config{})
	apply(t, f, ajar.Ruleset{Guard: guardOf(22), Allow: []ajar.Rule{leaseOf("a", 22, anEnd, guest4)}})
	fast := func(from string) error {
		d := net.Dialer{Timeout: patience, LocalAddr: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(ap(from, 0)))}
		d.Control = socketOf(func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_TCP, unix.TCP_FASTOPEN_CONNECT, 1) })
		return p.guest.do(func() error {
			c, err := d.Dial("tcp", ap(host4, 22))
			if err == nil {
				err = talks(c)
				c.Close()
			}
			return err
		})
	}
	p.guest.wantOpen(guest4, ap(host4, 22))
	p.guest.wantRefused(other4, ap(host4, 22))
	if err := fast(guest4); err != nil {
		t.Errorf("data in the SYN, with an opening: %v", err)
	}
	if err := fast(other4); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("data in a stranger's SYN: %v", err)
	}
	for len(got) > 0 {
		if who := <-got; strings.HasPrefix(who, other4) {
			t.Errorf("the server heard of a stranger: %q", who)
		}
	}
}

// TestSeveralPathsAreJudgedEach: a multipath session is open along the path that was granted and no other, and ends with it.
func TestSeveralPathsAreJudgedEach(t *testing.T) {
	p := newPair(t)
	var l net.Listener
	p.host.must(p.host.do(func() (err error) {
		lc := net.ListenConfig{}
		lc.SetMultipathTCP(true)
		l, err = lc.Listen(t.Context(), "tcp", ":22")
		return err
	}))
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for b := make([]byte, 64); ; {
					n, err := c.Read(b)
					if err != nil {
						return
					}
					c.Write(b[:n])
				}
			}()
		}
	}()
	f := p.host.firewall(Config{})
	want := ajar.Ruleset{Guard: guardOf(22), Allow: []ajar.Rule{leaseOf("a", 22, anEnd, guest4)}}
	apply(t, f, want)
	dial := func(from string) (net.Conn, error) {
		d := net.Dialer{Timeout: patience, LocalAddr: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(ap(from, 0)))}
		d.SetMultipathTCP(true)
		var c net.Conn
		err := p.guest.do(func() (err error) { c, err = d.Dial("tcp", ap(host4, 22)); return err })
		return c, err
	}
	if _, err := dial(other4); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("a stranger: %v", err)
	}
	c, err := dial(guest4)
	if err != nil {
		t.Fatal(err)
	}
	if multi, err := c.(*net.TCPConn).MultipathTCP(); err != nil || !multi {
		t.Log("this kernel has no multipath TCP")
	}
	k := keep(c)
	end := ends(t, f, want)
	last, _ := k.ended(t)
	wantEnd(t, "multipath session", k, last, end)
}

// TestZonesChangeNothing: an administrator has conntrack keep this traffic in a zone of its own.
func TestZonesChangeNothing(t *testing.T) {
	p := newPair(t)
	p.host.serve("tcp", ":22")
	p.guest.serve("tcp", ":80")
	p.host.nft(`table inet zones {
		chain pre { type filter hook prerouting priority -300
			ct zone set 5
		}
		chain out { type filter hook output priority -300
			ct zone set 5
		}
	}`)
	f := p.host.firewall(Config{})
	waiting := p.idler(t, ":3389")
	want := ajar.Ruleset{Guard: guardOf(22, 3389, 50000), Allow: []ajar.Rule{leaseOf("a", 22, anEnd, guest4), leaseOf("b", 3389, anEnd, guest4)}}
	apply(t, f, want)
	p.guest.wantRefused(other4, ap(host4, 22))
	own, err := p.host.dial("tcp", ap(host4, 50000), ap(guest4, 80))
	if err != nil {
		t.Fatalf("the host's own call: %v", err)
	}
	defer own.Close()
	c, err := p.guest.dial("tcp", ap(guest4, 0), ap(host4, 22))
	if err != nil {
		t.Fatal(err)
	}
	k := keep(c)
	s := waiting.session(t, guest4, ap(host4, 3389))
	end := ends(t, f, want)
	last, _ := k.ended(t)
	wantEnd(t, "session in a zone", k, last, end)
	s.end(t, end)
	if err := talks(own); err != nil {
		t.Errorf("the host's own call: %v", err)
	}
}

// TestOtherLinksAreGuardedAlike: bridges, a macvlan of the host's own, and a tunnel that ends here.
func TestOtherLinksAreGuardedAlike(t *testing.T) {
	p := newPair(t)
	p.host.serve("tcp", ":22")
	cable, err := p.host.h.LinkByName("cable")
	p.host.must(err)
	far, err := p.guest.h.LinkByName("cable")
	p.guest.must(err)
	p.host.must(p.host.h.LinkAdd(&netlink.Macvlan{LinkAttrs: netlink.LinkAttrs{Name: "mac", ParentIndex: cable.Attrs().Index}, Mode: netlink.MACVLAN_MODE_BRIDGE}))
	p.host.address("mac", []string{"10.8.0.1/24"})
	p.guest.address("cable", []string{"10.8.0.2/24"})
	for i, m := range []*machine{p.host, p.guest} {
		v := &netlink.Vxlan{LinkAttrs: netlink.LinkAttrs{Name: "tunnel"}, VxlanId: 7, Port: 4789, VtepDevIndex: []netlink.Link{cable, far}[i].Attrs().Index,
			SrcAddr: net.ParseIP([]string{host4, guest4}[i]), Group: net.ParseIP([]string{guest4, host4}[i])}
		m.must(m.h.LinkAdd(v))
		m.address("tunnel", []string{[]string{"10.9.0.1/24", "10.9.0.2/24"}[i]})
	}
	o := newMachine(t)
	p.host.link("port", nil, o, []string{"10.10.0.2/24"})
	br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br"}}
	p.host.must(p.host.h.LinkAdd(br))
	port, err := p.host.h.LinkByName("port")
	p.host.must(err)
	p.host.must(p.host.h.LinkSetMasterByIndex(port, br.Attrs().Index))
	p.host.address("br", []string{"10.10.0.1/24"})
	f := p.host.firewall(Config{})
	apply(t, f, ajar.Ruleset{Guard: guardOf(22)})
	p.guest.wantRefused("10.8.0.2", "10.8.0.1:22")
	p.guest.wantRefused("10.9.0.2", "10.9.0.1:22")
	o.wantRefused("10.10.0.2", "10.10.0.1:22")
	apply(t, f, ajar.Ruleset{Guard: guardOf(22), Allow: []ajar.Rule{leaseOf("a", 22, anEnd, "10.8.0.2", "10.9.0.2", "10.10.0.2")}})
	p.guest.wantOpen("10.8.0.2", "10.8.0.1:22")
	p.guest.wantOpen("10.9.0.2", "10.9.0.1:22")
	o.wantOpen("10.10.0.2", "10.10.0.1:22")
}

// TestDatagramsEndWithTheirLease: a session over UDP, as QUIC and WireGuard have them, in which the server goes on by itself;
// also when conntrack has forgotten who began.
func TestDatagramsEndWithTheirLease(t *testing.T) {
	p := newPair(t)
	var server *net.UDPConn
	p.host.must(p.host.do(func() (err error) {
		server, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(ap(host4, 443))))
		return err
	}))
	defer server.Close()
	f := p.host.firewall(Config{})
	apply(t, f, ajar.Ruleset{Guard: udpGuard(443), Allow: []ajar.Rule{udpLease(443, anEnd, guest4)}})
	c, err := p.guest.dial("udp", ap(guest4, 0), ap(host4, 443))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	// says has the server say a word, and reports whether it arrives, and the answer to it.
	b := make([]byte, 64)
	var guest *net.UDPAddr
	hear := func(r net.Conn, wait time.Duration) bool {
		r.SetReadDeadline(time.Now().Add(wait))
		_, err := r.Read(b)
		return err == nil
	}
	c.Write([]byte("hello"))
	server.SetReadDeadline(time.Now().Add(patience))
	if _, guest, err = server.ReadFromUDP(b); err != nil {
		t.Fatal(err)
	}
	says := func() bool {
		_, err := server.WriteToUDP([]byte("word"), guest)
		return err == nil && hear(c, 200*time.Millisecond)
	}
	if !says() {
		t.Fatal("the session does not work")
	}
	p.host.forgetConnections()
	if !says() { // the server spoke first
		t.Fatal("the session does not survive conntrack's flush")
	}
	c.Write([]byte("answer"))
	if !hear(server, patience) {
		t.Fatal("the session does not survive conntrack's flush")
	}
	apply(t, f, ajar.Ruleset{Guard: udpGuard(443)})
	if says() {
		t.Error("the server is still heard")
	}
	c.Write([]byte("still here"))
	if hear(server, 200*time.Millisecond) {
		t.Error("the guest is still heard")
	}
	p.host.forgetConnections()
	if says() {
		t.Error("the server is heard again, once conntrack has forgotten who began")
	}
	c.Write([]byte("still here"))
	if hear(server, 200*time.Millisecond) {
		t.Error("the guest is heard again, once conntrack has forgotten who began")
	}
}

// TestHavingBeenCalledLetsNobodyCallBack: from the very port that the host called from a guarded one, to that.
func TestHavingBeenCalledLetsNobodyCallBack(t *testing.T) {
	p := newPair(t)
	called := p.guest.serve("tcp", ap(guest4, 80))
	f := p.host.firewall(Config{})
	apply(t, f, ajar.Ruleset{Guard: guardOf(50000)})
	c, err := p.host.dial("tcp", ap(host4, 50000), ap(guest4, 80))
	if err != nil {
		t.Fatal(err)
	}
	if err := talks(c); err != nil {
		t.Fatal(err)
	}
	c.(*net.TCPConn).SetLinger(0) // it ends with a reset, which leaves nothing behind
	c.Close()
	called.Close() // it calls from that port now
	p.host.forgetConnections()
	p.host.serve("tcp", ap(host4, 50000))
	within(t, patience, "a call back", func() bool {
		c, err := p.guest.dial("tcp", ap(guest4, 80), ap(host4, 50000))
		if err == nil {
			c.Close()
			t.Fatal("it came in")
		}
		return errors.Is(err, unix.ECONNREFUSED) // and not because the port is taken
	})
}

// TestNoRoomToRememberLetsNobodyGoOn: conntrack is flushed and the server speaks first, while there is no place left to note that
// the connection is a guest's.
func TestNoRoomToRememberLetsNobodyGoOn(t *testing.T) {
	p := newPair(t)
	p.host.sysctl("netfilter/nf_conntrack_tcp_loose", "1")
	p.host.chatter(":22")
	f := p.host.firewall(Config{})
	apply(t, f, ajar.Ruleset{Guard: guardOf(22), Allow: []ajar.Rule{leaseOf("a", 22, anEnd, guest4)}})
	c, err := p.guest.dial("tcp", ap(guest4, 0), ap(host4, 22))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	f.mu.Lock()
	for i := 0; i < tupleLimit; i += chunk {
		ms := make([]member, min(chunk, tupleLimit-i))
		for j := range ms {
			ms[j] = member{key: flow{rport: uint16(i + j), lport: 1, proto: unix.IPPROTO_TCP}.key(), life: time.Hour}
		}
		b := f.batch()
		b.elements(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, "inbound4", ms)
		if err := f.sock.transact(b); err != nil {
			t.Error(err)
		}
	}
	f.mu.Unlock()
	p.host.forgetConnections()
	if _, err := io.ReadFull(c, make([]byte, 4000)); err == nil { // more than was under way
		apply(t, f, ajar.Ruleset{Guard: guardOf(22)})
		end := time.Now()
		if h := listen(c, end.Add(2*time.Second)); h.last.After(end.Add(time.Second + h.heldUp)) {
			t.Error("the session goes on without its lease")
		}
	}
}

// TestConnectionsOfTheLastMomentAreSpared: made after a new guard's host looked who is connected, and before the kernel had the guard.
func TestConnectionsOfTheLastMomentAreSpared(t *testing.T) {
	p := newPair(t)
	p.host.serve("tcp", ":22")
	f := p.host.firewall(Config{})
	apply(t, f, ajar.Ruleset{Guard: guardOf(3389)})
	f.mu.Lock()
	b := f.batch()
	done, err := f.reguard(t.Context(), b, append(guardOf(3389), unconfirmed(time.Now().Add(time.Hour), 22)...), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	c, err := p.guest.dial("tcp", ap(guest4, 0), ap(host4, 22))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	err = errors.Join(talks(c), f.sock.transact(b), done(t.Context()))
	f.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	if err := talks(c); err != nil {
		t.Errorf("it was not spared: %v", err)
	}
	p.guest.wantRefused(guest4, ap(host4, 22))
}
