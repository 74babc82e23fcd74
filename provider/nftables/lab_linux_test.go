package nftables

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// machine is a network namespace of its own.
type machine struct {
	t    testing.TB
	fd   *os.File
	h    *netlink.Handle
	path string
}

// thread runs fn on a thread of its own, which is thrown away.
func thread(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		done <- fn()
	}()
	return <-done
}

func newMachine(t testing.TB) *machine {
	t.Helper()
	m := &machine{t: t}
	err := thread(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w; these tests need CAP_SYS_ADMIN and CAP_NET_ADMIN: run as root or under unshare -rn", err)
		}
		if m.fd, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			return err
		}
		m.h, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	m.path = fmt.Sprintf("/proc/self/fd/%d", m.fd.Fd())
	t.Cleanup(func() { m.h.Close(); m.fd.Close() })
	lo, err := m.h.LinkByName("lo")
	m.must(err)
	m.must(m.h.LinkSetUp(lo))
	return m
}

// owns reports whether this kernel keeps an owned table alive after its owner, going by its version alone.
func owns(t testing.TB) bool {
	t.Helper()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	var major, minor int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor); err != nil {
		t.Fatal(err)
	}
	return major > 6 || major == 6 && minor >= 9
}

func (m *machine) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

// do runs fn inside m.
func (m *machine) do(fn func() error) error {
	return inNetNS(m.path, fn)
}

// link joins m and o with a cable and gives both ends addresses.
func (m *machine) link(name string, ours []string, o *machine, theirs []string) {
	m.t.Helper()
	v := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: name, PeerNamespace: netlink.NsFd(o.fd.Fd())}
	m.must(m.h.LinkAdd(v))
	m.address(name, ours)
	o.address(name, theirs)
	m.knows(name, o, theirs)
	o.knows(name, m, ours)
}

// knows saves m the search for its neighbours, which on a fresh link takes a second for IPv6.
func (m *machine) knows(link string, o *machine, addrs []string) {
	m.t.Helper()
	l, err := m.h.LinkByName(link)
	m.must(err)
	r, err := o.h.LinkByName(link)
	m.must(err)
	for _, a := range addrs {
		m.must(m.h.NeighSet(&netlink.Neigh{
			LinkIndex: l.Attrs().Index, State: unix.NUD_PERMANENT,
			IP: netip.MustParsePrefix(a).Addr().AsSlice(), HardwareAddr: r.Attrs().HardwareAddr,
		}))
	}
}

func (m *machine) address(link string, addrs []string) {
	m.t.Helper()
	l, err := m.h.LinkByName(link)
	m.must(err)
	for _, a := range addrs {
		p := netip.MustParsePrefix(a)
		n := &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
		m.must(m.h.AddrAdd(l, &netlink.Addr{IPNet: n, Flags: unix.IFA_F_NODAD}))
	}
	m.must(m.h.LinkSetUp(l))
}

func (m *machine) route(to, via string) {
	m.t.Helper()
	p := netip.MustParsePrefix(to)
	m.must(m.h.RouteAdd(&netlink.Route{
		Dst: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}, Gw: netip.MustParseAddr(via).AsSlice(),
	}))
}

func (m *machine) sysctl(name, value string) {
	m.t.Helper()
	m.must(m.do(func() error { return os.WriteFile("/proc/sys/net/"+name, []byte(value), 0o644) }))
}

// pair is a guarded host and a guest with two addresses of each family.
type pair struct {
	t           testing.TB
	host, guest *machine
}

const (
	host4, guest4, other4 = "10.7.0.1", "10.7.0.2", "10.7.0.3"
	host6, guest6, other6 = "fd07::1", "fd07::2", "fd07::3"
)

func newPair(t testing.TB) *pair {
	t.Helper()
	p := &pair{t: t, host: newMachine(t), guest: newMachine(t)}
	p.host.link("cable", []string{host4 + "/24", host6 + "/64"}, p.guest,
		[]string{guest4 + "/24", other4 + "/24", guest6 + "/64", other6 + "/64"})
	return p
}

