package rest

import (
	"encoding/base64"
	"net/url"
	"regexp"
	"strings"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/broker"
)

// List is the body of every list. A list is at its end when nextLink is absent.
type List[T any] struct {
	Value    []T    `json:"value"`
	NextLink string `json:"nextLink,omitempty"`
}

// The page sizes: what a list holds unless $top asks for less, or for more where entries are small.
const (
	PoliciesAPage = 250
	EntriesAPage  = 200
	MostAPage     = 1000
)

// SkipToken is the query parameter that says where a list goes on.
const SkipToken = "$skiptoken"

// Page is which part of a list c asks for: $top and $skiptoken.
func (c *Call) Page(size int) (broker.Page, error) {
	top, err := c.Number("$top", int64(size), 1, MostAPage)
	if err != nil {
		return broker.Page{}, err
	}
	cursor, err := c.Cursor()
	return broker.Page{Cursor: cursor, Limit: int(top)}, err
}

// A skip token is opaque to clients: a version and the store's cursor.
const skipVersion = "1"

func formatSkip(cursor string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(skipVersion + cursor))
}

func parseSkip(token string) (cursor string, err error) {
	if token == "" {
		return "", nil
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(token)
	// The decoder skips line ends; what differs from what was given out was not given out.
	if err != nil || len(b) < 2 || len(b) > 4096 || string(b[:1]) != skipVersion || formatSkip(string(b[1:])) != token {
		return "", badSkip(token)
	}
	return string(b[1:]), nil
}

func badSkip(token string) error {
	return Coded(ajar.Invalid, "InvalidSkipToken", "The $skiptoken '%.60s' is not one that this server gave out; follow nextLink as it is.", token)
}

// Cursor is where the call's $skiptoken says to go on. What a cursor says is for the plane alone, since it may name
// something that the caller may not read: so a token is encrypted, for its caller.
func (c *Call) Cursor() (string, error) {
	text, err := parseSkip(c.Param(SkipToken))
	v := c.s.Auth.Vault
	if err != nil || text == "" || v == nil {
		return text, err
	}
	cursor, ok := v.Unveil(c.skipName(), []byte(text))
	if !ok {
		return "", badSkip(c.Param(SkipToken))
	}
	return string(cursor), nil
}

func (c *Call) skip(cursor string) string {
	if v := c.s.Auth.Vault; v != nil {
		cursor = string(v.Veil(c.skipName(), []byte(cursor)))
	}
	return formatSkip(cursor)
}

func (c *Call) skipName() string { return "skip token of " + string(c.Who.Principal) }

// Next is the link to the page after this one: the public address, the path as Azure spells it, the query as it came, and the
// token.
func (c *Call) Next(cursor string) string {
	if cursor == "" {
		return ""
	}
	q := url.Values{}
	for k, v := range c.Query {
		if !strings.EqualFold(k, SkipToken) {
			q[k] = v
		}
	}
	path := url.URL{Path: Unfold(c.Request.URL.Path)}
	link := c.s.Base(c) + path.EscapedPath() + "?" + q.Encode()
	if len(q) > 0 {
		link += "&"
	}
	return link + SkipToken + "=" + url.QueryEscape(c.skip(cursor))
}

var hostForm = regexp.MustCompile(`^[-A-Za-z0-9.]+(?::[0-9]+)?$|^\[[0-9A-Fa-f:.]+\](?::[0-9]+)?$`)

// Base is the server's own address as callers know it.
func (s *Server) Base(c *Call) string {
	if s.PublicURL != "" {
		return strings.TrimSuffix(s.PublicURL, "/")
	}
	if hostForm.MatchString(c.Request.Host) {
		return "https://" + c.Request.Host
	}
	return ""
}

// Each makes a list's page of what the broker gave.
func Each[A, B any](c *Call, all []A, cursor string, show func(A) B) List[B] {
	l := List[B]{Value: make([]B, 0, len(all)), NextLink: c.Next(cursor)}
	for _, a := range all {
		l.Value = append(l.Value, show(a))
	}
	return l
}
