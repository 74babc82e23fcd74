//go:build linux

package azuretest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
	"github.com/ajar-access/ajar/lab"
)

func TestMain(m *testing.M) {
	if err := lab.Enter(); err != nil {
		fmt.Fprintln(os.Stderr, "azuretest:", err)
		os.Exit(1)
	}
	code := m.Run()
	if made.lab != nil {
		if code != 0 {
			made.lab.Dump(os.Stderr)
		}
		made.lab.Close()
	}
	os.Exit(code)
}

// world is the one lab that all tests share. Each test has machines, or a subscription, of its own.
type world struct {
	lab    *lab.Lab
	url    string
	ca     string // file
	tenant string // the plane's, made at its first start
	http   *http.Client
	admin  *client.Client
}

var made world

// The machines of the lab, by who uses them.
const (
	ofCLI = iota
	ofPowerShell
	ofSDK
	machines
)

// patience is how long anything may take on a machine that does other things as well.
const patience = 90 * time.Second

const domain = "azure.example"

var build = sync.OnceValue(func() error {
	ctx := context.Background() // for as long as the program lasts
	bin := filepath.Join(os.Getenv("AJAR_LAB_DIR"), "bin")
	cmd := exec.Command("go", "build", "-trimpath", "-o", bin+"/", "../cmd/ajard", "../cmd/ajar", "../cmd/ajar-agent")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	config := fmt.Sprintf("tenant:\n  domain: %s\nsubscriptions:\n- {id: %s, name: First}\n- {id: %s, name: Second}\nissuer:\n  password: \"on\"\n", domain, first, second)
	l, err := lab.New(ctx, lab.Options{Bin: bin, Machines: machines, Config: config})
	if err != nil {
		return err
	}
	made = world{lab: l, url: l.Plane.URL, ca: filepath.Join(l.Dir, "ca.pem"), admin: l.Plane.Admin}
	for _, m := range l.Machines {
		if err := m.Join(ctx); err != nil {
			return err
		}
		if err := l.Plane.AwaitHost(ctx, m, patience); err != nil {
			return err
		}
	}
	pem, err := client.FetchCA(ctx, l.Plane.URL, l.Plane.CAHash, nil)
	if err != nil {
		return err
	}
	if err := os.WriteFile(made.ca, pem, 0o644); err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	// From the requester's machine.
	made.http = &http.Client{Timeout: patience, Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return l.Requester.DialContext(ctx, network, strings.Replace(address, "localhost:", "127.0.0.1:", 1))
		},
		TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
	}}
	made.tenant, err = tenantID(ctx, made.http, made.url)
	return err
})

