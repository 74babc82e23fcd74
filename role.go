package ajar

import "time"

// Action is an operation in Azure's spelling, such as
// Microsoft.Security/locations/jitNetworkAccessPolicies/initiate/action. In role definitions a * stands for any run
// of characters, slashes included; compared without regard to case.
type Action string

// The actions that verbs ask for. Azure's where Azure has one.
const (
	PolicyRead     Action = "Microsoft.Security/locations/jitNetworkAccessPolicies/read"
	PolicyWrite    Action = "Microsoft.Security/locations/jitNetworkAccessPolicies/write"
	PolicyDelete   Action = "Microsoft.Security/locations/jitNetworkAccessPolicies/delete"
	PolicyInitiate Action = "Microsoft.Security/locations/jitNetworkAccessPolicies/initiate/action"

	RequestRead    Action = "Microsoft.Security/locations/jitNetworkAccessPolicies/requests/read"
	RequestApprove Action = "Microsoft.Security/locations/jitNetworkAccessPolicies/requests/approve/action"
	RequestDeny    Action = "Microsoft.Security/locations/jitNetworkAccessPolicies/requests/deny/action"
	RequestRevoke  Action = "Microsoft.Security/locations/jitNetworkAccessPolicies/requests/revoke/action"
	RequestExtend  Action = "Microsoft.Security/locations/jitNetworkAccessPolicies/requests/extend/action"

	MachineRead   Action = "Microsoft.Compute/virtualMachines/read"
	MachineWrite  Action = "Microsoft.Compute/virtualMachines/write"
	MachineDelete Action = "Microsoft.Compute/virtualMachines/delete"

	HostRead     Action = "Ajar.Access/hosts/read"
	HostWrite    Action = "Ajar.Access/hosts/write"
	HostDelete   Action = "Ajar.Access/hosts/delete"
	GuardRelease Action = "Ajar.Access/guards/release/action"
	GuardConfirm Action = "Ajar.Access/guards/confirm/action"

	PrincipalRead   Action = "Ajar.Access/principals/read"
	PrincipalWrite  Action = "Ajar.Access/principals/write"
	PrincipalDelete Action = "Ajar.Access/principals/delete"

	EventRead Action = "Microsoft.Insights/eventtypes/values/read"

	RoleDefinitionRead    Action = "Microsoft.Authorization/roleDefinitions/read"
	RoleDefinitionWrite   Action = "Microsoft.Authorization/roleDefinitions/write"
	RoleDefinitionDelete  Action = "Microsoft.Authorization/roleDefinitions/delete"
	RoleAssignmentRead    Action = "Microsoft.Authorization/roleAssignments/read"
	RoleAssignmentWrite   Action = "Microsoft.Authorization/roleAssignments/write"
	RoleAssignmentDelete  Action = "Microsoft.Authorization/roleAssignments/delete"
	DenyAssignmentRead    Action = "Microsoft.Authorization/denyAssignments/read"
	DenyAssignmentWrite   Action = "Microsoft.Authorization/denyAssignments/write"
	DenyAssignmentDelete  Action = "Microsoft.Authorization/denyAssignments/delete"
	SubscriptionRead      Action = "Microsoft.Resources/subscriptions/read"
	ResourceGroupRead     Action = "Microsoft.Resources/subscriptions/resourceGroups/read"
	ResourceGroupWrite    Action = "Microsoft.Resources/subscriptions/resourceGroups/write"
	LocationRead          Action = "Microsoft.Resources/subscriptions/locations/read"
	ManagementGroupRead   Action = "Microsoft.Management/managementGroups/read"
	ManagementGroupWrite  Action = "Microsoft.Management/managementGroups/write"
	ManagementGroupDelete Action = "Microsoft.Management/managementGroups/delete"
)

// RoleID is a role definition's GUID.
type RoleID string

// RoleDefinition is a named set of permissions (Azure RBAC, role definitions).
type RoleDefinition struct {
	Stamp
	ID               RoleID
	Name             string
	Description      string
	BuiltIn          bool
	Permissions      []Permission
	AssignableScopes []ID
	Created, Updated time.Time // zero for built-in ones
	CreatedBy        PrincipalID
	UpdatedBy        PrincipalID
}

// Permission grants Actions less NotActions. NotActions is no deny: another role may grant it back. Control-plane
// actions never grant data actions.
type Permission struct {
	Actions        []Action
	NotActions     []Action
	DataActions    []Action
	NotDataActions []Action
}

// RoleAssignment gives a role to a principal at a scope and everything below it, where its Condition holds.
type RoleAssignment struct {
	Stamp
	ID            string // GUID
	Principal     PrincipalID
	PrincipalKind PrincipalKind
	Role          RoleID
	Scope         ID
	Description   string
	Condition     string // in Azure's language, version 2.0; "" = always
	Created       time.Time
	CreatedBy     PrincipalID
	Updated       time.Time // zero = as made
	UpdatedBy     PrincipalID
}

// DenyAssignment takes permissions away, whatever roles say (Azure RBAC, deny assignments).
type DenyAssignment struct {
	Stamp
	ID                string
	Name              string
	Scope             ID
	Permissions       []Permission
	Principals        []PrincipalID // Everyone stands for all
	ExcludePrincipals []PrincipalID
	NotBelow          bool // Azure's doNotApplyToChildScopes
	Created           time.Time
}

// Everyone is the principal that stands for all of them in a deny assignment (Azure: SystemDefined, zero GUID).
const Everyone PrincipalID = "00000000-0000-0000-0000-000000000000"

// ManagementGroup is a scope above subscriptions. Its ID is
// /providers/Microsoft.Management/managementGroups/{name}; what it covers is listed, not prefixed.
type ManagementGroup struct {
	Stamp
	ID            ID
	Display       string
	Parent        ID       // another management group, or Root
	Subscriptions []string // GUIDs
}
