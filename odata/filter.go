// Package odata reads the $filter of Azure's lists: comparisons and functions, joined by and, or and not. It knows no
// property and no function by name: what a list can be asked is the list's to say.
package odata

import (
	"strconv"
	"strings"

	"github.com/ajar-access/ajar"
)

// Expr is a filter, or part of one.
type Expr struct {
	Op      string  // And, Or, Not or Call, or what a comparison compares by, in lower case: eq, ne, gt …
	Name    string  // of the property that is compared, or of the function, as it was written
	Value   Value   // what the property is compared with
	Args    []Value // of the function
	Of      []*Expr // what And, Or and Not are about
	Grouped bool    // it stood in parentheses
}

// What an Expr is, if it is no comparison.
const (
	And  = "and"
	Or   = "or"
	Not  = "not"
	Call = "()"
)

// Value is a text in single quotes, or a bare word: a number, a time, an id, the name of a property.
type Value struct {
	Text   string
	Quoted bool
}

// Terms are the parts of a filter that joins by and alone, if it joins at all.
func (e *Expr) Terms() []*Expr {
	switch {
	case e == nil:
		return nil
	case e.Op == And && !e.Grouped:
		return e.Of
	}
	return []*Expr{e}
}

// Bad refuses a filter.
func Bad(why string) error {
	return &ajar.Error{Kind: ajar.Invalid, Code: "InvalidFilterInQueryString", Msg: "Invalid $filter in the query string: " + why + "."}
}

// Short is a caller's text as an answer may repeat it.
func Short(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if r := []rune(s); len(r) > 60 {
		return string(r[:60]) + "…"
	}
	return s
}

// maxDepth is how deep parentheses and not may nest.
const maxDepth = 20

// Parse reads a filter of at most so many bytes; nil is one that has nothing in it.
func Parse(text string, most int) (*Expr, error) {
	if len(text) > most {
		return nil, Bad("it is longer than " + strconv.Itoa(most) + " bytes")
	}
	p := &parser{rest: text}
	if p.skip(); p.rest == "" {
		return nil, nil //nolint:nilnil // no filter is one that selects everything
	}
	e, err := p.any(0)
	if err == nil && p.rest != "" {
		err = Bad("'" + Short(p.word()) + "' stands where 'and' is expected")
	}
	if err != nil {
		return nil, err
	}
	return e, nil
}

const space = " \t\r\n"

// parser has what was not read yet; spaces before it are skipped.
type parser struct{ rest string }

func (p *parser) skip() { p.rest = strings.TrimLeft(p.rest, space) }

// word is what stands next: a sign, or all up to a space or a sign.
func (p *parser) word() string {
	n := strings.IndexAny(p.rest, space+"(),'")
	switch {
	case n < 0:
		return p.rest
	case n == 0:
		return p.rest[:1]
	}
	return p.rest[:n]
}

// is reports whether word stands next, in any case.
func (p *parser) is(word string) bool { return strings.EqualFold(p.word(), word) }

// take reads word if it stands next.
func (p *parser) take(word string) bool {
	if !p.is(word) {
		return false
	}
	p.rest = p.rest[len(word):]
	p.skip()
	return true
}

// name reads the name of a property or a function.
func (p *parser) name() (string, error) {
	w := p.word()
	switch {
	case w == "":
		return "", Bad("it ends where a comparison such as status eq 'Failed' is expected")
	case w == "'":
		v, err := p.value(space)
		if err == nil {
			err = Bad("'" + Short(v.Text) + "' stands where a property is expected, which has no quotes")
		}
		return "", err
	case strings.ContainsAny(w, "(),"):
		return "", Bad("'" + w + "' stands where a property is expected")
	}
	p.take(w)
	return w, nil
}

func (p *parser) any(depth int) (*Expr, error) {
	return p.chain(Or, func() (*Expr, error) { return p.chain(And, func() (*Expr, error) { return p.one(depth) }) })
}

