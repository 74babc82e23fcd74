package people

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/arm/rest"
	"github.com/ajar-access/ajar/authn"
)

func (s room) sessionRoutes() []rest.Route {
	return []rest.Route{
		rest.Post("/ajar/v1/login", rest.Open, rest.Op(200, s.login), "Logs in with a name and a password or secret, and a code of whoever has a second factor; the token is shown this once.", ""),
		rest.Post("/ajar/v1/logout", rest.Ours, rest.Op(204, s.logout), "Ends the token that the call came with.", ""),
		rest.Get("/ajar/v1/me", rest.Ours, rest.Op(200, s.me), "Says who the caller is, and at which address it is seen.", ""),
		rest.Get("/ajar/v1/ca", rest.Open, rest.Op(200, s.ca), "Gives the plane's certificate authority, PEM.", ""),
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

func (s room) login(ctx context.Context, c *rest.Call, in loginIn) (*sessionBody, error) {
	got, err := s.Auth.SignIn(ctx, authn.Login{Name: in.Name, Secret: in.Password, Code: in.Code, From: c.Who.From, Via: c.Who.Via, Corr: c.Corr})
	if err != nil {
		return nil, err
	}
	return &sessionBody{Token: got.Token, ID: got.ID, Expires: got.Expires, Principal: got.Principal, Name: got.Name, ChangePassword: got.Once}, nil
}

func (s room) logout(ctx context.Context, c *rest.Call, _ rest.Nothing) (rest.Nothing, error) {
	_, err := s.Broker.RevokeToken(ctx, c.Who, c.Who.Principal, c.Token)
	s.Auth.Forget(c.Who.Principal)
	return rest.Nothing{}, err
}

// me tells callers who they are here, and at which address they are seen: what a request without a source is for.
func (s room) me(ctx context.Context, c *rest.Call, _ rest.Nothing) (*meBody, error) {
	b := &meBody{Principal: c.Who.Principal, Name: c.Who.Name, Groups: c.Who.Groups, From: c.Who.From, Expires: rest.When(s.Auth.Expires(c.Token))}
	switch {
	case !c.Who.From.IsValid():
		b.Warning = "the address you come from is not known; name the source in a request"
	case c.Who.From.Zone() != "":
		b.Warning = "the address you come from has a zone, which means nothing to another machine; name the source in a request"
	default:
		b.Warning = ajar.SourceWarning(c.Who.From)
	}
	p, err := s.Broker.Principal(ctx, c.Who, string(c.Who.Principal))
	if err == nil {
		b.Kind = p.Kind
	} else if !errors.Is(err, ajar.Forbidden) {
		return nil, err
	}
	return b, nil
}

// ca gives out the plane's certificate authority. Whoever fetches it over a connection that it does not trust yet
// compares its hash with one that came another way.
func (s room) ca(context.Context, *rest.Call, rest.Nothing) (rest.Raw, error) {
	return rest.Raw{Kind: "application/x-pem-file", Write: func(w io.Writer) error {
		_, err := w.Write(s.CA)
		return err
	}}, nil
}
