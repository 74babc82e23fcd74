package authn

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
	"encoding/pem"
	"fmt"
	"math/big"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ajar-access/ajar"
)

// How long certificates live. The CA's own is long because every host and client trusts it by its hash.
const (
	caLife     = 20 * 365 * 24 * time.Hour
	ServerLife = 90 * 24 * time.Hour
	ClientLife = 30 * 24 * time.Hour
	backdate   = time.Hour // for clients whose clocks are behind
)

// CA is the plane's certificate authority: the servers of its replicas and the agents of its hosts.
type CA struct {
	Clock ajar.Clock
	cert  *x509.Certificate
	key   *ecdsa.PrivateKey
}

// CA reads the plane's certificate authority, or makes it, once for all replicas.
func (v *Vault) CA(ctx context.Context) (*CA, error) {
	der, secret, err := v.get(ctx, sealedCA, func() ([]byte, []byte, error) { return newCA(v.Clock()) })
	if err != nil {
		return nil, err
	}
	key, err := x509.ParseECPrivateKey(secret)
	if err != nil {
		return nil, fmt.Errorf("sealed %s: %w", sealedCA, err)
	}
	// The certificate as parsed, not the template, is the parent of what is issued: it carries the Subject Key
	// Identifier that strict clients look for as the issued one's Authority Key Identifier.
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("sealed %s: %w", sealedCA, err)
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, fmt.Errorf("sealed %s: the certificate is not the key's", sealedCA)
	}
	return &CA{Clock: v.Clock, cert: cert, key: key}, nil
}

func newCA(now time.Time) (der, secret []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	id, err := keyID(&key.PublicKey)
	if err != nil {
		return nil, nil, err
	}
	t := &x509.Certificate{
		SerialNumber:          newSerial(),
		Subject:               pkix.Name{CommonName: "Ajar CA " + hex.EncodeToString(id[:4])},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(caLife),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
		SubjectKeyId:          id,
		AuthorityKeyId:        id,
	}
	if der, err = x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key); err != nil {
		return nil, nil, err
	}
	secret, err = x509.MarshalECPrivateKey(key)
	return der, secret, err
}

// Hash names the CA to people and to --ca-hash.
func (c *CA) Hash() string { return Fingerprint(c.cert.Raw) }

// PEM is the CA's certificate as clients keep it.
func (c *CA) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.cert.Raw})
}

// Certificate is the CA's own.
func (c *CA) Certificate() *x509.Certificate { return c.cert }

// Pool trusts the CA and nobody else.
func (c *CA) Pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(c.cert)
	return p
}

// IssueServer makes a key and a certificate for names: host names and addresses.
func (c *CA) IssueServer(names []string) (*tls.Certificate, error) {
	if len(names) == 0 {
		return nil, ajar.Errorf(ajar.Invalid, "a server certificate needs at least one name or address")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber: newSerial(),
		NotAfter:     c.Clock().Add(ServerLife).UTC().Truncate(time.Second),
		Subject:      pkix.Name{CommonName: cut(names[0], 64)},
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, n := range names {
		if a, err := netip.ParseAddr(n); err == nil {
			t.IPAddresses = append(t.IPAddresses, a.Unmap().AsSlice())
		} else {
			t.DNSNames = append(t.DNSNames, n)
		}
	}
	der, err := c.issue(t, &key.PublicKey)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der, c.cert.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

// Issue is a client certificate that is planned: its serial is recorded before it is signed, so that no certificate
// is ever out that nobody knows of.
type Issue struct {
	number  *big.Int
	Serial  string
	Expires time.Time
}

// Plan chooses the serial and the end of a client certificate.
func (c *CA) Plan() Issue {
	n := newSerial()
	return Issue{number: n, Serial: Serial(n), Expires: c.Clock().Add(ClientLife).UTC().Truncate(time.Second)}
}

// IssueClient signs csr for the agent that speaks for ep, PEM. Of the request only the key is taken.
func (c *CA) IssueClient(csr *x509.CertificateRequest, ep ajar.EndpointID, target ajar.ID, i Issue) ([]byte, error) {
	if err := csr.CheckSignature(); err != nil {
		return nil, ajar.Because(ajar.Invalid, err, "the certificate request is not signed by its own key")
	}
	if k, ok := csr.PublicKey.(*ecdsa.PublicKey); !ok || k.Curve != elliptic.P256() {
		return nil, ajar.Errorf(ajar.Invalid, "the certificate request must be for an ECDSA P-256 key")
	}
	if len(ep) == 0 || len(ep) > 64 {
		return nil, fmt.Errorf("endpoint %q cannot be the name in a certificate", ep)
	}
	der, err := c.issue(&x509.Certificate{
		SerialNumber: i.number,
		Subject:      pkix.Name{CommonName: string(ep), Organization: []string{hostOrganization}, OrganizationalUnit: []string{cut(target.Name(), 64)}},
		NotAfter:     i.Expires,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, csr.PublicKey)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

const hostOrganization = "Ajar host"

// HostOf reads from a client certificate of this CA whose it is. That it was verified is the caller's care.
func HostOf(cert *x509.Certificate) (ep ajar.EndpointID, serial string, err error) {
	if !slices.Equal(cert.Subject.Organization, []string{hostOrganization}) || cert.Subject.CommonName == "" {
		return "", "", ajar.Errorf(ajar.Unauthenticated, "the certificate is not a host's")
	}
	return ajar.EndpointID(cert.Subject.CommonName), Serial(cert.SerialNumber), nil
}

// Serial is how a certificate's serial number is written everywhere: lower-case hex.
func Serial(n *big.Int) string { return n.Text(16) }

func (c *CA) issue(t *x509.Certificate, pub any) ([]byte, error) {
	id, err := keyID(pub)
	if err != nil {
		return nil, err
	}
	t.SubjectKeyId = id
	t.AuthorityKeyId = c.cert.SubjectKeyId
	t.BasicConstraintsValid = true
	t.NotBefore = c.Clock().Add(-backdate).UTC().Truncate(time.Second)
	return x509.CreateCertificate(rand.Reader, t, c.cert, pub, c.key)
}

// Server hands out the server's certificate and has a new one issued before it ends.
type Server struct {
	CA    *CA
	Names []string
	mu    sync.Mutex
	cert  *tls.Certificate
}

// Certificate is for tls.Config.GetCertificate.
func (s *Server) Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cert == nil || s.CA.Clock().After(s.cert.Leaf.NotAfter.Add(-ServerLife/3)) {
		cert, err := s.CA.IssueServer(s.Names)
		if err != nil {
			return nil, err
		}
		s.cert = cert
	}
	return s.cert, nil
}

// Rename has the next certificate, which is made at once, be for other names.
func (s *Server) Rename(names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Names, s.cert = names, nil
}

func newSerial() *big.Int {
	var b [16]byte
	rand.Read(b[:])
	b[0] = b[0]&0x7f | 0x40 // positive, and always 16 bytes long
	return new(big.Int).SetBytes(b[:])
}

// keyID is SHA-256 of the key's SubjectPublicKeyInfo, cut to 160 bits (after RFC 7093).
func keyID(pub any) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(der)
	return slices.Clone(sum[:20]), nil
}

func cut(s string, n int) string { return strings.ToValidUTF8(s[:min(n, len(s))], "") }
