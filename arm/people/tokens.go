package people

import (
	"context"
	"net/netip"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/arm/rest"
	"github.com/ajar-access/ajar/authn"
)

func (s room) tokenRoutes() []rest.Route {
	return []rest.Route{
		rest.Get("/ajar/v1/tokens", rest.Ours, rest.Op(200, s.listTokens), "Lists the caller's tokens.", "", "principal", "all", "$top"),
		rest.Post("/ajar/v1/tokens", rest.Ours, rest.Op(200, s.newToken), "Makes a token for the caller, shown this once.", ""),
		rest.Delete("/ajar/v1/tokens/{id}", rest.Ours, rest.Op(204, s.revokeToken), "Revokes a token.", "", "principal"),
	}
}

// How long a token or a secret lasts whose maker does not say.
const (
	tokenFor  = 30 * 24 * time.Hour
	secretFor = 365 * 24 * time.Hour
)

type tokenIn struct {
	Name     rest.Text     `json:"name"`
	Duration rest.Duration `json:"duration"`
}

// tokenBody is a token without the token, which is shown once, when it is made.
type tokenBody struct {
	ID      string     `json:"id"`
	Token   string     `json:"token,omitempty"`
	Name    string     `json:"name,omitempty"`
	From    netip.Addr `json:"from,omitzero"`
	Created *time.Time `json:"created,omitempty"`
	Expires time.Time  `json:"expires"`
	Revoked *time.Time `json:"revoked,omitempty"`
	Current bool       `json:"current,omitempty"`
}

func showToken(c *rest.Call, t *ajar.Token) tokenBody {
	return tokenBody{
		ID: authn.ShortHash(t.Hash), Name: t.Name, From: t.From, Created: rest.When(t.Created), Expires: t.Expires.UTC(),
		Revoked: rest.When(t.Revoked), Current: t.Hash == c.Token,
	}
}

// of is whose tokens a call is about: the caller's own, or with ?principal= another's.
func (s room) of(ctx context.Context, c *rest.Call) (ajar.PrincipalID, error) {
	v := c.Param("principal")
	if v == "" {
		return c.Who.Principal, nil
	}
	p, err := s.Broker.Principal(ctx, c.Who, v)
	if err != nil {
		return "", err
	}
	return p.ID, nil
}

// listTokens lists what can still be used; ?all=true what cannot as well.
func (s room) listTokens(ctx context.Context, c *rest.Call, _ rest.Nothing) (l rest.List[tokenBody], err error) {
	of, err := s.of(ctx, c)
	if err != nil {
		return l, err
	}
	page, err := c.Page(rest.EntriesAPage)
	if err != nil {
		return l, err
	}
	everything, err := c.Flag("all")
	if err != nil {
		return l, err
	}
	all, next, err := s.Broker.Tokens(ctx, c.Who, of, page)
	if err != nil {
		return l, err
	}
	l = rest.List[tokenBody]{Value: []tokenBody{}, NextLink: c.Next(next)}
	for _, t := range all {
		if everything || (t.Revoked.IsZero() && s.Clock().Before(t.Expires)) {
			l.Value = append(l.Value, showToken(c, t))
		}
	}
	return l, nil
}

func (s room) newToken(ctx context.Context, c *rest.Call, in tokenIn) (*tokenBody, error) {
	last, err := lifetime(in.Duration, min(tokenFor, s.Broker.LongestToken), s.Broker.LongestToken)
	if err != nil {
		return nil, err
	}
	if in.Name == "" {
		in.Name = "token"
	}
	text, hash := authn.NewToken()
	t, err := s.Broker.PutToken(ctx, c.Who, ajar.Token{Hash: hash, Name: string(in.Name), Expires: s.Clock().Add(last)})
	if err != nil {
		return nil, err
	}
	b := showToken(c, t)
	b.Token = text
	return &b, nil
}

func lifetime(d rest.Duration, absent, most time.Duration) (time.Duration, error) {
	switch {
	case !d.Given():
		return absent, nil
	case d.Duration < time.Second || d.Duration > most:
		return 0, rest.Bad("duration is %s; it must be between PT1S and %s", d.Text, ajar.FormatDuration(most))
	}
	return d.Duration, nil
}

func (s room) revokeToken(ctx context.Context, c *rest.Call, _ rest.Nothing) (rest.Nothing, error) {
	of, err := s.of(ctx, c)
	if err != nil {
		return rest.Nothing{}, err
	}
	_, err = s.Broker.RevokeToken(ctx, c.Who, of, c.Value("id"))
	s.Auth.Forget(of)
	return rest.Nothing{}, err
}
