package discover

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/ajar-access/ajar"
)

// gate is what carries out what was found.
type gate interface {
	// BeginListing claims an origin's listing for owner; when it is not ok, l says when to ask again.
	BeginListing(ctx context.Context, who ajar.Caller, o ajar.Origin, owner string, hold time.Duration) (l *ajar.Listing, ok bool, err error)
	// Agree makes targets of a part of a listing, and says which entries it cannot take.
	Agree(ctx context.Context, who ajar.Caller, l *ajar.Listing, found []ajar.Found) (ajar.Agreed, error)
	// EndListing ends one that was whole; listed has the keys of its targets.
	EndListing(ctx context.Context, who ajar.Caller, l *ajar.Listing, listed map[string]bool, due time.Time) (ajar.Ended, error)
	// FailListing ends one that was not.
	FailListing(ctx context.Context, who ajar.Caller, l *ajar.Listing, why string, due time.Time) error
}

// Loop lists. Gate, Finders, Clock and Owner must be set; for the rest zero is fine. Any number of loops may work over
// one store, each with an Owner of its own.
type Loop struct {
	Gate    gate
	Finders map[string]ajar.Finder // by the name of their provider
	Clock   ajar.Clock
	Log     *slog.Logger
	Owner   string // this replica

	Every   time.Duration // between two listings of an origin, spread by a tenth (default 5 min)
	Timeout time.Duration // of one listing (default 3 min); the claim lasts three times as long
	// Backoff is the wait after the first failure (default 30 s); it doubles up to MaxBackoff (default 30 min).
	Backoff, MaxBackoff time.Duration
	Most                int // targets in one listing (default 200,000); one that has more is not whole

	// Listed is told of every listing that was begun; nil = nobody. It must not block.
	Listed func(o ajar.Origin, end ajar.Ended, took time.Duration, err error)

	once sync.Once
}

func (l *Loop) init() {
	l.once.Do(func() {
		def(&l.Every, 5*time.Minute)
		def(&l.Timeout, 3*time.Minute)
		def(&l.Backoff, 30*time.Second)
		def(&l.MaxBackoff, 30*time.Minute)
		if l.Most == 0 {
			l.Most = 200_000
		}
		if l.Log == nil {
			l.Log = slog.New(slog.DiscardHandler)
		}
		if l.Listed == nil {
			l.Listed = func(ajar.Origin, ajar.Ended, time.Duration, error) {}
		}
	})
}

func def(d *time.Duration, to time.Duration) {
	if *d == 0 {
		*d = to
	}
}

// Run lists until ctx ends. Providers do not wait for each other.
func (l *Loop) Run(ctx context.Context) error {
	l.init()
	var all sync.WaitGroup
	for provider, f := range l.Finders {
		all.Go(func() { l.run(ctx, provider, f) })
	}
	all.Wait()
	<-ctx.Done()
	return context.Cause(ctx)
}

func (l *Loop) run(ctx context.Context, provider string, f ajar.Finder) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	failed := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		next, err := l.round(ctx, provider, f)
		wait := next.Sub(l.Clock())
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			l.Log.Warn("cannot list", "provider", provider, "err", err)
			wait = l.after(failed)
			failed++
		default:
			failed = 0
		}
		// No longer than a listing's interval: a claim elsewhere may end sooner than it said, and clocks are set.
		timer.Reset(max(min(wait, l.Every), time.Second))
	}
}

// Once lists what is due of every provider, one after the other, and says when something is due next.
func (l *Loop) Once(ctx context.Context) (next time.Time, err error) {
	l.init()
	for provider, f := range l.Finders {
		at, bad := l.round(ctx, provider, f)
		if err = errors.Join(err, bad); bad == nil && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	return next, err
}

// round lists what is due of one provider.
func (l *Loop) round(ctx context.Context, provider string, f ajar.Finder) (next time.Time, err error) {
	next = l.Clock().Add(l.Every)
	limited, cancel := context.WithTimeout(ctx, l.Timeout)
	scopes, err := f.Scopes(limited)
	cancel()
	if err != nil {
		return next, fmt.Errorf("what to list: %w", err)
	}
	var faults []error
	for _, s := range scopes {
		at, err := l.list(ctx, f, ajar.Origin{Provider: provider, Scope: s})
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", s, err))
			continue
		}
		if at.Before(next) {
			next = at
		}
	}
	return next, errors.Join(faults...)
}

