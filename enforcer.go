package ajar

import (
	"context"
	"net/netip"
	"time"
)

// Enforcer keeps the rules of an endpoint as we want them. Implementations touch only what they own, and may be
// called again with the same input. Calls for one endpoint do not overlap; calls for different ones do.
type Enforcer interface {
	// Apply makes what we own on ep exactly want. The zero Ruleset removes us entirely. It returns nil only once the
	// firewall has it and every opening was read back with its deadline; it must stop when ctx ends. Unavailable means
	// that ep cannot be reached now and nothing is known of what it has. A rule without an end, which a firewall would keep
	// for ever, is Invalid and opens nothing.
	Apply(ctx context.Context, ep Endpoint, want Ruleset) error
	// Observe reports what we own on ep now, as the firewall has it. Drift is want.Diff(got).
	Observe(ctx context.Context, ep Endpoint) (Ruleset, error)
}

// Changer is the power to apply a difference instead of the whole. Change has Apply's promise for what d touches, and
// answers Conflict when ep is not at d.Base, upon which the whole is applied with ApplyAt.
type Changer interface {
	Enforcer
	Change(ctx context.Context, ep Endpoint, d Delta) error
	// ApplyAt is Apply, and sets the revision that the next Delta may start from.
	ApplyAt(ctx context.Context, ep Endpoint, want Ruleset, rev uint64) error
}

// Previewer is the power to tell what a guard would cut before it is laid.
type Previewer interface {
	Preview(ctx context.Context, ep Endpoint, guard []Guard) (Impact, error)
}

// Impact is what a guard would do to whoever is connected now.
type Impact struct {
	Listening   []Listener   `json:"listening"`
	Connections []Connection `json:"connections"`
}

// Listener is a socket that a guard would close to the outside.
type Listener struct {
	Port    Port       `json:"port"`
	Address netip.Addr `json:"address"`
	Process string     `json:"process,omitempty"`
}

// Connection is a live connection that a guard would cut.
type Connection struct {
	Port   Port           `json:"port"`
	Local  netip.AddrPort `json:"local"`
	Remote netip.AddrPort `json:"remote"`
	Since  time.Time      `json:"since,omitzero"` // where the kernel keeps that; mostly it does not
}

// Report is what an enforcer noticed by itself: drift that it repaired, a use of break-glass, a skewed clock, a second
// connection with one certificate. The loop makes an Event of it.
type Report struct {
	Endpoint EndpointID
	Time     time.Time
	Action   Action
	Message  string
	Details  map[string]string
	// Lifted and Status update what is shown of the endpoint; nil = unchanged.
	Status    *HostStatus
	Connected *bool
	SkewMS    *int64
	// Look asks for a pass over the endpoint now, from whole state.
	Look bool
	// Lease and Sessions come with SessionsOutlive and SessionsOver: the lease that ended, and what goes on all the same.
	Lease    LeaseID
	Sessions *Sessions
}

// Sessions are those that a lease which ended left alive.
type Sessions struct {
	Live  int    `json:"live"`            // how many there are
	Peers []Peer `json:"peers,omitempty"` // some of them, at most MaxPeers
	Cut   string `json:"cut,omitempty"`   // with SessionsOver: why the rest ended; "" = all ended by themselves
}

// Peer is the other end of a session.
type Peer struct {
	Addr  netip.AddrPort `json:"addr"`
	Since time.Time      `json:"since,omitzero"` // where the host knows
}

// MaxPeers bounds the list of peers in one report, and in one lease.
const MaxPeers = 16

// Reporter is the power to notice things. Reports are handed to fn, which returns nil once the report is durable, so
// that what a host journalled can be forgotten there. Calls of fn for one endpoint do not overlap; for different ones
// they may.
type Reporter interface {
	Report(ctx context.Context, fn func(Report) error) error
}
