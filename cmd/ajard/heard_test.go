package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/authn"
	"github.com/ajar-access/ajar/store"
)

// newTestPlane is a plane that nothing runs of.
func newTestPlane(t *testing.T) *plane {
	t.Helper()
	m := newMachine(t, "")
	e := env{strings.NewReader(""), io.Discard, io.Discard, noEnv}
	c, err := loadConfig(m.conf, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	p, err := openPlane(t.Context(), c, e, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.store.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// heardHere collects what waiters are told.
type heardHere struct {
	mu       sync.Mutex
	requests []ajar.RequestID
	events   []ajar.Event
}

func (h *heardHere) listener() listener {
	return listener{
		changed: func(ids ...ajar.RequestID) { h.mu.Lock(); defer h.mu.Unlock(); h.requests = append(h.requests, ids...) },
		logged:  func(es []ajar.Event) { h.mu.Lock(); defer h.mu.Unlock(); h.events = append(h.events, es...) },
		lifted:  func(int) {},
	}
}

// TestWhatOthersCommittedIsTold: whoever waits on this replica hears of requests and events of another, each once, in
// whatever portions it was told; and nothing is read where nobody waits.
func TestWhatOthersCommittedIsTold(t *testing.T) {
	p := newTestPlane(t)
	const n = 2500
	err := p.store.Update(t.Context(), func(tx ajar.Tx) error {
		for i := range n {
			if err := tx.Append(ajar.Event{Action: "a", Request: ajar.RequestID(fmt.Sprintf("r%d", i/10))}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var got heardHere
	waits := make(chan bool, 100)
	h := &heard{p: p, waiting: func() bool { return <-waits }, listener: got.listener(), more: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.run(ctx) }()
	h.told(store.Commit{After: 0, Last: 10})
	waits <- false
	until(t, func() bool { return len(waits) == 0 })
	h.told(store.Commit{After: 10, Last: 11})
	h.told(store.Commit{After: 11, Last: n - 5})
	h.told(store.Commit{After: n - 3, Last: n}) // what lies between was our own
	for range 50 {
		waits <- true
	}
	until(t, func() bool { got.mu.Lock(); defer got.mu.Unlock(); return len(got.events) >= n-12 })
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if len(got.events) != n-12 || got.events[0].Pos != 11 || got.events[len(got.events)-1].Pos != n {
		t.Errorf("%d events", len(got.events))
	}
	requests := map[ajar.RequestID]bool{}
	for _, id := range got.requests {
		requests[id] = true
	}
	if len(requests) != n/10-1 {
		t.Errorf("%d requests", len(requests))
	}
}

// TestTokensThatOthersRevokedAreForgotten, however young what is known of them is.
func TestTokensThatOthersRevokedAreForgotten(t *testing.T) {
	p := newTestPlane(t)
	frozen := time.Now()
	p.auth.Clock = func() time.Time { return frozen }
	text, hash := authn.NewToken()
	token := &ajar.Token{Hash: hash, Principal: "anna", Expires: frozen.Add(time.Hour)}
	put := func(docs ...ajar.Doc) {
		t.Helper()
		err := p.store.Update(t.Context(), func(tx ajar.Tx) error {
			for _, d := range docs {
				if err := tx.Put(d); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	put(&ajar.Principal{ID: "anna", Kind: ajar.User, Name: "anna"}, token)
	ask := func() error {
		r, err := http.NewRequestWithContext(t.Context(), "GET", "/", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.RemoteAddr = "192.0.2.1:1"
		r.Header.Set("Authorization", "Bearer "+text)
		_, _, err = p.auth.Caller(r)
		return err
	}
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	token.Revoked = frozen
	put(token)
	if err := ask(); err != nil {
		t.Fatalf("what is remembered was read again: %v", err)
	}
	h := &heard{p: p, more: make(chan struct{}, 1)}
	h.told(store.Commit{Changed: []ajar.DocKind{ajar.KindLease}})
	if err := ask(); err != nil {
		t.Fatalf("a lease has to do with a token: %v", err)
	}
	h.told(store.Commit{Changed: []ajar.DocKind{ajar.KindToken}})
	if err := ask(); !errors.Is(err, ajar.Unauthenticated) {
		t.Errorf("revoked elsewhere, and here %v", err)
	}
}

// TestHostsThatOthersRemovedAreLetGo: those that are connected here, and no others.
func TestHostsThatOthersRemovedAreLetGo(t *testing.T) {
	p := newTestPlane(t)
	put := func(ids ...*ajar.HostIdentity) (before int64) {
		t.Helper()
		err := p.store.Update(t.Context(), func(tx ajar.Tx) error {
			for _, id := range ids {
				before = id.Seq
				if err := tx.Put(id); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return before
	}
	gone, stays, away := &ajar.HostIdentity{Endpoint: "gone", Serial: "1"}, &ajar.HostIdentity{Endpoint: "stays", Serial: "2"}, &ajar.HostIdentity{Endpoint: "away", Serial: "3"}
	put(gone, stays, away)
	var left []func() error
	p.group = func(f func() error) { left = append(left, f) }
	p.hosts.here = map[ajar.EndpointID]bool{"gone": true, "stays": true}
	p.hosts.came = func(ep ajar.EndpointID) string { return map[ajar.EndpointID]string{"gone": "1", "stays": "2"}[ep] }
	gone.Revoked, away.Revoked = time.Now(), time.Now()
	after := put(gone, stays, away)
	if err := p.hosts.recheck(t.Context(), after); err != nil {
		t.Fatal(err)
	}
	if len(left) != 1 || p.hosts.leaving["gone"] == nil {
		t.Errorf("%d hosts are told to go: %v", len(left), p.hosts.leaving)
	}
	if here := p.hosts.connected([]ajar.EndpointID{"away", "stays"}); len(here) != 1 || here[0] != "stays" {
		t.Errorf("here: %v", here)
	}
}
