package client_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
)

const (
	machine = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/prod/providers/Microsoft.Compute/virtualMachines/web1"
	polID   = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/prod/providers/Microsoft.Security/locations/local/jitNetworkAccessPolicies/default"
)

// plane serves h over TLS and gives a client that trusts it.
func plane(t *testing.T, h http.HandlerFunc) (*client.Client, *httptest.Server) {
	t.Helper()
	s := httptest.NewTLSServer(h)
	t.Cleanup(s.Close)
	return connect(t, s), s
}

func connect(t *testing.T, s *httptest.Server) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{Server: s.URL, CA: caOf(s.Certificate()), Token: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func caOf(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

func answer(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

func TestServerMustBeHTTPS(t *testing.T) {
	for _, s := range []string{"", "http://plane", "https://", "https://a:b@plane", "https://plane?x=1", "ftp://plane", "https://pl ane"} {
		if _, err := client.New(client.Config{Server: s}); !errors.Is(err, ajar.Invalid) {
			t.Errorf("server %q: got %v, want Invalid", s, err)
		}
	}
	c, err := client.New(client.Config{Server: "plane:8443/"})
	if err != nil || c.Server() != "https://plane:8443" {
		t.Errorf("got %v, %v", c, err)
	}
}

func TestStrangersCertificateIsRefused(t *testing.T) {
	_, s := plane(t, func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, "{}") })
	c, err := client.New(client.Config{Server: s.URL, Token: "secret"}) // the system's roots
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Me(t.Context())
	var e *ajar.Error
	if !errors.As(err, &e) || e.Code != client.UntrustedCertificate {
		t.Errorf("got %v, want %s", err, client.UntrustedCertificate)
	}
}

func TestRefusalsKeepKindCodeMessageAndCorrelation(t *testing.T) {
	for status, kind := range map[int]ajar.Kind{
		400: ajar.Invalid, 401: ajar.Unauthenticated, 403: ajar.Forbidden, 404: ajar.NotFound, 409: ajar.Conflict,
		412: ajar.Conflict, 413: ajar.Invalid, 418: ajar.Internal, 500: ajar.Internal, 301: ajar.Internal,
	} {
		c, _ := plane(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("x-ms-correlation-request-id", "corr-1")
			w.Header().Set("Location", "https://elsewhere.invalid/")
			answer(w, status, `{"error":{"code":"Code1","message":"Because."}}`)
		})
		_, err := c.Me(t.Context())
		var e *client.Error
		if !errors.As(err, &e) || e.Correlation != "corr-1" || e.Status != status || e.Err.Code != "Code1" || err.Error() != "Because." {
			t.Errorf("status %d: got %#v", status, err)
		}
		if !errors.Is(err, kind) || ajar.KindOf(err) != kind {
			t.Errorf("status %d: kind is %s, want %s", status, ajar.KindOf(err), kind)
		}
	}
}

func TestAnswerThatIsNoCloudErrorIsStillAnError(t *testing.T) {
	c, _ := plane(t, func(w http.ResponseWriter, _ *http.Request) { answer(w, 502, "<html>bad gateway</html>") })
	if err := c.Logout(t.Context()); !errors.Is(err, ajar.Unavailable) || !strings.Contains(err.Error(), "502") {
		t.Errorf("got %v", err)
	}
}

