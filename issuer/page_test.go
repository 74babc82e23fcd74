package issuer

import (
	"html"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/authn"
)

// browser is what a person looks at the pages with: it keeps cookies, follows redirects, and posts the forms that it was
// shown. It runs no scripts.
type browser struct {
	*rig
	s      *Server
	jar    map[string]*http.Cookie
	from   string
	at     string // the address of the page shown
	page   heard
	header http.Header // sent with each request
	moved  []string    // the redirects that were followed
}

// newPages is a rig whose pages can ask for second factors.
func newPages(t testing.TB, change ...func(*Config)) *rig {
	g := newRig(t, change...)
	g.Auth.Vault = g.vault
	return g
}

func (g *rig) browser() *browser {
	return &browser{rig: g, s: g.Server, jar: map[string]*http.Cookie{}, from: "203.0.113.9:4711", header: http.Header{}}
}

// ask sends one request and keeps what it is told to.
func (b *browser) ask(r *http.Request) *browser {
	b.t.Helper()
	r.RemoteAddr, r.Host = b.from, strings.TrimPrefix(publicURL, "https://")
	for name, v := range b.header {
		r.Header[name] = v
	}
	for _, c := range b.jar {
		r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
	}
	w := httptest.NewRecorder()
	b.s.ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		if b.jar[c.Name] = c; c.MaxAge < 0 {
			delete(b.jar, c.Name)
		}
	}
	b.page, b.at = heard{status: w.Code, header: w.Header(), body: w.Body.String()}, r.URL.RequestURI()
	return b
}

// follow goes where redirects lead, as long as they stay here.
func (b *browser) follow() *browser {
	b.t.Helper()
	for range 10 {
		to := b.page.header.Get("Location")
		if to == "" || !strings.HasPrefix(to, "/") {
			return b
		}
		b.moved = append(b.moved, to)
		b.ask(httptest.NewRequest(http.MethodGet, to, nil))
	}
	b.t.Fatalf("redirected for ever: %v", b.moved)
	return b
}

func (b *browser) open(path string) *browser {
	b.t.Helper()
	return b.ask(httptest.NewRequest(http.MethodGet, path, nil)).follow()
}

var (
	formText  = regexp.MustCompile(`(?s)<form ([^>]*)>(.*?)</form>`)
	inputText = regexp.MustCompile(`<(?:input|button)( [^>]*)>`)
	attribute = regexp.MustCompile(` ([a-z-]+)="([^"]*)"`)
)

// fields are what the form with that action would send of itself.
func (b *browser) fields(action string) []string {
	b.t.Helper()
	for _, f := range formText.FindAllStringSubmatch(b.page.body, -1) {
		if a := regexp.MustCompile(`action="([^"]*)"`).FindStringSubmatch(f[1]); a == nil || html.UnescapeString(a[1]) != action {
			continue
		}
		out := []string{}
		for _, in := range inputText.FindAllStringSubmatch(f[2], -1) {
			at := map[string]string{}
			for _, a := range attribute.FindAllStringSubmatch(in[1], -1) {
				at[a[1]] = html.UnescapeString(a[2])
			}
			if at["type"] == "hidden" || (at["name"] == "label" && at["value"] != "") {
				out = append(out, at["name"], at["value"])
			}
		}
		return out
	}
	b.t.Fatalf("there is no form %s on %s (%d):\n%s", action, b.at, b.page.status, b.page.body)
	return nil
}

