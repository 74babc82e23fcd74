package machines

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/arm/rest"
	"github.com/ajar-access/ajar/broker"
)

func (s room) policyDefinitionRoutes() (routes []rest.Route) {
	const (
		in  = "/providers/microsoft.authorization"
		sub = "/subscriptions/{s}"
	)
	for scope, action := range map[string]ajar.Action{
		"": "", sub: ajar.PolicyDefinitionRead, "/providers/microsoft.management/managementgroups/{mg}": ajar.PolicyDefinitionRead,
	} {
		routes = append(routes,
			rest.Get(scope+in+"/policydefinitions", rest.Beside, rest.Op(200, s.listPolicyDefinitions), "Lists the definitions of Azure's policies: the one about just-in-time access.", action, "$filter", "$top"),
			rest.Get(scope+in+"/policydefinitions/{name}", rest.Beside, rest.Op(200, s.getPolicyDefinition), "Shows the definition of Azure's policy about just-in-time access.", action),
		)
	}
	return append(routes,
		rest.Get(sub+in+"/policyassignments", rest.Beside, rest.Op(200, s.listPolicyAssignments), "Lists the assignments of Azure's policies: the one that every subscription has.", ajar.PolicyAssignmentRead, "$filter", "$top"),
		rest.Get(sub+"/resourcegroups/{g}"+in+"/policyassignments", rest.Beside, rest.Op(200, s.listPolicyAssignments), "Lists the assignments of Azure's policies that hold in a resource group.", ajar.PolicyAssignmentRead, "$filter", "$top"),
		rest.Get(sub+in+"/policyassignments/{name}", rest.Beside, rest.Op(200, s.getPolicyAssignment), "Shows the assignment that every subscription has.", ajar.PolicyAssignmentRead),
	)
}

// Azure's built-in definition, by its name, and the assignment of it that every subscription has here.
const (
	definitionName       = "b0f33259-77d7-4c9e-aac6-3aabcfae693c"
	definitionID         = ajar.ID("/providers/Microsoft.Authorization/policyDefinitions/" + definitionName)
	policyDefinitionType = "Microsoft.Authorization/policyDefinitions"
	definitionWhat       = "Security Center"
	assignmentName       = "ajar-jit-network-access"
	policyAssignmentType = "Microsoft.Authorization/policyAssignments"
	auditEffect          = "AuditIfNotExists"
)

type policyDefinitionBody = proxyBody[policyDefinitionProperties]

type policyDefinitionProperties struct {
	DisplayName string            `json:"displayName"`
	PolicyType  string            `json:"policyType"`
	Mode        string            `json:"mode"`
	Description string            `json:"description"`
	Metadata    map[string]string `json:"metadata"`
	Version     string            `json:"version"`
	Parameters  json.RawMessage   `json:"parameters"`
	Rule        json.RawMessage   `json:"policyRule"`
}

func policyDefinition() policyDefinitionBody {
	return policyDefinitionBody{definitionID, definitionName, policyDefinitionType, policyDefinitionProperties{
		DisplayName: assessmentName, PolicyType: "BuiltIn", Mode: "All", Version: "3.0.0",
		Description: "Looks at whether machines are behind just-in-time access, and changes nothing.",
		Metadata:    map[string]string{"category": definitionWhat, "version": "3.0.0"},
		Parameters: json.RawMessage(`{"effect":{"type":"String","metadata":{"displayName":"Effect","description":"Whether the policy looks at machines"},` +
			`"allowedValues":["` + auditEffect + `","Disabled"],"defaultValue":"` + auditEffect + `"}}`),
		Rule: json.RawMessage(`{"if":{"field":"type","equals":"` + ajar.MachineType + `"},"then":{"effect":"[parameters('effect')]","details":{"type":"` + assessmentType +
			`","name":"` + broker.AssessmentKey + `","existenceCondition":{"field":"` + assessmentType + `/status.code","in":["` + notApplicable + `","` + healthy + `"]}}}}`),
	}}
}

type policyAssignmentBody = proxyBody[policyAssignmentProperties]

type policyAssignmentProperties struct {
	DisplayName string              `json:"displayName"`
	Definition  ajar.ID             `json:"policyDefinitionId"`
	Scope       ajar.ID             `json:"scope"`
	NotScopes   []string            `json:"notScopes"`
	Parameters  map[string]struct{} `json:"parameters"`
	Description string              `json:"description"`
	Metadata    map[string]string   `json:"metadata"`
	Enforcement string              `json:"enforcementMode"`
}

