package broker

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/ajar-access/ajar"
)

// What Azure's clients ask about access at a scope. In contrast to the lists that show what one may read wherever it is,
// these ask for the right at the scope itself, and then show what comes down to it from above, too.

// relation says how the scope of a thing lies to the one that is asked about.
type relation int

const (
	beside relation = iota
	atOrAbove
	below
)

func (t *txn) relation(thing, at ajar.ID) relation {
	switch {
	case t.covers(thing, at):
		return atOrAbove
	case t.covers(at, thing):
		return below
	}
	return beside
}

// covers reports whether who holds something at outer holds it at inner.
func (t *txn) covers(outer, inner ajar.ID) bool {
	return outer.Covers(inner) || (t.rights != nil && t.rights.Covers(outer, inner))
}

// RolesAsked selects role definitions. Zero fields do not filter.
type RolesAsked struct {
	Below   bool // those that can be assigned only below the scope, too
	Name    string
	BuiltIn *bool
}

// RolesAt lists, by name, the roles that can be assigned at a scope (RoleDefinitionRead there).
func (b *Broker) RolesAt(ctx context.Context, who ajar.Caller, at ajar.ID, f RolesAsked) (out []*ajar.RoleDefinition, err error) {
	if at, err = scope(at); err != nil {
		return nil, err
	}
	err = b.view(ctx, who, func(t *txn) error {
		if err := t.need(ajar.RoleDefinitionRead, at); err != nil {
			return err
		}
		all, _, err := ajar.List[ajar.RoleDefinition](t, ajar.Filter{Ref: strings.ToLower(f.Name)})
		out = slices.DeleteFunc(all, func(r *ajar.RoleDefinition) bool {
			return !t.offered(r, at, f.Below) || (f.BuiltIn != nil && *f.BuiltIn != r.BuiltIn)
		})
		return err
	})
	slices.SortFunc(out, func(x, y *ajar.RoleDefinition) int {
		return cmp.Or(strings.Compare(strings.ToLower(x.Name), strings.ToLower(y.Name)), strings.Compare(string(x.ID), string(y.ID)))
	})
	return out, err
}

// offered reports whether r can be assigned at a scope, or below it.
func (t *txn) offered(r *ajar.RoleDefinition, at ajar.ID, andBelow bool) bool {
	return slices.ContainsFunc(r.AssignableScopes, func(s ajar.ID) bool {
		rel := t.relation(s, at)
		return rel == atOrAbove || (rel == below && andBelow)
	})
}

// RoleAt reads a role that can be assigned at a scope or below it (RoleDefinitionRead at the scope).
func (b *Broker) RoleAt(ctx context.Context, who ajar.Caller, at ajar.ID, id ajar.RoleID) (out *ajar.RoleDefinition, err error) {
	if at, err = scope(at); err != nil {
		return nil, err
	}
	err = b.view(ctx, who, func(t *txn) (err error) {
		if err := t.need(ajar.RoleDefinitionRead, at); err != nil {
			return err
		}
		if out, err = t.role(id); err == nil && !t.offered(out, at, true) {
			err = noRole(string(id) + " at " + string(at))
		}
		return err
	})
	return out, err
}

// AssignmentsAsked selects what is assigned. Zero fields do not filter.
type AssignmentsAsked struct {
	NotBelow  bool             // what is assigned at the scope and above it alone
	Principal ajar.PrincipalID // what it is assigned itself
	For       ajar.PrincipalID // what it is assigned, and its groups are
	Page      Page             // of what is at and below; what is above comes with the first
}

// AssignmentsAt lists the role assignments at, above and below a scope (RoleAssignmentRead there).
func (b *Broker) AssignmentsAt(ctx context.Context, who ajar.Caller, at ajar.ID, f AssignmentsAsked) (out []*ajar.RoleAssignment, next string, err error) {
	if at, err = scope(at); err != nil {
		return nil, "", err
	}
	err = b.view(ctx, who, func(t *txn) (err error) {
		if err := t.need(ajar.RoleAssignmentRead, at); err != nil {
			return err
		}
		out, next, err = t.assignmentsAt(at, f)
		return err
	})
	return out, next, err
}

