package rest

import (
	"strings"
	"testing"

	"github.com/ajar-access/ajar"
)

// FuzzFold: whatever the path, folding it twice is folding it once, and what comes out is clean for the mux.
func FuzzFold(f *testing.F) {
	for _, s := range []string{"/", "", "//a//b/", "/subscriptions/X/Providers/Microsoft.Security/x", "/ajar/v1/Me", "/AJAR/V1", "/a/../b", "/ajar/v1//x/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		once, ok := fold(s)
		if !strings.HasPrefix(once, "/") || strings.Contains(once, "//") || (len(once) > 1 && strings.HasSuffix(once, "/")) {
			t.Errorf("%q becomes %q", s, once)
		}
		if twice, again := fold(once); twice != once || again != ok {
			t.Errorf("%q becomes %q and then %q", s, once, twice)
		}
	})
}

// FuzzSkipToken: a token is taken only if it is one that could have been given out, and means the same then.
func FuzzSkipToken(f *testing.F) {
	f.Add("")
	f.Add(formatSkip("/subscriptions/x"))
	f.Add("MQ")
	f.Fuzz(func(t *testing.T, s string) {
		cursor, err := parseSkip(s)
		if err == nil && s != "" && formatSkip(cursor) != s {
			t.Errorf("%q is taken for %q", s, cursor)
		}
	})
}

func FuzzFilter(f *testing.F) {
	for _, s := range []string{"", "name eq 'x'", "not (a)", "startswith(tagName,'x') and tagValue ne 'it''s'", "((((", "'"} {
		f.Add(s)
	}
	thing := Thing{Name: "n", Kind: "k", Tags: map[string]string{"a": "b"}}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parseFilter(s)
		if err != nil {
			if ajar.KindOf(err) != ajar.Invalid {
				t.Fatal(err)
			}
			return
		}
		p.Keeps(thing)
		p.Must("name")
	})
}
