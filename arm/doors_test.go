package arm

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/ajartest"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares an answer with the file of that name in testdata.
func golden(t *testing.T, name string, a answer) {
	t.Helper()
	var got bytes.Buffer
	if a.body != "" {
		if err := json.Indent(&got, []byte(still(a.body)), "", "  "); err != nil {
			t.Fatalf("%s: %v in %s", name, err, a.body)
		}
		got.WriteByte('\n')
	}
	file := filepath.Join("testdata", name+".json")
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got.String()); d != "" {
		t.Errorf("%s (-want +got):\n%s", name, d)
	}
}

const (
	testSub    = "/subscriptions/11111111-1111-4111-8111-111111111111"
	otherSub   = "/subscriptions/22222222-2222-4222-8222-222222222222"
	resourcesV = "?api-version=2021-04-01"
)

// estate is a plane with something in it: two groups of a subscription, one of another, two management groups.
func estate(t *testing.T) *rig {
	t.Helper()
	r := newRig(t)
	web1, web2 := r.Machine("web1"), r.Machine("web2")
	r.Policy("default", web1, web2)
	target := func(id, body string) {
		r.must(200, "PUT", "/ajar/v1/target?id="+url.QueryEscape(id), body)
	}
	target(string(web2), `{"location":"westeurope","tags":{"Owner":"alice","tier":""}}`)
	target(testSub+"/resourceGroups/Edge/providers/Microsoft.Compute/virtualMachines/gw1", `{"location":"North Europe","os":"Windows","tags":{"owner":"bob"}}`)
	target(otherSub+"/resourceGroups/far/providers/Microsoft.Compute/virtualMachines/far1", `{"location":"eastus"}`)
	r.must(200, "PUT", "/ajar/v1/management-groups/corp", `{"display":"Corporation"}`)
	r.must(200, "PUT", "/ajar/v1/management-groups/Prod", `{"parent":"corp","subscriptions":["11111111-1111-4111-8111-111111111111"]}`)
	return r
}

