package issuer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/authn"
)

// forgery is a token that an attacker makes after the model of a good one. It is entered in the store as if it had been
// given out, so that nothing but the check of the token itself can refuse it.
type forgery struct {
	*rig
	p      *ajar.Principal
	good   string
	header map[string]any
	claims map[string]any
}

func newForgery(t *testing.T) *forgery {
	g := newRig(t)
	p, secret := g.newProgram("robot")
	h := g.post(adfsToken, "grant_type", "client_credentials", "client_id", string(p.ID), "client_secret", secret, "scope", resource).must(t)
	f := &forgery{rig: g, p: p, good: h.AccessToken, claims: claims(t, h.AccessToken)}
	b, err := base64.RawURLEncoding.DecodeString(strings.Split(h.AccessToken, ".")[0])
	fatal(t, err)
	fatal(t, json.Unmarshal(b, &f.header))
	if _, err := g.use(h.AccessToken); err != nil {
		t.Fatalf("the model itself is refused: %v", err)
	}
	return f
}

func b64(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// body is what is signed, with the header and claims of the model but for what is given.
func (f *forgery) body(header, with map[string]any) string {
	h, c := maps.Clone(f.header), maps.Clone(f.claims)
	maps.Copy(h, header)
	maps.Copy(c, with)
	return b64(h) + "." + b64(c)
}

// signed has the plane's own key sign it: claims are wrong, the signature is right.
func (f *forgery) signed(with map[string]any) string {
	f.t.Helper()
	c := maps.Clone(f.claims)
	maps.Copy(c, with)
	text, err := f.Auth.Tokens.Keys.SignAccess(f.t.Context(), c)
	fatal(f.t, err)
	return text
}

// es256 signs body with a key.
func es256(t *testing.T, key *ecdsa.PrivateKey, body string) string {
	t.Helper()
	sum := sha256.Sum256([]byte(body))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	fatal(t, err)
	sig := make([]byte, 64)
	r.FillBytes(sig[:32])
	s.FillBytes(sig[32:])
	return body + "." + base64.RawURLEncoding.EncodeToString(sig)
}

// refused brings a token to the door.
func (f *forgery) refused(what, token string) {
	f.t.Helper()
	f.put(&ajar.Token{Hash: authn.HashSecret(token), Kind: ajar.Access, Principal: f.p.ID, Audience: publicURL + "/", Created: f.now(), Expires: f.now().Add(time.Hour)})
	if who, err := f.use(token); !errors.Is(err, ajar.Unauthenticated) {
		f.t.Errorf("%s: taken as %+v, %v", what, who, err)
	}
	if _, err := f.use(f.good); err != nil {
		f.t.Errorf("%s: afterwards the good one is refused: %v", what, err)
	}
}

func TestAlgorithmNone(t *testing.T) {
	f := newForgery(t)
	for _, alg := range []string{"none", "None", "NONE", ""} {
		body := f.body(map[string]any{"alg": alg}, nil)
		f.refused("alg "+alg+", no signature", body+".")
		f.refused("alg "+alg+", the model's signature", body+"."+strings.Split(f.good, ".")[2])
	}
	f.refused("no signature", f.good[:strings.LastIndexByte(f.good, '.')+1])
}

// TestHMACWithThePublicKey: what everybody may read is no secret to sign with.
func TestHMACWithThePublicKey(t *testing.T) {
	f := newForgery(t)
	set, err := f.Auth.Tokens.Keys.Public(t.Context())
	fatal(t, err)
	der, err := x509.MarshalPKIXPublicKey(set.Keys[0].Key)
	fatal(t, err)
	jwk, err := set.Keys[0].MarshalJSON()
	fatal(t, err)
	for what, key := range map[string][]byte{"DER": der, "PEM": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), "JWK": jwk} {
		body := f.body(map[string]any{"alg": "HS256"}, nil)
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(body))
		f.refused("HS256 with the "+what, body+"."+base64.RawURLEncoding.EncodeToString(mac.Sum(nil)))
	}
}

