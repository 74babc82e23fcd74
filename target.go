package ajar

import (
	"net/netip"
	"slices"
	"time"
)

// Target is a machine somebody wants to reach. Its ID is that of an ARM virtual machine:
// …/providers/Microsoft.Compute/virtualMachines/{name}.
type Target struct {
	Stamp
	ID        ID
	Location  string
	OS        string // Linux or Windows
	Addresses []netip.Addr
	Login     string            // user name for the ssh line; "" = the caller's own
	SSHPort   uint16            // 0 = 22
	Tags      map[string]string `json:",omitempty"` // whatever people sort machines by
	Source    string            // "person", or the provider whose listing made it
	Finding   Finding           `json:",omitzero"` // what listings say of it
	Endpoints []EndpointID      // where its rules are enforced; empty until a host joins
	Policies  []ID              // which policies name it, so that a host that joins finds what it must guard
	Kept      []Flow            // what a host that was removed keeps closed until somebody releases it (unguard: keep)
	Created   time.Time
	Removed   time.Time // set while the last leases of a removed target are closed
}

// EndpointID names one place where rules are enforced.
type EndpointID string

// Endpoint is one place where rules for targets are enforced: a host's nftables, an NSG. What must be looked at and
// when, and who holds the claim, the store keeps beside it (see Claim).
type Endpoint struct {
	Stamp
	ID       EndpointID
	Provider string // the kind of firewall, a key of provider.Kinds
	Target   ID
	Guards   []EndpointGuard
	// NoBreakGlass names the policies that forbid the machine's own administrator to open ports without the plane.
	NoBreakGlass []ID       `json:",omitempty"`
	Address      string     // what the provider needs to find it; for agents the machine's name
	From         netip.Addr // where an agent joined from
	Lost         int64      // the first listing in a row that lacked it; 0 = none
	// What was last seen. Written by the loop.
	Connected bool
	Since     time.Time // of Connected
	LastSeen  time.Time
	Trouble   string
	SkewMS    int64
	Looks     int64 // counts the calls for a pass from whole state
	// GuardsSet counts the changes of what is to be guarded, GuardsSeen is the GuardsSet that the firewall was last seen
	// to have. GuardsSeen is the loop's.
	GuardsSet, GuardsSeen int64
	Status                HostStatus
}

// EndpointGuard is a guarded flow with who wants it. Several policies may; it goes when the last lets go.
type EndpointGuard struct {
	Flow
	Policies  []ID      // which policies name the port
	Kept      bool      // nobody names it any longer; it stays closed until released (unguard: keep)
	ConfirmBy time.Time // rolled back at this time unless confirmed; zero = confirmed
	Since     time.Time
}

// GuardsPending reports whether the firewall was not yet seen to have what is to be guarded.
func (ep *Endpoint) GuardsPending() bool { return ep.GuardsSeen != ep.GuardsSet }

// Guarded lists what ep must keep closed at now. A guard that was not confirmed in time is no longer wanted, whether
// or not anybody noticed: the host's agent rolls it back by itself.
func (ep *Endpoint) Guarded(now time.Time) []Guard {
	var gs []Guard
	for _, g := range ep.Guards {
		if len(g.Policies) == 0 && !g.Kept {
			continue
		}
		if g.ConfirmBy.IsZero() || now.Before(g.ConfirmBy) {
			gs = append(gs, Guard{Flow: g.Flow, ConfirmBy: g.ConfirmBy})
		}
	}
	slices.SortFunc(gs, func(a, b Guard) int { return a.Flow.compare(b.Flow) })
	return gs
}

// HostStatus is what a host's agent says of itself.
type HostStatus struct {
	Version  string    `json:"version,omitempty"`
	Kernel   string    `json:"kernel,omitempty"`
	OwnTable string    `json:"ownTable,omitempty"` // "owner+persist", or why not
	HangUp   string    `json:"hangUp,omitempty"`   // "on", or why sessions that only wait are not told of their end
	BootID   string    `json:"bootId,omitempty"`
	Refused  []Refusal `json:"refused,omitempty"`
}

// Refusal is a source that a guard lately turned away, so that a requester can be told which address the host sees.
type Refusal struct {
	Source netip.Addr `json:"source"`
	Port   Port       `json:"port"`
	At     time.Time  `json:"at"`
}

// HostIdentity is the client certificate that a host's agent lives by. One endpoint has at most one that is live.
type HostIdentity struct {
	Stamp
	Endpoint EndpointID
	Target   ID
	Serial   string // of the newest certificate, hex
	Previous string // the one before, good until the newest has been used once
	Expires  time.Time
	Issued   time.Time
	Revoked  time.Time
	Lift     bool // the guard goes with the host; otherwise it stays there after Revoked
}

// JoinToken lets one host join as one machine, once. Only the token's hash is kept.
type JoinToken struct {
	Stamp
	Hash    string // hex SHA-256
	Target  ID
	Replace bool // the machine may have a live identity, which this join revokes
	Created time.Time
	By      PrincipalID
	Expires time.Time
	Used    time.Time
}

// Sealed is a secret of the plane that replicas share (the CA's key, the log's signing key), wrapped by a key that is
// not in the database. Made once: Put with Rev 0 by two replicas lets one win.
type Sealed struct {
	Stamp
	Name    string
	Public  []byte // certificate or public key
	Wrapped []byte // AES-256-GCM under the key-encryption key
	Created time.Time
}
