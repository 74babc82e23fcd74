package agent

import (
	"context"

	"github.com/ajar-access/ajar"
)

// Local is the firewall of the host itself, such as provider/nftables. Its clock must be the Host's Clock, so that what
// it counts down are the plane's deadlines. Calls do not overlap, except for Report, Refused and Status.
type Local interface {
	ajar.Changer
	ajar.Previewer
	// Report tells of drift that was repaired. It runs as long as the Host does.
	ajar.Reporter
	// Resync counts all timeouts again by the clock: it jumped, or the machine was suspended. It never makes one longer
	// than its rule says.
	Resync(ctx context.Context) error
	// Refused lists sources that were lately turned away, newest first.
	Refused(ctx context.Context) []ajar.Refusal
	// Status says what the firewall is and how it is owned.
	Status() ajar.HostStatus
}

// SessionLister is the power of a Local to tell who is connected. Without it nobody hears of sessions that outlive a lease.
type SessionLister interface {
	// Sessions lists the live connections that others have to flows, whoever lets them live. It may run at any time.
	Sessions(ctx context.Context, flows []ajar.Flow) ([]ajar.Connection, error)
}

// Adopter is the power of a Local to tell whether there was anything of ours when it first applied something. Without it
// nobody hears that a host was bare while no agent ran.
type Adopter interface {
	Adopted() bool
}
