package broker

import (
	"context"

	"github.com/ajar-access/ajar"
)

// AssignmentFilter selects role assignments. Zero fields do not filter.
type AssignmentFilter struct {
	Scope     ajar.ID // at and below
	Principal ajar.PrincipalID
	Role      ajar.RoleID
	Page      Page
}

// Allowed answers what rights alone say: may who do action at scope, by which assignment, and if not what is missing.
func (b *Broker) Allowed(ctx context.Context, who ajar.Caller, action ajar.Action, scope ajar.ID) (ajar.Decision, error) {
	return ajar.Decision{}, nil
}

// PutRoleDefinition creates a custom role (ID "") or changes one: RoleDefinitionWrite at each of its assignable scopes,
// and nobody defines more than they hold there.
func (b *Broker) PutRoleDefinition(ctx context.Context, who ajar.Caller, r ajar.RoleDefinition) (*ajar.RoleDefinition, error) {
	return nil, nil
}

// DeleteRoleDefinition removes a custom role that nobody is assigned (RoleDefinitionDelete).
func (b *Broker) DeleteRoleDefinition(ctx context.Context, who ajar.Caller, id ajar.RoleID) (existed bool, err error) {
	return false, nil
}

// RoleDefinition reads one by ID or name. Whoever is signed in may read roles.
func (b *Broker) RoleDefinition(ctx context.Context, who ajar.Caller, idOrName string) (*ajar.RoleDefinition, error) {
	return nil, nil
}

// RoleDefinitions lists the roles there are. Whoever is signed in may read them.
func (b *Broker) RoleDefinitions(ctx context.Context, who ajar.Caller, page Page) (list []*ajar.RoleDefinition, next string, err error) {
	return nil, "", nil
}

// PutRoleAssignment gives a role (RoleAssignmentWrite at its scope). Nobody grants more than they hold: unless the
// caller is Owner or User Access Administrator there, it must hold every permission of the role. Of an assignment that
// exists, Description alone can change.
func (b *Broker) PutRoleAssignment(ctx context.Context, who ajar.Caller, a ajar.RoleAssignment) (*ajar.RoleAssignment, error) {
	return nil, nil
}

// DeleteRoleAssignment takes a role away (RoleAssignmentDelete at its scope). The last Owner at / stays.
func (b *Broker) DeleteRoleAssignment(ctx context.Context, who ajar.Caller, id string) (existed bool, err error) {
	return false, nil
}

// RoleAssignment reads one (RoleAssignmentRead at its scope, or one's own).
func (b *Broker) RoleAssignment(ctx context.Context, who ajar.Caller, id string) (*ajar.RoleAssignment, error) {
	return nil, nil
}

// RoleAssignments lists those that the caller may read.
func (b *Broker) RoleAssignments(ctx context.Context, who ajar.Caller, f AssignmentFilter) (list []*ajar.RoleAssignment, next string, err error) {
	return nil, "", nil
}

// PutDenyAssignment takes permissions away (DenyAssignmentWrite at its scope, and Owner or User Access Administrator
// there). One that would leave no Owner able to remove it is refused.
func (b *Broker) PutDenyAssignment(ctx context.Context, who ajar.Caller, d ajar.DenyAssignment) (*ajar.DenyAssignment, error) {
	return nil, nil
}

// DeleteDenyAssignment gives back what a deny took (DenyAssignmentDelete at its scope, and Owner or User Access
// Administrator there).
func (b *Broker) DeleteDenyAssignment(ctx context.Context, who ajar.Caller, id string) (existed bool, err error) {
	return false, nil
}

// DenyAssignments lists those at and below scope that the caller may read.
func (b *Broker) DenyAssignments(ctx context.Context, who ajar.Caller, scope ajar.ID, page Page) (list []*ajar.DenyAssignment, next string, err error) {
	return nil, "", nil
}
