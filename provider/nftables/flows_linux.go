package nftables

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/ti-mo/conntrack"
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
	tracked, err := f.tracked()
	if err != nil {
		// No conntrack, no redirected connections; nothing is known of who talked to unconnected UDP sockets.
		f.log.WarnContext(ctx, "conntrack cannot be read; connections into containers are not spared", "err", err)
		return cs, nil
	}
	known := map[flow]bool{}
	began := map[flow]time.Time{} // empty unless net.netfilter.nf_conntrack_timestamp is on
	for _, t := range tracked {
		c, ok := trackedFlow(t)
		if !ok || !guarded(c) {
			continue
		}
		known[c] = true
		if t.Timestamp.Start.Unix() > 0 {
			began[c] = t.Timestamp.Start.UTC()
		}
		if !seen[c] && (t.Status.DstNAT() || c.proto == unix.IPPROTO_UDP) {
			cs = append(cs, conn{flow: c, served: true, over: finished(t)})
		}
	}
	for i := range cs {
		cs[i].since, cs[i].known = began[cs[i].flow], known[cs[i].flow]
	}
	return cs, nil
}

// tracker lists conntrack's table over one socket that it keeps, for the reason at hanger.ask: a guard that is laid
// again after a flush must not wait for what the kernel has left over from the flush.
type tracker struct {
	mu   sync.Mutex
	conn *conntrack.Conn
}

// tracked lists conntrack's table.
func (f *Firewall) tracked() ([]conntrack.Flow, error) {
	t := &f.track
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conn == nil {
		err := inNetNS(f.conf.NetNS, func() (err error) {
			t.conn, err = conntrack.Dial(nil)
			return err
		})
		if err != nil {
			return nil, err
		}
		_ = t.conn.SetReadBuffer(4 << 20)
	}
	flows, err := t.conn.Dump(nil)
	if err != nil {
		err = errors.Join(err, t.close())
	}
	return flows, err
}

// close must be called with t.mu held.
func (t *tracker) close() (err error) {
	if t.conn != nil {
		err = t.conn.Close()
		t.conn = nil
	}
	return err
}

// finished reports whether a TCP connection is only remembered.
func finished(t conntrack.Flow) bool {
	const lastAck = 6 // enum tcp_conntrack: what follows is TIME_WAIT and CLOSE
	return t.ProtoInfo.TCP != nil && t.ProtoInfo.TCP.State >= lastAck
}

func trackedFlow(t conntrack.Flow) (flow, bool) {
	o := t.TupleOrig
	src, dst := o.IP.SourceAddress, o.IP.DestinationAddress
	if !src.IsValid() || !dst.IsValid() || src.IsLoopback() {
		return flow{}, false
	}
	return flow{
		six: src.Is6(), remote: bytes16(src), local: bytes16(dst),
		rport: o.Proto.SourcePort, lport: o.Proto.DestinationPort, proto: o.Proto.Protocol,
	}, true
}
