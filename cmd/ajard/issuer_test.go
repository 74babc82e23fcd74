package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
)

// TestTokensOfOurOwnIssuer: a program gets one at the listener with an OAuth client's request, uses it on the REST
// surface, and the plane's operator ends them all.
func TestTokensOfOurOwnIssuer(t *testing.T) {
	m := newMachine(t, "tenant: {domain: example.org}\n")
	p := m.serve()
	admin := p.mustLogin("admin", once.FindString(p.stderr.String()))
	sp, err := admin.CreatePrincipal(t.Context(), client.Principal{Kind: ajar.ServicePrincipal, Name: "deploy"}, "")
	if err != nil {
		t.Fatal(err)
	}
	secret, err := admin.CreateSecret(t.Context(), string(sp.ID), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	pem, err := client.FetchCA(t.Context(), p.url, p.ca, nil)
	if err != nil {
		t.Fatal(err)
	}
	web := httpClient(t, pem)
	for _, tenant := range []string{"adfs", "example.org", "organizations"} {
		token := getToken(t, web, p.url, tenant, url.Values{
			"grant_type": {"client_credentials"}, "client_id": {string(sp.ID)}, "client_secret": {secret.Value}, "scope": {p.url + "//.default"},
		})
		c, err := client.New(client.Config{Server: p.url, CA: pem, Token: token})
		if err != nil {
			t.Fatal(err)
		}
		if me, err := c.Me(t.Context()); err != nil || me.Name != "deploy" {
			t.Fatalf("%s: me: %+v, %v", tenant, me, err)
		}
		if tenant != "organizations" {
			continue
		}
		if out := m.must("rotate-keys", "-c", m.conf); !strings.Contains(out, "a new key") {
			t.Errorf("rotate-keys says %q", out)
		}
		until(t, func() bool {
			_, err := c.Me(t.Context())
			return errors.Is(err, ajar.Unauthenticated)
		})
	}
	if strings.Contains(p.stderr.String(), secret.Value) {
		t.Error("the secret is in the log")
	}
}

// getToken discovers the token endpoint as Azure's clients do, and asks there.
func getToken(t *testing.T, web *http.Client, plane, tenant string, form url.Values) string {
	t.Helper()
	at := plane + "/" + tenant + "/v2.0/.well-known/openid-configuration"
	if tenant == "adfs" {
		at = plane + "/adfs/.well-known/openid-configuration"
	}
	var meta struct {
		Token string `json:"token_endpoint"`
	}
	answer(t, func() (*http.Response, error) { return web.Get(at) }, &meta)
	var got struct {
		Token string `json:"access_token"`
	}
	answer(t, func() (*http.Response, error) { return web.PostForm(meta.Token, form) }, &got)
	return got.Token
}

func answer(t *testing.T, ask func() (*http.Response, error), into any) {
	t.Helper()
	resp, err := ask()
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %v", resp.Status, b, err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
}

// httpClient trusts the plane's authority alone.
func httpClient(t *testing.T, pem []byte) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		t.Fatal("there is no certificate")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}
