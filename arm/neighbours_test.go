package arm

import (
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/ajartest"
	"github.com/ajar-access/ajar/broker"
)

// neighbourhood is a plane with machines of each sort: web1 behind a policy and open to somebody, db1 with a host and no
// policy, new1 without a host, soon1 without a host and in a policy.
func neighbourhood(t *testing.T) *rig {
	t.Helper()
	r := newRig(t)
	made := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	addr := netip.MustParseAddr
	host := func(name string, from netip.Addr, connected bool) *ajar.Endpoint {
		return &ajar.Endpoint{ID: ajar.EndpointID(name), Provider: ajartest.Provider, Target: ajartest.MachineID(name), Address: name, From: from,
			Connected: connected, LastSeen: made, Status: ajar.HostStatus{Version: "1.2.3"}}
	}
	r.Put(
		&ajar.Target{ID: ajartest.MachineID("web1"), Location: "West Europe", OS: "Linux", Source: "person", Endpoints: []ajar.EndpointID{"web1"}, Created: made,
			Addresses: []netip.Addr{addr("203.0.113.9"), addr("10.0.0.4"), addr("fd00::4")}, Tags: map[string]string{"tier": "front"}, Login: "ops"},
		host("web1", addr("203.0.113.9"), true),
		&ajar.Target{ID: ajartest.MachineID("db1"), Location: "westeurope", OS: "Windows", Source: "person", Endpoints: []ajar.EndpointID{"db1"}, Created: made},
		host("db1", addr("10.9.8.7"), false),
		&ajar.Target{ID: ajartest.MachineID("new1"), Location: "eastus", OS: "Linux", Source: "person", Created: made, Addresses: []netip.Addr{addr("198.51.100.20")}},
		&ajar.Target{ID: ajartest.MachineID("soon1"), Location: "westeurope", OS: "Linux", Source: "person", Created: made},
	)
	r.PolicyOf("default", []ajar.PortPolicy{
		{Number: 22, Protocol: ajar.TCP, Any: true, MaxDuration: 3 * time.Hour}, {Number: 3389, Protocol: ajar.Both, Any: true, MaxDuration: 3 * time.Hour},
	}, ajartest.MachineID("web1"), ajartest.MachineID("soon1"))
	who := r.User("alice", ajartest.At("Owner", ajartest.Group))
	o := r.Open(who, ajartest.PolicyID("default"), ajartest.MachineID("web1"), 22, "192.0.2.7/32", time.Hour)
	r.Until(func() bool { return r.Lease(o.Leases[0].ID).State == ajar.Open })
	return r
}

const (
	labGroup  = string(ajartest.Group)
	computeIn = "/providers/Microsoft.Compute/virtualMachines"
	networkIn = "/providers/Microsoft.Network"
	computeV  = "?api-version=2024-07-01"
	networkV  = "?api-version=2024-05-01"
)

var openRule = regexp.MustCompile(`JITRule--?\d+-[0-9A-F]{32}`)