// send posts pairs to an address, as a form of our own page does; what is in pairs twice is the later.
func (b *browser) send(action string, pairs ...string) *browser {
	b.t.Helper()
	v := form2(pairs)
	for name, all := range v {
		v[name] = all[len(all)-1:]
	}
	r := httptest.NewRequest(http.MethodPost, action, strings.NewReader(v.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", publicURL)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return b.ask(r)
}

// fill posts the form that the page shows.
func (b *browser) fill(action string, pairs ...string) *browser {
	b.t.Helper()
	return b.send(action, append(b.fields(action), pairs...)...).follow()
}

// signIn brings name and the password of the tests.
func (b *browser) signIn(name string) *browser {
	b.t.Helper()
	return b.open("/signin?again=1").fill("/signin", "name", name, "password", personal)
}

func (b *browser) shows(status int, words ...string) *browser {
	b.t.Helper()
	if b.page.status != status {
		b.t.Errorf("%s answers %d, not %d:\n%s", b.at, b.page.status, status, b.page.body)
	}
	for _, w := range words {
		if !strings.Contains(b.page.body, w) {
			b.t.Errorf("%s does not say %q:\n%s", b.at, w, b.page.body)
		}
	}
	return b
}

// signedIn tells who the plane takes the browser for.
func (b *browser) signedIn() string {
	r := httptest.NewRequest(http.MethodGet, "/account", nil)
	for _, c := range b.jar {
		r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
	}
	r.RemoteAddr = b.from
	who, ok := b.s.session(r)
	if !ok {
		return ""
	}
	return who.Name
}

// newGuarded makes somebody with a password, an authenticator app and recovery codes.
func (g *rig) newGuarded(name string) (p *ajar.Principal, secret []byte, codes []string) {
	g.t.Helper()
	p, secret = g.newPerson(name), authn.NewTOTP()
	id := uuid.NewString()
	codes, hashes := authn.NewRecoveryCodes()
	g.put(&ajar.Factor{ID: id, Principal: p.ID, Kind: ajar.TOTP, Name: "phone", Sealed: g.vault.Wrap(authn.TOTPSeal(id), secret), Created: g.now()},
		&ajar.Factor{ID: uuid.NewString(), Principal: p.ID, Kind: ajar.Recovery, Name: "codes", Hashes: hashes, Created: g.now()})
	return p, secret, codes
}

// TestSignInWithoutScripts: a name and a password, and back to where one wanted to go.
func TestSignInWithoutScripts(t *testing.T) {
	g := newPages(t)
	alice := g.newPerson("alice")
	b := g.browser().open("/device?user_code=BCDF-GHJK").shows(http.StatusOK, "Sign in", `autocomplete="username"`, `autocomplete="current-password"`)
	b.fill("/signin", "name", "alice", "password", "wrong wrong wrong").shows(http.StatusForbidden, "The name or the password is wrong.")
	b.fill("/signin", "name", "ALICE", "password", personal).shows(http.StatusOK, "Type the code", "BCDF-GHJK")
	if b.signedIn() != "alice" {
		t.Fatal("nobody is signed in")
	}
	accepted, refused := g.signIns()
	if len(accepted) != 1 || len(refused) != 1 || accepted[0].Via != "web" || accepted[0].Caller != alice.ID || accepted[0].Details["session"] == "" {
		t.Errorf("recorded: %+v, %+v", accepted, refused)
	}
	b.open("/signin").shows(http.StatusOK, "Your account", "this browser")
	b.open("/signout").fill("/signout").shows(http.StatusOK, "You are signed out.")
	if b.signedIn() != "" {
		t.Error("still signed in")
	}
	b.open("/account").shows(http.StatusOK, "Sign in")
	g.newProgram("robot")
	if _, secret := g.newProgram("robot2"); secret != "" {
		b.fill("/signin", "name", "robot2", "password", secret).shows(http.StatusForbidden)
	}
}

// TestSessionCookieAttributes: nobody else's page, script or clear text gets at it, and the store has its hash alone.
func TestSessionCookieAttributes(t *testing.T) {
	g := newPages(t)
	g.newPerson("alice")
	b := g.browser().signIn("alice")
	for _, name := range []string{sessionCookie, browserCookie} {
		c := b.jar[name]
		if c == nil || !strings.HasPrefix(name, "__Host-") || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || len(c.Value) < 43 {
			t.Errorf("%s: %+v", name, c)
		}
	}
	text := b.jar[sessionCookie].Value
	if err := g.Store.View(t.Context(), func(tx ajar.Tx) error {
		if _, err := ajar.Get[ajar.Session](tx, text); err == nil {
			t.Error("the store has the cookie itself")
		}
		_, err := ajar.Get[ajar.Session](tx, authn.HashSecret(text))
		return err
	}); err != nil {
		t.Error(err)
	}
	if strings.Contains(b.page.body, text) {
		t.Error("a page shows the cookie")
	}
}

// TestSignInIsAnotherSession: whatever cookies somebody had a browser take before, what is signed in has others, and
// signing in again ends the session before (session fixation).
func TestSignInIsAnotherSession(t *testing.T) {
	g := newPages(t)
	g.newPerson("alice")
	_, secret, _ := g.newGuarded("bert")
	b := g.browser()
	planted := random("", 32)
	b.jar[sessionCookie] = &http.Cookie{Name: sessionCookie, Value: planted}
	b.jar[halfCookie] = &http.Cookie{Name: halfCookie, Value: planted}
	b.signIn("alice")
	first := *b.jar[sessionCookie]
	if first.Value == planted {
		t.Fatal("a planted session was signed in")
	}
	b.signIn("alice")
	second := *b.jar[sessionCookie]
	if second.Value == first.Value {
		t.Error("the session was not changed")
	}
	other := g.browser()
	other.jar[sessionCookie] = &first
	if other.signedIn() != "" {
		t.Error("the session before goes on")
	}
	b.signIn("bert")
	half := *b.jar[halfCookie]
	if b.signedIn() != "alice" {
		t.Error("half a sign-in changed who is signed in")
	}
	other.jar = map[string]*http.Cookie{sessionCookie: {Name: sessionCookie, Value: half.Value}}
	if other.signedIn() != "" {
		t.Error("half a session is taken for a whole one")
	}
	b.fill("/signin/code", "code", authn.TOTPCode(secret, g.now()))
	if b.signedIn() != "bert" || b.jar[halfCookie] != nil || b.jar[sessionCookie].Value == half.Value {
		t.Errorf("signed in: %q", b.signedIn())
	}
}

// TestSessionsEnd when they are idle, when they are old, when the account is disabled, and on every replica at once when
// they are ended on the account page.
func TestSessionsEnd(t *testing.T) {
	g := newPages(t)
	alice := g.newPerson("alice")
	b := g.browser().signIn("alice")
	for range 13 {
		g.step(59 * time.Minute)
		if b.open("/device"); b.signedIn() == "" {
			break
		}
	}
	if since := g.now().Sub(time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)); b.signedIn() != "" || since < defaultLifetime {
		t.Errorf("after %s: %q", since, b.signedIn())
	}
	b.signIn("alice")
	g.step(defaultIdle)
	if b.signedIn() != "" {
		t.Error("an idle session goes on")
	}

	laptop := g.browser().signIn("alice")
	b.signIn("alice").shows(http.StatusOK, "this browser")
	replica := g.plane(g.Store)
	laptop.s = replica
	if laptop.signedIn() != "alice" {
		t.Error("another replica does not know the session")
	}
	b.fill("/account/session/end").shows(http.StatusOK, "That browser is signed out.")
	if laptop.signedIn() != "" {
		t.Error("it goes on on another replica")
	}
	if b.signedIn() != "alice" {
		t.Error("the wrong one was ended")
	}
	g.put(func() ajar.Doc {
		var p *ajar.Principal
		fatal(t, g.Store.View(t.Context(), func(tx ajar.Tx) (err error) {
			p, err = ajar.Get[ajar.Principal](tx, string(alice.ID))
			return err
		}))
		p.Disabled = true
		return p
	}())
	if b.signedIn() != "" {
		t.Error("a disabled account is signed in")
	}
}

// TestFormsOfOtherPagesAreRefused: without the page's own token, with another browser's, with one from before the
// sign-in, or from another site, a form does nothing (CSRF); the sign-in form, too, so that nobody is signed in as
// somebody else unawares.
func TestFormsOfOtherPagesAreRefused(t *testing.T) {
	g := newPages(t)
	g.newPerson("alice")
	b, evil := g.browser(), g.browser()
	evil.open("/signin")
	stolen := evil.fields("/signin")
	b.open("/signin")
	before := b.fields("/signin")
	b.send("/signin", append(stolen, "name", "alice", "password", personal)...).shows(http.StatusForbidden, "Nothing was done")
	b.send("/signin", "name", "alice", "password", personal).shows(http.StatusForbidden)
	if b.signedIn() != "" {
		t.Fatal("signed in by another page")
	}
	b.signIn("alice")
	b.open("/signout")
	good := b.fields("/signout")
	for what, try := range map[string]func(){
		"no token":            func() { b.send("/signout") },
		"a token from before": func() { b.send("/signout", before...) },
		"another browser's":   func() { b.send("/signout", stolen...) },
		"another site": func() {
			b.header.Set("Sec-Fetch-Site", "cross-site")
			b.header.Set("Origin", "https://evil.example")
			b.send("/signout", good...)
		},
		"a neighbour":               func() { b.header.Set("Sec-Fetch-Site", "same-site"); b.send("/signout", good...) },
		"another origin":            func() { b.header.Set("Origin", "https://evil.example"); b.send("/signout", good...) },
		"no origin to speak of":     func() { b.header.Set("Origin", "null"); b.send("/signout", good...) },
		"the same name, clear text": func() { b.header.Set("Origin", "http://plane.example.org:8443"); b.send("/signout", good...) },
	} {
		b.header = http.Header{}
		try()
		if b.page.status != http.StatusForbidden || b.signedIn() != "alice" {
			t.Errorf("%s: %d, signed in: %q", what, b.page.status, b.signedIn())
		}
	}
	b.header = http.Header{}
	b.jar["x"] = &http.Cookie{Name: "x", Value: "y"}
	b.send("/signout", good...)
	if b.signedIn() != "" {
		t.Error("the form itself does not work")
	}
}

// TestEveryFormTakesAToken: whatever page is added, what it posts is refused without one.
func TestEveryFormTakesAToken(t *testing.T) {
	g := newPages(t)
	g.newPerson("alice")
	b := g.browser().signIn("alice")
	for _, path := range []string{"/signin", "/signin/passkey", "/signin/code", "/signin/code/passkey", "/signin/password", "/signin/enrol/totp", "/signin/enrol/passkey",
		"/signout", "/device", "/device/decide", "/account/password", "/account/factor/totp", "/account/factor/passkey", "/account/factor/rename",
		"/account/factor/remove", "/account/recovery", "/account/session/end", "/account/token/end", "/nothing"} {
		if path == "/nothing" {
			path = "/account/nothing"
		}
		if b.send(path, "csrf", "x"); b.page.status != http.StatusForbidden {
			t.Errorf("%s answers %d", path, b.page.status)
		}
	}
}

// TestNoOpenRedirect: after signing in one is sent to a path of this host, whatever the link said.
func TestNoOpenRedirect(t *testing.T) {
	for _, bad := range []string{"https://evil.example", "//evil.example", "///evil.example", `/\evil.example`, `\\evil.example`, "/\t/evil.example", "/\n/evil.example", "javascript:alert(1)",
		"evil", "", "/ /evil.example", "/%zz", "http:/evil", "/signin?next=/device", "/signout", "/é", "/#https://evil.example", "/\x00", "/" + strings.Repeat("a", 20<<10)} {
		if got := safeNext(bad); got != "" {
			t.Errorf("%q is gone on to as %q", bad, got)
		}
	}
	for _, good := range []string{"/account", "/device?user_code=ABCD-EFGH", "/adfs/oauth2/authorize?redirect_uri=http%3A%2F%2Flocalhost%3A8400&x=%2F%2Fevil"} {
		if safeNext(good) != good {
			t.Errorf("%q is not gone on to", good)
		}
	}
	g := newPages(t)
	g.newPerson("alice")
	b := g.browser().open("/signin?next=" + "%2F%2Fevil.example%2F")
	if strings.Contains(b.page.body, "evil") {
		t.Error("the page carries it on")
	}
	b.send("/signin", append(b.fields("/signin"), "next", "//evil.example", "name", "alice", "password", personal)...)
	if to := b.page.header.Get("Location"); to != "/account" {
		t.Errorf("sent to %q", to)
	}
	b.open("/signin?again=1&next=/adfs/oauth2/authorize%3Fx%3D1").fill("/signin", "name", "alice", "password", personal).
		shows(http.StatusOK, `http-equiv="refresh" content="0; url=/adfs/oauth2/authorize?x=1"`, `href="/adfs/oauth2/authorize?x=1"`)
}

// TestPagesCarryTheirHeaders: each answers with a policy that lets no script but our own run, and nobody frame it.
func TestPagesCarryTheirHeaders(t *testing.T) {
	g := newPages(t)
	g.newPerson("alice")
	out, in := g.browser(), g.browser().signIn("alice")
	for path, b := range map[string]*browser{"/signin": out, "/account": in, "/account/factor": in, "/account/password": in, "/device": in, "/signout": in, "/account/nothing": in, "/account/recovery": in} {
		b.open(path)
		h := b.page.header
		for name, want := range map[string]string{
			"Cache-Control": "no-store", "X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin",
			"Strict-Transport-Security": "max-age=31536000", "Content-Type": "text/html; charset=utf-8",
		} {
			if h.Get(name) != want {
				t.Errorf("%s: %s is %q", path, name, h.Get(name))
			}
		}
		policy := h.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'", "require-trusted-types-for 'script'"} {
			if !slices.Contains(strings.Split(policy, "; "), want) {
				t.Errorf("%s: the policy lacks %s: %s", path, want, policy)
			}
		}
		if strings.Contains(policy, "unsafe") || strings.Contains(policy, "nonce") {
			t.Errorf("%s: %s", path, policy)
		}
		if regexp.MustCompile(`<script(>| [^>]*>[^<])|\son[a-z]+=|\sstyle=|<style|(src|href)="(https?:)?//`).MatchString(b.page.body) {
			t.Errorf("%s has a script, a style or somebody else's file in it:\n%s", path, b.page.body)
		}
		for _, ref := range regexp.MustCompile(`(?:src|href)="(/static/[^"]*)"`).FindAllStringSubmatch(b.page.body, -1) {
			if a := g.browser().open(ref[1]); a.page.status != http.StatusOK || !strings.Contains(a.page.header.Get("Cache-Control"), "immutable") {
				t.Errorf("%s: %s answers %d", path, ref[1], a.page.status)
			}
		}
	}
}

