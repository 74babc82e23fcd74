package issuer

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/authn"
)

func (g *rig) refreshWith(token string, pairs ...string) heard {
	g.t.Helper()
	return g.post(adfsToken, over([]string{"client_id", azureCLI, "grant_type", "refresh_token", "client_info", "1", "refresh_token", token}, pairs)...)
}

func (g *rig) gone(what, token string) {
	g.t.Helper()
	if _, err := g.use(token); !errors.Is(err, ajar.Unauthenticated) {
		g.t.Errorf("%s is still good: %v", what, err)
	}
}

func TestCodeGivesAPersonsTokens(t *testing.T) {
	g := newRig(t)
	alice := g.newPerson("alice@example.org")
	code, verifier := g.code(alice, "scope", resource+" offline_access openid profile email")
	h := g.exchange(code, verifier).must(t)
	g.checkPerson(h, alice)
	id := claims(t, h.IDToken)
	if id["nonce"] != "n" || id["email"] != "alice@example.org" || id["auth_time"] == nil {
		t.Errorf("id token: %v", id)
	}
	if who, err := g.use(h.AccessToken); err != nil || who.Principal != alice.ID {
		t.Errorf("at the door: %+v, %v", who, err)
	}
	g.step(30 * time.Minute)
	again := g.refreshWith(h.RefreshToken, "scope", resource+" offline_access openid profile").must(t)
	g.checkPerson(again, alice)
	if again.RefreshToken == h.RefreshToken || claims(t, again.AccessToken)["auth_time"] != claims(t, h.AccessToken)["auth_time"] {
		t.Errorf("after a refresh: %s", again.body)
	}
	if accepted, refused := g.signIns(); len(accepted) != 2 || len(refused) != 0 || accepted[0].Details["grant"] != "refresh_token" || accepted[1].Details["client"] != azureCLI {
		t.Errorf("recorded: %d and %d", len(accepted), len(refused))
	}
}

// TestReplayedCodeRevokesWhatItGave, and the code alone is of no use.
func TestReplayedCodeRevokesWhatItGave(t *testing.T) {
	g := newRig(t)
	alice := g.newPerson("alice")
	code, verifier := g.code(alice)
	other, _ := pkce()
	for what, h := range map[string]heard{
		"no verifier":      g.exchange(code, ""),
		"another verifier": g.exchange(code, other),
		"plain verifier":   g.exchange(code, "challenge"),
		"another redirect": g.exchange(code, verifier, "redirect_uri", "http://localhost:8401"),
		"no redirect":      g.exchange(code, verifier, "redirect_uri", ""),
		"another client":   g.exchange(code, verifier, "client_id", OwnClient),
		"another code":     g.exchange(random(codePrefix, 32), verifier),
		"no code":          g.exchange("", verifier),
		"a token as code":  g.exchange(random(refreshPrefix, 48), verifier),
	} {
		h.refusedAs(t, what, http.StatusBadRequest, "invalid_grant")
	}
	h := g.exchange(code, verifier).must(t)
	refreshed := g.refreshWith(h.RefreshToken).must(t)
	g.exchange(code, verifier).refusedAs(t, "a second time", http.StatusBadRequest, "invalid_grant")
	g.gone("the first access token", h.AccessToken)
	g.gone("the second access token", refreshed.AccessToken)
	g.refreshWith(refreshed.RefreshToken).refusedAs(t, "refresh afterwards", http.StatusBadRequest, "invalid_grant")
	if _, refused := g.signIns(); len(refused) == 0 || !strings.Contains(refused[0].Message, "already redeemed") || refused[0].Caller != alice.ID {
		t.Errorf("recorded: %+v", refused)
	}

	late, lateVerifier := g.code(alice)
	g.step(codeLife)
	g.exchange(late, lateVerifier).refusedAs(t, "expired", http.StatusBadRequest, "invalid_grant")
}