// TestWhatClientsAskFirst: the answers around just-in-time policies, as the golden files have them.
func TestWhatClientsAskFirst(t *testing.T) {
	r := estate(t)
	requester := r.tokenFor(r.User("requester", ajartest.At("Just-in-time Requester", ajartest.Group)))
	stranger := r.tokenFor(r.User("nobody"))
	for _, c := range []struct {
		name, method, path, token string
		status                    int
	}{
		{"metadata/2015-01-01", "GET", "/metadata/endpoints?api-version=2015-01-01", "", 200},
		{"metadata/1.0", "GET", "//metadata/endpoints?api-version=1.0", "", 200},
		{"metadata/2018-01-01", "GET", "/metadata/endpoints?api-version=2018-01-01", "", 200},
		{"metadata/2019-05-01", "GET", "/metadata/endpoints?api-version=2019-05-01", "", 200},
		{"metadata/2020-06-01", "GET", "/metadata/endpoints/?api-version=2020-06-01", "", 200},
		{"metadata/2022-09-01", "GET", "/metadata/endpoints?api-version=2022-09-01", "", 200},
		{"metadata/no-version", "GET", "/metadata/endpoints", "", 400},
		{"metadata/bad-version", "GET", "/metadata/endpoints?api-version=latest", "", 400},

		{"tenants", "GET", "/tenants?api-version=2019-11-01", stranger, 200},
		{"subscriptions", "GET", "/subscriptions?api-version=2019-11-01", r.owner, 200},
		{"subscriptions-requester", "GET", "/subscriptions?api-version=2019-11-01", requester, 200},
		{"subscriptions-stranger", "GET", "/subscriptions?api-version=2019-11-01", stranger, 200},
		{"subscription", "GET", testSub + "?api-version=2019-11-01", r.owner, 200},
		{"subscription-stranger", "GET", testSub + "?api-version=2019-11-01", stranger, 403},
		{"subscription-missing", "GET", "/subscriptions/33333333-3333-4333-8333-333333333333?api-version=2019-11-01", r.owner, 404},
		{"subscription-malformed", "GET", "/subscriptions/lab?api-version=2019-11-01", r.owner, 400},
		{"locations", "GET", testSub + "/locations?api-version=2019-11-01", r.owner, 200},
		{"locations-requester", "GET", testSub + "/locations?api-version=2019-11-01", requester, 200},

		{"groups", "GET", testSub + "/resourcegroups" + resourcesV, r.owner, 200},
		{"groups-requester", "GET", testSub + "/resourceGroups" + resourcesV, requester, 200},
		{"groups-stranger", "GET", testSub + "/resourceGroups" + resourcesV, stranger, 403},
		{"group", "GET", testSub + "/resourcegroups/EDGE" + resourcesV, r.owner, 200},
		{"group-missing", "GET", testSub + "/resourcegroups/nowhere" + resourcesV, r.owner, 404},
		{"group-malformed", "GET", testSub + "/resourcegroups/a%3Fb" + resourcesV, r.owner, 400},
		{"group-put", "PUT", testSub + "/resourcegroups/edge" + resourcesV, r.owner, 200},
		{"group-put-missing", "PUT", testSub + "/resourcegroups/nowhere" + resourcesV, r.owner, 409},
		{"group-put-requester", "PUT", testSub + "/resourcegroups/lab" + resourcesV, requester, 403},

		{"providers", "GET", "/providers" + resourcesV, stranger, 200},
		{"providers-top", "GET", testSub + "/providers" + resourcesV + "&$top=1&$expand=resourceTypes/aliases", r.owner, 200},
		{"provider", "GET", "/providers/microsoft.security" + resourcesV, stranger, 200},
		{"provider-in-subscription", "GET", testSub + "/providers/Microsoft.Compute" + resourcesV, r.owner, 200},
		{"provider-missing", "GET", testSub + "/providers/Microsoft.Sql" + resourcesV, r.owner, 404},
		{"provider-stranger", "GET", testSub + "/providers/Microsoft.Security" + resourcesV, stranger, 403},
		{"register", "POST", testSub + "/providers/Microsoft.Management/register" + resourcesV, requester, 200},

		{"resources", "GET", testSub + "/resources" + resourcesV + "&$expand=createdTime,changedTime,provisioningState", r.owner, 200},
		{"resources-group", "GET", testSub + "/resourceGroups/edge/resources" + resourcesV, r.owner, 200},
		{"resources-requester", "GET", testSub + "/resources" + resourcesV, requester, 200},
		{"resources-stranger", "GET", testSub + "/resources" + resourcesV, stranger, 200},

		{"management-groups", "GET", "/providers/Microsoft.Management/managementGroups?api-version=2020-02-01", r.owner, 200},
		{"management-group", "GET", "/providers/Microsoft.Management/managementGroups/PROD?api-version=2021-04-01&$expand=children", r.owner, 200},
		{"management-group-recurse", "GET", "/providers/Microsoft.Management/managementGroups/corp?api-version=2018-03-01-preview&$expand=children&$recurse=true", r.owner, 200},
		{"management-group-stranger", "GET", "/providers/Microsoft.Management/managementGroups/corp?api-version=2021-04-01", stranger, 403},
		{"management-group-missing", "GET", "/providers/Microsoft.Management/managementGroups/none?api-version=2021-04-01", r.owner, 404},
		{"descendants", "GET", "/providers/Microsoft.Management/managementGroups/corp/descendants?api-version=2021-04-01", r.owner, 200},
		{"entities", "POST", "/providers/Microsoft.Management/getEntities?api-version=2021-04-01", r.owner, 200},
		{"entities-requester", "POST", "/providers/Microsoft.Management/getEntities?api-version=2021-04-01", requester, 200},
	} {
		a := r.do(c.method, c.path, c.token, "")
		if a.StatusCode != c.status {
			t.Errorf("%s: %d, not %d: %s", c.name, a.StatusCode, c.status, a.body)
			continue
		}
		golden(t, "doors/"+c.name, guids(r, a))
	}
}

// guids replaces what is made up anew in each run.
func guids(r *rig, a answer) answer {
	for name, who := range map[string]string{"<stranger>": "nobody", "<requester>": "requester"} {
		var p principalBody
		r.must(200, "GET", "/ajar/v1/principals/"+who, "").into(r.t, &p)
		a.body = strings.ReplaceAll(a.body, string(p.ID), name)
	}
	return a
}

// TestWhetherItIsThere: what the libraries ask by HEAD before they make or remove something.
func TestWhetherItIsThere(t *testing.T) {
	r := estate(t)
	policy := strings.TrimPrefix(string(ajartest.PolicyID("default")), testSub)
	for path, status := range map[string]int{
		"/resourcegroups/edge" + resourcesV: 204, "/resourcegroups/nowhere" + resourcesV: 404, policy + v: 204, policy + "x" + v: 404,
		strings.TrimPrefix(string(ajartest.MachineID("web1")), testSub) + computeV: 204, strings.TrimPrefix(string(ajartest.MachineID("vm0")), testSub) + computeV: 404,
	} {
		a := r.do(http.MethodHead, testSub+path, r.owner, "")
		if a.StatusCode != status || a.body != "" {
			t.Errorf("HEAD %s: %d, not %d; %q", path, a.StatusCode, status, a.body)
		}
	}
}

