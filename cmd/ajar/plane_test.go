package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/ajartest"
	"github.com/ajar-access/ajar/arm"
	"github.com/ajar-access/ajar/authn"
)

// rig is a plane with its REST surface, for the ajar of one script.
type rig struct {
	*ajartest.Plane
	t       testing.TB
	server  *httptest.Server
	surface *arm.Server
	ca      *authn.CA
	hasher  *authn.Hasher
	tokens  map[string]string
	people  map[string]ajar.Caller
	harm    atomic.Value // to the exported log

	away atomic.Bool // nothing can be read

	mu    sync.Mutex
	asked []string // URLs
}

func newRig(t testing.TB) *rig {
	r := &rig{Plane: ajartest.New(t, ajartest.Options{}), t: t, hasher: authn.NewHasher(2), tokens: map[string]string{}, people: map[string]ajar.Caller{}}
	ctx := context.Background()
	vault, err := authn.NewVault(r.Store, r.Now, authn.NewKEK())
	if err == nil {
		r.ca, err = vault.CA(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	key, err := vault.LogKey(ctx)
	if err != nil {
		t.Fatal(err)
	}
	r.Store.SetSigner(signer(key))
	cert, err := r.ca.IssueServer([]string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	r.surface = arm.New(arm.Config{
		Broker: r.Broker, Auth: authn.New(authn.Config{Store: r.Store, Clock: r.Now, Hasher: r.hasher}), Clock: r.Now, CA: r.ca.PEM(),
		LogKey: publicKey(key), Export: r.export,
		JoinCommand: "ajar-agent join --server 127.0.0.1:8444 --ca-hash " + r.ca.Hash() + " --token-file -",
	})
	r.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		r.mu.Lock()
		r.asked = append(r.asked, q.URL.String())
		r.mu.Unlock()
		if r.away.Load() && q.Method == http.MethodGet {
			http.Error(w, "away", http.StatusServiceUnavailable)
			return
		}
		r.surface.ServeHTTP(w, q)
	}))
	r.server.TLS = &tls.Config{Certificates: []tls.Certificate{*cert}}
	r.server.StartTLS()
	t.Cleanup(func() {
		r.surface.Stop()
		r.server.Close()
	})
	return r
}

// person makes somebody with roles and a token.
func (r *rig) person(name string, roles ...ajartest.Role) {
	who := r.User(name, roles...)
	text, hash := authn.NewToken()
	r.Put(&ajar.Token{Hash: hash, Principal: who.Principal, Name: "test", Created: r.Now(), Expires: r.Now().Add(time.Hour), AuthTime: r.Now()})
	r.tokens[name], r.people[name] = text, who
}

// machine makes a target with an address, whose host is connected.
func (r *rig) machine(name, addr, login string) ajar.ID {
	id := r.Machine(name)
	t := ajartest.Get[ajar.Target](r.Plane, id.Key())
	t.Login, t.Addresses = login, []netip.Addr{netip.MustParseAddr(addr)}
	r.Put(t)
	r.Firewall.Host(ajartest.Endpoint(id)).Connect()
	r.Until(func() bool { return ajartest.Get[ajar.Endpoint](r.Plane, string(ajartest.Endpoint(id))).Connected })
	return id
}

