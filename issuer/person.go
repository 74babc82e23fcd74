package issuer

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/authn"
)

// bundle is everything that a person's client is given at once, made before it is written down.
type bundle struct {
	out    *tokens
	family *ajar.Grant
	token  *ajar.Token
}

// bundle makes the tokens of a sign-in, and the family that they begin.
func (s *Server) bundle(ctx context.Context, a *ask, g *given) (*bundle, error) {
	text, key, secret := newRefresh()
	g.family = key
	asked := scopes{asked: g.scopes}
	b := &bundle{family: &ajar.Grant{
		Key: key, Kind: ajar.GrantFamily, State: ajar.GrantOpen, Client: g.client, Principal: g.principal.ID, Audience: g.audience, Scopes: g.scopes,
		Amr: g.amr, AuthTime: g.authTime, Vouched: g.vouched, From: a.from, Created: a.now, Expires: a.now.Add(s.AccessTokenLifetime),
	}}
	if asked.has("offline_access") {
		b.family.Secret, b.family.Expires = secret, a.now.Add(s.RefreshLifetime)
	} else {
		text = ""
	}
	b.family.Expires = g.vouched.By(b.family.Expires)
	b.family.Until = b.family.Expires.Add(24 * time.Hour)
	return b, s.fill(ctx, a, g, b, text)
}

// fill makes the answer, with the refresh token that is given.
func (s *Server) fill(ctx context.Context, a *ask, g *given, b *bundle, refresh string) error {
	access, doc, err := s.access(ctx, a, g)
	if err != nil {
		return err
	}
	b.token, b.out = doc, s.answer(g, access, doc)
	b.out.RefreshToken, b.out.ClientInfo = refresh, s.clientInfo(g.principal)
	if (scopes{asked: g.scopes}).has("openid") {
		b.out.IDToken, err = s.identity(ctx, a, g)
	}
	return err
}

// put writes a new bundle down.
func (b *bundle) put(tx ajar.Tx) error {
	b.family.Rev, b.token.Rev = 0, 0
	if err := tx.Put(b.family); err != nil {
		return err
	}
	return tx.Put(b.token)
}

// newRefresh makes a refresh token, the first of a family: the key of the family, and the hash of what is secret in it.
func newRefresh() (text, key, secret string) {
	text = random(refreshPrefix, familyBytes+32)
	key, secret, _ = readRefresh(text)
	return text, key, secret
}

// asGiven is what a grant stands for. It reads who it belongs to: who was disabled or removed meanwhile gets nothing.
func (s *Server) asGiven(ctx context.Context, a *ask, grant *ajar.Grant, acr string) (*given, error) {
	g := &given{
		form: a.form, client: grant.Client, acr: acr, audience: grant.Audience, scopes: slices.Clone(grant.Scopes),
		nonce: grant.Nonce, amr: grant.Amr, authTime: grant.AuthTime, vouched: grant.Vouched, family: grant.Key,
	}
	err := s.Store.View(ctx, func(tx ajar.Tx) (err error) {
		g.principal, err = ajar.Get[ajar.Principal](tx, string(grant.Principal))
		return err
	})
	if errors.Is(err, ajar.NotFound) || (err == nil && g.principal.Disabled) {
		return nil, s.refused(ctx, a, grant, badGrant(50057, "the account is disabled or gone"))
	}
	return g, err
}

// narrow has g be for what the request asks, where it asks for something: another resource only where the sign-in was
// for one at all, and no more of the rest than that was for.
func (s *Server) narrow(a *ask, g *given) error {
	text := a.get("scope")
	if text == "" {
		return nil
	}
	now, err := parseScopes(text)
	if err != nil {
		return err
	}
	if now.resource != "" {
		if g.audience == g.userinfo() {
			return badGrant(65001, "the sign-in was not for a resource")
		}
		if g.audience, err = s.audience(now.resource); err != nil {
			return err
		}
	}
	before := scopes{asked: g.scopes}
	g.scopes = nil
	for _, word := range now.asked {
		if before.has(word) || !slices.Contains([]string{"openid", "profile", "email", "offline_access"}, word) {
			g.scopes = append(g.scopes, word)
		}
	}
	return nil
}

// gotTokens is the event of a client that got tokens for somebody.
func (s *Server) gotTokens(a *ask, g *given, doc *ajar.Token) ajar.Event {
	e := s.event(a, g.principal, g.client)
	e.Details["token"] = authn.ShortHash(doc.Hash)
	return e
}

func (s *Server) event(a *ask, p *ajar.Principal, client string) ajar.Event {
	return ajar.Event{
		Time: a.now, Action: ajar.SignIn, Outcome: ajar.Accepted, Caller: p.ID, Name: p.Name, From: a.from, Via: "oauth", Corr: a.corr,
		Details: map[string]string{"grant": a.grant, "client": client},
	}
}

// refused records that somebody's grant gave nothing, and gives why. What is recorded needs a grant that exists: a
// stranger cannot fill the log.
func (s *Server) refused(ctx context.Context, a *ask, grant *ajar.Grant, why *oauthError) error {
	err := s.Store.Update(ctx, func(tx ajar.Tx) error {
		e, err := s.refusal(tx, a, grant, why)
		if err != nil {
			return err
		}
		return tx.Append(e)
	})
	if err != nil {
		return err
	}
	return why
}

func (s *Server) refusal(tx ajar.Tx, a *ask, grant *ajar.Grant, why *oauthError) (ajar.Event, error) {
	p, err := ajar.Get[ajar.Principal](tx, string(grant.Principal))
	if errors.Is(err, ajar.NotFound) {
		p, err = &ajar.Principal{ID: grant.Principal}, nil
	}
	if err != nil {
		return ajar.Event{}, err
	}
	e := s.event(a, p, grant.Client)
	e.Outcome, e.Kind, e.Message = ajar.Refused, ajar.Unauthenticated, why.text
	return e, nil
}
