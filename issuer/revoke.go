package issuer

import (
	"errors"
	"net/http"
	"strings"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/authn"
)

// revoke ends a token that its client no longer wants (RFC 7009). A refresh token takes the whole sign-in with it, an
// access token goes alone. A token that is none is no fault: it is as good as revoked.
func (s *Server) revoke(w http.ResponseWriter, r *http.Request, f form) {
	a, err := s.ask(r, f)
	if err == nil {
		a.grant = "revoke"
		err = s.revokeToken(r, a)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
}

func (s *Server) revokeToken(r *http.Request, a *ask) error {
	text := a.get("token")
	if text == "" {
		return badRequest("the request must contain the parameter 'token'")
	}
	client, err := s.revoker(r, a)
	if err != nil {
		return err
	}
	family, _, isRefresh := readRefresh(text)
	var of ajar.PrincipalID
	err = s.Store.Update(r.Context(), func(tx ajar.Tx) error {
		of = ""
		now := a.now
		if isRefresh {
			g, err := ajar.Get[ajar.Grant](tx, family)
			if err != nil {
				return err
			}
			if g.Kind != ajar.GrantFamily || !strings.EqualFold(g.Client, client) {
				return ajar.NotFound
			}
			of = g.Principal
			return errors.Join(endTokens(tx, g, a), s.appendRevoked(tx, a, of, client))
		}
		t, err := ajar.Get[ajar.Token](tx, authn.HashSecret(text))
		if err != nil {
			return err
		}
		if t.Kind != ajar.Access || !strings.EqualFold(t.Client, client) || !t.Revoked.IsZero() {
			return ajar.NotFound
		}
		of, t.Revoked = t.Principal, now
		return errors.Join(tx.Put(t), s.appendRevoked(tx, a, of, client))
	})
	if errors.Is(err, ajar.NotFound) {
		return nil
	}
	if err == nil {
		s.Auth.Forget(of)
	}
	return err
}

// revoker is the client that asks: a public one, or a service principal that proves itself, registered or not.
func (s *Server) revoker(r *http.Request, a *ask) (string, error) {
	if a.secret == "" && a.get("client_assertion") == "" {
		c, _, err := s.prove(r.Context(), a)
		return c.ID, err
	}
	p, err := s.program(r.Context(), a, func(*ajar.Principal, *ajar.Credential) (func(ajar.Tx) error, error) {
		return func(ajar.Tx) error { return nil }, nil
	})
	if err != nil {
		return "", err
	}
	return string(p.ID), nil
}

func (s *Server) appendRevoked(tx ajar.Tx, a *ask, of ajar.PrincipalID, client string) error {
	p, err := ajar.Get[ajar.Principal](tx, string(of))
	if errors.Is(err, ajar.NotFound) {
		p, err = &ajar.Principal{ID: of}, nil
	}
	if err != nil {
		return err
	}
	e := s.event(a, p, client)
	e.Action = actionRevoke
	return tx.Append(e)
}

// actionRevoke is what the broker calls the same.
const actionRevoke ajar.Action = "Ajar.Access/principals/tokens/revoke/action"
