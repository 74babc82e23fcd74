package arm

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/ajartest"
	"github.com/ajar-access/ajar/arm/rest"
	"github.com/ajar-access/ajar/authn"
)

// rig is the surface over TLS, in front of a real plane.
type rig struct {
	*ajartest.Plane
	t       testing.TB
	server  *httptest.Server
	surface *Server
	auth    *authn.Authn
	log     *syncBuffer
	owner   string // token of an Owner of everything
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func newRig(t testing.TB) *rig {
	t.Helper()
	logged := &syncBuffer{}
	log := slog.New(slog.NewJSONHandler(logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	p := ajartest.New(t, ajartest.Options{Log: log})
	h := authn.NewHasher(2)
	h.Memory, h.Time = 64, 1
	r := &rig{Plane: p, t: t, log: logged}
	r.auth = authn.New(authn.Config{Store: p.Store, Clock: p.Now, Hasher: h})
	r.surface = New(Config{Broker: p.Broker, Auth: r.auth, Clock: p.Now, Log: log, PublicURL: "https://ajar.example.com", Tenant: ajar.Tenant{ID: "0f3c2b1a-7d6e-4c5b-9a80-91f2e3d4c5b6", Name: "Example", Domain: "example.org"}, CA: []byte("-----BEGIN CERTIFICATE-----\n")})
	r.server = httptest.NewUnstartedServer(r.surface)
	r.server.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	r.server.StartTLS()
	t.Cleanup(r.server.Close)
	r.owner = r.tokenFor(p.Admin())
	return r
}

// tokenFor is a bearer token of somebody's.
func (r *rig) tokenFor(who ajar.Caller) string {
	r.t.Helper()
	text, hash := authn.NewToken()
	r.Put(&ajar.Token{Hash: hash, Principal: who.Principal, Name: "test", Created: r.Now(), Expires: r.Now().Add(1000 * time.Hour), AuthTime: r.Now()})
	return text
}

// answer is what came back.
type answer struct {
	*http.Response
	body string
}

// request is one by the Owner.
func (r *rig) request(method, path, body string) *http.Request {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.server.URL+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+r.owner)
	return req
}

func (r *rig) do(method, path, token, body string) answer {
	r.t.Helper()
	req := r.request(method, path, body)
	req.Header.Del("Authorization")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return r.send(req)
}

func (r *rig) send(req *http.Request) answer {
	r.t.Helper()
	resp, err := r.server.Client().Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return answer{resp, string(b)}
}

// as the Owner, with the status that must come.
func (r *rig) must(status int, method, path, body string) answer {
	r.t.Helper()
	a := r.do(method, path, r.owner, body)
	if a.StatusCode != status {
		r.t.Fatalf("%s %s: %d, not %d: %s", method, path, a.StatusCode, status, a.body)
	}
	return a
}

func (a answer) into(t testing.TB, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.body), v); err != nil {
		t.Fatalf("%s: %v", a.body, err)
	}
}

// refusal is the code and message of an error's body.
func (a answer) refusal(t testing.TB) (code, message string) {
	t.Helper()
	var e cloudError
	a.into(t, &e)
	return e.Error.Code, e.Error.Message
}

const v = "?api-version=2020-01-01"

var times = regexp.MustCompile(`"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z"`)

// still replaces what differs from run to run: Azure's timestamps, which must have seven digits.
func still(s string) string { return times.ReplaceAllString(s, `"<time>"`) }

const policyBodyText = `{"kind":"Basic","properties":{"virtualMachines":[{"id":"%M","ports":[{"number":22,"protocol":"TCP","allowedSourceAddressPrefix":"*","maxRequestAccessDuration":"PT3H"},{"number":3389,"protocol":"*","allowedSourceAddressPrefixes":["203.0.113.0/24","2001:db8::/32"],"maxRequestAccessDuration":"PT1H30M"}]}]}}`

func body(text string, machine ajar.ID) string {
	return strings.ReplaceAll(text, "%M", string(machine))
}

