package rights

import (
	"context"
	"strings"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/arm/rest"
)

func (s room) managementGroupRoutes() []rest.Route {
	const groups = "/ajar/v1/management-groups"
	return []rest.Route{
		rest.Get(groups, rest.Ours, rest.Op(200, s.listGroups), "Lists management groups.", ajar.ManagementGroupRead),
		rest.Put(groups+"/{name}", rest.Ours, rest.Op(200, s.putGroup), "Makes or replaces a management group.", ajar.ManagementGroupWrite),
		rest.Delete(groups+"/{name}", rest.Ours, rest.Op(204, s.deleteGroup), "Removes a management group.", ajar.ManagementGroupDelete),
	}
}

type groupBody struct {
	ID            ajar.ID  `json:"id"`
	Name          string   `json:"name"`
	Display       string   `json:"display,omitempty"`
	Parent        string   `json:"parent,omitempty"` // a management group's id or name; "" or "/" = none
	Subscriptions []string `json:"subscriptions"`
}

func showGroup(g *ajar.ManagementGroup) groupBody {
	return groupBody{ID: g.ID, Name: g.ID.Name(), Display: g.Display, Parent: string(g.Parent), Subscriptions: append([]string{}, g.Subscriptions...)}
}

func (s room) listGroups(ctx context.Context, c *rest.Call, _ rest.Nothing) (l rest.List[groupBody], err error) {
	page, err := c.Page(rest.EntriesAPage)
	if err != nil {
		return l, err
	}
	all, next, err := s.Broker.ManagementGroups(ctx, c.Who, page)
	if err != nil {
		return l, err
	}
	return rest.Each(c, all, next, showGroup), nil
}

func (s room) putGroup(ctx context.Context, c *rest.Call, in groupBody) (*groupBody, error) {
	id, err := groupID(c.Value("name"))
	if err != nil {
		return nil, err
	}
	g := ajar.ManagementGroup{ID: id, Display: in.Display, Parent: ajar.Root, Subscriptions: in.Subscriptions}
	if in.Parent != "" && in.Parent != "/" {
		if g.Parent, err = groupID(in.Parent); err != nil {
			return nil, err
		}
	}
	for i, sub := range in.Subscriptions {
		if !rest.GUIDForm.MatchString(sub) {
			return nil, rest.Bad("subscriptions[%d] %.60q is not a subscription's GUID", i, sub)
		}
	}
	put, err := s.Broker.PutManagementGroup(ctx, c.Who, g)
	if err != nil {
		return nil, err
	}
	b := showGroup(put)
	return &b, nil
}

func (s room) deleteGroup(ctx context.Context, c *rest.Call, _ rest.Nothing) (rest.Nothing, error) {
	id, err := groupID(c.Value("name"))
	if err != nil {
		return rest.Nothing{}, err
	}
	existed, err := s.Broker.DeleteManagementGroup(ctx, c.Who, id)
	if err == nil && !existed {
		err = rest.Coded(ajar.NotFound, "", "there is no management group %.100q", c.Value("name"))
	}
	return rest.Nothing{}, err
}

const groupPrefix = "/providers/Microsoft.Management/managementGroups/"

func groupID(name string) (ajar.ID, error) {
	if strings.HasPrefix(strings.ToLower(name), strings.ToLower(groupPrefix)) {
		name = name[len(groupPrefix):]
	}
	if !rest.GroupForm.MatchString(name) {
		return "", rest.Coded(ajar.Invalid, "InvalidResourceName", "The management group name '%.100s' is invalid: 1 to 90 letters, digits and -_.().", name)
	}
	return ajar.ID(groupPrefix + name), nil
}
