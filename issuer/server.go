package issuer

import (
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/authn"
	"github.com/ajar-access/ajar/broker"
)

// Config is what the issuer needs. Store, Clock, Broker, Auth, PublicURL and Tenant must be set.
type Config struct {
	Store     ajar.Store
	Clock     ajar.Clock
	Broker    *broker.Broker
	Auth      *authn.Authn
	Vault     *authn.Vault // seals what belongs to people's second factors
	Log       *slog.Logger // nil = none
	PublicURL string       // what everybody reaches the plane by, without a slash at its end
	Tenant    ajar.Tenant

	AccessTokenLifetime time.Duration // 0 = 1 hour
	RefreshLifetime     time.Duration // of a sign-in, however often it is refreshed; 0 = 30 days
	Password            bool          // whether clients may send people's passwords (the password grant)
	Clients             []Client      // beyond those that everybody knows
	Audiences           []string      // that tokens can be asked for, beyond PublicURL
}

// Client is an application that people sign in to, or with.
type Client struct {
	ID        string
	Name      string   // shown to people
	Redirects []string // where codes may be sent; loopback ones match with any port
	// Public clients keep no secret. Any other is the service principal with this ID, and proves itself as that.
	Public bool
}

// Server is the issuer's surface, an http.Handler.
type Server struct {
	Config
	log       *slog.Logger
	endpoints *http.ServeMux // below a tenant's name
	pages     *http.ServeMux
}

// New makes the surface.
func New(c Config) *Server {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.AccessTokenLifetime == 0 {
		c.AccessTokenLifetime = time.Hour
	}
	if c.RefreshLifetime == 0 {
		c.RefreshLifetime = 30 * 24 * time.Hour
	}
	c.PublicURL = strings.TrimRight(c.PublicURL, "/")
	s := &Server{Config: c, log: c.Log, endpoints: http.NewServeMux(), pages: http.NewServeMux()}
	s.mountPages(s.pages)
	s.mountUpstreams(s.pages)
	return s
}

// pageRoots are the first segments of the paths that are pages for people.
var pageRoots = []string{"signin", "signout", "device", "account", "static"}

// endpointRoots are the second segments, below a tenant, of the paths that are endpoints for clients.
var endpointRoots = []string{".well-known", "v2.0", "oauth2", "discovery", "openid", "userrealm"}

// Owns reports whether path is the issuer's: what else comes in at the same listener is not.
func Owns(path string) bool {
	first, rest, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if slices.Contains(pageRoots, first) || first == ".well-known" {
		return true
	}
	second, _, _ := strings.Cut(rest, "/")
	return slices.Contains(endpointRoots, strings.ToLower(second)) && !slices.Contains([]string{"subscriptions", "providers", "ajar", "tenants"}, strings.ToLower(first))
}

// ServeHTTP hands the request to its endpoint or page.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Strict-Transport-Security", "max-age=31536000")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	s.pages.ServeHTTP(w, r)
}
