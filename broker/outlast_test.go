package broker_test

import (
	"strings"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
)

// TestWhatATokenMayMake: nothing that lasts longer than what stands behind it.
func TestWhatATokenMayMake(t *testing.T) {
	p := newPlane(t)
	made, err := p.b.PutPrincipal(ctx, p.owner, ajar.Principal{Kind: ajar.ServicePrincipal, Name: "deployer"})
	p.must(err)
	n := 0
	token := func(who ajar.Caller) (*ajar.Token, error) {
		n++
		return p.b.PutToken(ctx, who, ajar.Token{Hash: strings.Repeat(string(rune('0'+n)), 64), Name: "x", Expires: start.Add(80 * 24 * time.Hour)})
	}
	secret := func(who ajar.Caller) error {
		n++
		return first(p.b.PutCredential(ctx, who, ajar.Credential{Principal: made.ID, Kind: ajar.Secret, Hash: strings.Repeat(string(rune('0'+n)), 64)}))
	}
	who := ajar.Caller{Principal: made.ID, Name: made.Name, From: here, Via: "arm", AuthTime: start}
	p.must(first(token(who)))
	p.must(secret(who))

	app := who
	app.App = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"
	p.refused(ajar.Forbidden, first(token(app)), "ajar login")
	p.refused(ajar.Forbidden, secret(app), "ajar login")
	own := who
	own.App = strings.ToUpper(ajar.OwnClient)
	p.must(first(token(own)))

	elsewhere := who
	elsewhere.Until = start.Add(time.Hour)
	elsewhere.Groups = []ajar.PrincipalID{made.ID}
	k, err := token(elsewhere)
	p.must(err)
	if !k.Expires.Equal(elsewhere.Until) || !k.Vouched.Until.Equal(elsewhere.Until) || len(k.Vouched.Groups) != 1 {
		t.Errorf("it ends at %s: %+v", k.Expires, k.Vouched)
	}
	p.refused(ajar.Forbidden, secret(elsewhere), "elsewhere")

	admin := p.owner // an administrator's application works for others as before
	admin.App = app.App
	p.must(secret(admin))
}
