package providertest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
)

// change applies d to a Changer, from its revision to the next, and want to anything else.
func (b *bench) change(d ajar.Delta, want ajar.Ruleset) {
	b.Helper()
	c, ok := b.Enforcer.(ajar.Changer)
	if !ok {
		b.apply(want)
		return
	}
	d.Base, d.Rev = b.rev, b.rev+1
	if err := c.Change(b.ctx(), b.Endpoint, d); err != nil {
		b.Fatalf("change: %v", err)
	}
	b.rev++
}

func (b *bench) changes() {
	have := b.some()
	b.applyAt(have)
	end := b.now().Add(2 * time.Hour)
	none := []ajar.Guard{}
	for _, d := range []ajar.Delta{
		{Put: []ajar.Rule{rule("x", ssh, end, "203.0.113.7")}},
		{Put: []ajar.Rule{rule("x", ssh, end.Add(time.Hour), "203.0.113.7")}},
		{Put: []ajar.Rule{rule("x", ssh, end, "203.0.113.0/24"), rule("y", ssh, end, "203.0.113.7")}, Drop: []ajar.LeaseID{"a"}},
		{Drop: []ajar.LeaseID{"x"}},
		{Drop: []ajar.LeaseID{"never", "x"}}, // what is gone may be dropped again
		{Guard: &none},
		{Put: []ajar.Rule{rule("a", ssh, end, alice)}, Guard: &have.Guard},
	} {
		have = have.With(d)
		b.change(d, have)
		b.has(have)
	}
}

func (b *bench) conflicts() {
	c, ok := b.Enforcer.(ajar.Changer)
	if !ok {
		return
	}
	have := b.some()
	b.applyAt(have)
	d := ajar.Delta{Base: b.rev + 7, Rev: b.rev + 8, Drop: []ajar.LeaseID{"a"}}
	if err := c.Change(b.ctx(), b.Endpoint, d); !errors.Is(err, ajar.Conflict) {
		b.Fatalf("a difference from another revision: %v, want Conflict", err)
	}
	b.has(have)
	// An Apply without a revision leaves none to start from.
	b.apply(have)
	d = ajar.Delta{Base: b.rev, Rev: b.rev + 1, Drop: []ajar.LeaseID{"a"}}
	if err := c.Change(b.ctx(), b.Endpoint, d); !errors.Is(err, ajar.Conflict) {
		b.Fatalf("a difference after an Apply without revision: %v, want Conflict", err)
	}
	b.has(have)
}

// random adds up differences over few sources that overlap in every way, and compares after each.
func (b *bench) random() {
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 1))
	b.Logf("seed %d", seed)
	sources := []string{alice, bob, "198.18.0.0/30", "198.18.0.0/24", "198.18.0.0/15", "0.0.0.0/0", "198.18.0.128/25"}
	if !b.NoIPv6 {
		sources = append(sources, "2001:db8::1", "2001:db8::/64", "::/0")
	}
	have := ajar.Ruleset{Guard: guards(ssh)}
	b.applyAt(have)
	for range 60 {
		var d ajar.Delta
		for range 1 + rnd.IntN(3) {
			id := ajar.LeaseID(fmt.Sprintf("lease-%d", rnd.IntN(8)))
			if slices.ContainsFunc(d.Put, func(r ajar.Rule) bool { return r.Lease == id }) || slices.Contains(d.Drop, id) {
				continue
			}
			if rnd.IntN(3) == 0 {
				d.Drop = append(d.Drop, id)
				continue
			}
			from := []string{sources[rnd.IntN(len(sources))], sources[rnd.IntN(len(sources))]}
			slices.Sort(from)
			d.Put = append(d.Put, rule(id, ssh, b.now().Add(time.Duration(1+rnd.IntN(100))*time.Minute), slices.Compact(from)...))
		}
		have = have.With(d)
		b.change(d, have)
		b.has(have)
		b.lets(alice, ssh, admits(have, alice))
		b.lets(bob, ssh, admits(have, bob))
	}
}

// admits reports whether some rule of rs lets src in.
func admits(rs ajar.Ruleset, src string) bool {
	p, err := ajar.ParsePrefix(src)
	if err != nil || strings.Contains(src, "/") {
		panic(src)
	}
	for _, r := range rs.Allow {
		for _, s := range r.Sources {
			if s.Contains(p[0].Addr()) {
				return true
			}
		}
	}
	return false
}
