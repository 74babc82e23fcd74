package rbac

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ajar-access/ajar"
)

// The bounds of a condition. Azure's is 8 KB, too.
const (
	maxCondition = 8192
	maxNesting   = 32
	maxTerms     = 256
)

// Condition is what must hold for a role assignment to count, in Azure's language, version 2.0:
//
//	(!(ActionMatches{'Microsoft.Security/locations/jitNetworkAccessPolicies/initiate/action'}))
//	OR
//	(@Request[Ajar.Access/requests:Port] NumericEquals 22 AND @Request[Ajar.Access/requests:SourcePrefix] IpMatch '10.0.0.0/8')
//
// AND, OR and NOT (&&, ||, !) join ActionMatches, Exists and comparisons of an attribute with values; whoever mixes AND
// and OR says with parentheses what goes first. It holds if it is true: what asks about something that is not known, such
// as the port of a request where none is asked for, is neither true nor false.
type Condition struct {
	text string
	root *term
	err  error // why a stored condition could not be read; such a one never holds
	uses []string
}

// term is a part of a condition.
type term struct {
	do      string // and, or, not, action, exists, compare
	of      []*term
	actions []string // lower-case patterns
	attr    *attribute
	tag     string
	op      *operator
	every   bool // of the values, not any
	values  []value
	from    int // where it stands in the text
	to      int
}

// ParseCondition reads a condition, or says what in it is not taken and what is.
func ParseCondition(text string) (*Condition, error) {
	if len(text) > maxCondition {
		return nil, badCondition("it is %d bytes long; at most %d are taken", len(text), maxCondition)
	}
	p := &conditionParser{text: text}
	if err := p.scan(); err != nil {
		return nil, err
	}
	root, err := p.expression(0)
	if err == nil && p.n < len(p.words) {
		err = badCondition("%s is not expected there", p.shown())
	}
	if err != nil {
		return nil, err
	}
	return &Condition{text: text, root: root, uses: p.uses}, nil
}

func badCondition(format string, a ...any) error {
	// Azure's code for this is not known.
	return &ajar.Error{Kind: ajar.Invalid, Code: "InvalidCondition", Msg: "The condition is not taken: " + fmt.Sprintf(format, a...) + "."}
}

// stored is a condition that was kept: one that cannot be read any longer never holds.
func stored(text string) *Condition {
	c, err := ParseCondition(text)
	if err != nil {
		return &Condition{text: text, err: err}
	}
	return c
}

// asks reports whether c asks about the attribute that is written so.
func (c *Condition) asks(name string) bool {
	return slices.Contains(c.uses, name)
}

// Holds reports whether c is true of an action at a scope.
func (c *Condition) Holds(action ajar.Action, scope ajar.ID, f *Facts) bool {
	return c.holds(&question{strings.ToLower(string(action)), scope, known(f)})
}

var nothingKnown Facts

func known(f *Facts) *Facts {
	if f == nil {
		return &nothingKnown
	}
	return f
}

func (c *Condition) holds(q *question) bool { return c.err == nil && c.root.eval(q) == yes }

func (t *term) eval(q *question) verdict {
	switch t.do {
	case "and":
		v := yes
		for _, part := range t.of {
			v = min(v, part.eval(q))
		}
		return v
	case "or":
		v := no
		for _, part := range t.of {
			v = max(v, part.eval(q))
		}
		return v
	case "not":
		return t.of[0].eval(q).not()
	case "action":
		return is(matchAny(t.actions, q.action))
	}
	has, ok := t.attr.of(q, t.tag)
	if t.do == "exists" {
		return is(ok)
	}
	if !ok {
		return unknown
	}
	v := is(t.every)
	for _, want := range t.values {
		if t.every {
			v = min(v, t.op.do(has, want))
		} else {
			v = max(v, t.op.do(has, want))
		}
	}
	return v
}

// unmet says which part of c does not hold.
func (c *Condition) unmet(q *question) string {
	if c.err != nil {
		return "it cannot be read: " + ajar.Message(c.err)
	}
	t := c.root
	for {
		switch t.do {
		case "and":
			t = t.of[slices.IndexFunc(t.of, func(part *term) bool { return part.eval(q) != yes })]
			continue
		case "or":
			// What only asks for the action is no help: the action is what it is.
			if rest := slices.DeleteFunc(slices.Clone(t.of), (*term).onlyAction); len(rest) == 1 {
				t = rest[0]
				continue
			}
		}
		return c.shown(t, q)
	}
}

func (t *term) onlyAction() bool {
	return t.do == "action" || (t.attr == nil && !slices.ContainsFunc(t.of, func(part *term) bool { return !part.onlyAction() }))
}

func (c *Condition) shown(t *term, q *question) string {
	text := strings.Join(strings.Fields(c.text[t.from:t.to]), " ")
	if r := []rune(text); len(r) > 200 {
		text = string(r[:200]) + "…"
	}
	if t.eval(q) == unknown {
		return text + " cannot be told here"
	}
	return text + " is not so"
}
