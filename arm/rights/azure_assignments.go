package rights

import (
	"context"
	"net/http"
	"strings"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/arm/rest"
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
	Condition        *rest.NullText     `json:"condition,omitempty"`
	ConditionVersion *rest.NullText     `json:"conditionVersion,omitempty"`
	CreatedOn        *rest.Stamp        `json:"createdOn"`
	UpdatedOn        *rest.Stamp        `json:"updatedOn"`
	CreatedBy        rest.NullText      `json:"createdBy"`
	UpdatedBy        rest.NullText      `json:"updatedBy"`
	Delegated        *rest.NullText     `json:"delegatedManagedIdentityResourceId,omitempty"`
	Description      *rest.NullText     `json:"description,omitempty"`
}

func armAssignment(c *rest.Call, a *ajar.RoleAssignment) armAssignmentBody {
	p := armAssignmentProperties{
		RoleDefinitionID: roleIDAt(a.Scope, a.Role), PrincipalID: a.Principal, Scope: a.Scope,
		CreatedOn: rest.StampAt(a.Created), UpdatedOn: rest.StampAt(a.Created), CreatedBy: rest.NullText(a.CreatedBy), UpdatedBy: rest.NullText(a.CreatedBy),
	}
	if !a.Updated.IsZero() {
		p.UpdatedOn, p.UpdatedBy = rest.StampAt(a.Updated), rest.NullText(a.UpdatedBy)
	}
	if since(c, principalTypeSince) {
		p.PrincipalType = a.PrincipalKind
	}
	if since(c, conditionSince) {
		condition, version, description := rest.NullText(a.Condition), rest.NullText(""), rest.NullText(a.Description)
		if condition != "" {
			version = conditionVersion
		}
		p.Condition, p.ConditionVersion, p.Description, p.Delegated = &condition, &version, &description, new(rest.NullText)
	}
	return armAssignmentBody{p, below(a.Scope, "roleAssignments", a.ID), roleAssignmentType, a.ID}
}

func (s room) armListAssignments(ctx context.Context, c *rest.Call, _ rest.Nothing) (l rest.List[armAssignmentBody], err error) {
	at, err := scopeAt(c)
	if err != nil {
		return l, err
	}
	f, err := readFilter(c, "atScope()", "principalId eq", "assignedTo('')", "asTarget()")
	if err != nil {
		return l, err
	}
	asked := broker.AssignmentsAsked{NotBelow: f["atscope"] != ""}
	if asked.Page, err = c.Page(rest.EntriesAPage); err != nil {
		return l, err
	}
	if asked.Principal, err = f.guidOf("principalid"); err != nil {
		return l, err
	}
	if asked.For, err = f.guidOf("assignedto"); err != nil {
		return l, err
	}
	if f["astarget"] != "" {
		asked.For = c.Who.Principal
	}
	all, next, err := s.Broker.AssignmentsAt(ctx, c.Who, at, asked)
	if err != nil {
		return l, err
	}
	return rest.Each(c, all, next, func(a *ajar.RoleAssignment) armAssignmentBody { return armAssignment(c, a) }), nil
}

// assignmentID is the assignment that the path names. Azure's code for one that is no GUID is not known.
func assignmentID(c *rest.Call) (string, error) {
	id := c.Value("id")
	if !rest.GUIDForm.MatchString(id) {
		return "", rest.Coded(ajar.Invalid, "InvalidRoleAssignmentId", "The role assignment id '%.100s' is not a GUID.", id)
	}
	return strings.ToLower(id), nil
}

// assignmentAt is the scope and the id that the path names.
func assignmentAt(c *rest.Call) (at ajar.ID, id string, err error) {
	if at, err = scopeAt(c); err == nil {
		id, err = assignmentID(c)
	}
	return at, id, err
}

func (s room) armGetAssignment(ctx context.Context, c *rest.Call, _ rest.Nothing) (*armAssignmentBody, error) {
	at, id, err := assignmentAt(c)
	if err != nil {
		return nil, err
	}
	a, err := s.Broker.AssignmentAt(ctx, c.Who, at, id)
	if err != nil {
		return nil, err
	}
	b := armAssignment(c, a)
	return &b, nil
}