func TestWrongKey(t *testing.T) {
	f := newForgery(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	fatal(t, err)
	f.refused("another key under our key's name", es256(t, key, f.body(nil, nil)))
	f.refused("claims changed, signature kept", f.body(nil, map[string]any{"name": "root"})+"."+strings.Split(f.good, ".")[2])
	f.refused("a signature of nothing", f.body(nil, nil)+"."+base64.RawURLEncoding.EncodeToString(make([]byte, 64)))
}

// TestKeyIDPointingElsewhere: the header brings a key, or says where there is one. Nobody goes there.
func TestKeyIDPointingElsewhere(t *testing.T) {
	f := newForgery(t)
	asked := 0
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	fatal(t, err)
	jwk := jose.JSONWebKey{Key: &key.PublicKey, KeyID: "mine", Algorithm: "ES256", Use: "sig"}
	there := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		if err := json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{jwk}}); err != nil {
			t.Error(err)
		}
	}))
	defer there.Close()
	cert := certificateOf(t, key.Public(), key, f.now().Add(-time.Hour), f.now().Add(time.Hour))
	for what, header := range map[string]map[string]any{
		"jku":          {"kid": "mine", "jku": there.URL},
		"jku, our kid": {"jku": there.URL},
		"x5u":          {"kid": "mine", "x5u": there.URL},
		"jwk":          {"kid": "mine", "jwk": jwk},
		"jwk, our kid": {"jwk": jwk},
		"x5c":          {"x5c": []string{base64.StdEncoding.EncodeToString(cert.Raw)}},
		"path":         {"kid": "../../../../dev/null"},
		"URL":          {"kid": there.URL},
		"SQL":          {"kid": "' UNION SELECT 'x' --"},
		"no kid":       {"kid": ""},
		"crit":         {"crit": []string{"exp"}},
	} {
		f.refused(what, es256(t, key, f.body(header, nil)))
	}
	if asked != 0 {
		t.Errorf("the header's address was asked %d times", asked)
	}
}

func TestWrongAudience(t *testing.T) {
	f := newForgery(t)
	for _, aud := range []any{"https://evil.example", publicURL + ".evil.example", publicURL + "/adfs/openid/userinfo", "", nil, azureCLI,
		[]string{publicURL, "https://evil.example"}, strings.ToUpper(publicURL)} {
		f.refused("audience", f.signed(map[string]any{"aud": aud}))
	}
	for _, aud := range []string{publicURL, publicURL + "/", publicURL + "//", "https://other.example.org"} {
		text := f.signed(map[string]any{"aud": aud})
		f.put(&ajar.Token{Hash: authn.HashSecret(text), Kind: ajar.Access, Principal: f.p.ID, Audience: aud, Created: f.now(), Expires: f.now().Add(time.Hour)})
		if _, err := f.use(text); err != nil {
			t.Errorf("our own audience %q is refused: %v", aud, err)
		}
	}
}

func TestWrongIssuer(t *testing.T) {
	f := newForgery(t)
	for _, iss := range []any{"https://login.microsoftonline.com/" + tenantID + "/v2.0", publicURL, publicURL + "/other/v2.0", publicURL + "/adfs/", "", nil} {
		f.refused("issuer", f.signed(map[string]any{"iss": iss}))
	}
}

func TestExpiredToken(t *testing.T) {
	f := newForgery(t)
	for what, exp := range map[string]any{"past": f.now().Unix() - 1, "now": f.now().Unix(), "none": nil} {
		f.refused("exp "+what, f.signed(map[string]any{"exp": exp}))
	}
	f.step(time.Hour - time.Second)
	if _, err := f.use(f.good); err != nil {
		t.Errorf("a second before its end: %v", err)
	}
	f.step(time.Second)
	if _, err := f.use(f.good); !errors.Is(err, ajar.Unauthenticated) {
		t.Errorf("at its end: %v", err)
	}
}

func TestTokenNotYetValid(t *testing.T) {
	f := newForgery(t)
	for what, nbf := range map[string]any{"in an hour": f.now().Unix() + 3600, "none": nil} {
		f.refused("nbf "+what, f.signed(map[string]any{"nbf": nbf}))
	}
}

