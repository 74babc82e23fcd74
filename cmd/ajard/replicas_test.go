package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/authn"
	"github.com/ajar-access/ajar/client"
	"github.com/ajar-access/ajar/store/storetest"
)

// TestTwoReplicas starts two planes at once over one PostgreSQL: they end with one authority and one administrator; what
// one hands out or takes back holds on the other; and a port that is asked for on one opens on a host of the other's.
func TestTwoReplicas(t *testing.T) {
	here, there := replicas(t)
	if here.ca != there.ca {
		t.Fatalf("two authorities: %s and %s", here.ca, there.ca)
	}
	said := once.FindAllString(here.stderr.String()+there.stderr.String(), -1)
	if len(said) != 1 {
		t.Fatalf("%d one-time passwords were made", len(said))
	}
	admin := here.mustLogin("admin", said[0])
	if err := admin.SetPassword(t.Context(), "admin", password, ""); err != nil {
		t.Fatal(err)
	}
	far := there.mustLogin("admin", password)

	there.join(far, false)
	here.policy(admin)
	here.open(admin, "192.0.2.1")
	there.open(far, "192.0.2.2")

	// A token made here is good there, and revoked here is refused there within a second.
	tok, err := admin.CreateToken(t.Context(), "test", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	held := far.WithToken(tok.Secret)
	if _, err := held.Me(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := admin.RevokeToken(t.Context(), tok.ID); err != nil {
		t.Fatal(err)
	}
	revoked := time.Now()
	until(t, func() bool {
		began := time.Now()
		_, err := held.Me(t.Context())
		if began.Sub(revoked) > time.Second && err == nil {
			t.Errorf("a revoked token was good for another %s on the other replica", began.Sub(revoked))
		}
		return errors.Is(err, ajar.Unauthenticated)
	})

	// A role taken away here refuses the next call there.
	if _, err := admin.CreatePrincipal(t.Context(), client.Principal{Kind: ajar.User, Name: "alice"}, password); err != nil {
		t.Fatal(err)
	}
	as, err := admin.Assign(t.Context(), client.Assignment{Principal: "alice", Role: "Owner", Scope: policy.Group()})
	if err != nil {
		t.Fatal(err)
	}
	alice := there.mustLogin("alice", password)
	if _, err := alice.Policy(t.Context(), policy); err != nil {
		t.Fatal(err)
	}
	if err := admin.Unassign(t.Context(), as.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := alice.Policy(t.Context(), policy); !errors.Is(err, ajar.Forbidden) {
		t.Errorf("the call after the assignment went: %v", err)
	}
}

// replicas are two planes over one PostgreSQL.
func replicas(t *testing.T) (here, there *program) {
	t.Helper()
	dsn, kek := storetest.StartPostgres(t), authn.NewKEK()
	var planes [2]*program
	var wg sync.WaitGroup
	for i, name := range []string{"one", "two"} {
		m := newMachine(t, "kek: {file: kek}\n")
		text, err := os.ReadFile(m.conf)
		if err != nil {
			t.Fatal(err)
		}
		conf := strings.NewReplacer("sqlite:ajar.db", dsn, "replica: test", "replica: "+name).Replace(string(text))
		if err := errors.Join(os.WriteFile(m.conf, []byte(conf), 0o600), os.WriteFile(filepath.Join(m.dir, "kek"), kek, 0o600)); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() { planes[i] = m.start() })
	}
	wg.Wait()
	for _, p := range planes {
		p.ready()
	}
	return planes[0], planes[1]
}

// TestReplicasThrottleTogether: who guesses at two replicas has no more guesses than at one.
func TestReplicasThrottleTogether(t *testing.T) {
	t.Parallel()
	here, there := replicas(t)
	began, looked := time.Now(), 0
	for i, refused := 0, 0; refused < 4; i++ {
		_, err := []*program{here, there}[i%2].login("somebody", "a wrong password")
		switch {
		case errors.Is(err, ajar.TooMany):
			refused++
		case errors.Is(err, ajar.Unauthenticated):
			looked++
		default:
			t.Fatal(err)
		}
	}
	if most := 7 + int(time.Since(began)/(30*time.Second)); looked > most {
		t.Errorf("%d guesses were looked at, more than %d", looked, most)
	}
}
