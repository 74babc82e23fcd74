package nftables

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// hanger tells both ends of a session that it is over. The kernel has stopped its packets by then, but who only waits
// would not notice, and a server would keep the session's socket and process.
//
// It works beside changes, never in them: their part is a move in a queue and a poke.
type hanger struct {
	f    *Firewall
	diag *socket
	// For questions about who began a connection; see ask. The goroutine's alone while it runs.
	ct, routes *socket
	pokes      chan struct{}
	cancel     context.CancelFunc
	done       chan struct{}
	once       sync.Once
	sweeps     atomic.Int64 // begun; for tests
	ended      atomic.Int64

	armed int64                  // under f.mu: the end that the goroutine sleeps for
	fault atomic.Pointer[string] // why nobody is told, for people
}

const (
	// afterEnd is how long after an element's end its port is looked at: after the latest that the kernel may end it, so
	// that nobody comes in behind the look, and a little for ends that fall together.
	afterEnd = late + 9*time.Millisecond
	// atOnce bounds the ends that are taken from the queue while changes wait.
	atOnce = 4096
	// nap bounds a sleep, since the clock may be stepped without anybody saying so.
	nap = time.Minute
	// retryIn is the time until a sweep that failed is tried again.
	retryIn = time.Second
)

func newHanger(f *Firewall) *hanger {
	return &hanger{f: f, pokes: make(chan struct{}, 1), cancel: func() {}, armed: forever}
}

// open must be called inside the network namespace. It finds out whether the kernel closes sockets for us.
func (h *hanger) open() (err error) {
	if h.diag, err = dial(unix.NETLINK_SOCK_DIAG); err != nil {
		return err
	}
	// No socket is this one: it has neither ends nor a cookie.
	h.noted(h.destroy(sock{family: unix.AF_INET, proto: unix.IPPROTO_TCP}))
	return nil
}

// noted keeps what the kernel answered when it was asked to close no socket.
func (h *hanger) noted(err error) {
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		h.blame(fmt.Sprintf("kernel %s closes no sockets (CONFIG_INET_DIAG_DESTROY is off); who only waits notices the end with the next packet", h.f.kernel))
	case err != nil:
		h.blame(err.Error())
	}
}

func (h *hanger) blame(why string) { h.fault.Store(&why) }

func (h *hanger) status() string {
	if why := h.fault.Load(); why != nil {
		return *why
	}
	return "on"
}

