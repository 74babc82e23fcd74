package nftables

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// flow is one connection as the client sees it: its own end, ours, and the protocol.
type flow struct {
	six           bool
	remote, local [16]byte
	rport, lport  uint16
	proto         uint8
}

// key is c's key in the sets of tuples.
func (c flow) key() []byte {
	n := 4
	if c.six {
		n = 16
	}
	b := append(make([]byte, 0, 44), c.remote[:n]...)
	b = append(b, byte(c.rport>>8), byte(c.rport), 0, 0)
	b = append(b, c.local[:n]...)
	return append(b, byte(c.lport>>8), byte(c.lport), 0, 0, c.proto, 0, 0, 0)
}

// flowOf reads a kernel's key back.
func flowOf(six bool, key []byte) (flow, error) {
	n := 4
	if six {
		n = 16
	}
	if len(key) != 2*n+12 {
		return flow{}, errShort
	}
	c := flow{six: six, rport: binary.BigEndian.Uint16(key[n:]), lport: binary.BigEndian.Uint16(key[2*n+4:]), proto: key[2*n+8]}
	copy(c.remote[:], key[:n])
	copy(c.local[:], key[n+4:2*n+4])
	return c, nil
}

func (c flow) ends() (remote, local netip.AddrPort) {
	a := func(b [16]byte) netip.Addr { return place{shape: shape{six: c.six}}.addr(b) }
	return netip.AddrPortFrom(a(c.remote), c.rport), netip.AddrPortFrom(a(c.local), c.lport)
}

// conn is a live connection on a guarded port.
type conn struct {
	flow
	socket bool // it ends in a socket of this host, not in a container
	served bool // a socket listens on its port: the other side began it
	over   bool // both ends have said goodbye; conntrack remembers for a while
	known  bool // conntrack has it, and the other side began it
	since  time.Time
}

// connections are the live connections on the ports of bars: those of sockets, and those that conntrack knows to
// be redirected (containers) or without a socket of their own (UDP).
func (f *Firewall) connections(ctx context.Context, on []bar) ([]conn, error) {
	if len(on) == 0 {
		return nil, nil
	}
	socks, err := f.sockets(ctx)
	if err != nil {
		return nil, fmt.Errorf("list sockets: %w", err)
	}
	guarded := func(c flow) bool {
		return slices.ContainsFunc(on, func(k bar) bool { return k.covers(c) })
	}
	listens := map[sockAddr]bool{}
	for _, s := range socks {
		if s.listening() {
			listens[s.at()] = true
		}
	}
	var cs []conn
	seen := map[flow]bool{}
	for _, s := range socks {
		c, ok := s.flow()
		if !ok || !guarded(c) {
			continue
		}
		seen[c] = true
		cs = append(cs, conn{flow: c, socket: true, served: s.served(listens)})
	}
	tracked, err := f.tracked(ctx, guarded)
	if err == nil {
		tracked, err = f.others(tracked)
	}
	if err != nil {
		// No conntrack, no redirected connections; nothing is known of who talked to unconnected UDP sockets.
		f.log.WarnContext(ctx, "conntrack cannot be read; connections into containers are not spared", "err", err)
		return cs, nil
	}
	known := map[flow]entry{}
	for _, e := range tracked {
		known[e.flow] = e
		if !seen[e.flow] && (e.redirected || e.flow.proto == unix.IPPROTO_UDP) {
			cs = append(cs, conn{flow: e.flow, served: true, over: e.over})
		}
	}
	for i := range cs {
		e, ok := known[cs[i].flow]
		cs[i].since, cs[i].known = e.since, ok
	}
	return cs, nil
}

// others leaves out what the host itself began: a call to a port of that number elsewhere.
func (f *Firewall) others(es []entry) ([]entry, error) {
	if len(es) == 0 {
		return nil, nil
	}
	own := map[netip.Addr]bool{}
	err := inNetNS(f.conf.NetNS, func() error {
		addrs, err := net.InterfaceAddrs()
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok {
				ip, _ := netip.AddrFromSlice(n.IP)
				own[ip.Unmap()] = true
			}
		}
		return err
	})
	return slices.DeleteFunc(es, func(e entry) bool {
		remote, _ := e.flow.ends()
		return own[remote.Addr()]
	}), err
}

// entry is what conntrack has of one connection, from the side that began.
type entry struct {
	flow       flow
	redirected bool
	over       bool      // it is only remembered
	since      time.Time // zero unless net.netfilter.nf_conntrack_timestamp is on
}

// tracker lists conntrack's table over one socket that it keeps, for the reason at hanger.ask: a guard that is laid
// again after a flush must not wait for what the kernel has left over from the flush.
type tracker struct {
	mu   sync.Mutex
	sock *socket
}

// tracked lists those entries of conntrack's table that want wants. A busy host has some hundred thousand others, which must
// not be in memory at the same time.
func (f *Firewall) tracked(ctx context.Context, want func(flow) bool) (es []entry, err error) {
	t := &f.track
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sock == nil {
		err := inNetNS(f.conf.NetNS, func() (err error) {
			t.sock, err = dial(unix.NETLINK_NETFILTER)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	req := func() []byte {
		return appendMessage(nil, unix.NFNL_SUBSYS_CTNETLINK<<8|ctGet, unix.NLM_F_REQUEST|unix.NLM_F_DUMP, 1, unix.AF_UNSPEC, 0, nil)
	}
	err = t.sock.dump(ctx, req, func() { es = nil }, func(m message) error {
		e, err := readEntry(m.payload())
		if err == nil && want(e.flow) {
			es = append(es, e)
		}
		return err
	})
	if err != nil {
		err = errors.Join(err, t.close())
	}
	return es, err
}

// close must be called with t.mu held.
func (t *tracker) close() (err error) {
	if t.sock != nil {
		err = t.sock.close()
		t.sock = nil
	}
	return err
}

// More of conntrack's numbers.
const (
	ctStatus, ctProtoInfo, ctTimestamp = 3, 4, 20
	ctTCPLastAck                       = 6 // what follows is TIME_WAIT and CLOSE
)

// readEntry decodes an entry. One that is of no use here has a flow of no protocol.
func readEntry(b []byte) (e entry, err error) {
	from, to, proto, err := begun(b)
	if err != nil || from.Addr().IsLoopback() {
		return entry{}, nil //nolint:nilerr // of a protocol without ports, or of none that IP has
	}
	e.flow = flow{
		six: from.Addr().Is6(), remote: bytes16(from.Addr()), local: bytes16(to.Addr()),
		rport: from.Port(), lport: to.Port(), proto: proto,
	}
	err = eachAttr(b, func(typ uint16, v []byte) error {
		switch typ {
		case ctStatus:
			n, err := num32(v)
			e.redirected = n&statusDNAT != 0
			return err
		case ctProtoInfo:
			return inner(v, 1, func(v []byte) error {
				return inner(v, 1, func(v []byte) error {
					e.over = proto == unix.IPPROTO_TCP && len(v) > 0 && v[0] >= ctTCPLastAck
					return nil
				})
			})
		case ctTimestamp:
			return inner(v, 1, func(v []byte) error {
				n, err := num64(v)
				if err == nil && n > 0 {
					e.since = time.Unix(0, int64(n)).UTC()
				}
				return err
			})
		}
		return nil
	})
	return e, err
}

// inner hands the attribute of that type in b to fn.
func inner(b []byte, want uint16, fn func([]byte) error) error {
	return eachAttr(b, func(typ uint16, v []byte) error {
		if typ == want {
			return fn(v)
		}
		return nil
	})
}
