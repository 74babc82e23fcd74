package arm

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"testing"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/ajartest"
	"github.com/ajar-access/ajar/arm/rest"
	"github.com/ajar-access/ajar/authn"
)

// TestWhoWaitsIsCutOffWithTheirToken: a call that is under way when its token is revoked gives nothing more.
func TestWhoWaitsIsCutOffWithTheirToken(t *testing.T) {
	r := newRig(t)
	vm := r.Machine("vm1")
	p := r.PolicyOf("default", []ajar.PortPolicy{{Number: 22, Protocol: ajar.TCP, Any: true, MaxDuration: ajar.DefaultBounds.Longest, Approvals: 1}}, vm)
	var got initiated
	r.must(202, "POST", string(p)+"/initiate"+v, body(`{"virtualMachines":[{"id":"%M","ports":[{"number":22,"duration":"PT1H"}]}]}`, vm)).into(t, &got)
	thief := r.tokenFor(r.User("eve", ajartest.At("Owner", ajar.Root)))
	var eve ajar.PrincipalID
	revoke := func() {
		t.Helper()
		if err := r.Store.Update(t.Context(), func(tx ajar.Tx) error {
			k, err := ajar.Get[ajar.Token](tx, authn.HashSecret(thief))
			if err != nil {
				return err
			}
			eve, k.Revoked = k.Principal, r.Now()
			return tx.Put(k)
		}); err != nil {
			t.Fatal(err)
		}
		r.auth.Forget(eve)
	}
	waits := func(id ajar.RequestID) bool {
		return r.surface.News.Waiting(id) == 1
	}
	var wg sync.WaitGroup
	for _, path := range []string{"/ajar/v1/events?ascending=true&after=1000000&wait=PT60S", "/ajar/v1/requests/" + string(got.ID) + "?wait=Decided&timeout=60s"} {
		wg.Go(func() {
			if a := r.do("GET", path, thief, ""); a.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s: %d %s", path, a.StatusCode, a.body)
			}
		})
	}
	r.Until(func() bool { return waits(got.ID) && waits(rest.AnyEvent) })
	revoke()
	wg.Wait()

	thief = r.tokenFor(r.User("mallory", ajartest.At("Owner", ajar.Root)))
	wrote := make(chan error, 1)
	r.surface.Export = func(_ context.Context, _ int64, w io.Writer) error {
		_, first := io.WriteString(w, "a line\n")
		revoke()
		r.Step(authn.CacheAge)
		_, second := io.WriteString(w, "another\n")
		wrote <- errors.Join(first, second)
		return second
	}
	resp, err := r.server.Client().Do(func() *http.Request {
		req := r.request("GET", "/ajar/v1/log/export", "")
		req.Header.Set("Authorization", "Bearer "+thief)
		return req
	}())
	status := 0
	if err == nil {
		status = resp.StatusCode
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	if err == nil && status == http.StatusOK { // the client may try again by itself, and is refused
		t.Error("the export goes on to its end")
	}
	if err := <-wrote; !errors.Is(err, ajar.Unauthenticated) {
		t.Errorf("the export goes on: %v", err)
	}
}
