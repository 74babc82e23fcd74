package jit

import (
	"context"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/arm/rest"
	"github.com/ajar-access/ajar/broker"
)

const (
	glanceFirst = 100 * time.Millisecond // how often a waiter looks by itself at first, until it has waited for rest.Glance
	troubleWait = 2 * time.Second        // an answer with trouble in it is held back no longer
)

// waitFor reads c's wait and timeout parameters: wait=Open, Decided or Closed with a timeout, or a duration alone,
// which stands for Open.
func waitFor(c *rest.Call) (until func(*broker.Outcome, time.Time) bool, most time.Duration, err error) {
	most = 30 * time.Second
	if v := c.Param("timeout"); v != "" {
		if most, err = rest.ParseWait(v); err != nil {
			return nil, 0, err
		}
	}
	switch w := c.Param("wait"); strings.ToLower(w) {
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
		if most, err = rest.ParseWait(w); err != nil {
			return nil, 0, rest.Coded(ajar.Invalid, "InvalidParameter", "query parameter wait is %.40q; it can be Open, Decided, Closed or a duration", w)
		}
	}
	return until, min(most, rest.LongestWait), nil
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
func (s room) wait(ctx context.Context, c *rest.Call, id ajar.RequestID) (*broker.Outcome, error) {
	until, most, err := waitFor(c)
	if err != nil {
		return nil, err
	}
	if until == nil {
		return s.Broker.Request(ctx, c.Who, id)
	}
	ch, stop, err := s.News.Watch(c.Who.Principal, id)
	if err != nil {
		return nil, err
	}
	defer stop()
	began := s.Clock()
	for {
		if err := c.Still(); err != nil {
			return nil, err
		}
		o, err := s.Broker.Request(ctx, c.Who, id)
		if err != nil {
			return nil, err
		}
		now := s.Clock()
		waited := now.Sub(began)
		if until(o, now) || waited >= most || (troubled(o) && waited >= troubleWait) {
			return o, nil
		}
		glance := glanceFirst
		if waited > rest.Glance {
			glance = rest.Glance
		}
		if s.News.Pause(ctx, ch, min(glance, most-waited)) != nil {
			return o, context.Cause(ctx)
		}
	}
}
