package rest

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/ajar-access/ajar"
)

// maxLine bounds what the activity log keeps of a request's line.
const maxLine = 512

// recorded is what the activity log keeps of the request. Of the query it keeps what the operation reads and nothing
// else, since anything may stand there, a secret too.
func (c *Call) recorded(rt Route) *ajar.Call {
	target := c.Request.URL.EscapedPath()
	if path, _, _ := strings.Cut(c.Request.RequestURI, "?"); strings.HasPrefix(path, "/") {
		target = path // as it came, before its case was folded
	}
	sep := "?"
	for pair := range strings.SplitSeq(c.Request.URL.RawQuery, "&") {
		name, _, _ := strings.Cut(pair, "=")
		if reads(rt, name) {
			target += sep + pair
			sep = "&"
		}
	}
	line := rt.Method + " " + plain(target)
	k := &ajar.Call{Line: line[:min(len(line), maxLine)]}
	if client := c.Request.Header.Get("x-ms-client-request-id"); isCorrelation(client) {
		k.Client = client
	}
	if rt.Do.Status != http.StatusOK {
		k.Status = rt.Do.Status
	}
	return k
}

// reads reports whether the operation reads the query parameter of that name.
func reads(rt Route, name string) bool {
	if strings.EqualFold(name, "api-version") {
		return true
	}
	if strings.Contains(name, "%") {
		name, _ = url.QueryUnescape(name) //nolint:errcheck // what cannot be read is no parameter's name
	}
	return slices.ContainsFunc(rt.Query, func(q string) bool { return strings.EqualFold(q, name) })
}

// plain is target in visible ASCII.
func plain(target string) string {
	odd := func(c byte) bool { return c <= ' ' || c > '~' }
	if !slices.ContainsFunc([]byte(target), odd) {
		return target
	}
	var b strings.Builder
	for _, c := range []byte(target) {
		if odd(c) {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
