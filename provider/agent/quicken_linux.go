package agent

import (
	"net"

	"golang.org/x/sys/unix"
)

// TCP_RTO_MAX_MS, Linux 6.15.
const tcpRTOMax = 44

// quicken lets a connection go on soon after the network does: retransmissions come at least every second instead of
// ever more rarely. Kernels that cannot do that keep to their ways.
func quicken(c net.Conn) {
	t, ok := c.(*net.TCPConn)
	if !ok {
		return
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_THIN_LINEAR_TIMEOUTS, 1)
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, tcpRTOMax, 1000)
	})
}