// TestNamesAreNotMarkup: what people call themselves, their things and their clients shows as they wrote it.
func TestNamesAreNotMarkup(t *testing.T) {
	const nasty = `"><script>alert(1)</script><img src=x onerror=alert(1)>'`
	g := newPages(t, func(c *Config) {
		c.Tenant.Name = nasty
		c.Clients = []Client{{ID: "nasty", Name: nasty, Redirects: []string{"https://client.example/cb"}}}
	})
	p := g.newPerson(nasty)
	g.put(&ajar.Factor{ID: uuid.NewString(), Principal: p.ID, Kind: ajar.Passkey, Handle: "h", Name: nasty, Public: []byte(`{}`)},
		&ajar.Token{Hash: authn.HashSecret("x"), Principal: p.ID, Name: nasty, Created: g.now(), Expires: g.now().Add(time.Hour)})
	g.Auth.SecondFactor = authn.SecondOff
	b := g.browser()
	b.header.Set("User-Agent", nasty)
	check := func(where string) {
		t.Helper()
		if strings.Contains(b.page.body, "<script>alert") || strings.Contains(b.page.body, "<img") || strings.Contains(b.page.body, `"><`+"script") {
			t.Errorf("%s has markup in it:\n%s", where, b.page.body)
		}
		if !strings.Contains(b.page.body, "&lt;script&gt;alert") {
			t.Errorf("%s does not show it:\n%s", where, b.page.body)
		}
	}
	b.open("/signin?name=" + "%22%3E%3Cscript%3Ealert(1)%3C/script%3E")
	check("the hint")
	b.fill("/signin", "name", nasty, "password", "wrong wrong wrong")
	check("the refusal")
	b.fill("/signin", "name", nasty, "password", personal).shows(http.StatusOK, "Your account")
	check("the account")
	b.open("/device?user_code=%22%3E%3Cscript%3E")
	check("the device page")
	b.open("/adfs/oauth2/authorize?client_id=nasty&redirect_uri=https://client.example/cb&response_type=code&prompt=consent&scope=openid&nonce=n").shows(http.StatusOK, "Continue to")
	check("the question")
	g.errorPageFor(b, nasty)
	check("an error")
}

func (g *rig) errorPageFor(b *browser, text string) {
	w := httptest.NewRecorder()
	g.errorPage(w, httptest.NewRequest(http.MethodGet, "/x", nil), http.StatusBadRequest, text)
	b.page = heard{status: w.Code, header: w.Header(), body: w.Body.String()}
}
