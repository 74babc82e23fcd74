package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/authn"
)

// maxBody is how much of a request's body is read.
const maxBody = 1 << 20

// Call is one request to one operation.
type Call struct {
	s       *Server
	Request *http.Request
	Who     ajar.Caller // nobody on open routes, but for address, surface and correlation id
	Token   string      // hash of the token it came with
	Query   url.Values
	Header  http.Header // of the answer
	Status  int         // of the answer, unless an error comes
	Corr    string
}

// Still refuses once the token that the call came with is no longer good: a call that waits, or writes for long, gives
// nothing to whom it was taken from meanwhile.
func (c *Call) Still() error {
	if c.Token == "" {
		return nil
	}
	_, _, err := c.s.Auth.Caller(c.Request)
	return err
}

// guarded is an answer that takes long, and breaks off when its reader's token ends.
type guarded struct {
	io.Writer
	c  *Call
	at time.Time // when that was looked at
}

// Write writes, as long as somebody may read it.
func (g *guarded) Write(b []byte) (int, error) {
	if now := g.c.s.Clock(); now.Sub(g.at) >= authn.CacheAge || now.Before(g.at) {
		g.at = now
		if err := g.c.Still(); err != nil {
			return 0, err
		}
	}
	return g.Writer.Write(b)
}

// Value is what the path names at {name}.
func (c *Call) Value(name string) string { return c.Request.PathValue(name) }

// Param is a query parameter.
func (c *Call) Param(name string) string { return query(c.Query, name) }

// Flag is a query parameter that is true or false.
func (c *Call) Flag(name string) (bool, error) {
	switch v := strings.ToLower(c.Param(name)); v {
	case "", "false", "0":
		return false, nil
	case "true", "1":
		return true, nil
	default:
		return false, Coded(ajar.Invalid, "InvalidParameter", "query parameter %s is %.20q; it can be true or false", name, v)
	}
}

// Number is a query parameter that is a whole number from lo to hi; absent if it is not there.
func (c *Call) Number(name string, absent, lo, hi int64) (int64, error) {
	v := c.Param(name)
	if v == "" {
		return absent, nil
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < lo || n > hi {
		return 0, Coded(ajar.Invalid, "InvalidParameter", "query parameter %s is %.30q; it can be a number from %d to %d", name, v, lo, hi)
	}
	return n, nil
}

// Times reads query parameters that are times.
func (c *Call) Times(named map[string]*time.Time) (err error) {
	for name, into := range named {
		if v := c.Param(name); v != "" {
			if *into, err = parseTime(v); err != nil {
				return Coded(ajar.Invalid, "InvalidParameter", "query parameter %s: %s", name, ajar.Message(err))
			}
		}
	}
	return nil
}

// ScopeParam is a query parameter that is a resource id or a prefix of one.
func (c *Call) ScopeParam(name string, absent ajar.ID) (ajar.ID, error) {
	v := c.Param(name)
	if v == "" {
		return absent, nil
	}
	return ajar.ParseID(v)
}

// Nothing is the In of an operation without a body, and the Out of one without an answer.
type Nothing struct{}

// Raw is an Out that is no JSON.
type Raw struct {
	Kind  string
	Write func(io.Writer) error
}

// Operation is what a route does: everything before it (who, which version) and after it (headers, errors) is the
// server's.
type Operation struct {
	Status  int          // of an answer that went well, unless the operation sets another
	In, Out reflect.Type // of the body and of the answer
	run     func(ctx context.Context, c *Call) (any, error)
}

// Op makes an operation of fn: the body, if In is not Nothing, is read into In, and what fn gives is the answer with
// the given status. It is all there is between a route and a function.
func Op[In, Out any](status int, fn func(ctx context.Context, c *Call, in In) (Out, error)) Operation {
	_, bodyless := any(*new(In)).(Nothing)
	run := func(ctx context.Context, c *Call) (any, error) {
		var in In
		if !bodyless {
			if err := readBody(c.Request, &in); err != nil {
				return nil, err
			}
		}
		c.Status = status
		out, err := fn(ctx, c, in)
		if err != nil {
			return nil, err
		}
		return out, nil
	}
	return Operation{Status: status, In: reflect.TypeFor[In](), Out: reflect.TypeFor[Out](), run: run}
}

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func giveBack(b *bytes.Buffer) {
	if b.Cap() <= 64<<10 {
		b.Reset()
		buffers.Put(b)
	}
}

// readBody fills into from the JSON body of r.
func readBody(r *http.Request, into any) error {
	if e := r.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return Coded(ajar.Invalid, codeMediaType, "bodies with Content-Encoding %.20q are not taken; send plain JSON", e)
	}
	tooLarge := Coded(ajar.Invalid, codeTooLarge, "the body is larger than the %d bytes that are taken", maxBody)
	if r.ContentLength > maxBody {
		return tooLarge
	}
	b := buffers.Get().(*bytes.Buffer)
	defer giveBack(b)
	if _, err := b.ReadFrom(io.LimitReader(r.Body, maxBody+1)); err != nil {
		return ajar.Because(ajar.Invalid, err, "the body broke off")
	}
	if b.Len() > maxBody {
		return tooLarge
	}
	body := bytes.TrimPrefix(b.Bytes(), []byte("\xef\xbb\xbf")) // PowerShell writes a byte order mark
	if len(bytes.TrimSpace(body)) == 0 {
		body = []byte("{}")
	}
	return decode(body, into)
}

// decode is readBody's parser, apart for fuzzing. Unknown members are let pass, as Azure does: clients send back whole
// resources as they read them.
func decode(body []byte, into any) error {
	err := json.Unmarshal(body, into)
	var typed *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	var own *ajar.Error
	switch {
	case err == nil:
		if bytes.Equal(bytes.TrimSpace(body), []byte("null")) {
			return Bad("the body is null; a JSON object is expected")
		}
		return nil
	case errors.As(err, &own):
		return err
	case errors.As(err, &typed):
		where := typed.Field
		if where == "" {
			where = "the body"
		}
		return Bad("%.200s is a JSON %s; a %s is expected", where, typed.Value, expected(typed.Type.Kind().String()))
	case errors.As(err, &syntax):
		return Bad("the body is not JSON: %s, at byte %d", syntax.Error(), syntax.Offset)
	}
	return &ajar.Error{Kind: ajar.Invalid, Code: codeContent, Msg: "the body is not JSON that fits", Err: err}
}

func expected(kind string) string {
	switch kind {
	case "struct", "map":
		return "JSON object"
	case "slice", "array":
		return "JSON array"
	case "bool":
		return "true or false"
	case "string":
		return "text"
	}
	return "number"
}

// reply writes an answer: compact JSON without a line's end, as Azure does, with its length.
func reply(w http.ResponseWriter, status int, body any) {
	h := w.Header()
	if _, empty := body.(Nothing); empty || body == nil || status == http.StatusNoContent {
		if status != http.StatusNoContent {
			h["Content-Length"] = []string{"0"}
		}
		w.WriteHeader(status)
		return
	}
	b := buffers.Get().(*bytes.Buffer)
	defer giveBack(b)
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(body); err != nil {
		// Out types are ours; this cannot happen with valid ones.
		panic(fmt.Errorf("encode an answer: %w", err))
	}
	text := bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	h["Content-Type"] = jsonType
	h["Content-Length"] = []string{strconv.Itoa(len(text))}
	w.WriteHeader(status)
	w.Write(text) //nolint:errcheck // the caller went away: nobody to tell
}

var jsonType = []string{"application/json; charset=utf-8"}
