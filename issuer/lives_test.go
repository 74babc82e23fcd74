package issuer

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/authn"
)

// had is everything that somebody can be given, of each one.
type had struct {
	who     *ajar.Principal
	other   *Server // another replica, where it is looked at
	browser *browser
	tokens  map[string]string
	forms   map[string][]string // what gives tokens at the token endpoint
}

// personHad gives a person all that there is.
func (g *rig) personHad(other *Server) *had {
	g.t.Helper()
	p := g.newPerson(uuid.NewString()[:8] + ".person")
	h := &had{who: p, other: other, browser: g.browser().signIn(p.Name), tokens: map[string]string{}, forms: map[string][]string{}}
	login, err := g.Auth.SignIn(g.t.Context(), authn.Login{Name: p.Name, Secret: personal, Via: "arm"})
	fatal(g.t, err)
	h.tokens["log-in"] = login.Token
	h.tokens["made"], err = g.made(login.Token)
	fatal(g.t, err)
	got := g.exchange(g.code(p)).must(g.t)
	h.tokens["access"] = got.AccessToken
	h.forms["refresh"] = []string{"grant_type", "refresh_token", "refresh_token", got.RefreshToken}
	code, verifier := g.code(p)
	h.forms["code"] = []string{"grant_type", "authorization_code", "code", code, "code_verifier", verifier, "redirect_uri", "http://localhost:8400"}
	device, user := g.device()
	fatal(g.t, g.decideDevice(g.t.Context(), user, g.sessionFor(p), somewhere, "", true))
	h.forms["device"] = []string{"grant_type", grantDevice, "device_code", device}
	return h
}

// programHad gives a program all that there is.
func (g *rig) programHad(other *Server) (h *had, credential string) {
	g.t.Helper()
	p, secret := g.newProgram(uuid.NewString()[:8] + ".program")
	h = &had{who: p, other: other, tokens: map[string]string{}}
	creds, err := g.Broker.Credentials(g.t.Context(), ajar.Plane, p.ID)
	fatal(g.t, err)
	h.tokens["access"] = g.post(adfsToken, "grant_type", "client_credentials", "client_id", string(p.ID), "client_secret", secret, "scope", resource).must(g.t).AccessToken
	login, err := g.Auth.SignIn(g.t.Context(), authn.Login{Name: p.Name, Secret: secret, Via: "arm"})
	fatal(g.t, err)
	h.tokens["log-in"] = login.Token
	h.tokens["made"], err = g.made(login.Token)
	fatal(g.t, err)
	return h, creds[0].ID
}