// start begins to wait for ends, unless the kernel cannot hang up.
func (h *hanger) start() {
	if why := h.fault.Load(); why != nil {
		h.f.log.Warn("sessions are cut, but not hung up", "why", *why)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	h.cancel, h.done = cancel, make(chan struct{})
	go h.run(ctx)
}

// stop waits until nothing is hung up any longer. The caller must not hold f.mu.
func (h *hanger) stop() (err error) {
	h.once.Do(func() {
		h.cancel()
		if h.done != nil {
			<-h.done
		}
		err = h.hushed()
		if h.diag != nil {
			err = errors.Join(err, h.diag.close())
		}
	})
	return err
}

func (h *hanger) poke() {
	select {
	case h.pokes <- struct{}{}:
	default:
	}
}

// ring wakes the hanger if there is something for it. Called with f.mu held.
func (f *Firewall) ring() {
	if len(f.book.lost) > 0 || f.book.queue.next() < f.hang.armed {
		f.hang.poke()
	}
}

func anyBar(bar) bool { return true }

// losing marks the guarded TCP ports where connections may have lost their permission. Called with f.mu held.
func (f *Firewall) losing(which func(bar) bool) {
	for k := range f.barred {
		if k.proto == unix.IPPROTO_TCP && which(k) {
			f.book.lost[k.port] = struct{}{}
		}
	}
}

func (h *hanger) run(ctx context.Context) {
	defer close(h.done)
	timer := time.NewTimer(nap)
	defer timer.Stop()
	for {
		ports, wait := h.due()
		pokes := h.pokes
		if len(ports) > 0 {
			from := time.Now()
			h.sweeps.Add(1)
			err := h.sweep(ctx, ports)
			// However fast openings end, no more than a fifth of the time goes into looking.
			wait, pokes = min(4*time.Since(from), 50*time.Millisecond), nil
			if err != nil && ctx.Err() == nil {
				wait = retryIn
			}
			h.judge(ctx, err)
			h.ended.Add(1)
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-pokes:
		case <-timer.C:
		}
	}
}

// judge notes how a sweep went, and says so when that changes.
func (h *hanger) judge(ctx context.Context, err error) {
	was := h.fault.Load()
	switch {
	case ctx.Err() != nil:
	case err == nil:
		h.fault.Store(nil)
	case was == nil || *was != err.Error():
		h.blame(err.Error())
		h.f.log.WarnContext(ctx, "sessions that ended cannot be hung up", "err", err)
	}
}

// due takes the guarded ports where something ended, and tells how long to sleep if there is none.
func (h *hanger) due() ([]uint16, time.Duration) {
	ports := map[uint16]struct{}{}
	for {
		more, wait := h.take(ports)
		if !more {
			return slices.Sorted(maps.Keys(ports)), wait
		}
	}
}

func (h *hanger) take(ports map[uint16]struct{}) (more bool, wait time.Duration) {
	f := h.f
	f.mu.Lock()
	defer f.mu.Unlock()
	h.armed = forever
	if f.sock == nil || !f.laid || f.suspect {
		// Memory may not know who is allowed. The change that puts it right pokes.
		return false, nap
	}
	now := f.clock().Add(-afterEnd).UnixMilli()
	for range atOnce {
		if f.book.queue.next() > now {
			break
		}
		f.book.lost[f.book.queue.take()] = struct{}{}
	}
	next := f.book.queue.next()
	if next <= now {
		return true, 0
	}
	for k := range f.barred {
		if _, ok := f.book.lost[k.port]; ok && k.proto == unix.IPPROTO_TCP {
			ports[k.port] = struct{}{}
		}
	}
	clear(f.book.lost)
	h.armed = next
	return false, time.Duration(min(next-now, nap.Milliseconds())) * time.Millisecond
}

// sweep hangs up every session on ports that nothing allows any longer.
func (h *hanger) sweep(ctx context.Context, ports []uint16) error {
	socks, err := h.diag.sockets(ctx, unix.IPPROTO_TCP, ports)
	if err == nil {
		var calls []call
		if calls, err = h.called(h.candidates(served(socks))); err == nil {
			err = h.hangUp(ctx, calls)
		}
	}
	if err != nil {
		h.f.mu.Lock()
		defer h.f.mu.Unlock()
		for _, p := range ports {
			h.f.book.lost[p] = struct{}{}
		}
		return fmt.Errorf("hang up: %w", err)
	}
	return nil
}

// served are the sockets that a listening socket accepted, as far as one can tell by looking at sockets.
func served(socks []sock) []sock {
	listens := map[sockAddr]bool{}
	for _, s := range socks {
		if s.listening() {
			listens[s.at()] = true
		}
	}
	return slices.DeleteFunc(socks, func(s sock) bool {
		_, ok := s.flow()
		return !ok || s.state == tcpSynSent || !s.served(listens)
	})
}

// candidates are those that no opening and no grace lets live, at first sight.
func (h *hanger) candidates(socks []sock) []sock {
	h.f.mu.Lock()
	defer h.f.mu.Unlock()
	return slices.DeleteFunc(socks, func(s sock) bool {
		c, _ := s.flow()
		return h.f.entitled(c)
	})
}

// entitled reports whether c may go on: nothing guards it, it is spared, or an opening allows it. Called with f.mu held.
func (f *Firewall) entitled(c flow) bool {
	now := f.clock().UnixMilli()
	guarded := false
	for k, end := range f.barred {
		guarded = guarded || end > now && k.covers(c)
	}
	return !guarded || f.spared[c] || f.allowed(c)
}

// hangUp closes the sockets of calls that nothing allows. Whether something does is asked under the lock, a few at a time so
// that changes do not wait long; what becomes allowed in the instant after that had lost its permission before.
func (h *hanger) hangUp(ctx context.Context, calls []call) error {
	var errs []error
	n := 0
	for part := range slices.Chunk(calls, asked) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		part, err := h.verdicts(part)
		if err != nil {
			return err
		}
		for _, c := range part {
			// Gone by itself, or about to be (a kernel may not destroy what only waits for stray packets).
			if err := h.destroy(c.sock); err == nil {
				n++
			} else if !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EOPNOTSUPP) {
				errs = append(errs, err)
			}
		}
	}
	if n > 0 {
		h.f.log.InfoContext(ctx, "sessions hung up", "count", n)
	}
	return errors.Join(errs...)
}

// destroy has the kernel close one socket: its process gets an error and the other end a reset.
func (h *hanger) destroy(s sock) error {
	err := h.diag.exchange(diagRequest(diagDestroy, unix.NLM_F_ACK, s, nil), func(message) error { return nil })
	if s.id == [48]byte{} && errors.Is(err, unix.ENOENT) {
		return nil // the probe
	}
	if err != nil {
		return fmt.Errorf("close a socket: %w", err)
	}
	return nil
}
