package rest

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/authn"
)

// faults maps a Kind to its status and to the code it has unless the error brings one of its own. It is the only such
// table.
var faults = map[ajar.Kind]struct {
	status int
	code   string
}{
	ajar.Invalid:         {http.StatusBadRequest, "BadRequest"},
	ajar.NotFound:        {http.StatusNotFound, "ResourceNotFound"},
	ajar.Conflict:        {http.StatusConflict, "Conflict"},
	ajar.Forbidden:       {http.StatusForbidden, "AuthorizationFailed"},
	ajar.Unauthenticated: {http.StatusUnauthorized, "AuthenticationFailed"},
	ajar.TooMany:         {http.StatusTooManyRequests, "TooManyRequests"},
	ajar.Unavailable:     {http.StatusServiceUnavailable, "ServiceUnavailable"},
	ajar.Internal:        {http.StatusInternalServerError, "InternalServerError"},
}

// Codes that have a status of their own, all of them refinements of a Kind's.
var codes = map[string]int{
	codeTooLarge:  http.StatusRequestEntityTooLarge,
	codeMethod:    http.StatusMethodNotAllowed,
	codeMediaType: http.StatusUnsupportedMediaType,
	Stale:         http.StatusPreconditionFailed,
	// A Conflict that Azure answers as a bad request.
	"RoleAssignmentUpdateNotPermitted": http.StatusBadRequest,
}

const (
	codeContent   = "InvalidRequestContent"
	codeTooLarge  = "RequestContentTooLarge"
	codeMethod    = "MethodNotAllowed"
	codeMediaType = "UnsupportedMediaType"
	Stale         = "ResourceModified"
)

// CloudError is the body of every error, Azure's CloudError.
type CloudError struct {
	Error struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

// Coded is a classified error with a code of its own.
func Coded(kind ajar.Kind, code, format string, a ...any) error {
	return &ajar.Error{Kind: kind, Code: code, Msg: fmt.Sprintf(format, a...)}
}

// challenge tells who has no token, as Azure does, where the tenant gives them out.
func (s *Server) challenge() string {
	where := `Bearer realm="ajar"`
	if s.PublicURL != "" && s.Tenant.ID != "" {
		where += `, authorization_uri="` + strings.TrimSuffix(s.PublicURL, "/") + "/" + s.Tenant.ID + `"`
	}
	return where
}

// fail answers err. What the caller may not read goes to the log under the correlation id.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, corr string, err error) {
	if errors.Is(err, http.ErrAbortHandler) || (r.Context().Err() != nil && !errors.As(err, new(*ajar.Error))) {
		// The caller went away; nobody reads the answer.
		w.WriteHeader(499)
		return
	}
	kind := ajar.KindOf(err)
	f, ok := faults[kind]
	if !ok {
		f = faults[ajar.Internal]
	}
	var body CloudError
	body.Error.Code, body.Error.Message = f.code, strings.ToValidUTF8(ajar.Message(err), "\ufffd")
	status := f.status
	var e *ajar.Error
	if errors.As(err, &e) && e.Code != "" && kind != ajar.Internal {
		body.Error.Code = e.Code
		if st, ok := codes[e.Code]; ok {
			status = st
		}
	}
	if status >= 500 {
		s.log.ErrorContext(r.Context(), "request failed", "corr", corr, "method", r.Method, "path", r.URL.Path, "err", err)
	}
	h := w.Header()
	switch kind {
	case ajar.Unauthenticated:
		h.Set("WWW-Authenticate", s.challenge())
	case ajar.TooMany, ajar.Unavailable:
		wait := 1
		var t *authn.Throttled
		if errors.As(err, &t) {
			wait = max(1, int(t.Wait.Seconds()))
		}
		h.Set("Retry-After", strconv.Itoa(wait))
	}
	h.Set("x-ms-error-code", body.Error.Code)
	reply(w, status, body)
}

// StatusOf is the HTTP status of a refusal.
func StatusOf(k ajar.Kind) int {
	if f, ok := faults[k]; ok {
		return f.status
	}
	return http.StatusInternalServerError
}
