package nftables

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestClosedPortIsResetAtOnce(t *testing.T) {
	p := newPair(t)
	p.host.serve("tcp", ":22")
	p.guest.wantOpen(guest4, ap(host4, 22))
	p.guest.wantOpen(guest6, ap(host6, 22))
	f := p.host.firewall(Config{})
	apply(t, f, ajar.Ruleset{Guard: guardOf(22)})
	for from, to := range map[string]string{guest4: host4, guest6: host6} {
		fastest := time.Hour // of several: one may wait for its turn on a busy machine
		for range 10 {
			start := time.Now()
			p.guest.wantRefused(from, ap(to, 22))
			fastest = min(fastest, time.Since(start))
		}
		if fastest > 500*time.Millisecond { // the kernel would ask again after a second
			t.Errorf("%s was refused after %v, not at once", from, fastest)
		}
	}
}

func TestOpeningLetsExactlyItsSourceIn(t *testing.T) {
	p := newPair(t)
	p.host.serve("tcp", ":22")
	f := p.host.firewall(Config{})
	apply(t, f, ajar.Ruleset{Guard: guardOf(22), Allow: []ajar.Rule{leaseOf("a", 22, time.Now().Add(time.Hour), guest4, guest6)}})
	p.guest.wantOpen(guest4, ap(host4, 22))
	p.guest.wantOpen(guest6, ap(host6, 22))
	p.guest.wantRefused(other4, ap(host4, 22))
	p.guest.wantRefused(other6, ap(host6, 22))
}

func TestPrefixesOpenAllOfThemselves(t *testing.T) {
	p := newPair(t)
	p.host.serve("tcp", ":22")
	f := p.host.firewall(Config{})
	end := time.Now().Add(time.Hour)
	for _, source := range []string{"10.7.0.2/31", "10.0.0.0/8", "0.0.0.0/0"} {
		apply(t, f, ajar.Ruleset{Guard: guardOf(22), Allow: []ajar.Rule{leaseOf("a", 22, end, source)}})
		p.guest.wantOpen(guest4, ap(host4, 22))
		p.guest.wantOpen(other4, ap(host4, 22))
		p.guest.wantRefused(guest6, ap(host6, 22))
	}
	for _, source := range []string{"fd07::2/127", "fd07::/64", "::/0"} {
		apply(t, f, ajar.Ruleset{Guard: guardOf(22), Allow: []ajar.Rule{leaseOf("a", 22, end, source)}})
		p.guest.wantOpen(guest6, ap(host6, 22))
		p.guest.wantRefused(guest4, ap(host4, 22))
	}
	apply(t, f, ajar.Ruleset{Guard: guardOf(22), Allow: []ajar.Rule{leaseOf("a", 22, end, "10.7.0.4/30", "fd07::4/126")}})
	p.guest.wantRefused(guest4, ap(host4, 22))
	p.guest.wantRefused(guest6, ap(host6, 22))
}

// sendUDP sends one word and waits for an answer or an ICMP error.
func (m *machine) sendUDP(from, to string) error {
	c, err := m.dial("udp", ap(from, 0), to)
	if err != nil {
		return err
	}
	defer c.Close()
	return talks(c)
}

func TestClosedUDPPortIsUnreachable(t *testing.T) {
	p := newPair(t)
	p.host.serveUDP("[::]:161")
	g := []ajar.Guard{{Flow: flowAt(161, ajar.UDP)}}
	f := p.host.firewall(Config{})
	apply(t, f, ajar.Ruleset{Guard: g})
	for from, to := range map[string]string{guest4: host4, guest6: host6} {
		start := time.Now()
		if err := p.guest.sendUDP(from, ap(to, 161)); !errors.Is(err, unix.ECONNREFUSED) || time.Since(start) > patience {
			t.Errorf("%s: want port unreachable, got %v after %v", from, err, time.Since(start))
		}
	}
	r := leaseOf("a", 161, time.Now().Add(time.Hour), guest4, guest6)
	r.Port.Protocol = ajar.UDP
	apply(t, f, ajar.Ruleset{Guard: g, Allow: []ajar.Rule{r}})
	for from, to := range map[string]string{guest4: host4, guest6: host6} {
		if err := p.guest.sendUDP(from, ap(to, 161)); err != nil {
			t.Errorf("%s: %v", from, err)
		}
	}
	if err := p.guest.sendUDP(other4, ap(host4, 161)); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("the other source should be refused: %v", err)
	}
}

