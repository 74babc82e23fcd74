package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"net/netip"
	"testing"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/provider/agent"
)

// TestAReplacedHostActsForNobody: one that another took the place of, and whose connection to this replica is not cut
// yet, gets no certificate in that place, and does not take the other out; and by what it came with it is known as one to
// be cut.
func TestAReplacedHostActsForNobody(t *testing.T) {
	p := newTestPlane(t)
	request := func() *x509.CertificateRequest {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
		if err != nil {
			t.Fatal(err)
		}
		csr, err := x509.ParseCertificateRequest(der)
		if err != nil {
			t.Fatal(err)
		}
		return csr
	}
	join := func(replace bool) (ajar.EndpointID, *x509.Certificate) {
		t.Helper()
		token, _, err := p.broker.CreateJoinToken(t.Context(), ajar.Plane, ajar.Target{ID: vm, Location: "westeurope"}, replace)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256([]byte(token))
		got, err := p.hosts.join(t.Context(), agent.Joining{TokenHash: hex.EncodeToString(sum[:]), CSR: request(), From: netip.MustParseAddr("192.0.2.7")})
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(got.Certificate)
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		return got.Endpoint, cert
	}
	p.group = func(f func() error) { go f() } //nolint:errcheck // nobody is connected
	ep, old := join(false)
	same, fresh := join(true)
	if same != ep {
		t.Fatalf("the endpoint changed from %s to %s", ep, same)
	}
	if _, err := p.hosts.identify(t.Context(), fresh); err != nil { // the other one comes to this replica
		t.Fatal(err)
	}
	if _, err := p.hosts.renew(t.Context(), ep, old, request()); !errors.Is(err, ajar.Unauthenticated) {
		t.Errorf("the replaced host gets a certificate: %v", err)
	}
	if err := p.hosts.leave(t.Context(), ep, old); !errors.Is(err, ajar.Unauthenticated) {
		t.Errorf("the replaced host takes the other out: %v", err)
	}
	if _, err := p.hosts.identify(t.Context(), fresh); err != nil {
		t.Errorf("the host in its place: %v", err)
	}
	if _, err := p.hosts.renew(t.Context(), ep, fresh, request()); err != nil {
		t.Errorf("the host in its place gets no certificate: %v", err)
	}
}
