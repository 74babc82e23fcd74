package arm

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/ajartest"
	"github.com/ajar-access/ajar/rbac"
)

// refused sends what must be refused with a code.
func (r *rig) refused(token, method, path, body string, status int, code string) {
	r.t.Helper()
	a := r.do(method, path, token, body)
	if got, msg := a.refusal(r.t); a.StatusCode != status || got != code {
		r.t.Errorf("%s %s: %d %s (%s), not %d %s", method, path, a.StatusCode, got, msg, status, code)
	}
}

// TestTheLastOwnerStaysWhicheverWay: over the doors that Azure's clients use and over our own, nobody is left out last.
func TestTheLastOwnerStaysWhicheverWay(t *testing.T) {
	r := somePeople(t)
	var me struct{ Principal string }
	r.must(200, "GET", "/ajar/v1/me", "").into(t, &me)
	var l list[armAssignmentBody]
	r.must(200, "GET", authz+"/roleAssignments"+authV+"&$filter=principalId%20eq%20'"+me.Principal+"'", "").into(t, &l)
	own := string(l.Value[0].ID) + authV
	condition, _ := json.Marshal(onPort22)
	last := func(method, path, body string) {
		t.Helper()
		r.refused(r.owner, method, path, body, 409, "LastOwner")
	}
	last("DELETE", own, "")
	last("PUT", own, giving(roleAt("", rbac.Owner), me.Principal, `,"condition":`+string(condition)))
	last("DELETE", "/ajar/v1/principals/admin", "")
	last("PUT", "/ajar/v1/principals/admin", `{"disabled":true}`)

	// An Owner below the root is not one; nor is one under a condition, or one who is disabled.
	r.must(201, "PUT", testSub+authz+"/roleAssignments/"+givenID+"1"+authV, giving(roleAt("", rbac.Owner), aliceID))
	r.must(201, "PUT", authz+"/roleAssignments/"+givenID+"2"+authV, giving(roleAt("", rbac.Owner), robotID, `,"condition":`+string(condition)))
	last("DELETE", own, "")

	// Through a group it is one, until the group or its member goes.
	r.must(201, "PUT", authz+"/roleAssignments/"+givenID+"3"+authV, giving(roleAt("", rbac.Owner), teamID))
	alice := r.who(aliceID)
	r.must(200, "DELETE", own, "")
	r.owner = alice
	last("DELETE", authz+"/roleAssignments/"+givenID+"3"+authV, "")
	last("DELETE", "/ajar/v1/principals/team/members/alice", "")
	last("DELETE", "/ajar/v1/principals/team", "")
	last("PUT", "/ajar/v1/principals/team", `{"disabled":true}`)
	last("DELETE", "/ajar/v1/principals/alice", "")
	last("PUT", "/ajar/v1/principals/alice", `{"disabled":true}`)

	// What the role gives cannot be changed, and no deny can shut the last one out of undoing it.
	r.refused(alice, "DELETE", authz+"/roleDefinitions/"+string(rbac.Owner)+authV, "", 409, "Conflict")
	r.refused(alice, "PUT", authz+"/roleDefinitions/"+string(rbac.Owner)+authV,
		`{"properties":{"roleName":"Owner","permissions":[{"actions":["a/read"]}],"assignableScopes":["`+testSub+`"]}}`, 409, "Conflict")
	r.refused(alice, "PUT", "/ajar/v1/deny-assignments", `{"name":"out","scope":"/","permissions":[{"actions":["*"]}],"principals":["`+string(ajar.Everyone)+`"]}`, 409, "Conflict")
	r.refused(alice, "PUT", "/ajar/v1/deny-assignments", `{"name":"out","scope":"/","permissions":[{"actions":["Microsoft.Authorization/*"]}],"principals":["team"]}`, 409, "Conflict")
	r.must(200, "PUT", "/ajar/v1/management-groups/Prod", `{"parent":"/","subscriptions":[]}`) // moves nothing of the root's
	last("DELETE", authz+"/roleAssignments/"+givenID+"3"+authV, "")
}

