package places

import (
	"context"
	"strings"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/arm/rest"
)

func (s room) providerRoutes() []rest.Route {
	const sub = "/subscriptions/{s}/providers"
	return []rest.Route{
		rest.Get("/providers", rest.Beside, rest.Op(200, s.listProviders), "Lists the namespaces of resource types there are.", "", "$top", "$expand"),
		rest.Get("/providers/{ns}", rest.Beside, rest.Op(200, s.getProvider), "Shows a namespace's resource types and the api-versions to ask for them with.", "", "$expand"),
		rest.Get(sub, rest.Beside, rest.Op(200, s.listProviders), "Lists the namespaces of resource types there are.", ajar.SubscriptionRead, "$top", "$expand"),
		rest.Get(sub+"/{ns}", rest.Beside, rest.Op(200, s.getProvider), "Shows a namespace's resource types, their locations and the api-versions to ask for them with.", ajar.SubscriptionRead, "$expand"),
		rest.Post(sub+"/{ns}/register", rest.Beside, rest.Op(200, s.getProvider), "Agrees that a namespace is registered, as all of them always are.", ajar.SubscriptionRead),
	}
}

// resourceType is a type of a namespace with the api-versions that clients may choose among. The first one without a
// "preview" is what az takes, so that is one whose answers are served here; locations stands in the place of all types
// that lie below it.
type resourceType struct {
	name     string
	located  bool
	versions string
}

// namespaces are the resource types there are, by namespace. Versions beyond these are taken as well, but for policies.
var namespaces = []struct {
	name  string
	types []resourceType
}{
	{"Microsoft.Security", []resourceType{
		{"locations", false, "2020-01-01 2015-06-01-preview"},
		{"locations/jitNetworkAccessPolicies", true, "2020-01-01 2015-06-01-preview"},
		{"jitNetworkAccessPolicies", true, "2020-01-01 2015-06-01-preview"},
		{"assessments", false, "2021-06-01 2020-01-01 2019-01-01-preview"},
		{"assessmentMetadata", false, "2021-06-01 2020-01-01 2019-01-01-preview"},
		{"policies", false, "2015-06-01-preview"},
		{"pricings", false, "2024-01-01 2023-01-01 2022-03-01 2018-06-01"},
	}},
	{"Microsoft.Compute", []resourceType{
		{"locations/virtualMachines", false, "2024-07-01 2023-03-01 2022-11-01 2022-08-01"},
		{"virtualMachines", true, "2024-07-01 2024-03-01 2023-09-01 2023-03-01 2022-11-01 2022-08-01 2021-11-01 2021-07-01 2020-12-01 2020-06-01 2019-12-01 2019-07-01"},
	}},
	{"Microsoft.Network", []resourceType{
		{"networkInterfaces", true, networkVersions},
		{"networkSecurityGroups", true, networkVersions},
		{"networkSecurityGroups/securityRules", false, networkVersions},
		{"publicIPAddresses", true, networkVersions},
	}},
	{"Microsoft.Authorization", []resourceType{
		{"roleDefinitions", false, "2022-04-01 2018-07-01 2015-07-01 2018-01-01-preview"},
		{"roleAssignments", false, "2022-04-01 2020-04-01-preview 2018-07-01 2015-07-01"},
		{"denyAssignments", false, "2022-04-01 2018-07-01-preview"},
		{"permissions", false, "2022-04-01 2018-07-01 2015-07-01"},
		{"policyDefinitions", false, "2023-04-01 2021-06-01 2020-09-01"},
		{"policyAssignments", false, "2023-04-01 2021-06-01 2020-09-01"},
	}},
	{"Microsoft.Insights", []resourceType{
		{"eventtypes", false, "2015-04-01"},
	}},
	{"Microsoft.PolicyInsights", []resourceType{
		{"policyStates", false, "2019-10-01 2018-04-04"},
	}},
	{"Microsoft.Management", []resourceType{
		{"managementGroups", false, "2023-04-01 2021-04-01 2020-05-01 2020-02-01 2018-03-01-preview"},
		{"getEntities", false, "2023-04-01 2021-04-01 2020-05-01 2020-02-01 2018-03-01-preview"},
	}},
	{"Microsoft.Resources", []resourceType{
		{"tenants", false, resourcesVersions},
		{"subscriptions", false, resourcesVersions},
		{"subscriptions/locations", false, resourcesVersions},
		{"subscriptions/providers", false, resourcesVersions},
		{"subscriptions/resources", false, resourcesVersions},
		{"subscriptions/resourceGroups", true, resourcesVersions},
		{"resourceGroups", true, resourcesVersions},
		{"resources", false, resourcesVersions},
		{"providers", false, resourcesVersions},
	}},
}

