package rbac

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/ajar-access/ajar"
)

// said is a condition as its writer means it: its text, and in which of all possible worlds it holds. What is not known
// may be anything, and a condition holds if it does whatever that is.
type said struct {
	text string
	in   func(w modelWorld) bool
}

// modelWorld is everything known, whether or not whoever decides knows it.
type modelWorld struct {
	action   string
	port     int
	protocol string
	source   netip.Prefix
}

var (
	modelPorts     = []int{22, 23, 3389}
	modelProtocols = []string{"TCP", "UDP", "*"}
	modelSources   = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("10.1.2.3/32"), netip.MustParsePrefix("2001:db8::/64")}
	genPort        = rapid.SampledFrom(modelPorts)
	genJoin        = rapid.SampledFrom([]string{"AND", "or", "&&", "||"})
	genNot         = rapid.SampledFrom([]string{"!", "NOT ", "not "})
)

func genSaid(depth int) *rapid.Generator[said] {
	return rapid.Custom(func(t *rapid.T) said {
		n := rapid.IntRange(0, 6).Draw(t, "part")
		if depth == 0 && n < 3 {
			n += 3
		}
		switch n {
		case 0, 1:
			x, y, join := genSaid(depth-1).Draw(t, "x"), genSaid(depth-1).Draw(t, "y"), genJoin.Draw(t, "join")
			both := join == "AND" || join == "&&"
			return said{"(" + x.text + ") " + join + " (" + y.text + ")", func(w modelWorld) bool {
				if both {
					return x.in(w) && y.in(w)
				}
				return x.in(w) || y.in(w)
			}}
		case 2:
			x := genSaid(depth-1).Draw(t, "x")
			return said{genNot.Draw(t, "not") + "(" + x.text + ")", func(w modelWorld) bool { return !x.in(w) }}
		case 3:
			return genAction2(t)
		case 4:
			return genPortSaid(t)
		case 5:
			p, negated := rapid.SampledFrom(modelProtocols).Draw(t, "protocol"), rapid.Bool().Draw(t, "negated")
			op := "StringEqualsIgnoreCase"
			if negated {
				op = "StringNotEqualsIgnoreCase"
			}
			return said{"@Request[Ajar.Access/requests:Protocol] " + op + " '" + strings.ToLower(p) + "'", func(w modelWorld) bool { return (w.protocol == p) != negated }}
		}
		p := rapid.SampledFrom(modelSources).Draw(t, "net")
		return said{"@Request[Ajar.Access/requests:SourcePrefix] IpMatch '" + p.String() + "'", func(w modelWorld) bool { return p.Contains(w.source.Addr()) }}
	})
}

func genAction2(t *rapid.T) said {
	p := rapid.SampledFrom([]string{"read", "initiate/action", "action"}).Draw(t, "action")
	return said{"ActionMatches{'x', '*/" + p + "'}", func(w modelWorld) bool { return strings.HasSuffix(w.action, "/"+p) }}
}

func genPortSaid(t *rapid.T) said {
	all := rapid.Bool().Draw(t, "all")
	name, of := "ForAnyOfAnyValues:", func(n int, is []bool) bool { return n > 0 }
	if all {
		name, of = "ForAllOfAllValues:", func(n int, is []bool) bool { return n == len(is) }
	}
	ops := map[string]func(a, b int) bool{
		"NumericEquals": func(a, b int) bool { return a == b }, "NumericNotEquals": func(a, b int) bool { return a != b },
		"NumericLessThan": func(a, b int) bool { return a < b }, "NumericGreaterThanEquals": func(a, b int) bool { return a >= b },
	}
	op := rapid.SampledFrom([]string{"NumericEquals", "NumericNotEquals", "NumericLessThan", "NumericGreaterThanEquals"}).Draw(t, "op")
	values := rapid.SliceOfN(genPort, 1, 3).Draw(t, "ports")
	words := make([]string, len(values))
	for i, v := range values {
		words[i] = strconv.Itoa(v)
	}
	return said{fmt.Sprintf("@Request[Ajar.Access/requests:Port] %s%s {%s}", name, op, strings.Join(words, ", ")), func(w modelWorld) bool {
		n, is := 0, make([]bool, len(values))
		for i, v := range values {
			if is[i] = ops[op](w.port, v); is[i] {
				n++
			}
		}
		return of(n, is)
	}}
}

// TestConditionsAgreeWithAllWorlds: where all is known a condition holds exactly if its writer means it to, for every
// single address of the source; where something is not, it never holds in a world that its writer rules out.
func TestConditionsAgreeWithAllWorlds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := genSaid(4).Draw(t, "condition")
		c, err := ParseCondition(s.text)
		if err != nil {
			if strings.Contains(err.Error(), "nested deeper") || strings.Contains(err.Error(), "more than") {
				return
			}
			t.Fatalf("%s: %v", s.text, err)
		}
		action := rapid.SampledFrom([]ajar.Action{ajar.PolicyInitiate, ajar.PolicyRead, ajar.PolicyWrite}).Draw(t, "action")
		for _, port := range modelPorts {
			for _, protocol := range modelProtocols {
				for _, source := range modelSources {
					w := modelWorld{strings.ToLower(string(action)), port, protocol, source}
					f := &Facts{Ask: &AskFacts{Port: ajar.Port{Number: uint16(port), Protocol: ajar.Protocol(protocol)}, Source: source}}
					got := c.Holds(action, vm1, f)
					if want := s.in(w); source.IsSingleIP() && got != want {
						t.Fatalf("%s of %+v: %v", s.text, w, got)
					}
					for _, in := range modelSources {
						if w.source = in; got && source.Contains(in.Addr()) && in.Bits() >= source.Bits() && in.IsSingleIP() && !s.in(w) {
							t.Fatalf("%s holds of %s and not of %s in it", s.text, source, in)
						}
					}
					if c.Holds(action, vm1, nil) && !s.in(w) {
						t.Fatalf("%s holds where nothing is known, and not of %+v", s.text, w)
					}
				}
			}
		}
	})
}
