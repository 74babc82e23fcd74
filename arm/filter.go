package arm

import (
	"slices"
	"strings"

	"github.com/ajar-access/ajar/broker"
	"github.com/ajar-access/ajar/odata"
)

// filter is a $filter as lists of resources and of resource groups take it; nil selects whatever there is:
//
//	resourceType eq 'Microsoft.Compute/virtualMachines' and (location eq 'westeurope' or startswith(name, 'web'))
//
// eq and ne compare without regard to case, a location also without regard to spaces. tagName and tagValue that are asked
// for together are those of one tag.
type filter struct {
	do          string // odata's And, Or and Not; eq, ne, substringof, startswith, endswith
	field, text string
	of          []*filter
}

// thing is what filters look at.
type thing struct {
	name, group, kind, location string
	tags                        map[string]string
}

// maxFilter is how long a filter may be.
const maxFilter = 2000

// filterFields are the properties that can be asked about, in lower case. What follows the first six is nothing that
// resources here have.
var filterFields = []string{"resourcetype", "name", "resourcegroup", "location", "tagname", "tagvalue",
	"kind", "managedby", "identity", "identity/principalid", "plan", "plan/publisher", "plan/product", "plan/name", "plan/version", "plan/promotioncode", "sku", "sku/name"}

// filter reads the call's $filter.
func (c *call) filter() (*filter, error) { return parseFilter(c.param("$filter")) }

func parseFilter(text string) (*filter, error) {
	e, err := odata.Parse(text, maxFilter)
	if err != nil || e == nil {
		return nil, err
	}
	return newFilter(e)
}

func newFilter(e *odata.Expr) (f *filter, err error) {
	f = &filter{do: e.Op}
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
func (f *filter) function(e *odata.Expr) error {
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
func (f *filter) about(name string) error {
	if f.field = strings.ToLower(name); !slices.Contains(filterFields, f.field) {
		return odata.Bad("'" + odata.Short(name) + "' is no property to filter by; resourceType, name, resourceGroup, location, tagName and tagValue are")
	}
	return nil
}

// keeps reports whether t is among what f selects.
func (f *filter) keeps(t thing) bool {
	if f == nil {
		return true
	}
	if f.is(&t, "", "") {
		return true
	}
	for k, v := range t.tags {
		if f.is(&t, k, v) {
			return true
		}
	}
	return false
}

// is reports whether f holds for t and one of its tags.
func (f *filter) is(t *thing, tag, value string) bool {
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
func (f *filter) property(t *thing, tag, value string) string {
	switch f.field {
	case "resourcetype":
		return t.kind
	case "name":
		return t.name
	case "resourcegroup":
		return t.group
	case "location":
		return t.location
	case "tagname":
		return tag
	case "tagvalue":
		return value
	}
	return ""
}

// must is the text that a property must have for f to select anything, "" if f does not say: so that lists look where
// it is.
func (f *filter) must(field string) string {
	switch {
	case f == nil:
	case f.do == "eq" && f.field == field:
		return f.text
	case f.do == odata.And:
		for _, part := range f.of {
			if text := part.must(field); text != "" {
				return text
			}
		}
	}
	return ""
}