func TestProtocolStarIsBoth(t *testing.T) {
	p := newPair(t)
	p.host.serve("tcp", ":22")
	p.host.serveUDP("[::]:22")
	f := p.host.firewall(Config{})
	g := []ajar.Guard{{Flow: flowAt(22, ajar.Both)}}
	apply(t, f, ajar.Ruleset{Guard: g})
	p.guest.wantRefused(guest4, ap(host4, 22))
	if err := p.guest.sendUDP(guest4, ap(host4, 22)); !errors.Is(err, unix.ECONNREFUSED) {
		t.Error(err)
	}
	r := leaseOf("a", 22, time.Now().Add(time.Hour), guest4)
	r.Port.Protocol = ajar.Both
	apply(t, f, ajar.Ruleset{Guard: g, Allow: []ajar.Rule{r}})
	p.guest.wantOpen(guest4, ap(host4, 22))
	if err := p.guest.sendUDP(guest4, ap(host4, 22)); err != nil {
		t.Error(err)
	}
}

// TestOwnCallsAreNeverTouched: the host calls out from a port that is guarded, TCP and UDP, tracked and untracked.
func TestOwnCallsAreNeverTouched(t *testing.T) {
	p := newPair(t)
	p.guest.serve("tcp", ":80")
	p.guest.serveUDP(ap(guest4, 123))
	p.guest.serveUDP(ap(guest6, 123))
	f := p.host.firewall(Config{})
	apply(t, f, ajar.Ruleset{Guard: []ajar.Guard{{Flow: flowAt(50000, ajar.TCP)}, {Flow: flowAt(123, ajar.UDP)}}})
	for us, them := range map[string]string{host4: guest4, host6: guest6} {
		c, err := p.host.dial("tcp", ap(us, 50000), ap(them, 80))
		if err != nil {
			t.Fatalf("call from a guarded port: %v", err)
		}
		if err := talks(c); err != nil {
			t.Errorf("call from a guarded port: %v", err)
		}
		// Conntrack forgets, and the other side speaks first: it looks like a call to the guarded port.
		p.host.forgetConnections()
		if err := talks(c); err != nil {
			t.Errorf("call from a guarded port after conntrack forgot it: %v", err)
		}
		c.Close()
		u, err := p.host.dial("udp", ap(us, 123), ap(them, 123))
		if err != nil {
			t.Fatal(err)
		}
		if err := talks(u); err != nil {
			t.Errorf("NTP from a guarded port: %v", err)
		}
		u.Close()
	}
}

// TestOwnCallsFromBeforeTheGuardGoOn: conntrack never saw them begin, and the first packet it sees comes in.
func TestOwnCallsFromBeforeTheGuardGoOn(t *testing.T) {
	p := newPair(t)
	var l net.Listener
	p.guest.must(p.guest.do(func() (err error) { l, err = net.Listen("tcp", ":80"); return err }))
	defer l.Close()
	c, err := p.host.dial("tcp", ap(host4, 50000), ap(guest4, 80))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	them, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer them.Close()
	f := p.host.firewall(Config{})
	apply(t, f, ajar.Ruleset{Guard: guardOf(50000)})
	for range 3 {
		them.SetDeadline(time.Now().Add(patience))
		c.SetDeadline(time.Now().Add(patience))
		if _, err := them.Write([]byte("word")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, 4)); err != nil {
			t.Fatalf("our own call was cut: %v", err)
		}
		if _, err := c.Write([]byte("word")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(them, make([]byte, 4)); err != nil {
			t.Fatalf("our own call was cut: %v", err)
		}
	}
}

