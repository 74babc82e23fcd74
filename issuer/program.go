package issuer

import (
	"context"
	"errors"
	"net/http"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/authn"
)

// clientCredentials gives a program a token for itself (RFC 6749, section 4.4).
func (s *Server) clientCredentials(ctx context.Context, a *ask) (*tokens, error) {
	asked, err := parseScopes(a.get("scope"))
	if err != nil {
		return nil, err
	}
	if asked.resource == "" {
		asked.resource = a.get("resource")
	}
	if asked.resource == "" {
		asked.resource = s.PublicURL
	}
	audience, err := s.audience(asked.resource)
	if err != nil {
		return nil, err
	}
	var out *tokens
	_, err = s.program(ctx, a, func(p *ajar.Principal, c *ajar.Credential) (func(ajar.Tx) error, error) {
		g := &given{form: a.form, client: string(p.ID), principal: p, audience: audience, scopes: asked.asked, app: true, acr: "1", proof: c}
		if c.Kind == ajar.Certificate {
			g.acr = "2"
		}
		text, doc, err := s.access(ctx, a, g)
		if err != nil {
			return nil, err
		}
		out, a.details["token"] = s.answer(g, text, doc), authn.ShortHash(doc.Hash)
		return func(tx ajar.Tx) error {
			doc.Rev = 0
			return tx.Put(doc)
		}, nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// program lets a service principal in that proves itself with a secret or a signed assertion.
func (s *Server) program(ctx context.Context, a *ask, admit func(*ajar.Principal, *ajar.Credential) (func(ajar.Tx) error, error)) (*ajar.Principal, error) {
	in := a.login(fold(a.clientID), ajar.ServicePrincipal)
	assertion := a.get("client_assertion")
	switch {
	case assertion != "" && a.secret != "":
		return nil, badRequest("the client proves itself in two ways at once")
	case assertion != "":
		if kind := a.get("client_assertion_type"); kind != assertionJWT {
			return nil, badRequest("the client_assertion_type is %.60q; it must be %s", kind, assertionJWT)
		}
		proof, err := s.parseAssertion(a, assertion)
		if err != nil {
			return nil, err
		}
		in.Name, in.Check = fold(proof.client), proof.check
		plain := admit
		admit = func(p *ajar.Principal, c *ajar.Credential) (func(ajar.Tx) error, error) {
			write, err := plain(p, c)
			if err != nil {
				return nil, err
			}
			return func(tx ajar.Tx) error {
				if err := proof.use(tx); err != nil {
					return err
				}
				return write(tx)
			}, nil
		}
	case a.clientID == "":
		return nil, badRequest("the request must contain the parameter 'client_id'")
	case a.secret == "":
		return nil, badClient("the request must contain the parameter 'client_assertion' or 'client_secret'")
	default:
		in.Secret = a.secret
	}
	p, err := s.Auth.Enter(ctx, in, admit)
	if errors.Is(err, ajar.Unauthenticated) {
		f := badClient("%s", "the client id or what proves it is wrong: "+ajar.Message(err))
		if assertion != "" {
			f.number = 700027
		}
		return nil, f
	}
	return p, err
}

// prove finds the client of a request that is not for the client itself: public ones are taken at their word, others
// prove themselves. method is how (AccessClaims.AZPACR).
func (s *Server) prove(ctx context.Context, a *ask) (c Client, method string, err error) {
	id := a.clientID
	if id == "" && a.get("client_assertion") != "" {
		proof, err := s.parseAssertion(a, a.get("client_assertion"))
		if err != nil {
			return c, "", err
		}
		id = proof.client
	}
	c, ok := s.client(id)
	switch {
	case id == "":
		return c, "", badRequest("the request must contain the parameter 'client_id'")
	case ok && c.Public:
		if a.secret != "" || a.get("client_assertion") != "" {
			return c, "", fault(http.StatusUnauthorized, "invalid_client", 700025, "the client is public, so neither 'client_assertion' nor 'client_secret' should be presented")
		}
		return c, "0", nil
	case !ok:
		return c, "", fault(http.StatusUnauthorized, "invalid_client", 700016, "the application %.60q is not known here", id)
	}
	method = "1"
	p, err := s.program(ctx, a, func(_ *ajar.Principal, cred *ajar.Credential) (func(ajar.Tx) error, error) {
		if cred.Kind == ajar.Certificate {
			method = "2"
		}
		return func(ajar.Tx) error { return nil }, nil
	})
	if err != nil {
		return c, "", err
	}
	if string(p.ID) != fold(c.ID) {
		return c, "", badClient("the client id or what proves it is wrong")
	}
	return c, method, nil
}