// TestCodeIsUsedOnce by however many at the same time.
func TestCodeIsUsedOnce(t *testing.T) {
	g := newRig(t)
	code, verifier := g.code(g.newPerson("alice"))
	var wait sync.WaitGroup
	var mu sync.Mutex
	good := 0
	for range 8 {
		wait.Go(func() {
			h := g.exchange(code, verifier)
			mu.Lock()
			defer mu.Unlock()
			if h.status == http.StatusOK {
				good++
			}
		})
	}
	wait.Wait()
	if good != 1 {
		t.Errorf("%d of 8 got tokens", good)
	}
}

// TestReplayedRefreshRevokesTheFamily: whoever of thief and owner comes second, both are out, and it is recorded.
func TestReplayedRefreshRevokesTheFamily(t *testing.T) {
	g := newRig(t)
	alice := g.newPerson("alice")
	code, verifier := g.code(alice)
	first := g.exchange(code, verifier).must(t)
	code, verifier = g.code(alice)
	beside := g.exchange(code, verifier).must(t) // another sign-in of hers
	second := g.refreshWith(first.RefreshToken).must(t)
	g.refreshWith(first.RefreshToken).refusedAs(t, "the first again", http.StatusBadRequest, "invalid_grant")
	g.refreshWith(second.RefreshToken).refusedAs(t, "the second", http.StatusBadRequest, "invalid_grant")
	g.gone("the first access token", first.AccessToken)
	g.gone("the second access token", second.AccessToken)
	if _, refused := g.signIns(); len(refused) != 1 || !strings.Contains(refused[0].Message, "used before") {
		t.Errorf("recorded: %+v", refused)
	}
	g.refreshWith(beside.RefreshToken).must(t)
}

// TestRefreshTwiceAtOnce: one of them wins, and then nobody.
func TestRefreshTwiceAtOnce(t *testing.T) {
	g := newRig(t)
	code, verifier := g.code(g.newPerson("alice"))
	h := g.exchange(code, verifier).must(t)
	var wait sync.WaitGroup
	var mu sync.Mutex
	var got []heard
	for range 4 {
		wait.Go(func() {
			r := g.refreshWith(h.RefreshToken)
			mu.Lock()
			defer mu.Unlock()
			if r.status == http.StatusOK {
				got = append(got, r)
			}
		})
	}
	wait.Wait()
	if len(got) != 1 {
		t.Fatalf("%d of 4 got tokens", len(got))
	}
	g.gone("what the winner got", got[0].AccessToken)
}

func TestRefreshTokensAreTheClientsOwn(t *testing.T) {
	g := newRig(t)
	alice := g.newPerson("alice")
	code, verifier := g.code(alice)
	h := g.exchange(code, verifier).must(t)
	for what, token := range map[string]string{"garbage": "x", "half": h.RefreshToken[:40], "an access token": h.AccessToken, "": "", "a code": code, "of nobody": random(refreshPrefix, 48)} {
		g.refreshWith(token).refusedAs(t, what, http.StatusBadRequest, "invalid_grant")
	}
	g.refreshWith(h.RefreshToken, "scope", "https://evil.example/.default").refusedAs(t, "another resource", http.StatusBadRequest, "invalid_scope")
	g.post(adfsToken, "client_id", OwnClient, "grant_type", "refresh_token", "refresh_token", h.RefreshToken).refusedAs(t, "another client", http.StatusBadRequest, "invalid_grant")
	h = g.refreshWith(h.RefreshToken, "scope", "https://other.example.org/.default").must(t) // none of these used it up
	if aud := claims(t, h.AccessToken)["aud"]; aud != "https://other.example.org" {
		t.Errorf("the audience is %v", aud)
	}
	g.step(29 * 24 * time.Hour)
	h = g.refreshWith(h.RefreshToken).must(t)
	g.step(25 * time.Hour)
	g.refreshWith(h.RefreshToken).refusedAs(t, "after thirty days, refreshed or not", http.StatusBadRequest, "invalid_grant")

	code, verifier = g.code(alice, "scope", "openid offline_access")
	h = g.exchange(code, verifier).must(t)
	g.refreshWith(h.RefreshToken, "scope", resource).refusedAs(t, "more than the sign-in was for", http.StatusBadRequest, "invalid_grant")
}

