package client

import (
	"context"
	"iter"
	"net/http"
	"net/netip"
	"time"

	"github.com/ajar-access/ajar"
)

// Session is what a sign-in gives.
type Session struct {
	Token     string           `json:"token"`
	Expires   time.Time        `json:"expires,omitzero"`
	Principal ajar.PrincipalID `json:"principal"`
	Name      string           `json:"name"`
	// ChangePassword says that what was signed in with is used up: set a password before the token ends.
	ChangePassword bool `json:"changePassword,omitempty"`
}

// Me is who the plane takes the caller for, and from where.
type Me struct {
	Principal ajar.PrincipalID   `json:"principal"`
	Name      string             `json:"name"`
	Kind      ajar.PrincipalKind `json:"kind,omitempty"`
	Groups    []ajar.PrincipalID `json:"groups,omitempty"`
	From      netip.Addr         `json:"from,omitzero"`
	Warning   string             `json:"warning,omitempty"` // doubts about From as the address that a machine will see
	Expires   time.Time          `json:"expires,omitzero"`
}

// Login exchanges a name and a password, or a service principal's name and secret, for a token. It is not repeated:
// the plane slows down those who guess.
func (c *Client) Login(ctx context.Context, name, password string) (Session, error) {
	return c.LoginWithCode(ctx, name, password, "")
}

// SecondFactorRequired is the Code of the refusal to let in, by the right password alone, who has a second factor.
const SecondFactorRequired = "SecondFactorRequired"

// FreshSignInRequired is the Code of the refusal to make what goes on without its maker, with a token of a sign-in that was a while ago.
const FreshSignInRequired = "FreshSignInRequired"

// LoginWithCode is Login of a person who has a second factor: code is of their authenticator app, or a recovery code.
func (c *Client) LoginWithCode(ctx context.Context, name, password, code string) (Session, error) {
	in := struct {
		Name     string `json:"name"`
		Password string `json:"password"`
		Code     string `json:"code,omitempty"`
	}{name, password, code}
	var s Session
	_, err := c.WithToken("").do(ctx, call{method: http.MethodPost, path: "/ajar/v1/login", in: in, out: &s})
	return s, err
}

// Logout revokes the token that c uses.
func (c *Client) Logout(ctx context.Context) error {
	_, err := c.do(ctx, call{method: http.MethodPost, path: "/ajar/v1/logout"})
	return err
}

// Me tells who c is.
func (c *Client) Me(ctx context.Context) (Me, error) {
	var m Me
	_, err := c.do(ctx, call{method: http.MethodGet, path: "/ajar/v1/me", out: &m})
	return m, err
}

// Token is a bearer token of the caller, without the secret, which is shown once, in NewToken.
type Token struct {
	ID      string     `json:"id"`
	Name    string     `json:"name,omitempty"`
	From    netip.Addr `json:"from,omitzero"`
	Created time.Time  `json:"created,omitzero"`
	Expires time.Time  `json:"expires,omitzero"`
	Revoked time.Time  `json:"revoked,omitzero"`
	Current bool       `json:"current,omitempty"` // the one that asks
}

// NewToken is a token just made. Secret is shown this once.
type NewToken struct {
	Token
	Secret string `json:"token"`
}

// Tokens lists the caller's own tokens.
func (c *Client) Tokens(ctx context.Context) iter.Seq2[Token, error] {
	return list[Token](ctx, c, "/ajar/v1/tokens", nil)
}

// CreateToken makes another token for the caller, for d or as long as the plane gives if d is zero.
func (c *Client) CreateToken(ctx context.Context, name string, d time.Duration) (NewToken, error) {
	var t NewToken
	_, err := c.do(ctx, call{method: http.MethodPost, path: "/ajar/v1/tokens", in: lifetime{Name: name, Duration: iso(d)}, out: &t})
	return t, err
}

// RevokeToken ends a token of the caller.
func (c *Client) RevokeToken(ctx context.Context, id string) error {
	_, err := c.do(ctx, call{method: http.MethodDelete, path: "/ajar/v1/tokens/" + id})
	return err
}

type lifetime struct {
	Name     string `json:"name,omitempty"`
	Duration string `json:"duration,omitempty"`
}

// iso writes a duration for the wire; zero is left out.
func iso(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return ajar.FormatDuration(d)
}
