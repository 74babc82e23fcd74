package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/rbac"
)

// Limits on custom roles.
const (
	maxPermissions = 20
	maxActions     = 500
	maxScopes      = 100
)

// PutRoleDefinition creates a custom role (ID "") or changes one: RoleDefinitionWrite at each of its assignable scopes,
// old and new, and nobody defines more than they hold there.
func (b *Broker) PutRoleDefinition(ctx context.Context, who ajar.Caller, r ajar.RoleDefinition) (*ajar.RoleDefinition, error) {
	bad := checkRole(&r)
	var out *ajar.RoleDefinition
	o := op{action: ajar.RoleDefinitionWrite, scope: ajar.Root, bad: bad, may: func(t *txn) error {
		t.event.Scope = r.AssignableScopes[0]
		return t.eachScope(ajar.RoleDefinitionWrite, r.AssignableScopes)
	}}
	err := b.do(ctx, who, o, func(t *txn) error {
		out = &ajar.RoleDefinition{ID: r.ID, Name: r.Name, Description: r.Description, Permissions: r.Permissions, AssignableScopes: r.AssignableScopes}
		if r.ID == "" {
			out.ID = ajar.RoleID(strings.ToLower(b.NewID()))
		} else if old, err := t.oldRole(r.ID); err != nil {
			return err
		} else if old != nil {
			if old.BuiltIn {
				return ajar.Errorf(ajar.Conflict, "%s is a built-in role and cannot be changed", old.Name)
			}
			if err := t.eachScope(ajar.RoleDefinitionWrite, old.AssignableScopes); err != nil {
				return err
			}
			if err := t.stillAssignable(old, r.AssignableScopes); err != nil {
				return err
			}
			out.Stamp, out.Created, out.CreatedBy = old.Stamp, old.Created, old.CreatedBy
		}
		out.Updated, out.UpdatedBy = t.now, t.who.Principal
		if out.Rev == 0 {
			out.Created, out.CreatedBy = t.now, t.who.Principal
		}
		t.detail("role", out.Name)
		if err := t.freeRoleName(out); err != nil {
			return err
		}
		for _, s := range out.AssignableScopes {
			if err := t.holdsAll(out.Name, out.Permissions, s); err != nil {
				return err
			}
		}
		return t.Put(out)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (t *txn) eachScope(action ajar.Action, scopes []ajar.ID) error {
	for _, s := range scopes {
		if err := t.need(action, s); err != nil {
			return err
		}
	}
	return nil
}

func checkRole(r *ajar.RoleDefinition) (err error) {
	if r.ID != "" {
		id, err := guid("the role", string(r.ID))
		if err != nil {
			return err
		}
		r.ID = ajar.RoleID(id)
	}
	if err := word("the role's name", r.Name, 128); err != nil {
		return err
	}
	if r.Name == "" || isGUID(r.Name) || strings.IndexFunc(r.Name, unseen) >= 0 {
		return ajar.Errorf(ajar.Invalid, "a role needs a name that does not look like an id, of characters that can be seen")
	}
	if err := text("the description", r.Description, 2048); err != nil {
		return err
	}
	if n := len(r.AssignableScopes); n == 0 || n > maxScopes {
		return ajar.Errorf(ajar.Invalid, "a role has between 1 and %d assignable scopes", maxScopes)
	}
	r.AssignableScopes = slices.Clone(r.AssignableScopes)
	for i, s := range r.AssignableScopes {
		if r.AssignableScopes[i], err = ajar.ParseID(string(s)); err != nil {
			return err
		}
	}
	return checkPermissions(r.Permissions)
}

func checkPermissions(perms []ajar.Permission) error {
	if n := len(perms); n == 0 || n > maxPermissions {
		return ajar.Errorf(ajar.Invalid, "give between 1 and %d permissions", maxPermissions)
	}
	n := 0
	for _, p := range perms {
		for _, list := range [][]ajar.Action{p.Actions, p.NotActions, p.DataActions, p.NotDataActions} {
			if n += len(list); n > maxActions {
				return ajar.Errorf(ajar.Invalid, "more than %d actions", maxActions)
			}
			for _, a := range list {
				if len(a) == 0 || len(a) > 256 || strings.Trim(strings.ToLower(string(a)), "abcdefghijklmnopqrstuvwxyz0123456789./*-_$") != "" || strings.Contains(string(a), "**") {
					return ajar.Errorf(ajar.Invalid, "%.100q is not an action such as Microsoft.Compute/virtualMachines/read; * stands for any run of characters", a)
				}
			}
		}
	}
	return nil
}

func (t *txn) oldRole(id ajar.RoleID) (*ajar.RoleDefinition, error) {
	r, err := ajar.Get[ajar.RoleDefinition](t, strings.ToLower(string(id)))
	if errors.Is(err, ajar.NotFound) {
		return nil, nil
	}
	return r, err
}

func (t *txn) role(id ajar.RoleID) (*ajar.RoleDefinition, error) {
	r, err := t.oldRole(id)
	if r == nil && err == nil {
		err = noRole(string(id))
	}
	return r, err
}

func noRole(what string) error {
	return &ajar.Error{Kind: ajar.NotFound, Code: "RoleDefinitionDoesNotExist", Msg: fmt.Sprintf("there is no role %.300q", what)}
}

func (t *txn) freeRoleName(r *ajar.RoleDefinition) error {
	rs, _, err := ajar.List[ajar.RoleDefinition](t, ajar.Filter{Ref: strings.ToLower(r.Name), Limit: 2})
	for _, o := range rs {
		if o.ID != r.ID {
			return &ajar.Error{Kind: ajar.Conflict, Code: "RoleDefinitionWithSameNameExists", Msg: fmt.Sprintf("there is a role called %s already", o.Name)}
		}
	}
	return err
}

// stillAssignable refuses to take a scope away under assignments that are there.
func (t *txn) stillAssignable(r *ajar.RoleDefinition, scopes []ajar.ID) error {
	as, _, err := ajar.List[ajar.RoleAssignment](t, ajar.Filter{Ref: strings.ToLower(string(r.ID))})
	for _, a := range as {
		if !t.assignable(scopes, a.Scope) {
			return ajar.Errorf(ajar.Conflict, "%s is assigned at %s, which would not be assignable any longer", r.Name, a.Scope)
		}
	}
	return err
}

func (t *txn) assignable(scopes []ajar.ID, at ajar.ID) bool {
	return slices.ContainsFunc(scopes, func(s ajar.ID) bool { return s.Covers(at) || (t.rights != nil && t.rights.Covers(s, at)) })
}

// holdsAll refuses unless the caller administers at, or holds every one of perms there.
func (t *txn) holdsAll(name string, perms []ajar.Permission, at ajar.ID) error {
	if t.plane || t.rights.Administers(t.who, at) {
		return nil
	}
	if lacks := t.rights.Lacks(t.who, perms, at); lacks != "" {
		return &ajar.Error{Kind: ajar.Forbidden, Code: "GrantsMoreThanHeld",
			Msg: fmt.Sprintf("%s grants '%s' at %s, which you do not hold there yourself; only an Owner or User Access Administrator gives away what they do not hold", name, lacks, at)}
	}
	return nil
}

// grants is holdsAll for a role that exists.
func (t *txn) grants(id ajar.RoleID, at ajar.ID) error {
	r, err := t.oldRole(id)
	if r == nil || err != nil {
		return err // a role that is gone grants nothing
	}
	return t.holdsAll(r.Name, r.Permissions, at)
}

// administers refuses unless the caller is Owner or User Access Administrator at a scope.
func (t *txn) administers(at ajar.ID, why string) error {
	if t.plane || t.rights.Administers(t.who, at) {
		return nil
	}
	return ajar.Errorf(ajar.Forbidden, "%s; that takes an Owner or User Access Administrator at %s", why, at)
}

// DeleteRoleDefinition removes a custom role that nobody is assigned (RoleDefinitionDelete at its assignable scopes).
func (b *Broker) DeleteRoleDefinition(ctx context.Context, who ajar.Caller, id ajar.RoleID) (existed bool, err error) {
	r, err := b.RemoveRole(ctx, who, ajar.Root, id)
	return r != nil, err
}

// RemoveRole is DeleteRoleDefinition for a role that can be assigned at a scope or below it; it gives what was removed,
// or nil if there was none.
func (b *Broker) RemoveRole(ctx context.Context, who ajar.Caller, at ajar.ID, id ajar.RoleID) (r *ajar.RoleDefinition, err error) {
	key, bad := guid("the role", string(id))
	if bad == nil {
		at, bad = readID(at, scope)
	}
	o := op{action: ajar.RoleDefinitionDelete, scope: at, bad: bad, may: func(t *txn) (err error) {
		if r, err = t.oldRole(ajar.RoleID(key)); err != nil {
			return err
		}
		if r != nil && !t.offered(r, at, true) {
			r = nil
		}
		if r == nil {
			return t.need(ajar.RoleDefinitionDelete, at)
		}
		return t.eachScope(ajar.RoleDefinitionDelete, r.AssignableScopes)
	}}
	err = b.do(ctx, who, o, func(t *txn) error {
		if r == nil {
			return nil
		}
		t.detail("role", r.Name)
		if r.BuiltIn {
			return ajar.Errorf(ajar.Conflict, "%s is a built-in role and cannot be deleted", r.Name)
		}
		n, err := t.Count(ajar.KindRoleAssignment, ajar.Filter{Ref: key})
		if err != nil {
			return err
		}
		if n > 0 {
			return &ajar.Error{Kind: ajar.Conflict, Code: "RoleDefinitionHasAssignments", Msg: fmt.Sprintf("%s is assigned %d times; take those away first", r.Name, n)}
		}
		return t.Delete(ajar.KindRoleDefinition, key)
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// RoleDefinition reads one by ID or name. Whoever is signed in may read roles.
func (b *Broker) RoleDefinition(ctx context.Context, who ajar.Caller, idOrName string) (*ajar.RoleDefinition, error) {
	if err := word("the role", idOrName, 256); err != nil {
		return nil, err
	}
	var out *ajar.RoleDefinition
	err := b.view(ctx, who, func(t *txn) (err error) {
		if isGUID(idOrName) {
			out, err = t.role(ajar.RoleID(idOrName))
			return err
		}
		rs, _, err := ajar.List[ajar.RoleDefinition](t, ajar.Filter{Ref: strings.ToLower(idOrName), Limit: 1})
		if err == nil && len(rs) == 0 {
			err = &ajar.Error{Kind: ajar.NotFound, Code: "RoleDefinitionDoesNotExist", Msg: fmt.Sprintf("there is no role called %.60q", idOrName)}
		} else if err == nil {
			out = rs[0]
		}
		return err
	})
	return out, err
}

// RoleDefinitions lists the roles there are. Whoever is signed in may read them.
func (b *Broker) RoleDefinitions(ctx context.Context, who ajar.Caller, page Page) (out []*ajar.RoleDefinition, next string, err error) {
	err = b.view(ctx, who, func(t *txn) (err error) {
		out, next, err = list(t, ajar.Filter{}, everywhere, page, func(*ajar.RoleDefinition) (bool, error) { return true, nil })
		return err
	})
	return out, next, err
}

// ownerStays refuses, once the verb has done its work, to leave nobody who is Owner at / and can sign in.
func (t *txn) ownerStays() error {
	if t.plane {
		return nil
	}
	owners, err := t.owners()
	if err == nil && len(owners) == 0 {
		err = &ajar.Error{Kind: ajar.Conflict, Code: "LastOwner", Msg: "nobody would be Owner at / any longer; make somebody else Owner first"}
	}
	return err
}

// owners lists who is Owner at / and enabled, by themselves or through an enabled group.
func (t *txn) owners() ([]*ajar.Principal, error) {
	as, _, err := ajar.List[ajar.RoleAssignment](t, ajar.Filter{Ref: strings.ToLower(string(rbac.Owner))})
	if err != nil {
		return nil, err
	}
	var out []*ajar.Principal
	seen := map[ajar.PrincipalID]bool{}
	var add func(id ajar.PrincipalID, deep bool) error
	add = func(id ajar.PrincipalID, deep bool) error {
		if id = foldID(id); seen[id] {
			return nil
		}
		seen[id] = true
		p, err := ajar.Get[ajar.Principal](t, string(id))
		if errors.Is(err, ajar.NotFound) || (err == nil && p.Disabled) {
			return nil
		} else if err != nil {
			return err
		}
		if p.Kind != ajar.Group {
			out = append(out, p)
			return nil
		}
		for i := 0; deep && i < len(p.Members) && err == nil; i++ {
			err = add(p.Members[i], false)
		}
		return err
	}
	for _, a := range as {
		if a.Scope == ajar.Root && a.Condition == "" {
			if err := add(a.Principal, true); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// stamped fills in what every assignment is stamped with at its making.
func stamped(t *txn, a *ajar.RoleAssignment) {
	a.Stamp, a.Created, a.CreatedBy = ajar.Stamp{}, t.now, t.who.Principal
	a.Updated, a.UpdatedBy = time.Time{}, ""
}
