package broker

import (
	"context"
	"errors"
	"strings"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/rbac"
)

// AssignmentFilter selects role assignments. Zero fields do not filter.
type AssignmentFilter struct {
	Scope     ajar.ID // at and below
	Principal ajar.PrincipalID
	Role      ajar.RoleID
	Page      Page
}

// AssignOptions refine Assign.
type AssignOptions struct {
	// KeepCondition leaves the condition of an assignment that exists as it is: whoever asks does not know of conditions.
	KeepCondition bool
}

// Assign gives a role (RoleAssignmentWrite at its scope), where its condition, if any, holds. Nobody grants more than
// they hold: unless the caller is Owner or User Access Administrator there, or is trusted with that very role by the
// condition under which it administers, it must hold every permission of the role. Of an assignment that exists,
// Description and Condition alone can change; made tells whether it was not there before.
func (b *Broker) Assign(ctx context.Context, who ajar.Caller, a ajar.RoleAssignment, o AssignOptions) (out *ajar.RoleAssignment, made bool, err error) {
	bad := checkAssignment(&a)
	may := func(t *txn) error { return t.might(ajar.RoleAssignmentWrite, a.Scope) }
	err = b.do(ctx, who, op{action: ajar.RoleAssignmentWrite, scope: a.Scope, bad: bad, may: may}, func(t *txn) error {
		p, err := t.assignee(&a)
		if err != nil {
			return err
		}
		r, err := t.role(a.Role)
		if err != nil {
			return err
		}
		t.event.Principal = p.ID
		t.detail("role", r.Name)
		t.detail("principal", p.Name)
		old, err := t.sameAssignment(&a)
		if err != nil {
			return err
		}
		want := a
		if old != nil && o.KeepCondition {
			want.Condition = old.Condition
		}
		if err := t.mayAssign(&want, p, r); err != nil {
			return err
		}
		out, made = t.assignment(&want, old, p, r), old == nil
		if err := t.Put(out); err != nil || made || out.Scope != ajar.Root || r.ID != rbac.Owner {
			return err
		}
		return t.ownerStays()
	})
	if err != nil {
		return nil, false, err
	}
	return out, made, nil
}

// assignee is who a is for, who must be what a says they are.
func (t *txn) assignee(a *ajar.RoleAssignment) (*ajar.Principal, error) {
	p, err := t.principal(a.Principal)
	switch {
	case errors.Is(err, ajar.NotFound):
		return nil, &ajar.Error{Kind: ajar.Invalid, Code: "PrincipalNotFound", Msg: "Principal " + string(a.Principal) + " does not exist in the directory."}
	case err == nil && a.PrincipalKind != "" && a.PrincipalKind != p.Kind:
		return nil, &ajar.Error{Kind: ajar.Invalid, Code: "UnmatchedPrincipalType", Msg: "The principal '" + string(p.ID) + "' is a " + string(p.Kind) + ", not a " + string(a.PrincipalKind) + "."}
	}
	return p, err
}

// mayAssign refuses to give r to p as a says, once it is known who and what they are.
func (t *txn) mayAssign(a *ajar.RoleAssignment, p *ajar.Principal, r *ajar.RoleDefinition) error {
	f := rbac.Facts{Now: t.now, Given: assignmentFacts(a, p.Kind)}
	if err := t.mayNow(ajar.RoleAssignmentWrite, a.Scope, f); err != nil {
		return err
	}
	if !t.assignable(r.AssignableScopes, a.Scope) {
		return &ajar.Error{Kind: ajar.Invalid, Code: "RoleDefinitionNotAssignableAtScope", Msg: r.Name + " cannot be assigned at " + string(a.Scope) + "; it can at and below " + string(r.AssignableScopes[0])}
	}
	if a.Condition != "" {
		t.detail("condition", a.Condition)
		if rbac.Delegate(r.ID) {
			// Under a condition its holder may give away what it does not hold, so whoever makes it must be able to.
			if err := t.administers(a.Scope, "under a condition "+r.Name+" can be given to others to hand out"); err != nil {
				return err
			}
		}
	}
	if t.plane || !t.rights.Delegates(t.who, ajar.RoleAssignmentWrite, a.Scope, &f) {
		if err := t.holdsAll(r.Name, r.Permissions, a.Scope); err != nil {
			return err
		}
	}
	return t.knownScope(a.Scope)
}

