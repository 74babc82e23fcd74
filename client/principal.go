package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"time"

	"github.com/ajar-access/ajar"
)

// Principal is a person, a group or a service principal.
type Principal struct {
	ID       ajar.PrincipalID   `json:"id"`
	Kind     ajar.PrincipalKind `json:"kind"`
	Name     string             `json:"name"`
	Display  string             `json:"display,omitempty"`
	Disabled bool               `json:"disabled,omitempty"`
	Members  []Member           `json:"members,omitempty"` // of a group
	Upstream *Upstream          `json:"upstream,omitempty"`
	Created  time.Time          `json:"created,omitzero"`
}

// Upstream is who somebody is at a provider of single sign-on.
type Upstream struct {
	Issuer  string `json:"issuer"`
	Subject string `json:"subject"`
}

// NotLinked is the Code of the refusal of a sign-in at a provider by whom nobody here is linked to.
const NotLinked = "PrincipalNotLinked"

// Member is somebody in a group.
type Member struct {
	ID   ajar.PrincipalID `json:"id"`
	Name string           `json:"name,omitempty"`
}

// Secret is a service principal's secret, without the secret itself, which is shown once, in NewSecret.
type Secret struct {
	ID      string    `json:"id"`
	Hint    string    `json:"hint,omitempty"` // its first characters
	Created time.Time `json:"created,omitzero"`
	Expires time.Time `json:"expires,omitzero"`
}

// NewSecret is a secret just made. Secret.Secret is shown this once.
type NewSecret struct {
	Secret
	Value string `json:"secret"`
}

const principals = "/ajar/v1/principals"

func principalPath(idOrName string, more ...string) string {
	p := principals + "/" + idOrName
	for _, m := range more {
		p += "/" + m
	}
	return p
}

// Principals lists those of a kind; all kinds if it is empty.
func (c *Client) Principals(ctx context.Context, kind ajar.PrincipalKind) iter.Seq2[Principal, error] {
	return list[Principal](ctx, c, principals, query("kind", string(kind)))
}

// Principal finds one by ID or name.
func (c *Client) Principal(ctx context.Context, idOrName string) (Principal, error) {
	var p Principal
	_, err := c.do(ctx, call{method: http.MethodGet, path: principalPath(idOrName), out: &p})
	return p, err
}

// CreatePrincipal makes one. A password is for people alone.
func (c *Client) CreatePrincipal(ctx context.Context, p Principal, password string) (Principal, error) {
	in := struct {
		Kind     ajar.PrincipalKind `json:"kind"`
		Name     string             `json:"name"`
		Display  string             `json:"display,omitempty"`
		Password string             `json:"password,omitempty"`
	}{p.Kind, p.Name, p.Display, password}
	var out Principal
	_, err := c.do(ctx, call{method: http.MethodPost, path: principals, in: in, out: &out})
	return out, err
}

// SetDisabled keeps a principal from signing in and ends what it holds, or lets it in again.
func (c *Client) SetDisabled(ctx context.Context, p Principal, disabled bool) (Principal, error) {
	in := struct {
		Display  string `json:"display,omitempty"`
		Disabled bool   `json:"disabled"`
	}{p.Display, disabled}
	var out Principal
	_, err := c.do(ctx, call{method: http.MethodPut, path: principalPath(string(p.ID)), in: in, out: &out})
	return out, err
}

// Link says who somebody is at a provider of single sign-on. The zero Upstream takes the link away and signs them out.
func (c *Client) Link(ctx context.Context, idOrName string, to Upstream) (Principal, error) {
	in := struct {
		Upstream Upstream `json:"upstream"`
	}{to}
	var out Principal
	_, err := c.do(ctx, call{method: http.MethodPut, path: principalPath(idOrName), in: in, out: &out})
	return out, err
}

// DeletePrincipal removes one, with its tokens and role assignments.
func (c *Client) DeletePrincipal(ctx context.Context, idOrName string) error {
	_, err := c.do(ctx, call{method: http.MethodDelete, path: principalPath(idOrName)})
	return err
}

// CurrentPasswordRequired is the Code of the refusal to give who has a password another one without it.
const CurrentPasswordRequired = "CurrentPasswordRequired"

// SetPassword gives a person another password. current is needed for one's own, unless it was used up.
func (c *Client) SetPassword(ctx context.Context, idOrName, password, current string) error {
	in := struct {
		Password string `json:"password"`
		Current  string `json:"currentPassword,omitempty"`
	}{password, current}
	_, err := c.do(ctx, call{method: http.MethodPut, path: principalPath(idOrName, "password"), in: in})
	return err
}

// ResetFactors removes a person's second factors and signs out their browsers and the programs that these signed in.
func (c *Client) ResetFactors(ctx context.Context, idOrName string) error {
	_, err := c.do(ctx, call{method: http.MethodDelete, path: principalPath(idOrName, "factors")})
	return err
}

// AddMember puts somebody into a group.
func (c *Client) AddMember(ctx context.Context, group, member string) error {
	_, err := c.do(ctx, call{method: http.MethodPut, path: principalPath(group, "members", member)})
	return err
}

// RemoveMember takes somebody out of a group.
func (c *Client) RemoveMember(ctx context.Context, group, member string) error {
	_, err := c.do(ctx, call{method: http.MethodDelete, path: principalPath(group, "members", member)})
	return err
}

// Secrets lists a service principal's secrets.
func (c *Client) Secrets(ctx context.Context, idOrName string) iter.Seq2[Secret, error] {
	return list[Secret](ctx, c, principalPath(idOrName, "secrets"), url.Values{})
}

// CreateSecret makes a secret for a service principal, for d or as long as the plane gives if d is zero.
func (c *Client) CreateSecret(ctx context.Context, idOrName string, d time.Duration) (NewSecret, error) {
	var s NewSecret
	_, err := c.do(ctx, call{method: http.MethodPost, path: principalPath(idOrName, "secrets"), in: lifetime{Duration: iso(d)}, out: &s})
	return s, err
}

// DeleteSecret ends a service principal's secret.
func (c *Client) DeleteSecret(ctx context.Context, idOrName, secret string) error {
	_, err := c.do(ctx, call{method: http.MethodDelete, path: principalPath(idOrName, "secrets", secret)})
	return err
}
