package authn

import (
	"errors"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
)

// TestAPasswordForOnceTakesTheSecondFactor, and is not used up by being refused; the plane's own one-time one stands
// alone.
func TestAPasswordForOnceTakesTheSecondFactor(t *testing.T) {
	d := newDoor(t)
	p, secret, _ := d.guarded("anna")
	var creds []*ajar.Credential
	if err := d.Store.View(t.Context(), func(tx ajar.Tx) (err error) {
		creds, _, err = ajar.List[ajar.Credential](tx, ajar.Filter{Owner: p.ID})
		return err
	}); err != nil || len(creds) != 1 {
		t.Fatal(creds, err)
	}
	creds[0].Expires = d.clock.now().Add(time.Hour)
	d.put(creds[0])
	for range 2 {
		var e *ajar.Error
		if err := d.enter("anna", "", home); !errors.As(err, &e) || e.Code != SecondFactorRequired {
			t.Fatalf("the password alone: %v", err)
		}
	}
	if err := d.enter("anna", TOTPCode(secret, d.clock.now()), home); err != nil {
		t.Fatalf("with the code: %v", err)
	}
	d.clock.step(time.Minute)
	if err := d.enter("anna", TOTPCode(secret, d.clock.now()), home); !errors.Is(err, ajar.Unauthenticated) {
		t.Errorf("it was good for once: %v", err)
	}
	once, hash, err := d.Hasher.NewOnce(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	d.put(&ajar.Credential{ID: "once", Principal: p.ID, Kind: ajar.Once, Hash: hash, Expires: d.clock.now().Add(time.Hour)})
	if s, err := d.try("anna", once, home); err != nil || !s.Once {
		t.Errorf("the plane's own: %+v, %v", s, err)
	}
}