// TestChangedPasswordEndsRefreshTokens: whoever changes it because somebody may know it is rid of them.
func TestChangedPasswordEndsRefreshTokens(t *testing.T) {
	g := newRig(t)
	alice := g.newPerson("alice")
	code, verifier := g.code(alice)
	h := g.exchange(code, verifier).must(t)
	waiting, waitingVerifier := g.code(alice)
	hash, err := g.Auth.Hasher.Hash(t.Context(), "another password of hers")
	fatal(t, err)
	_, err = g.Broker.PutCredential(t.Context(), ajar.Caller{Principal: alice.ID}, ajar.Credential{Principal: alice.ID, Kind: ajar.Password, Hash: hash})
	fatal(t, err)
	g.step(authn.CacheAge)
	g.gone("the access token", h.AccessToken)
	g.refreshWith(h.RefreshToken).refusedAs(t, "refresh", http.StatusBadRequest, "invalid_grant")
	g.exchange(waiting, waitingVerifier).refusedAs(t, "a code from before", http.StatusBadRequest, "invalid_grant")
}

// TestRevokedTokenTakesItsRefreshTokensAlong: ended in the list of tokens, a sign-in does not come back by itself.
func TestRevokedTokenTakesItsRefreshTokensAlong(t *testing.T) {
	g := newRig(t)
	alice := g.newPerson("alice")
	code, verifier := g.code(alice)
	h := g.exchange(code, verifier).must(t)
	_, err := g.Broker.RevokeToken(t.Context(), ajar.Caller{Principal: alice.ID}, alice.ID, authn.HashSecret(h.AccessToken)[:16])
	fatal(t, err)
	g.step(authn.CacheAge)
	g.gone("the access token", h.AccessToken)
	g.refreshWith(h.RefreshToken).refusedAs(t, "refresh", http.StatusBadRequest, "invalid_grant")
}

func TestRevocationEndpoint(t *testing.T) {
	g := newRig(t)
	alice := g.newPerson("alice")
	revoke := func(token string, pairs ...string) heard {
		return g.post("/adfs/oauth2/v2.0/revoke", append([]string{"client_id", azureCLI, "token", token}, pairs...)...)
	}
	sign := func() heard {
		code, verifier := g.code(alice)
		return g.exchange(code, verifier).must(t)
	}
	one, two := sign(), sign()
	for _, token := range []string{"x", random(refreshPrefix, 48)} {
		if h := revoke(token); h.status != http.StatusOK {
			t.Errorf("an unknown token: %d %s", h.status, h.body)
		}
	}
	if h := g.post("/adfs/oauth2/v2.0/revoke", "client_id", OwnClient, "token", one.RefreshToken); h.status != http.StatusOK {
		t.Errorf("another client: %d", h.status)
	}
	one = g.refreshWith(one.RefreshToken).must(t) // it was not that client's to end
	if h := revoke(one.RefreshToken); h.status != http.StatusOK {
		t.Errorf("revoke: %d %s", h.status, h.body)
	}
	g.gone("the access token", one.AccessToken)
	g.refreshWith(one.RefreshToken).refusedAs(t, "refresh", http.StatusBadRequest, "invalid_grant")
	if h := revoke(two.AccessToken, "token_type_hint", "access_token"); h.status != http.StatusOK {
		t.Errorf("revoke: %d %s", h.status, h.body)
	}
	g.gone("the access token", two.AccessToken)
	g.refreshWith(two.RefreshToken).must(t)

	p, secret := g.newProgram("robot")
	app := g.post(adfsToken, "grant_type", "client_credentials", "client_id", string(p.ID), "client_secret", secret, "scope", resource).must(t)
	g.post("/adfs/oauth2/v2.0/revoke", "client_id", string(p.ID), "client_secret", "ajs_x", "token", app.AccessToken).refusedAs(t, "wrong secret", http.StatusUnauthorized, "invalid_client")
	if h := g.post("/adfs/oauth2/v2.0/revoke", "client_id", string(p.ID), "client_secret", secret, "token", app.AccessToken); h.status != http.StatusOK {
		t.Errorf("revoke: %d %s", h.status, h.body)
	}
	g.gone("the program's token", app.AccessToken)
}

