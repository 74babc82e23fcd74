package arm

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"
)

// TestCertificates: a service principal's certificate is registered, shown without what it need not show, and removed;
// keys are turned away.
func TestCertificates(t *testing.T) {
	r := newRig(t)
	r.must(201, "POST", "/ajar/v1/principals", `{"kind":"ServicePrincipal","name":"deployer"}`)
	const at = "/ajar/v1/principals/deployer/certificates"
	send := func(status int, text string) answer {
		t.Helper()
		b, err := json.Marshal(map[string]string{"certificate": text})
		if err != nil {
			t.Fatal(err)
		}
		return r.must(status, "POST", at, string(b))
	}
	cert := selfSigned(t)
	text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))
	var made certificateBody
	send(201, text).into(t, &made)
	sum := sha256.Sum256(cert.Raw)
	if made.SHA256 != hex.EncodeToString(sum[:]) || len(made.Thumbprint) != 40 || made.Subject != "CN=robot" || made.Expires == nil || !made.Expires.Equal(cert.NotAfter) {
		t.Errorf("made: %+v", made)
	}
	send(409, text)
	send(409, base64.StdEncoding.EncodeToString(cert.Raw))
	send(400, "")
	send(400, "x")
	send(400, base64.StdEncoding.EncodeToString([]byte("no certificate")))
	send(400, text+string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: []byte("x")})))
	r.must(201, "POST", "/ajar/v1/principals", `{"kind":"User","name":"bob"}`)
	r.must(400, "POST", "/ajar/v1/principals/bob/certificates", `{"certificate":"`+base64.StdEncoding.EncodeToString(cert.Raw)+`"}`)
	if a := r.must(200, "GET", at, ""); !strings.Contains(a.body, made.Thumbprint) || strings.Contains(a.body, "CERTIFICATE") {
		t.Errorf("the list: %s", a.body)
	}
	if a := r.must(200, "GET", "/ajar/v1/principals/deployer/secrets", ""); strings.Contains(a.body, made.ID) {
		t.Errorf("it is among the secrets: %s", a.body)
	}
	r.must(204, "DELETE", at+"/"+made.ID, "")
	if a := r.do("DELETE", at+"/"+made.ID, r.owner, ""); a.StatusCode != 404 {
		t.Errorf("a second time: %d", a.StatusCode)
	}
}

func selfSigned(t *testing.T) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	from := time.Now().Add(-time.Hour).Truncate(time.Second)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "robot"}, NotBefore: from, NotAfter: from.AddDate(10, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}
