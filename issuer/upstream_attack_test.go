package issuer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/ajar-access/ajar"
)

// villain is a provider that says what an attacker wants.
type villain struct {
	*httptest.Server
	t      *testing.T
	key    *ecdsa.PrivateKey
	meta   map[string]any
	header map[string]any
	claims map[string]any           // beside those of a good id token; nil takes one away
	sign   func(body string) string // nil = with key
	asked  int                      // how often for tokens
	nonce  string
	now    func() time.Time
}

func newVillain(t *testing.T) *villain {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	fatal(t, err)
	h := &villain{t: t, key: key, meta: map[string]any{}, header: map[string]any{}, claims: map[string]any{}, now: time.Now}
	answer := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(v); err != nil {
			t.Error(err)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		m := map[string]any{"issuer": h.URL, "authorization_endpoint": h.URL + "/auth", "token_endpoint": h.URL + "/token", "jwks_uri": h.URL + "/keys",
			"id_token_signing_alg_values_supported": []string{"ES256", "HS256", "none"}}
		maps.Copy(m, h.meta)
		answer(w, m)
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k", Algorithm: "ES256", Use: "sig"}}})
	})
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		h.asked++
		answer(w, map[string]any{"access_token": "a", "token_type": "Bearer", "id_token": h.token()})
	})
	h.Server = httptest.NewServer(mux)
	t.Cleanup(h.Close)
	return h
}

func (h *villain) token() string {
	now := h.now().Unix()
	header := map[string]any{"alg": "ES256", "kid": "k", "typ": "JWT"}
	c := map[string]any{"iss": h.URL, "aud": "plane", "sub": "s1", "nonce": h.nonce, "iat": now, "exp": now + 300, "preferred_username": "mallory"}
	maps.Copy(header, h.header)
	for k, v := range h.claims {
		if c[k] = v; v == nil {
			delete(c, k)
		}
	}
	body := b64(header) + "." + b64(c)
	if h.sign != nil {
		return h.sign(body)
	}
	return es256(h.t, h.key, body)
}

func (h *villain) upstream(name string) Upstream {
	return Upstream{Name: name, Issuer: h.URL, ClientID: "plane", ClientSecret: "x", GroupsClaim: "groups", Groups: map[string]string{"g": "admins"}, Create: true}
}

// besieged is a plane with providers that are villains.
func besieged(t *testing.T, names ...string) (*rig, []*villain) {
	var all []*villain
	var ups []Upstream
	for _, n := range names {
		h := newVillain(t)
		all, ups = append(all, h), append(ups, h.upstream(n))
	}
	g := newPages(t, func(c *Config) { c.Upstreams = ups })
	for _, h := range all {
		h.now = g.now
	}
	return g, all
}

// begin sends the browser to a provider, and gives what that is asked.
func (b *browser) begin(name string) url.Values {
	b.t.Helper()
	b.open("/signin/with/" + name)
	u, err := url.Parse(b.page.header.Get("Location"))
	if err != nil || u.Host == "" {
		b.t.Fatalf("not sent to %s: %d %s", name, b.page.status, b.page.body)
	}
	return u.Query()
}

func (b *browser) comeBack(name string, pairs ...string) *browser {
	b.t.Helper()
	return b.open("/signin/callback/" + name + "?" + form2(pairs).Encode())
}

// via goes the whole way.
func (b *browser) via(h *villain, name string) *browser {
	b.t.Helper()
	q := b.begin(name)
	if h.claims["nonce"] == nil {
		h.nonce = q.Get("nonce")
	}
	return b.comeBack(name, "state", q.Get("state"), "code", "c")
}

