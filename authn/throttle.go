package authn

import (
	"net/netip"
	"strings"
	"sync"
	"time"
)

// throttle slows guessing down without letting anybody lock out somebody else. Three buckets of failed attempts:
//
//	pair     this name from this address
//	address  any name from this address; does not bind a name that signed in from there before
//	account  this name from anywhere; binds neither an address it signed in from before nor the first attempts of an
//	         address that is new to the name
//
// So a stranger elsewhere can fill the account's bucket for ever and its owner still gets in; and a noisy neighbour
// behind the same address translation does not shut out those who were in before. Names that do not exist are treated
// as if they did. It is kept in memory, on each replica.
type throttle struct {
	mu      sync.Mutex
	buckets map[string]*bucket
	known   map[string]time.Time // pair key → last success
	busy    map[string]int       // attempts under way per address
}

type bucket struct {
	left  float64
	at    time.Time
	told  time.Time // when a refusal was last written to the activity log
	muted int       // refusals since then
	limit rate
}

type rate struct {
	burst float64
	every time.Duration // one more
}

var (
	pairRate    = rate{6, 30 * time.Second}
	addressRate = rate{20, 6 * time.Second}
	accountRate = rate{50, 30 * time.Second}
)

const (
	freeForNew    = 2 // attempts of an address that is new to a name, not bound by the account's bucket
	rememberGood  = 60 * 24 * time.Hour
	rememberAgain = 24 * time.Hour // how often that is written down anew
	tellEvery     = time.Minute
	maxBuckets    = 1 << 16
	maxBusy       = 4
)

// attempt is one log-in under way. A light one takes nothing until it turns out wrong, so that a program may sign in as
// often at once as it likes.
type attempt struct {
	t                   *throttle
	light               bool
	pair, addr, account string
	taken               []taken
	now                 time.Time
}

// taken is what an attempt took of a bucket, which is less than one where the bucket was empty and did not bind.
type taken struct {
	*bucket
	n float64
}

func newThrottle() *throttle {
	return &throttle{buckets: map[string]*bucket{}, known: map[string]time.Time{}, busy: map[string]int{}}
}

// addressKey is a for throttling: IPv6 by its /64, of which one customer has them all.
func addressKey(a netip.Addr) string {
	if a.Is6() {
		p, _ := a.WithZone("").Prefix(64)
		return p.String()
	}
	return a.String()
}

// begin takes one from each bucket that binds, or answers how long to wait, and whether to write that down (with how
// many were not written down before). before says that the store knows of a log-in of name from there.
func (t *throttle) begin(name string, from netip.Addr, before, light bool, now time.Time) (a *attempt, wait time.Duration, tell bool, muted int) {
	name = strings.ToLower(name)
	if len(name) > 256 {
		name = name[:256]
	}
	a = &attempt{t: t, light: light, addr: "a " + addressKey(from), account: "n " + name, now: now}
	a.pair = "p " + addressKey(from) + " " + name
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sweep(now)
	pair, addr, account := t.bucket(a.pair, pairRate, now), t.bucket(a.addr, addressRate, now), t.bucket(a.account, accountRate, now)
	good := before || now.Sub(t.known[a.pair]) < rememberGood
	binding := []*bucket{pair}
	if !good {
		binding = append(binding, addr)
		if pairRate.burst-pair.left >= freeForNew {
			binding = append(binding, account)
		}
	}
	for _, b := range binding {
		if b.left < 1 {
			wait = max(wait, time.Duration((1-b.left)*float64(b.limit.every)))
		}
	}
	if !light && t.busy[a.addr] >= maxBusy {
		wait = max(wait, time.Second)
	}
	if wait > 0 {
		if addr.muted++; now.Sub(addr.told) >= tellEvery {
			tell, muted = true, addr.muted-1
			addr.told, addr.muted = now, 0
		}
		return nil, wait, tell, muted
	}
	if !good && len(binding) < 3 {
		binding = append(binding, account) // not bound by it, yet counted
	}
	for _, b := range binding {
		n := min(1, b.left)
		if light {
			n = 0
		}
		b.left -= n
		a.taken = append(a.taken, taken{b, n})
	}
	if !light {
		t.busy[a.addr]++
	}
	return a, 0, false, 0
}

// end gives back what was taken unless the attempt was a wrong guess; a success is remembered.
func (a *attempt) end(wrong, success bool) {
	a.t.mu.Lock()
	defer a.t.mu.Unlock()
	if !a.light {
		if a.t.busy[a.addr]--; a.t.busy[a.addr] <= 0 {
			delete(a.t.busy, a.addr)
		}
	}
	for _, b := range a.taken {
		switch {
		case wrong && a.light:
			b.left -= min(1, b.left)
		case !wrong:
			b.left = min(b.limit.burst, b.left+b.n)
		}
	}
	if success && len(a.t.known) < maxBuckets {
		a.t.known[a.pair] = a.now
	}
}

func (t *throttle) bucket(key string, r rate, now time.Time) *bucket {
	b := t.buckets[key]
	if b == nil {
		b = &bucket{left: r.burst, at: now, limit: r}
		t.buckets[key] = b
	}
	if d := now.Sub(b.at); d > 0 {
		b.left = min(r.burst, b.left+float64(d)/float64(r.every))
	}
	b.at = now
	return b
}

// sweep drops what no longer tells anything once there is much of it.
func (t *throttle) sweep(now time.Time) {
	if len(t.buckets) < maxBuckets {
		return
	}
	for k, b := range t.buckets {
		if b.left+float64(now.Sub(b.at))/float64(b.limit.every) >= b.limit.burst {
			delete(t.buckets, k)
		}
	}
	// Still too many: somebody has very many addresses. Forget the pairs, which are the many; the accounts' buckets,
	// those of second factors too, still hold: their keys begin with n.
	if len(t.buckets) >= maxBuckets {
		for k := range t.buckets {
			if k[0] != 'n' {
				delete(t.buckets, k)
			}
		}
	}
	if len(t.buckets) >= maxBuckets {
		clear(t.buckets)
	}
}

// Limit is how often something may happen: Burst at once, and one more Every so often.
type Limit struct {
	Burst float64
	Every time.Duration
}

// Spend takes cost from what address from may do of what, and answers how long to wait where that is used up: then
// nothing is taken. A cost of 0 only asks. It is counted in memory, on each replica, with the log-ins.
func (a *Authn) Spend(what string, from netip.Addr, l Limit, cost float64) time.Duration {
	t := a.throttle
	t.mu.Lock()
	defer t.mu.Unlock()
	now := a.Clock()
	t.sweep(now)
	b := t.bucket("s "+what+" "+addressKey(from), rate{l.Burst, l.Every}, now)
	if b.left < 1 {
		return max(time.Millisecond, time.Duration((1-b.left)*float64(l.Every)))
	}
	b.left -= min(cost, b.left)
	return 0
}

// Refund gives back what Spend took, where it turned out not to count.
func (a *Authn) Refund(what string, from netip.Addr, l Limit, cost float64) {
	t := a.throttle
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.bucket("s "+what+" "+addressKey(from), rate{l.Burst, l.Every}, a.Clock())
	b.left = min(l.Burst, b.left+cost)
}
