//go:build linux

package azuretest

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
	"github.com/ajar-access/ajar/lab"
)

// password is everybody's.
const password = "a long way to Tipperary, it is"

// addPerson makes somebody who has a role over the lab's group.
func (w *world) addPerson(t *testing.T, name, role string) ajar.PrincipalID {
	t.Helper()
	id := w.addPersonAlone(t, name)
	if _, err := w.admin.Assign(t.Context(), client.Assignment{Principal: id, Role: ajar.RoleID(role), Scope: lab.Group}); err != nil {
		t.Fatal(err)
	}
	return id
}

// addCertificate makes a key and a certificate, registers it, and returns the file that holds both.
func (w *world) addCertificate(t *testing.T, principal, name string) string {
	t.Helper()
	file, cert := newCertificate(t, name)
	if _, err := w.admin.AddCertificate(t.Context(), principal, cert); err != nil {
		t.Fatal(err)
	}
	return file
}

// newCertificate makes a key and a certificate, and returns the file that holds both, and the certificate.
func newCertificate(t *testing.T, name string) (file, certificate string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	file = filepath.Join(t.TempDir(), "both.pem")
	if err := os.WriteFile(file, append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), cert...), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, string(cert)
}

// payload reads what a JWT says, without a look at its signature.
func payload(t *testing.T, token string, into any) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is not a JWT", token)
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		t.Fatal(err)
	}
}

// addPersonAlone makes somebody who has no role.
func (w *world) addPersonAlone(t *testing.T, name string) ajar.PrincipalID {
	t.Helper()
	p, err := w.admin.CreatePrincipal(t.Context(), client.Principal{Kind: ajar.User, Name: name}, password)
	if err != nil {
		t.Fatal(err)
	}
	return p.ID
}

// tokenOfPerson is what somebody gets who gives the name and password to a program of Microsoft's.
func (w *world) tokenOfPerson(t *testing.T, name string) string {
	t.Helper()
	resp, err := w.http.PostForm(w.url+"/adfs/oauth2/v2.0/token", url.Values{
		"grant_type": {"password"}, "client_id": {"1950a258-227b-4e31-a9cf-717495945fc2"}, "username": {name}, "password": {password}, "scope": {w.url + "/.default"},
	})
	return tokenOf(t, resp, err)
}
