package rbac

import (
	"slices"
	"strings"

	"github.com/ajar-access/ajar"
)

// Sight is what somebody may know to be there: a scope at which, above which or below which some role of theirs gives
// anything at all to read, whatever its condition. What lies there is another question, which Decide answers.
type Sight struct {
	ix    *Index
	h     *holder
	below []string         // the scopes with such a role, management groups left out, in order
	see   map[int][]string // what the roles read, by their number
}

// Sight compiles what who may know of. It is for one goroutine, and good as long as the Index is.
func (ix *Index) Sight(who ajar.Caller) *Sight {
	h := ix.holder(who)
	s := &Sight{ix: ix, h: h, see: map[int][]string{}}
	if h.out {
		return s
	}
	for k, n := range h.nodes {
		reads := func(r held) bool { return len(s.readable(r.role)) > 0 }
		if !isManagementGroup(k) && (slices.ContainsFunc(n.roles, reads) || slices.ContainsFunc(n.ifs, reads)) {
			s.below = append(s.below, k)
		}
	}
	slices.Sort(s.below)
	return s
}

// Sees reports whether scope may be known of.
func (s *Sight) Sees(scope ajar.ID) bool {
	key := scopeKey(scope)
	if s.h.out || key == "" || key[0] != '/' {
		return false
	}
	if s.reads(key) || s.deeper(key) {
		return true
	}
	if !isManagementGroup(key) && key != "/" {
		return false
	}
	for k := range s.h.nodes {
		if isManagementGroup(k) && (key == "/" || slices.Contains(s.ix.above[k], key)) && s.reads(k) {
			return true
		}
	}
	return slices.ContainsFunc(s.ix.below[key], func(sub string) bool { return s.reads(sub) || s.deeper(sub) })
}

// deeper reports whether there is anything to read below key.
func (s *Sight) deeper(key string) bool {
	head := strings.TrimSuffix(key, "/") + "/"
	n, _ := slices.BinarySearch(s.below, head)
	for ; n < len(s.below) && strings.HasPrefix(s.below[n], head); n++ {
		if s.reads(s.below[n]) {
			return true
		}
	}
	return false
}

// reads reports whether there is anything to read at key itself: something that a role gives there or above and that no
// deny takes whole.
func (s *Sight) reads(key string) bool {
	var room [16]found
	var mine, against []string
	for _, f := range s.ix.walk(s.h, []byte(key), room[:0]) {
		for _, r := range f.roles {
			mine = append(mine, s.readable(r.role)...)
		}
		for _, r := range f.ifs {
			mine = append(mine, s.readable(r.role)...)
		}
		for _, d := range f.denies {
			if d := &s.ix.denies[d]; f.last || !d.notBelow {
				for _, p := range d.role.perms {
					if len(p.notActions) == 0 {
						against = append(against, p.actions...)
					}
				}
			}
		}
	}
	return slices.ContainsFunc(mine, func(a string) bool { return !matchAny(against, a) })
}

// readable lists what a role gives to read, as patterns.
func (s *Sight) readable(n int) []string {
	out, ok := s.see[n]
	if ok {
		return out
	}
	for _, p := range s.ix.roles[n].perms {
		for _, a := range p.actions {
			switch {
			case a == "*":
				a = "*/read"
			case strings.HasSuffix(a, "*"):
				a += "/read"
			case !strings.HasSuffix(a, "/read"):
				continue
			}
			if !matchAny(p.notActions, a) {
				out = append(out, a)
			}
		}
	}
	s.see[n] = out
	return out
}
