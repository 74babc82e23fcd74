package enforce

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"sync"
	"time"

	"github.com/ajar-access/ajar"
)

// Loop carries out what the store says. Store, Enforcers and Clock must be set; for the rest zero is fine. Any number
// of loops may work over one store, each with an Owner of its own.
type Loop struct {
	Store     ajar.Store
	Enforcers map[string]ajar.Enforcer // by Endpoint.Provider
	Clock     ajar.Clock
	Log       *slog.Logger
	// Owner names this replica. One that restarts under its old name takes over its old claims at once; under a new one
	// it waits for their end.
	Owner string

	// Hold is how long a claim lasts (default 15 s); ApplyTimeout, how long a firewall may take, must be well below it
	// (default a third of Hold).
	Hold, ApplyTimeout time.Duration
	// Resync is how often each endpoint is compared with what it should be, spread by a quarter (default 10 min).
	Resync time.Duration
	// Backoff is the wait after the first failure (default 500 ms); it doubles up to MaxBackoff (default 5 min).
	Backoff, MaxBackoff time.Duration
	// Tick is how often the loop compares its deadlines with the clock, in memory alone, so that a clock that stepped
	// forward is noticed (default 500 ms). Every tenth tick it asks the store whether another replica left work.
	Tick time.Duration
	// Width is how many endpoints are worked on at once (default 2048).
	Width int
	// Chunk is how many leases one Update settles (default 256): other writers wait no longer than that.
	Chunk int

	Hooks Hooks
	// Failpoint is called at every boundary between two steps of a pass; an error there is a crash: the pass ends
	// without another word. For tests.
	Failpoint func(Step, ajar.EndpointID) error

	once   sync.Once
	wake   chan struct{} // claim now
	rearm  chan struct{} // something is due sooner than the timer says
	freed  chan struct{}
	loads  chan struct{} // one for each endpoint that is read as a whole
	passes sync.WaitGroup

	mu      sync.Mutex
	plans   map[ajar.EndpointID]*plan
	flying  map[ajar.EndpointID]*flight
	woken   map[ajar.EndpointID]bool // since the last claiming began, which may have come too early to see why
	trouble map[ajar.EndpointID]bool // those whose last pass failed
	next    time.Time                // the earliest due that is known of; zero = none
	running context.Context          // of the passes; nil = none may begin
}

// flight is a pass under way.
type flight struct {
	again     bool        // it was woken meanwhile
	disturbed bool        // a verb may have written to its endpoint meanwhile
	limping   bool        // its endpoint failed before
	news      *news       // for the first pass
	then      *ajar.Claim // claimed anew, between the end of the claim before and the end of this flight
}

func (l *Loop) init() {
	l.once.Do(func() {
		def(&l.Hold, 15*time.Second)
		def(&l.ApplyTimeout, l.Hold/3)
		def(&l.Resync, 10*time.Minute)
		def(&l.Backoff, 500*time.Millisecond)
		def(&l.MaxBackoff, 5*time.Minute)
		def(&l.Tick, 500*time.Millisecond)
		if l.Width == 0 {
			l.Width = 2048
		}
		if l.Chunk == 0 {
			l.Chunk = 256
		}
		if l.Log == nil {
			l.Log = slog.New(slog.DiscardHandler)
		}
		if l.Owner == "" {
			l.Owner = "ajard"
		}
		l.wake, l.rearm, l.freed = make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{}, 1)
		l.loads = make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))
		l.plans, l.flying = map[ajar.EndpointID]*plan{}, map[ajar.EndpointID]*flight{}
		l.woken, l.trouble = map[ajar.EndpointID]bool{}, map[ajar.EndpointID]bool{}
	})
}

func def(d *time.Duration, to time.Duration) {
	if *d == 0 {
		*d = to
	}
}

