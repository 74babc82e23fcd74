package authn

import (
	"context"
	"crypto"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/ajar-access/ajar"
)

// Tokens says which signed tokens are taken: by whose word, and for whom.
type Tokens struct {
	Keys      *Keys
	Issuers   []string // what iss may be
	Audiences []string // what aud may be, without slashes at the end
}

const (
	jwkHash = crypto.SHA256
	// maxJWT is how long a signed token may be: ours are below 2 KiB, and nothing longer is even looked at.
	maxJWT = 8 << 10
	// early is how much sooner than its time a token is taken: the clocks of replicas differ.
	early = 30 * time.Second
)

// AccessClaims are what an access token of ours says.
type AccessClaims struct {
	jwt.Claims
	TenantID  string           `json:"tid"`
	ObjectID  ajar.PrincipalID `json:"oid"`
	AppID     string           `json:"appid"`
	AZP       string           `json:"azp"`
	AZPACR    string           `json:"azpacr"` // how the client proved itself: 0 not at all, 1 secret, 2 certificate
	IDType    string           `json:"idtyp"`  // user or app
	Name      string           `json:"name,omitempty"`
	UPN       string           `json:"upn,omitempty"`
	Preferred string           `json:"preferred_username,omitempty"`
	Scope     string           `json:"scp,omitempty"`
	Roles     []string         `json:"roles,omitempty"`
	AMR       []string         `json:"amr,omitempty"`
	AuthTime  *jwt.NumericDate `json:"auth_time,omitempty"`
	UTI       string           `json:"uti"`
	Version   string           `json:"ver"`
}

// IDClaims are what an id token of ours says.
type IDClaims struct {
	jwt.Claims
	TenantID  string           `json:"tid"`
	ObjectID  ajar.PrincipalID `json:"oid"`
	Nonce     string           `json:"nonce,omitempty"`
	Name      string           `json:"name,omitempty"`
	UPN       string           `json:"upn"`
	Preferred string           `json:"preferred_username"`
	Email     string           `json:"email,omitempty"`
	AMR       []string         `json:"amr,omitempty"`
	AuthTime  *jwt.NumericDate `json:"auth_time,omitempty"`
	Version   string           `json:"ver"`
}

// Signed reports whether text has the form of a signed token rather than of one of our opaque ones.
func Signed(text string) bool { return strings.Count(text, ".") == 2 }

// checkAccess gives the claims of an access token that we signed and that is good now, by its own word: whether it was
// ended is the store's to say.
func (t *Tokens) checkAccess(ctx context.Context, text string, now time.Time) (*AccessClaims, error) {
	c := &AccessClaims{}
	if err := t.open(ctx, text, typeAccess, c); err != nil {
		return nil, err
	}
	switch {
	case !slices.Contains(t.Issuers, c.Issuer):
		return nil, badJWT("InvalidAuthenticationTokenIssuer", "the access token was issued by somebody else")
	case len(c.Audience) != 1:
		return nil, badJWT("InvalidAuthenticationTokenAudience", "the access token is for nobody or for several")
	case c.Expiry == nil || c.NotBefore == nil || c.Subject == "" || c.Subject != string(c.ObjectID):
		return nil, errBadToken()
	case !now.Before(c.Expiry.Time()):
		return nil, badJWT("ExpiredAuthenticationToken", "the access token has expired; sign in again")
	case now.Add(early).Before(c.NotBefore.Time()):
		return nil, badJWT("InvalidAuthenticationToken", "the access token is not valid yet")
	}
	return c, nil
}

// CheckIDHint gives the claims of an id token that we signed at some time, expired or not: it says who a client thinks
// is signed in, and gives no right.
func (t *Tokens) CheckIDHint(ctx context.Context, text string) (*IDClaims, error) {
	c := &IDClaims{}
	if err := t.open(ctx, text, typeID, c); err != nil {
		return nil, err
	}
	if !slices.Contains(t.Issuers, c.Issuer) || len(c.Audience) != 1 {
		return nil, errBadToken()
	}
	return c, nil
}

// open checks the signature and reads the claims. The header says which of our keys it was and nothing else is taken
// from it: no algorithm but ours, no key that it brings or points at.
func (t *Tokens) open(ctx context.Context, text, typ string, claims any) error {
	if len(text) > maxJWT {
		return badJWT("InvalidAuthenticationToken", "the access token is longer than any that is given out here")
	}
	tok, err := jwt.ParseSigned(text, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil || len(tok.Headers) != 1 {
		return errBadToken()
	}
	h := tok.Headers[0]
	if got, _ := h.ExtraHeaders[jose.HeaderType].(string); got != typ || h.KeyID == "" || h.JSONWebKey != nil || bringsKey(h) {
		return errBadToken()
	}
	key, err := t.Keys.find(ctx, h.KeyID)
	if err != nil {
		return err
	}
	if err := tok.Claims(key, claims); err != nil {
		return errBadToken()
	}
	return nil
}

func bringsKey(h jose.Header) bool {
	for _, name := range []jose.HeaderKey{"jku", "x5u", "x5c", "jwk", "crit"} {
		if _, ok := h.ExtraHeaders[name]; ok {
			return true
		}
	}
	return false
}

// badJWT is a refusal of a signed token, with the code that Azure has for it.
func badJWT(code, msg string) error {
	return &ajar.Error{Kind: ajar.Unauthenticated, Code: code, Msg: msg}
}

// accepts reports whether a token with this audience is for calls to the plane.
func (t *Tokens) accepts(audience string) bool {
	return slices.Contains(t.Audiences, strings.TrimRight(audience, "/"))
}

// signed finds out about a signed token: by signature and claims the first time, afterwards like any other.
func (a *Authn) signed(ctx context.Context, text string) (*known, error) {
	if a.Tokens == nil || len(text) > maxJWT {
		return nil, errBadToken()
	}
	hash := HashSecret(text)
	a.mu.RLock()
	seen := a.tokens[hash] != nil
	a.mu.RUnlock()
	if seen {
		return a.look(ctx, hash)
	}
	c, err := a.Tokens.checkAccess(ctx, text, a.Clock())
	if err != nil {
		return nil, err
	}
	k, err := a.look(ctx, hash)
	if err != nil {
		return nil, err
	}
	if k.caller.Principal != c.ObjectID || k.audience != c.Audience[0] {
		return nil, errBadToken()
	}
	return k, nil
}

// Holder says who a signed access token belongs to that is for the plane or, unlike for Caller, for audience alone. It
// is for the issuer's own endpoints.
func (a *Authn) Holder(ctx context.Context, text, audience string) (ajar.Caller, error) {
	k, err := a.signed(ctx, text)
	if err != nil {
		return ajar.Caller{}, err
	}
	if k.audience != audience && !a.Tokens.accepts(k.audience) {
		return ajar.Caller{}, errAudience()
	}
	return k.caller, nil
}

func errAudience() error {
	return badJWT("InvalidAuthenticationTokenAudience", "the access token has been obtained for another audience")
}
