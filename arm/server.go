package arm

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
	table []route // all there are, as they were mounted
	meter meter
	news  news
}

// route is one operation: where it stands, what it does, and what its code does not show, of which the description of the
// surface is made, and the matrix that tests who may call what.
type route struct {
	method  string
	pattern string
	kind    kind
	do      operation
	doc     string         // one sentence
	action  ajar.Action    // what the gate asks for, at the scope that the path or the body names; "" = whoever is signed in may
	query   []string       // the query parameters it reads, beside api-version and $skiptoken
	gives   []reflect.Type // what the answer is one of, where the operation's Out does not say
}

// Get is the route of a GET, and of a HEAD. What Put, Post, Patch and Delete are follows.
func Get(pattern string, k kind, do operation, doc string, action ajar.Action, query ...string) route {
	return route{method: http.MethodGet, pattern: pattern, kind: k, do: do, doc: doc, action: action, query: query}
}

// Put is the route of a PUT.
func Put(pattern string, k kind, do operation, doc string, action ajar.Action, query ...string) route {
	return route{method: http.MethodPut, pattern: pattern, kind: k, do: do, doc: doc, action: action, query: query}
}

// Post is the route of a POST.
func Post(pattern string, k kind, do operation, doc string, action ajar.Action, query ...string) route {
	return route{method: http.MethodPost, pattern: pattern, kind: k, do: do, doc: doc, action: action, query: query}
}

// Patch is the route of a PATCH.
func Patch(pattern string, k kind, do operation, doc string, action ajar.Action, query ...string) route {
	return route{method: http.MethodPatch, pattern: pattern, kind: k, do: do, doc: doc, action: action, query: query}
}

// Delete is the route of a DELETE.
func Delete(pattern string, k kind, do operation, doc string, action ajar.Action, query ...string) route {
	return route{method: http.MethodDelete, pattern: pattern, kind: k, do: do, doc: doc, action: action, query: query}
}

// Gives says what the answer is one of, where the operation's Out is any of them.
func (r route) Gives(oneOf ...any) route {
	for _, v := range oneOf {
		r.gives = append(r.gives, reflect.TypeOf(v))
	}
	return r
}

// kind says which shared steps a route takes.
type kind int

const (
	ours   kind = iota // a bearer token
	azure              // and an api-version of just-in-time policies, and ARM's headers
	beside             // and an api-version, whatever it is, and ARM's headers: the resource types around the policies
	open               // neither: log-in, and what must be known before it
)

// New makes the surface.
func New(c Config) *Server {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Region == "" {
		c.Region = "AJAR"
	}
	s := &Server{Config: c, log: c.Log, mux: http.NewServeMux()}
	s.news.stopping = make(chan struct{})
	s.mount(
		s.policyRoutes(),
		s.requestRoutes(),
		s.leaseRoutes(),
		s.sessionRoutes(),
		s.tokenRoutes(),
		s.principalRoutes(),
		s.certificateRoutes(),
		s.targetRoutes(),
		s.hostRoutes(),
		s.roleRoutes(),
		s.denyRoutes(),
		s.managementGroupRoutes(),
		s.eventRoutes(),
		s.insightsRoutes(),
		s.metadataRoutes(),
		s.tenantRoutes(),
		s.subscriptionRoutes(),
		s.resourceGroupRoutes(),
		s.resourceRoutes(),
		s.providerRoutes(),
		s.armManagementGroupRoutes(),
		s.authorizationRoutes(),
		s.computeRoutes(),
		s.networkRoutes(),
		s.securityRoutes(),
		s.policyDefinitionRoutes(),
		s.policyStateRoutes(),
		s.descriptionRoutes(),
	)
	return s
}