func (t *txn) assignmentsAt(at ajar.ID, f AssignmentsAsked) (out []*ajar.RoleAssignment, next string, err error) {
	if f.Principal != "" || f.For != "" {
		out, err = t.assignmentsOf(at, f)
		return out, "", err
	}
	if f.Page.Cursor == "" {
		for _, s := range t.above(at, f.NotBelow) {
			some, err := t.assignmentsExactly(s)
			if err != nil {
				return nil, "", err
			}
			out = append(out, some...)
		}
	}
	if f.NotBelow {
		return out, "", nil
	}
	more, next, err := list(t, ajar.Filter{}, t.under(at), f.Page, func(a *ajar.RoleAssignment) (bool, error) {
		return t.can(ajar.RoleAssignmentRead, a.Scope), nil
	})
	return append(out, more...), next, err
}

// above lists the scopes above at, and at itself if it is asked for.
func (t *txn) above(at ajar.ID, itself bool) (out []ajar.ID) {
	if t.rights != nil {
		out = t.rights.Above(at)
	}
	if itself {
		out = append(out, at)
	}
	return out
}

// assignmentsExactly lists what is assigned at a scope and not below it: what the store gives first.
func (t *txn) assignmentsExactly(at ajar.ID) (out []*ajar.RoleAssignment, err error) {
	f := ajar.Filter{Scope: at, Limit: 200}
	for {
		some, next, err := ajar.List[ajar.RoleAssignment](t, f)
		if err != nil {
			return nil, err
		}
		for _, a := range some {
			if !a.Scope.Equal(at) {
				return out, nil
			}
			out = append(out, a)
		}
		if f.Cursor = next; next == "" {
			return out, nil
		}
	}
}

// assignmentsOf lists what somebody is assigned, and what comes to them through groups if that is asked for.
func (t *txn) assignmentsOf(at ajar.ID, f AssignmentsAsked) (out []*ajar.RoleAssignment, err error) {
	as := []ajar.PrincipalID{foldID(cmp.Or(f.Principal, f.For))}
	if f.Principal == "" {
		if t.self(as[0]) {
			for _, g := range t.who.Groups {
				as = append(as, foldID(g))
			}
		}
		if t.rights != nil {
			as = append(as, t.rights.Groups(as[0])...)
		}
		slices.Sort(as)
		as = slices.Compact(as)
	} else if f.For != "" && foldID(f.For) != as[0] {
		return nil, nil // nobody is both
	}
	for _, p := range as {
		some, _, err := ajar.List[ajar.RoleAssignment](t, ajar.Filter{Owner: p})
		if err != nil {
			return nil, err
		}
		for _, a := range some {
			switch t.relation(a.Scope, at) {
			case atOrAbove:
				out = append(out, a)
			case below:
				if !f.NotBelow && t.can(ajar.RoleAssignmentRead, a.Scope) {
					out = append(out, a)
				}
			}
		}
	}
	slices.SortFunc(out, func(x, y *ajar.RoleAssignment) int {
		return cmp.Or(strings.Compare(x.Scope.Key(), y.Scope.Key()), strings.Compare(x.ID, y.ID))
	})
	return out, nil
}

// AssignmentAt reads a role assignment at exactly that scope (RoleAssignmentRead there).
func (b *Broker) AssignmentAt(ctx context.Context, who ajar.Caller, at ajar.ID, id string) (out *ajar.RoleAssignment, err error) {
	if at, err = scope(at); err != nil {
		return nil, err
	}
	key, err := guid("the assignment", id)
	if err != nil {
		return nil, err
	}
	err = b.view(ctx, who, func(t *txn) error {
		if err := t.need(ajar.RoleAssignmentRead, at); err != nil {
			return err
		}
		out, err = ajar.Get[ajar.RoleAssignment](t, key)
		if errors.Is(err, ajar.NotFound) || (err == nil && !out.Scope.Equal(at)) {
			return &ajar.Error{Kind: ajar.NotFound, Code: "RoleAssignmentNotFound", Msg: "there is no role assignment " + key + " at " + string(at)}
		}
		return err
	})
	return out, err
}