func TestLoopbackIsNeverTouched(t *testing.T) {
	p := newPair(t)
	p.host.serve("tcp", ":22")
	f := p.host.firewall(Config{})
	apply(t, f, ajar.Ruleset{Guard: guardOf(22)})
	p.host.wantOpen("127.0.0.1", "127.0.0.1:22")
	p.host.wantOpen("::1", "[::1]:22")
	p.host.wantOpen(host4, ap(host4, 22))
	p.host.wantOpen(host6, ap(host6, 22))
}

func TestUnguardedTrafficAndOtherTablesAreUntouched(t *testing.T) {
	p := newPair(t)
	p.host.serve("tcp", ":22")
	p.host.serve("tcp", ":80")
	p.host.serveUDP("[::]:22")
	p.host.nft(acceptsEstablished)
	before := p.host.list("admin")
	f := p.host.firewall(Config{})
	apply(t, f, ajar.Ruleset{Guard: guardOf(22)})
	p.guest.wantOpen(guest4, ap(host4, 80))
	p.guest.wantOpen(guest6, ap(host6, 80))
	if err := p.guest.sendUDP(guest4, ap(host4, 22)); err != nil {
		t.Errorf("UDP 22 is not guarded: %v", err)
	}
	apply(t, f, ajar.Ruleset{})
	if after := p.host.list("admin"); after != before {
		t.Errorf("another table changed:\n%s\nwas\n%s", after, before)
	}
}

func (m *machine) list(table string) string { return m.nft("list table inet " + table) }

// TestRoutedTrafficIsUntouched: the host forwards to a machine behind it on a port that is guarded here.
func TestRoutedTrafficIsUntouched(t *testing.T) {
	p := newPair(t)
	behind := newMachine(t)
	p.host.link("back", []string{"10.8.0.1/24", "fd08::1/64"}, behind, []string{"10.8.0.2/24", "fd08::2/64"})
	behind.route("10.7.0.0/24", "10.8.0.1")
	behind.route("fd07::/64", "fd08::1")
	p.guest.route("10.8.0.0/24", host4)
	p.guest.route("fd08::/64", host6)
	p.host.sysctl("ipv4/ip_forward", "1")
	p.host.sysctl("ipv6/conf/all/forwarding", "1")
	behind.serve("tcp", ":22")
	p.host.serve("tcp", ":22")
	f := p.host.firewall(Config{})
	apply(t, f, ajar.Ruleset{Guard: guardOf(22)})
	p.guest.wantOpen(guest4, "10.8.0.2:22")
	p.guest.wantOpen(guest6, "[fd08::2]:22")
	p.guest.wantRefused(guest4, "10.8.0.1:22") // the host's other address is this host
	p.guest.wantRefused(guest4, ap(host4, 22))
	// A redirected service whose address is not ours stays untouched in both directions too.
	p.guest.route("10.9.0.0/24", host4)
	p.host.nft(`table ip cluster {
		chain pre { type nat hook prerouting priority -100
			ip daddr 10.9.0.9 tcp dport 22 dnat to 10.8.0.2
		}
	}`)
	p.guest.wantOpen(guest4, "10.9.0.9:22")
}

