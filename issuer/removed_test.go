package issuer

import (
	"errors"
	"testing"

	"github.com/google/uuid"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/authn"
)

// TestARemovedSecretTakesAlongWhatItGave: access tokens, opaque ones and what was made with these, and nothing that
// another secret gave.
func TestARemovedSecretTakesAlongWhatItGave(t *testing.T) {
	g := newRig(t)
	p, old := g.newProgram("deployer")
	creds, err := g.Broker.Credentials(t.Context(), ajar.Plane, p.ID)
	fatal(t, err)
	fresh, hash, hint := authn.NewSecret()
	g.put(&ajar.Credential{ID: uuid.NewString(), Principal: p.ID, Kind: ajar.Secret, Hash: hash, Hint: hint, Created: g.now()})
	all := map[string][]string{}
	for _, secret := range []string{old, fresh} {
		access := g.post(adfsToken, "grant_type", "client_credentials", "client_id", string(p.ID), "client_secret", secret, "scope", resource).must(t)
		opaque, err := g.Auth.SignIn(t.Context(), authn.Login{Name: "deployer", Secret: secret, Via: "arm"})
		fatal(t, err)
		long, err := g.made(opaque.Token)
		fatal(t, err)
		all[secret] = []string{access.AccessToken, opaque.Token, long}
	}
	who, err := g.use(all[old][1])
	fatal(t, err)
	_, err = g.Broker.DeleteCredential(t.Context(), ajar.Plane, creds[0].ID)
	fatal(t, err)
	g.Auth.Forget(p.ID)
	for i, what := range []string{"the access token", "the opaque token", "the token that was made"} {
		g.gone(what, all[old][i])
		if _, err := g.use(all[fresh][i]); err != nil {
			t.Errorf("%s of the other secret: %v", what, err)
		}
	}
	_, hash = authn.NewToken()
	if _, err := g.Broker.PutToken(t.Context(), who, ajar.Token{Hash: hash, Expires: g.now().AddDate(0, 0, 1)}); !errors.Is(err, ajar.Unauthenticated) {
		t.Errorf("whoever is remembered makes another: %v", err)
	}
}

// TestARemovedCertificateTakesAlongWhatItGave, too.
func TestARemovedCertificateTakesAlongWhatItGave(t *testing.T) {
	v := newProver(t)
	got := v.send(v.sign(v.x5t(), nil)).must(t)
	creds, err := v.Broker.Credentials(t.Context(), ajar.Plane, v.p.ID)
	fatal(t, err)
	for _, c := range creds {
		if c.Kind == ajar.Certificate {
			_, err := v.Broker.DeleteCredential(t.Context(), ajar.Plane, c.ID)
			fatal(t, err)
		}
	}
	v.Auth.Forget(v.p.ID)
	v.gone("the access token", got.AccessToken)
}
