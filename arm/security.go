package arm

import (
	"context"
	"strings"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/broker"
)

func (s *Server) securityRoutes() []route {
	const (
		sub      = "/subscriptions/{s}"
		in       = "/providers/microsoft.security"
		metadata = in + "/assessmentmetadata"
	)
	routes := []route{
		Get(sub+in+"/pricings", beside, op(200, s.listPricings), "Lists the plans of a subscription: one for machines, always on.", ajar.PricingRead),
		Get(sub+in+"/pricings/{plan}", beside, op(200, s.getPricing), "Shows the plan for machines.", ajar.PricingRead),
		Put(sub+in+"/pricings/{plan}", beside, op(200, s.putPricing), "Agrees that the plan for machines is on, as it always is.", ajar.PricingWrite),
		Get(sub+in+"/locations", beside, op(200, s.listSecurityLocations), "Lists the locations of a subscription's machines and policies, as policies name them.", ajar.SecurityLocationRead),
		Get(sub+in+"/locations/{l}", beside, op(200, s.getSecurityLocation), "Shows a location.", ajar.SecurityLocationRead),
		Get(sub+in+"/policies", beside, op(200, s.listSecurityPolicies), "Lists a subscription's security policies: one, which asks for just-in-time access.", ajar.SecurityPolicyRead),
		Get(sub+in+"/policies/{name}", beside, op(200, s.getSecurityPolicy), "Shows a security policy.", ajar.SecurityPolicyRead),
		Get(metadata, beside, op(200, s.listAssessmentMetadata), "Lists what machines are assessed for.", ""),
		Get(metadata+"/{key}", beside, op(200, s.getAssessmentMetadata), "Shows what machines are assessed for.", ""),
		Get(sub+metadata, beside, op(200, s.listAssessmentMetadata), "Lists what machines are assessed for.", ajar.AssessmentMetadataRead),
		Get(sub+metadata+"/{key}", beside, op(200, s.getAssessmentMetadata), "Shows what machines are assessed for.", ajar.AssessmentMetadataRead),
		Get(machinePath+in+"/assessments/{key}", beside, op(200, s.getAssessment), "Shows whether just-in-time access to a machine is as it should be.", ajar.AssessmentRead, "$expand"),
	}
	for _, scope := range machineScopes {
		routes = append(routes, Get(scope+in+"/assessments", beside, op(200, s.listAssessments),
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
func (c *call) machineScope() (ajar.ID, error) {
	switch mg := c.value("mg"); {
	case c.value("vm") != "":
		return c.machineAt()
	case mg == "":
		return c.scopeOf()
	case !nameForm.MatchString(mg):
		return "", coded(ajar.Invalid, "InvalidResourceName", "The management group name '%.100s' is invalid.", mg)
	default:
		return ajar.ID("/providers/Microsoft.Management/managementGroups/" + mg), nil
	}
}

// inSubscription refuses whoever may not do action at the path's subscription, or if there is none.
func (s *Server) inSubscription(ctx context.Context, c *call, action ajar.Action) error {
	at, err := c.scopeOf()
	if err != nil {
		return err
	}
	return s.Broker.InSubscription(ctx, c.who, action, at.Subscription())
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

func (s *Server) listPricings(ctx context.Context, c *call, _ nothing) (l list[pricingBody], err error) {
	if err = s.inSubscription(ctx, c, ajar.PricingRead); err == nil {
		l.Value = []pricingBody{showPricing(c.value("s"))}
	}
	return l, err
}

func (s *Server) getPricing(ctx context.Context, c *call, _ nothing) (*pricingBody, error) {
	if err := s.inSubscription(ctx, c, ajar.PricingRead); err != nil {
		return nil, err
	}
	return onlyPlan(c)
}

func onlyPlan(c *call) (*pricingBody, error) {
	if !strings.EqualFold(c.value("plan"), plan) {
		return nil, coded(ajar.NotFound, "", "There is no plan '%.60s'; the only one is '%s'.", c.value("plan"), plan)
	}
	b := showPricing(c.value("s"))
	return &b, nil
}

type pricingIn struct {
	Properties struct {
		Tier    wireText `json:"pricingTier"`
		SubPlan wireText `json:"subPlan"`
	} `json:"properties"`
}

// putPricing takes what scripts send before they use just-in-time access.
func (s *Server) putPricing(ctx context.Context, c *call, in pricingIn) (*pricingBody, error) {
	at, err := c.scopeOf()
	if err != nil {
		return nil, err
	}
	p := in.Properties
	off := strings.EqualFold(string(p.Tier), "Free") || p.SubPlan != "" && !strings.EqualFold(string(p.SubPlan), "P2")
	switch {
	case off:
		return nil, s.decline(ctx, c, ajar.PricingWrite, at, "Just-in-time access is always there and costs nothing here: pricingTier is Standard and subPlan is P2.")
	case !strings.EqualFold(string(p.Tier), "Standard"):
		return nil, bad("properties.pricingTier is %.40q; it can be Standard", string(p.Tier))
	}
	b, err := onlyPlan(c)
	if err != nil {
		return nil, err
	}
	return b, s.Broker.AgreeInSubscription(ctx, c.who, ajar.PricingWrite, at.Subscription())
}

type securityLocationProperties struct {
	HomeRegion string `json:"homeRegionName"`
}

type securityLocation = proxyBody[securityLocationProperties]

func (s *Server) listSecurityLocations(ctx context.Context, c *call, _ nothing) (l list[securityLocation], err error) {
	at, err := c.scopeOf()
	if err != nil {
		return l, err
	}
	sub := ajar.ID("/subscriptions/" + at.Subscription())
	if err = s.Broker.InSubscription(ctx, c.who, ajar.SecurityLocationRead, at.Subscription()); err != nil {
		return l, err
	}
	all, err := s.Broker.Locations(ctx, c.who, sub)
	if err != nil {
		return l, err
	}
	return each(c, all, "", func(name string) securityLocation {
		plain := broker.PlainLocation(name)
		return securityLocation{sub + "/providers/Microsoft.Security/locations/" + ajar.ID(plain), plain, "Microsoft.Security/locations", securityLocationProperties{plain}}
	}), nil
}

func (s *Server) getSecurityLocation(ctx context.Context, c *call, in nothing) (*securityLocation, error) {
	all, err := s.listSecurityLocations(ctx, c, in)
	if err != nil {
		return nil, err
	}
	for _, l := range all.Value {
		if l.Name == broker.PlainLocation(c.value("l")) {
			return &l, nil
		}
	}
	return nil, coded(ajar.NotFound, "", "No machine and no policy of the subscription is at location '%.60s'.", c.value("l"))
}

type securityPolicyProperties struct {
	Level           string            `json:"policyLevel"`
	Name            string            `json:"name"`
	LogCollection   string            `json:"logCollection"`
	Recommendations map[string]string `json:"recommendations"`
}

type securityPolicy = proxyBody[securityPolicyProperties]

func (s *Server) listSecurityPolicies(ctx context.Context, c *call, _ nothing) (l list[securityPolicy], err error) {
	if err = s.inSubscription(ctx, c, ajar.SecurityPolicyRead); err != nil {
		return l, err
	}
	l.Value = []securityPolicy{{
		ajar.ID("/subscriptions/" + c.value("s") + "/providers/Microsoft.Security/policies/default"), "default", "Microsoft.Security/policies",
		securityPolicyProperties{"Subscription", "default", "Off", map[string]string{"jitNetworkAccess": "On"}},
	}}
	return l, nil
}

func (s *Server) getSecurityPolicy(ctx context.Context, c *call, in nothing) (*securityPolicy, error) {
	all, err := s.listSecurityPolicies(ctx, c, in)
	if err != nil {
		return nil, err
	}
	if !strings.EqualFold(c.value("name"), "default") {
		return nil, coded(ajar.NotFound, "", "There is no security policy '%.60s'; the only one is 'default'.", c.value("name"))
	}
	return &all.Value[0], nil
}