const (
	networkVersions   = "2024-05-01 2024-01-01 2023-09-01 2023-02-01 2022-11-01 2022-07-01 2021-08-01 2020-11-01 2019-11-01"
	resourcesVersions = "2024-03-01 2022-12-01 2022-09-01 2021-04-01 2021-01-01 2020-10-01 2020-06-01 2019-11-01 2019-10-01 2019-05-01 2018-05-01 2016-06-01"
)

type providerBody struct {
	ID                 string             `json:"id"`
	Namespace          string             `json:"namespace"`
	RegistrationPolicy string             `json:"registrationPolicy"`
	ResourceTypes      []resourceTypeBody `json:"resourceTypes"`
	RegistrationState  string             `json:"registrationState"`
}

type resourceTypeBody struct {
	ResourceType      string   `json:"resourceType"`
	Locations         []string `json:"locations"`
	APIVersions       []string `json:"apiVersions"`
	DefaultAPIVersion string   `json:"defaultApiVersion,omitempty"`
	Capabilities      string   `json:"capabilities"`
}

// providers shows the namespaces that the path asks for: all, or one.
func (s room) providers(ctx context.Context, c *rest.Call) ([]providerBody, error) {
	scope, prefix := ajar.Root, ""
	if c.Value("s") != "" {
		var err error
		if scope, err = c.Scope(); err != nil {
			return nil, err
		}
		prefix = "/subscriptions/" + strings.ToLower(scope.Subscription())
		if _, err := s.Broker.Subscription(ctx, c.Who, scope.Subscription()); err != nil {
			return nil, err
		}
	}
	at, err := s.Broker.Locations(ctx, c.Who, scope)
	if err != nil {
		return nil, err
	}
	for i := range at {
		at[i] = spaced(at[i])
	}
	at = append([]string{}, at...)
	out := []providerBody{}
	for _, ns := range namespaces {
		if want := c.Value("ns"); want != "" && !strings.EqualFold(want, ns.name) {
			continue
		}
		b := providerBody{ID: prefix + "/providers/" + ns.name, Namespace: ns.name, RegistrationPolicy: "RegistrationFree", RegistrationState: "Registered"}
		for _, t := range ns.types {
			tb := resourceTypeBody{ResourceType: t.name, Locations: []string{}, APIVersions: strings.Fields(t.versions), Capabilities: "None"}
			if t.located {
				tb.Locations = at
			}
			tb.DefaultAPIVersion = tb.APIVersions[0]
			b.ResourceTypes = append(b.ResourceTypes, tb)
		}
		out = append(out, b)
	}
	return out, nil
}

func (s room) listProviders(ctx context.Context, c *rest.Call, _ rest.Nothing) (l rest.List[providerBody], err error) {
	top, err := c.Number("$top", rest.MostAPage, 1, rest.MostAPage)
	if err != nil {
		return l, err
	}
	l.Value, err = s.providers(ctx, c)
	l.Value = l.Value[:min(len(l.Value), int(top))]
	return l, err
}

func (s room) getProvider(ctx context.Context, c *rest.Call, _ rest.Nothing) (*providerBody, error) {
	all, err := s.providers(ctx, c)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, rest.Coded(ajar.NotFound, "InvalidResourceNamespace", "The resource namespace '%.100s' is invalid.", c.Value("ns"))
	}
	return &all[0], nil
}