type testLog struct{ t testing.TB }

func (l testLog) Write(b []byte) (int, error) {
	l.t.Logf("%s", b)
	return len(b), nil
}

func (m *machine) firewall(c Config) *Firewall {
	m.t.Helper()
	c.NetNS = m.path
	if c.Clock == nil {
		c.Clock = time.Now
	}
	out := io.Discard
	if testing.Verbose() {
		out = testLog{m.t}
	}
	f, err := c.Open(m.t.Context(), slog.New(slog.NewTextHandler(out, nil)))
	m.must(err)
	m.t.Cleanup(func() { f.Close() })
	return f
}

// serve answers on a port with what it is sent, until the test ends.
func (m *machine) serve(network, addr string) net.Listener {
	return m.serveWith(net.ListenConfig{}, network, addr)
}

// serveTransparent serves on an address that is nobody's interface's.
func (m *machine) serveTransparent(addr string) net.Listener {
	return m.serveWith(net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_TRANSPARENT, 1) })
		return err
	}}, "tcp", addr)
}

func (m *machine) serveWith(how net.ListenConfig, network, addr string) net.Listener {
	m.t.Helper()
	var l net.Listener
	m.must(m.do(func() (err error) {
		l, err = how.Listen(m.t.Context(), network, addr)
		return err
	}))
	m.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, c)
			}()
		}
	}()
	return l
}

func (m *machine) serveUDP(addr string) *net.UDPConn {
	m.t.Helper()
	var c *net.UDPConn
	m.must(m.do(func() (err error) {
		c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr)))
		return err
	}))
	m.t.Cleanup(func() { c.Close() })
	go func() {
		b := make([]byte, 2048)
		for {
			n, from, err := c.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			c.WriteToUDPAddrPort(b[:n], from)
		}
	}()
	return c
}

const patience = 30 * time.Second

var anEnd = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// dial connects from one of m's addresses; port 0 is any.
func (m *machine) dial(network, from, to string) (net.Conn, error) {
	d := net.Dialer{Timeout: patience}
	at := netip.MustParseAddrPort(from)
	if network == "udp" {
		d.LocalAddr = net.UDPAddrFromAddrPort(at)
	} else {
		d.LocalAddr = net.TCPAddrFromAddrPort(at)
	}
	d.Control = func(_, _ string, c syscall.RawConn) error {
		var err error
		c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) })
		return err
	}
	var c net.Conn
	err := m.do(func() (err error) {
		c, err = d.Dial(network, to)
		return err
	})
	return c, err
}

func ap(addr string, port int) string { return net.JoinHostPort(addr, fmt.Sprint(port)) }

// talks sends a word and expects it back.
func talks(c net.Conn) error {
	c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write([]byte("word")); err != nil {
		return err
	}
	b := make([]byte, 4)
	_, err := io.ReadFull(c, b)
	return err
}

// open reports whether a connection from one address can be made and used.
func (m *machine) open(network, from, to string) error {
	c, err := m.dial(network, ap(from, 0), to)
	if err != nil {
		return err
	}
	defer c.Close()
	return talks(c)
}

func (m *machine) wantOpen(from, to string) {
	m.t.Helper()
	if err := m.open("tcp", from, to); err != nil {
		m.t.Errorf("%s → %s should be open: %v", from, to, err)
	}
}

func (m *machine) wantRefused(from, to string) {
	m.t.Helper()
	if err := m.open("tcp", from, to); !errors.Is(err, unix.ECONNREFUSED) {
		m.t.Errorf("%s → %s should be refused with a reset, got %v", from, to, err)
	}
}

// keeper is a session that is used all the time, and notices when it ends.
type keeper struct {
	conn  net.Conn
	last  chan time.Time // when the last word that came back was sent
	fault chan error
	gone  time.Time // when it was known to have ended; after last
}

