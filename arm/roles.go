package arm

import (
	"context"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/broker"
)

func (s *Server) roleRoutes() []route {
	const (
		defs   = "/ajar/v1/role-definitions"
		assign = "/ajar/v1/role-assignments"
	)
	return []route{
		Get(defs, ours, op(200, s.listRoles), "Lists role definitions.", ajar.RoleDefinitionRead, "$top"),
		Put(defs, ours, op(200, s.putRole), "Makes a role definition.", ajar.RoleDefinitionWrite),
		Get(defs+"/{id}", ours, op(200, s.getRole), "Shows a role definition.", ajar.RoleDefinitionRead),
		Put(defs+"/{id}", ours, op(200, s.putRole), "Makes or replaces a role definition.", ajar.RoleDefinitionWrite),
		Delete(defs+"/{id}", ours, op(204, s.deleteRole), "Removes a role definition.", ajar.RoleDefinitionDelete),
		Get(assign, ours, op(200, s.listAssignments), "Lists role assignments.", ajar.RoleAssignmentRead, "scope", "principal", "role", "$top"),
		Put(assign, ours, op(200, s.putAssignment), "Makes a role assignment.", ajar.RoleAssignmentWrite),
		Get(assign+"/{id}", ours, op(200, s.getAssignment), "Shows a role assignment.", ajar.RoleAssignmentRead),
		Put(assign+"/{id}", ours, op(200, s.putAssignment), "Makes or replaces a role assignment.", ajar.RoleAssignmentWrite),
		Delete(assign+"/{id}", ours, op(204, s.deleteAssignment), "Removes a role assignment.", ajar.RoleAssignmentDelete),
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
			return nil, bad("%s[%d]: %s", where, i, ajar.Message(err))
		}
		all = append(all, id)
	}
	return all, nil
}

func (s *Server) listRoles(ctx context.Context, c *call, _ nothing) (l list[roleBody], err error) {
	page, err := c.page(entriesAPage)
	if err != nil {
		return l, err
	}
	all, next, err := s.Broker.RoleDefinitions(ctx, c.who, page)
	if err != nil {
		return l, err
	}
	return each(c, all, next, showRole), nil
}

func (s *Server) getRole(ctx context.Context, c *call, _ nothing) (*roleBody, error) {
	r, err := s.Broker.RoleDefinition(ctx, c.who, c.value("id"))
	if err != nil {
		return nil, err
	}
	b := showRole(r)
	return &b, nil
}

func (s *Server) putRole(ctx context.Context, c *call, in roleBody) (*roleBody, error) {
	r := ajar.RoleDefinition{ID: in.ID, Name: in.Name, Description: in.Description, Permissions: permissions(in.Permissions)}
	if id := c.value("id"); id != "" {
		r.ID = ajar.RoleID(id)
	}
	var err error
	if r.AssignableScopes, err = parseScopes(in.AssignableScopes, "assignableScopes"); err != nil {
		return nil, err
	}
	put, err := s.Broker.PutRoleDefinition(ctx, c.who, r)
	if err != nil {
		return nil, err
	}
	b := showRole(put)
	return &b, nil
}

func (s *Server) deleteRole(ctx context.Context, c *call, _ nothing) (nothing, error) {
	r, err := s.Broker.RoleDefinition(ctx, c.who, c.value("id"))
	if err != nil {
		return nothing{}, err
	}
	_, err = s.Broker.DeleteRoleDefinition(ctx, c.who, r.ID)
	return nothing{}, err
}

// showAssignment adds the names, as far as the caller may read them; names remembers those of one list.
func (s *Server) showAssignment(ctx context.Context, c *call, a *ajar.RoleAssignment, names map[string]string) assignmentBody {
	b := assignmentBody{
		ID: a.ID, Principal: string(a.Principal), PrincipalKind: a.PrincipalKind, Role: string(a.Role), Scope: string(a.Scope),
		Description: a.Description, Created: rfc(a.Created),
	}
	if a.Condition != "" {
		b.Condition = &a.Condition
	}
	who := c.who
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

func (s *Server) listAssignments(ctx context.Context, c *call, _ nothing) (l list[assignmentBody], err error) {
	var f broker.AssignmentFilter
	if f.Page, err = c.page(entriesAPage); err != nil {
		return l, err
	}
	if f.Scope, err = c.scope("scope", ""); err != nil {
		return l, err
	}
	if v := c.param("principal"); v != "" {
		p, err := s.Broker.Principal(ctx, c.who, v)
		if err != nil {
			return l, err
		}
		f.Principal = p.ID
	}
	if v := c.param("role"); v != "" {
		r, err := s.Broker.RoleDefinition(ctx, c.who, v)
		if err != nil {
			return l, err
		}
		f.Role = r.ID
	}
	all, next, err := s.Broker.RoleAssignments(ctx, c.who, f)
	if err != nil {
		return l, err
	}
	names := map[string]string{}
	return each(c, all, next, func(a *ajar.RoleAssignment) assignmentBody { return s.showAssignment(ctx, c, a, names) }), nil
}

func (s *Server) getAssignment(ctx context.Context, c *call, _ nothing) (*assignmentBody, error) {
	a, err := s.Broker.RoleAssignment(ctx, c.who, c.value("id"))
	if err != nil {
		return nil, err
	}
	b := s.showAssignment(ctx, c, a, map[string]string{})
	return &b, nil
}

func (s *Server) putAssignment(ctx context.Context, c *call, in assignmentBody) (*assignmentBody, error) {
	if in.Principal == "" || in.Role == "" || in.Scope == "" {
		return nil, bad("principal, role and scope are required; principal and role may be ids or names")
	}
	scope, err := ajar.ParseID(in.Scope)
	if err != nil {
		return nil, bad("scope: %s", ajar.Message(err))
	}
	p, err := s.Broker.Principal(ctx, c.who, in.Principal)
	if err != nil {
		return nil, err
	}
	r, err := s.Broker.RoleDefinition(ctx, c.who, in.Role)
	if err != nil {
		return nil, err
	}
	a := ajar.RoleAssignment{ID: in.ID, Principal: p.ID, PrincipalKind: p.Kind, Role: r.ID, Scope: scope, Description: in.Description}
	if id := c.value("id"); id != "" {
		a.ID = id
	}
	if in.Condition != nil {
		a.Condition = *in.Condition
	}
	put, _, err := s.Broker.Assign(ctx, c.who, a, broker.AssignOptions{KeepCondition: in.Condition == nil})
	if err != nil {
		return nil, err
	}
	b := s.showAssignment(ctx, c, put, map[string]string{})
	return &b, nil
}

func (s *Server) deleteAssignment(ctx context.Context, c *call, _ nothing) (nothing, error) {
	existed, err := s.Broker.DeleteRoleAssignment(ctx, c.who, c.value("id"))
	if err == nil && !existed {
		err = coded(ajar.NotFound, "", "there is no role assignment %.60q", c.value("id"))
	}
	return nothing{}, err
}
