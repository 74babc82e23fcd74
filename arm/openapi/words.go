package openapi

import (
	"net/http"
	"strings"
	"unicode"

	"github.com/ajar-access/ajar/arm/rest"
)

// What the table of routes does not say: names of parameters and operations, groups, and answers beside the usual one.

const introduction = `Ajar keeps the management ports of machines closed, and opens one of them, to one source, for a limited time, to somebody who may.

The operations below /subscriptions, /providers and /tenants are Azure's, and take what Azure's clients send; those below /ajar/v1 are Ajar's own. Fixed parts of Azure's paths are taken in any case. All times are UTC.

Callers send a bearer token: one of POST /ajar/v1/login, or an access token of the plane's own issuer. Lists end when nextLink is absent.`

// docGroup is a group of operations on the page, and a tag in the document: the first whose mark is in the pattern.
type docGroup struct {
	name, about string
	marks       []string
}

var docTags = []docGroup{
	{"Just-in-time policies", "What may be asked for, and asking. Azure's own operations, with api-version 2020-01-01 or 2015-06-01-preview.", nil},
	{"Requests", "Who asked for what, and what became of it.", []string{"/requests"}},
	{"Leases", "What is open, to whom and until when.", []string{"/leases"}},
	{"Machines and hosts", "The machines there are, and the agents that keep their ports.", []string{"/ajar/v1/target", "/ajar/v1/hosts"}},
	{"Compute", "Machines as Azure's virtual machines.", []string{"/assessments", "microsoft.compute"}},
	{"Network", "What Azure has around a machine, as views of it: what is written there is refused.", []string{"microsoft.network"}},
	{"Security", "Plans, locations and assessments as Azure has them.", []string{"/pricings", "microsoft.security/locations", "/assessmentmetadata", "microsoft.security/policies"}},
	{"Azure's policy", "The one definition about just-in-time access, and how machines stand to it.", []string{"policydefinitions", "policyassignments", "policyinsights"}},
	{"Roles and assignments", "Who may do what, where.", []string{"microsoft.authorization", "/role-", "/deny-", "/management-groups", "microsoft.management"}},
	{"Subscriptions and resources", "The places that things lie in. They come from what lies in them.", []string{"/subscriptions", "/providers", "/tenants"}},
	{"Activity log", "What happened, who did it and by which right; and the proof that nothing was cut out.", []string{"/events", "/log/", "microsoft.insights"}},
	{"People and programs", "Who there is, and what they sign in with.", []string{"/principals", "/tokens"}},
	{"Signing in", "Tokens, by Ajar's own log-in or by OAuth 2.0 and OpenID Connect.", []string{"/login", "/logout", "/me", "/ca", "/metadata", "{tenant}"}},
	{"This description", "", []string{"/openapi.json", "/docs"}},
}

// tagOf finds a route's group. What is more special goes first.
func tagOf(pattern string) string {
	if i := strings.Index(pattern, "jitnetworkaccesspolicies"); i >= 0 && !strings.Contains(pattern, "/requests") || pattern == "/ajar/v1/policies" || pattern == "/ajar/v1/what-if" {
		return docTags[0].name
	}
	for _, order := range [][]string{{"microsoft.insights"}, {"policydefinitions", "policyassignments", "policyinsights"}, {"/assessmentmetadata"}, {"microsoft.authorization"}} {
		for _, mark := range order {
			if !strings.Contains(pattern, mark) {
				continue
			}
			for _, t := range docTags {
				for _, m := range t.marks {
					if m == mark {
						return t.name
					}
				}
			}
		}
	}
	for _, t := range docTags {
		for _, m := range t.marks {
			if strings.Contains(pattern, m) {
				return t.name
			}
		}
	}
	return docTags[len(docTags)-1].name
}

type pathParameter struct {
	name, about string
	whole       bool
}

// pathWords are the parameters of paths, by what the patterns call them.
var pathWords = map[string]pathParameter{
	"s":      {name: "subscriptionId", about: "A subscription's GUID."},
	"g":      {name: "resourceGroupName", about: "A resource group."},
	"l":      {name: "ascLocation", about: "A location, in any spelling."},
	"n":      {name: "jitNetworkAccessPolicyName", about: "A policy."},
	"vm":     {name: "vmName", about: "A machine."},
	"mg":     {name: "groupId", about: "A management group."},
	"ns":     {name: "resourceProviderNamespace", about: "A namespace, such as Microsoft.Security."},
	"p":      {name: "principal", about: "Somebody, by id or name."},
	"m":      {name: "member", about: "The member, by id or name."},
	"id":     {name: "id", about: "Its id."},
	"name":   {name: "name", about: "Its name."},
	"rule":   {name: "securityRuleName", about: "A rule's name."},
	"key":    {name: "assessmentName", about: "The assessment's key, a GUID."},
	"plan":   {name: "pricingName", about: "The plan: VirtualMachines."},
	"when":   {name: "policyStatesResource", about: "Which states: latest."},
	"scope":  {name: "scope", about: "A management group, a subscription, a resource group or a resource: its id without the first slash.", whole: true},
	"tenant": {name: "tenant", about: "The tenant's id or domain, common, organizations or adfs."},
}

