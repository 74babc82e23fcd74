package issuer

import (
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/authn"
	"github.com/ajar-access/ajar/store/storetest"
)

// TestReplicasOverOneDatabase: what is good once is good once among all replicas, which share nothing but PostgreSQL; what
// one gives or ends holds on the other.
func TestReplicasOverOneDatabase(t *testing.T) {
	dsn := storetest.StartPostgres(t)
	g := newRigOver(t, dsn)
	planes := []*Server{g.Server, g.plane(g.open(t, dsn))}
	alice := g.newPerson("alice")

	code, verifier := g.code(alice)
	first := g.race(planes, "code", "client_id", azureCLI, "grant_type", "authorization_code", "code", code, "code_verifier", verifier, "redirect_uri", "http://localhost:8400")
	g.step(authn.CacheAge)
	for i, p := range planes {
		if _, err := useAt(p, first.AccessToken); !errors.Is(err, ajar.Unauthenticated) {
			t.Errorf("replica %d takes what a code gave that was shown twice: %v", i, err)
		}
	}

	code, verifier = g.code(alice)
	good := g.exchange(code, verifier).must(t)
	for i, p := range planes {
		if _, err := useAt(p, good.AccessToken); err != nil {
			t.Errorf("replica %d: %v", i, err)
		}
	}
	g.race(planes, "refresh token", "client_id", azureCLI, "grant_type", "refresh_token", "refresh_token", good.RefreshToken)
	g.step(authn.CacheAge)
	for i, p := range planes {
		if _, err := useAt(p, good.AccessToken); !errors.Is(err, ajar.Unauthenticated) {
			t.Errorf("replica %d takes a token whose refresh token was shown twice: %v", i, err)
		}
	}

	v := &prover{rig: g, alg: "ES256"}
	v.p, _ = g.newProgram("robot")
	v.key, v.cert = certificate(t, g.now().Add(-time.Hour), g.now().Add(time.Hour))
	v.register(v.cert)
	g.race(planes, "assertion", "grant_type", "client_credentials", "scope", resource, "client_assertion_type", assertionJWT, "client_assertion", v.sign(v.x5t(), nil))
}

// race has every replica asked the same several times at once. One gets tokens.
func (g *rig) race(planes []*Server, what string, pairs ...string) (won heard) {
	g.t.Helper()
	var wait sync.WaitGroup
	var mu sync.Mutex
	n := 0
	for i := range 6 {
		wait.Go(func() {
			h := g.postTo(planes[i%len(planes)], adfsToken, pairs...)
			mu.Lock()
			defer mu.Unlock()
			if h.status == http.StatusOK {
				won = h
				n++
			}
		})
	}
	wait.Wait()
	if n != 1 {
		g.t.Errorf("%s: %d of 6 got tokens", what, n)
	}
	return won
}
