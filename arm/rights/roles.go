package rights

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/arm/rest"
	"github.com/ajar-access/ajar/broker"
)

func (s room) roleRoutes() []rest.Route {
	const (
		defs   = "/ajar/v1/role-definitions"
		assign = "/ajar/v1/role-assignments"
	)
	return []rest.Route{
		rest.Get(defs, rest.Ours, rest.Op(200, s.listRoles), "Lists role definitions.", ajar.RoleDefinitionRead, "$top"),
		rest.Put(defs, rest.Ours, rest.Op(200, s.putRole), "Makes a role definition.", ajar.RoleDefinitionWrite),
		rest.Get(defs+"/{id}", rest.Ours, rest.Op(200, s.getRole), "Shows a role definition.", ajar.RoleDefinitionRead),
		rest.Put(defs+"/{id}", rest.Ours, rest.Op(200, s.putRole), "Makes or replaces a role definition.", ajar.RoleDefinitionWrite),
		rest.Delete(defs+"/{id}", rest.Ours, rest.Op(204, s.deleteRole), "Removes a role definition.", ajar.RoleDefinitionDelete),
		rest.Get(assign, rest.Ours, rest.Op(200, s.listAssignments), "Lists role assignments.", ajar.RoleAssignmentRead, "scope", "at", "principal", "role", "$top"),
		rest.Put(assign, rest.Ours, rest.Op(200, s.putAssignment), "Makes a role assignment.", ajar.RoleAssignmentWrite),
		rest.Get(assign+"/{id}", rest.Ours, rest.Op(200, s.getAssignment), "Shows a role assignment.", ajar.RoleAssignmentRead),
		rest.Put(assign+"/{id}", rest.Ours, rest.Op(200, s.putAssignment), "Makes or replaces a role assignment.", ajar.RoleAssignmentWrite),
		rest.Delete(assign+"/{id}", rest.Ours, rest.Op(204, s.deleteAssignment), "Removes a role assignment.", ajar.RoleAssignmentDelete),
	}
}

// roleBody is a role definition both ways; a name in the path goes before one in the body.
type roleBody struct {
	ID               ajar.RoleID      `json:"id,omitempty"`
	Name             string           `json:"name"`
	Description      string           `json:"description,omitempty"`
	BuiltIn          bool             `json:"builtIn,omitempty"`
	Permissions      []permissionBody `json:"permissions"`
	AssignableScopes []string         `json:"assignableScopes"`
}

type permissionBody struct {
	Actions        []ajar.Action `json:"actions"`
	NotActions     []ajar.Action `json:"notActions,omitempty"`
	DataActions    []ajar.Action `json:"dataActions,omitempty"`
	NotDataActions []ajar.Action `json:"notDataActions,omitempty"`
}

type assignmentBody struct {
	ID            string             `json:"id,omitempty"`
	Principal     string             `json:"principal"` // id or name in, id out
	PrincipalName string             `json:"principalName,omitempty"`
	PrincipalKind ajar.PrincipalKind `json:"principalKind,omitempty"`
	Role          string             `json:"role"` // id or name in, id out
	RoleName      string             `json:"roleName,omitempty"`
	Scope         string             `json:"scope"`
	Description   string             `json:"description,omitempty"`
	Condition     *string            `json:"condition,omitempty"` // absent in = as it is, "" in = none
	Created       *time.Time         `json:"created,omitempty"`
}

func showRole(r *ajar.RoleDefinition) roleBody {
	b := roleBody{ID: r.ID, Name: r.Name, Description: r.Description, BuiltIn: r.BuiltIn, Permissions: showPermissions(r.Permissions), AssignableScopes: []string{}}
	for _, sc := range r.AssignableScopes {
		b.AssignableScopes = append(b.AssignableScopes, string(sc))
	}
	return b
}

