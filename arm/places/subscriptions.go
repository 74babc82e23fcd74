package places

import (
	"context"
	"strings"
	"unicode"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/arm/rest"
	"github.com/ajar-access/ajar/broker"
)

func (s room) subscriptionRoutes() []rest.Route {
	const sub = "/subscriptions/{s}"
	return []rest.Route{
		rest.Get("/subscriptions", rest.Beside, rest.Op(200, s.listSubscriptions), "Lists the subscriptions in which the caller may read anything.", "", "$top"),
		rest.Get(sub, rest.Beside, rest.Op(200, s.getSubscription), "Shows a subscription, to whoever may read anything in it.", ajar.SubscriptionRead),
		rest.Get(sub+"/locations", rest.Beside, rest.Op(200, s.listLocations), "Lists the locations of a subscription's machines and policies.", ajar.LocationRead),
	}
}

type subscriptionBody struct {
	ID                  string            `json:"id"`
	AuthorizationSource string            `json:"authorizationSource"`
	ManagedByTenants    []struct{}        `json:"managedByTenants"`
	SubscriptionID      string            `json:"subscriptionId"`
	TenantID            string            `json:"tenantId"`
	DisplayName         string            `json:"displayName"`
	State               string            `json:"state"`
	Policies            map[string]string `json:"subscriptionPolicies"`
}

func (s room) showSubscription(b broker.Subscription) subscriptionBody {
	return subscriptionBody{
		ID: "/subscriptions/" + b.ID, AuthorizationSource: "RoleBased", ManagedByTenants: []struct{}{}, SubscriptionID: b.ID, TenantID: s.Tenant.ID,
		DisplayName: b.Name, State: "Enabled",
		Policies: map[string]string{"locationPlacementId": "Ajar", "quotaId": "Ajar", "spendingLimit": "Off"},
	}
}

func (s room) listSubscriptions(ctx context.Context, c *rest.Call, _ rest.Nothing) (l rest.List[subscriptionBody], err error) {
	page, err := c.Page(rest.EntriesAPage)
	if err != nil {
		return l, err
	}
	all, next, err := s.Broker.Subscriptions(ctx, c.Who, page)
	if err != nil {
		return l, err
	}
	return rest.Each(c, all, next, s.showSubscription), nil
}

func (s room) getSubscription(ctx context.Context, c *rest.Call, _ rest.Nothing) (*subscriptionBody, error) {
	if _, err := c.Scope(); err != nil {
		return nil, err
	}
	sub, err := s.Broker.Subscription(ctx, c.Who, c.Value("s"))
	if err != nil {
		return nil, err
	}
	b := s.showSubscription(sub)
	return &b, nil
}

type locationBody struct {
	ID                  string            `json:"id"`
	Name                string            `json:"name"`
	Type                string            `json:"type"`
	DisplayName         string            `json:"displayName"`
	RegionalDisplayName string            `json:"regionalDisplayName"`
	Metadata            map[string]string `json:"metadata"`
}

func (s room) listLocations(ctx context.Context, c *rest.Call, _ rest.Nothing) (l rest.List[locationBody], err error) {
	scope, err := c.Scope()
	if err != nil {
		return l, err
	}
	all, err := s.Broker.Locations(ctx, c.Who, scope)
	if err != nil {
		return l, err
	}
	sub := "/subscriptions/" + strings.ToLower(scope.Subscription())
	return rest.Each(c, all, "", func(name string) locationBody {
		plain, shown := broker.PlainLocation(name), spaced(name)
		return locationBody{
			ID: sub + "/locations/" + plain, Name: plain, Type: "Region", DisplayName: shown, RegionalDisplayName: shown,
			Metadata: map[string]string{"regionType": "Physical", "regionCategory": "Recommended", "geographyGroup": s.Tenant.Name},
		}
	}), nil
}

// spaced is a location's name as people read it: as somebody wrote it, or, if all of it is small, with capitals and, where
// it is made of words that names of regions are made of, with spaces: East US 2.
func spaced(name string) string {
	if name != strings.ToLower(name) || name == "" {
		return name
	}
	var words []string
	rest := strings.TrimRight(name, "0123456789")
	number := name[len(rest):]
next:
	for rest != "" {
		for _, w := range regionWords {
			if strings.HasPrefix(rest, strings.ToLower(w)) {
				words, rest = append(words, w), rest[len(w):]
				continue next
			}
		}
		r := []rune(name)
		r[0] = unicode.ToUpper(r[0])
		return string(r)
	}
	if number != "" {
		words = append(words, number)
	}
	return strings.Join(words, " ")
}

// regionWords are what names of regions are made of.
var regionWords = strings.Fields(`Southeast Northeast North South East West Central US UK UAE Europe Asia Africa Australia Brazil Canada
	China France Germany India Israel Italy Japan Korea Mexico Norway Poland Qatar Spain Sweden Switzerland`)
