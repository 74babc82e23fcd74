package issuer

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/authn"
	"github.com/ajar-access/ajar/broker"
	"github.com/ajar-access/ajar/rbac"
)

// startProvider runs an OpenID provider as a process of its own: the example server of a certified library.
func startProvider(t *testing.T) (issuer string) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "provider")
	build := exec.Command("go", "build", "-modfile=scripts/tools/oidc.mod", "-o", program, "github.com/zitadel/oidc/v3/example/server")
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the provider: %v\n%s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	fatal(t, err)
	_, port, err := net.SplitHostPort(l.Addr().String())
	fatal(t, errors.Join(err, l.Close()))
	issuer = "http://localhost:" + port + "/"
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), "PORT="+port, "REDIRECT_URI="+publicURL+"/signin/callback/corp")
	fatal(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill() //nolint:errcheck // it may have ended
		cmd.Wait()         //nolint:errcheck // killed
	})
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); <-tick.C {
		if a, err := http.Get(issuer + ".well-known/openid-configuration"); err == nil {
			a.Body.Close()
			return issuer
		}
	}
	t.Fatal("the provider does not answer")
	return ""
}

// atProvider logs somebody in with the provider's own form, and gives the address that it sends the browser back to.
func atProvider(t *testing.T, from, name string) string {
	t.Helper()
	jar, err := cookiejar.New(nil)
	fatal(t, err)
	c := &http.Client{Jar: jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), publicURL) {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	a, err := c.Get(from)
	fatal(t, err)
	body, err := io.ReadAll(a.Body)
	fatal(t, errors.Join(err, a.Body.Close()))
	id := regexp.MustCompile(`name="id" value="([^"]+)"`).FindSubmatch(body)
	if id == nil {
		t.Fatalf("the provider shows no form: %d %s", a.StatusCode, body)
	}
	a, err = c.PostForm(a.Request.URL.ResolveReference(&url.URL{Path: "/login/username"}).String(), url.Values{"id": {string(id[1])}, "username": {name}, "password": {"verysecure"}})
	fatal(t, err)
	a.Body.Close()
	to := a.Header.Get("Location")
	if !strings.HasPrefix(to, publicURL) {
		t.Fatalf("the provider answers %d and leads to %q", a.StatusCode, to)
	}
	return strings.TrimPrefix(to, publicURL)
}