// assignment is a as it is kept: old with what can change, or a new one.
func (t *txn) assignment(a, old *ajar.RoleAssignment, p *ajar.Principal, r *ajar.RoleDefinition) *ajar.RoleAssignment {
	if old != nil {
		old.Description, old.Condition = a.Description, a.Condition
		old.Updated, old.UpdatedBy = t.now, t.who.Principal
		return old
	}
	fresh := *a
	stamped(t, &fresh)
	fresh.PrincipalKind, fresh.Role = p.Kind, r.ID
	if fresh.ID == "" {
		fresh.ID = strings.ToLower(t.b.NewID())
	}
	return &fresh
}

func checkAssignment(a *ajar.RoleAssignment) (err error) {
	if a.ID != "" {
		if a.ID, err = guid("the assignment", a.ID); err != nil {
			return err
		}
	}
	p, err := guid("the principal", string(a.Principal))
	if err != nil {
		return err
	}
	r, err := guid("the role", string(a.Role))
	if err != nil {
		return err
	}
	a.Principal, a.Role = ajar.PrincipalID(p), ajar.RoleID(r)
	if a.Scope, err = readID(a.Scope, scope); err != nil {
		return err
	}
	if a.Condition != "" {
		if _, err := rbac.ParseCondition(a.Condition); err != nil {
			return err
		}
	}
	return text("the description", a.Description, ajar.MaxText)
}

// knownScope refuses a management group that does not exist; other scopes exist by being named.
func (t *txn) knownScope(at ajar.ID) error {
	if !strings.EqualFold(at.Type(), managementGroupType) {
		return nil
	}
	_, err := ajar.Get[ajar.ManagementGroup](t, at.Key())
	if errors.Is(err, ajar.NotFound) {
		return ajar.Errorf(ajar.NotFound, "there is no management group %s", at)
	}
	return err
}

// sameAssignment finds the stored assignment of a's ID, which must say the same, or nil. Another one that says the same
// is a Conflict.
func (t *txn) sameAssignment(a *ajar.RoleAssignment) (*ajar.RoleAssignment, error) {
	held, _, err := ajar.List[ajar.RoleAssignment](t, ajar.Filter{Owner: a.Principal})
	if err != nil {
		return nil, err
	}
	for _, h := range held {
		if h.ID != a.ID && strings.EqualFold(string(h.Role), string(a.Role)) && h.Scope.Equal(a.Scope) {
			return nil, &ajar.Error{Kind: ajar.Conflict, Code: "RoleAssignmentExists", Msg: "The role assignment already exists. The ID of the existing role assignment is " + h.ID + "."}
		}
	}
	if a.ID == "" {
		return nil, nil
	}
	old, err := ajar.Get[ajar.RoleAssignment](t, a.ID)
	if errors.Is(err, ajar.NotFound) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	if old.Principal != a.Principal || !strings.EqualFold(string(old.Role), string(a.Role)) || !old.Scope.Equal(a.Scope) {
		return nil, &ajar.Error{Kind: ajar.Conflict, Code: "RoleAssignmentUpdateNotPermitted", Msg: "Tenant ID, application ID, principal ID, and scope are not allowed to be updated. Only the description and the condition of an assignment can change; delete it and make another."}
	}
	return old, nil
}

// DeleteRoleAssignment takes a role away (RoleAssignmentDelete at its scope). The last Owner at / stays.
func (b *Broker) DeleteRoleAssignment(ctx context.Context, who ajar.Caller, id string) (existed bool, err error) {
	a, err := b.Unassign(ctx, who, "", id)
	return a != nil, err
}