// lab is what the scripts play in: web1 and db1 of the group lab, port 22 of web1 for everybody, 3389 of db1 with one
// approval; root, who may everything; anna, who may ask and read; jane, who may ask; bert, who may approve; eve, who may nothing.
func lab(t testing.TB) *rig {
	r := newRig(t)
	web1, db1 := r.machine("web1", "192.0.2.1", "ops"), r.machine("db1", "192.0.2.2", "")
	r.Policy("default", web1)
	r.PolicyOf("db", []ajar.PortPolicy{{Number: 3389, Protocol: ajar.TCP, Any: true, MaxDuration: time.Hour, Approvals: 1}}, db1)
	r.person("root", ajartest.At("Owner", ajar.Root))
	r.person("bert", ajartest.At("Owner", ajartest.Group))
	r.person("anna", ajartest.At("Just-in-time Requester", ajartest.Group), ajartest.At("Reader", ajartest.Group))
	r.person("jane", ajartest.At("Just-in-time Requester", ajartest.Group))
	r.person("eve")
	hash, err := r.hasher.Hash(context.Background(), "correct horse battery staple")
	if err != nil {
		t.Fatal(err)
	}
	r.person("fred") // who has a second factor, and this recovery code
	for _, name := range []string{"anna", "fred"} {
		r.Put(&ajar.Credential{ID: uuid.NewString(), Principal: r.people[name].Principal, Kind: ajar.Password, Hash: hash, Created: r.Now()})
	}
	r.Put(&ajar.Factor{ID: uuid.NewString(), Principal: r.people["fred"].Principal, Kind: ajar.Passkey, Name: "key", Handle: "h"})
	r.Put(&ajar.Factor{ID: uuid.NewString(), Principal: r.people["fred"].Principal, Kind: ajar.Recovery, Name: "codes", Hashes: []string{authn.HashSecret("recovery aaaabbbbccccdddd")}})
	return r
}

// config is a login file of somebody.
func (r *rig) config(t testing.TB, path, name string) {
	if err := writePrivate(path, &config{Server: r.server.URL, CA: string(r.ca.PEM()), Token: r.tokens[name], Name: name, Scope: ajartest.Group, Location: "westeurope"}); err != nil {
		t.Fatal(err)
	}
}

// program is the real ajar, which the scripts run: built when it is first needed, without the race detector, which would
// make each start of it last longer than all that it does.
var program = sync.OnceValues(func() (path string, err error) {
	path = filepath.Join(scratch, "ajar")
	build := exec.Command("go", "build", "-trimpath", "-o", path, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	return path, err
})

var scratch string

func TestMain(m *testing.M) {
	var err error
	if scratch, err = os.MkdirTemp("", "ajar"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	testscript.Main(after{m, func() { os.RemoveAll(scratch) }}, map[string]func(){"ssh": fakeSSH})
}

// after tidies up behind the tests; testscript.Main does not return.
type after struct {
	*testing.M
	tidy func()
}

// Run runs the tests.
func (a after) Run() int {
	defer a.tidy()
	return a.M.Run()
}

// fakeSSH tells how it was called and ends as AJAR_TEST_SSH says: with a code, or upon a signal.
func fakeSSH() {
	fmt.Println("ssh", strings.Join(os.Args[1:], " "))
	code := 0
	switch s := os.Getenv("AJAR_TEST_SSH"); s {
	case "":
	case "wait":
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, stopSignals...)
		_ = os.WriteFile("ssh.started", nil, 0o600) // the script finds out if it fails
		fmt.Println("ended by", <-signals)
		code = 3
	default:
		_, _ = fmt.Sscan(s, &code) // 0 if it is no number
	}
	os.Exit(code)
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			path, err := program()
			if err != nil {
				return err
			}
			r := lab(e.T().(testing.TB))
			e.Values["rig"] = r
			e.Vars = append(e.Vars, "AJAR_CONFIG="+filepath.Join(e.WorkDir, "home", "config.json"), "SERVER="+r.server.URL, "CAHASH="+r.ca.Hash(), "GROUP="+string(ajartest.Group),
				"WEB1="+string(ajartest.MachineID("web1")), "DEFAULT="+string(ajartest.PolicyID("default")), "TZ=UTC",
				"SOON="+r.Now().UTC().Add(30*time.Minute).Format(time.RFC3339), "LATER="+r.Now().UTC().Add(90*time.Minute).Format(time.RFC3339))
			e.Setenv("PATH", filepath.Dir(path)+string(filepath.ListSeparator)+e.Getenv("PATH"))
			return os.WriteFile(filepath.Join(e.WorkDir, "ca.pem"), r.ca.PEM(), 0o600)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"ajar": scriptAjar,
			"as":   scriptAs, "host": scriptHost, "shape": scriptShape, "exits": scriptExits, "tamper": scriptTamper, "json": scriptJSON, "twin": scriptTwin, "await": scriptAwait, "asked": scriptAsked, "away": scriptAway, "stale": scriptStale, "stranger": scriptStranger, "nowhere": scriptNowhere,
		},
	})
}