// TestNeighbours: what Azure's clients read of machines and what stands around them, as the golden files have it.
func TestNeighbours(t *testing.T) {
	r := neighbourhood(t)
	sub := "/subscriptions/" + ajartest.Group.Subscription()
	web := labGroup + computeIn + "/web1"
	requester := r.tokenFor(r.User("requester", ajartest.At("Just-in-time Requester", ajartest.Group)))
	stranger := r.tokenFor(r.User("nobody"))
	states := "/providers/Microsoft.PolicyInsights/policyStates/latest"
	for _, c := range []struct {
		name, method, path, token string
		status                    int
	}{
		{"vms", "GET", sub + computeIn + computeV, r.owner, 200},
		{"vms-group", "GET", labGroup + computeIn + computeV + "&$expand=instanceView", r.owner, 200},
		{"vms-location", "GET", sub + "/providers/Microsoft.Compute/locations/eastus/virtualMachines" + computeV, r.owner, 200},
		{"vms-filter", "GET", sub + computeIn + computeV + "&$filter=" + url.QueryEscape("location eq 'West Europe' and tagName eq 'tier'"), r.owner, 200},
		{"vms-status", "GET", sub + computeIn + computeV + "&statusOnly=true&$top=1", requester, 200},
		{"vms-stranger", "GET", sub + computeIn + computeV, stranger, 200},
		{"vm", "GET", strings.ToUpper(web) + computeV, r.owner, 200},
		{"vm-expanded", "GET", web + computeV + "&$expand=instanceView", requester, 200},
		{"vm-instance", "GET", web + "/instanceView" + computeV, r.owner, 200},
		{"vm-instance-requester", "GET", web + "/instanceView" + computeV, requester, 403},
		{"vm-missing", "GET", labGroup + computeIn + "/none" + computeV, r.owner, 404},
		{"vm-stranger", "GET", web + computeV, stranger, 403},
		{"vm-start", "POST", web + "/start" + computeV, r.owner, 409},
		{"vm-start-requester", "POST", web + "/start" + computeV, requester, 403},
		{"nics", "GET", sub + networkIn + "/networkInterfaces" + networkV, r.owner, 200},
		{"nic", "GET", labGroup + networkIn + "/networkInterfaces/WEB1-NIC" + networkV, r.owner, 200},
		{"nic-requester", "GET", labGroup + networkIn + "/networkInterfaces/web1-nic" + networkV, requester, 403},
		{"nic-missing", "GET", labGroup + networkIn + "/networkInterfaces/web1" + networkV, r.owner, 404},
		{"nic-delete", "DELETE", labGroup + networkIn + "/networkInterfaces/web1-nic" + networkV, r.owner, 409},
		{"nsgs", "GET", labGroup + networkIn + "/networkSecurityGroups" + networkV, r.owner, 200},
		{"nsg", "GET", labGroup + networkIn + "/networkSecurityGroups/db1-nsg" + networkV, r.owner, 200},
		{"nsg-without-host", "GET", labGroup + networkIn + "/networkSecurityGroups/new1-nsg" + networkV, r.owner, 404},
		{"nsg-put", "PUT", labGroup + networkIn + "/networkSecurityGroups/db1-nsg" + networkV, r.owner, 409},
		{"rules", "GET", labGroup + networkIn + "/networkSecurityGroups/web1-nsg/securityRules" + networkV, r.owner, 200},
		{"rule-put", "PUT", labGroup + networkIn + "/networkSecurityGroups/web1-nsg/securityRules/x" + networkV, r.owner, 409},
		{"ips", "GET", sub + networkIn + "/publicIPAddresses" + networkV, r.owner, 200},
		{"ip", "GET", labGroup + networkIn + "/publicIPAddresses/web1-ip" + networkV, r.owner, 200},
		{"ip-missing", "GET", labGroup + networkIn + "/publicIPAddresses/db1-ip" + networkV, r.owner, 404},

		{"pricings", "GET", sub + "/providers/Microsoft.Security/pricings?api-version=2022-03-01", r.owner, 200},
		{"pricing", "GET", sub + "/providers/Microsoft.Security/pricings/virtualmachines?api-version=2023-01-01", r.owner, 200},
		{"pricing-missing", "GET", sub + "/providers/Microsoft.Security/pricings/StorageAccounts?api-version=2023-01-01", r.owner, 404},
		{"pricing-requester", "GET", sub + "/providers/Microsoft.Security/pricings/VirtualMachines?api-version=2023-01-01", requester, 403},
		{"security-locations", "GET", sub + "/providers/Microsoft.Security/locations?api-version=2015-06-01-preview", r.owner, 200},
		{"security-location", "GET", sub + "/providers/Microsoft.Security/locations/WestEurope?api-version=2015-06-01-preview", r.owner, 200},
		{"security-location-missing", "GET", sub + "/providers/Microsoft.Security/locations/moon?api-version=2015-06-01-preview", r.owner, 404},
		{"security-policies", "GET", sub + "/providers/Microsoft.Security/policies?api-version=2015-06-01-preview", r.owner, 200},
		{"assessments", "GET", sub + "/providers/Microsoft.Security/assessments?api-version=2021-06-01", r.owner, 200},
		{"assessments-machine", "GET", web + "/providers/Microsoft.Security/assessments?api-version=2021-06-01", r.owner, 200},
		{"assessments-requester", "GET", sub + "/providers/Microsoft.Security/assessments?api-version=2021-06-01", requester, 200},
		{"assessment", "GET", web + "/providers/Microsoft.Security/assessments/" + broker.AssessmentKey + "?api-version=2021-06-01&$expand=links,metadata", r.owner, 200},
		{"assessment-missing", "GET", web + "/providers/Microsoft.Security/assessments/none?api-version=2021-06-01", r.owner, 404},
		{"metadata", "GET", "/providers/Microsoft.Security/assessmentMetadata?api-version=2021-06-01", stranger, 200},
		{"metadata-one", "GET", sub + "/providers/Microsoft.Security/assessmentMetadata/" + broker.AssessmentKey + "?api-version=2021-06-01", r.owner, 200},

		{"definition", "GET", "/providers/Microsoft.Authorization/policyDefinitions/b0f33259-77d7-4c9e-aac6-3aabcfae693c?api-version=2021-06-01", stranger, 200},
		{"definition-missing", "GET", "/providers/Microsoft.Authorization/policyDefinitions/none?api-version=2021-06-01", r.owner, 404},
		{"definitions", "GET", sub + "/providers/Microsoft.Authorization/policyDefinitions?api-version=2021-06-01&$filter=policyType+eq+'BuiltIn'", r.owner, 200},
		{"definitions-custom", "GET", sub + "/providers/Microsoft.Authorization/policyDefinitions?api-version=2021-06-01&$filter=policyType+eq+Custom", r.owner, 200},
		{"definitions-stranger", "GET", sub + "/providers/Microsoft.Authorization/policyDefinitions?api-version=2021-06-01", stranger, 403},
		{"definitions-management-group", "GET", "/providers/Microsoft.Management/managementGroups/x/providers/Microsoft.Authorization/policyDefinitions?api-version=2021-06-01", stranger, 403},
		{"assignments", "GET", labGroup + "/providers/Microsoft.Authorization/policyAssignments?api-version=2021-06-01&$filter=atScope()", r.owner, 200},
		{"assignment", "GET", sub + "/providers/Microsoft.Authorization/policyAssignments/ajar-jit-network-access?api-version=2021-06-01", r.owner, 200},
		{"states", "POST", sub + states + "/queryResults?api-version=2019-10-01", r.owner, 200},
		{"states-filter", "POST", labGroup + states + "/queryResults?api-version=2019-10-01&$filter=" + url.QueryEscape("complianceState eq 'NonCompliant' and isCompliant eq false"), r.owner, 200},
		{"states-machine", "POST", web + states + "/queryResults?api-version=2019-10-01", r.owner, 200},
		{"states-requester", "POST", sub + states + "/queryResults?api-version=2019-10-01", requester, 200},
		{"summary", "POST", sub + states + "/summarize?api-version=2019-10-01", r.owner, 200},
		{"summary-stranger", "POST", sub + states + "/summarize?api-version=2019-10-01", stranger, 200},
	} {
		a := r.do(c.method, c.path, c.token, "")
		if a.StatusCode != c.status {
			t.Errorf("%s: %d, not %d: %s", c.name, a.StatusCode, c.status, a.body)
			continue
		}
		a.body = openRule.ReplaceAllString(a.body, "JITRule-<lease>")
		golden(t, "neighbours/"+c.name, guids(r, a))
	}
}

