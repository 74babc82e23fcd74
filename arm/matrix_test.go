package arm

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/arm/rest"
	"github.com/ajar-access/ajar/rbac"
)

// The matrix: every route of the table, called by the holder of every built-in role at scopes above, at, below and
// beside what the path names, by somebody without any role, and without a token. What must come out is worked out here
// from the role's actions by the plainest reading of them, not by rbac.

// row says how one route is called, and what decides. A route without a row fails the test; one may have several.
type row struct {
	route string            // method and pattern
	with  map[string]string // path values, where they are not those of values
	query string
	body  string

	who    whose
	action ajar.Action // in the place of the route's
	at     ajar.ID     // what the route's action is asked for at
	also   []need      // what the action alone does not give: rights on what the body or the query names
	ok     int         // the status for who may, where it is not the route's own

	// list is what a list may hold: each entry for who may read it, and for nobody else.
	list []entry

	// fresh puts what a call changes, or takes away, as it was before, for a caller. What it returns is path values;
	// Those who are refused share one, unless it is each caller's own.
	fresh func(m *matrix, c *matrixCaller) map[string]string
	own   bool
}

// whose is who a route lets in.
type whose int

const (
	holders  whose = iota // whoever holds the route's action at row.at, and row.also
	knowers               // whoever may read anything at, above or below row.at
	anybody               // whoever is signed in; lists differ by what they may read
	open2all              // no token needed
	nobody                // refused to everybody
)

type need struct {
	action ajar.Action
	at     ajar.ID
}

// entry is one thing that a list may show, by a text that nothing else in the answer has.
type entry struct {
	text string
	sees func(c *matrixCaller) bool
}

// shownTo makes an entry that whoever holds action at the thing itself may see.
func shownTo(text string, action ajar.Action, at ajar.ID) entry {
	return entry{text, func(c *matrixCaller) bool { return c.may(action, at) }}
}

// knows makes an entry that whoever may read anything at, above or below it may see.
func knows(text string, at ajar.ID) entry {
	return entry{text, func(c *matrixCaller) bool { return c.knows(at) }}
}

// matrixCaller is somebody who holds one role at some scopes that are alike to the test.
type matrixCaller struct {
	name   string
	role   ajar.RoleDefinition
	scopes []ajar.ID
	denied ajar.ID // where everything is denied to them; "" = nowhere
	who    ajar.Caller
	token  string
}

// may is the whole of Azure's rule for one role without conditions: an action of it, and none of its NotActions, at the
// scope or above; and no deny there or above.
func (c *matrixCaller) may(action ajar.Action, at ajar.ID) bool {
	return !c.out(at) && slices.ContainsFunc(c.scopes, func(s ajar.ID) bool { return lies(at, s) }) && gives(c.role, action)
}

// knows is who may learn that a scope is there: every built-in role gives something to read.
func (c *matrixCaller) knows(at ajar.ID) bool {
	return !c.out(at) && slices.ContainsFunc(c.scopes, func(s ajar.ID) bool { return lies(at, s) || lies(s, at) })
}

func (c *matrixCaller) out(at ajar.ID) bool { return c.denied != "" && lies(at, c.denied) }

func gives(role ajar.RoleDefinition, action ajar.Action) bool {
	like := func(p ajar.Action) bool {
		pattern, text := strings.ToLower(string(p)), strings.ToLower(string(action))
		i := strings.Index(pattern, "/*/") // which may be no segment, below a type
		return matches(pattern, text) || i > 0 && strings.Contains(pattern[:i], "/") && matches(pattern[:i]+pattern[i+2:], text)
	}
	for _, p := range role.Permissions {
		if slices.ContainsFunc(p.Actions, like) && !slices.ContainsFunc(p.NotActions, like) {
			return true
		}
	}
	return false
}

// matches compares with a pattern in which * is any text, by trying every length for it.
func matches(pattern, text string) bool {
	switch {
	case pattern == "":
		return text == ""
	case pattern[0] != '*':
		return text != "" && text[0] == pattern[0] && matches(pattern[1:], text[1:])
	}
	for i := range len(text) + 1 {
		if matches(pattern[1:], text[i:]) {
			return true
		}
	}
	return false
}

// lies reports whether a thing is a scope or lies in it.
func lies(thing, scope ajar.ID) bool {
	t, s := strings.ToLower(string(thing)), strings.ToLower(string(scope))
	for mg, sub := range groupsCover {
		if s == strings.ToLower(string(mg)) && lies(thing, sub) {
			return true
		}
	}
	return s == "/" || t == s || strings.HasPrefix(t, s+"/")
}

// matrix is the plane that all of them call.
type matrix struct {
	*rig
	callers []*matrixCaller
	routes  map[string]rest.Route
	things  matrixThings
}

