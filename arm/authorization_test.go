package arm

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/ajartest"
	"github.com/ajar-access/ajar/rbac"
)

const (
	authV   = "?api-version=2022-04-01"
	aliceID = "a11ce000-0000-4000-8000-000000000001"
	teamID  = "7ea30000-0000-4000-8000-000000000002"
	robotID = "20b07000-0000-4000-8000-000000000003"
	givenID = "91fe0000-0000-4000-8000-00000000000"
	madeID  = "c0570000-0000-4000-8000-000000000001"
	webGrp  = testSub + "/resourceGroups/Edge"
	webVM   = webGrp + "/providers/Microsoft.Compute/virtualMachines/gw1"
	corpMG  = "/providers/Microsoft.Management/managementGroups/corp"
	authz   = "/providers/Microsoft.Authorization"
)

// people are in an estate: alice, who is in a team, and a robot.
func somePeople(t *testing.T) *rig {
	r := estate(t)
	r.Put(
		&ajar.Principal{ID: aliceID, Kind: ajar.User, Name: "alice"},
		&ajar.Principal{ID: robotID, Kind: ajar.ServicePrincipal, Name: "robot"},
		&ajar.Principal{ID: teamID, Kind: ajar.Group, Name: "team", Members: []ajar.PrincipalID{aliceID}},
	)
	return r
}

// who is a token of one of them.
func (r *rig) who(id ajar.PrincipalID) string { return r.tokenFor(ajar.Caller{Principal: id}) }

// admin replaces the administrator's id and assignment, which are made up anew in each run.
func admin(r *rig, a answer) answer {
	var me struct{ Principal string }
	r.must(200, "GET", "/ajar/v1/me", "").into(r.t, &me)
	var own list[assignmentBody]
	r.must(200, "GET", "/ajar/v1/role-assignments?principal="+me.Principal, "").into(r.t, &own)
	a.body = strings.ReplaceAll(a.body, own.Value[0].ID, "<admin's>")
	a.body = strings.ReplaceAll(a.body, me.Principal, "<admin>")
	return a
}

func roleAt(scope string, id ajar.RoleID) string {
	return scope + authz + "/roleDefinitions/" + string(id)
}

func giving(role, to string, more ...string) string {
	return `{"properties":{"roleDefinitionId":"` + role + `","principalId":"` + to + `"` + strings.Join(more, "") + `}}`
}

const onPort22 = `(!(ActionMatches{'Microsoft.Security/locations/jitNetworkAccessPolicies/initiate/action'})) OR (@Request[Ajar.Access/requests:Port] NumericEquals 22)`

