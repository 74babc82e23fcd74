package authn

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/ajar-access/ajar"
)

// What replicas share of the throttle: wrong guesses, and nothing else, so that a right one costs no write. A tally in the
// store says for one bucket when it would be full again if nothing more failed; each wrong guess, on whichever replica,
// moves that on. A bucket has no more left than its tally says, less what attempts under way here have taken.
//
// Guesses that are under way on several replicas at the same moment do not know of each other. What they overdraw is
// counted, and must be waited for, too: so several replicas are worth no more guesses in the long run than one.
// Tallies are found by an HMAC, which tells nobody who has the database what name or address was tried.

// tallyMost is how much more than a burst can be overdrawn.
const tallyMost = 2

// How many tallies one Update removes, and how long writing one may take.
const (
	tallyStep     = 200
	tallyPatience = 5 * time.Second
)

// shared reports whether other replicas count, too.
func (a *Authn) shared() bool { return a.Shared && a.Vault != nil }

func (a *Authn) tallyKey(bucket string) string { return a.Vault.hide("tally " + bucket) }

// begin is the throttle's, with what other replicas saw.
func (a *Authn) begin(ctx context.Context, name string, from netip.Addr, before, light bool, now time.Time) (*attempt, refusal, error) {
	return a.tallied(ctx, now, func() (*attempt, refusal) { return a.throttle.begin(ctx, name, from, before, light, now) })
}

func (a *Authn) second(ctx context.Context, id string, from netip.Addr, before bool, now time.Time) (*attempt, refusal, error) {
	return a.tallied(ctx, now, func() (*attempt, refusal) { return a.throttle.second(ctx, id, from, before, now) })
}

// tallied lets an attempt through twice: by what is known here, which says what it takes, and then by what the store knows
// of that.
func (a *Authn) tallied(ctx context.Context, now time.Time, enter func() (*attempt, refusal)) (*attempt, refusal, error) {
	try, no := enter()
	if try == nil || !a.shared() {
		return try, no, nil
	}
	full := make([]time.Time, len(try.taken))
	err := a.Store.View(ctx, func(tx ajar.Tx) error {
		for i, b := range try.taken {
			t, err := ajar.Get[ajar.Tally](tx, a.tallyKey(b.key))
			if err != nil && !errors.Is(err, ajar.NotFound) {
				return err
			} else if err == nil {
				full[i] = t.Full
			}
		}
		return nil
	})
	if err != nil {
		try.end(false, false)
		return nil, refusal{}, err
	}
	if try.lower(full, now) {
		try.end(false, false)
		if try, no = enter(); try == nil {
			return nil, no, nil
		}
	}
	ctx = context.WithoutCancel(ctx)
	try.tally = func(failed []taken) { a.tally(ctx, failed, now) }
	return try, refusal{}, nil
}

// lower has no bucket have more left than its tally says, and reports whether any had.
func (a *attempt) lower(full []time.Time, now time.Time) (lower bool) {
	a.t.mu.Lock()
	defer a.t.mu.Unlock()
	for i, b := range a.taken {
		left := b.limit.burst - float64(max(0, full[i].Sub(now)))/float64(b.limit.every) - b.out
		if left < b.left {
			b.left, lower = left, true
		}
	}
	return lower
}

// tally counts a wrong guess for all replicas. If it cannot be, neither can the refusal be recorded, which says so.
func (a *Authn) tally(ctx context.Context, failed []taken, now time.Time) {
	ctx, cancel := context.WithTimeout(ctx, tallyPatience)
	defer cancel()
	a.Store.Update(ctx, func(tx ajar.Tx) error { //nolint:errcheck // see above
		for _, b := range failed {
			key := a.tallyKey(b.key)
			t, err := ajar.Get[ajar.Tally](tx, key)
			if errors.Is(err, ajar.NotFound) {
				t, err = &ajar.Tally{Key: key}, nil
			}
			if err != nil {
				return err
			}
			if t.Full.Before(now) {
				t.Full = now
			}
			t.Full = t.Full.Add(b.limit.every)
			if most := now.Add(time.Duration(tallyMost * b.limit.burst * float64(b.limit.every))); t.Full.After(most) {
				t.Full = most
			}
			if err := tx.Put(t); err != nil {
				return err
			}
		}
		return nil
	})
}

// SweepTallies removes those that tell nothing any longer. There are as many as were guessed wrong in some minutes.
func (a *Authn) SweepTallies(ctx context.Context) error {
	if !a.shared() {
		return nil
	}
	for {
		n := 0
		err := a.Store.Update(ctx, func(tx ajar.Tx) error {
			old, _, err := ajar.List[ajar.Tally](tx, ajar.Filter{UntilBefore: a.Clock(), Limit: tallyStep})
			n = len(old)
			for i := 0; err == nil && i < n; i++ {
				err = tx.Delete(ajar.KindTally, old[i].Key)
			}
			return err
		})
		if err != nil || n < tallyStep {
			return err
		}
	}
}

// Guess begins a guess at what is no log-in, by one person from one address, and answers how long to wait where there were
// too many wrong ones by either, on any replica. end says how it ended; however many are under way at once, no more of
// them can be wrong.
func (a *Authn) Guess(ctx context.Context, what string, by ajar.PrincipalID, from netip.Addr, l Limit) (end func(wrong bool), wait time.Duration, err error) {
	now, limit := a.Clock().UTC().Truncate(time.Millisecond), rate{l.Burst, l.Every}
	t := a.throttle
	try, no, err := a.tallied(ctx, now, func() (*attempt, refusal) {
		g := &attempt{t: t, addr: "s " + what + " " + addressKey(from), now: now}
		t.mu.Lock()
		defer t.mu.Unlock()
		t.sweep(now)
		binding := []taken{t.of(g.addr, limit, now), t.of("n "+what+" "+string(by), limit, now)}
		if wait, _ := t.judge(g, binding); wait > 0 {
			return nil, refusal{wait: wait}
		}
		for i := range binding {
			binding[i].n = 1
			binding[i].left--
			binding[i].out++
		}
		g.taken = binding
		return g, refusal{}
	})
	if try == nil {
		return nil, no.wait, err
	}
	return func(wrong bool) { try.end(wrong, false) }, 0, nil
}
