package issuer

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/uuid"

	"github.com/ajar-access/ajar"
)

// prover is a program that signs assertions, as Azure's libraries do.
type prover struct {
	*rig
	p    *ajar.Principal
	key  crypto.Signer
	cert *x509.Certificate
	alg  jose.SignatureAlgorithm
}

func newProver(t *testing.T) *prover {
	g := newRig(t)
	p, _ := g.newProgram("robot")
	key, cert := certificate(t, g.now().Add(-time.Hour), g.now().Add(24*time.Hour))
	v := &prover{rig: g, p: p, key: key, cert: cert, alg: jose.ES256}
	v.register(cert)
	return v
}

// register has the program's certificate taken, as somebody who may does.
func (v *prover) register(cert *x509.Certificate) *ajar.Credential {
	v.t.Helper()
	c, err := v.Broker.PutCredential(v.t.Context(), ajar.Caller{Principal: v.p.ID, AuthTime: v.now()}, ajar.Credential{Principal: v.p.ID, Kind: ajar.Certificate, Cert: cert.Raw})
	fatal(v.t, err)
	return c
}

// sign makes an assertion; a nil value leaves a claim out.
func (v *prover) sign(headers map[jose.HeaderKey]any, with map[string]any) string {
	v.t.Helper()
	o := (&jose.SignerOptions{}).WithType("JWT")
	for name, value := range headers {
		o.WithHeader(name, value)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: v.alg, Key: v.key}, o)
	fatal(v.t, err)
	c := map[string]any{
		"iss": v.p.ID, "sub": v.p.ID, "aud": publicURL + adfsToken, "jti": uuid.NewString(),
		"iat": v.now().Unix(), "nbf": v.now().Unix(), "exp": v.now().Add(10 * time.Minute).Unix(),
	}
	maps.Copy(c, with)
	for name, value := range c {
		if value == nil {
			delete(c, name)
		}
	}
	text, err := jwt.Signed(signer).Claims(c).Serialize()
	fatal(v.t, err)
	return text
}

func (v *prover) x5t() map[jose.HeaderKey]any {
	sum := sha1.Sum(v.cert.Raw)
	return map[jose.HeaderKey]any{"x5t": base64.URLEncoding.EncodeToString(sum[:])} // MSAL for Python leaves the padding
}

func (v *prover) send(assertion string, pairs ...string) heard {
	v.t.Helper()
	return v.post(adfsToken, over([]string{"client_id", string(v.p.ID), "grant_type", "client_credentials", "client_info", "1", "scope", resource,
		"client_assertion_type", assertionJWT, "client_assertion", assertion}, pairs)...)
}