// TestListsOfResourcesAreFilteredAndPaged: names by filter, whatever the size of the pages.
func TestListsOfResourcesAreFilteredAndPaged(t *testing.T) {
	r := estate(t)
	for _, c := range []struct{ filter, want string }{
		{"", "gw1 web1 web2 default"},
		{"resourceType eq 'microsoft.compute/VirtualMachines'", "gw1 web1 web2"},
		{"resourceType eq 'Microsoft.Security/locations/jitNetworkAccessPolicies'", "default"},
		{"resourceType eq 'Microsoft.Storage/storageAccounts'", ""},
		{"resourceType ne 'Microsoft.Compute/virtualMachines'", "default"},
		{"name eq 'WEB1'", "web1"},
		{"resourceGroup eq 'edge'", "gw1"},
		{"resourceGroup eq 'no/where'", ""},
		{"location eq 'northeurope'", "gw1"},
		{"location eq 'West Europe' and resourceType eq 'Microsoft.Compute/virtualMachines'", "web1 web2"},
		{"tagName eq 'owner'", "gw1 web2"},
		{"tagname eq 'owner' and tagvalue eq 'bob'", "gw1"},
		{"tagName eq 'tier' and tagValue eq ''", "web2"},
		{"tagName eq 'tier' and tagValue eq 'alice'", ""},
		{"startswith(tagname, 'ow')", "gw1 web2"},
		{"substringof('eb', name)", "web1 web2"},
		{"startswith(name,'web') and (endswith(name,'2') or location eq 'eastus')", "web2"},
		{"not (contains(name, 'e')) or name eq 'web1'", "gw1 web1"},
		{"plan/publisher eq 'x'", ""},
		{"name eq 'it''s'", ""},
	} {
		for _, top := range []int{1, 2, 200} {
			path := fmt.Sprintf("%s/resources%s&$top=%d&$filter=%s", testSub, resourcesV, top, url.QueryEscape(c.filter))
			var names []string
			for path != "" {
				var l list[resourceBody]
				r.must(200, "GET", path, "").into(t, &l)
				if len(l.Value) > top {
					t.Errorf("%s: a page of %d has %d", c.filter, top, len(l.Value))
				}
				for _, b := range l.Value {
					names = append(names, b.Name)
				}
				path = strings.TrimPrefix(l.NextLink, "https://ajar.example.com")
			}
			if got := strings.Join(names, " "); got != c.want {
				t.Errorf("%s, %d a page: %q, not %q", c.filter, top, got, c.want)
			}
		}
	}
	var l list[resourceGroupBody]
	r.must(200, "GET", testSub+"/resourcegroups"+resourcesV+"&$filter="+url.QueryEscape("location eq 'northeurope'"), "").into(t, &l)
	if len(l.Value) != 1 || l.Value[0].Name != "Edge" {
		t.Errorf("groups by location: %+v", l.Value)
	}
}

// TestWhatIsRareIsFoundInFewCalls: filters by what no index has.
func TestWhatIsRareIsFoundInFewCalls(t *testing.T) {
	r := newRig(t)
	var docs []ajar.Doc
	for i := range 3000 {
		at := "westeurope"
		if i%1000 == 999 {
			at = "eastus"
		}
		docs = append(docs, &ajar.Target{ID: ajartest.MachineID(fmt.Sprintf("vm%04d", i)), Location: at})
	}
	for part := range slices.Chunk(docs, 500) {
		r.Put(part...)
	}
	calls, found := 0, 0
	for path := testSub + "/resources" + resourcesV + "&$filter=" + url.QueryEscape("location eq 'eastus'"); path != ""; calls++ {
		var l list[resourceBody]
		r.must(200, "GET", path, "").into(t, &l)
		found += len(l.Value)
		path = strings.TrimPrefix(l.NextLink, "https://ajar.example.com")
	}
	if found != 3 || calls > 2 {
		t.Errorf("%d found in %d calls", found, calls)
	}
}

