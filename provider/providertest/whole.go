package providertest

import (
	"context"
	"errors"
	"time"

	"github.com/ajar-access/ajar"
)

// some is a ruleset with a bit of everything.
func (b *bench) some() ajar.Ruleset {
	end := b.now().Add(time.Hour)
	rs := ajar.Ruleset{Guard: guards(ssh), Allow: []ajar.Rule{
		rule("a", ssh, end, alice),
		rule("b", ssh, end.Add(time.Minute), "10.0.0.0/8", "192.0.2.0/24"),
		rule("c", ssh, end.Add(22*time.Hour), "0.0.0.0/0"),
		rule("d", ssh, end, alice), // somebody else, from the same address
	}}
	if !b.NoUDP {
		rs.Guard = guards(ssh, rdp)
		rs.Allow = append(rs.Allow, rule("e", rdp, end, bob))
	}
	if !b.NoIPv6 {
		rs.Allow = append(rs.Allow, rule("f", ssh, end, "2001:db8::1", "2001:db8:1::/48"))
	}
	return rs
}

func (b *bench) roundTrip() {
	b.has(ajar.Ruleset{})
	want := b.some()
	b.apply(want)
	b.has(want)
	// Fewer guards and fewer openings, one of them changed.
	want.Guard, want.Allow = guards(ssh), want.Allow[:2]
	want.Allow[1].Sources = want.Allow[1].Sources[:1]
	b.apply(want)
	b.has(want)
	// A guard that waits for confirmation, and then is confirmed.
	want.Guard[0].ConfirmBy = b.now().Add(time.Hour)
	b.apply(want)
	b.has(want)
	want.Guard = guards(ssh)
	b.apply(want)
	b.has(want)
}

func (b *bench) idempotent() {
	want := b.some()
	for range 3 {
		b.apply(want)
		b.has(want)
	}
}

func (b *bench) zero() {
	b.apply(b.some())
	b.lets(alice, ssh, true)
	b.apply(ajar.Ruleset{})
	b.has(ajar.Ruleset{})
	b.lets(bob, ssh, true) // nobody guards it
	b.apply(ajar.Ruleset{})
	b.has(ajar.Ruleset{})
}

func (b *bench) connects() {
	b.lets(alice, ssh, true)
	b.apply(ajar.Ruleset{Guard: guards(ssh)})
	b.lets(alice, ssh, false)
	b.apply(ajar.Ruleset{Guard: guards(ssh), Allow: []ajar.Rule{rule("a", ssh, b.now().Add(time.Hour), alice)}})
	b.lets(alice, ssh, true)
	b.lets(bob, ssh, false)
	b.apply(ajar.Ruleset{Guard: guards(ssh)})
	b.lets(alice, ssh, false)
}

// overlaps lays prefixes that contain each other, in both orders, with different ends: firewalls that keep intervals
// refuse or merge them.
func (b *bench) overlaps() {
	for _, order := range [][2]int{{0, 1}, {1, 0}} {
		var wide, narrow ajar.Rule
		end := b.before(600*time.Millisecond, func(end time.Time) {
			ends := [2]time.Time{end, end.Add(time.Hour)}
			wide, narrow = rule("wide", ssh, ends[order[0]], "198.18.0.0/15"), rule("narrow", ssh, ends[order[1]], "198.18.0.0/30", alice)
			want := ajar.Ruleset{Guard: guards(ssh), Allow: []ajar.Rule{narrow, wide}}
			b.apply(ajar.Ruleset{Guard: guards(ssh), Allow: []ajar.Rule{wide}})
			b.apply(want)
			b.has(want)
			b.lets(alice, ssh, true)
		})
		b.until(end.Add(b.Tolerance))
		left := wide
		if order[0] == 0 {
			left = narrow
		}
		b.has(ajar.Ruleset{Guard: guards(ssh), Allow: []ajar.Rule{left}})
		b.lets(alice, ssh, true)
		b.apply(ajar.Ruleset{Guard: guards(ssh)})
		b.lets(alice, ssh, false)
	}
}

// endsAlone counts on nobody calling: the firewall itself, or the deadline that it carries, ends an opening.
func (b *bench) endsAlone() {
	var long ajar.Rule
	end := b.before(700*time.Millisecond, func(end time.Time) {
		long = rule("long", ssh, end.Add(time.Hour), bob)
		b.apply(ajar.Ruleset{Guard: guards(ssh), Allow: []ajar.Rule{long, rule("short", ssh, end, alice)}})
		b.until(end.Add(-300 * time.Millisecond))
		b.lets(alice, ssh, true)
	})
	b.until(end.Add(b.Tolerance))
	b.lets(alice, ssh, false)
	b.lets(bob, ssh, true)
	b.has(ajar.Ruleset{Guard: guards(ssh), Allow: []ajar.Rule{long}})
}

// past is what a slow way to the firewall makes of a short lease.
func (b *bench) past() {
	gone, live := rule("gone", ssh, b.now().Add(-time.Second), alice), rule("live", ssh, b.now().Add(time.Hour), bob)
	b.apply(ajar.Ruleset{Guard: guards(ssh), Allow: []ajar.Rule{gone, live}})
	b.lets(alice, ssh, false)
	b.lets(bob, ssh, true)
	b.has(ajar.Ruleset{Guard: guards(ssh), Allow: []ajar.Rule{live}})
}

