package rbac

import (
	"strings"
	"unicode/utf8"
)

// conditionParser reads a condition, word by word.
type conditionParser struct {
	text  string
	words []word
	n     int // the word that is next
	terms int
	uses  []string
}

// word is one word of a condition: a sign such as ( or &&, a name, a number, an attribute, or a text in quotes.
type word struct {
	kind     byte // s a sign, w a name or number, a an attribute, q a text
	text     string
	from, to int
}

const signs = "(){},!"

// scan takes the text apart.
func (p *conditionParser) scan() error {
	if !utf8.ValidString(p.text) {
		return badCondition("it is not valid UTF-8")
	}
	for i := 0; i < len(p.text); {
		c, rest := p.text[i], p.text[i:]
		w := word{from: i}
		switch {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			i++
			continue
		case strings.HasPrefix(rest, "&&"), strings.HasPrefix(rest, "||"):
			w.kind, w.text, i = 's', rest[:2], i+2
		case strings.IndexByte(signs, c) >= 0:
			w.kind, w.text, i = 's', rest[:1], i+1
		case c == '\'':
			text, n, ok := unquote(rest)
			if !ok {
				return badCondition("a text in single quotes has no end: %s", short(rest))
			}
			w.kind, w.text, i = 'q', text, i+n
		case c == '@':
			n := strings.IndexByte(rest, ']') + 1
			if n == 0 {
				return badCondition("%s is no attribute such as %s", short(rest), attributes[0].name)
			}
			w.kind, w.text, i = 'a', rest[:n], i+n
		default:
			n := strings.IndexAny(rest, signs+" \t\r\n'@&|")
			if n < 0 {
				n = len(rest)
			}
			if n == 0 {
				return badCondition("%s is not expected there", short(rest))
			}
			w.kind, w.text, i = 'w', rest[:n], i+n
		}
		w.to = i
		p.words = append(p.words, w)
	}
	return nil
}

// unquote reads a text in single quotes, in which \' is a quote. Every other backslash stands for itself.
func unquote(s string) (text string, n int, ok bool) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\'':
			return b.String(), i + 1, true
		case s[i] == '\\' && i+1 < len(s) && s[i+1] == '\'':
			i++
		}
		b.WriteByte(s[i])
	}
	return "", 0, false
}

func short(s string) string {
	if r := []rune(s); len(r) > 60 {
		return string(r[:60]) + "…"
	}
	return s
}

func (p *conditionParser) peek() word {
	if p.n == len(p.words) {
		return word{from: len(p.text), to: len(p.text)}
	}
	return p.words[p.n]
}

// shown is the next word, for messages.
func (p *conditionParser) shown() string {
	if w := p.peek(); w.kind != 0 {
		return "'" + short(p.text[w.from:w.to]) + "'"
	}
	return "its end"
}

// take takes the next word if it is a sign, or a name whatever its case, of that text.
func (p *conditionParser) take(texts ...string) bool {
	w := p.peek()
	for _, t := range texts {
		if w.kind == 's' && w.text == t || w.kind == 'w' && strings.EqualFold(w.text, t) {
			p.n++
			return true
		}
	}
	return false
}

func (p *conditionParser) want(sign string) error {
	if !p.take(sign) {
		return badCondition("%s stands where %s is expected", p.shown(), sign)
	}
	return nil
}

// expression is terms joined by AND or by OR.
func (p *conditionParser) expression(depth int) (*term, error) {
	if depth > maxNesting {
		return nil, badCondition("it is nested deeper than %d", maxNesting)
	}
	from := p.peek().from
	first, err := p.one(depth)
	if err != nil {
		return nil, err
	}
	all := &term{of: []*term{first}}
	for {
		do := ""
		switch {
		case p.take("AND", "&&"):
			do = "and"
		case p.take("OR", "||"):
			do = "or"
		case all.do == "":
			return first, nil
		default:
			all.from, all.to = from, p.words[p.n-1].to
			return all, nil
		}
		if all.do != "" && all.do != do {
			return nil, badCondition("it mixes AND and OR before %s; put parentheses around what goes first", p.shown())
		}
		all.do = do
		next, err := p.one(depth)
		if err != nil {
			return nil, err
		}
		all.of = append(all.of, next)
	}
}

