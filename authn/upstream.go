package authn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/ajar-access/ajar"
)

// Upstream is an OpenID provider whose access tokens are taken for calls to the plane, of whoever is linked to it. It
// must not be copied.
type Upstream struct {
	Issuer    string       // as the provider says it of itself
	Audiences []string     // what aud may be, letter by letter
	Client    *http.Client // nil = one that checks certificates by the system's authorities

	keys atomic.Pointer[upstreamKeys]
	mu   sync.Mutex // held while the provider is asked, so that one asks for all
	at   time.Time  // when it was
}

// upstreamKeys are a provider's keys.
type upstreamKeys struct {
	at   time.Time
	list []jose.JSONWebKey
}

const (
	maxUpstreamJWT  = 16 << 10
	maxUpstreamLife = 25 * time.Hour
	upstreamBytes   = 1 << 20
	upstreamTimeout = 10 * time.Second
	keysGood        = time.Hour        // after which they are asked for again
	keysLast        = 24 * time.Hour   // after which they are not taken any more if that does not work
	keysAgain       = 30 * time.Second // between two questions, whatever key a token names
)

// upstreamClaims are what is read of a provider's access token.
type upstreamClaims struct {
	jwt.Claims
	AZP   string          `json:"azp"`
	AppID string          `json:"appid"`
	Nonce json.RawMessage `json:"nonce"`   // an id token's, as the next
	Hash  json.RawMessage `json:"at_hash"` // of the access token that it came with
}

// upstreamAlgs are the algorithms that are taken.
var upstreamAlgs = []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.PS256}

// upstreamOf tells whose token text says that it is; nil for none of theirs. Nothing is checked yet.
func (a *Authn) upstreamOf(text string) *Upstream {
	if len(a.Upstreams) == 0 || len(text) > maxUpstreamJWT {
		return nil
	}
	hash := HashSecret(text)
	a.mu.RLock()
	k := a.tokens[hash]
	a.mu.RUnlock()
	if k != nil {
		return k.upstream
	}
	tok, err := jwt.ParseSigned(text, upstreamAlgs)
	if err != nil {
		return nil
	}
	var c jwt.Claims
	if tok.UnsafeClaimsWithoutVerification(&c) != nil {
		return nil
	}
	i := slices.IndexFunc(a.Upstreams, func(u *Upstream) bool { return u.Issuer == c.Issuer })
	if i < 0 {
		return nil
	}
	return a.Upstreams[i]
}

