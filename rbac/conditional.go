package rbac

import (
	"fmt"
	"strings"

	"github.com/ajar-access/ajar"
)

// under decides by what is held under conditions: the first that holds, or else the first that does not.
func (ix *Index) under(fs []found, m *mask, q *question) (d ajar.Decision) {
	for _, f := range fs {
		for _, r := range f.ifs {
			switch {
			case !m.roles.has(r.role):
			case r.cond.holds(q):
				return ajar.Decision{Allow: true, By: r.by, Role: ix.roles[r.role].name}
			case d.By == "":
				d = ajar.Decision{By: r.by, Unmet: []string{fmt.Sprintf("role assignment %s of '%s' would allow it, but its condition does not hold: %s", r.by, ix.roles[r.role].name, r.cond.unmet(q))}}
			}
		}
	}
	return d
}

// Might is DecideWith before all is known that conditions may ask about. depends says that it allows what DecideWith may
// yet refuse once it is known.
func (ix *Index) Might(who ajar.Caller, action ajar.Action, scope ajar.ID, f *Facts) (d ajar.Decision, depends bool) {
	if d = ix.DecideWith(who, action, scope, f); d.Allow {
		return d, ix.holder(who).ifs && !ix.plain(who, action, scope)
	}
	if by := ix.conditional(who, action, scope); by != "" {
		return ajar.Decision{Allow: true, By: by}, true
	}
	return d, false
}

// plain reports whether who may do action at scope by what is held under no condition.
func (ix *Index) plain(who ajar.Caller, action ajar.Action, scope ajar.ID) bool {
	m := ix.masks.of(action)
	for _, f := range ix.walk(ix.holder(who), []byte(scopeKey(scope)), nil) {
		for _, r := range f.roles {
			if m.roles.has(r.role) {
				return true
			}
		}
	}
	return false
}

// conditional is a role assignment that would allow action at scope if its condition held, "" if there is none or a deny
// stands against it.
func (ix *Index) conditional(who ajar.Caller, action ajar.Action, scope ajar.ID) (by string) {
	h := ix.holder(who)
	if !h.ifs {
		return ""
	}
	m := ix.masks.of(action)
	for _, f := range ix.walk(h, []byte(scopeKey(scope)), nil) {
		for _, d := range f.denies {
			if m.denies.has(d) && (f.last || !ix.denies[d].notBelow) {
				return ""
			}
		}
		for _, r := range f.ifs {
			if by == "" && m.roles.has(r.role) {
				by = r.by
			}
		}
	}
	return by
}

// Delegates reports whether who may give away what it does not hold itself, in the one case that f tells: an Owner, User
// Access Administrator or Role Based Access Control Administrator whose condition holds. The last is only taken at its
// word if the condition says which roles it may give.
func (ix *Index) Delegates(who ajar.Caller, action ajar.Action, scope ajar.ID, f *Facts) bool {
	h := ix.holder(who)
	if !h.ifs {
		return false
	}
	for _, n := range ix.walk(h, []byte(scopeKey(scope)), nil) {
		for _, r := range n.ifs {
			id := ix.roles[r.role].id
			if Delegate(id) && (!strings.EqualFold(string(id), string(RBACAdministrator)) || r.cond.asks("@Request["+assignmentType+roleOf+"]")) && r.cond.Holds(action, scope, f) {
				return true
			}
		}
	}
	return false
}

// Delegate reports whether holding a role under a condition may let somebody give away what they do not hold.
func Delegate(id ajar.RoleID) bool {
	for _, r := range []ajar.RoleID{Owner, UserAccessAdministrator, RBACAdministrator} {
		if strings.EqualFold(string(id), string(r)) {
			return true
		}
	}
	return false
}

// Held is a role that somebody has at a scope, by which assignment, and under which condition.
type Held struct {
	Role      ajar.RoleID
	By        string
	Condition string
}

// Holds lists what who has at scope, inherited or not, the widest first, and the deny assignments that stand against it.
func (ix *Index) Holds(who ajar.Caller, scope ajar.ID) (roles []Held, denies []string) {
	h := ix.holder(who)
	if h.out {
		return nil, nil
	}
	for _, f := range ix.walk(h, []byte(scopeKey(scope)), nil) {
		for _, r := range f.roles {
			roles = append(roles, Held{ix.roles[r.role].id, r.by, ""})
		}
		for _, r := range f.ifs {
			roles = append(roles, Held{ix.roles[r.role].id, r.by, r.cond.text})
		}
		for _, d := range f.denies {
			if f.last || !ix.denies[d].notBelow {
				denies = append(denies, ix.denies[d].id)
			}
		}
	}
	return roles, denies
}

// Groups lists the enabled groups that p is in, as far as they are kept here.
func (ix *Index) Groups(p ajar.PrincipalID) (out []ajar.PrincipalID) {
	for _, g := range ix.groupsOf[fold(p)] {
		if !ix.disabled[g] {
			out = append(out, g)
		}
	}
	return out
}
