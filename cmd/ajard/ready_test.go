package main

import (
	"errors"
	"net/http"
	"testing"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
	"github.com/ajar-access/ajar/store/storetest"
)

// readiness asks /readyz.
func (p *program) readiness(h *http.Client) int {
	p.t.Helper()
	resp, err := h.Get(p.url + "/readyz")
	if err != nil {
		p.t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

func (p *program) trusting() *http.Client {
	p.t.Helper()
	pem, err := client.FetchCA(p.t.Context(), p.url, p.ca, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	return trusting(p.t, pem)
}

// TestThePlaneOutlivesItsDatabase: while the server is dead it is not ready and refuses, clearly; when the server is there
// again so is the plane, by itself, with what it had, and opens what is asked for.
func TestThePlaneOutlivesItsDatabase(t *testing.T) {
	t.Parallel()
	server := storetest.NewServer(t)
	m := newMachine(t, "kek: {file: kek}\n")
	m.configure("sqlite:ajar.db", server.DSN)
	p := m.serve()
	admin := p.mustLogin("admin", once.FindString(p.stderr.String()))
	if err := admin.SetPassword(t.Context(), "admin", password, ""); err != nil {
		t.Fatal(err)
	}
	host := p.join(admin, false)
	p.policy(admin)
	kept := p.open(admin, "192.0.2.1")
	h := p.trusting()
	for round := range 2 {
		server.Kill()
		until(t, func() bool { return p.readiness(h) == http.StatusServiceUnavailable })
		if _, err := admin.CreatePrincipal(t.Context(), client.Principal{Kind: ajar.User, Name: "lost"}, ""); !errors.Is(err, ajar.Unavailable) {
			t.Errorf("without a database: %v", err)
		}
		if n := len(host.firewall.Host(host.endpoint).Rules().Allow); n != round+1 {
			t.Errorf("%d openings are on the host, not %d", n, round+1)
		}
		server.Start(t)
		until(t, func() bool { return p.readiness(h) == http.StatusOK })
		if _, err := admin.Request(t.Context(), kept.ID); err != nil {
			t.Errorf("what there was before: %v", err)
		}
		p.open(admin, []string{"192.0.2.2", "192.0.2.3"}[round])
	}
	m.must("log", "verify", "-c", m.conf)
}