// Unassign is DeleteRoleAssignment for one at exactly that scope, or at any (""); it gives what was taken away, or nil if
// there was nothing.
func (b *Broker) Unassign(ctx context.Context, who ajar.Caller, at ajar.ID, id string) (a *ajar.RoleAssignment, err error) {
	anywhere := at == ""
	key, bad := guid("the assignment", id)
	if bad == nil {
		at, bad = readID(at, scope)
	}
	o := op{action: ajar.RoleAssignmentDelete, scope: at, bad: bad, may: func(t *txn) (err error) {
		a, err = ajar.Get[ajar.RoleAssignment](t, key)
		if errors.Is(err, ajar.NotFound) || (err == nil && !anywhere && !a.Scope.Equal(at)) {
			a = nil
			return t.need(ajar.RoleAssignmentDelete, at)
		} else if err != nil {
			return err
		}
		t.event.Scope, t.event.Principal = a.Scope, a.Principal
		if err := t.might(ajar.RoleAssignmentDelete, a.Scope); err != nil {
			return err
		}
		return t.mayNow(ajar.RoleAssignmentDelete, a.Scope, rbac.Facts{Taken: assignmentFacts(a, a.PrincipalKind)})
	}}
	err = b.do(ctx, who, o, func(t *txn) error {
		if a == nil {
			return nil
		}
		t.detail("role", string(a.Role))
		if err := t.Delete(ajar.KindRoleAssignment, key); err != nil {
			return err
		}
		if a.Scope == ajar.Root && strings.EqualFold(string(a.Role), string(rbac.Owner)) {
			return t.ownerStays()
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return a, nil
}

// RoleAssignment reads one (RoleAssignmentRead at its scope, or one's own).
func (b *Broker) RoleAssignment(ctx context.Context, who ajar.Caller, id string) (*ajar.RoleAssignment, error) {
	key, err := guid("the assignment", id)
	if err != nil {
		return nil, err
	}
	var a *ajar.RoleAssignment
	err = b.view(ctx, who, func(t *txn) (err error) {
		a, err = ajar.Get[ajar.RoleAssignment](t, key)
		if errors.Is(err, ajar.NotFound) {
			return &ajar.Error{Kind: ajar.NotFound, Code: "RoleAssignmentNotFound", Msg: "there is no role assignment " + key}
		} else if err != nil || t.self(a.Principal) {
			return err
		}
		return t.need(ajar.RoleAssignmentRead, a.Scope)
	})
	if err != nil {
		return nil, err
	}
	return a, nil
}

// RoleAssignments lists those that the caller may read.
func (b *Broker) RoleAssignments(ctx context.Context, who ajar.Caller, f AssignmentFilter) (out []*ajar.RoleAssignment, next string, err error) {
	under, err := scope(f.Scope)
	if err != nil {
		return nil, "", err
	}
	sel := ajar.Filter{Owner: foldID(f.Principal), Ref: strings.ToLower(string(f.Role))}
	err = b.view(ctx, who, func(t *txn) (err error) {
		out, next, err = list(t, sel, t.under(under), f.Page, func(a *ajar.RoleAssignment) (bool, error) {
			return t.self(a.Principal) || t.can(ajar.RoleAssignmentRead, a.Scope), nil
		})
		return err
	})
	return out, next, err
}

// PutDenyAssignment takes permissions away (DenyAssignmentWrite at its scope, and Owner or User Access Administrator
// there). One that would leave no Owner able to remove it is refused.
func (b *Broker) PutDenyAssignment(ctx context.Context, who ajar.Caller, d ajar.DenyAssignment) (*ajar.DenyAssignment, error) {
	bad := checkDeny(&d)
	var out *ajar.DenyAssignment
	err := b.do(ctx, who, op{action: ajar.DenyAssignmentWrite, scope: d.Scope, bad: bad}, func(t *txn) error {
		if err := t.administers(d.Scope, "a deny assignment overrules every role"); err != nil {
			return err
		}
		if err := t.knownScope(d.Scope); err != nil {
			return err
		}
		out = &ajar.DenyAssignment{ID: d.ID, Name: d.Name, Scope: d.Scope, Permissions: d.Permissions, Principals: d.Principals,
			ExcludePrincipals: d.ExcludePrincipals, NotBelow: d.NotBelow, Created: t.now}
		if d.ID == "" {
			out.ID = strings.ToLower(b.NewID())
		} else if old, err := ajar.Get[ajar.DenyAssignment](t, d.ID); err == nil {
			if err := t.administers(old.Scope, "the deny assignment was at "+string(old.Scope)); err != nil {
				return err
			}
			out.Stamp, out.Created = old.Stamp, old.Created
		} else if !errors.Is(err, ajar.NotFound) {
			return err
		}
		t.detail("name", out.Name)
		if err := t.Put(out); err != nil {
			return err
		}
		return t.removable(out)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func checkDeny(d *ajar.DenyAssignment) (err error) {
	if d.ID != "" {
		if d.ID, err = guid("the deny assignment", d.ID); err != nil {
			return err
		}
	}
	if d.Scope, err = readID(d.Scope, scope); err != nil {
		return err
	}
	if err := word("the name", d.Name, 128); err != nil {
		return err
	}
	if err := checkPermissions(d.Permissions); err != nil {
		return err
	}
	if len(d.Principals) == 0 || len(d.Principals) > 1000 || len(d.ExcludePrincipals) > 1000 {
		return ajar.Errorf(ajar.Invalid, "a deny assignment names between 1 and 1000 principals, and excludes at most 1000")
	}
	for _, list := range []*[]ajar.PrincipalID{&d.Principals, &d.ExcludePrincipals} {
		read := make([]ajar.PrincipalID, len(*list))
		for i, p := range *list {
			id, err := guid("the principal", string(p))
			if err != nil {
				return err
			}
			read[i] = ajar.PrincipalID(id)
		}
		*list = read
	}
	return nil
}

// removable refuses a deny that no Owner at / could take away again. It is asked once d is written.
func (t *txn) removable(d *ajar.DenyAssignment) error {
	if err := t.rebuild(); err != nil {
		return err
	}
	owners, err := t.owners()
	if err != nil {
		return err
	}
	for _, o := range owners {
		if t.rights.Decide(ajar.Caller{Principal: o.ID}, ajar.DenyAssignmentDelete, d.Scope).Allow {
			return nil
		}
	}
	return ajar.Errorf(ajar.Conflict, "no Owner at / could remove this deny assignment again; exclude somebody, or leave %s out", ajar.DenyAssignmentDelete)
}

// DeleteDenyAssignment gives back what a deny took (DenyAssignmentDelete at its scope, and Owner or User Access
// Administrator there).
func (b *Broker) DeleteDenyAssignment(ctx context.Context, who ajar.Caller, id string) (existed bool, err error) {
	key, bad := guid("the deny assignment", id)
	var d *ajar.DenyAssignment
	o := op{action: ajar.DenyAssignmentDelete, scope: ajar.Root, bad: bad, may: func(t *txn) (err error) {
		d, err = ajar.Get[ajar.DenyAssignment](t, key)
		if errors.Is(err, ajar.NotFound) {
			d = nil
			return t.need(ajar.DenyAssignmentDelete, ajar.Root)
		} else if err != nil {
			return err
		}
		t.event.Scope = d.Scope
		if err := t.need(ajar.DenyAssignmentDelete, d.Scope); err != nil {
			return err
		}
		return t.administers(d.Scope, "a deny assignment overrules every role")
	}}
	err = b.do(ctx, who, o, func(t *txn) error {
		if existed = d != nil; !existed {
			return nil
		}
		t.detail("name", d.Name)
		return t.Delete(ajar.KindDenyAssignment, key)
	})
	return existed && err == nil, err
}

// DenyAssignments lists those at and below under that the caller may read.
func (b *Broker) DenyAssignments(ctx context.Context, who ajar.Caller, under ajar.ID, page Page) (out []*ajar.DenyAssignment, next string, err error) {
	if under, err = scope(under); err != nil {
		return nil, "", err
	}
	err = b.view(ctx, who, func(t *txn) (err error) {
		out, next, err = list(t, ajar.Filter{}, t.under(under), page, func(d *ajar.DenyAssignment) (bool, error) {
			return t.can(ajar.DenyAssignmentRead, d.Scope), nil
		})
		return err
	})
	return out, next, err
}
