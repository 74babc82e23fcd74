package nftables

import (
	"context"
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

const (
	diagByFamily = 20 // SOCK_DIAG_BY_FAMILY
	diagDestroy  = 21 // SOCK_DESTROY
	diagBytecode = 1  // INET_DIAG_REQ_BYTECODE
	diagReqLen   = 56 // struct inet_diag_req_v2
	diagMsgLen   = 72 // struct inet_diag_msg
	tcpListen    = 10
	tcpSynSent   = 2
	tcpTimeWait  = 6
	tcpClose     = 7
	udpOpen      = 7 // an unconnected UDP socket reads as closed
)

// sock is one socket as the kernel lists it.
type sock struct {
	proto         uint8
	state         uint8
	local, remote netip.AddrPort
	inode         uint32
	family        uint8    // as the kernel has it: an IPv6 socket may have IPv4 ends
	id            [48]byte // struct inet_diag_sockid, which with its cookie means this socket and no later one
}

// sockAddr is where a socket listens. An address that is unspecified listens on every one.
type sockAddr struct {
	proto uint8
	local netip.AddrPort
}

func (s sock) listening() bool {
	if s.proto == unix.IPPROTO_TCP {
		return s.state == tcpListen
	}
	return s.state == udpOpen
}

func (s sock) at() sockAddr { return sockAddr{s.proto, s.local} }

// served reports whether some socket listens where s is connected.
func (s sock) served(listens map[sockAddr]bool) bool {
	for _, a := range []netip.Addr{s.local.Addr(), netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		if listens[sockAddr{s.proto, netip.AddrPortFrom(a, s.local.Port())}] {
			return true
		}
	}
	return false
}

// flow is s as a connection; false for sockets without another end, and for talk within the host.
func (s sock) flow() (flow, bool) {
	if s.listening() || !s.remote.IsValid() || s.remote.Port() == 0 || s.remote.Addr().IsUnspecified() {
		return flow{}, false
	}
	if s.proto == unix.IPPROTO_TCP && (s.state == tcpTimeWait || s.state == tcpClose) {
		return flow{}, false
	}
	remote, local := s.remote.Addr(), s.local.Addr()
	if remote.IsLoopback() || remote == local {
		return flow{}, false
	}
	return flow{
		six: remote.Is6(), remote: bytes16(remote), local: bytes16(local),
		rport: s.remote.Port(), lport: s.local.Port(), proto: s.proto,
	}, true
}

// sockets lists all TCP and UDP sockets of the network namespace.
func (f *Firewall) sockets(ctx context.Context) (all []sock, err error) {
	var s *socket
	err = inNetNS(f.conf.NetNS, func() (err error) {
		s, err = dial(unix.NETLINK_SOCK_DIAG)
		return err
	})
	if err != nil {
		return nil, err
	}
	defer func() { _ = s.close() }()
	for _, proto := range []uint8{unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
		some, err := s.sockets(ctx, proto, nil)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

// sockets lists one protocol's sockets; only those on local ports, if there are any and not so many that asking for them
// costs more than hearing of all.
func (s *socket) sockets(ctx context.Context, proto uint8, ports []uint16) (all []sock, err error) {
	var filter attrs
	if n := len(ports); n > 0 && n <= 256 {
		filter.raw(diagBytecode, onPorts(ports))
	}
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		var some []sock
		req := func() []byte {
			return diagRequest(diagByFamily, unix.NLM_F_DUMP, sock{family: family, proto: proto}, filter)
		}
		err := s.dump(ctx, req, func() { some = nil }, func(m message) error {
			k, err := readSock(m.body, proto)
			some = append(some, k)
			return err
		})
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

// onPorts is a program for the kernel's lister that passes sockets on some local ports: per port "at least" and "at most",
// since older kernels know no "equal", and a jump to the end, which is a pass; beyond the end is none.
func onPorts(ports []uint16) []byte {
	const (
		jump, atLeast, atMost = 1, 2, 3
		block                 = 20
	)
	var b []byte
	op := func(code, yes uint8, no int) {
		b = binary.NativeEndian.AppendUint16(append(b, code, yes), uint16(no))
	}
	for i, p := range ports {
		op(atLeast, 8, block)
		op(0, 0, int(p))
		op(atMost, 8, block-8)
		op(0, 0, int(p))
		if last := len(ports) - 1; i < last {
			op(jump, 4, (last-i)*block)
		}
	}
	return b
}

// diagRequest asks for sockets (of every state), or for something to be done to the one that is k.
func diagRequest(typ, flags uint16, k sock, rest []byte) []byte {
	b := make([]byte, headerLen+diagReqLen, headerLen+diagReqLen+len(rest))
	b = append(b, rest...)
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], typ)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST|flags)
	b[headerLen], b[headerLen+1] = k.family, k.proto
	binary.NativeEndian.PutUint32(b[headerLen+4:], uint32(1<<12-1)&^(1<<6))
	copy(b[headerLen+8:], k.id[:])
	return b
}

// readSock decodes a struct inet_diag_msg.
func readSock(b []byte, proto uint8) (sock, error) {
	if len(b) < diagMsgLen {
		return sock{}, errShort
	}
	addr := func(at int) netip.Addr {
		if b[0] == unix.AF_INET {
			return netip.AddrFrom4([4]byte(b[at : at+4]))
		}
		return netip.AddrFrom16([16]byte(b[at : at+16])).Unmap()
	}
	return sock{
		proto: proto, state: b[1], inode: binary.NativeEndian.Uint32(b[68:]), family: b[0], id: [48]byte(b[4:52]),
		local:  netip.AddrPortFrom(addr(8), binary.BigEndian.Uint16(b[4:])),
		remote: netip.AddrPortFrom(addr(24), binary.BigEndian.Uint16(b[6:])),
	}, nil
}
