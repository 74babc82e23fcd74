package issuer

import (
	"testing"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/authn"
)

// TestAResetOfFactorsEndsPrograms that were signed in with a browser, and codes that wait; what was made for a program
// that runs by itself stays.
func TestAResetOfFactorsEndsPrograms(t *testing.T) {
	g := newPages(t)
	anna, _, _ := g.newGuarded("anna")
	bert := g.newPerson("bert")
	code, verifier := g.code(anna)
	waiting, proof := g.code(anna)
	got := g.exchange(code, verifier).must(t)
	theirs := g.exchange(g.code(bert)).must(t)
	text, hash := authn.NewToken()
	_, err := g.Broker.PutToken(t.Context(), ajar.Caller{Principal: anna.ID, Name: anna.Name}, ajar.Token{Hash: hash, Name: "ci", Expires: g.now().AddDate(0, 0, 1)})
	fatal(t, err)
	n, err := g.Broker.ResetFactors(t.Context(), ajar.Plane, anna.ID)
	if fatal(t, err); n == 0 {
		t.Error("there were no factors")
	}
	g.Auth.Forget(anna.ID)
	g.gone("the access token", got.AccessToken)
	g.refreshWith(got.RefreshToken).refusedAs(t, "the refresh token", 400, "invalid_grant")
	g.exchange(waiting, proof).refusedAs(t, "the code that waits", 400, "invalid_grant")
	for what, token := range map[string]string{"the token of a program that runs by itself": text, "somebody else's": theirs.AccessToken} {
		if _, err := g.use(token); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}
