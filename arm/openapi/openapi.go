package openapi

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/ajar-access/ajar/arm/rest"
)

// Routes are the description, and the page of it.
func Routes(s *rest.Server) []rest.Route {
	d := &describer{Server: s}
	return []rest.Route{
		rest.Get("/openapi.json", rest.Open, rest.Op(200, d.openapi), "Describes this surface in OpenAPI 3.1.", ""),
		rest.Get("/docs", rest.Open, rest.Op(200, d.docs), "Shows the description of this surface as a page.", ""),
	}
}

// describer describes the server that it has.
type describer struct {
	*rest.Server
	told described
}

// document is an OpenAPI document.
type document struct {
	OpenAPI    string                          `json:"openapi"`
	Info       docInfo                         `json:"info"`
	Servers    []docServer                     `json:"servers"`
	Security   []map[string][]string           `json:"security"`
	Tags       []docTag                        `json:"tags"`
	Paths      map[string]map[string]*operator `json:"paths"`
	Components docComponents                   `json:"components"`

	order []*operator // as the page shows them: by tag, Azure's before ours, by path
	made  *schemas
}

type docInfo struct {
	Title       string            `json:"title"`
	Summary     string            `json:"summary"`
	Description string            `json:"description"`
	Version     string            `json:"version"`
	License     map[string]string `json:"license"`
}

type docServer struct {
	URL string `json:"url"`
}

type docTag struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
}

type docComponents struct {
	Schemas   map[string]*schema        `json:"schemas"`
	Responses map[string]*docResponse   `json:"responses"`
	Security  map[string]map[string]any `json:"securitySchemes"`
}

// operator is one operation of the document.
type operator struct {
	ID          string                  `json:"operationId"`
	Tags        []string                `json:"tags"`
	Summary     string                  `json:"summary"`
	Description string                  `json:"description,omitempty"`
	Parameters  []docParameter          `json:"parameters,omitempty"`
	Body        *docBody                `json:"requestBody,omitempty"`
	Responses   map[string]*docResponse `json:"responses"`
	Security    *[]map[string][]string  `json:"security,omitempty"`

	method, path string
	action       string
}

type docParameter struct {
	Name        string  `json:"name"`
	In          string  `json:"in"`
	Required    bool    `json:"required,omitempty"`
	Description string  `json:"description,omitempty"`
	Schema      *schema `json:"schema"`
	Whole       bool    `json:"x-ms-skip-url-encoding,omitempty"` // it may have slashes
}

type docBody struct {
	Description string                `json:"description,omitempty"`
	Required    bool                  `json:"required,omitempty"`
	Content     map[string]docContent `json:"content"`
}

type docContent struct {
	Schema *schema `json:"schema"`
}

type docResponse struct {
	Ref         string                `json:"$ref,omitempty"`
	Description string                `json:"description,omitempty"`
	Headers     map[string]docHeader  `json:"headers,omitempty"`
	Content     map[string]docContent `json:"content,omitempty"`
}

type docHeader struct {
	Description string  `json:"description"`
	Schema      *schema `json:"schema"`
}

// described is the document and the page, made when somebody first asks.
type described struct {
	once sync.Once
	doc  *document
	json []byte
	page []byte
	csp  string
	err  error
}

func (s *describer) description() (*described, error) {
	d := &s.told
	d.once.Do(func() {
		if d.doc = s.describe(); len(d.doc.made.faults) > 0 {
			d.err = fmt.Errorf("a wire type cannot be described: %s", strings.Join(d.doc.made.faults, "; "))
			return
		}
		if d.json, d.err = json.Marshal(d.doc); d.err == nil {
			d.page, d.csp, d.err = page(d.doc)
		}
	})
	return d, d.err
}

func (s *describer) openapi(_ context.Context, c *rest.Call, _ rest.Nothing) (rest.Raw, error) {
	d, err := s.description()
	if err != nil {
		return rest.Raw{}, err
	}
	c.Header["Access-Control-Allow-Origin"] = []string{"*"} // it is the same for everybody
	c.Header["Content-Length"] = []string{strconv.Itoa(len(d.json))}
	return rest.Raw{Kind: "application/json; charset=utf-8", Write: func(w io.Writer) error {
		_, err := w.Write(d.json)
		return err
	}}, nil
}

// describe makes the document.
func (s *describer) describe() *document {
	base := strings.TrimSuffix(s.PublicURL, "/")
	made := &schemas{components: map[string]*schema{}, names: map[string]reflect.Type{}}
	d := &document{
		OpenAPI: "3.1.0", made: made,
		Info:     docInfo{Title: "Ajar", Summary: "Just-in-time network access.", Description: introduction, Version: "1", License: map[string]string{"name": "Apache 2.0", "identifier": "Apache-2.0"}},
		Servers:  []docServer{{URL: base + "/"}},
		Security: []map[string][]string{{"bearer": {}}, {"oauth2": {}}},
		Paths:    map[string]map[string]*operator{},
		Components: docComponents{Schemas: made.components, Security: s.securitySchemes(base), Responses: map[string]*docResponse{
			"Error": {Description: "What went wrong, in Azure's CloudError.", Content: jsonContent(made.of(reflect.TypeFor[rest.CloudError](), false)), Headers: map[string]docHeader{
				"x-ms-error-code": {Description: "The error's code.", Schema: text("")},
			}},
			"SignInError": {Description: "What went wrong, as OAuth 2.0 has it.", Content: jsonContent(&schema{Ref: "#/components/schemas/SignInError"})},
		}},
	}
	made.components["SignInError"] = signInError
	for _, r := range s.Table {
		d.add(operatorOf(made, r))
	}
	for _, e := range signInEndpoints {
		d.add(e.operator())
	}
	for _, t := range docTags {
		d.Tags = append(d.Tags, docTag{t.name, t.about})
	}
	rank := func(o *operator) int {
		return slices.IndexFunc(docTags, func(t docGroup) bool { return t.name == o.Tags[0] })
	}
	slices.SortStableFunc(d.order, func(a, b *operator) int {
		if r := rank(a) - rank(b); r != 0 {
			return r
		}
		if ours := func(o *operator) bool { return strings.HasPrefix(o.path, "/ajar/") }; ours(a) != ours(b) {
			if ours(a) {
				return 1
			}
			return -1
		}
		return strings.Compare(a.path, b.path)
	})
	return d
}

