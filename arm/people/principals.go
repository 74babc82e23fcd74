package people

import (
	"context"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/arm/rest"
	"github.com/ajar-access/ajar/authn"
)

func (s room) principalRoutes() []rest.Route {
	const one = "/ajar/v1/principals/{p}"
	return []rest.Route{
		rest.Get("/ajar/v1/principals", rest.Ours, rest.Op(200, s.listPrincipals), "Lists people, groups and service principals.", ajar.PrincipalRead, "kind", "$top"),
		rest.Post("/ajar/v1/principals", rest.Ours, rest.Op(201, s.newPrincipal), "Makes a person, a group or a service principal.", ajar.PrincipalWrite),
		rest.Get(one, rest.Ours, rest.Op(200, s.getPrincipal), "Shows a principal, by id or name.", ajar.PrincipalRead),
		rest.Put(one, rest.Ours, rest.Op(200, s.putPrincipal), "Changes a principal.", ajar.PrincipalWrite),
		rest.Delete(one, rest.Ours, rest.Op(204, s.deletePrincipal), "Removes a principal.", ajar.PrincipalDelete),
		rest.Put(one+"/password", rest.Ours, rest.Op(204, s.setPassword), "Sets a person's password.", ajar.PrincipalWrite),
		rest.Delete(one+"/factors", rest.Ours, rest.Op(204, s.resetFactors), "Removes a person's second factors, and ends their sessions in browsers and all their tokens.", ajar.PrincipalWrite),
		rest.Get(one+"/secrets", rest.Ours, rest.Op(200, s.listSecrets), "Lists a service principal's secrets, without the secrets themselves.", ajar.PrincipalRead),
		rest.Post(one+"/secrets", rest.Ours, rest.Op(201, s.newSecret), "Makes a secret, shown this once.", ajar.PrincipalWrite),
		rest.Delete(one+"/secrets/{id}", rest.Ours, rest.Op(204, s.deleteSecret), "Removes a secret.", ajar.PrincipalWrite),
		rest.Put(one+"/members/{m}", rest.Ours, rest.Op(200, s.addMember), "Adds a member to a group.", ajar.PrincipalWrite),
		rest.Delete(one+"/members/{m}", rest.Ours, rest.Op(200, s.removeMember), "Takes a member out of a group.", ajar.PrincipalWrite),
	}
}

type principalBody struct {
	ID       ajar.PrincipalID   `json:"id"`
	Kind     ajar.PrincipalKind `json:"kind"`
	Name     string             `json:"name"`
	Display  string             `json:"display,omitempty"`
	Disabled bool               `json:"disabled,omitempty"`
	Members  []memberBody       `json:"members,omitempty"`
	Upstream *upstreamBody      `json:"upstream,omitempty"`
	Created  *time.Time         `json:"created,omitempty"`
}

// upstreamBody says who somebody is at a provider that they sign in with; both empty = nobody.
type upstreamBody struct {
	Issuer  string `json:"issuer"`
	Subject string `json:"subject"`
}

type memberBody struct {
	ID   ajar.PrincipalID `json:"id"`
	Name string           `json:"name,omitempty"`
}

// principalIn makes or changes a principal. What a PUT leaves out stays as it is.
type principalIn struct {
	Kind     rest.Text `json:"kind"`
	Name     rest.Text `json:"name"`
	Display  *string   `json:"display"`
	Disabled *bool     `json:"disabled"`
	Password string    `json:"password"`

	Upstream *upstreamBody `json:"upstream"`
}

func (in *principalIn) link() *ajar.Link {
	if in.Upstream == nil {
		return nil
	}
	return &ajar.Link{Issuer: in.Upstream.Issuer, Subject: in.Upstream.Subject}
}

// passwordIn sets a password. Who sets their own says the one they have.
type passwordIn struct {
	Password string `json:"password" openapi:"needed"`
	Current  string `json:"currentPassword"`
}

type secretIn struct {
	Duration rest.Duration `json:"duration"`
}

// secretBody is a secret without the secret, which is shown once, when it is made.
type secretBody struct {
	ID      string     `json:"id"`
	Secret  string     `json:"secret,omitempty"`
	Hint    string     `json:"hint,omitempty"`
	Created *time.Time `json:"created,omitempty"`
	Expires *time.Time `json:"expires,omitempty"`
}

// mostNames is how many members are shown by name in one answer.
const mostNames = 200

func showPrincipal(p *ajar.Principal) principalBody {
	b := principalBody{ID: p.ID, Kind: p.Kind, Name: p.Name, Display: p.Display, Disabled: p.Disabled, Created: rest.When(p.Created)}
	if p.Upstream != nil {
		b.Upstream = &upstreamBody{p.Upstream.Issuer, p.Upstream.Subject}
	}
	for _, m := range p.Members {
		b.Members = append(b.Members, memberBody{ID: m})
	}
	return b
}

