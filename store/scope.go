package store

import (
	"strings"

	"github.com/ajar-access/ajar"
)

// The scope column holds an ID with a slash at its end, so that everything at or below a scope starts with it and
// nothing else does. Scopes make up most of the indexes, and most of a scope is words that every ARM ID has; each has a
// short form. Segments are replaced one by one and no two become alike, so prefixes stay prefixes.
var (
	scopeWords = map[string]string{
		"subscriptions": "~s", "resourcegroups": "~g", "providers": "~p", "locations": "~l",
		"microsoft.compute": "~c", "virtualmachines": "~v", "leases": "~o",
		"microsoft.security": "~j", "jitnetworkaccesspolicies": "~k", "requests": "~r",
		"microsoft.authorization": "~a", "microsoft.management": "~m", "managementgroups": "~n",
	}
)

// scopeColumn is the column for a scope that is lower case.
func scopeColumn(scope string) string {
	if scope == "" {
		return ""
	}
	var b strings.Builder
	b.Grow(len(scope) + 1)
	for i, segment := range strings.Split(strings.TrimSuffix(scope, "/"), "/") {
		if i > 0 {
			b.WriteByte('/')
		}
		if word := scopeWords[segment]; word != "" {
			segment = word
		} else if strings.HasPrefix(segment, "~") {
			b.WriteByte('~')
		}
		b.WriteString(segment)
	}
	b.WriteByte('/')
	return b.String()
}

// scopeRange is the half-open range of scope columns at or below scope.
func scopeRange(scope ajar.ID) (from, to string) {
	from = scopeColumn(scope.Key())
	return from, from[:len(from)-1] + "0" // the character after the slash
}
