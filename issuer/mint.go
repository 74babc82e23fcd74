package issuer

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/uuid"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/authn"
)

// tokens is the answer that clients want, as Azure's libraries read it.
type tokens struct {
	Type         string `json:"token_type"`
	Scope        string `json:"scope"`
	ExpiresIn    int64  `json:"expires_in"`
	ExtExpiresIn int64  `json:"ext_expires_in"`
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token,omitempty"`
	IDToken      string `json:"id_token,omitempty"`
	ClientInfo   string `json:"client_info,omitempty"`
}

// given is what tokens are made of.
type given struct {
	form
	client    string
	acr       string // how the client proved itself
	principal *ajar.Principal
	audience  string
	scopes    []string // as they were asked for
	app       bool     // the client acts for itself
	nonce     string
	amr       []string
	authTime  time.Time
	vouched   ajar.Vouched
	family    string
	proof     *ajar.Credential // of a client that acts for itself: what it proved itself with
}

// The forms of what is generated here, for people and scanners to know them by.
const (
	codePrefix    = "ajc_"
	devicePrefix  = "ajd_"
	refreshPrefix = "ajr_"
)

// random is n random bytes behind a prefix.
func random(prefix string, n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return prefix + base64.RawURLEncoding.EncodeToString(b)
}

// access signs an access token, and gives what is kept of it.
func (s *Server) access(ctx context.Context, a *ask, g *given) (string, *ajar.Token, error) {
	now := a.now.Truncate(time.Second)
	end := g.vouched.By(now.Add(s.AccessTokenLifetime))
	if g.proof != nil {
		end = authn.By(g.proof, end)
	}
	end = end.Truncate(time.Second)
	p := g.principal
	id := uuid.NewString()
	c := authn.AccessClaims{
		Claims: jwt.Claims{
			Issuer: g.issuer, Subject: string(p.ID), Audience: jwt.Audience{g.audience},
			IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(end), ID: id,
		},
		TenantID: s.Tenant.ID, ObjectID: p.ID, AppID: g.client, AZP: g.client, AZPACR: g.acr, IDType: "app", UTI: id, Version: "2.0",
		Name: display(p),
	}
	if !g.app {
		c.IDType, c.UPN, c.Preferred, c.Scope = "user", p.Name, p.Name, "user_impersonation"
		c.AMR, c.AuthTime = g.amr, jwt.NewNumericDate(g.authTime)
		if g.audience == g.userinfo() {
			c.Scope = strings.Join(g.scopes, " ")
		}
	}
	text, err := s.Auth.Tokens.Keys.SignAccess(ctx, c)
	if err != nil {
		return "", nil, err
	}
	name := "sign-in"
	if known, ok := s.client(g.client); ok {
		name = known.Name
	}
	doc := &ajar.Token{
		Hash: authn.HashSecret(text), Kind: ajar.Access, Principal: p.ID, Name: name, From: a.from, Created: a.now, Expires: end,
		Audience: g.audience, Client: g.client, Family: g.family, Vouched: g.vouched,
		AuthTime: g.authTime, Amr: g.amr,
	}
	if g.proof != nil {
		doc.Credential, doc.AuthTime = g.proof.ID, a.now
	}
	return text, doc, nil
}

// identity signs an id token: who signed in, for the client alone.
func (s *Server) identity(ctx context.Context, a *ask, g *given) (string, error) {
	now, p := a.now.Truncate(time.Second), g.principal
	c := authn.IDClaims{
		Claims: jwt.Claims{
			Issuer: g.issuer, Subject: string(p.ID), Audience: jwt.Audience{g.client},
			IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(s.AccessTokenLifetime)),
		},
		TenantID: s.Tenant.ID, ObjectID: p.ID, Nonce: g.nonce, Name: display(p), UPN: p.Name, Preferred: p.Name, Version: "2.0",
		AMR: g.amr, AuthTime: jwt.NewNumericDate(g.authTime),
	}
	if (scopes{asked: g.scopes}).has("email") && strings.Contains(p.Name, "@") {
		c.Email = p.Name
	}
	return s.Auth.Tokens.Keys.SignID(ctx, c)
}

func display(p *ajar.Principal) string {
	if p.Display != "" {
		return p.Display
	}
	return p.Name
}

// answer is what the client is told; refresh and id token are put in by who gives them.
func (s *Server) answer(g *given, access string, doc *ajar.Token) *tokens {
	life := int64(doc.Expires.Sub(doc.Created.Truncate(time.Second)) / time.Second)
	return &tokens{Type: "Bearer", Scope: strings.Join(g.scopes, " "), ExpiresIn: life, ExtExpiresIn: life, AccessToken: access}
}

// clientInfo names the account to Azure's libraries, which keep their caches by it.
func (s *Server) clientInfo(p *ajar.Principal) string {
	text, err := json.Marshal(map[string]string{"uid": string(p.ID), "utid": s.Tenant.ID})
	if err != nil {
		panic(err) // strings have JSON
	}
	return base64.RawURLEncoding.EncodeToString(text)
}
