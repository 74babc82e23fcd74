package places

import (
	"context"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/arm/rest"
	"github.com/ajar-access/ajar/broker"
)

func (s room) resourceGroupRoutes() []rest.Route {
	const groups = "/subscriptions/{s}/resourcegroups"
	return []rest.Route{
		rest.Get(groups, rest.Beside, rest.Op(200, s.listResourceGroups), "Lists a subscription's resource groups in which the caller may read anything.", ajar.ResourceGroupRead, "$filter", "$top"),
		rest.Get(groups+"/{g}", rest.Beside, rest.Op(200, s.getResourceGroup), "Shows a resource group, to whoever may read anything in it.", ajar.ResourceGroupRead),
		rest.Put(groups+"/{g}", rest.Beside, rest.Op(200, s.putResourceGroup), "Agrees to a resource group that there is; groups come from what lies in them.", ajar.ResourceGroupWrite),
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

func (s room) listResourceGroups(ctx context.Context, c *rest.Call, _ rest.Nothing) (l rest.List[resourceGroupBody], err error) {
	scope, err := c.Scope()
	if err != nil {
		return l, err
	}
	f, err := c.Filter()
	if err != nil {
		return l, err
	}
	page, err := c.Page(rest.EntriesAPage)
	if err != nil {
		return l, err
	}
	all, next, err := s.Broker.ResourceGroups(ctx, c.Who, scope.Subscription(), page)
	if err != nil {
		return l, err
	}
	l = rest.List[resourceGroupBody]{Value: make([]resourceGroupBody, 0, len(all)), NextLink: c.Next(next)}
	for _, g := range all {
		b := showResourceGroup(g)
		if f.Keeps(rest.Thing{Name: b.Name, Group: b.Name, Kind: b.Type, Location: g.Location}) {
			l.Value = append(l.Value, b)
		}
	}
	return l, nil
}

func (s room) getResourceGroup(ctx context.Context, c *rest.Call, _ rest.Nothing) (*resourceGroupBody, error) {
	scope, err := c.Scope()
	if err != nil {
		return nil, err
	}
	g, err := s.Broker.ResourceGroup(ctx, c.Who, scope)
	if err != nil {
		return nil, err
	}
	b := showResourceGroup(g)
	return &b, nil
}

type resourceGroupIn struct {
	Location rest.Text `json:"location"`
}

func (s room) putResourceGroup(ctx context.Context, c *rest.Call, _ resourceGroupIn) (*resourceGroupBody, error) {
	scope, err := c.Scope()
	if err != nil {
		return nil, err
	}
	g, err := s.Broker.AgreeToResourceGroup(ctx, c.Who, scope)
	if err != nil {
		return nil, err
	}
	b := showResourceGroup(g)
	return &b, nil
}
