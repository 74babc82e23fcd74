package agent

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// hands are a clock's sources, set by a test.
type hands struct {
	boot time.Duration
	wall time.Time
}

func (h *hands) clock() *Clock {
	return &Clock{Boot: func() time.Duration { return h.boot }, Wall: func() time.Time { return h.wall }}
}

// TestClockIsNeverBehindNorRunsBackwards lets time pass with answers that take any way, a quartz that is off, and a wall
// clock that is set at will. The plane's own clock is steady.
func TestClockIsNeverBehindNorRunsBackwards(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := &hands{boot: time.Hour, wall: noon}
		c := h.clock()
		plane := noon
		ppm := rapid.Int64Range(-90, 90).Draw(t, "ppm")
		pass := func(d time.Duration) {
			h.boot += d
			plane = plane.Add(d + d*time.Duration(ppm)/1_000_000)
		}
		last := time.Time{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			pass(time.Duration(rapid.Int64Range(0, int64(20*time.Second)).Draw(t, "wait")))
			if rapid.Bool().Draw(t, "step") {
				h.wall = noon.Add(time.Duration(rapid.Int64Range(-int64(1000*time.Hour), int64(1000*time.Hour)).Draw(t, "wall")))
			}
			sent := h.boot
			pass(time.Duration(rapid.Int64Range(0, int64(time.Second)).Draw(t, "there")))
			stamp := plane
			pass(time.Duration(rapid.Int64Range(0, int64(time.Second)).Draw(t, "back")))
			before := c.Now()
			if c.set && before.Before(last) {
				t.Fatalf("ran back from %s to %s", last, before)
			}
			wasSet := c.set
			c.Sample(sent, stamp)
			now := c.Now()
			if wasSet && now.Before(before) {
				t.Fatalf("a sample set it back from %s to %s", before, now)
			}
			// A quartz that is 90 ppm off gains 2 ms over the oldest sample that still counts, eight answers ago.
			if behind := plane.Sub(now); behind > 20*time.Millisecond {
				t.Fatalf("behind the plane by %s", behind)
			}
			if c.Shift() != 0 {
				t.Fatalf("took a slow answer for a clock set back by %s", c.Shift())
			}
			last = now
		}
	})
}

func TestClockSettlesOnQuickAnswers(t *testing.T) {
	h := &hands{wall: noon}
	c := h.clock()
	at := func() time.Time { return noon.Add(h.boot) }
	h.boot = 300 * time.Millisecond
	c.Sample(0, noon) // long under way: up to 300 ms ahead
	for range 10 {
		h.boot += time.Second
		c.Sample(h.boot-100*time.Microsecond, at())
	}
	if off := c.Now().Sub(at()); off < 0 || off > time.Millisecond {
		t.Errorf("%s ahead after ten quick answers", off)
	}
}

func TestNewAgentGoesOnSettling(t *testing.T) {
	h := &hands{wall: noon}
	c := h.clock()
	h.boot = 300 * time.Millisecond
	c.Sample(0, noon)
	c.Sample(h.boot, noon)
	a := c.anchor("boot")
	h.boot += 10 * time.Second
	c = h.clock()
	c.restore(a, "boot", false)
	if off := c.Now().Sub(noon.Add(10 * time.Second)); off < 0 || off > time.Millisecond {
		t.Errorf("%s ahead ten seconds later", off)
	}
}

func TestSlowAnswerDoesNotShorten(t *testing.T) {
	h := &hands{wall: noon}
	c := h.clock()
	at := func() time.Time { return noon.Add(h.boot) }
	c.Sample(h.boot, at())
	a := c.anchor("boot")
	h.boot += time.Minute
	c = h.clock() // a new agent
	if !c.restore(a, "boot", false) {
		t.Fatal("not restored")
	}
	sent := h.boot
	h.boot += 400 * time.Millisecond
	if gained := c.Sample(sent, at().Add(-10*time.Millisecond)); gained > 7*time.Millisecond {
		t.Errorf("gained %s by an answer that took 400 ms", gained)
	}
}

func TestClockAcrossBoots(t *testing.T) {
	saved := anchor{Now: noon.Add(3 * time.Second), Boot: time.Hour, BootID: "one", Wall: noon}
	for _, c := range []struct {
		name   string
		boot   time.Duration
		bootID string
		wall   time.Duration // since saved
		trust  bool
		ok     bool
		gone   time.Duration // by the Clock
	}{
		{"the same boot", time.Hour + time.Minute, "one", -time.Hour, false, true, time.Minute},
		{"off for an hour", time.Minute, "two", time.Hour, true, true, time.Hour + grain},
		{"off for an hour, and the wall clock was set right", time.Minute, "two", time.Hour + 10*time.Second, true, true, time.Hour + 10*time.Second + grain},
		{"wall clock without a battery", time.Minute, "two", time.Hour, false, false, time.Minute},
		{"wall clock went back", time.Minute, "two", -time.Hour, true, false, time.Minute},
		{"wall clock stood still", 10 * time.Minute, "two", time.Minute, true, true, 10 * time.Minute},
		{"a boot clock that went back", time.Minute, "one", time.Hour, true, true, time.Hour + grain},
	} {
		h := &hands{boot: c.boot, wall: noon.Add(c.wall)}
		k := h.clock()
		if ok := k.restore(saved, c.bootID, c.trust); ok != c.ok {
			t.Errorf("%s: believed is %v", c.name, ok)
		}
		if gone := k.Now().Sub(saved.Now); gone != c.gone {
			t.Errorf("%s: %s went by, want %s", c.name, gone, c.gone)
		}
	}
}

// TestClockIsNotBehindAfterASleep: a machine whose own clock stops in its sleep knows the time it slept to the second.
func TestClockIsNotBehindAfterASleep(t *testing.T) {
	h := &hands{boot: time.Hour, wall: noon}
	c := h.clock()
	c.Slept() // nothing is known yet
	c.Sample(h.boot, noon)
	c.Counted()
	plane := noon.Add(10*time.Second + 990*time.Millisecond)
	h.boot += 10 * time.Second
	before := c.Now()
	c.Slept()
	if now := c.Now(); now.Before(plane) || now.Before(before) || now.Sub(plane) > grain {
		t.Errorf("%s ahead of the plane", now.Sub(plane))
	}
	if gained := c.Sample(h.boot, plane); gained != grain {
		t.Errorf("timeouts are too long by %s, want %s", gained, grain)
	}
	h.boot += time.Minute
	if off := c.Now().Sub(plane.Add(time.Minute)); off != 0 {
		t.Errorf("%s ahead a minute after the plane was heard", off)
	}
}