func TestOnlyWhatMayBeRepeatedIsRepeated(t *testing.T) {
	var calls atomic.Int32
	c, _ := plane(t, func(w http.ResponseWriter, r *http.Request) {
		if n := calls.Add(1); n < 3 {
			w.Header().Set("Retry-After", "0")
			answer(w, 429, `{"error":{"code":"TooManyRequests","message":"slow down"}}`)
			return
		}
		answer(w, 200, "{}")
	})
	if _, err := c.Me(t.Context()); err != nil || calls.Load() != 3 {
		t.Errorf("GET: %v after %d calls, want success after 3", err, calls.Load())
	}
	calls.Store(0)
	_, err := c.Initiate(t.Context(), client.Initiate{Policy: polID, Asks: []client.Ask{{Target: machine, Number: 22, Duration: time.Hour}}})
	if !errors.Is(err, ajar.TooMany) || calls.Load() != 1 {
		t.Errorf("initiate: %v after %d calls; asking for access must never be repeated by itself", err, calls.Load())
	}
	calls.Store(0)
	_, err = c.PutPolicy(t.Context(), client.Policy{ID: polID, ETag: `"1"`}, client.PutOptions{})
	if !errors.Is(err, ajar.TooMany) || calls.Load() != 1 {
		t.Errorf("conditional PUT: %v after %d calls, want 1", err, calls.Load())
	}
	calls.Store(0)
	if _, err = c.PutPolicy(t.Context(), client.Policy{ID: polID}, client.PutOptions{}); err != nil || calls.Load() != 3 {
		t.Errorf("PUT: %v after %d calls, want success after 3", err, calls.Load())
	}
}

func TestConnectionFaultsAreRepeatedForGET(t *testing.T) {
	var calls atomic.Int32
	c, _ := plane(t, func(w http.ResponseWriter, _ *http.Request) {
		if calls.Add(1) < 3 {
			panic(http.ErrAbortHandler)
		}
		answer(w, 200, `{"name":"anna"}`)
	})
	me, err := c.Me(t.Context())
	if err != nil || me.Name != "anna" {
		t.Errorf("got %v, %v", me, err)
	}
	calls.Store(0)
	if err := c.Logout(t.Context()); !errors.Is(err, ajar.Unavailable) || calls.Load() != 1 {
		t.Errorf("POST: %v after %d calls", err, calls.Load())
	}
}

func TestLongRetryAfterIsForTheCallerToDecide(t *testing.T) {
	var calls atomic.Int32
	c, _ := plane(t, func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		w.Header().Set("Retry-After", "3600")
		answer(w, 503, `{"error":{"code":"ServiceUnavailable","message":"starting"}}`)
	})
	if _, err := c.Me(t.Context()); !errors.Is(err, ajar.Unavailable) || calls.Load() != 1 {
		t.Errorf("got %v after %d calls", err, calls.Load())
	}
}

func TestListsGoPageByPageAndKeepTheTokenAtHome(t *testing.T) {
	var s *httptest.Server
	c, s := plane(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer secret" {
			t.Errorf("no token in %s", r.URL)
		}
		switch r.URL.Query().Get("$skiptoken") {
		case "":
			answer(w, 200, `{"value":[{"id":"a"},{"id":"b"}],"nextLink":"https://public.name.invalid/ajar/v1/leases?live=true&$skiptoken=2"}`)
		case "2":
			if r.URL.Query().Get("live") != "true" {
				t.Errorf("the filter was lost: %s", r.URL)
			}
			answer(w, 200, `{"value":[],"nextLink":"https://public.name.invalid/ajar/v1/leases?%24skiptoken=3"}`)
		case "3":
			answer(w, 200, `{"value":[{"id":"c"}]}`)
		}
	})
	_ = s
	all, err := client.Collect(c.Leases(t.Context(), client.LeaseQuery{Live: true}))
	if err != nil {
		t.Fatal(err)
	}
	var ids []ajar.LeaseID
	for _, l := range all {
		ids = append(ids, l.ID)
	}
	if d := cmp.Diff([]ajar.LeaseID{"a", "b", "c"}, ids); d != "" {
		t.Error(d)
	}
}

func TestListThatGoesInCirclesEnds(t *testing.T) {
	c, _ := plane(t, func(w http.ResponseWriter, r *http.Request) {
		answer(w, 200, `{"value":[{"id":"a"}],"nextLink":"`+"https://x"+r.URL.RequestURI()+`"}`)
	})
	if _, err := client.Collect(c.Leases(t.Context(), client.LeaseQuery{})); !errors.Is(err, ajar.Internal) {
		t.Errorf("got %v", err)
	}
}

