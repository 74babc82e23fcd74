package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
)

// ownClient is how this project's programs are known to the plane's issuer.
const ownClient = "a1a30f6e-5c3b-4c53-9f0e-6d2b7f1c4a10"

// browserTokenFor is how long the token lasts that a sign-in with a browser gives.
const browserTokenFor = 12 * time.Hour

// BrowserLogin is a sign-in that waits for a person who confirms it in a browser, wherever that is.
type BrowserLogin struct {
	URL  string // to open
	Code string // to type there
	Full string // URL with the code filled in

	c       *Client
	device  string
	every   time.Duration
	expires time.Duration
}

// LoginWithBrowser begins a sign-in with a browser: show URL and Code, then Wait.
func (c *Client) LoginWithBrowser(ctx context.Context) (*BrowserLogin, error) {
	var about struct {
		Issuer string `json:"issuer"`
	}
	const base = "/organizations"
	if _, err := c.WithToken("").do(ctx, call{method: http.MethodGet, path: base + "/v2.0/.well-known/openid-configuration", out: &about}); err != nil {
		return nil, err
	}
	u, err := url.Parse(about.Issuer)
	if err != nil || u.Host == "" {
		return nil, ajar.Errorf(ajar.Unavailable, "the plane does not say where people sign in")
	}
	var d struct {
		Device   string `json:"device_code"`
		User     string `json:"user_code"`
		URI      string `json:"verification_uri"`
		Complete string `json:"verification_uri_complete"`
		Expires  int64  `json:"expires_in"`
		Interval int64  `json:"interval"`
	}
	asked := url.Values{"client_id": {ownClient}, "scope": {u.Scheme + "://" + u.Host + "/.default"}}
	if _, err := c.form(ctx, base+"/oauth2/v2.0/devicecode", asked, &d); err != nil {
		return nil, err
	}
	return &BrowserLogin{
		URL: d.URI, Code: d.User, Full: d.Complete, c: c, device: d.Device,
		every: time.Duration(max(1, d.Interval)) * time.Second, expires: time.Duration(d.Expires) * time.Second,
	}, nil
}

// Wait asks until the person has decided, and gives a token like that of Login.
func (b *BrowserLogin) Wait(ctx context.Context) (Session, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, b.expires+b.every, ajar.Errorf(ajar.Unauthenticated, "nobody confirmed the sign-in in time"))
	defer cancel()
	for {
		if pause(ctx, b.every) != nil {
			return Session{}, context.Cause(ctx)
		}
		var got struct {
			Token string `json:"access_token"`
		}
		code, err := b.c.form(ctx, "/organizations/oauth2/v2.0/token", url.Values{
			"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "client_id": {ownClient}, "device_code": {b.device},
		}, &got)
		switch code {
		case "":
			if err != nil {
				return Session{}, err
			}
			return b.c.WithToken(got.Token).keep(ctx)
		case "slow_down":
			b.every += 5 * time.Second
		case "authorization_pending", "temporarily_unavailable":
		default:
			return Session{}, err
		}
	}
}

// keep exchanges the short-lived token that c has for one like a log-in's.
func (c *Client) keep(ctx context.Context) (Session, error) {
	me, err := c.Me(ctx)
	if err != nil {
		return Session{}, err
	}
	t, err := c.CreateToken(ctx, "login with a browser", browserTokenFor)
	if err != nil {
		return Session{}, err
	}
	return Session{Token: t.Secret, Expires: t.Expires, Principal: me.Principal, Name: me.Name}, c.Logout(ctx)
}

// form posts a form to the plane's issuer. code is OAuth's word for a refusal, which err explains.
func (c *Client) form(ctx context.Context, path string, v url.Values, out any) (code string, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.wait)
	defer cancel()
	u := *c.base
	u.Path += path
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), strings.NewReader(v.Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", c.agent)
	resp, err := c.http.Do(req)
	if err != nil {
		_, err = c.fault(ctx, err)
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		_, err = c.fault(ctx, err)
		return "", err
	}
	if resp.StatusCode < 300 {
		if err := json.Unmarshal(body, out); err != nil {
			return "", ajar.Because(ajar.Unavailable, err, "the answer of the plane's issuer cannot be read")
		}
		return "", nil
	}
	var no struct {
		Error string `json:"error"`
		Text  string `json:"error_description"`
	}
	if json.Unmarshal(body, &no) != nil || no.Error == "" {
		return "", ajar.Errorf(ajar.Unavailable, "the plane's issuer answers %s", resp.Status)
	}
	text, _, _ := strings.Cut(no.Text, " Trace ID:")
	if _, rest, ok := strings.Cut(text, ": "); ok {
		text = rest
	}
	kind := ajar.Unauthenticated
	if resp.StatusCode == http.StatusTooManyRequests {
		kind = ajar.TooMany
	}
	return no.Error, &Error{Err: &ajar.Error{Kind: kind, Code: no.Error, Msg: strings.TrimSuffix(fmt.Sprint(text), ".")}}
}
