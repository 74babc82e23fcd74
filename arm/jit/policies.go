package jit

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/arm/rest"
	"github.com/ajar-access/ajar/broker"
)

func (s room) policyRoutes() []rest.Route {
	const (
		sub    = "/subscriptions/{s}"
		group  = sub + "/resourcegroups/{g}"
		ns     = "/providers/microsoft.security"
		loc    = ns + "/locations/{l}/jitnetworkaccesspolicies"
		policy = group + loc + "/{n}"
	)
	return []rest.Route{
		rest.Get(sub+ns+"/jitnetworkaccesspolicies", rest.Azure, rest.Op(200, s.listPolicies), "Lists a subscription's just-in-time policies.", ajar.PolicyRead, "$top"),
		rest.Get(sub+loc, rest.Azure, rest.Op(200, s.listPolicies), "Lists a subscription's just-in-time policies at one location.", ajar.PolicyRead, "$top"),
		rest.Get(group+ns+"/jitnetworkaccesspolicies", rest.Azure, rest.Op(200, s.listPolicies), "Lists a resource group's just-in-time policies.", ajar.PolicyRead, "$top"),
		rest.Get(group+loc, rest.Azure, rest.Op(200, s.listPolicies), "Lists a resource group's just-in-time policies at one location.", ajar.PolicyRead, "$top"),
		rest.Get(policy, rest.Azure, rest.Op(200, s.getPolicy), "Shows a just-in-time policy and its newest requests.", ajar.PolicyRead),
		rest.Put(policy, rest.Azure, rest.Op(200, s.putPolicy), "Makes or replaces a just-in-time policy.", ajar.PolicyWrite, "ajar-confirm-within", "ajar-force"),
		rest.Delete(policy, rest.Azure, rest.Op(200, s.deletePolicy), "Removes a just-in-time policy.", ajar.PolicyDelete),
		rest.Post(policy+"/initiate", rest.Azure, rest.Op(202, s.initiate), "Asks for access under a just-in-time policy.", ajar.PolicyInitiate),
		rest.Get("/ajar/v1/policies", rest.Ours, rest.Op(200, s.allPolicies), "Lists the just-in-time policies of every subscription.", ajar.PolicyRead, "scope", "$top"),
		rest.Post("/ajar/v1/what-if", rest.Ours, rest.Op(200, s.whatIf), "Says what writing a policy would guard, lift and end, and changes nothing.", ajar.PolicyWrite),
	}
}

// How many requests a policy is shown with, the newest first to be counted and the oldest first to be shown.
const (
	historyShown  = 100
	historyInList = 10
)

// policyAt is the policy that the path names.
func policyAt(c *rest.Call) (ajar.ID, error) {
	group, err := c.Scope()
	if err != nil {
		return "", err
	}
	name := c.Value("n")
	if !rest.NameForm.MatchString(name) {
		return "", rest.Coded(ajar.Invalid, "InvalidResourceName", "The resource name '%.100s' is invalid: at most 128 letters, digits, spaces and -_.().", name)
	}
	return group + "/providers/Microsoft.Security/locations/" + ajar.ID(c.Value("l")+"/jitNetworkAccessPolicies/"+name), nil
}

func (s room) getPolicy(ctx context.Context, c *rest.Call, _ rest.Nothing) (*policyBody, error) {
	id, err := policyAt(c)
	if err != nil {
		return nil, err
	}
	p, err := s.Broker.Policy(ctx, c.Who, id)
	if err != nil {
		return nil, err
	}
	history, err := s.history(ctx, c.Who, p.ID, historyShown)
	if err != nil {
		return nil, err
	}
	c.Header["Etag"] = []string{etag(p)}
	return s.showPolicy(p, history, "Succeeded"), nil
}

func (s room) putPolicy(ctx context.Context, c *rest.Call, in policyIn) (*policyBody, error) {
	id, err := policyAt(c)
	if err != nil {
		return nil, err
	}
	p, err := in.policy(id)
	if err != nil {
		return nil, err
	}
	o, err := putOptions(c)
	if err != nil {
		return nil, err
	}
	put, err := s.Broker.PutPolicy(ctx, c.Who, p, o)
	if err != nil {
		return nil, unmatched(err)
	}
	c.Header["Etag"] = []string{etag(put)}
	return s.showPolicy(put, nil, "Updating"), nil
}

