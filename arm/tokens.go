package arm

import (
	"context"
	"net/netip"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/authn"
)

func (s *Server) tokenRoutes() []route {
	return []route{
		Get("/ajar/v1/tokens", ours, op(200, s.listTokens), "Lists the caller's tokens.", "", "principal", "all", "$top"),
		Post("/ajar/v1/tokens", ours, op(200, s.newToken), "Makes a token for the caller, shown this once.", ""),
		Delete("/ajar/v1/tokens/{id}", ours, op(204, s.revokeToken), "Revokes a token.", "", "principal"),
	}
}

// How long a token or a secret lasts whose maker does not say.
const (
	tokenFor  = 30 * 24 * time.Hour
	secretFor = 365 * 24 * time.Hour
)

type tokenIn struct {
	Name     wireText     `json:"name"`
	Duration wireDuration `json:"duration"`
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

func showToken(c *call, t *ajar.Token) tokenBody {
	return tokenBody{
		ID: authn.ShortHash(t.Hash), Name: t.Name, From: t.From, Created: rfc(t.Created), Expires: t.Expires.UTC(),
		Revoked: rfc(t.Revoked), Current: t.Hash == c.token,
	}
}

// of is whose tokens a call is about: the caller's own, or with ?principal= another's.
func (s *Server) of(ctx context.Context, c *call) (ajar.PrincipalID, error) {
	v := c.param("principal")
	if v == "" {
		return c.who.Principal, nil
	}
	p, err := s.Broker.Principal(ctx, c.who, v)
	if err != nil {
		return "", err
	}
	return p.ID, nil
}

// listTokens lists what can still be used; ?all=true what cannot as well.
func (s *Server) listTokens(ctx context.Context, c *call, _ nothing) (l list[tokenBody], err error) {
	of, err := s.of(ctx, c)
	if err != nil {
		return l, err
	}
	page, err := c.page(entriesAPage)
	if err != nil {
		return l, err
	}
	everything, err := c.flag("all")
	if err != nil {
		return l, err
	}
	all, next, err := s.Broker.Tokens(ctx, c.who, of, page)
	if err != nil {
		return l, err
	}
	l = list[tokenBody]{Value: []tokenBody{}, NextLink: c.next(next)}
	for _, t := range all {
		if everything || (t.Revoked.IsZero() && s.Clock().Before(t.Expires)) {
			l.Value = append(l.Value, showToken(c, t))
		}
	}
	return l, nil
}

func (s *Server) newToken(ctx context.Context, c *call, in tokenIn) (*tokenBody, error) {
	last, err := lifetime(in.Duration, min(tokenFor, s.Broker.LongestToken), s.Broker.LongestToken)
	if err != nil {
		return nil, err
	}
	if in.Name == "" {
		in.Name = "token"
	}
	text, hash := authn.NewToken()
	t, err := s.Broker.PutToken(ctx, c.who, ajar.Token{Hash: hash, Name: string(in.Name), Expires: s.Clock().Add(last)})
	if err != nil {
		return nil, err
	}
	b := showToken(c, t)
	b.Token = text
	return &b, nil
}

func lifetime(d wireDuration, absent, most time.Duration) (time.Duration, error) {
	switch {
	case !d.set():
		return absent, nil
	case d.Duration < time.Second || d.Duration > most:
		return 0, bad("duration is %s; it must be between PT1S and %s", d.text, ajar.FormatDuration(most))
	}
	return d.Duration, nil
}

func (s *Server) revokeToken(ctx context.Context, c *call, _ nothing) (nothing, error) {
	of, err := s.of(ctx, c)
	if err != nil {
		return nothing{}, err
	}
	_, err = s.Broker.RevokeToken(ctx, c.who, of, c.value("id"))
	s.Auth.Forget(of)
	return nothing{}, err
}