// device is what a device was told.
func (g *rig) device(pairs ...string) (device, user string) {
	g.t.Helper()
	h := g.post("/adfs/oauth2/v2.0/devicecode", append([]string{"client_id", azureCLI, "scope", resource + " offline_access openid profile"}, pairs...)...)
	device, _ = h.fields["device_code"].(string)
	user, _ = h.fields["user_code"].(string)
	if h.status != http.StatusOK || device == "" || user == "" || h.fields["verification_uri"] != publicURL+"/device" || h.fields["interval"] != 5.0 || !strings.Contains(h.fields["message"].(string), user) {
		g.t.Fatalf("device code: %d %s", h.status, h.body)
	}
	return device, user
}

func (g *rig) poll(device string) heard {
	g.t.Helper()
	g.step(pollEvery)
	return g.post(adfsToken, "client_id", azureCLI, "grant_type", grantDevice, "client_info", "1", "code", device, "device_code", device)
}

var somewhere = netip.MustParseAddr("198.51.100.20")

func TestDeviceCode(t *testing.T) {
	g := newRig(t)
	alice := g.newPerson("alice")
	device, user := g.device()
	g.poll(device).refusedAs(t, "nobody typed it", http.StatusBadRequest, "authorization_pending")
	g.post(adfsToken, "client_id", azureCLI, "grant_type", grantDevice, "device_code", device).refusedAs(t, "at once again", http.StatusBadRequest, "slow_down")
	g.poll(device).refusedAs(t, "not slower", http.StatusBadRequest, "slow_down")
	g.step(time.Minute)
	who := g.sessionFor(alice)
	typed := strings.ToLower(strings.ReplaceAll(user, "-", " "))
	view, err := g.pendingDevice(t.Context(), typed, who, somewhere)
	if err != nil || view.Client.Name != "Azure CLI" || view.From.String() != "203.0.113.9" {
		t.Fatalf("the page sees %+v, %v", view, err)
	}
	fatal(t, g.decideDevice(t.Context(), typed, who, somewhere, "", true))
	if err := g.decideDevice(t.Context(), user, who, somewhere, "", false); !errors.Is(err, ajar.NotFound) {
		t.Errorf("it is decided twice: %v", err)
	}
	g.post(adfsToken, "client_id", OwnClient, "grant_type", grantDevice, "device_code", device).refusedAs(t, "another client", http.StatusBadRequest, "invalid_grant")
	h := g.poll(device).must(t)
	g.checkPerson(h, alice)
	if who, err := g.use(h.AccessToken); err != nil || who.Principal != alice.ID {
		t.Errorf("at the door: %+v, %v", who, err)
	}
	g.poll(device).refusedAs(t, "redeemed", http.StatusBadRequest, "invalid_grant")
	g.refreshWith(h.RefreshToken).must(t)
	accepted, _ := g.signIns()
	if e := accepted[2]; e.Details["decision"] != "allowed" || e.Details["device"] != "203.0.113.9" || e.From != somewhere {
		t.Errorf("recorded: %+v", e)
	}
}

