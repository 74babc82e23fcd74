package rest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/authn"
	"github.com/ajar-access/ajar/broker"
)

// Config is what the surface needs. Broker, Auth and Clock must be set.
type Config struct {
	Broker *broker.Broker
	Auth   *authn.Authn
	Clock  ajar.Clock
	Log    *slog.Logger // nil = none
	// PublicURL is what callers reach the plane by, for links in answers; "" = the Host they asked for.
	PublicURL string
	Tenant    ajar.Tenant // whom the plane belongs to
	Region    string      // in x-ms-routing-request-id; "" = AJAR
	CA        []byte      // PEM of the plane's certificate authority
	// JoinCommand is what to type on a host that has a join token, without the token itself; "" leaves it out.
	JoinCommand string
	// LogKey is the public key of the activity log's signatures.
	LogKey []byte
	// Export writes the stored bytes of the activity log from a position on, a JSON document a line; nil = no export.
	Export func(ctx context.Context, from int64, w io.Writer) error
	// Observe is told of every answer; nil = nobody.
	Observe func(route string, status int, took time.Duration)
}

// Server is the REST surface, an http.Handler.
type Server struct {
	Config
	log   *slog.Logger
	mux   *http.ServeMux
	Table []Route // all there are, as they were mounted
	meter meter
	News  News
}

// Route is one operation: where it stands, what it does, and what its code does not show, of which the description of the
// surface is made, and the matrix that tests who may call what.
type Route struct {
	Method  string
	Pattern string
	Kind    Kind
	Do      Operation
	Doc     string         // one sentence
	Action  ajar.Action    // what the gate asks for, at the scope that the path or the body names; "" = whoever is signed in may
	Query   []string       // the query parameters it reads, beside api-version and $skiptoken
	OneOf   []reflect.Type // what the answer is one of, where the operation's Out does not say
}

// Get is the route of a GET, and of a HEAD. What Put, Post, Patch and Delete are follows.
func Get(pattern string, k Kind, do Operation, doc string, action ajar.Action, query ...string) Route {
	return Route{Method: http.MethodGet, Pattern: pattern, Kind: k, Do: do, Doc: doc, Action: action, Query: query}
}

// Put is the route of a PUT.
func Put(pattern string, k Kind, do Operation, doc string, action ajar.Action, query ...string) Route {
	return Route{Method: http.MethodPut, Pattern: pattern, Kind: k, Do: do, Doc: doc, Action: action, Query: query}
}

// Post is the route of a POST.
func Post(pattern string, k Kind, do Operation, doc string, action ajar.Action, query ...string) Route {
	return Route{Method: http.MethodPost, Pattern: pattern, Kind: k, Do: do, Doc: doc, Action: action, Query: query}
}

// Patch is the route of a PATCH.
func Patch(pattern string, k Kind, do Operation, doc string, action ajar.Action, query ...string) Route {
	return Route{Method: http.MethodPatch, Pattern: pattern, Kind: k, Do: do, Doc: doc, Action: action, Query: query}
}

// Delete is the route of a DELETE.
func Delete(pattern string, k Kind, do Operation, doc string, action ajar.Action, query ...string) Route {
	return Route{Method: http.MethodDelete, Pattern: pattern, Kind: k, Do: do, Doc: doc, Action: action, Query: query}
}

// Gives says what the answer is one of, where the operation's Out is any of them.
func (r Route) Gives(oneOf ...any) Route {
	for _, v := range oneOf {
		r.OneOf = append(r.OneOf, reflect.TypeOf(v))
	}
	return r
}

// Kind says which shared steps a route takes.
type Kind int

const (
	Ours   Kind = iota // a bearer token
	Azure              // and an api-version of just-in-time policies, and ARM's headers
	Beside             // and an api-version, whatever it is, and ARM's headers: the resource types around the policies
	Open               // neither: log-in, and what must be known before it
)

// New makes a surface of the routes that each room has.
func New(c Config, rooms ...func(*Server) []Route) *Server {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Region == "" {
		c.Region = "AJAR"
	}
	s := &Server{Config: c, log: c.Log, mux: http.NewServeMux()}
	s.News.stopping = make(chan struct{})
	for _, routes := range rooms {
		s.Table = append(s.Table, routes(s)...)
	}
	s.mount()
	return s
}

// mount enters routes by pattern, so that a wrong method on a right path is told from a wrong path.
func (s *Server) mount() {
	byPattern := map[string]map[string]Route{}
	for _, r := range s.Table {
		if byPattern[r.Pattern] == nil {
			byPattern[r.Pattern] = map[string]Route{}
		}
		byPattern[r.Pattern][r.Method] = r
	}
	for pattern, methods := range byPattern {
		s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, pattern, methods) })
	}
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, "/", nil) })
}

// ServeHTTP folds the case of the path and hands the request to its route.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, ok := fold(r.URL.Path)
	if !ok {
		path = "/"
	}
	u := *r.URL
	u.Path, u.RawPath = path, ""
	if at, found := locate(r.URL.Path, path); found {
		u.Path, u.RawPath = at.Path, at.RawPath
	}
	folded := *r
	folded.URL = &u
	s.mux.ServeHTTP(w, &folded)
}

