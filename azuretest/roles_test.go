//go:build linux

package azuretest

import (
	"fmt"
	"testing"

	"github.com/google/uuid"

	"github.com/ajar-access/ajar/lab"
)

// Roles by the command line of Azure: a custom role, an assignment of it under a condition, what is read of them, and
// their end. (Debian's `az role` itself ends in Python before it asks anybody anything.)
func TestAzureCLIRoles(t *testing.T) {
	t.Parallel()
	w := shared(t)
	owner, robot := w.addProgram(t, "az-roles-owner", "Owner", lab.Subscription), w.addProgram(t, "az-roles-robot", "Reader", lab.Group)
	a := newAZ(t, w)
	a.register(t)
	a.run(t, nil, "login", "--service-principal", "-u", owner.id, "-p", owner.secret, "--tenant", w.tenant)
	const auth = string(lab.Subscription) + "/providers/Microsoft.Authorization/"
	role, assignment := auth+"roleDefinitions/"+uuid.NewString(), auth+"roleAssignments/"+uuid.NewString()
	name := "az role " + uuid.NewString()[:8]
	a.run(t, nil, "rest", "--method", "put", "--url", role+"?api-version=2018-01-01-preview", "--body", fmt.Sprintf(`{"properties":{"roleName":%q,"description":"","type":"CustomRole",`+
		`"permissions":[{"actions":["Microsoft.Security/locations/jitNetworkAccessPolicies/*"],"notActions":[],"dataActions":[],"notDataActions":[]}],"assignableScopes":[%q]}}`, name, lab.Subscription))
	condition := "!(ActionMatches{'*/initiate/action'}) OR @Request[Ajar.Access/requests:Port] NumericEquals 22"
	give := func(condition string) []string {
		return []string{"rest", "--method", "put", "--url", assignment + "?api-version=2020-04-01-preview", "--body", fmt.Sprintf(
			`{"properties":{"roleDefinitionId":%q,"principalId":%q,"principalType":"ServicePrincipal","condition":%q,"conditionVersion":"2.0"}}`, role, robot.id, condition)}
	}
	a.refuse(t, []string{"InvalidCondition", "@Request[Ajar.Access/requests:Port]"}, give("@Resource[Microsoft.Storage/storageAccounts:name] StringEquals 'x'")...)
	a.run(t, nil, give(condition)...)
	var shown struct {
		ID         string
		Properties struct{ PrincipalID, RoleDefinitionID, Scope, Condition string }
	}
	a.run(t, &shown, "resource", "show", "--ids", assignment)
	if p := shown.Properties; shown.ID != assignment || p.PrincipalID != robot.id || p.RoleDefinitionID != role || p.Scope != string(lab.Subscription) || p.Condition != condition {
		t.Errorf("the assignment is shown as %+v", shown)
	}
	var found struct{ Value []struct{ ID string } }
	a.run(t, &found, "rest", "--url", auth+"roleDefinitions?api-version=2022-04-01&$filter=roleName eq '"+name+"'")
	if len(found.Value) != 1 || found.Value[0].ID != role {
		t.Errorf("the role is found as %+v", found)
	}
	a.run(t, nil, "resource", "delete", "--ids", assignment)
	a.run(t, nil, "rest", "--method", "delete", "--url", role+"?api-version=2022-04-01")
}
