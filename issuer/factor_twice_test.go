package issuer

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/authn"
)

// TestOnePictureIsOneFactor: a form that is sent twice does not enrol the same secret twice, or each of its codes would be
// good once for either.
func TestOnePictureIsOneFactor(t *testing.T) {
	g := newPages(t)
	alice := g.newPerson("alice")
	b := g.browser().signIn("alice").open("/account/factor")
	u, err := url.Parse(b.otpauth())
	fatal(t, err)
	secret := fromBase32(t, u.Query().Get("secret"))
	form := append(b.fields("/account/factor/totp"), "code", authn.TOTPCode(secret, g.now()))
	b.send("/account/factor/totp", form...)
	b.send("/account/factor/totp", form...)
	fatal(t, g.Store.View(t.Context(), func(tx ajar.Tx) error {
		list, _, err := ajar.List[ajar.Factor](tx, ajar.Filter{Owner: alice.ID})
		if len(list) != 1 {
			t.Errorf("%d factors of one secret", len(list))
		}
		return err
	}))
	g.step(30 * time.Second)
	code := authn.TOTPCode(secret, g.now())
	g.browser().signIn("alice").fill("/signin/code", "code", code).shows(http.StatusOK, "Your account")
	g.browser().signIn("alice").fill("/signin/code", "code", code).shows(http.StatusForbidden, "used before")
}
