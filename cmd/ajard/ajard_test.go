package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
)

// machine is a machine that ajard runs on: a folder with a configuration.
type machine struct {
	t    *testing.T
	dir  string
	conf string
}

func newMachine(t *testing.T, more string) *machine {
	m := &machine{t: t, dir: t.TempDir()}
	m.conf = filepath.Join(m.dir, "ajard.yaml")
	text := "listen: 127.0.0.1:0\nagentListen: 127.0.0.1:0\ndatabase: sqlite:ajar.db\nbounds: {min: 1s}\nreplica: test\n" + more
	if err := os.WriteFile(m.conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return m
}

// output takes what a program says while the test reads it.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// program is a running ajard serve.
type program struct {
	t          *testing.T
	stderr     *output
	stop       context.CancelFunc
	done       chan error
	url, agent string
	ca         string // its hash
}

var serving = regexp.MustCompile(`"msg":"serving","listen":"([^"]+)","agentListen":"([^"]+)","url":"([^"]+)","ca":"([^"]+)"`)

func (m *machine) serve() *program {
	m.t.Helper()
	p := m.start()
	p.ready()
	return p
}

func (m *machine) start() *program {
	ctx, cancel := context.WithCancel(context.Background())
	p := &program{t: m.t, stderr: &output{}, stop: cancel, done: make(chan error, 1)}
	go func() {
		p.done <- run(ctx, []string{"serve", "-c", m.conf}, strings.NewReader(""), io.Discard, p.stderr, noEnv)
	}()
	m.t.Cleanup(p.end)
	return p
}

// ready waits until it serves.
func (p *program) ready() {
	p.t.Helper()
	until(p.t, func() bool {
		got := serving.FindStringSubmatch(p.stderr.String())
		if got != nil {
			p.agent, p.url, p.ca = got[2], got[3], got[4]
		}
		select {
		case err := <-p.done:
			p.done <- err
			p.t.Fatalf("ajard ended: %v\n%s", err, p.stderr)
		default:
		}
		return got != nil
	})
}

// end stops it as a signal does, and it must end well.
func (p *program) end() {
	p.t.Helper()
	p.stop()
	if p.done == nil {
		return
	}
	select {
	case err := <-p.done:
		p.done = nil
		if err != nil {
			p.t.Errorf("ajard ended with %v\n%s", err, p.stderr)
		}
	case <-time.After(2 * time.Minute):
		p.t.Fatalf("ajard does not end\n%s", p.stderr)
	}
}

func until(t *testing.T, ok func() bool) {
	t.Helper()
	tick, limit := time.NewTicker(2*time.Millisecond), time.NewTimer(2*time.Minute)
	defer tick.Stop()
	defer limit.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatal("this did not come about within two minutes")
		}
	}
}

// run runs a command of ajard that ends by itself.
func (m *machine) run(args ...string) (stdout, stderr string, err error) {
	var out, errs bytes.Buffer
	err = run(m.t.Context(), args, strings.NewReader(""), &out, &errs, noEnv)
	return out.String(), errs.String(), err
}

func (m *machine) must(args ...string) string {
	m.t.Helper()
	out, errs, err := m.run(args...)
	if err != nil {
		m.t.Fatalf("ajard %v: %v\n%s", args, err, errs)
	}
	return out
}

var once = regexp.MustCompile(`ajo_[-_A-Za-z0-9]{43}`)