// TestNeighboursAreReadByTheirOwnRight: a role at one of them shows that one alone, and one at the machine the machine
// and what lies below it.
func TestNeighboursAreReadByTheirOwnRight(t *testing.T) {
	r := neighbourhood(t)
	sub := "/subscriptions/" + ajartest.Group.Subscription()
	names := func(token, path string) string {
		var l list[struct {
			Name string `json:"name"`
			P    struct {
				Resource struct{ ID ajar.ID } `json:"resourceDetails"`
			} `json:"properties"`
		}]
		a := r.do("GET", path, token, "")
		if a.StatusCode != 200 {
			t.Fatalf("%s: %d %s", path, a.StatusCode, a.body)
		}
		a.into(t, &l)
		var out []string
		for _, v := range l.Value {
			if at := v.P.Resource.ID; at != "" {
				v.Name = at.Name()
			}
			out = append(out, v.Name)
		}
		return strings.Join(out, " ")
	}
	lists := []string{computeIn + computeV, networkIn + "/networkInterfaces" + networkV, networkIn + "/networkSecurityGroups" + networkV,
		networkIn + "/publicIPAddresses" + networkV, "/providers/Microsoft.Security/assessments?api-version=2021-06-01"}
	for _, c := range []struct {
		role  string
		scope ajar.ID
		want  [5]string
	}{
		{"Reader", ajartest.Group, [5]string{"db1 new1 soon1 web1", "db1-nic new1-nic soon1-nic web1-nic", "db1-nsg web1-nsg", "new1-ip web1-ip", "db1 new1 soon1 web1"}},
		{"Reader", ajartest.MachineID("web1"), [5]string{"web1", "", "", "", "web1"}},
		{"Reader", broker.AsInterface.ID(ajartest.MachineID("web1")), [5]string{"", "web1-nic", "", "", ""}},
		{"Reader", broker.AsSecurityGroup.ID(ajartest.MachineID("WEB1")), [5]string{"", "", "web1-nsg", "", ""}},
		{"Reader", broker.AsAssessment.ID(ajartest.MachineID("db1")), [5]string{"", "", "", "", "db1"}},
		{"Reader", labGroupOf("web1-nic"), [5]string{}},
		{"Network Contributor", ajartest.Group, [5]string{"", "db1-nic new1-nic soon1-nic web1-nic", "db1-nsg web1-nsg", "new1-ip web1-ip", ""}},
		{"Security Reader", ajar.ID(sub), [5]string{"", "", "", "", "db1 new1 soon1 web1"}},
		{"Virtual Machine Administrator Login", ajartest.Group, [5]string{"db1 new1 soon1 web1", "db1-nic new1-nic soon1-nic web1-nic", "", "new1-ip web1-ip", ""}},
	} {
		token := r.tokenFor(r.User(fmt.Sprintf("%s at %s", c.role, c.scope.Name()), ajartest.At(c.role, c.scope)))
		for i, path := range lists {
			for _, top := range []int{1, 3, 200} {
				got, next := "", sub+path+fmt.Sprintf("&$top=%d", top)
				for next != "" {
					got += " " + names(token, next)
					var l list[struct{}]
					r.do("GET", next, token, "").into(t, &l)
					next = strings.TrimPrefix(l.NextLink, "https://ajar.example.com")
				}
				if got = strings.Join(strings.Fields(got), " "); got != c.want[i] {
					t.Errorf("%s at %s, %s by %d: %q, not %q", c.role, c.scope, path, top, got, c.want[i])
				}
			}
		}
	}
}

