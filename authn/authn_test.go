package authn

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/store"
)

// clock is a clock that the test moves.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) step(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// door is a front door over a real store, with hashes that cost little.
type door struct {
	*Authn
	t     *testing.T
	clock *clock
}

func newDoor(t *testing.T) *door {
	c := &clock{t: time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)}
	s, err := store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "ajar.db"), store.Options{Clock: c.now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return &door{New(Config{Store: s, Clock: c.now, Hasher: cheap()}), t, c}
}

// replica is another process over the same store.
func (d *door) replica() *door {
	return &door{New(Config{Store: d.Store, Clock: d.clock.now, Hasher: cheap()}), d.t, d.clock}
}

func cheap() *Hasher {
	h := NewHasher(2)
	h.Memory, h.Time = 64, 1
	return h
}

func (d *door) put(docs ...ajar.Doc) {
	d.t.Helper()
	err := d.Store.Update(context.Background(), func(tx ajar.Tx) error {
		for _, doc := range docs {
			if err := tx.Put(doc); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		d.t.Fatal(err)
	}
}

func (d *door) person(name, password string) *ajar.Principal {
	d.t.Helper()
	p := &ajar.Principal{ID: ajar.PrincipalID(uuid.NewString()), Kind: ajar.User, Name: name}
	hash, err := d.Hasher.Hash(context.Background(), password)
	if err != nil {
		d.t.Fatal(err)
	}
	d.put(p, &ajar.Credential{ID: uuid.NewString(), Principal: p.ID, Kind: ajar.Password, Hash: hash, Created: d.clock.now()})
	return p
}

func (d *door) try(name, secret, from string) (*Session, error) {
	return d.SignIn(context.Background(), Login{Name: name, Secret: secret, From: netip.MustParseAddr(from), Via: "test", Corr: "corr-12345678"})
}

func (d *door) mustLogin(name, secret, from string) *Session {
	d.t.Helper()
	s, err := d.try(name, secret, from)
	if err != nil {
		d.t.Fatal(err)
	}
	return s
}

func (d *door) use(token string) error {
	_, _, err := d.Caller(request(token, "203.0.113.9:4711"))
	return err
}

func request(token, remote string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/ajar/v1/me", nil)
	r.RemoteAddr = remote
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return r
}

func (d *door) signIns() (accepted, refused []*ajar.Event) {
	d.t.Helper()
	err := d.Store.View(context.Background(), func(tx ajar.Tx) error {
		es, err := tx.Events(ajar.EventFilter{Action: ajar.SignIn, Ascending: true, Limit: 1000})
		for _, e := range es {
			if e.Outcome == ajar.Accepted {
				accepted = append(accepted, e)
			} else {
				refused = append(refused, e)
			}
		}
		return err
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return accepted, refused
}

const secret = "correct horse battery staple"

func TestSignIn(t *testing.T) {
	d := newDoor(t)
	alice := d.person("Alice", secret)
	for _, name := range []string{"alice", "ALICE", string(alice.ID)} {
		s := d.mustLogin(name, secret, "203.0.113.1")
		who, hash, err := d.Caller(request(s.Token, "203.0.113.2:4711"))
		if err != nil {
			t.Fatal(err)
		}
		if who.Principal != alice.ID || who.Name != "Alice" || who.From.String() != "203.0.113.2" || ShortHash(hash) != s.ID {
			t.Errorf("%s signed in as %+v", name, who)
		}
	}
	if _, err := d.try("alice", "wrong horse battery staple", "203.0.113.1"); !errors.Is(err, ajar.Unauthenticated) {
		t.Errorf("a wrong password got %v", err)
	}
	accepted, refused := d.signIns()
	if len(accepted) != 3 || len(refused) != 1 {
		t.Fatalf("%d accepted and %d refused log-ins were recorded, not 3 and 1", len(accepted), len(refused))
	}
	if e := refused[0]; e.Kind != ajar.Unauthenticated || e.Caller != alice.ID || e.From.String() != "203.0.113.1" || e.Corr != "corr-12345678" {
		t.Errorf("the refusal was recorded as %+v", e)
	}
}

func TestTokensAreKeptAsHashesAlone(t *testing.T) {
	d := newDoor(t)
	d.person("alice", secret)
	s := d.mustLogin("alice", secret, "203.0.113.1")
	err := d.Store.View(t.Context(), func(tx ajar.Tx) error {
		ts, _, err := ajar.List[ajar.Token](tx, ajar.Filter{})
		if len(ts) != 1 || ts[0].Hash != HashSecret(s.Token) || strings.Contains(ts[0].Hash, s.Token[4:]) {
			t.Errorf("kept: %+v", ts)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestBadTokens(t *testing.T) {
	d := newDoor(t)
	d.person("alice", secret)
	good := d.mustLogin("alice", secret, "203.0.113.1").Token
	other, _ := NewToken()
	for _, bad := range []string{"", "x", "ajt_", other, good + "x", good[:len(good)-1], strings.ToUpper(good), strings.Repeat("a", 100_000), "ajt_" + strings.Repeat("é", 21)} {
		if err := d.use(bad); !errors.Is(err, ajar.Unauthenticated) {
			t.Errorf("token %.30q was answered with %v", bad, err)
		}
	}
	for _, header := range []string{"Basic " + good, "bearer", good} {
		r := request("", "203.0.113.1:1")
		r.Header.Set("Authorization", header)
		if _, _, err := d.Caller(r); !errors.Is(err, ajar.Unauthenticated) {
			t.Errorf("header %.20q was taken", header)
		}
	}
	r := request("", "203.0.113.1:1")
	r.Header.Set("Authorization", "bearer "+good)
	if _, _, err := d.Caller(r); err != nil {
		t.Errorf("the scheme's case matters: %v", err)
	}
}

func TestTokenExpires(t *testing.T) {
	d := newDoor(t)
	d.person("alice", secret)
	s := d.mustLogin("alice", secret, "203.0.113.1")
	d.clock.step(s.Expires.Sub(d.clock.now()) - time.Millisecond)
	if err := d.use(s.Token); err != nil {
		t.Errorf("a millisecond before its end: %v", err)
	}
	d.clock.step(time.Millisecond)
	if err := d.use(s.Token); !errors.Is(err, ajar.Unauthenticated) {
		t.Errorf("at its end, while memory still has it: %v", err)
	}
}

// revoke writes what the gate writes when somebody revokes a token on whichever replica.
func (d *door) revoke(hash string) {
	d.t.Helper()
	err := d.Store.Update(context.Background(), func(tx ajar.Tx) error {
		tok, err := ajar.Get[ajar.Token](tx, hash)
		if err != nil {
			return err
		}
		tok.Revoked = d.clock.now()
		return tx.Put(tok)
	})
	if err != nil {
		d.t.Fatal(err)
	}
}

func TestRevokedTokenIsRefusedWithinASecond(t *testing.T) {
	here := newDoor(t)
	there := here.replica()
	p := here.person("alice", secret)
	s := here.mustLogin("alice", secret, "203.0.113.1")
	for _, d := range []*door{here, there} {
		if err := d.use(s.Token); err != nil {
			t.Fatal(err)
		}
	}
	here.revoke(HashSecret(s.Token))
	here.Forget(p.ID)
	if err := here.use(s.Token); !errors.Is(err, ajar.Unauthenticated) {
		t.Errorf("where it was revoked it is refused at once, not %v", err)
	}
	here.clock.step(CacheAge)
	if err := there.use(s.Token); !errors.Is(err, ajar.Unauthenticated) {
		t.Errorf("another replica still takes it after %s: %v", CacheAge, err)
	}
	if CacheAge > 500*time.Millisecond {
		t.Errorf("what is known of a token may be %s old", CacheAge)
	}
}

func TestClockThatStepsBackDoesNotKeepARevokedToken(t *testing.T) {
	d := newDoor(t)
	d.person("alice", secret)
	s := d.mustLogin("alice", secret, "203.0.113.1")
	if err := d.use(s.Token); err != nil {
		t.Fatal(err)
	}
	d.revoke(HashSecret(s.Token))
	d.clock.step(-time.Hour)
	if err := d.use(s.Token); !errors.Is(err, ajar.Unauthenticated) {
		t.Errorf("memory from the future was believed: %v", err)
	}
}

func TestDisabledAndRemovedPrincipalsAreOut(t *testing.T) {
	d := newDoor(t)
	alice, bob := d.person("alice", secret), d.person("bob", secret)
	a, b := d.mustLogin("alice", secret, "203.0.113.1"), d.mustLogin("bob", secret, "203.0.113.1")
	err := d.Store.Update(t.Context(), func(tx ajar.Tx) error {
		p, err := ajar.Get[ajar.Principal](tx, string(alice.ID))
		if err != nil {
			return err
		}
		p.Disabled = true
		return errors.Join(tx.Put(p), tx.Delete(ajar.KindPrincipal, string(bob.ID)))
	})
	if err != nil {
		t.Fatal(err)
	}
	d.clock.step(CacheAge)
	for name, s := range map[string]*Session{"alice": a, "bob": b} {
		if err := d.use(s.Token); !errors.Is(err, ajar.Unauthenticated) {
			t.Errorf("%s's token got %v", name, err)
		}
		if _, err := d.try(name, secret, "203.0.113.1"); !errors.Is(err, ajar.Unauthenticated) || !strings.Contains(err.Error(), "the name or the password is wrong") {
			t.Errorf("%s's log-in got %v", name, err)
		}
	}
}

func TestServicePrincipal(t *testing.T) {
	d := newDoor(t)
	p := &ajar.Principal{ID: ajar.PrincipalID(uuid.NewString()), Kind: ajar.ServicePrincipal, Name: "deployer"}
	one, h1, hint := NewSecret()
	two, h2, _ := NewSecret()
	past, h3, _ := NewSecret()
	d.put(p,
		&ajar.Credential{ID: "1", Principal: p.ID, Kind: ajar.Secret, Hash: h1, Hint: hint, Expires: d.clock.now().Add(time.Hour)},
		&ajar.Credential{ID: "2", Principal: p.ID, Kind: ajar.Secret, Hash: h2},
		&ajar.Credential{ID: "3", Principal: p.ID, Kind: ajar.Secret, Hash: h3, Expires: d.clock.now()})
	for _, good := range []string{one, two} {
		d.mustLogin("deployer", good, "203.0.113.1")
		d.mustLogin(string(p.ID), good, "203.0.113.1")
	}
	unknown, _, _ := NewSecret()
	for _, bad := range []string{past, unknown, h1, hint} {
		if _, err := d.try("deployer", bad, "203.0.113.2"); !errors.Is(err, ajar.Unauthenticated) {
			t.Errorf("secret %.12q got %v", bad, err)
		}
	}
	if !strings.HasPrefix(one, hint) || len(hint) > 8 {
		t.Errorf("hint %q of a secret of %d bytes", hint, len(one))
	}
}

func TestGroupsDoNotSignIn(t *testing.T) {
	d := newDoor(t)
	hash, err := d.Hasher.Hash(t.Context(), secret)
	if err != nil {
		t.Fatal(err)
	}
	g := &ajar.Principal{ID: ajar.PrincipalID(uuid.NewString()), Kind: ajar.Group, Name: "ops"}
	d.put(g, &ajar.Credential{ID: "1", Principal: g.ID, Kind: ajar.Password, Hash: hash})
	if _, err := d.try("ops", secret, "203.0.113.1"); !errors.Is(err, ajar.Unauthenticated) {
		t.Errorf("a group signed in: %v", err)
	}
}

func TestOneTimeCredentialWorksOnce(t *testing.T) {
	d := newDoor(t)
	p := &ajar.Principal{ID: ajar.PrincipalID(uuid.NewString()), Kind: ajar.User, Name: "admin"}
	once, hash, err := d.Hasher.NewOnce(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	d.put(p, &ajar.Credential{ID: "1", Principal: p.ID, Kind: ajar.Once, Hash: hash})
	if err := ExpireOnce(t.Context(), d.Store, p.ID, d.clock.now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var in []*Session
	for range 4 {
		wg.Go(func() {
			if s, err := d.try("admin", once, "203.0.113.1"); err == nil {
				mu.Lock()
				in = append(in, s)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(in) != 1 {
		t.Fatalf("it was good for %d log-ins at once", len(in))
	}
	if !in[0].Once || in[0].Expires.Sub(d.clock.now()) > onceTokenFor {
		t.Errorf("the session is %+v", in[0])
	}
}

func TestOneTimeCredentialExpires(t *testing.T) {
	d := newDoor(t)
	p := &ajar.Principal{ID: ajar.PrincipalID(uuid.NewString()), Kind: ajar.User, Name: "admin"}
	once, hash, err := d.Hasher.NewOnce(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	d.put(p, &ajar.Credential{ID: "1", Principal: p.ID, Kind: ajar.Once, Hash: hash, Expires: d.clock.now().Add(time.Hour)})
	d.clock.step(time.Hour)
	if _, err := d.try("admin", once, "203.0.113.1"); !errors.Is(err, ajar.Unauthenticated) {
		t.Errorf("an hour later: %v", err)
	}
}

func TestSweepAndRevokeAll(t *testing.T) {
	d := newDoor(t)
	d.person("alice", secret)
	old := d.mustLogin("alice", secret, "203.0.113.1")
	d.clock.step(rememberGood + 24*time.Hour)
	young := d.mustLogin("alice", secret, "203.0.113.1")
	if err := d.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	count := func() (n int64) {
		if err := d.Store.View(t.Context(), func(tx ajar.Tx) (err error) {
			n, err = tx.Count(ajar.KindToken, ajar.Filter{})
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := count(); n != 1 {
		t.Errorf("%d tokens are left after the sweep", n)
	}
	if d.use(old.Token) == nil || d.use(young.Token) != nil {
		t.Error("the wrong token went")
	}
	if err := RevokeAll(t.Context(), d.Store, d.clock.now()); err != nil {
		t.Fatal(err)
	}
	d.clock.step(CacheAge)
	if err := d.use(young.Token); !errors.Is(err, ajar.Unauthenticated) {
		t.Errorf("after RevokeAll: %v", err)
	}
}
