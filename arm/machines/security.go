package machines

import (
	"context"
	"strings"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/arm/rest"
	"github.com/ajar-access/ajar/broker"
)

func (s room) securityRoutes() []rest.Route {
	const (
		sub      = "/subscriptions/{s}"
		in       = "/providers/microsoft.security"
		metadata = in + "/assessmentmetadata"
	)
	routes := []rest.Route{
		rest.Get(sub+in+"/pricings", rest.Beside, rest.Op(200, s.listPricings), "Lists the plans of a subscription: one for machines, always on.", ajar.PricingRead),
		rest.Get(sub+in+"/pricings/{plan}", rest.Beside, rest.Op(200, s.getPricing), "Shows the plan for machines.", ajar.PricingRead),
		rest.Put(sub+in+"/pricings/{plan}", rest.Beside, rest.Op(200, s.putPricing), "Agrees that the plan for machines is on, as it always is.", ajar.PricingWrite),
		rest.Get(sub+in+"/locations", rest.Beside, rest.Op(200, s.listSecurityLocations), "Lists the locations of a subscription's machines and policies, as policies name them.", ajar.SecurityLocationRead),
		rest.Get(sub+in+"/locations/{l}", rest.Beside, rest.Op(200, s.getSecurityLocation), "Shows a location.", ajar.SecurityLocationRead),
		rest.Get(sub+in+"/policies", rest.Beside, rest.Op(200, s.listSecurityPolicies), "Lists a subscription's security policies: one, which asks for just-in-time access.", ajar.SecurityPolicyRead),
		rest.Get(sub+in+"/policies/{name}", rest.Beside, rest.Op(200, s.getSecurityPolicy), "Shows a security policy.", ajar.SecurityPolicyRead),
		rest.Get(metadata, rest.Beside, rest.Op(200, s.listAssessmentMetadata), "Lists what machines are assessed for.", ""),
		rest.Get(metadata+"/{key}", rest.Beside, rest.Op(200, s.getAssessmentMetadata), "Shows what machines are assessed for.", ""),
		rest.Get(sub+metadata, rest.Beside, rest.Op(200, s.listAssessmentMetadata), "Lists what machines are assessed for.", ajar.AssessmentMetadataRead),
		rest.Get(sub+metadata+"/{key}", rest.Beside, rest.Op(200, s.getAssessmentMetadata), "Shows what machines are assessed for.", ajar.AssessmentMetadataRead),
		rest.Get(machinePath+in+"/assessments/{key}", rest.Beside, rest.Op(200, s.getAssessment), "Shows whether just-in-time access to a machine is as it should be.", ajar.AssessmentRead, "$expand"),
	}
	for _, scope := range machineScopes {
		routes = append(routes, rest.Get(scope+in+"/assessments", rest.Beside, rest.Op(200, s.listAssessments),
			"Lists, for every machine at a scope, whether just-in-time access to it is as it should be.", ajar.AssessmentRead, "$expand", "$top"))
	}
	return routes
}

// machinePath is a machine, and machineScopes where lists of what is said of machines stand.
const machinePath = "/subscriptions/{s}/resourcegroups/{g}/providers/microsoft.compute/virtualmachines/{vm}"

var machineScopes = []string{
	"/subscriptions/{s}", "/subscriptions/{s}/resourcegroups/{g}", machinePath, "/providers/microsoft.management/managementgroups/{mg}",
}

// machineScope is which of machineScopes the path names.
func machineScope(c *rest.Call) (ajar.ID, error) {
	switch mg := c.Value("mg"); {
	case c.Value("vm") != "":
		return machineAt(c)
	case mg == "":
		return c.Scope()
	case !rest.NameForm.MatchString(mg):
		return "", rest.Coded(ajar.Invalid, "InvalidResourceName", "The management group name '%.100s' is invalid.", mg)
	default:
		return ajar.ID("/providers/Microsoft.Management/managementGroups/" + mg), nil
	}
}

// inSubscription refuses whoever may not do action at the path's subscription, or if there is none.
func (s room) inSubscription(ctx context.Context, c *rest.Call, action ajar.Action) error {
	at, err := c.Scope()
	if err != nil {
		return err
	}
	return s.Broker.InSubscription(ctx, c.Who, action, at.Subscription())
}

// proxyBody is a resource without a location.
type proxyBody[P any] struct {
	ID         ajar.ID `json:"id"`
	Name       string  `json:"name"`
	Type       string  `json:"type"`
	Properties P       `json:"properties"`
}

type pricingProperties struct {
	Extensions []struct{} `json:"extensions"`
	SubPlan    string     `json:"subPlan"`
	Tier       string     `json:"pricingTier"`
	Trial      string     `json:"freeTrialRemainingTime"`
	Coverage   string     `json:"resourcesCoverageStatus"`
}

type pricingBody = proxyBody[pricingProperties]

// plan is the one that just-in-time access belongs to in Azure.
const plan = "VirtualMachines"

func showPricing(sub string) pricingBody {
	return pricingBody{
		ID: ajar.ID("/subscriptions/" + sub + "/providers/Microsoft.Security/pricings/" + plan), Name: plan, Type: "Microsoft.Security/pricings",
		Properties: pricingProperties{[]struct{}{}, "P2", "Standard", "PT0S", "FullyCovered"},
	}
}

