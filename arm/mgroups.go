package arm

import (
	"context"
	"strings"

	"github.com/ajar-access/ajar"
)

func (s *Server) managementGroupRoutes() []route {
	const groups = "/ajar/v1/management-groups"
	return []route{
		Get(groups, ours, op(200, s.listGroups), "Lists management groups.", ajar.ManagementGroupRead),
		Put(groups+"/{name}", ours, op(200, s.putGroup), "Makes or replaces a management group.", ajar.ManagementGroupWrite),
		Delete(groups+"/{name}", ours, op(204, s.deleteGroup), "Removes a management group.", ajar.ManagementGroupDelete),
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

func (s *Server) listGroups(ctx context.Context, c *call, _ nothing) (l list[groupBody], err error) {
	page, err := c.page(entriesAPage)
	if err != nil {
		return l, err
	}
	all, next, err := s.Broker.ManagementGroups(ctx, c.who, page)
	if err != nil {
		return l, err
	}
	return each(c, all, next, showGroup), nil
}

func (s *Server) putGroup(ctx context.Context, c *call, in groupBody) (*groupBody, error) {
	id, err := groupID(c.value("name"))
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
		if !subscriptionForm.MatchString(sub) {
			return nil, bad("subscriptions[%d] %.60q is not a subscription's GUID", i, sub)
		}
	}
	put, err := s.Broker.PutManagementGroup(ctx, c.who, g)
	if err != nil {
		return nil, err
	}
	b := showGroup(put)
	return &b, nil
}

func (s *Server) deleteGroup(ctx context.Context, c *call, _ nothing) (nothing, error) {
	id, err := groupID(c.value("name"))
	if err != nil {
		return nothing{}, err
	}
	existed, err := s.Broker.DeleteManagementGroup(ctx, c.who, id)
	if err == nil && !existed {
		err = coded(ajar.NotFound, "", "there is no management group %.100q", c.value("name"))
	}
	return nothing{}, err
}

const groupPrefix = "/providers/Microsoft.Management/managementGroups/"

func groupID(name string) (ajar.ID, error) {
	if strings.HasPrefix(strings.ToLower(name), strings.ToLower(groupPrefix)) {
		name = name[len(groupPrefix):]
	}
	if !groupForm.MatchString(name) {
		return "", coded(ajar.Invalid, "InvalidResourceName", "The management group name '%.100s' is invalid: 1 to 90 letters, digits and -_.().", name)
	}
	return ajar.ID(groupPrefix + name), nil
}
