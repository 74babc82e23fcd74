package client

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
)

// CAHash is the hash by which a certificate authority is told to people: sha256: and the hexadecimal SHA-256 of its
// certificate.
func CAHash(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// FetchCA gets the plane's certificate authority and gives it back as PEM if, and only if, it has the given hash and
// vouches for the certificate that the server showed. The connection it uses is not trusted and carries no secret.
func FetchCA(ctx context.Context, server, hash string, proxy func(*http.Request) (*url.URL, error)) ([]byte, error) {
	base, err := serverURL(server)
	if err != nil {
		return nil, err
	}
	want, err := parseHash(hash)
	if err != nil {
		return nil, err
	}
	body, shown, err := fetchUnverified(ctx, base, proxy)
	if err != nil {
		return nil, err
	}
	var seen []string
	for rest := body; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		sum := sha256.Sum256(block.Bytes)
		if subtle.ConstantTimeCompare(sum[:], want) != 1 {
			seen = append(seen, "sha256:"+hex.EncodeToString(sum[:]))
			continue
		}
		ca, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, ajar.Errorf(ajar.Invalid, "the certificate authority of %s cannot be read: %w", base, err)
		}
		if err := vouches(ca, shown, base.Hostname()); err != nil {
			return nil, &ajar.Error{Kind: ajar.Unavailable, Code: UntrustedCertificate,
				Msg: fmt.Sprintf("%s has the right certificate authority but shows a certificate that it does not vouch for: %v", base, err)}
		}
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: block.Bytes}), nil
	}
	if len(seen) == 0 {
		return nil, ajar.Errorf(ajar.Unavailable, "%s did not show a certificate authority; is it an ajard?", base)
	}
	return nil, &ajar.Error{Kind: ajar.Unavailable, Code: UntrustedCertificate,
		Msg: fmt.Sprintf("%s has another certificate authority than the one you named: %s, not sha256:%x; somebody may be in between", base, strings.Join(seen, ", "), want)}
}

func parseHash(s string) ([]byte, error) {
	h, ok := strings.CutPrefix(strings.ToLower(strings.TrimSpace(s)), "sha256:")
	b, err := hex.DecodeString(strings.ReplaceAll(h, ":", ""))
	if !ok || err != nil || len(b) != sha256.Size {
		return nil, ajar.Errorf(ajar.Invalid, "the hash of a certificate authority is sha256: and 64 hexadecimal digits, not %.100q", s)
	}
	return b, nil
}

// fetchUnverified is the one place where a certificate is not checked. What it brings is worth nothing until its hash
// was compared.
func fetchUnverified(ctx context.Context, base *url.URL, proxy func(*http.Request) (*url.URL, error)) (body []byte, shown []*x509.Certificate, _ error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	t := transport(&tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true}, proxy) //nolint:gosec // see above
	defer t.CloseIdleConnections()
	u := *base
	u.Path += "/ajar/v1/ca"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, nil, fmt.Errorf("fetch the certificate authority: %w", err)
	}
	resp, err := (&http.Client{Transport: t, CheckRedirect: stay}).Do(req)
	if err != nil {
		_, err = (&Client{base: base}).fault(ctx, err)
		return nil, nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		_, err := refusal(resp)
		return nil, nil, fmt.Errorf("fetch the certificate authority: %w", err)
	}
	body, err = io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, nil, ajar.Errorf(ajar.Unavailable, "%s cannot be reached: %w", base, err)
	}
	return body, resp.TLS.PeerCertificates, nil
}

func vouches(ca *x509.Certificate, shown []*x509.Certificate, host string) error {
	if len(shown) == 0 {
		return fmt.Errorf("no certificate was shown")
	}
	o := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), DNSName: host}
	o.Roots.AddCert(ca)
	for _, c := range shown[1:] {
		o.Intermediates.AddCert(c)
	}
	_, err := shown[0].Verify(o)
	return err
}