func labGroupOf(nic string) ajar.ID {
	return ajartest.Group + "/providers/Microsoft.Compute/virtualMachines/" + ajar.ID(nic)
}

// TestTagsOfVirtualMachines: PUT and PATCH change tags, and nothing else of what they send back.
func TestTagsOfVirtualMachines(t *testing.T) {
	r := neighbourhood(t)
	web := labGroup + computeIn + "/web1" + computeV
	var whole virtualMachine
	read := r.must(200, "GET", web+"&$expand=instanceView", "")
	read.into(t, &whole)
	tags := func(a answer) string {
		var b virtualMachine
		a.into(t, &b)
		return fmt.Sprint(b.Tags)
	}
	if got := tags(r.must(200, "PUT", web, read.body)); got != "map[tier:front]" {
		t.Errorf("a machine sent back as it was read has the tags %s", got)
	}
	if got := tags(r.must(200, "PUT", web, `{"location":"West Europe","tags":{"a":"1"}}`)); got != "map[a:1]" {
		t.Errorf("after PUT: %s", got)
	}
	if got := tags(r.must(200, "PATCH", web, `{"tags":{"b":"2"}}`)); got != "map[b:2]" {
		t.Errorf("after PATCH: %s", got)
	}
	if got := tags(r.must(200, "PUT", web, `{"location":"westeurope"}`)); got != "map[b:2]" {
		t.Errorf("after PUT without tags: %s", got)
	}
	var now virtualMachine
	r.must(200, "GET", web, "").into(t, &now)
	if now.Properties.VMID != whole.Properties.VMID || now.Location != whole.Location {
		t.Errorf("a change of tags changed %+v to %+v", whole, now)
	}
	for _, c := range []struct {
		method, path, body, code string
		status                   int
	}{
		{"PUT", "/web1", `{"location":"eastus"}`, "InvalidResourceLocation", 409},
		{"PUT", "/web1", `{"properties":{"storageProfile":{"osDisk":{"osType":"Windows"}}}}`, "PropertyChangeNotAllowed", 409},
		{"PUT", "/web1", `{"properties":{"hardwareProfile":{"vmSize":"Standard_D2s_v3"}}}`, "PropertyChangeNotAllowed", 409},
		{"PATCH", "/web1", `{"properties":{"osProfile":{"computerName":"other"}}}`, "PropertyChangeNotAllowed", 409},
		{"PUT", "/none", `{"location":"westeurope"}`, "OperationNotAllowed", 409},
		{"PATCH", "/none", `{"tags":{}}`, "ResourceNotFound", 404},
		{"PUT", "/web1", `{"tags":{"a<b":"1"}}`, "BadRequest", 400},
		{"PUT", "/web1", `{"tags":[]}`, "InvalidRequestContent", 400},
		{"PUT", "/web1", `{"properties":7}`, "InvalidRequestContent", 400},
		{"PUT", "/" + strings.Repeat("x", 90), `{}`, "InvalidResourceName", 400},
	} {
		a := r.do(c.method, labGroup+computeIn+c.path+computeV, r.owner, c.body)
		code, text := a.refusal(t)
		if a.StatusCode != c.status || code != c.code || text == "" {
			t.Errorf("%s %s %s: %d %s, not %d %s: %s", c.method, c.path, c.body, a.StatusCode, code, c.status, c.code, text)
		}
	}
}

