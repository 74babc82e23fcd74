package rbac

import (
	"fmt"
	"strings"

	"github.com/ajar-access/ajar"
)

// Decide says whether who may do action at scope. By is the role assignment that allows it, or the deny assignment that
// forbids it; Unmet tells what is missing and which role would give it.
func (ix *Index) Decide(who ajar.Caller, action ajar.Action, scope ajar.ID) ajar.Decision {
	return ix.decide(who, action, scope, &ix.control)
}

// DecideData is Decide for a data action, such as logging in to a machine.
func (ix *Index) DecideData(who ajar.Caller, action ajar.Action, scope ajar.ID) ajar.Decision {
	return ix.decide(who, action, scope, &ix.data)
}

func (ix *Index) decide(who ajar.Caller, action ajar.Action, scope ajar.ID, ms *masks) ajar.Decision {
	h := ix.holder(who)
	if h.out {
		return ajar.Decision{Unmet: []string{fmt.Sprintf("principal %s is disabled or unknown", shown(who))}}
	}
	m := ms.of(action)
	key := scopeKey(scope)
	by, taken := "", -1
	ix.walk(key, func(k string) {
		n := h.nodes[k]
		if n == nil {
			return
		}
		for _, d := range n.denies {
			if taken < 0 && m.denies.has(d) && (!ix.denies[d].notBelow || k == key) {
				taken = d
			}
		}
		if by == "" {
			for _, r := range n.roles {
				if m.roles.has(r.role) {
					by = r.by
					break
				}
			}
		}
	})
	switch {
	case taken >= 0:
		d := ix.denies[taken]
		return ajar.Decision{By: d.id, Unmet: []string{fmt.Sprintf("deny assignment %q (%s) at %s takes %s away from %s, whatever roles say", d.name, d.id, d.scope, action, shown(who))}}
	case by != "":
		return ajar.Decision{Allow: true, By: by}
	}
	return ajar.Decision{Unmet: []string{ix.missing(who, action, scope, ms)}}
}

// walk visits the scopes that key inherits from and key itself, the widest first.
func (ix *Index) walk(key string, visit func(k string)) {
	if key == "" || key[0] != '/' {
		return
	}
	visit("/")
	if key == "/" {
		return
	}
	segment := 0
	for i := 1; i <= len(key); i++ {
		if i < len(key) && key[i] != '/' {
			continue
		}
		segment++
		k := key[:i]
		if segment == 2 || segment == 4 {
			above := ix.above[k]
			for j := len(above) - 1; j >= 0; j-- {
				visit(above[j])
			}
		}
		visit(k)
	}
}

// suggested lists roles to advise, the least powerful first.
var suggested = []ajar.RoleID{JITRequester, Reader, JITApprover, SecurityAdmin, VirtualMachineContributor, UserAccessAdministrator, Contributor, Owner}

func (ix *Index) missing(who ajar.Caller, action ajar.Action, scope ajar.ID, ms *masks) string {
	text := fmt.Sprintf("The client %s does not have authorization to perform action '%s' over scope '%s'.", shown(who), action, scope)
	a := strings.ToLower(string(action))
	for _, id := range suggested {
		for _, r := range ix.roles {
			if r.id == id && r.grants(a, ms.data) {
				return text + fmt.Sprintf(" A role such as '%s', assigned there or above, would give it.", r.name)
			}
		}
	}
	for _, r := range ix.roles {
		if r.grants(a, ms.data) {
			return text + fmt.Sprintf(" A role such as '%s', assigned there or above, would give it.", r.name)
		}
	}
	return text + " No role that exists would give it."
}

func shown(who ajar.Caller) string {
	if who.Name == "" {
		return fmt.Sprintf("with object id '%s'", who.Principal)
	}
	return fmt.Sprintf("'%s' with object id '%s'", who.Name, who.Principal)
}