// client of the plane, trusted by the hash of its authority.
func (p *program) client() *client.Client {
	p.t.Helper()
	pem, err := client.FetchCA(p.t.Context(), p.url, p.ca, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	c, err := client.New(client.Config{Server: p.url, CA: pem, Tries: 1})
	if err != nil {
		p.t.Fatal(err)
	}
	return c
}

func (p *program) login(name, secret string) (*client.Client, error) {
	c := p.client()
	s, err := c.Login(p.t.Context(), name, secret)
	if err != nil {
		return nil, err
	}
	return c.WithToken(s.Token), nil
}

func (p *program) mustLogin(name, secret string) *client.Client {
	p.t.Helper()
	c, err := p.login(name, secret)
	if err != nil {
		p.t.Fatalf("%v\n%s", err, p.stderr)
	}
	return c
}

const password = "correct horse battery staple"

func TestFirstStart(t *testing.T) {
	m := newMachine(t, "")
	p := m.serve()
	secret := once.FindString(p.stderr.String())
	if secret == "" || strings.Count(p.stderr.String(), secret) != 1 {
		t.Fatalf("the one-time password is not shown once:\n%s", p.stderr)
	}
	admin := p.mustLogin("admin", secret)
	if _, err := p.login("admin", secret); !errors.Is(err, ajar.Unauthenticated) {
		t.Errorf("it is good for a second log-in: %v", err)
	}
	if err := admin.SetPassword(t.Context(), "admin", password, ""); err != nil {
		t.Fatal(err)
	}
	p.end()

	p = m.serve()
	if once.MatchString(p.stderr.String()) {
		t.Error("the second start makes another administrator")
	}
	again := p.mustLogin("admin", password)
	if me, err := again.Me(t.Context()); err != nil || me.Name != "admin" {
		t.Errorf("me: %+v, %v", me, err)
	}
	if _, err := admin.Me(t.Context()); err == nil {
		t.Error("the client of a plane on another port answers")
	}
}

func TestOneTimePasswordInAFile(t *testing.T) {
	m := newMachine(t, "admin: {name: root, file: once}")
	p := m.serve()
	if once.MatchString(p.stderr.String()) {
		t.Error("it is printed, too")
	}
	path := filepath.Join(m.dir, "once")
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Fatalf("%v %v", st, err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	p.mustLogin("root", strings.TrimSpace(string(b)))
}

func TestRecover(t *testing.T) {
	m := newMachine(t, "")
	p := m.serve()
	admin := p.mustLogin("admin", once.FindString(p.stderr.String()))
	if err := admin.SetPassword(t.Context(), "admin", password, ""); err != nil {
		t.Fatal(err)
	}
	// Also while the plane runs.
	_, errs, err := m.run("recover", "-c", m.conf)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.login("admin", password); !errors.Is(err, ajar.Unauthenticated) {
		t.Errorf("the old password is good after a recovery: %v", err)
	}
	p.mustLogin("admin", once.FindString(errs))

	// Not without the key-encryption key.
	if err := os.Rename(filepath.Join(m.dir, "kek"), filepath.Join(m.dir, "elsewhere")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := m.run("recover", "-c", m.conf); err == nil || !strings.Contains(err.Error(), "kek") {
		t.Errorf("without the key: %v", err)
	}
	if _, err := os.Stat(filepath.Join(m.dir, "kek")); err == nil {
		t.Error("another key was made where nothing would open with it")
	}
}

func TestASecondPlaneOnTheSameAddressTouchesNothing(t *testing.T) {
	m := newMachine(t, "")
	p := m.serve()
	other := newMachine(t, "")
	text, err := os.ReadFile(other.conf)
	if err != nil {
		t.Fatal(err)
	}
	taken := strings.Replace(string(text), "listen: 127.0.0.1:0", "listen: "+strings.TrimPrefix(p.url, "https://"), 1)
	if err := os.WriteFile(other.conf, []byte(taken), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := other.run("serve", "-c", other.conf); err == nil || !strings.Contains(err.Error(), "listen") {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(filepath.Join(other.dir, "ajar.db")); err == nil {
		t.Error("it made a database first")
	}
}

func TestProbesAndMetrics(t *testing.T) {
	m := newMachine(t, "")
	p := m.serve()
	pem, err := client.FetchCA(t.Context(), p.url, p.ca, nil)
	if err != nil {
		t.Fatal(err)
	}
	get := func(path string) (int, string) {
		resp, err := trusting(t, pem).Get(p.url + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if code, b := get(path); code != 200 || b != "ok\n" {
			t.Errorf("%s: %d %q", path, code, b)
		}
	}
	code, b := get("/metrics")
	if code != 200 {
		t.Fatalf("%d %s", code, b)
	}
	for _, name := range []string{"ajar_open_latency_seconds", "ajar_close_lag_seconds", "ajar_live_leases", "ajar_endpoints_overdue", "ajar_drift_repaired_total", "ajar_guards_lifted_total", "ajar_http_requests_total", "go_goroutines"} {
		if !strings.Contains(b, "\n"+name) {
			t.Errorf("no metric %s", name)
		}
	}
}

// metric is the value of a metric without labels.
func (p *program) metric(name string) string {
	p.t.Helper()
	pem, err := client.FetchCA(p.t.Context(), p.url, p.ca, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	resp, err := trusting(p.t, pem).Get(p.url + "/metrics")
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(b), "\n"+name+" ")
	value, _, _ := strings.Cut(after, "\n")
	return value
}

func TestMetricsAreNotForWhoComesThroughAProxy(t *testing.T) {
	p := newMachine(t, "").serve()
	pem, err := client.FetchCA(t.Context(), p.url, p.ca, nil)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), "GET", p.url+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Forwarded-For", "127.0.0.1")
	resp, err := trusting(t, pem).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 403 {
		t.Errorf("%d", resp.StatusCode)
	}
}

func TestMetricsToken(t *testing.T) {
	m := newMachine(t, "metrics: {token: {file: mt}}")
	if err := os.WriteFile(filepath.Join(m.dir, "mt"), []byte("swordfish\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := m.serve()
	pem, err := client.FetchCA(t.Context(), p.url, p.ca, nil)
	if err != nil {
		t.Fatal(err)
	}
	for token, want := range map[string]int{"": 401, "wrong": 401, "swordfish": 200} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", p.url+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := trusting(t, pem).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("with %q: %d", token, resp.StatusCode)
		}
	}
}

func TestBackupAndRestore(t *testing.T) {
	m := newMachine(t, "")
	p := m.serve()
	admin := p.mustLogin("admin", once.FindString(p.stderr.String()))
	if err := admin.SetPassword(t.Context(), "admin", password, ""); err != nil {
		t.Fatal(err)
	}
	p.join(admin, false)
	p.policy(admin)
	gone, kept := p.open(admin, "192.0.2.1"), p.open(admin, "192.0.2.2")
	file := filepath.Join(m.dir, "backup")
	m.must("backup", "-c", m.conf, file)
	if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", st, err)
	}
	late := p.open(admin, "192.0.2.3") // after the backup: nobody will know of it
	p.end()

	if _, _, err := m.run("restore", "-c", m.conf, file); err == nil || !strings.Contains(err.Error(), "exists") {
		t.Errorf("a restore over a database: %v", err)
	}
	if err := removeDatabase(filepath.Join(m.dir, "ajar.db")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := m.run("restore", "-c", m.conf, "-keep", "nonesuch", file); err == nil || !strings.Contains(err.Error(), "nonesuch") {
		t.Errorf("a restore that keeps what is not there: %v", err)
	}
	if _, err := os.Stat(filepath.Join(m.dir, "ajar.db")); err == nil {
		t.Error("there is a database after a restore that failed")
	}
	if left, err := filepath.Glob(filepath.Join(m.dir, "*restoring*")); err != nil || len(left) > 0 {
		t.Errorf("a restore that failed left %q, %v", left, err)
	}
	out := m.must("restore", "-c", m.conf, "-keep", string(kept.Leases[0].ID), file)
	if !strings.Contains(out, "1 leases are being closed") {
		t.Errorf("restore says %q", out)
	}

	p = m.serve()
	again := p.mustLogin("admin", password)
	for id, want := range map[ajar.RequestID]ajar.LeaseState{gone.ID: ajar.Closing, kept.ID: ajar.Open} {
		r, err := again.Request(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.Leases[0].State; got != want && (want != ajar.Closing || got != ajar.Closed) {
			t.Errorf("after the restore: %s, not %s", got, want)
		}
	}
	if _, err := again.Request(t.Context(), late.ID); !errors.Is(err, ajar.NotFound) {
		t.Errorf("what came after the backup: %v", err)
	}
	m.must("log", "verify", "-c", m.conf)
}

// TestNothingIsMadeWhereNoPlaneHasBeen: a slip in the configuration does not give a backup of nothing.
func TestNothingIsMadeWhereNoPlaneHasBeen(t *testing.T) {
	m := newMachine(t, "")
	for _, args := range [][]string{{"backup", "-c", m.conf, filepath.Join(m.dir, "out")}, {"log", "verify", "-c", m.conf}, {"recover", "-c", m.conf}} {
		if _, _, err := m.run(args...); err == nil || !strings.Contains(err.Error(), "no plane has been here") {
			t.Errorf("%s: %v", args[0], err)
		}
	}
	for _, name := range []string{"ajar.db", "out", "kek"} {
		if _, err := os.Stat(filepath.Join(m.dir, name)); err == nil {
			t.Errorf("there is a file %s", name)
		}
	}
}

func TestLogVerify(t *testing.T) {
	m := newMachine(t, "")
	p := m.serve()
	admin := p.mustLogin("admin", once.FindString(p.stderr.String()))
	for i := range 5 {
		if _, err := admin.CreatePrincipal(t.Context(), client.Principal{Kind: ajar.User, Name: fmt.Sprintf("user%d", i)}, ""); err != nil {
			t.Fatal(err)
		}
	}
	out := m.must("log", "verify", "-c", m.conf) // while the plane runs
	known := regexp.MustCompile(`-known (\d+:[0-9a-f]{64})`).FindStringSubmatch(out)
	if known == nil {
		t.Fatal(out)
	}
	key := strings.TrimSpace(m.must("log", "key", "-c", m.conf))
	whole := m.must("log", "export", "-c", m.conf)
	file := filepath.Join(m.dir, "log.jsonl")
	verify := func(text string, more ...string) error {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, _, err := m.run(append([]string{"log", "verify", "-file", file, "-key", key}, more...)...)
		return err
	}
	if err := verify(whole, "-known", known[1]); err != nil {
		t.Errorf("whole: %v", err)
	}
	lines := strings.SplitAfter(whole, "\n")
	for what, text := range map[string]string{
		"edited":    strings.Replace(whole, "user3", "user4", 1),
		"cut":       strings.Join(append(append([]string{}, lines[:4]...), lines[6:]...), ""),
		"truncated": strings.Join(lines[:4], ""),
	} {
		err := verify(text, "-known", known[1])
		if err == nil || exitCode(err) != exitAltered {
			t.Errorf("%s: %v", what, err)
		}
	}
	checkExport(t, admin)
}

// checkExport checks the log through the surface, as clients do.
func checkExport(t *testing.T, admin *client.Client) {
	t.Helper()
	body, err := admin.Export(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	k, err := admin.LogKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	chain := client.Chain{Key: k.PublicKey}
	for b, err := range client.ReadExport(body) {
		if err != nil {
			t.Fatal(err)
		}
		if err := chain.Add(b); err != nil {
			t.Fatal(err)
		}
	}
	if chain.Events < 6 || chain.SignedTo != chain.Last {
		t.Errorf("checked: %+v", chain)
	}
}

func TestCommandLine(t *testing.T) {
	m := newMachine(t, "")
	for _, c := range []struct {
		args []string
		code int
	}{
		{[]string{"frobnicate"}, exitUsage}, {[]string{"serve", "extra"}, exitUsage}, {[]string{"serve", "-x"}, exitUsage},
		{[]string{"log"}, exitUsage}, {[]string{"log", "burn"}, exitUsage}, {[]string{"backup", "-c", m.conf}, exitUsage},
		{[]string{"log", "verify", "-known", "x"}, exitUsage}, {[]string{"check", "-c", "/nowhere/at.all"}, exitFailed},
	} {
		if _, _, err := m.run(c.args...); err == nil || exitCode(err) != c.code {
			t.Errorf("ajard %v: %v", c.args, err)
		}
	}
	for _, args := range [][]string{{}, {"help"}, {"serve", "-h"}, {"version"}, {"check", "-c", m.conf}} {
		if _, _, err := m.run(args...); err != nil {
			t.Errorf("ajard %v: %v", args, err)
		}
	}
}

// TestThePlaneSaysNoSecret: what it says at all levels holds no key, token or password but the one-time one.
func TestThePlaneSaysNoSecret(t *testing.T) {
	m := newMachine(t, "logLevel: debug\nadmin: {file: once}")
	p := m.serve()
	b, err := os.ReadFile(filepath.Join(m.dir, "once"))
	if err != nil {
		t.Fatal(err)
	}
	kek, err := os.ReadFile(filepath.Join(m.dir, "kek"))
	if err != nil {
		t.Fatal(err)
	}
	c := p.client()
	s, err := c.Login(t.Context(), "admin", strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	admin := c.WithToken(s.Token)
	if err := admin.SetPassword(t.Context(), "admin", password, ""); err != nil {
		t.Fatal(err)
	}
	h := p.join(admin, false)
	h.stop()
	p.end()
	for _, secret := range []string{strings.TrimSpace(string(b)), strings.TrimSpace(string(kek)), s.Token, password, "ajarjoin_", "PRIVATE KEY"} {
		if strings.Contains(p.stderr.String(), secret) {
			t.Errorf("the log shows %.8s…", secret)
		}
	}
}