// TestDeletingAVirtualMachineOpensNothing: what guards its ports stays on its host unless somebody says otherwise.
func TestDeletingAVirtualMachineOpensNothing(t *testing.T) {
	r := neighbourhood(t)
	reader := r.tokenFor(r.User("reader", ajartest.At("Reader", ajartest.Group)))
	web := labGroup + computeIn + "/web1" + computeV
	if a := r.do("DELETE", web, reader, ""); a.StatusCode != 403 {
		t.Errorf("a Reader deletes: %d %s", a.StatusCode, a.body)
	}
	r.must(400, "DELETE", web+"&ajar-lift-guard=perhaps", "")
	if a := r.must(200, "DELETE", web, ""); a.body != "" {
		t.Errorf("the answer has a body: %s", a.body)
	}
	r.must(204, "DELETE", web, "")
	es := r.Events(ajar.GuardKept)
	if len(es) != 1 || !es[0].Scope.Equal(ajartest.MachineID("web1")) || len(r.Events(ajar.GuardLifted)) != 0 {
		t.Errorf("guards were not kept: %+v", es)
	}
}

// TestRefusalsOfWhatNobodyCanDoAreRecorded, as every refusal is.
func TestRefusalsOfWhatNobodyCanDoAreRecorded(t *testing.T) {
	r := neighbourhood(t)
	r.must(409, "POST", labGroup+computeIn+"/web1/deallocate"+computeV, "")
	r.must(409, "DELETE", labGroup+networkIn+"/networkSecurityGroups/web1-nsg"+networkV, "")
	r.must(409, "PUT", "/subscriptions/"+ajartest.Group.Subscription()+"/providers/Microsoft.Security/pricings/VirtualMachines?api-version=2023-01-01", `{"properties":{"pricingTier":"Free"}}`)
	for _, action := range []ajar.Action{ajar.MachineDeallocate, ajar.SecurityGroupDelete, ajar.PricingWrite} {
		if es := r.Events(action); len(es) != 1 || es[0].Outcome != ajar.Refused || es[0].Kind != ajar.Conflict {
			t.Errorf("%s: %+v", action, es)
		}
	}
}

func TestPricing(t *testing.T) {
	r := neighbourhood(t)
	at := "/subscriptions/" + ajartest.Group.Subscription() + "/providers/Microsoft.Security/pricings/"
	a := r.must(200, "PUT", at+"VirtualMachines?api-version=2023-01-01", `{"properties":{"pricingTier":"Standard","subPlan":"P2"}}`)
	if !strings.Contains(a.body, `"subPlan":"P2","pricingTier":"Standard"`) {
		t.Error(a.body)
	}
	r.must(200, "PUT", at+"virtualmachines?api-version=2018-06-01", `{"properties":{"pricingTier":"standard"}}`)
	for body, status := range map[string]int{
		`{"properties":{"pricingTier":"Standard","subPlan":"P1"}}`: 409, `{"properties":{"pricingTier":"free"}}`: 409,
		`{"properties":{}}`: 400, ``: 400, `[]`: 400, `{"properties":{"pricingTier":"Gold"}}`: 400, `{"properties":{"pricingTier":7}}`: 400,
	} {
		if a := r.do("PUT", at+"VirtualMachines?api-version=2023-01-01", r.owner, body); a.StatusCode != status {
			t.Errorf("%s: %d, not %d: %s", body, a.StatusCode, status, a.body)
		}
	}
	r.must(404, "PUT", at+"KeyVaults?api-version=2023-01-01", `{"properties":{"pricingTier":"Standard"}}`)
	r.must(404, "GET", "/subscriptions/99999999-9999-4999-8999-999999999999/providers/Microsoft.Security/pricings?api-version=2023-01-01", "")
}

