package broker

import (
	"cmp"
	"encoding/base64"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
)

// openTo lists where the caller may read what others asked for, the widest scopes only. all says that this is everywhere
// at and below under.
func (t *txn) openTo(under ajar.ID) (scopes []ajar.ID, all bool) {
	if t.plane {
		return []ajar.ID{under}, true
	}
	for _, s := range append(t.reach(ajar.RequestRead, under), t.reach(ajar.PolicyRead, under)...) {
		if s.Equal(under) {
			return nil, true
		}
		scopes = append(scopes, s)
	}
	slices.SortFunc(scopes, func(a, b ajar.ID) int { return strings.Compare(a.Key()+"/", b.Key()+"/") })
	return slices.CompactFunc(scopes, func(outer, inner ajar.ID) bool { return outer.Covers(inner) }), false
}

// The two halves of a list of who may not read everything, as cursors begin.
const (
	ownHalf    = ".o"
	othersHalf = ".s"
)

// halves gives a page of a list of who may not read everything: what is their own first, and then what others have where
// they may read it. So nobody walks over what is not for them.
func halves[T any](page Page, own, others func(Page) ([]T, string, error)) (out []T, next string, err error) {
	cursor, second := strings.CutPrefix(page.Cursor, othersHalf)
	if !second {
		page.Cursor = strings.TrimPrefix(cursor, ownHalf)
		if out, next, err = own(page); err != nil || next != "" {
			return out, ownHalf + next, err
		}
		if len(out) > 0 {
			return out, othersHalf, nil // what follows may be nothing, which a page may be
		}
		cursor = ""
	}
	page.Cursor = cursor
	if out, next, err = others(page); next != "" {
		next = othersHalf + next
	}
	return out, next, err
}

// seenRequests gives a page of the requests that the caller may see.
func (t *txn) seenRequests(sel ajar.Filter, under ajar.ID, page Page, keep func(r *ajar.Request) bool) ([]*ajar.Request, string, error) {
	scopes, all := t.openTo(under)
	if all || sel.Owner != "" {
		return list(t, sel, t.under(under), page, func(r *ajar.Request) (bool, error) {
			return keep(r) && t.maySee(r.Requester, r.Policy), nil
		})
	}
	return halves(page,
		func(page Page) ([]*ajar.Request, string, error) {
			sel := sel
			sel.Owner = t.who.Principal
			return list(t, sel, t.under(under), page, func(r *ajar.Request) (bool, error) { return keep(r), nil })
		},
		func(page Page) ([]*ajar.Request, string, error) {
			return list(t, sel, scopes, page, func(r *ajar.Request) (bool, error) {
				return !t.self(r.Requester) && keep(r) && t.maySee(r.Requester, r.Policy), nil
			})
		})
}

// seenLeases gives a page of the leases that the caller may see. Those of others are found by their requests, which lie
// at the policies that say who may see them, whereas a lease lies at its machine.
func (t *txn) seenLeases(sel ajar.Filter, under ajar.ID, page Page, keep func(l *ajar.Lease) bool) ([]*ajar.Lease, string, error) {
	scopes, all := t.openTo(ajar.Root)
	switch {
	case len(sel.States) > 0:
		return t.liveLeases(sel, under, page, keep)
	case all, sel.Owner != "", under.IsMachine():
		return list(t, sel, t.under(under), page, func(l *ajar.Lease) (bool, error) {
			return keep(l) && t.maySee(l.Requester, l.Policy), nil
		})
	}
	return halves(page,
		func(page Page) ([]*ajar.Lease, string, error) {
			sel := sel
			sel.Owner = t.who.Principal
			return list(t, sel, t.under(under), page, func(l *ajar.Lease) (bool, error) { return keep(l), nil })
		},
		func(page Page) (out []*ajar.Lease, next string, err error) {
			for limit, looked := cmp.Or(page.Limit, 100), 0; ; {
				page.Limit = fewRequests // one may have many leases
				rs, next, err := list(t, sel, scopes, page, func(r *ajar.Request) (bool, error) {
					return !t.self(r.Requester) && len(r.Leases) > 0 && t.maySee(r.Requester, r.Policy), nil
				})
				for i := 0; err == nil && i < len(rs); i++ {
					var ls []*ajar.Lease
					ls, err = t.leasesOf(rs[i])
					looked += len(ls)
					out = append(out, slices.DeleteFunc(ls, func(l *ajar.Lease) bool { return !t.below(under, l.Target) || !keep(l) })...)
				}
				page.Cursor = next
				if err != nil || next == "" || len(rs) == 0 || len(out) >= limit || looked >= maxScan {
					return out, next, err
				}
			}
		})
}