func showPermissions(ps []ajar.Permission) []permissionBody {
	all := make([]permissionBody, 0, len(ps))
	for _, p := range ps {
		if p.Actions == nil {
			p.Actions = []ajar.Action{}
		}
		all = append(all, permissionBody(p))
	}
	return all
}

func permissions(in []permissionBody) (all []ajar.Permission) {
	for _, p := range in {
		all = append(all, ajar.Permission(p))
	}
	return all
}

func parseScopes(in []string, where string) (all []ajar.ID, err error) {
	for i, text := range in {
		id, err := ajar.ParseID(text)
		if err != nil {
			return nil, rest.Bad("%s[%d]: %s", where, i, ajar.Message(err))
		}
		all = append(all, id)
	}
	return all, nil
}

func (s room) listRoles(ctx context.Context, c *rest.Call, _ rest.Nothing) (l rest.List[roleBody], err error) {
	page, err := c.Page(rest.EntriesAPage)
	if err != nil {
		return l, err
	}
	all, next, err := s.Broker.RoleDefinitions(ctx, c.Who, page)
	if err != nil {
		return l, err
	}
	return rest.Each(c, all, next, showRole), nil
}

func (s room) getRole(ctx context.Context, c *rest.Call, _ rest.Nothing) (*roleBody, error) {
	r, err := s.Broker.RoleDefinition(ctx, c.Who, c.Value("id"))
	if err != nil {
		return nil, err
	}
	b := showRole(r)
	return &b, nil
}

func (s room) putRole(ctx context.Context, c *rest.Call, in roleBody) (*roleBody, error) {
	r := ajar.RoleDefinition{ID: in.ID, Name: in.Name, Description: in.Description, Permissions: permissions(in.Permissions)}
	if id := c.Value("id"); id != "" {
		r.ID = ajar.RoleID(id)
	}
	var err error
	if r.AssignableScopes, err = parseScopes(in.AssignableScopes, "assignableScopes"); err != nil {
		return nil, err
	}
	put, err := s.Broker.PutRoleDefinition(ctx, c.Who, r)
	if err != nil {
		return nil, err
	}
	b := showRole(put)
	return &b, nil
}

func (s room) deleteRole(ctx context.Context, c *rest.Call, _ rest.Nothing) (rest.Nothing, error) {
	r, err := s.Broker.RoleDefinition(ctx, c.Who, c.Value("id"))
	if err != nil {
		return rest.Nothing{}, err
	}
	_, err = s.Broker.DeleteRoleDefinition(ctx, c.Who, r.ID)
	return rest.Nothing{}, err
}

// showAssignment adds the names, as far as the caller may read them; names remembers those of one list.
func (s room) showAssignment(ctx context.Context, c *rest.Call, a *ajar.RoleAssignment, names map[string]string) assignmentBody {
	b := assignmentBody{
		ID: a.ID, Principal: string(a.Principal), PrincipalKind: a.PrincipalKind, Role: string(a.Role), Scope: string(a.Scope),
		Description: a.Description, Created: rest.When(a.Created),
	}
	if a.Condition != "" {
		b.Condition = &a.Condition
	}
	who := c.Who
	who.Doing = "" // it is done
	if _, ok := names[b.Principal]; !ok {
		names[b.Principal] = ""
		if p, err := s.Broker.Principal(ctx, who, b.Principal); err == nil {
			names[b.Principal] = p.Name
		}
	}
	if _, ok := names[b.Role]; !ok {
		names[b.Role] = ""
		if r, err := s.Broker.RoleDefinition(ctx, who, b.Role); err == nil {
			names[b.Role] = r.Name
		}
	}
	b.PrincipalName, b.RoleName = names[b.Principal], names[b.Role]
	return b
}

