package issuer

import (
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/authn"
)

// made asks, with a token, for one of 80 days.
func (g *rig) made(token string) (text string, err error) {
	g.t.Helper()
	who, err := g.use(token)
	fatal(g.t, err)
	text, hash := authn.NewToken()
	_, err = g.Broker.PutToken(g.t.Context(), who, ajar.Token{Hash: hash, Name: "long", Expires: g.now().AddDate(0, 0, 80)})
	return text, err
}

// TestATokenMakesNoneThatOutlastsIt: whoever finds the token of an hour has an hour.
func TestATokenMakesNoneThatOutlastsIt(t *testing.T) {
	g := newRig(t)
	p, secret := g.newProgram("deployer")
	app := g.post(adfsToken, "grant_type", "client_credentials", "client_id", string(p.ID), "client_secret", secret, "scope", resource).must(t)
	person := g.exchange(g.code(g.newPerson("alice"))).must(t)
	for what, token := range map[string]string{"a program's": app.AccessToken, "a person's": person.AccessToken} {
		if _, err := g.made(token); !errors.Is(err, ajar.Forbidden) {
			t.Errorf("%s access token makes another: %v", what, err)
		}
	}
	who, err := g.use(app.AccessToken)
	fatal(t, err)
	_, hash, _ := authn.NewSecret()
	if _, err := g.Broker.PutCredential(t.Context(), who, ajar.Credential{Principal: p.ID, Kind: ajar.Secret, Hash: hash}); !errors.Is(err, ajar.Forbidden) {
		t.Errorf("a program's access token makes a secret: %v", err)
	}

	// Somebody who signed in elsewhere, in our own program: what they make ends with that, and so does what that makes.
	admins := &ajar.Principal{ID: ajar.PrincipalID(uuid.NewString()), Kind: ajar.Group, Name: "admins"}
	bert := g.newPerson("bert")
	text, hash := authn.NewToken()
	end := g.now().Add(time.Hour)
	g.put(admins, &ajar.Token{Hash: hash, Principal: bert.ID, Client: ajar.OwnClient, Created: g.now(), Expires: end,
		Vouched: ajar.Vouched{Groups: []ajar.PrincipalID{admins.ID}, Until: end}})
	for range 2 {
		text, err = g.made(text)
		fatal(t, err)
	}
	if who, err := g.use(text); err != nil || len(who.Groups) != 1 || who.Groups[0] != admins.ID || !who.Until.Equal(end) {
		t.Errorf("it is %+v, %v", who, err)
	}
	g.step(time.Hour)
	g.gone("what was made", text)
}
