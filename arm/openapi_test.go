package arm

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/arm/openapi"
	"github.com/ajar-access/ajar/arm/rest"
)

// loaded is the document as it is served, read and checked by somebody else's code.
func (r *rig) loaded() *openapi3.T {
	r.t.Helper()
	a := r.do("GET", "/openapi.json", "", "")
	if a.StatusCode != 200 || !strings.HasPrefix(a.Header.Get("Content-Type"), "application/json") {
		r.t.Fatalf("%d %s", a.StatusCode, a.Header.Get("Content-Type"))
	}
	doc, err := openapi3.NewLoader().LoadFromData([]byte(a.body))
	if err != nil {
		r.t.Fatal(err)
	}
	return doc
}

func TestTheDocumentIsOpenAPI(t *testing.T) {
	r := newRig(t)
	doc := r.loaded()
	if doc.OpenAPI != "3.1.0" {
		t.Errorf("it says to be %s", doc.OpenAPI)
	}
	if err := doc.Validate(t.Context(), openapi3.IsOpenAPI31OrLater()); err != nil {
		t.Error(err)
	}
}

// TestEveryRouteIsInTheDocument, and nothing else but the issuer's endpoints. Every part of it says something.
func TestEveryRouteIsInTheDocument(t *testing.T) {
	r := newRig(t)
	doc := r.loaded()
	there := map[string]*openapi3.Operation{}
	ids := map[string]string{}
	for path, item := range doc.Paths.Map() {
		for method, o := range item.Operations() {
			name := method + " " + path
			there[name] = o
			if other, ok := ids[o.OperationID]; ok {
				t.Errorf("%s and %s are both %s", name, other, o.OperationID)
			}
			ids[o.OperationID] = name
			for _, p := range o.Parameters {
				if p.Value.Description == "" && (p.Value.Schema.Value.Enum == nil || p.Value.In == "query") {
					t.Errorf("%s: nothing is said of parameter %s", name, p.Value.Name)
				}
			}
		}
	}
	maps.DeleteFunc(there, func(name string, _ *openapi3.Operation) bool { return strings.Contains(name, " /{tenant}/") }) // the issuer's
	for _, rt := range r.surface.Table {
		name := rt.Method + " " + openapi.PathShown(rt.Pattern)
		o := there[name]
		if o == nil {
			t.Errorf("%s is not there", name)
			continue
		}
		delete(there, name)
		if o.Security != nil != (rt.Kind == rest.Open) {
			t.Errorf("%s: security is %v", name, o.Security)
		}
	}
	for name := range there {
		t.Errorf("%s is no route", name)
	}
	for _, id := range []string{"List", "ListByRegion", "ListByResourceGroup", "ListByResourceGroupAndRegion", "Get", "CreateOrUpdate", "Delete", "Initiate"} {
		if ids["JitNetworkAccessPolicies_"+id] == "" {
			t.Errorf("Azure's JitNetworkAccessPolicies_%s is not there", id)
		}
	}
}

// answerSchema is what an operation answers with a status.
func answerSchema(o *openapi3.Operation, status string) *openapi3.Schema {
	r := o.Responses.Value(status)
	if r == nil {
		r = o.Responses.Value("default")
	}
	c := r.Value.Content["application/json"]
	if c == nil {
		return nil
	}
	return c.Schema.Value
}

func fits(s *openapi3.Schema, body []byte) error {
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		return err
	}
	return s.VisitJSON(v, openapi3.EnableJSONSchema2020(), openapi3.MultiErrors())
}

