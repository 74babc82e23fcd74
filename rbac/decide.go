package rbac

import (
	"fmt"
	"strings"

	"github.com/ajar-access/ajar"
)

// Decide says whether who may do action at scope. By is the role assignment that allows it, or the deny assignment that
// forbids it, or the assignment whose condition does not hold; Unmet tells what is missing and which role would give it.
// Conditions that ask for more than action and scope do not hold.
func (ix *Index) Decide(who ajar.Caller, action ajar.Action, scope ajar.ID) ajar.Decision {
	return ix.DecideWith(who, action, scope, nil)
}

// DecideWith is Decide where conditions can ask about facts.
func (ix *Index) DecideWith(who ajar.Caller, action ajar.Action, scope ajar.ID, facts *Facts) ajar.Decision {
	h := ix.holder(who)
	if h.out {
		return ajar.Decision{Unmet: []string{"principal " + shown(who) + " is disabled or unknown"}}
	}
	m := ix.masks.of(action)
	var buf [512]byte
	var room [16]found
	by, role, taken := "", 0, -1
	fs := ix.walk(h, appendKey(buf[:0], scope), room[:0])
	for _, f := range fs {
		for _, d := range f.denies {
			if taken < 0 && m.denies.has(d) && (f.last || !ix.denies[d].notBelow) {
				taken = d
			}
		}
		for i := 0; by == "" && i < len(f.roles); i++ {
			if m.roles.has(f.roles[i].role) {
				by, role = f.roles[i].by, f.roles[i].role
			}
		}
	}
	switch {
	case taken >= 0:
		d := ix.denies[taken]
		return ajar.Decision{By: d.id, Unmet: []string{fmt.Sprintf("deny assignment %q (%s) at %s takes %s away from %s, whatever roles say", d.name, d.id, d.scope, action, shown(who))}}
	case by != "":
		return ajar.Decision{Allow: true, By: by, Role: ix.roles[role].name}
	case h.ifs:
		if d := ix.under(fs, m, &question{strings.ToLower(string(action)), scope, known(facts)}); d.By != "" {
			return d
		}
	}
	return ajar.Decision{Unmet: []string{"The client " + shown(who) + " does not have authorization to perform action '" + string(action) + "' over scope '" + string(scope) + "'." + m.advice}}
}

// suggested lists roles to advise, the most powerful first.
var suggested = []ajar.RoleID{Owner, Contributor, UserAccessAdministrator, VirtualMachineContributor, SecurityAdmin, JITApprover, Reader, JITRequester}

// found is what a caller holds at one of the scopes that are walked; last says that it is the scope asked about.
type found struct {
	*node
	last bool
}

// walk appends to out what h holds at the scopes that key inherits from and at key itself, the widest first.
func (ix *Index) walk(h *holder, key []byte, out []found) []found {
	if len(key) == 0 || key[0] != '/' || len(h.nodes) == 0 {
		return out
	}
	if n := h.nodes["/"]; n != nil {
		out = append(out, found{n, len(key) == 1})
	}
	segment := 0
	for i := 1; i <= len(key) && len(key) > 1; i++ {
		if i < len(key) && key[i] != '/' {
			continue
		}
		segment++
		if (segment == 2 || segment == 4) && len(ix.above) > 0 {
			above := ix.above[string(key[:i])]
			for j := len(above) - 1; j >= 0; j-- {
				if n := h.nodes[above[j]]; n != nil {
					out = append(out, found{n, above[j] == string(key)})
				}
			}
		}
		if n := h.nodes[string(key[:i])]; n != nil {
			out = append(out, found{n, i == len(key)})
		}
	}
	return out
}

// appendKey is scopeKey for a buffer.
func appendKey(b []byte, s ajar.ID) []byte {
	for i := range len(s) {
		c := s[i]
		if c >= 0x80 {
			return append(b[:0], scopeKey(s)...)
		}
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		b = append(b, c)
	}
	for len(b) > 1 && b[len(b)-1] == '/' {
		b = b[:len(b)-1]
	}
	return b
}

func shown(who ajar.Caller) string {
	if who.Name == "" {
		return "with object id '" + string(who.Principal) + "'"
	}
	return "'" + who.Name + "' with object id '" + string(who.Principal) + "'"
}