func assignmentID(sub string) ajar.ID {
	return ajar.ID("/subscriptions/" + sub + "/providers/" + policyAssignmentType + "/" + assignmentName)
}

func policyAssignment(sub string) policyAssignmentBody {
	return policyAssignmentBody{assignmentID(sub), assignmentName, policyAssignmentType, policyAssignmentProperties{
		DisplayName: "Just-in-time access", Definition: definitionID, Scope: ajar.ID("/subscriptions/" + sub), NotScopes: []string{},
		Parameters: map[string]struct{}{}, Description: "Every subscription has this assignment; it cannot be changed.",
		Metadata: map[string]string{"assignedBy": "Ajar"}, Enforcement: "Default",
	}}
}

// mayKnowDefinitions refuses whoever may not read definitions at the path's scope. Those at the root are for everybody,
// as in Azure.
func (s room) mayKnowDefinitions(ctx context.Context, c *rest.Call) error {
	switch {
	case c.Value("s") != "":
		return s.inSubscription(ctx, c, ajar.PolicyDefinitionRead)
	case c.Value("mg") != "":
		at, err := machineScope(c)
		if err != nil {
			return err
		}
		return s.Broker.May(ctx, c.Who, ajar.PolicyDefinitionRead, at)
	}
	return nil
}

func (s room) listPolicyDefinitions(ctx context.Context, c *rest.Call, _ rest.Nothing) (l rest.List[policyDefinitionBody], err error) {
	keep, err := stateFilter(c)
	if err != nil {
		return l, err
	}
	if err := s.mayKnowDefinitions(ctx, c); err != nil {
		return l, err
	}
	l.Value = []policyDefinitionBody{}
	if keep(map[string]string{"policytype": "BuiltIn", "category": definitionWhat}) {
		l.Value = append(l.Value, policyDefinition())
	}
	return l, nil
}

func (s room) getPolicyDefinition(ctx context.Context, c *rest.Call, _ rest.Nothing) (*policyDefinitionBody, error) {
	if err := s.mayKnowDefinitions(ctx, c); err != nil {
		return nil, err
	}
	if !strings.EqualFold(c.Value("name"), definitionName) {
		return nil, rest.Coded(ajar.NotFound, "PolicyDefinitionNotFound", "The policy definition '%.80s' could not be found.", c.Value("name"))
	}
	b := policyDefinition()
	return &b, nil
}

func (s room) listPolicyAssignments(ctx context.Context, c *rest.Call, _ rest.Nothing) (l rest.List[policyAssignmentBody], err error) {
	at, err := c.Scope()
	if err != nil {
		return l, err
	}
	exact, text := false, c.Param("$filter")
	keep := func(map[string]string) bool { return true }
	switch strings.ToLower(strings.ReplaceAll(text, " ", "")) {
	case "", "atscope()":
	case "atexactscope()":
		exact = true
	default:
		if keep, err = parseStateFilter(text, []string{"policydefinitionid"}); err != nil {
			return l, err
		}
	}
	if at.ResourceGroup() == "" {
		err = s.Broker.InSubscription(ctx, c.Who, ajar.PolicyAssignmentRead, at.Subscription())
	} else {
		err = s.Broker.May(ctx, c.Who, ajar.PolicyAssignmentRead, at)
	}
	if err != nil {
		return l, err
	}
	l.Value = []policyAssignmentBody{}
	if keep(map[string]string{"policydefinitionid": string(definitionID)}) && (!exact || at.ResourceGroup() == "") {
		l.Value = append(l.Value, policyAssignment(at.Subscription()))
	}
	return l, nil
}

func (s room) getPolicyAssignment(ctx context.Context, c *rest.Call, _ rest.Nothing) (*policyAssignmentBody, error) {
	if err := s.inSubscription(ctx, c, ajar.PolicyAssignmentRead); err != nil {
		return nil, err
	}
	if !strings.EqualFold(c.Value("name"), assignmentName) {
		return nil, rest.Coded(ajar.NotFound, "PolicyAssignmentNotFound", "The policy assignment '%.80s' could not be found.", c.Value("name"))
	}
	b := policyAssignment(c.Value("s"))
	return &b, nil
}
