package arm

import (
	"testing"

	"github.com/google/uuid"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/authn"
)

// TestATokenOfWhoSignsInElsewhereMakesNoPassword: who signs in with another provider has no password that could be asked
// for, so whoever finds a token of theirs must not be able to set one. It is for administrators.
func TestATokenOfWhoSignsInElsewhereMakesNoPassword(t *testing.T) {
	r := newRig(t)
	linked := &ajar.Principal{ID: ajar.PrincipalID(uuid.NewString()), Kind: ajar.User, Name: "alice", Upstream: &ajar.Link{Issuer: "https://id.example.org", Subject: "1"}}
	fresh := &ajar.Principal{ID: ajar.PrincipalID(uuid.NewString()), Kind: ajar.User, Name: "bert"}
	text, hash := authn.NewToken()
	r.Put(linked, fresh, &ajar.Token{Hash: hash, Principal: fresh.ID, Client: "04b07795-8ddb-461a-bbee-02f9e1bf7b46", Created: r.Now(), Expires: r.Now().AddDate(0, 0, 1)})
	body := `{"password":"another horse, another battery"}`
	for name, token := range map[string]string{"alice": r.tokenFor(ajar.Caller{Principal: linked.ID}), "bert": text} {
		if a := r.do("PUT", "/ajar/v1/principals/"+name+"/password", token, body); a.StatusCode != 403 {
			t.Errorf("%s: %d %s", name, a.StatusCode, a.body)
		}
	}
	if a := r.do("PUT", "/ajar/v1/principals/bert/password", r.tokenFor(ajar.Caller{Principal: fresh.ID}), body); a.StatusCode != 204 {
		t.Errorf("after a one-time password: %d %s", a.StatusCode, a.body)
	}
	r.must(204, "PUT", "/ajar/v1/principals/alice/password", body)
}