func TestDeviceCodeDeniedAndExpired(t *testing.T) {
	g := newRig(t)
	alice := g.newPerson("alice")
	device, user := g.device()
	fatal(t, g.decideDevice(t.Context(), user, g.sessionFor(alice), somewhere, "", false))
	g.poll(device).refusedAs(t, "denied", http.StatusBadRequest, "access_denied")
	device, user = g.device()
	g.step(deviceLife)
	g.poll(device).refusedAs(t, "expired", http.StatusBadRequest, "expired_token")
	if err := g.decideDevice(t.Context(), user, g.sessionFor(alice), somewhere, "", true); !errors.Is(err, ajar.NotFound) {
		t.Errorf("an expired one is allowed: %v", err)
	}
	g.poll("x").refusedAs(t, "garbage", http.StatusBadRequest, "invalid_grant")
	g.poll(random(devicePrefix, 32)).refusedAs(t, "unknown", http.StatusBadRequest, "invalid_grant")
	g.post("/adfs/oauth2/v2.0/devicecode", "client_id", "99999999-0000-4000-8000-000000000001", "scope", resource).refusedAs(t, "unknown client", http.StatusUnauthorized, "invalid_client")
}

// TestUserCodesGuessedAtOnce: those that come together do not pass together, and what was no wrong code counts nothing.
func TestUserCodesGuessedAtOnce(t *testing.T) {
	g := newRig(t)
	who := g.sessionFor(g.newPerson("alice"))
	const all = 50
	come, stay := make(chan bool, all), make(chan struct{})
	var wait sync.WaitGroup
	for range all {
		wait.Go(func() {
			err := g.guess(t.Context(), who, somewhere, func() error {
				come <- true
				<-stay
				return nil
			})
			if errors.Is(err, ajar.TooMany) {
				come <- false
			} else if err != nil {
				t.Error(err)
			}
		})
	}
	looked := 0
	for range all {
		if <-come {
			looked++
		}
	}
	close(stay)
	wait.Wait()
	if looked != int(guessRate.Burst) {
		t.Errorf("%d looked at once, want %.0f", looked, guessRate.Burst)
	}
	for range all {
		if err := g.guess(t.Context(), who, somewhere, func() error { return nil }); err != nil {
			t.Fatalf("somebody who types no wrong code: %v", err)
		}
	}
}

// TestUserCodesCannotBeGuessed: a few wrong ones, then a wait, for the person and for the address.
func TestUserCodesCannotBeGuessed(t *testing.T) {
	g := newRig(t)
	alice, bob := g.newPerson("alice"), g.newPerson("bob")
	_, user := g.device()
	guess := func(p *ajar.Principal, from string) error {
		_, err := g.pendingDevice(t.Context(), newUserCode(), g.sessionFor(p), netip.MustParseAddr(from))
		return err
	}
	looked := 0
	for i := range 50 {
		if err := guess(alice, "198.51.100."+string(rune('1'+i%8))); errors.Is(err, ajar.NotFound) {
			looked++
		} else if !errors.Is(err, ajar.TooMany) {
			t.Fatal(err)
		}
	}
	if looked > int(guessRate.Burst) {
		t.Errorf("%d guesses of one person were looked at", looked)
	}
	if _, err := g.pendingDevice(t.Context(), user, g.sessionFor(bob), netip.MustParseAddr("192.0.2.9")); err != nil {
		t.Errorf("somebody else elsewhere: %v", err)
	}
	for typed, want := range map[string]string{"BCDF-GHJK": "BCDFGHJK", "bcdfghjk": "BCDFGHJK", " bcdf ghjk ": "BCDFGHJK", "BCDF-GHJ": "", "BCDF-GHJA": "", "": "", "BCDFGHJKL": "", "BCDF\x00GHJK": ""} {
		got, plain := userCodeKey(typed), ""
		if want != "" {
			plain = userCodeKey(want)
		}
		if got != plain {
			t.Errorf("typed as %q it is not %q", typed, want)
		}
	}
}

func TestDeviceCodesAreNotGivenWithoutEnd(t *testing.T) {
	g := newRig(t)
	var last heard
	for range 40 {
		last = g.post("/adfs/oauth2/v2.0/devicecode", "client_id", azureCLI, "scope", resource)
	}
	if last.status != http.StatusTooManyRequests || last.header.Get("Retry-After") == "" {
		t.Errorf("the fortieth: %d %s", last.status, last.body)
	}
}

