package openapi

import (
	"encoding"
	"encoding/json"
	"net/netip"
	"reflect"
	"strings"
	"time"
	"unicode"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/arm/rest"
)

// schema is a JSON Schema as OpenAPI 3.1 has it, as far as wire types need it.
type schema struct {
	Ref         string             `json:"$ref,omitempty"`
	Type        any                `json:"type,omitempty"` // one name or several
	Format      string             `json:"format,omitempty"`
	Encoding    string             `json:"contentEncoding,omitempty"`
	Description string             `json:"description,omitempty"`
	Enum        []string           `json:"enum,omitempty"`
	Pattern     string             `json:"pattern,omitempty"`
	Minimum     *int               `json:"minimum,omitempty"`
	Maximum     *int               `json:"maximum,omitempty"`
	Items       *schema            `json:"items,omitempty"`
	MaxItems    int                `json:"maxItems,omitempty"`
	Properties  map[string]*schema `json:"properties,omitempty"`
	Required    []string           `json:"required,omitempty"`
	Others      *schema            `json:"additionalProperties,omitempty"`
	AnyOf       []*schema          `json:"anyOf,omitempty"`

	order []string // of Properties, as the type has them
}

// schemas makes the schemas of wire types. Each struct becomes a component once for the way out and, if its members are
// not all needed on the way in, once for that.
type schemas struct {
	components map[string]*schema
	names      map[string]reflect.Type // by component, so that two types never share one
	faults     []string                // what could not be described; then there is no document
}

func text(description string) *schema { return &schema{Type: "string", Description: description} }

func orNull(kinds ...string) []string { return append(kinds, "null") }

// wireForms are types whose wire form is their MarshalJSON's or UnmarshalJSON's, not their fields'.
var wireForms = map[reflect.Type]func() *schema{
	reflect.TypeFor[time.Time]():       func() *schema { return &schema{Type: "string", Format: "date-time"} },
	reflect.TypeFor[rest.Stamp]():      func() *schema { return &schema{Type: "string", Format: "date-time"} },
	reflect.TypeFor[netip.Addr]():      func() *schema { return text("An address, IPv4 or IPv6.") },
	reflect.TypeFor[netip.AddrPort]():  func() *schema { return text("An address with a port.") },
	reflect.TypeFor[netip.Prefix]():    func() *schema { return text("A prefix in CIDR notation.") },
	reflect.TypeFor[[]byte]():          func() *schema { return &schema{Type: "string", Encoding: "base64"} },
	reflect.TypeFor[json.RawMessage](): func() *schema { return &schema{} },
	reflect.TypeFor[rest.NullText]():   func() *schema { return &schema{Type: orNull("string")} },
	reflect.TypeFor[ajar.ID]():         func() *schema { return text("An ARM resource id, or a prefix of one.") },
	reflect.TypeFor[rest.Time](): func() *schema {
		return &schema{Type: orNull("string"), Description: "A time in RFC 3339; without a zone it is UTC."}
	},
	reflect.TypeFor[rest.Duration](): func() *schema {
		return &schema{Type: orNull("string"), Description: "A duration in ISO 8601, such as PT1H30M."}
	},
	reflect.TypeFor[rest.Int](): func() *schema {
		return &schema{Type: orNull("integer", "string"), Description: "A whole number; in quotes it is taken, too."}
	},
	reflect.TypeFor[rest.Text](): func() *schema {
		return &schema{Type: orNull("string", "array"), Items: text(""), MaxItems: 1, Description: "A text; a list of one is taken, too."}
	},
	reflect.TypeFor[ajar.Action](): func() *schema {
		return text("An operation in Azure's spelling; in role definitions * stands for any text.")
	},
}

func texts[T ~string](all ...T) (out []string) {
	for _, a := range all {
		out = append(out, string(a))
	}
	return out
}

// enums are types that have constants for all that they can be on the way out.
var enums = map[reflect.Type][]string{
	reflect.TypeFor[ajar.PrincipalKind](): texts(ajar.User, ajar.Group, ajar.ServicePrincipal),
	reflect.TypeFor[ajar.Protocol]():      texts(ajar.TCP, ajar.UDP, ajar.Both),
	reflect.TypeFor[ajar.EndMode]():       texts(ajar.Cut, ajar.Drain, ajar.Warn),
	reflect.TypeFor[ajar.Unguard]():       texts(ajar.Lift, ajar.Keep),
	reflect.TypeFor[ajar.Switch]():        texts(ajar.On, ajar.Off),
	reflect.TypeFor[ajar.RequestState]():  texts(ajar.RequestStates...),
	reflect.TypeFor[ajar.LeaseState]():    texts(ajar.Opening, ajar.Open, ajar.Closing, ajar.Closed),
	reflect.TypeFor[ajar.Outcome]():       texts(ajar.Accepted, ajar.Refused, ajar.Happened),
}

// of gives the schema of a type: of what comes out, or of what is taken in, of which nothing is required but what needed
// says.
func (s *schemas) of(t reflect.Type, in bool) *schema {
	if known, ok := wireForms[t]; ok {
		return known()
	}
	if all, ok := enums[t]; ok {
		return &schema{Type: "string", Enum: all}
	}
	switch {
	case t.Kind() == reflect.Pointer:
		return s.of(t.Elem(), in)
	case reflect.PointerTo(t).Implements(reflect.TypeFor[json.Marshaler]()) || reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()):
		s.faults = append(s.faults, "the wire form of "+t.String()+" is not in wireForms")
		return &schema{}
	case t.Implements(reflect.TypeFor[encoding.TextMarshaler]()):
		return text("")
	}
	zero, port := 0, 65535
	switch t.Kind() {
	case reflect.String:
		return text("")
	case reflect.Bool:
		return &schema{Type: "boolean"}
	case reflect.Uint16:
		return &schema{Type: "integer", Minimum: &zero, Maximum: &port}
	case reflect.Int, reflect.Int32, reflect.Uint32:
		return &schema{Type: "integer"}
	case reflect.Int64, reflect.Uint64:
		return &schema{Type: "integer", Format: "int64"}
	case reflect.Slice:
		return &schema{Type: "array", Items: s.of(t.Elem(), in)}
	case reflect.Map:
		return &schema{Type: "object", Others: s.of(t.Elem(), in)}
	case reflect.Struct:
		if t.Name() == "" {
			return s.object(t, in)
		}
		return s.component(t, in)
	}
	return &schema{} // anything
}