// list lists one origin, if it is due here. An error is one of the gate; what the provider does not answer is recorded
// there.
func (l *Loop) list(ctx context.Context, f ajar.Finder, o ajar.Origin) (next time.Time, err error) {
	state, ok, err := l.Gate.BeginListing(ctx, ajar.Plane, o, l.Owner, 3*l.Timeout)
	if err != nil {
		return next, err
	}
	if !ok {
		next = state.Due
		if state.Owner != "" && state.Until.After(next) {
			next = state.Until
		}
		return next, nil
	}
	began := l.Clock()
	limited, cancel := context.WithTimeout(ctx, 2*l.Timeout) // the rest of the claim is for saying how it ended
	defer cancel()
	end, next, err := l.follow(limited, f, state)
	l.Listed(o, end, l.Clock().Sub(began), err)
	if end.Refused {
		l.Log.Warn("listing refused", "provider", o.Provider, "scope", o.Scope, "targets", end.Targets, "missing", end.Missing)
	}
	if err == nil || ctx.Err() != nil {
		return next, ctx.Err()
	}
	l.Log.Warn("listing failed", "provider", o.Provider, "scope", o.Scope, "err", err)
	next = l.Clock().Add(l.after(state.Failures))
	return next, l.Gate.FailListing(ctx, ajar.Plane, state, reason(err), next)
}

// follow carries a listing to its end.
func (l *Loop) follow(ctx context.Context, f ajar.Finder, state *ajar.Listing) (end ajar.Ended, next time.Time, err error) {
	listed, bad, why := map[string]bool{}, 0, ""
	limited, cancel := context.WithTimeoutCause(ctx, l.Timeout, ajar.Errorf(ajar.Unavailable, "the listing took longer than %s", l.Timeout))
	defer cancel()
	err = f.Find(limited, state.Scope, func(found []ajar.Found) error {
		if limited.Err() != nil {
			return context.Cause(limited)
		}
		for _, x := range found {
			listed[x.ID.Key()] = true
		}
		if len(listed) > l.Most {
			return ajar.Errorf(ajar.TooMany, "the listing has more than %d machines, the most that are taken (discovery.most)", l.Most)
		}
		done, err := l.Gate.Agree(limited, ajar.Plane, state, found)
		if bad += done.Bad; why == "" {
			why = done.Why
		}
		return err
	})
	if limited.Err() != nil {
		err = errors.Join(err, context.Cause(limited)) // whatever Find thinks, it was not let finish
	}
	if err != nil {
		return end, next, err
	}
	if bad > 0 {
		return end, next, ajar.Errorf(ajar.Invalid, "%d entries of the listing cannot be taken, so nothing is removed for it; the first: %s", bad, why)
	}
	next = l.Clock().Add(l.Every - l.Every/10 + rand.N(l.Every/5+1))
	end, err = l.Gate.EndListing(ctx, ajar.Plane, state, listed, next)
	return end, next, err
}

// after is how long to wait after so many failures and one more.
func (l *Loop) after(failures int) time.Duration {
	d := l.Backoff
	for range failures {
		if d *= 2; d >= l.MaxBackoff {
			return l.MaxBackoff
		}
	}
	return d
}

// reason is what people are told of a failure. Its cause is in the log.
func reason(err error) string {
	var e *ajar.Error
	if errors.As(err, &e) {
		return ajar.Message(err)
	}
	return "the provider's listing failed; the plane's log says why"
}