// showNamed is showPrincipal with the names of members, as far as the caller may read them. names has those that were
// looked up for the same answer.
func (s room) showNamed(ctx context.Context, c *rest.Call, p *ajar.Principal, names map[ajar.PrincipalID]string) principalBody {
	b, who := showPrincipal(p), c.Who
	who.Doing = "" // it is done
	for i := range b.Members {
		m := &b.Members[i]
		name, known := names[m.ID]
		if !known && len(names) < mostNames {
			if of, err := s.Broker.Principal(ctx, who, string(m.ID)); err == nil {
				name = of.Name
			}
			names[m.ID] = name
		}
		m.Name = name
	}
	return b
}

// principal finds who the path names at key, by id or name.
func (s room) principal(ctx context.Context, c *rest.Call, key string) (*ajar.Principal, error) {
	return s.Broker.Principal(ctx, c.Who, c.Value(key))
}

func (s room) listPrincipals(ctx context.Context, c *rest.Call, _ rest.Nothing) (l rest.List[principalBody], err error) {
	page, err := c.Page(rest.EntriesAPage)
	if err != nil {
		return l, err
	}
	kind, err := parseKind(c.Param("kind"))
	if err != nil {
		return l, err
	}
	all, next, err := s.Broker.Principals(ctx, c.Who, kind, page)
	if err != nil {
		return l, err
	}
	names := map[ajar.PrincipalID]string{}
	return rest.Each(c, all, next, func(p *ajar.Principal) principalBody { return s.showNamed(ctx, c, p, names) }), nil
}

func parseKind(k string) (ajar.PrincipalKind, error) {
	switch kind := ajar.PrincipalKind(k); kind {
	case "", ajar.User, ajar.Group, ajar.ServicePrincipal:
		return kind, nil
	}
	return "", rest.Coded(ajar.Invalid, "InvalidParameter", "kind is %.30q; it can be User, Group or ServicePrincipal", k)
}

func (s room) newPrincipal(ctx context.Context, c *rest.Call, in principalIn) (*principalBody, error) {
	kind, err := parseKind(string(in.Kind))
	if err != nil {
		return nil, err
	}
	hash := ""
	if in.Password != "" {
		if kind != ajar.User {
			return nil, rest.Bad("password is for people alone; give a service principal a secret")
		}
		if hash, err = s.Auth.Hasher.Hash(ctx, in.Password); err != nil {
			return nil, err
		}
	}
	p := ajar.Principal{Kind: kind, Name: string(in.Name)}
	if in.Display != nil {
		p.Display = *in.Display
	}
	p.Upstream = in.link()
	made, err := s.Broker.PutPrincipal(ctx, c.Who, p)
	if err != nil {
		return nil, err
	}
	if hash != "" {
		if _, err := s.Broker.PutCredential(ctx, c.Who, ajar.Credential{Principal: made.ID, Kind: ajar.Password, Hash: hash}); err != nil {
			return nil, err
		}
	}
	b := showPrincipal(made)
	return &b, nil
}

func (s room) getPrincipal(ctx context.Context, c *rest.Call, _ rest.Nothing) (*principalBody, error) {
	p, err := s.principal(ctx, c, "p")
	if err != nil {
		return nil, err
	}
	b := s.showNamed(ctx, c, p, map[ajar.PrincipalID]string{})
	return &b, nil
}

func (s room) putPrincipal(ctx context.Context, c *rest.Call, in principalIn) (*principalBody, error) {
	p, err := s.principal(ctx, c, "p")
	if err != nil {
		return nil, err
	}
	if in.Password != "" {
		return nil, rest.Bad("a password is set with PUT …/principals/{principal}/password")
	}
	if in.Name != "" {
		p.Name = string(in.Name)
	}
	if in.Display != nil {
		p.Display = *in.Display
	}
	if in.Disabled != nil {
		p.Disabled = *in.Disabled
	}
	p.Upstream = in.link()
	p, err = s.Broker.PutPrincipal(ctx, c.Who, *p)
	if err != nil {
		return nil, err
	}
	s.Auth.Forget(p.ID)
	b := s.showNamed(ctx, c, p, map[ajar.PrincipalID]string{})
	return &b, nil
}

func (s room) deletePrincipal(ctx context.Context, c *rest.Call, _ rest.Nothing) (rest.Nothing, error) {
	p, err := s.principal(ctx, c, "p")
	if err != nil {
		return rest.Nothing{}, err
	}
	_, err = s.Broker.DeletePrincipal(ctx, c.Who, p.ID)
	s.Auth.Forget(p.ID)
	return rest.Nothing{}, err
}

