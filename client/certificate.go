package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"time"
)

// Certificate is one that a service principal can sign in with: by what its private key signs, which stays where it is.
type Certificate struct {
	ID         string    `json:"id"`
	Thumbprint string    `json:"thumbprint"` // SHA-1, as Azure's tools name it
	SHA256     string    `json:"sha256"`
	Subject    string    `json:"subject,omitempty"`
	NotBefore  time.Time `json:"notBefore,omitzero"`
	Created    time.Time `json:"created,omitzero"`
	Expires    time.Time `json:"expires,omitzero"`
}

// Certificates lists a service principal's certificates.
func (c *Client) Certificates(ctx context.Context, idOrName string) iter.Seq2[Certificate, error] {
	return list[Certificate](ctx, c, principalPath(idOrName, "certificates"), url.Values{})
}

// AddCertificate has a service principal sign in with the key of a certificate, given as PEM without that key.
func (c *Client) AddCertificate(ctx context.Context, idOrName, pem string) (Certificate, error) {
	var out Certificate
	in := struct {
		Certificate string `json:"certificate"`
	}{pem}
	_, err := c.do(ctx, call{method: http.MethodPost, path: principalPath(idOrName, "certificates"), in: in, out: &out})
	return out, err
}

// DeleteCertificate ends a service principal's certificate.
func (c *Client) DeleteCertificate(ctx context.Context, idOrName, certificate string) error {
	_, err := c.do(ctx, call{method: http.MethodDelete, path: principalPath(idOrName, "certificates", certificate)})
	return err
}
