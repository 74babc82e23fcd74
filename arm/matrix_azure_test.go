package arm

import (
	"net/http"
	"slices"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/broker"
)

// aroundRows are what clients ask around everything else. Whoever may read anything at, above or below a place may know
// that it is there: of a subscription and a resource group no more is shown.
func aroundRows() []row {
	const (
		insights = "/providers/microsoft.insights"
		values   = insights + "/eventtypes/management/values"
	)
	subs := []entry{knows(withID(inOne), inOne), knows(withID(inTwo), inTwo)}
	groups := []entry{knows(withID(lab), lab), knows(withID(yard), yard), hidden(entry{text: withID(far)})}
	resources := func(scope ajar.ID) []entry { return slices.Concat(machineEntries(scope), policyEntries(scope)) }
	return []row{
		{route: "GET /tenants", who: anybody},
		{route: "GET /subscriptions", who: anybody, list: subs},
		{route: "GET " + pSub, who: knowers, at: inOne},
		{route: "GET " + pSub + "/locations", who: knowers, at: inOne, list: locationEntries},
		{route: "GET " + pSub + "/resourcegroups", who: knowers, at: inOne, list: groups},
		{route: "GET " + pGroup, who: knowers, at: lab},
		{route: "PUT " + pGroup, at: lab, body: `{"location":"westeurope"}`},
		{route: "GET " + pSub + "/resources", who: anybody, list: resources(inOne)},
		{route: "GET " + pGroup + "/resources", who: anybody, list: resources(lab)},
		{route: "GET /providers", who: anybody},
		{route: "GET /providers/{ns}", who: anybody},
		{route: "GET " + pSub + "/providers", who: knowers, at: inOne},
		{route: "GET " + pSub + "/providers/{ns}", who: knowers, at: inOne},
		{route: "POST " + pSub + "/providers/{ns}/register", who: knowers, at: inOne},
		{route: "GET " + pMG, who: anybody, list: groupEntries},
		{route: "GET " + pMG + "/{mg}", at: corp},
		{route: "GET " + pMG + "/{mg}/descendants", at: corp},
		{route: "POST /providers/microsoft.management/getentities", who: anybody, list: slices.Concat(subs)},
		{route: "GET " + pSub + values, at: inOne},
		{route: "GET " + values, at: ajar.Root},
		{route: "GET " + insights + "/eventcategories", who: anybody},
	}
}

// machineRows are machines as Azure has them, and their neighbours. What is refused to everybody is so only for who may:
// the others learn that they may not.
func machineRows() (rows []row) {
	const compute, network = "/providers/microsoft.compute", "/providers/microsoft.network"
	rows = append(rows,
		row{route: "GET " + pSub + compute + "/virtualmachines", who: anybody, list: machineEntries(inOne)},
		row{route: "GET " + pSub + compute + "/locations/{l}/virtualmachines", who: anybody, list: machineEntries(lab)},
		row{route: "GET " + pGroup + compute + "/virtualmachines", who: anybody, list: machineEntries(lab)},
		row{route: "GET " + pVM, at: vmOne},
		row{route: "GET " + pVM + "/instanceview", at: vmOne},
		row{route: "PUT " + pVM, at: vmOne, body: `{"tags":{"a":"b"}}`},
		row{route: "PATCH " + pVM, at: vmOne, body: `{"tags":{"a":"b"}}`},
		row{route: "DELETE " + pVM, at: vmOne, fresh: wholePlace},
	)
	for _, verb := range []string{"start", "poweroff", "deallocate", "restart", "redeploy", "reapply", "reimage", "generalize", "runcommand"} {
		rows = append(rows, row{route: "POST " + pVM + "/" + verb, at: vmOne})
	}
	for _, k := range []struct {
		path, name string
		facet      broker.Facet
		read       ajar.Action
	}{
		{"/networkinterfaces", "vm-one-nic", broker.AsInterface, ajar.InterfaceRead},
		{"/networksecuritygroups", "vm-one-nsg", broker.AsSecurityGroup, ajar.SecurityGroupRead},
		{"/publicipaddresses", "vm-one-ip", broker.AsPublicAddress, ajar.PublicAddressRead},
	} {
		one, with, at := pGroup+network+k.path+"/{name}", map[string]string{"name": k.name}, k.facet.ID(vmOne)
		rows = append(rows,
			row{route: "GET " + pSub + network + k.path, who: anybody, list: facetEntries(inOne, k.facet, k.read)},
			row{route: "GET " + pGroup + network + k.path, who: anybody, list: facetEntries(lab, k.facet, k.read)},
			row{route: "GET " + one, at: at, with: with},
			row{route: "PUT " + one, at: at, with: with},
			row{route: "PATCH " + one, at: at, with: with},
			row{route: "DELETE " + one, at: at, with: with},
		)
	}
	rules, with, at := pGroup+network+"/networksecuritygroups/{name}/securityrules", map[string]string{"name": "vm-one-nsg"}, broker.AsSecurityGroup.ID(vmOne)
	return append(rows,
		row{route: "GET " + rules, at: at, with: with},
		// There is no such rule.
		row{route: "GET " + rules + "/{rule}", at: at + "/securityRules/ajar-deny", with: with, ok: http.StatusNotFound},
		row{route: "PUT " + rules + "/{rule}", at: at + "/securityRules/ajar-deny", with: with},
		row{route: "DELETE " + rules + "/{rule}", at: at + "/securityRules/ajar-deny", with: with},
	)
}

