package issuer

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
)

// TestWhatADisabledAccountHadStaysEnded: who is enabled again signs in again. What was given out before, perhaps to
// whoever the account was disabled for, is good no longer.
func TestWhatADisabledAccountHadStaysEnded(t *testing.T) {
	g := newPages(t)
	alice := g.newPerson("alice")
	b := g.browser().signIn("alice")
	code, verifier := g.code(alice)
	waiting, proof := g.code(alice)
	got := g.exchange(code, verifier).must(t)
	for _, disabled := range []bool{true, false} {
		p := *alice
		p.Disabled = disabled
		_, err := g.Broker.PutPrincipal(t.Context(), ajar.Plane, p)
		fatal(t, err)
		g.Auth.Forget(alice.ID)
		g.step(time.Second)
		if _, err := g.use(got.AccessToken); err == nil {
			t.Errorf("disabled %v: the access token is taken", disabled)
		}
		if who := b.open("/account").signedIn(); who != "" {
			t.Errorf("disabled %v: the browser is signed in as %s", disabled, who)
		}
	}
	if h := g.post(adfsToken, "client_id", azureCLI, "grant_type", "refresh_token", "refresh_token", got.RefreshToken); h.status != 400 {
		t.Errorf("the refresh token gives another: %d", h.status)
	}
	if h := g.exchange(waiting, proof); h.status != 400 {
		t.Errorf("the code gives a token: %d", h.status)
	}
	if who := g.browser().signIn("alice").signedIn(); who != "alice" {
		t.Errorf("signed in anew as %q", who)
	}
}

// TestNothingIsGivenAfterTheSessionEnded: the page was read while somebody was signed in, and answered when what they had
// was ended.
func TestNothingIsGivenAfterTheSessionEnded(t *testing.T) {
	g := newRig(t)
	alice := g.newPerson("alice")
	who := g.sessionFor(alice)
	r, h, _ := g.wished()
	device, user := g.device()
	for _, disabled := range []bool{true, false} {
		p := *alice
		p.Disabled = disabled
		_, err := g.Broker.PutPrincipal(t.Context(), ajar.Plane, p)
		fatal(t, err)
	}
	if _, err := g.newCode(r, h, who); err == nil || asFault(err).status != http.StatusForbidden || asFault(err).params()["error"] != "access_denied" {
		t.Errorf("a code is given: %v", err)
	}
	if err := g.decideDevice(t.Context(), user, who, somewhere, "", true); !errors.Is(err, ajar.Forbidden) {
		t.Errorf("a device is let in: %v", err)
	}
	g.poll(device).refusedAs(t, "the device", http.StatusBadRequest, "authorization_pending")
	other := g.sessionFor(g.newPerson("bob"))
	other.Principal = alice.ID
	if _, err := g.newCode(r, h, other); err == nil {
		t.Error("a code is given by another's session")
	}
	if _, err := g.newCode(r, h, g.sessionFor(alice)); err != nil {
		t.Errorf("signed in anew: %v", err)
	}
}
