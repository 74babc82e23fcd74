package issuer

import (
	"io"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/authn"
)

// The grants there are.
const (
	grantClient   = "client_credentials"
	grantCode     = "authorization_code"
	grantRefresh  = "refresh_token"
	grantDevice   = "urn:ietf:params:oauth:grant-type:device_code"
	grantPassword = "password"

	assertionJWT = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
)

// maxForm is how much of a request to the token endpoint is read.
const maxForm = 64 << 10

// ask is one request to the token endpoint, or to one that clients prove themselves at in the same way.
type ask struct {
	form
	params   url.Values
	grant    string
	clientID string
	secret   string // of the client
	basic    bool   // both came in the Authorization header
	from     netip.Addr
	corr     string
	now      time.Time
	details  map[string]string // recorded with the event
}

func (a *ask) get(name string) string { return a.params.Get(name) }

// login is a as an attempt to sign in as name.
func (a *ask) login(name string, kind ajar.PrincipalKind) authn.Login {
	a.details = map[string]string{"grant": a.grant}
	return authn.Login{Name: name, From: a.from, Via: "oauth", Corr: a.corr, Kind: kind, Details: a.details}
}

// token answers a request for tokens.
func (s *Server) token(w http.ResponseWriter, r *http.Request, f form) {
	a, err := s.ask(r, f)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	a.grant = a.get("grant_type")
	var out *tokens
	switch a.grant {
	case grantClient:
		out, err = s.clientCredentials(r.Context(), a)
	case grantCode:
		out, err = s.exchangeCode(r.Context(), a)
	case grantRefresh:
		out, err = s.refresh(r.Context(), a)
	case grantDevice, "device_code":
		a.grant = grantDevice
		out, err = s.exchangeDevice(r.Context(), a)
	case grantPassword:
		out, err = s.password(r.Context(), a)
	case "":
		err = badRequest("the request body must contain the parameter 'grant_type'")
	default:
		err = fault(http.StatusBadRequest, "unsupported_grant_type", 70003, "the grant type %.60q is not supported", a.grant)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	reply(w, http.StatusOK, out)
}

// ask reads the form that a client posts, and what it proves itself with.
func (s *Server) ask(r *http.Request, f form) (*ask, error) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" {
		return nil, badRequest("the body must be a form (Content-Type: application/x-www-form-urlencoded)")
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxForm+1))
	if err != nil {
		return nil, badRequest("the body broke off")
	}
	if len(body) > maxForm {
		return nil, fault(http.StatusRequestEntityTooLarge, "invalid_request", 900144, "the body is longer than %d bytes", maxForm)
	}
	a := &ask{form: f, from: s.Auth.Proxies.Client(r), corr: corrOf(r), now: s.Clock().UTC().Truncate(time.Millisecond)}
	if a.params, err = parseForm(string(body)); err != nil {
		return nil, err
	}
	return a, a.identify(r.Header.Get("Authorization"))
}

// parseForm reads a form or a query. Nothing may be said twice: who of client and server reads which is how one is
// fooled.
func parseForm(text string) (url.Values, error) {
	params, err := url.ParseQuery(text)
	if err != nil {
		return nil, badRequest("the parameters are not in URL encoding")
	}
	for name, values := range params {
		if len(values) > 1 {
			return nil, badRequest("the parameter %.40q is given more than once", name)
		}
	}
	return params, nil
}

// identify finds out who the client says it is: in the form, or in the header (RFC 6749, section 2.3.1), not in both.
func (a *ask) identify(header string) error {
	a.clientID, a.secret = a.get("client_id"), a.get("client_secret")
	scheme, text, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Basic") {
		return nil
	}
	id, secret, ok := (&http.Request{Header: http.Header{"Authorization": {"Basic " + strings.TrimSpace(text)}}}).BasicAuth()
	if !ok {
		return badRequest("the Authorization header is not of the form Basic …")
	}
	id, err1 := url.QueryUnescape(id)
	secret, err2 := url.QueryUnescape(secret)
	switch {
	case err1 != nil || err2 != nil || id == "":
		return badRequest("the Authorization header is not of the form Basic …")
	case a.secret != "" || a.get("client_assertion") != "":
		return badRequest("the client proves itself in two ways at once")
	case a.clientID != "" && !strings.EqualFold(a.clientID, id):
		return badRequest("client_id and the Authorization header name two clients")
	}
	a.clientID, a.secret, a.basic = id, secret, true
	return nil
}