// serve takes the steps that no operation can skip: ids, who, which version, the answer.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, pattern string, methods map[string]Route) {
	now := s.Clock()
	c := &Call{s: s, Request: r, Header: w.Header(), Corr: s.stampHeaders(w.Header(), r, now)}
	answer := &watched{ResponseWriter: w}
	defer func() {
		if p := recover(); p == http.ErrAbortHandler { //nolint:errorlint // net/http compares it the same way
			panic(p)
		} else if p != nil {
			s.log.ErrorContext(r.Context(), "panic", "corr", c.Corr, "path", r.URL.Path, "err", fmt.Sprint(p), "stack", string(debug.Stack()))
			if answer.status == 0 {
				s.fail(answer, r, c.Corr, fmt.Errorf("panic: %v", p))
			}
		}
		if s.Observe != nil {
			s.Observe(pattern, answer.status, s.Clock().Sub(now))
		}
	}()
	out, err := s.run(c, methods, now)
	if err != nil {
		s.fail(answer, r, c.Corr, err)
		return
	}
	if body, ok := out.(Raw); ok {
		c.Header["Content-Type"] = []string{body.Kind}
		// As long as it takes: it may be the whole log. Where there is no deadline to lift, none is missed.
		http.NewResponseController(w).SetWriteDeadline(time.Time{}) //nolint:errcheck // see above
		answer.WriteHeader(c.Status)
		if err := body.Write(&guarded{answer, c, now}); err != nil && !errors.Is(err, context.Canceled) {
			s.log.WarnContext(r.Context(), "answer broke off", "corr", c.Corr, "path", r.URL.Path, "err", err)
			panic(http.ErrAbortHandler) // so that the caller sees a broken answer, not a short one
		}
		return
	}
	reply(answer, c.Status, out)
}

func (s *Server) run(c *Call, methods map[string]Route, now time.Time) (any, error) {
	method := c.Request.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	rt, ok := methods[method]
	switch {
	case methods == nil:
		return nil, Coded(ajar.NotFound, "InvalidResourceType", "The path '%.300s' names no operation of this server.", c.Request.URL.Path)
	case !ok:
		takes := allowed(methods)
		if slices.Contains(takes, http.MethodGet) {
			takes = append(takes, http.MethodHead)
		}
		c.Header["Allow"] = []string{strings.Join(takes, ", ")}
		return nil, Coded(ajar.NotFound, codeMethod, "The method %.20s is not for this path; it takes %s.", method, strings.Join(allowed(methods), ", "))
	}
	var err error
	if c.Query, err = url.ParseQuery(c.Request.URL.RawQuery); err != nil {
		return nil, Coded(ajar.Invalid, "InvalidQuery", "The query is not a list of name=value pairs in URL encoding.")
	}
	if rt.Kind == Open {
		c.Who = ajar.Caller{From: s.Auth.Proxies.Client(c.Request)}
	} else if c.Who, c.Token, err = s.Auth.Caller(c.Request); err != nil {
		return nil, err
	}
	c.Who.Via, c.Who.Corr = "arm", c.Corr
	if method != http.MethodGet {
		c.Who.Doing = method + " " + rt.Pattern
		c.Who.Call = c.recorded(rt)
	}
	switch rt.Kind {
	case Azure:
		err = checkVersion(c.Query)
	case Beside:
		err = CheckVersion(c.Query)
	}
	if err != nil {
		return nil, err
	}
	if rt.Kind == Azure || rt.Kind == Beside {
		s.spend(c, method, now)
	}
	out, err := rt.Do.run(c.Request.Context(), c)
	if c.Request.Method == http.MethodHead && (rt.Kind == Azure || rt.Kind == Beside) {
		c.Status = http.StatusNoContent // which Azure's clients ask with whether it is there
	}
	return out, err
}

// PolicyVersions are the api-versions there are of just-in-time policies.
var PolicyVersions = []string{"2020-01-01", "2015-06-01-preview"}

func checkVersion(q url.Values) error {
	v := query(q, "api-version")
	switch {
	case v == "":
		return Coded(ajar.Invalid, "MissingApiVersionParameter", "The api-version query parameter (?api-version=) is required for all requests.")
	case !slices.ContainsFunc(PolicyVersions, func(a string) bool { return strings.EqualFold(a, v) }):
		return Coded(ajar.Invalid, "InvalidApiVersionParameter", "The api-version '%.40s' is invalid. The supported versions are '%s'.", v, strings.Join(PolicyVersions, ","))
	}
	return nil
}

// VersionForm is how an api-version looks. A date that does not exist is let pass, as in Azure.
var VersionForm = regexp.MustCompile(`^20[0-9]{2}-[01][0-9]-[0-3][0-9](?:-[A-Za-z]{1,20})?$`)

// CheckVersion is for resource types whose clients send whatever version they were made for: what they read of the
// answer has been the same in all of them, or the operation tells them apart.
func CheckVersion(q url.Values) error {
	switch v := query(q, "api-version"); {
	case v == "":
		return checkVersion(q)
	case !VersionForm.MatchString(v):
		return Coded(ajar.Invalid, "InvalidApiVersionParameter", "The api-version '%.40s' is invalid. It is a date, such as '2022-04-01' or '2018-07-01-preview'.", v)
	}
	return nil
}

// spend sets the counter that Azure sends with this sort of operation.
func (s *Server) spend(c *Call, method string, now time.Time) {
	b := budgetWrites
	switch {
	case method == http.MethodDelete:
		b = budgetDeletes
	case method == http.MethodGet && c.Value("n") == "":
		b = budgetLists
	case method == http.MethodGet:
		b = budgetReads
	}
	c.Header[b.header] = s.meter.spend(b, c.Value("s"), string(c.Who.Principal), now)
}

func allowed(methods map[string]Route) []string {
	var list []string
	for m := range methods {
		list = append(list, m)
	}
	slices.Sort(list)
	return list
}

// watched remembers the status, for metrics and for what to do after a panic.
type watched struct {
	http.ResponseWriter
	status int
}

// WriteHeader notes and passes on.
func (w *watched) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Flush passes on, for answers that are written piece by piece.
func (w *watched) Flush() {
	if f, ok := w.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}
