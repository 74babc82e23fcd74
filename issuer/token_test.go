package issuer

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
)

// TestDiscoveryInBothForms: what Azure's libraries read, at the addresses that they ask.
func TestDiscoveryInBothForms(t *testing.T) {
	g := newRig(t)
	for _, c := range []struct{ path, base, issuer string }{
		{"/adfs/.well-known/openid-configuration", "/adfs", "/adfs"},
		{"/" + tenantID + "/v2.0/.well-known/openid-configuration?", "/" + tenantID, "/" + tenantID + "/v2.0"},
		{"/" + strings.ToUpper(tenantID) + "/v2.0/.well-known/openid-configuration", "/" + tenantID, "/" + tenantID + "/v2.0"},
		{"/organizations/v2.0/.well-known/openid-configuration", "/" + tenantID, "/" + tenantID + "/v2.0"},
		{"/example.org/v2.0/.well-known/openid-configuration", "/" + tenantID, "/" + tenantID + "/v2.0"},
		{"/adfs/example.org/.well-known/openid-configuration", "/" + tenantID, "/" + tenantID + "/v2.0"},
		{"/.well-known/openid-configuration", "/" + tenantID, "/" + tenantID + "/v2.0"},
	} {
		h := g.get(c.path)
		if h.status != http.StatusOK {
			t.Errorf("%s answers %d %s", c.path, h.status, h.body)
			continue
		}
		for name, want := range map[string]string{
			"issuer": c.issuer, "token_endpoint": c.base + "/oauth2/v2.0/token", "authorization_endpoint": c.base + "/oauth2/v2.0/authorize",
			"device_authorization_endpoint": c.base + "/oauth2/v2.0/devicecode", "jwks_uri": c.base + "/discovery/v2.0/keys",
		} {
			if h.fields[name] != publicURL+want {
				t.Errorf("%s: %s is %v, want %s", c.path, name, h.fields[name], publicURL+want)
			}
		}
		u, err := url.Parse(h.fields["jwks_uri"].(string))
		fatal(t, err)
		keys := g.get(u.Path)
		if list, _ := keys.fields["keys"].([]any); len(list) != 1 || strings.Contains(keys.body, `"d"`) || !strings.Contains(keys.body, `"alg":"ES256"`) {
			t.Errorf("%s: the keys are %s", c.path, keys.body)
		}
	}
	g.get("/5f3c8d52-7c1f-4f0e-9a55-2f6b1f7f0002/v2.0/.well-known/openid-configuration").refusedAs(t, "another tenant", http.StatusBadRequest, "invalid_tenant")
	if h := g.get("/common/discovery/instance?api-version=1.1&authorization_endpoint=x"); h.fields["tenant_discovery_endpoint"] != publicURL+"/"+tenantID+"/v2.0/.well-known/openid-configuration" {
		t.Errorf("instance discovery: %s", h.body)
	}
	const realm = "rel=http://schemas.microsoft.com/rel/trusted-realm&resource=https://"
	for _, at := range []string{"/.well-known/webfinger?", "/adfs/.well-known/webfinger?"} {
		if h := g.get(at + realm + "plane.example.org"); !strings.Contains(h.body, `"href":"https://plane.example.org"`) || h.status != http.StatusOK {
			t.Errorf("%s: %d %s", at, h.status, h.body)
		}
		g.get(at+realm+"evil.example").refusedAs(t, "another realm", http.StatusNotFound, "invalid_request")
	}
	if h := g.get("/common/userrealm/alice@example.org?api-version=1.0"); h.fields["account_type"] != "Managed" {
		t.Errorf("realm: %s", h.body)
	}
}

