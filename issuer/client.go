package issuer

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/ajar-access/ajar"
)

// Client is an application that people sign in to, or with.
type Client struct {
	ID        string
	Name      string   // shown to people
	Redirects []string // where codes may be sent; loopback ones match with any port
	// Public clients keep no secret. Any other is the service principal with this ID, and proves itself as that.
	Public bool
}

// OwnClient is the client id of this project's own programs.
const OwnClient = ajar.OwnClient

// wellKnown are the clients that everybody has: programs on people's own machines.
var wellKnown = []Client{
	{ID: "04b07795-8ddb-461a-bbee-02f9e1bf7b46", Name: "Azure CLI", Redirects: loopbacks, Public: true},
	{ID: "1950a258-227b-4e31-a9cf-717495945fc2", Name: "Azure PowerShell", Redirects: loopbacks, Public: true},
	{ID: OwnClient, Name: "Ajar", Redirects: loopbacks, Public: true},
}

var loopbacks = []string{"http://localhost", "http://127.0.0.1", "http://[::1]"}

// client finds an application by its id.
func (s *Server) client(id string) (Client, bool) {
	for _, list := range [][]Client{s.Clients, wellKnown} {
		for _, c := range list {
			if strings.EqualFold(c.ID, id) {
				return c, true
			}
		}
	}
	return Client{}, false
}

// redirects reports whether codes of c may be sent to uri.
func (c Client) redirects(uri string) bool {
	return slices.ContainsFunc(c.Redirects, func(registered string) bool { return sameRedirect(registered, uri) })
}

// sameRedirect compares letter by letter, but for the port of a loopback address, which a program takes as it finds it
// (RFC 8252, section 7.3).
func sameRedirect(registered, uri string) bool {
	if len(uri) > maxURL {
		return false
	}
	if registered == uri {
		return true
	}
	a, err := url.Parse(registered)
	if err != nil || !loopback(a) {
		return false
	}
	b, err := url.Parse(uri)
	if err != nil || !loopback(b) || b.User != nil || b.Fragment != "" || strings.Contains(uri, "#") {
		return false
	}
	if p := b.Port(); p != "" {
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 {
			return false
		}
	}
	return b.Hostname() == a.Hostname() && b.RawQuery == a.RawQuery && orRoot(b.EscapedPath()) == orRoot(a.EscapedPath())
}

const maxURL = 2048

func orRoot(path string) string {
	if path == "" {
		return "/"
	}
	return path
}

// loopback reports whether u leads to the machine that the browser is on.
func loopback(u *url.URL) bool {
	if u.Scheme != "http" {
		return false
	}
	a, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() == "localhost" || (err == nil && a.IsLoopback())
}

// Check says what is wrong with a client that an operator wrote down.
func (c Client) Check() error {
	if c.ID == "" || len(c.ID) > 128 || strings.ContainsAny(c.ID, " \t\r\n:") {
		return fmt.Errorf("id %.40q is not an id", c.ID)
	}
	for _, r := range c.Redirects {
		u, err := url.Parse(r)
		switch {
		case err != nil || u.Fragment != "" || u.User != nil || len(r) > maxURL:
			return fmt.Errorf("redirect %.100q is not a URL that a code can be sent to", r)
		case u.Scheme == "https" && u.Hostname() != "", loopback(u):
		case c.Public && strings.Contains(u.Scheme, "."): // an application's own scheme (RFC 8252, section 7.1)
		default:
			return fmt.Errorf("redirect %.100q begins neither with https:// nor with a loopback address", r)
		}
	}
	return nil
}