func newMatrix(t *testing.T) *matrix {
	m := &matrix{rig: newRig(t), routes: map[string]rest.Route{}}
	for _, r := range m.surface.Table {
		m.routes[r.Method+" "+r.Pattern] = r
	}
	m.plant()
	built := map[string]ajar.RoleDefinition{}
	for _, role := range rbac.BuiltIn() {
		built[role.Name] = role
		for _, at := range matrixScopes {
			m.hire(&matrixCaller{name: role.Name + " " + at.name, role: role, scopes: at.scopes}, role.Name)
		}
	}
	// What no role alone tells apart: the right to write policies with and without that to write machines, and an Owner to
	// whom one resource group is denied.
	for _, two := range [][2]string{{"Security Admin", "Reader"}, {"Security Admin", "Virtual Machine Contributor"}} {
		both := ajar.RoleDefinition{Permissions: slices.Concat(built[two[0]].Permissions, built[two[1]].Permissions)}
		m.hire(&matrixCaller{name: two[0] + " and " + two[1], role: both, scopes: []ajar.ID{ajar.Root}}, two[0], two[1])
	}
	out := m.hire(&matrixCaller{name: "Owner who is denied the resource group", role: built["Owner"], scopes: []ajar.ID{ajar.Root}, denied: lab}, "Owner")
	m.Put(&ajar.DenyAssignment{ID: uuid.NewString(), Name: "out", Scope: lab, Principals: []ajar.PrincipalID{out.who.Principal}, Permissions: []ajar.Permission{{Actions: []ajar.Action{"*"}}}, Created: m.Now()})
	m.callers = append(m.callers, &matrixCaller{name: "no role at all", who: m.User("no role at all")})
	for _, c := range m.callers {
		c.token = m.tokenFor(c.who)
	}
	return m
}

// hire makes a caller somebody who holds roles at its scopes.
func (m *matrix) hire(c *matrixCaller, roles ...string) *matrixCaller {
	c.who = m.User(c.name)
	for _, s := range c.scopes {
		for _, role := range roles {
			m.Assign(c.who, assigned(role, s))
		}
	}
	m.callers = append(m.callers, c)
	return c
}

// TestEveryRouteHasARow: a new route is not done before somebody has said who may call it.
func TestEveryRouteHasARow(t *testing.T) {
	r := newRig(t)
	rows := map[string]bool{}
	for _, w := range matrixRows() {
		rows[w.route] = true
	}
	for _, rt := range r.surface.Table {
		name := rt.Method + " " + rt.Pattern
		if !rows[name] {
			t.Errorf("%s has no row in the matrix", name)
		}
		delete(rows, name)
		if rt.Doc == "" || !strings.HasSuffix(rt.Doc, ".") {
			t.Errorf("%s is not described by a sentence: %q", name, rt.Doc)
		}
	}
	for name := range rows {
		t.Errorf("the matrix has a row for %s, which is no route", name)
	}
}

// TestWhoMayCallWhat is the matrix. What changes nothing is called by everybody at once; what changes something is
// refused to everybody at once, and then done by one after the other.
func TestWhoMayCallWhat(t *testing.T) {
	m := newMatrix(t)
	var quiet, loud []row
	for _, w := range matrixRows() {
		if _, ok := m.routes[w.route]; !ok {
			continue // TestEveryRouteHasARow tells
		}
		if w.fresh == nil {
			quiet = append(quiet, w)
		} else {
			loud = append(loud, w)
		}
	}
	var calls []func()
	for i, w := range quiet {
		calls = append(calls, m.strangers(w)...)
		if w.who == open2all {
			continue
		}
		for _, c := range m.some(i) {
			calls = append(calls, func() { m.call(w, c, nil) })
		}
	}
	atOnce(calls)
	n := len(calls)
	for i, w := range loud {
		calls = m.strangers(w)
		shared := w.fresh(m, m.callers[0])
		for _, c := range m.some(i) {
			if m.allows(w, c) {
				continue
			}
			given := shared
			if w.own {
				given = w.fresh(m, c)
			}
			calls = append(calls, func() { m.call(w, c, given) })
		}
		atOnce(calls)
		n += len(calls)
		for _, c := range m.some(i) {
			if m.allows(w, c) {
				m.call(w, c, w.fresh(m, c))
				n++
			}
		}
		m.settle(allPlaces[0])
	}
	t.Logf("%d routes, %d rows, %d callers, %d calls", len(m.routes), len(quiet)+len(loud), len(m.callers), n)
}

// some are the callers of the i-th row: all of them, or one of so many, others for each row.
func (m *matrix) some(i int) (some []*matrixCaller) {
	for j := i % thin; j < len(m.callers); j += thin {
		some = append(some, m.callers[j])
	}
	return some
}

