package machines

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/arm/rest"
	"github.com/ajar-access/ajar/broker"
	"github.com/ajar-access/ajar/odata"
)

func (s room) policyStateRoutes() (routes []rest.Route) {
	for _, scope := range machineScopes {
		in := scope + "/providers/microsoft.policyinsights/policystates/{when}"
		routes = append(routes,
			rest.Post(in+"/queryresults", rest.Beside, rest.Op(200, s.queryPolicyStates), "Lists the machines at a scope by whether they comply with Azure's policy about just-in-time access.", ajar.PolicyStateRead, "$filter", "$top", "$orderby", "$apply"),
			rest.Post(in+"/summarize", rest.Beside, rest.Op(200, s.summarizePolicyStates), "Counts the machines at a scope by whether they comply with Azure's policy about just-in-time access.", ajar.PolicyStateSummarized, "$filter", "$apply"),
		)
	}
	return routes
}

// policyState is whether one machine complies.
type policyState struct {
	ODataID          *string    `json:"@odata.id"`
	Context          string     `json:"@odata.context"`
	Timestamp        rest.Stamp `json:"timestamp"`
	Resource         ajar.ID    `json:"resourceId"`
	Assignment       ajar.ID    `json:"policyAssignmentId"`
	Definition       ajar.ID    `json:"policyDefinitionId"`
	Compliant        bool       `json:"isCompliant"`
	Subscription     string     `json:"subscriptionId"`
	ResourceType     string     `json:"resourceType"`
	Location         string     `json:"resourceLocation"`
	Group            string     `json:"resourceGroup"`
	Tags             string     `json:"resourceTags"`
	AssignmentName   string     `json:"policyAssignmentName"`
	AssignmentScope  ajar.ID    `json:"policyAssignmentScope"`
	DefinitionName   string     `json:"policyDefinitionName"`
	DefinitionAction string     `json:"policyDefinitionAction"`
	Category         string     `json:"policyDefinitionCategory"`
	State            string     `json:"complianceState"`
}

// The two states of compliance.
const (
	compliant    = "Compliant"
	nonCompliant = "NonCompliant"
)

func (s room) showPolicyState(c *rest.Call, m *broker.Machine, now time.Time) policyState {
	sub := m.ID.Subscription()
	b := policyState{
		Context: s.odata(c) + "#latest/$entity", Timestamp: rest.Stamp(now), Resource: m.ID, Assignment: assignmentID(sub), Definition: definitionID,
		Compliant: assess(m, now).Code != unhealthy, Subscription: sub, ResourceType: ajar.MachineType, Location: broker.PlainLocation(m.Location),
		Group: m.ID.ResourceGroup(), AssignmentName: assignmentName, AssignmentScope: ajar.ID("/subscriptions/" + sub),
		DefinitionName: definitionName, DefinitionAction: strings.ToLower(auditEffect), Category: definitionWhat, State: nonCompliant,
	}
	if b.Compliant {
		b.State = compliant
	}
	return b
}

func (s room) odata(c *rest.Call) string {
	return s.Base(c) + "/providers/Microsoft.PolicyInsights/policyStates/$metadata"
}

// stateFields are the properties that states can be selected by, in lower case.
var stateFields = []string{"compliancestate", "iscompliant", "resourceid", "resourcetype", "resourcelocation", "resourcegroup", "subscriptionid", "policyassignmentid",
	"policyassignmentname", "policydefinitionid", "policydefinitionname", "policydefinitionaction", "policydefinitioncategory"}

func (b *policyState) fields() map[string]string {
	is := "false"
	if b.Compliant {
		is = "true"
	}
	return map[string]string{
		"compliancestate": b.State, "iscompliant": is, "resourceid": string(b.Resource), "resourcetype": b.ResourceType, "resourcelocation": b.Location,
		"resourcegroup": b.Group, "subscriptionid": b.Subscription, "policyassignmentid": string(b.Assignment), "policyassignmentname": b.AssignmentName,
		"policydefinitionid": string(b.Definition), "policydefinitionname": b.DefinitionName, "policydefinitionaction": b.DefinitionAction, "policydefinitioncategory": b.Category,
	}
}

