package nftables

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/ajar-access/ajar"
)

// Observe reads the whole table. The kernel knows no leases: a rule is reported as memory has it where all its
// elements are there with the right ends, with what is there where they are not, and under a name of the element
// where no lease of ours wants it.
func (f *Firewall) Observe(ctx context.Context, _ ajar.Endpoint) (ajar.Ruleset, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sock == nil {
		return ajar.Ruleset{}, errClosed
	}
	_, there, err := f.tableInfo()
	if err != nil || !there {
		return ajar.Ruleset{}, err
	}
	seen := &Firewall{conf: f.conf, table: f.table, clock: f.clock, log: f.log, sock: f.sock}
	seen.forgetAll()
	if _, err := seen.read(ctx); err != nil {
		return ajar.Ruleset{}, fmt.Errorf("observe table %s: %w", f.table, err)
	}
	if err := f.lookCloser(seen.book); err != nil {
		return ajar.Ruleset{}, fmt.Errorf("observe table %s: %w", f.table, err)
	}
	return ajar.Ruleset{Guard: f.seenGuards(seen.barred), Allow: f.seenRules(seen.book)}, nil
}

// lookCloser reads one by one what does not seem to end as it should: while a long list is read the clock goes on.
func (f *Firewall) lookCloser(got *book) error {
	for p, e := range got.elems {
		own := f.book.elems[p]
		if own == nil || e.wrote == forever {
			continue
		}
		want := own.until()
		if e.wrote >= want-near && e.wrote <= want+near {
			continue
		}
		before := f.clock().UnixMilli()
		h, err := f.look(p.shape.name(), [][]byte{p.key()})
		if err != nil {
			return err
		}
		if h[0].key == nil || h[0].expires == 0 {
			continue
		}
		// Between the two clocks lies the kernel's answer.
		left, after := h[0].expires.Milliseconds(), f.clock().UnixMilli()
		e.wrote = min(max(want, before+left), after+left)
	}
	return nil
}

func (f *Firewall) seenGuards(got map[bar]int64) []ajar.Guard {
	now := f.clock().UnixMilli()
	var gs []ajar.Guard
	for _, g := range f.guards {
		want, err := bars(g, now)
		if err != nil || len(want) == 0 {
			continue
		}
		whole := true
		for k, end := range want {
			whole = whole && (got[k] == end || end != forever && got[k] != 0 && got[k] != forever)
		}
		if whole {
			gs = append(gs, g)
			for k := range want {
				delete(got, k)
			}
		}
	}
	for k, end := range got {
		g := ajar.Guard{Flow: ajar.Flow{Dest: k.dest(), Port: ajar.Port{Number: k.port, Protocol: ajar.Protocol(protoName(k.proto))}}}
		if end != forever {
			g.ConfirmBy = time.UnixMilli(end).UTC()
		}
		gs = append(gs, g)
	}
	slices.SortFunc(gs, func(a, b ajar.Guard) int {
		return cmp.Or(a.Dest.Compare(b.Dest), cmp.Compare(a.Port.Number, b.Port.Number), cmp.Compare(a.Port.Protocol, b.Port.Protocol))
	})
	return gs
}

func (f *Firewall) seenRules(got *book) []ajar.Rule {
	now := f.clock().UnixMilli()
	var rs []ajar.Rule
	for id, p := range f.book.rules {
		if seen, ok := f.seenRule(p.Rule(id), got, now); ok {
			rs = append(rs, seen)
		}
	}
	for p, e := range got.elems {
		if own := f.book.elems[p]; own == nil || !own.held() {
			rs = append(rs, strange(p, e.wrote))
		}
	}
	slices.SortFunc(rs, func(a, b ajar.Rule) int { return cmp.Compare(a.Lease, b.Lease) })
	return rs
}

// seenRule is what the kernel has of r. Where leases share an element its end is the latest of theirs.
func (f *Firewall) seenRule(r ajar.Rule, got *book, now int64) (ajar.Rule, bool) {
	ws, err := wishes(r)
	if err != nil {
		return r, false
	}
	missing := map[netip.Prefix]bool{}
	found := false
	for _, w := range ws {
		if w.until < now+near {
			found = found || w.until > now // too close to its end to be told from gone
			continue
		}
		want := f.book.elems[w.place].until()
		e := got.elems[w.place]
		switch {
		case e == nil || e.wrote < want-near:
			missing[w.place.prefix()] = true
		case e.wrote > want+near:
			end := time.UnixMilli(e.wrote).UTC()
			if w.place.shape.drain {
				r.HardStop = end
			} else {
				r.Expires, r.HardStop, found = end, later(end, r.HardStop), true
			}
		default:
			found = true
		}
	}
	if len(missing) > 0 {
		r.Sources = slices.DeleteFunc(slices.Clone(r.Sources), func(p netip.Prefix) bool {
			q, err := plain(p)
			return err != nil || missing[q]
		})
		found = found && len(r.Sources) > 0
	}
	return r, found
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// strange is the rule for an element that no lease wants.
func strange(p place, end int64) ajar.Rule {
	at := time.UnixMilli(end).UTC()
	if end == forever {
		at = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)
	}
	r := ajar.Rule{
		Flow:    ajar.Flow{Dest: p.dest(), Port: ajar.Port{Number: p.port, Protocol: ajar.Protocol(protoName(p.proto))}},
		Lease:   ajar.LeaseID("unknown " + p.String()),
		Sources: []netip.Prefix{p.prefix()}, Expires: at, HardStop: at,
	}
	return r
}

// Refused lists who was lately turned away, newest first.
func (f *Firewall) Refused(ctx context.Context) ([]ajar.Refusal, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sock == nil {
		return nil, errClosed
	}
	if !f.laid {
		return nil, nil
	}
	var rs []ajar.Refusal
	for _, six := range []bool{false, true} {
		es, err := f.list(ctx, named("refused", six))
		if err != nil {
			return nil, fmt.Errorf("list refusals: %w", err)
		}
		now := f.clock()
		for _, e := range es {
			p, err := placeOf(shape{six: six, bits: uint8(shape{six: six}.addrBits())}, e.key)
			if err != nil {
				return nil, err
			}
			rs = append(rs, ajar.Refusal{
				Source: p.addr(p.src), Port: ajar.Port{Number: p.port, Protocol: ajar.Protocol(protoName(p.proto))},
				At: now.Add(e.expires - refusedLife).UTC().Truncate(time.Millisecond),
			})
		}
	}
	slices.SortFunc(rs, func(a, b ajar.Refusal) int {
		return cmp.Or(b.At.Compare(a.At), a.Source.Compare(b.Source), cmp.Compare(a.Port.Number, b.Port.Number))
	})
	return rs, nil
}