// TestAuthorization: role definitions, role and deny assignments and permissions, in Azure's shape, as the golden files
// have them.
func TestAuthorization(t *testing.T) {
	r := somePeople(t)
	custom := `{"name":"` + madeID + `","properties":{"roleName":"Edge opener","description":"Opens ports at the edge","type":"CustomRole","permissions":[{"actions":["Microsoft.Security/locations/jitNetworkAccessPolicies/*/read","Microsoft.Security/locations/jitNetworkAccessPolicies/initiate/action"],"notActions":[],"dataActions":["Microsoft.Compute/virtualMachines/login/action"],"notDataActions":[]}],"assignableScopes":["` + webGrp + `"]}}`
	condition, _ := json.Marshal(onPort22)
	conditioned := `,"condition":` + string(condition) + `,"conditionVersion":"2.0","description":"port 22 alone"`
	r.must(200, "PUT", "/ajar/v1/deny-assignments/de270000-0000-4000-8000-000000000001", `{"name":"freeze","scope":"`+webGrp+`","permissions":[{"actions":["*/delete"],"notActions":["x/delete"]}],"principals":["00000000-0000-0000-0000-000000000000"],"excludePrincipals":["admin"]}`)
	filter := func(text string) string { return "&$filter=" + url.QueryEscape(text) }
	for _, c := range []struct {
		name, method, path, token, body string
		status                          int
	}{
		{"roles-root-type", "GET", authz + "/roleDefinitions" + authV + filter("type eq 'BuiltInRole' and roleName eq 'reader'"), r.owner, "", 200},
		{"role-put", "PUT", webGrp + authz + "/roleDefinitions/" + madeID + "?api-version=2018-01-01-preview", r.owner, custom, 201},
		{"role-put-again", "PUT", testSub + authz + "/roleDefinitions/" + strings.ToUpper(madeID) + authV, r.owner, custom, 201},
		{"role-get", "GET", "/SUBSCRIPTIONS/11111111-1111-4111-8111-111111111111/PROVIDERS/microsoft.authorization/ROLEDEFINITIONS/" + madeID + authV, r.owner, "", 200},
		{"role-get-2015", "GET", webVM + authz + "/roleDefinitions/" + madeID + "?api-version=2015-07-01", r.owner, "", 200},
		{"role-get-elsewhere", "GET", otherSub + authz + "/roleDefinitions/" + madeID + authV, r.owner, "", 404},
		{"role-get-built-in", "GET", corpMG + authz + "/roleDefinitions/" + string(rbac.JITRequester) + authV, r.owner, "", 200},
		{"roles-custom-here", "GET", testSub + authz + "/roleDefinitions" + authV + filter("type eq 'CustomRole'"), r.owner, "", 200},
		{"roles-custom-below", "GET", testSub + authz + "/roleDefinitions" + authV + filter("atScopeAndBelow() and type eq 'CustomRole'"), r.owner, "", 200},
		{"roles-stranger", "GET", testSub + authz + "/roleDefinitions" + authV, r.who(aliceID), "", 403},
		{"role-delete-built-in", "DELETE", authz + "/roleDefinitions/" + string(rbac.Reader) + authV, r.owner, "", 409},
		{"role-put-built-in", "PUT", authz + "/roleDefinitions/" + string(rbac.Reader) + authV, r.owner, custom, 409},
		{"role-put-same-name", "PUT", webGrp + authz + "/roleDefinitions/c0570000-0000-4000-8000-000000000002" + authV, r.owner, custom, 409},

		{"assign-group", "PUT", webGrp + authz + "/roleAssignments/" + givenID + "1" + authV, r.owner, giving(roleAt(testSub, madeID), teamID, `,"principalType":"Group"`), 201},
		{"assign-group-again", "PUT", webGrp + authz + "/roleAssignments/" + givenID + "1" + authV, r.owner, giving(roleAt("", madeID), teamID, `,"description":"for the edge"`), 200},
		{"assign-condition", "PUT", testSub + authz + "/roleAssignments/" + givenID + "2?api-version=2020-04-01-preview", r.owner, giving(roleAt("", rbac.JITRequester), aliceID, conditioned), 201},
		{"assign-2015", "PUT", corpMG + authz + "/roleAssignments/" + givenID + "3?api-version=2015-07-01", r.owner, giving(roleAt("", rbac.Reader), robotID), 201},
		{"assign-2018", "PUT", webVM + authz + "/roleAssignments/" + givenID + "4?api-version=2018-09-01-preview", r.owner, giving(roleAt("", rbac.VMUserLogin), aliceID), 201},
		{"assign-2015-keeps-condition", "PUT", testSub + authz + "/roleAssignments/" + givenID + "2?api-version=2015-07-01", r.owner, giving(roleAt("", rbac.JITRequester), aliceID), 200},
		{"assign-exists", "PUT", webGrp + authz + "/roleAssignments/" + givenID + "9" + authV, r.owner, giving(roleAt("", madeID), teamID), 409},
		{"assign-another", "PUT", webGrp + authz + "/roleAssignments/" + givenID + "1" + authV, r.owner, giving(roleAt("", madeID), robotID), 400},
		{"assign-nobody", "PUT", webGrp + authz + "/roleAssignments/" + givenID + "9" + authV, r.owner, giving(roleAt("", madeID), madeID), 400},
		{"assign-no-role", "PUT", webGrp + authz + "/roleAssignments/" + givenID + "9" + authV, r.owner, giving(roleAt("", aliceID), aliceID), 404},
		{"assign-not-there", "PUT", otherSub + authz + "/roleAssignments/" + givenID + "9" + authV, r.owner, giving(roleAt("", madeID), aliceID), 400},
		{"assign-other-type", "PUT", webGrp + authz + "/roleAssignments/" + givenID + "9" + authV, r.owner, giving(roleAt("", rbac.Reader), teamID, `,"principalType":"User"`), 400},
		{"assign-bad-condition", "PUT", webGrp + authz + "/roleAssignments/" + givenID + "9" + authV, r.owner, giving(roleAt("", rbac.Reader), teamID, `,"condition":"@Resource[Microsoft.Storage/storageAccounts:name] StringEquals 'x'"`), 400},
		{"assign-refused", "PUT", webGrp + authz + "/roleAssignments/" + givenID + "9" + authV, r.who(aliceID), giving(roleAt("", rbac.Owner), aliceID), 403},

		{"assignment-get", "GET", testSub + authz + "/roleAssignments/" + givenID + "2?api-version=2020-04-01-preview", r.owner, "", 200},
		{"assignment-get-2015", "GET", testSub + authz + "/roleAssignments/" + givenID + "2?api-version=2015-07-01", r.owner, "", 200},
		{"assignment-get-elsewhere", "GET", webGrp + authz + "/roleAssignments/" + givenID + "2" + authV, r.owner, "", 404},
		{"assignments-root", "GET", authz + "/roleAssignments" + authV + filter("atScope()"), r.owner, "", 200},
		{"assignments-group", "GET", webGrp + authz + "/roleAssignments" + authV, r.owner, "", 200},
		{"assignments-at-scope", "GET", webGrp + authz + "/roleAssignments" + authV + filter("atScope()"), r.owner, "", 200},
		{"assignments-principal", "GET", testSub + authz + "/roleAssignments" + authV + filter("principalId eq '"+aliceID+"'"), r.owner, "", 200},
		{"assignments-assigned-to", "GET", webGrp + authz + "/roleAssignments" + authV + filter("atScope() and assignedTo('"+aliceID+"')"), r.owner, "", 200},
		{"assignments-as-target", "GET", testSub + authz + "/roleAssignments" + authV + filter("asTarget()"), r.who(robotID), "", 200},
		{"assignments-management-group", "GET", corpMG + authz + "/roleAssignments" + authV, r.who(robotID), "", 200},
		{"assignments-stranger", "GET", webGrp + authz + "/roleAssignments" + authV, r.who(aliceID), "", 403},

		{"denies", "GET", webVM + authz + "/denyAssignments" + authV, r.owner, "", 200},
		{"denies-by-name", "GET", testSub + authz + "/denyAssignments" + authV + filter("denyAssignmentName eq 'nothing'"), r.owner, "", 200},
		{"deny", "GET", webGrp + authz + "/denyAssignments/de270000-0000-4000-8000-000000000001?api-version=2018-07-01-preview", r.owner, "", 200},
		{"deny-missing", "GET", webVM + authz + "/denyAssignments/de270000-0000-4000-8000-000000000001" + authV, r.owner, "", 404},
		{"permissions", "GET", webGrp + authz + "/permissions" + authV, r.who(aliceID), "", 200},
		{"permissions-vm-2015", "GET", webVM + authz + "/permissions?api-version=2015-07-01", r.who(robotID), "", 200},
		{"permissions-none", "GET", otherSub + authz + "/permissions" + authV, r.who(aliceID), "", 200},
		{"classic", "GET", testSub + authz + "/classicAdministrators?api-version=2015-06-01", r.owner, "", 200},

		{"role-delete-in-use", "DELETE", webGrp + authz + "/roleDefinitions/" + madeID + authV, r.owner, "", 409},
		{"unassign-elsewhere", "DELETE", testSub + authz + "/roleAssignments/" + givenID + "1" + authV, r.owner, "", 204},
		{"unassign", "DELETE", webGrp + authz + "/roleAssignments/" + givenID + "1" + authV, r.owner, "", 200},
		{"unassign-again", "DELETE", webGrp + authz + "/roleAssignments/" + givenID + "1" + authV, r.owner, "", 204},
		{"role-delete", "DELETE", webGrp + authz + "/roleDefinitions/" + madeID + authV, r.owner, "", 200},
		{"role-delete-again", "DELETE", webGrp + authz + "/roleDefinitions/" + madeID + authV, r.owner, "", 204},
	} {
		a := r.do(c.method, c.path, c.token, c.body)
		if a.StatusCode != c.status {
			t.Errorf("%s: %d, not %d: %s", c.name, a.StatusCode, c.status, a.body)
			continue
		}
		golden(t, "authorization/"+c.name, admin(r, a))
	}
}

