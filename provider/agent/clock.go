package agent

import (
	"sync"
	"time"
)

// How the Clock follows the plane.
const (
	keptSamples = 8               // an older one says less, because two quartzes differ
	maxSlew     = 2 * time.Second // further ahead than that is no drift: the plane's clock was set back
	slewRate    = 20              // falls back by one part in so many
	quartz      = 10_000          // two clocks differ by less than one part in so many
	grain       = time.Second     // what a clock with a battery counts in: a machine that was off or asleep knows no more
)

// Clock is the plane's time as the host knows it, carried on by CLOCK_BOOTTIME. It never runs backwards and never lags
// behind the plane, and the host's own wall clock has no say in it; except from a reboot until the plane is heard, when
// there is nothing else to go by.
type Clock struct {
	Boot func() time.Duration // CLOCK_BOOTTIME: goes on in suspend, cannot be set
	Wall func() time.Time     // the host's wall clock: for skew, and for the time when the machine was off

	mu      sync.Mutex
	set     bool
	base    time.Time     // the time …
	at      time.Duration // … at this moment since boot
	excess  time.Duration // what it was ahead then, to be lost by running slower
	shift   time.Duration // how much the plane's clock was set back since
	loose   bool          // only the wall clock's word stands behind base
	gained  time.Duration // on CLOCK_BOOTTIME, since Counted
	samples []sample
}

// sample bounds the plane's time less the time since boot, in nanoseconds since 1970.
type sample struct{ low, high int64 }

// Anchor is a Clock as kept on disk.
type anchor struct {
	Now    time.Time     `json:"now"`
	Boot   time.Duration `json:"boot"`
	BootID string        `json:"bootId"`
	Wall   time.Time     `json:"wall"`
	Shift  time.Duration `json:"shift,omitempty"`
	Excess time.Duration `json:"excess,omitempty"` // what it was known to be ahead
}

// Now is the time that deadlines are measured by. Before the plane was ever heard it is the wall clock's.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now(c.Boot())
}

func (c *Clock) now(boot time.Duration) time.Time {
	if !c.set {
		return c.Wall()
	}
	gone := boot - c.at
	return c.base.Add(gone - min(c.excess, max(gone, 0)/slewRate))
}

// Plane is what the plane's clock shows now. It differs from Now only after the plane's clock was set back.
func (c *Clock) Plane() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now(c.Boot()).Add(-c.shift)
}

// Shift is what must be added to a time of the plane's to compare it with Now.
func (c *Clock) Shift() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.shift
}

// Skew is how far the host's wall clock is ahead of the plane. False before the plane was ever heard.
func (c *Clock) Skew() (time.Duration, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.Wall().Sub(c.now(c.Boot()).Add(-c.shift)), c.set
}

// Sample takes the plane's time as it came in answer to a question that was sent at moment sent. It returns what the
// Clock gained on CLOCK_BOOTTIME since Counted: timeouts that run since are too long by that, or too short.
func (c *Clock) Sample(sent time.Duration, plane time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	got := c.Boot()
	if got < sent {
		return 0
	}
	s := sample{low: plane.UnixNano() - int64(got), high: plane.UnixNano() - int64(sent)}
	keep := c.samples[:0]
	for _, o := range c.samples {
		if o.high >= s.low && o.low <= s.high { // else the plane's clock was set in between
			keep = append(keep, o)
		}
	}
	if len(keep) == keptSamples {
		keep = append(keep[:0], keep[1:]...)
	}
	c.samples = append(keep, s)
	best := s.high
	for _, o := range c.samples {
		best = min(best, o.high)
	}
	truth := time.Unix(0, best+int64(got)).UTC() // not before the plane's own time
	if !c.set {
		c.set, c.base, c.at = true, truth, got
		return 0
	}
	if c.loose { // the plane's word for the wall clock's, forward or back
		was := c.now(got)
		c.base, c.at, c.excess, c.loose = truth.Add(c.shift), got, 0, false
		c.gained += c.base.Sub(was)
		return c.gained
	}
	was, eaten := c.now(got), min(c.excess, max(got-c.at, 0)/slewRate)
	// The Clock was not behind the plane at the last sample, and cannot have fallen behind by more than quartzes differ.
	// That says more than an answer that was long under way.
	if bound := was.Add(-c.shift + (got-c.at)/quartz); bound.Before(truth) && !bound.Before(plane) {
		truth = bound
	}
	c.base, c.at, c.excess = was, got, 0
	c.gained -= eaten
	ahead := was.Add(-c.shift).Sub(truth)
	if ahead > maxSlew {
		c.shift += ahead
		return c.gained
	}
	if ahead < 0 {
		back := min(c.shift, -ahead) // the plane's clock was set forward again
		c.shift -= back
		ahead += back
	}
	if ahead < 0 {
		c.base = was.Add(-ahead)
		c.gained -= ahead
	}
	c.excess = max(ahead, 0)
	return c.gained
}

// NotBefore takes a time that the plane's clock has shown already, as any message brings it. The Clock is behind it only
// if the plane's was set forward; how much further it may be by now, the next Sample says. It returns what Sample does.
func (c *Clock) NotBefore(plane time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	got := c.Boot()
	was, eaten := c.now(got), min(c.excess, max(got-c.at, 0)/slewRate)
	behind := plane.Sub(was.Add(-c.shift))
	if !c.set || c.loose || behind <= 0 {
		return 0
	}
	back := min(c.shift, behind)
	c.shift -= back
	c.base, c.at, c.excess = was.Add(behind-back), got, 0
	c.gained += behind - back - eaten
	return c.gained
}

// Slept says that the machine slept: by how much CLOCK_BOOTTIME was carried on meanwhile may have come from the clock with
// the battery, in whole seconds. The Clock goes ahead by one, until the plane is heard.
func (c *Clock) Slept() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.set {
		return
	}
	boot := c.Boot()
	left := c.excess - min(c.excess, max(boot-c.at, 0)/slewRate)
	c.gained -= c.excess - left
	c.base, c.at, c.excess, c.samples = c.now(boot).Add(grain), boot, left, nil
	c.gained += grain
}

// Counted says that all timeouts were just counted by the Clock.
func (c *Clock) Counted() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gained = 0
}

func (c *Clock) anchor(bootID string) anchor {
	c.mu.Lock()
	defer c.mu.Unlock()
	boot := c.Boot()
	left := c.excess - min(c.excess, max(boot-c.at, 0)/slewRate)
	return anchor{Now: c.now(boot), Boot: boot, BootID: bootID, Wall: c.Wall(), Shift: c.shift, Excess: left}
}

// restore goes on from a. In the same boot that is exact. After a reboot only the wall clock knows how long the machine
// was off; restore reports false when it cannot be believed, and then nothing may be opened on this Clock's word.
func (c *Clock) restore(a anchor, bootID string, trustWall bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.set || a.Now.IsZero() {
		return c.set
	}
	boot, wall := c.Boot(), c.Wall()
	c.set, c.at, c.shift = true, boot, a.Shift
	if a.BootID == bootID && boot >= a.Boot {
		c.base, c.at, c.excess = a.Now, a.Boot, a.Excess
		return true
	}
	c.loose = true
	// At least the time since this boot went by.
	c.base = a.Now.Add(boot)
	off := wall.Sub(a.Wall)
	if !trustWall || off < 0 {
		return false
	}
	// The wall clock may have been set since. Either it was as wrong as it is now, or it is right now: the later counts.
	for _, t := range []time.Time{a.Now.Add(off + grain), wall.Add(a.Shift + grain)} {
		if t.After(c.base) {
			c.base = t
		}
	}
	return true
}
