package issuer

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/authn"
	"github.com/ajar-access/ajar/broker"
	"github.com/ajar-access/ajar/store"
)

const (
	tenantID  = "0f3c8d52-7c1f-4f0e-9a55-2f6b1f7f0001"
	publicURL = "https://plane.example.org:8443"
	azureCLI  = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"
	resource  = publicURL + "//.default"
	personal  = "a password for tests"
)

// rig is an issuer over a real store, and the door that takes its tokens.
type rig struct {
	*Server
	t     *testing.T
	mu    sync.Mutex
	at    time.Time
	vault *authn.Vault
	from  string
}

func (g *rig) now() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.at
}

func (g *rig) step(d time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.at = g.at.Add(d)
}

func newRig(t testing.TB, change ...func(*Config)) *rig {
	return newRigOver(t, "sqlite:"+filepath.Join(t.TempDir(), "ajar.db"), change...)
}

func newRigOver(t testing.TB, dsn string, change ...func(*Config)) *rig {
	g := &rig{at: time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC), from: "203.0.113.9:4711"}
	g.t, _ = t.(*testing.T)
	st := g.open(t, dsn)
	var err error
	if g.vault, err = authn.NewVault(st, g.now, authn.NewKEK()); err != nil {
		t.Fatal(err)
	}
	g.Server = g.plane(st, change...)
	return g
}

