package arm

import (
	"context"
	"crypto/sha1" //nolint:gosec // the name that Azure's tools have for a certificate
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
)

// certificateRoutes are what a service principal can sign in with besides secrets: the key of a certificate.
func (s *Server) certificateRoutes() []route {
	const all = "/ajar/v1/principals/{p}/certificates"
	return []route{
		Get(all, ours, op(200, s.listCertificates), "Lists a service principal's certificates.", ajar.PrincipalRead),
		Post(all, ours, op(201, s.newCertificate), "Registers a certificate that a service principal signs in with.", ajar.PrincipalWrite),
		Delete(all+"/{id}", ours, op(204, s.deleteCertificate), "Removes a certificate.", ajar.PrincipalWrite),
	}
}

// certificateIn is a certificate without its key: PEM, or DER in base64.
type certificateIn struct {
	Certificate string `json:"certificate" openapi:"needed"`
}

type certificateBody struct {
	ID         string     `json:"id"`
	Thumbprint string     `json:"thumbprint"` // SHA-1, as Azure's tools name it
	SHA256     string     `json:"sha256"`
	Subject    string     `json:"subject,omitempty"`
	NotBefore  *time.Time `json:"notBefore,omitempty"`
	Created    *time.Time `json:"created,omitempty"`
	Expires    *time.Time `json:"expires,omitempty"`
}

func showCertificate(c *ajar.Credential) certificateBody {
	one, two := sha1.Sum(c.Cert), sha256.Sum256(c.Cert) //nolint:gosec // see above
	b := certificateBody{
		ID: c.ID, Thumbprint: strings.ToUpper(hex.EncodeToString(one[:])), SHA256: hex.EncodeToString(two[:]), Created: rfc(c.Created), Expires: rfc(c.Expires),
	}
	if cert, err := x509.ParseCertificate(c.Cert); err == nil {
		b.Subject, b.NotBefore = cert.Subject.String(), rfc(cert.NotBefore)
	}
	return b
}

func (s *Server) certificates(ctx context.Context, c *call) (p *ajar.Principal, list []*ajar.Credential, err error) {
	if p, err = s.principal(ctx, c, "p"); err != nil {
		return nil, nil, err
	}
	all, err := s.Broker.Credentials(ctx, c.who, p.ID)
	for _, cr := range all {
		if cr.Kind == ajar.Certificate {
			list = append(list, cr)
		}
	}
	return p, list, err
}

func (s *Server) listCertificates(ctx context.Context, c *call, _ nothing) (l list[certificateBody], err error) {
	_, all, err := s.certificates(ctx, c)
	if err != nil {
		return l, err
	}
	l.Value = []certificateBody{}
	for _, cr := range all {
		l.Value = append(l.Value, showCertificate(cr))
	}
	return l, nil
}

func (s *Server) newCertificate(ctx context.Context, c *call, in certificateIn) (*certificateBody, error) {
	p, err := s.principal(ctx, c, "p")
	if err != nil {
		return nil, err
	}
	der, err := readCertificate(in.Certificate)
	if err != nil {
		return nil, err
	}
	made, err := s.Broker.PutCredential(ctx, c.who, ajar.Credential{Principal: p.ID, Kind: ajar.Certificate, Cert: der})
	if err != nil {
		return nil, err
	}
	b := showCertificate(made)
	return &b, nil
}

// readCertificate takes the one certificate out of text. A private key beside it is told: it was not meant to be sent.
func readCertificate(text string) (der []byte, err error) {
	rest := []byte(text)
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		switch {
		case strings.Contains(block.Type, "PRIVATE KEY"):
			return nil, bad("there is a private key in it, which nobody else should have: send the certificate alone, and make another key")
		case block.Type == "CERTIFICATE" && der == nil:
			der = block.Bytes
		}
	}
	if der != nil {
		return der, nil
	}
	if der, err = base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), "")); err != nil || len(der) == 0 {
		return nil, bad("certificate is neither PEM nor DER in base64")
	}
	return der, nil
}

func (s *Server) deleteCertificate(ctx context.Context, c *call, _ nothing) (nothing, error) {
	p, all, err := s.certificates(ctx, c)
	if err != nil {
		return nothing{}, err
	}
	for _, cr := range all {
		if cr.ID == c.value("id") {
			_, err := s.Broker.DeleteCredential(ctx, c.who, cr.ID)
			s.Auth.Forget(p.ID)
			return nothing{}, err
		}
	}
	return nothing{}, coded(ajar.NotFound, "", "%s has no certificate %.60q", p.Name, c.value("id"))
}
