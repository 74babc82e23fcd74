package agent

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
)

// identity is what a host is to the plane, and the plane to it. It is one file, replaced as a whole.
type identity struct {
	Server   string          `json:"server"` // host:port
	Endpoint ajar.EndpointID `json:"endpoint"`
	CA       string          `json:"ca"`   // PEM
	Cert     string          `json:"cert"` // PEM, the leaf first; "" = joined no longer
	Key      string          `json:"key"`  // PEM
	Settings Settings        `json:"settings"`
	Joined   time.Time       `json:"joined"`
	// Gone says why the plane will not have this host any longer. Its guard stays unless lifted.
	Gone   string    `json:"gone,omitempty"`
	GoneAt time.Time `json:"goneAt,omitzero"`
	Lifted bool      `json:"lifted,omitempty"`
}

// The files in a state directory.
const (
	identityFile = "identity.json"
	ledgerFile   = "desired"
	journalFile  = "journal"
)

// errNotJoined is answered where there is no identity.
var errNotJoined = ajar.Errorf(ajar.NotFound, "this host has not joined")

func readIdentity(dir string) (*identity, error) {
	b, err := os.ReadFile(filepath.Join(dir, identityFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errNotJoined
	}
	if err != nil {
		return nil, fmt.Errorf("read the identity: %w", err)
	}
	id := new(identity)
	if err := json.Unmarshal(b, id); err != nil {
		return nil, fmt.Errorf("read the identity: %w", err)
	}
	return id, nil
}

func (id *identity) write(dir string) error {
	b, err := json.MarshalIndent(id, "", "  ")
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(dir, identityFile), b); err != nil {
		return fmt.Errorf("write the identity: %w", err)
	}
	return nil
}

// certificate is the client certificate, parsed.
func (id *identity) certificate() (tls.Certificate, *x509.Certificate, error) {
	if id.Cert == "" {
		return tls.Certificate{}, nil, errors.New("the identity was deleted")
	}
	pair, err := tls.X509KeyPair([]byte(id.Cert), []byte(id.Key))
	if err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("read the identity: %w", err)
	}
	return pair, pair.Leaf, nil
}

// newKey makes a key and a certificate request for it. The plane decides what the certificate says.
func newKey() (keyPEM string, csr []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", nil, err
	}
	csr, err = x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "ajar-agent"}}, key)
	if err != nil {
		return "", nil, err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), csr, nil
}

// JoinAsk is what a host needs to join.
type JoinAsk struct {
	Dir     string // where its state is kept; made if need be
	Server  string // host:port
	CAHash  string // sha256:<hex> of the authority's certificate
	Token   string
	Replace bool // leave another plane behind
	Status  ajar.HostStatus
	Clock   ajar.Clock
	Dial    func(ctx context.Context, addr string) (net.Conn, error) // nil = TCP
}

// Join gives this host an identity. What an earlier identity left guarded stays guarded.
func Join(ctx context.Context, a JoinAsk) (ajar.EndpointID, error) {
	want, err := parseCAHash(a.CAHash)
	if err != nil {
		return "", err
	}
	name, _, err := net.SplitHostPort(a.Server)
	if err != nil {
		return "", ajar.Errorf(ajar.Invalid, "server %q is not of the form host:port", a.Server)
	}
	if old, err := readIdentity(a.Dir); err == nil && old.Cert != "" && !a.Replace {
		return "", ajar.Errorf(ajar.Conflict, "this host has joined %s as %s already", old.Server, old.Endpoint)
	}
	if err := os.MkdirAll(a.Dir, 0o700); err != nil {
		return "", fmt.Errorf("make the state directory: %w", err)
	}
	key, csr, err := newKey()
	if err != nil {
		return "", err
	}
	var ca *x509.Certificate
	conf := &tls.Config{
		MinVersion: tls.VersionTLS13, ServerName: name, Time: a.Clock,
		InsecureSkipVerify: true, // VerifyConnection does it, from the authority that --ca-hash names
		VerifyConnection: func(s tls.ConnectionState) error {
			ca, err = verifyPinned(s, want, name, a.Clock())
			return err
		},
	}
	answer, err := askToJoin(ctx, a, conf, csr)
	if err != nil {
		return "", err
	}
	id := &identity{
		Server: a.Server, Endpoint: answer.Endpoint, Key: key, Cert: string(answer.Cert), Settings: answer.Settings, Joined: a.Clock().UTC(),
		CA: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw})),
	}
	if _, _, err := id.certificate(); err != nil {
		return "", fmt.Errorf("the plane's answer: %w", err)
	}
	return id.Endpoint, id.write(a.Dir)
}

