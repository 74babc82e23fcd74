package broker_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/rbac"
)

// browser puts a session of who into the store.
func (p *plane) browser(who ajar.Caller, key string) string {
	p.t.Helper()
	key = strings.Repeat(key, 64/len(key))
	p.must(p.store.Update(ctx, func(tx ajar.Tx) error {
		return tx.Put(&ajar.Session{Key: key, State: ajar.SessionWhole, Principal: who.Principal, Created: p.clock(), Idle: p.clock().Add(time.Hour), Expires: p.clock().Add(time.Hour)})
	}))
	return key
}

func (p *plane) factors(who ajar.Caller) (list []*ajar.Factor) {
	p.t.Helper()
	p.must(p.store.View(ctx, func(tx ajar.Tx) (err error) {
		list, _, err = ajar.List[ajar.Factor](tx, ajar.Filter{Owner: who.Principal})
		return err
	}))
	return list
}

func (p *plane) browsers(who ajar.Caller) int {
	p.t.Helper()
	all, err := p.b.Sessions(ctx, who)
	p.must(err)
	return len(all)
}

// TestFactorsAreOnesOwn: nobody touches another's; a passkey has one holder; recovery codes go with the last factor.
func TestFactorsAreOnesOwn(t *testing.T) {
	p := newPlane(t)
	anna, bert := p.user("anna"), p.user("bert")
	key, err := p.b.PutFactor(ctx, anna, ajar.Factor{Kind: ajar.Passkey, Name: "key", Handle: "abc", Principal: bert.Principal})
	p.must(err)
	if key.Principal != anna.Principal {
		t.Errorf("it went to %s", key.Principal)
	}
	for what, err := range map[string]error{
		"the same passkey for another": first(p.b.PutFactor(ctx, bert, ajar.Factor{Kind: ajar.Passkey, Name: "key", Handle: "abc"})),
		"no name":                      first(p.b.PutFactor(ctx, anna, ajar.Factor{Kind: ajar.TOTP, Name: " "})),
		"no kind":                      first(p.b.PutFactor(ctx, anna, ajar.Factor{Name: "x"})),
		"another's renamed":            first(p.b.PutFactor(ctx, bert, ajar.Factor{ID: key.ID, Name: "mine"})),
		"another's removed":            p.b.DeleteFactor(ctx, bert, key.ID),
	} {
		if err == nil {
			t.Errorf("%s: done", what)
		}
	}
	if f, err := p.b.PutFactor(ctx, anna, ajar.Factor{ID: key.ID, Name: "blue key"}); err != nil || f.Name != "blue key" || f.Handle != "abc" {
		t.Errorf("renamed: %+v, %v", f, err)
	}
	for range 2 {
		p.must(first(p.b.PutFactor(ctx, anna, ajar.Factor{Kind: ajar.Recovery, Name: "codes", Hashes: []string{"h"}})))
	}
	if n := len(p.factors(anna)); n != 2 {
		t.Errorf("%d factors", n)
	}
	p.must(p.b.DeleteFactor(ctx, anna, key.ID))
	if n := len(p.factors(anna)); n != 0 {
		t.Errorf("%d factors without the passkey", n)
	}
	events, err := p.b.Events(ctx, p.owner, ajar.EventFilter{Caller: anna.Principal})
	p.must(err)
	if len(events) != 7 {
		t.Errorf("%d events", len(events))
	}
}

// TestResetFactors: an administrator can, of somebody who holds no more than they do; it ends the sessions in browsers.
func TestResetFactors(t *testing.T) {
	p := newPlane(t)
	anna, bert := p.user("anna"), p.user("bert")
	p.must(first(p.b.PutFactor(ctx, anna, ajar.Factor{Kind: ajar.TOTP, Name: "phone"})))
	p.browser(anna, "a1")
	if _, err := p.b.ResetFactors(ctx, bert, anna.Principal); !errors.Is(err, ajar.Forbidden) {
		t.Errorf("by anybody: %v", err)
	}
	if _, err := p.b.ResetFactors(ctx, p.user("carl", rbac.Contributor, ajar.Root), p.owner.Principal); !errors.Is(err, ajar.Forbidden) {
		t.Errorf("by one who holds less: %v", err)
	}
	if _, err := p.b.ResetFactors(ctx, p.owner, p.owner.Principal); !errors.Is(err, ajar.Forbidden) {
		t.Errorf("one's own: %v", err)
	}
	if n, err := p.b.ResetFactors(ctx, p.owner, anna.Principal); err != nil || n != 1 || len(p.factors(anna)) != 0 || p.browsers(anna) != 0 {
		t.Errorf("by the owner: %d, %v; %d browsers", n, err, p.browsers(anna))
	}
}

// TestSessionsEndWithPasswordAndAccount: a changed password ends all browsers but the one it was changed with, and who
// is removed leaves nothing.
func TestSessionsEndWithPasswordAndAccount(t *testing.T) {
	p := newPlane(t)
	anna, bert := p.user("anna"), p.user("bert")
	here := p.browser(anna, "a1")
	p.browser(anna, "a2")
	p.browser(anna, "a3")
	theirs := p.browser(bert, "b1")
	if err := p.b.EndSession(ctx, anna, theirs[:16], ""); !errors.Is(err, ajar.NotFound) {
		t.Errorf("another's: %v", err)
	}
	p.must(p.b.EndSession(ctx, anna, strings.Repeat("a3", 8), ""))
	if n := p.browsers(anna); n != 2 {
		t.Errorf("%d browsers", n)
	}
	p.must(first(p.b.PutCredential(ctx, anna, ajar.Credential{Principal: anna.Principal, Kind: ajar.Password, Hash: "h"}, here)))
	if n := p.browsers(anna); n != 1 || p.browsers(bert) != 1 {
		t.Errorf("%d browsers after another password", n)
	}
	p.must(p.b.EndSession(ctx, anna, "", here))
	p.must(first(p.b.PutFactor(ctx, anna, ajar.Factor{Kind: ajar.TOTP, Name: "phone"})))
	p.must(first(p.b.DeletePrincipal(ctx, p.owner, anna.Principal)))
	p.must(p.store.View(ctx, func(tx ajar.Tx) error {
		n, err := tx.Count(ajar.KindSession, ajar.Filter{})
		if n != 1 || len(p.factors(anna)) != 0 {
			t.Errorf("%d sessions, %d factors", n, len(p.factors(anna)))
		}
		return err
	}))
}
