package main

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/ajar-access/ajar"
)

// steady is the plane's clock: the wall's time, but never earlier than what it gave before and what has passed since.
// Somebody who sets the wall back would otherwise give every lease that much more, and make those that ended look live.
// It catches up with the wall when the wall has, or at the next start; see after.
type steady struct {
	read func() (wall time.Time, passed time.Duration) // passed counts on whatever the wall does
	log  *slog.Logger

	mu   sync.Mutex
	last time.Time
	at   time.Duration
	told bool
}

// noticeable is a step back that is told. Less is the wall and the counter being read one after the other.
const noticeable = time.Second

func newSteady(log *slog.Logger) *steady {
	began := time.Now()
	return &steady{log: log, read: func() (time.Time, time.Duration) {
		now := time.Now()
		return now, now.Sub(began)
	}}
}

// now is the Clock.
func (s *steady) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	wall, passed := s.read()
	now := wall.Round(0) // nobody must compare it by a counter of its own
	if least := s.last.Add(passed - s.at); !s.last.IsZero() && now.Before(least) {
		if back := least.Sub(now); back >= noticeable && !s.told {
			s.told = true
			s.log.Warn("this machine's clock was set back; the plane goes on from where it was, and no lease lasts longer for it", "back", back.String(), "wall", now.UTC(), "plane", least.UTC())
		}
		now = least
	}
	s.last, s.at = now, passed
	return now
}

// mostAhead is how far ahead of the wall a start goes on from the activity log. What is further ahead was written by a
// clock that was wrong then, since no lease is that long, and would keep a plane in the future for good.
const mostAhead = 48 * time.Hour

// after makes the clock go on from the newest entry of the activity log, so that a wall that was set back while the
// plane was down brings nothing back either.
func (s *steady) after(ctx context.Context, store ajar.Store) error {
	var newest time.Time
	err := store.View(ctx, func(tx ajar.Tx) error {
		es, err := tx.Events(ajar.EventFilter{Limit: 1})
		if len(es) == 1 {
			newest = es[0].Time
		}
		return err
	})
	if err != nil {
		return err
	}
	ahead := newest.Sub(s.now())
	switch {
	case ahead <= 0:
	case ahead > mostAhead:
		s.log.Error("the activity log ends far in the future: this machine's clock is wrong, or was; look at both", "newest", newest.UTC(), "ahead", ahead.String())
	default:
		if ahead >= noticeable {
			s.log.Warn("the activity log ends after this machine's time; the plane goes on from there", "newest", newest.UTC(), "ahead", ahead.String())
		}
		s.mu.Lock()
		s.last = newest.Round(0)
		s.mu.Unlock()
	}
	return nil
}