// TestForgedIDTokensAreRefused: one thing wrong at a time with a token that is good otherwise.
func TestForgedIDTokensAreRefused(t *testing.T) {
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	fatal(t, err)
	at := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC).Unix()
	for _, c := range []struct {
		name   string
		header map[string]any
		claims map[string]any
		sign   func(h *villain, body string) string
	}{
		{name: "wrong issuer", claims: map[string]any{"iss": "https://other.example.org"}},
		{name: "wrong audience", claims: map[string]any{"aud": "another"}},
		{name: "several audiences and no azp", claims: map[string]any{"aud": []string{"plane", "another"}}},
		{name: "made for another client", claims: map[string]any{"azp": "another"}},
		{name: "azp of another kind", claims: map[string]any{"azp": []string{"plane"}}},
		{name: "expired", claims: map[string]any{"exp": at - 1}},
		{name: "without expiry", claims: map[string]any{"exp": nil}},
		{name: "of a time to come", claims: map[string]any{"iat": at + 3600}},
		{name: "not valid yet", claims: map[string]any{"nbf": at + 3600}},
		{name: "nonce replay", claims: map[string]any{"nonce": "of another sign-in"}},
		{name: "no nonce", claims: map[string]any{"nonce": ""}},
		{name: "no subject", claims: map[string]any{"sub": nil}},
		{name: "a long subject", claims: map[string]any{"sub": strings.Repeat("s", 256)}},
		{name: "another access token's hash", claims: map[string]any{"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}},
		{name: "alg none", header: map[string]any{"alg": "none"}, sign: func(_ *villain, body string) string { return body + "." }},
		{name: "hmac with the public key", header: map[string]any{"alg": "HS256"}, sign: func(h *villain, body string) string { return es256(h.t, h.key, body) }},
		{name: "wrong key", sign: func(h *villain, body string) string { return es256(h.t, other, body) }},
		{name: "key id pointing elsewhere", header: map[string]any{"kid": "../../etc/passwd"}, sign: func(h *villain, body string) string { return es256(h.t, other, body) }},
		{name: "no signature", sign: func(_ *villain, body string) string { return body + "." }},
		{name: "too long", claims: map[string]any{"x": strings.Repeat("x", maxIDToken)}},
		{name: "groups of the wrong type", claims: map[string]any{"groups": map[string]any{"g": true}}},
		{name: "groups of numbers", claims: map[string]any{"groups": []int{1}}},
		{name: "too many groups", claims: map[string]any{"groups": make([]string, maxTheirs+1)}},
		{name: "groups left out", claims: map[string]any{"_claim_names": map[string]string{"groups": "src1"}, "_claim_sources": map[string]any{"src1": map[string]string{"endpoint": "https://graph.example.org"}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g, hs := besieged(t, "evil")
			h := hs[0]
			if c.header != nil {
				h.header = c.header
			}
			if c.claims != nil {
				h.claims = c.claims
			}
			if c.sign != nil {
				h.sign = func(body string) string { return c.sign(h, body) }
			}
			b := g.browser().via(h, "evil").shows(http.StatusForbidden)
			if h.asked != 1 {
				t.Errorf("the provider was asked %d times", h.asked)
			}
			if b.signedIn() != "" || b.jar[sessionCookie] != nil {
				t.Errorf("%q is signed in", b.signedIn())
			}
			h.header, h.claims, h.sign = map[string]any{}, map[string]any{"groups": []string{"g"}}, nil
			if b.via(h, "evil"); b.signedIn() != "mallory" {
				t.Errorf("the model itself is refused: %d %s", b.page.status, b.page.body)
			}
		})
	}
}

// TestStateIsOfThisBrowserAndGoodOnce: nobody is signed in with an answer that another browser asked for, with one that
// nobody did, or twice with the same.
func TestStateIsOfThisBrowserAndGoodOnce(t *testing.T) {
	g, hs := besieged(t, "evil")
	h := hs[0]
	mine, theirs := g.browser(), g.browser()
	q := theirs.begin("evil")
	h.nonce = q.Get("nonce")
	mine.begin("evil")
	for what, b := range map[string]*browser{"another browser": mine, "a browser that asked nothing": g.browser()} {
		if b.comeBack("evil", "state", q.Get("state"), "code", "c").shows(http.StatusForbidden, "not begun in this browser"); b.signedIn() != "" {
			t.Errorf("%s is signed in", what)
		}
	}
	theirs.comeBack("evil", "code", "c").shows(http.StatusForbidden)
	theirs.comeBack("evil", "state", q.Get("state")).shows(http.StatusForbidden)
	theirs.comeBack("evil", "state", q.Get("state"), "error", "access_denied").shows(http.StatusForbidden, "did not sign you in")
	if h.asked != 0 {
		t.Errorf("a forged answer had the provider asked %d times", h.asked)
	}
	kept := *theirs.jar[awayCookie]
	if theirs.comeBack("evil", "state", q.Get("state"), "code", "c"); theirs.signedIn() != "mallory" {
		t.Fatalf("not signed in: %s", theirs.page.body)
	}
	thief := g.browser()
	thief.jar[awayCookie] = &kept
	if thief.comeBack("evil", "state", q.Get("state"), "code", "c").shows(http.StatusForbidden); thief.signedIn() != "" {
		t.Error("a state is good twice")
	}
	slow := g.browser()
	q = slow.begin("evil")
	h.nonce = q.Get("nonce")
	g.step(awayFor + time.Second)
	if slow.comeBack("evil", "state", q.Get("state"), "code", "c").shows(http.StatusForbidden); slow.signedIn() != "" {
		t.Error("a state is good for ever")
	}
}

// TestMixUpBetweenProvidersIsRefused: what one provider answers is not brought to another (RFC 9207).
func TestMixUpBetweenProvidersIsRefused(t *testing.T) {
	g, hs := besieged(t, "honest", "evil")
	honest, evil := hs[0], hs[1]
	b := g.browser()
	q := b.begin("honest")
	state := []string{"state", q.Get("state"), "code", "c"}
	b.comeBack("evil", state...).shows(http.StatusForbidden)
	b.comeBack("honest", append(state, "iss", evil.URL)...).shows(http.StatusForbidden, "another provider")
	b.comeBack("honest", append(state, "iss", honest.URL, "iss", evil.URL)...).shows(http.StatusForbidden)
	if honest.asked+evil.asked != 0 {
		t.Errorf("the code was shown to %d, %d", honest.asked, evil.asked)
	}
	honest.nonce = q.Get("nonce")
	if b.comeBack("honest", append(state, "iss", honest.URL)...); b.signedIn() != "mallory" {
		t.Errorf("not signed in: %s", b.page.body)
	}
	g, hs = besieged(t, "strict")
	hs[0].meta["authorization_response_iss_parameter_supported"] = true
	g.browser().via(hs[0], "strict").shows(http.StatusForbidden, "another provider")
}

// TestNobodyIsTakenOverByNameOrAddress: who somebody is depends on issuer and subject alone.
func TestNobodyIsTakenOverByNameOrAddress(t *testing.T) {
	g, hs := besieged(t, "corp", "evil")
	corp, evil := hs[0], hs[1]
	local := g.newPerson("admin@example.org")
	for _, h := range hs {
		h.claims = map[string]any{"preferred_username": "alice@example.org", "email": "alice@example.org", "email_verified": true}
	}
	b := g.browser().via(corp, "corp")
	alice := g.whole(b).Principal
	for what, claims := range map[string]map[string]any{
		"same provider, same e-mail, other subject": {"sub": "s2"},
		"a local account's name":                    {"sub": "s3", "preferred_username": "ADMIN@example.org"},
	} {
		maps.Copy(claims, map[string]any{"email": "alice@example.org"})
		if claims["preferred_username"] == nil {
			claims["preferred_username"] = "alice@example.org"
		}
		corp.claims = claims
		if x := g.browser().via(corp, "corp").shows(http.StatusConflict, "Somebody else here is called"); x.signedIn() != "" {
			t.Errorf("%s: %q is signed in", what, x.signedIn())
		}
	}
	if x := g.browser().via(evil, "evil").shows(http.StatusConflict); x.signedIn() != "" {
		t.Errorf("same subject and e-mail at another provider: %q is signed in", x.signedIn())
	}
	corp.claims = map[string]any{"preferred_username": "renamed", "email": "other@example.org"}
	if got := g.whole(g.browser().via(corp, "corp")).Principal; got != alice || got == local.ID {
		t.Errorf("who was renamed there is %s here, not %s", got, alice)
	}
}

// TestAnAddressThatIsNotVerifiedIsNoName, however the provider says that it is not.
func TestAnAddressThatIsNotVerifiedIsNoName(t *testing.T) {
	for i, c := range []struct {
		verified any
		name     string
	}{{true, "boss@example.org"}, {"true", "boss@example.org"}, {false, "s"}, {"false", "s"}, {"no", "s"}, {0, "s"}} {
		h := newVillain(t)
		up := h.upstream("corp")
		up.NameClaim = "email"
		g := newPages(t, func(conf *Config) { conf.Upstreams = []Upstream{up} })
		h.now = g.now
		h.claims = map[string]any{"email": "boss@example.org", "email_verified": c.verified, "sub": "s"}
		if who := g.browser().via(h, "corp").signedIn(); who != c.name {
			t.Errorf("%d: with email_verified %v somebody is called %q", i, c.verified, who)
		}
	}
}

// TestAwayCookieTellsNothing: the browser keeps its nonce and verifier sealed, and cannot be given another's provider.
func TestAwayCookieTellsNothing(t *testing.T) {
	g, _ := besieged(t, "evil")
	b := g.browser()
	q := b.begin("evil")
	c := b.jar[awayCookie]
	text, err := base64.RawURLEncoding.DecodeString(c.Value)
	fatal(t, err)
	if !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || strings.Contains(string(text), q.Get("nonce")) {
		t.Errorf("the cookie: %+v", c)
	}
	if q.Get("code_challenge_method") != "S256" || len(q.Get("code_challenge")) != 43 || q.Get("response_type") != "code" || q.Get("redirect_uri") != publicURL+"/signin/callback/evil" {
		t.Errorf("the provider is asked %v", q)
	}
	long := g.browser().open("/signin/with/evil?next=" + url.QueryEscape("/device?user_code="+strings.Repeat("x", 6000)))
	if c := long.jar[awayCookie]; c == nil || len(c.Value) > maxAway {
		t.Errorf("a long address: %+v", c)
	}
	b.open("/signin/with/nobody").shows(http.StatusNotFound)
	b.open("/signin/callback/nobody").shows(http.StatusNotFound)
}

// TestProviderThatMisbehaves: what a provider says of itself is bounded and checked, and its silence keeps nobody else out.
func TestProviderThatMisbehaves(t *testing.T) {
	for what, meta := range map[string]map[string]any{
		"says that it is another":   {"issuer": "https://other.example.org"},
		"has secrets sent in clear": {"token_endpoint": "http://other.example.org/token"},
		"has keys sent in clear":    {"jwks_uri": "http://other.example.org/keys"},
		"has no token endpoint":     {"token_endpoint": ""},
		"talks for ever":            {"x": strings.Repeat("x", upstreamBytes)},
	} {
		g, hs := besieged(t, "evil")
		hs[0].meta = meta
		if b := g.browser().open("/signin/with/evil").shows(http.StatusServiceUnavailable, "cannot be reached"); b.jar[awayCookie] != nil {
			t.Errorf("%s: the browser is sent away", what)
		}
		hs[0].meta = map[string]any{}
		g.step(discoverAgain)
		g.browser().begin("evil")
	}
	g, hs := besieged(t, "evil")
	b := g.browser()
	b.begin("evil")
	hs[0].Close()
	g.step(2 * discoveredFor)
	b.begin("evil") // what it said last holds
	p := g.newPerson("bob")
	if b.signIn("bob"); b.signedIn() != p.Name {
		t.Error("nobody signs in any more")
	}
}

// TestLinksAreGivenByWhoMayChangeThePerson: a link is one person's alone, and taking it away signs them out.
func TestLinksAreGivenByWhoMayChangeThePerson(t *testing.T) {
	g, hs := besieged(t, "corp")
	b := g.browser().via(hs[0], "corp")
	p := g.person(g.whole(b).Principal)
	other := g.newPerson("other")
	other.Upstream = p.Upstream
	if _, err := g.Broker.PutPrincipal(t.Context(), ajar.Plane, *other); ajar.KindOf(err) != ajar.Conflict {
		t.Errorf("a link that somebody has: %v", err)
	}
	p.Upstream = &ajar.Link{}
	_, err := g.Broker.PutPrincipal(t.Context(), ajar.Plane, *p)
	fatal(t, err)
	if b.signedIn() != "" {
		t.Error("still signed in")
	}
	g.browser().via(hs[0], "corp").shows(http.StatusConflict)
}

// TestWithoutAuthTimeNobodyIsFresh: a provider that does not say when somebody proved who they are may have gone on by
// itself, for whoever sits at a browser left alone; that changes no password that is here beside.
func TestWithoutAuthTimeNobodyIsFresh(t *testing.T) {
	g, hs := besieged(t, "corp")
	p := g.newPerson("bob")
	p.Upstream = &ajar.Link{Issuer: hs[0].URL, Subject: "s1"}
	g.put(p)
	now := g.now().Unix()
	for _, c := range []struct {
		what  string
		at    any
		fresh bool
	}{
		{"not said", nil, false},
		{"no time", "yesterday", false},
		{"of a time to come", now + 3600, false},
		{"an hour ago", now - 3600, false},
		{"just now", now, true},
		{"just now by a clock that is fast", now + 60, true},
	} {
		hs[0].claims = map[string]any{"auth_time": c.at}
		b := g.browser().via(hs[0], "corp")
		if b.signedIn() != "bob" {
			t.Fatalf("%s: not signed in: %s", c.what, b.page.body)
		}
		if b.open("/account/password"); (b.at == "/account/password") != c.fresh {
			t.Errorf("%s: led to %s", c.what, b.at)
		}
	}
	b := g.browser().via(hs[0], "corp")
	hs[0].claims = map[string]any{}
	if b.via(hs[0], "corp"); b.open("/account/password").at == "/account/password" {
		t.Error("asked again, it need not say either")
	}
	b.fill("/signin", "name", "bob", "password", personal)
	if b.open("/account/password"); b.at != "/account/password" {
		t.Errorf("the password does not do: led to %s", b.at)
	}
}

// TestStrangersAreRecorded: who proved themselves elsewhere and is linked to nobody here is turned away with an event, as
// anybody else who fails to sign in.
func TestStrangersAreRecorded(t *testing.T) {
	h := newVillain(t)
	u := h.upstream("corp")
	u.Create = false
	g := newPages(t, func(c *Config) { c.Upstreams = []Upstream{u} })
	h.now = g.now
	b := g.browser().via(h, "corp").shows(http.StatusForbidden, "Nobody here is linked to subject", "s1")
	accepted, refused := g.signIns()
	if len(accepted) != 0 || len(refused) != 1 || b.signedIn() != "" {
		t.Fatalf("recorded: %d and %d, %q is signed in", len(accepted), len(refused), b.signedIn())
	}
	e := refused[0]
	if e.Code != "PrincipalNotLinked" || e.Kind != ajar.Forbidden || e.Caller != "" || e.Name != "" || e.From.String() != "203.0.113.9" || e.Via != via || e.Corr == "" {
		t.Errorf("recorded: %+v", e)
	}
	want := map[string]string{"upstream": "corp", "issuer": h.URL, "subject": "s1", "name": "mallory"}
	if !maps.Equal(e.Details, want) {
		t.Errorf("details: %v, want %v", e.Details, want)
	}
	for range 2 * int(awayRate.Burst) {
		b.via(h, "corp")
	}
	if _, refused := g.signIns(); len(refused) > int(awayRate.Burst) {
		t.Errorf("one address has %d of them recorded at once", len(refused))
	}
}
