package openapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed" // the template
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/ajar-access/ajar/arm/rest"
)

// The page at /docs is the document of /openapi.json for people: one file, without scripts and without anything from
// elsewhere.

//go:embed templates/docs.html
var docsHTML string

//go:embed templates/docs.css
var docsCSS string

var docsPage = template.Must(template.New("docs").Parse(docsHTML))

func (s *describer) docs(_ context.Context, c *rest.Call, _ rest.Nothing) (rest.Raw, error) {
	d, err := s.description()
	if err != nil {
		return rest.Raw{}, err
	}
	c.Header["Content-Security-Policy"] = []string{d.csp}
	c.Header["Referrer-Policy"] = []string{"no-referrer"}
	c.Header["X-Frame-Options"] = []string{"DENY"}
	c.Header["Content-Length"] = []string{strconv.Itoa(len(d.page))}
	return rest.Raw{Kind: "text/html; charset=utf-8", Write: func(w io.Writer) error {
		_, err := w.Write(d.page)
		return err
	}}, nil
}

// What the template shows.
type (
	pageView struct {
		Title, Base string
		About       []string
		Style       template.CSS
		Groups      []groupView
		N           int
	}
	groupView struct {
		Name, About, Anchor string
		Operations          []operationView
	}
	operationView struct {
		ID, Method, Class, Path, Summary, Action, Curl string
		Parts                                          []pathPart
		Parameters                                     []fieldView
		Body, Answer                                   []fieldView
		BodyKind, Status, AnswerKind                   string
		Open                                           bool
	}
	pathPart  struct{ Text, Name string }
	fieldView struct {
		Name, In, Kind, About string
		Indent                string
		Required              bool
	}
)

// page renders the document, and the policy that the page is to be shown under.
func page(d *document) (page []byte, csp string, err error) {
	v := pageView{Title: d.Info.Title, Base: strings.TrimSuffix(d.Servers[0].URL, "/"), About: strings.Split(d.Info.Description, "\n\n"), Style: template.CSS(docsCSS), N: len(d.order)} //nolint:gosec // our own file
	for _, t := range d.Tags {
		g := groupView{Name: t.Name, About: t.Description, Anchor: strings.ToLower(strings.NewReplacer(" ", "-", "'", "").Replace(t.Name))}
		for _, o := range d.order {
			if o.Tags[0] == t.Name {
				g.Operations = append(g.Operations, d.view(o, v.Base))
			}
		}
		if len(g.Operations) > 0 {
			v.Groups = append(v.Groups, g)
		}
	}
	var b bytes.Buffer
	if err := docsPage.Execute(&b, v); err != nil {
		return nil, "", err
	}
	sum := sha256.Sum256([]byte(docsCSS))
	csp = "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	return b.Bytes(), csp, nil
}

func (d *document) view(o *operator, base string) operationView {
	v := operationView{ID: o.ID, Method: o.method, Class: strings.ToLower(o.method), Path: o.path, Summary: o.Summary, Action: o.action, Open: o.Security != nil}
	for _, seg := range strings.Split(strings.TrimPrefix(o.path, "/"), "/") {
		p := pathPart{Text: seg}
		if strings.HasPrefix(seg, "{") {
			p = pathPart{Name: strings.Trim(seg, "{}")}
		}
		v.Parts = append(v.Parts, p)
	}
	for _, p := range o.Parameters {
		v.Parameters = append(v.Parameters, fieldView{Name: p.Name, In: p.In, Kind: d.kind(p.Schema), About: p.Description, Required: p.Required})
	}
	if o.Body != nil {
		for kind, c := range o.Body.Content {
			v.BodyKind, v.Body = kind, d.fields(c.Schema, "", nil)
		}
	}
	for _, status := range []string{"200", "201", "202", "204", "409"} {
		if r := o.Responses[status]; r != nil {
			v.Status = status
			for kind, c := range r.Content {
				v.AnswerKind, v.Answer = kind, d.fields(c.Schema, "", nil)
			}
			break
		}
	}
	v.Curl = d.curl(o, base)
	return v
}

// resolve follows a reference.
func (d *document) resolve(s *schema) (*schema, string) {
	name, ok := strings.CutPrefix(s.Ref, "#/components/schemas/")
	if !ok {
		return s, ""
	}
	return d.Components.Schemas[name], name
}

// kind is a schema in a word or two.
func (d *document) kind(s *schema) string {
	t, name := d.resolve(s)
	switch {
	case name != "":
		return name
	case len(t.AnyOf) > 0:
		return d.kind(t.AnyOf[0])
	case len(t.Enum) > 0:
		return strings.Join(t.Enum, " | ")
	case t.Type == "array":
		return "list of " + d.kind(t.Items)
	case t.Type == "object" && t.Others != nil:
		return "map of " + d.kind(t.Others)
	case t.Format == "date-time":
		return "time"
	case t.Encoding != "":
		return t.Encoding
	}
	switch k := t.Type.(type) {
	case string:
		return k
	case []string:
		if k[0] == "array" {
			return "list of " + d.kind(t.Items)
		}
		return k[0]
	}
	return "anything"
}