// TestClientAssertions in all the ways that Azure's libraries have of naming the certificate.
func TestClientAssertions(t *testing.T) {
	v := newProver(t)
	one, two := sha1.Sum(v.cert.Raw), sha256.Sum256(v.cert.Raw)
	for what, header := range map[string]map[jose.HeaderKey]any{
		"x5t":          v.x5t(),
		"x5t#S256":     {"x5t#S256": base64.RawURLEncoding.EncodeToString(two[:])},
		"Go's":         {"x5t#S256": base64.StdEncoding.EncodeToString(two[:])},
		"both and x5c": {"x5t": base64.RawURLEncoding.EncodeToString(one[:]), "x5t#S256": base64.RawURLEncoding.EncodeToString(two[:]), "x5c": []string{base64.StdEncoding.EncodeToString(v.cert.Raw)}},
		"kid":          {"kid": strings.ToUpper(hex.EncodeToString(one[:]))},
		"nothing":      nil,
	} {
		h := v.send(v.sign(header, nil))
		if h.status != http.StatusOK {
			t.Errorf("%s: %d %s", what, h.status, h.body)
			continue
		}
		if c := claims(t, h.AccessToken); c["azpacr"] != "2" || c["oid"] != string(v.p.ID) {
			t.Errorf("%s: %v", what, c)
		}
		if who, err := v.use(h.AccessToken); err != nil || who.Principal != v.p.ID {
			t.Errorf("%s: at the door: %+v, %v", what, who, err)
		}
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	fatal(t, err)
	v.key, v.cert = key, certificateOf(t, key.Public(), key, v.now(), v.now().Add(time.Hour))
	v.register(v.cert)
	for _, alg := range []jose.SignatureAlgorithm{jose.RS256, jose.PS256} {
		v.alg = alg
		v.send(v.sign(v.x5t(), nil)).must(t)
		v.send(v.sign(v.x5t(), map[string]any{"aud": publicURL + tenantToken})).must(t)
	}
	accepted, _ := v.signIns()
	if accepted[0].Details["credential"] != "certificate" {
		t.Errorf("recorded: %+v", accepted[0])
	}
}

// TestAssertionReplay on any replica.
func TestAssertionReplay(t *testing.T) {
	v := newProver(t)
	text := v.sign(v.x5t(), map[string]any{"jti": "once"})
	v.send(text).must(t)
	v.send(text).refusedAs(t, "again", http.StatusUnauthorized, "invalid_client")
	other := v.plane(v.Store)
	v.postTo(other, tenantToken, "client_id", string(v.p.ID), "grant_type", "client_credentials", "scope", resource, "client_assertion_type", assertionJWT, "client_assertion", text).
		refusedAs(t, "again, elsewhere", http.StatusUnauthorized, "invalid_client")
	v.send(v.sign(v.x5t(), map[string]any{"jti": "once"})).refusedAs(t, "its name again", http.StatusUnauthorized, "invalid_client")
	v.send(v.sign(v.x5t(), nil)).must(t)
	if _, refused := v.signIns(); len(refused) != 3 || !strings.Contains(refused[0].Message, "used before") || refused[0].Caller != v.p.ID {
		t.Errorf("recorded: %d, %+v", len(refused), refused)
	}
}

func TestAssertionsThatAreNone(t *testing.T) {
	v := newProver(t)
	now := v.now()
	other, _ := v.newProgram("other")
	for what, with := range map[string]map[string]any{
		"for somebody else":      {"aud": "https://login.microsoftonline.com/" + tenantID + "/oauth2/v2.0/token"},
		"for a look-alike":       {"aud": publicURL + ".evil.example/adfs/oauth2/v2.0/token"},
		"for the plane, no path": {"aud": publicURL},
		"for nobody":             {"aud": nil},
		"for another tenant":     {"aud": publicURL + "/5f3c8d52-7c1f-4f0e-9a55-2f6b1f7f0002/oauth2/v2.0/token"},
		"expired":                {"exp": now.Unix()},
		"without end":            {"exp": nil},
		"good for a day":         {"exp": now.Add(24 * time.Hour).Unix()},
		"not yet":                {"nbf": now.Add(6 * time.Minute).Unix()},
		"from the future":        {"iat": now.Add(6 * time.Minute).Unix()},
		"made long ago":          {"iat": now.Add(-time.Hour).Unix()},
		"without a name":         {"jti": nil},
		"of another subject":     {"sub": other.ID},
		"of another issuer":      {"iss": other.ID},
		"of another program":     {"sub": other.ID, "iss": other.ID},
		"of nobody":              {"sub": nil, "iss": nil},
	} {
		v.send(v.sign(v.x5t(), with)).refusedAs(t, what, http.StatusUnauthorized, "invalid_client")
	}
	for what, text := range map[string]string{
		"garbage": "x", "none": b64(map[string]string{"alg": "none"}) + "." + b64(map[string]string{"sub": string(v.p.ID)}) + ".", "long": strings.Repeat("x.", maxAssertion*2/3),
	} {
		v.send(text).refusedAs(t, what, http.StatusUnauthorized, "invalid_client")
	}
	v.send(v.sign(v.x5t(), nil), "client_assertion_type", "x").refusedAs(t, "another type", http.StatusBadRequest, "invalid_request")
	good := v.sign(v.x5t(), nil)
	v.post(adfsToken, "grant_type", "client_credentials", "scope", resource, "client_assertion_type", assertionJWT, "client_assertion", good).must(t) // client_id may be left out
}

// TestAssertionOfAnUnregisteredKey: a certificate that comes along proves nothing, nor does one with the same name.
func TestAssertionOfAnUnregisteredKey(t *testing.T) {
	v := newProver(t)
	registered := v.x5t()
	key, cert := certificate(t, v.now().Add(-time.Hour), v.now().Add(time.Hour))
	v.key = key
	v.send(v.sign(registered, nil)).refusedAs(t, "its thumbprint with another key", http.StatusUnauthorized, "invalid_client")
	v.cert = cert
	header := v.x5t()
	header["x5c"] = []string{base64.StdEncoding.EncodeToString(cert.Raw)}
	v.send(v.sign(header, nil)).refusedAs(t, "another certificate that it brings", http.StatusUnauthorized, "invalid_client")
	v.send(v.sign(map[jose.HeaderKey]any{"jwk": jose.JSONWebKey{Key: key.Public()}}, nil)).refusedAs(t, "a key that it brings", http.StatusUnauthorized, "invalid_client")
	v.send(v.sign(nil, nil)).refusedAs(t, "an unnamed key", http.StatusUnauthorized, "invalid_client")
	c := v.register(cert)
	v.send(v.sign(v.x5t(), nil)).must(t)
	_, err := v.Broker.DeleteCredential(t.Context(), ajar.Caller{Principal: v.p.ID}, c.ID)
	fatal(t, err)
	v.send(v.sign(v.x5t(), nil)).refusedAs(t, "one that was removed", http.StatusUnauthorized, "invalid_client")
}

// TestCertificatesDatesAreHonoured: before and after them it proves nothing.
func TestCertificatesDatesAreHonoured(t *testing.T) {
	v := newProver(t)
	v.key, v.cert = certificate(t, v.now().Add(time.Hour), v.now().Add(2*time.Hour))
	v.register(v.cert)
	v.send(v.sign(v.x5t(), nil)).refusedAs(t, "before", http.StatusUnauthorized, "invalid_client")
	v.step(time.Hour)
	v.send(v.sign(v.x5t(), nil)).must(t)
	v.step(time.Hour)
	v.send(v.sign(v.x5t(), nil)).refusedAs(t, "after", http.StatusUnauthorized, "invalid_client")
}

// FuzzAssertion: whatever a stranger sends, it is refused without a panic.
func FuzzAssertion(f *testing.F) {
	g := newRig(f)
	a := &ask{form: form{base: publicURL + "/adfs"}, now: g.now()}
	f.Add("eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4IiwiaXNzIjoieCJ9.AAAA")
	f.Add(b64(map[string]any{"alg": "ES256", "x5t": "AAAA", "x5c": []string{"AAAA"}}) + "." + b64(map[string]any{"iss": "x", "sub": "x", "aud": []string{publicURL + adfsToken}, "jti": "x", "exp": g.now().Unix() + 60}) + "." + strings.Repeat("A", 86))
	_, cert := certificate(f, g.now(), g.now().Add(time.Hour))
	f.Fuzz(func(t *testing.T, text string) {
		proof, err := g.parseAssertion(a, text)
		if err != nil {
			return
		}
		if proof.client == "" || proof.name == "" || !proof.ends.After(a.now) || proof.ends.Sub(a.now) > maxAssertionLife {
			t.Errorf("taken: %+v", proof)
		}
		if c, err := proof.check([]*ajar.Credential{{Kind: ajar.Certificate, Cert: cert.Raw}}); c != nil || err == nil {
			t.Errorf("%q is signed", text)
		}
	})
}

// FuzzParameters: scopes, redirects, forms, user codes and refresh tokens are read without a panic, and only to what was meant.
func FuzzParameters(f *testing.F) {
	for _, s := range []string{resource + " openid", "http://localhost:8400/", "a=b&a=c", "BCDF-GHJK", random(refreshPrefix, 48), random(refreshPrefix, 48) + "\r", "http://[::1]:1", "http://localhost:1@evil"} {
		f.Add(s)
	}
	g := newRig(f)
	f.Fuzz(func(t *testing.T, s string) {
		if sc, err := parseScopes(s); err == nil && sc.resource != "" {
			if aud, err := g.audience(sc.resource); err == nil && !g.accepts(aud) {
				t.Errorf("scope %q gives audience %q", s, aud)
			}
		}
		if c := (Client{Redirects: loopbacks}); c.redirects(s) && !strings.HasPrefix(s, "http://localhost") && !strings.HasPrefix(s, "http://127.0.0.1") && !strings.HasPrefix(s, "http://[::1]") && !strings.EqualFold(s[:5], "http:") {
			t.Errorf("a code is sent to %q", s)
		}
		if p, err := parseForm(s); err == nil {
			for name, v := range p {
				if len(v) != 1 {
					t.Errorf("%q has %s %d times", s, name, len(v))
				}
			}
		}
		userCodeKey(s)
		if _, _, ok := readRefresh(s); ok {
			if next, _ := nextRefresh(s); next == s || len(next) != len(s) {
				t.Errorf("after %q comes %q", s, next)
			}
		}
		if provesKey(s, s) {
			t.Errorf("%q is its own SHA-256", s)
		}
		Owns(s)
	})
}

func (g *rig) accepts(aud string) bool {
	return trimSlashes(aud) == publicURL || trimSlashes(aud) == "https://other.example.org"
}
