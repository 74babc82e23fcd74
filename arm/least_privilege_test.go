package arm

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ajar-access/ajar"
)

// The roles that Microsoft's documents and its script for the least privilege give to people who request access: for the
// API alone, and for people who also look at machines and networks.
var (
	forTheAPI = []ajar.Action{
		"Microsoft.Security/locations/jitNetworkAccessPolicies/read", "Microsoft.Security/locations/jitNetworkAccessPolicies/initiate/action",
		"Microsoft.Security/policies/read", "Microsoft.Network/publicIPAddresses/read",
	}
	forPeople = append(slices.Clone(forTheAPI), "Microsoft.Compute/virtualMachines/read", "Microsoft.Network/*/read")
)

// leastPrivileged makes such a role over REST, as the script does, and gives it to somebody in the subscription.
func (m *matrix) leastPrivileged(name, id string, actions []ajar.Action) *matrixCaller {
	m.t.Helper()
	c := &matrixCaller{name: name, scopes: []ajar.ID{inOne}, who: m.User(name)}
	// A policy shows its requests, in Azure too: so whoever reads it reads them.
	c.role = ajar.RoleDefinition{Name: name, Permissions: []ajar.Permission{{Actions: append(slices.Clone(actions), ajar.RequestRead)}}}
	c.token = m.tokenFor(c.who)
	list, err := json.Marshal(actions)
	if err != nil {
		m.t.Fatal(err)
	}
	m.must(201, "PUT", string(inOne)+authz+"/roleDefinitions/"+id+"?api-version=2018-01-01-preview",
		`{"properties":{"roleName":"`+name+`","description":"","type":"CustomRole","permissions":[{"actions":`+string(list)+`,"notActions":[],"dataActions":[],"notDataActions":[]}],"assignableScopes":["`+string(inOne)+`"]}}`)
	m.must(201, "PUT", string(inOne)+authz+"/roleAssignments/"+strings.Replace(id, "-0000-", "-0001-", 1)+"?api-version=2020-04-01-preview",
		giving(string(inOne)+authz+"/roleDefinitions/"+id, string(c.who.Principal), `,"principalType":"User"`))
	return c
}

// TestTheLeastPrivilegedRoleDoesWhatItSays calls every route of the table as somebody who has the role of the documents'
// script, and nothing else. What they may do by holding rights is exactly this list. What is left is refused; what is for
// everybody who is signed in shows them nothing that they may not read.
func TestTheLeastPrivilegedRoleDoesWhatItSays(t *testing.T) {
	m := newMatrix(t)
	api := []string{
		"GET " + pPolicy, "GET " + pPolicy + "/requests/{id}", "GET /ajar/v1/requests/{id}", "GET /ajar/v1/leases/{id}",
		"GET " + pSub + pSec + "/policies", "GET " + pSub + pSec + "/policies/{name}",
		"GET " + pGroup + "/providers/microsoft.network/publicipaddresses/{name}",
	}
	network := pGroup + "/providers/microsoft.network"
	people := append(slices.Clone(api),
		"POST "+pPolicy+"/initiate",                                                                                       // which takes the right to read the machine
		"POST "+pPolicy+"/requests/{id}/extend", "POST /ajar/v1/requests/{id}/extend", "POST /ajar/v1/leases/{id}/extend", // their own
		"GET "+pVM, "GET /ajar/v1/target", "GET "+network+"/networkinterfaces/{name}",
		"GET "+network+"/networksecuritygroups/{name}", "GET "+network+"/networksecuritygroups/{name}/securityrules", "GET "+network+"/networksecuritygroups/{name}/securityrules/{rule}",
	)
	for _, c := range []struct {
		who  *matrixCaller
		want []string
	}{
		{m.leastPrivileged("JIT Access Role for the API", "1ea50000-0000-4000-8000-000000000001", forTheAPI), api},
		{m.leastPrivileged("JIT Access Role", "1ea50000-0000-4000-8000-000000000002", forPeople), people},
	} {
		var did []string
		for _, w := range matrixRows() {
			var given map[string]string
			if w.fresh != nil {
				given = w.fresh(m, c.who)
			}
			m.call(w, c.who, given)
			if w.who == holders && m.allows(w, c.who) {
				did = append(did, w.route)
			}
		}
		slices.Sort(did)
		slices.Sort(c.want)
		if d := cmp.Diff(c.want, slices.Compact(did)); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.who.name, d)
		}
	}
}
