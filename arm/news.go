package arm

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/broker"
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
	glanceFirst = 100 * time.Millisecond // how often a waiter looks by itself, at first …
	glanceLater = time.Second            // … and once it has waited that long
	troubleWait = 2 * time.Second        // an answer with trouble in it is held back no longer
)

// waitFor reads c's wait and timeout parameters: wait=Open, Decided or Closed with a timeout, or a duration alone,
// which stands for Open.
func (c *call) waitFor() (until func(*broker.Outcome, time.Time) bool, most time.Duration, err error) {
	most = 30 * time.Second
	if v := c.param("timeout"); v != "" {
		if most, err = parseWait(v); err != nil {
			return nil, 0, err
		}
	}
	switch w := c.param("wait"); strings.ToLower(w) {
	case "":
		return nil, 0, nil
	case "open":
		until = settled
	case "decided":
		until = func(o *broker.Outcome, now time.Time) bool { return o.Request.Now(now) != ajar.Pending }
	case "closed":
		until = allClosed
	default:
		until = settled
		if most, err = parseWait(w); err != nil {
			return nil, 0, coded(ajar.Invalid, "InvalidParameter", "query parameter wait is %.40q; it can be Open, Decided, Closed or a duration", w)
		}
	}
	return until, min(most, longestWait), nil
}

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

// settled reports whether o was decided and none of its leases is on its way to be opened.
func settled(o *broker.Outcome, now time.Time) bool {
	for _, l := range o.Leases {
		if l.Now(now) == ajar.Opening {
			return false
		}
	}
	return o.Request.Now(now) != ajar.Pending
}

func allClosed(o *broker.Outcome, now time.Time) bool {
	for _, l := range o.Leases {
		if l.State != ajar.Closed {
			return false
		}
	}
	return o.Request.Now(now) != ajar.Pending
}

func troubled(o *broker.Outcome) bool {
	for _, l := range o.Leases {
		if l.Trouble != "" {
			return true
		}
	}
	return false
}

// wait reads a request, and again until it is as c wants it, its time is over, or there is trouble to tell of.
func (s *Server) wait(ctx context.Context, c *call, id ajar.RequestID) (*broker.Outcome, error) {
	until, most, err := c.waitFor()
	if err != nil {
		return nil, err
	}
	if until == nil {
		return s.Broker.Request(ctx, c.who, id)
	}
	ch, stop, err := s.news.watch(c.who.Principal, id)
	if err != nil {
		return nil, err
	}
	defer stop()
	began := s.Clock()
	for {
		if err := c.still(); err != nil {
			return nil, err
		}
		o, err := s.Broker.Request(ctx, c.who, id)
		if err != nil {
			return nil, err
		}
		now := s.Clock()
		waited := now.Sub(began)
		if until(o, now) || waited >= most || (troubled(o) && waited >= troubleWait) {
			return o, nil
		}
		glance := glanceFirst
		if waited > glanceLater {
			glance = glanceLater
		}
		if s.news.pause(ctx, ch, min(glance, most-waited)) != nil {
			return o, context.Cause(ctx)
		}
	}
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
