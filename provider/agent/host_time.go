package agent

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
)

// keepTime does what must happen at a time and without the plane: rolling back guards that nobody confirmed, trying
// again what the firewall refused, counting anew after a suspend.
func (h *Host) keepTime(ctx context.Context) {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-h.kick:
		case <-h.Stepped:
			h.keepWall()
		}
		h.noticeSuspend(ctx)
		h.noticeSkew()
		t.Reset(h.passTime(ctx))
	}
}

// keepWall writes down how the wall clock stands now that it was set: after a reboot there is nothing else to tell by how
// long the machine was off.
func (h *Host) keepWall() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.known || h.left {
		return
	}
	if err := h.keep(&change{closes: true, rec: record{Hub: h.want.hub, Rev: h.want.rev}}); err != nil {
		h.Log.Error("keep the state", "err", err)
	}
}

// passTime does what is due and returns how long nothing will be.
func (h *Host) passTime(ctx context.Context) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	wait := time.Minute // a timer sleeps while the machine does
	if h.adrift && h.known {
		if err := h.lay(ctx); err != nil {
			h.Log.Error("apply what is wanted; trying again", "err", err)
			wait = time.Second
		}
	}
	if err := h.rollBack(ctx); err != nil {
		h.Log.Error("roll back a guard; trying again", "err", err)
		wait = time.Second
	}
	now := h.Clock.Now()
	for _, g := range h.want.guard {
		if due := g.due(); !due.IsZero() && now.Before(due) {
			wait = min(wait, due.Sub(now))
		}
	}
	return max(wait, time.Millisecond)
}

// rollBack lifts the guards that nobody confirmed in time. The plane forgets them by the same time, and is told.
// Called with mu.
func (h *Host) rollBack(ctx context.Context) error {
	now := h.Clock.Now()
	stay := make([]heldGuard, 0, len(h.want.guard))
	var over []heldGuard
	for _, g := range h.want.guard {
		if g.wanted(now) {
			stay = append(stay, g)
		} else {
			over = append(over, g)
		}
	}
	if len(over) == 0 {
		return nil
	}
	c := &change{closes: true, rec: record{Hub: h.want.hub, Rev: h.want.rev, Guard: &stay}}
	l := localGuard(stay, now)
	c.delta.Guard = &l
	if err := h.enforce(ctx, c, false); err != nil {
		h.adrift = true
		return err
	}
	for _, g := range over {
		h.Log.Warn("guard was not confirmed and is lifted", "port", g.Port, "confirmBy", g.ConfirmBy)
		d := map[string]string{"port": g.Port.String(), "confirmBy": g.ConfirmBy.UTC().Format(time.RFC3339)}
		if g.Dest.IsValid() {
			d["destination"] = g.Dest.String()
		}
		err := h.journal.add(note{
			Time: h.Clock.Plane(), Action: ajar.GuardRolledBack, Look: true, Details: d,
			Message: "the guard of " + g.Port.String() + " was not confirmed in time and was lifted by the host",
		})
		if err != nil {
			h.Log.Error("keep a report for the plane", "err", err)
		}
	}
	return h.keep(c)
}

func (h *Host) suspended() time.Duration {
	if h.Mono == nil {
		return 0
	}
	return h.Clock.Boot() - h.Mono()
}

// noticeSuspend counts timeouts anew when the machine slept: the kernel's stood still meanwhile.
func (h *Host) noticeSuspend(ctx context.Context) {
	s := h.suspended()
	if s-h.asleep < 5*time.Millisecond {
		h.asleep = max(s, h.asleep)
		return
	}
	h.Log.Info("the machine was suspended", "for", s-h.asleep)
	h.asleep = s
	h.Clock.Slept()
	h.resync(ctx)
	h.hangUp() // whether the connection outlived the sleep would take a while to find out
}

func (h *Host) resync(ctx context.Context) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.Clock.Counted()
	if err := h.Local.Resync(ctx); err != nil {
		h.Log.Error("count timeouts anew; applying the whole", "err", err)
		h.adrift = true
		poke(h.kick)
	}
}

// mayGain is how far off timeouts may be before they are counted anew.
const mayGain = 3 * time.Millisecond

// heardTime takes an answered beat, or a welcome.
func (h *Host) heardTime(ctx context.Context, sent time.Duration, plane time.Time) {
	if plane.IsZero() {
		return
	}
	h.recount(ctx, h.Clock.Sample(sent, plane))
	h.noticeSkew()
}

// noticeStep takes the time at which the plane sent something, and reports whether its clock was set forward. Nothing is
// carried out by the old time then: what is new would be open for longer than was granted. By how much exactly is asked.
func (h *Host) noticeStep(ctx context.Context, plane time.Time) bool {
	gained := h.Clock.NotBefore(plane)
	if gained <= mayGain {
		return false
	}
	poke(h.ask)
	h.recount(ctx, gained)
	return true
}

// recount counts timeouts anew where the Clock gained on them.
func (h *Host) recount(ctx context.Context, gained time.Duration) {
	if gained.Abs() <= mayGain {
		return
	}
	h.Log.Debug("the plane's time is not what was believed; timeouts are counted anew", "by", gained)
	if gained.Abs() > time.Second { // some of what is over may not be, or the reverse
		h.mu.Lock()
		h.adrift = true
		h.mu.Unlock()
	}
	h.resync(ctx)
	h.passTime(ctx)
}

// noticeSkew tells the plane when the host's wall clock has gone wrong, and when it is right again.
func (h *Host) noticeSkew() {
	skew, ok := h.Clock.Skew()
	if !ok {
		return
	}
	h.mu.Lock()
	bad := skew.Abs() > skewTold
	was := h.skewed
	h.skewed = bad
	h.mu.Unlock()
	if bad == was {
		return
	}
	ms := skew.Milliseconds()
	n := note{Time: h.Clock.Plane(), SkewMS: &ms, Message: "the host's clock agrees with the plane's again"}
	if bad {
		n.Action = ajar.HostSkew
		n.Message = skewText(skew)
		n.Details = map[string]string{"skew": skew.Round(time.Millisecond).String()}
		h.Log.Warn(n.Message)
	}
	h.tell(n)
}

func skewText(skew time.Duration) string {
	side := "ahead of"
	if skew < 0 {
		side = "behind"
	}
	s := fmt.Sprintf("the host's clock is %s %s the plane's", skew.Abs().Round(time.Millisecond), side)
	if skew.Abs() > skewBarred {
		s += "; nothing new is opened there until one of them is set"
	}
	return strings.TrimSpace(s)
}