// tenantID reads the tenant's id as clients do that know its domain alone.
func tenantID(ctx context.Context, c *http.Client, plane string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, plane+"/"+domain+"/v2.0/.well-known/openid-configuration", nil)
	if err != nil {
		return "", err
	}
	resp, err := c.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var doc struct {
		Issuer string `json:"issuer"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&doc); err != nil {
		return "", err
	}
	id, _, _ := strings.Cut(strings.TrimPrefix(doc.Issuer, plane+"/"), "/")
	return id, nil
}

// shared is the lab, which the first test that asks for it makes.
func shared(t *testing.T) *world {
	t.Helper()
	if err := build(); err != nil {
		t.Fatal(err)
	}
	return &made
}

// Subscriptions beside the lab's.
const (
	first  = "11111111-0000-4000-8000-00000000000a"
	second = "11111111-0000-4000-8000-00000000000b"
)

// subscription is the scope of a subscription's id.
func subscription(id string) ajar.ID { return ajar.ID("/subscriptions/" + id) }

// labSubscription is the id of the subscription that the lab's machines are in.
var labSubscription = lab.Subscription.Name()

// policyID is a policy of the lab's machines.
func policyID(name string) ajar.ID {
	return lab.Group + "/providers/Microsoft.Security/locations/" + lab.Location + "/jitNetworkAccessPolicies/" + ajar.ID(name)
}

// program is a service principal with a secret.
type program struct {
	id, secret string
}

// addProgram makes a service principal that has a role at each of the scopes.
func (w *world) addProgram(t *testing.T, name, role string, scopes ...ajar.ID) program {
	t.Helper()
	p, err := w.admin.CreatePrincipal(t.Context(), client.Principal{Kind: ajar.ServicePrincipal, Name: name}, "")
	if err != nil {
		t.Fatal(err)
	}
	s, err := w.admin.CreateSecret(t.Context(), name, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range scopes {
		if _, err := w.admin.Assign(t.Context(), client.Assignment{Principal: p.ID, Role: ajar.RoleID(role), Scope: at}); err != nil {
			t.Fatalf("make %s a %s at %s: %v", name, role, at, err)
		}
	}
	return program{id: string(p.ID), secret: s.Value}
}

// addMachine makes a target that no agent is on.
func (w *world) addMachine(t *testing.T, id ajar.ID, location string) {
	t.Helper()
	if _, err := w.admin.PutTarget(t.Context(), bare(id, location)); err != nil {
		t.Fatal(err)
	}
}

func bare(id ajar.ID, location string) client.Target {
	return client.Target{ID: id, Location: location, OS: "Linux", Addresses: []netip.Addr{netip.MustParseAddr("203.0.113.7")}}
}

// answer is what a plain HTTP request got.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// into reads the body.
func (a answer) into(t *testing.T, v any) {
	t.Helper()
	if err := json.Unmarshal(a.body, v); err != nil {
		t.Fatalf("%d %s: %v", a.status, a.body, err)
	}
}

// code is the error's code, or "".
func (a answer) code() string {
	var e struct {
		Error struct{ Code, Message string } `json:"error"`
	}
	_ = json.Unmarshal(a.body, &e) // what is no error has no code
	return e.Error.Code
}

// call sends one request with a bearer token ("" = none) and a body ("" = none).
func (w *world) call(t *testing.T, token, method, path, body string) answer {
	t.Helper()
	var in io.Reader
	if body != "" {
		in = strings.NewReader(body)
	}
	if !strings.HasPrefix(path, "https://") {
		path = w.url + path
	}
	req, err := http.NewRequestWithContext(t.Context(), method, path, in)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json; charset=utf-8")
	}
	resp, err := w.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{status: resp.StatusCode, header: resp.Header, body: b}
}

// both reports what the requester and the attacker are told by a port of m.
func (w *world) both(m *lab.Machine, port uint16) (requester, attacker error) {
	to := netip.AddrPortFrom(m.IPv4, port)
	return w.lab.Requester.Try(to), w.lab.Attacker.Try(to)
}

// awaitClosed waits until neither the requester nor the attacker gets through to port 22 of m, and says since when. On a
// busy machine one try may fail without a reason; three do not.
func (w *world) awaitClosed(t *testing.T, m *lab.Machine) (since time.Time) {
	t.Helper()
	refused := 0
	err := lab.Await(t.Context(), patience, func() (bool, error) {
		began := time.Now()
		if requester, attacker := w.both(m, 22); requester == nil || attacker == nil {
			refused = 0
			return false, nil
		}
		if refused++; refused == 1 {
			since = began
		}
		return refused == 3, nil
	})
	if err != nil {
		t.Fatalf("%s stays open: %v", m.Name, err)
	}
	return since
}

// awaitOpen waits until the requester gets through to port 22 of m, and sees that the attacker does not.
func (w *world) awaitOpen(t *testing.T, m *lab.Machine) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := w.lab.Requester.PollOpen(ctx, m.SSH(), 5*time.Millisecond); err != nil {
		t.Fatalf("%s stays closed: %v", m.Name, err)
	}
	if w.lab.Attacker.Try(m.SSH()) == nil {
		t.Errorf("%s is open for others, too", m.Name)
	}
	out, err := w.lab.Requester.Output(ctx, nil, "ssh", m.IPv4.String(), "hostname")
	if err != nil || strings.TrimSpace(out) != m.Name {
		t.Errorf("ssh %s: %q, %v", m.Name, out, err)
	}
}

// awaitOpenForAll waits until a guard is lifted.
func (w *world) awaitOpenForAll(t *testing.T, m *lab.Machine) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, from := range []*lab.Space{w.lab.Requester, w.lab.Attacker} {
		if _, err := from.PollOpen(ctx, m.SSH(), 5*time.Millisecond); err != nil {
			t.Fatalf("%s stays closed: %v", m.Name, err)
		}
	}
}