func (s room) deletePolicy(ctx context.Context, c *rest.Call, _ rest.Nothing) (rest.Nothing, error) {
	id, err := policyAt(c)
	if err != nil {
		return rest.Nothing{}, err
	}
	match, err := ifMatch(c)
	if err != nil {
		return rest.Nothing{}, err
	}
	existed, err := s.Broker.DeletePolicy(ctx, c.Who, id, match)
	if !existed {
		c.Status = http.StatusNoContent
	}
	return rest.Nothing{}, unmatched(err)
}

func (s room) listPolicies(ctx context.Context, c *rest.Call, _ rest.Nothing) (rest.List[*policyBody], error) {
	scope, err := c.Scope()
	if err != nil {
		return rest.List[*policyBody]{}, err
	}
	// Azure fans a subscription's list out, and says so.
	if c.Value("g") == "" {
		c.Header["x-ms-original-request-ids"] = []string{rest.NewGUID(), rest.NewGUID(), rest.NewGUID()}
	}
	return s.policiesAt(ctx, c, scope)
}

func (s room) allPolicies(ctx context.Context, c *rest.Call, _ rest.Nothing) (rest.List[*policyBody], error) {
	scope, err := c.ScopeParam("scope", ajar.Root)
	if err != nil {
		return rest.List[*policyBody]{}, err
	}
	return s.policiesAt(ctx, c, scope)
}

// policiesAt lists one page. A list at a location is the one above it, filtered: location is not part of ARM's scopes.
func (s room) policiesAt(ctx context.Context, c *rest.Call, scope ajar.ID) (rest.List[*policyBody], error) {
	page, err := c.Page(rest.PoliciesAPage)
	if err != nil {
		return rest.List[*policyBody]{}, err
	}
	all, next, err := s.Broker.PoliciesAsked(ctx, c.Who, scope, historyInList, page)
	if err != nil {
		return rest.List[*policyBody]{}, err
	}
	l := rest.List[*policyBody]{Value: make([]*policyBody, 0, len(all)), NextLink: c.Next(next)}
	for _, p := range all {
		if at := c.Value("l"); at != "" && broker.PlainLocation(at) != broker.PlainLocation(p.Policy.ID.Location()) {
			continue
		}
		l.Value = append(l.Value, s.showPolicy(p.Policy, p.Requests, "Succeeded"))
	}
	return l, nil
}

// history is the newest n requests of a policy. Who may read the policy may not always read its requests.
func (s room) history(ctx context.Context, who ajar.Caller, policy ajar.ID, n int) ([]*broker.Outcome, error) {
	all, _, err := s.Broker.Requests(ctx, who, broker.RequestFilter{Policy: policy, Page: broker.Page{Limit: n}})
	if errors.Is(err, ajar.Forbidden) {
		return nil, nil
	}
	return all, err
}

// putOptions reads the options beyond Azure, which stand in the query, and the conditions.
func putOptions(c *rest.Call) (o broker.PutOptions, err error) {
	if v := c.Param("ajar-confirm-within"); v != "" {
		if o.ConfirmWithin, err = ajar.ParseDuration(v); err != nil {
			return o, err
		}
		if o.ConfirmWithin == 0 {
			o.ConfirmWithin = -time.Nanosecond // said to be confirmed at once, where absence is the plane's default
		}
	}
	if o.Force, err = c.Flag("ajar-force"); err != nil {
		return o, err
	}
	if c.Request.Header.Get("If-None-Match") == "*" {
		o.IfMatch = broker.IfNone
		return o, nil
	}
	o.IfMatch, err = ifMatch(c)
	return o, err
}

// ifMatch is what the call's If-Match asks of the policy.
func ifMatch(c *rest.Call) (int64, error) {
	switch m := c.Request.Header.Get("If-Match"); m {
	case "":
		return 0, nil
	case "*":
		return broker.IfAny, nil
	default:
		rev, err := strconv.ParseInt(strings.Trim(strings.TrimPrefix(m, "W/"), `"`), 10, 64)
		if err != nil || rev < 1 {
			return 0, rest.Coded(ajar.Invalid, "InvalidIfMatch", "If-Match '%.60s' is not an ETag that this server gave out.", m)
		}
		return rev, nil
	}
}

// unmatched gives the refusal of If-Match and If-None-Match its status; every other conflict keeps its own.
func unmatched(err error) error {
	var e *ajar.Error
	if errors.As(err, &e) && e.Code == broker.Unmatched {
		return rest.Coded(ajar.Conflict, rest.Stale, "%s", e.Msg)
	}
	return err
}

func etag(p *ajar.Policy) string { return `"` + strconv.FormatInt(p.Rev, 10) + `"` }