// alive is what is still good at the other replica.
func (h *had) alive(g *rig) string {
	g.t.Helper()
	var out []string
	for what, token := range h.tokens {
		if _, err := useAt(h.other, token); err == nil {
			out = append(out, what)
		}
	}
	for what, form := range h.forms {
		if g.postTo(h.other, adfsToken, append([]string{"client_id", azureCLI}, form...)...).AccessToken != "" {
			out = append(out, what)
		}
	}
	if h.browser != nil {
		h.browser.s = h.other
		if h.browser.open("/account").signedIn() != "" {
			out = append(out, "browser")
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// TestHowLongWhatWasGivenLives is the table of docs/security.md: what ends within a second of what happens, on every
// replica, and what does not.
func TestHowLongWhatWasGivenLives(t *testing.T) {
	dsn := "sqlite:" + filepath.Join(t.TempDir(), "ajar.db")
	g := newRigOver(t, dsn)
	g.Auth.Vault = g.vault
	other := g.plane(g.open(t, dsn))
	other.Auth.Vault = g.vault
	const everything = "access browser code device log-in made refresh"
	ctx := t.Context()
	for _, c := range []struct {
		what  string
		do    func(h *had) error
		stays string
	}{
		{"nothing", func(*had) error { return nil }, everything},
		{"disabled", func(h *had) error {
			_, err := g.Broker.PutPrincipal(ctx, ajar.Plane, ajar.Principal{ID: h.who.ID, Name: h.who.Name, Disabled: true})
			return err
		}, ""},
		{"deleted", func(h *had) error { _, err := g.Broker.DeletePrincipal(ctx, ajar.Plane, h.who.ID); return err }, ""},
		{"another password", func(h *had) error {
			_, err := g.Broker.PutCredential(ctx, ajar.Plane, ajar.Credential{Principal: h.who.ID, Kind: ajar.Password, Hash: "x"})
			return err
		}, ""},
		{"the first factor", func(h *had) error {
			_, err := g.Broker.PutFactor(ctx, ajar.Caller{Principal: h.who.ID}, ajar.Factor{Kind: ajar.TOTP, Name: "x"})
			return err
		}, ""},
		{"a reset of factors", func(h *had) error { _, err := g.Broker.ResetFactors(ctx, ajar.Plane, h.who.ID); return err }, ""},
		{"the link to a provider is taken away", func(h *had) error {
			p := g.person(h.who.ID)
			p.Upstream = &ajar.Link{Issuer: "https://id.example.org", Subject: h.who.Name}
			g.put(p)
			_, err := g.Broker.PutPrincipal(ctx, ajar.Plane, ajar.Principal{ID: p.ID, Name: p.Name, Upstream: &ajar.Link{}})
			return err
		}, ""},
		{"the access token is revoked", func(h *had) error {
			_, err := g.Broker.RevokeToken(ctx, ajar.Caller{Principal: h.who.ID}, h.who.ID, authn.HashSecret(h.tokens["access"]))
			return err
		}, "browser code device log-in made"},
		{"the log-in is revoked", func(h *had) error {
			_, err := g.Broker.RevokeToken(ctx, ajar.Caller{Principal: h.who.ID}, h.who.ID, authn.HashSecret(h.tokens["log-in"]))
			return err
		}, "access browser code device made refresh"},
		{"the browser is signed out", func(h *had) error { h.browser.open("/signout").fill("/signout"); return nil }, "access code device log-in made refresh"},
		{"the keys are withdrawn", func(*had) error { return g.Auth.Tokens.Keys.Withdraw(ctx) }, "browser code device log-in made refresh"},
		{"a restore", func(*had) error { return authn.RevokeAll(ctx, g.Store, g.now()) }, ""},
	} {
		h := g.personHad(other)
		if before := len(h.tokens); before != 3 {
			t.Fatalf("%d tokens", before)
		}
		for _, token := range h.tokens { // so that the other replica remembers them
			_, err := useAt(other, token)
			fatal(t, err)
		}
		fatal(t, c.do(h))
		g.step(time.Second)
		if got := h.alive(g); got != c.stays {
			t.Errorf("%s: %q stays, not %q", c.what, got, c.stays)
		}
	}
	for _, c := range []struct {
		what  string
		do    func(h *had, credential string) error
		stays string
	}{
		{"nothing", func(*had, string) error { return nil }, "access log-in made"},
		{"disabled", func(h *had, _ string) error {
			_, err := g.Broker.PutPrincipal(ctx, ajar.Plane, ajar.Principal{ID: h.who.ID, Name: h.who.Name, Disabled: true})
			return err
		}, ""},
		{"deleted", func(h *had, _ string) error {
			_, err := g.Broker.DeletePrincipal(ctx, ajar.Plane, h.who.ID)
			return err
		}, ""},
		{"the secret is removed", func(_ *had, credential string) error {
			_, err := g.Broker.DeleteCredential(ctx, ajar.Plane, credential)
			return err
		}, ""},
	} {
		h, credential := g.programHad(other)
		for _, token := range h.tokens {
			_, err := useAt(other, token)
			fatal(t, err)
		}
		fatal(t, c.do(h, credential))
		g.step(time.Second)
		if got := h.alive(g); got != c.stays {
			t.Errorf("of a program, %s: %q stays, not %q", c.what, got, c.stays)
		}
	}
}
