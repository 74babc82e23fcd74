package issuer

import (
	"net/http"
	"slices"
	"strings"
)

// form is the address form that a client uses: ADFS's, which old Azure clients take for what is not the public cloud, or
// a tenant's.
type form struct {
	base   string // what its endpoints stand below
	issuer string // what iss says
	adfs   bool
}

// anyTenant are the names that stand for whichever tenant there is.
var anyTenant = []string{"common", "organizations"}

// form finds what the first segment of a path stands for; not ok for a tenant that is not here.
func (s *Server) form(segment string) (f form, ok bool) {
	segment = strings.ToLower(segment)
	switch {
	case segment == "adfs":
		return form{base: s.PublicURL + "/adfs", issuer: s.PublicURL + "/adfs", adfs: true}, true
	case segment == s.Tenant.ID || (segment != "" && segment == s.Tenant.Domain) || slices.Contains(anyTenant, segment):
		base := s.PublicURL + "/" + s.Tenant.ID
		return form{base: base, issuer: base + "/v2.0"}, true
	}
	return form{}, false
}

// Issuers are what iss can say in tokens of a plane at publicURL.
func Issuers(publicURL, tenant string) []string {
	publicURL = strings.TrimRight(publicURL, "/")
	return []string{publicURL + "/adfs", publicURL + "/" + strings.ToLower(tenant) + "/v2.0"}
}

// pageRoots are the first segments of the paths that are pages for people.
var pageRoots = []string{"signin", "signout", "device", "account", "static"}

// endpointRoots are the second segments, below a tenant, of the paths that are endpoints for clients.
var endpointRoots = []string{".well-known", "v2.0", "oauth2", "discovery", "openid", "userrealm"}

// Owns reports whether path is the issuer's: what else comes in at the same listener is not.
func Owns(path string) bool {
	first, rest, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if slices.Contains(pageRoots, first) || first == ".well-known" || strings.EqualFold(first, "adfs") {
		return true
	}
	second, _, _ := strings.Cut(strings.ToLower(rest), "/")
	return first != "" && slices.Contains(endpointRoots, second)
}

// endpoint is what a client can ask for below a tenant.
type endpoint func(s *Server, w http.ResponseWriter, r *http.Request, f form)

// endpoints are all of them, by path below the tenant and method. The names without v2.0 are ADFS's and older.
var endpoints = map[string]map[string]endpoint{
	"/.well-known/openid-configuration":      {http.MethodGet: (*Server).discovery},
	"/v2.0/.well-known/openid-configuration": {http.MethodGet: (*Server).discovery},
	"/.well-known/webfinger":                 {http.MethodGet: (*Server).webfinger},
	"/discovery/v2.0/keys":                   {http.MethodGet: (*Server).jwks},
	"/discovery/keys":                        {http.MethodGet: (*Server).jwks},
	"/discovery/instance":                    {http.MethodGet: (*Server).instance},
	"/oauth2/v2.0/token":                     {http.MethodPost: (*Server).token},
	"/oauth2/token":                          {http.MethodPost: (*Server).token},
	"/oauth2/v2.0/devicecode":                {http.MethodPost: (*Server).deviceCode},
	"/oauth2/devicecode":                     {http.MethodPost: (*Server).deviceCode},
	"/oauth2/v2.0/authorize":                 {http.MethodGet: (*Server).authorize, http.MethodPost: (*Server).authorize},
	"/oauth2/authorize":                      {http.MethodGet: (*Server).authorize, http.MethodPost: (*Server).authorize},
	"/oauth2/v2.0/logout":                    {http.MethodGet: (*Server).logout, http.MethodPost: (*Server).logout},
	"/oauth2/logout":                         {http.MethodGet: (*Server).logout, http.MethodPost: (*Server).logout},
	"/oauth2/v2.0/revoke":                    {http.MethodPost: (*Server).revoke},
	"/openid/userinfo":                       {http.MethodGet: (*Server).userinfo, http.MethodPost: (*Server).userinfo},
	"/userinfo":                              {http.MethodGet: (*Server).userinfo, http.MethodPost: (*Server).userinfo},
}

// serveEndpoint finds the endpoint that rest, below a tenant's segment, names.
func (s *Server) serveEndpoint(w http.ResponseWriter, r *http.Request, segment, rest string) {
	f, ok := s.form(segment)
	if !ok {
		s.fail(w, r, fault(http.StatusBadRequest, "invalid_tenant", 90002, "tenant %.60q is not found here; this plane's is %s", segment, s.Tenant.ID))
		return
	}
	rest = strings.ToLower(rest)
	// Azure CLI looks a tenant's domain up below the address that it signs in at.
	if segment, below, _ := strings.Cut(strings.TrimPrefix(rest, "/"), "/"); f.adfs && below != "" && endpoints[rest] == nil {
		if of, ok := s.form(segment); ok {
			f, rest = of, "/"+below
		}
	}
	if strings.HasPrefix(rest, "/userrealm/") && r.Method == http.MethodGet {
		s.realm(w)
		return
	}
	methods := endpoints[rest]
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	do, ok := methods[method]
	switch {
	case methods == nil:
		s.fail(w, r, fault(http.StatusNotFound, "invalid_request", 900144, "there is no endpoint at %.100q", r.URL.Path))
	case !ok:
		s.fail(w, r, fault(http.StatusMethodNotAllowed, "invalid_request", 900561, "this endpoint does not take %.20s", r.Method))
	default:
		do(s, w, r, f)
	}
}
