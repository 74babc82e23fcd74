package agent

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
)

// knockWith connects with a certificate of a's for name.
func knockWith(t *testing.T, p *plane, a *authority, name string) {
	t.Helper()
	key := ecKey(t)
	now := time.Now()
	der := a.sign(t, key.Public(), &x509.Certificate{SerialNumber: big.NewInt(77), Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	pool := x509.NewCertPool()
	pool.AddCert(p.ca.cert)
	pair := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	c, err := tls.Dial("tcp", p.addr, &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13,
		// Whatever authorities the plane names, this one is shown.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }})
	if err != nil {
		return // the plane may be quicker to refuse than we to notice
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	c.Read(make([]byte, 1)) // until it was refused
}

func TestRefusedCertificateIsAnEvent(t *testing.T) {
	p := newPlane(t)
	knockWith(t, p, newAuthority(t), "mallory\x1b[2J")
	r := p.report(ajar.HostRefused)
	if r.Endpoint != "" || r.Details["subject"] != "mallory[2J" || !strings.Contains(r.Details["why"], "unknown authority") || !strings.HasPrefix(r.Details["from"], "127.0.0.1:") {
		t.Errorf("%+v", r)
	}
}

func TestRevokedCertificateIsAnEvent(t *testing.T) {
	p := newPlane(t)
	knockWith(t, p, p.ca, "web")
	if r := p.report(ajar.HostRefused); r.Details["serial"] != "4d" || r.Details["why"] != "the identity was revoked" {
		t.Errorf("%+v", r)
	}
}

func TestRefusedCertificatesDoNotFloodTheLog(t *testing.T) {
	now := time.Now()
	k := newKnocks(func() time.Time { return now })
	said, counted := 0, 0
	for i := range 10_000 {
		for range 3 {
			if unsaid, ok := k.say(netip.MustParseAddr(fmt.Sprintf("10.0.%d.%d", i/250, i%250))); ok {
				said++
				counted += unsaid
			}
		}
	}
	if said != knockBurst {
		t.Errorf("%d of 30000 refusals are told, want %d", said, knockBurst)
	}
	now = now.Add(knockEvery)
	if unsaid, ok := k.say(netip.MustParseAddr("192.0.2.1")); !ok || counted+unsaid != 30_000-knockBurst {
		t.Errorf("a minute later: %v, %d were not told", ok, unsaid)
	}
	if _, ok := k.say(netip.MustParseAddr("192.0.2.1")); ok || len(k.told) > maxKnocks {
		t.Errorf("the same address again: %v; %d addresses are kept", ok, len(k.told))
	}
}