// authorizeWith asks for a code with a browser where nobody is signed in.
func (g *rig) authorizeWith(pairs ...string) heard {
	g.t.Helper()
	_, challenge := pkce()
	v := form2([]string{"client_id", azureCLI, "response_type", "code", "redirect_uri", "http://localhost:8400", "scope", resource + " openid", "state", "st", "code_challenge", challenge, "code_challenge_method", "S256"})
	for i := 0; i < len(pairs); i += 2 {
		if v.Set(pairs[i], pairs[i+1]); pairs[i+1] == "" {
			v.Del(pairs[i])
		}
	}
	return g.get("/adfs/oauth2/v2.0/authorize?" + v.Encode())
}

// sentBack is what the browser takes back to the client.
func sentBack(t *testing.T, h heard) url.Values {
	t.Helper()
	u, err := url.Parse(h.header.Get("Location"))
	if err != nil || h.status != http.StatusSeeOther {
		t.Fatalf("nothing is sent back: %d %s", h.status, h.body)
	}
	return u.Query()
}

// TestMissingPKCE and plain challenges, which whoever sees the request can answer.
func TestMissingPKCE(t *testing.T) {
	g := newRig(t)
	for what, pairs := range map[string][]string{
		"no challenge":     {"code_challenge", "", "code_challenge_method", ""},
		"method only":      {"code_challenge", ""},
		"plain":            {"code_challenge_method", "plain"},
		"plain by silence": {"code_challenge_method", ""},
		"no such method":   {"code_challenge_method", "S512"},
		"too short":        {"code_challenge", "abc"},
		"not base64url":    {"code_challenge", strings.Repeat("!", 43)},
	} {
		q := sentBack(t, g.authorizeWith(pairs...))
		if q.Get("error") != "invalid_request" || q.Get("code") != "" || q.Get("state") != "st" {
			t.Errorf("%s: %v", what, q)
		}
	}
}

// TestNobodysCodeIsSlippedToAnother: a client that keeps a secret sends a proof key, or a nonce that it finds again in the
// id token; without either another's code could be put into its answer.
func TestNobodysCodeIsSlippedToAnother(t *testing.T) {
	const app = "5f0c8d52-7c1f-4f0e-9a55-2f6b1f7f0002"
	g := newRig(t, func(c *Config) {
		c.Clients = []Client{{ID: app, Name: "Grafana", Redirects: []string{"https://grafana.example.org/cb"}}}
	})
	bare := []string{"client_id", app, "redirect_uri", "https://grafana.example.org/cb", "code_challenge", "", "code_challenge_method", "", "prompt", "none"}
	for nonce, want := range map[string]string{"": "invalid_request", "n": "login_required"} {
		if q := sentBack(t, g.authorizeWith(append(bare, "nonce", nonce)...)); q.Get("error") != want {
			t.Errorf("with nonce %q: %v", nonce, q)
		}
	}
}

// TestMixUpIsSeenByTheClient: each answer names who answers (RFC 9207), errors too.
func TestMixUpIsSeenByTheClient(t *testing.T) {
	g := newRig(t)
	for _, pairs := range [][]string{{"prompt", "none"}, {"response_type", "token"}, {"scope", "https://evil.example/.default"}, {"request", "x"}, {"max_age", "-1"}, {"response_mode", "fragment"}} {
		q := sentBack(t, g.authorizeWith(pairs...))
		if q.Get("iss") != publicURL+"/adfs" || q.Get("error") == "" || q.Get("state") != "st" || q.Get("code") != "" {
			t.Errorf("%v: %v", pairs, q)
		}
	}
	if q := sentBack(t, g.authorizeWith("prompt", "none")); q.Get("error") != "login_required" {
		t.Errorf("with nobody signed in: %v", q)
	}
	if !strings.Contains(g.get("/adfs/.well-known/openid-configuration").body, `"authorization_response_iss_parameter_supported":true`) {
		t.Error("discovery does not say so")
	}
}

