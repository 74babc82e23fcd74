package rest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/ajar-access/ajar"
)

// News wakes who waits for a request to change. It saves the database from being asked over and over; a change made by
// another replica is noticed by looking now and then.
type News struct {
	stopping chan struct{}
	mu       sync.Mutex
	waiting  map[ajar.RequestID]map[chan struct{}]*ajar.EventFilter // the filter, of who follows the log
	who      map[ajar.PrincipalID]int                               // how many calls of one principal wait
}

// maxWaiting is how many calls of one principal may wait at a time. Each holds a connection and looks every second.
const maxWaiting = 1000

// Changed says that something about these requests or their leases is different now. The loop calls it when it has
// settled a lease; it does not block.
func (s *Server) Changed(ids ...ajar.RequestID) {
	s.News.mu.Lock()
	defer s.News.mu.Unlock()
	for _, id := range ids {
		for ch := range s.News.waiting[id] {
			tell(ch)
		}
	}
}

// Logged says that events were added to the activity log, to those who follow it with a filter that they match. It does
// not block.
func (s *Server) Logged(events []ajar.Event) {
	s.News.mu.Lock()
	defer s.News.mu.Unlock()
	for ch, f := range s.News.waiting[AnyEvent] {
		if slices.ContainsFunc(events, func(e ajar.Event) bool { return f.Matches(&e) }) {
			tell(ch)
		}
	}
}

// Waited reports whether anybody waits for what Changed or Logged say.
func (s *Server) Waited() bool {
	s.News.mu.Lock()
	defer s.News.mu.Unlock()
	return len(s.News.waiting) > 0
}

func tell(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default: // told already
	}
}

// Stop answers whoever waits with what there is. It is called once, when the server is about to end.
func (s *Server) Stop() { close(s.News.stopping) }

// Watch waits for news of a request.
func (n *News) Watch(who ajar.PrincipalID, id ajar.RequestID) (ch chan struct{}, stop func(), err error) {
	return n.await(who, id, nil)
}

// Follow is watch for who waits for events that f selects.
func (n *News) Follow(who ajar.PrincipalID, f ajar.EventFilter) (ch chan struct{}, stop func(), err error) {
	return n.await(who, AnyEvent, &f)
}

func (n *News) await(who ajar.PrincipalID, id ajar.RequestID, f *ajar.EventFilter) (ch chan struct{}, stop func(), err error) {
	ch = make(chan struct{}, 1)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.waiting == nil {
		n.waiting, n.who = map[ajar.RequestID]map[chan struct{}]*ajar.EventFilter{}, map[ajar.PrincipalID]int{}
	}
	if n.who[who] >= maxWaiting {
		return nil, nil, ajar.Errorf(ajar.TooMany, "%d of your calls wait for news already; end some first", maxWaiting)
	}
	n.who[who]++
	if n.waiting[id] == nil {
		n.waiting[id] = map[chan struct{}]*ajar.EventFilter{}
	}
	n.waiting[id][ch] = f
	return ch, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		if delete(n.waiting[id], ch); len(n.waiting[id]) == 0 {
			delete(n.waiting, id)
		}
		if n.who[who]--; n.who[who] == 0 {
			delete(n.who, who)
		}
	}, nil
}

// Waiting is how many calls wait for news of a request, or of the log.
func (n *News) Waiting(id ajar.RequestID) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.waiting[id])
}

const (
	LongestWait = 60 * time.Second
	Glance      = time.Second // how often a waiter looks by itself
)

// ParseWait takes 10s and PT10S.
func ParseWait(v string) (time.Duration, error) {
	d, err := time.ParseDuration(v)
	if err != nil {
		d, err = ajar.ParseDuration(v)
	}
	if err != nil || d < 0 {
		return 0, Coded(ajar.Invalid, "InvalidParameter", "query parameter timeout is %.40q; it can be a duration such as 10s or PT10S", v)
	}
	return d, nil
}

var errStopping = errors.New("the server is stopping")

// Pause returns when there is news, or after d.
func (n *News) Pause(ctx context.Context, ch <-chan struct{}, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ch:
	case <-t.C:
	case <-n.stopping:
		return errStopping
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// AnyEvent is what a waiter for the log watches, in place of a request.
const AnyEvent ajar.RequestID = ""