func askToJoin(ctx context.Context, a JoinAsk, conf *tls.Config, csr []byte) (*joinAnswer, error) {
	dial := a.Dial
	if dial == nil {
		dial = dialTCP
	}
	raw, err := dial(ctx, a.Server)
	if err != nil {
		return nil, ajar.Errorf(ajar.Unavailable, "reach %s: %w", a.Server, err)
	}
	defer raw.Close()
	defer context.AfterFunc(ctx, func() { raw.Close() })()
	conn := tls.Client(raw, conf)
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, ajar.Errorf(ajar.Unauthenticated, "trust %s: %w", a.Server, err)
	}
	w := newWire(conn, maxFromPlane, maxFromStranger, 30*time.Second)
	defer w.close()
	ask := &message{Type: typeJoin, Call: 1, Join: &joinAsk{Protocol: protocol, Token: a.Token, CSR: csr, Status: a.Status}}
	if err := w.send(ctx, ask); err != nil {
		return nil, ajar.Errorf(ajar.Unavailable, "ask %s to join: %w", a.Server, err)
	}
	var m message
	if err := w.receive(&m); err != nil {
		return nil, ajar.Errorf(ajar.Unavailable, "hear the answer of %s: %w", a.Server, err)
	}
	if err := m.Fault.err(); err != nil {
		return nil, err
	}
	if m.Type != typeJoined || m.Joined == nil {
		return nil, ajar.Errorf(ajar.Internal, "%s answered a join with %s", a.Server, m.Type)
	}
	return m.Joined, nil
}

func parseCAHash(s string) (sum [sha256.Size]byte, err error) {
	rest, ok := strings.CutPrefix(strings.ToLower(strings.TrimSpace(s)), "sha256:")
	b, herr := hex.DecodeString(rest)
	if !ok || herr != nil || len(b) != len(sum) {
		return sum, ajar.Errorf(ajar.Invalid, "ca hash %q is not of the form sha256:<64 hex digits>", s)
	}
	return [sha256.Size]byte(b), nil
}

// verifyPinned checks the plane's certificate against the one authority whose hash is want, which the plane sends along.
func verifyPinned(s tls.ConnectionState, want [sha256.Size]byte, name string, now time.Time) (*x509.Certificate, error) {
	if len(s.PeerCertificates) == 0 {
		return nil, errors.New("the server shows no certificate")
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	var ca *x509.Certificate
	for _, c := range s.PeerCertificates {
		if sha256.Sum256(c.Raw) == want {
			ca = c
			roots.AddCert(c)
		} else {
			between.AddCert(c)
		}
	}
	if ca == nil || !ca.IsCA {
		last := s.PeerCertificates[len(s.PeerCertificates)-1]
		return nil, fmt.Errorf("the server's authority has the hash sha256:%x, not the expected one", sha256.Sum256(last.Raw))
	}
	_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, DNSName: name, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	return ca, err
}

// dialTCP connects to addr. Where no answer comes it asks again beside the first try, more often than the kernel would,
// so that it succeeds soon after the network is back.
func dialTCP(ctx context.Context, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	type result struct {
		conn net.Conn
		err  error
	}
	results, tries := make(chan result), 0
	try := func() {
		tries++
		go func() {
			var d net.Dialer
			c, err := d.DialContext(ctx, "tcp", addr)
			results <- result{c, err}
		}()
	}
	again := time.NewTicker(700 * time.Millisecond)
	defer again.Stop()
	for try(); ; {
		select {
		case <-again.C:
			try()
		case r := <-results:
			cancel() // the other tries; what they got all the same is closed
			go func() {
				for range tries - 1 {
					if o := <-results; o.conn != nil {
						o.conn.Close()
					}
				}
			}()
			return r.conn, r.err
		}
	}
}
