package authn

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// throttle slows guessing down without letting anybody lock out somebody else. Four buckets of failed attempts:
//
//	pair     this name from this address
//	address  any name from this address; does not bind a name that signed in from there before
//	network  the same for the IPv6 network of a whole site, which has 65,536 addresses in the sense above
//	account  this name from anywhere; binds neither an address it signed in from before nor the first attempts of an
//	         address that is new to the name
//
// So a stranger elsewhere can fill the account's bucket for ever and its owner still gets in; and a noisy neighbour
// behind the same address translation does not shut out those who were in before. Names that do not exist are treated
// as if they did. It is kept in memory; what replicas share of it stands in tally.go.
type throttle struct {
	mu      sync.Mutex
	buckets map[string]*bucket
	known   map[string]time.Time // pair key → last success
	busy    map[string]int       // attempts under way per address
	lines   map[string]int       // those that wait for others of their address to end
	ended   chan struct{}        // closed when an attempt ends
}

type bucket struct {
	left  float64
	out   float64 // taken by attempts under way
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
	networkRate = rate{60, 3 * time.Second}
	accountRate = rate{50, 30 * time.Second}
)

const (
	freeForNew    = 2 // attempts of an address that is new to a name, not bound by the account's bucket
	rememberGood  = 60 * 24 * time.Hour
	rememberAgain = 24 * time.Hour // how often that is written down anew
	tellEvery     = time.Minute
	maxBuckets    = 1 << 16
	maxBusy       = 4
	maxLine       = 32              // of one address
	longestLine   = 5 * time.Second // then somebody is told to come again
)

// attempt is one log-in under way. A light one takes nothing until it turns out wrong, so that a program may sign in as
// often at once as it likes.
type attempt struct {
	t                   *throttle
	light               bool
	pair, addr, account string
	network             string // "" where the address has none
	taken               []taken
	now                 time.Time
	tally               func([]taken) // tells other replicas of a wrong one; nil = there are none
}

// taken is what an attempt took of a bucket, which is less than one where the bucket was empty and did not bind.
type taken struct {
	*bucket
	key string
	n   float64
}

// refusal is why an attempt is not let through: how long to wait, and whether to write that down, with how many were
// not written down before.
type refusal struct {
	wait  time.Duration
	tell  bool
	muted int
}

func newThrottle() *throttle {
	return &throttle{buckets: map[string]*bucket{}, known: map[string]time.Time{}, busy: map[string]int{}, lines: map[string]int{}, ended: make(chan struct{})}
}

// addressKey is a for throttling: IPv6 by its /64, of which one customer has them all.
func addressKey(a netip.Addr) string {
	if a.Is6() {
		p, _ := a.WithZone("").Prefix(64)
		return p.String()
	}
	return a.String()
}

// networkKey is the bucket of the site that a belongs to: its /48 (RFC 6177, section 2), "" for IPv4. It begins as accounts' do,
// since it, too, has to hold while somebody floods the throttle with addresses.
func networkKey(a netip.Addr) string {
	if !a.Is6() {
		return ""
	}
	p, _ := a.WithZone("").Prefix(48)
	return "n6 " + p.String()
}

// begin takes one from each bucket that binds, or answers how long to wait. before says that the store knows of a log-in
// of name from there.
func (t *throttle) begin(ctx context.Context, name string, from netip.Addr, before, light bool, now time.Time) (*attempt, refusal) {
	name = strings.ToLower(name)
	if len(name) > 256 {
		name = name[:256]
	}
	a := &attempt{t: t, light: light, addr: "a " + addressKey(from), network: networkKey(from), account: "n " + name, now: now}
	a.pair = "p " + addressKey(from) + " " + name
	return t.enter(ctx, a, func() (binding, counted []taken) {
		pair, addr, account := t.of(a.pair, pairRate, now), t.of(a.addr, addressRate, now), t.of(a.account, accountRate, now)
		binding = []taken{pair}
		if before || now.Sub(t.known[a.pair]) < rememberGood {
			return binding, nil
		}
		binding = t.around(a, append(binding, addr))
		if pairRate.burst-pair.left >= freeForNew {
			return append(binding, account), nil
		}
		return binding, []taken{account} // not bound by it, yet counted
	})
}

