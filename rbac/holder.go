package rbac

import (
	"slices"
	"sync"

	"github.com/ajar-access/ajar"
)

// holder is all that one caller holds, by scope.
type holder struct {
	claimed []ajar.PrincipalID // the groups of the sign-in that it was compiled with
	nodes   map[string]*node
	out     bool // disabled
	ifs     bool // holds anything under a condition
}

// node is what a caller holds at exactly one scope: each role once, with the first assignment that gives it, and apart
// from them what it holds under a condition, so that what has none is not slowed.
type node struct {
	roles  []held
	ifs    []held
	denies []int
}

type held struct {
	role int
	by   string
	cond *Condition // in ifs
}

// holders keeps compiled callers until they hold too much together; then all go, and who asks next is compiled anew.
type holders struct {
	mu sync.RWMutex
	of map[ajar.PrincipalID]*holder
	n  int
}

const maxHeld = 300_000

func (ix *Index) holder(who ajar.Caller) *holder {
	c := &ix.holders
	c.mu.RLock()
	h := c.of[who.Principal]
	c.mu.RUnlock()
	if h != nil && slices.Equal(h.claimed, who.Groups) {
		return h
	}
	h, n := ix.compile(who)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n += n; c.n > maxHeld || c.of == nil {
		c.of, c.n = map[ajar.PrincipalID]*holder{}, n
	}
	c.of[who.Principal] = h
	return h
}

func (ix *Index) compile(who ajar.Caller) (*holder, int) {
	h := &holder{claimed: slices.Clone(who.Groups), nodes: map[string]*node{}}
	self := fold(who.Principal)
	if ix.disabled[self] || self == "" {
		h.out = true
		return h, 1
	}
	as := []ajar.PrincipalID{self}
	for _, g := range append(slices.Clone(who.Groups), ix.groupsOf[self]...) {
		if g = fold(g); !ix.disabled[g] && !slices.Contains(as, g) {
			as = append(as, g)
		}
	}
	at := func(scope string) *node {
		n := h.nodes[scope]
		if n == nil {
			n = &node{}
			h.nodes[scope] = n
		}
		return n
	}
	size := 1
	for _, p := range as {
		for _, g := range ix.grants[p] {
			n := at(g.scope)
			if g.cond != nil {
				n.ifs = append(n.ifs, held{g.role, g.id, g.cond})
				h.ifs = true
				size++
				continue
			}
			if !slices.ContainsFunc(n.roles, func(x held) bool { return x.role == g.role }) {
				n.roles = append(n.roles, held{role: g.role, by: g.id})
				size++
			}
		}
	}
	for i, d := range ix.denies {
		if d.hits(as) {
			n := at(d.scope)
			n.denies = append(n.denies, i)
			size++
		}
	}
	return h, size
}

func (d *deny) hits(as []ajar.PrincipalID) bool {
	hit := d.everyone
	for _, p := range as {
		if d.not[p] {
			return false
		}
		hit = hit || d.who[p]
	}
	return hit
}
