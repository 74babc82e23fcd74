package arm

import (
	"context"
	"net/http"
	"strings"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/broker"
)

const roleAssignmentType = "Microsoft.Authorization/roleAssignments"

// The first api-versions with these members.
const (
	principalTypeSince = "2018-07-01"
	conditionSince     = "2020-03-01"
)

const conditionVersion = "2.0"

// armAssignmentBody is a role assignment as Azure writes it.
type armAssignmentBody struct {
	Properties armAssignmentProperties `json:"properties"`
	ID         ajar.ID                 `json:"id"`
	Type       string                  `json:"type"`
	Name       string                  `json:"name"`
}

// armAssignment has what the api-version knows of, with null where there is nothing.
type armAssignmentProperties struct {
	RoleDefinitionID ajar.ID            `json:"roleDefinitionId"`
	PrincipalID      ajar.PrincipalID   `json:"principalId"`
	PrincipalType    ajar.PrincipalKind `json:"principalType,omitempty"`
	Scope            ajar.ID            `json:"scope"`
	Condition        *nullText          `json:"condition,omitempty"`
	ConditionVersion *nullText          `json:"conditionVersion,omitempty"`
	CreatedOn        *stamp             `json:"createdOn"`
	UpdatedOn        *stamp             `json:"updatedOn"`
	CreatedBy        nullText           `json:"createdBy"`
	UpdatedBy        nullText           `json:"updatedBy"`
	Delegated        *nullText          `json:"delegatedManagedIdentityResourceId,omitempty"`
	Description      *nullText          `json:"description,omitempty"`
}

func (c *call) armAssignment(a *ajar.RoleAssignment) armAssignmentBody {
	p := armAssignmentProperties{
		RoleDefinitionID: roleIDAt(a.Scope, a.Role), PrincipalID: a.Principal, Scope: a.Scope,
		CreatedOn: when(a.Created), UpdatedOn: when(a.Created), CreatedBy: nullText(a.CreatedBy), UpdatedBy: nullText(a.CreatedBy),
	}
	if !a.Updated.IsZero() {
		p.UpdatedOn, p.UpdatedBy = when(a.Updated), nullText(a.UpdatedBy)
	}
	if c.since(principalTypeSince) {
		p.PrincipalType = a.PrincipalKind
	}
	if c.since(conditionSince) {
		condition, version, description := nullText(a.Condition), nullText(""), nullText(a.Description)
		if condition != "" {
			version = conditionVersion
		}
		p.Condition, p.ConditionVersion, p.Description, p.Delegated = &condition, &version, &description, new(nullText)
	}
	return armAssignmentBody{p, below(a.Scope, "roleAssignments", a.ID), roleAssignmentType, a.ID}
}

func (s *Server) armListAssignments(ctx context.Context, c *call, _ nothing) (l list[armAssignmentBody], err error) {
	at, err := c.at()
	if err != nil {
		return l, err
	}
	f, err := c.authorizationFilter("atScope()", "principalId eq", "assignedTo('')", "asTarget()")
	if err != nil {
		return l, err
	}
	asked := broker.AssignmentsAsked{NotBelow: f["atscope"] != ""}
	if asked.Page, err = c.page(entriesAPage); err != nil {
		return l, err
	}
	if asked.Principal, err = f.guidOf("principalid"); err != nil {
		return l, err
	}
	if asked.For, err = f.guidOf("assignedto"); err != nil {
		return l, err
	}
	if f["astarget"] != "" {
		asked.For = c.who.Principal
	}
	all, next, err := s.Broker.AssignmentsAt(ctx, c.who, at, asked)
	if err != nil {
		return l, err
	}
	return each(c, all, next, c.armAssignment), nil
}

// assignmentID is the assignment that the path names. Azure's code for one that is no GUID is not known.
func (c *call) assignmentID() (string, error) {
	id := c.value("id")
	if !subscriptionForm.MatchString(id) {
		return "", coded(ajar.Invalid, "InvalidRoleAssignmentId", "The role assignment id '%.100s' is not a GUID.", id)
	}
	return strings.ToLower(id), nil
}

// assignmentAt is the scope and the id that the path names.
func (c *call) assignmentAt() (at ajar.ID, id string, err error) {
	if at, err = c.at(); err == nil {
		id, err = c.assignmentID()
	}
	return at, id, err
}