// DeniesAsked selects deny assignments. Zero fields do not filter.
type DeniesAsked struct {
	NotBelow bool
	Name     string
	Hits     ajar.PrincipalID // those that name it, or everybody
}

// DeniesAt lists the deny assignments at, above and below a scope (DenyAssignmentRead there).
func (b *Broker) DeniesAt(ctx context.Context, who ajar.Caller, at ajar.ID, f DeniesAsked) (out []*ajar.DenyAssignment, err error) {
	if at, err = scope(at); err != nil {
		return nil, err
	}
	hits := foldID(f.Hits)
	err = b.view(ctx, who, func(t *txn) error {
		if err := t.need(ajar.DenyAssignmentRead, at); err != nil {
			return err
		}
		all, _, err := ajar.List[ajar.DenyAssignment](t, ajar.Filter{})
		out = slices.DeleteFunc(all, func(d *ajar.DenyAssignment) bool {
			rel := t.relation(d.Scope, at)
			return rel == beside || (rel == below && (f.NotBelow || !t.can(ajar.DenyAssignmentRead, d.Scope))) ||
				(f.Name != "" && !strings.EqualFold(f.Name, d.Name)) ||
				(hits != "" && !slices.Contains(d.Principals, hits) && !slices.Contains(d.Principals, ajar.Everyone))
		})
		return err
	})
	return out, err
}

// DenyAt reads a deny assignment at exactly that scope (DenyAssignmentRead there).
func (b *Broker) DenyAt(ctx context.Context, who ajar.Caller, at ajar.ID, id string) (out *ajar.DenyAssignment, err error) {
	if at, err = scope(at); err != nil {
		return nil, err
	}
	key, err := guid("the deny assignment", id)
	if err != nil {
		return nil, err
	}
	err = b.view(ctx, who, func(t *txn) error {
		if err := t.need(ajar.DenyAssignmentRead, at); err != nil {
			return err
		}
		out, err = ajar.Get[ajar.DenyAssignment](t, key)
		if errors.Is(err, ajar.NotFound) || (err == nil && !out.Scope.Equal(at)) {
			return &ajar.Error{Kind: ajar.NotFound, Code: "DenyAssignmentNotFound", Msg: "there is no deny assignment " + key + " at " + string(at)}
		}
		return err
	})
	return out, err
}

// Granted is what a role gives the caller at a scope, less what denies take, under a condition if there is one.
type Granted struct {
	ajar.Permission
	Condition string
}

// Permissions lists what the caller has at a scope. Everybody may ask, about themselves.
func (b *Broker) Permissions(ctx context.Context, who ajar.Caller, at ajar.ID) (out []Granted, err error) {
	if at, err = scope(at); err != nil {
		return nil, err
	}
	err = b.view(ctx, who, func(t *txn) error {
		out = nil
		if t.plane {
			out = []Granted{{Permission: ajar.Permission{Actions: []ajar.Action{"*"}}}}
			return nil
		}
		roles, denies := t.rights.Holds(t.who, at)
		var less ajar.Permission
		for _, id := range denies {
			d, err := ajar.Get[ajar.DenyAssignment](t, strings.ToLower(id))
			if err != nil {
				return err
			}
			// What a deny spares is not given back here, so that nothing is shown that may be refused.
			for _, p := range d.Permissions {
				less.NotActions = append(less.NotActions, p.Actions...)
				less.NotDataActions = append(less.NotDataActions, p.DataActions...)
			}
		}
		seen := map[string]bool{}
		for _, h := range roles {
			k := string(h.Role) + h.Condition
			if seen[k] {
				continue
			}
			seen[k] = true
			r, err := t.role(h.Role)
			if err != nil {
				return err
			}
			for _, p := range r.Permissions {
				out = append(out, Granted{ajar.Permission{
					Actions: p.Actions, NotActions: append(slices.Clone(p.NotActions), less.NotActions...),
					DataActions: p.DataActions, NotDataActions: append(slices.Clone(p.NotDataActions), less.NotDataActions...),
				}, h.Condition})
			}
		}
		return nil
	})
	return out, err
}