// theirs finds out about a provider's access token: by signature and claims, and by who is linked to its subject. Who is
// not is not made here. What is known is as old as what is known of our own tokens.
func (a *Authn) theirs(ctx context.Context, u *Upstream, text string) (*known, error) {
	hash, now := HashSecret(text), a.Clock()
	a.mu.RLock()
	k, forgets := a.tokens[hash], a.forgets
	a.mu.RUnlock()
	if k != nil && now.Sub(k.at) < CacheAge && !now.Before(k.at) && now.Before(k.expires) {
		return k, nil
	}
	c, err := u.check(ctx, text, now)
	if err == nil {
		k, err = a.linked(ctx, &ajar.Link{Issuer: u.Issuer, Subject: c.Subject})
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil {
		delete(a.tokens, hash)
		return nil, err
	}
	k.at, k.expires, k.token, k.upstream = now, c.Expiry.Time(), hash, u
	k.caller.Until = k.expires
	if k.caller.App = c.AZP; c.AZP == "" {
		k.caller.App = c.AppID
	}
	if len(a.tokens) >= maxKnown {
		clear(a.tokens)
	}
	if a.forgets == forgets {
		a.tokens[hash] = k
	}
	return k, nil
}

func (a *Authn) linked(ctx context.Context, l *ajar.Link) (*known, error) {
	k := &known{}
	err := a.Store.View(ctx, func(tx ajar.Tx) error {
		ps, _, err := ajar.List[ajar.Principal](tx, ajar.Filter{Owner: ajar.PrincipalID(l.Key()), Limit: 1})
		switch {
		case err != nil:
			return err
		case len(ps) == 0 || *ps[0].Upstream != *l:
			return ajar.Errorf(ajar.Unauthenticated, "nobody here is linked to the subject of the access token; ask an administrator")
		case ps[0].Disabled:
			return ajar.Errorf(ajar.Unauthenticated, "the account is disabled")
		}
		k.caller = ajar.Caller{Principal: ps[0].ID, Name: ps[0].Name}
		return nil
	})
	return k, err
}

// check gives the claims of an access token that the provider signed for us and that is good now.
func (u *Upstream) check(ctx context.Context, text string, now time.Time) (*upstreamClaims, error) {
	tok, err := jwt.ParseSigned(text, upstreamAlgs)
	if err != nil || len(tok.Headers) != 1 {
		return nil, errBadToken()
	}
	h := tok.Headers[0]
	typ, _ := h.ExtraHeaders[jose.HeaderType].(string)
	if h.KeyID == "" || h.JSONWebKey != nil || bringsKey(h) || !slices.Contains([]string{"", "jwt", "at+jwt", "application/at+jwt"}, strings.ToLower(typ)) {
		return nil, errBadToken()
	}
	key, err := u.key(ctx, h, now)
	if err != nil {
		return nil, err
	}
	c := &upstreamClaims{}
	if err := tok.Claims(key, c); err != nil {
		return nil, errBadToken()
	}
	switch {
	case c.Issuer != u.Issuer:
		return nil, badJWT("InvalidAuthenticationTokenIssuer", "the access token was issued by somebody else")
	case !slices.ContainsFunc(c.Audience, func(aud string) bool { return slices.Contains(u.Audiences, aud) }):
		return nil, errAudience()
	case c.Nonce != nil || c.Hash != nil || c.Subject == "" || len(c.Subject) > 255 || c.Expiry == nil:
		return nil, errBadToken()
	case !now.Before(c.Expiry.Time()):
		return nil, badJWT("ExpiredAuthenticationToken", "the access token has expired; sign in again")
	case c.Expiry.Time().Sub(now) > maxUpstreamLife:
		return nil, badJWT("InvalidAuthenticationToken", "the access token is good for longer than a day")
	case c.NotBefore != nil && now.Add(early).Before(c.NotBefore.Time()), c.IssuedAt != nil && now.Add(early).Before(c.IssuedAt.Time()):
		return nil, badJWT("InvalidAuthenticationToken", "the access token is not valid yet")
	}
	return c, nil
}

// key finds the key that a token says it was signed with. Tokens can name whatever they like: the provider is asked at
// most twice a minute.
func (u *Upstream) key(ctx context.Context, h jose.Header, now time.Time) (*jose.JSONWebKey, error) {
	find := func() (*jose.JSONWebKey, bool) {
		keys := u.keys.Load()
		if keys == nil || now.Sub(keys.at) > keysLast {
			return nil, false
		}
		for i, k := range keys.list {
			if k.KeyID == h.KeyID && (k.Algorithm == "" || k.Algorithm == h.Algorithm) && (k.Use == "" || k.Use == "sig") && k.IsPublic() && k.Valid() {
				return &keys.list[i], now.Sub(keys.at) < keysGood
			}
		}
		return nil, false
	}
	if k, fresh := find(); fresh {
		return k, nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	k, fresh := find()
	if !fresh && (u.at.IsZero() || now.Sub(u.at) >= keysAgain) {
		u.at = now
		list, err := u.fetch(context.WithoutCancel(ctx))
		if err == nil {
			u.keys.Store(&upstreamKeys{now, list})
			k, _ = find()
		} else if k == nil {
			return nil, ajar.Because(ajar.Unavailable, err, "the keys of the access token's issuer cannot be had just now")
		}
	}
	switch {
	case k != nil:
		return k, nil
	case u.keys.Load() == nil:
		return nil, ajar.Errorf(ajar.Unavailable, "the keys of the access token's issuer cannot be had just now")
	}
	return nil, errBadToken()
}

// fetch asks the provider for its keys.
func (u *Upstream) fetch(ctx context.Context) ([]jose.JSONWebKey, error) {
	ctx, cancel := context.WithTimeout(ctx, upstreamTimeout)
	defer cancel()
	var meta struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	if err := u.ask(ctx, strings.TrimSuffix(u.Issuer, "/")+"/.well-known/openid-configuration", &meta); err != nil {
		return nil, err
	}
	at, err := url.Parse(meta.Keys)
	if err != nil || meta.Issuer != u.Issuer || !(at.Scheme == "https" || at.Scheme == "http" && (at.Hostname() == "localhost" || net.ParseIP(at.Hostname()).IsLoopback())) {
		return nil, errors.New("the provider says that it is another, or has its keys where others can change them")
	}
	var set jose.JSONWebKeySet
	err = u.ask(ctx, meta.Keys, &set)
	return set.Keys, err
}

func (u *Upstream) ask(ctx context.Context, from string, into any) error {
	c := http.Client{}
	if u.Client != nil {
		c = *u.Client
	}
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return err
	}
	a, err := c.Do(r)
	if err != nil {
		return err
	}
	defer a.Body.Close()
	if a.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", from, a.Status)
	}
	return json.NewDecoder(io.LimitReader(a.Body, upstreamBytes)).Decode(into)
}
