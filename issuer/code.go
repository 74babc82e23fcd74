package issuer

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"strings"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/authn"
)

// errUsed is that a grant which is good once was shown again.
var errUsed = errors.New("a grant was used twice")

// exchangeCode gives tokens for an authorization code, once. Whoever shows it again is refused, and what it gave ends:
// one of the two has stolen it.
func (s *Server) exchangeCode(ctx context.Context, a *ask) (*tokens, error) {
	client, acr, err := s.prove(ctx, a)
	if err != nil {
		return nil, err
	}
	code := a.get("code")
	if !strings.HasPrefix(code, codePrefix) || len(code) > 100 {
		return nil, badGrant(9002313, "the authorization code is malformed")
	}
	grant, err := s.grant(ctx, authn.HashSecret(code))
	if err != nil {
		return nil, err
	}
	if err := goodCode(a, grant, client); err != nil {
		return nil, s.refused(ctx, a, grant, err)
	}
	if grant.State == ajar.GrantUsed {
		return nil, s.replayed(ctx, a, grant)
	}
	return s.redeem(ctx, a, grant, ajar.GrantOpen, acr)
}

// goodCode checks that the code came back from where it was sent, by who asked for it.
func goodCode(a *ask, g *ajar.Grant, client Client) *oauthError {
	switch {
	case g.Kind != ajar.GrantCode || !strings.EqualFold(g.Client, client.ID):
		return badGrant(70000, "the authorization code was given to another client")
	case g.State == ajar.GrantEnded:
		return badGrant(50173, "the authorization code was revoked")
	case !a.now.Before(g.Expires) && g.State == ajar.GrantOpen:
		return badGrant(70008, "the authorization code has expired")
	case g.Redirect != a.get("redirect_uri"):
		return badGrant(50011, "the redirect_uri is not the one that the code was sent to")
	case g.Challenge != "" && !provesKey(g.Challenge, a.get("code_verifier")):
		return badGrant(501481, "the code_verifier does not match the code_challenge of the authorization request")
	case g.Challenge == "" && a.get("code_verifier") != "":
		return badGrant(501481, "the authorization request had no code_challenge")
	}
	return nil
}

// provesKey is the check of RFC 7636, section 4.6, for S256, the only method there is here.
func provesKey(challenge, verifier string) bool {
	if !verifierForm(verifier, 43, 128) {
		return false
	}
	sum := sha256.Sum256([]byte(verifier))
	return subtle.ConstantTimeCompare([]byte(base64.RawURLEncoding.EncodeToString(sum[:])), []byte(challenge)) == 1
}

// redeem uses up a grant that is in state, and gives what it stands for, in one transaction.
func (s *Server) redeem(ctx context.Context, a *ask, grant *ajar.Grant, state ajar.GrantState, acr string) (*tokens, error) {
	g, err := s.asGiven(ctx, a, grant, acr)
	if err != nil {
		return nil, err
	}
	if err := s.narrow(a, g); err != nil {
		return nil, err
	}
	b, err := s.bundle(ctx, a, g)
	if err != nil {
		return nil, err
	}
	err = s.Store.Update(ctx, func(tx ajar.Tx) error {
		now, err := ajar.Get[ajar.Grant](tx, grant.Key)
		if err != nil {
			return err
		}
		if now.State != state {
			return errUsed
		}
		now.State, now.Family, now.Until = ajar.GrantUsed, b.family.Key, b.family.Until
		if err := tx.Put(now); err != nil {
			return err
		}
		if err := b.put(tx); err != nil {
			return err
		}
		return tx.Append(s.gotTokens(a, g, b.token))
	})
	if errors.Is(err, errUsed) {
		if grant, err = s.grant(ctx, grant.Key); err != nil {
			return nil, err
		}
		return nil, s.replayed(ctx, a, grant)
	}
	if err != nil {
		return nil, err
	}
	return b.out, nil
}

// replayed ends what a grant gave that was shown again.
func (s *Server) replayed(ctx context.Context, a *ask, grant *ajar.Grant) error {
	if grant.State != ajar.GrantUsed {
		return badGrant(70000, "the grant was revoked or denied")
	}
	return s.endFamily(ctx, a, grant.Family, badGrant(54005, "the code was already redeemed, so somebody may have a copy: what it gave is revoked"))
}
