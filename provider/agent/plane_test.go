package agent

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
)

// authority signs certificates for tests.
type authority struct {
	key    *ecdsa.PrivateKey
	cert   *x509.Certificate
	server *tls.Certificate
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{key: ecKey(t)}
	now := time.Now()
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: now.Add(-100 * time.Hour), NotAfter: now.Add(1000 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}, &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}}, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	a.cert, _ = x509.ParseCertificate(der)
	key := ecKey(t)
	leaf := a.sign(t, key.Public(), &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "plane"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: now.Add(-100 * time.Hour), NotAfter: now.Add(1000 * time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	a.server = &tls.Certificate{Certificate: [][]byte{leaf}, PrivateKey: key}
	return a
}

func ecKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (a *authority) sign(t testing.TB, pub any, c *x509.Certificate) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, pub, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func (a *authority) hash() string {
	s := sha256.Sum256(a.cert.Raw)
	return "sha256:" + hex.EncodeToString(s[:])
}

// plane is a Hub with all around it: identities, tokens, and who was told what.
type plane struct {
	t    testing.TB
	ca   *authority
	hub  *Hub
	addr string
	step time.Duration // of the plane's clock

	mu       sync.Mutex
	tokens   map[string]ajar.EndpointID // hash → host
	serials  map[string]ajar.EndpointID
	serial   int64
	life     time.Duration
	refuse   error // of Identify
	stop     func()
	reports  chan ajar.Report
	homes    []string
	settings Settings
	left     []ajar.EndpointID
	recfail  bool // the loop cannot record reports
	recheck  time.Duration
}

func newPlane(t testing.TB) *plane {
	p := &plane{
		t: t, ca: newAuthority(t), tokens: map[string]ajar.EndpointID{}, serials: map[string]ajar.EndpointID{}, serial: 100,
		life: time.Hour, recheck: 50 * time.Millisecond, reports: make(chan ajar.Report, 4096),
	}
	if _, bench := t.(*testing.B); bench {
		p.recheck = time.Hour
	}
	p.start("127.0.0.1:0")
	return p
}

func (p *plane) now() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Now().Add(p.step)
}

func (p *plane) set(step time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.step = step
}

// start runs a new Hub, as a plane does that was killed and started again.
func (p *plane) start(addr string) {
	var ln net.Listener
	until(p.t, "a listener at "+addr, func() (ok bool) { // somebody else's call may have the port just now
		var err error
		ln, err = net.Listen("tcp", addr)
		return err == nil
	})
	ctx, cancel := context.WithCancel(context.Background())
	p.addr = ln.Addr().String()
	p.hub = &Hub{
		Clock: p.now, Log: logTo(p.t),
		Server:   func() (*tls.Certificate, error) { return p.ca.server, nil },
		CA:       func() []*x509.Certificate { return []*x509.Certificate{p.ca.cert} },
		Identify: p.identify, Join: p.join, Renew: p.renew,
		Home: func(ep ajar.EndpointID, c bool) {
			p.mu.Lock()
			p.homes = append(p.homes, fmt.Sprint(ep, c))
			p.mu.Unlock()
		},
		Settings: func(context.Context, ajar.Endpoint) (Settings, error) {
			p.mu.Lock()
			defer p.mu.Unlock()
			return p.settings, nil
		},
		Left: func(_ context.Context, ep ajar.EndpointID, _ *x509.Certificate) error {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.left = append(p.left, ep)
			return nil
		},
		Recheck: p.recheck,
	}
	var wg sync.WaitGroup
	wg.Go(func() { p.hub.Serve(ctx, ln) })
	wg.Go(func() {
		p.hub.Report(ctx, func(r ajar.Report) error {
			p.mu.Lock()
			fail := p.recfail
			p.mu.Unlock()
			if fail {
				return ajar.Errorf(ajar.Unavailable, "the database is away")
			}
			p.reports <- r
			return nil
		})
	})
	var once sync.Once
	p.stop = func() { once.Do(func() { cancel(); wg.Wait() }) }
	p.t.Cleanup(p.stop)
}

func (p *plane) restart() {
	p.stop()
	p.start(p.addr)
}

func (p *plane) identify(_ context.Context, c *x509.Certificate) (ajar.EndpointID, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refuse != nil {
		return "", p.refuse
	}
	ep, ok := p.serials[c.SerialNumber.Text(16)]
	if !ok {
		return "", ajar.Errorf(ajar.Forbidden, "the identity was revoked")
	}
	return ep, nil
}

// token makes a join token for ep.
func (p *plane) token(ep ajar.EndpointID) string {
	tok := rand.Text()
	s := sha256.Sum256([]byte(tok))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tokens[hex.EncodeToString(s[:])] = ep
	return tok
}

func (p *plane) join(ctx context.Context, j Joining) (Joined, error) {
	p.mu.Lock()
	ep, ok := p.tokens[j.TokenHash]
	delete(p.tokens, j.TokenHash)
	p.mu.Unlock()
	if !ok {
		return Joined{}, ajar.Errorf(ajar.Forbidden, "the token is unknown, used or too old")
	}
	cert, err := p.renew(ctx, ep, nil, j.CSR)
	return Joined{Endpoint: ep, Certificate: cert}, err
}