// TestNobodyGivesMoreThanTheyHold: over Azure's doors, by role, by definition, by scope, by condition and by moving.
func TestNobodyGivesMoreThanTheyHold(t *testing.T) {
	r := somePeople(t)
	at := func(role string) string { return r.tokenFor(r.User(role, ajartest.At(role, testSub))) }
	rbacAdmin, contributor, reader, access := at("Role Based Access Control Administrator"), at("Contributor"), at("Reader"), at("User Access Administrator")
	assign := webGrp + authz + "/roleAssignments/" + givenID + "1" + authV
	define := webGrp + authz + "/roleDefinitions/" + madeID + authV
	role := func(action string) string {
		return `{"properties":{"roleName":"made","permissions":[{"actions":["` + action + `"]}],"assignableScopes":["` + webGrp + `"]}}`
	}
	condition, _ := json.Marshal(onPort22)
	for _, c := range []struct {
		token, method, path, body, code string
	}{
		{contributor, "PUT", assign, giving(roleAt("", rbac.Reader), aliceID), "AuthorizationFailed"},
		{reader, "PUT", assign, giving(roleAt("", rbac.Reader), aliceID), "AuthorizationFailed"},
		{contributor, "PUT", define, role("a/read"), "AuthorizationFailed"},
		{rbacAdmin, "PUT", define, role("a/read"), "AuthorizationFailed"},
		{rbacAdmin, "PUT", assign, giving(roleAt("", rbac.Owner), aliceID), "GrantsMoreThanHeld"},
		{rbacAdmin, "PUT", assign, giving(roleAt("", rbac.Contributor), aliceID), "GrantsMoreThanHeld"},
		{rbacAdmin, "PUT", assign, giving(roleAt("", rbac.UserAccessAdministrator), aliceID), "GrantsMoreThanHeld"},
		{rbacAdmin, "PUT", assign, giving(roleAt("", rbac.JITRequester), aliceID), "GrantsMoreThanHeld"},
		{rbacAdmin, "PUT", assign, giving(roleAt("", rbac.RBACAdministrator), aliceID, `,"condition":`+string(condition)), "AuthorizationFailed"},
		{access, "PUT", otherSub + authz + "/roleAssignments/" + givenID + "1" + authV, giving(roleAt("", rbac.Reader), aliceID), "AuthorizationFailed"},
		{access, "PUT", authz + "/roleAssignments/" + givenID + "1" + authV, giving(roleAt("", rbac.Reader), aliceID), "AuthorizationFailed"},
		{access, "PUT", corpMG + authz + "/roleAssignments/" + givenID + "1" + authV, giving(roleAt("", rbac.Reader), aliceID), "AuthorizationFailed"},
		{access, "PUT", define, strings.Replace(role("a/read"), webGrp, otherSub, 1), "AuthorizationFailed"},
		{rbacAdmin, "PUT", "/ajar/v1/management-groups/corp", `{"subscriptions":["22222222-2222-4222-8222-222222222222"]}`, "AuthorizationFailed"},
	} {
		r.refused(c.token, c.method, c.path, c.body, 403, c.code)
	}
	if a := r.do("PUT", assign, rbacAdmin, giving(roleAt("", rbac.Reader), aliceID)); a.StatusCode != 201 {
		t.Errorf("what one holds: %d %s", a.StatusCode, a.body)
	}
	if a := r.do("PUT", webGrp+authz+"/roleAssignments/"+givenID+"2"+authV, access, giving(roleAt("", rbac.JITRequester), aliceID)); a.StatusCode != 201 {
		t.Errorf("an administrator: %d %s", a.StatusCode, a.body)
	}
	// Somebody who is trusted with a role of their own making cannot make more of it.
	r.must(201, "PUT", define, role("a/read"))
	definer := r.tokenFor(r.User("definer"))
	r.must(201, "PUT", webGrp+authz+"/roleDefinitions/c0570000-0000-4000-8000-000000000009"+authV, strings.Replace(strings.Replace(role("Microsoft.Authorization/roleDefinitions/*"), `"made"`, `"definer"`, 1), `]}]`, `,"a/read"]}]`, 1))
	var p principalBody
	r.must(200, "GET", "/ajar/v1/principals/definer", "").into(t, &p)
	r.must(201, "PUT", webGrp+authz+"/roleAssignments/"+givenID+"3"+authV, giving(roleAt("", "c0570000-0000-4000-8000-000000000009"), string(p.ID)))
	if a := r.do("PUT", define, definer, strings.Replace(role("a/read"), `"made"`, `"made again"`, 1)); a.StatusCode != 201 {
		t.Errorf("what one holds: %d %s", a.StatusCode, a.body)
	}
	r.refused(definer, "PUT", define, role("*"), 403, "GrantsMoreThanHeld")
	r.refused(definer, "PUT", define, role("a/*"), 403, "GrantsMoreThanHeld")
}
