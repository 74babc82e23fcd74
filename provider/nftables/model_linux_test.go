package nftables

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// probes are the sources whose fate is compared; the guest has the first of each family.
var probes = []netip.Addr{
	netip.MustParseAddr(guest4), netip.MustParseAddr(other4), netip.MustParseAddr("10.7.0.130"), netip.MustParseAddr("10.6.255.1"),
	netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr(guest6), netip.MustParseAddr("fd07::ffff:1"), netip.MustParseAddr("2001:db8::1"),
}

// drawn draws rules whose prefixes overlap as often as not.
func drawn(t *rapid.T, now time.Time) ajar.Rule {
	r := ajar.Rule{Lease: ajar.LeaseID(rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}).Draw(t, "lease"))}
	r.Port = ajar.Port{Number: rapid.SampledFrom([]uint16{22, 3389}).Draw(t, "port"), Protocol: rapid.SampledFrom([]ajar.Protocol{ajar.TCP, ajar.UDP, ajar.Both}).Draw(t, "proto")}
	for range rapid.IntRange(1, 4).Draw(t, "sources") {
		a := rapid.SampledFrom(probes).Draw(t, "addr")
		bits := rapid.SampledFrom([]int{0, 1, 8, 16, 24, 25, 31, 32}).Draw(t, "bits")
		if a.Is6() {
			bits *= 4
		}
		p := netip.PrefixFrom(a, bits)
		if rapid.Bool().Draw(t, "mask") {
			p = p.Masked()
		}
		r.Sources = append(r.Sources, p)
	}
	if rapid.IntRange(0, 3).Draw(t, "to") == 0 {
		r.Dest = netip.MustParseAddr(rapid.SampledFrom([]string{host4, host6}).Draw(t, "dest"))
	}
	r.Expires = now.Add(time.Duration(rapid.IntRange(-2, 6).Draw(t, "minutes"))*time.Minute + 30*time.Second)
	r.HardStop = r.Expires.Add(time.Duration(rapid.IntRange(0, 2).Draw(t, "drain")) * time.Minute)
	return r
}

// question is one thing that may be open.
type question struct {
	from  netip.Addr
	port  uint16
	proto uint8
	drain bool
	to    netip.Addr
}

// wanted is the model: until when should it be open.
func wanted(rules map[ajar.LeaseID]ajar.Rule, q question) time.Time {
	var end time.Time
	for _, r := range rules {
		until := r.Expires
		if q.drain {
			until = r.HardStop
			if !r.HardStop.After(r.Expires) {
				continue
			}
		}
		if r.Port.Number != q.port || !r.Port.Protocol.Has(ajar.Protocol(protoName(q.proto))) || r.Dest.IsValid() && r.Dest != q.to {
			continue
		}
		for _, s := range r.Sources {
			if s.Masked().Contains(q.from) && until.After(end) {
				end = until
			}
		}
	}
	return end
}

// found is what the kernel's sets say of it.
func found(b *book, q question) time.Time {
	var end time.Time
	for p, e := range b.elems {
		if p.port != q.port || p.proto != q.proto || p.shape.drain != q.drain || p.shape.to && p.dest() != q.to || !p.prefix().Contains(q.from) {
			continue
		}
		if at := time.UnixMilli(e.wrote); at.After(end) {
			end = at
		}
	}
	return end
}

