package arm

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/ajar-access/ajar"
)

// news wakes who waits for a request to change. It saves the database from being asked over and over; a change made by
// another replica is noticed by looking now and then.
type news struct {
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
	s.news.mu.Lock()
	defer s.news.mu.Unlock()
	for _, id := range ids {
		for ch := range s.news.waiting[id] {
			tell(ch)
		}
	}
}

// Logged says that events were added to the activity log, to those who follow it with a filter that they match. It does
// not block.
func (s *Server) Logged(events []ajar.Event) {
	s.news.mu.Lock()
	defer s.news.mu.Unlock()
	for ch, f := range s.news.waiting[anyEvent] {
		if slices.ContainsFunc(events, func(e ajar.Event) bool { return f.Matches(&e) }) {
			tell(ch)
		}
	}
}

// Waited reports whether anybody waits for what Changed or Logged say.
func (s *Server) Waited() bool {
	s.news.mu.Lock()
	defer s.news.mu.Unlock()
	return len(s.news.waiting) > 0
}

func tell(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default: // told already
	}
}

// Stop answers whoever waits with what there is. It is called once, when the server is about to end.
func (s *Server) Stop() { close(s.news.stopping) }

func (n *news) watch(who ajar.PrincipalID, id ajar.RequestID) (ch chan struct{}, stop func(), err error) {
	return n.await(who, id, nil)
}

// follow is watch for who waits for events that f selects.
func (n *news) follow(who ajar.PrincipalID, f ajar.EventFilter) (ch chan struct{}, stop func(), err error) {
	return n.await(who, anyEvent, &f)
}

func (n *news) await(who ajar.PrincipalID, id ajar.RequestID, f *ajar.EventFilter) (ch chan struct{}, stop func(), err error) {
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

const (
	longestWait = 60 * time.Second
	glanceLater = time.Second // how often a waiter looks by itself
)

// parseWait takes 10s and PT10S.
func parseWait(v string) (time.Duration, error) {
	d, err := time.ParseDuration(v)
	if err != nil {
		d, err = ajar.ParseDuration(v)
	}
	if err != nil || d < 0 {
		return 0, coded(ajar.Invalid, "InvalidParameter", "query parameter timeout is %.40q; it can be a duration such as 10s or PT10S", v)
	}
	return d, nil
}

var errStopping = errors.New("the server is stopping")

// pause returns when there is news, or after d.
func (n *news) pause(ctx context.Context, ch <-chan struct{}, d time.Duration) error {
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

// anyEvent is what a waiter for the log watches, in place of a request.
const anyEvent ajar.RequestID = ""