func (s *schemas) component(t reflect.Type, in bool) *schema {
	name := componentName(t.Name())
	if in && !strings.HasSuffix(name, "Input") {
		name += "Input"
	}
	switch known := s.names[name]; known {
	case nil:
		s.names[name] = t
		s.components[name] = nil // members may refer to it
		s.components[name] = s.object(t, in)
	case t:
	default:
		s.faults = append(s.faults, t.String()+" and "+known.String()+" would both be component "+name)
	}
	return &schema{Ref: "#/components/schemas/" + name}
}

// object describes a struct by its JSON members.
func (s *schemas) object(t reflect.Type, in bool) *schema {
	o := &schema{Type: "object", Properties: map[string]*schema{}, Required: needed(t)}
	s.members(o, t, in)
	return o
}

// needed lists the members that must be there on the way in, as their tags say: openapi:"needed".
func needed(t reflect.Type) (names []string) {
	if t.Kind() != reflect.Struct {
		return nil
	}
	for i := range t.NumField() {
		if f := t.Field(i); f.Tag.Get("openapi") == "needed" {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			names = append(names, name)
		}
	}
	return names
}

func (s *schemas) members(o *schema, t reflect.Type, in bool) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-":
			continue
		case f.Anonymous && name == "":
			e := f.Type
			if e.Kind() == reflect.Pointer {
				e = e.Elem()
			}
			s.members(o, e, in)
			continue
		case !f.IsExported():
			continue
		case name == "":
			name = f.Name
		}
		m := s.of(f.Type, in)
		optional := strings.Contains(options, "omitempty") || strings.Contains(options, "omitzero")
		if null := f.Type.Kind() == reflect.Pointer || in && (f.Type.Kind() == reflect.Slice || f.Type.Kind() == reflect.Map); null && (in || !optional) {
			m = nullable(m)
		}
		if about := memberDocs[name]; about != "" && m.Ref == "" {
			m.Description = about
		}
		o.Properties[name] = m
		o.order = append(o.order, name)
		if !in && !optional {
			o.Required = append(o.Required, name)
		}
	}
}

// nullable is m, or null.
func nullable(m *schema) *schema {
	if one, ok := m.Type.(string); ok && m.Enum == nil {
		m.Type = orNull(one)
		return m
	}
	if _, several := m.Type.([]string); several || m.Ref == "" && m.Type == nil {
		return m
	}
	return &schema{AnyOf: []*schema{m, {Type: "null"}}}
}

// componentName is a wire type's name for readers, by its own: policyBody is Policy, List[leaseBody] is LeaseList. The
// arguments of generic types stand in their names with their packages.
func componentName(name string) string {
	outer, arg, generic := strings.Cut(name, "[")
	if generic {
		arg = strings.TrimSuffix(arg, "]")
		head, rest, deeper := strings.Cut(arg, "[")
		head = head[strings.LastIndexAny(head, "./*")+1:]
		if deeper {
			head += "[" + rest
		}
		inner := strings.TrimSuffix(componentName(head), "Properties")
		return inner + map[string]string{"List": "List", "networkResource": "Resource"}[outer]
	}
	if base, ok := strings.CutSuffix(name, "In"); ok {
		name = base + "Input"
	}
	r := []rune(strings.TrimSuffix(name, "Body"))
	r[0] = unicode.ToUpper(r[0])
	return string(r)
}

// memberDocs say what members with a name of their own mean, wherever they stand.
var memberDocs = map[string]string{
	"maxRequestAccessDuration":     "The longest time that may be asked for, ISO 8601.",
	"allowedSourceAddressPrefix":   "One source, an address or a prefix; * is every source.",
	"allowedSourceAddressPrefixes": "Several sources; instead of the one.",
	"endMode":                      "What becomes of sessions at the end: cut, drain or warn.",
	"drainDuration":                "How long sessions may go on after the end where endMode is drain.",
	"widestIPv4Prefix":             "The widest IPv4 source that may be asked for, as a prefix length.",
	"widestIPv6Prefix":             "The widest IPv6 source that may be asked for, as a prefix length.",
	"approvals":                    "How many people must agree to a request.",
	"unguard":                      "What becomes of the guard of ports that are named no longer: lift or keep.",
	"breakGlass":                   "off keeps the machines' own administrators from opening ports without the plane.",
	"endTimeUtc":                   "The end, which nothing outlives.",
	"nextLink":                     "The next page, to be followed as it is; absent at the end.",
	"provisioningState":            "Succeeded, or Updating in the answer to a write.",
	"changePassword":               "The credential is used up: set a password before the token ends.",
	"mayBeOpenUntil":               "The firewall may hold the rule that long although it should be gone.",
	"doNotApplyToChildScopes":      "Whether it counts at the scope alone.",
	"thumbprint":                   "SHA-1, as Azure's tools name a certificate.",
	"replace":                      "Whether a host that has joined already is replaced.",
}
