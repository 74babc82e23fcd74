package broker

import (
	"cmp"
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/rbac"
)

// Config is what a Broker is built from. Store, Clock and NewID must be set.
type Config struct {
	Store  ajar.Store
	Clock  ajar.Clock
	NewID  func() string // a fresh random GUID
	Bounds ajar.Bounds   // what is zero is as in ajar.DefaultBounds
	Log    *slog.Logger  // nil = none
	// Wake tells the loop that these endpoints are due; nil = nobody to tell. It must not block.
	Wake func(...ajar.EndpointID)
	// Take is called in the same Update, where it can save the loop one of its own: it claims what was marked due, and
	// what it gives is called instead of Wake once that is durable. Each of eps was marked once, written is all leases that
	// were written there, and they are not changed any more by either side. nil = Wake alone.
	Take func(tx ajar.Tx, eps []ajar.EndpointID, written []*ajar.Lease) (begun func(), err error)
	// GuardConfirm is how long a new guard waits for confirmation before its host rolls it back, where a PutPolicy says
	// nothing; 0 = new guards are confirmed at once.
	GuardConfirm time.Duration
	// Preview asks an endpoint's enforcer what guards would cut; nil = previews are left out.
	Preview func(ctx context.Context, ep ajar.Endpoint, guard []ajar.Guard) (ajar.Impact, error)
	// PlaneListeners are the addresses that people and agents reach the plane at. A policy cannot guard them unless
	// forced.
	PlaneListeners []netip.AddrPort
	// Removed is called after a host was removed and its identity revoked, so that its connection is cut now; lift says
	// whether it should be told to take its guard down first. nil = nobody to tell. It must not block. Replicas that did
	// not carry out the removal see Revoked and Lift in the HostIdentity.
	Removed func(ep ajar.EndpointID, lift bool)
	// SubscriptionNames are subscriptions that are there whether or not anything lies in them, by their GUIDs in lower
	// case, and what they are called; "" = as their GUID.
	SubscriptionNames map[string]string
	// LongestToken bounds the tokens that people and programs make for themselves; 0 = 90 days.
	LongestToken time.Duration
	// NoSecondFactor says that people are never asked for more than a password, whatever they have.
	NoSecondFactor bool
	// MaxLeases bounds the leases of one request; 0 = 1,000.
	MaxLeases int
	// MaxLive bounds the live leases of one principal; 0 = 250,000. It is there to stop a runaway program; each replica
	// keeps to it by itself.
	MaxLive int
	// RemovePercent is how many of the machines that an origin has one listing may remove at once, one of few always;
	// what would remove more is refused. 0 = 20; negative = none.
	RemovePercent int
}

// Broker carries out the verbs. Make one with New; it is safe for concurrent use.
type Broker struct {
	Config

	mu       sync.Mutex
	index    *rbac.Index // of committed data only
	indexGen int64
	live     map[ajar.PrincipalID]int // no fewer than are live
	large    map[string]*kept         // policies with many machines
	largeN   int                      // their machines

	places *directory
	read   listedReadings

	reading sync.Mutex // before mu
	held    rights     // what index was made from
}

// New makes a Broker.
func New(c Config) *Broker {
	d := ajar.DefaultBounds
	c.Bounds.Shortest, c.Bounds.Longest = cmp.Or(c.Bounds.Shortest, d.Shortest), cmp.Or(c.Bounds.Longest, d.Longest)
	c.Bounds.Drain, c.Bounds.MaxWarn = cmp.Or(c.Bounds.Drain, d.Drain), cmp.Or(c.Bounds.MaxWarn, d.MaxWarn)
	c.Bounds.Lapse = cmp.Or(c.Bounds.Lapse, d.Lapse)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.MaxLeases == 0 {
		c.MaxLeases = 1000
	}
	if c.MaxLive == 0 {
		c.MaxLive = 250_000
	}
	c.RemovePercent = cmp.Or(c.RemovePercent, 20)
	c.LongestToken = cmp.Or(c.LongestToken, 90*24*time.Hour)
	return &Broker{Config: c, live: map[ajar.PrincipalID]int{}, large: map[string]*kept{}, places: newDirectory()}
}

// now is the time as it is kept: UTC and whole milliseconds.
func (b *Broker) now() time.Time { return b.Clock().UTC().Truncate(time.Millisecond) }
