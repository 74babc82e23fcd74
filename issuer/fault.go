package issuer

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/authn"
)

// oauthError is a refusal in the words of RFC 6749, with the number that Azure's clients look for.
type oauthError struct {
	status int
	code   string // invalid_grant and its kin
	number int    // as in AADSTS50126
	text   string
	wait   time.Duration // until the client may try again
	err    error         // for the log
}

// Error gives what the client is told.
func (e *oauthError) Error() string { return e.text }

// Unwrap gives the cause.
func (e *oauthError) Unwrap() error { return e.err }

func fault(status int, code string, number int, format string, a ...any) *oauthError {
	return &oauthError{status: status, code: code, number: number, text: fmt.Sprintf(format, a...)}
}

// The refusals there are most of.
func badRequest(format string, a ...any) *oauthError {
	return fault(http.StatusBadRequest, "invalid_request", 900144, format, a...)
}

func badClient(format string, a ...any) *oauthError {
	return fault(http.StatusUnauthorized, "invalid_client", 7000215, format, a...)
}

func badGrant(number int, format string, a ...any) *oauthError {
	return fault(http.StatusBadRequest, "invalid_grant", number, format, a...)
}

// faultBody is how Azure's libraries read a refusal.
type faultBody struct {
	Error         string `json:"error"`
	Description   string `json:"error_description"`
	Codes         []int  `json:"error_codes"`
	Timestamp     string `json:"timestamp"`
	TraceID       string `json:"trace_id"`
	CorrelationID string `json:"correlation_id"`
}

// asFault classifies err for a client.
func asFault(err error) *oauthError {
	var f *oauthError
	if errors.As(err, &f) {
		return f
	}
	var slow *authn.Throttled
	f = fault(http.StatusInternalServerError, "server_error", 50000, "%s", ajar.Message(err))
	f.err = err
	switch {
	case errors.As(err, &slow):
		f.status, f.code, f.number, f.wait = http.StatusTooManyRequests, "temporarily_unavailable", 50053, slow.Wait
	case errors.Is(err, ajar.TooMany):
		f.status, f.code, f.number, f.wait = http.StatusTooManyRequests, "temporarily_unavailable", 50053, time.Second
	case errors.Is(err, ajar.Unauthenticated), errors.Is(err, ajar.NotFound), errors.Is(err, ajar.Forbidden):
		f.status, f.code, f.number = http.StatusBadRequest, "invalid_grant", 70000
	case errors.Is(err, ajar.Invalid), errors.Is(err, ajar.Conflict):
		f.status, f.code, f.number = http.StatusBadRequest, "invalid_request", 900144
	case errors.Is(err, ajar.Unavailable):
		f.status, f.code, f.number, f.wait = http.StatusServiceUnavailable, "temporarily_unavailable", 90033, time.Second
	}
	return f
}

// fail answers err as JSON.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	f, corr, trace := asFault(err), corrOf(r), uuid.NewString()
	if f.status >= http.StatusInternalServerError {
		s.log.ErrorContext(r.Context(), "sign-in failed", "corr", corr, "path", r.URL.Path, "err", err)
	}
	now := s.Clock().UTC().Format("2006-01-02 15:04:05Z")
	text := fmt.Sprintf("AADSTS%d: %s. Trace ID: %s Correlation ID: %s Timestamp: %s", f.number, f.text, trace, corr, now)
	h := w.Header()
	if f.wait > 0 {
		h.Set("Retry-After", strconv.Itoa(max(1, int((f.wait+time.Second-1)/time.Second))))
	}
	if f.code == "invalid_client" {
		h.Set("WWW-Authenticate", `Basic realm="ajar", charset="UTF-8"`)
	}
	h.Set("x-ms-request-id", trace)
	reply(w, f.status, faultBody{f.code, text, []int{f.number}, now, trace, corr})
}

// reply writes JSON that nobody may keep.
func reply(w http.ResponseWriter, status int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		panic(fmt.Errorf("encode an answer: %w", err)) // the types are ours
	}
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	if h.Get("Cache-Control") == "" {
		h.Set("Cache-Control", "no-store")
		h.Set("Pragma", "no-cache")
	}
	w.WriteHeader(status)
	w.Write(text) //nolint:errcheck // the client went away: nobody to tell
}

// corrOf is the correlation id that the client gave, if it has the form of one, or another. It stays the same for r.
func corrOf(r *http.Request) string {
	for _, name := range []string{"Client-Request-Id", "X-Ms-Client-Request-Id"} {
		if id, err := uuid.Parse(r.Header.Get(name)); err == nil {
			return id.String()
		}
	}
	id := uuid.Must(uuid.NewV7()).String()
	r.Header.Set("Client-Request-Id", id)
	return id
}