// stateFilter reads a $filter on definitions.
func stateFilter(c *rest.Call) (func(map[string]string) bool, error) {
	text := c.Param("$filter")
	if strings.EqualFold(strings.ReplaceAll(text, " ", ""), "atexactscope()") {
		return func(map[string]string) bool { return false }, nil // built in, it is of no scope
	}
	return parseStateFilter(text, []string{"policytype", "category"})
}

// parseStateFilter reads comparisons joined by and: fields with eq or ne and a text, in quotes or not. What it gives
// tells whether fields, by their names in lower case, are selected.
func parseStateFilter(text string, known []string) (func(map[string]string) bool, error) {
	e, err := odata.Parse(text, rest.MaxFilter)
	if err != nil {
		return nil, err
	}
	terms := e.Terms()
	for _, t := range terms {
		switch {
		case t.Op != "eq" && t.Op != "ne":
			return nil, odata.Bad("a comparison is a property, eq or ne, and a text; several are joined by and")
		case !slices.Contains(known, strings.ToLower(t.Name)):
			return nil, odata.Bad("'" + odata.Short(t.Name) + "' is no property to filter by")
		}
	}
	return func(has map[string]string) bool {
		for _, t := range terms {
			if strings.EqualFold(has[strings.ToLower(t.Name)], t.Value.Text) == (t.Op == "ne") {
				return false
			}
		}
		return true
	}, nil
}

// stateList is a list as OData has it.
type stateList struct {
	NextLink string        `json:"@odata.nextLink,omitempty"`
	Context  string        `json:"@odata.context"`
	Count    int           `json:"@odata.count"`
	Value    []policyState `json:"value"`
}

// stateLook is which machines a question about states is about.
func (s room) stateLook(c *rest.Call, now time.Time) (look broker.Look, err error) {
	if look.Under, err = machineScope(c); err != nil {
		return look, err
	}
	if when := c.Value("when"); !strings.EqualFold(when, "latest") {
		return look, rest.Coded(ajar.Invalid, "InvalidPolicyStatesResource", "Policy states are kept as they are now; '%.40s' is not to be had, latest is.", when)
	}
	if c.Param("$apply") != "" {
		return look, rest.Coded(ajar.Invalid, "InvalidParameter", "$apply is not taken; summarize counts.")
	}
	keep, err := parseStateFilter(c.Param("$filter"), stateFields)
	if err != nil || c.Param("$filter") == "" {
		return look, err
	}
	look.Keep = func(m *broker.Machine) bool {
		b := s.showPolicyState(c, m, now)
		return keep(b.fields())
	}
	return look, nil
}

func (s room) queryPolicyStates(ctx context.Context, c *rest.Call, _ rest.Nothing) (l stateList, err error) {
	now := s.Clock()
	look, err := s.stateLook(c, now)
	if err != nil {
		return l, err
	}
	if by, _, _ := strings.Cut(strings.TrimSpace(c.Param("$orderby")), " "); by != "" && !strings.EqualFold(by, "timestamp") {
		return l, rest.Coded(ajar.Invalid, "InvalidParameter", "$orderby can be timestamp, which is the same for all.")
	}
	if look.Page, err = c.Page(rest.EntriesAPage); err != nil {
		return l, err
	}
	all, next, err := s.Broker.Machines(ctx, c.Who, broker.AsPolicyState, look)
	if err != nil {
		return l, err
	}
	l.Context, l.Count, l.Value = s.odata(c)+"#latest", len(all), make([]policyState, 0, len(all))
	if c.Param("$top") == "" { // which is the number of all states that are asked for, not of a page
		l.NextLink = c.Next(next)
	}
	for _, m := range all {
		l.Value = append(l.Value, s.showPolicyState(c, m, now))
	}
	return l, nil
}

