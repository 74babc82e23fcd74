package issuer

import (
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/authn"
	"github.com/ajar-access/ajar/broker"
)

// Config is what the issuer needs. Store, Clock, Broker, Auth (with its Tokens), PublicURL and Tenant must be set.
type Config struct {
	Store     ajar.Store
	Clock     ajar.Clock
	Broker    *broker.Broker
	Auth      *authn.Authn
	Vault     *authn.Vault // seals what belongs to people's second factors
	Log       *slog.Logger // nil = none
	PublicURL string       // what everybody reaches the plane by
	Tenant    ajar.Tenant

	AccessTokenLifetime time.Duration // 0 = 1 hour
	RefreshLifetime     time.Duration // of a sign-in, however often it is refreshed; 0 = 30 days
	Password            bool          // whether clients may send people's passwords (the password grant)
	Clients             []Client      // beyond those that everybody knows
	Audiences           []string      // that tokens can be asked for, beyond PublicURL

	SessionIdle     time.Duration // after which a browser that is not used is signed out; 0 = 1 hour
	SessionLifetime time.Duration // after which any browser is; 0 = 12 hours

	Upstreams []Upstream // providers that people can sign in with, too

	// Observe is told of every answer; nil = nobody.
	Observe func(route string, status int, took time.Duration)
}

// Server is the issuer's surface, an http.Handler.
type Server struct {
	Config
	log      *slog.Logger
	pages    *http.ServeMux
	origin   string             // scheme and host of PublicURL
	passkeys *webauthn.WebAuthn // nil where the plane has no name that passkeys could be for
	others   []*provider        // of Upstreams

	mu    sync.Mutex
	polls map[string]poll // by key of a device's grant
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
	if c.SessionIdle == 0 {
		c.SessionIdle = defaultIdle
	}
	if c.SessionLifetime == 0 {
		c.SessionLifetime = defaultLifetime
	}
	c.PublicURL = strings.TrimRight(c.PublicURL, "/")
	c.Tenant.ID, c.Tenant.Domain = strings.ToLower(c.Tenant.ID), strings.ToLower(c.Tenant.Domain)
	s := &Server{Config: c, log: c.Log, pages: http.NewServeMux(), polls: map[string]poll{}}
	s.origin, s.passkeys = originOf(c.PublicURL), newPasskeys(c.PublicURL, c.Tenant.Name)
	for _, u := range c.Upstreams {
		s.others = append(s.others, newProvider(u, c.Clock))
	}
	s.mountPages(s.pages)
	s.mountUpstreams(s.pages)
	return s
}

// ServeHTTP hands the request to its endpoint or page.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := s.Clock()
	answer := &watched{ResponseWriter: w, status: http.StatusOK}
	h := w.Header()
	h.Set("Strict-Transport-Security", "max-age=31536000")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	route := "issuer"
	defer func() {
		if p := recover(); p == http.ErrAbortHandler { //nolint:errorlint // net/http compares it the same way
			panic(p)
		} else if p != nil {
			s.log.ErrorContext(r.Context(), "panic", "path", r.URL.Path, "err", fmt.Sprint(p), "stack", string(debug.Stack()))
			if !answer.wrote {
				s.fail(answer, r, fmt.Errorf("panic: %v", p))
			}
		}
		if s.Observe != nil {
			s.Observe(route, answer.status, s.Clock().Sub(began))
		}
	}()
	first, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch {
	case first == ".well-known":
		s.serveEndpoint(answer, r, s.Tenant.ID, "/.well-known/"+rest)
	case slices.Contains(pageRoots, first):
		route = "/" + first
		s.pages.ServeHTTP(answer, r)
	default:
		if methods := endpoints["/"+strings.ToLower(rest)]; methods != nil {
			route = "/{tenant}/" + strings.ToLower(rest)
		}
		s.serveEndpoint(answer, r, first, "/"+rest)
	}
}

// watched remembers the status, for metrics and for what to do after a panic.
type watched struct {
	http.ResponseWriter
	status int
	wrote  bool
}

// WriteHeader notes and passes on.
func (w *watched) WriteHeader(status int) {
	w.status, w.wrote = status, true
	w.ResponseWriter.WriteHeader(status)
}

// Write passes on.
func (w *watched) Write(b []byte) (int, error) {
	w.wrote = true
	return w.ResponseWriter.Write(b)
}