// TestSingleSignOn: everything that people do with a provider, with one that runs beside.
func TestSingleSignOn(t *testing.T) {
	is := startProvider(t)
	corp := Upstream{Name: "corp", Title: "Corp", Issuer: is, ClientID: "web", ClientSecret: "secret", GroupsClaim: "family_name", Groups: map[string]string{"User": "Admins", "User2": "nowhere"}, Create: true}
	with := func(t *testing.T, change ...func(*Upstream)) *rig {
		u := corp
		for _, f := range change {
			f(&u)
		}
		g := newPages(t, func(c *Config) { c.Upstreams = []Upstream{u} })
		g.at = time.Now()
		return g
	}
	in := func(b *browser, name string) *browser {
		b.open("/signin/with/corp?next=%2Fdevice")
		return b.open(atProvider(t, b.page.header.Get("Location"), name))
	}
	t.Run("made at the first sign-in, found at the next", func(t *testing.T) {
		g := with(t)
		g.browser().open("/signin").shows(http.StatusOK, "Sign in with Corp", "/signin/with/corp")
		b := in(g.browser(), "test-user@localhost").shows(http.StatusOK, "Sign in on a device")
		if b.signedIn() != "test-user@localhost" {
			t.Fatalf("%q is signed in", b.signedIn())
		}
		first := g.whole(b)
		if first.Provider != "corp" || strings.Join(first.Amr, " ") != "fed" || !first.Vouched.Until.Equal(first.Expires) {
			t.Errorf("the session: %+v", first)
		}
		again := in(g.browser(), "test-user@localhost")
		if second := g.whole(again); second.Principal != first.Principal {
			t.Error("the same person is somebody else the second time")
		}
		if other := g.whole(in(g.browser(), "test-user2")); other.Principal == first.Principal {
			t.Error("two people are one")
		}
		accepted, refused := g.signIns()
		if len(accepted) != 3 || len(refused) != 0 || accepted[0].Details["upstream"] != "corp" {
			t.Errorf("recorded: %+v %+v", accepted, refused)
		}
	})
	t.Run("groups", func(t *testing.T) { groupsTravel(t, with(t), in) })
	t.Run("nobody is made where that is off", func(t *testing.T) {
		g := with(t, func(u *Upstream) { u.Create = false })
		b := in(g.browser(), "test-user@localhost").shows(http.StatusForbidden, "Nobody here is linked to subject", "id1")
		if b.signedIn() != "" {
			t.Error("somebody is signed in")
		}
		p := g.newPerson("bob")
		p.Upstream = &ajar.Link{Issuer: is, Subject: "id1"}
		g.put(p)
		if in(b, "test-user@localhost"); b.signedIn() != "bob" {
			t.Errorf("%q is signed in", b.signedIn())
		}
		p = g.person(p.ID)
		p.Disabled = true
		g.put(p)
		if in(b, "test-user@localhost").shows(http.StatusForbidden, "disabled"); b.signedIn() != "" {
			t.Error("a disabled account is signed in")
		}
	})
	t.Run("our own second factor", func(t *testing.T) {
		g := with(t, func(u *Upstream) { u.Ours = true })
		p, _, codes := g.newGuarded("bob")
		p.Upstream = &ajar.Link{Issuer: is, Subject: "id1"}
		g.put(p)
		b := in(g.browser(), "test-user@localhost").shows(http.StatusOK, "One more step")
		if b.signedIn() != "" {
			t.Fatal("signed in without the second factor")
		}
		b.fill("/signin/code", "code", codes[0])
		if b.signedIn() != "bob" {
			t.Fatalf("%q is signed in: %s", b.signedIn(), b.page.body)
		}
		if doc := g.whole(b); strings.Join(doc.Amr, " ") != "fed otp mfa" || doc.Provider != "corp" {
			t.Errorf("the session: %+v", doc)
		}
	})
	t.Run("sign-out here and there", func(t *testing.T) {
		g := with(t)
		b := in(g.browser(), "test-user@localhost").open("/signout").fill("/signout").shows(http.StatusOK, "signed out here", "end_session")
		if b.signedIn() != "" {
			t.Error("still signed in")
		}
		m := regexp.MustCompile(`href="(` + is + `end_session[^"]*)"`).FindStringSubmatch(b.page.body)
		if m == nil {
			t.Fatalf("the page does not lead to the provider: %s", b.page.body)
		}
		u, err := url.Parse(strings.ReplaceAll(m[1], "&amp;", "&"))
		fatal(t, err)
		q := u.Query()
		if claims(t, q.Get("id_token_hint"))["sub"] != "id1" || q.Get("client_id") != "web" || q.Get("post_logout_redirect_uri") != publicURL+"/signin" {
			t.Errorf("the provider is asked: %v", q)
		}
		q.Del("post_logout_redirect_uri") // the example has no way to register one
		u.RawQuery = q.Encode()
		a, err := http.Get(u.String())
		fatal(t, err)
		text, err := io.ReadAll(a.Body)
		fatal(t, errors.Join(err, a.Body.Close()))
		if a.StatusCode != http.StatusOK || !strings.Contains(string(text), "signed out") {
			t.Errorf("the provider: %d %s", a.StatusCode, text)
		}
	})
	t.Run("its tokens as bearer", func(t *testing.T) { bearerOf(t, is, with(t), in) })
	t.Run("a code is good once", func(t *testing.T) {
		g := with(t)
		b := g.browser().open("/signin/with/corp")
		away := *b.jar[awayCookie]
		back := atProvider(t, b.page.header.Get("Location"), "test-user@localhost")
		b.open(back)
		b.jar = map[string]*http.Cookie{awayCookie: &away}
		if b.open(back).shows(http.StatusForbidden, "did not prove who you are"); b.signedIn() != "" {
			t.Error("a replayed code signs in")
		}
	})
}

