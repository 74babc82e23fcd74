package model_test

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
	"net"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/provider/agent"
)

// authority signs the certificates of the plane and of its hosts. A host's name is its certificate's, and its token.
type authority struct {
	t      testing.TB
	key    *ecdsa.PrivateKey
	cert   *x509.Certificate
	server *tls.Certificate
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{t: t, key: newKey(t)}
	ca := template("authority")
	ca.IsCA, ca.BasicConstraintsValid, ca.KeyUsage = true, true, x509.KeyUsageCertSign
	a.cert = ca
	der, err := a.sign(a.key.Public(), ca)
	if err == nil {
		a.cert, err = x509.ParseCertificate(der)
	}
	if err != nil {
		t.Fatal(err)
	}
	key, leaf := newKey(t), template("plane")
	leaf.IPAddresses, leaf.ExtKeyUsage = []net.IP{net.IPv4(127, 0, 0, 1)}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	if der, err = a.sign(key.Public(), leaf); err != nil {
		t.Fatal(err)
	}
	a.server = &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	return a
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func template(name string) *x509.Certificate {
	n, now := new(big.Int).SetBytes([]byte(rand.Text())), time.Now()
	return &x509.Certificate{SerialNumber: n, Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-100 * time.Hour), NotAfter: now.Add(1000 * time.Hour)}
}

func (a *authority) sign(pub any, c *x509.Certificate) ([]byte, error) {
	return x509.CreateCertificate(rand.Reader, c, a.cert, pub, a.key)
}

func (a *authority) hash() string { return fmt.Sprintf("sha256:%x", sha256.Sum256(a.cert.Raw)) }

// hub is the plane's half of the agents, as a plane that starts makes it.
func (a *authority) hub(clock ajar.Clock, names map[string]ajar.EndpointID) *agent.Hub {
	return &agent.Hub{
		Clock:  clock,
		Server: func() (*tls.Certificate, error) { return a.server, nil },
		CA:     func() []*x509.Certificate { return []*x509.Certificate{a.cert} },
		Identify: func(_ context.Context, c *x509.Certificate) (ajar.EndpointID, error) {
			return ajar.EndpointID(c.Subject.CommonName), nil
		},
		Join: func(_ context.Context, j agent.Joining) (agent.Joined, error) {
			ep, ok := names[j.TokenHash]
			if !ok {
				return agent.Joined{}, ajar.Errorf(ajar.Forbidden, "the token is unknown")
			}
			cert, err := a.client(ep, j.CSR)
			return agent.Joined{Endpoint: ep, Certificate: cert}, err
		},
		Renew: func(_ context.Context, ep ajar.EndpointID, _ *x509.Certificate, csr *x509.CertificateRequest) ([]byte, error) {
			return a.client(ep, csr)
		},
	}
}

func (a *authority) client(ep ajar.EndpointID, csr *x509.CertificateRequest) ([]byte, error) {
	c := template(string(ep))
	c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	der, err := a.sign(csr.PublicKey, c)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), err
}

// tokenHash is how a plane knows a token.
func tokenHash(token string) string {
	s := sha256.Sum256([]byte(token))
	return hex.EncodeToString(s[:])
}