func TestTheEightOperations(t *testing.T) {
	r := newRig(t)
	vm := r.Machine("vm1")
	id := ajartest.PolicyID("default")
	p := string(id)
	const shown = `{"kind":"Basic","properties":{"virtualMachines":[{"id":"%M","ports":[{"number":22,"protocol":"TCP","allowedSourceAddressPrefix":"*","maxRequestAccessDuration":"PT3H"},{"number":3389,"protocol":"*","allowedSourceAddressPrefixes":["203.0.113.0/24","2001:db8::/32"],"maxRequestAccessDuration":"PT1H30M"}]}],"requests":[%R],"provisioningState":"%S","appendMode":false},"id":"%P","name":"default","type":"Microsoft.Security/locations/jitNetworkAccessPolicies","location":"westeurope"}`
	show := func(requests, state string) string {
		return strings.NewReplacer("%M", string(vm), "%R", requests, "%S", state, "%P", p).Replace(shown)
	}
	equal := func(what, got, want string) {
		t.Helper()
		if still(got) != want {
			t.Errorf("%s:\n got %s\nwant %s", what, still(got), want)
		}
	}

	put := r.must(200, "PUT", p+v, body(policyBodyText, vm))
	equal("CreateOrUpdate", put.body, show("", "Updating"))
	equal("Get", r.must(200, "GET", p+v, "").body, show("", "Succeeded"))

	sub, group := "/subscriptions/"+id.Subscription(), string(id.Group())
	for what, at := range map[string]string{
		"List":                         sub + "/providers/Microsoft.Security/jitNetworkAccessPolicies",
		"ListByRegion":                 sub + "/providers/Microsoft.Security/locations/westeurope/jitNetworkAccessPolicies",
		"ListByResourceGroup":          group + "/providers/Microsoft.Security/jitNetworkAccessPolicies",
		"ListByResourceGroupAndRegion": group + "/providers/Microsoft.Security/locations/WestEurope/jitNetworkAccessPolicies",
	} {
		equal(what, r.must(200, "GET", at+v, "").body, `{"value":[`+show("", "Succeeded")+`]}`)
	}
	equal("ListByRegion elsewhere", r.must(200, "GET", sub+"/providers/Microsoft.Security/locations/eastus/jitNetworkAccessPolicies"+v, "").body, `{"value":[]}`)

	end := r.Now().Add(time.Hour).UTC().Format("2006-01-02T15:04:05.0000000Z")
	got := r.must(202, "POST", p+"/initiate"+v, body(`{"virtualMachines":[{"id":"%M","ports":[{"number":22,"allowedSourceAddressPrefix":"192.0.2.7","endTimeUtc":"`+end+`"}]}],"justification":"testing"}`, vm))
	const asked = `{"virtualMachines":[{"id":"%M","ports":[{"number":22,"allowedSourceAddressPrefix":"192.0.2.7","endTimeUtc":"<time>","status":"%1","statusReason":"%2"}]}],"startTimeUtc":"<time>","requestor":"admin","justification":"testing"`
	ask := func(status, reason string) string {
		return strings.NewReplacer("%M", string(vm), "%1", status, "%2", reason).Replace(asked)
	}
	if !strings.HasPrefix(still(got.body), ask("Initiating", "UserRequested")+`,"id":"`) {
		t.Errorf("Initiate: %s", got.body)
	}
	for _, h := range []string{"Location", "Azure-Asyncoperation", "Retry-After"} {
		if got.Header.Get(h) != "" {
			t.Errorf("initiate sends %s: clients do not poll, and must not", h)
		}
	}
	var started initiated
	got.into(t, &started)
	r.must(200, "GET", "/ajar/v1/requests/"+string(started.ID)+"?wait=Open&timeout=10s", "")
	equal("Get once it is open", r.must(200, "GET", p+v, "").body, show(ask("Initiated", "UserRequested")+"}", "Succeeded"))

	equal("a PUT that leaves history out does not erase it", r.must(200, "PUT", p+v, body(policyBodyText, vm)).body, show("", "Updating"))
	equal("Get after PUT", r.must(200, "GET", p+v, "").body, show(ask("Initiated", "UserRequested")+"}", "Succeeded"))

	gone := r.must(200, "DELETE", p+v, "")
	if gone.body != "" || gone.Header.Get("Content-Length") != "0" {
		t.Errorf("Delete answers %q with length %s", gone.body, gone.Header.Get("Content-Length"))
	}
	r.must(204, "DELETE", p+v, "")
	if code, msg := r.must(404, "GET", p+v, "").refusal(t); code != "ResourceNotFound" || !strings.Contains(msg, "default") {
		t.Errorf("Get of nothing: %s: %s", code, msg)
	}
}

