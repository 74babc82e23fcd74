package rbac

import (
	"slices"
	"strings"

	"github.com/ajar-access/ajar"
)

// Scopes lists where, at and below under, who's roles grant action: the widest scopes only, in lower case, none below
// another, management groups replaced by their subscriptions. Whoever lists things lists at these scopes and asks
// Decide of each thing found, since neither denies nor conditions are taken into account.
func (ix *Index) Scopes(who ajar.Caller, action ajar.Action, under ajar.ID) []ajar.ID {
	h := ix.holder(who)
	if h.out {
		return nil
	}
	m := ix.masks.of(action)
	gives := func(n *node) bool {
		has := func(r held) bool { return m.roles.has(r.role) }
		return slices.ContainsFunc(n.roles, has) || slices.ContainsFunc(n.ifs, has)
	}
	var wide []string
	for _, u := range ix.prefixes(scopeKey(under)) {
		if slices.ContainsFunc(ix.walk(h, []byte(u), nil), func(f found) bool { return gives(f.node) }) {
			wide = append(wide, u)
			continue
		}
		for k, n := range h.nodes {
			if !gives(n) {
				continue
			}
			for _, p := range ix.prefixes(k) {
				if ajar.ID(u).Covers(ajar.ID(p)) {
					wide = append(wide, p)
				}
			}
		}
	}
	return widest(wide)
}

// Below is scope as it can be compared as text: itself, and the subscriptions and management groups in a management
// group.
func (ix *Index) Below(scope ajar.ID) []ajar.ID {
	key := scopeKey(scope)
	all := ix.prefixes(key)
	if isManagementGroup(key) {
		for k, above := range ix.above {
			if isManagementGroup(k) && slices.Contains(above, key) {
				all = append(all, k)
			}
		}
	}
	return widest(all)
}

// prefixes is k, or the subscriptions of a management group: what can be compared as text.
func (ix *Index) prefixes(k string) []string {
	if k == "" || k[0] != '/' {
		return nil
	}
	if isManagementGroup(k) {
		return append([]string{k}, ix.below[k]...)
	}
	return []string{k}
}

func isManagementGroup(k string) bool {
	const head = "/providers/microsoft.management/managementgroups/"
	return strings.HasPrefix(k, head) && !strings.Contains(k[len(head):], "/")
}

// Covers reports whether whoever holds something at outer holds it at inner: inner is outer or lies below it,
// management groups included.
func (ix *Index) Covers(outer, inner ajar.ID) bool {
	o, in := scopeKey(outer), scopeKey(inner)
	if ajar.ID(o).Covers(ajar.ID(in)) {
		return true
	}
	segment := 0
	for i := 1; i <= len(in); i++ {
		if i < len(in) && in[i] != '/' {
			continue
		}
		if segment++; (segment == 2 || segment == 4) && slices.Contains(ix.above[in[:i]], o) {
			return true
		}
	}
	return false
}

func widest(scopes []string) []ajar.ID {
	slices.SortFunc(scopes, func(a, b string) int { return strings.Compare(a+"/", b+"/") })
	var out []ajar.ID
	for _, s := range scopes {
		if len(out) == 0 || !out[len(out)-1].Covers(ajar.ID(s)) {
			out = append(out, ajar.ID(s))
		}
	}
	return out
}

// Above lists the scopes that scope inherits from, the widest first and itself left out.
func (ix *Index) Above(scope ajar.ID) (out []ajar.ID) {
	key := scopeKey(scope)
	if key == "/" || key == "" || key[0] != '/' {
		return nil
	}
	out = append(out, ajar.Root)
	segment := 0
	for i := 1; i <= len(key); i++ {
		if i < len(key) && key[i] != '/' {
			continue
		}
		if segment++; segment == 2 || segment == 4 {
			above := ix.above[key[:i]]
			for j := len(above) - 1; j >= 0; j-- {
				out = append(out, ajar.ID(above[j]))
			}
		}
		if i < len(key) && segment%2 == 0 {
			out = append(out, ajar.ID(key[:i]))
		}
	}
	return out
}