func TestFetchCA(t *testing.T) {
	var leaf *x509.Certificate
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("a token was sent to a server that nobody trusts yet")
		}
		_, _ = w.Write(caOf(leaf))
	}))
	defer s.Close()
	leaf = s.Certificate() // signed by itself: its own authority
	got, err := client.FetchCA(t.Context(), s.URL, client.CAHash(leaf), nil)
	if err != nil || string(got) != string(caOf(leaf)) {
		t.Errorf("right hash: %v", err)
	}
	wrong := "sha256:" + strings.Repeat("00", 32)
	if _, err := client.FetchCA(t.Context(), s.URL, wrong, nil); err == nil || !strings.Contains(err.Error(), "another certificate authority") {
		t.Errorf("wrong hash: %v", err)
	}
	for _, h := range []string{"", "sha256:", "md5:00", "sha256:zz", strings.Repeat("00", 32)} {
		if _, err := client.FetchCA(t.Context(), s.URL, h, nil); !errors.Is(err, ajar.Invalid) {
			t.Errorf("hash %q: %v", h, err)
		}
	}
}

// The right authority is public. Who shows it must also have a certificate from it.
func TestFetchCAChecksThatTheServerIsVouchedFor(t *testing.T) {
	honest := httptest.NewTLSServer(http.NotFoundHandler())
	defer honest.Close()
	key, cert := selfSigned(t)
	thief := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(caOf(honest.Certificate())) }))
	thief.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}}
	thief.StartTLS()
	defer thief.Close()
	_, err := client.FetchCA(t.Context(), thief.URL, client.CAHash(honest.Certificate()), nil)
	if err == nil || !strings.Contains(err.Error(), "does not vouch for") {
		t.Errorf("got %v", err)
	}
}

func TestInitiateOnTheWire(t *testing.T) {
	var got map[string]any
	var path string
	c, _ := plane(t, func(w http.ResponseWriter, r *http.Request) {
		path = r.URL.String()
		_ = json.NewDecoder(r.Body).Decode(&got)
		answer(w, 202, `{"virtualMachines":[],"id":"r1","state":"Approved","leases":[{"id":"l1","state":"Opening","end":"2026-11-20T10:00:00Z"}]}`)
	})
	r, err := c.Initiate(t.Context(), client.Initiate{Policy: polID, Justification: "disk", Asks: []client.Ask{
		{Target: machine, Number: 22, Duration: time.Hour},
		{Target: ajar.ID(strings.ToUpper(machine)), Number: 3389, Protocol: ajar.TCP, Source: "203.0.113.7", End: time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)},
	}})
	if err != nil || r.ID != "r1" || r.Settled() || r.Opened() || r.Policy != polID {
		t.Errorf("got %+v, %v", r, err)
	}
	want := map[string]any{"justification": "disk", "virtualMachines": []any{map[string]any{"id": machine, "ports": []any{
		map[string]any{"number": 22.0, "duration": "PT1H"},
		map[string]any{"number": 3389.0, "protocol": "TCP", "allowedSourceAddressPrefix": "203.0.113.7", "endTimeUtc": "2026-11-20T10:00:00Z"},
	}}}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if path != polID+"/initiate?api-version=2020-01-01" {
		t.Errorf("path is %s", path)
	}
}

func TestWaitAsksUntilSettled(t *testing.T) {
	var calls atomic.Int32
	c, _ := plane(t, func(w http.ResponseWriter, r *http.Request) {
		if d, err := ajar.ParseDuration(r.URL.Query().Get("wait")); err != nil || d < 10*time.Second {
			t.Errorf("no long poll: %s", r.URL)
		}
		state := "Opening"
		if calls.Add(1) == 3 {
			state = "Open"
		}
		answer(w, 200, fmt.Sprintf(`{"id":"r1","state":"Approved","leases":[{"id":"l1","state":%q,"end":"2026-11-20T10:00:00Z"}]}`, state))
	})
	seen := 0
	r, err := c.Wait(t.Context(), "r1", func(client.Request) { seen++ })
	if err != nil || !r.Opened() || seen != 3 {
		t.Errorf("got %+v, %v after %d answers", r, err, seen)
	}
}

