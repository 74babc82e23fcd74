package issuer

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"strings"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/authn"
)

// familyBytes of a refresh token say which family it is of. They stay the same while the rest changes with every use.
const familyBytes = 16

// readRefresh takes a refresh token apart: the key of its family, and the hash that tells the one that is good.
func readRefresh(text string) (key, secret string, ok bool) {
	body, ok := strings.CutPrefix(text, refreshPrefix)
	if !ok || len(body) != base64.RawURLEncoding.EncodedLen(familyBytes+32) { // the decoder passes over line breaks
		return "", "", false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(body)
	if err != nil || len(b) != familyBytes+32 {
		return "", "", false
	}
	return authn.HashSecret("family " + string(b[:familyBytes])), authn.HashSecret(text), true
}

// nextRefresh is another token of the family that text is of.
func nextRefresh(text string) (next, secret string) {
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(text, refreshPrefix))
	if err != nil {
		panic(err) // it was read before
	}
	fresh, err := base64.RawURLEncoding.DecodeString(random("", 32))
	if err != nil {
		panic(err) // it was written just now
	}
	next = refreshPrefix + base64.RawURLEncoding.EncodeToString(append(b[:familyBytes:familyBytes], fresh...))
	return next, authn.HashSecret(next)
}

// errReused is that a refresh token was shown that another took the place of.
var errReused = errors.New("a refresh token was used twice")

// refresh gives new tokens for a refresh token, and takes that one out of use. If one that is out of use is shown,
// somebody has a copy: nobody knows who, so the family ends, with every token of it.
func (s *Server) refresh(ctx context.Context, a *ask) (*tokens, error) {
	text := a.get("refresh_token")
	client, acr, err := s.prove(ctx, a)
	if err != nil {
		return nil, err
	}
	key, secret, ok := readRefresh(text)
	if !ok {
		return nil, badGrant(9002313, "the refresh token is malformed")
	}
	grant, err := s.grant(ctx, key)
	if err != nil {
		return nil, err
	}
	if err := s.goodFamily(a, grant, client); err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare([]byte(grant.Secret), []byte(secret)) != 1 {
		return nil, s.reused(ctx, a, grant)
	}
	g, err := s.asGiven(ctx, a, grant, acr)
	if err != nil {
		return nil, err
	}
	if err := s.narrow(a, g); err != nil {
		return nil, err
	}
	next, nextSecret := nextRefresh(text)
	b := &bundle{}
	if err := s.fill(ctx, a, g, b, next); err != nil {
		return nil, err
	}
	err = s.Store.Update(ctx, func(tx ajar.Tx) error {
		now, err := ajar.Get[ajar.Grant](tx, key)
		if err != nil {
			return err
		}
		if err := s.goodFamily(a, now, client); err != nil {
			return err
		}
		if now.Secret != secret {
			return errReused
		}
		now.Secret, b.token.Rev = nextSecret, 0
		if err := tx.Put(now); err != nil {
			return err
		}
		if err := tx.Put(b.token); err != nil {
			return err
		}
		return tx.Append(s.gotTokens(a, g, b.token))
	})
	if errors.Is(err, errReused) {
		return nil, s.reused(ctx, a, grant)
	}
	if err != nil {
		return nil, err
	}
	return b.out, nil
}

// grant reads a grant; that there is none is said as if it had expired.
func (s *Server) grant(ctx context.Context, key string) (g *ajar.Grant, err error) {
	err = s.Store.View(ctx, func(tx ajar.Tx) error {
		g, err = ajar.Get[ajar.Grant](tx, key)
		return err
	})
	if errors.Is(err, ajar.NotFound) {
		return nil, badGrant(70008, "the provided grant has expired, was revoked or never was")
	}
	return g, err
}

func (s *Server) goodFamily(a *ask, g *ajar.Grant, client Client) error {
	switch {
	case g.Kind != ajar.GrantFamily || !strings.EqualFold(g.Client, client.ID) || g.Secret == "":
		return badGrant(70000, "the refresh token was given to another client")
	case g.State != ajar.GrantOpen:
		return badGrant(50173, "the refresh token was revoked; sign in again")
	case !a.now.Before(g.Expires):
		return badGrant(700082, "the refresh token has expired; sign in again")
	}
	return nil
}

// reused ends a family that somebody has a copy of.
func (s *Server) reused(ctx context.Context, a *ask, grant *ajar.Grant) error {
	why := badGrant(50173, "the refresh token was used before, so somebody may have a copy: all tokens of this sign-in are revoked; sign in again")
	return s.endFamily(ctx, a, grant.Key, why)
}

// endFamily ends a family and every token of it, records why, and gives that.
func (s *Server) endFamily(ctx context.Context, a *ask, key string, why *oauthError) error {
	var of ajar.PrincipalID
	err := s.Store.Update(ctx, func(tx ajar.Tx) error {
		g, err := ajar.Get[ajar.Grant](tx, key)
		if errors.Is(err, ajar.NotFound) {
			return nil
		} else if err != nil {
			return err
		}
		of = g.Principal
		if err := endTokens(tx, g, a); err != nil {
			return err
		}
		e, err := s.refusal(tx, a, g, why)
		if err != nil {
			return err
		}
		return tx.Append(e)
	})
	if err != nil {
		return err
	}
	s.Auth.Forget(of)
	return why
}

func endTokens(tx ajar.Tx, g *ajar.Grant, a *ask) error {
	if g.State != ajar.GrantEnded {
		g.State = ajar.GrantEnded
		if err := tx.Put(g); err != nil {
			return err
		}
	}
	list, _, err := ajar.List[ajar.Token](tx, ajar.Filter{Ref: g.Key})
	for i := 0; err == nil && i < len(list); i++ {
		if t := list[i]; t.Revoked.IsZero() {
			t.Revoked = a.now
			err = tx.Put(t)
		}
	}
	return err
}