// second is begin for codes of a second factor.
func (t *throttle) second(ctx context.Context, id string, from netip.Addr, before bool, now time.Time) (*attempt, refusal) {
	key := addressKey(from)
	a := &attempt{t: t, addr: "a " + key, network: networkKey(from), account: "n2 " + id, pair: "2 " + key + " " + id, now: now}
	return t.enter(ctx, a, func() (binding, counted []taken) {
		binding = []taken{t.of(a.pair, secondPair, now)}
		if !before {
			binding = t.around(a, append(binding, t.of(a.addr, addressRate, now), t.of(a.account, secondAccount, now)))
		}
		return binding, nil
	})
}

// around adds the bucket of the network that a comes from.
func (t *throttle) around(a *attempt, binding []taken) []taken {
	if a.network == "" {
		return binding
	}
	return append(binding, t.of(a.network, networkRate, a.now))
}

// enter lets a through if each bucket that binds has one left. If none has but for attempts that are under way, which may
// well be right, it waits for their ends first: who signs in five times at once is let in five times.
func (t *throttle) enter(ctx context.Context, a *attempt, buckets func() (binding, counted []taken)) (*attempt, refusal) {
	late := time.NewTimer(longestLine)
	defer late.Stop()
	t.mu.Lock()
	defer t.mu.Unlock()
	for patient := true; ; {
		t.sweep(a.now)
		binding, counted := buckets()
		wait, perhaps := t.judge(a, binding)
		if wait == 0 {
			a.take(append(binding, counted...))
			return a, refusal{}
		}
		if !perhaps || !patient || t.lines[a.addr] >= maxLine {
			return nil, t.refuse(a, wait)
		}
		t.lines[a.addr]++
		ended := t.ended
		t.mu.Unlock()
		select {
		case <-ended:
		case <-late.C:
			patient = false
		case <-ctx.Done():
			patient = false
		}
		t.mu.Lock()
		if t.lines[a.addr]--; t.lines[a.addr] <= 0 {
			delete(t.lines, a.addr)
		}
	}
}

// judge says how long a has to wait, and whether that is only until those under way turn out right.
func (t *throttle) judge(a *attempt, binding []taken) (wait time.Duration, perhaps bool) {
	perhaps = true
	for _, b := range binding {
		if b.left < 1 {
			wait = max(wait, time.Duration((1-b.left)*float64(b.limit.every)))
			perhaps = perhaps && b.left+b.out >= 1
		}
	}
	if !a.light && t.busy[a.addr] >= maxBusy {
		wait = max(wait, time.Second)
	}
	return wait, perhaps
}

func (t *throttle) refuse(a *attempt, wait time.Duration) refusal {
	r, from := refusal{wait: wait}, t.bucket(a.addr, addressRate, a.now)
	if a.network != "" {
		from = t.bucket(a.network, networkRate, a.now) // else each of its addresses would write a line of its own
	}
	if from.muted++; a.now.Sub(from.told) >= tellEvery {
		r.tell, r.muted = true, from.muted-1
		from.told, from.muted = a.now, 0
	}
	return r
}

// take takes one of each bucket, or what is left of it.
func (a *attempt) take(buckets []taken) {
	for _, b := range buckets {
		if b.n = max(0, min(1, b.left)); a.light {
			b.n = 0
		}
		b.left -= b.n
		b.out += b.n
		a.taken = append(a.taken, b)
	}
	if !a.light {
		a.t.busy[a.addr]++
	}
}

// end gives back what was taken unless the attempt was a wrong guess; a success is remembered.
func (a *attempt) end(wrong, success bool) {
	if wrong && a.tally != nil {
		a.tally(a.taken) // before anybody else is let through
	}
	a.t.mu.Lock()
	defer a.t.mu.Unlock()
	if !a.light {
		if a.t.busy[a.addr]--; a.t.busy[a.addr] <= 0 {
			delete(a.t.busy, a.addr)
		}
	}
	for _, b := range a.taken {
		b.out -= b.n
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
	close(a.t.ended)
	a.t.ended = make(chan struct{})
}

// of is a bucket that can be taken from.
func (t *throttle) of(key string, r rate, now time.Time) taken {
	return taken{bucket: t.bucket(key, r, now), key: key}
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
		if b.out == 0 && b.left+float64(now.Sub(b.at))/float64(b.limit.every) >= b.limit.burst {
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
// nothing is taken. A cost of 0 only asks. It is counted in memory, on each replica by itself, with the log-ins: for what is
// guessed there is Guess.
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