// TestStolenSigningKeyForgesNothing: a token that was signed with the plane's own key, but that nobody gave out.
func TestStolenSigningKeyForgesNothing(t *testing.T) {
	f := newForgery(t)
	if who, err := f.use(f.signed(map[string]any{"jti": "forged"})); !errors.Is(err, ajar.Unauthenticated) {
		t.Errorf("taken as %+v, %v", who, err)
	}
	text := f.signed(map[string]any{"sub": "5e5f1c5e-0000-4000-8000-000000000001", "oid": "5e5f1c5e-0000-4000-8000-000000000001"})
	f.refused("a token of somebody else than the store says", text)
	f.refused("sub and oid are two, sub forged", f.signed(map[string]any{"sub": "5e5f1c5e-0000-4000-8000-000000000001"}))
	f.refused("sub and oid are two, oid forged", f.signed(map[string]any{"oid": "5e5f1c5e-0000-4000-8000-000000000001"}))
}

// TestOneSortOfTokenIsNotAnother: who a client knows to be signed in gives no access.
func TestOneSortOfTokenIsNotAnother(t *testing.T) {
	f := newForgery(t)
	id, err := f.Auth.Tokens.Keys.SignID(t.Context(), f.claims)
	fatal(t, err)
	f.refused("an id token with the claims of an access token", id)
	alice := f.newPerson("alice")
	code, verifier := f.code(alice, "scope", "openid")
	h := f.exchange(code, verifier).must(t)
	if _, err := f.use(h.IDToken); !errors.Is(err, ajar.Unauthenticated) {
		t.Errorf("an id token is taken: %v", err)
	}
	if _, err := f.use(h.AccessToken); !errors.Is(err, ajar.Unauthenticated) {
		t.Errorf("a token that is for who signed in alone is taken: %v", err)
	}
	info := f.serve(f.Server, bearer("/adfs/openid/userinfo", h.AccessToken))
	if info.fields["sub"] != string(alice.ID) {
		t.Errorf("userinfo says %s", info.body)
	}
	if _, err := f.use(h.AccessToken); !errors.Is(err, ajar.Unauthenticated) {
		t.Errorf("after userinfo has seen it, it is taken: %v", err)
	}
	if h := f.serve(f.Server, bearer("/adfs/openid/userinfo", id)); h.status != http.StatusUnauthorized {
		t.Errorf("userinfo takes an id token: %s", h.body)
	}
	if h.RefreshToken != "" {
		t.Error("a refresh token came without offline_access")
	}
}

func bearer(target, token string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, target, nil)
	r.Header.Set("Authorization", "Bearer "+token)
	return r
}

// TestPrincipalHeadersAreIgnored: what a front of Azure's would say about the caller is nothing here.
func TestPrincipalHeadersAreIgnored(t *testing.T) {
	f := newForgery(t)
	alice := f.newPerson("alice")
	claim := base64.StdEncoding.EncodeToString([]byte(`{"auth_typ":"aad","claims":[{"typ":"oid","val":"` + string(alice.ID) + `"}]}`))
	forge := func(r *http.Request) *http.Request {
		for name, v := range map[string]string{
			"X-MS-CLIENT-PRINCIPAL": claim, "X-MS-CLIENT-PRINCIPAL-ID": string(alice.ID), "X-MS-CLIENT-PRINCIPAL-NAME": "alice", "X-MS-TOKEN-AAD-ACCESS-TOKEN": f.good,
			"X-Forwarded-User": "alice", "Remote-User": "alice", "X-Forwarded-For": "192.0.2.99", "X-Real-IP": "192.0.2.99", "Forwarded": "for=192.0.2.99",
			"X-ARR-ClientCert": "x", "X-MS-ORIGINAL-URL": publicURL, "Cookie": "AppServiceAuthSession=x",
		} {
			r.Header.Set(name, v)
		}
		return r
	}
	if who, _, err := f.Auth.Caller(forge(httptest.NewRequest(http.MethodGet, "/subscriptions", nil))); !errors.Is(err, ajar.Unauthenticated) {
		t.Errorf("headers alone are taken as %+v, %v", who, err)
	}
	who, _, err := f.Auth.Caller(forge(bearer("/subscriptions", f.good)))
	if err != nil || who.Principal != f.p.ID || who.From.String() != "192.0.2.1" || len(who.Groups) != 0 {
		t.Errorf("beside a good token they make %+v, %v", who, err)
	}
	h := f.serve(f.Server, forge(bearer("/adfs/openid/userinfo", f.good)))
	if h.fields["sub"] != string(f.p.ID) {
		t.Errorf("userinfo says %s", h.body)
	}
}

