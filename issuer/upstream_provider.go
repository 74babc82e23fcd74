package issuer

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/ajar-access/ajar"
)

// Upstream is an OpenID provider that people can sign in with.
type Upstream struct {
	Name         string            // in addresses and records
	Title        string            // on the button; "" = Name
	Issuer       string            // as the provider says it of itself
	ClientID     string            // that the plane has there
	ClientSecret string            // "" = none: the plane is a public client there
	Scopes       []string          // beside openid; nil = profile and email
	NameClaim    string            // what people are called by who are made; "" = preferred_username
	GroupsClaim  string            // what lists their groups; "" = none is asked for
	Groups       map[string]string // the groups here, by name, that the provider's stand for
	Create       bool              // whether people are made who come for the first time
	Ours         bool              // whether our own second factor is asked for as after a password
	Client       *http.Client      // nil = one that checks certificates by the system's authorities
}

var upstreamName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`)

// Check lists what is wrong with u.
func (u *Upstream) Check() error {
	var faults []error
	fault := func(format string, a ...any) { faults = append(faults, ajar.Errorf(ajar.Invalid, format, a...)) }
	if !upstreamName.MatchString(u.Name) {
		fault("name %q is not of small letters, digits and dashes, at most 32", u.Name)
	}
	if is, err := url.Parse(u.Issuer); err != nil || is.Host == "" || is.RawQuery != "" || is.Fragment != "" || is.User != nil || !encrypted(is) {
		fault("issuer %q is not of the form https://host/path", u.Issuer)
	}
	if u.ClientID == "" {
		fault("clientID is missing")
	}
	if slices.ContainsFunc(u.Scopes, func(s string) bool { return s == "" || strings.ContainsAny(s, " \t\n") }) {
		fault("scopes: each is a word of its own")
	}
	if len(u.Groups) > 0 && u.GroupsClaim == "" {
		fault("groups are given, but no groupsClaim that would list any")
	}
	for theirs, ours := range u.Groups {
		if theirs == "" || ours == "" {
			fault("groups: an empty name")
		}
	}
	return errors.Join(faults...)
}

// encrypted tells addresses that nobody between can read or change: this machine's own are, too.
func encrypted(u *url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "https" || (u.Scheme == "http" && (u.Hostname() == "localhost" || ip.IsLoopback()))
}

// How providers are talked to.
const (
	upstreamTimeout = 10 * time.Second
	upstreamBytes   = 1 << 20
	discoveredFor   = time.Hour
	discoverAgain   = 10 * time.Second // after it did not work
)

// signedWith are the algorithms that are taken: none that a public key could be mistaken for the secret of.
var signedWith = []string{oidc.RS256, oidc.RS384, oidc.RS512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.EdDSA}

// provider is an Upstream, and what it says of itself.
type provider struct {
	Upstream
	clock ajar.Clock

	mu     sync.Mutex // held while it is asked, so that one asks for all
	at     time.Time
	told   *told
	failed error
}

// told is what a provider says of itself.
type told struct {
	*oidc.Provider
	Keys       string   `json:"jwks_uri"`
	EndSession string   `json:"end_session_endpoint"`
	SaysIssuer bool     `json:"authorization_response_iss_parameter_supported"`
	Auth       []string `json:"token_endpoint_auth_methods_supported"`
}

func newProvider(u Upstream, clock ajar.Clock) *provider {
	if u.Title == "" {
		u.Title = u.Name
	}
	if u.NameClaim == "" {
		u.NameClaim = "preferred_username"
	}
	if u.Scopes == nil {
		u.Scopes = []string{"profile", "email"}
	}
	c := http.Client{Transport: http.DefaultTransport}
	if u.Client != nil {
		c = *u.Client
	}
	// Nothing is followed: what a provider says of itself stands where its name says.
	c.Timeout, c.CheckRedirect = upstreamTimeout, func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.Transport = bounded{c.Transport}
	u.Client = &c
	return &provider{Upstream: u, clock: clock}
}

// bounded gives answers of a bounded length.
type bounded struct{ http.RoundTripper }

// RoundTrip asks.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	next := b.RoundTripper
	if next == nil {
		next = http.DefaultTransport
	}
	a, err := next.RoundTrip(r)
	if err == nil {
		a.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(a.Body, upstreamBytes), a.Body}
	}
	return a, err
}

// discover is what the provider says of itself, at most an hour old unless it does not answer.
func (p *provider) discover(ctx context.Context) (*told, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	age := p.clock().Sub(p.at)
	if p.failed != nil && age < discoverAgain && age >= 0 && p.told == nil {
		return nil, p.failed
	}
	if p.told != nil && age < discoveredFor && age >= 0 {
		return p.told, nil
	}
	t := &told{}
	var err error
	// Not the request's: whoever gives up waiting does not make it fail for those behind.
	t.Provider, err = oidc.NewProvider(oidc.ClientContext(context.WithoutCancel(ctx), p.Client), p.Issuer)
	if err == nil {
		err = t.Claims(t)
	}
	if err == nil {
		err = t.safe()
	}
	p.at = p.clock()
	if err != nil {
		p.failed = ajar.Because(ajar.Unavailable, err, "%s does not answer as it should", p.Title)
		if p.told != nil {
			p.at = p.at.Add(discoverAgain - discoveredFor)
			return p.told, nil
		}
		return nil, p.failed
	}
	p.told, p.failed = t, nil
	return t, nil
}

// safe refuses a provider that would have secrets sent where others can read them.
func (t *told) safe() error {
	for _, text := range []string{t.Endpoint().AuthURL, t.Endpoint().TokenURL, t.UserInfoEndpoint(), t.EndSession, t.Keys} {
		if u, err := url.Parse(text); text != "" && (err != nil || !encrypted(u) || u.Host == "") {
			return errors.New("an endpoint is not encrypted: " + text)
		}
	}
	if t.Endpoint().AuthURL == "" || t.Endpoint().TokenURL == "" {
		return errors.New("an endpoint is missing")
	}
	return nil
}

func (p *provider) config(t *told, callback string) *oauth2.Config {
	e := t.Endpoint()
	// Not by trial: a code that was shown once is spent.
	if e.AuthStyle = oauth2.AuthStyleInHeader; p.ClientSecret == "" || (slices.Contains(t.Auth, "client_secret_post") && !slices.Contains(t.Auth, "client_secret_basic")) {
		e.AuthStyle = oauth2.AuthStyleInParams
	}
	return &oauth2.Config{ClientID: p.ClientID, ClientSecret: p.ClientSecret, Endpoint: e, RedirectURL: callback, Scopes: append([]string{oidc.ScopeOpenID}, p.Scopes...)}
}

// exchange gives what a code stands for: what the provider says of somebody, and the id token that it says it with.
func (p *provider) exchange(ctx context.Context, t *told, callback, code string, a *away) (who *said, raw string, err error) {
	ctx = oidc.ClientContext(ctx, p.Client)
	got, err := p.config(t, callback).Exchange(ctx, code, oauth2.VerifierOption(a.Verifier))
	if err != nil {
		return nil, "", err
	}
	id, raw, err := p.verify(ctx, t, got, a.Nonce)
	if err != nil {
		return nil, "", err
	}
	claims := map[string]json.RawMessage{}
	if err := id.Claims(&claims); err != nil {
		return nil, "", err
	}
	if err := p.more(ctx, t, got, id.Subject, claims); err != nil {
		return nil, "", err
	}
	who, err = p.read(id, claims)
	return who, raw, err
}

// verify checks the id token that came.
func (p *provider) verify(ctx context.Context, t *told, got *oauth2.Token, nonce string) (id *oidc.IDToken, raw string, err error) {
	raw, ok := got.Extra("id_token").(string)
	if !ok || len(raw) > maxIDToken {
		return nil, "", errors.New("there is no id token, or it is too long")
	}
	id, err = t.Verifier(&oidc.Config{ClientID: p.ClientID, SupportedSigningAlgs: signedWith, Now: p.clock}).Verify(ctx, raw)
	if err != nil {
		return nil, "", err
	}
	if id.Nonce != nonce || nonce == "" {
		return nil, "", errors.New("the id token is of another sign-in: its nonce is not ours")
	}
	if id.AccessTokenHash != "" {
		err = id.VerifyAccessToken(got.AccessToken)
	}
	return id, raw, err
}

// more asks for claims that the id token leaves out, as many providers do. What stands there wins.
func (p *provider) more(ctx context.Context, t *told, got *oauth2.Token, subject string, claims map[string]json.RawMessage) error {
	lacks := func(name string) bool { return name != "" && claims[name] == nil }
	if t.UserInfoEndpoint() == "" || !(lacks(p.NameClaim) || lacks(p.GroupsClaim)) {
		return nil
	}
	info, err := t.UserInfo(ctx, oauth2.StaticTokenSource(got))
	if err != nil {
		return err
	}
	if info.Subject != subject {
		return errors.New("the user info is somebody else's")
	}
	rest := map[string]json.RawMessage{}
	if err := info.Claims(&rest); err != nil {
		return err
	}
	for _, name := range []string{p.NameClaim, p.GroupsClaim, "name", "email_verified", "_claim_names", "hasgroups"} {
		if lacks(name) && rest[name] != nil {
			claims[name] = rest[name]
		}
	}
	return nil
}
