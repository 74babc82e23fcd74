//go:build linux

package azuretest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/lab"
)

// The four cmdlets of Az PowerShell, as they go over the wire: what they send is sent byte for byte, and what comes back
// is what Azure sends, byte for byte but for the values.
func TestPowerShell(t *testing.T) {
	t.Parallel()
	w, began := shared(t), time.Now()
	m := w.lab.Machines[ofPowerShell]
	token := w.token(t, w.addProgram(t, "powershell", "Owner", lab.Group))
	p := policyID("powershell")
	path := string(p) + "?api-version=2020-01-01"

	// Set-AzJitNetworkAccessPolicy
	body := fmt.Sprintf(`{"kind":"Basic","properties":{"virtualMachines":[{"id":"%s","ports":[{"number":22,"protocol":"*","allowedSourceAddressPrefix":"*","maxRequestAccessDuration":"PT3H"},{"number":3389,"protocol":"*","allowedSourceAddressPrefix":"*","maxRequestAccessDuration":"PT3H"}]}]}}`, m.ID)
	same(t, body, putBody(t, string(m.ID), portBody{22, "*", "*", "PT3H"}, portBody{3389, "*", "*", "PT3H"}))
	put := w.call(t, token, http.MethodPut, path, putBody(t, string(m.ID), portBody{22, "*", "*", "PT3H"}, portBody{3389, "*", "*", "PT3H"}))
	wantPut := strings.TrimSuffix(body, "}}") + fmt.Sprintf(`,"requests":[],"provisioningState":"Updating","appendMode":false},"id":"%s","name":"powershell","type":"Microsoft.Security/locations/jitNetworkAccessPolicies","location":"%s"}`, p, lab.Location)
	if put.status != http.StatusOK || string(put.body) != wantPut {
		t.Fatalf("put: %d\n%s\nwant\n%s", put.status, put.body, wantPut)
	}
	azureHeaders(t, put, "X-Ms-Ratelimit-Remaining-Subscription-Writes")
	w.awaitClosed(t, m)

	// Start-AzJitNetworkAccessPolicy
	end := time.Now().Add(5*time.Second + 10*time.Since(began)).UTC().Truncate(time.Millisecond) // what is finer is dropped, so that nothing ends later
	text := end.Format("2006-01-02T15:04:05.0000000Z")
	ask := fmt.Sprintf(`{"virtualMachines":[{"id":"%s","ports":[{"number":22,"allowedSourceAddressPrefix":"%s","endTimeUtc":"%s"}]}]}`, m.ID, w.lab.RequesterAddr(), text)
	before := time.Now()
	asked := w.call(t, token, http.MethodPost, string(p)+"/initiate?api-version=2020-01-01", ask)
	var start struct{ StartTimeUtc string }
	asked.into(t, &start)
	at, err := time.Parse("2006-01-02T15:04:05.0000000Z", start.StartTimeUtc)
	if err != nil || at.Before(before.Add(-time.Second)) || at.After(time.Now().Add(time.Second)) {
		t.Errorf("startTimeUtc is %q: %v", start.StartTimeUtc, err)
	}
	wantAsked := strings.TrimSuffix(ask, "}]}]}") + fmt.Sprintf(`,"status":"Initiating","statusReason":"UserRequested"}]}],"startTimeUtc":"%s","requestor":"`, start.StartTimeUtc)
	if asked.status != http.StatusAccepted || !strings.HasPrefix(string(asked.body), wantAsked) {
		t.Errorf("initiate: %d\n%s\nwant\n%s", asked.status, asked.body, wantAsked)
	}
	azureHeaders(t, asked, "X-Ms-Ratelimit-Remaining-Subscription-Writes")
	for _, h := range []string{"Location", "Azure-AsyncOperation", "Retry-After"} {
		if asked.header.Get(h) != "" {
			t.Errorf("initiate has a %s, which clients would wait for", h)
		}
	}
	w.awaitOpen(t, m)

	// Get-AzJitNetworkAccessPolicy -ResourceGroupName -Location -Name, and without any
	got := w.call(t, token, http.MethodGet, path, "")
	azureHeaders(t, got, "")
	var list struct{ Value []json.RawMessage }
	lists := w.call(t, token, http.MethodGet, string(lab.Subscription)+"/providers/Microsoft.Security/jitNetworkAccessPolicies?api-version=2020-01-01", "")
	lists.into(t, &list)
	azureHeaders(t, lists, "X-Ms-Ratelimit-Remaining-Subscription-Resource-Requests")
	wantGet := strings.TrimSuffix(body, "}}") + fmt.Sprintf(`,"requests":[{"virtualMachines":[{"id":"%s","ports":[{"number":22,"allowedSourceAddressPrefix":"%s","endTimeUtc":"%s","status":"Initiated","statusReason":"UserRequested"}]}],"startTimeUtc":"%s","requestor":"`, m.ID, w.lab.RequesterAddr(), text, start.StartTimeUtc)
	if got.status != http.StatusOK || !strings.HasPrefix(string(got.body), wantGet) ||
		!strings.HasSuffix(string(got.body), fmt.Sprintf(`"}],"provisioningState":"Succeeded","appendMode":false},"id":"%s","name":"powershell","type":"Microsoft.Security/locations/jitNetworkAccessPolicies","location":"%s"}`, p, lab.Location)) {
		t.Errorf("get: %d\n%s\nwant\n%s", got.status, got.body, wantGet)
	}
	if since := w.awaitClosed(t, m); since.Before(end.Add(-100 * time.Millisecond)) {
		t.Errorf("it closed at %s, and its end was %s", since, end)
	}

	// Remove-AzJitNetworkAccessPolicy, twice
	for _, want := range []int{http.StatusOK, http.StatusNoContent} {
		if del := w.call(t, token, http.MethodDelete, path, ""); del.status != want || len(del.body) != 0 {
			t.Errorf("delete: %d %s; want %d", del.status, del.body, want)
		}
	}
	w.awaitOpenForAll(t, m)
}

