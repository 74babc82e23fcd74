package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/ajar-access/ajar/client"
)

// TestWhatIsDescribedIsThere: the issuer's endpoints stand in the description by a table of its own; each of them is
// served, and so are the addresses that clients are told to sign in at.
func TestWhatIsDescribedIsThere(t *testing.T) {
	p := newMachine(t, "tenant: {domain: example.org}\n").serve()
	pem, err := client.FetchCA(t.Context(), p.url, p.ca, nil)
	if err != nil {
		t.Fatal(err)
	}
	web := httpClient(t, pem)
	web.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	var doc struct {
		Paths      map[string]map[string]json.RawMessage
		Components struct {
			SecuritySchemes struct {
				OAuth2 struct {
					Flows map[string]struct{ TokenURL, AuthorizationURL string }
				}
			}
		}
	}
	answer(t, func() (*http.Response, error) { return web.Get(p.url + "/openapi.json") }, &doc)
	there := func(method, address string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(""))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		got, err := web.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		got.Body.Close()
		if got.StatusCode == http.StatusNotFound || got.StatusCode == http.StatusMethodNotAllowed || got.StatusCode >= 500 {
			t.Errorf("%s %s: %d", method, address, got.StatusCode)
		}
	}
	n := 0
	for path, methods := range doc.Paths {
		for method := range methods {
			if below, ok := strings.CutPrefix(path, "/{tenant}"); ok {
				there(strings.ToUpper(method), p.url+"/example.org"+below)
				there(strings.ToUpper(method), p.url+"/adfs"+below)
				n++
			}
		}
	}
	for _, f := range doc.Components.SecuritySchemes.OAuth2.Flows {
		there(http.MethodPost, f.TokenURL)
		if f.AuthorizationURL != "" {
			there(http.MethodGet, f.AuthorizationURL)
		}
		n++
	}
	if n < 10 {
		t.Errorf("only %d endpoints were looked at", n)
	}
	there(http.MethodGet, p.url+"/docs")
}
