package client

import (
	"context"
	"crypto/rand"
	"fmt"
	"iter"
	"net/http"
	"time"

	"github.com/ajar-access/ajar"
)

// Role is a named set of permissions.
type Role struct {
	ID               ajar.RoleID  `json:"id"`
	Name             string       `json:"name"`
	Description      string       `json:"description,omitempty"`
	BuiltIn          bool         `json:"builtIn,omitempty"`
	Permissions      []Permission `json:"permissions"`
	AssignableScopes []ajar.ID    `json:"assignableScopes,omitempty"`
}

// Permission grants Actions less NotActions.
type Permission struct {
	Actions        []ajar.Action `json:"actions,omitempty"`
	NotActions     []ajar.Action `json:"notActions,omitempty"`
	DataActions    []ajar.Action `json:"dataActions,omitempty"`
	NotDataActions []ajar.Action `json:"notDataActions,omitempty"`
}

// Assignment gives a role to a principal at a scope and below.
type Assignment struct {
	ID            string             `json:"id,omitempty"`
	Principal     ajar.PrincipalID   `json:"principal"` // or a name, when it is made
	PrincipalName string             `json:"principalName,omitempty"`
	PrincipalKind ajar.PrincipalKind `json:"principalKind,omitempty"`
	Role          ajar.RoleID        `json:"role"` // or a name, when it is made
	RoleName      string             `json:"roleName,omitempty"`
	Scope         ajar.ID            `json:"scope"`
	Description   string             `json:"description,omitempty"`
	Condition     string             `json:"condition,omitempty"` // in Azure's language; "" = always, or as it was
	Created       time.Time          `json:"created,omitzero"`
}

const (
	roleDefinitions = "/ajar/v1/role-definitions"
	roleAssignments = "/ajar/v1/role-assignments"
)

// Roles lists the role definitions, built-in ones included.
func (c *Client) Roles(ctx context.Context) iter.Seq2[Role, error] {
	return list[Role](ctx, c, roleDefinitions, nil)
}

// Role reads a role definition by ID or name.
func (c *Client) Role(ctx context.Context, idOrName string) (Role, error) {
	var r Role
	_, err := c.do(ctx, call{method: http.MethodGet, path: roleDefinitions + "/" + idOrName, out: &r})
	return r, err
}

// PutRole makes or changes a role definition; one without an ID is new and gets one.
func (c *Client) PutRole(ctx context.Context, r Role) (Role, error) {
	if r.ID == "" {
		r.ID = ajar.RoleID(guid())
	}
	var out Role
	_, err := c.do(ctx, call{method: http.MethodPut, path: roleDefinitions + "/" + string(r.ID), in: r, out: &out})
	return out, err
}

// DeleteRole removes a role definition.
func (c *Client) DeleteRole(ctx context.Context, id ajar.RoleID) error {
	_, err := c.do(ctx, call{method: http.MethodDelete, path: roleDefinitions + "/" + string(id)})
	return err
}

// AssignmentsAt lists the role assignments that hold at a scope: at it, above and below it, and of principal, an ID or
// name, which may be empty, also what its groups are assigned.
func (c *Client) AssignmentsAt(ctx context.Context, principal string, at ajar.ID) iter.Seq2[Assignment, error] {
	return list[Assignment](ctx, c, roleAssignments, query("principal", principal, "at", string(at)))
}

// Assignments lists role assignments at and below scope, as far as the caller may read them; principal, an ID or name,
// may be empty.
func (c *Client) Assignments(ctx context.Context, principal string, scope ajar.ID) iter.Seq2[Assignment, error] {
	return list[Assignment](ctx, c, roleAssignments, query("principal", principal, "scope", string(scope)))
}

// Assign makes a role assignment. Role and principal may be IDs or names.
func (c *Client) Assign(ctx context.Context, a Assignment) (Assignment, error) {
	if a.ID == "" {
		a.ID = guid()
	}
	var out Assignment
	_, err := c.do(ctx, call{method: http.MethodPut, path: roleAssignments + "/" + a.ID, in: a, out: &out})
	return out, err
}

// Unassign removes a role assignment.
func (c *Client) Unassign(ctx context.Context, id string) error {
	_, err := c.do(ctx, call{method: http.MethodDelete, path: roleAssignments + "/" + id})
	return err
}

// guid makes a random ID, so that a PUT that is repeated makes nothing twice.
func guid() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
