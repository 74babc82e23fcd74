package agent

import (
	"net/netip"
	"sync"
	"time"

	"github.com/ajar-access/ajar"
)

// How many connections may be unknown at a time, together and from one address, and how often one address may try to
// join: bursts of joinBurst, one more every joinEvery.
const (
	maxUnknown     = 4096
	maxUnknownEach = 1024
	joinBurst      = 30
	joinEvery      = 2 * time.Second
)

// door counts connections that nobody has identified yet, so that strangers cannot use up the plane.
type door struct {
	clock ajar.Clock

	mu      sync.Mutex
	unknown map[netip.Addr]int
	total   int
	tries   map[netip.Addr]tries
}

type tries struct {
	left float64
	at   time.Time
}

func newDoor(clock ajar.Clock) *door {
	return &door{clock: clock, unknown: map[netip.Addr]int{}, tries: map[netip.Addr]tries{}}
}

// enter lets a connection in until leave is called, unless there are too many.
func (d *door) enter(from netip.AddrPort) (leave func(), ok bool) {
	a := who(from.Addr())
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.total >= maxUnknown || d.unknown[a] >= maxUnknownEach {
		return nil, false
	}
	d.total++
	d.unknown[a]++
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.total--
		if d.unknown[a]--; d.unknown[a] == 0 {
			delete(d.unknown, a)
		}
	}, true
}

// mayJoin counts a try to join.
func (d *door) mayJoin(from netip.AddrPort) bool {
	a, now := who(from.Addr()), d.clock()
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.tries) >= 10_000 {
		clear(d.tries) // forgetting is better than growing; a token is 15 minutes and 256 bits away from being guessed
	}
	t, ok := d.tries[a]
	if !ok {
		t.left = joinBurst
	} else if since := now.Sub(t.at); since > 0 {
		t.left = min(joinBurst, t.left+float64(since)/float64(joinEvery))
	}
	t.at = now
	ok = t.left >= 1
	if ok {
		t.left--
	}
	d.tries[a] = t
	return ok
}

// who counts an IPv6 network of one customer as one address.
func who(a netip.Addr) netip.Addr {
	if a.Is6() {
		p, _ := a.Prefix(64)
		return p.Addr()
	}
	return a
}
