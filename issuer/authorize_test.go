package issuer

import (
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// wishURL is what Azure CLI opens in a browser.
func wishURL(challenge string, pairs ...string) string {
	v := form2(over([]string{"client_id", azureCLI, "response_type", "code", "redirect_uri", "http://localhost:8400", "scope", resource + " offline_access openid profile",
		"state", "st", "nonce", "n", "code_challenge", challenge, "code_challenge_method", "S256", "prompt", "select_account", "client_info", "1"}, pairs))
	for name := range v {
		if v.Get(name) == "" {
			v.Del(name)
		}
	}
	return "/adfs/oauth2/v2.0/authorize?" + v.Encode()
}

// back is what the browser was sent back to the client with.
func (b *browser) back() url.Values {
	b.t.Helper()
	u, err := url.Parse(b.page.header.Get("Location"))
	if err != nil || b.page.status != http.StatusSeeOther || !strings.HasPrefix(u.String(), "http://localhost:8400?") {
		b.t.Fatalf("%s sends nothing back: %d %s\n%s", b.at, b.page.status, u, b.page.body)
	}
	return u.Query()
}

// TestBrowserSignIn is az login: sign in, say yes, and the CLI exchanges the code that comes to its loopback address.
func TestBrowserSignIn(t *testing.T) {
	g := newPages(t)
	alice := g.newPerson("alice")
	verifier, challenge := pkce()
	at := wishURL(challenge, "login_hint", "alice")
	b := g.browser().open(at).shows(http.StatusOK, "Sign in", `value="alice"`)
	b.fill("/signin", "name", "alice", "password", personal)
	b.open(at).shows(http.StatusOK, "Continue to Azure CLI?")
	if csp := b.page.header.Get("Content-Security-Policy"); !strings.Contains(csp, "http://localhost:8400") {
		t.Errorf("the form may not lead to the client: %s", csp)
	}
	q := b.fill(at).back()
	if q.Get("state") != "st" || q.Get("iss") != publicURL+"/adfs" || q.Get("error") != "" {
		t.Fatalf("sent back: %v", q)
	}
	h := g.exchange(q.Get("code"), verifier).must(t)
	g.checkPerson(h, alice)
	if id := claims(t, h.IDToken); id["nonce"] != "n" || id["amr"] == nil {
		t.Errorf("id token: %v", id)
	}
	if who, err := g.use(h.AccessToken); err != nil || who.Principal != alice.ID {
		t.Errorf("at the door: %+v, %v", who, err)
	}

	// Signing out for the client whose id token it is needs no page.
	b.open("/adfs/oauth2/v2.0/logout?id_token_hint=" + h.IDToken + "&post_logout_redirect_uri=http://localhost:8400")
	if b.signedIn() != "" || b.page.header.Get("Location") != "http://localhost:8400" {
		t.Errorf("signed in as %q, sent to %s", b.signedIn(), b.page.header.Get("Location"))
	}
}

// TestNoCodeWithoutAYes: a page of the web that sends a browser here gets nothing for a program on that machine.
func TestNoCodeWithoutAYes(t *testing.T) {
	g := newPages(t)
	g.newPerson("alice")
	_, challenge := pkce()
	b := g.browser().signIn("alice")
	none := func(what string) {
		t.Helper()
		if to := b.page.header.Get("Location"); strings.Contains(to, "code=") {
			t.Errorf("%s: sent to %s", what, to)
		}
	}
	for _, prompt := range []string{"", "select_account", "consent"} {
		b.open(wishURL(challenge, "prompt", prompt)).shows(http.StatusOK, "Continue to")
		none("prompt " + prompt)
	}
	if q := b.open(wishURL(challenge, "prompt", "none")).back(); q.Get("error") != "interaction_required" {
		t.Errorf("prompt none: %v", q)
	}
	at := wishURL(challenge)
	b.open(at)
	fields := b.fields(at)
	none("the page itself")
	b.send(at)
	none("a post without a token")
	b.send(at, over(fields, []string{"yes", "x"})...)
	none("a wrong token")
	b.send(wishURL(challenge, "client_id", OwnClient), fields...)
	none("the token for another client")
	b.send(wishURL(challenge, "redirect_uri", "http://localhost:9999"), fields...)
	none("the token for another address")
	other := g.browser().signIn("alice")
	other.open(at)
	b.send(at, other.fields(at)...)
	none("another browser's token")
	b.header = http.Header{"Origin": {"https://evil.example"}, "Sec-Fetch-Site": {"cross-site"}}
	b.send(at, fields...)
	none("a post from elsewhere")
	b.header = http.Header{}
	if b.send(at, fields...); b.back().Get("code") == "" {
		t.Error("and the person's own yes is none")
	}
}

// TestSigningInAnewWhenAsked: prompt=login and max_age, once and not for ever.
func TestSigningInAnewWhenAsked(t *testing.T) {
	g := newPages(t)
	g.newPerson("alice")
	_, challenge := pkce()
	b := g.browser().signIn("alice")
	for _, pairs := range [][]string{{"prompt", "login"}, {"prompt", "", "max_age", "60"}} {
		g.step(2 * time.Minute)
		b.open(wishURL(challenge, pairs...)).shows(http.StatusOK, "Sign in", `name="password"`)
		b.fill("/signin", "name", "alice", "password", personal).shows(http.StatusOK)
		_, next, _ := strings.Cut(b.page.body, `href="/adfs/`)
		next, _, _ = strings.Cut("/adfs/"+next, `"`)
		b.open(html.UnescapeString(next)).shows(http.StatusOK, "Continue to Azure CLI?")
	}
	b.open(wishURL(challenge, "prompt", "", "max_age", "3600")).shows(http.StatusOK, "Continue to Azure CLI?")
}

// TestNoPageWhereNoneIsWished: prompt=none is answered at once, also where max_age asks for signing in anew.
func TestNoPageWhereNoneIsWished(t *testing.T) {
	g := newPages(t)
	g.newPerson("alice")
	_, challenge := pkce()
	at := wishURL(challenge, "prompt", "none", "max_age", "60")
	b := g.browser()
	if q := b.open(at).back(); q.Get("error") != "login_required" || q.Get("state") != "st" {
		t.Errorf("nobody signed in: %v", q)
	}
	b.signIn("alice")
	if q := b.open(at).back(); q.Get("error") != "interaction_required" {
		t.Errorf("signed in just now: %v", q)
	}
	g.step(2 * time.Minute)
	if q := b.open(at).back(); q.Get("error") != "login_required" || !strings.Contains(q.Get("error_description"), "max_age") {
		t.Errorf("signed in too long ago: %v", q)
	}
}

// TestKnownApplicationsAreSignedInToSilently: one whose address on the web is registered gets its code at once, and a
// disabled account gives none.
func TestKnownApplicationsAreSignedInToSilently(t *testing.T) {
	const app = "7b1f0f6e-1c3b-4c53-9f0e-6d2b7f1c4a10"
	g := newPages(t, func(c *Config) {
		c.Clients = []Client{{ID: app, Name: "Grafana", Redirects: []string{"https://grafana.example.org/cb"}}}
	})
	alice := g.newPerson("alice")
	b := g.browser().signIn("alice")
	at := wishURL("", "client_id", app, "redirect_uri", "https://grafana.example.org/cb", "scope", "openid", "prompt", "", "code_challenge_method", "")
	if to := b.open(at).page.header.Get("Location"); !strings.HasPrefix(to, "https://grafana.example.org/cb?code=") {
		t.Errorf("sent to %s", to)
	}
	b.open(strings.Replace(at, "client_id", "prompt=consent&client_id", 1)).shows(http.StatusOK, "Continue to Grafana?")
	alice.Disabled = true
	g.put(alice)
	if to := b.open(at).page.header.Get("Location"); strings.Contains(to, "code=") {
		t.Errorf("a disabled account is sent to %s", to)
	}
}

// TestDeviceCodeInABrowser: the whole way, with the pages.
func TestDeviceCodeInABrowser(t *testing.T) {
	g := newPages(t)
	alice := g.newPerson("alice")
	device, user := g.device()
	b := g.browser().signIn("alice").open("/device?user_code=" + user)
	b.fill("/device", "user_code", user).shows(http.StatusOK, "Azure CLI", "203.0.113.9")
	action := "/device"
	for _, f := range formText.FindAllStringSubmatch(b.page.body, -1) {
		if _, to, ok := strings.Cut(f[1], `action="`); ok && strings.HasPrefix(to, "/device/") {
			action, _, _ = strings.Cut(to, `"`)
		}
	}
	b.fill(action, "decision", "allow").shows(http.StatusOK)
	h := g.poll(device).must(t)
	g.checkPerson(h, alice)
}

// TestPasswordIsNotEnoughForWhoHasASecondFactor, at the token endpoint either.
func TestPasswordIsNotEnoughForWhoHasASecondFactor(t *testing.T) {
	g := newPages(t, func(c *Config) { c.Password = true })
	g.newGuarded("alice")
	h := g.post(adfsToken, "client_id", azureCLI, "grant_type", "password", "username", "alice", "password", personal, "scope", resource)
	h.refusedAs(t, "password alone", http.StatusBadRequest, "invalid_grant")
}

// TestEndpointsCarryTheirHeaders: nothing of a token is kept by anybody on the way.
func TestEndpointsCarryTheirHeaders(t *testing.T) {
	g := newRig(t)
	for _, r := range []*http.Request{httptest.NewRequest(http.MethodPost, adfsToken, nil), httptest.NewRequest(http.MethodGet, "/adfs/openid/userinfo", nil)} {
		h := g.serve(g.Server, r)
		if h.header.Get("Cache-Control") != "no-store" || h.header.Get("X-Content-Type-Options") != "nosniff" || h.header.Get("Strict-Transport-Security") == "" {
			t.Errorf("%s: %v", r.URL, h.header)
		}
	}
}
