package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ajar-access/ajar/authn"
	"github.com/ajar-access/ajar/issuer"
)

// Upstream is an OpenID provider that people can sign in with.
type Upstream struct {
	Name         string            `yaml:"name"`         // in addresses and records
	Title        string            `yaml:"title"`        // on the button; default name
	Issuer       string            `yaml:"issuer"`       // as the provider says it of itself
	ClientID     string            `yaml:"clientID"`     // that the plane has there
	ClientSecret reference         `yaml:"clientSecret"` // default none: the plane is a public client there
	Scopes       []string          `yaml:"scopes"`       // beside openid; default profile and email
	NameClaim    string            `yaml:"nameClaim"`    // what people are called by who are made; default preferred_username
	GroupsClaim  string            `yaml:"groupsClaim"`  // what lists their groups; default none
	Groups       map[string]string `yaml:"groups"`       // the groups here, by name, that the provider's stand for
	Create       string            `yaml:"create"`       // on or off (default): whether people are made who come for the first time
	SecondFactor string            `yaml:"secondFactor"` // trust (default) or ours: what signIn.secondFactor says holds, too
	Audiences    []string          `yaml:"audiences"`    // of access tokens that programs may bring; default none
}

func (c *Config) checkUpstreams(getenv func(string) string, fault func(string, ...any)) {
	names, issuers := map[string]bool{}, map[string]bool{}
	for i, u := range c.Upstreams {
		at := fmt.Sprintf("upstreams[%d]", i)
		is := u.upstream("")
		if err := is.Check(); err != nil {
			fault("%s: %s", at, strings.ReplaceAll(err.Error(), "\n", "; "))
		}
		if names[u.Name] {
			fault("%s: name %s is there twice", at, u.Name)
		}
		if issuers[u.Issuer] {
			fault("%s: issuer %s is there twice", at, u.Issuer)
		}
		names[u.Name], issuers[u.Issuer] = true, true
		if u.ClientSecret.value != "" {
			fault("%s: clientSecret does not belong in this file; name a file or an environment variable (clientSecret: {file: …})", at)
		} else if _, err := u.ClientSecret.read(c.dir, getenv); err != nil {
			fault("%s: clientSecret: %w", at, err)
		}
		if u.Create != "" && u.Create != "on" && u.Create != "off" {
			fault("%s: create is %q; on or off", at, u.Create)
		}
		if u.SecondFactor != "" && u.SecondFactor != "trust" && u.SecondFactor != "ours" {
			fault("%s: secondFactor is %q; trust or ours", at, u.SecondFactor)
		}
		if len(u.Audiences) > 0 && u.SecondFactor == "ours" {
			fault("%s: audiences do not go with secondFactor: ours, which tokens that programs bring would get around", at)
		}
		if slices.Contains(u.Audiences, "") || slices.Contains(u.Audiences, u.ClientID) {
			fault("%s: audiences: none is empty, or the clientID, which id tokens are for", at)
		}
	}
}

func (u Upstream) upstream(secret string) issuer.Upstream {
	return issuer.Upstream{
		Name: u.Name, Title: u.Title, Issuer: u.Issuer, ClientID: u.ClientID, ClientSecret: strings.TrimSpace(secret), Scopes: u.Scopes,
		NameClaim: u.NameClaim, GroupsClaim: u.GroupsClaim, Groups: u.Groups, Create: u.Create == "on", Ours: u.SecondFactor == "ours",
	}
}

// bearers are the providers whose access tokens are taken.
func (c *Config) bearers() (list []*authn.Upstream) {
	for _, u := range c.Upstreams {
		if len(u.Audiences) > 0 {
			list = append(list, &authn.Upstream{Issuer: u.Issuer, Audiences: u.Audiences})
		}
	}
	return list
}

// upstreams are the providers with their secrets.
func (c *Config) upstreams(getenv func(string) string) (list []issuer.Upstream, err error) {
	for _, u := range c.Upstreams {
		secret, err := u.ClientSecret.read(c.dir, getenv)
		if err != nil {
			return nil, fmt.Errorf("upstream %s: %w", u.Name, err)
		}
		list = append(list, u.upstream(string(secret)))
	}
	return list, nil
}
