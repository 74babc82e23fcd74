package rights

import (
	"context"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/arm/rest"
)

func (s room) denyRoutes() []rest.Route {
	const denies = "/ajar/v1/deny-assignments"
	return []rest.Route{
		rest.Get(denies, rest.Ours, rest.Op(200, s.listDenies), "Lists deny assignments.", ajar.DenyAssignmentRead, "scope", "$top"),
		rest.Put(denies, rest.Ours, rest.Op(200, s.putDeny), "Makes a deny assignment.", ajar.DenyAssignmentWrite),
		rest.Put(denies+"/{id}", rest.Ours, rest.Op(200, s.putDeny), "Makes or replaces a deny assignment.", ajar.DenyAssignmentWrite),
		rest.Delete(denies+"/{id}", rest.Ours, rest.Op(204, s.deleteDeny), "Removes a deny assignment.", ajar.DenyAssignmentDelete),
	}
}

// denyBody is a deny assignment both ways; principals may be names on the way in.
type denyBody struct {
	ID                string           `json:"id,omitempty"`
	Name              string           `json:"name"`
	Scope             string           `json:"scope"`
	Permissions       []permissionBody `json:"permissions"`
	Principals        []string         `json:"principals"`
	ExcludePrincipals []string         `json:"excludePrincipals,omitempty"`
	NotBelow          bool             `json:"doNotApplyToChildScopes,omitempty"`
	Created           *time.Time       `json:"created,omitempty"`
}

func showDeny(d *ajar.DenyAssignment) denyBody {
	b := denyBody{ID: d.ID, Name: d.Name, Scope: string(d.Scope), Permissions: showPermissions(d.Permissions), Principals: []string{}, NotBelow: d.NotBelow, Created: rest.When(d.Created)}
	for _, p := range d.Principals {
		b.Principals = append(b.Principals, string(p))
	}
	for _, p := range d.ExcludePrincipals {
		b.ExcludePrincipals = append(b.ExcludePrincipals, string(p))
	}
	return b
}

func (s room) listDenies(ctx context.Context, c *rest.Call, _ rest.Nothing) (l rest.List[denyBody], err error) {
	page, err := c.Page(rest.EntriesAPage)
	if err != nil {
		return l, err
	}
	scope, err := c.ScopeParam("scope", ajar.Root)
	if err != nil {
		return l, err
	}
	all, next, err := s.Broker.DenyAssignments(ctx, c.Who, scope, page)
	if err != nil {
		return l, err
	}
	return rest.Each(c, all, next, showDeny), nil
}

func (s room) putDeny(ctx context.Context, c *rest.Call, in denyBody) (*denyBody, error) {
	scope, err := ajar.ParseID(in.Scope)
	if err != nil {
		return nil, rest.Bad("scope: %s", ajar.Message(err))
	}
	d := ajar.DenyAssignment{ID: in.ID, Name: in.Name, Scope: scope, Permissions: permissions(in.Permissions), NotBelow: in.NotBelow}
	if id := c.Value("id"); id != "" {
		d.ID = id
	}
	if d.Principals, err = s.principalIDs(ctx, c, in.Principals); err != nil {
		return nil, err
	}
	if d.ExcludePrincipals, err = s.principalIDs(ctx, c, in.ExcludePrincipals); err != nil {
		return nil, err
	}
	put, err := s.Broker.PutDenyAssignment(ctx, c.Who, d)
	if err != nil {
		return nil, err
	}
	b := showDeny(put)
	return &b, nil
}

// mostPrincipals bounds how many principals one deny names.
const mostPrincipals = 200

func (s room) principalIDs(ctx context.Context, c *rest.Call, in []string) (all []ajar.PrincipalID, err error) {
	if len(in) > mostPrincipals {
		return nil, rest.Bad("%d principals are named; at most %d are taken", len(in), mostPrincipals)
	}
	for _, idOrName := range in {
		if ajar.PrincipalID(idOrName) == ajar.Everyone {
			all = append(all, ajar.Everyone)
			continue
		}
		p, err := s.Broker.Principal(ctx, c.Who, idOrName)
		if err != nil {
			return nil, err
		}
		all = append(all, p.ID)
	}
	return all, nil
}

func (s room) deleteDeny(ctx context.Context, c *rest.Call, _ rest.Nothing) (rest.Nothing, error) {
	existed, err := s.Broker.DeleteDenyAssignment(ctx, c.Who, c.Value("id"))
	if err == nil && !existed {
		err = rest.Coded(ajar.NotFound, "", "there is no deny assignment %.60q", c.Value("id"))
	}
	return rest.Nothing{}, err
}
