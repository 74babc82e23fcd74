package ajar

import (
	"net/netip"
	"time"
)

// GrantKind says what a Grant is good for.
type GrantKind string

// The kinds of grant there are.
const (
	GrantCode      GrantKind = "code"      // an authorization code: exchanged for tokens once
	GrantDevice    GrantKind = "device"    // a device code: polled for until somebody allows or denies it elsewhere
	GrantFamily    GrantKind = "family"    // the refresh tokens that came one from the other; one of them is good
	GrantAssertion GrantKind = "assertion" // a client's signed assertion that was used, so that it is not used again
)

// GrantState is how far a Grant has come.
type GrantState string

// The states of a grant. What is Used or Ended stays until Until, so that a second use is noticed.
const (
	GrantOpen    GrantState = "open"    // a code or family: good. A device code: nobody has decided yet
	GrantAllowed GrantState = "allowed" // a device code: somebody said yes
	GrantDenied  GrantState = "denied"  // a device code: somebody said no
	GrantUsed    GrantState = "used"    // exchanged
	GrantEnded   GrantState = "ended"   // a family: revoked, or a token of it was shown twice
)

// Grant is something that a client shows to get tokens: what it stands for is kept, of the secret itself only the
// SHA-256.
type Grant struct {
	Stamp
	Key       string // hex SHA-256 of the code, of a family's name, or of client and name of an assertion
	Kind      GrantKind
	State     GrantState
	Client    string      // the application it was given to
	Principal PrincipalID // whose tokens it gives; of a device code once it is allowed
	Audience  string
	Scopes    []string // as asked for, without the audience's
	Nonce     string
	Redirect  string // where the code was sent
	Challenge string // S256 code challenge
	UserCode  string // of a device code: hex SHA-256 of what a person types
	Secret    string // of a family: hex SHA-256 of the one token that is good
	Family    string // of a code that was used: the family it gave, whose tokens end if it is shown again
	Amr       []string
	Vouched   Vouched    // the groups that go with it
	AuthTime  time.Time  // when the person proved who they are
	From      netip.Addr // where it was asked from
	Created   time.Time
	Expires   time.Time // when it stops being good
	Until     time.Time // when it can be forgotten
}

// Entry: owner is the principal, ref a device code's user code, state kind and state as in "device/open".
func (g *Grant) Entry() Entry {
	return Entry{Kind: KindGrant, Key: g.Key, Owner: string(g.Principal), Ref: g.UserCode, State: string(g.Kind) + "/" + string(g.State), Until: g.Until}
}

// Tenant is whom a plane belongs to, in Azure's words: the directory that its principals are in.
type Tenant struct {
	ID     string // a GUID
	Name   string // shown
	Domain string // such as example.org; may stand where the ID does; "" = none
}