// open opens the store as another process would.
func (g *rig) open(t testing.TB, dsn string) *store.Store {
	t.Helper()
	st, err := store.Open(t.Context(), dsn, store.Options{Clock: g.now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

// plane is one replica over st.
func (g *rig) plane(st ajar.Store, change ...func(*Config)) *Server {
	hasher := authn.NewHasher(2)
	hasher.Memory, hasher.Time = 64, 1
	auth := authn.New(authn.Config{Store: st, Clock: g.now, Hasher: hasher, Tokens: &authn.Tokens{
		Keys: &authn.Keys{Vault: g.vault}, Issuers: Issuers(publicURL, tenantID), Audiences: []string{publicURL, "https://other.example.org"},
	}})
	c := Config{
		Store: st, Clock: g.now, Auth: auth, Vault: g.vault, PublicURL: publicURL, Tenant: ajar.Tenant{ID: tenantID, Name: "Example", Domain: "example.org"},
		Broker: broker.New(broker.Config{Store: st, Clock: g.now, NewID: uuid.NewString}), Audiences: []string{"https://other.example.org"},
	}
	for _, f := range change {
		f(&c)
	}
	return New(c)
}

func (g *rig) put(docs ...ajar.Doc) {
	g.t.Helper()
	if err := g.Store.Update(context.Background(), func(tx ajar.Tx) error {
		for _, d := range docs {
			if err := tx.Put(d); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		g.t.Fatal(err)
	}
}

// program makes a service principal with a secret.
func (g *rig) newProgram(name string) (*ajar.Principal, string) {
	g.t.Helper()
	p := &ajar.Principal{ID: ajar.PrincipalID(uuid.NewString()), Kind: ajar.ServicePrincipal, Name: name, Created: g.now()}
	secret, hash, hint := authn.NewSecret()
	g.put(p, &ajar.Credential{ID: uuid.NewString(), Principal: p.ID, Kind: ajar.Secret, Hash: hash, Hint: hint, Created: g.now()})
	return p, secret
}

// newPerson makes somebody with the password of the tests.
func (g *rig) newPerson(name string) *ajar.Principal {
	g.t.Helper()
	hash, err := g.Auth.Hasher.Hash(g.t.Context(), personal)
	if err != nil {
		g.t.Fatal(err)
	}
	p := &ajar.Principal{ID: ajar.PrincipalID(uuid.NewString()), Kind: ajar.User, Name: name, Display: strings.ToUpper(name), Created: g.now()}
	g.put(p, &ajar.Credential{ID: uuid.NewString(), Principal: p.ID, Kind: ajar.Password, Hash: hash, Created: g.now()})
	return p
}

// reply is what an endpoint said.
type heard struct {
	status int
	header http.Header
	body   string
	tokens
	faultBody
	fields map[string]any
}

func (g *rig) serve(s *Server, r *http.Request) heard {
	g.t.Helper()
	r.RemoteAddr = g.from
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	h := heard{status: w.Code, header: w.Header(), body: w.Body.String()}
	if strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") {
		for _, into := range []any{&h.tokens, &h.faultBody, &h.fields} {
			if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
				g.t.Fatalf("%s %s answers %s: %v", r.Method, r.URL, h.body, err)
			}
		}
	}
	return h
}

func (g *rig) get(target string) heard {
	g.t.Helper()
	return g.serve(g.Server, httptest.NewRequest(http.MethodGet, target, nil))
}

// post sends name=value pairs as a form.
func (g *rig) post(target string, pairs ...string) heard {
	g.t.Helper()
	return g.postTo(g.Server, target, pairs...)
}

func (g *rig) postTo(s *Server, target string, pairs ...string) heard {
	g.t.Helper()
	r := httptest.NewRequest(http.MethodPost, target, strings.NewReader(form2(pairs).Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded;charset=utf-8")
	return g.serve(s, r)
}

func form2(pairs []string) url.Values {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Add(pairs[i], pairs[i+1])
	}
	return v
}

const (
	adfsToken   = "/adfs/oauth2/v2.0/token"
	tenantToken = "/" + tenantID + "/oauth2/v2.0/token"
)

// mustGet fails unless tokens came.
func (h heard) must(t *testing.T) heard {
	t.Helper()
	if h.status != http.StatusOK || h.AccessToken == "" {
		t.Fatalf("no tokens: %d %s", h.status, h.body)
	}
	return h
}

// refusedAs fails unless h is that refusal.
func (h heard) refusedAs(t *testing.T, what string, status int, code string) {
	t.Helper()
	if h.status != status || h.Error != code || h.AccessToken != "" {
		t.Errorf("%s: got %d %s, want %d %s: %s", what, h.status, h.Error, status, code, h.body)
	}
	if h.Description == "" || len(h.Codes) != 1 || h.TraceID == "" || h.CorrelationID == "" || h.Timestamp == "" {
		t.Errorf("%s: the refusal is not as Azure's libraries read it: %s", what, h.body)
	}
}

// use brings a token to the door, as a call to the plane does.
func (g *rig) use(token string) (ajar.Caller, error) {
	return useAt(g.Server, token)
}

func useAt(s *Server, token string) (ajar.Caller, error) {
	r := httptest.NewRequest(http.MethodGet, "/subscriptions", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	who, _, err := s.Auth.Caller(r)
	return who, err
}

// claims reads a token without checking it.
func claims(t *testing.T, token string) map[string]any {
	t.Helper()
	part := strings.Split(token, ".")
	if len(part) != 3 {
		t.Fatalf("%q is no JWT", token)
	}
	b, err := base64.RawURLEncoding.DecodeString(part[1])
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// signIns are the recorded sign-ins, the newest first.
func (g *rig) signIns() (accepted, refused []*ajar.Event) {
	g.t.Helper()
	if err := g.Store.View(g.t.Context(), func(tx ajar.Tx) error {
		es, err := tx.Events(ajar.EventFilter{Action: ajar.SignIn})
		accepted, refused = nil, nil
		for _, e := range es {
			if e.Outcome == ajar.Accepted {
				accepted = append(accepted, e)
			} else {
				refused = append(refused, e)
			}
		}
		return err
	}); err != nil {
		g.t.Fatal(err)
	}
	return accepted, refused
}

// pkce makes a verifier and its challenge.
func pkce() (verifier, challenge string) {
	verifier = random("", 32)
	sum := sha256.Sum256([]byte(verifier))
	return verifier, base64.RawURLEncoding.EncodeToString(sum[:])
}

// code has who agree to a sign-in, and gives the code that the browser is sent back with.
func (g *rig) code(who *ajar.Principal, pairs ...string) (code, verifier string) {
	g.t.Helper()
	return g.codeOf(g.sessionFor(who), pairs...)
}

// codeOf is code for a session.
func (g *rig) codeOf(who *session, pairs ...string) (code, verifier string) {
	g.t.Helper()
	r, h, verifier := g.wished(pairs...)
	code, err := g.newCode(r, h, who)
	if err != nil {
		g.t.Fatal(err)
	}
	return code, verifier
}

// wished is what Azure CLI asks of a browser.
func (g *rig) wished(pairs ...string) (r *http.Request, h *wish, verifier string) {
	g.t.Helper()
	verifier, challenge := pkce()
	v := form2(append([]string{
		"client_id", azureCLI, "response_type", "code", "redirect_uri", "http://localhost:8400", "scope", resource + " offline_access openid profile",
		"state", "s", "nonce", "n", "code_challenge", challenge, "code_challenge_method", "S256",
	}, pairs...))
	for name, all := range v {
		v[name] = all[len(all)-1:]
	}
	r = httptest.NewRequest(http.MethodGet, "/adfs/oauth2/v2.0/authorize?"+v.Encode(), nil)
	r.RemoteAddr = g.from
	f, _ := g.form("adfs")
	h, err := g.wish(r, f)
	if err == nil {
		err = g.refine(h)
	}
	if err != nil {
		g.t.Fatal(err)
	}
	return r, h, verifier
}

// sessionFor signs who in.
func (g *rig) sessionFor(who *ajar.Principal) *session {
	now, day := g.now(), g.now().Add(24*time.Hour)
	doc := &ajar.Session{Key: uuid.NewString(), State: ajar.SessionWhole, Principal: who.ID, Amr: []string{"pwd"}, AuthTime: now, Created: now, Seen: now, Idle: day, Expires: day}
	g.put(doc)
	return &session{ID: doc.Key, Principal: who.ID, Name: who.Name, AuthTime: now, AMR: doc.Amr}
}

// over is pairs with others in the place of those of the same name.
func over(pairs, others []string) []string {
	v := form2(pairs)
	for i := 0; i < len(others); i += 2 {
		v.Set(others[i], others[i+1])
	}
	var out []string
	for name := range v {
		out = append(out, name, v.Get(name))
	}
	return out
}

// exchange brings a code to the token endpoint, as MSAL does.
func (g *rig) exchange(code, verifier string, pairs ...string) heard {
	g.t.Helper()
	return g.post(adfsToken, over([]string{"client_id", azureCLI, "grant_type", "authorization_code", "client_info", "1", "code", code, "code_verifier", verifier,
		"redirect_uri", "http://localhost:8400"}, pairs)...)
}

// certificate makes a key and a certificate of it, as a person does for a program.
func certificate(t testing.TB, from, to time.Time) (*ecdsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key, certificateOf(t, key.Public(), key, from, to)
}

func certificateOf(t testing.TB, pub, key any, from, to time.Time) *x509.Certificate {
	t.Helper()
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "robot"}, NotBefore: from, NotAfter: to}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, pub, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func fatal(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(fmt.Errorf("unexpected: %w", err))
	}
}
