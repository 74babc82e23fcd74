//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/provider/agent"
	"github.com/ajar-access/ajar/provider/nftables"
)

const endpoint = "web"

// plane is a Hub that takes the token "let-me-in" once.
type plane struct {
	hub     *agent.Hub
	addr    string
	caHash  string
	reports chan ajar.Report
	stop    func()
}

func newPlane(t *testing.T) *plane {
	t.Helper()
	now := time.Now()
	key := func() *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	serial := int64(0)
	sign := func(c, parent *x509.Certificate, pub any, by *ecdsa.PrivateKey) []byte {
		serial++
		c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(serial), now.Add(-time.Hour), now.Add(time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, c, parent, pub, by)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	caKey, srvKey := key(), key()
	self := &x509.Certificate{Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	caDER := sign(self, self, caKey.Public(), caKey)
	ca, _ := x509.ParseCertificate(caDER)
	srv := sign(&x509.Certificate{IPAddresses: []net.IP{{127, 0, 0, 1}}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, ca, srvKey.Public(), caKey)
	tokens := map[string]bool{fmt.Sprintf("%x", sha256.Sum256([]byte("let-me-in"))): true}
	p := &plane{caHash: fmt.Sprintf("sha256:%x", sha256.Sum256(caDER)), reports: make(chan ajar.Report, 100)}
	p.hub = &agent.Hub{
		Clock: time.Now, Log: slog.New(slog.DiscardHandler),
		Server: func() (*tls.Certificate, error) {
			return &tls.Certificate{Certificate: [][]byte{srv}, PrivateKey: srvKey}, nil
		},
		CA:       func() []*x509.Certificate { return []*x509.Certificate{ca} },
		Identify: func(context.Context, *x509.Certificate) (ajar.EndpointID, error) { return endpoint, nil },
		Join: func(_ context.Context, j agent.Joining) (agent.Joined, error) {
			if !tokens[j.TokenHash] {
				return agent.Joined{}, ajar.Errorf(ajar.Forbidden, "the token is unknown, used or too old")
			}
			delete(tokens, j.TokenHash)
			der := sign(&x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, ca, j.CSR.PublicKey, caKey)
			return agent.Joined{Endpoint: endpoint, Certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}, nil
		},
	}
	p.start(t, "127.0.0.1:0")
	return p
}

func (p *plane) start(t *testing.T, addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	p.addr = ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { p.hub.Serve(ctx, ln); close(done) }()
	go p.hub.Report(ctx, func(r ajar.Report) error { p.reports <- r; return nil })
	p.stop = func() { cancel(); <-done }
	t.Cleanup(p.stop)
}

// machine runs the agent's program as a user without rights but CAP_NET_ADMIN, where this test may make one.
type machine struct {
	t   *testing.T
	dir string
	out output
	cmd *exec.Cmd
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	top, err := os.MkdirTemp("", "ajar-agent-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(top) })
	// A path longer than a socket's name may be.
	dir := filepath.Join(top, strings.Repeat("a-long-name-", 8), "state")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Chmod(top, 0o755), os.Chmod(filepath.Dir(dir), 0o755)); err != nil {
		t.Fatal(err)
	}
	if manyUsers() {
		if err := os.Chown(dir, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	return &machine{t: t, dir: dir}
}

// output collects what the agents say while somebody may already read it.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

const nobody = 65534

// manyUsers reports whether other users than the own one exist in this user namespace.
func manyUsers() bool {
	b, _ := os.ReadFile("/proc/self/uid_map")
	f := strings.Fields(string(b))
	return len(f) == 3 && f[2] != "1"
}

// command is ajar-agent with args.
func (m *machine) command(args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", append(args, "--state", m.dir)...)
	cmd.Env = append(os.Environ(), asVar+"="+asAgent)
	return cmd
}

// unprivileged makes cmd run with CAP_NET_ADMIN and nothing else.
func unprivileged(cmd *exec.Cmd) *exec.Cmd {
	if manyUsers() {
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Credential: &syscall.Credential{Uid: nobody, Gid: nobody}, AmbientCaps: []uintptr{unix.CAP_NET_ADMIN}, Pdeathsig: syscall.SIGKILL,
		}
	}
	return cmd
}

// do runs a command as the machine's root and gives what it printed.
func (m *machine) do(args ...string) string {
	m.t.Helper()
	out, code := m.try(args...)
	if code != 0 {
		m.t.Fatalf("ajar-agent %s: exit code %d\n%s\nagent: %s", strings.Join(args, " "), code, out, m.out.String())
	}
	return out
}

func (m *machine) try(args ...string) (string, int) {
	cmd := m.command(args...)
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		m.t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func (m *machine) start() {
	m.t.Helper()
	m.cmd = unprivileged(m.command("run"))
	m.cmd.Stdout, m.cmd.Stderr = &m.out, &m.out
	if err := m.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(m.kill)
}

func (m *machine) kill() {
	if m.cmd != nil {
		m.cmd.Process.Kill()
		m.cmd.Wait()
		m.cmd = nil
	}
}

func (m *machine) status() (s agent.Status) {
	m.t.Helper()
	if err := json.Unmarshal([]byte(m.do("status", "-o", "json")), &s); err != nil {
		m.t.Fatal(err)
	}
	return s
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(2 * time.Minute)
	for !ok() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("never came: %s", what)
		}
	}
}

func (p *plane) await(m *machine, ok bool) {
	m.t.Helper()
	until(m.t, fmt.Sprintf("connected: %v\n%s", ok, m.out.String()), func() bool { _, up := p.hub.Connected(endpoint); return up == ok })
}

func opening(id ajar.LeaseID, port int, end time.Time) ajar.Rule {
	return ajar.Rule{
		Flow: ajar.Flow{Port: ajar.Port{Number: uint16(port), Protocol: ajar.TCP}}, Lease: id,
		Sources: []netip.Prefix{netip.MustParsePrefix(guestAddr + "/32")}, Expires: end, HardStop: end,
	}
}

// seesTheEnd knocks until an opening is over, and judges each knock by when it began and was through: none may come in
// that began after the end, none be refused that was through before it. It is false if the machine was too slow to let
// one in at all.
func (g *guest) seesTheEnd(t *testing.T, port int, end time.Time) (seen bool) {
	t.Helper()
	until(t, "the deadline closes", func() bool {
		began := time.Now()
		err := g.knock(port)
		switch through := time.Now(); {
		case err == nil && began.After(end.Add(25*time.Millisecond)):
			t.Errorf("a knock %s after the deadline was let in", began.Sub(end))
		case err != nil && through.Before(end.Add(-50*time.Millisecond)):
			t.Fatalf("a knock %s before the deadline ends with %v", end.Sub(through), err)
		case err == nil:
			seen = true
		}
		return err != nil && began.After(end)
	})
	return seen
}

// TestLife is an agent's life on a real kernel, with real packets.
func TestLife(t *testing.T) {
	g, p, m := newGuest(t), newPlane(t), newMachine(t)
	ln, err := net.Listen("tcp", hostAddr+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	port := ln.Addr().(*net.TCPAddr).Port
	flow := ajar.Flow{Port: ajar.Port{Number: uint16(port), Protocol: ajar.TCP}}
	closed := func(when string) {
		t.Helper()
		if err := g.knock(port); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("%s: the guest's knock ends with %v, want a refusal\n%s", when, err, m.out.String())
		}
	}
	open := func(when string) {
		t.Helper()
		if err := g.knock(port); err != nil {
			t.Errorf("%s: the guest's knock ends with %v\n%s", when, err, m.out.String())
		}
	}
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("let-me-in\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, code := m.try("run"); code != 4 || !strings.Contains(out, "ajar-agent: this host has not joined\nhint: ") {
		t.Errorf("run before join: exit code %d\n%s", code, out)
	}
	if out, code := m.try("join", "--server", p.addr, "--ca-hash", "sha256:"+strings.Repeat("0", 64), "--token-file", token); code != 3 || !strings.Contains(out, "compare --ca-hash") {
		t.Errorf("join under a wrong hash: exit code %d\n%s", code, out)
	}
	m.do("join", "--server", "https://"+p.addr, "--ca-hash", p.caHash, "--token-file", token)
	if out, code := m.try("join", "--server", p.addr, "--ca-hash", p.caHash, "--token-file", token); code != 7 || !strings.Contains(out, "--replace") {
		t.Errorf("join twice: exit code %d\n%s", code, out)
	}
	if out, code := m.try("join", "--server", p.addr, "--ca-hash", p.caHash, "--token-file", token, "--replace"); code != 3 || !strings.Contains(out, "ajar hosts add") || strings.Contains(out, "--ca-hash") {
		t.Errorf("a used token: exit code %d\n%s", code, out)
	}
	m.start()
	p.await(m, true)
	open("before any guard")

	ep, ctx := ajar.Endpoint{ID: endpoint}, t.Context()
	if err := p.hub.ApplyAt(ctx, ep, ajar.Ruleset{Guard: []ajar.Guard{{Flow: flow}}}, 1); err != nil {
		t.Fatal(err, m.out.String())
	}
	closed("guarded")
	rev := uint64(1)
	for d, seen := 700*time.Millisecond, false; !seen; d *= 2 {
		end := time.Now().Add(d)
		put := []ajar.Rule{opening(ajar.LeaseID(fmt.Sprint("short-", rev)), port, end)}
		if err := p.hub.Change(ctx, ep, ajar.Delta{Base: rev, Rev: rev + 1, Put: put}); err != nil {
			t.Fatal(err)
		}
		rev++
		seen = g.seesTheEnd(t, port, end)
	}
	s := m.status()
	if !s.Connected || len(s.Guarded) != 1 || len(s.Host.Refused) == 0 || s.Host.Refused[0].Source.String() != guestAddr || s.Host.OwnTable == "" {
		t.Errorf("status: %+v", s)
	}

	if manyUsers() {
		cmd := m.command("break-glass", fmt.Sprint(port), "--from", guestAddr, "--for", "1m", "--reason", "curious")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 12345, Gid: 12345}}
		if out, _ := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != 3 {
			t.Errorf("break-glass by somebody else: exit code %d\n%s", cmd.ProcessState.ExitCode(), out)
		}
		closed("somebody else tried")
	}

	// The agent dies with an opening; the kernel keeps it, and a new agent adopts it.
	if err := p.hub.Change(ctx, ep, ajar.Delta{Base: rev, Rev: rev + 1, Put: []ajar.Rule{opening("long", port, time.Now().Add(time.Hour))}}); err != nil {
		t.Fatal(err)
	}
	m.kill()
	p.await(m, false)
	open("opened, agent dead")
	if s := m.status(); s.Running || len(s.Open) != 1 {
		t.Errorf("status without an agent: %+v", s)
	}
	m.start()
	p.await(m, true)
	open("opened, new agent")
	if err := p.hub.Change(ctx, ep, ajar.Delta{Base: rev + 1, Rev: rev + 2, Drop: []ajar.LeaseID{"long"}}); err != nil {
		t.Fatal(err)
	}
	closed("revoked by the new agent")

	p.stop()
	p.await(m, false)
	m.do("break-glass", fmt.Sprint(port), "--from", guestAddr, "--for", "10m", "--reason", "the plane is down")
	open("break-glass")
	if out, code := m.try("break-glass", fmt.Sprint(port), "--from", guestAddr, "--for", "2h", "--reason", "x"); code != 2 {
		t.Errorf("break-glass for two hours: exit code %d\n%s", code, out)
	}
	if out, code := m.try("leave", "--yes"); code != 7 || !strings.Contains(out, "one thing") || !strings.Contains(out, "--untold FILE") {
		t.Errorf("leave with a note that the plane has not: exit code %d\n%s", code, out)
	}
	open("leaving was refused")
	m.kill()
	untold := filepath.Join(t.TempDir(), "untold")
	if err := os.WriteFile(untold, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, code := m.try("leave", "--yes", "--untold", untold); code == 0 || !strings.Contains(out, "nothing was changed") {
		t.Errorf("leave with a file that is there already: exit code %d\n%s", code, out)
	}
	open("leaving was refused again")

	// A reboot: the table is gone; restore lays it again before there is any plane.
	fw, err := nftables.Config{Clock: time.Now}.Open(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := fw.Apply(ctx, ep, ajar.Ruleset{}); err != nil {
		t.Fatal(err)
	}
	fw.Close()
	open("table gone")
	cmd := unprivileged(m.command("restore"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("restore: %v\n%s", err, out)
	}
	open("restored, break-glass is still open")
	m.do("break-glass", fmt.Sprint(port), "--from", "203.0.113.9", "--for", "1m", "--reason", "the agent is dead, too")
	m.start()
	p.start(t, p.addr)
	for got := 0; got < 2; {
		select {
		case r := <-p.reports:
			if r.Action == ajar.BreakGlass {
				got++
			}
		case <-time.After(2 * time.Minute):
			t.Fatalf("%d of 2 reports of break-glass were delivered\n%s", got, m.out.String())
		}
	}

	if out, code := m.try("leave"); code != 2 || !strings.Contains(out, "--yes") {
		t.Errorf("leave without --yes: exit code %d\n%s", code, out)
	}
	p.stop()
	p.await(m, false)
	m.do("break-glass", fmt.Sprint(port), "--from", guestAddr, "--for", "10m", "--reason", "on the way out")
	untold = filepath.Join(t.TempDir(), "untold")
	m.do("leave", "--yes", "--untold", untold)
	open("left")
	if b, err := os.ReadFile(untold); err != nil || strings.Count(string(b), "\n") != 1 || !strings.Contains(string(b), "on the way out") {
		t.Errorf("what the plane does not know of: %q, %v", b, err)
	}
	if err := m.cmd.Wait(); err != nil {
		t.Errorf("the agent ended with %v\n%s", err, m.out.String())
	}
	m.cmd = nil
	if s := m.status(); s.Joined || len(s.Guarded) != 0 {
		t.Errorf("status after leaving: %+v", s)
	}
}

// TestPeersAreTold looks at who is at the other end of the local socket.
func TestPeersAreTold(t *testing.T) {
	dir := t.TempDir()
	ln, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("unix", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if who, err := admit(s); err != nil || who != userName(os.Geteuid()) {
		t.Errorf("it is %q, %v", who, err)
	}
	if !mayAsk(0, 7) || !mayAsk(7, 7) || mayAsk(8, 7) || mayAsk(7, 0) {
		t.Error("not root and the agent's own user alone may ask")
	}
}

func TestServerAddr(t *testing.T) {
	for in, want := range map[string]string{
		"a:1": "a:1", "https://a:1": "a:1", "https://a:1/": "a:1", "a": "a:8444", "https://a": "a:8444", "[2001:db8::1]:9": "[2001:db8::1]:9",
		"2001:db8::1": "[2001:db8::1]:8444", "http://a:1": "", "https://a/b": "", "": "", "a/b": "",
	} {
		got, err := serverAddr(in)
		if got != want || (err != nil) != (want == "") {
			t.Errorf("%q is %q, %v; want %q", in, got, err, want)
		}
	}
}

func TestParseBreakGlass(t *testing.T) {
	for in, want := range map[string]string{"22": "22/TCP", "22/tcp": "22/TCP", "53/UDP": "53/UDP", "0": "", "65536": "", "22/sctp": "", "x": "", "-1": ""} {
		b, err := parseBreakGlass(in, "192.0.2.1", time.Minute, "why")
		if (err != nil) != (want == "") || err == nil && b.Port.String() != want {
			t.Errorf("%q is %v, %v; want %q", in, b.Port, err, want)
		}
	}
	for in, want := range map[string]string{"192.0.2.1": "192.0.2.1/32", "::ffff:192.0.2.1": "192.0.2.1/32", "2001:db8::/64": "2001:db8::/64", "fe80::1%eth0": "", "me": ""} {
		b, err := parseBreakGlass("22", in, time.Minute, "why")
		if (err != nil) != (want == "") || err == nil && b.From.String() != want {
			t.Errorf("from %q is %v, %v; want %q", in, b.From, err, want)
		}
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{{"join"}, {"break-glass", "22"}, {"nonsense"}, {"run", "--nonsense"}, {"--log-level", "loud", "version"}, {"status", "-o", "xml"}} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), args, nil, &out, &errs, os.Getenv); code != 2 || !strings.HasPrefix(errs.String(), "ajar-agent: ") {
			t.Errorf("%v: exit code %d, %q", args, code, errs.String())
		}
	}
	var out bytes.Buffer
	if code := run(t.Context(), []string{"version"}, nil, &out, &out, os.Getenv); code != 0 || !strings.HasPrefix(out.String(), "ajar-agent ") {
		t.Errorf("version: exit code %d, %q", code, out.String())
	}
}

// TestAnAgentThatStartsIsWaitedFor: it has the state directory already, and does not answer yet.
func TestAnAgentThatStartsIsWaitedFor(t *testing.T) {
	a := &app{state: t.TempDir()}
	if _, err := a.ask(t.Context(), agent.ControlAsk{Do: agent.AskStatus}); !errors.Is(err, errNoAgent) {
		t.Fatalf("where nobody is at work: %v", err)
	}
	lock, err := a.lock()
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	time.AfterFunc(200*time.Millisecond, func() {
		ln, err := a.listen()
		if err != nil {
			t.Error(err)
			return
		}
		defer ln.Close()
		c, err := ln.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		var q agent.ControlAsk
		if err := errors.Join(json.NewDecoder(c).Decode(&q), json.NewEncoder(c).Encode(agent.ControlAnswer{Untold: "here"})); err != nil {
			t.Error(err)
		}
	})
	answer, err := a.ask(t.Context(), agent.ControlAsk{Do: agent.AskStatus})
	if err != nil || answer.Untold != "here" {
		t.Errorf("answered %+v, %v", answer, err)
	}
}
