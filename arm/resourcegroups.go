package arm

import (
	"context"
	"net/http"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/broker"
)

func (s *Server) resourceGroupRoutes() []route {
	const groups = "/subscriptions/{s}/resourcegroups"
	return []route{
		Get(groups, beside, op(200, s.listResourceGroups), "Lists a subscription's resource groups in which the caller may read anything.", ajar.ResourceGroupRead, "$filter", "$top"),
		Get(groups+"/{g}", beside, op(200, s.getResourceGroup), "Shows a resource group, to whoever may read anything in it.", ajar.ResourceGroupRead),
		Put(groups+"/{g}", beside, op(200, s.putResourceGroup), "Agrees to a resource group that there is; groups come from what lies in them.", ajar.ResourceGroupWrite),
	}
}

type resourceGroupBody struct {
	ID         ajar.ID           `json:"id"`
	Name       string            `json:"name"`
	Type       string            `json:"type"`
	Location   string            `json:"location"`
	Properties map[string]string `json:"properties"`
}

func showResourceGroup(g broker.ResourceGroup) resourceGroupBody {
	return resourceGroupBody{
		ID: g.ID, Name: g.ID.Name(), Type: "Microsoft.Resources/resourceGroups", Location: broker.PlainLocation(g.Location),
		Properties: map[string]string{"provisioningState": "Succeeded"},
	}
}

func (s *Server) listResourceGroups(ctx context.Context, c *call, _ nothing) (l list[resourceGroupBody], err error) {
	scope, err := c.scopeOf()
	if err != nil {
		return l, err
	}
	f, err := c.filter()
	if err != nil {
		return l, err
	}
	page, err := c.page(entriesAPage)
	if err != nil {
		return l, err
	}
	all, next, err := s.Broker.ResourceGroups(ctx, c.who, scope.Subscription(), page)
	if err != nil {
		return l, err
	}
	l = list[resourceGroupBody]{Value: make([]resourceGroupBody, 0, len(all)), NextLink: c.next(next)}
	for _, g := range all {
		b := showResourceGroup(g)
		if f.keeps(thing{name: b.Name, group: b.Name, kind: b.Type, location: g.Location}) {
			l.Value = append(l.Value, b)
		}
	}
	return l, nil
}

func (s *Server) getResourceGroup(ctx context.Context, c *call, _ nothing) (*resourceGroupBody, error) {
	scope, err := c.scopeOf()
	if err != nil {
		return nil, err
	}
	g, err := s.Broker.ResourceGroup(ctx, c.who, scope)
	if err != nil {
		return nil, err
	}
	if c.r.Method == http.MethodHead {
		c.status = http.StatusNoContent // which clients ask with whether it exists
	}
	b := showResourceGroup(g)
	return &b, nil
}

type resourceGroupIn struct {
	Location wireText `json:"location"`
}

func (s *Server) putResourceGroup(ctx context.Context, c *call, _ resourceGroupIn) (*resourceGroupBody, error) {
	scope, err := c.scopeOf()
	if err != nil {
		return nil, err
	}
	g, err := s.Broker.AgreeToResourceGroup(ctx, c.who, scope)
	if err != nil {
		return nil, err
	}
	b := showResourceGroup(g)
	return &b, nil
}