// TestEveryDepthOfScope: the same operation at every sort of scope, however it is written.
func TestEveryDepthOfScope(t *testing.T) {
	r := somePeople(t)
	policy := string(ajartest.PolicyID("default"))
	for i, scope := range []string{"", corpMG, testSub, webGrp, webVM, policy, policy + "/requests/11111111-2222-4333-8444-555555555555"} {
		id := fmt.Sprintf("91fe0000-0000-4000-8000-0000000001%02d", i)
		path := strings.Replace(scope, "resourceGroups", "RESOURCEgroups", 1) + "//Providers/MICROSOFT.authorization/roleAssignments/" + id + "/" + authV
		var b armAssignmentBody
		r.must(201, "PUT", path, giving(roleAt("", rbac.Reader), robotID)).into(t, &b)
		want := strings.Replace(scope, "resourceGroups", "RESOURCEgroups", 1) // as it was given
		if string(b.ID) != want+authz+"/roleAssignments/"+id {
			t.Errorf("%s: %s", scope, b.ID)
		}
		r.must(200, "GET", string(b.ID)+authV, "").into(t, &b)
		var l list[armAssignmentBody]
		r.must(200, "GET", scope+authz+"/roleAssignments"+authV+"&$filter=principalId%20eq%20'"+robotID+"'%20and%20atScope()", "").into(t, &l)
		if len(l.Value) == 0 || l.Value[len(l.Value)-1].Name != id {
			t.Errorf("%s: %+v", scope, l.Value)
		}
		r.must(200, "DELETE", string(b.ID)+authV, "")
	}
}