// TestRedirectToAnotherHost: then nothing is sent anywhere.
func TestRedirectToAnotherHost(t *testing.T) {
	const app = "7b1f0f6e-1c3b-4c53-9f0e-6d2b7f1c4a10"
	g := newRig(t, func(c *Config) {
		c.Clients = []Client{{ID: app, Name: "Grafana", Redirects: []string{"https://grafana.example.org/login/generic_oauth", "http://127.0.0.1/cb?x=1"}}}
	})
	for client, uris := range map[string]map[string]bool{
		azureCLI: {
			"http://localhost:8400": true, "http://localhost:51234/": true, "http://127.0.0.1:9": true, "http://[::1]:4444/": true, "http://localhost": true,
			"https://evil.example": false, "http://evil.example:8400": false, "http://localhost.evil.example:8400": false, "http://localhost:8400@evil.example": false,
			"http://localhost:8400#x": false, "http://localhost:8400/?x=1": false, "http://localhost:8400/other": false, "http://localhost:99999": false,
			"http://localhost:8400\\@evil.example": false, "javascript:alert(1)": false, "//evil.example": false, "": false, "http://127.0.0.2:8400": false,
			"https://localhost:8400": false, "http://user@localhost:8400": false, "http://localhost:8400/%2e%2e": false, "http://[::ffff:127.0.0.1]:1": false,
			"http://localhost:8400/\r\nSet-Cookie: x": false, "urn:ietf:wg:oauth:2.0:oob": false,
		},
		app: {
			"https://grafana.example.org/login/generic_oauth": true, "http://127.0.0.1:5555/cb?x=1": true,
			"https://grafana.example.org/login/generic_oauth/": false, "https://grafana.example.org/login/generic_oauth?x=1": false, "https://grafana.example.org": false,
			"https://grafana.example.org:444/login/generic_oauth": false, "http://grafana.example.org/login/generic_oauth": false, "http://127.0.0.1:5555/cb": false,
			"https://GRAFANA.example.org.evil.example/login/generic_oauth": false, "http://localhost:5555/cb?x=1": false,
		},
	} {
		for uri, good := range uris {
			h := g.authorizeWith("client_id", client, "redirect_uri", uri, "prompt", "none", "code_challenge", strings.Repeat("a", 43))
			if sent := h.status == http.StatusSeeOther; sent != good {
				t.Errorf("%s to %q: %d %s", client, uri, h.status, h.header.Get("Location"))
			}
			if to := h.header.Get("Location"); good && !strings.HasPrefix(to, strings.TrimSuffix(uri, "?x=1")) {
				t.Errorf("%q is sent to %q", uri, to)
			}
		}
	}
	h := g.authorizeWith("client_id", "99999999-0000-4000-8000-000000000001")
	if h.status == http.StatusSeeOther || h.header.Get("Location") != "" {
		t.Errorf("an unknown client is answered at its address: %d", h.status)
	}
}

// TestPublicClientsHaveNoSecret and others do.
func TestPublicClientsHaveNoSecret(t *testing.T) {
	g := newRig(t)
	p, secret := g.newProgram("grafana")
	g.Clients = []Client{{ID: string(p.ID), Name: "Grafana", Redirects: []string{"https://grafana.example.org/cb"}}}
	alice := g.newPerson("alice")
	code, verifier := g.code(alice)
	g.exchange(code, verifier, "client_secret", secret).refusedAs(t, "a public client with a secret", http.StatusUnauthorized, "invalid_client")
	g.exchange(code, verifier).must(t)

	ask := []string{"client_id", string(p.ID), "redirect_uri", "https://grafana.example.org/cb"}
	code, verifier = g.code(alice, append(ask, "scope", "openid email")...)
	g.exchange2(code, verifier, ask...).refusedAs(t, "no secret", http.StatusUnauthorized, "invalid_client")
	g.exchange2(code, verifier, append(ask, "client_secret", "ajs_x")...).refusedAs(t, "wrong secret", http.StatusUnauthorized, "invalid_client")
	other, otherSecret := g.newProgram("other")
	g.exchange2(code, verifier, "client_id", string(other.ID), "client_secret", otherSecret, "redirect_uri", ask[3]).refusedAs(t, "another program", http.StatusUnauthorized, "invalid_client")
	h := g.exchange2(code, verifier, append(ask, "client_secret", secret)...).must(t)
	if id := claims(t, h.IDToken); id["aud"] != string(p.ID) || id["sub"] != string(alice.ID) {
		t.Errorf("id token: %v", id)
	}
	g.gone("a token that was asked for without a resource", h.AccessToken)
}

