package rest

import (
	"slices"
	"strings"

	"github.com/ajar-access/ajar/broker"
	"github.com/ajar-access/ajar/odata"
)

// Filter is a $filter as lists of resources and of resource groups take it; nil selects whatever there is:
//
//	resourceType eq 'Microsoft.Compute/virtualMachines' and (location eq 'westeurope' or startswith(name, 'web'))
//
// eq and ne compare without regard to case, a location also without regard to spaces. tagName and tagValue that are asked
// for together are those of one tag.
type Filter struct {
	do          string // odata's And, Or and Not; eq, ne, substringof, startswith, endswith
	field, text string
	of          []*Filter
}

// Thing is what filters look at.
type Thing struct {
	Name, Group, Kind, Location string
	Tags                        map[string]string
}

// MaxFilter is how long a filter may be.
const MaxFilter = 2000

// filterFields are the properties that can be asked about, in lower case. What follows the first six is nothing that
// resources here have.
var filterFields = []string{"resourcetype", "name", "resourcegroup", "location", "tagname", "tagvalue",
	"kind", "managedby", "identity", "identity/principalid", "plan", "plan/publisher", "plan/product", "plan/name", "plan/version", "plan/promotioncode", "sku", "sku/name"}

// Filter reads the call's $filter.
func (c *Call) Filter() (*Filter, error) { return parseFilter(c.Param("$filter")) }

func parseFilter(text string) (*Filter, error) {
	e, err := odata.Parse(text, MaxFilter)
	if err != nil || e == nil {
		return nil, err
	}
	return newFilter(e)
}

func newFilter(e *odata.Expr) (f *Filter, err error) {
	f = &Filter{do: e.Op}
	switch e.Op {
	case odata.And, odata.Or, odata.Not:
		for _, part := range e.Of {
			p, err := newFilter(part)
			if err != nil {
				return nil, err
			}
			f.of = append(f.of, p)
		}
		return f, nil
	case odata.Call:
		return f, f.function(e)
	case "eq", "ne":
	default:
		return nil, odata.Bad("'" + odata.Short(e.Op) + "' stands where eq or ne is expected")
	}
	if !e.Value.Quoted {
		return nil, odata.Bad("a text in single quotes is expected after " + e.Op)
	}
	f.text = e.Value.Text
	return f, f.about(e.Name)
}

// function enters substringof('x', name) or startswith(name, 'x'); the order of the two is not minded.
func (f *Filter) function(e *odata.Expr) error {
	switch f.do = strings.ToLower(e.Name); f.do {
	case "contains":
		f.do = "substringof"
	case "substringof", "startswith", "endswith":
	default:
		return odata.Bad("'" + odata.Short(e.Name) + "' is no function to filter by; substringof, startswith and endswith are")
	}
	if len(e.Args) != 2 || e.Args[0].Quoted == e.Args[1].Quoted {
		return odata.Bad(f.do + " takes a property, a comma (,) and a text in single quotes")
	}
	name, text := e.Args[0], e.Args[1]
	if name.Quoted {
		name, text = text, name
	}
	f.text = text.Text
	return f.about(name.Text)
}

// about enters the property.
func (f *Filter) about(name string) error {
	if f.field = strings.ToLower(name); !slices.Contains(filterFields, f.field) {
		return odata.Bad("'" + odata.Short(name) + "' is no property to filter by; resourceType, name, resourceGroup, location, tagName and tagValue are")
	}
	return nil
}

// Keeps reports whether t is among what f selects.
func (f *Filter) Keeps(t Thing) bool {
	if f == nil {
		return true
	}
	if f.is(&t, "", "") {
		return true
	}
	for k, v := range t.Tags {
		if f.is(&t, k, v) {
			return true
		}
	}
	return false
}

// is reports whether f holds for t and one of its tags.
func (f *Filter) is(t *Thing, tag, value string) bool {
	switch f.do {
	case odata.And:
		for _, part := range f.of {
			if !part.is(t, tag, value) {
				return false
			}
		}
		return true
	case odata.Or:
		for _, part := range f.of {
			if part.is(t, tag, value) {
				return true
			}
		}
		return false
	case odata.Not:
		return !f.of[0].is(t, tag, value)
	}
	has, want := strings.ToLower(f.property(t, tag, value)), strings.ToLower(f.text)
	if f.field == "location" {
		has, want = broker.PlainLocation(has), broker.PlainLocation(want)
	}
	switch f.do {
	case "eq":
		return has == want && (has != "" || f.field == "tagvalue" && tag != "")
	case "ne":
		return has != want
	case "startswith":
		return has != "" && strings.HasPrefix(has, want)
	case "endswith":
		return has != "" && strings.HasSuffix(has, want)
	}
	return has != "" && strings.Contains(has, want)
}

// property is what t has of the property that f asks about.
func (f *Filter) property(t *Thing, tag, value string) string {
	switch f.field {
	case "resourcetype":
		return t.Kind
	case "name":
		return t.Name
	case "resourcegroup":
		return t.Group
	case "location":
		return t.Location
	case "tagname":
		return tag
	case "tagvalue":
		return value
	}
	return ""
}

// Must is the text that a property must have for f to select anything, "" if f does not say: so that lists look where
// it is.
func (f *Filter) Must(field string) string {
	switch {
	case f == nil:
	case f.do == "eq" && f.field == field:
		return f.text
	case f.do == odata.And:
		for _, part := range f.of {
			if text := part.Must(field); text != "" {
				return text
			}
		}
	}
	return ""
}
