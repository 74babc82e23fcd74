package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
)

// When the host's clock and the plane's are further apart than this, somebody is told; and nothing new is opened.
const (
	skewTold   = 2 * time.Second
	skewBarred = 60 * time.Second
)

// manyRules in one order are as good as a whole state: the ledger is written anew, and memory given back.
const manyRules = 1000

// obey carries out a whole state or a delta of the plane's. It returns nil once Local has read it back, and what it
// closed or guarded is on disk.
func (h *Host) obey(ctx context.Context, hub string, m *message) error {
	o := m.Order
	if o == nil {
		return ajar.Errorf(ajar.Invalid, "an order without content")
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.left {
		return ajar.Errorf(ajar.Unavailable, "this host is leaving")
	}
	whole := m.Type == typeWhole
	if !whole && (h.want.hub != hub || h.want.rev == 0 || h.want.rev != o.Base) {
		return ajar.Errorf(ajar.Conflict, "this host is at revision %d, not %d", h.want.rev, o.Base)
	}
	c := h.plan(o, m.Time, whole)
	c.rec.Hub, c.rec.Rev = hub, o.Rev
	if c.barred != nil {
		c.rec.Hub, c.rec.Rev = "", 0
	}
	if err := h.carryOut(ctx, c, whole); err != nil {
		return err
	}
	return c.barred
}

// change is an order in the host's own terms.
type change struct {
	rec    record     // what is kept
	delta  ajar.Delta // what Local is told
	closes bool       // rec takes something away, or guards: it must be on disk before it is acknowledged
	barred error      // some of the order was left out
}

// plan works out what o means here. Called with mu.
func (h *Host) plan(o *order, at time.Time, whole bool) *change {
	c := new(change)
	now, shift := h.Clock.Now(), h.Clock.Shift()
	if whole && o.Guard == nil {
		o.Guard = &[]ajar.Guard{}
	}
	if o.Guard != nil {
		c.guard(h.want.guard, *o.Guard, now, shift)
	}
	bar := h.barred()
	named := make(map[ajar.LeaseID]bool, len(o.Put))
	for i := range o.Put {
		r := held{Rule: o.Put[i].Rule, Shift: shift}
		if isBreakGlass(r.Lease) || r.Lease == "" {
			continue
		}
		named[r.Lease] = true
		if err := endless(r.Rule); err != nil {
			c.barred = err
			c.drop(r.Lease, h.want.rules, now)
			continue
		}
		// The deadline and what remained of it say the same, unless a clock was set in between: the earlier counts.
		r.Expires = earlier(r.Expires, at.Add(time.Duration(o.Put[i].Left)*time.Millisecond))
		r.HardStop = earlier(r.HardStop, at.Add(time.Duration(o.Put[i].LeftStop)*time.Millisecond))
		c.put(r, h.want.rules, now, bar)
	}
	for _, id := range o.Drop {
		if !named[id] {
			c.drop(id, h.want.rules, now)
		}
	}
	if whole {
		for id := range h.want.rules {
			if !named[id] {
				c.drop(id, h.want.rules, now)
			}
		}
	}
	return c
}

func earlier(t, limit time.Time) time.Time {
	if limit.Before(t.Add(-time.Millisecond)) {
		return limit
	}
	return t
}

func (c *change) guard(have []heldGuard, want []ajar.Guard, now time.Time, shift time.Duration) {
	was := make(map[ajar.Flow]heldGuard, len(have))
	for _, g := range have {
		was[g.Flow] = g
	}
	same := len(have) == len(want)
	gs := make([]heldGuard, 0, len(want))
	for _, g := range want {
		n := heldGuard{Guard: g, Shift: shift}
		old, ok := was[g.Flow]
		if ok && old.ConfirmBy.Equal(g.ConfirmBy) {
			n.Shift = min(n.Shift, old.Shift)
		} else {
			same = false
		}
		gs = append(gs, n)
	}
	if same {
		return
	}
	c.closes = true
	c.rec.Guard = &gs
	l := localGuard(gs, now)
	c.delta.Guard = &l
}

func (c *change) put(r held, have holdings, now time.Time, bar error) {
	old, ok := have.get(r.Lease)
	if ok && old.Expires.Equal(r.Expires) && old.HardStop.Equal(r.HardStop) {
		r.Shift = min(r.Shift, old.Shift) // what it was told once stays its end
		if old.Same(r.Rule) && old.Shift == r.Shift {
			return
		}
	}
	if bar != nil && (!ok || r.opens(old)) {
		c.barred = bar
		return
	}
	if ok && !r.onlyAdds(old) {
		c.closes = true
	}
	c.rec.Put = append(c.rec.Put, r)
	if l := r.local(); now.Before(l.HardStop) {
		c.delta.Put = append(c.delta.Put, l)
	} else if ok {
		c.delta.Drop = append(c.delta.Drop, r.Lease)
	}
}

func (c *change) drop(id ajar.LeaseID, have holdings, now time.Time) {
	old, ok := have.get(id)
	if !ok {
		return
	}
	if now.Before(old.local().HardStop) {
		c.closes = true
	}
	c.rec.Drop = append(c.rec.Drop, id)
	c.delta.Drop = append(c.delta.Drop, id)
}

// barred is why nothing new may be opened now, or nil.
func (h *Host) barred() error {
	skew, ok := h.Clock.Skew()
	if !ok || skew.Abs() <= skewBarred {
		return nil
	}
	plane := h.Clock.Plane()
	const form = "2006-01-02 15:04:05Z"
	return ajar.Errorf(ajar.Unavailable, "the host's clock shows %s and the plane's %s: more than %s apart, so nothing new is opened there until one of them is set",
		plane.Add(skew).UTC().Format(form), plane.UTC().Format(form), strings.TrimSuffix(skewBarred.String(), "0s"))
}

// closing is the part of c that takes away or guards. Called with mu.
func (h *Host) closing(c *change) record {
	r := record{Guard: c.rec.Guard, Drop: c.rec.Drop, Clock: h.Clock.anchor(h.BootID)}
	for _, p := range c.rec.Put {
		if old, ok := h.want.rules.get(p.Lease); ok && !p.onlyAdds(old) {
			r.Drop = append(slices.Clip(r.Drop), p.Lease)
		}
	}
	return r
}

// carryOut makes Local and the ledger agree with c. What closes is written before it is done, so that an agent that is
// killed in between does not open it again; and synced before it is acknowledged, so that a reboot does not. What opens
// is written after it is done, and synced soon. Called with mu.
func (h *Host) carryOut(ctx context.Context, c *change, whole bool) error {
	part := h.closing(c)
	if c.closes && h.ledger.file != nil {
		if err := h.ledger.write(kindCloses, &part); err != nil {
			h.Log.Error("keep the state", "err", err) // the ledger is written anew afterwards
		}
	}
	if err := h.enforce(ctx, c, whole); err != nil {
		// What was to go stays gone from what is wanted, and goes when the firewall works again; what was to come does
		// not stand there before it was seen.
		c.rec = part
		h.adrift = true
		poke(h.kick)
		if kept := h.keep(c); kept != nil {
			h.Log.Error("keep the state", "err", kept)
		}
		return err
	}
	if err := h.keep(c); err != nil {
		if c.closes {
			h.want.hub, h.want.rev = "", 0
			return ajar.Errorf(ajar.Unavailable, "done, but the host could not write that down, so that a reboot may undo it: %w", err)
		}
		h.Log.Error("keep the state; a reboot will close what was opened", "err", err)
	}
	return nil
}

// enforce makes Local change. Called with mu.
func (h *Host) enforce(ctx context.Context, c *change, whole bool) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if !whole && !h.adrift {
		if c.delta.Empty() {
			return nil
		}
		c.delta.Base, c.delta.Rev = h.rev, h.rev+1
		err := h.Local.Change(ctx, h.endpoint(), c.delta)
		if err == nil {
			h.rev++
			return nil
		}
		if ajar.KindOf(err) != ajar.Conflict {
			return fmt.Errorf("change the firewall: %w", err)
		}
	}
	next := h.want.clone()
	next.take(&c.rec)
	h.rev++
	if err := h.Local.ApplyAt(ctx, h.endpoint(), next.local(h.Clock.Now()), h.rev); err != nil {
		return fmt.Errorf("apply the whole to the firewall: %w", err)
	}
	h.adrift = false
	h.resumed()
	return nil
}

// keep takes c into what is wanted and writes it down. Called with mu.
func (h *Host) keep(c *change) error {
	h.want.take(&c.rec)
	fresh := !h.known
	h.known = true
	if c.rec.Guard != nil {
		poke(h.kick)
	}
	if slices.ContainsFunc(c.rec.Put, func(r held) bool { return r.HardStop.After(r.Expires) }) {
		poke(h.ends)
	}
	kind := byte(kindOpens)
	if c.closes {
		kind = kindCloses
	}
	if fresh || h.ledger.full() || len(c.rec.Put) > manyRules {
		return h.ledger.rewrite(&h.want, h.Clock.Now(), h.Clock.anchor(h.BootID))
	}
	c.rec.Clock = h.Clock.anchor(h.BootID)
	return h.ledger.append(kind, &c.rec)
}
