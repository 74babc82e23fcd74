package arm

import (
	"strings"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/broker"
)

// filter is a $filter in Azure's dialect of OData, as lists of resources and of resource groups take it:
//
//	resourceType eq 'Microsoft.Compute/virtualMachines' and (location eq 'westeurope' or startswith(name, 'web'))
//
// eq and ne compare without regard to case, a location also without regard to spaces. tagName and tagValue that are asked
// for together are those of one tag.
type filter struct {
	do          string // and, or, not, eq, ne, substringof, startswith, endswith; "" = whatever there is
	field, text string
	of          []*filter
}

// thing is what filters look at.
type thing struct {
	name, group, kind, location string
	tags                        map[string]string
}

// The bounds of a filter.
const (
	maxFilter      = 2000
	maxFilterDepth = 20
)

// filterFields are the properties that can be asked about, in lower case. What follows the first five is nothing that
// resources here have.
var filterFields = []string{"resourcetype", "name", "resourcegroup", "location", "tagname", "tagvalue",
	"kind", "managedby", "identity", "identity/principalid", "plan", "plan/publisher", "plan/product", "plan/name", "plan/version", "plan/promotioncode", "sku", "sku/name"}

// filter reads the call's $filter.
func (c *call) filter() (*filter, error) { return parseFilter(c.param("$filter")) }

func badFilter(why string) error {
	return coded(ajar.Invalid, "InvalidFilterInQueryString", "Invalid $filter in the query string: %s.", why)
}

func parseFilter(text string) (*filter, error) {
	if len(text) > maxFilter {
		return nil, badFilter("it is longer than 2000 bytes")
	}
	words, err := filterWords(text)
	if err != nil || len(words) == 0 {
		return &filter{}, err
	}
	p := &filterParser{words: words}
	f, err := p.any(0)
	if err == nil && len(p.words) > 0 {
		err = badFilter("'" + short(p.words[0]) + "' is not expected there")
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

func short(s string) string {
	if r := []rune(s); len(r) > 60 {
		return string(r[:60]) + "…"
	}
	return s
}

// filterWords takes text apart. A text in quotes keeps the first one, so that it is told from a word.
func filterWords(text string) (words []string, err error) {
	for text = strings.TrimSpace(text); text != ""; text = strings.TrimSpace(text) {
		n := strings.IndexAny(text, " \t\r\n(),'")
		switch {
		case n < 0:
			n = len(text)
		case n == 0 && text[0] == '\'':
			word, rest, err := quoted(text)
			if err != nil {
				return nil, err
			}
			words, text = append(words, word), rest
			continue
		case n == 0:
			n = 1
		}
		words, text = append(words, text[:n]), text[n:]
	}
	return words, nil
}

func quoted(text string) (word, rest string, err error) {
	var b strings.Builder
	b.WriteByte('\'')
	for i := 1; i < len(text); i++ {
		switch {
		case text[i] != '\'':
			b.WriteByte(text[i])
		case i+1 < len(text) && text[i+1] == '\'':
			b.WriteByte('\'')
			i++
		default:
			return b.String(), text[i+1:], nil
		}
	}
	return "", "", badFilter("a text in quotes has no end")
}

type filterParser struct{ words []string }

func (p *filterParser) peek() string {
	if len(p.words) == 0 {
		return ""
	}
	return strings.ToLower(p.words[0])
}

func (p *filterParser) next() string {
	w := p.words[0]
	p.words = p.words[1:]
	return w
}

// want takes one of words, or says what is missing.
func (p *filterParser) want(words ...string) (string, error) {
	got := p.peek()
	for _, w := range words {
		if got == w {
			p.next()
			return w, nil
		}
	}
	if got == "" {
		return "", badFilter("it ends where " + strings.Join(words, " or ") + " is expected")
	}
	return "", badFilter("'" + short(p.words[0]) + "' stands where " + strings.Join(words, " or ") + " is expected")
}

func (p *filterParser) any(depth int) (*filter, error) {
	return p.chain("or", depth, func() (*filter, error) { return p.chain("and", depth, func() (*filter, error) { return p.one(depth) }) })
}

func (p *filterParser) chain(word string, depth int, part func() (*filter, error)) (*filter, error) {
	if depth > maxFilterDepth {
		return nil, badFilter("it is nested too deep")
	}
	f, err := part()
	if err != nil || p.peek() != word {
		return f, err
	}
	all := &filter{do: word, of: []*filter{f}}
	for p.peek() == word {
		p.next()
		if f, err = part(); err != nil {
			return nil, err
		}
		all.of = append(all.of, f)
	}
	return all, nil
}

func (p *filterParser) one(depth int) (f *filter, err error) {
	switch p.peek() {
	case "":
		return nil, badFilter("it ends where a comparison is expected")
	case "not":
		p.next()
		if depth > maxFilterDepth {
			return nil, badFilter("it is nested too deep")
		}
		if f, err = p.one(depth + 1); err != nil {
			return nil, err
		}
		return &filter{do: "not", of: []*filter{f}}, nil
	case "(":
		p.next()
		if f, err = p.any(depth + 1); err != nil {
			return nil, err
		}
		_, err = p.want(")")
		return f, err
	case "substringof", "startswith", "endswith", "contains":
		return p.function()
	}
	f = &filter{}
	if f.field, err = p.field(); err != nil {
		return nil, err
	}
	if f.do, err = p.want("eq", "ne"); err != nil {
		return nil, err
	}
	f.text, err = p.text()
	return f, err
}

// function reads substringof('x', name) and startswith(name, 'x'); the order of the two is not minded.
func (p *filterParser) function() (f *filter, err error) {
	f = &filter{do: strings.ToLower(p.next())}
	if f.do == "contains" {
		f.do = "substringof"
	}
	if _, err = p.want("("); err != nil {
		return nil, err
	}
	for i := range 2 {
		if strings.HasPrefix(p.peek(), "'") {
			f.text, err = p.text()
		} else {
			f.field, err = p.field()
		}
		if err != nil {
			return nil, err
		}
		if i == 0 {
			_, err = p.want(",")
		} else {
			_, err = p.want(")")
		}
		if err != nil {
			return nil, err
		}
	}
	if f.field == "" {
		return nil, badFilter(f.do + " compares a property with a text")
	}
	return f, nil
}

func (p *filterParser) field() (string, error) {
	word := p.peek()
	for _, f := range filterFields {
		if f == word {
			p.next()
			return f, nil
		}
	}
	if word == "" {
		return "", badFilter("it ends where a property is expected")
	}
	return "", badFilter("'" + short(p.words[0]) + "' is no property to filter by; resourceType, name, resourceGroup, location, tagName and tagValue are")
}

func (p *filterParser) text() (string, error) {
	if !strings.HasPrefix(p.peek(), "'") {
		return "", badFilter("a text in single quotes is expected")
	}
	return p.next()[1:], nil
}

// keeps reports whether t is among what f selects.
func (f *filter) keeps(t thing) bool {
	if f.do == "" {
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
	case "and":
		for _, part := range f.of {
			if !part.is(t, tag, value) {
				return false
			}
		}
		return true
	case "or":
		for _, part := range f.of {
			if part.is(t, tag, value) {
				return true
			}
		}
		return false
	case "not":
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
	case f.do == "eq" && f.field == field:
		return f.text
	case f.do == "and":
		for _, part := range f.of {
			if text := part.must(field); text != "" {
				return text
			}
		}
	}
	return ""
}
