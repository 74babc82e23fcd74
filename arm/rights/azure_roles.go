package rights

import (
	"context"
	"net/http"
	"strings"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/arm/rest"
	"github.com/ajar-access/ajar/broker"
	"github.com/ajar-access/ajar/odata"
)

const (
	roleDefinitionType = "Microsoft.Authorization/roleDefinitions"
	builtInRole        = "BuiltInRole"
	customRole         = "CustomRole"
)

// armRoleBody is a role definition as Azure writes it.
type armRoleBody struct {
	Properties armRoleProperties `json:"properties"`
	ID         ajar.ID           `json:"id"`
	Type       string            `json:"type"`
	Name       string            `json:"name"`
}

type armRoleProperties struct {
	RoleName         string          `json:"roleName"`
	Type             string          `json:"type"`
	Description      string          `json:"description"`
	AssignableScopes []ajar.ID       `json:"assignableScopes"`
	Permissions      []armPermission `json:"permissions"`
	CreatedOn        *rest.Stamp     `json:"createdOn,omitempty"`
	UpdatedOn        *rest.Stamp     `json:"updatedOn,omitempty"`
	CreatedBy        rest.NullText   `json:"createdBy"`
	UpdatedBy        rest.NullText   `json:"updatedBy"`
}

// armPermission has data actions only where the api-version knows of them, and a condition only in what somebody has.
type armPermission struct {
	Actions          []ajar.Action  `json:"actions"`
	NotActions       []ajar.Action  `json:"notActions"`
	DataActions      *[]ajar.Action `json:"dataActions,omitempty"`
	NotDataActions   *[]ajar.Action `json:"notDataActions,omitempty"`
	Condition        string         `json:"condition,omitempty"`
	ConditionVersion string         `json:"conditionVersion,omitempty"`
}

// dataActionsSince is the first api-version with data actions.
const dataActionsSince = "2018-01-01"

func permission(c *rest.Call, p ajar.Permission) armPermission {
	some := func(list []ajar.Action) []ajar.Action {
		if list == nil {
			return []ajar.Action{}
		}
		return list
	}
	out := armPermission{Actions: some(p.Actions), NotActions: some(p.NotActions)}
	if since(c, dataActionsSince) {
		data, not := some(p.DataActions), some(p.NotDataActions)
		out.DataActions, out.NotDataActions = &data, &not
	}
	return out
}

func armRole(c *rest.Call, at ajar.ID, r *ajar.RoleDefinition) armRoleBody {
	b := armRoleBody{
		ID: roleIDAt(at, r.ID), Type: roleDefinitionType, Name: string(r.ID),
		Properties: armRoleProperties{
			RoleName: r.Name, Type: customRole, Description: r.Description, AssignableScopes: r.AssignableScopes, Permissions: []armPermission{},
			CreatedOn: rest.StampAt(r.Created), UpdatedOn: rest.StampAt(r.Updated), CreatedBy: rest.NullText(r.CreatedBy), UpdatedBy: rest.NullText(r.UpdatedBy),
		},
	}
	if r.BuiltIn {
		b.Properties.Type = builtInRole
	}
	for _, p := range r.Permissions {
		b.Properties.Permissions = append(b.Properties.Permissions, permission(c, p))
	}
	return b
}

func (s room) armListRoles(ctx context.Context, c *rest.Call, _ rest.Nothing) (l rest.List[armRoleBody], err error) {
	at, err := scopeAt(c)
	if err != nil {
		return l, err
	}
	f, err := readFilter(c, "atScopeAndBelow()", "roleName eq", "type eq")
	if err != nil {
		return l, err
	}
	asked := broker.RolesAsked{Below: f["atscopeandbelow"] != "", Name: f["rolename"]}
	if kind, ok := f["type"]; ok {
		builtIn := strings.EqualFold(kind, builtInRole)
		if !builtIn && !strings.EqualFold(kind, customRole) {
			return l, odata.Bad("type can be '" + builtInRole + "' or '" + customRole + "'")
		}
		asked.BuiltIn = &builtIn
	}
	all, err := s.Broker.RolesAt(ctx, c.Who, at, asked)
	if err != nil {
		return l, err
	}
	return rest.Each(c, all, "", func(r *ajar.RoleDefinition) armRoleBody { return armRole(c, at, r) }), nil
}

