package issuer

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/authn"
)

// TestAnEndedSessionChangesNothing: a form that is being answered while somebody ends the session that it is of, and all
// that the account has, gives the account no other password and no factor.
func TestAnEndedSessionChangesNothing(t *testing.T) {
	g := newPages(t)
	m := &meanwhile{Store: g.Broker.Store}
	g.Broker.Store = m
	for what, send := range map[string]func(b *browser, meanwhile func()){
		"a password": func(b *browser, meanwhile func()) {
			b.open("/account/password")
			meanwhile()
			b.fill("/account/password", "new", "the thief's own password", "again", "the thief's own password")
		},
		"an app": func(b *browser, meanwhile func()) {
			u, err := url.Parse(b.open("/account/factor").otpauth())
			fatal(t, err)
			meanwhile()
			b.fill("/account/factor/totp", "code", authn.TOTPCode(fromBase32(t, u.Query().Get("secret")), g.now()))
		},
	} {
		p := g.newPerson("alice of " + what)
		thief := g.browser().signIn(p.Name)
		send(thief, func() {
			m.do = func() {
				_, err := g.Broker.ResetFactors(t.Context(), ajar.Plane, p.ID)
				fatal(t, err)
			}
		})
		if m.do != nil || thief.page.status != http.StatusForbidden {
			t.Errorf("%s: %d; ended: %v", what, thief.page.status, m.do == nil)
		}
		list, err := g.Auth.Factors(t.Context(), p.ID)
		if fatal(t, err); len(list) != 0 {
			t.Errorf("%s: %d factors", what, len(list))
		}
		if who := g.browser().signIn(p.Name).signedIn(); who != p.Name {
			t.Errorf("%s: the password is another", what)
		}
	}
}
