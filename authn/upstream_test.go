package authn

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/uuid"

	"github.com/ajar-access/ajar"
)

// elsewhere is a provider whose keys the test has.
type elsewhere struct {
	*httptest.Server
	t     *testing.T
	rsa   *rsa.PrivateKey
	ec    *ecdsa.PrivateKey
	asked atomic.Int32
	down  atomic.Bool
}

func newElsewhere(t *testing.T) *elsewhere {
	e := &elsewhere{t: t}
	var err error
	if e.rsa, err = rsa.GenerateKey(rand.Reader, 2048); err == nil {
		e.ec, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		e.asked.Add(1)
		if e.down.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		json.NewEncoder(w).Encode(map[string]string{"issuer": e.URL, "jwks_uri": e.URL + "/keys"}) //nolint:errcheck // the test sees what lacks
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: e.rsa.Public(), KeyID: "rsa"}, {Key: e.ec.Public(), KeyID: "ec", Algorithm: "ES256"}}}) //nolint:errcheck // as above
	})
	e.Server = httptest.NewServer(mux)
	t.Cleanup(e.Close)
	return e
}

func (e *elsewhere) token(alg jose.SignatureAlgorithm, kid string, key any, claims map[string]any, headers ...string) string {
	o := (&jose.SignerOptions{}).WithType("at+jwt").WithHeader("kid", kid)
	for i := 0; i < len(headers); i += 2 {
		o = o.WithHeader(jose.HeaderKey(headers[i]), headers[i+1])
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, o)
	if err != nil {
		e.t.Fatal(err)
	}
	b, err := json.Marshal(claims)
	if err != nil {
		e.t.Fatal(err)
	}
	sig, err := s.Sign(b)
	if err != nil {
		e.t.Fatal(err)
	}
	text, err := sig.CompactSerialize()
	if err != nil {
		e.t.Fatal(err)
	}
	return text
}

