package agent

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
)

// longestBreakGlass is how long the door on the host itself may stay open.
const longestBreakGlass = time.Hour

// GlassOff is the Code of the error that says break-glass is switched off.
const GlassOff = "BreakGlassOff"

// offBy says who switched it off, as far as the plane told.
func offBy(s Settings) string {
	if s.By == "" {
		return " by the plane"
	}
	return " by " + s.By
}

// BreakGlass is what an administrator asks of the host itself when the plane cannot be asked.
type BreakGlass struct {
	Port   ajar.Port     `json:"port"`
	From   netip.Prefix  `json:"from"`
	For    time.Duration `json:"for"`
	Reason string        `json:"reason"`
	User   string        `json:"user,omitempty"` // who asks: set by who checked it
}

func (b *BreakGlass) check() error {
	switch {
	case b.Port.Number == 0:
		return ajar.Errorf(ajar.Invalid, "port 0 cannot be opened")
	case b.Port.Protocol != ajar.TCP && b.Port.Protocol != ajar.UDP:
		return ajar.Errorf(ajar.Invalid, "protocol %q is neither TCP nor UDP", b.Port.Protocol)
	case !b.From.IsValid():
		return ajar.Errorf(ajar.Invalid, "say from where: an address or a prefix")
	case b.From.Bits() == 0:
		return ajar.Errorf(ajar.Invalid, "break-glass does not open a port to everybody; name the address you come from")
	case b.For <= 0 || b.For > longestBreakGlass:
		return ajar.Errorf(ajar.Invalid, "%s is not between a second and %s", b.For, longestBreakGlass)
	case strings.TrimSpace(b.Reason) == "":
		return ajar.Errorf(ajar.Invalid, "give a reason; it goes into the activity log")
	case len(b.Reason) > 1000:
		return ajar.Errorf(ajar.Invalid, "the reason is %d bytes long; at most 1000 are kept", len(b.Reason))
	}
	return nil
}

// BreakGlass opens a port from this host, without the plane. It is journalled before it happens, closes by the kernel's
// own timeout, and the plane's word does not touch it.
func (h *Host) BreakGlass(ctx context.Context, b BreakGlass) (ajar.Rule, error) {
	if err := b.check(); err != nil {
		return ajar.Rule{}, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.id != nil && h.id.Settings.NoBreakGlass {
		return ajar.Rule{}, &ajar.Error{Kind: ajar.Forbidden, Code: GlassOff, Msg: "break-glass is switched off on this host" + offBy(h.id.Settings)}
	}
	now := h.Clock.Now()
	until := now.Add(b.For)
	r := ajar.Rule{
		Flow: ajar.Flow{Port: b.Port}, Lease: ajar.LeaseID(breakGlass + strings.ToLower(rand.Text())),
		Sources: []netip.Prefix{b.From.Masked()}, Expires: until, HardStop: until,
	}
	n := note{
		Time: h.Clock.Plane(), Action: ajar.BreakGlass,
		Message: fmt.Sprintf("port %s was opened to %s on the host itself: %s", b.Port, b.From.Masked(), b.Reason),
		Details: map[string]string{
			"port": b.Port.String(), "source": b.From.Masked().String(), "reason": b.Reason, "user": b.User, "lease": string(r.Lease),
			"until": until.Add(-h.Clock.Shift()).UTC().Format(time.RFC3339), "duration": ajar.FormatDuration(b.For),
		},
	}
	if err := h.journal.add(n); err != nil {
		return ajar.Rule{}, ajar.Errorf(ajar.Unavailable, "nothing was opened, because it could not be written down: %w", err)
	}
	h.Log.Warn("break-glass", "port", b.Port, "source", b.From, "until", until, "user", b.User, "reason", b.Reason)
	c := &change{rec: record{Hub: h.want.hub, Rev: h.want.rev, Own: []ajar.Rule{r}}, delta: ajar.Delta{Put: []ajar.Rule{r}}}
	for id, old := range h.want.own { // forget what is over
		if !now.Before(old.HardStop) {
			c.rec.Drop = append(c.rec.Drop, id)
		}
	}
	if err := h.carryOut(ctx, c, false); err != nil {
		return ajar.Rule{}, err
	}
	return r, nil
}
