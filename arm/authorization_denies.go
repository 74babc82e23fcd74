package arm

import (
	"context"
	"strings"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/broker"
)

const denyAssignmentType = "Microsoft.Authorization/denyAssignments"

// armDenyBody is a deny assignment as Azure writes it.
type armDenyBody struct {
	Properties armDenyProperties `json:"properties"`
	ID         ajar.ID           `json:"id"`
	Type       string            `json:"type"`
	Name       string            `json:"name"`
}

type armDenyProperties struct {
	Name        string          `json:"denyAssignmentName"`
	Description string          `json:"description"`
	Permissions []armPermission `json:"permissions"`
	Principals  []armPrincipal  `json:"principals"`
	Exclude     []armPrincipal  `json:"excludePrincipals"`
	Scope       ajar.ID         `json:"scope"`
	NotBelow    bool            `json:"doNotApplyToChildScopes"`
	Protected   bool            `json:"isSystemProtected"`
	CreatedOn   *stamp          `json:"createdOn,omitempty"`
}

type armPrincipal struct {
	ID   ajar.PrincipalID `json:"id"`
	Type string           `json:"type,omitempty"`
}

// systemDefined is the type of the principal that stands for everybody.
const systemDefined = "SystemDefined"

func armPrincipals(ps []ajar.PrincipalID) []armPrincipal {
	out := make([]armPrincipal, len(ps))
	for i, p := range ps {
		if out[i].ID = p; p == ajar.Everyone {
			out[i].Type = systemDefined
		}
	}
	return out
}

func (c *call) armDeny(d *ajar.DenyAssignment) armDenyBody {
	b := armDenyBody{
		ID: below(d.Scope, "denyAssignments", d.ID), Type: denyAssignmentType, Name: d.ID,
		Properties: armDenyProperties{
			Name: d.Name, Permissions: []armPermission{}, Principals: armPrincipals(d.Principals), Exclude: armPrincipals(d.ExcludePrincipals),
			Scope: d.Scope, NotBelow: d.NotBelow, CreatedOn: when(d.Created),
		},
	}
	for _, p := range d.Permissions {
		b.Properties.Permissions = append(b.Properties.Permissions, c.permission(p))
	}
	return b
}

func (s *Server) armListDenies(ctx context.Context, c *call, _ nothing) (l list[armDenyBody], err error) {
	at, err := c.at()
	if err != nil {
		return l, err
	}
	f, err := c.authorizationFilter("atScope()", "denyAssignmentName eq", "principalId eq")
	if err != nil {
		return l, err
	}
	asked := broker.DeniesAsked{NotBelow: f["atscope"] != "", Name: f["denyassignmentname"]}
	if asked.Hits, err = f.guidOf("principalid"); err != nil {
		return l, err
	}
	all, err := s.Broker.DeniesAt(ctx, c.who, at, asked)
	if err != nil {
		return l, err
	}
	return each(c, all, "", c.armDeny), nil
}

func (s *Server) armGetDeny(ctx context.Context, c *call, _ nothing) (*armDenyBody, error) {
	at, err := c.at()
	if err != nil {
		return nil, err
	}
	id := strings.ToLower(c.value("id"))
	if !subscriptionForm.MatchString(id) {
		return nil, coded(ajar.Invalid, "InvalidDenyAssignmentId", "The deny assignment id '%.100s' is not a GUID.", id)
	}
	d, err := s.Broker.DenyAt(ctx, c.who, at, id)
	if err != nil {
		return nil, err
	}
	b := c.armDeny(d)
	return &b, nil
}

func (s *Server) armPermissions(ctx context.Context, c *call, _ nothing) (l list[armPermission], err error) {
	at, err := c.at()
	if err != nil {
		return l, err
	}
	all, err := s.Broker.Permissions(ctx, c.who, at)
	if err != nil {
		return l, err
	}
	return each(c, all, "", func(g broker.Granted) armPermission {
		p := c.permission(g.Permission)
		if p.Condition = g.Condition; p.Condition != "" {
			p.ConditionVersion = conditionVersion
		}
		return p
	}), nil
}

type classicBody struct{}

// classicAdministrators are of a time before roles; whoever may read the subscription learns that there are none.
func (s *Server) classicAdministrators(ctx context.Context, c *call, _ nothing) (l list[classicBody], err error) {
	sub, err := c.scopeOf()
	if err != nil {
		return l, err
	}
	if err := s.Broker.May(ctx, c.who, ajar.SubscriptionRead, sub); err != nil {
		return l, err
	}
	return list[classicBody]{Value: []classicBody{}}, nil
}