// armAssignmentIn is a role assignment as clients send it; what they cannot set is not read.
type armAssignmentIn struct {
	Properties struct {
		RoleDefinitionID rest.Text `json:"roleDefinitionId"`
		PrincipalID      rest.Text `json:"principalId"`
		PrincipalType    rest.Text `json:"principalType"`
		Description      rest.Text `json:"description"`
		Condition        rest.Text `json:"condition"`
		ConditionVersion rest.Text `json:"conditionVersion"`
		Delegated        rest.Text `json:"delegatedManagedIdentityResourceId"`
	} `json:"properties"`
}

func (in *armAssignmentIn) assignment() (a ajar.RoleAssignment, err error) {
	p := &in.Properties
	role := ajar.ID(p.RoleDefinitionID)
	switch {
	case p.RoleDefinitionID == "":
		return a, rest.Bad("properties.roleDefinitionId is required")
	case p.PrincipalID == "":
		return a, rest.Bad("properties.principalId is required")
	case !strings.EqualFold(role.Type(), roleDefinitionType) || !rest.GUIDForm.MatchString(role.Name()):
		return a, rest.Coded(ajar.Invalid, "InvalidRoleDefinitionId", "properties.roleDefinitionId '%.200s' is not the id of a role, such as %s.", role, below(ajar.Root, "roleDefinitions", "{guid}"))
	case !rest.GUIDForm.MatchString(string(p.PrincipalID)):
		return a, rest.Coded(ajar.Invalid, "InvalidPrincipalId", "properties.principalId '%.100s' is not a GUID.", p.PrincipalID)
	case p.ConditionVersion != "" && p.ConditionVersion != conditionVersion:
		return a, rest.Coded(ajar.Invalid, "InvalidConditionVersion", "properties.conditionVersion is '%.20s'; conditions are of version %s.", p.ConditionVersion, conditionVersion)
	case p.ConditionVersion != "" && p.Condition == "":
		return a, rest.Bad("properties.conditionVersion is given, and no properties.condition")
	case p.Delegated != "":
		return a, rest.Bad("properties.delegatedManagedIdentityResourceId is not supported: there is one tenant")
	}
	a = ajar.RoleAssignment{Principal: ajar.PrincipalID(p.PrincipalID), Role: ajar.RoleID(role.Name()), Description: string(p.Description), Condition: string(p.Condition)}
	if p.PrincipalType != "" {
		for _, k := range []ajar.PrincipalKind{ajar.User, ajar.Group, ajar.ServicePrincipal} {
			if strings.EqualFold(string(p.PrincipalType), string(k)) {
				a.PrincipalKind = k
			}
		}
		if a.PrincipalKind == "" {
			return a, rest.Coded(ajar.Invalid, "InvalidPrincipalType", "properties.principalType is '%.40s'; it can be User, Group or ServicePrincipal.", p.PrincipalType)
		}
	}
	return a, nil
}

func (s room) armPutAssignment(ctx context.Context, c *rest.Call, in armAssignmentIn) (*armAssignmentBody, error) {
	at, id, err := assignmentAt(c)
	if err != nil {
		return nil, err
	}
	a, err := in.assignment()
	if err != nil {
		return nil, err
	}
	a.ID, a.Scope = id, at
	knows := since(c, conditionSince)
	if !knows && a.Condition != "" {
		return nil, rest.Bad("properties.condition: api-version '%.40s' has no conditions; use %s or later", c.Param("api-version"), conditionSince+"-preview")
	}
	put, made, err := s.Broker.Assign(ctx, c.Who, a, broker.AssignOptions{KeepCondition: !knows})
	if err != nil {
		return nil, err
	}
	if !made {
		c.Status = http.StatusOK
	}
	b := armAssignment(c, put)
	return &b, nil
}

func (s room) armDeleteAssignment(ctx context.Context, c *rest.Call, _ rest.Nothing) (*armAssignmentBody, error) {
	at, id, err := assignmentAt(c)
	if err != nil {
		return nil, err
	}
	a, err := s.Broker.Unassign(ctx, c.Who, at, id)
	if err != nil {
		return nil, err
	}
	if a == nil {
		c.Status = http.StatusNoContent
		return nil, nil
	}
	b := armAssignment(c, a)
	return &b, nil
}