// TestUpstreamAccessTokens: whoever is linked calls with a token of the provider's; one wrong thing, and nobody does.
func TestUpstreamAccessTokens(t *testing.T) {
	d, e := newDoor(t), newElsewhere(t)
	d.Upstreams = []*Upstream{{Issuer: e.URL, Audiences: []string{"api://ajar"}}}
	p := &ajar.Principal{ID: ajar.PrincipalID(uuid.NewString()), Kind: ajar.User, Name: "alice", Upstream: &ajar.Link{Issuer: e.URL, Subject: "s1"}}
	put := func() {
		t.Helper()
		if err := d.Store.Update(t.Context(), func(tx ajar.Tx) error { return tx.Put(p) }); err != nil {
			t.Fatal(err)
		}
	}
	put()
	use := func(text string) (ajar.Caller, error) {
		r := httptest.NewRequest(http.MethodGet, "/subscriptions", nil)
		r.Header.Set("Authorization", "Bearer "+text)
		who, _, err := d.Caller(r)
		return who, err
	}
	now := d.clock.now().Unix()
	good := map[string]any{"iss": e.URL, "aud": "api://ajar", "sub": "s1", "exp": now + 3600, "iat": now, "azp": "pipeline"}
	with := func(pairs ...any) map[string]any {
		c := maps.Clone(good)
		for i := 0; i < len(pairs); i += 2 {
			if c[pairs[i].(string)] = pairs[i+1]; pairs[i+1] == nil {
				delete(c, pairs[i].(string))
			}
		}
		return c
	}
	model := e.token(jose.ES256, "ec", e.ec, good)
	for _, text := range []string{model, e.token(jose.RS256, "rsa", e.rsa, good), e.token(jose.PS256, "rsa", e.rsa, with("aud", []string{"x", "api://ajar"}))} {
		if who, err := use(text); err != nil || who.Principal != p.ID || who.App != "pipeline" || len(who.Groups) != 0 || who.Until.Unix() != now+3600 {
			t.Fatalf("%+v %v", who, err)
		}
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der := []byte(strings.Repeat("k", 32))
	for what, text := range map[string]string{
		"wrong audience":             e.token(jose.ES256, "ec", e.ec, with("aud", "other")),
		"no audience":                e.token(jose.ES256, "ec", e.ec, with("aud", nil)),
		"wrong issuer":               e.token(jose.ES256, "ec", e.ec, with("iss", "https://other.example.org")),
		"expired":                    e.token(jose.ES256, "ec", e.ec, with("exp", now)),
		"no expiry":                  e.token(jose.ES256, "ec", e.ec, with("exp", nil)),
		"good for a week":            e.token(jose.ES256, "ec", e.ec, with("exp", now+7*86400)),
		"not valid yet":              e.token(jose.ES256, "ec", e.ec, with("nbf", now+600)),
		"of a time to come":          e.token(jose.ES256, "ec", e.ec, with("iat", now+600)),
		"an id token":                e.token(jose.ES256, "ec", e.ec, with("nonce", "n")),
		"an id token of a code":      e.token(jose.ES256, "ec", e.ec, with("at_hash", "AAAA")),
		"nobody's subject":           e.token(jose.ES256, "ec", e.ec, with("sub", "s2")),
		"somebody's name as subject": e.token(jose.ES256, "ec", e.ec, with("sub", "alice", "preferred_username", "alice")),
		"no subject":                 e.token(jose.ES256, "ec", e.ec, with("sub", nil)),
		"wrong key":                  e.token(jose.ES256, "ec", other, good),
		"key id pointing elsewhere":  e.token(jose.ES256, "../keys", other, good),
		"another key's id":           e.token(jose.ES256, "rsa", e.ec, good),
		"a key that it brings":       e.token(jose.ES256, "ec", other, good, "jku", "https://other.example.org/keys"),
		"a shared secret":            e.token(jose.HS256, "rsa", der, good),
		"an algorithm not taken":     e.token(jose.RS512, "rsa", e.rsa, good),
		"another type":               e.token(jose.ES256, "ec", e.ec, good, "typ", "logout+jwt"),
		"too long":                   e.token(jose.ES256, "ec", e.ec, with("x", strings.Repeat("x", maxUpstreamJWT))),
		"alg none":                   "eyJhbGciOiJub25lIn0." + strings.Split(model, ".")[1] + ".",
		"another's signature":        model[:strings.LastIndex(model, ".")+1] + strings.Split(e.token(jose.ES256, "ec", e.ec, with("sub", "s3")), ".")[2],
	} {
		if who, err := use(text); !errors.Is(err, ajar.Unauthenticated) {
			t.Errorf("%s: %+v %v", what, who, err)
		}
	}
	if n := e.asked.Load(); n != 1 {
		t.Errorf("the provider was asked %d times", n)
	}
	p.Disabled = true
	put()
	d.clock.step(CacheAge)
	if _, err := use(model); !errors.Is(err, ajar.Unauthenticated) {
		t.Errorf("a disabled account: %v", err)
	}
	p.Disabled = false
	put()
	if _, err := use(model); err != nil {
		t.Error(err)
	}
	d.clock.step(time.Hour)
	if _, err := use(model); !errors.Is(err, ajar.Unauthenticated) {
		t.Errorf("from memory, expired: %v", err)
	}
}

// TestUpstreamKeysAreAskedForSeldom: whatever tokens name, and however long the provider is away.
func TestUpstreamKeysAreAskedForSeldom(t *testing.T) {
	e := newElsewhere(t)
	u := &Upstream{Issuer: e.URL}
	now := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
	e.down.Store(true)
	key := func(kid string) error {
		_, err := u.key(t.Context(), jose.Header{KeyID: kid, Algorithm: "ES256"}, now)
		return err
	}
	for range 3 {
		if err := key("ec"); !errors.Is(err, ajar.Unavailable) {
			t.Errorf("without keys: %v", err)
		}
	}
	e.down.Store(false)
	now = now.Add(keysAgain)
	for range 3 {
		if err := key("ec"); err != nil {
			t.Error(err)
		}
		if err := key("unknown"); !errors.Is(err, ajar.Unauthenticated) {
			t.Error(err)
		}
	}
	if n := e.asked.Load(); n != 2 {
		t.Errorf("asked %d times", n)
	}
	e.down.Store(true)
	now = now.Add(keysGood)
	if err := key("ec"); err != nil {
		t.Errorf("away for a while: %v", err)
	}
	now = now.Add(keysLast)
	if err := key("ec"); err == nil {
		t.Error("keys are good for ever")
	}
}