func pathWord(pattern, name string) pathParameter {
	p, ok := pathWords[name]
	if !ok {
		return pathParameter{name: name}
	}
	if name == "id" && strings.Contains(pattern, "/requests/") {
		p = pathParameter{name: "requestId", about: "A request's id."}
	}
	return p
}

// moreSpellings are fixed segments that only the document writes.
var moreSpellings = map[string]string{
	"policydefinitions": "policyDefinitions", "policyassignments": "policyAssignments", "assessmentmetadata": "assessmentMetadata", "instanceview": "instanceView",
	"poweroff": "powerOff", "runcommand": "runCommand", "queryresults": "queryResults", "microsoft.policyinsights": "Microsoft.PolicyInsights", "policystates": "policyStates",
	"microsoft.insights": "Microsoft.Insights", "eventtypes": "eventTypes", "eventcategories": "eventCategories", "microsoft.management": "Microsoft.Management",
	"managementgroups": "managementGroups", "getentities": "getEntities", "roledefinitions": "roleDefinitions", "roleassignments": "roleAssignments",
	"denyassignments": "denyAssignments", "classicadministrators": "classicAdministrators", "microsoft.authorization": "Microsoft.Authorization",
	"microsoft.compute": "Microsoft.Compute", "virtualmachines": "virtualMachines", "microsoft.network": "Microsoft.Network", "networkinterfaces": "networkInterfaces",
	"networksecuritygroups": "networkSecurityGroups", "publicipaddresses": "publicIPAddresses", "securityrules": "securityRules",
}

// PathShown is a pattern with Azure's spelling and readable parameters.
func PathShown(pattern string) string {
	segs := strings.Split(pattern, "/")
	for i, seg := range segs {
		name, isName := strings.CutPrefix(seg, "{")
		switch {
		case isName:
			segs[i] = "{" + pathWord(pattern, strings.TrimSuffix(name, "}")).name + "}"
		case rest.Spelling(seg) != "":
			segs[i] = rest.Spelling(seg)
		case moreSpellings[seg] != "":
			segs[i] = moreSpellings[seg]
		}
	}
	return strings.Join(segs, "/")
}

// operationIDs are Azure's own for what clients were generated from.
var operationIDs = map[string]string{
	"GET /subscriptions/{s}/providers/microsoft.security/jitnetworkaccesspolicies":                                                "JitNetworkAccessPolicies_List",
	"GET /subscriptions/{s}/providers/microsoft.security/locations/{l}/jitnetworkaccesspolicies":                                  "JitNetworkAccessPolicies_ListByRegion",
	"GET /subscriptions/{s}/resourcegroups/{g}/providers/microsoft.security/jitnetworkaccesspolicies":                             "JitNetworkAccessPolicies_ListByResourceGroup",
	"GET /subscriptions/{s}/resourcegroups/{g}/providers/microsoft.security/locations/{l}/jitnetworkaccesspolicies":               "JitNetworkAccessPolicies_ListByResourceGroupAndRegion",
	"GET /subscriptions/{s}/resourcegroups/{g}/providers/microsoft.security/locations/{l}/jitnetworkaccesspolicies/{n}":           "JitNetworkAccessPolicies_Get",
	"PUT /subscriptions/{s}/resourcegroups/{g}/providers/microsoft.security/locations/{l}/jitnetworkaccesspolicies/{n}":           "JitNetworkAccessPolicies_CreateOrUpdate",
	"DELETE /subscriptions/{s}/resourcegroups/{g}/providers/microsoft.security/locations/{l}/jitnetworkaccesspolicies/{n}":        "JitNetworkAccessPolicies_Delete",
	"POST /subscriptions/{s}/resourcegroups/{g}/providers/microsoft.security/locations/{l}/jitnetworkaccesspolicies/{n}/initiate": "JitNetworkAccessPolicies_Initiate",
}

// operationID is Azure's, or is made of the path's fixed parts and the method.
func operationID(r rest.Route) string {
	if id := operationIDs[r.Method+" "+r.Pattern]; id != "" {
		return id
	}
	var b strings.Builder
	segs := strings.Split(strings.Trim(PathShown(r.Pattern), "/"), "/")
	for i, seg := range segs {
		if seg == "providers" && i < len(segs)-1 || seg == "v1" {
			continue
		}
		if name, ok := strings.CutPrefix(seg, "{"); ok {
			if i == len(segs)-1 || i == 0 {
				b.WriteString("By" + capital(strings.TrimSuffix(name, "}")))
			}
			continue
		}
		b.WriteString(capital(strings.TrimPrefix(seg, "Microsoft.")))
	}
	verb := map[string]string{http.MethodGet: "Get", http.MethodPut: "Put", http.MethodPatch: "Update", http.MethodDelete: "Delete", http.MethodPost: "Post"}[r.Method]
	return b.String() + "_" + verb
}

