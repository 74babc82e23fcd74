//go:build linux

package lab

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long a probe waits for an answer: machines of the lab answer at once or not at all.
const patience = 250 * time.Millisecond

// connect makes one TCP connection from the current thread's namespace and resets it. nil says that it came about.
func connect(to netip.AddrPort) error {
	family, sa := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()})
	if to.Addr().Is4() {
		family, sa = unix.AF_INET, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	// Closing resets, so that thousands of probes leave no ports waiting.
	if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
		return err
	}
	if err := unix.Connect(fd, sa); !errors.Is(err, unix.EINPROGRESS) {
		return err
	}
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	for deadline := time.Now().Add(patience); ; {
		n, err := unix.Poll(fds, int(time.Until(deadline).Milliseconds())+1)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return unix.ETIMEDOUT
		}
		break
	}
	code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return err
	}
	if code != 0 {
		return unix.Errno(code)
	}
	return nil
}

// Try makes one TCP connection from s: nil if it came about, else what a program would be told.
func (s *Space) Try(to netip.AddrPort) error {
	return s.Run(func() error { return connect(to) })
}

// AwaitOpen tries without a pause until a connection comes about, and returns when that was.
func (s *Space) AwaitOpen(ctx context.Context, to netip.AddrPort) (at time.Time, err error) {
	return s.await(ctx, to, true, 0)
}

// PollOpen is AwaitOpen with a pause between tries, for when others need the cores.
func (s *Space) PollOpen(ctx context.Context, to netip.AddrPort, pause time.Duration) (at time.Time, err error) {
	return s.await(ctx, to, true, pause)
}

// AwaitClosed tries without a pause until a connection is refused, and returns when that was.
func (s *Space) AwaitClosed(ctx context.Context, to netip.AddrPort) (at time.Time, err error) {
	return s.await(ctx, to, false, 0)
}

func (s *Space) await(ctx context.Context, to netip.AddrPort, open bool, pause time.Duration) (at time.Time, err error) {
	err = s.Run(func() error {
		for {
			if (connect(to) == nil) == open {
				at = time.Now()
				return nil
			}
			if err := context.Cause(ctx); err != nil {
				return err
			}
			if pause > 0 {
				time.Sleep(pause)
			}
		}
	})
	return at, err
}

// Watch tries one port again and again from a space, and remembers when it changed.
type Watch struct {
	through  func(began, ended time.Time) // called for each connection that came about
	mu       sync.Mutex
	changes  []Change
	tries    int
	lastOpen time.Time
	began    time.Time // of the last connection's try
	latest   time.Time
	stop     context.CancelFunc
	done     chan struct{}
}

// Change is a moment at which a watched port was seen to be open or closed, after it was seen otherwise.
type Change struct {
	At   time.Time
	Open bool
}

// Watch starts to watch. The first change tells what the first try saw.
func (s *Space) Watch(to netip.AddrPort, every time.Duration) *Watch {
	return s.WatchFunc(to, every, func(time.Time, time.Time) {})
}

// WatchFunc is Watch that also tells of each connection that came about: when the try began and when it was through.
func (s *Space) WatchFunc(to netip.AddrPort, every time.Duration, through func(began, ended time.Time)) *Watch {
	ctx, cancel := context.WithCancel(context.Background())
	w := &Watch{stop: cancel, done: make(chan struct{}), through: through}
	first := make(chan struct{})
	defer func() { <-first }() // what happens after Watch returned is seen
	go func() {
		defer close(w.done)
		var once sync.Once
		tried := func() { once.Do(func() { close(first) }) }
		defer tried()
		_ = s.Run(func() error { // a space that is gone sees nothing
			for ctx.Err() == nil {
				began := time.Now()
				open := connect(to) == nil
				w.saw(open, began, time.Now())
				tried()
				if every > 0 {
					time.Sleep(every)
				}
			}
			return nil
		})
	}()
	return w
}

func (w *Watch) saw(open bool, began, at time.Time) {
	if open {
		w.through(began, at)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tries++
	w.latest = began
	if n := len(w.changes); n == 0 || w.changes[n-1].Open != open {
		w.changes = append(w.changes, Change{At: at, Open: open})
	}
	if open {
		w.lastOpen, w.began = at, began
	}
}

// Seen is what a Watch saw.
type Seen struct {
	Changes  []Change
	Tries    int
	LastOpen time.Time // of the last connection that came about; zero if none did
	// LastBegan is when that one was begun: it came about in between, and who looks may have been late on busy cores.
	LastBegan time.Time
	Latest    time.Time // when the latest try of all was begun
}

// Now is what was seen so far.
func (w *Watch) Now() Seen {
	w.mu.Lock()
	defer w.mu.Unlock()
	return Seen{Changes: append([]Change(nil), w.changes...), Tries: w.tries, LastOpen: w.lastOpen, LastBegan: w.began, Latest: w.latest}
}

// Stop ends the watch and returns what it saw.
func (w *Watch) Stop() Seen {
	w.stop()
	<-w.done
	return w.Now()
}

// OpenFor adds up how long the port was seen to be open, up to the last change.
func (s Seen) OpenFor() time.Duration {
	var sum time.Duration
	for i, c := range s.Changes {
		if c.Open && i+1 < len(s.Changes) {
			sum += s.Changes[i+1].At.Sub(c.At)
		}
	}
	return sum
}

// EverOpen reports whether any try came through.
func (s Seen) EverOpen() bool { return !s.LastOpen.IsZero() }
