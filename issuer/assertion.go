package issuer

import (
	"crypto/sha1" //nolint:gosec // x5t is one: it finds the certificate, and proves nothing
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/uuid"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/authn"
)

// How long an assertion may be good, and how wrong its maker's clock may be. Azure's libraries give ten minutes.
const (
	maxAssertionLife = 20 * time.Minute
	clockSkew        = 5 * time.Minute
	maxAssertion     = 32 << 10 // with a chain of certificates
)

// assertion is what a client signed to say that it is who it is (RFC 7523, section 3).
type assertion struct {
	token  *jwt.JSONWebToken
	client string
	name   string // jti
	ends   time.Time
	now    time.Time
	x5t    string // SHA-1 of the certificate, hex, if it names one in that way
	x5s    string // SHA-256, hex
}

var assertionAlgs = []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.ES256}

// parseAssertion reads an assertion and checks everything but its signature. What it says here is the same whoever the
// client is, so that nobody learns which there are.
func (s *Server) parseAssertion(a *ask, text string) (*assertion, error) {
	bad := func(number int, text string) error {
		return fault(http.StatusUnauthorized, "invalid_client", number, "the client assertion %s", text)
	}
	if len(text) > maxAssertion {
		return nil, bad(50027, "is too long")
	}
	token, err := jwt.ParseSigned(text, assertionAlgs)
	if err != nil || len(token.Headers) != 1 {
		return nil, bad(50027, "is not a JWT signed with RS256, PS256 or ES256")
	}
	var c jwt.Claims
	if err := token.UnsafeClaimsWithoutVerification(&c); err != nil {
		return nil, bad(50027, "does not say what an assertion says")
	}
	out := &assertion{token: token, client: c.Subject, name: c.ID, now: a.now}
	switch {
	case c.Subject == "" || len(c.Subject) > 256 || c.Issuer != c.Subject:
		return nil, bad(50027, "must have the client's id as sub and iss")
	case a.clientID != "" && !strings.EqualFold(a.clientID, c.Subject):
		return nil, bad(700021, "is of another client than client_id says")
	case !slices.ContainsFunc(c.Audience, s.ownAudience):
		return nil, bad(700023, "is for somebody else: its aud must be "+a.tokenEndpoint())
	case c.Expiry == nil || !a.now.Before(c.Expiry.Time()):
		return nil, bad(700024, "has expired")
	case c.Expiry.Time().Sub(a.now) > maxAssertionLife:
		return nil, bad(700024, "is good for too long: at most 20 minutes are taken")
	case c.NotBefore != nil && a.now.Add(clockSkew).Before(c.NotBefore.Time()):
		return nil, bad(700024, "is not valid yet")
	case c.IssuedAt != nil && (a.now.Add(clockSkew).Before(c.IssuedAt.Time()) || a.now.Sub(c.IssuedAt.Time()) > maxAssertionLife+clockSkew):
		return nil, bad(700024, "was not made just now")
	case c.ID == "" || len(c.ID) > 256:
		return nil, bad(50027, "needs a jti")
	}
	out.ends = c.Expiry.Time()
	out.names(token.Headers[0])
	return out, nil
}

// ownAudience reports whether an assertion for aud is for this plane: a token endpoint in either form, or an issuer.
func (s *Server) ownAudience(aud string) bool {
	rest, ok := strings.CutPrefix(aud, s.PublicURL+"/")
	if !ok {
		return false
	}
	segment, rest, _ := strings.Cut(rest, "/")
	_, ok = s.form(segment)
	return ok && slices.Contains([]string{"", "v2.0", "oauth2/v2.0/token", "oauth2/token"}, rest)
}

// names reads which certificate the header points at: by its thumbprint in any of the ways there are, or by carrying it.
func (t *assertion) names(h jose.Header) {
	if v, ok := h.ExtraHeaders["x5t"].(string); ok {
		t.x5t = hexOf(v)
	}
	if v, ok := h.ExtraHeaders["x5t#S256"].(string); ok {
		t.x5s = hexOf(v)
	}
	if t.x5t == "" && t.x5s == "" {
		switch kid := strings.ToLower(strings.ReplaceAll(h.KeyID, ":", "")); len(kid) {
		case 2 * sha1.Size:
			t.x5t = kid
		case 2 * sha256.Size:
			t.x5s = kid
		}
	}
}

// hexOf turns a thumbprint into hex. It should be base64url without padding; Python's library pads it, and Go's has it in
// plain base64.
func hexOf(thumb string) string {
	b, err := base64.RawURLEncoding.DecodeString(strings.NewReplacer("+", "-", "/", "_", "=", "").Replace(thumb))
	if err != nil || len(b) == 0 {
		return "?"
	}
	return hex.EncodeToString(b)
}

// check finds the registered certificate that t is signed with. What the assertion itself brings is never believed.
func (t *assertion) check(creds []*ajar.Credential) (*ajar.Credential, error) {
	expired := false
	for _, c := range creds {
		if c.Kind != ajar.Certificate {
			continue
		}
		cert, err := x509.ParseCertificate(c.Cert)
		if err != nil || !t.points(cert) {
			continue
		}
		if t.now.Before(cert.NotBefore) || !t.now.Before(cert.NotAfter) {
			expired = true
			continue
		}
		if t.token.Claims(cert.PublicKey, &struct{}{}) == nil {
			return c, nil
		}
	}
	if expired {
		return nil, ajar.Errorf(ajar.Unauthenticated, "the certificate is not valid yet or any more")
	}
	return nil, ajar.Errorf(ajar.Unauthenticated, "the client assertion is not signed with a certificate that is registered for the client")
}

func (t *assertion) points(cert *x509.Certificate) bool {
	one, two := sha1.Sum(cert.Raw), sha256.Sum256(cert.Raw) //nolint:gosec // see above
	return (t.x5t == "" || t.x5t == hex.EncodeToString(one[:])) && (t.x5s == "" || t.x5s == hex.EncodeToString(two[:]))
}

// use notes that t was used; it is not taken twice, on any replica.
func (t *assertion) use(tx ajar.Tx) error {
	key := authn.HashSecret("assertion " + fold(t.client) + " " + t.name)
	err := tx.Put(&ajar.Grant{
		Key: key, Kind: ajar.GrantAssertion, State: ajar.GrantUsed, Client: fold(t.client), Created: t.now, Expires: t.ends, Until: t.ends.Add(time.Minute),
	})
	if errors.Is(err, ajar.Conflict) {
		return ajar.Errorf(ajar.Unauthenticated, "the client assertion was used before")
	}
	return err
}

// fold is the form of an id that is a GUID; other names stay as they are.
func fold(id string) string {
	if u, err := uuid.Parse(id); err == nil && len(id) == 36 {
		return u.String()
	}
	return id
}