// capital makes one word of a segment: role-assignments is RoleAssignments.
func capital(seg string) string {
	up := true
	return strings.Map(func(c rune) rune {
		switch {
		case c == '-' || c == '.':
			up = true
			return -1
		case up:
			up = false
			return unicode.ToUpper(c)
		}
		return c
	}, seg)
}

// rawTypes are the answers that are no JSON.
var rawTypes = map[string]string{
	"/ajar/v1/ca": "application/x-pem-file", "/ajar/v1/log/export": "application/x-ndjson", "/docs": "text/html",
}

// otherAnswers are those that an operation sets itself.
var otherAnswers = map[string]map[string]string{
	"DELETE /subscriptions/{s}/resourcegroups/{g}/providers/microsoft.security/locations/{l}/jitnetworkaccesspolicies/{n}": {"204": "There was none."},
	"DELETE /subscriptions/{s}/resourcegroups/{g}/providers/microsoft.compute/virtualmachines/{vm}":                        {"204": "There was none."},
	"GET /subscriptions/{s}/resourcegroups/{g}":                                                                            {"204": "To HEAD: it is there."},
	"PUT /providers/microsoft.authorization/roleassignments/{id}":                                                          {"200": "It was there, the same."},
	"PUT /{scope}/providers/microsoft.authorization/roleassignments/{id}":                                                  {"200": "It was there, the same."},
	"DELETE /providers/microsoft.authorization/roleassignments/{id}":                                                       {"204": "There was none."},
	"DELETE /{scope}/providers/microsoft.authorization/roleassignments/{id}":                                               {"204": "There was none."},
	"DELETE /providers/microsoft.authorization/roledefinitions/{id}":                                                       {"204": "There was none."},
	"DELETE /{scope}/providers/microsoft.authorization/roledefinitions/{id}":                                               {"204": "There was none."},
}

type queryWord struct {
	about  string
	schema *schema
}

var yesNo, count = &schema{Type: "boolean"}, &schema{Type: "integer"}

// queryWords are the query parameters, by name.
var queryWords = map[string]queryWord{
	"$top":                {"How much a page holds at most.", count},
	rest.SkipToken:        {"Where the list goes on, as nextLink has it.", nil},
	"$filter":             {"Which entries: comparisons, as Azure has them for this list.", nil},
	"$expand":             {"What is shown besides.", nil},
	"$select":             {"The members to show, separated by commas.", nil},
	"$recurse":            {"Whether everything below is shown.", yesNo},
	"$orderby":            {"The order.", nil},
	"$apply":              {"How entries are gathered.", nil},
	"scope":               {"An id; what lies there and below.", nil},
	"id":                  {"The machine's id.", nil},
	"target":              {"The machine's id.", nil},
	"name":                {"By name.", nil},
	"kind":                {"One kind alone.", &schema{Type: "string", Enum: texts("User", "Group", "ServicePrincipal")}},
	"principal":           {"Whose, by id or name.", nil},
	"at":                  {"An id; what holds there: what lies there, above and below, and of a principal also what its groups are given.", nil},
	"role":                {"Which role, by id or name.", nil},
	"state":               {"In which state.", nil},
	"all":                 {"Whether what cannot be used any longer is listed, too.", yesNo},
	"request":             {"Of one request.", nil},
	"corr":                {"Of one call, by its correlation id.", nil},
	"ascending":           {"Whether the oldest come first.", yesNo},
	"timeout":             {"How long the answer is held back at most, such as 10s or PT10S.", nil},
	"mine":                {"The caller's own alone.", yesNo},
	"live":                {"What is open or may be.", yesNo},
	"lift":                {"Whether ports that the host guards are opened.", yesNo},
	"keepGuard":           {"Whether what guards the machine's ports stays.", yesNo},
	"ajar-lift-guard":     {"Whether ports that the machine's host guards are opened.", yesNo},
	"ajar-confirm-within": {"Hosts lift new guards again unless they are confirmed in that time, ISO 8601.", nil},
	"ajar-force":          {"Guards even the plane's own listeners.", yesNo},
	"statusOnly":          {"Whether to show how machines are now.", yesNo},
	"caller":              {"Who did it, by id or name.", nil},
	"action":              {"Which action.", nil},
	"outcome":             {"How it ended.", &schema{Type: "string", Enum: texts("Accepted", "Refused", "Happened")}},
	"since":               {"From that time on.", nil},
	"before":              {"Before that time.", nil},
	"after":               {"After that position.", count},
	"until":               {"Up to that position.", count},
	"from":                {"From that position on.", count},
	"limit":               {"How much a page holds at most.", count},
	"wait":                {"Hold the answer until there is news: how long at most, or the state to wait for.", nil},
}
