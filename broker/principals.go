package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/ajar-access/ajar"
)

// maxMembers bounds a group.
const maxMembers = 10_000

// PutPrincipal creates a principal (ID "") or changes its Name, Display, Disabled and, if one
// is given, Upstream (PrincipalWrite; an empty link takes the link away). Members of a
// group are changed by AddMember and RemoveMember alone. To change somebody, the caller must hold what they hold.
// Disabling somebody revokes what they have open, and ends their tokens and sessions for good.
func (b *Broker) PutPrincipal(ctx context.Context, who ajar.Caller, p ajar.Principal) (*ajar.Principal, error) {
	bad := checkPrincipal(&p)
	if bad == nil {
		bad = checkLink(p.Upstream)
	}
	var out *ajar.Principal
	err := b.do(ctx, who, op{action: ajar.PrincipalWrite, scope: ajar.Root, bad: bad}, func(t *txn) error {
		out = &ajar.Principal{ID: p.ID, Kind: p.Kind, Created: t.now}
		if p.ID == "" {
			out.ID = ajar.PrincipalID(strings.ToLower(t.b.NewID()))
		} else {
			old, err := t.principal(p.ID)
			if err != nil {
				return err
			}
			if p.Kind != "" && p.Kind != old.Kind {
				return ajar.Errorf(ajar.Invalid, "%s is a %s and cannot become a %s", old.Name, old.Kind, p.Kind)
			}
			if !t.self(p.ID) {
				if err := t.outranks(old); err != nil {
					return err
				}
			}
			if old.Kind == ajar.Group && p.Disabled != old.Disabled {
				if err := t.denialsOf(old); err != nil {
					return err
				}
			}
			out = old
		}
		t.event.Principal = out.ID
		if err := t.freeName(p.Name, out.ID); err != nil {
			return err
		}
		disabling := p.Disabled && !out.Disabled
		out.Name, out.Display, out.Disabled = p.Name, p.Display, p.Disabled
		t.detail("name", out.Name)
		if err := t.link(out, &p); err != nil {
			return err
		}
		if err := t.Put(out); err != nil {
			return err
		}
		if !disabling {
			return nil
		}
		t.detail("disabled", "true")
		if err := t.closeAll(out.ID); err != nil {
			return err
		}
		// Who is let in again later signs in anew: nobody knows who has what was given out before.
		if err := t.endTokens(out.ID); err != nil {
			return err
		}
		return t.ownerStays()
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func checkPrincipal(p *ajar.Principal) error {
	if p.ID != "" {
		id, err := guid("the principal", string(p.ID))
		if err != nil {
			return err
		}
		p.ID = ajar.PrincipalID(id)
	}
	switch p.Kind {
	case ajar.User, ajar.Group, ajar.ServicePrincipal:
	case "":
		if p.ID == "" {
			return ajar.Errorf(ajar.Invalid, "say what to make: a User, a Group or a ServicePrincipal")
		}
	default:
		return ajar.Errorf(ajar.Invalid, "a principal is a User, a Group or a ServicePrincipal, not a %.40q", p.Kind)
	}
	if err := word("the name", p.Name, 256); err != nil {
		return err
	}
	if p.Name == "" || isGUID(p.Name) || strings.ContainsAny(p.Name, "/:") {
		return ajar.Errorf(ajar.Invalid, "a name cannot be empty, look like an id, or contain / or :")
	}
	if strings.IndexFunc(p.Name, unseen) >= 0 || strings.IndexFunc(p.Display, unseenInText) >= 0 {
		return ajar.Errorf(ajar.Invalid, "a name contains a character that nobody sees, or that turns the direction of writing, so that it could pass for another's")
	}
	return word("the display name", p.Display, 256)
}

// unseen tells characters by which two names look the same: of no width, another sort of space, or turning the direction
// of writing.
func unseen(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }

// unseenInText is unseen but for the two joiners, which some scripts are not written without.
func unseenInText(r rune) bool { return unseen(r) && r != '\u200c' && r != '\u200d' }

// principal is the stored principal, or NotFound in words.
func (t *txn) principal(id ajar.PrincipalID) (*ajar.Principal, error) {
	p, err := ajar.Get[ajar.Principal](t, string(foldID(id)))
	if errors.Is(err, ajar.NotFound) {
		return nil, &ajar.Error{Kind: ajar.NotFound, Code: "PrincipalNotFound", Msg: fmt.Sprintf("there is no principal %.60q", id)}
	}
	return p, err
}

// named finds a principal by name; nil if there is none.
func (t *txn) named(name string) (*ajar.Principal, error) {
	ps, _, err := ajar.List[ajar.Principal](t, ajar.Filter{Ref: strings.ToLower(name), Limit: 1})
	if err != nil || len(ps) == 0 {
		return nil, err
	}
	return ps[0], nil
}

func (t *txn) freeName(name string, of ajar.PrincipalID) error {
	p, err := t.named(name)
	if err != nil {
		return err
	}
	if p != nil && p.ID != of {
		return &ajar.Error{Kind: ajar.Conflict, Code: "PrincipalExists", Msg: fmt.Sprintf("there is a %s called %s already", p.Kind, p.Name)}
	}
	return nil
}

// outranks refuses unless the caller holds everything that p holds: who changes somebody's sign-in or standing could
// act as them.
func (t *txn) outranks(p *ajar.Principal) error {
	as := []ajar.PrincipalID{p.ID}
	if p.Kind != ajar.Group {
		groups, err := t.groupsOf(p.ID)
		if err != nil {
			return err
		}
		for _, g := range groups {
			as = append(as, g.ID)
		}
	}
	for _, id := range as {
		held, _, err := ajar.List[ajar.RoleAssignment](t, ajar.Filter{Owner: id})
		if err != nil {
			return err
		}
		for _, a := range held {
			if err := t.grants(a.Role, a.Scope); err != nil {
				return ajar.Errorf(ajar.Forbidden, "%s holds more than you do: %s", p.Name, ajar.Message(err))
			}
		}
	}
	return nil
}

func (t *txn) groupsOf(id ajar.PrincipalID) ([]*ajar.Principal, error) {
	groups, _, err := ajar.List[ajar.Principal](t, ajar.Filter{States: []string{string(ajar.Group)}})
	return slices.DeleteFunc(groups, func(g *ajar.Principal) bool { return !slices.Contains(g.Members, id) }), err
}

// closeAll revokes what somebody has open.
func (t *txn) closeAll(who ajar.PrincipalID) error {
	ls, _, err := ajar.List[ajar.Lease](t, ajar.Filter{Owner: who, States: []string{string(ajar.Opening), string(ajar.Open), string(ajar.Closing)}})
	if err != nil {
		return err
	}
	n := 0
	for _, l := range ls {
		if !t.ended(l) {
			n++
		}
		if err := t.end(l, ajar.Revoked); err != nil {
			return err
		}
	}
	if n > 0 {
		t.detail("leasesRevoked", fmt.Sprint(n))
	}
	return nil
}

// DeletePrincipal removes a principal with its credentials, tokens, memberships and role assignments, and revokes what
// it has open (PrincipalDelete). The caller must hold what it holds.
func (b *Broker) DeletePrincipal(ctx context.Context, who ajar.Caller, id ajar.PrincipalID) (existed bool, err error) {
	key, bad := guid("the principal", string(id))
	err = b.do(ctx, who, op{action: ajar.PrincipalDelete, scope: ajar.Root, bad: bad}, func(t *txn) error {
		existed = false
		p, err := ajar.Get[ajar.Principal](t, key)
		if errors.Is(err, ajar.NotFound) {
			return nil
		} else if err != nil {
			return err
		}
		existed = true
		t.event.Principal = p.ID
		t.detail("name", p.Name)
		if err := t.outranks(p); err != nil {
			return err
		}
		if p.Kind == ajar.Group {
			if err := t.denialsOf(p); err != nil {
				return err
			}
		}
		if err := t.forget(p); err != nil {
			return err
		}
		if err := t.Delete(ajar.KindPrincipal, key); err != nil {
			return err
		}
		return t.ownerStays()
	})
	return existed && err == nil, err
}

// forget removes what hangs on p.
func (t *txn) forget(p *ajar.Principal) error {
	if err := t.closeAll(p.ID); err != nil {
		return err
	}
	creds, _, err := ajar.List[ajar.Credential](t, ajar.Filter{Owner: p.ID})
	for i := 0; err == nil && i < len(creds); i++ {
		err = t.Delete(ajar.KindCredential, creds[i].ID)
	}
	if err != nil {
		return err
	}
	if err := t.endTokens(p.ID); err != nil {
		return err
	}
	if _, err := t.dropFactors(p.ID); err != nil {
		return err
	}
	held, _, err := ajar.List[ajar.RoleAssignment](t, ajar.Filter{Owner: p.ID})
	for i := 0; err == nil && i < len(held); i++ {
		err = t.Delete(ajar.KindRoleAssignment, held[i].Entry().Key)
	}
	if err != nil {
		return err
	}
	groups, err := t.groupsOf(p.ID)
	for i := 0; err == nil && i < len(groups); i++ {
		g := groups[i]
		g.Members = slices.DeleteFunc(g.Members, func(m ajar.PrincipalID) bool { return m == p.ID })
		err = t.Put(g)
	}
	return err
}

// Principal reads one by ID or name: oneself, or with PrincipalRead.
func (b *Broker) Principal(ctx context.Context, who ajar.Caller, idOrName string) (*ajar.Principal, error) {
	if err := word("the name", idOrName, 256); err != nil {
		return nil, err
	}
	var out *ajar.Principal
	err := b.view(ctx, who, func(t *txn) (err error) {
		if isGUID(idOrName) {
			out, err = t.principal(ajar.PrincipalID(idOrName))
		} else if out, err = t.named(idOrName); out == nil && err == nil {
			err = &ajar.Error{Kind: ajar.NotFound, Code: "PrincipalNotFound", Msg: fmt.Sprintf("there is nobody called %.60q", idOrName)}
		}
		if out != nil && t.self(out.ID) {
			return err
		}
		if may := t.need(ajar.PrincipalRead, ajar.Root); may != nil {
			return may // who may not read learns nothing of who exists
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Principals lists all of a kind, or all if kind is "" (PrincipalRead).
func (b *Broker) Principals(ctx context.Context, who ajar.Caller, kind ajar.PrincipalKind, page Page) (out []*ajar.Principal, next string, err error) {
	var f ajar.Filter
	switch kind {
	case "":
	case ajar.User, ajar.Group, ajar.ServicePrincipal:
		f.States = []string{string(kind)}
	default:
		return nil, "", ajar.Errorf(ajar.Invalid, "a principal is a User, a Group or a ServicePrincipal, not a %.40q", kind)
	}
	err = b.view(ctx, who, func(t *txn) (err error) {
		if err := t.need(ajar.PrincipalRead, ajar.Root); err != nil {
			return err
		}
		out, next, err = list(t, f, everywhere, page, func(*ajar.Principal) (bool, error) { return true, nil })
		return err
	})
	return out, next, err
}

// AddMember puts a person or program into a group (PrincipalWrite). The caller must hold what the group holds.
func (b *Broker) AddMember(ctx context.Context, who ajar.Caller, group, member ajar.PrincipalID) (*ajar.Principal, error) {
	return b.member(ctx, who, group, member, func(t *txn, g *ajar.Principal, id ajar.PrincipalID) error {
		m, err := t.principal(id)
		if err != nil {
			return err
		}
		t.detail("added", m.Name)
		switch {
		case m.Kind == ajar.Group:
			return ajar.Errorf(ajar.Invalid, "%s is a group; groups do not nest", m.Name)
		case slices.Contains(g.Members, m.ID):
			return nil
		case len(g.Members) >= maxMembers:
			return ajar.Errorf(ajar.Conflict, "group %s has %d members, which is the most a group can have", g.Name, maxMembers)
		}
		g.Members = append(g.Members, m.ID)
		return t.Put(g)
	})
}

// RemoveMember takes a member out of a group (PrincipalWrite). The caller must hold what the group holds.
func (b *Broker) RemoveMember(ctx context.Context, who ajar.Caller, group, member ajar.PrincipalID) (*ajar.Principal, error) {
	return b.member(ctx, who, group, member, func(t *txn, g *ajar.Principal, id ajar.PrincipalID) error {
		i := slices.Index(g.Members, id)
		if i < 0 {
			return ajar.Errorf(ajar.NotFound, "%.60q is not a member of %s", id, g.Name)
		}
		t.detail("removed", string(id))
		g.Members = slices.Delete(g.Members, i, i+1)
		if err := t.Put(g); err != nil {
			return err
		}
		return t.ownerStays()
	})
}

func (b *Broker) member(ctx context.Context, who ajar.Caller, group, member ajar.PrincipalID, change func(t *txn, g *ajar.Principal, m ajar.PrincipalID) error) (*ajar.Principal, error) {
	gid, bad := guid("the group", string(group))
	mid, bad2 := guid("the member", string(member))
	if bad == nil {
		bad = bad2
	}
	var g *ajar.Principal
	err := b.do(ctx, who, op{action: ajar.PrincipalWrite, scope: ajar.Root, bad: bad}, func(t *txn) (err error) {
		if g, err = t.principal(ajar.PrincipalID(gid)); err != nil {
			return err
		}
		t.event.Principal = g.ID
		t.detail("group", g.Name)
		if g.Kind != ajar.Group {
			return ajar.Errorf(ajar.Invalid, "%s is a %s, not a group", g.Name, g.Kind)
		}
		if err := t.outranks(g); err != nil {
			return err
		}
		if err := t.denialsOf(g); err != nil {
			return err
		}
		return change(t, g, ajar.PrincipalID(mid))
	})
	if err != nil {
		return nil, err
	}
	return g, nil
}

// denialsOf refuses to change who is in a group that deny assignments name, unless the caller may change those: in or
// out of it somebody could slip from a deny.
func (t *txn) denialsOf(g *ajar.Principal) error {
	ds, _, err := ajar.List[ajar.DenyAssignment](t, ajar.Filter{})
	if err != nil {
		return err
	}
	for _, d := range ds {
		if slices.Contains(d.Principals, g.ID) || slices.Contains(d.ExcludePrincipals, g.ID) {
			if err := t.administers(d.Scope, fmt.Sprintf("deny assignment %q names group %s", d.Name, g.Name)); err != nil {
				return err
			}
		}
	}
	return nil
}
