package issuer

import (
	"testing"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/authn"
)

// TestAResetOfFactorsEndsEverything that was got before: programs that were signed in with a browser, codes that wait, and
// tokens; nobody knows which of them whoever has the phone got.
func TestAResetOfFactorsEndsEverything(t *testing.T) {
	g := newPages(t)
	anna, _, _ := g.newGuarded("anna")
	bert := g.newPerson("bert")
	code, verifier := g.code(anna)
	waiting, proof := g.code(anna)
	got := g.exchange(code, verifier).must(t)
	theirs := g.exchange(g.code(bert)).must(t)
	text, hash := authn.NewToken()
	who := ajar.Caller{Principal: anna.ID, Name: anna.Name, AuthTime: g.now(), Amr: []string{"pwd", "otp", "mfa"}}
	_, err := g.Broker.PutToken(t.Context(), who, ajar.Token{Hash: hash, Name: "ci", Expires: g.now().AddDate(0, 0, 1)})
	fatal(t, err)
	if _, err := g.use(text); err != nil {
		t.Fatal(err)
	}
	n, err := g.Broker.ResetFactors(t.Context(), ajar.Plane, anna.ID)
	if fatal(t, err); n == 0 {
		t.Error("there were no factors")
	}
	g.Auth.Forget(anna.ID)
	g.gone("the access token", got.AccessToken)
	g.gone("the token that was made", text)
	g.refreshWith(got.RefreshToken).refusedAs(t, "the refresh token", 400, "invalid_grant")
	g.exchange(waiting, proof).refusedAs(t, "the code that waits", 400, "invalid_grant")
	if _, err := g.use(theirs.AccessToken); err != nil {
		t.Errorf("somebody else's: %v", err)
	}
}