// TestAnswersFitTheDocument makes the calls of the matrix as an Owner of everything: what comes back is as described.
func TestAnswersFitTheDocument(t *testing.T) {
	m := &matrix{rig: newRig(t), routes: map[string]rest.Route{}}
	for _, r := range m.surface.Table {
		m.routes[r.Method+" "+r.Pattern] = r
	}
	m.plant()
	doc := m.loaded()
	m.surface.LogKey = []byte("a public key")
	owner := &matrixCaller{name: "owner", who: m.User("owner", assigned("Owner", ajar.Root))}
	owner.token = m.tokenFor(owner.who)
	seen := map[string]bool{}
	for _, w := range matrixRows() {
		rt, ok := m.routes[w.route]
		if !ok || w.who == nobody {
			continue
		}
		var given map[string]string
		if w.fresh != nil {
			given = w.fresh(m, owner)
		}
		token := owner.token
		if given["token"] != "" {
			token = given["token"]
		}
		got := m.ask(w, "Bearer "+token, given)
		o := doc.Paths.Value(openapi.PathShown(rt.Pattern)).GetOperation(rt.Method)
		if s := answerSchema(o, strconv.Itoa(got.Code)); s != nil && got.Body.Len() > 0 && strings.HasPrefix(got.Header().Get("Content-Type"), "application/json") {
			if err := fits(s, got.Body.Bytes()); err != nil {
				t.Errorf("%s: %d does not fit: %.600s\n%.600s", w.route, got.Code, err, got.Body)
			}
			seen[w.route] = true
		} else if got.Body.Len() > 0 && s == nil && strings.HasPrefix(got.Header().Get("Content-Type"), "application/json") {
			t.Errorf("%s: an answer %d is not described: %.200s", w.route, got.Code, got.Body)
		}
		if given := o.Responses.Value(strconv.Itoa(got.Code)); given == nil && got.Code < 400 {
			t.Errorf("%s: status %d is not described", w.route, got.Code)
		}
		if w.fresh != nil {
			m.settle(allPlaces[0])
		}
	}
	t.Logf("%d of %d routes answered JSON that fits", len(seen), len(m.routes))
}

// TestBodiesFitTheDocument: what the matrix sends is as described, too.
func TestBodiesFitTheDocument(t *testing.T) {
	r := newRig(t)
	doc := r.loaded()
	routes := map[string]rest.Route{}
	for _, rt := range r.surface.Table {
		routes[rt.Method+" "+rt.Pattern] = rt
	}
	for _, w := range matrixRows() {
		rt, ok := routes[w.route]
		if !ok || w.body == "" {
			continue
		}
		o := doc.Paths.Value(openapi.PathShown(rt.Pattern)).GetOperation(rt.Method)
		if o.RequestBody == nil {
			t.Errorf("%s: takes a body, and none is described", w.route)
			continue
		}
		body := strings.ReplaceAll(w.body, "{pem}", `"x"`)
		if err := fits(o.RequestBody.Value.Content["application/json"].Schema.Value, []byte(body)); err != nil {
			t.Errorf("%s: %s does not fit: %.600s", w.route, w.body, err)
		}
	}
}

// TestRecordedAnswersFitTheDocument: the golden files of the doors are as described.
func TestRecordedAnswersFitTheDocument(t *testing.T) {
	doc := newRig(t).loaded()
	parts := func(path string) *openapi3.PathItem { return doc.Paths.Value(path) }
	mg := "/providers/Microsoft.Management/managementGroups"
	of := map[string]string{
		"subscription.json": "/subscriptions/{subscriptionId}", "subscriptions.json": "/subscriptions", "subscriptions-requester.json": "/subscriptions", "tenants.json": "/tenants",
		"groups.json": "/subscriptions/{subscriptionId}/resourceGroups", "group.json": "/subscriptions/{subscriptionId}/resourceGroups/{resourceGroupName}",
		"locations.json": "/subscriptions/{subscriptionId}/locations", "resources.json": "/subscriptions/{subscriptionId}/resources", "providers.json": "/providers",
		"provider.json": "/providers/{resourceProviderNamespace}", "management-groups.json": mg, "management-group.json": mg + "/{groupId}", "management-group-recurse.json": mg + "/{groupId}",
		"descendants.json": mg + "/{groupId}/descendants",
	}
	for _, file := range slices.Sorted(maps.Keys(of)) {
		b, err := os.ReadFile(filepath.Join("testdata/doors", file))
		if err != nil {
			t.Fatal(err)
		}
		b = bytes.ReplaceAll(b, []byte(`"<time>"`), []byte(`"2026-11-20T12:00:00.0000000Z"`))
		if err := fits(answerSchema(parts(of[file]).Get, "200"), b); err != nil {
			t.Errorf("%s: %.600s", file, err)
		}
	}
	files, err := filepath.Glob("testdata/doors/metadata/[12]*.json")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := fits(answerSchema(parts("/metadata/endpoints").Get, "200"), b); err != nil {
			t.Errorf("%s: %.600s", file, err)
		}
	}
}

