package authn

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/store"
)

func newStore(t *testing.T) ajar.Store {
	t.Helper()
	s, err := store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "ajar.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func newVault(t *testing.T, s ajar.Store, kek []byte) *Vault {
	t.Helper()
	v, err := NewVault(s, time.Now, kek)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func newTestCA(t *testing.T) *CA {
	t.Helper()
	ca, err := newVault(t, newStore(t), NewKEK()).CA(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func TestReplicasThatStartAtOnceEndWithOneCA(t *testing.T) {
	s, kek := newStore(t), NewKEK()
	var wg sync.WaitGroup
	hashes, keys := make([]string, 8), make([]string, 8)
	for i := range hashes {
		wg.Go(func() {
			v, err := NewVault(s, time.Now, kek)
			if err != nil {
				t.Error(err)
				return
			}
			ca, err := v.CA(context.Background())
			if err != nil {
				t.Error(err)
				return
			}
			key, err := v.LogKey(context.Background())
			if err != nil {
				t.Error(err)
				return
			}
			hashes[i], keys[i] = ca.Hash(), string(key)
		})
	}
	wg.Wait()
	for i := range hashes {
		if hashes[i] != hashes[0] || keys[i] != keys[0] || hashes[i] == "" {
			t.Fatalf("replica %d has %s, replica 0 %s", i, hashes[i], hashes[0])
		}
	}
	pub, err := LogPublicKey(t.Context(), s)
	if err != nil || !bytes.HasSuffix([]byte(keys[0]), pub) {
		t.Errorf("the public key in the store is not the key's: %v", err)
	}
}

func TestKeysDoNotOpenWithAnotherKEK(t *testing.T) {
	s := newStore(t)
	if _, err := newVault(t, s, NewKEK()).CA(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := newVault(t, s, NewKEK()).CA(t.Context()); err == nil || !strings.Contains(err.Error(), "does not open with this key-encryption key") {
		t.Errorf("another key: %v", err)
	}
}

// TestSealedKeysAreBoundToTheirNames: what is sealed as one thing does not open as another.
func TestSealedKeysAreBoundToTheirNames(t *testing.T) {
	s, kek := newStore(t), NewKEK()
	v := newVault(t, s, kek)
	if _, err := v.CA(t.Context()); err != nil {
		t.Fatal(err)
	}
	err := s.Update(t.Context(), func(tx ajar.Tx) error {
		ca, err := ajar.Get[ajar.Sealed](tx, sealedCA)
		if err != nil {
			return err
		}
		return tx.Put(&ajar.Sealed{Name: sealedLog, Public: ca.Public, Wrapped: ca.Wrapped})
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.LogKey(t.Context()); err == nil {
		t.Error("the CA's key was taken for the log's")
	}
}

func TestThePrivateKeyIsNotInTheStore(t *testing.T) {
	s, kek := newStore(t), NewKEK()
	ca, err := newVault(t, s, kek).CA(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(ca.key)
	if err != nil {
		t.Fatal(err)
	}
	scalar, err := ca.key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	err = s.View(t.Context(), func(tx ajar.Tx) error {
		x, err := ajar.Get[ajar.Sealed](tx, sealedCA)
		if err == nil && (bytes.Contains(x.Wrapped, der[:40]) || bytes.Contains(x.Wrapped, scalar) || bytes.Contains(x.Public, scalar)) {
			t.Error("it is there in the clear")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestKEK(t *testing.T) {
	raw := bytes.Repeat([]byte{7}, 32)
	for _, good := range [][]byte{raw, []byte(hex.EncodeToString(raw)), []byte(hex.EncodeToString(raw) + "\n"), []byte(base64.StdEncoding.EncodeToString(raw) + "\n"), NewKEK()} {
		if _, err := parseKEK(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", "hunter2hunter2", strings.Repeat("z", 64), base64.StdEncoding.EncodeToString(raw[:31])} {
		_, err := parseKEK([]byte(bad))
		if err == nil {
			t.Errorf("%q was taken", bad)
		} else if bad != "" && strings.Contains(err.Error(), bad) {
			t.Errorf("the message shows the key: %v", err)
		}
	}
}

// TestServerCertificate does what strict clients do: Python 3.13 and OpenSSL's x509_strict want a critical basic
// constraint and a key usage in the CA, a Subject Key Identifier in it, and the same as Authority Key Identifier in what
// it issued.
func TestServerCertificate(t *testing.T) {
	ca := newTestCA(t)
	cert, err := ca.IssueServer([]string{"ajar.example.com", "203.0.113.9", "2001:db8::9"})
	if err != nil {
		t.Fatal(err)
	}
	leaf, root := cert.Leaf, ca.Certificate()
	for _, name := range []string{"ajar.example.com", "203.0.113.9", "2001:db8::9"} {
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: ca.Pool(), DNSName: name}); err != nil {
			t.Error(err)
		}
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: ca.Pool(), DNSName: "other.example.com"}); err == nil {
		t.Error("it is good for another name")
	}
	switch {
	case !root.IsCA || !root.BasicConstraintsValid || root.KeyUsage&x509.KeyUsageCertSign == 0 || len(root.SubjectKeyId) == 0:
		t.Errorf("the CA is %+v", root)
	case len(leaf.SubjectKeyId) == 0 || !bytes.Equal(leaf.AuthorityKeyId, root.SubjectKeyId):
		t.Errorf("key identifiers: leaf %x, authority %x, CA %x", leaf.SubjectKeyId, leaf.AuthorityKeyId, root.SubjectKeyId)
	case leaf.SerialNumber.Sign() <= 0 || len(leaf.SerialNumber.Bytes()) > 20 || leaf.IsCA:
		t.Errorf("serial %x, CA %v", leaf.SerialNumber, leaf.IsCA)
	case leaf.NotAfter.Sub(leaf.NotBefore) > 398*24*time.Hour:
		t.Errorf("it lives for %s", leaf.NotAfter.Sub(leaf.NotBefore))
	}
}

func csr(t *testing.T) (*x509.CertificateRequest, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	req, err := x509.ParseCertificateRequest(der)
	if err != nil {
		t.Fatal(err)
	}
	return req, key
}

func TestClientCertificate(t *testing.T) {
	ca := newTestCA(t)
	req, key := csr(t)
	plan := ca.Plan()
	text, err := ca.IssueClient(req, "4f7d2c1e-0000-4000-8000-000000000001", "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/vm1", plan)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: ca.Pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Error(err)
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: ca.Pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err == nil {
		t.Error("a host could pose as the plane")
	}
	ep, serial, err := HostOf(cert)
	if err != nil || ep != "4f7d2c1e-0000-4000-8000-000000000001" || serial != plan.Serial || !cert.NotAfter.Equal(plan.Expires) {
		t.Errorf("it is %s with serial %s until %s: %v", ep, serial, cert.NotAfter, err)
	}
	handshake(t, ca, &tls.Certificate{Certificate: [][]byte{block.Bytes}, PrivateKey: key})
}

// TestServersAreNotHosts: a server's certificate says nothing as a client's.
func TestServersAreNotHosts(t *testing.T) {
	cert, err := newTestCA(t).IssueServer([]string{"x"})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := HostOf(cert.Leaf); !errors.Is(err, ajar.Unauthenticated) {
		t.Errorf("it is a host: %v", err)
	}
}

func handshake(t *testing.T, ca *CA, client *tls.Certificate) {
	t.Helper()
	server := &Server{CA: ca, Names: []string{"plane"}}
	a, b := net.Pipe()
	s := tls.Server(a, &tls.Config{GetCertificate: server.Certificate, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool(), MinVersion: tls.VersionTLS13})
	c := tls.Client(b, &tls.Config{RootCAs: ca.Pool(), ServerName: "plane", Certificates: []tls.Certificate{*client}, MinVersion: tls.VersionTLS13})
	done := make(chan error, 1)
	go func() {
		_, err := io.WriteString(s, "x")
		done <- err
	}()
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestServerCertificateIsRenewedInTime(t *testing.T) {
	ca, now := newTestCA(t), time.Now()
	ca.Clock = func() time.Time { return now }
	s := &Server{CA: ca, Names: []string{"plane"}}
	get := func() *tls.Certificate {
		c, err := s.Certificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	first := get()
	if now = now.Add(ServerLife / 2); get() != first {
		t.Error("it was renewed at half its life")
	}
	if now = now.Add(ServerLife / 4); get() == first {
		t.Error("it was not renewed at three quarters of its life")
	}
}

func TestOnlyP256KeysBecomeHosts(t *testing.T) {
	ca := newTestCA(t)
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	req, err := x509.ParseCertificateRequest(der)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ca.IssueClient(req, "ep", "/x", ca.Plan()); !errors.Is(err, ajar.Invalid) {
		t.Errorf("P-384: %v", err)
	}
	good, _ := csr(t)
	good.Signature[8] ^= 1
	if _, err := ca.IssueClient(good, "ep", "/x", ca.Plan()); !errors.Is(err, ajar.Invalid) {
		t.Errorf("a request that its key did not sign: %v", err)
	}
}