// securityRows are Microsoft.Security around policies, and Azure's policy about it.
func securityRows() (rows []row) {
	const states = "/providers/microsoft.policyinsights/policystates/{when}"
	assignment, definition := map[string]string{"name": "ajar-jit-network-access"}, map[string]string{"name": "b0f33259-77d7-4c9e-aac6-3aabcfae693c"}
	rows = append(rows,
		row{route: "GET " + pSub + pSec + "/pricings", at: inOne},
		row{route: "GET " + pSub + pSec + "/pricings/{plan}", at: inOne},
		row{route: "PUT " + pSub + pSec + "/pricings/{plan}", at: inOne, body: `{"properties":{"pricingTier":"Standard"}}`},
		row{route: "GET " + pSub + pSec + "/locations", at: inOne},
		row{route: "GET " + pSub + pSec + "/locations/{l}", at: inOne, with: map[string]string{"l": "northeurope"}},
		row{route: "GET " + pSub + pSec + "/policies", at: inOne},
		row{route: "GET " + pSub + pSec + "/policies/{name}", at: inOne, with: map[string]string{"name": "default"}},
		// What machines are assessed for is the same for everybody, as in Azure.
		row{route: "GET " + pSec + "/assessmentmetadata", who: anybody},
		row{route: "GET " + pSec + "/assessmentmetadata/{key}", who: anybody},
		row{route: "GET " + pSub + pSec + "/assessmentmetadata", at: inOne},
		row{route: "GET " + pSub + pSec + "/assessmentmetadata/{key}", at: inOne},
		row{route: "GET " + pVM + pSec + "/assessments/{key}", at: broker.AsAssessment.ID(vmOne)},

		row{route: "GET " + pAuth + "/policydefinitions", who: anybody},
		row{route: "GET " + pAuth + "/policydefinitions/{name}", who: anybody, with: definition},
		row{route: "GET " + pSub + pAuth + "/policydefinitions", at: inOne},
		row{route: "GET " + pSub + pAuth + "/policydefinitions/{name}", at: inOne, with: definition},
		row{route: "GET " + pMG + "/{mg}" + pAuth + "/policydefinitions", at: corp},
		row{route: "GET " + pMG + "/{mg}" + pAuth + "/policydefinitions/{name}", at: corp, with: definition},
		row{route: "GET " + pSub + pAuth + "/policyassignments", at: inOne},
		row{route: "GET " + pSub + pAuth + "/policyassignments/{name}", at: inOne, with: assignment},
		row{route: "GET " + pGroup + pAuth + "/policyassignments", at: lab},
	)
	for path, scope := range map[string]ajar.ID{pSub: inOne, pGroup: lab, pVM: vmOne, pMG + "/{mg}": corp} {
		state := func(p place) (string, ajar.ID) { return `"resourceid":"` + string(p.machine) + `"`, p.machine }
		rows = append(rows,
			row{route: "GET " + path + pSec + "/assessments", who: anybody, list: facetEntries(scope, broker.AsAssessment, ajar.AssessmentRead)},
			row{route: "POST " + path + states + "/queryresults", who: anybody, list: within(scope, ajar.PolicyStateRead, state)},
			row{route: "POST " + path + states + "/summarize", who: anybody},
		)
	}
	return rows
}

// authorizationRows are Microsoft.Authorization, which lies below every scope: tried at the resource group, and at the
// root. Something of one scope is not found at another.
func authorizationRows() (rows []row) {
	for at, x := range map[string]struct {
		scope            ajar.ID
		assignment, deny string
		fresh            func(*matrix, *matrixCaller) map[string]string
	}{
		"":         {ajar.Root, rootAssignment, rootDeny, freshAssignment(ajar.Root)},
		"/{scope}": {lab, plantedAssignment, plantedDeny, freshAssignment(lab)},
	} {
		var (
			defs, assign = at + pAuth + "/roledefinitions", at + pAuth + "/roleassignments"
			denies       = at + pAuth + "/denyassignments"
			role         = `{"properties":{"roleName":"{unique}","permissions":[{"actions":["a/read"]}],"assignableScopes":["` + string(lab) + `"]}}`
			assignment   = `{"properties":{"roleDefinitionId":"/providers/Microsoft.Authorization/roleDefinitions/acdd72a7-3385-48ef-bd42-f606fba81ae7","principalId":"{p}"}}`
		)
		rows = append(rows,
			row{route: "GET " + defs, at: x.scope},
			row{route: "GET " + defs + "/{id}", at: x.scope, with: map[string]string{"id": plantedRole}},
			// A custom role is made, and removed, by who may at each of its assignable scopes.
			row{route: "PUT " + defs + "/{id}", at: lab, body: role, fresh: freshName},
			row{route: "DELETE " + defs + "/{id}", at: lab, fresh: freshRole},
			row{route: "GET " + assign, at: x.scope, query: "$top=1000", list: []entry{shownTo(plantedAssignment, ajar.RoleAssignmentRead, lab)}},
			row{route: "GET " + assign + "/{id}", at: x.scope, with: map[string]string{"id": x.assignment}},
			row{route: "PUT " + assign + "/{id}", at: x.scope, body: assignment, fresh: freshAssignee},
			row{route: "DELETE " + assign + "/{id}", at: x.scope, with: map[string]string{"id": plantedID}, fresh: x.fresh},
			row{route: "GET " + denies, at: x.scope, list: []entry{shownTo(plantedDeny, ajar.DenyAssignmentRead, lab)}},
			row{route: "GET " + denies + "/{id}", at: x.scope, with: map[string]string{"id": x.deny}},
			// Whoever is signed in may ask what they may do.
			row{route: "GET " + at + pAuth + "/permissions", who: anybody},
		)
	}
	return append(rows, row{route: "GET " + pSub + pAuth + "/classicadministrators", at: inOne})
}

func freshName(m *matrix, c *matrixCaller) map[string]string {
	return map[string]string{"id": freshAssignee(m, c)["id"]}
}
