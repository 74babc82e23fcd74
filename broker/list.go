package broker

import (
	"encoding/base64"
	"slices"
	"strings"

	"github.com/ajar-access/ajar"
)

// Page selects part of a list. Cursor is the next of the list before; Limit 0 means 100, and at most 1,000 are given.
// A page may be shorter than its limit, or empty, and still have a next.
type Page struct {
	Cursor string
	Limit  int
}

// limit is how many entries the page holds: 100 unless it says, and never more than 1,000.
func (p Page) limit() (int, error) {
	switch {
	case p.Limit < 0:
		return 0, ajar.Errorf(ajar.Invalid, "the size of a page cannot be negative")
	case p.Limit == 0:
		return 100, nil
	}
	return min(p.Limit, 1000), nil
}

// maxScan bounds how many documents one page looks at, so that a caller who may see little of much gets short pages
// rather than slow ones.
const maxScan = 2000

// list gives a page of what f selects at scopes, in their order, that keep lets through.
func list[D any, P interface {
	*D
	ajar.Doc
}](t *txn, f ajar.Filter, scopes []ajar.ID, page Page, keep func(P) (bool, error)) (out []P, next string, err error) {
	limit, err := page.limit()
	if err != nil {
		return nil, "", err
	}
	at, cursor, err := parseCursor(page.Cursor)
	if err != nil {
		return nil, "", err
	}
	n := 0
	if at != "" {
		for n < len(scopes) && scopes[n].Key()+"/" < at+"/" {
			n++
		}
		if n < len(scopes) && scopes[n].Key() != at {
			cursor = ""
		}
	}
	seen := 0
	for n < len(scopes) {
		if len(out) >= limit || seen >= maxScan {
			return out, formatCursor(scopes[n], cursor), nil
		}
		f.Scope, f.Cursor, f.Limit = scopes[n], cursor, limit-len(out)
		docs, more, err := ajar.List[D, P](t, f)
		if err != nil {
			return nil, "", err
		}
		seen += len(docs) + 5 // a question that finds nothing is not for free
		for _, d := range docs {
			ok, err := keep(d)
			if err != nil {
				return nil, "", err
			}
			if ok {
				out = append(out, d)
			}
		}
		if cursor = more; more == "" {
			n++
		}
	}
	return out, "", nil
}

// everywhere is the one scope of kinds that have none.
var everywhere = []ajar.ID{""}

// reach lists where at and below under the caller may do action.
func (t *txn) reach(action ajar.Action, under ajar.ID) []ajar.ID {
	if t.plane {
		return []ajar.ID{under}
	}
	return t.rights.Scopes(t.who, action, under)
}

// under is scope as lists understand it: a management group stands for itself and its subscriptions.
func (t *txn) under(scope ajar.ID) []ajar.ID {
	switch {
	case scope == ajar.Root:
		return everywhere
	case t.plane:
		return []ajar.ID{scope}
	}
	return t.rights.Below(scope)
}

func formatCursor(scope ajar.ID, cursor string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(scope.Key() + "\n" + cursor))
}

func parseCursor(s string) (scope, cursor string, err error) {
	if s == "" {
		return "", "", nil
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	scope, cursor, ok := strings.Cut(string(b), "\n")
	if err != nil || !ok || len(s) > 4096 || slices.Contains(b, 0) {
		return "", "", ajar.Errorf(ajar.Invalid, "the page's continuation is not one that was given out; start the list again")
	}
	return scope, cursor, nil
}
