package arm

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/broker"
)

func (s *Server) policyRoutes() []route {
	const (
		sub    = "/subscriptions/{s}"
		group  = sub + "/resourcegroups/{g}"
		ns     = "/providers/microsoft.security"
		loc    = ns + "/locations/{l}/jitnetworkaccesspolicies"
		policy = group + loc + "/{n}"
	)
	return []route{
		Get(sub+ns+"/jitnetworkaccesspolicies", azure, op(200, s.listPolicies), "Lists a subscription's just-in-time policies.", ajar.PolicyRead, "$top"),
		Get(sub+loc, azure, op(200, s.listPolicies), "Lists a subscription's just-in-time policies at one location.", ajar.PolicyRead, "$top"),
		Get(group+ns+"/jitnetworkaccesspolicies", azure, op(200, s.listPolicies), "Lists a resource group's just-in-time policies.", ajar.PolicyRead, "$top"),
		Get(group+loc, azure, op(200, s.listPolicies), "Lists a resource group's just-in-time policies at one location.", ajar.PolicyRead, "$top"),
		Get(policy, azure, op(200, s.getPolicy), "Shows a just-in-time policy and its newest requests.", ajar.PolicyRead),
		Put(policy, azure, op(200, s.putPolicy), "Makes or replaces a just-in-time policy.", ajar.PolicyWrite, "ajar-confirm-within", "ajar-force"),
		Delete(policy, azure, op(200, s.deletePolicy), "Removes a just-in-time policy.", ajar.PolicyDelete),
		Post(policy+"/initiate", azure, op(202, s.initiate), "Asks for access under a just-in-time policy.", ajar.PolicyInitiate),
		Get("/ajar/v1/policies", ours, op(200, s.allPolicies), "Lists the just-in-time policies of every subscription.", ajar.PolicyRead, "scope", "$top"),
		Post("/ajar/v1/what-if", ours, op(200, s.whatIf), "Says what writing a policy would guard, lift and end, and changes nothing.", ajar.PolicyWrite),
	}
}

// How many requests a policy is shown with, the newest first to be counted and the oldest first to be shown.
const (
	historyShown  = 100
	historyInList = 10
)

// policyAt is the policy that the path names.
func (c *call) policyAt() (ajar.ID, error) {
	group, err := c.scopeOf()
	if err != nil {
		return "", err
	}
	name := c.value("n")
	if !nameForm.MatchString(name) {
		return "", coded(ajar.Invalid, "InvalidResourceName", "The resource name '%.100s' is invalid: at most 128 letters, digits, spaces and -_.().", name)
	}
	return group + "/providers/Microsoft.Security/locations/" + ajar.ID(c.value("l")+"/jitNetworkAccessPolicies/"+name), nil
}

func (s *Server) getPolicy(ctx context.Context, c *call, _ nothing) (*policyBody, error) {
	id, err := c.policyAt()
	if err != nil {
		return nil, err
	}
	p, err := s.Broker.Policy(ctx, c.who, id)
	if err != nil {
		return nil, err
	}
	history, err := s.history(ctx, c.who, p.ID, historyShown)
	if err != nil {
		return nil, err
	}
	c.header["Etag"] = []string{etag(p)}
	return s.showPolicy(p, history, "Succeeded"), nil
}

func (s *Server) putPolicy(ctx context.Context, c *call, in policyIn) (*policyBody, error) {
	id, err := c.policyAt()
	if err != nil {
		return nil, err
	}
	p, err := in.policy(id)
	if err != nil {
		return nil, err
	}
	o, err := c.putOptions()
	if err != nil {
		return nil, err
	}
	put, err := s.Broker.PutPolicy(ctx, c.who, p, o)
	if o.IfMatch != 0 && errors.Is(err, ajar.Conflict) {
		return nil, coded(ajar.Conflict, codeStale, "%s", ajar.Message(err))
	} else if err != nil {
		return nil, err
	}
	c.header["Etag"] = []string{etag(put)}
	return s.showPolicy(put, nil, "Updating"), nil
}

