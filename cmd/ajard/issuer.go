package main

import (
	"net/url"
	"strings"
	"time"

	"github.com/ajar-access/ajar/authn"
	"github.com/ajar-access/ajar/issuer"
)

// Issuer is how people's and programs' clients get tokens.
type Issuer struct {
	KeyLifetime         duration `yaml:"keyLifetime"`         // how long a key signs tokens; default 720h
	AccessTokenLifetime duration `yaml:"accessTokenLifetime"` // default 1h
	RefreshLifetime     duration `yaml:"refreshLifetime"`     // of a sign-in, however often it is refreshed; default 720h
	Password            string   `yaml:"password"`            // on or off (default): whether clients may send people's passwords
	Clients             []Client `yaml:"clients"`             // applications that people sign in to, beyond Azure's and ours
	Audiences           []string `yaml:"audiences"`           // that tokens can be for, beyond publicURL
}

// Client is an application that people sign in to.
type Client struct {
	ID           string   `yaml:"id"` // of a service principal, unless it is public
	Name         string   `yaml:"name"`
	RedirectURIs []string `yaml:"redirectURIs"`
	Public       bool     `yaml:"public"` // it keeps no secret: a program on people's own machines
}

func (c *Config) checkIssuer(fault func(string, ...any)) {
	is := c.Issuer
	for _, l := range []struct {
		key         string
		is, lo, hi  time.Duration
		least, most string
	}{
		{"keyLifetime", is.keyLifetime(), 24 * time.Hour, 366 * 24 * time.Hour, "24h", "8784h"},
		{"accessTokenLifetime", is.accessTokenLifetime(), time.Minute, 24 * time.Hour, "1m", "24h"},
		{"refreshLifetime", is.refreshLifetime(), time.Hour, 366 * 24 * time.Hour, "1h", "8784h"},
	} {
		if l.is < l.lo || l.is > l.hi {
			fault("issuer.%s is %s; between %s and %s", l.key, l.is, l.least, l.most)
		}
	}
	if is.Password != "" && is.Password != "on" && is.Password != "off" {
		fault("issuer.password is %q; on or off", is.Password)
	}
	seen := map[string]bool{}
	for i, cl := range is.clients() {
		if err := cl.Check(); err != nil {
			fault("issuer.clients[%d]: %w", i, err)
		}
		if id := strings.ToLower(cl.ID); seen[id] {
			fault("issuer.clients[%d]: id %s is there twice", i, cl.ID)
		} else {
			seen[id] = true
		}
	}
	for _, a := range is.Audiences {
		if u, err := url.Parse(a); err != nil || u.Scheme == "" || u.RawQuery != "" || u.Fragment != "" {
			fault("issuer.audiences: %q is not a URL without a query", a)
		}
	}
}

func (i Issuer) keyLifetime() time.Duration         { return i.KeyLifetime.or(30 * 24 * time.Hour) }
func (i Issuer) accessTokenLifetime() time.Duration { return i.AccessTokenLifetime.or(time.Hour) }
func (i Issuer) refreshLifetime() time.Duration     { return i.RefreshLifetime.or(30 * 24 * time.Hour) }

func (i Issuer) clients() (list []issuer.Client) {
	for _, c := range i.Clients {
		name := c.Name
		def(&name, c.ID)
		list = append(list, issuer.Client{ID: c.ID, Name: name, Redirects: c.RedirectURIs, Public: c.Public})
	}
	return list
}

// tokens are what the front door knows of signed tokens.
func (p *plane) tokens() *authn.Tokens {
	is := p.cfg.Issuer
	t := &authn.Tokens{
		Keys:    &authn.Keys{Vault: p.vault, Lifetime: is.keyLifetime(), Longest: is.accessTokenLifetime()},
		Issuers: issuer.Issuers(p.cfg.PublicURL, p.tenant.ID),
	}
	for _, a := range append([]string{p.cfg.PublicURL}, is.Audiences...) {
		t.Audiences = append(t.Audiences, strings.TrimRight(a, "/"))
	}
	return t
}

// issuer is the surface where tokens are got.
func (p *plane) issuer(others []issuer.Upstream) *issuer.Server {
	is := p.cfg.Issuer
	return issuer.New(issuer.Config{
		Store: p.changes, Clock: p.clock, Broker: p.broker, Auth: p.auth, Vault: p.vault, Log: p.log, PublicURL: p.cfg.PublicURL, Tenant: p.tenant,
		AccessTokenLifetime: is.accessTokenLifetime(), RefreshLifetime: is.refreshLifetime(), Password: is.Password == "on", Clients: is.clients(),
		Audiences: is.Audiences, Observe: p.metrics.observe, SessionIdle: p.cfg.SignIn.idle(), SessionLifetime: p.cfg.SignIn.lifetime(), Upstreams: others,
	})
}