// TestOverlappingPrefixesInAnyOrder: whatever is put, dropped, extended and shortened in whatever order, each source has
// exactly the latest end that any rule gives it, in the kernel's own sets.
func TestOverlappingPrefixesInAnyOrder(t *testing.T) {
	p := newPair(t)
	p.host.serve("tcp", ":22")
	var slept atomic.Int64
	f := p.host.firewall(Config{Clock: func() time.Time { return time.Now().Add(time.Duration(slept.Load())) }})
	if c := flag.Lookup("rapid.checks"); c.Value.String() == c.DefValue {
		t.Cleanup(func() { _ = c.Value.Set(c.DefValue) })
		_ = c.Value.Set("25") // a hundred take their time under the race detector; -rapid.checks asks for more
	}
	rapid.Check(t, func(rt *rapid.T) {
		rules := map[ajar.LeaseID]ajar.Rule{}
		rev := uint64(1)
		guards := guardOf(22, 3389)
		must := func(err error) {
			rt.Helper()
			if err != nil {
				rt.Fatal(err)
			}
		}
		must(f.ApplyAt(t.Context(), anyEndpoint, ajar.Ruleset{Guard: guards}, rev))
		rt.Repeat(map[string]func(*rapid.T){
			"change": func(rt *rapid.T) {
				d := ajar.Delta{Base: rev, Rev: rev + 1}
				seen := map[ajar.LeaseID]bool{}
				for range rapid.IntRange(1, 3).Draw(rt, "puts") {
					r := drawn(rt, f.clock())
					if !seen[r.Lease] {
						seen[r.Lease], rules[r.Lease] = true, r
						d.Put = append(d.Put, r)
					}
				}
				rev++
				f.destroy = rapid.Bool().Draw(rt, "new kernel") // older ones cannot delete what may be gone
				must(f.Change(t.Context(), anyEndpoint, d))
			},
			"drop": func(rt *rapid.T) {
				id := ajar.LeaseID(rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}).Draw(rt, "lease"))
				delete(rules, id)
				must(f.Change(t.Context(), anyEndpoint, ajar.Delta{Base: rev, Rev: rev + 1, Drop: []ajar.LeaseID{id}}))
				rev++
			},
			"apply": func(rt *rapid.T) {
				rules = map[ajar.LeaseID]ajar.Rule{}
				w := ajar.Ruleset{Guard: guards}
				for range rapid.IntRange(0, 3).Draw(rt, "rules") {
					r := drawn(rt, f.clock())
					if _, ok := rules[r.Lease]; !ok {
						rules[r.Lease] = r
						w.Allow = append(w.Allow, r)
					}
				}
				rev++
				must(f.ApplyAt(t.Context(), anyEndpoint, w, rev))
			},
			"sleep": func(rt *rapid.T) {
				slept.Add(int64(rapid.IntRange(1, 3).Draw(rt, "minutes")) * int64(time.Minute))
				must(f.Resync(t.Context()))
			},
			"die": func(*rapid.T) {
				f.Close()
				f = p.host.firewall(Config{Clock: f.clock})
				w := ajar.Ruleset{Guard: guards}
				for _, r := range rules {
					w.Allow = append(w.Allow, r)
				}
				must(f.ApplyAt(t.Context(), anyEndpoint, w, rev))
			},
			"": func(rt *rapid.T) { compare(rt, p, f, rules) },
		})
	})
}

func compare(rt *rapid.T, p *pair, f *Firewall, rules map[ajar.LeaseID]ajar.Rule) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.clock()
	seen := &Firewall{conf: f.conf, table: f.table, clock: f.clock, log: f.log, sock: f.sock}
	seen.forgetAll()
	if _, err := seen.read(p.t.Context()); err != nil {
		rt.Fatal(err)
	}
	if len(f.book.elems) != count(f.book) {
		rt.Fatalf("counted %d elements, there are %d", count(f.book), len(f.book.elems))
	}
	for _, from := range probes {
		for _, port := range []uint16{22, 3389} {
			for _, proto := range []uint8{unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
				for _, drain := range []bool{false, true} {
					to := netip.MustParseAddr(host4)
					if from.Is6() {
						to = netip.MustParseAddr(host6)
					}
					q := question{from, port, proto, drain, to}
					want, got := wanted(rules, q), found(seen.book, q)
					if !want.After(now) {
						want = time.Time{}
					}
					if want.IsZero() != got.IsZero() || !want.IsZero() && want.Sub(got).Abs() > 5*time.Second {
						rt.Fatalf("%+v: should be open until %v, the kernel says %v", q, want, got)
					}
				}
			}
		}
	}
	if rapid.IntRange(0, 3).Draw(rt, "knock") != 0 {
		return // connecting costs more than all the rest
	}
	for from, to := range map[string]string{guest4: host4, guest6: host6} {
		want := wanted(rules, question{netip.MustParseAddr(from), 22, unix.IPPROTO_TCP, false, netip.MustParseAddr(to)}).After(now)
		err := p.guest.open("tcp", from, ap(to, 22))
		if want && err != nil || !want && !errors.Is(err, unix.ECONNREFUSED) {
			rt.Fatal(fmt.Errorf("%s: should be open: %v; connecting: %w", from, want, err))
		}
	}
}

func count(b *book) int {
	n := 0
	for _, c := range b.count {
		n += c
	}
	return n
}