// groupsTravel: what the provider says of groups gives rights, in the browser's session and in tokens, and ends with it.
func groupsTravel(t *testing.T, g *rig, in func(*browser, string) *browser) {
	admins := &ajar.Principal{ID: ajar.PrincipalID(uuid.NewString()), Kind: ajar.Group, Name: "admins", Created: g.now()}
	_, err := g.Broker.Bootstrap(t.Context())
	fatal(t, err)
	g.put(admins, &ajar.RoleAssignment{ID: uuid.NewString(), Principal: admins.ID, PrincipalKind: ajar.Group, Role: rbac.Owner, Scope: ajar.Root})
	b := in(g.browser(), "test-user@localhost")
	doc := g.whole(b)
	if len(doc.Vouched.Groups) != 1 || doc.Vouched.Groups[0] != admins.ID {
		t.Fatalf("groups: %+v", doc.Vouched)
	}
	if other := g.whole(in(g.browser(), "test-user2")); len(other.Vouched.Groups) != 0 {
		t.Errorf("a group that is not here: %+v", other.Vouched)
	}
	s, ok := g.session(b.request())
	if !ok || len(s.Vouched.Groups) != 1 {
		t.Fatalf("the session: %+v", s)
	}
	g.step(11*time.Hour + 30*time.Minute)
	code, verifier := g.codeOf(s)
	h := g.exchange(code, verifier).must(t)
	who, err := g.use(h.AccessToken)
	if err != nil || len(who.Groups) != 1 || who.Groups[0] != admins.ID {
		t.Fatalf("the caller: %+v %v", who, err)
	}
	if _, _, err := g.Broker.Principals(t.Context(), who, "", broker.Page{}); err != nil {
		t.Errorf("what the group holds the caller does not: %v", err)
	}
	who.Groups = nil
	if _, _, err := g.Broker.Principals(t.Context(), who, "", broker.Page{}); !errors.Is(err, ajar.Forbidden) {
		t.Errorf("without the group: %v", err)
	}
	if h.ExpiresIn > int64(30*time.Minute/time.Second) {
		t.Errorf("the token is good for %d s, longer than the sign-in", h.ExpiresIn)
	}
	g.step(31 * time.Minute)
	if _, err := g.use(h.AccessToken); !errors.Is(err, ajar.Unauthenticated) {
		t.Errorf("a token outlives the sign-in: %v", err)
	}
	if again := g.post(adfsToken, "client_id", azureCLI, "grant_type", "refresh_token", "refresh_token", h.RefreshToken); again.status != http.StatusBadRequest || again.Error != "invalid_grant" {
		t.Errorf("a refresh token outlives the sign-in: %d %s", again.status, again.body)
	}
}

// bearerOf: what the provider signed is taken for calls, by the keys that it publishes; what it signed for signing in is not.
func bearerOf(t *testing.T, is string, g *rig, in func(*browser, string) *browser) {
	doc := g.whole(in(g.browser(), "test-user@localhost"))
	g.Auth.Upstreams = []*authn.Upstream{{Issuer: is, Audiences: []string{"web"}}}
	hint, err := g.vault.Unwrap(hintSeal(g.others[0], doc.Principal), doc.Hint)
	fatal(t, err)
	if _, err := g.use(string(hint)); !errors.Is(err, ajar.Unauthenticated) {
		t.Errorf("an id token: %v", err)
	}
	// The example signs no access tokens; without code and nonce its id tokens are as those would be.
	q := url.Values{"client_id": {"web"}, "response_type": {"id_token"}, "scope": {"openid"}, "state": {"s"}, "redirect_uri": {publicURL + "/signin/callback/corp"}}
	_, fragment, _ := strings.Cut(atProvider(t, is+"auth?"+q.Encode(), "test-user@localhost"), "#")
	v, err := url.ParseQuery(fragment)
	fatal(t, err)
	who, err := g.use(v.Get("id_token"))
	if err != nil || who.Principal != doc.Principal {
		t.Errorf("%+v %v (%s)", who, err, fragment)
	}
	g.Auth.Upstreams = []*authn.Upstream{{Issuer: is, Audiences: []string{"other"}}}
	g.Auth.Forget(doc.Principal)
	if _, err := g.use(v.Get("id_token")); !errors.Is(err, ajar.Unauthenticated) {
		t.Errorf("for somebody else: %v", err)
	}
}

// request is one with the browser's cookies.
func (b *browser) request() *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/account", nil)
	for _, c := range b.jar {
		r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
	}
	r.RemoteAddr = b.from
	return r
}

// whole is the session that the browser has.
func (g *rig) whole(b *browser) *ajar.Session {
	g.t.Helper()
	doc, _, err := g.readSession(g.t.Context(), cookie(b.request(), sessionCookie), ajar.SessionWhole)
	if err != nil {
		g.t.Fatalf("%v: %s", err, b.page.body)
	}
	return doc
}

func (g *rig) person(id ajar.PrincipalID) (p *ajar.Principal) {
	g.t.Helper()
	fatal(g.t, g.Store.View(g.t.Context(), func(tx ajar.Tx) (err error) {
		p, err = ajar.Get[ajar.Principal](tx, string(id))
		return err
	}))
	return p
}
