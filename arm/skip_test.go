package arm

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/ajartest"
	"github.com/ajar-access/ajar/authn"
	"github.com/ajar-access/ajar/rbac"
)

// TestSkipTokensTellNothing: where a list goes on may be at something that the caller may not read, so a skip token shows
// nobody where that is, is good for nobody else, and is taken by every replica.
func TestSkipTokensTellNothing(t *testing.T) {
	r := newRig(t)
	kek := authn.NewKEK()
	vault := func() *authn.Vault {
		v, err := authn.NewVault(r.Store, r.Now, kek)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	r.auth.Vault = vault()
	alice := &ajar.Principal{ID: ajar.PrincipalID(uuid.NewString()), Kind: ajar.User, Name: "alice"}
	eve := &ajar.Principal{ID: ajar.PrincipalID(uuid.NewString()), Kind: ajar.User, Name: "eve"}
	docs := []ajar.Doc{alice, eve, &ajar.RoleAssignment{ID: uuid.NewString(), Principal: alice.ID, Role: rbac.Reader, Scope: ajartest.PolicyID("another")}}
	for _, name := range []string{"vm1", "vm2-of-the-board"} {
		id := ajartest.MachineID(name)
		docs = append(docs, &ajar.Target{ID: id, Created: r.Now()})
		for n := range 2 {
			docs = append(docs, &ajar.Lease{ID: ajar.LeaseID(uuid.NewString()), Target: id, Policy: ajartest.PolicyID("p"), Requester: map[bool]ajar.PrincipalID{true: alice.ID, false: eve.ID}[name == "vm1"],
				State: ajar.Open, Start: r.Now(), End: r.Now().Add(time.Hour), Flow: ajar.Flow{Port: ajar.Port{Number: uint16(n + 1), Protocol: ajar.TCP}}})
		}
	}
	r.Put(docs...)
	path := "/ajar/v1/leases?live=true&$top=2&scope=" + url.QueryEscape(string(ajartest.Group))
	token := r.tokenFor(ajar.Caller{Principal: alice.ID})
	var l struct {
		Value    []json.RawMessage
		NextLink string
	}
	a := r.do("GET", path, token, "")
	if err := json.Unmarshal([]byte(a.body), &l); err != nil || len(l.Value) != 2 || l.NextLink == "" {
		t.Fatal(a.Status, a.body)
	}
	_, text, _ := strings.Cut(l.NextLink, "$skiptoken=")
	for s, n := text, 0; n < 4; n++ {
		b, err := base64.RawURLEncoding.DecodeString(s)
		if strings.Contains(string(b), "board") {
			t.Errorf("the token tells of a machine that alice may not read: %q", b)
		}
		if err != nil || len(b) < 2 {
			break
		}
		s = string(b[1:])
		if i := strings.IndexByte(s, '\n'); i >= 0 {
			s = s[i+1:]
		}
	}
	for who, status := range map[*ajar.Principal]int{alice: 200, eve: 400} {
		if a := r.do("GET", path+"&$skiptoken="+text, r.tokenFor(ajar.Caller{Principal: who.ID}), ""); a.StatusCode != status {
			t.Errorf("for %s: %s %s", who.Name, a.Status, a.body)
		}
	}
	r.auth.Vault = vault()
	if a := r.do("GET", path+"&$skiptoken="+text, token, ""); a.StatusCode != 200 {
		t.Errorf("at another replica: %s %s", a.Status, a.body)
	}
	if a := r.do("GET", path+"&$skiptoken="+formatSkip("anything"), token, ""); a.StatusCode != 400 {
		t.Errorf("made up: %s %s", a.Status, a.body)
	}
}
