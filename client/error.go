package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/ajar-access/ajar"
)

// UntrustedCertificate is the Code of the error of a plane whose certificate Config.CA does not vouch for.
const UntrustedCertificate = "UntrustedCertificate"

// NoAnswer is the Code of the error of a call that was given up before it was answered.
const NoAnswer = "NoAnswer"

// NotSubset is the Code of a request that asks for more than the policy allows.
const NotSubset = "JitAccessRequestNotSubset"

// Error is what the plane answered instead of doing what it was asked. It unwraps to an *ajar.Error.
type Error struct {
	Err         *ajar.Error
	Status      int    // HTTP status
	Correlation string // finds the call in the plane's log
}

// Error is the plane's message.
func (e *Error) Error() string { return e.Err.Msg }

// Unwrap gives kind, code and message.
func (e *Error) Unwrap() error { return e.Err }

// kinds turns a status back into the Kind it was made of.
var kinds = map[int]ajar.Kind{
	http.StatusBadRequest:            ajar.Invalid,
	http.StatusUnauthorized:          ajar.Unauthenticated,
	http.StatusForbidden:             ajar.Forbidden,
	http.StatusNotFound:              ajar.NotFound,
	http.StatusMethodNotAllowed:      ajar.NotFound,
	http.StatusConflict:              ajar.Conflict,
	http.StatusPreconditionFailed:    ajar.Conflict,
	http.StatusRequestEntityTooLarge: ajar.Invalid,
	http.StatusUnsupportedMediaType:  ajar.Invalid,
	http.StatusTooManyRequests:       ajar.TooMany,
	http.StatusBadGateway:            ajar.Unavailable,
	http.StatusServiceUnavailable:    ajar.Unavailable,
	http.StatusGatewayTimeout:        ajar.Unavailable,
}

// refusal reads an answer that is no success.
func refusal(resp *http.Response) (again time.Duration, _ error) {
	kind, ok := kinds[resp.StatusCode]
	if !ok {
		kind = ajar.Internal
	}
	e := &Error{Err: &ajar.Error{Kind: kind}, Status: resp.StatusCode, Correlation: resp.Header.Get("x-ms-correlation-request-id")}
	var body struct {
		Error struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"error"`
	}
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if json.Unmarshal(b, &body) == nil && body.Error.Message != "" {
		e.Err.Code, e.Err.Msg = body.Error.Code, body.Error.Message
	} else {
		e.Err.Msg = fmt.Sprintf("the server answered %s", resp.Status)
	}
	if kind != ajar.TooMany && kind != ajar.Unavailable {
		return -1, e
	}
	return retryAfter(resp), e
}

// longestPause is how long a Retry-After is honoured; what takes longer is for the caller to decide.
const longestPause = 30 * time.Second

// retryAfter reads the header, in seconds or as a date, which is compared with the server's own clock.
func retryAfter(resp *http.Response) time.Duration {
	v := resp.Header.Get("Retry-After")
	if v == "" {
		return 0
	}
	var d time.Duration
	if n, err := strconv.Atoi(v); err == nil && n >= 0 && n < 1<<20 {
		d = time.Duration(n) * time.Second
	} else if at, err := http.ParseTime(v); err == nil {
		now, err := http.ParseTime(resp.Header.Get("Date"))
		if err != nil {
			return 0
		}
		d = at.Sub(now)
	}
	if d > longestPause {
		return -1
	}
	return max(d, 0)
}

// backoff grows from a tenth of a second, with a random part so that many clients do not come back together.
func backoff(try int) time.Duration {
	d := 100 * time.Millisecond << min(try-1, 5)
	return d/2 + rand.N(d)
}

// pause waits, or returns why ctx ended.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
