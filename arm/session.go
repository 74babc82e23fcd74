package arm

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/authn"
)

func (s *Server) sessionRoutes() []route {
	return []route{
		Post("/ajar/v1/login", open, op(200, s.login), "Logs in with a name and a password or secret, and a code of whoever has a second factor; the token is shown this once.", ""),
		Post("/ajar/v1/logout", ours, op(204, s.logout), "Ends the token that the call came with.", ""),
		Get("/ajar/v1/me", ours, op(200, s.me), "Says who the caller is, and at which address it is seen.", ""),
		Get("/ajar/v1/ca", open, op(200, s.ca), "Gives the plane's certificate authority, PEM.", ""),
	}
}

type loginIn struct {
	Name     string `json:"name" openapi:"needed"`
	Password string `json:"password" openapi:"needed"`
	Code     string `json:"code"` // of an authenticator app, or a recovery code, where one is asked for
}

type sessionBody struct {
	Token     string           `json:"token"`
	ID        string           `json:"id"`
	Expires   time.Time        `json:"expires"`
	Principal ajar.PrincipalID `json:"principal"`
	Name      string           `json:"name"`
	// The credential is used up: set a password before the token ends.
	ChangePassword bool `json:"changePassword,omitempty"`
}

type meBody struct {
	Principal ajar.PrincipalID   `json:"principal"`
	Name      string             `json:"name"`
	Kind      ajar.PrincipalKind `json:"kind,omitempty"`
	Groups    []ajar.PrincipalID `json:"groups,omitempty"`
	From      netip.Addr         `json:"from,omitzero"`
	Warning   string             `json:"warning,omitempty"`
	Expires   *time.Time         `json:"expires,omitempty"`
}

func (s *Server) login(ctx context.Context, c *call, in loginIn) (*sessionBody, error) {
	got, err := s.Auth.SignIn(ctx, authn.Login{Name: in.Name, Secret: in.Password, Code: in.Code, From: c.who.From, Via: c.who.Via, Corr: c.corr})
	if err != nil {
		return nil, err
	}
	return &sessionBody{Token: got.Token, ID: got.ID, Expires: got.Expires, Principal: got.Principal, Name: got.Name, ChangePassword: got.Once}, nil
}

func (s *Server) logout(ctx context.Context, c *call, _ nothing) (nothing, error) {
	_, err := s.Broker.RevokeToken(ctx, c.who, c.who.Principal, c.token)
	s.Auth.Forget(c.who.Principal)
	return nothing{}, err
}

// me tells callers who they are here, and at which address they are seen: what a request without a source is for.
func (s *Server) me(ctx context.Context, c *call, _ nothing) (*meBody, error) {
	b := &meBody{Principal: c.who.Principal, Name: c.who.Name, Groups: c.who.Groups, From: c.who.From, Expires: rfc(s.Auth.Expires(c.token))}
	switch {
	case !c.who.From.IsValid():
		b.Warning = "the address you come from is not known; name the source in a request"
	case c.who.From.Zone() != "":
		b.Warning = "the address you come from has a zone, which means nothing to another machine; name the source in a request"
	default:
		b.Warning = ajar.SourceWarning(c.who.From)
	}
	p, err := s.Broker.Principal(ctx, c.who, string(c.who.Principal))
	if err == nil {
		b.Kind = p.Kind
	} else if !errors.Is(err, ajar.Forbidden) {
		return nil, err
	}
	return b, nil
}

// ca gives out the plane's certificate authority. Whoever fetches it over a connection that it does not trust yet
// compares its hash with one that came another way.
func (s *Server) ca(context.Context, *call, nothing) (raw, error) {
	return raw{"application/x-pem-file", func(w io.Writer) error {
		_, err := w.Write(s.CA)
		return err
	}}, nil
}