func (p *parser) chain(word string, part func() (*Expr, error)) (*Expr, error) {
	e, err := part()
	if err != nil || !p.is(word) {
		return e, err
	}
	all := &Expr{Op: word, Of: []*Expr{e}}
	for p.take(word) {
		if e, err = part(); err != nil {
			return nil, err
		}
		all.Of = append(all.Of, e)
	}
	return all, nil
}

func (p *parser) one(depth int) (*Expr, error) {
	if depth > maxDepth {
		return nil, Bad("it is nested too deep")
	}
	if p.take(Not) {
		e, err := p.one(depth + 1)
		if err != nil {
			return nil, err
		}
		return &Expr{Op: Not, Of: []*Expr{e}}, nil
	}
	if p.take("(") {
		e, err := p.any(depth + 1)
		if err == nil && !p.take(")") {
			err = Bad("a closing parenthesis is missing: ) is expected")
		}
		if err != nil {
			return nil, err
		}
		e.Grouped = true
		return e, nil
	}
	name, err := p.name()
	if err != nil {
		return nil, err
	}
	if p.take("(") {
		return p.call(name)
	}
	return p.comparison(name)
}

func (p *parser) call(name string) (*Expr, error) {
	e := &Expr{Op: Call, Name: name}
	for !p.take(")") {
		if p.rest == "" {
			return nil, Bad("it ends where a text, a comma (,) or ) is expected")
		}
		if len(e.Args) > 0 && !p.take(",") {
			return nil, Bad("a comma (,) or ) is expected after what '" + Short(name) + "' is given")
		}
		v, err := p.value(space + "(),'")
		if err != nil {
			return nil, err
		}
		e.Args = append(e.Args, v)
	}
	return e, nil
}

func (p *parser) comparison(name string) (*Expr, error) {
	op := p.word()
	switch {
	case op == "":
		return nil, Bad("it ends where eq or ne, or ( is expected")
	case strings.ContainsAny(op, "(),'"):
		return nil, Bad("'" + op + "' stands where eq or ne is expected")
	case p.is(And), p.is(Or), p.is(Not):
		return nil, Bad("'" + Short(name) + "' is compared with nothing: '" + op + "' stands where eq or ne is expected")
	}
	p.take(op)
	if p.is(And) || p.is(Or) {
		return nil, Bad("a value is missing after '" + Short(name+" "+op) + "'")
	}
	// A bare value may be several, with commas between them.
	v, err := p.value(space + "()'")
	if err == nil && p.is("(") {
		err = Bad("functions, which have parentheses, are no values")
	}
	return &Expr{Op: strings.ToLower(op), Name: name, Value: v}, err
}

// value reads a text in quotes, also as datetime'…', or a bare one up to one of ends.
func (p *parser) value(ends string) (v Value, err error) {
	const datetime = "datetime'"
	if len(p.rest) >= len(datetime) && strings.EqualFold(p.rest[:len(datetime)], datetime) {
		p.rest = p.rest[len(datetime)-1:]
	}
	n := strings.IndexAny(p.rest, ends)
	switch {
	case p.rest == "":
		return v, Bad("it ends where a text in single quotes is expected")
	case p.rest[0] == '\'':
		return p.quoted()
	case n == 0:
		return v, Bad("'" + p.rest[:1] + "' stands where a text in single quotes is expected")
	case n < 0:
		n = len(p.rest)
	}
	v.Text, p.rest = p.rest[:n], p.rest[n:]
	p.skip()
	return v, nil
}

// quoted reads a text in quotes, in which two stand for one.
func (p *parser) quoted() (Value, error) {
	var b strings.Builder
	for i := 1; i < len(p.rest); i++ {
		switch {
		case p.rest[i] != '\'':
			b.WriteByte(p.rest[i])
		case i+1 < len(p.rest) && p.rest[i+1] == '\'':
			b.WriteByte('\'')
			i++
		default:
			p.rest = p.rest[i+1:]
			p.skip()
			return Value{b.String(), true}, nil
		}
	}
	return Value{}, Bad("a text in quotes has no end")
}
