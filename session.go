package ajar

import (
	"net/netip"
	"time"
)

// SessionState is how far a Session has come.
type SessionState string

// The states of a session. One that ended is no longer there.
const (
	SessionHalf  SessionState = "half"  // the password was right, and something else is still asked for
	SessionWhole SessionState = "whole" // somebody is signed in
	SessionUsed  SessionState = "used"  // no session: a question for a passkey that was answered, so that it is not again
)

// Session is a browser that somebody signed in with, or is about to. Its cookie is never kept, only its SHA-256 as the key.
type Session struct {
	Stamp
	Key       string // hex SHA-256 of the cookie
	State     SessionState
	Principal PrincipalID
	Amr       []string  // how they proved who they are: pwd, otp, hwk, mfa, fed …
	AuthTime  time.Time // when
	MustSet   bool      // of a half one: the password was a one-time one, so another is to be set
	Second    bool      // of a half one: the second factor was proven
	From      netip.Addr
	Agent     string // what the browser says that it is
	Created   time.Time
	Seen      time.Time // to the minute
	Idle      time.Time // it ends unless it is seen before
	Expires   time.Time // it ends, however often it is seen
	Provider  string    // by name, of a sign-in elsewhere; "" = here
	Vouched   Vouched   // the groups that the provider said
	Hint      []byte    // what the provider said, wrapped by the key-encryption key, for signing out there
}

// Entry: owner is the principal.
func (s *Session) Entry() Entry {
	e := Entry{Kind: KindSession, Key: s.Key, Owner: string(s.Principal), State: string(s.State), Until: s.Expires}
	if s.Idle.Before(e.Until) && !s.Idle.IsZero() {
		e.Until = s.Idle
	}
	return e
}

// FactorKind is the sort of proof a Factor is.
type FactorKind string

// The kinds of factor there are.
const (
	TOTP     FactorKind = "totp"     // codes that change with time (RFC 6238)
	Passkey  FactorKind = "passkey"  // a key that stays with its holder (WebAuthn)
	Recovery FactorKind = "recovery" // codes on paper, each good once
)

// Factor is what a person proves themselves by beside a password, or, with a passkey, instead of one.
type Factor struct {
	Stamp
	ID        string
	Principal PrincipalID
	Kind      FactorKind
	Name      string   // what its holder calls it
	Sealed    []byte   // of TOTP: the secret, wrapped by the key-encryption key
	Step      int64    // of TOTP: the last time step whose code was used
	Handle    string   // of a passkey: hex SHA-256 of its credential id, which nobody else may have
	Public    []byte   // of a passkey: its public key and counter
	Hashes    []string // of recovery codes: hex SHA-256 of those that are left
	Created   time.Time
	Used      time.Time // zero = never
}

// Entry: owner is the principal, ref a passkey's handle, state the kind.
func (f *Factor) Entry() Entry {
	return Entry{Kind: KindFactor, Key: f.ID, Owner: string(f.Principal), Ref: f.Handle, State: string(f.Kind)}
}