// mount enters routes by pattern, so that a wrong method on a right path is told from a wrong path.
func (s *Server) mount(lists ...[]route) {
	s.table = slices.Concat(lists...)
	byPattern := map[string]map[string]route{}
	for _, r := range s.table {
		if byPattern[r.pattern] == nil {
			byPattern[r.pattern] = map[string]route{}
		}
		byPattern[r.pattern][r.method] = r
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
func (s *Server) serve(w http.ResponseWriter, r *http.Request, pattern string, methods map[string]route) {
	now := s.Clock()
	c := &call{s: s, r: r, header: w.Header(), corr: s.stampHeaders(w.Header(), r, now)}
	answer := &watched{ResponseWriter: w}
	defer func() {
		if p := recover(); p == http.ErrAbortHandler { //nolint:errorlint // net/http compares it the same way
			panic(p)
		} else if p != nil {
			s.log.ErrorContext(r.Context(), "panic", "corr", c.corr, "path", r.URL.Path, "err", fmt.Sprint(p), "stack", string(debug.Stack()))
			if answer.status == 0 {
				s.fail(answer, r, c.corr, fmt.Errorf("panic: %v", p))
			}
		}
		if s.Observe != nil {
			s.Observe(pattern, answer.status, s.Clock().Sub(now))
		}
	}()
	out, err := s.run(c, methods, now)
	if err != nil {
		s.fail(answer, r, c.corr, err)
		return
	}
	if body, ok := out.(raw); ok {
		c.header["Content-Type"] = []string{body.kind}
		// As long as it takes: it may be the whole log. Where there is no deadline to lift, none is missed.
		http.NewResponseController(w).SetWriteDeadline(time.Time{}) //nolint:errcheck // see above
		answer.WriteHeader(c.status)
		if err := body.write(&guarded{answer, c, now}); err != nil && !errors.Is(err, context.Canceled) {
			s.log.WarnContext(r.Context(), "answer broke off", "corr", c.corr, "path", r.URL.Path, "err", err)
			panic(http.ErrAbortHandler) // so that the caller sees a broken answer, not a short one
		}
		return
	}
	reply(answer, c.status, out)
}

func (s *Server) run(c *call, methods map[string]route, now time.Time) (any, error) {
	method := c.r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	rt, ok := methods[method]
	switch {
	case methods == nil:
		return nil, coded(ajar.NotFound, "InvalidResourceType", "The path '%.300s' names no operation of this server.", c.r.URL.Path)
	case !ok:
		c.header["Allow"] = []string{strings.Join(allowed(methods), ", ")}
		return nil, coded(ajar.NotFound, codeMethod, "The method %.20s is not for this path; it takes %s.", method, strings.Join(allowed(methods), ", "))
	}
	var err error
	if c.query, err = url.ParseQuery(c.r.URL.RawQuery); err != nil {
		return nil, coded(ajar.Invalid, "InvalidQuery", "The query is not a list of name=value pairs in URL encoding.")
	}
	if rt.kind == open {
		c.who = ajar.Caller{From: s.Auth.Proxies.Client(c.r)}
	} else if c.who, c.token, err = s.Auth.Caller(c.r); err != nil {
		return nil, err
	}
	c.who.Via, c.who.Corr = "arm", c.corr
	if method != http.MethodGet {
		c.who.Doing = method + " " + rt.pattern
		c.who.Call = c.recorded(rt)
	}
	switch rt.kind {
	case azure:
		err = checkVersion(c.query)
	case beside:
		err = checkAnyVersion(c.query)
	}
	if err != nil {
		return nil, err
	}
	if rt.kind == azure || rt.kind == beside {
		s.spend(c, method, now)
	}
	return rt.do.run(c.r.Context(), c)
}

// The api-versions there are of just-in-time policies.
var apiVersions = []string{"2020-01-01", "2015-06-01-preview"}

func checkVersion(q url.Values) error {
	v := query(q, "api-version")
	switch {
	case v == "":
		return coded(ajar.Invalid, "MissingApiVersionParameter", "The api-version query parameter (?api-version=) is required for all requests.")
	case !slices.ContainsFunc(apiVersions, func(a string) bool { return strings.EqualFold(a, v) }):
		return coded(ajar.Invalid, "InvalidApiVersionParameter", "The api-version '%.40s' is invalid. The supported versions are '%s'.", v, strings.Join(apiVersions, ","))
	}
	return nil
}

// versionForm is how an api-version looks. A date that does not exist is let pass, as in Azure.
var versionForm = regexp.MustCompile(`^20[0-9]{2}-[01][0-9]-[0-3][0-9](?:-[A-Za-z]{1,20})?$`)

// checkAnyVersion is for resource types whose clients send whatever version they were made for: what they read of the
// answer has been the same in all of them, or the operation tells them apart.
func checkAnyVersion(q url.Values) error {
	switch v := query(q, "api-version"); {
	case v == "":
		return checkVersion(q)
	case !versionForm.MatchString(v):
		return coded(ajar.Invalid, "InvalidApiVersionParameter", "The api-version '%.40s' is invalid. It is a date, such as '2022-04-01' or '2018-07-01-preview'.", v)
	}
	return nil
}

// spend sets the counter that Azure sends with this sort of operation.
func (s *Server) spend(c *call, method string, now time.Time) {
	b := budgetWrites
	switch {
	case method == http.MethodDelete:
		b = budgetDeletes
	case method == http.MethodGet && c.value("n") == "":
		b = budgetLists
	case method == http.MethodGet:
		b = budgetReads
	}
	c.header[b.header] = s.meter.spend(b, c.value("s"), string(c.who.Principal), now)
}

func allowed(methods map[string]route) []string {
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
