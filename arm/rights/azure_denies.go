package rights

import (
	"context"
	"strings"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/arm/rest"
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
	CreatedOn   *rest.Stamp     `json:"createdOn,omitempty"`
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

func armDeny(c *rest.Call, d *ajar.DenyAssignment) armDenyBody {
	b := armDenyBody{
		ID: below(d.Scope, "denyAssignments", d.ID), Type: denyAssignmentType, Name: d.ID,
		Properties: armDenyProperties{
			Name: d.Name, Permissions: []armPermission{}, Principals: armPrincipals(d.Principals), Exclude: armPrincipals(d.ExcludePrincipals),
			Scope: d.Scope, NotBelow: d.NotBelow, CreatedOn: rest.StampAt(d.Created),
		},
	}
	for _, p := range d.Permissions {
		b.Properties.Permissions = append(b.Properties.Permissions, permission(c, p))
	}
	return b
}

func (s room) armListDenies(ctx context.Context, c *rest.Call, _ rest.Nothing) (l rest.List[armDenyBody], err error) {
	at, err := scopeAt(c)
	if err != nil {
		return l, err
	}
	f, err := readFilter(c, "atScope()", "denyAssignmentName eq", "principalId eq")
	if err != nil {
		return l, err
	}
	asked := broker.DeniesAsked{NotBelow: f["atscope"] != "", Name: f["denyassignmentname"]}
	if asked.Hits, err = f.guidOf("principalid"); err != nil {
		return l, err
	}
	all, err := s.Broker.DeniesAt(ctx, c.Who, at, asked)
	if err != nil {
		return l, err
	}
	return rest.Each(c, all, "", func(d *ajar.DenyAssignment) armDenyBody { return armDeny(c, d) }), nil
}

func (s room) armGetDeny(ctx context.Context, c *rest.Call, _ rest.Nothing) (*armDenyBody, error) {
	at, err := scopeAt(c)
	if err != nil {
		return nil, err
	}
	id := strings.ToLower(c.Value("id"))
	if !rest.GUIDForm.MatchString(id) {
		return nil, rest.Coded(ajar.Invalid, "InvalidDenyAssignmentId", "The deny assignment id '%.100s' is not a GUID.", id)
	}
	d, err := s.Broker.DenyAt(ctx, c.Who, at, id)
	if err != nil {
		return nil, err
	}
	b := armDeny(c, d)
	return &b, nil
}

func (s room) armPermissions(ctx context.Context, c *rest.Call, _ rest.Nothing) (l rest.List[armPermission], err error) {
	at, err := scopeAt(c)
	if err != nil {
		return l, err
	}
	all, err := s.Broker.Permissions(ctx, c.Who, at)
	if err != nil {
		return l, err
	}
	return rest.Each(c, all, "", func(g broker.Granted) armPermission {
		p := permission(c, g.Permission)
		if p.Condition = g.Condition; p.Condition != "" {
			p.ConditionVersion = conditionVersion
		}
		return p
	}), nil
}

type classicBody struct{}

// classicAdministrators are of a time before roles; whoever may read the subscription learns that there are none.
func (s room) classicAdministrators(ctx context.Context, c *rest.Call, _ rest.Nothing) (l rest.List[classicBody], err error) {
	sub, err := c.Scope()
	if err != nil {
		return l, err
	}
	if err := s.Broker.May(ctx, c.Who, ajar.SubscriptionRead, sub); err != nil {
		return l, err
	}
	return rest.List[classicBody]{Value: []classicBody{}}, nil
}