func TestHistorySaysWhyItEnded(t *testing.T) {
	r := newRig(t)
	vm := r.Machine("vm1")
	p := string(r.Policy("default", vm))
	open := func(source, d string) ajar.RequestID {
		var got initiated
		r.must(202, "POST", p+"/initiate"+v, body(`{"virtualMachines":[{"id":"%M","ports":[{"number":22,"allowedSourceAddressPrefix":"`+source+`","duration":"`+d+`"}]}]}`, vm)).into(t, &got)
		return got.ID
	}
	status := func(i int) string {
		var b policyBody
		r.must(200, "GET", p+v, "").intoShown(t, &b)
		if i >= len(b.Properties.Requests) {
			return ""
		}
		at := b.Properties.Requests[i].VirtualMachines[0].Ports[0]
		return at.Status + "/" + at.StatusReason
	}
	open("192.0.2.1", "PT1H")
	open("192.0.2.1", "PT30M")
	byHand := open("192.0.2.2", "PT1H")
	r.must(200, "POST", p+"/requests/"+string(byHand)+"/revoke"+v, `{"reason":"done"}`)
	open("192.0.2.3", "PT1S")
	for i, want := range []string{"Revoked/NewerRequestInitiated", "Initiated/UserRequested", "Revoked/UserRequested", "Revoked/Expired"} {
		r.Until(func() bool { return status(i) == want })
	}
}

// intoShown reads a policy.
func (a answer) intoShown(t testing.TB, b *policyBody) {
	t.Helper()
	a.into(t, b)
}

func TestHeaders(t *testing.T) {
	r := newRig(t)
	vm := r.Machine("vm1")
	p := string(ajartest.PolicyID("default"))
	for _, c := range []struct {
		method, path, body string
		status             int
		budget, left       string
	}{
		{"PUT", p + v, body(policyBodyText, vm), 200, "X-Ms-Ratelimit-Remaining-Subscription-Writes", "1199"},
		{"POST", p + "/initiate" + v, body(`{"virtualMachines":[{"id":"%M","ports":[{"number":22,"duration":"PT1H"}]}]}`, vm), 202, "X-Ms-Ratelimit-Remaining-Subscription-Writes", "1198"},
		{"GET", p + v, "", 200, "X-Ms-Ratelimit-Remaining-Subscription-Reads", "11999"},
		{"GET", "/subscriptions/" + ajartest.Group.Subscription() + "/providers/Microsoft.Security/jitNetworkAccessPolicies" + v, "", 200, "X-Ms-Ratelimit-Remaining-Subscription-Resource-Requests", "749"},
		{"DELETE", p + v, "", 200, "X-Ms-Ratelimit-Remaining-Subscription-Deletes", "14999"},
		{"DELETE", p + v, "", 204, "X-Ms-Ratelimit-Remaining-Subscription-Deletes", "14998"},
	} {
		a := r.must(c.status, c.method, c.path, c.body)
		want := map[string]string{
			"Cache-Control": "no-cache", "Pragma": "no-cache", "Expires": "-1",
			"Strict-Transport-Security": "max-age=31536000; includeSubDomains", "X-Content-Type-Options": "nosniff",
			c.budget: c.left,
		}
		if a.body != "" {
			want["Content-Type"] = "application/json; charset=utf-8"
		}
		for k, w := range want {
			if got := a.Header.Get(k); got != w {
				t.Errorf("%s %s: %s is %q, not %q", c.method, c.path, k, got, w)
			}
		}
		id := a.Header.Get("x-ms-request-id")
		if _, err := uuid.Parse(id); err != nil {
			t.Errorf("x-ms-request-id %q: %v", id, err)
		}
		if got := a.Header.Get("x-ms-routing-request-id"); !regexp.MustCompile(`^[A-Z]+:\d{8}T\d{6}Z:[-0-9a-f]{36}$`).MatchString(got) {
			t.Errorf("x-ms-routing-request-id %q", got)
		}
		if strings.HasSuffix(a.body, "\n") {
			t.Error("the body ends with a line's end, which Azure's does not")
		}
	}
	if a := r.do("GET", "/subscriptions/"+ajartest.Group.Subscription()+"/providers/Microsoft.Security/jitNetworkAccessPolicies"+v, r.owner, ""); len(a.Header.Values("x-ms-original-request-ids")) != 3 {
		t.Errorf("x-ms-original-request-ids: %q", a.Header.Values("x-ms-original-request-ids"))
	}
}

func TestCorrelation(t *testing.T) {
	r := newRig(t)
	req := func(corr, client string) answer {
		q, err := http.NewRequestWithContext(t.Context(), "GET", r.server.URL+"/ajar/v1/me", nil)
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("Authorization", "Bearer "+r.owner)
		q.Header.Set("x-ms-correlation-request-id", corr)
		q.Header.Set("x-ms-client-request-id", client)
		q.Header.Set("x-ms-return-client-request-id", "true")
		return r.send(q)
	}
	good := uuid.NewString()
	a := req(good, good)
	if a.Header.Get("x-ms-correlation-request-id") != good || a.Header.Get("x-ms-client-request-id") != good {
		t.Errorf("ids are not given back: %v", a.Header)
	}
	for _, bad := range []string{"x", strings.Repeat("a", 65), "aaaaaaaa bbbbbbbb", `aaaaaaaa"},{"`} {
		if got := req(bad, bad); got.Header.Get("x-ms-correlation-request-id") == bad || got.Header.Get("x-ms-client-request-id") == bad {
			t.Errorf("%q was taken for an id", bad)
		}
	}
}

