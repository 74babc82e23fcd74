package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ajar-access/ajar"
)

// Config says which plane to talk to and as whom. Server is needed; everything else may be zero.
type Config struct {
	Server string // https://host[:port]
	CA     []byte // PEM certificates to trust, and no others; empty = the system's roots
	Token  string // bearer token; empty = only what needs no sign-in

	UserAgent string                                // "" = ajar-client
	Timeout   time.Duration                         // of one call, long waits excepted; 0 = 30 s
	Tries     int                                   // of a call that may be repeated; 0 = 4
	Proxy     func(*http.Request) (*url.URL, error) // nil = none; programs pass http.ProxyFromEnvironment
	Again     func(error)                           // told of each failure after which a call is repeated; may be nil
}

// Client talks to one plane. It is safe for use by several goroutines.
type Client struct {
	base  *url.URL
	http  *http.Client
	token string
	agent string
	wait  time.Duration
	tries int
	again func(error)
	off   *atomic.Int64 // of our clock from the plane's, in nanoseconds
}

// ClockOff is how far this machine's clock was ahead of the plane's at the last answer, to within a second or two and the
// time that the answer took.
func (c *Client) ClockOff() time.Duration { return time.Duration(c.off.Load()) }

// maxBody bounds what one answer may hold; lists come in pages far smaller.
const maxBody = 32 << 20

// New checks the configuration; it does not connect.
func New(c Config) (*Client, error) {
	base, err := serverURL(c.Server)
	if err != nil {
		return nil, err
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(c.CA) > 0 {
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(c.CA) {
			return nil, ajar.Errorf(ajar.Invalid, "the certificate authority is not a PEM certificate")
		}
	}
	cl := &Client{base: base, token: c.Token, agent: c.UserAgent, wait: c.Timeout, tries: c.Tries, again: c.Again, off: new(atomic.Int64)}
	if cl.agent == "" {
		cl.agent = "ajar-client"
	}
	if cl.wait == 0 {
		cl.wait = 30 * time.Second
	}
	if cl.tries == 0 {
		cl.tries = 4
	}
	cl.http = &http.Client{Transport: transport(t, c.Proxy), CheckRedirect: stay}
	return cl, nil
}

// serverURL takes https alone: a token is as good as a password.
func serverURL(s string) (*url.URL, error) {
	if s != "" && !strings.Contains(s, "://") {
		s = "https://" + s
	}
	u, err := url.Parse(strings.TrimSuffix(s, "/"))
	switch {
	case err != nil || u.Host == "":
		return nil, ajar.Errorf(ajar.Invalid, "server %.200q is not of the form https://host:port", s)
	case u.Scheme != "https":
		return nil, ajar.Errorf(ajar.Invalid, "server %.200q must be https", s)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, ajar.Errorf(ajar.Invalid, "server %.200q must have neither user, query nor fragment", s)
	}
	return u, nil
}

// transport speaks HTTP/1.1 only: calls come one after the other, and its first answer arrives soonest.
func transport(t *tls.Config, proxy func(*http.Request) (*url.URL, error)) *http.Transport {
	return &http.Transport{
		Proxy:               proxy,
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSClientConfig:     t,
		TLSHandshakeTimeout: 10 * time.Second,
		MaxIdleConnsPerHost: 4,
		IdleConnTimeout:     90 * time.Second,
		DisableCompression:  true,
	}
}

// stay keeps the token from following a redirect to somebody else.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Server is the plane's URL.
func (c *Client) Server() string { return c.base.String() }

// WithToken is a client of the same plane over the same connections as somebody else.
func (c *Client) WithToken(token string) *Client {
	d := *c
	d.token = token
	return &d
}

// call is one operation. in becomes the JSON body; out is filled from the answer's.
type call struct {
	method string
	path   string
	query  url.Values
	in     any
	out    any
	match  string        // If-Match
	hold   time.Duration // how long the plane may hold the answer back (long poll)
	raw    bool          // the caller reads the body itself
}

// answer is what a call got besides its body.
type answer struct {
	status int
	header http.Header
	body   io.ReadCloser // raw calls only
}

func (k call) repeatable() bool {
	switch k.method {
	case http.MethodGet, http.MethodDelete:
		return true
	case http.MethodPut:
		return k.match == ""
	}
	return false
}

// do carries out k, again if it may be repeated and a repeat can help.
func (c *Client) do(ctx context.Context, k call) (*answer, error) {
	var body []byte
	if k.in != nil {
		var err error
		if body, err = json.Marshal(k.in); err != nil {
			return nil, fmt.Errorf("encode the body of %s %s: %w", k.method, k.path, err)
		}
	}
	for try := 1; ; try++ {
		a, again, err := c.once(ctx, k, body)
		if err == nil || try >= c.tries || !k.repeatable() || again < 0 || ctx.Err() != nil {
			return a, err
		}
		if again == 0 {
			again = backoff(try)
		}
		if c.again != nil {
			c.again(err)
		}
		if pause(ctx, again) != nil {
			return nil, err
		}
	}
}

// once is one try. again says after which pause a repeat might help; 0 = the usual one, negative = never.
func (c *Client) once(ctx context.Context, k call, body []byte) (a *answer, again time.Duration, err error) {
	if !k.raw { // a stream takes as long as its reader does
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.wait+k.hold)
		defer cancel()
	}
	req, err := c.request(ctx, k, body)
	if err != nil {
		return nil, -1, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		again, err = c.fault(ctx, err)
		return nil, again, err
	}
	if at, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		c.off.Store(int64(time.Since(at)))
	}
	a = &answer{status: resp.StatusCode, header: resp.Header}
	if resp.StatusCode >= 300 {
		defer resp.Body.Close()
		again, err = refusal(resp)
		return a, again, err
	}
	if k.raw {
		a.body = resp.Body
		return a, 0, nil
	}
	defer resp.Body.Close()
	return a, 0, decode(resp.Body, k)
}