// TestBadDoors: what makes no sense is refused with a message that says what.
func TestBadDoors(t *testing.T) {
	r := estate(t)
	deep := strings.Repeat("(", 30) + "name eq 'x'" + strings.Repeat(")", 30)
	for _, c := range []struct{ method, path, says string }{
		{"GET", testSub + "/resources", "api-version"},
		{"GET", testSub + "/resources?api-version=now", "api-version"},
		{"GET", testSub + "/resources" + resourcesV + "&$top=0", "$top"},
		{"GET", testSub + "/resources" + resourcesV + "&$skiptoken=x", "skiptoken"},
		{"GET", testSub + "/resources" + resourcesV + "&$skiptoken=" + formatSkip("xyz"), "skiptoken"},
		{"GET", testSub + "/resources" + resourcesV + "&$skiptoken=" + formatSkip("m///"), "continuation"},
		{"GET", testSub + "/resourcegroups" + resourcesV + "&$skiptoken=" + formatSkip("!"), "continuation"},
		{"GET", testSub + "/resources" + resourcesV + "&$filter=name", "eq or ne"},
		{"GET", testSub + "/resources" + resourcesV + "&$filter=name+eq", "single quotes"},
		{"GET", testSub + "/resources" + resourcesV + "&$filter=name+eq+x", "single quotes"},
		{"GET", testSub + "/resources" + resourcesV + "&$filter=name+gt+'x'", "gt"},
		{"GET", testSub + "/resources" + resourcesV + "&$filter=colour+eq+'red'", "colour"},
		{"GET", testSub + "/resources" + resourcesV + "&$filter=name+eq+'x", "no end"},
		{"GET", testSub + "/resources" + resourcesV + "&$filter=(name+eq+'x'", ")"},
		{"GET", testSub + "/resources" + resourcesV + "&$filter=name+eq+'x'+name", "name"},
		{"GET", testSub + "/resources" + resourcesV + "&$filter=not", "ends"},
		{"GET", testSub + "/resources" + resourcesV + "&$filter=startswith(name)", ","},
		{"GET", testSub + "/resources" + resourcesV + "&$filter=startswith('a','b')", "property"},
		{"GET", testSub + "/resources" + resourcesV + "&$filter=" + url.QueryEscape(deep), "deep"},
		{"GET", testSub + "/resources" + resourcesV + "&$filter=" + strings.Repeat("not+", 40) + "name+eq+'x'", "deep"},
		{"GET", testSub + "/resources" + resourcesV + "&$filter=" + strings.Repeat("x", 2001), "longer"},
		{"GET", testSub + "/providers" + resourcesV + "&$top=x", "$top"},
		{"PUT", testSub + "/resourcegroups/edge", "api-version"},
		{"GET", "/providers/Microsoft.Management/managementGroups/a%3Fb?api-version=2020-02-01", "invalid"},
		{"GET", "/providers/Microsoft.Management/managementGroups/corp?api-version=2020-02-01&$expand=everything", "$expand"},
		{"GET", "/providers/Microsoft.Management/managementGroups/corp?api-version=2020-02-01&$recurse=perhaps", "$recurse"},
		{"DELETE", testSub + "/resourcegroups/edge" + resourcesV, "GET, PUT"},
		{"PUT", "/ajar/v1/target?id=" + url.QueryEscape(testSub+"/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/v"), "tag"},
	} {
		a := r.do(c.method, c.path, r.owner, `{"tags":{"a/b":"c"}}`)
		if a.StatusCode < 400 || a.StatusCode > 499 {
			t.Errorf("%s %.200s: %d: %.300s", c.method, c.path, a.StatusCode, a.body)
			continue
		}
		if code, msg := a.refusal(t); code == "" || !strings.Contains(strings.ToLower(msg), strings.ToLower(c.says)) || len(msg) > 500 {
			t.Errorf("%s %.200s: %s: %q says nothing of %q", c.method, c.path, code, msg, c.says)
		}
	}
}