// TestAssignmentsArePaged: what is above comes first and once, and the links are the surface's own.
func TestAssignmentsArePaged(t *testing.T) {
	r := somePeople(t)
	for i := range 7 {
		r.Put(&ajar.RoleAssignment{ID: fmt.Sprintf("91fe0000-0000-4000-8000-0000000002%02d", i), Principal: robotID, PrincipalKind: ajar.ServicePrincipal, Role: rbac.Reader,
			Scope: ajar.ID(fmt.Sprintf("%s/providers/Microsoft.Compute/virtualMachines/vm%d", webGrp, i))})
	}
	seen := map[string]int{}
	pages := 0
	for path := webGrp + authz + "/roleAssignments" + authV + "&$top=3"; path != ""; pages++ {
		var l list[armAssignmentBody]
		r.must(200, "GET", path, "").into(t, &l)
		for _, a := range l.Value {
			seen[a.Name]++
		}
		if l.NextLink != "" && !strings.HasPrefix(l.NextLink, "https://ajar.example.com"+webGrp+authz+"/roleAssignments?") {
			t.Fatal(l.NextLink)
		}
		path = strings.TrimPrefix(l.NextLink, "https://ajar.example.com")
	}
	if len(seen) != 8 || pages < 3 {
		t.Errorf("%d in %d pages", len(seen), pages)
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("%s came %d times", id, n)
		}
	}
}

