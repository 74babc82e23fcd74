package issuer

import (
	"context"
	"errors"
	"net/http"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/authn"
)

// password signs a person in whose client has the password (RFC 6749, section 4.3): only where an operator wants it, for
// clients that know no better. It goes through the same throttle as any log-in.
func (s *Server) password(ctx context.Context, a *ask) (*tokens, error) {
	if !s.Password {
		return nil, fault(http.StatusBadRequest, "unsupported_grant_type", 7000218, "signing in by handing the password to a client is switched off here; use a browser or a device code")
	}
	client, acr, err := s.prove(ctx, a)
	if err != nil {
		return nil, err
	}
	asked, audience, err := s.wanted(a)
	if err != nil {
		return nil, err
	}
	in := a.login(a.get("username"), ajar.User)
	in.Secret = a.get("password")
	a.details["client"] = client.ID
	var b *bundle
	_, err = s.Auth.Enter(ctx, in, func(p *ajar.Principal, c *ajar.Credential) (func(ajar.Tx) error, error) {
		if c.Kind != ajar.Password || !c.Expires.IsZero() {
			return nil, ajar.Errorf(ajar.Unauthenticated, "the password must be changed first; sign in with a browser")
		}
		if err := s.passwordIsEnough(ctx, p); err != nil {
			return nil, err
		}
		g := &given{form: a.form, client: client.ID, acr: acr, principal: p, audience: audience, scopes: asked.asked, amr: []string{"pwd"}, authTime: a.now}
		if b, err = s.bundle(ctx, a, g); err != nil {
			return nil, err
		}
		a.details["token"] = authn.ShortHash(b.token.Hash)
		return func(tx ajar.Tx) error {
			if err := s.Auth.StillEnough(tx, p); err != nil {
				return err
			}
			return b.put(tx)
		}, nil
	})
	if errors.Is(err, ajar.Unauthenticated) {
		return nil, badGrant(50126, "%s", ajar.Message(err))
	}
	if err != nil {
		return nil, err
	}
	return b.out, nil
}

// wanted is what a person's client asks for: scopes, and whom the access token is for. Who names no resource gets one
// that tells who signed in and is good for nothing else.
func (s *Server) wanted(a *ask) (scopes, string, error) {
	asked, err := parseScopes(a.get("scope"))
	if err != nil {
		return asked, "", err
	}
	if asked.resource == "" {
		asked.resource = a.get("resource")
	}
	if asked.resource == "" {
		return asked, a.userinfo(), nil
	}
	audience, err := s.audience(asked.resource)
	return asked, audience, err
}