type summaryList struct {
	Context string         `json:"@odata.context"`
	Count   int            `json:"@odata.count"`
	Value   []stateSummary `json:"value"`
}

type stateSummary struct {
	ODataID     *string             `json:"@odata.id"`
	Context     string              `json:"@odata.context"`
	Results     stateCounts         `json:"results"`
	Assignments []assignmentSummary `json:"policyAssignments"`
}

type stateCounts struct {
	Query     string       `json:"queryResultsUri"`
	Resources int          `json:"nonCompliantResources"`
	Policies  int          `json:"nonCompliantPolicies"`
	Details   []stateCount `json:"resourceDetails"`
}

type stateCount struct {
	State string `json:"complianceState"`
	Count int    `json:"count"`
}

type assignmentSummary struct {
	Assignment  ajar.ID             `json:"policyAssignmentId"`
	SetID       string              `json:"policySetDefinitionId"`
	Results     stateCounts         `json:"results"`
	Definitions []definitionSummary `json:"policyDefinitions"`
}

type definitionSummary struct {
	Definition ajar.ID     `json:"policyDefinitionId"`
	Reference  string      `json:"policyDefinitionReferenceId"`
	Effect     string      `json:"effect"`
	Results    stateCounts `json:"results"`
}

// countedPages is how many pages of machines are counted for one answer; who has more asks for less.
const countedPages = 20

func (s room) summarizePolicyStates(ctx context.Context, c *rest.Call, _ rest.Nothing) (l summaryList, err error) {
	now := s.Clock()
	look, err := s.stateLook(c, now)
	if err != nil {
		return l, err
	}
	look.Page.Limit = rest.MostAPage
	bySub := map[string]*tally{}
	for page := 0; ; page++ {
		if page == countedPages {
			return l, rest.Coded(ajar.Invalid, "ResponsePayloadTooLarge", "Too many machines lie there to be counted at once; summarize resource group by resource group, or page through queryResults.")
		}
		all, next, err := s.Broker.Machines(ctx, c.Who, broker.AsPolicySummary, look)
		if err != nil {
			return l, err
		}
		for _, m := range all {
			sub := strings.ToLower(m.ID.Subscription())
			if bySub[sub] == nil {
				bySub[sub] = &tally{}
			}
			bySub[sub].count(assess(m, now).Code != unhealthy)
		}
		if look.Page.Cursor = next; next == "" {
			return s.summary(c, bySub), nil
		}
	}
}

// tally is how many machines comply, and how many do not.
type tally struct{ good, bad int }

func (t *tally) count(good bool) {
	if good {
		t.good++
	} else {
		t.bad++
	}
}

func (t tally) show(link string) stateCounts {
	n := stateCounts{Query: link, Resources: t.bad, Details: []stateCount{{strings.ToLower(compliant), t.good}, {strings.ToLower(nonCompliant), t.bad}}}
	if t.bad > 0 {
		n.Policies = 1
	}
	return n
}

func (s room) summary(c *rest.Call, bySub map[string]*tally) summaryList {
	link, _, _ := strings.Cut(s.Base(c)+rest.Unfold(c.Request.URL.Path), "/summarize")
	link += "/queryResults?api-version=" + c.Param("api-version")
	sum, all := stateSummary{Context: s.odata(c) + "#summary/$entity", Assignments: []assignmentSummary{}}, tally{}
	for _, sub := range slices.Sorted(maps.Keys(bySub)) {
		t := *bySub[sub]
		all.good, all.bad = all.good+t.good, all.bad+t.bad
		sum.Assignments = append(sum.Assignments, assignmentSummary{Assignment: assignmentID(sub), Results: t.show(link), Definitions: []definitionSummary{
			{Definition: definitionID, Effect: strings.ToLower(auditEffect), Results: t.show(link)},
		}})
	}
	sum.Results = all.show(link)
	return summaryList{s.odata(c) + "#summary", 1, []stateSummary{sum}}
}