func (d *document) add(o *operator) {
	if d.Paths[o.path] == nil {
		d.Paths[o.path] = map[string]*operator{}
	}
	d.Paths[o.path][strings.ToLower(o.method)] = o
	d.order = append(d.order, o)
}

func jsonContent(s *schema) map[string]docContent {
	return map[string]docContent{"application/json": {s}}
}

// operator describes one route.
func operatorOf(made *schemas, r rest.Route) *operator {
	o := &operator{method: r.Method, path: PathShown(r.Pattern), Summary: strings.TrimSuffix(r.Doc, "."), action: string(r.Action)}
	o.ID, o.Tags = operationID(r), []string{tagOf(r.Pattern)}
	if r.Action != "" {
		o.Description = "Needs `" + o.action + "`, at what the path or the body names."
	}
	o.Parameters = parameters(r)
	if r.Do.In != reflect.TypeFor[rest.Nothing]() {
		o.Body = &docBody{Required: len(needed(r.Do.In)) > 0, Content: jsonContent(made.of(r.Do.In, true))}
	}
	o.Responses = map[string]*docResponse{"default": {Ref: "#/components/responses/Error"}}
	if r.Kind == rest.Open {
		o.Security = &[]map[string][]string{}
	} else {
		o.Responses["401"] = &docResponse{Ref: "#/components/responses/Error"}
		o.Responses["403"] = &docResponse{Ref: "#/components/responses/Error"}
	}
	status := strconv.Itoa(r.Do.Status)
	if r.Do.Status >= 400 {
		o.Responses[status] = &docResponse{Ref: "#/components/responses/Error"}
		return o
	}
	well := &docResponse{Description: http.StatusText(r.Do.Status)}
	switch out := r.Do.Out; {
	case rawTypes[r.Pattern] != "":
		well.Content = map[string]docContent{rawTypes[r.Pattern]: {&schema{Type: "string"}}}
	case r.Pattern == "/openapi.json":
		well.Content = jsonContent(&schema{Type: "object"})
	case r.OneOf != nil:
		one := &schema{}
		for _, t := range r.OneOf {
			one.AnyOf = append(one.AnyOf, made.of(t, false))
		}
		well.Content = jsonContent(one)
	case out != reflect.TypeFor[rest.Nothing]():
		well.Content = jsonContent(made.of(out, false))
	}
	o.Responses[status] = well
	for other, about := range otherAnswers[r.Method+" "+r.Pattern] {
		answer := &docResponse{Description: about}
		if other != "204" {
			answer.Content = well.Content
		}
		o.Responses[other] = answer
	}
	return o
}

// parameters are those of the path, the query and the header.
func parameters(r rest.Route) (all []docParameter) {
	for _, seg := range strings.Split(r.Pattern, "/") {
		name, ok := strings.CutPrefix(seg, "{")
		if !ok {
			continue
		}
		p := pathWord(r.Pattern, strings.TrimSuffix(name, "}"))
		all = append(all, docParameter{Name: p.name, In: "path", Required: true, Description: p.about, Schema: text(""), Whole: p.whole})
	}
	switch r.Kind {
	case rest.Azure:
		all = append(all, docParameter{Name: "api-version", In: "query", Required: true, Description: "Azure's version of these operations.", Schema: &schema{Type: "string", Enum: rest.PolicyVersions}})
	case rest.Beside:
		all = append(all, docParameter{Name: "api-version", In: "query", Required: true, Description: "Any that a client was made for.", Schema: &schema{Type: "string", Pattern: rest.VersionForm.String()}})
	}
	if r.Pattern == "/metadata/endpoints" {
		all = append(all, docParameter{Name: "api-version", In: "query", Required: true, Description: "1.0, or a date: the dialect of the answer.", Schema: text("")})
	}
	names := r.Query
	if strings.HasPrefix(r.Do.Out.Name(), "List[") && r.Method == http.MethodGet && slices.Contains(names, "$top") {
		names = append(slices.Clone(names), rest.SkipToken)
	}
	for _, name := range names {
		w := queryWords[name]
		if w.schema == nil {
			w.schema = text("")
		}
		all = append(all, docParameter{Name: name, In: "query", Description: w.about, Schema: w.schema})
	}
	if r.Kind == rest.Azure && (r.Method == http.MethodPut || r.Method == http.MethodDelete) {
		all = append(all, docParameter{Name: "If-Match", In: "header", Description: "The ETag of the policy as it must be, or * for whatever there is; another is 412.", Schema: text("")})
	}
	if r.Kind == rest.Azure && r.Method == http.MethodPut {
		all = append(all, docParameter{Name: "If-None-Match", In: "header", Description: "* = only if there is none yet.", Schema: &schema{Type: "string", Enum: []string{"*"}}})
	}
	return all
}
