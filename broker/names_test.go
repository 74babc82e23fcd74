package broker_test

import (
	"testing"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/broker"
)

// TestNobodyIsCalledWhatLooksLikeAnother: by characters that nobody sees, neither made by an administrator nor come from a
// provider where strangers choose what they are called.
func TestNobodyIsCalledWhatLooksLikeAnother(t *testing.T) {
	p := newPlane(t)
	for _, name := range []string{"adm\u200bin", "admin\u00ad", "a\u202enimd", "ad\u2066min", "adm\u2060in", "ad\u00a0min", "admin\ufeff", "a\ufffd"} {
		_, err := p.b.PutPrincipal(ctx, p.owner, ajar.Principal{Kind: ajar.User, Name: name})
		p.refused(ajar.Invalid, err, "nobody sees")
		_, err = p.b.PutPrincipal(ctx, p.owner, ajar.Principal{Kind: ajar.User, Name: "fine", Display: name})
		p.refused(ajar.Invalid, err, "nobody sees")
		_, err = p.b.Arrive(ctx, broker.Arrival{Link: ajar.Link{Issuer: "https://id.example.org", Subject: name}, Provider: "corp", Name: name, Create: true})
		p.refused(ajar.Invalid, err, "nobody sees")
	}
	_, err := p.b.PutRoleDefinition(ctx, p.owner, ajar.RoleDefinition{Name: "Owner\u200b", AssignableScopes: []ajar.ID{ajar.Root}, Permissions: []ajar.Permission{{Actions: []ajar.Action{"*"}}}})
	p.refused(ajar.Invalid, err, "can be seen")
	got, err := p.b.Arrive(ctx, broker.Arrival{Link: ajar.Link{Issuer: "https://id.example.org", Subject: "s"}, Provider: "corp", Name: "jürgen.müller", Display: "Jürgen\u202e \u0645\u06cc\u200c\u062e", Create: true})
	p.must(err)
	if got.Display != "Jürgen \u0645\u06cc\u200c\u062e" {
		t.Errorf("shown as %q", got.Display)
	}
}