// TestBadAuthorization: what makes no sense is refused with a message that says what.
func TestBadAuthorization(t *testing.T) {
	r := somePeople(t)
	def, assign := webGrp+authz+"/roleDefinitions/"+madeID+authV, webGrp+authz+"/roleAssignments/"+givenID+"1"+authV
	list := testSub + authz + "/roleAssignments" + authV + "&$filter="
	reader := roleAt("", rbac.Reader)
	role := func(more string) string {
		return `{"properties":{"roleName":"x","permissions":[{"actions":["a/read"]}],"assignableScopes":["` + webGrp + `"]` + more + `}}`
	}
	for _, c := range []struct{ method, path, body, says string }{
		{"GET", testSub + authz + "/roleDefinitions", "", "api-version"},
		{"GET", testSub + authz + "/roleDefinitions?api-version=soon", "", "api-version"},
		{"GET", testSub + authz + "/roleDefinitions/Owner" + authV, "", "not a GUID"},
		{"GET", testSub + authz + "/roleDefinitions" + authV + "&$filter=atScope()", "", "atScopeAndBelow(), roleName eq, type eq"},
		{"GET", testSub + authz + "/roleDefinitions" + authV + "&$filter=type+eq+'Any'", "", "BuiltInRole"},
		{"GET", testSub + authz + "/roleDefinitions" + authV + "&$filter=roleName+ne+'x'", "", "eq is expected"},
		{"GET", testSub + authz + "/roleDefinitions" + authV + "&$filter=roleName+eq", "", "single quotes"},
		{"GET", testSub + authz + "/roleDefinitions" + authV + "&$filter=roleName+eq+'x'+or+type+eq+'y'", "", "and is expected"},
		{"GET", testSub + authz + "/roleDefinitions" + authV + "&$filter=roleName+eq+'x'+and", "", "ends"},
		{"GET", list + "atScope", "", "( is expected"},
		{"GET", list + "atScope(", "", ") is expected"},
		{"GET", list + "assignedTo()", "", "single quotes"},
		{"GET", list + "assignedTo('alice')", "", "not an id"},
		{"GET", list + "principalId+eq+'alice'", "", "not an id"},
		{"GET", list + strings.Repeat("x", 2001), "", "longer"},
		{"GET", testSub + authz + "/roleAssignments" + authV + "&$top=0", "", "$top"},
		{"GET", testSub + authz + "/roleAssignments" + authV + "&$skiptoken=x", "", "skiptoken"},
		{"GET", testSub + authz + "/denyAssignments/x" + authV, "", "not a GUID"},
		{"GET", "/subscriptions/lab" + authz + "/permissions" + authV, "", "lab"},
		{"GET", "/somewhere/else" + authz + "/permissions" + authV, "", "no scope"},
		{"GET", "/providers/Microsoft.Storage/accounts/x" + authz + "/permissions" + authV, "", "no scope"},
		{"GET", testSub + "/resourceGroups/a.%20" + authz + "/permissions" + authV, "", "resource group"},
		{"GET", testSub + "/resourceGroups/a/providers/b" + authz + "/permissions" + authV, "", "no scope"},
		{"GET", testSub + "/resourceGroups" + authz + "/permissions" + authV, "", "names no operation"},
		{"GET", testSub + authz + "/elevations" + authV, "", "names no operation"},
		{"POST", testSub + authz + "/roleAssignments" + authV, "", "GET"},
		{"PUT", webGrp + authz + "/roleDefinitions/x" + authV, role(""), "not a GUID"},
		{"PUT", def, `{}`, "name"},
		{"PUT", def, role(`,"type":"BuiltInRole"`), "CustomRole"},
		{"PUT", def, strings.Replace(role(""), webGrp, "/", 1), "'/'"},
		{"PUT", def, strings.Replace(role(""), webGrp, "/x/y", 1), "assignableScopes[0]"},
		{"PUT", def, strings.Replace(role(""), `"x"`, `""`, 1), "name"},
		{"PUT", def, strings.Replace(role(""), `"x"`, `7`, 1), "text"},
		{"PUT", def, strings.Replace(role(""), `a/read`, `a b`, 1), "is not an action"},
		{"PUT", def, strings.Replace(role(""), `["a/read"]`, `"a/read"`, 1), "array"},
		{"PUT", def, strings.Replace(role(""), `["a/read"]`, `["a/read"],"condition":"x"`, 1), "permissions[0].condition"},
		{"PUT", def, strings.Replace(role(""), `[{"actions":["a/read"]}]`, `[]`, 1), "permissions"},
		{"PUT", webGrp + authz + "/roleAssignments/x" + authV, giving(reader, aliceID), "not a GUID"},
		{"PUT", assign, `{}`, "roleDefinitionId is required"},
		{"PUT", assign, giving(reader, ""), "principalId is required"},
		{"PUT", assign, giving(string(rbac.Reader), aliceID), "is not the id of a role"},
		{"PUT", assign, giving(reader, "alice"), "not a GUID"},
		{"PUT", assign, giving(reader, aliceID, `,"principalType":"Robot"`), "principalType"},
		{"PUT", assign, giving(reader, aliceID, `,"condition":"true","conditionVersion":"2.0"`), "ActionMatches"},
		{"PUT", assign, giving(reader, aliceID, `,"condition":"ActionMatches{'x'}","conditionVersion":"1.0"`), "version 2.0"},
		{"PUT", assign, giving(reader, aliceID, `,"conditionVersion":"2.0"`), "no properties.condition"},
		{"PUT", assign, giving(reader, aliceID, `,"condition":"`+longText+longText+`"`), "8192"},
		{"PUT", assign, giving(reader, aliceID, `,"description":"`+longText+`"`), "description"},
		{"PUT", assign, giving(reader, aliceID, `,"delegatedManagedIdentityResourceId":"x"`), "delegated"},
		{"PUT", webGrp + authz + "/roleAssignments/" + givenID + "1?api-version=2018-07-01", giving(reader, aliceID, `,"condition":"ActionMatches{'x'}"`), "has no conditions"},
		{"PUT", "/providers/Microsoft.Management/managementGroups/none" + authz + "/roleAssignments/" + givenID + "1" + authV, giving(reader, aliceID), "management group"},
	} {
		a := r.do(c.method, c.path, r.owner, c.body)
		if a.StatusCode < 400 || a.StatusCode > 499 {
			t.Errorf("%s %.200s %.200s: %d: %.300s", c.method, c.path, c.body, a.StatusCode, a.body)
			continue
		}
		if code, msg := a.refusal(t); code == "" || !strings.Contains(strings.ToLower(msg), strings.ToLower(c.says)) || len(msg) > 1500 {
			t.Errorf("%s %.200s %.200s: %s: %q says nothing of %q", c.method, c.path, c.body, code, msg, c.says)
		}
	}
}