// atOnce runs calls on a few goroutines.
func atOnce(calls []func()) {
	var wg sync.WaitGroup
	next := make(chan func())
	for range 8 {
		wg.Go(func() {
			for f := range next {
				f()
			}
		})
	}
	for _, f := range calls {
		next <- f
	}
	close(next)
	wg.Wait()
}

// strangers are the calls without a token, and with one that is none.
func (m *matrix) strangers(w row) (calls []func()) {
	for name, auth := range map[string]string{
		"no token": "", "a bad token": "Bearer nonsense", "an empty token": "Bearer ", "another scheme": "Basic YTpi", "two tokens": "Bearer a b",
	} {
		calls = append(calls, func() {
			want := http.StatusUnauthorized
			if w.who == open2all {
				want = m.well(w)
			}
			if got := m.ask(w, auth, nil); got.Code != want {
				m.t.Errorf("%s with %s: %d, not %d: %.200s", w.route, name, got.Code, want, got.Body)
			}
		})
	}
	if w.who == open2all { // one after the other: who signs in ten times at once is slowed down
		all := calls
		calls = []func(){func() {
			for _, f := range all {
				f()
			}
		}}
	}
	return calls
}

// allows is whether c may call w.
func (m *matrix) allows(w row, c *matrixCaller) bool {
	action := cmp.Or(w.action, m.routes[w.route].Action)
	switch w.who {
	case nobody:
		return false
	case knowers:
		return c.knows(w.at)
	case anybody, open2all:
		return true
	}
	if action == "" {
		m.t.Fatalf("%s says no action, and its row nothing else", w.route)
	}
	return c.may(action, w.at) && !slices.ContainsFunc(w.also, func(n need) bool { return !c.may(n.action, n.at) })
}

// well is the status of an answer to who may.
func (m *matrix) well(w row) int {
	if w.ok != 0 {
		return w.ok
	}
	return m.routes[w.route].Do.Status
}

func (m *matrix) call(w row, c *matrixCaller, given map[string]string) {
	want := http.StatusForbidden
	if m.allows(w, c) {
		want = m.well(w)
	}
	token := c.token
	if given["token"] != "" {
		token = given["token"]
	}
	got := m.ask(w, "Bearer "+token, given)
	if got.Code != want {
		m.t.Errorf("%s by %s: %d, not %d: %.300s", w.route, c.name, got.Code, want, got.Body)
		return
	}
	if got.Code >= 300 || len(w.list) == 0 {
		return
	}
	body := strings.ToLower(m.whole(got, token))
	for _, e := range w.list {
		if is := strings.Contains(body, strings.ToLower(e.text)); is != e.sees(c) {
			m.t.Errorf("%s by %s: %q is there: %v", w.route, c.name, e.text, is)
		}
	}
}

// whole is a list with all of its pages.
func (m *matrix) whole(got *httptest.ResponseRecorder, token string) string {
	text := got.Body.String()
	for page := got.Body.Bytes(); ; {
		var l struct{ NextLink, Value any }
		if err := json.Unmarshal(page, &l); err != nil {
			m.t.Error(err)
		}
		next, _ := l.NextLink.(string)
		if next == "" {
			return text
		}
		got = m.send("GET", strings.TrimPrefix(next, m.surface.PublicURL), "Bearer "+token, "")
		if got.Code != http.StatusOK {
			m.t.Errorf("%s: %d", next, got.Code)
			return text
		}
		page = got.Body.Bytes()
		text += string(page)
	}
}

func (m *matrix) ask(w row, auth string, given map[string]string) *httptest.ResponseRecorder {
	method, pattern, _ := strings.Cut(w.route, " ")
	v := maps.Clone(values)
	maps.Copy(v, w.with)
	maps.Copy(v, given)
	v["unique"] = uuid.NewString()[:8] + " of the matrix"
	path, query, body := pattern, w.query, w.body
	for k, x := range v {
		path = strings.ReplaceAll(path, "{"+k+"}", x)
		query = strings.ReplaceAll(query, "{"+k+"}", x)
		body = strings.ReplaceAll(body, "{"+k+"}", x)
	}
	if strings.Contains(path, "{") {
		m.t.Errorf("%s: there is no value for a part of %s", w.route, path)
	}
	if m.routes[w.route].Kind == rest.Azure || m.routes[w.route].Kind == rest.Beside {
		query = "api-version=2020-01-01&" + query
	}
	return m.send(method, path+"?"+query, auth, body)
}

// send makes a call without a network between.
func (m *matrix) send(method, target, auth, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(m.t.Context(), method, target, strings.NewReader(body))
	r.RemoteAddr = "198.51.100.1:4711"
	if auth != "" {
		r.Header.Set("Authorization", auth)
	}
	got := httptest.NewRecorder()
	m.surface.ServeHTTP(got, r)
	return got
}