// liveLeases gives a page of the leases that are not over, without walking through what was: those of a machine lie
// below it, those of somebody are found by their owner, and others come in the order in which they end.
func (t *txn) liveLeases(sel ajar.Filter, under ajar.ID, page Page, keep func(l *ajar.Lease) bool) ([]*ajar.Lease, string, error) {
	scopes, mine := t.under(under), func(l *ajar.Lease) (bool, error) {
		return keep(l) && t.below(under, l.Target) && t.maySee(l.Requester, l.Policy), nil
	}
	switch {
	case under.IsMachine():
		scopes = []ajar.ID{under + "/leases"}
	case sel.Owner != "":
	case len(scopes) == 1 && scopes[0] != "":
		return t.liveBelow(sel, under, page, mine)
	default:
		scopes, sel.UntilBefore = everywhere, time.UnixMilli(math.MaxInt64)
	}
	return list(t, sel, scopes, page, mine)
}

// How many machines are read at once, and the most that one page asks for their leases.
const (
	fewMachines  = 50
	mostMachines = 400
)

// liveBelow goes from machine to machine, in order of their IDs, since a machine's live leases lie together.
func (t *txn) liveBelow(sel ajar.Filter, under ajar.ID, page Page, keep func(l *ajar.Lease) (bool, error)) (out []*ajar.Lease, next string, err error) {
	at, inner, err := parseCursor(page.Cursor)
	if err != nil {
		return nil, "", err
	}
	machines := ajar.Filter{Scope: under, Limit: fewMachines}
	machines.Cursor, at, _ = strings.Cut(at, " ")
	limit, asked := min(cmp.Or(max(page.Limit, 0), 100), 1000), 0
	for {
		from := machines.Cursor
		ms, more, err := ajar.List[ajar.Target](t, machines)
		if err != nil {
			return nil, "", err
		}
		for _, m := range ms {
			key := m.ID.Key()
			if key+"/" < at+"/" && at != "" {
				continue
			}
			if asked++; len(out) >= limit || asked > mostMachines {
				return out, placeCursor(from, key, ""), nil
			}
			if key != at {
				inner = ""
			}
			ls, rest, err := list(t, sel, []ajar.ID{m.ID + "/leases"}, Page{Cursor: inner, Limit: limit - len(out)}, keep)
			if err != nil {
				return nil, "", err
			}
			if out = append(out, ls...); rest != "" {
				return out, placeCursor(from, key, rest), nil
			}
			inner = ""
		}
		if more == "" {
			return out, "", nil
		}
		machines.Cursor, at = more, ""
	}
}

// placeCursor is a cursor at a machine, in the page of machines that begins at from. Those are cursors themselves, in
// which case counts.
func placeCursor(from, machine, cursor string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(from + " " + machine + "\n" + cursor))
}

// How many requests are read at once for their leases.
const fewRequests = 10

// below reports whether something lies at or below one of what under stands for.
func (t *txn) below(under, id ajar.ID) bool {
	return slices.ContainsFunc(t.under(under), func(u ajar.ID) bool { return u == "" || u.Covers(id) })
}