// deepest is how far members of members are shown.
const deepest = 5

// fields are the members of an object, and of those within it.
func (d *document) fields(s *schema, indent string, above []string) (all []fieldView) {
	t, name := d.resolve(s)
	for len(t.AnyOf) > 0 || t.Type == "array" {
		if t.Type == "array" {
			s = t.Items
		} else {
			s = t.AnyOf[0]
		}
		t, name = d.resolve(s)
	}
	if k, ok := t.Type.([]string); ok && k[0] == "array" && t.Items != nil && len(k) == 2 {
		return d.fields(t.Items, indent, above)
	}
	if len(above) >= deepest || name != "" && slices.Contains(above, name) {
		return nil
	}
	for _, member := range t.order {
		m := t.Properties[member]
		all = append(all, fieldView{Name: member, Kind: d.kind(m), About: m.Description, Indent: indent, Required: slices.Contains(t.Required, member)})
		all = append(all, d.fields(m, indent+"· ", append(slices.Clone(above), name))...)
	}
	return all
}

// curl is a call to copy.
func (d *document) curl(o *operator, base string) string {
	var b strings.Builder
	b.WriteString("curl")
	if o.method != "GET" {
		b.WriteString(" -X " + o.method)
	}
	if o.Security == nil {
		b.WriteString(` -H "Authorization: Bearer $TOKEN"`)
	}
	var query []string
	for _, p := range o.Parameters {
		if p.In == "query" && p.Required {
			value := "…"
			switch {
			case len(p.Schema.Enum) > 0:
				value = p.Schema.Enum[0]
			case p.Name == "api-version":
				value = "2022-09-01"
			}
			query = append(query, p.Name+"="+value)
		}
	}
	if o.Body != nil {
		for kind, c := range o.Body.Content {
			if kind != "application/json" {
				for _, name := range c.Schema.Required {
					fmt.Fprintf(&b, " \\\n  -d %s=…", name)
				}
				continue
			}
			body, err := json.MarshalIndent(d.sample(c.Schema, "", nil), "  ", "  ")
			if err == nil && string(body) != "{}" {
				fmt.Fprintf(&b, " \\\n  --json '%s'", body)
			}
		}
	}
	b.WriteString(" \\\n  \"" + base + o.path)
	if len(query) > 0 {
		b.WriteString("?" + strings.Join(query, "&"))
	}
	return b.String() + `"`
}

// samples are values for members that an example looks odd with text in.
var samples = map[string]any{
	"id": "/subscriptions/…/virtualMachines/vm1", "number": 22, "port": 22, "protocol": "TCP", "allowedSourceAddressPrefix": "198.51.100.7", "maxRequestAccessDuration": "PT3H",
	"duration": "PT1H", "justification": "why", "scope": "/subscriptions/…", "location": "westeurope", "target": "/subscriptions/…/virtualMachines/vm1", "actions": []string{"*/read"},
	"assignableScopes": []string{"/subscriptions/…"}, "subscriptions": []string{"…"}, "kind": "User", "pricingTier": "Standard", "tags": map[string]string{"env": "lab"}, "reason": "why",
}

// shownInSamples are members that an example has though they are not needed.
var shownInSamples = []string{"maxRequestAccessDuration", "allowedSourceAddressPrefix", "protocol", "duration", "justification", "virtualMachines", "ports", "properties", "name", "reason",
	"principal", "role", "scope", "permissions", "actions", "assignableScopes", "subscriptions", "kind", "location", "tags", "pricingTier", "roleName", "roleDefinitionId", "principalId", "principals", "port"}

// sample is a body with what is needed, and what is commonly given.
func (d *document) sample(s *schema, member string, above []string) any {
	t, name := d.resolve(s)
	if v, ok := samples[member]; ok && (t.Type != "object" || t.Others != nil) {
		return v
	}
	if len(t.AnyOf) > 0 {
		return d.sample(t.AnyOf[0], member, above)
	}
	kind, _ := t.Type.(string)
	if all, ok := t.Type.([]string); ok {
		kind = all[0]
	}
	switch {
	case kind == "array" && t.Items != nil:
		return []any{d.sample(t.Items, member, above)}
	case kind == "integer":
		return 1
	case kind == "boolean":
		return true
	case kind != "object":
		return "…"
	case slices.Contains(above, name):
		return map[string]any{}
	}
	o := ordered{}
	for _, m := range t.order {
		policy := name == "PolicyInput" && m != "properties" // the path says the rest
		if slices.Contains(t.Required, m) || slices.Contains(shownInSamples, m) && !policy {
			o = append(o, named{m, d.sample(t.Properties[m], m, append(slices.Clone(above), name))})
		}
	}
	return o
}

// ordered is a JSON object whose members keep their order.
type ordered []named

type named struct {
	name  string
	value any
}

// MarshalJSON writes them so.
func (o ordered) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, m := range o {
		if i > 0 {
			b = append(b, ',')
		}
		name, err := json.Marshal(m.name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(m.value)
		if err != nil {
			return nil, err
		}
		b = append(append(append(b, name...), ':'), value...)
	}
	return append(b, '}'), nil
}