func TestOversizedToken(t *testing.T) {
	f := newForgery(t)
	f.refused("9 KiB of claims", f.signed(map[string]any{"name": strings.Repeat("x", 9<<10)}))
	f.refused("dots", strings.Repeat(".", 50_000))
	f.refused("a megabyte", "e30."+strings.Repeat("A", 1<<20)+".AA")
}

// TestRevokedAccessTokenIsRefusedWithinASecond, on every replica.
func TestRevokedAccessTokenIsRefusedWithinASecond(t *testing.T) {
	f := newForgery(t)
	other := f.plane(f.Store)
	if _, err := useAt(other, f.good); err != nil {
		t.Fatal(err)
	}
	_, err := f.Broker.RevokeToken(t.Context(), ajar.Caller{Principal: f.p.ID}, f.p.ID, authn.HashSecret(f.good))
	fatal(t, err)
	f.Auth.Forget(f.p.ID)
	if _, err := f.use(f.good); !errors.Is(err, ajar.Unauthenticated) {
		t.Errorf("where it was revoked: %v", err)
	}
	f.step(authn.CacheAge)
	if _, err := useAt(other, f.good); !errors.Is(err, ajar.Unauthenticated) {
		t.Errorf("on another replica: %v", err)
	}
}

// TestTokenOfDisabledOrDeletedPrincipal: neither the token nor what would give another is good any longer.
func TestTokenOfDisabledOrDeletedPrincipal(t *testing.T) {
	for _, deleted := range []bool{false, true} {
		g := newRig(t)
		alice := g.newPerson("alice")
		code, verifier := g.code(alice)
		h := g.exchange(code, verifier).must(t)
		waiting, waitingVerifier := g.code(alice)
		if _, err := g.use(h.AccessToken); err != nil {
			t.Fatal(err)
		}
		fatal(t, g.Store.Update(t.Context(), func(tx ajar.Tx) error {
			p, err := ajar.Get[ajar.Principal](tx, string(alice.ID))
			if err != nil {
				return err
			}
			if deleted {
				return tx.Delete(ajar.KindPrincipal, string(p.ID))
			}
			p.Disabled = true
			return tx.Put(p)
		}))
		g.step(authn.CacheAge)
		if _, err := g.use(h.AccessToken); !errors.Is(err, ajar.Unauthenticated) {
			t.Errorf("deleted %t: the access token: %v", deleted, err)
		}
		g.post(adfsToken, "client_id", azureCLI, "grant_type", "refresh_token", "refresh_token", h.RefreshToken).refusedAs(t, "refresh", http.StatusBadRequest, "invalid_grant")
		g.exchange(waiting, waitingVerifier).refusedAs(t, "code", http.StatusBadRequest, "invalid_grant")
		if _, refused := g.signIns(); len(refused) != 2 {
			t.Errorf("%d refusals are recorded", len(refused))
		}
	}
}

// TestWithdrawnKeySignsNothingGood: all that a stolen key signed, and all that it signed rightly.
func TestWithdrawnKeySignsNothingGood(t *testing.T) {
	f := newForgery(t)
	other := f.plane(f.Store)
	if _, err := useAt(other, f.good); err != nil {
		t.Fatal(err)
	}
	fatal(t, f.Auth.Tokens.Keys.Withdraw(t.Context()))
	f.step(authn.CacheAge)
	if _, err := useAt(other, f.good); !errors.Is(err, ajar.Unauthenticated) {
		t.Errorf("where it was known: %v", err)
	}
	if _, err := useAt(f.plane(f.Store), f.good); !errors.Is(err, ajar.Unauthenticated) {
		t.Errorf("after its key was withdrawn: %v", err)
	}
}
