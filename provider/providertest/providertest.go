// Package providertest is what every ajar.Enforcer must pass. It knows the contract of the interface and nothing of any
// firewall.
//
//	func TestEnforcer(t *testing.T) {
//		providertest.Run(t, func(t *testing.T) providertest.World { … })
//	}
package providertest

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
)

// World is one fresh firewall to test on. Enforcer, Endpoint and Clock must be set.
type World struct {
	Enforcer ajar.Enforcer
	Endpoint ajar.Endpoint
	Clock    ajar.Clock
	// Tolerance is how far a deadline that is read back may be from the one that was given, and how late an opening may
	// end by itself; 0 = 50 ms.
	Tolerance time.Duration
	// Reopen gives an enforcer over the same firewall as if its process had died and come back; nil = cannot.
	Reopen func(t *testing.T) ajar.Enforcer
	// Foreign puts something there that is somebody else's, and returns a check that it is still as it was; nil = there
	// is no such thing.
	Foreign func(t *testing.T) (intact func(t *testing.T))
	// Connects reports whether a new connection from src to the port gets through; nil = cannot be tried.
	Connects func(t *testing.T, src netip.Addr, p ajar.Port) bool
	// NoIPv6 leaves out sources that are IPv6; NoUDP ports that are not TCP alone.
	NoIPv6, NoUDP bool
}

// Run runs all there is. setup is called for each part, and cleans up with t.Cleanup.
func Run(t *testing.T, setup func(t *testing.T) World) {
	for _, part := range []struct {
		name string
		fn   func(*bench)
	}{
		{"what is applied is observed", (*bench).roundTrip},
		{"applying twice changes nothing", (*bench).idempotent},
		{"the zero ruleset removes us", (*bench).zero},
		{"a guard closes and an opening opens", (*bench).connects},
		{"overlapping sources end each at their own time", (*bench).overlaps},
		{"openings end without us", (*bench).endsAlone},
		{"an opening in the past is not laid", (*bench).past},
		{"an opening without an end is refused", (*bench).endless},
		{"an extension has no gap", (*bench).extends},
		{"draining openings take no new connections", (*bench).drains},
		{"differences add up", (*bench).changes},
		{"a difference from elsewhere is a conflict", (*bench).conflicts},
		{"random differences agree with the whole", (*bench).random},
		{"calls stop when their time is over", (*bench).stops},
		{"a new process finds what the old one left", (*bench).reopens},
		{"what is somebody else's is left alone", (*bench).foreign},
		{"a preview changes nothing", (*bench).previews},
	} {
		t.Run(part.name, func(t *testing.T) {
			w := setup(t)
			if w.Tolerance == 0 {
				w.Tolerance = 50 * time.Millisecond
			}
			part.fn(&bench{T: t, World: w})
		})
	}
}

// bench is a part under test.
type bench struct {
	*testing.T
	World
	rev uint64
	due time.Time // what is seen later than this, or just before, says nothing; zero = all does
}

func (b *bench) ctx() context.Context {
	ctx, cancel := context.WithTimeout(b.Context(), 2*time.Minute)
	b.Cleanup(cancel)
	return ctx
}

func (b *bench) apply(want ajar.Ruleset) {
	b.Helper()
	if err := b.Enforcer.Apply(b.ctx(), b.Endpoint, want); err != nil {
		b.Fatalf("apply: %v", err)
	}
}

// applyAt applies the whole, with a revision where there are any.
func (b *bench) applyAt(want ajar.Ruleset) {
	b.Helper()
	b.rev++
	c, ok := b.Enforcer.(ajar.Changer)
	if !ok {
		b.apply(want)
		return
	}
	if err := c.ApplyAt(b.ctx(), b.Endpoint, want, b.rev); err != nil {
		b.Fatalf("apply at %d: %v", b.rev, err)
	}
}

func (b *bench) observe() ajar.Ruleset {
	b.Helper()
	got, err := b.Enforcer.Observe(b.ctx(), b.Endpoint)
	if err != nil {
		b.Fatalf("observe: %v", err)
	}
	return got
}

// before does what must be done and seen before an end that is a little from now, and says when that is. What took longer
// is done again with more time.
func (b *bench) before(d time.Duration, do func(end time.Time)) time.Time {
	b.Helper()
	for {
		end := b.now().Add(d)
		b.due = end
		do(end)
		late := b.late()
		if b.due = (time.Time{}); !late {
			return end
		}
		d *= 2
	}
}

// late reports whether it is too late to see what must be seen before an end.
func (b *bench) late() bool { return !b.due.IsZero() && !b.now().Before(b.due.Add(-b.Tolerance)) }

// has fails unless the firewall has want, deadlines within the tolerance.
func (b *bench) has(want ajar.Ruleset) {
	b.Helper()
	for {
		began := b.now()
		got, d := b.differs(want)
		switch took := b.now().Sub(began); {
		case d.Empty() || b.late():
			return
		case took > b.Tolerance/2: // the deadlines that it tells can be wrong by that
			b.Logf("observed again, since that took %s", took)
		default:
			b.Fatalf("want %+v\nhave %+v\nlacking %+v", want, got, d)
		}
	}
}

func (b *bench) differs(want ajar.Ruleset) (got ajar.Ruleset, d ajar.Delta) {
	b.Helper()
	got = b.observe()
	for i, r := range got.Allow {
		for _, w := range want.Allow {
			if w.Lease != r.Lease {
				continue
			}
			if w.Expires.Sub(r.Expires).Abs() <= b.Tolerance {
				got.Allow[i].Expires = w.Expires
			}
			if w.HardStop.Sub(r.HardStop).Abs() <= b.Tolerance {
				got.Allow[i].HardStop = w.HardStop
			}
		}
	}
	return got, want.Diff(got)
}

// lets fails unless new connections from src to port get through, or not. Where they cannot be tried it passes.
func (b *bench) lets(src string, p ajar.Port, through bool) {
	b.Helper()
	if b.Connects == nil {
		return
	}
	if got := b.Connects(b.T, netip.MustParseAddr(src), p); got != through && !b.late() {
		b.Fatalf("a connection from %s to %s gets through: %v, want %v", src, p, got, through)
	}
}

// until waits for the plane's clock to read t.
func (b *bench) until(t time.Time) {
	timer := time.NewTimer(t.Sub(b.Clock()))
	defer timer.Stop()
	<-timer.C
}

// now is the plane's time in whole milliseconds, as all deadlines are.
func (b *bench) now() time.Time { return b.Clock().UTC().Truncate(time.Millisecond) }

// Ports and sources that the parts use. Sources of Connects are from the same range.
var (
	ssh   = ajar.Port{Number: 22, Protocol: ajar.TCP}
	rdp   = ajar.Port{Number: 3389, Protocol: ajar.Both}
	alice = "198.18.0.1"
	bob   = "198.18.0.2"
)

func flow(p ajar.Port) ajar.Flow { return ajar.Flow{Port: p} }

func guards(ps ...ajar.Port) (gs []ajar.Guard) {
	for _, p := range ps {
		gs = append(gs, ajar.Guard{Flow: flow(p)})
	}
	return gs
}

// rule is an opening of a port; sources are addresses or prefixes.
func rule(id ajar.LeaseID, p ajar.Port, end time.Time, sources ...string) ajar.Rule {
	r := ajar.Rule{Flow: flow(p), Lease: id, Expires: end, HardStop: end}
	for _, s := range sources {
		ps, err := ajar.ParsePrefix(s)
		if err != nil {
			panic(err)
		}
		r.Sources = append(r.Sources, ps...)
	}
	return r
}