func keep(c net.Conn) *keeper {
	k := &keeper{conn: c, last: make(chan time.Time, 1), fault: make(chan error, 1)}
	began := make(chan struct{})
	go func() {
		var last time.Time
		for {
			sent := time.Now()
			err := talks(c)
			if last.IsZero() {
				close(began)
			}
			if err != nil {
				k.gone = time.Now()
				k.last <- last
				k.fault <- err
				return
			}
			last = sent // it may be read late, on a busy machine
		}
	}()
	<-began
	return k
}

// ended waits for the session's end.
func (k *keeper) ended(t testing.TB) (time.Time, error) {
	t.Helper()
	select {
	case at := <-k.last:
		return at, <-k.fault
	case <-time.After(2 * patience):
		t.Fatal("the session goes on")
		return time.Time{}, nil
	}
}

// lives checks that it is still there.
func (k *keeper) lives(t testing.TB, what string) {
	t.Helper()
	select {
	case <-k.last:
		t.Fatalf("%s: the session ended: %v", what, <-k.fault)
	default:
	}
}

// within polls cond until it holds.
func within(t testing.TB, limit time.Duration, what string, cond func() bool) {
	t.Helper()
	deadline := time.After(limit)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline:
			t.Fatalf("not within %v: %s", limit, what)
		case <-tick.C:
		}
	}
}

// until waits for a moment.
func until(at time.Time) { <-time.After(time.Until(at) + 2*tick) }

func flowAt(port uint16, proto ajar.Protocol) ajar.Flow {
	return ajar.Flow{Port: ajar.Port{Number: port, Protocol: proto}}
}

func guardOf(ports ...uint16) []ajar.Guard {
	var gs []ajar.Guard
	for _, p := range ports {
		gs = append(gs, ajar.Guard{Flow: flowAt(p, ajar.TCP)})
	}
	return gs
}

func leaseOf(id string, port uint16, end time.Time, sources ...string) ajar.Rule {
	r := ajar.Rule{Flow: flowAt(port, ajar.TCP), Lease: ajar.LeaseID(id), Expires: end, HardStop: end}
	for _, s := range sources {
		if p, err := netip.ParsePrefix(s); err == nil {
			r.Sources = append(r.Sources, p)
		} else {
			a := netip.MustParseAddr(s)
			r.Sources = append(r.Sources, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	return r
}

var anyEndpoint = ajar.Endpoint{ID: "host"}

func apply(t testing.TB, f *Firewall, want ajar.Ruleset) {
	t.Helper()
	if err := f.Apply(context.Background(), anyEndpoint, want); err != nil {
		t.Fatal(err)
	}
}

// nft runs the real program in m, as somebody else would.
func (m *machine) nft(script string) string {
	m.t.Helper()
	var out []byte
	err := m.do(func() (err error) {
		c := exec.Command("nft", "-f", "-")
		c.Stdin = strings.NewReader(script)
		out, err = c.CombinedOutput()
		return err
	})
	if err != nil {
		m.t.Fatalf("nft %s: %v: %s", script, err, out)
	}
	return string(out)
}

// nftFails runs a script that must be refused.
func (m *machine) nftFails(script string) {
	m.t.Helper()
	err := m.do(func() error {
		c := exec.Command("nft", "-f", "-")
		c.Stdin = strings.NewReader(script)
		return c.Run()
	})
	if err == nil {
		m.t.Errorf("nft %s was not refused", script)
	}
}

func (m *machine) tableThere(name string) bool {
	return m.do(func() error { return exec.Command("nft", "list", "table", "inet", name).Run() }) == nil
}

// acceptsEstablished is the rule that most rule sets begin with.
const acceptsEstablished = `table inet admin {
	chain input { type filter hook input priority 0; policy drop
		ct state established,related accept
		tcp dport { 22, 80, 2222, 3389 } accept
		meta l4proto { icmp, ipv6-icmp, udp } accept
	}
	chain output { type filter hook output priority 0; policy accept
		ct state established accept
	}
}
`

// listed is list for tests, beside whom the hanger asks the kernel, too.
func (f *Firewall) listed(ctx context.Context, set string) ([]held, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.list(ctx, set)
}
