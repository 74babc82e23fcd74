package ajar

import (
	"context"
	"net/netip"
	"time"
)

// Finder is the power to list targets. What a provider's listing has becomes a target; what it no longer has goes. One
// listing of a provider runs at a time.
type Finder interface {
	// Scopes are what is listed each by itself: the subscriptions or accounts that the provider was told to look at. One
	// that cannot be listed does not hold up the others. They must not overlap.
	Scopes(ctx context.Context) ([]ID, error)
	// Find lists the targets at and below scope, page by page in any order; it stops when page answers an error, or ctx
	// ends. It returns nil only if the provider itself said that it has listed everything: what makes a listing less than
	// whole is an error, for what a whole one lacks is taken to be gone.
	Find(ctx context.Context, scope ID, page func([]Found) error) error
}

// Found is a target as a provider lists it: where it is and what it can be reached at. Its name is in its ID. The rest
// of a target is people's.
type Found struct {
	ID        ID
	Location  string
	OS        string // "" = Linux
	Addresses []netip.Addr
	Tags      map[string]string // nil = the provider says nothing of them, and they are people's
	// Places are where the provider enforces the target's rules, each named by what Endpoint.Address is to be. A target
	// without any is known, and has nothing that could be opened.
	Places []string
}

// Origin says by which provider's listing a target is known.
type Origin struct {
	Provider string
	Scope    ID // what was listed
}

// Key names an origin among all.
func (o Origin) Key() string {
	if o == (Origin{}) {
		return ""
	}
	return o.Provider + " " + o.Scope.Key()
}

// Finding is what listings say of a target. Origin is who found it, and who alone changes and removes it then; it is
// zero for a target that somebody put.
type Finding struct {
	Origin
	// Missing is when a listing lacked the target for the first time, and Round the listing that did. The next one that
	// lacks it removes it.
	Missing time.Time
	Round   int64
	// Kept says why it stays all the same.
	Kept string
	// Clash is another listing that has the target, too. It changes nothing of it.
	Clash Origin
}

// Listing is the state of listing one origin. Who lists holds it until Until, and is the only one to.
type Listing struct {
	Stamp
	Origin
	Round    int64  // counts the listings that were begun
	Owner    string // the replica that lists now; "" = none
	Until    time.Time
	Due      time.Time // of the next one
	Failures int       // in a row, refusals included
	Refused  bool      // the last one would have removed too much
	Trouble  string    // of the last one
	Targets  int       // that it had found when it last ended well
	Missing  int       // of those that it then lacked
	Listed   time.Time // when a whole one was last agreed with
}

// Agreed is what a part of a listing brought about.
type Agreed struct {
	Found, Changed, Clashes int
	Bad                     int    // entries that cannot be taken; a listing with any removes nothing
	Why                     string // the first of them is not taken
}

// Ended is what a whole listing came to.
type Ended struct {
	Targets int  // that the origin has now
	Missing int  // of those, what the listing lacks
	Gone    int  // were removed
	Refused bool // too much would have been
}

// What listings bring about.
const (
	TargetFound    Action = "Ajar.Access/targets/found"
	TargetChanged  Action = "Ajar.Access/targets/changed"
	TargetMissing  Action = "Ajar.Access/targets/missing"
	TargetGone     Action = "Ajar.Access/targets/gone"
	TargetKept     Action = "Ajar.Access/targets/kept"
	TargetClash    Action = "Ajar.Access/targets/clash"
	ListingWorked  Action = "Ajar.Access/listings/worked"
	ListingFailed  Action = "Ajar.Access/listings/failed"
	ListingRefused Action = "Ajar.Access/listings/refused"
)
