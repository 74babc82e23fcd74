package rbac

import (
	"slices"
	"strings"

	"github.com/ajar-access/ajar"
)

// Administers reports whether who is Owner or User Access Administrator at scope, and so may give away what it does not
// hold itself. What is held under a condition does not count.
func (ix *Index) Administers(who ajar.Caller, scope ajar.ID) bool {
	h := ix.holder(who)
	for _, f := range ix.walk(h, []byte(scopeKey(scope)), nil) {
		for _, r := range f.roles {
			id := string(ix.roles[r.role].id)
			if strings.EqualFold(id, string(Owner)) || strings.EqualFold(id, string(UserAccessAdministrator)) {
				return true
			}
		}
	}
	return false
}

// Lacks names the first action, or data action, of perms that who does not hold whole at scope and everything below,
// or "" if who holds them all. It errs on the safe side: what only several roles together would make up does not count
// unless each pattern lies within one of them, and what is held under a condition does not count at all.
func (ix *Index) Lacks(who ajar.Caller, perms []ajar.Permission, scope ajar.ID) string {
	h := ix.holder(who)
	key := scopeKey(scope)
	var mine, against []permission
	for _, f := range ix.walk(h, []byte(key), nil) {
		for _, r := range f.roles {
			mine = append(mine, ix.roles[r.role].perms...)
		}
		for _, d := range f.denies {
			if f.last || !ix.denies[d].notBelow {
				against = append(against, ix.denies[d].role.perms...)
			}
		}
	}
	for k, n := range h.nodes {
		if k != key && ix.Covers(ajar.ID(key), ajar.ID(k)) {
			for _, d := range n.denies {
				against = append(against, ix.denies[d].role.perms...)
			}
		}
	}
	for _, p := range compile(perms) {
		for _, a := range p.actions {
			if !holds(a, p.notActions, mine, against, false) {
				return a
			}
		}
		for _, a := range p.data {
			if !holds(a, p.notData, mine, against, true) {
				return a
			}
		}
	}
	return ""
}

// holds reports whether some permission of mine grants everything that a stands for less what not takes off, and none
// of against takes any of that away.
func holds(a string, not []string, mine, against []permission, data bool) bool {
	pick := func(p permission) (yes, no []string) {
		if data {
			return p.data, p.notData
		}
		return p.actions, p.notActions
	}
	spared := func(n string) bool { return !meet(n, a) || matchAny(not, n) }
	for _, p := range against {
		yes, _ := pick(p)
		if slices.ContainsFunc(yes, func(n string) bool { return !spared(n) }) {
			return false
		}
	}
	return slices.ContainsFunc(mine, func(p permission) bool {
		yes, no := pick(p)
		return matchAny(yes, a) && !slices.ContainsFunc(no, func(n string) bool { return !spared(n) })
	})
}