func TestCorrelationReachesTheLog(t *testing.T) {
	r := newRig(t)
	vm := r.Machine("vm1")
	a := r.must(200, "PUT", string(ajartest.PolicyID("default"))+v, body(policyBodyText, vm))
	es := r.Events(ajar.PolicyWrite)
	if len(es) != 1 || es[0].Corr != a.Header.Get("x-ms-correlation-request-id") || es[0].Via != "arm" || !es[0].From.IsLoopback() {
		t.Errorf("recorded: %+v", es)
	}
}

func TestVersionsMethodsAndPaths(t *testing.T) {
	r := newRig(t)
	p := string(r.Policy("default", r.Machine("vm1")))
	for _, c := range []struct {
		method, path string
		status       int
		code, says   string
	}{
		{"GET", p, 400, "MissingApiVersionParameter", "api-version query parameter"},
		{"GET", p + "?api-version=", 400, "MissingApiVersionParameter", ""},
		{"GET", p + "?api-version=2019-01-01", 400, "InvalidApiVersionParameter", "The api-version '2019-01-01' is invalid. The supported versions are '2020-01-01,2015-06-01-preview'."},
		{"GET", p + "?api-version=2020-01-01;x", 400, "InvalidQuery", ""},
		{"PATCH", p + v, 405, "MethodNotAllowed", "DELETE, GET, PUT"},
		{"PUT", "/ajar/v1/login", 405, "MethodNotAllowed", "POST"},
		{"GET", "/", 404, "InvalidResourceType", ""},
		{"GET", "/subscriptions/x/frobnicate", 404, "InvalidResourceType", ""},
		{"POST", "/providers/Microsoft.Security/jitNetworkAccessPolicies/default/initiate" + v, 404, "InvalidResourceType", ""},
		{"POST", p + "/frobnicate" + v, 404, "InvalidResourceType", ""},
		{"GET", "/ajar/v2/me", 404, "InvalidResourceType", ""},
		{"GET", p + "/../other" + v, 404, "InvalidResourceType", ""},
		{"GET", "/subscriptions/notaguid/providers/Microsoft.Security/jitNetworkAccessPolicies" + v, 400, "InvalidSubscriptionId", "notaguid"},
	} {
		a := r.do(c.method, c.path, r.owner, "")
		if a.StatusCode != c.status {
			t.Errorf("%s %s: %d: %s", c.method, c.path, a.StatusCode, a.body)
			continue
		}
		if code, msg := a.refusal(t); code != c.code || !strings.Contains(msg, c.says) {
			t.Errorf("%s %s: %s: %s", c.method, c.path, code, msg)
		}
		if allow := a.Header.Get("Allow"); c.status == 405 && (allow == "" || strings.Contains(allow, "GET") != strings.Contains(allow, "HEAD")) {
			t.Errorf("%s %s: Allow %q", c.method, c.path, allow)
		}
	}
	for _, good := range []string{"?api-version=2015-06-01-preview", "?API-Version=2020-01-01", "?x=y&api-version=2015-06-01-PREVIEW"} {
		r.must(200, "GET", p+good, "")
	}
}

func TestWithoutATokenNothingIsAnswered(t *testing.T) {
	r := newRig(t)
	p := string(r.Policy("default", r.Machine("vm1")))
	for _, rt := range r.surface.Table {
		if rt.Kind == rest.Open {
			continue
		}
		path := strings.NewReplacer("{s}", ajartest.Group.Subscription(), "{g}", "lab", "{l}", "westeurope", "{n}", "default", "{", "", "}", "").Replace(rt.Pattern)
		a := r.do(rt.Method, path+v, "", "{}")
		if code, _ := a.refusal(t); a.StatusCode != 401 || code != "AuthenticationFailed" || !strings.Contains(a.Header.Get("WWW-Authenticate"), `authorization_uri="https://ajar.example.com/0f3c2b1a-7d6e-4c5b-9a80-91f2e3d4c5b6"`) {
			t.Errorf("%s %s without a token: %d %s", rt.Method, path, a.StatusCode, a.body)
		}
	}
	stranger := r.tokenFor(r.User("stranger"))
	if a := r.do("GET", p+v, stranger, ""); a.StatusCode != 403 {
		t.Errorf("a stranger reads the policy: %d %s", a.StatusCode, a.body)
	}
}
