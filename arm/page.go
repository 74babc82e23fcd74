package arm

import (
	"encoding/base64"
	"net/url"
	"regexp"
	"strings"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/broker"
)

// list is the body of every list. A list is at its end when nextLink is absent.
type list[T any] struct {
	Value    []T    `json:"value"`
	NextLink string `json:"nextLink,omitempty"`
}

// The page sizes: what a list holds unless $top asks for less, or for more where entries are small.
const (
	policiesAPage = 250
	entriesAPage  = 200
	mostAPage     = 1000
)

const skipToken = "$skiptoken"

// page is which part of a list c asks for: $top and $skiptoken.
func (c *call) page(size int) (broker.Page, error) {
	top, err := c.number("$top", int64(size), 1, mostAPage)
	if err != nil {
		return broker.Page{}, err
	}
	cursor, err := c.cursor()
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
	return coded(ajar.Invalid, "InvalidSkipToken", "The $skiptoken '%.60s' is not one that this server gave out; follow nextLink as it is.", token)
}

// cursor is where the call's $skiptoken says to go on. What a cursor says is for the plane alone, since it may name
// something that the caller may not read: so a token is encrypted, for its caller.
func (c *call) cursor() (string, error) {
	text, err := parseSkip(c.param(skipToken))
	v := c.s.Auth.Vault
	if err != nil || text == "" || v == nil {
		return text, err
	}
	cursor, ok := v.Unveil(c.skipName(), []byte(text))
	if !ok {
		return "", badSkip(c.param(skipToken))
	}
	return string(cursor), nil
}

func (c *call) skip(cursor string) string {
	if v := c.s.Auth.Vault; v != nil {
		cursor = string(v.Veil(c.skipName(), []byte(cursor)))
	}
	return formatSkip(cursor)
}

func (c *call) skipName() string { return "skip token of " + string(c.who.Principal) }

// next is the link to the page after this one: the public address, the path as Azure spells it, the query as it came, and the
// token.
func (c *call) next(cursor string) string {
	if cursor == "" {
		return ""
	}
	q := url.Values{}
	for k, v := range c.query {
		if !strings.EqualFold(k, skipToken) {
			q[k] = v
		}
	}
	path := url.URL{Path: unfold(c.r.URL.Path)}
	link := c.s.base(c) + path.EscapedPath() + "?" + q.Encode()
	if len(q) > 0 {
		link += "&"
	}
	return link + skipToken + "=" + url.QueryEscape(c.skip(cursor))
}

var hostForm = regexp.MustCompile(`^[-A-Za-z0-9.]+(?::[0-9]+)?$|^\[[0-9A-Fa-f:.]+\](?::[0-9]+)?$`)

// base is the server's own address as callers know it.
func (s *Server) base(c *call) string {
	if s.PublicURL != "" {
		return strings.TrimSuffix(s.PublicURL, "/")
	}
	if hostForm.MatchString(c.r.Host) {
		return "https://" + c.r.Host
	}
	return ""
}

// each makes a list's page of what the broker gave.
func each[A, B any](c *call, all []A, cursor string, show func(A) B) list[B] {
	l := list[B]{Value: make([]B, 0, len(all)), NextLink: c.next(cursor)}
	for _, a := range all {
		l.Value = append(l.Value, show(a))
	}
	return l
}