// same compares what two texts say in JSON.
func same(t *testing.T, a, b string) {
	t.Helper()
	var x, y json.RawMessage
	if json.Unmarshal([]byte(a), &x) != nil || json.Unmarshal([]byte(b), &y) != nil {
		t.Fatalf("%s or %s is not JSON", a, b)
	}
	if strip(a) != strip(b) {
		t.Fatalf("%s is not %s", a, b)
	}
}

func strip(s string) string {
	return strings.NewReplacer("\r", "", "\n", "", " ", "").Replace(s)
}

// azureHeaders looks for the headers that Azure sends with every answer, and the counter that goes with this one.
func azureHeaders(t *testing.T, a answer, counter string) {
	t.Helper()
	for name, want := range map[string]string{
		"Content-Type": "application/json; charset=utf-8", "Cache-Control": "no-cache", "Pragma": "no-cache", "Expires": "-1",
		"Strict-Transport-Security": "max-age=31536000; includeSubDomains", "X-Content-Type-Options": "nosniff",
	} {
		if got := a.header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	for _, name := range []string{"X-Ms-Request-Id", "X-Ms-Correlation-Request-Id", "X-Ms-Routing-Request-Id", counter} {
		if name != "" && a.header.Get(name) == "" {
			t.Errorf("there is no %s", name)
		}
	}
}

// The role that Microsoft's script makes for people who only ask, made as that script makes it. Who has it does what the
// documents say, and nothing more.
func TestLeastPrivilegedRole(t *testing.T) {
	t.Parallel()
	w := shared(t)
	m := w.lab.Machines[ofPowerShell]
	owner := w.token(t, w.addProgram(t, "role-owner", "Owner", lab.Subscription))
	person := w.addPersonAlone(t, "least")
	put := w.call(t, owner, http.MethodPut, string(policyID("least"))+"?api-version=2020-01-01", putBody(t, string(m.ID), portBody{2222, "TCP", "*", "PT1H"}))
	if put.status != http.StatusOK {
		t.Fatalf("%d %s", put.status, put.body)
	}
	token := w.tokenOfPerson(t, "least")
	if got := w.call(t, token, http.MethodGet, string(policyID("least"))+"?api-version=2020-01-01", ""); got.status != http.StatusForbidden {
		t.Fatalf("before the role: %d %s", got.status, got.body)
	}

	// New-AzRoleDefinition
	id := uuid.NewString()
	role := lab.Subscription + "/providers/Microsoft.Authorization/roleDefinitions/" + ajar.ID(id)
	def := w.call(t, owner, http.MethodPut, string(role)+"?api-version=2022-04-01", fmt.Sprintf(`{"properties":{"roleName":"JIT Access Role","description":"Access to JIT requests","type":"CustomRole","permissions":[{"actions":[`+
		`"Microsoft.Security/locations/jitNetworkAccessPolicies/read","Microsoft.Security/locations/jitNetworkAccessPolicies/initiate/action",`+
		`"Microsoft.Security/policies/read","Microsoft.Network/publicIPAddresses/read","Microsoft.Compute/virtualMachines/read","Microsoft.Network/*/read"],`+
		`"notActions":[],"dataActions":[],"notDataActions":[]}],"assignableScopes":["%s"]}}`, lab.Subscription))
	if def.status != http.StatusCreated {
		t.Fatalf("the role: %d %s", def.status, def.body)
	}
	// New-AzRoleAssignment
	assignment := string(lab.Subscription) + "/providers/Microsoft.Authorization/roleAssignments/" + uuid.NewString() + "?api-version=2022-04-01"
	given := w.call(t, owner, http.MethodPut, assignment, fmt.Sprintf(`{"properties":{"roleDefinitionId":"%s","principalId":"%s","principalType":"User"}}`, role, person))
	if given.status != http.StatusCreated {
		t.Fatalf("the assignment: %d %s", given.status, given.body)
	}
	may, mayNot := least(m.ID, id)
	try := func(c attempt) answer {
		t.Helper()
		version := c.version
		if version == "" {
			version = "2020-01-01"
		}
		sep := "?"
		if strings.Contains(c.path, "?") {
			sep = "&"
		}
		return w.call(t, token, c.method, c.path+sep+"api-version="+version, c.body)
	}
	for _, c := range may {
		if got := try(c); got.status/100 != 2 {
			t.Errorf("may not %s %s: %d %s", c.method, c.path, got.status, got.body)
		}
	}
	for _, c := range mayNot {
		// A list of what cannot be read is refused, or has nothing in it.
		if got := try(c); got.status != http.StatusForbidden && string(got.body) != `{"value":[]}` {
			t.Errorf("%s %s is answered with %d %s; want 403", c.method, c.path, got.status, got.body)
		}
	}
	if gone := w.call(t, owner, http.MethodDelete, assignment, ""); gone.status != http.StatusOK {
		t.Errorf("the assignment goes: %d %s", gone.status, gone.body)
	}
	if got := w.call(t, token, http.MethodGet, string(policyID("least"))+"?api-version=2020-01-01", ""); got.status != http.StatusForbidden {
		t.Errorf("after the role: %d %s", got.status, got.body)
	}
	if gone := w.call(t, owner, http.MethodDelete, string(role)+"?api-version=2022-04-01", ""); gone.status != http.StatusOK {
		t.Errorf("the role goes: %d %s", gone.status, gone.body)
	}
	if gone := w.call(t, owner, http.MethodDelete, string(policyID("least"))+"?api-version=2020-01-01", ""); gone.status != http.StatusOK {
		t.Errorf("the policy goes: %d %s", gone.status, gone.body)
	}
}

// attempt is one call of the requester's; version "" = that of policies.
type attempt struct{ method, path, version, body string }

// least are what the role lets one do, and what is next to that.
func least(machine ajar.ID, role string) (may, mayNot []attempt) {
	const network, compute, auth = "2023-09-01", "2023-09-01", "2022-04-01"
	p, sub, group := string(policyID("least")), string(lab.Subscription), string(lab.Group)
	vm, nic := string(machine), group+"/providers/Microsoft.Network/networkInterfaces/"+machine.Name()+"-nic"
	ask := fmt.Sprintf(`{"virtualMachines":[{"id":"%s","ports":[{"number":2222,"endTimeUtc":"%s"}]}]}`, vm, time.Now().Add(time.Minute).UTC().Format(time.RFC3339Nano))
	may = []attempt{
		{"GET", p, "", ""},
		{"GET", sub + "/providers/Microsoft.Security/jitNetworkAccessPolicies", "", ""},
		{"GET", group + "/providers/Microsoft.Security/jitNetworkAccessPolicies", "", ""},
		{"GET", vm, compute, ""},
		{"GET", group + "/providers/Microsoft.Compute/virtualMachines", compute, ""},
		{"GET", nic, network, ""},
		{"GET", group + "/providers/Microsoft.Network/publicIPAddresses", network, ""},
		{"GET", group + "/providers/Microsoft.Network/networkSecurityGroups", network, ""},
		{"POST", p + "/initiate", "", ask},
	}
	mayNot = []attempt{
		{"PUT", p, "", `{"kind":"Basic","properties":{"virtualMachines":[]}}`},
		{"DELETE", p, "", ""},
		{"PUT", sub + "/providers/Microsoft.Authorization/roleDefinitions/" + role, auth, `{"properties":{"roleName":"more","permissions":[{"actions":["*"]}],"assignableScopes":["` + sub + `"]}}`},
		{"PUT", sub + "/providers/Microsoft.Authorization/roleAssignments/" + uuid.NewString(), auth, `{"properties":{"roleDefinitionId":"` + sub + `/providers/Microsoft.Authorization/roleDefinitions/` + role + `","principalId":"` + uuid.NewString() + `"}}`},
		{"DELETE", sub + "/providers/Microsoft.Authorization/roleDefinitions/" + role, auth, ""},
		{"GET", sub + "/providers/Microsoft.Authorization/roleAssignments", auth, ""},
		{"GET", sub + "/providers/Microsoft.Security/pricings", "2023-01-01", ""},
		{"GET", sub + "/providers/Microsoft.Security/assessments", "2021-06-01", ""},
		{"GET", sub + "/providers/Microsoft.Insights/eventtypes/management/values?$filter=" + url.QueryEscape("eventTimestamp ge '"+time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)+"'"), "2015-04-01", ""},
	}
	return may, mayNot
}
