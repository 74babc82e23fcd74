package odata

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ajar-access/ajar"
)

// shown writes an expression with all its parentheses.
func shown(e *Expr) string {
	if e == nil {
		return ""
	}
	value := func(v Value) string {
		if v.Quoted {
			return fmt.Sprintf("%q", v.Text)
		}
		return v.Text
	}
	switch e.Op {
	case And, Or:
		var parts []string
		for _, p := range e.Of {
			parts = append(parts, shown(p))
		}
		return "[" + strings.Join(parts, " "+e.Op+" ") + "]"
	case Not:
		return "not " + shown(e.Of[0])
	case Call:
		var args []string
		for _, a := range e.Args {
			args = append(args, value(a))
		}
		return e.Name + "(" + strings.Join(args, ", ") + ")"
	}
	return e.Name + " " + e.Op + " " + value(e.Value)
}

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"":                               "",
		" \t":                            "",
		"name eq 'x'":                    `name eq "x"`,
		"name EQ 'it''s'":                `name eq "it's"`,
		"name eq''":                      `name eq ""`,
		"a eq 'x' and b ne y AND c gt":   "",
		"a eq 'x' and b ne y AND c gt 1": `[a eq "x" and b ne y and c gt 1]`,
		"a eq 1 and b eq 2 or c eq 3":    "[[a eq 1 and b eq 2] or c eq 3]",
		"a eq 1 and (b eq 2 or c eq 3)":  "[a eq 1 and [b eq 2 or c eq 3]]",
		"not (a eq 1) and not b eq 2":    "[not a eq 1 and not b eq 2]",
		"startswith( name , 'x' ) and substringof('y',name)":        `[startswith(name, "x") and substringof("y", name)]`,
		"atScope() and assignedTo('x')":                             `[atScope() and assignedTo("x")]`,
		"eventTimestamp ge datetime'2026-11-19T04:53:01Z'":          `eventTimestamp ge "2026-11-19T04:53:01Z"`,
		"eventTimestamp ge 2026-11-19T04:53:01.088136 and a eq b,c": "[eventTimestamp ge 2026-11-19T04:53:01.088136 and a eq b,c]",
		"identity/principalId eq 'x'":                               `identity/principalId eq "x"`,
	} {
		e, err := Parse(text, 2000)
		if want == "" && strings.TrimSpace(text) != "" {
			if err == nil {
				t.Errorf("%s: %s", text, shown(e))
			}
			continue
		}
		if err != nil || shown(e) != want {
			t.Errorf("%s: %s, not %s: %v", text, shown(e), want, err)
		}
	}
}

func TestParseSaysWhatIsWrong(t *testing.T) {
	for text, why := range map[string]string{
		"name":                     "eq or ne",
		"name eq":                  "single quotes",
		"name eq and b eq 'x'":     "a value is missing after 'name eq'",
		"name eq 'x":               "no end",
		"'x' eq name":              "'x' stands where a property",
		"name eq 'x' name":         "'name' stands where 'and'",
		"name eq 'x' and":          "it ends where",
		"not":                      "it ends where",
		"(name eq 'x'":             ") is expected",
		"name eq 'x')":             "')' stands where 'and'",
		"startswith(name 'x')":     "comma",
		"startswith(name, 'x'":     "comma",
		"at ge now()":              "parentheses",
		"a eq 1 and b and 'x'":     "'b' is compared with nothing",
		"b OR 'x'":                 "'OR' stands where eq or ne is expected",
		"b not 'x'":                "'b' is compared with nothing",
		"name , 'x'":               "',' stands where",
		"\xff\x00 eq 1 \xff":       "\uFFFD",
		strings.Repeat("x", 2001):  "longer than 2000",
		strings.Repeat("not ", 40): "too deep",
		strings.Repeat("(", 30) + "a eq 1" + strings.Repeat(")", 30): "too deep",
	} {
		e, err := Parse(text, 2000)
		if ajar.KindOf(err) != ajar.Invalid || !strings.Contains(ajar.Message(err), why) {
			t.Errorf("%.60s: %s, %v: nothing of %q", text, shown(e), err, why)
		}
	}
}

// FuzzParse: whatever the text, it is read or refused in words, and what is read means the same when it is written with
// all its parentheses.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "name eq 'x'", "not (a eq 1)", "startswith(tagName,'x') and tagValue ne 'it''s'", "((((", "'", "datetime'", "a eq b,c or d() and e gt\x00", "h(e,'') and u and ''''"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, err := Parse(s, 2000)
		if err != nil {
			if ajar.KindOf(err) != ajar.Invalid || len(ajar.Message(err)) > 1000 {
				t.Errorf("%q: %v", s, err)
			}
			return
		}
		for _, term := range e.Terms() {
			if term.Op == "" || term.Op == And && !term.Grouped {
				t.Errorf("%q has a term %s", s, shown(term))
			}
		}
	})
}