// roleID is the role that the path names. Azure's code for one that is no GUID is not known.
func roleID(c *rest.Call) (ajar.RoleID, error) {
	id := c.Value("id")
	if !rest.GUIDForm.MatchString(id) {
		return "", rest.Coded(ajar.Invalid, "InvalidRoleDefinitionId", "The role definition id '%.100s' is not a GUID.", id)
	}
	return ajar.RoleID(strings.ToLower(id)), nil
}

// roleAt is the scope and the id that the path names.
func roleAt(c *rest.Call) (at ajar.ID, id ajar.RoleID, err error) {
	if at, err = scopeAt(c); err == nil {
		id, err = roleID(c)
	}
	return at, id, err
}

func (s room) armGetRole(ctx context.Context, c *rest.Call, _ rest.Nothing) (*armRoleBody, error) {
	at, id, err := roleAt(c)
	if err != nil {
		return nil, err
	}
	r, err := s.Broker.RoleAt(ctx, c.Who, at, id)
	if err != nil {
		return nil, err
	}
	b := armRole(c, at, r)
	return &b, nil
}

// armRoleIn is a role definition as clients send it; what they cannot set is not read.
type armRoleIn struct {
	Properties struct {
		RoleName         rest.Text `json:"roleName"`
		Description      rest.Text `json:"description"`
		Type             rest.Text `json:"type"`
		AssignableScopes []string  `json:"assignableScopes"`
		Permissions      []struct {
			Actions        []ajar.Action `json:"actions"`
			NotActions     []ajar.Action `json:"notActions"`
			DataActions    []ajar.Action `json:"dataActions"`
			NotDataActions []ajar.Action `json:"notDataActions"`
			Condition      rest.Text     `json:"condition"`
		} `json:"permissions"`
	} `json:"properties"`
}

func (in *armRoleIn) role() (r ajar.RoleDefinition, err error) {
	p := &in.Properties
	r = ajar.RoleDefinition{Name: string(p.RoleName), Description: string(p.Description)}
	if p.Type != "" && !strings.EqualFold(string(p.Type), customRole) {
		return r, rest.Bad("properties.type is '%.40s'; roles that are made are '%s'", p.Type, customRole)
	}
	for i, q := range p.Permissions {
		if q.Condition != "" {
			return r, rest.Bad("properties.permissions[%d].condition: roles have no conditions here; put one on the role assignment", i)
		}
		r.Permissions = append(r.Permissions, ajar.Permission{Actions: q.Actions, NotActions: q.NotActions, DataActions: q.DataActions, NotDataActions: q.NotDataActions})
	}
	for i, text := range p.AssignableScopes {
		id, err := authorizationScope(text)
		if err != nil {
			return r, rest.Bad("properties.assignableScopes[%d]: %s", i, ajar.Message(err))
		}
		if id == ajar.Root {
			return r, rest.Bad("properties.assignableScopes[%d]: only built-in roles can be assigned at '/'; name management groups, subscriptions, resource groups or resources", i)
		}
		r.AssignableScopes = append(r.AssignableScopes, id)
	}
	return r, nil
}

func (s room) armPutRole(ctx context.Context, c *rest.Call, in armRoleIn) (*armRoleBody, error) {
	at, id, err := roleAt(c)
	if err != nil {
		return nil, err
	}
	r, err := in.role()
	if err != nil {
		return nil, err
	}
	r.ID = id
	put, err := s.Broker.PutRoleDefinition(ctx, c.Who, r)
	if err != nil {
		return nil, err
	}
	b := armRole(c, at, put)
	return &b, nil
}

func (s room) armDeleteRole(ctx context.Context, c *rest.Call, _ rest.Nothing) (*armRoleBody, error) {
	at, id, err := roleAt(c)
	if err != nil {
		return nil, err
	}
	r, err := s.Broker.RemoveRole(ctx, c.Who, at, id)
	if err != nil {
		return nil, err
	}
	if r == nil {
		c.Status = http.StatusNoContent
		return nil, nil
	}
	b := armRole(c, at, r)
	return &b, nil
}