func (g *rig) exchange2(code, verifier string, pairs ...string) heard {
	g.t.Helper()
	return g.post(tenantToken, over([]string{"grant_type", "authorization_code", "code", code, "code_verifier", verifier}, pairs)...)
}

// TestFormPost: who wants the answer in a form gets a page that posts it there and nowhere else.
func TestFormPost(t *testing.T) {
	g := newRig(t)
	h := g.authorizeWith("response_mode", "form_post", "prompt", "none", "state", `"><script>alert(1)</script>`)
	csp := h.header.Get("Content-Security-Policy")
	if h.status != http.StatusOK || !strings.Contains(h.body, `action="http://localhost:8400"`) || !strings.Contains(h.body, `name="iss" value="`+publicURL+`/adfs"`) ||
		strings.Contains(h.body, "<script>alert") || !strings.Contains(csp, "form-action http://localhost:8400;") || !strings.Contains(csp, "default-src 'none'") {
		t.Errorf("%d %s\n%s", h.status, csp, h.body)
	}
	r := httptest.NewRequest(http.MethodPost, "/adfs/oauth2/v2.0/authorize", strings.NewReader("client_id="+azureCLI+"&prompt=none"))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if h := g.serve(g.Server, r); h.status != http.StatusSeeOther || h.header.Get("Location") != "/adfs/oauth2/v2.0/authorize?client_id="+azureCLI+"&prompt=none" {
		t.Errorf("a posted request: %d %s", h.status, h.header.Get("Location"))
	}
}

// TestLogoutGoesBackToRegisteredAddressesAlone.
func TestLogoutGoesBackToRegisteredAddressesAlone(t *testing.T) {
	g := newRig(t)
	g.Clients = []Client{{ID: "grafana", Name: "Grafana", Redirects: []string{"https://grafana.example.org/bye"}}}
	code, verifier := g.code(g.newPerson("alice"))
	hint := g.exchange(code, verifier).must(t).IDToken
	for what, c := range map[string]struct {
		query string
		to    string
	}{
		"nothing":           {"", publicURL + "/signin"},
		"registered":        {"client_id=grafana&post_logout_redirect_uri=https://grafana.example.org/bye&state=x", "https://grafana.example.org/bye?state=x"},
		"by hint":           {"id_token_hint=" + hint + "&post_logout_redirect_uri=http://localhost:8400", "http://localhost:8400"},
		"not registered":    {"client_id=grafana&post_logout_redirect_uri=https://evil.example", ""},
		"no client":         {"post_logout_redirect_uri=https://grafana.example.org/bye", ""},
		"hint of another":   {"client_id=grafana&id_token_hint=" + hint, ""},
		"hint that is none": {"id_token_hint=x", ""},
		"forged hint":       {"id_token_hint=" + hint[:len(hint)-4] + "AAAA", ""},
	} {
		h := g.get("/" + tenantID + "/oauth2/v2.0/logout?" + c.query)
		if to := h.header.Get("Location"); to != c.to || (c.to == "") != (h.status == http.StatusBadRequest) {
			t.Errorf("%s: %d to %q", what, h.status, to)
		}
	}
}