func TestOneDestination(t *testing.T) {
	p := newPair(t)
	p.host.address("cable", []string{"10.7.0.9/24", "fd07::9/64"})
	p.guest.knows("cable", p.host, []string{"10.7.0.9/24", "fd07::9/64"})
	p.host.serve("tcp", ":22")
	f := p.host.firewall(Config{})
	at := func(dest string, g ajar.Flow) ajar.Flow { g.Dest = netip.MustParseAddr(dest); return g }
	g := []ajar.Guard{{Flow: at(host4, flowAt(22, ajar.TCP))}, {Flow: at(host6, flowAt(22, ajar.TCP))}}
	apply(t, f, ajar.Ruleset{Guard: g})
	p.guest.wantRefused(guest4, ap(host4, 22))
	p.guest.wantRefused(guest6, ap(host6, 22))
	p.guest.wantOpen(guest4, "10.7.0.9:22")
	p.guest.wantOpen(guest6, "[fd07::9]:22")
	// Every address is guarded, one is opened.
	end := time.Now().Add(time.Hour)
	a, b := leaseOf("a", 22, end, guest4), leaseOf("b", 22, end, "fd07::/64")
	a.Dest, b.Dest = netip.MustParseAddr(host4), netip.MustParseAddr(host6)
	apply(t, f, ajar.Ruleset{Guard: guardOf(22), Allow: []ajar.Rule{a, b}})
	p.guest.wantOpen(guest4, ap(host4, 22))
	p.guest.wantOpen(guest6, ap(host6, 22))
	p.guest.wantRefused(guest4, "10.7.0.9:22")
	p.guest.wantRefused(guest6, "[fd07::9]:22")
	p.guest.wantRefused(other4, ap(host4, 22))
}

func TestEmptyRulesetRemovesTheTable(t *testing.T) {
	p := newPair(t)
	p.host.serve("tcp", ":22")
	f := p.host.firewall(Config{})
	apply(t, f, ajar.Ruleset{}) // nothing is there yet
	apply(t, f, ajar.Ruleset{Guard: guardOf(22), Allow: []ajar.Rule{leaseOf("a", 22, time.Now().Add(time.Hour), other4)}})
	apply(t, f, ajar.Ruleset{})
	if p.host.tableThere("ajar") {
		t.Error("the table is still there")
	}
	p.guest.wantOpen(guest4, ap(host4, 22))
	apply(t, f, ajar.Ruleset{Guard: guardOf(22)})
	p.guest.wantRefused(guest4, ap(host4, 22))
	// From an orphan too.
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	apply(t, p.host.firewall(Config{}), ajar.Ruleset{})
	if p.host.tableThere("ajar") {
		t.Error("the orphaned table is still there")
	}
}