func (p *plane) renew(_ context.Context, ep ajar.EndpointID, _ *x509.Certificate, csr *x509.CertificateRequest) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.serial++
	now := time.Now().Add(p.step)
	der := p.ca.sign(p.t, csr.PublicKey, &x509.Certificate{
		SerialNumber: big.NewInt(p.serial), Subject: pkix.Name{CommonName: string(ep)},
		NotBefore: now.Add(-time.Second), NotAfter: now.Add(p.life), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	p.serials[big.NewInt(p.serial).Text(16)] = ep
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

// revoke forgets all certificates of ep.
func (p *plane) revoke(ep ajar.EndpointID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for s, e := range p.serials {
		if e == ep {
			delete(p.serials, s)
		}
	}
}

// machine is a host in a test: its clocks, its disk, and whatever agent runs there now.
type machine struct {
	t    testing.TB
	p    *plane
	ep   ajar.EndpointID
	dir  string
	boot time.Time // when it booted

	mu     sync.Mutex
	bootID string
	slept  time.Duration // in suspend: Boot gains on Mono
	wall   time.Duration // the wall clock is wrong by that
	beat   time.Duration // 0 = 50 ms

	*Host
	mem     *memory
	stepped chan struct{}
	halt    func()
	done    chan error
}

func newMachine(t testing.TB, p *plane, ep ajar.EndpointID) *machine {
	t.Helper()
	m := &machine{t: t, p: p, ep: ep, dir: t.TempDir(), boot: time.Now().Add(-time.Hour), bootID: "boot-1"}
	m.joinAs(p.token(ep))
	return m
}

func (m *machine) joinAs(token string) {
	m.t.Helper()
	ep, err := Join(m.t.Context(), JoinAsk{Dir: m.dir, Server: m.p.addr, CAHash: m.p.ca.hash(), Token: token, Clock: m.wallNow, Replace: true})
	if err != nil {
		m.t.Fatal(err)
	}
	if ep != m.ep {
		m.t.Fatalf("joined as %s, not %s", ep, m.ep)
	}
}

func (m *machine) bootNow() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return time.Since(m.boot) + m.slept
}

func (m *machine) wallNow() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return time.Now().Add(m.wall)
}

// build makes a new agent process, which has not opened anything yet. mem stays: the kernel outlives agents.
func (m *machine) build() *Host {
	m.t.Helper()
	clock := &Clock{Boot: m.bootNow, Wall: m.wallNow}
	if m.mem == nil {
		m.mem = newMemory(clock)
	}
	m.mem.clock = clock
	m.mem.adopted = len(m.mem.have.Guard) > 0
	m.stepped = make(chan struct{}, 1)
	m.Host = &Host{
		Local: m.mem, Clock: clock, Dir: m.dir, Version: "test", BootID: m.bootID, TrustWall: true, Log: logTo(m.t),
		Mono: func() time.Duration { return time.Since(m.boot) }, Stepped: m.stepped, Beat: cmp.Or(m.beat, 50*time.Millisecond), Patience: 30 * time.Second,
	}
	return m.Host
}

// start runs an agent.
func (m *machine) start() {
	m.t.Helper()
	h := m.build()
	if err := h.Open(); err != nil {
		m.t.Fatal(err)
	}
	if err := h.Resume(m.t.Context()); err != nil {
		m.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	m.done = make(chan error, 1)
	done := m.done
	go func() { done <- h.Run(ctx) }()
	var once sync.Once
	m.halt = func() {
		once.Do(func() {
			cancel()
			<-done
			h.Close()
		})
	}
	m.t.Cleanup(m.halt)
}

func (m *machine) await(ok bool) {
	m.t.Helper()
	until(m.t, fmt.Sprintf("%s connected: %v", m.ep, ok), func() bool { _, up := m.p.hub.Connected(m.ep); return up == ok })
}

// until polls for what must become true.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(time.Minute)
	for !ok() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("never came: %s", what)
		}
	}
}

// report waits for one with the action.
func (p *plane) report(a ajar.Action) ajar.Report {
	p.t.Helper()
	limit := time.After(time.Minute)
	for {
		select {
		case r := <-p.reports:
			if r.Action == a {
				return r
			}
		case <-limit:
			p.t.Fatalf("no report of %s", a)
		}
	}
}

var (
	ssh   = ajar.Flow{Port: ajar.Port{Number: 22, Protocol: ajar.TCP}}
	rdp   = ajar.Flow{Port: ajar.Port{Number: 3389, Protocol: ajar.TCP}}
	alice = []netip.Prefix{netip.MustParsePrefix("192.0.2.7/32")}
)

// rule is an opening of ssh for alice.
func rule(id ajar.LeaseID, end time.Time) ajar.Rule {
	end = end.UTC().Truncate(time.Millisecond)
	return ajar.Rule{Flow: ssh, Lease: id, Sources: alice, Expires: end, HardStop: end}
}

func guarding(flows ...ajar.Flow) []ajar.Guard {
	var gs []ajar.Guard
	for _, f := range flows {
		gs = append(gs, ajar.Guard{Flow: f})
	}
	return gs
}

func (m *machine) at() ajar.Endpoint { return ajar.Endpoint{ID: m.ep, Provider: "agent"} }

// whole applies a whole state through the hub.
func (m *machine) whole(rev uint64, gs []ajar.Guard, rules ...ajar.Rule) {
	m.t.Helper()
	if err := m.p.hub.ApplyAt(m.t.Context(), m.at(), ajar.Ruleset{Guard: gs, Allow: rules}, rev); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) change(d ajar.Delta) {
	m.t.Helper()
	if err := m.p.hub.Change(m.t.Context(), m.at(), d); err != nil {
		m.t.Fatal(err)
	}
}

// logTo shows the log of a test that fails.
func logTo(t testing.TB) *slog.Logger {
	if _, bench := t.(*testing.B); bench {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(logWriter{t}, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

type logWriter struct{ t testing.TB }

func (w logWriter) Write(b []byte) (int, error) {
	w.t.Log(string(b))
	return len(b), nil
}