func (c *Client) request(ctx context.Context, k call, body []byte) (*http.Request, error) {
	u := *c.base
	u.Path += k.path
	u.RawQuery = k.query.Encode()
	req, err := http.NewRequestWithContext(ctx, k.method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", k.method, k.path, err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	if k.match != "" {
		req.Header.Set("If-Match", k.match)
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", c.agent)
	return req, nil
}

// decode reads the answer of k; an empty one is fine where nothing is expected.
func decode(r io.Reader, k call) error {
	b, err := io.ReadAll(io.LimitReader(r, maxBody+1))
	switch {
	case err != nil:
		return ajar.Errorf(ajar.Unavailable, "the answer to %s %s broke off: %w", k.method, k.path, err)
	case len(b) > maxBody:
		return ajar.Errorf(ajar.Internal, "the answer to %s %s is longer than %d bytes", k.method, k.path, maxBody)
	case k.out == nil || len(b) == 0:
		return nil
	}
	if err := json.Unmarshal(b, k.out); err != nil {
		return ajar.Errorf(ajar.Internal, "the answer to %s %s is not what was expected: %w", k.method, k.path, err)
	}
	return nil
}

// fault classifies a call that got no answer.
func (c *Client) fault(ctx context.Context, err error) (again time.Duration, _ error) {
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err // the URL stands in our own message
	}
	var cert *tls.CertificateVerificationError
	switch {
	case errors.As(err, &cert):
		return -1, &ajar.Error{Kind: ajar.Unavailable, Code: UntrustedCertificate,
			Msg: fmt.Sprintf("%s shows a certificate that is not trusted here: %v", c.base, cert.Err)}
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return -1, &ajar.Error{Kind: ajar.Unavailable, Code: NoAnswer, Msg: fmt.Sprintf("%s did not answer in time", c.base)}
	case errors.Is(err, context.Canceled):
		return -1, context.Canceled
	}
	return 0, ajar.Errorf(ajar.Unavailable, "%s cannot be reached: %w", c.base, err)
}
