package people

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
	"github.com/ajar-access/ajar/arm/rest"
)

// certificateRoutes are what a service principal can sign in with besides secrets: the key of a certificate.
func (s room) certificateRoutes() []rest.Route {
	const all = "/ajar/v1/principals/{p}/certificates"
	return []rest.Route{
		rest.Get(all, rest.Ours, rest.Op(200, s.listCertificates), "Lists a service principal's certificates.", ajar.PrincipalRead),
		rest.Post(all, rest.Ours, rest.Op(201, s.newCertificate), "Registers a certificate that a service principal signs in with.", ajar.PrincipalWrite),
		rest.Delete(all+"/{id}", rest.Ours, rest.Op(204, s.deleteCertificate), "Removes a certificate.", ajar.PrincipalWrite),
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
		ID: c.ID, Thumbprint: strings.ToUpper(hex.EncodeToString(one[:])), SHA256: hex.EncodeToString(two[:]), Created: rest.When(c.Created), Expires: rest.When(c.Expires),
	}
	if cert, err := x509.ParseCertificate(c.Cert); err == nil {
		b.Subject, b.NotBefore = cert.Subject.String(), rest.When(cert.NotBefore)
	}
	return b
}

func (s room) certificates(ctx context.Context, c *rest.Call) (p *ajar.Principal, list []*ajar.Credential, err error) {
	if p, err = s.principal(ctx, c, "p"); err != nil {
		return nil, nil, err
	}
	all, err := s.Broker.Credentials(ctx, c.Who, p.ID)
	for _, cr := range all {
		if cr.Kind == ajar.Certificate {
			list = append(list, cr)
		}
	}
	return p, list, err
}

func (s room) listCertificates(ctx context.Context, c *rest.Call, _ rest.Nothing) (l rest.List[certificateBody], err error) {
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

func (s room) newCertificate(ctx context.Context, c *rest.Call, in certificateIn) (*certificateBody, error) {
	p, err := s.principal(ctx, c, "p")
	if err != nil {
		return nil, err
	}
	der, err := readCertificate(in.Certificate)
	if err != nil {
		return nil, err
	}
	made, err := s.Broker.PutCredential(ctx, c.Who, ajar.Credential{Principal: p.ID, Kind: ajar.Certificate, Cert: der})
	if err != nil {
		return nil, err
	}
	b := showCertificate(made)
	return &b, nil
}

// readCertificate takes the one certificate out of text. A private key beside it is told: it was not meant to be sent.
func readCertificate(text string) (der []byte, err error) {
	left := []byte(text)
	for {
		var block *pem.Block
		if block, left = pem.Decode(left); block == nil {
			break
		}
		switch {
		case strings.Contains(block.Type, "PRIVATE KEY"):
			return nil, rest.Bad("there is a private key in it, which nobody else should have: send the certificate alone, and make another key")
		case block.Type == "CERTIFICATE" && der == nil:
			der = block.Bytes
		}
	}
	if der != nil {
		return der, nil
	}
	if der, err = base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), "")); err != nil || len(der) == 0 {
		return nil, rest.Bad("certificate is neither PEM nor DER in base64")
	}
	return der, nil
}

func (s room) deleteCertificate(ctx context.Context, c *rest.Call, _ rest.Nothing) (rest.Nothing, error) {
	p, all, err := s.certificates(ctx, c)
	if err != nil {
		return rest.Nothing{}, err
	}
	for _, cr := range all {
		if cr.ID == c.Value("id") {
			_, err := s.Broker.DeleteCredential(ctx, c.Who, cr.ID)
			s.Auth.Forget(p.ID)
			return rest.Nothing{}, err
		}
	}
	return rest.Nothing{}, rest.Coded(ajar.NotFound, "", "%s has no certificate %.60q", p.Name, c.Value("id"))
}