func TestRefusedSaysWhoAndWhen(t *testing.T) {
	p := newPair(t)
	f := p.host.firewall(Config{})
	apply(t, f, ajar.Ruleset{Guard: guardOf(22)})
	from := time.Now()
	p.guest.wantRefused(guest4, ap(host4, 22))
	p.guest.wantRefused(other6, ap(host6, 22))
	got, err := f.Refused(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// Both may fall into one tick of the kernel's clock.
	slices.SortFunc(got, func(a, b ajar.Refusal) int { return b.Source.Compare(a.Source) })
	if len(got) != 2 || got[0].Source != netip.MustParseAddr(other6) || got[1].Source != netip.MustParseAddr(guest4) ||
		got[0].Port != (ajar.Port{Number: 22, Protocol: ajar.TCP}) {
		t.Fatalf("refused: %v", got)
	}
	for _, r := range got {
		if r.At.Before(from.Add(-20*time.Millisecond)) || r.At.After(time.Now().Add(20*time.Millisecond)) {
			t.Errorf("%s was refused at %s, not between %s and now", r.Source, r.At, from)
		}
	}
}

// TestPacketsThatConntrackDoesNotKnowDoNotSlip: an administrator's notrack, and packets no connection begins with.
func TestPacketsThatConntrackDoesNotKnowDoNotSlip(t *testing.T) {
	p := newPair(t)
	p.host.serve("tcp", ":22")
	p.host.nft(`table inet seen {
		counter got {}
		counter came {}
		chain pre { type filter hook prerouting priority -300
			tcp dport 22 counter name came
		}
		chain input { type filter hook input priority 10
			tcp dport 22 counter name got
		}
	}`)
	f := p.host.firewall(Config{})
	apply(t, f, ajar.Ruleset{Guard: guardOf(22)})
	flags := map[string]byte{"null": 0, "xmas": 0x29, "syn+fin": 0x03, "syn+rst": 0x06, "ack": 0x10, "fin": 0x01, "synack": 0x12}
	for name, fl := range flags {
		if err := p.guest.sendTCP(netip.MustParseAddrPort(ap(guest4, 4000)), netip.MustParseAddrPort(ap(host4, 22)), fl, false); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	// A wrong checksum makes conntrack call a packet invalid.
	if err := p.guest.sendTCP(netip.MustParseAddrPort(ap(guest4, 4001)), netip.MustParseAddrPort(ap(host4, 22)), 0x02, true); err != nil {
		t.Fatal(err)
	}
	within(t, patience, "all packets arrive", func() bool { return strings.Contains(p.host.nft("list counter inet seen came"), "packets 8 ") })
	p.host.nft(`table inet raw {
		chain pre { type filter hook prerouting priority -300
			tcp dport 22 notrack
		}
		chain out { type filter hook output priority -300
			tcp sport 22 notrack
		}
	}`)
	p.guest.wantRefused(guest4, ap(host4, 22))
	if got := p.host.nft("list counter inet seen got"); !strings.Contains(got, "packets 0 ") {
		t.Errorf("packets slipped: %s", got)
	}
	apply(t, f, ajar.Ruleset{Guard: guardOf(22), Allow: []ajar.Rule{leaseOf("a", 22, time.Now().Add(time.Hour), guest4)}})
	p.guest.wantOpen(guest4, ap(host4, 22))
	p.guest.wantRefused(other4, ap(host4, 22))
}

func TestOpenNamesTheMissingRight(t *testing.T) {
	m := newMachine(t)
	err := thread(func() error {
		if err := unix.Setns(int(m.fd.Fd()), unix.CLONE_NEWNET); err != nil {
			return err
		}
		// Capabilities belong to the thread, which is thrown away.
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		if err := unix.Capset(&hdr, &data[0]); err != nil {
			return err
		}
		_, err := Config{Clock: time.Now}.Open(t.Context(), nil)
		return err
	})
	if !errors.Is(err, ajar.Forbidden) || !strings.Contains(err.Error(), "CAP_NET_ADMIN") {
		t.Errorf("got %v", err)
	}
}

func TestConfigListsEveryFault(t *testing.T) {
	err := Config{OwnTable: "maybe", Table: "a b"}.Validate()
	for _, want := range []string{"ownTable", "table", "clock"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not mention %s", err, want)
		}
	}
	if err := (Config{Clock: time.Now}).Validate(); err != nil {
		t.Error(err)
	}
	if _, err := (Config{Clock: time.Now, NetNS: "/nowhere"}).Open(t.Context(), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a namespace that is not there: %v", err)
	}
}

// TestAddressesOutsideTheMainTable: what policy routing or a VRF delivers here is guarded although the main table does
// not call it ours, and so are addresses that mean something on one link only.
func TestAddressesOutsideTheMainTable(t *testing.T) {
	p := newPair(t)
	p.host.serve("tcp6", "[::]:22")
	p.host.serve("tcp4", ap(host4, 22))
	p.host.serveTransparent("198.51.100.1:22")
	f := p.host.firewall(Config{})
	rule := func(six bool, to, dev string) {
		d := netip.MustParsePrefix(to)
		n := &net.IPNet{IP: d.Addr().AsSlice(), Mask: net.CIDRMask(d.Bits(), d.Addr().BitLen())}
		lo, err := p.host.h.LinkByName(dev)
		p.host.must(err)
		r := netlink.NewRule()
		r.Dst, r.Table, r.Family = n, 100, unix.AF_INET
		if six {
			r.Family = unix.AF_INET6
		}
		p.host.must(p.host.h.RuleAdd(r))
		p.host.must(p.host.h.RouteAdd(&netlink.Route{Dst: n, LinkIndex: lo.Attrs().Index, Table: 100, Type: unix.RTN_LOCAL, Scope: unix.RT_SCOPE_HOST}))
	}
	rule(false, "198.51.100.0/24", "lo")
	rule(true, "2001:db8:100::/64", "lo")
	p.guest.route("198.51.100.0/24", host4)
	p.guest.route("2001:db8:100::/64", host6)
	p.guest.wantOpen(guest4, "198.51.100.1:22")
	p.guest.wantOpen(guest6, "[2001:db8:100::1]:22")
	link, err := p.host.h.LinkByName("cable")
	p.host.must(err)
	p.host.address("cable", []string{"fe80::1/64"})
	p.guest.address("cable", []string{"fe80::2/64"})
	p.guest.knows("cable", p.host, []string{"fe80::1/64"})
	p.host.knows("cable", p.guest, []string{"fe80::2/64"})
	p.guest.wantOpen("fe80::2%cable", "[fe80::1%cable]:22")
	apply(t, f, ajar.Ruleset{Guard: guardOf(22), Allow: []ajar.Rule{leaseOf("a", 22, time.Now().Add(time.Hour), other4)}})
	p.guest.wantRefused(guest4, "198.51.100.1:22")
	p.guest.wantRefused(guest6, "[2001:db8:100::1]:22")
	p.guest.wantRefused("fe80::2%cable", "[fe80::1%cable]:22")
	p.guest.wantOpen(other4, "198.51.100.1:22")
	// Redirected there, it is decided by what was named, and that is not guarded.
	p.host.nft(`table ip nat {
		chain pre { type nat hook prerouting priority dstnat
			tcp dport 2222 dnat to 198.51.100.1:22
		}
	}`)
	p.guest.wantOpen(guest4, ap(host4, 2222))

	vrf := &netlink.Vrf{LinkAttrs: netlink.LinkAttrs{Name: "blue"}, Table: 200}
	if err := p.host.h.LinkAdd(vrf); errors.Is(err, unix.EOPNOTSUPP) {
		t.Log("this kernel has no VRF")
		return
	}
	p.host.must(p.host.h.LinkSetUp(vrf))
	p.host.must(p.host.h.LinkSetMasterByIndex(link, vrf.Attrs().Index))
	p.host.sysctl("ipv4/tcp_l3mdev_accept", "1")
	p.guest.wantRefused(guest4, ap(host4, 22))
	p.guest.wantOpen(other4, ap(host4, 22))
}

// TestNeedsCapNetAdminAlone: every other right is given up first.
func TestNeedsCapNetAdminAlone(t *testing.T) {
	p := newPair(t)
	p.host.serve("tcp", ":22")
	err := thread(func() error {
		if err := unix.Setns(int(p.host.fd.Fd()), unix.CLONE_NEWNET); err != nil {
			return err
		}
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		only := uint32(1) << unix.CAP_NET_ADMIN
		data := [2]unix.CapUserData{{Effective: only, Permitted: only}}
		if err := unix.Capset(&hdr, &data[0]); err != nil {
			return err
		}
		f, err := Config{Clock: time.Now}.Open(t.Context(), nil)
		if err != nil {
			return err
		}
		defer f.Close()
		im, err := f.Preview(t.Context(), anyEndpoint, guardOf(22))
		if err != nil || len(im.Listening) != 1 {
			return fmt.Errorf("preview %v: %w", im, err)
		}
		want := ajar.Ruleset{Guard: guardOf(22), Allow: []ajar.Rule{leaseOf("a", 22, time.Now().Add(time.Hour), guest4)}}
		if err := f.ApplyAt(t.Context(), anyEndpoint, want, 1); err != nil {
			return err
		}
		return f.Change(t.Context(), anyEndpoint, ajar.Delta{Base: 1, Rev: 2, Put: []ajar.Rule{leaseOf("b", 22, time.Now().Add(time.Hour), guest6)}})
	})
	if err != nil {
		t.Fatal(err)
	}
	p.guest.wantOpen(guest4, ap(host4, 22))
	p.guest.wantOpen(guest6, ap(host6, 22))
	p.guest.wantRefused(other4, ap(host4, 22))
}
