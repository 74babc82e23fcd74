package broker_test

import (
	"testing"

	"github.com/ajar-access/ajar"
)

// TestOnesOwnPasswordIsNotRemoved: who found a token, and knows the password's id, does not get rid of what they would have
// to confirm before they set another.
func TestOnesOwnPasswordIsNotRemoved(t *testing.T) {
	p := newPlane(t)
	alice := p.user("alice")
	c, err := p.b.PutCredential(ctx, alice, ajar.Credential{Principal: alice.Principal, Kind: ajar.Password, Hash: "h"})
	p.must(err)
	_, err = p.b.DeleteCredential(ctx, alice, c.ID)
	p.refused(ajar.Forbidden, err, "not removed")
	p.must(first(p.b.DeleteCredential(ctx, p.owner, c.ID)))
}