// one is a term: in parentheses, negated, or asking something.
func (p *conditionParser) one(depth int) (t *term, err error) {
	if p.terms++; p.terms > maxTerms {
		return nil, badCondition("it has more than %d parts", maxTerms)
	}
	w := p.peek()
	switch {
	case p.take("("):
		if t, err = p.expression(depth + 1); err != nil {
			return nil, err
		}
		return t, p.want(")")
	case p.take("!", "NOT"):
		if depth >= maxNesting {
			return nil, badCondition("it is nested deeper than %d", maxNesting)
		}
		if t, err = p.one(depth + 1); err != nil {
			return nil, err
		}
		t = &term{do: "not", of: []*term{t}}
	case p.take("ActionMatches"):
		t, err = p.action()
	case p.take("Exists"):
		t = &term{do: "exists"}
		err = p.attribute(t)
	case w.kind == 'a':
		t, err = p.comparison()
	default:
		return nil, badCondition("%s stands where ActionMatches, Exists or an attribute such as %s is expected", p.shown(), attributes[0].name)
	}
	if err != nil {
		return nil, err
	}
	t.from, t.to = w.from, p.words[p.n-1].to
	return t, nil
}

func (p *conditionParser) action() (*term, error) {
	list, err := p.values()
	if err != nil {
		return nil, err
	}
	t := &term{do: "action"}
	for _, w := range list {
		if w.kind != 'q' || w.text == "" || len(w.text) > 256 {
			return nil, badCondition("ActionMatches takes actions in single quotes, such as 'Microsoft.Authorization/roleAssignments/write'")
		}
		t.actions = append(t.actions, readings(strings.ToLower(w.text))...)
	}
	return t, nil
}

// attribute reads one into t.
func (p *conditionParser) attribute(t *term) error {
	w := p.peek()
	if w.kind != 'a' {
		return badCondition("%s stands where an attribute such as %s is expected", p.shown(), attributes[0].name)
	}
	p.n++
	source, name, ok := strings.Cut(strings.TrimSuffix(w.text, "]"), "[")
	if ok {
		t.attr, t.tag = named(source, name)
	}
	if t.attr == nil {
		return badCondition("there is no attribute %s; there are %s", short(w.text), strings.Join(AttributeNames(), ", "))
	}
	p.uses = append(p.uses, t.attr.name)
	return nil
}

// comparison reads an attribute, an operator and what to compare with.
func (p *conditionParser) comparison() (*term, error) {
	t := &term{do: "compare"}
	if err := p.attribute(t); err != nil {
		return nil, err
	}
	w := p.peek()
	across, name, crossed := strings.Cut(w.text, ":")
	if !crossed {
		across, name = "", w.text
	}
	// An attribute holds one value, so that any of them and all of them are the same.
	switch strings.ToLower(across) {
	case "", "foranyofanyvalues", "forallofanyvalues":
	case "foranyofallvalues", "forallofallvalues":
		t.every = true
	default:
		name = ""
	}
	if t.op = operatorNamed(name); w.kind != 'w' || t.op == nil || t.op.kind != t.attr.kind {
		return nil, badCondition("%s is no operator for %s, which holds a %s; there are %s, with ForAnyOfAnyValues:, ForAllOfAnyValues:, ForAnyOfAllValues: or ForAllOfAllValues: before them for several values",
			p.shown(), t.attr.name, t.attr.kind, strings.Join(operatorsFor(t.attr.kind), ", "))
	}
	p.n++
	list := []word{p.peek()}
	if k := list[0].kind; k == 'w' || k == 'q' {
		p.n++
	} else {
		var err error
		if list, err = p.values(); err != nil {
			return nil, err
		}
	}
	if len(list) > 1 && !crossed {
		return nil, badCondition("%s takes one value; for several write ForAnyOfAnyValues:%s", t.op.name, t.op.name)
	}
	for _, w := range list {
		v, ok := t.attr.kind.read(w.text)
		if !ok || (t.attr.kind == texts) != (w.kind == 'q') && (t.attr.kind == texts || t.attr.kind == numbers || t.attr.kind == bools) {
			return nil, badCondition("%s is compared with a %s, which '%s' is not", t.attr.name, t.attr.kind, short(p.text[w.from:w.to]))
		}
		t.values = append(t.values, v)
	}
	return t, nil
}

// values reads a list such as {'a', 'b'} or {1, 2}.
func (p *conditionParser) values() (list []word, err error) {
	if err := p.want("{"); err != nil {
		return nil, err
	}
	for {
		w := p.peek()
		if w.kind != 'q' && w.kind != 'w' {
			return nil, badCondition("%s stands where a value is expected", p.shown())
		}
		p.n++
		if list = append(list, w); p.take("}") {
			return list, nil
		}
		if err := p.want(","); err != nil {
			return nil, err
		}
	}
}