func (s room) listAssignments(ctx context.Context, c *rest.Call, _ rest.Nothing) (l rest.List[assignmentBody], err error) {
	var f broker.AssignmentFilter
	if f.Page, err = c.Page(rest.EntriesAPage); err != nil {
		return l, err
	}
	if f.Scope, err = c.ScopeParam("scope", ""); err != nil {
		return l, err
	}
	if v := c.Param("principal"); v != "" {
		p, err := s.Broker.Principal(ctx, c.Who, v)
		if err != nil {
			return l, err
		}
		f.Principal = p.ID
	}
	if v := c.Param("role"); v != "" {
		r, err := s.Broker.RoleDefinition(ctx, c.Who, v)
		if err != nil {
			return l, err
		}
		f.Role = r.ID
	}
	all, next, err := s.assignmentsAsked(ctx, c, f)
	if err != nil {
		return l, err
	}
	names := map[string]string{}
	return rest.Each(c, all, next, func(a *ajar.RoleAssignment) assignmentBody { return s.showAssignment(ctx, c, a, names) }), nil
}

// assignmentsAsked are those at and below a scope; or, with at, all that hold there: at it, above and below it, and of a
// principal also what its groups are assigned.
func (s room) assignmentsAsked(ctx context.Context, c *rest.Call, f broker.AssignmentFilter) ([]*ajar.RoleAssignment, string, error) {
	at, err := c.ScopeParam("at", "")
	if err != nil {
		return nil, "", err
	}
	if at == "" {
		return s.Broker.RoleAssignments(ctx, c.Who, f)
	}
	if f.Scope != "" {
		return nil, "", ajar.Errorf(ajar.Invalid, "scope and at do not go together")
	}
	all, next, err := s.Broker.AssignmentsAt(ctx, c.Who, at, broker.AssignmentsAsked{For: f.Principal, Page: f.Page})
	if f.Role != "" {
		all = slices.DeleteFunc(all, func(a *ajar.RoleAssignment) bool { return !strings.EqualFold(string(a.Role), string(f.Role)) })
	}
	return all, next, err
}

func (s room) getAssignment(ctx context.Context, c *rest.Call, _ rest.Nothing) (*assignmentBody, error) {
	a, err := s.Broker.RoleAssignment(ctx, c.Who, c.Value("id"))
	if err != nil {
		return nil, err
	}
	b := s.showAssignment(ctx, c, a, map[string]string{})
	return &b, nil
}

func (s room) putAssignment(ctx context.Context, c *rest.Call, in assignmentBody) (*assignmentBody, error) {
	if in.Principal == "" || in.Role == "" || in.Scope == "" {
		return nil, rest.Bad("principal, role and scope are required; principal and role may be ids or names")
	}
	scope, err := ajar.ParseID(in.Scope)
	if err != nil {
		return nil, rest.Bad("scope: %s", ajar.Message(err))
	}
	p, err := s.Broker.Principal(ctx, c.Who, in.Principal)
	if err != nil {
		return nil, err
	}
	r, err := s.Broker.RoleDefinition(ctx, c.Who, in.Role)
	if err != nil {
		return nil, err
	}
	a := ajar.RoleAssignment{ID: in.ID, Principal: p.ID, PrincipalKind: p.Kind, Role: r.ID, Scope: scope, Description: in.Description}
	if id := c.Value("id"); id != "" {
		a.ID = id
	}
	if in.Condition != nil {
		a.Condition = *in.Condition
	}
	put, _, err := s.Broker.Assign(ctx, c.Who, a, broker.AssignOptions{KeepCondition: in.Condition == nil})
	if err != nil {
		return nil, err
	}
	b := s.showAssignment(ctx, c, put, map[string]string{})
	return &b, nil
}

func (s room) deleteAssignment(ctx context.Context, c *rest.Call, _ rest.Nothing) (rest.Nothing, error) {
	existed, err := s.Broker.DeleteRoleAssignment(ctx, c.Who, c.Value("id"))
	if err == nil && !existed {
		err = rest.Coded(ajar.NotFound, "", "there is no role assignment %.60q", c.Value("id"))
	}
	return rest.Nothing{}, err
}
