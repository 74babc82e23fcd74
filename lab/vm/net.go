//go:build linux

package main

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

var (
	there    = netip.MustParseAddr("198.51.100.50")
	home     = netip.MustParseAddr("198.51.100.1")
	asker    = netip.MustParseAddr("198.51.100.10")
	stranger = netip.MustParseAddr("198.51.100.20")
)

// The machine's ports: an echo that is guarded, one that is later, one that never is, and the real thing.
const (
	guarded = 7022
	later   = 7090
	free    = 7080
	sshPort = 22
)

// wire makes the cable to the machine, with everybody's address at this end.
func wire() error {
	a := netlink.NewLinkAttrs()
	a.Name = iface
	t := &netlink.Tuntap{LinkAttrs: a, Mode: netlink.TUNTAP_MODE_TAP, Flags: netlink.TUNTAP_DEFAULTS}
	if err := netlink.LinkAdd(t); err != nil {
		return err
	}
	for _, x := range []netip.Addr{home, asker, stranger} {
		n := &net.IPNet{IP: x.AsSlice(), Mask: net.CIDRMask(24, 32)}
		if err := netlink.AddrAdd(t, &netlink.Addr{IPNet: n}); err != nil {
			return err
		}
	}
	if err := netlink.LinkSetUp(t); err != nil {
		return err
	}
	// Known in advance, so that a knock is under way at once and does not wait for an answer from a machine that boots.
	hw, err := net.ParseMAC(mac)
	if err != nil {
		return err
	}
	return netlink.NeighSet(&netlink.Neigh{LinkIndex: t.Attrs().Index, IP: there.AsSlice(), HardwareAddr: hw, State: netlink.NUD_PERMANENT})
}

// dial connects to the machine as somebody.
func dial(ctx context.Context, from netip.Addr, port uint16, patience time.Duration) (*net.TCPConn, error) {
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), Timeout: patience, KeepAlive: -1}
	c, err := d.DialContext(ctx, "tcp", netip.AddrPortFrom(there, port).String())
	if err != nil {
		return nil, err
	}
	t := c.(*net.TCPConn)
	_ = t.SetLinger(0) // closing resets: thousands of knocks leave nothing behind
	return t, nil
}

// knock reports whether somebody gets in.
func knock(ctx context.Context, from netip.Addr, port uint16) bool {
	c, err := dial(ctx, from, port, 2*time.Second)
	if err == nil {
		c.Close()
	}
	return err == nil
}

// entry is one knock that was let in.
type entry struct{ began, in time.Time }

// prober knocks without waiting for its earlier knocks.
type prober struct {
	knocks  atomic.Int64
	refused atomic.Int64
	mu      sync.Mutex
	in      []entry
	stop    func()
}

// probe knocks every so often until its stop.
func probe(from netip.Addr, port uint16, every, patience time.Duration) *prober {
	ctx, cancel := context.WithCancel(context.Background())
	p := &prober{}
	var wg sync.WaitGroup
	done := make(chan struct{})
	p.stop = func() { cancel(); <-done; wg.Wait() }
	go func() {
		defer close(done)
		for range ticks(ctx, every, 24*time.Hour) {
			p.knocks.Add(1)
			wg.Go(func() {
				began := time.Now()
				c, err := dial(ctx, from, port, patience)
				if err != nil {
					if errors.Is(err, unix.ECONNREFUSED) { // by the guard; what is not answered in time, or at the end, is not refused
						p.refused.Add(1)
					}
					return
				}
				at := time.Now()
				c.Close()
				p.mu.Lock()
				p.in = append(p.in, entry{began, at})
				p.mu.Unlock()
			})
		}
	}()
	return p
}

// entries are the knocks that were let in and began within a time.
func (p *prober) entries(from, to time.Time) []entry {
	p.mu.Lock()
	defer p.mu.Unlock()
	var es []entry
	for _, e := range p.in {
		if !e.began.Before(from) && (to.IsZero() || e.began.Before(to)) {
			es = append(es, e)
		}
	}
	return es
}

// last is when the last knock was let in; the zero Time if none was.
func (p *prober) last() (t time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.in {
		if e.in.After(t) {
			t = e.in
		}
	}
	return t
}

// first is when the first knock after t was let in.
func (p *prober) first(t time.Time) (first time.Time) {
	for _, e := range p.entries(t, time.Time{}) {
		if first.IsZero() || e.in.Before(first) {
			first = e.in
		}
	}
	return first
}
