package nftables

import (
	"context"
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

const (
	diagByFamily = 20 // SOCK_DIAG_BY_FAMILY
	diagReqLen   = 56 // struct inet_diag_req_v2
	diagMsgLen   = 72 // struct inet_diag_msg
	tcpListen    = 10
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
		for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
			var some []sock
			err := s.dump(ctx, func() []byte { return diagRequest(family, proto) }, func() { some = nil }, func(m message) error {
				if k, err := readSock(m.body, proto); err != nil {
					return err
				} else {
					some = append(some, k)
				}
				return nil
			})
			if err != nil {
				return nil, err
			}
			all = append(all, some...)
		}
	}
	return all, nil
}

func diagRequest(family, proto uint8) []byte {
	b := make([]byte, headerLen+diagReqLen)
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], diagByFamily)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	b[headerLen], b[headerLen+1] = family, proto
	binary.NativeEndian.PutUint32(b[headerLen+4:], ^uint32(0)) // every state
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
		proto: proto, state: b[1], inode: binary.NativeEndian.Uint32(b[68:]),
		local:  netip.AddrPortFrom(addr(8), binary.BigEndian.Uint16(b[4:])),
		remote: netip.AddrPortFrom(addr(24), binary.BigEndian.Uint16(b[6:])),
	}, nil
}
