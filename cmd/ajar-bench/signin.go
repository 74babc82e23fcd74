//go:build linux

package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/authn"
	"github.com/ajar-access/ajar/broker"
	"github.com/ajar-access/ajar/issuer"
	"github.com/ajar-access/ajar/store"
)

const (
	benchTenant = "0f3c8d52-7c1f-4f0e-9a55-2f6b1f7f0001"
	benchToken  = "/adfs/oauth2/v2.0/token"
)

// benchSecret is the secret of the i-th client. It is no secret here.
func benchSecret(i int) string { return fmt.Sprintf("ajs_%042dA", i) }

// withIssuer gives the clients of seed their secrets, and puts the issuer before next.
func withIssuer(ctx context.Context, st *store.Store, auth *authn.Authn, b *broker.Broker, publicURL string, next http.Handler) (http.Handler, error) {
	vault, err := authn.NewVault(st, time.Now, authn.NewKEK())
	if err != nil {
		return nil, err
	}
	auth.Tokens = &authn.Tokens{Keys: &authn.Keys{Vault: vault}, Issuers: issuer.Issuers(publicURL, benchTenant), Audiences: []string{publicURL}}
	s := issuer.New(issuer.Config{Store: st, Clock: time.Now, Broker: b, Auth: auth, Vault: vault, PublicURL: publicURL, Tenant: ajar.Tenant{ID: benchTenant, Name: "bench"}})
	err = st.Update(ctx, func(tx ajar.Tx) error {
		for i := range fakeClients {
			c := &ajar.Credential{ID: guid(7, i), Principal: ajar.PrincipalID(guid(2, i)), Kind: ajar.Secret, Hash: authn.HashSecret(benchSecret(i))}
			if err := tx.Put(c); err != nil {
				return err
			}
		}
		return nil
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if issuer.Owns(r.URL.Path) {
			s.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	}), err
}

// signinPart measures how many service principals per second get a token for their secret, with 64 clients over TLS, and
// what it takes to know such a token again.
func (b *bench) signinPart(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "ajar-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := b.signinRate(ctx, "sqlite:"+filepath.Join(dir, "ajar.db")); err != nil {
		return err
	}
	return b.tokenCheck(ctx, "sqlite:"+filepath.Join(dir, "check.db"))
}

func (b *bench) signinRate(ctx context.Context, dsn string) error {
	p, err := startPlane(dsn)
	if err != nil {
		return err
	}
	defer p.stop()
	d := time.Duration(b.n(15, 6)) * time.Second
	var got atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	began := time.Now()
	for i := range fakeClients {
		g.Go(func() error {
			c, err := p.dialSignIn(ctx, i)
			if err != nil {
				return err
			}
			defer c.conn.Close()
			for time.Since(began) < d && ctx.Err() == nil {
				if err := c.signIn(); err != nil {
					return err
				}
				got.Add(1)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	b.metric("signin_rate", float64(got.Load())/time.Since(began).Seconds(), "1/s")
	return nil
}

// dialSignIn is the i-th client on its connection, with the request that it makes again and again.
func (p *planeProcess) dialSignIn(ctx context.Context, i int) (*caller, error) {
	d := tls.Dialer{Config: &tls.Config{RootCAs: p.roots, MinVersion: tls.VersionTLS12}}
	conn, err := d.DialContext(ctx, "tcp", p.hello.Addr)
	if err != nil {
		return nil, err
	}
	form := url.Values{
		"client_id": {guid(2, i)}, "client_secret": {benchSecret(i)}, "grant_type": {"client_credentials"}, "client_info": {"1"},
		"scope": {"https://" + p.hello.Addr + "//.default"}, "claims": {`{"access_token": {"xms_cc": {"values": ["CP1"]}}}`},
	}.Encode()
	return &caller{conn: conn, in: bufio.NewReader(conn), out: fmt.Appendf(nil,
		"POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s", benchToken, p.hello.Addr, len(form), form)}, nil
}

func (c *caller) signIn() error {
	if _, err := c.conn.Write(c.out); err != nil {
		return err
	}
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err == nil && (resp.StatusCode != http.StatusOK || !strings.Contains(string(text), `"access_token":"ey`)) {
		err = fmt.Errorf("%s: %s", resp.Status, text)
	}
	return err
}

// tokenCheck measures the door: from a request with a token to who it is. Each token's signature is checked the first
// time; afterwards memory is asked, and every 400 ms the store.
func (b *bench) tokenCheck(ctx context.Context, dsn string) error {
	st, err := store.Open(ctx, dsn, store.Options{Clock: time.Now})
	if err != nil {
		return err
	}
	defer st.Close()
	if _, err := seed(ctx, st); err != nil {
		return err
	}
	const public = "https://plane.example.org"
	auth := authn.New(authn.Config{Store: st, Clock: time.Now})
	h, err := withIssuer(ctx, st, auth, broker.New(broker.Config{Store: st, Clock: time.Now}), public, http.NotFoundHandler())
	if err != nil {
		return err
	}
	var calls []*http.Request
	for i := range fakeClients {
		form := url.Values{"client_id": {guid(2, i)}, "client_secret": {benchSecret(i)}, "grant_type": {"client_credentials"}, "scope": {public + "/.default"}}
		ask := httptest.NewRequestWithContext(ctx, http.MethodPost, benchToken, strings.NewReader(form.Encode()))
		ask.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, ask)
		var got struct {
			Token string `json:"access_token"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got.Token == "" {
			return fmt.Errorf("no token: %s", w.Body)
		}
		r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/subscriptions", nil)
		r.Header.Set("Authorization", "Bearer "+got.Token)
		calls = append(calls, r)
	}
	round := func(n int) (time.Duration, error) {
		began := time.Now()
		for i := range n {
			if _, _, err := auth.Caller(calls[i%len(calls)]); err != nil {
				return 0, err
			}
		}
		return time.Since(began) / time.Duration(n), nil
	}
	first, err := round(len(calls))
	if err != nil {
		return err
	}
	per, err := round(b.n(2_000_000, 400_000))
	if err != nil {
		return err
	}
	b.note("token_check: %.1f µs where the signature is checked, too", float64(first.Nanoseconds())/1000)
	b.metric("token_check", float64(per.Nanoseconds())/1000, "µs")
	return nil
}
