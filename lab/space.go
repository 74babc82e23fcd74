//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"

	"golang.org/x/sys/unix"
)

// Space is a network namespace, with a host name of its own. It lives until Close.
type Space struct {
	Name  string
	ns    int // open file of the namespace
	calls chan call
	done  chan struct{}
}

type call struct {
	fn  func() error
	err chan error
}

var errClosed = errors.New("the namespace is closed")

// newSpace makes a namespace whose only interface is a loopback that is up.
func newSpace(name string) (*Space, error) {
	s := &Space{Name: name, calls: make(chan call), done: make(chan struct{})}
	made := make(chan error)
	go s.thread(made)
	if err := <-made; err != nil {
		return nil, fmt.Errorf("namespace %s: %w", name, err)
	}
	return s, nil
}

// thread is the namespace's own thread. Processes started from it are children of it: they die with it, and it is
// never handed back to the scheduler, so it ends with the namespace and not before.
func (s *Space) thread(made chan<- error) {
	runtime.LockOSThread()
	err := s.make()
	made <- err
	if err != nil {
		return
	}
	for {
		select {
		case c := <-s.calls:
			c.err <- c.fn()
		case <-s.done:
			return
		}
	}
}

func (s *Space) make() error {
	if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWUTS); err != nil {
		return forbidden(err)
	}
	if err := unix.Sethostname([]byte(s.Name)); err != nil {
		return err
	}
	fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	s.ns = fd
	return linkUp("lo")
}

// Do runs fn in s, on the one thread whose children live as long as s. fn must not block for long.
func (s *Space) Do(fn func() error) error {
	c := call{fn: fn, err: make(chan error, 1)}
	select {
	case s.calls <- c:
		return <-c.err
	case <-s.done:
		return errClosed
	}
}

// Run runs fn in s on a thread of its own, for as long as fn likes. Goroutines that fn starts are not in s.
func (s *Space) Run(fn func() error) error {
	err := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread is not fit for others and ends here
		if e := unix.Setns(s.ns, unix.CLONE_NEWNET); e != nil {
			err <- fmt.Errorf("enter %s: %w", s.Name, e)
			return
		}
		err <- fn()
	}()
	return <-err
}

// DialContext dials from s. Fit for http.Transport; address must hold an IP address.
func (s *Space) DialContext(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = s.Run(func() error {
		var d net.Dialer
		conn, err = d.DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Listen listens in s.
func (s *Space) Listen(network, address string) (l net.Listener, err error) {
	err = s.Run(func() error {
		var lc net.ListenConfig
		l, err = lc.Listen(context.Background(), network, address)
		return err
	})
	return l, err
}

// Close ends the namespace's thread, and with it every process that was started in s. The namespace itself is gone
// once the last socket in it is.
func (s *Space) Close() {
	select {
	case <-s.done:
	default:
		close(s.done)
		_ = unix.Close(s.ns) // nothing to be done about it
	}
}