func (s room) setPassword(ctx context.Context, c *rest.Call, in passwordIn) (rest.Nothing, error) {
	p, err := s.principal(ctx, c, "p")
	if err != nil {
		return rest.Nothing{}, err
	}
	if p.ID == c.Who.Principal {
		if err := s.Auth.Confirm(ctx, c.Who, in.Current); err != nil {
			return rest.Nothing{}, err
		}
	}
	hash, err := s.Auth.Hasher.Hash(ctx, in.Password)
	if err != nil {
		return rest.Nothing{}, err
	}
	_, err = s.Broker.PutCredential(ctx, c.Who, ajar.Credential{Principal: p.ID, Kind: ajar.Password, Hash: hash}, c.Token)
	s.Auth.Forget(p.ID)
	return rest.Nothing{}, err
}

func (s room) resetFactors(ctx context.Context, c *rest.Call, _ rest.Nothing) (rest.Nothing, error) {
	p, err := s.principal(ctx, c, "p")
	if err != nil {
		return rest.Nothing{}, err
	}
	_, err = s.Broker.ResetFactors(ctx, c.Who, p.ID)
	s.Auth.Forget(p.ID)
	return rest.Nothing{}, err
}

func (s room) listSecrets(ctx context.Context, c *rest.Call, _ rest.Nothing) (l rest.List[secretBody], err error) {
	p, err := s.principal(ctx, c, "p")
	if err != nil {
		return l, err
	}
	all, err := s.Broker.Credentials(ctx, c.Who, p.ID)
	if err != nil {
		return l, err
	}
	l = rest.List[secretBody]{Value: []secretBody{}}
	for _, cr := range all {
		if cr.Kind == ajar.Secret {
			l.Value = append(l.Value, showSecret(cr))
		}
	}
	return l, nil
}

func showSecret(c *ajar.Credential) secretBody {
	return secretBody{ID: c.ID, Hint: c.Hint, Created: rest.When(c.Created), Expires: rest.When(c.Expires)}
}

func (s room) newSecret(ctx context.Context, c *rest.Call, in secretIn) (*secretBody, error) {
	p, err := s.principal(ctx, c, "p")
	if err != nil {
		return nil, err
	}
	last, err := lifetime(in.Duration, secretFor, 2*secretFor)
	if err != nil {
		return nil, err
	}
	text, hash, hint := authn.NewSecret()
	made, err := s.Broker.PutCredential(ctx, c.Who, ajar.Credential{Principal: p.ID, Kind: ajar.Secret, Hash: hash, Hint: hint, Expires: s.Clock().Add(last)})
	if err != nil {
		return nil, err
	}
	b := showSecret(made)
	b.Secret = text
	return &b, nil
}

func (s room) deleteSecret(ctx context.Context, c *rest.Call, _ rest.Nothing) (rest.Nothing, error) {
	p, err := s.principal(ctx, c, "p")
	if err != nil {
		return rest.Nothing{}, err
	}
	all, err := s.Broker.Credentials(ctx, c.Who, p.ID)
	if err != nil {
		return rest.Nothing{}, err
	}
	for _, cr := range all {
		if cr.ID == c.Value("id") && cr.Kind == ajar.Secret {
			_, err := s.Broker.DeleteCredential(ctx, c.Who, cr.ID)
			s.Auth.Forget(p.ID)
			return rest.Nothing{}, err
		}
	}
	return rest.Nothing{}, rest.Coded(ajar.NotFound, "", "%s has no secret %.60q", p.Name, c.Value("id"))
}

func (s room) addMember(ctx context.Context, c *rest.Call, _ rest.Nothing) (*principalBody, error) {
	return s.changeMember(ctx, c, s.Broker.AddMember)
}

func (s room) removeMember(ctx context.Context, c *rest.Call, _ rest.Nothing) (*principalBody, error) {
	return s.changeMember(ctx, c, s.Broker.RemoveMember)
}

func (s room) changeMember(ctx context.Context, c *rest.Call, verb func(context.Context, ajar.Caller, ajar.PrincipalID, ajar.PrincipalID) (*ajar.Principal, error)) (*principalBody, error) {
	group, err := s.principal(ctx, c, "p")
	if err != nil {
		return nil, err
	}
	member, err := s.principal(ctx, c, "m")
	if err != nil {
		return nil, err
	}
	if group, err = verb(ctx, c.Who, group.ID, member.ID); err != nil {
		return nil, err
	}
	b := s.showNamed(ctx, c, group, map[ajar.PrincipalID]string{})
	return &b, nil
}