// TestThePage has every operation, needs nothing from elsewhere, and may load nothing.
func TestThePage(t *testing.T) {
	r := newRig(t)
	a := r.do("GET", "/docs", "", "")
	csp := a.Header.Get("Content-Security-Policy")
	if a.StatusCode != 200 || !strings.HasPrefix(csp, "default-src 'none'; style-src 'sha256-") || strings.Contains(csp, "unsafe") {
		t.Fatalf("%d, %q", a.StatusCode, csp)
	}
	_, rest, _ := strings.Cut(a.body, "<style>")
	style, _, _ := strings.Cut(rest, "</style>")
	if sum := sha256.Sum256([]byte(style)); !strings.Contains(csp, base64.StdEncoding.EncodeToString(sum[:])) {
		t.Error("the page's style is not the one that its policy lets in")
	}
	for _, item := range r.loaded().Paths.Map() {
		for _, o := range item.Operations() {
			if n := strings.Count(a.body, `<article id="`+o.OperationID+`">`); n != 1 {
				t.Errorf("%s is there %d times", o.OperationID, n)
			}
		}
	}
	for _, bad := range []string{"<script", "javascript:", " style=", "<img", "<link", " onclick", "ZgotmplZ"} {
		if strings.Contains(a.body, bad) {
			t.Errorf("the page has %s", bad)
		}
	}
	for _, link := range regexp.MustCompile(`href="([^"]*)"`).FindAllStringSubmatch(a.body, -1) {
		to, inside := strings.CutPrefix(link[1], "#")
		if !inside && to != "/openapi.json" {
			t.Errorf("a link to %s", to)
		}
		if inside && !strings.Contains(a.body, `id="`+to+`"`) {
			t.Errorf("a link to %s, which is not there", to)
		}
	}
}

// TestQueriesAreSaid: what the code reads of a query stands in the table, so that it is described, and kept by the log.
func TestQueriesAreSaid(t *testing.T) {
	said := map[string]bool{"api-version": true, "$skiptoken": true}
	for _, rt := range newRig(t).surface.Table {
		for _, name := range rt.Query {
			said[name] = true
		}
	}
	files, err := filepath.Glob("*/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?:c\.(?:Param|Flag|Number|ScopeParam)\(|targetID\(c, )"([^"]+)"`).FindAllSubmatch(b, -1) {
			if name := string(m[1]); !said[name] && !strings.HasSuffix(file, "_test.go") {
				t.Errorf("%s reads %s, which no route says", file, name)
			}
		}
	}
}

// TestTheGuideNamesEveryRoute holds docs/api.md to the table.
func TestTheGuideNamesEveryRoute(t *testing.T) {
	b, err := os.ReadFile("../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	guide := strings.ToLower(string(b))
	for _, rt := range newRig(t).surface.Table {
		if word := guideWord(rt.Pattern); !strings.Contains(guide, word) {
			t.Errorf("docs/api.md does not say %q, of %s %s", word, rt.Method, rt.Pattern)
		}
	}
}

// guideWord is what of a route must stand in the guide: its last fixed part, and what it stands below.
func guideWord(pattern string) string {
	segs := strings.Split(strings.Trim(pattern, "/"), "/")
	for i := len(segs) - 1; i >= 0; i-- {
		if !strings.HasPrefix(segs[i], "{") {
			return segs[i]
		}
	}
	return pattern
}