// Wake says that these endpoints were marked due. It never blocks, and losing it costs latency alone.
func (l *Loop) Wake(eps ...ajar.EndpointID) {
	l.init()
	l.mu.Lock()
	for _, id := range eps {
		if f := l.flying[id]; f != nil {
			f.again = true
		} else {
			l.woken[id] = true
		}
	}
	l.mu.Unlock()
	poke(l.wake)
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run works until ctx ends, and then leaves its claims to others.
func (l *Loop) Run(ctx context.Context) error {
	l.init()
	for kind, e := range l.Enforcers {
		if r, ok := e.(ajar.Reporter); ok {
			l.passes.Go(func() { l.listen(ctx, kind, r) })
		}
	}
	l.mu.Lock()
	l.running = ctx
	l.mu.Unlock()
	err := l.dispatch(ctx)
	l.mu.Lock()
	l.running = nil
	l.mu.Unlock()
	l.passes.Wait()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if l.Failpoint == nil || l.Failpoint(StepStop, "") == nil {
		if err := l.Store.Update(last, func(tx ajar.Tx) error { return tx.DropClaims(l.Owner) }); err != nil {
			l.Log.Warn("claims not dropped at stop", "err", err)
		}
	}
	return err
}

// dispatch claims what is due, gives each endpoint a goroutine, and sleeps until something is due next.
func (l *Loop) dispatch(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	wait, ticks := l.Backoff, 10
	for ctx.Err() == nil {
		full, err := l.round(ctx, ticks >= 10)
		if ticks >= 10 {
			ticks = 0
			l.evict()
		}
		if err != nil {
			if ctx.Err() == nil {
				l.Log.Warn("cannot claim", "err", err)
				pause(ctx, timer, wait)
				wait = min(2*wait, 5*time.Second)
			}
			continue
		}
		wait = l.Backoff
		if !full {
			ticks = l.sleep(ctx, timer, ticks)
		}
	}
	return context.Cause(ctx)
}

func pause(ctx context.Context, timer *time.Timer, d time.Duration) {
	timer.Reset(d)
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// sleep returns when there is something to claim: a wake, the earliest due, or the tenth tick.
func (l *Loop) sleep(ctx context.Context, timer *time.Timer, ticks int) int {
	for {
		d := l.untilNext()
		if d <= 0 {
			return ticks
		}
		timer.Reset(d)
		select {
		case <-ctx.Done():
			return ticks
		case <-l.wake:
			return ticks
		case <-l.rearm:
		case <-timer.C:
			if d < l.Tick {
				return ticks
			}
			if ticks++; ticks >= 10 {
				return ticks
			}
		}
	}
}

// untilNext is the time to the earliest due, at most a tick.
func (l *Loop) untilNext() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.next.IsZero() {
		return l.Tick
	}
	return min(l.Tick, l.next.Sub(l.Clock()))
}

// schedule notes that something is due at t.
func (l *Loop) schedule(t time.Time) {
	l.mu.Lock()
	sooner := !t.IsZero() && (l.next.IsZero() || t.Before(l.next))
	if sooner {
		l.next = t
	}
	l.mu.Unlock()
	if sooner {
		poke(l.rearm)
	}
}

// batch is how many endpoints are claimed at once.
const batch = 128

// round claims up to a batch and starts their passes. When the earliest known due has come, or ask is set, it asks for
// the next one afterwards: a wake that finds its work needs no such question.
func (l *Loop) round(ctx context.Context, ask bool) (full bool, err error) {
	if !l.room(ctx) {
		return false, nil
	}
	l.mu.Lock()
	woken := len(l.woken) > 0
	clear(l.woken)
	l.mu.Unlock()
	now := l.Clock()
	claims, err := l.claim(ctx, now)
	if err != nil {
		return false, err
	}
	l.mu.Lock()
	l.start(ctx, claims, nil)
	l.mu.Unlock()
	if len(claims) == batch {
		return true, nil
	}
	l.mu.Lock()
	// A wake that finds nothing came a fraction of a millisecond early, or for an endpoint that is held.
	ask = ask || len(claims) == 0 || l.next.IsZero() || !l.next.After(now)
	if ask {
		l.next = time.Time{} // what passes schedule from here on must not be lost to an older answer
	}
	l.mu.Unlock()
	if !ask {
		return false, nil
	}
	var next time.Time
	err = l.Store.View(ctx, func(tx ajar.Tx) (err error) {
		next, err = tx.NextDue(l.Owner)
		return err
	})
	if err != nil {
		return false, err
	}
	if !next.IsZero() && !next.After(now) {
		next = now.Add(time.Millisecond) // it came due meanwhile
	} else if soon := now.Add(l.Tick / 10); woken && len(claims) == 0 && next.After(soon) {
		next = soon // perhaps another replica's pass is about to end
	}
	l.schedule(next)
	return false, nil
}

func (l *Loop) claim(ctx context.Context, now time.Time) (claims []ajar.Claim, err error) {
	err = l.Store.Update(ctx, func(tx ajar.Tx) (err error) {
		claims, err = tx.ClaimDue(now, batch, l.Hold, l.Owner)
		return err
	})
	return claims, err
}

// room waits until fewer than Width passes are under way.
func (l *Loop) room(ctx context.Context) bool {
	for {
		l.mu.Lock()
		n := len(l.flying)
		l.mu.Unlock()
		if n < l.Width {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-l.freed:
		}
	}
}

// start begins a pass for each claim. Called with mu.
func (l *Loop) start(ctx context.Context, claims []ajar.Claim, n *news) {
	for _, c := range claims {
		if f, ok := l.launch(c); !ok {
			l.passes.Go(func() { l.decline(ctx, c) })
		} else if f != nil {
			f.news = n
			l.passes.Go(func() { l.fly(ctx, f, c) })
		}
	}
}

// launch enters a flight among those under way. Where one over the same endpoint has not landed yet, that one goes on
// with the claim, and there is none to start. Not ok if the endpoint has to wait: those that fail fill their half.
// Called with mu.
func (l *Loop) launch(c ajar.Claim) (f *flight, ok bool) {
	id := c.Endpoint.ID
	if f := l.flying[id]; f != nil {
		f.then = &c
		return nil, true
	}
	f = &flight{limping: c.Failures > 0, again: l.woken[id]}
	if f.limping && l.limping() >= max(1, l.Width/2) {
		return nil, false
	}
	l.flying[id] = f
	return f, true
}

func (l *Loop) limping() (n int) {
	if len(l.flying) < l.Width/2 {
		return 0
	}
	for _, f := range l.flying {
		if f.limping {
			n++
		}
	}
	return n
}

// decline gives back a claim until places are free again, which takes no longer than firewalls may take to answer.
func (l *Loop) decline(ctx context.Context, c ajar.Claim) {
	due := l.Clock().Add(l.ApplyTimeout/2 + time.Duration(rand.Int64N(int64(l.ApplyTimeout))))
	if err := l.Store.Update(ctx, func(tx ajar.Tx) error { return tx.Release(c, due, c.Failures) }); err == nil {
		l.schedule(due)
	}
}

// fly is one pass in its goroutine, and those over the same endpoint that were claimed before it landed.
func (l *Loop) fly(ctx context.Context, f *flight, c ajar.Claim) {
	id := c.Endpoint.ID
	var due time.Time
	for next := &c; next != nil; {
		due = l.pass(ctx, *next, f.news)
		f.news = nil
		l.mu.Lock()
		next, f.then = f.then, nil
		if next == nil {
			delete(l.flying, id)
		}
		l.mu.Unlock()
	}
	poke(l.freed)
	if f.again {
		poke(l.wake)
	} else {
		l.schedule(due)
	}
}

// evict drops the plans of endpoints that this replica has not worked on for long.
func (l *Loop) evict() {
	old := l.Clock().Add(-3 * l.Resync)
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, p := range l.plans {
		if l.flying[id] == nil && p.used.Before(old) {
			delete(l.plans, id)
			delete(l.trouble, id)
		}
	}
}