// TestBadNeighbours: what makes no sense is the caller's fault, never ours.
func TestBadNeighbours(t *testing.T) {
	r := neighbourhood(t)
	sub := "/subscriptions/" + ajartest.Group.Subscription()
	states := "/providers/Microsoft.PolicyInsights/policyStates/"
	for path, status := range map[string]int{
		"GET " + sub + computeIn:                                                                                                     400,
		"GET " + sub + computeIn + computeV + "&$expand=everything":                                                                  400,
		"GET " + sub + computeIn + computeV + "&$top=0":                                                                              400,
		"GET " + sub + computeIn + computeV + "&$top=1001":                                                                           400,
		"GET " + sub + computeIn + computeV + "&$skiptoken=xyz":                                                                      400,
		"GET " + sub + computeIn + computeV + "&$skiptoken=" + formatSkip("\x00"):                                                    400,
		"GET " + sub + computeIn + computeV + "&$filter=name":                                                                        400,
		"GET " + sub + computeIn + computeV + "&$filter=" + url.QueryEscape("'virtualMachineScaleSet/id' eq 'x'"):                    400,
		"GET " + sub + computeIn + computeV + "&statusOnly=maybe":                                                                    400,
		"GET /subscriptions/lab" + computeIn + computeV:                                                                              400,
		"GET " + labGroup + computeIn + "/a%00b" + computeV:                                                                          400,
		"GET " + labGroup + computeIn + "/a%3Fb" + computeV:                                                                          400,
		"GET " + labGroup + networkIn + "/networkInterfaces/-nic" + networkV:                                                         404,
		"GET " + labGroup + networkIn + "/networkInterfaces/%F0%9F%9A%80" + networkV:                                                 404,
		"GET " + labGroup + networkIn + "/networkInterfaces/" + strings.Repeat("n", 2000) + networkV:                                 400,
		"GET " + labGroup + networkIn + "/networkSecurityGroups/web1-nsg/securityRules/none" + networkV:                              404,
		"DELETE " + labGroup + networkIn + "/networkSecurityGroups/web1-nsg/securityRules/a%5Cb" + networkV:                          400,
		"GET " + labGroup + computeIn + "/web1/providers/Microsoft.Security/assessments/a%23b?api-version=2021-06-01":                400,
		"GET /providers/Microsoft.Management/managementGroups/a%3Fb/providers/Microsoft.Security/assessments?api-version=2021-06-01": 400,
		"GET /providers/Microsoft.Management/managementGroups/none/providers/Microsoft.Security/assessments?api-version=2021-06-01":  200,
		"GET " + sub + "/providers/Microsoft.Authorization/policyDefinitions?api-version=2021-06-01&$filter=nonsense":                400,
		"GET " + sub + "/providers/Microsoft.Authorization/policyAssignments?api-version=2021-06-01&$filter=name+eq+'x'":             400,
		"POST " + sub + states + "default/queryResults?api-version=2019-10-01":                                                       400,
		"POST " + sub + states + "latest/queryResults?api-version=2019-10-01&$apply=groupby((x))":                                    400,
		"POST " + sub + states + "latest/queryResults?api-version=2019-10-01&$orderby=resourceId":                                    400,
		"POST " + sub + states + "latest/queryResults?api-version=2019-10-01&$filter=isCompliant+gt+1":                               400,
		"POST " + sub + states + "latest/summarize?api-version=2019-10-01&$filter='":                                                 400,
		"POST /providers/Microsoft.Management/managementGroups/none" + states + "latest/summarize?api-version=2019-10-01":            200,
	} {
		method, at, _ := strings.Cut(path, " ")
		if a := r.do(method, at, r.owner, ""); a.StatusCode != status {
			t.Errorf("%s: %d, not %d: %s", path, a.StatusCode, status, a.body)
		}
	}
}
