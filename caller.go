package ajar

import (
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"time"
)

// Clock tells the time. It is handed in; only programs pass time.Now.
type Clock func() time.Time

// PrincipalID names a person, group or service principal: a GUID.
type PrincipalID string

// PrincipalKind is Azure's principalType.
type PrincipalKind string

// The kinds of principal there are.
const (
	User             PrincipalKind = "User"
	Group            PrincipalKind = "Group"
	ServicePrincipal PrincipalKind = "ServicePrincipal"
)

// Principal is somebody who exists: a person, a group, or a program with an identity of its own.
type Principal struct {
	Stamp
	ID       PrincipalID
	Kind     PrincipalKind
	Name     string // how it signs in and is shown; unique without regard to case
	Display  string
	Disabled bool
	Members  []PrincipalID // of a group; groups do not nest
	Upstream *Link         // who it is at another provider, if it signs in there; nil = nobody
	Created  time.Time
}

// Link says who somebody is at another OpenID provider: the subject that it never gives to anybody else. Names and
// addresses are not in it, since those pass from one person to the next.
type Link struct {
	Issuer  string
	Subject string
}

// Key finds whoever is linked; "" for no link.
func (l *Link) Key() string {
	if l == nil || l.Issuer == "" || l.Subject == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(l.Issuer + "\n" + l.Subject))
	return hex.EncodeToString(sum[:])
}

// Vouched are the groups kept here that another provider says somebody is in. Its word is that of one sign-in: what
// comes of that ends with it.
type Vouched struct {
	Groups []PrincipalID // sorted
	Until  time.Time     // zero = nothing was said
}

// By is t, or the end of what is vouched for if that is sooner.
func (v Vouched) By(t time.Time) time.Time {
	if !v.Until.IsZero() && v.Until.Before(t) {
		return v.Until
	}
	return t
}

// Caller is who is asking now. It is every verb's second argument.
type Caller struct {
	Principal PrincipalID
	Name      string
	Groups    []PrincipalID // what the sign-in vouches for; groups kept here are added by rbac
	From      netip.Addr    // where the request came from: the connection's address, or a trusted proxy's word
	Via       string        // arm, web, oauth, bastion, local
	Corr      string        // correlation id of the call, kept in its events
	Doing     string        // the call that would change something; what is refused to be looked up for it is recorded
	App       string        // the application that the token was given to
	Call      *Call         // the HTTP request that would change something; kept in its event
	Until     time.Time     // when the word of the provider that they signed in with ends; zero = never
	Proof     string        // the id of the secret or certificate that the token was got with, if any
	AuthTime  time.Time     // when they proved who they are; zero = it is not known
	Amr       []string      // how: pwd, otp, hwk, mfa, fed …
	Session   string        // the key of the browser's session that asks, if one does; it must be there still
	Token     string        // the hash of the token of ours that the call came with, if it did
}

// OwnClient is the client id of this project's own programs.
const OwnClient = "a1a30f6e-5c3b-4c53-9f0e-6d2b7f1c4a10"

// Plane is the caller of what nobody asked for: the loop, start-up, recovery on the plane's own machine.
var Plane = Caller{Principal: "00000000-0000-0000-0000-000000000000", Name: "ajar", Via: "local"}

// Credential is one way of a principal to prove itself. Hash is all that is kept of the secret.
type Credential struct {
	Stamp
	ID        string
	Principal PrincipalID
	Kind      CredentialKind
	Hash      string // argon2id for passwords, SHA-256 for generated 256-bit secrets and of a certificate's DER
	Hint      string // the first characters of a generated secret, or of a certificate's subject, for telling them apart
	Cert      []byte // of a certificate: its DER
	Created   time.Time
	Expires   time.Time // zero = does not expire
}

// CredentialKind is the sort of proof a Credential is.
type CredentialKind string

// The kinds of credential there are.
const (
	Password CredentialKind = "password"
	Secret   CredentialKind = "secret"
	Once     CredentialKind = "once" // generated like a secret; the first log-in uses it up
	// Certificate proves a service principal by what its private key signs (RFC 7523).
	Certificate CredentialKind = "certificate"
)

// TokenKind tells tokens that ajar hands out by itself from those that an OAuth client got.
type TokenKind string

// The kinds of token there are.
const (
	Opaque TokenKind = ""       // random; what it stands for is in the store alone
	Access TokenKind = "access" // signed, and short-lived; good only while it stands in the store all the same
)

// Token is a bearer token that was handed out. The token itself is never kept, only its SHA-256 as the key.
type Token struct {
	Stamp
	Hash      string // hex SHA-256 of the token
	Kind      TokenKind
	Principal PrincipalID
	Name      string // what the holder calls it, or how it was got ("login")
	From      netip.Addr
	Created   time.Time
	Expires   time.Time
	Revoked   time.Time // zero = still good until Expires
	Audience  string    // of an access token: whom it is for
	Client    string    // the application that an access token was given to
	Family    string    // the refresh tokens that it came with, if any
	Vouched   Vouched   // the groups that go with it
	// Credential is the id of the secret or certificate that it was got with, if any: it ends when that is removed.
	Credential string
	AuthTime   time.Time // when its holder proved who they are
	Amr        []string  // how
}

// Tally is what replicas share of failed attempts of one kind. It tells nobody who or where they were.
type Tally struct {
	Stamp
	Key  string
	Full time.Time // when as many may fail again as ever
}

// Familiar is an address that somebody signed in from: guesses that others make from there, or elsewhere, do not keep
// them out.
type Familiar struct {
	Stamp
	Key       string // hex SHA-256 of principal and address
	Principal PrincipalID
	Until     time.Time
}
