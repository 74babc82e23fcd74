package rbac

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// verdict is what a condition, or a part of one, comes to. What cannot be told is not false: its negation cannot be told
// either, and neither holds.
type verdict int8

const (
	no verdict = iota
	unknown
	yes
)

func is(b bool) verdict {
	if b {
		return yes
	}
	return no
}

func (v verdict) not() verdict { return yes - v }

// operator compares an attribute with one value.
type operator struct {
	name string
	kind kind
	do   func(has, want value) verdict
}

// operators are Azure's, by what they compare, and IpMatch and IpNotMatch, which are ours: the source lies whole within
// the value, or whole outside of it. What lies across the border is neither.
var operators = slices.Concat(
	texted("Equals", func(has, want string) bool { return has == want }),
	texted("StartsWith", strings.HasPrefix),
	texted("Like", func(has, want string) bool { return like(want, has) }),
	[]operator{
		{"GuidEquals", guids, func(has, want value) verdict { return is(has.text == want.text) }},
		{"GuidNotEquals", guids, func(has, want value) verdict { return is(has.text != want.text) }},
		{"BoolEquals", bools, func(has, want value) verdict { return is(has.n == want.n) }},
		{"BoolNotEquals", bools, func(has, want value) verdict { return is(has.n != want.n) }},
		{"IpMatch", nets, func(has, want value) verdict { return within(has.net, want.net) }},
		{"IpNotMatch", nets, func(has, want value) verdict { return within(has.net, want.net).not() }},
	},
	ordered("Numeric", numbers, func(has, want value) int { return int(has.n - want.n) }),
	ordered("DateTime", times, func(has, want value) int { return has.at.Compare(want.at) }),
)

// texted makes the four ways of one comparison of texts: as it stands, negated, and both blind to case.
func texted(name string, same func(has, want string) bool) []operator {
	plain := func(has, want value) verdict { return is(same(has.text, want.text)) }
	blind := func(has, want value) verdict { return is(same(strings.ToLower(has.text), strings.ToLower(want.text))) }
	return []operator{
		{"String" + name, texts, plain},
		{"StringNot" + name, texts, func(has, want value) verdict { return plain(has, want).not() }},
		{"String" + name + "IgnoreCase", texts, blind},
		{"StringNot" + name + "IgnoreCase", texts, func(has, want value) verdict { return blind(has, want).not() }},
	}
}

func ordered(head string, k kind, compare func(has, want value) int) []operator {
	op := func(name string, ok func(c int) bool) operator {
		return operator{head + name, k, func(has, want value) verdict { return is(ok(compare(has, want))) }}
	}
	return []operator{
		op("Equals", func(c int) bool { return c == 0 }), op("NotEquals", func(c int) bool { return c != 0 }),
		op("LessThan", func(c int) bool { return c < 0 }), op("LessThanEquals", func(c int) bool { return c <= 0 }),
		op("GreaterThan", func(c int) bool { return c > 0 }), op("GreaterThanEquals", func(c int) bool { return c >= 0 }),
	}
}

// within tells whether all of p lies in want, or none of it.
func within(p, want netip.Prefix) verdict {
	switch {
	case !p.IsValid():
		return unknown
	case want.Bits() <= p.Bits() && want.Contains(p.Addr()):
		return yes
	case want.Overlaps(p):
		return unknown
	}
	return no
}

// like matches text with a pattern in which * stands for any run of characters and ? for any one; a backslash before
// either, or before another, takes its meaning away.
func like(pattern, text string) bool {
	p, s := []rune(pattern), []rune(text)
	// at[j] says whether what was read of the pattern stands for s[:j].
	at, next := make([]bool, len(s)+1), make([]bool, len(s)+1)
	at[0] = true
	for i := 0; i < len(p); i++ {
		c, plain := p[i], false
		if c == '\\' && i+1 < len(p) {
			i++
			c, plain = p[i], true
		}
		clear(next)
		for j := range next {
			switch {
			case c == '*' && !plain:
				next[j] = at[j] || (j > 0 && next[j-1])
			case j > 0:
				next[j] = at[j-1] && (c == s[j-1] || c == '?' && !plain)
			}
		}
		at, next = next, at
	}
	return at[len(s)]
}

func operatorNamed(name string) *operator {
	for i := range operators {
		if strings.EqualFold(operators[i].name, name) {
			return &operators[i]
		}
	}
	return nil
}

// operatorsFor lists the operators that compare k.
func operatorsFor(k kind) (names []string) {
	for _, o := range operators {
		if o.kind == k {
			names = append(names, o.name)
		}
	}
	return names
}

// read makes a value of a word, which was in quotes or not.
func (k kind) read(word string) (v value, ok bool) {
	switch k {
	case texts:
		return value{text: word}, true
	case guids:
		v.text = strings.ToLower(word)
		return v, isGUID(v.text)
	case bools:
		b := strings.EqualFold(word, "true")
		return value{n: truth(b)}, b || strings.EqualFold(word, "false")
	case numbers:
		n, err := strconv.ParseInt(word, 10, 32)
		return value{n: n}, err == nil
	case times:
		for _, form := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02"} {
			if t, err := time.Parse(form, word); err == nil {
				return value{at: t.UTC()}, true
			}
		}
	case nets:
		if a, err := netip.ParseAddr(word); err == nil && a.Zone() == "" {
			a = a.Unmap()
			return value{net: netip.PrefixFrom(a, a.BitLen())}, true
		}
		p, err := netip.ParsePrefix(word)
		return value{net: p.Masked()}, err == nil && !p.Addr().Is4In6()
	}
	return v, false
}

func isGUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return false
			}
		case '0' <= c && c <= '9', 'a' <= c && c <= 'f':
		default:
			return false
		}
	}
	return true
}
