package nftables

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// socket is a netlink socket used for one request at a time.
//
// It is written here because the kernel ties an owned table to one socket and works a request off inside sendto: all
// answers lie in the receive queue when the call returns. A library that waits for one answer for each message
// makes a failed transaction ambiguous and cannot read back one key.
type socket struct {
	fd  int
	pid uint32
	seq uint32
	buf []byte
}

const bigBuffer = 64 << 20

// dial opens a netlink socket. It belongs to the namespace of the calling thread for good.
func dial(proto int) (*socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, proto)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	s := &socket{fd: fd, buf: make([]byte, 64<<10)}
	if err := s.setUp(); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return s, nil
}

func (s *socket) setUp() error {
	if err := unix.Bind(s.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("bind netlink socket: %w", err)
	}
	sa, err := unix.Getsockname(s.fd)
	if err != nil {
		return fmt.Errorf("read netlink address: %w", err)
	}
	if nl, ok := sa.(*unix.SockaddrNetlink); ok {
		s.pid = nl.Pid
	}
	// The forced sizes need CAP_NET_ADMIN in the first user namespace; without it the system's limit must do.
	for _, o := range [][3]int{
		{unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, bigBuffer},
		{unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, bigBuffer},
	} {
		if unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, o[0], o[2]) != nil {
			_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, o[1], o[2])
		}
	}
	_ = unix.SetsockoptInt(s.fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1)
	_ = unix.SetsockoptInt(s.fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	return nil
}

func (s *socket) close() error { return unix.Close(s.fd) }

func (s *socket) send(b []byte) error {
	for {
		err := unix.Sendto(s.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// receive returns what lies in the queue next; ok is false when nothing does.
func (s *socket) receive(flags int) (b []byte, ok bool, err error) {
	for {
		n, _, err := unix.Recvfrom(s.fd, s.buf, flags|unix.MSG_TRUNC)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return nil, false, nil
		case err != nil:
			return nil, false, err
		case n > len(s.buf):
			return nil, false, fmt.Errorf("netlink answer of %d bytes is longer than the buffer", n)
		}
		return s.buf[:n], true, nil
	}
}

// drain throws away what is left in the queue.
func (s *socket) drain() {
	for {
		_, ok, err := s.receive(unix.MSG_DONTWAIT)
		var errno unix.Errno
		if !ok && (err == nil || errors.As(err, &errno) && errno != unix.ENOBUFS) { // a socket that is broken stays so
			return
		}
	}
}

// kernelError is a refusal by the kernel.
type kernelError struct {
	errno unix.Errno
	words string // the kernel's explanation, if it gave one
	what  string // the message it refused
}

func (e *kernelError) Error() string {
	msg := e.errno.Error()
	if e.words != "" {
		msg += " (" + e.words + ")"
	}
	if e.what != "" {
		return e.what + ": " + msg
	}
	return msg
}

func (e *kernelError) Unwrap() error { return e.errno }

// exchange sends one request and hands every answer to fn, until the kernel says it is done.
func (s *socket) exchange(req []byte, fn func(message) error) error {
	s.drain()
	if err := s.send(req); err != nil {
		return err
	}
	for {
		b, ok, err := s.receive(unix.MSG_DONTWAIT)
		if err != nil {
			return err
		}
		if !ok {
			return errors.New("netlink: no answer")
		}
		done := false
		err = eachMessage(b, func(m message) error {
			if m.flags&unix.NLM_F_DUMP_INTR != 0 {
				return errInterrupted
			}
			switch m.typ {
			case unix.NLMSG_ERROR, unix.NLMSG_DONE:
				done = true
				if m.typ == unix.NLMSG_DONE && len(m.body) < 4 {
					return nil
				}
				errno, words, err := m.verdict()
				if err == nil && errno != 0 {
					err = &kernelError{errno: errno, words: words}
				}
				return err
			}
			return fn(m)
		})
		if done || err != nil {
			return err
		}
	}
}

// errInterrupted: what was being listed changed meanwhile; list it again.
var errInterrupted = errors.New("netlink: list changed while it was read")

// dump is exchange for lists, again from the start if the list changed. restart is called before each try.
func (s *socket) dump(ctx context.Context, req func() []byte, restart func(), fn func(message) error) error {
	var err error
	for range 8 {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		restart()
		if err = s.exchange(req(), fn); !errors.Is(err, errInterrupted) {
			return err
		}
	}
	return err
}

// inNetNS runs fn on a thread that is in the network namespace at path. Sockets that fn opens stay there.
func inNetNS(path string, fn func() error) error {
	if path == "" {
		return fn()
	}
	to, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open network namespace: %w", err)
	}
	defer to.Close()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine rather than serve others from there
		if err := unix.Setns(int(to.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("enter network namespace %s: %w", path, err)
			return
		}
		done <- fn()
	}()
	return <-done
}