func (s room) listPricings(ctx context.Context, c *rest.Call, _ rest.Nothing) (l rest.List[pricingBody], err error) {
	if err = s.inSubscription(ctx, c, ajar.PricingRead); err == nil {
		l.Value = []pricingBody{showPricing(c.Value("s"))}
	}
	return l, err
}

func (s room) getPricing(ctx context.Context, c *rest.Call, _ rest.Nothing) (*pricingBody, error) {
	if err := s.inSubscription(ctx, c, ajar.PricingRead); err != nil {
		return nil, err
	}
	return onlyPlan(c)
}

func onlyPlan(c *rest.Call) (*pricingBody, error) {
	if !strings.EqualFold(c.Value("plan"), plan) {
		return nil, rest.Coded(ajar.NotFound, "", "There is no plan '%.60s'; the only one is '%s'.", c.Value("plan"), plan)
	}
	b := showPricing(c.Value("s"))
	return &b, nil
}

type pricingIn struct {
	Properties struct {
		Tier    rest.Text `json:"pricingTier"`
		SubPlan rest.Text `json:"subPlan"`
	} `json:"properties"`
}

// putPricing takes what scripts send before they use just-in-time access.
func (s room) putPricing(ctx context.Context, c *rest.Call, in pricingIn) (*pricingBody, error) {
	at, err := c.Scope()
	if err != nil {
		return nil, err
	}
	p := in.Properties
	off := strings.EqualFold(string(p.Tier), "Free") || p.SubPlan != "" && !strings.EqualFold(string(p.SubPlan), "P2")
	switch {
	case off:
		return nil, s.decline(ctx, c, ajar.PricingWrite, at, "Just-in-time access is always there and costs nothing here: pricingTier is Standard and subPlan is P2.")
	case !strings.EqualFold(string(p.Tier), "Standard"):
		return nil, rest.Bad("properties.pricingTier is %.40q; it can be Standard", string(p.Tier))
	}
	b, err := onlyPlan(c)
	if err != nil {
		return nil, err
	}
	return b, s.Broker.AgreeInSubscription(ctx, c.Who, ajar.PricingWrite, at.Subscription())
}

type securityLocationProperties struct {
	HomeRegion string `json:"homeRegionName"`
}

type securityLocation = proxyBody[securityLocationProperties]

func (s room) listSecurityLocations(ctx context.Context, c *rest.Call, _ rest.Nothing) (l rest.List[securityLocation], err error) {
	at, err := c.Scope()
	if err != nil {
		return l, err
	}
	sub := ajar.ID("/subscriptions/" + at.Subscription())
	if err = s.Broker.InSubscription(ctx, c.Who, ajar.SecurityLocationRead, at.Subscription()); err != nil {
		return l, err
	}
	all, err := s.Broker.Locations(ctx, c.Who, sub)
	if err != nil {
		return l, err
	}
	return rest.Each(c, all, "", func(name string) securityLocation {
		plain := broker.PlainLocation(name)
		return securityLocation{sub + "/providers/Microsoft.Security/locations/" + ajar.ID(plain), plain, "Microsoft.Security/locations", securityLocationProperties{plain}}
	}), nil
}

func (s room) getSecurityLocation(ctx context.Context, c *rest.Call, in rest.Nothing) (*securityLocation, error) {
	all, err := s.listSecurityLocations(ctx, c, in)
	if err != nil {
		return nil, err
	}
	for _, l := range all.Value {
		if l.Name == broker.PlainLocation(c.Value("l")) {
			return &l, nil
		}
	}
	return nil, rest.Coded(ajar.NotFound, "", "No machine and no policy of the subscription is at location '%.60s'.", c.Value("l"))
}

type securityPolicyProperties struct {
	Level           string            `json:"policyLevel"`
	Name            string            `json:"name"`
	LogCollection   string            `json:"logCollection"`
	Recommendations map[string]string `json:"recommendations"`
}

type securityPolicy = proxyBody[securityPolicyProperties]

func (s room) listSecurityPolicies(ctx context.Context, c *rest.Call, _ rest.Nothing) (l rest.List[securityPolicy], err error) {
	if err = s.inSubscription(ctx, c, ajar.SecurityPolicyRead); err != nil {
		return l, err
	}
	l.Value = []securityPolicy{{
		ajar.ID("/subscriptions/" + c.Value("s") + "/providers/Microsoft.Security/policies/default"), "default", "Microsoft.Security/policies",
		securityPolicyProperties{"Subscription", "default", "Off", map[string]string{"jitNetworkAccess": "On"}},
	}}
	return l, nil
}

func (s room) getSecurityPolicy(ctx context.Context, c *rest.Call, in rest.Nothing) (*securityPolicy, error) {
	all, err := s.listSecurityPolicies(ctx, c, in)
	if err != nil {
		return nil, err
	}
	if !strings.EqualFold(c.Value("name"), "default") {
		return nil, rest.Coded(ajar.NotFound, "", "There is no security policy '%.60s'; the only one is 'default'.", c.Value("name"))
	}
	return &all.Value[0], nil
}