// TestClientCredentials as Azure CLI, Go's and JavaScript's libraries send them.
func TestClientCredentials(t *testing.T) {
	g := newRig(t)
	p, secret := g.newProgram("robot")
	claim := `{"access_token": {"xms_cc": {"values": ["CP1"]}}}`
	for _, c := range []struct {
		what, path, scope, aud, iss string
		more                        []string
	}{
		{"the CLI", adfsToken, publicURL + "//.default", publicURL + "/", publicURL + "/adfs", []string{"client_info", "1"}},
		{"Go", tenantToken, publicURL + "/.default openid offline_access profile", publicURL, publicURL + "/" + tenantID + "/v2.0", nil},
		{"JavaScript", tenantToken + "?client-request-id=ccb65880-4982-4a7b-b1e0-1f124b8ed98b", publicURL + "/.default", publicURL, publicURL + "/" + tenantID + "/v2.0", []string{"x-client-SKU", "msal.js.node"}},
		{"another audience", tenantToken, "https://other.example.org/.default", "https://other.example.org", publicURL + "/" + tenantID + "/v2.0", nil},
		{"none", "/common/oauth2/v2.0/token", "", publicURL, publicURL + "/" + tenantID + "/v2.0", nil},
	} {
		h := g.post(c.path, append([]string{"client_id", string(p.ID), "grant_type", "client_credentials", "client_secret", secret, "claims", claim, "scope", c.scope}, c.more...)...).must(t)
		if h.Type != "Bearer" || h.ExpiresIn != 3600 || h.RefreshToken != "" || h.IDToken != "" || h.Scope != c.scope || h.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %s", c.what, h.body)
		}
		got := claims(t, h.AccessToken)
		for name, want := range map[string]any{"iss": c.iss, "aud": c.aud, "sub": string(p.ID), "oid": string(p.ID), "tid": tenantID, "appid": string(p.ID), "idtyp": "app", "azpacr": "1"} {
			if got[name] != want {
				t.Errorf("%s: %s is %v, want %v", c.what, name, got[name], want)
			}
		}
		who, err := g.use(h.AccessToken)
		if err != nil || who.Principal != p.ID || who.Name != "robot" || who.From.String() != "192.0.2.1" {
			t.Errorf("%s: at the door: %+v, %v", c.what, who, err)
		}
	}
	accepted, _ := g.signIns()
	if e := accepted[0]; len(accepted) != 5 || e.Caller != p.ID || e.From.String() != "203.0.113.9" || e.Details["grant"] != "client_credentials" || e.Details["credential"] != "secret" || e.Details["token"] == "" {
		t.Errorf("recorded: %d, the last %+v", len(accepted), e)
	}
}