// TestHostileScopes: scopes and names in paths are as untrusted as bodies.
func TestHostileScopes(t *testing.T) {
	r := somePeople(t)
	for _, name := range []string{"%00", "%2e%2e", "a%2Fb", "%F0%9F%92%A5", "..%2f..", "%25", "%2525", "a%20b", strings.Repeat("n", 3000), "%E2%80%AE", "'", "<b>", "a;b", "%ff%fe", "%3F", "%23"} {
		for _, path := range []string{
			"/subscriptions/" + name + authz + "/roleAssignments", testSub + "/resourceGroups/" + name + authz + "/roleAssignments", webGrp + "/providers/" + name + "/x/y" + authz + "/permissions",
			webVM + name + authz + "/roleAssignments/" + givenID + "1", webGrp + authz + "/roleAssignments/" + name, webGrp + authz + "/roleDefinitions/" + name, webGrp + authz + "/denyAssignments/" + name,
			"/providers/Microsoft.Management/managementGroups/" + name + authz + "/roleAssignments/" + givenID + "1", "/" + name + authz + "/permissions", webGrp + strings.Repeat(authz+"/roleAssignments/"+name, 9),
			strings.Repeat("/x/"+name, 12) + authz + "/permissions", authz + "/roleAssignments?$filter=assignedTo('" + name + "')",
		} {
			sep := "?"
			if strings.Contains(path, "?") {
				sep = "&"
			}
			for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete, http.MethodPost} {
				a := r.do(method, path+sep+authV[1:], r.owner, giving(roleAt("", rbac.Reader), aliceID))
				if a.StatusCode >= 500 || a.StatusCode < 200 || (a.StatusCode >= 300 && a.StatusCode < 400) {
					t.Errorf("%s %.200s: %d %s", method, path, a.StatusCode, a.body)
				}
			}
		}
	}
}

// TestEveryMemberOfAuthorizationBodies is TestEveryMemberOfEveryBody for what Azure's clients write.
func TestEveryMemberOfAuthorizationBodies(t *testing.T) {
	r := somePeople(t)
	for _, c := range []struct{ path, body string }{
		{webGrp + authz + "/roleDefinitions/" + madeID + authV, `{"id":"x","name":"y","type":"z","properties":{"roleName":"n","description":"d","type":"CustomRole","permissions":[{"actions":["*/read"],"notActions":["x"],"dataActions":["y"],"notDataActions":["z"],"condition":null}],"assignableScopes":["` + webGrp + `"]}}`},
		{webGrp + authz + "/roleAssignments/" + givenID + "1" + authV, giving(roleAt("", rbac.Reader), aliceID, `,"principalType":"User","description":"d","condition":"ActionMatches{'*/read'}","conditionVersion":"2.0","delegatedManagedIdentityResourceId":null,"scope":"x"`)},
	} {
		var whole any
		if err := json.Unmarshal([]byte(c.body), &whole); err != nil {
			t.Fatal(err)
		}
		for _, text := range mutations(t, whole) {
			a := r.do(http.MethodPut, c.path, r.owner, text)
			if a.StatusCode >= 500 {
				t.Errorf("%s %.300s: %d: %s", c.path, text, a.StatusCode, a.body)
			} else if a.StatusCode >= 400 {
				if code, msg := a.refusal(t); code == "" || len(msg) < 10 || len(msg) > 1500 {
					t.Errorf("%s %.300s: %s: %.100q (%d bytes)", c.path, text, code, msg, len(msg))
				}
			}
		}
	}
	if strings.Contains(r.log.String(), `"msg":"panic"`) {
		t.Error("something panicked")
	}
}