func TestWaitGivesTheLastStateWhenTimeIsUp(t *testing.T) {
	c, _ := plane(t, func(w http.ResponseWriter, _ *http.Request) {
		answer(w, 200, `{"id":"r1","state":"Pending","needs":1}`)
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := c.Wait(ctx, "r1", func(client.Request) { cancel() })
	if !errors.Is(err, context.Canceled) || r.State != ajar.Pending {
		t.Errorf("got %+v, %v", r, err)
	}
}

// A plane that is restarted while somebody waits is away for a moment, and no longer than that.
func TestWaitOutlastsARestart(t *testing.T) {
	var calls atomic.Int32
	_, s := plane(t, func(w http.ResponseWriter, _ *http.Request) {
		if n := calls.Add(1); n < 4 {
			w.Header().Set("Retry-After", "0")
			answer(w, 503, `{"error":{"code":"ServiceUnavailable","message":"starting"}}`)
			return
		}
		answer(w, 200, `{"id":"r1","state":"Approved","leases":[{"id":"l1","state":"Open","end":"2026-11-20T10:00:00Z"}]}`)
	})
	c, err := client.New(client.Config{Server: s.URL, CA: caOf(s.Certificate()), Tries: 1})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := c.Wait(t.Context(), "r1", nil); err != nil || !r.Opened() {
		t.Errorf("got %+v, %v", r, err)
	}
	stranger, err := client.New(client.Config{Server: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stranger.Wait(t.Context(), "r1", nil); err == nil {
		t.Error("a stranger's certificate was waited for")
	}
}

func TestNamesAreEscaped(t *testing.T) {
	var uri string
	c, _ := plane(t, func(w http.ResponseWriter, r *http.Request) {
		uri = r.RequestURI
		answer(w, 200, "{}")
	})
	if _, err := c.Principal(t.Context(), "an na?x"); err != nil {
		t.Fatal(err)
	}
	if want := "/ajar/v1/principals/" + url.PathEscape("an na?x"); uri != want {
		t.Errorf("asked for %s, want %s", uri, want)
	}
}

func TestFollowGoesOnWhereItWas(t *testing.T) {
	var after []string
	c, _ := plane(t, func(w http.ResponseWriter, r *http.Request) {
		after = append(after, r.URL.Query().Get("after"))
		switch len(after) {
		case 1:
			answer(w, 200, `{"value":[{"pos":7,"time":"2026-11-20T10:00:00Z","action":"a","outcome":"Accepted"}]}`)
		default:
			answer(w, 200, `{"value":[{"pos":8,"time":"2026-11-20T10:00:00Z","action":"a","outcome":"Accepted"}]}`)
		}
	})
	var got []int64
	for e, err := range c.Follow(t.Context(), client.EventQuery{After: 6}) {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, e.Pos); len(got) == 2 {
			break
		}
	}
	if d := cmp.Diff([]int64{7, 8}, got); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"6", "7"}, after); d != "" {
		t.Error(d)
	}
}

// Whoever waits for a plane that is away is told, and how far the clocks are apart is known from its answers.
func TestAgainAndClockOff(t *testing.T) {
	var calls atomic.Int32
	_, s := plane(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", time.Now().Add(2*time.Hour).UTC().Format(http.TimeFormat))
		if calls.Add(1) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		answer(w, 200, `{"name":"anna"}`)
	})
	told := 0
	c, err := client.New(client.Config{Server: s.URL, CA: caOf(s.Certificate()), Again: func(error) { told++ }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Me(t.Context()); err != nil || told != 1 {
		t.Errorf("told %d times, %v", told, err)
	}
	if off := c.ClockOff() + 2*time.Hour; off < -time.Minute || off > time.Minute {
		t.Errorf("the clocks are %s apart, not -2h", c.ClockOff())
	}
}
