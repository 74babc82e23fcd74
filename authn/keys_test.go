package authn

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
)

// keyring is a door whose plane signs tokens.
func (d *door) keyring(kek []byte) *Keys {
	d.t.Helper()
	v, err := NewVault(d.Store, d.clock.now, kek)
	if err != nil {
		d.t.Fatal(err)
	}
	return &Keys{Vault: v}
}

func (k *Keys) names(t *testing.T) (names []string) {
	t.Helper()
	set, err := k.Public(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, j := range set.Keys {
		names = append(names, j.KeyID)
	}
	return names
}

func (k *Keys) signs(t *testing.T) string {
	t.Helper()
	ring, err := k.current(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return signing(ring, k.Vault.Clock()).id
}

// TestKeysTakeTurns: a key is published before it signs, signs for its time, and stays published until nothing that it
// signed is good.
func TestKeysTakeTurns(t *testing.T) {
	d := newDoor(t)
	kek := NewKEK()
	one, other := d.keyring(kek), d.keyring(kek)
	first := one.signs(t)
	if got := other.names(t); len(got) != 1 || got[0] != first || other.signs(t) != first {
		t.Fatalf("two replicas have %v and %s", got, first)
	}
	d.clock.step(one.lifetime() - keysLead)
	second := slices.DeleteFunc(one.names(t), func(n string) bool { return n == first })
	if len(second) != 1 || one.signs(t) != first {
		t.Fatalf("before its turn the second is %v, and %s signs", second, one.signs(t))
	}
	d.clock.step(keysLead)
	if one.signs(t) != second[0] || other.signs(t) != second[0] || len(other.names(t)) != 2 {
		t.Errorf("at its turn %s signs, and %v are published", one.signs(t), other.names(t))
	}
	d.clock.step(one.longest() + keysLead)
	one.signs(t) // an old key goes when the next comes
	d.clock.step(one.lifetime() - keysLead)
	one.signs(t)
	if got := one.names(t); slices.Contains(got, first) || !slices.Contains(got, second[0]) {
		t.Errorf("long after, there are still %v", got)
	}
}

// TestKeysAreMadeOnce by however many replicas that start together.
func TestKeysAreMadeOnce(t *testing.T) {
	d := newDoor(t)
	kek := NewKEK()
	var wait sync.WaitGroup
	var mu sync.Mutex
	got := map[string]int{}
	for range 8 {
		k := d.keyring(kek)
		wait.Go(func() {
			name := k.signs(t)
			mu.Lock()
			defer mu.Unlock()
			got[name]++
		})
	}
	wait.Wait()
	if len(got) != 1 {
		t.Errorf("there are %v", got)
	}
	if _, err := d.keyring(NewKEK()).Public(t.Context()); err == nil {
		t.Error("another key-encryption key opens them")
	}
}

// TestSweepTakesWhatEndedLongAgo of every kind, and nothing else.
func TestSweepTakesWhatEndedLongAgo(t *testing.T) {
	d := newDoor(t)
	now := d.clock.now()
	token := func(hash string, kind ajar.TokenKind, ends time.Duration) ajar.Doc {
		return &ajar.Token{Hash: hash, Kind: kind, Principal: "p", Expires: now.Add(ends)}
	}
	d.put(
		token("access, long past", ajar.Access, -2*time.Hour), token("access, just past", ajar.Access, -time.Minute), token("access, live", ajar.Access, time.Hour),
		token("opaque, past", ajar.Opaque, -2*time.Hour), token("opaque, long past", ajar.Opaque, -rememberGood-time.Hour),
		&ajar.Grant{Key: "past", Kind: ajar.GrantCode, State: ajar.GrantUsed, Until: now.Add(-time.Second)}, &ajar.Grant{Key: "live", Kind: ajar.GrantFamily, Until: now.Add(time.Second)},
		&ajar.Familiar{Key: "past", Until: now.Add(-time.Second)}, &ajar.Familiar{Key: "live", Until: now.Add(time.Second)},
	)
	if err := d.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]bool{
		"token/access, long past": false, "token/access, just past": true, "token/access, live": true, "token/opaque, past": true, "token/opaque, long past": false,
		"grant/past": false, "grant/live": true, "familiar/past": false, "familiar/live": true,
	} {
		if got := d.has(key); got != want {
			t.Errorf("%s is there: %t", key, got)
		}
	}
	if err := RevokeAll(t.Context(), d.Store, now); err != nil {
		t.Fatal(err)
	}
	err := d.Store.View(t.Context(), func(tx ajar.Tx) error {
		g, err := ajar.Get[ajar.Grant](tx, "live")
		if err == nil && g.State != ajar.GrantEnded {
			t.Errorf("after a restore a family is %s", g.State)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (d *door) has(kindAndKey string) bool {
	d.t.Helper()
	var err error
	d.Store.View(d.t.Context(), func(tx ajar.Tx) error { //nolint:errcheck // what is looked for is err
		for _, kind := range []ajar.DocKind{ajar.KindToken, ajar.KindGrant, ajar.KindFamiliar} {
			if key, ok := trimKind(kindAndKey, kind); ok {
				err = tx.GetDoc(kind, key, blank(kind))
			}
		}
		return nil
	})
	return !errors.Is(err, ajar.NotFound)
}

func trimKind(s string, kind ajar.DocKind) (key string, ok bool) {
	n := len(kind) + 1
	return s[min(n, len(s)):], len(s) > n && s[:n] == string(kind)+"/"
}

// TestSpend: what may happen so often happens so often, and asking costs nothing.
func TestSpend(t *testing.T) {
	d := newDoor(t)
	l := Limit{Burst: 3, Every: time.Minute}
	here, there := netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("203.0.113.2")
	for i := range 3 {
		if d.Spend("x", here, l, 0) != 0 || d.Spend("x", here, l, 1) != 0 {
			t.Fatalf("number %d has to wait", i)
		}
	}
	if w := d.Spend("x", here, l, 1); w <= 0 || w > time.Minute {
		t.Errorf("the fourth waits %s", w)
	}
	if d.Spend("x", there, l, 1) != 0 || d.Spend("y", here, l, 1) != 0 {
		t.Error("somebody else, or something else, has to wait")
	}
	d.clock.step(time.Minute)
	if d.Spend("x", here, l, 1) != 0 || d.Spend("x", here, l, 1) == 0 {
		t.Error("a minute later it is not one more")
	}
}

// TestProgramsSignInAtOnce: as many times at once as they like, with a secret that cannot be guessed.
func TestProgramsSignInAtOnce(t *testing.T) {
	d := newDoor(t)
	text, hash, hint := NewSecret()
	d.put(&ajar.Principal{ID: "5e5f1c5e-0000-4000-8000-000000000001", Kind: ajar.ServicePrincipal, Name: "robot"},
		&ajar.Credential{ID: "c", Principal: "5e5f1c5e-0000-4000-8000-000000000001", Kind: ajar.Secret, Hash: hash, Hint: hint})
	var wait sync.WaitGroup
	errs := make(chan error, 64)
	for range cap(errs) {
		wait.Go(func() {
			_, err := d.SignIn(t.Context(), Login{Name: "robot", Secret: text, From: netip.MustParseAddr("203.0.113.66")})
			errs <- err
		})
	}
	wait.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.SignIn(t.Context(), Login{Name: "robot", Secret: text, From: netip.MustParseAddr("203.0.113.66"), Kind: ajar.User}); !errors.Is(err, ajar.Unauthenticated) {
		t.Errorf("where people alone sign in: %v", err)
	}
}

// FuzzAccessToken: whatever a header carries, nothing panics, and nothing is read that was not signed.
func FuzzAccessToken(f *testing.F) {
	now := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	stored, err := newTokenKey(now)
	if err != nil {
		f.Fatal(err)
	}
	keys := &Keys{Vault: &Vault{Clock: func() time.Time { return now }}, read: now}
	if keys.ring, err = keys.open([]storedKey{stored}); err != nil {
		f.Fatal(err)
	}
	good, err := keys.SignAccess(f.Context(), map[string]any{"iss": "x", "aud": "x", "sub": "x", "oid": "x", "exp": now.Unix() + 60, "nbf": now.Unix()})
	if err != nil {
		f.Fatal(err)
	}
	tokens := &Tokens{Keys: keys, Issuers: []string{"x"}, Audiences: []string{"x"}}
	if _, err := tokens.checkAccess(f.Context(), good, now); err != nil {
		f.Fatal(err)
	}
	f.Add(good[:len(good)-2] + "AA")
	f.Add("e30.e30.AA")
	f.Add("eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCIsImtpZCI6IngifQ.eyJzdWIiOiJ4In0." + fmt.Sprintf("%086d", 0))
	f.Fuzz(func(t *testing.T, text string) {
		// There is more than one way to write the same; nothing but what was signed is ever read.
		if c, err := tokens.checkAccess(t.Context(), text, now); err == nil && (c.Subject != "x" || !c.Expiry.Time().Equal(now.Add(time.Minute))) {
			t.Errorf("%q is taken as %+v", text, c)
		}
	})
}