// endless gives a rule that a firewall would keep for ever, by itself and as an extension.
func (b *bench) endless() {
	want := ajar.Ruleset{Guard: guards(ssh), Allow: []ajar.Rule{rule("a", ssh, b.now().Add(time.Hour), alice)}}
	for _, bad := range []ajar.Rule{rule("b", ssh, time.Time{}, bob), rule("a", ssh, time.Time{}, alice, bob)} {
		b.applyAt(want)
		if c, ok := b.Enforcer.(ajar.Changer); ok {
			if err := c.Change(b.ctx(), b.Endpoint, ajar.Delta{Base: b.rev, Rev: b.rev + 1, Put: []ajar.Rule{bad}}); !errors.Is(err, ajar.Invalid) {
				b.Errorf("a change that opens without an end: %v, want Invalid", err)
			}
			b.lets(bob, ssh, false)
		}
		if err := b.Enforcer.Apply(b.ctx(), b.Endpoint, ajar.Ruleset{Guard: want.Guard, Allow: []ajar.Rule{bad}}); !errors.Is(err, ajar.Invalid) {
			b.Errorf("an opening without an end: %v, want Invalid", err)
		}
		b.lets(bob, ssh, false)
	}
	b.applyAt(want)
	b.has(want)
}

func (b *bench) extends() {
	end := b.now().Add(500 * time.Millisecond)
	want := ajar.Ruleset{Guard: guards(ssh), Allow: []ajar.Rule{rule("a", ssh, end, alice)}}
	b.applyAt(want)
	want.Allow[0] = rule("a", ssh, end.Add(time.Hour), alice)
	b.change(ajar.Delta{Put: want.Allow}, want)
	b.has(want)
	b.until(end.Add(b.Tolerance))
	b.lets(alice, ssh, true)
	// Shorter again: what was promised for longer must not stay.
	end = b.before(300*time.Millisecond, func(end time.Time) {
		want.Allow[0] = rule("a", ssh, end, alice)
		b.change(ajar.Delta{Put: want.Allow}, want)
		b.has(want)
	})
	b.until(end.Add(b.Tolerance))
	b.lets(alice, ssh, false)
}

func (b *bench) drains() {
	var want ajar.Ruleset
	end := b.before(300*time.Millisecond, func(end time.Time) {
		r := rule("a", ssh, end, alice)
		r.HardStop = end.Add(time.Hour)
		want = ajar.Ruleset{Guard: guards(ssh), Allow: []ajar.Rule{r}}
		b.apply(want)
		b.has(want)
		b.lets(alice, ssh, true)
	})
	b.until(end.Add(b.Tolerance))
	b.lets(alice, ssh, false)
	// The whole again, as after a restart: the end lies in the past, and still nothing new gets in.
	b.apply(want)
	b.lets(alice, ssh, false)
	b.apply(ajar.Ruleset{Guard: guards(ssh)})
	b.has(ajar.Ruleset{Guard: guards(ssh)})
}

func (b *bench) stops() {
	ctx, cancel := context.WithCancel(b.Context())
	cancel()
	before := b.observe()
	if err := b.Enforcer.Apply(ctx, b.Endpoint, b.some()); err == nil {
		b.Fatal("an Apply whose time was over says that it succeeded")
	}
	b.has(before)
	if _, err := b.Enforcer.Observe(ctx, b.Endpoint); err == nil {
		b.Fatal("an Observe whose time was over says that it succeeded")
	}
	want := b.some()
	b.apply(want)
	b.has(want)
}

func (b *bench) reopens() {
	if b.Reopen == nil {
		return
	}
	want := b.some()
	b.applyAt(want)
	b.Enforcer = b.Reopen(b.T)
	// Which lease an opening belongs to may be known again only after the whole came; what is open and closed stays so.
	b.lets(alice, ssh, true)
	if got := b.observe(); len(got.Guard) == 0 || len(got.Allow) < len(want.Allow)-1 {
		b.Fatalf("after a restart there is only %+v", got)
	}
	if c, ok := b.Enforcer.(ajar.Changer); ok {
		// Either it still knows its revision, or it says that it does not. It never guesses.
		extra := rule("x", ssh, b.now().Add(time.Hour), bob)
		err := c.Change(b.ctx(), b.Endpoint, ajar.Delta{Base: b.rev, Rev: b.rev + 1, Put: []ajar.Rule{extra}})
		switch {
		case err == nil:
			want.Allow = append(want.Allow, extra)
			b.has(want)
		case !errors.Is(err, ajar.Conflict):
			b.Fatalf("change after a restart: %v", err)
		}
	}
	want.Allow = want.Allow[:2]
	b.applyAt(want)
	b.has(want)
	b.lets(bob, ssh, false)
}

func (b *bench) foreign() {
	if b.Foreign == nil {
		return
	}
	intact := b.Foreign(b.T)
	for _, want := range []ajar.Ruleset{b.some(), {Guard: guards(ssh)}, {}} {
		b.apply(want)
		b.has(want)
		intact(b.T)
	}
}

func (b *bench) previews() {
	p, ok := b.Enforcer.(ajar.Previewer)
	if !ok {
		return
	}
	want := b.some()
	b.apply(want)
	if _, err := p.Preview(b.ctx(), b.Endpoint, guards(ssh)); err != nil {
		b.Fatalf("preview: %v", err)
	}
	b.has(want)
}
