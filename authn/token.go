package authn

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/ajar-access/ajar"
)

// CacheAge is how old what is known of a token may be. A token revoked on another replica is refused here no later.
const CacheAge = 400 * time.Millisecond

// Config is what the front door needs. Store and Clock are required.
type Config struct {
	Store    ajar.Store
	Clock    ajar.Clock
	Hasher   *Hasher       // nil = NewHasher(2)
	Proxies  Proxies       // zero = the connection's address is the client's
	TokenFor time.Duration // how long a log-in lasts; 0 = 12 hours
	Tokens   *Tokens       // which signed access tokens are taken; nil = none

	Upstreams []*Upstream // providers whose access tokens are taken, too

	Shared bool // other replicas count wrong guesses, too; takes a Vault

	SecondFactor SecondFactor // when people are asked for more than a password
	Vault        *Vault       // opens what codes are checked with; needed once somebody has an authenticator app
}

// Authn signs people and programs in and knows them again.
type Authn struct {
	Config
	throttle *throttle
	mu       sync.RWMutex
	tokens   map[string]*known // by hash
	forgets  int               // counts Forget; what was read before one is not kept after it
}

// known is what memory has of a token.
type known struct {
	at       time.Time
	expires  time.Time
	token    string // its hash
	caller   ajar.Caller
	audience string    // whom a signed token is for
	foreign  bool      // that is not us
	upstream *Upstream // whose token it is, if not ours
}

// How long log-ins and other tokens last.
const (
	defaultTokenFor = 12 * time.Hour
	onceTokenFor    = time.Hour // after the one-time credential: long enough to set a password
	maxKnown        = 100_000
)

// New makes the front door.
func New(c Config) *Authn {
	if c.Hasher == nil {
		c.Hasher = NewHasher(2)
	}
	if c.TokenFor == 0 {
		c.TokenFor = defaultTokenFor
	}
	return &Authn{Config: c, throttle: newThrottle(), tokens: map[string]*known{}}
}

// Caller says who r comes from, and the hash of the token it came with. Unauthenticated unless r carries a bearer token
// that is good now.
func (a *Authn) Caller(r *http.Request) (who ajar.Caller, token string, err error) {
	scheme, text, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if text = strings.TrimSpace(text); !strings.EqualFold(scheme, "Bearer") || text == "" {
		return who, "", ajar.Errorf(ajar.Unauthenticated, "the request carries no bearer token (header Authorization: Bearer …); log in first")
	}
	k, err := a.bearer(r.Context(), text)
	if err != nil {
		return who, "", err
	}
	who = k.caller
	who.From = a.Proxies.Client(r)
	return who, k.token, nil
}

// bearer finds out about a token by its form.
func (a *Authn) bearer(ctx context.Context, text string) (*known, error) {
	switch {
	case len(text) == generatedLen && text[:4] == tokenPrefix:
		return a.look(ctx, HashSecret(text))
	case !Signed(text):
		return nil, errBadToken()
	}
	if u := a.upstreamOf(text); u != nil {
		return a.theirs(ctx, u, text)
	}
	k, err := a.signed(ctx, text)
	if err == nil && k.foreign {
		return nil, errAudience()
	}
	return k, err
}

func errBadToken() error {
	return ajar.Errorf(ajar.Unauthenticated, "the bearer token is unknown, revoked or expired; log in again")
}

// look finds a token by its hash, in memory if that is fresh enough.
func (a *Authn) look(ctx context.Context, hash string) (*known, error) {
	now := a.Clock()
	a.mu.RLock()
	k, forgets := a.tokens[hash], a.forgets
	a.mu.RUnlock()
	if k != nil && now.Sub(k.at) < CacheAge && !now.Before(k.at) && now.Before(k.expires) {
		return k, nil
	}
	k, err := a.read(ctx, hash, now)
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil {
		delete(a.tokens, hash)
		return nil, err
	}
	if len(a.tokens) >= maxKnown {
		clear(a.tokens)
	}
	if a.forgets == forgets {
		a.tokens[hash] = k
	}
	return k, nil
}

func (a *Authn) read(ctx context.Context, hash string, now time.Time) (*known, error) {
	k := &known{at: now, token: hash}
	err := a.Store.View(ctx, func(tx ajar.Tx) error {
		t, err := ajar.Get[ajar.Token](tx, hash)
		if errors.Is(err, ajar.NotFound) {
			return errBadToken()
		} else if err != nil {
			return err
		}
		if !t.Revoked.IsZero() || !now.Before(t.Vouched.By(t.Expires)) {
			return errBadToken()
		}
		p, err := ajar.Get[ajar.Principal](tx, string(t.Principal))
		if errors.Is(err, ajar.NotFound) {
			return errBadToken()
		} else if err != nil {
			return err
		}
		if p.Disabled {
			return ajar.Errorf(ajar.Unauthenticated, "the account is disabled")
		}
		k.expires = t.Vouched.By(t.Expires)
		k.caller = ajar.Caller{Principal: p.ID, Name: p.Name, Groups: t.Vouched.Groups, Until: t.Vouched.Until, App: t.Client, Proof: t.Credential, AuthTime: t.AuthTime, Amr: t.Amr, Token: hash}
		k.audience = t.Audience
		k.foreign = t.Audience != "" && (a.Tokens == nil || !a.Tokens.accepts(t.Audience))
		return nil
	})
	return k, err
}

// Forget drops from memory what is known of a principal's tokens. Whoever revokes a token, or changes or removes a
// principal, calls it afterwards; other replicas notice within CacheAge.
func (a *Authn) Forget(p ajar.PrincipalID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.forgets++
	for h, k := range a.tokens {
		if k.caller.Principal == p {
			delete(a.tokens, h)
		}
	}
}

// ShortHash names a token to its holder and in the log; the whole hash stays inside.
func ShortHash(hash string) string { return hash[:min(16, len(hash))] }

// NewToken generates a bearer token: what to show once, and what to keep.
func NewToken() (token, hash string) {
	token, hash, _ = generate(tokenPrefix)
	return token, hash
}

// token makes a bearer token and what is kept of it.
func (a *Authn) token(p ajar.PrincipalID, name string, last time.Duration) (*Session, *ajar.Token) {
	text, hash, _ := generate(tokenPrefix)
	now := a.Clock().UTC().Truncate(time.Millisecond)
	t := &ajar.Token{Hash: hash, Principal: p, Name: name, Created: now, Expires: now.Add(last)}
	return &Session{Token: text, ID: ShortHash(hash), Expires: t.Expires, Principal: p}, t
}

func event(who ajar.Caller, action ajar.Action, now time.Time) ajar.Event {
	return ajar.Event{Time: now, Action: action, Outcome: ajar.Accepted, Caller: who.Principal, Name: who.Name, From: who.From, Via: who.Via, Corr: who.Corr}
}

// Expires is when the token with this hash ends, if it was seen lately.
func (a *Authn) Expires(hash string) time.Time {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if k := a.tokens[hash]; k != nil {
		return k.expires
	}
	return time.Time{}
}