func TestTagsOfAMachine(t *testing.T) {
	r := newRig(t)
	path := "/ajar/v1/target?id=" + url.QueryEscape(string(ajartest.MachineID("vm1")))
	tags := func(body string) map[string]string {
		t.Helper()
		var b targetBody
		r.must(200, "PUT", path, body).into(t, &b)
		return b.Tags
	}
	for _, c := range []struct {
		body string
		want map[string]string
	}{
		{`{}`, nil},
		{`{"tags":{"env":"prod","x":""}}`, map[string]string{"env": "prod", "x": ""}},
		{`{"location":"west"}`, map[string]string{"env": "prod", "x": ""}},
		{`{"tags":null}`, map[string]string{"env": "prod", "x": ""}},
		{`{"tags":{"env":"test"}}`, map[string]string{"env": "test"}},
		{`{"tags":{}}`, nil},
	} {
		if d := cmp.Diff(c.want, tags(c.body)); d != "" {
			t.Errorf("%s: %s", c.body, d)
		}
	}
	many := make([]string, 51)
	for i := range many {
		many[i] = fmt.Sprintf(`"t%d":""`, i)
	}
	for _, c := range []struct{ body, says string }{
		{`{"tags":{` + strings.Join(many, ",") + `}}`, "at most 50"},
		{`{"tags":{"":"x"}}`, "name of a tag"},
		{`{"tags":{"a<b":"x"}}`, "a<b"},
		{`{"tags":{"A":"x","a":"y"}}`, "twice"},
		{`{"tags":{"a":"` + longText + `"}}`, "at most 256"},
		{`{"tags":{"a":5}}`, "text"},
		{`{"tags":["a"]}`, "object"},
	} {
		a := r.must(400, "PUT", path, c.body)
		if _, msg := a.refusal(t); !strings.Contains(msg, c.says) {
			t.Errorf("%.60s: %s", c.body, msg)
		}
	}
}

// TestHostileDoors: names in paths and texts in queries are as untrusted here as anywhere.
func TestHostileDoors(t *testing.T) {
	r := newRig(t)
	r.Machine("vm1")
	for _, name := range []string{"%00", "%2e%2e", "a%2Fb", "%F0%9F%92%A5", "%25", "a%20b", strings.Repeat("n", 3000), "%E2%80%AE", "'", "<b>", "a;b", "%ff%fe", "*"} {
		for _, path := range []string{
			"/subscriptions/" + name, "/subscriptions/" + name + "/locations", "/subscriptions/" + name + "/resourcegroups", "/subscriptions/" + name + "/resources",
			testSub + "/resourcegroups/" + name, testSub + "/resourcegroups/" + name + "/resources", testSub + "/providers/" + name, testSub + "/providers/" + name + "/register",
			"/providers/" + name, "/providers/Microsoft.Management/managementGroups/" + name, "/providers/Microsoft.Management/managementGroups/" + name + "/descendants",
			testSub + "/resources?$filter=" + name, testSub + "/resources?$expand=" + name, testSub + "/resources?$skiptoken=" + name, testSub + "/resourcegroups?$top=" + name,
			testSub + "/resources?$filter=name+eq+'" + name + "'", testSub + "/resources?$filter=resourceGroup+eq+'" + name + "'",
		} {
			sep := "?"
			if strings.Contains(path, "?") {
				sep = "&"
			}
			for _, method := range []string{"GET", "HEAD", "PUT", "POST", "DELETE", "PATCH"} {
				a := r.do(method, path+sep+resourcesV[1:], r.owner, "{}")
				if a.StatusCode >= 500 || a.StatusCode < 200 || (a.StatusCode >= 300 && a.StatusCode < 400) {
					t.Errorf("%s %.200s: %d %s", method, path, a.StatusCode, a.body)
				}
			}
		}
	}
	for _, path := range []string{"/metadata/endpoints?api-version=%00", "/metadata/endpoints?api-version=9999-99-99", "/tenants?api-version=x", "/metadata/endpoints?api-version=1.0&x=%zz"} {
		if a := r.do("GET", path, r.owner, ""); a.StatusCode != 400 {
			t.Errorf("%s: %d %s", path, a.StatusCode, a.body)
		}
	}
}

// TestCaseAndSlashes: fixed segments in any case, slashes doubled and at the end.
func TestCaseAndSlashes(t *testing.T) {
	r := estate(t)
	for _, path := range []string{
		"/SUBSCRIPTIONS", "/Subscriptions/", "//tenants//", "/TENANTS", strings.ToUpper(testSub), testSub + "/Locations/", testSub + "//resourceGroups", testSub + "/RESOURCEGROUPS/EDGE/",
		testSub + "/Providers/MICROSOFT.SECURITY", "/PROVIDERS/microsoft.compute/", testSub + "/Resources", testSub + "/ResourceGroups/edge/Resources/",
		"/Providers/microsoft.management/MANAGEMENTGROUPS/CORP/Descendants",
	} {
		r.must(200, "GET", path+resourcesV, "")
	}
	r.must(200, "POST", "/providers/MICROSOFT.MANAGEMENT/GETENTITIES"+resourcesV, "")
}
