package nftables

import (
	"encoding/binary"
	"net/netip"

	ctnetlink "github.com/mdlayher/netlink"
	"github.com/ti-mo/conntrack"
	"golang.org/x/sys/unix"
)

// sendTCP sends one TCP packet with any flags, as no kernel would.
func (m *machine) sendTCP(from, to netip.AddrPort, flags byte, badSum bool) error {
	seg := make([]byte, 20)
	binary.BigEndian.PutUint16(seg, from.Port())
	binary.BigEndian.PutUint16(seg[2:], to.Port())
	binary.BigEndian.PutUint32(seg[4:], 1000)
	seg[12], seg[13] = 5<<4, flags
	binary.BigEndian.PutUint16(seg[14:], 65535)
	src, dst := from.Addr().As4(), to.Addr().As4()
	pseudo := append(append(append([]byte{}, src[:]...), dst[:]...), 0, unix.IPPROTO_TCP, 0, 20)
	sum := checksum(append(pseudo, seg...))
	if badSum {
		sum ^= 0x5555
	}
	binary.BigEndian.PutUint16(seg[16:], sum)
	return m.do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: src}); err != nil {
			return err
		}
		return unix.Sendto(fd, seg, 0, &unix.SockaddrInet4{Addr: dst})
	})
}

func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// forgetConnections is conntrack -F.
func (m *machine) forgetConnections() {
	m.t.Helper()
	m.must(m.do(func() error {
		c, err := conntrack.Dial(&ctnetlink.Config{})
		if err != nil {
			return err
		}
		defer c.Close()
		return c.Flush()
	}))
}