func (s *Server) deletePolicy(ctx context.Context, c *call, _ nothing) (nothing, error) {
	id, err := c.policyAt()
	if err != nil {
		return nothing{}, err
	}
	existed, err := s.Broker.DeletePolicy(ctx, c.who, id)
	if !existed {
		c.status = http.StatusNoContent
	}
	return nothing{}, err
}

func (s *Server) listPolicies(ctx context.Context, c *call, _ nothing) (list[*policyBody], error) {
	scope, err := c.scopeOf()
	if err != nil {
		return list[*policyBody]{}, err
	}
	// Azure fans a subscription's list out, and says so.
	if c.value("g") == "" {
		c.header["x-ms-original-request-ids"] = []string{newGUID(), newGUID(), newGUID()}
	}
	return s.policiesAt(ctx, c, scope)
}

func (s *Server) allPolicies(ctx context.Context, c *call, _ nothing) (list[*policyBody], error) {
	scope, err := c.scope("scope", ajar.Root)
	if err != nil {
		return list[*policyBody]{}, err
	}
	return s.policiesAt(ctx, c, scope)
}

// policiesAt lists one page. A list at a location is the one above it, filtered: location is not part of ARM's scopes.
func (s *Server) policiesAt(ctx context.Context, c *call, scope ajar.ID) (list[*policyBody], error) {
	page, err := c.page(policiesAPage)
	if err != nil {
		return list[*policyBody]{}, err
	}
	all, next, err := s.Broker.PoliciesAsked(ctx, c.who, scope, historyInList, page)
	if err != nil {
		return list[*policyBody]{}, err
	}
	l := list[*policyBody]{Value: make([]*policyBody, 0, len(all)), NextLink: c.next(next)}
	for _, p := range all {
		if at := c.value("l"); at != "" && broker.PlainLocation(at) != broker.PlainLocation(p.Policy.ID.Location()) {
			continue
		}
		l.Value = append(l.Value, s.showPolicy(p.Policy, p.Requests, "Succeeded"))
	}
	return l, nil
}

// history is the newest n requests of a policy. Who may read the policy may not always read its requests.
func (s *Server) history(ctx context.Context, who ajar.Caller, policy ajar.ID, n int) ([]*broker.Outcome, error) {
	all, _, err := s.Broker.Requests(ctx, who, broker.RequestFilter{Policy: policy, Page: broker.Page{Limit: n}})
	if errors.Is(err, ajar.Forbidden) {
		return nil, nil
	}
	return all, err
}

// putOptions reads the options beyond Azure, which stand in the query, and the conditions.
func (c *call) putOptions() (o broker.PutOptions, err error) {
	if v := c.param("ajar-confirm-within"); v != "" {
		if o.ConfirmWithin, err = ajar.ParseDuration(v); err != nil {
			return o, err
		}
		if o.ConfirmWithin == 0 {
			o.ConfirmWithin = -time.Nanosecond // said to be confirmed at once, where absence is the plane's default
		}
	}
	if o.Force, err = c.flag("ajar-force"); err != nil {
		return o, err
	}
	if c.r.Header.Get("If-None-Match") == "*" {
		o.IfMatch = -1
	} else if m := c.r.Header.Get("If-Match"); m != "" && m != "*" {
		rev, err := strconv.ParseInt(strings.Trim(strings.TrimPrefix(m, "W/"), `"`), 10, 64)
		if err != nil || rev < 1 {
			return o, coded(ajar.Invalid, "InvalidIfMatch", "If-Match '%.60s' is not an ETag that this server gave out.", m)
		}
		o.IfMatch = rev
	}
	return o, nil
}

func etag(p *ajar.Policy) string { return `"` + strconv.FormatInt(p.Rev, 10) + `"` }