func (s *Server) armGetAssignment(ctx context.Context, c *call, _ nothing) (*armAssignmentBody, error) {
	at, id, err := c.assignmentAt()
	if err != nil {
		return nil, err
	}
	a, err := s.Broker.AssignmentAt(ctx, c.who, at, id)
	if err != nil {
		return nil, err
	}
	b := c.armAssignment(a)
	return &b, nil
}

// armAssignmentIn is a role assignment as clients send it; what they cannot set is not read.
type armAssignmentIn struct {
	Properties struct {
		RoleDefinitionID wireText `json:"roleDefinitionId"`
		PrincipalID      wireText `json:"principalId"`
		PrincipalType    wireText `json:"principalType"`
		Description      wireText `json:"description"`
		Condition        wireText `json:"condition"`
		ConditionVersion wireText `json:"conditionVersion"`
		Delegated        wireText `json:"delegatedManagedIdentityResourceId"`
	} `json:"properties"`
}

func (in *armAssignmentIn) assignment() (a ajar.RoleAssignment, err error) {
	p := &in.Properties
	role := ajar.ID(p.RoleDefinitionID)
	switch {
	case p.RoleDefinitionID == "":
		return a, bad("properties.roleDefinitionId is required")
	case p.PrincipalID == "":
		return a, bad("properties.principalId is required")
	case !strings.EqualFold(role.Type(), roleDefinitionType) || !subscriptionForm.MatchString(role.Name()):
		return a, coded(ajar.Invalid, "InvalidRoleDefinitionId", "properties.roleDefinitionId '%.200s' is not the id of a role, such as %s.", role, below(ajar.Root, "roleDefinitions", "{guid}"))
	case !subscriptionForm.MatchString(string(p.PrincipalID)):
		return a, coded(ajar.Invalid, "InvalidPrincipalId", "properties.principalId '%.100s' is not a GUID.", p.PrincipalID)
	case p.ConditionVersion != "" && p.ConditionVersion != conditionVersion:
		return a, coded(ajar.Invalid, "InvalidConditionVersion", "properties.conditionVersion is '%.20s'; conditions are of version %s.", p.ConditionVersion, conditionVersion)
	case p.ConditionVersion != "" && p.Condition == "":
		return a, bad("properties.conditionVersion is given, and no properties.condition")
	case p.Delegated != "":
		return a, bad("properties.delegatedManagedIdentityResourceId is not supported: there is one tenant")
	}
	a = ajar.RoleAssignment{Principal: ajar.PrincipalID(p.PrincipalID), Role: ajar.RoleID(role.Name()), Description: string(p.Description), Condition: string(p.Condition)}
	if p.PrincipalType != "" {
		for _, k := range []ajar.PrincipalKind{ajar.User, ajar.Group, ajar.ServicePrincipal} {
			if strings.EqualFold(string(p.PrincipalType), string(k)) {
				a.PrincipalKind = k
			}
		}
		if a.PrincipalKind == "" {
			return a, coded(ajar.Invalid, "InvalidPrincipalType", "properties.principalType is '%.40s'; it can be User, Group or ServicePrincipal.", p.PrincipalType)
		}
	}
	return a, nil
}

func (s *Server) armPutAssignment(ctx context.Context, c *call, in armAssignmentIn) (*armAssignmentBody, error) {
	at, id, err := c.assignmentAt()
	if err != nil {
		return nil, err
	}
	a, err := in.assignment()
	if err != nil {
		return nil, err
	}
	a.ID, a.Scope = id, at
	knows := c.since(conditionSince)
	if !knows && a.Condition != "" {
		return nil, bad("properties.condition: api-version '%.40s' has no conditions; use %s or later", c.param("api-version"), conditionSince+"-preview")
	}
	put, made, err := s.Broker.Assign(ctx, c.who, a, broker.AssignOptions{KeepCondition: !knows})
	if err != nil {
		return nil, err
	}
	if !made {
		c.status = http.StatusOK
	}
	b := c.armAssignment(put)
	return &b, nil
}

func (s *Server) armDeleteAssignment(ctx context.Context, c *call, _ nothing) (*armAssignmentBody, error) {
	at, id, err := c.assignmentAt()
	if err != nil {
		return nil, err
	}
	a, err := s.Broker.Unassign(ctx, c.who, at, id)
	if err != nil {
		return nil, err
	}
	if a == nil {
		c.status = http.StatusNoContent
		return nil, nil
	}
	b := c.armAssignment(a)
	return &b, nil
}
