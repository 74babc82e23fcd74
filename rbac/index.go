package rbac

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/ajar-access/ajar"
)

// Data is what an Index is built from. Principals need not hold more than the groups and whoever is disabled.
type Data struct {
	Roles            []*ajar.RoleDefinition
	Assignments      []*ajar.RoleAssignment
	Denies           []*ajar.DenyAssignment
	Principals       []*ajar.Principal
	ManagementGroups []*ajar.ManagementGroup
}

// Index answers what rights say. It is safe for concurrent use.
type Index struct {
	roles    []role
	denies   []deny
	grants   map[ajar.PrincipalID][]grant
	groupsOf map[ajar.PrincipalID][]ajar.PrincipalID
	disabled map[ajar.PrincipalID]bool
	above    map[string][]string // a subscription or management group → all management groups above it
	below    map[string][]string // a management group → the subscriptions in it, nested ones included

	masks   masks // by action: which roles grant it, which denies take it
	holders holders
}

type role struct {
	id    ajar.RoleID
	name  string
	perms []permission
}

type permission struct{ actions, notActions, data, notData []string }

type deny struct {
	id, name string
	scope    string
	role     role
	who      map[ajar.PrincipalID]bool
	not      map[ajar.PrincipalID]bool
	everyone bool
	notBelow bool
}

type grant struct {
	scope string
	role  int
	id    string
	cond  *Condition // nil = none
}

// New builds an Index. It keeps nothing of d.
func New(d Data) *Index {
	ix := &Index{
		grants:   map[ajar.PrincipalID][]grant{},
		groupsOf: map[ajar.PrincipalID][]ajar.PrincipalID{},
		disabled: map[ajar.PrincipalID]bool{},
	}
	byID := make(map[string]int, len(d.Roles))
	for _, r := range d.Roles {
		byID[strings.ToLower(string(r.ID))] = len(ix.roles)
		ix.roles = append(ix.roles, role{r.ID, r.Name, compile(r.Permissions)})
	}
	conditions := map[string]*Condition{"": nil} // few texts stand in many assignments
	for _, a := range d.Assignments {
		if n, ok := byID[strings.ToLower(string(a.Role))]; ok {
			c, ok := conditions[a.Condition]
			if !ok {
				c = stored(a.Condition)
				conditions[a.Condition] = c
			}
			p := fold(a.Principal)
			ix.grants[p] = append(ix.grants[p], grant{scopeKey(a.Scope), n, a.ID, c})
		}
	}
	for _, n := range d.Denies {
		x := deny{id: n.ID, name: n.Name, scope: scopeKey(n.Scope), role: role{perms: compile(n.Permissions)},
			who: set(n.Principals), not: set(n.ExcludePrincipals), notBelow: n.NotBelow}
		x.everyone = x.who[ajar.Everyone]
		ix.denies = append(ix.denies, x)
	}
	for _, p := range d.Principals {
		id := fold(p.ID)
		if p.Disabled {
			ix.disabled[id] = true
		} else if p.Kind == ajar.Group {
			for _, m := range p.Members {
				ix.groupsOf[fold(m)] = append(ix.groupsOf[fold(m)], id)
			}
		}
	}
	ix.nest(d.ManagementGroups)
	ix.masks.ix = ix
	return ix
}

// nest works out what lies above and below each management group. A group that is its own ancestor is above itself and
// no further.
func (ix *Index) nest(groups []*ajar.ManagementGroup) {
	ix.above, ix.below = map[string][]string{}, map[string][]string{}
	parent := make(map[string]string, len(groups))
	for _, g := range groups {
		parent[scopeKey(g.ID)] = scopeKey(g.Parent)
	}
	up := func(from string) (chain []string) {
		for k := from; parent[k] != "" && parent[k] != "/" && !slices.Contains(chain, parent[k]); k = parent[k] {
			chain = append(chain, parent[k])
		}
		return chain
	}
	for _, g := range groups {
		key := scopeKey(g.ID)
		chain := up(key)
		ix.above[key] = chain
		for _, s := range g.Subscriptions {
			sub := "/subscriptions/" + strings.ToLower(s)
			ix.above[sub] = append(append(ix.above[sub], key), chain...)
			for _, k := range append([]string{key}, chain...) {
				ix.below[k] = append(ix.below[k], sub)
			}
		}
	}
}

func compile(perms []ajar.Permission) []permission {
	out := make([]permission, len(perms))
	for i, p := range perms {
		out[i] = permission{lower(p.Actions), lower(p.NotActions), lower(p.DataActions), lower(p.NotDataActions)}
	}
	return out
}

func lower(actions []ajar.Action) []string {
	out := make([]string, 0, len(actions))
	for _, a := range actions {
		out = append(out, readings(strings.ToLower(string(a)))...)
	}
	return out
}

func set(ps []ajar.PrincipalID) map[ajar.PrincipalID]bool {
	m := make(map[ajar.PrincipalID]bool, len(ps))
	for _, p := range ps {
		m[fold(p)] = true
	}
	return m
}

func fold(p ajar.PrincipalID) ajar.PrincipalID { return ajar.PrincipalID(strings.ToLower(string(p))) }

// scopeKey is s in lower case without a slash at its end; "/" stays.
func scopeKey(s ajar.ID) string {
	k := s.Key()
	for len(k) > 1 && k[len(k)-1] == '/' {
		k = k[:len(k)-1]
	}
	return k
}

// grants reports whether r grants action, which is lower case.
func (r role) grants(action string) bool {
	for i := range r.perms {
		p := &r.perms[i]
		if matchAny(p.actions, action) && !matchAny(p.notActions, action) {
			return true
		}
	}
	return false
}

// masks remembers, per action, which roles grant it and which denies take it. It is bounded, since actions may come
// from outside.
type masks struct {
	ix    *Index
	known atomic.Pointer[map[ajar.Action]*mask]
	mu    sync.Mutex // held to replace known
}

// maxActions bounds the actions that are remembered.
const maxActions = 1000

type mask struct {
	roles, denies bits
	advice        string // which role would give the action
}

type bits []uint64

func (b bits) has(i int) bool { return b[i>>6]&(1<<(i&63)) != 0 }
func (b bits) add(i int)      { b[i>>6] |= 1 << (i & 63) }

func (ms *masks) of(action ajar.Action) *mask {
	known := ms.known.Load()
	if known != nil {
		if m := (*known)[action]; m != nil {
			return m
		}
	}
	m := ms.make(action)
	ms.mu.Lock()
	defer ms.mu.Unlock()
	more := map[ajar.Action]*mask{action: m}
	if known = ms.known.Load(); known != nil {
		if len(*known) >= maxActions {
			return m
		}
		maps.Copy(more, *known)
	}
	ms.known.Store(&more)
	return m
}

func (ms *masks) make(action ajar.Action) *mask {
	m := &mask{roles: make(bits, len(ms.ix.roles)/64+1), denies: make(bits, len(ms.ix.denies)/64+1)}
	a := strings.ToLower(string(action))
	advise := -1
	for i, r := range ms.ix.roles {
		if r.grants(a) {
			m.roles.add(i)
			if advise < 0 || slices.Index(suggested, r.id) > slices.Index(suggested, ms.ix.roles[advise].id) {
				advise = i
			}
		}
	}
	for i, d := range ms.ix.denies {
		if d.role.grants(a) {
			m.denies.add(i)
		}
	}
	if m.advice = " No role that exists would give it."; advise >= 0 {
		m.advice = " A role such as '" + ms.ix.roles[advise].name + "', assigned there or above, would give it."
	}
	return m
}