func TestClientCredentialsInTheHeader(t *testing.T) {
	g := newRig(t)
	p, secret := g.newProgram("robot")
	send := func(user, pass string, pairs ...string) heard {
		r := httptest.NewRequest(http.MethodPost, adfsToken, strings.NewReader(form2(append([]string{"grant_type", "client_credentials", "scope", resource}, pairs...)).Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.SetBasicAuth(url.QueryEscape(user), url.QueryEscape(pass))
		return g.serve(g.Server, r)
	}
	send(string(p.ID), secret).must(t)
	send("robot", secret).must(t)
	bad := send(string(p.ID), secret+"x")
	bad.refusedAs(t, "wrong secret", http.StatusUnauthorized, "invalid_client")
	if !strings.HasPrefix(bad.header.Get("WWW-Authenticate"), "Basic ") {
		t.Error("a client that used the header is not told how to")
	}
	send(string(p.ID), secret, "client_secret", secret).refusedAs(t, "both", http.StatusBadRequest, "invalid_request")
	send(string(p.ID), secret, "client_id", azureCLI).refusedAs(t, "two clients", http.StatusBadRequest, "invalid_request")
}

// TestWrongClientsLearnNothing: the answer is the same for a name that nobody has, and people are no clients.
func TestWrongClientsLearnNothing(t *testing.T) {
	g := newRig(t)
	p, _ := g.newProgram("robot")
	off, offSecret := g.newProgram("retired")
	off.Disabled = true
	g.put(off)
	g.newPerson("alice")
	var texts []string
	for _, c := range [][2]string{{string(p.ID), "ajs_wrong"}, {"99999999-0000-4000-8000-000000000001", "ajs_wrong"}, {"alice", personal}, {string(off.ID), offSecret}} {
		h := g.post(adfsToken, "grant_type", "client_credentials", "client_id", c[0], "client_secret", c[1], "scope", resource)
		h.refusedAs(t, c[0], http.StatusUnauthorized, "invalid_client")
		text, _, _ := strings.Cut(h.Description, "Trace ID")
		texts = append(texts, text)
		g.from = "203.0.113." + string(rune('1'+len(texts))) + ":1"
	}
	for _, text := range texts[1:] {
		if text != texts[0] {
			t.Errorf("%q is not %q", text, texts[0])
		}
	}
	_, refused := g.signIns()
	if len(refused) != 4 {
		t.Errorf("%d refusals are recorded", len(refused))
	}
}

// TestGuessingClientSecretsIsThrottled, and does not lock the program itself out, from elsewhere or in parallel.
func TestGuessingClientSecretsIsThrottled(t *testing.T) {
	g := newRig(t)
	p, secret := g.newProgram("robot")
	try := func(secret string) heard {
		return g.post(adfsToken, "grant_type", "client_credentials", "client_id", string(p.ID), "client_secret", secret, "scope", resource)
	}
	last := heard{}
	for range 30 {
		last = try("ajs_" + strings.Repeat("A", 43))
	}
	if last.status != http.StatusTooManyRequests || last.header.Get("Retry-After") == "" {
		t.Errorf("guesses are answered %d %s", last.status, last.body)
	}
	g.from = "198.51.100.7:1"
	for range 30 {
		try(secret).must(t)
	}
}

// TestPasswordGrantIsOffByDefault, and where it is on it is a log-in like any other.
func TestPasswordGrantIsOffByDefault(t *testing.T) {
	ask := []string{"client_id", azureCLI, "grant_type", "password", "client_info", "1", "username", "alice", "password", personal, "scope", resource + " offline_access openid profile"}
	g := newRig(t)
	g.newPerson("alice")
	g.post(adfsToken, ask...).refusedAs(t, "off", http.StatusBadRequest, "unsupported_grant_type")
	if strings.Contains(g.get("/adfs/.well-known/openid-configuration").body, `"password"`) {
		t.Error("it is advertised all the same")
	}

	g = newRig(t, func(c *Config) { c.Password = true })
	alice := g.newPerson("alice")
	h := g.post(adfsToken, ask...).must(t)
	if who, err := g.use(h.AccessToken); err != nil || who.Principal != alice.ID {
		t.Errorf("at the door: %+v, %v", who, err)
	}
	g.checkPerson(h, alice)
	p, secret := g.newProgram("robot")
	g.post(adfsToken, "client_id", azureCLI, "grant_type", "password", "username", string(p.ID), "password", secret, "scope", resource).refusedAs(t, "a program", http.StatusBadRequest, "invalid_grant")
	ask[9] = "wrong, wrong, wrong"
	throttled := false
	for range 10 {
		throttled = throttled || g.post(adfsToken, ask...).status == http.StatusTooManyRequests
	}
	if !throttled {
		t.Error("passwords can be guessed without end")
	}
}

// checkPerson: what Azure's libraries demand of a person's tokens.
func (g *rig) checkPerson(h heard, p *ajar.Principal) {
	g.t.Helper()
	id := claims(g.t, h.IDToken)
	for name, want := range map[string]any{"aud": azureCLI, "iss": publicURL + "/adfs", "sub": string(p.ID), "oid": string(p.ID), "tid": tenantID, "upn": p.Name, "preferred_username": p.Name, "name": p.Display} {
		if id[name] != want {
			g.t.Errorf("id token: %s is %v, want %v", name, id[name], want)
		}
	}
	if exp, nbf := id["exp"].(float64), id["nbf"].(float64); int64(nbf) > g.now().Unix() || int64(exp) <= g.now().Unix() {
		g.t.Errorf("the id token is good from %v to %v", nbf, exp)
	}
	info, err := base64.RawURLEncoding.DecodeString(h.ClientInfo)
	fatal(g.t, err)
	var account map[string]string
	fatal(g.t, json.Unmarshal(info, &account))
	if account["uid"] != string(p.ID) || account["utid"] != tenantID {
		g.t.Errorf("client_info is %s", info)
	}
	access := claims(g.t, h.AccessToken)
	for name, want := range map[string]any{"appid": azureCLI, "azp": azureCLI, "idtyp": "user", "upn": p.Name, "scp": "user_impersonation", "azpacr": "0"} {
		if access[name] != want {
			g.t.Errorf("access token: %s is %v, want %v", name, access[name], want)
		}
	}
	if h.RefreshToken == "" {
		g.t.Errorf("there is no refresh token: %s", h.body)
	}
}

func TestRequestsThatMakeNoSense(t *testing.T) {
	g := newRig(t)
	p, secret := g.newProgram("robot")
	ok := []string{"grant_type", "client_credentials", "client_id", string(p.ID), "client_secret", secret, "scope", resource}
	for what, pairs := range map[string][]string{
		"nothing":           {},
		"no grant":          ok[2:],
		"no client":         {"grant_type", "client_credentials", "client_secret", secret},
		"twice":             append([]string{"scope", resource}, ok...),
		"secret twice":      append([]string{"client_secret", "x"}, ok...),
		"secret and signed": append([]string{"client_assertion", "x", "client_assertion_type", assertionJWT}, ok...),
	} {
		g.post(adfsToken, pairs...).refusedAs(t, what, http.StatusBadRequest, "invalid_request")
	}
	g.post(adfsToken, "grant_type", "client_credentials", "client_id", string(p.ID)).refusedAs(t, "no proof", http.StatusUnauthorized, "invalid_client")
	g.post(adfsToken, "grant_type", "urn:example:other").refusedAs(t, "another grant", http.StatusBadRequest, "unsupported_grant_type")
	for _, scope := range []string{"https://evil.example/.default", publicURL + ".evil.example/.default", publicURL + "/.default https://other.example.org/.default", strings.Repeat("x ", 40)} {
		g.post(adfsToken, append(ok[:6:6], "scope", scope)...).refusedAs(t, scope, http.StatusBadRequest, "invalid_scope")
	}
	r := httptest.NewRequest(http.MethodPost, adfsToken, strings.NewReader(`{"grant_type":"client_credentials"}`))
	r.Header.Set("Content-Type", "application/json")
	g.serve(g.Server, r).refusedAs(t, "JSON", http.StatusBadRequest, "invalid_request")
	g.post(adfsToken, "grant_type", strings.Repeat("x", maxForm)).refusedAs(t, "too long", http.StatusRequestEntityTooLarge, "invalid_request")
	g.get(adfsToken).refusedAs(t, "GET", http.StatusMethodNotAllowed, "invalid_request")
	g.get("/adfs/oauth2/v2.0/nothing").refusedAs(t, "no such endpoint", http.StatusNotFound, "invalid_request")
}

// TestReplicasShareKeys: what one gives, another takes, and a new key is known everywhere before it signs.
func TestReplicasShareKeys(t *testing.T) {
	g := newRig(t)
	other := g.plane(g.Store)
	p, secret := g.newProgram("robot")
	sign := func(s *Server) string {
		return g.postTo(s, adfsToken, "grant_type", "client_credentials", "client_id", string(p.ID), "client_secret", secret, "scope", resource).must(t).AccessToken
	}
	for i := range 4 {
		for _, s := range []*Server{g.Server, other} {
			token := sign(s)
			for _, at := range []*Server{g.Server, other} {
				if _, err := useAt(at, token); err != nil {
					t.Fatalf("round %d: %v", i, err)
				}
			}
		}
		g.step(31 * 24 * time.Hour / 2)
	}
	token := sign(g.Server)
	fatal(t, g.Auth.Tokens.Keys.Withdraw(t.Context()))
	if _, err := useAt(g.plane(g.Store), token); !errors.Is(err, ajar.Unauthenticated) {
		t.Errorf("what a withdrawn key signed is taken: %v", err)
	}
	g.step(time.Second)
	if _, err := useAt(other, sign(g.Server)); err != nil {
		t.Errorf("the key after a withdrawn one is not known to the other replica: %v", err)
	}
}
