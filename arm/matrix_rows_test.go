package arm

import (
	"net/http"
	"slices"
	"strings"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/broker"
)

// values are what stands in a path's {…} unless a row says otherwise.
var values = map[string]string{
	"s": subOne, "g": "lab", "l": "westeurope", "n": "default", "vm": "vm-one", "mg": "corp", "ns": "Microsoft.Security", "key": broker.AssessmentKey,
	"plan": "VirtualMachines", "when": "latest", "p": "idle", "m": "idle", "id": allPlaces[0].request, "name": "", "rule": "ajar-deny", "scope": strings.TrimPrefix(string(lab), "/"),
}

// What rows share: the patterns' parts, and what lists show.
const (
	pSub    = "/subscriptions/{s}"
	pGroup  = pSub + "/resourcegroups/{g}"
	pMG     = "/providers/microsoft.management/managementgroups"
	pSec    = "/providers/microsoft.security"
	pPolicy = pGroup + pSec + "/locations/{l}/jitnetworkaccesspolicies/{n}"
	pVM     = pGroup + "/providers/microsoft.compute/virtualmachines/{vm}"
	pAuth   = "/providers/microsoft.authorization"
)

// hidden is an entry that a list must not have, whoever asks: it lies elsewhere.
func hidden(e entry) entry { return entry{e.text, func(*matrixCaller) bool { return false }} }

// within keeps entries of what lies in scope, and makes hidden ones of the others.
func within(scope ajar.ID, action ajar.Action, text func(p place) (string, ajar.ID)) (all []entry) {
	for _, p := range allPlaces {
		t, at := text(p)
		e := shownTo(t, action, at)
		if !lies(at, scope) {
			e = hidden(e)
		}
		all = append(all, e)
	}
	return all
}

func withID(id ajar.ID) string { return `"id":"` + string(id) + `"` }

func policyEntries(scope ajar.ID) []entry {
	return within(scope, ajar.PolicyRead, func(p place) (string, ajar.ID) { return withID(p.policy), p.policy })
}

func machineEntries(scope ajar.ID) []entry {
	return within(scope, ajar.MachineRead, func(p place) (string, ajar.ID) { return withID(p.machine), p.machine })
}

// facetEntries are what a list of facets shows: each to who may read the facet itself.
func facetEntries(scope ajar.ID, f broker.Facet, action ajar.Action) []entry {
	return within(scope, action, func(p place) (string, ajar.ID) { return withID(f.ID(p.machine)), f.ID(p.machine) })
}

func requestEntries(scope ajar.ID, text func(p place) string) []entry {
	return within(scope, ajar.RequestRead, func(p place) (string, ajar.ID) { return text(p), p.policy })
}

func requestText(p place) string { return `"id":"` + p.request + `"` }
func leaseText(p place) string   { return `"id":"` + p.lease + `"` }

var locationEntries = []entry{knows(`"name":"westeurope"`, lab), knows(`"name":"northeurope"`, yard)}

func matrixRows() []row {
	return slices.Concat(policyRows(), requestRows(), ourRows(), peopleRows(), rightRows(), aroundRows(), machineRows(), securityRows(), authorizationRows(), openRows())
}

const (
	policyBodyOne = `{"properties":{"virtualMachines":[{"id":"` + string(vmOne) + `","ports":[{"number":22,"protocol":"TCP","allowedSourceAddressPrefix":"*","maxRequestAccessDuration":"PT3H"}]}]}}`
	initiateOne   = `{"virtualMachines":[{"id":"` + string(vmOne) + `","ports":[{"number":22,"duration":"PT1H","allowedSourceAddressPrefix":"198.51.100.1"}]}]}`
)

func policyRows() []row {
	// Whoever writes a policy opens and closes ports of the machines that its body, old or new, names.
	machines := []need{{ajar.MachineWrite, vmOne}}
	return []row{
		{route: "GET " + pSub + pSec + "/jitnetworkaccesspolicies", who: anybody, list: policyEntries(inOne)},
		{route: "GET " + pSub + pSec + "/locations/{l}/jitnetworkaccesspolicies", who: anybody, list: slices.Concat(policyEntries(lab), []entry{hidden(entry{text: withID(polYard)})})},
		{route: "GET " + pSub + pSec + "/locations/{l}/jitnetworkaccesspolicies", with: map[string]string{"l": "northeurope"}, who: anybody, list: policyEntries(yard)},
		{route: "GET " + pGroup + pSec + "/jitnetworkaccesspolicies", who: anybody, list: policyEntries(lab)},
		{route: "GET " + pGroup + pSec + "/locations/{l}/jitnetworkaccesspolicies", who: anybody, list: policyEntries(lab)},
		{route: "GET " + pPolicy, at: polOne},
		{route: "PUT " + pPolicy, at: polOne, also: machines, body: policyBodyOne},
		{route: "DELETE " + pPolicy, at: polOne, also: machines, fresh: wholePlace},
		{route: "POST " + pPolicy + "/initiate", at: polOne, also: []need{{ajar.MachineRead, vmOne}}, body: initiateOne, fresh: wholePlace},
		{route: "GET /ajar/v1/policies", who: anybody, list: policyEntries(ajar.Root)},
		{route: "GET /ajar/v1/policies", who: anybody, query: "scope=" + string(yard), list: policyEntries(yard)},
		{route: "POST /ajar/v1/what-if", at: polOne, also: machines, body: `{"id":"` + string(polOne) + `",` + policyBodyOne[1:]},
	}
}

func requestRows() (rows []row) {
	for _, at := range []string{pPolicy + "/requests", "/ajar/v1/requests"} {
		scope := polOne
		if at[1] == 'a' {
			scope = ajar.Root
		}
		rows = append(rows,
			row{route: "GET " + at, who: anybody, list: requestEntries(scope, requestText)},
			row{route: "GET " + at + "/{id}", at: polOne},
			row{route: "POST " + at + "/{id}/approve", at: polOne, fresh: theirRequest},
			row{route: "POST " + at + "/{id}/deny", at: polOne, fresh: theirRequest},
			row{route: "POST " + at + "/{id}/revoke", at: polOne, fresh: theirLease},
			row{route: "POST " + at + "/{id}/extend", at: polOne, body: `{"duration":"PT10M"}`, fresh: theirLease},
			// One's own: to see it, to withdraw it and to have less needs no right at all; more needs what asking needs. What
			// somebody else asked for nobody withdraws, and nobody decides what they asked for themselves.
			row{route: "GET " + at + "/{id}", who: anybody, fresh: ownRequest, own: true},
			row{route: "POST " + at + "/{id}/withdraw", who: anybody, fresh: ownRequest, own: true},
			row{route: "POST " + at + "/{id}/withdraw", who: nobody},
			row{route: "POST " + at + "/{id}/revoke", who: anybody, fresh: ownLease, own: true},
			row{route: "POST " + at + "/{id}/extend", action: ajar.PolicyInitiate, at: polOne, also: []need{{ajar.MachineRead, vmOne}}, body: `{"duration":"PT10M"}`, fresh: ownLease, own: true},
			row{route: "POST " + at + "/{id}/approve", who: nobody, fresh: ownRequest, own: true},
			row{route: "POST " + at + "/{id}/deny", who: nobody, fresh: ownRequest, own: true},
		)
	}
	return rows
}

func ourRows() []row {
	id := "id=" + string(vmOne)
	lease, lift := map[string]string{"id": allPlaces[0].lease}, []need{{ajar.GuardRelease, vmOne}}
	hosts := within(ajar.Root, ajar.HostRead, func(p place) (string, ajar.ID) { return `"target":"` + string(p.machine) + `"`, p.machine })
	return []row{
		{route: "GET /ajar/v1/leases", who: anybody, list: requestEntries(ajar.Root, leaseText)},
		{route: "GET /ajar/v1/leases", who: anybody, query: "scope=" + string(lab), list: requestEntries(lab, leaseText)},
		{route: "GET /ajar/v1/leases/{id}", at: polOne, with: lease},
		{route: "POST /ajar/v1/leases/{id}/close", at: polOne, fresh: asLease(theirLease)},
		{route: "POST /ajar/v1/leases/{id}/extend", at: polOne, body: `{"duration":"PT10M"}`, fresh: asLease(theirLease)},
		{route: "GET /ajar/v1/leases/{id}", who: anybody, fresh: asLease(ownLease), own: true},
		{route: "POST /ajar/v1/leases/{id}/close", who: anybody, fresh: asLease(ownLease), own: true},
		{route: "POST /ajar/v1/leases/{id}/extend", action: ajar.PolicyInitiate, at: polOne, also: []need{{ajar.MachineRead, vmOne}}, body: `{"duration":"PT10M"}`, fresh: asLease(ownLease), own: true},

		{route: "GET /ajar/v1/targets", who: anybody, list: machineEntries(ajar.Root)},
		{route: "GET /ajar/v1/targets", who: anybody, query: "scope=" + string(lab), list: machineEntries(lab)},
		{route: "GET /ajar/v1/target", at: vmOne, query: id},
		{route: "PUT /ajar/v1/target", at: vmOne, query: id, body: `{"location":"westeurope","os":"Linux","addresses":["20.10.5.7"]}`},
		// With the machine goes what guards its ports, unless it is kept.
		{route: "DELETE /ajar/v1/target", at: vmOne, query: id, also: lift, fresh: wholePlace},
		{route: "DELETE /ajar/v1/target", at: vmOne, query: id + "&keepGuard=true", fresh: wholePlace},

		{route: "GET /ajar/v1/hosts", who: anybody, list: hosts},
		{route: "DELETE /ajar/v1/hosts", at: vmOne, query: "target=" + string(vmOne), fresh: wholePlace},
		{route: "DELETE /ajar/v1/hosts", at: vmOne, query: "lift=true&target=" + string(vmOne), also: lift, fresh: wholePlace},
		{route: "POST /ajar/v1/hosts/join-token", at: vmOne, body: `{"target":"` + string(vmOne) + `","location":"westeurope","replace":true}`},
		// A machine that is not known yet is made, which takes more.
		{route: "POST /ajar/v1/hosts/join-token", at: lab + machinesAt + "new", also: []need{{ajar.MachineWrite, lab + machinesAt + "new"}}, body: `{"target":"` + string(lab) + machinesAt + `new","location":"westeurope","replace":true}`},
		{route: "POST /ajar/v1/hosts/in-force", who: anybody, body: `{"targets":["` + string(allPlaces[0].machine) + `","` + string(allPlaces[1].machine) + `"]}`, list: []entry{
			shownTo(`"target":"`+string(allPlaces[0].machine)+`","joined":`, ajar.MachineRead, allPlaces[0].machine),
			shownTo(`"target":"`+string(allPlaces[1].machine)+`","joined":`, ajar.MachineRead, allPlaces[1].machine)}},
		// Nothing waits there, and nothing is kept; who may not do anything about it does not learn so.
		{route: "POST /ajar/v1/hosts/confirm", at: vmOne, ok: http.StatusConflict, body: `{"target":"` + string(vmOne) + `"}`},
		{route: "POST /ajar/v1/hosts/release-guard", at: vmOne, ok: http.StatusNotFound, body: `{"target":"` + string(vmOne) + `","port":9,"protocol":"TCP"}`},

		{route: "GET /ajar/v1/events", at: ajar.Root, query: "limit=1"},
		{route: "GET /ajar/v1/events", at: lab, query: "limit=1&scope=" + string(lab)},
		{route: "GET /ajar/v1/log/key", at: ajar.Root},
		{route: "GET /ajar/v1/log/batches", at: ajar.Root},
		{route: "GET /ajar/v1/log/export", at: ajar.Root},
	}
}

func peopleRows() []row {
	const one = "/ajar/v1/principals/{p}"
	// Principals have no scope: rights on them count at the root. To change somebody, one looks them up.
	look := []need{{ajar.PrincipalRead, ajar.Root}}
	return []row{
		{route: "GET /ajar/v1/principals", at: ajar.Root},
		{route: "POST /ajar/v1/principals", at: ajar.Root, body: `{"kind":"User","name":"{unique}"}`},
		{route: "GET " + one, at: ajar.Root},
		{route: "GET " + one, who: anybody, fresh: oneself},
		{route: "PUT " + one, at: ajar.Root, also: look, body: `{"display":"Spare"}`},
		{route: "DELETE " + one, at: ajar.Root, also: look, fresh: somebody(ajar.User)},
		{route: "PUT " + one + "/password", at: ajar.Root, also: look, body: `{"password":"` + password + `"}`, fresh: somebody(ajar.User)},
		{route: "DELETE " + one + "/factors", at: ajar.Root, also: look},
		{route: "GET " + one + "/secrets", at: ajar.Root},
		{route: "GET " + one + "/secrets", who: anybody, fresh: oneself},
		{route: "POST " + one + "/secrets", at: ajar.Root, also: look, fresh: somebody(ajar.ServicePrincipal)},
		{route: "DELETE " + one + "/secrets/{id}", at: ajar.Root, also: look, fresh: credential(ajar.Secret)},
		{route: "GET " + one + "/certificates", at: ajar.Root},
		{route: "POST " + one + "/certificates", at: ajar.Root, also: look, body: `{"certificate":{pem}}`, fresh: newCertificate},
		{route: "DELETE " + one + "/certificates/{id}", at: ajar.Root, also: look, fresh: credential(ajar.Certificate)},
		{route: "PUT " + one + "/members/{m}", at: ajar.Root, also: look, with: map[string]string{"p": "team"}},
		{route: "DELETE " + one + "/members/{m}", at: ajar.Root, also: look, fresh: member},

		{route: "GET /ajar/v1/tokens", who: anybody},
		{route: "GET /ajar/v1/tokens", action: ajar.PrincipalRead, at: ajar.Root, query: "principal=idle"},
		{route: "POST /ajar/v1/tokens", who: anybody, body: `{"duration":"PT1H"}`},
		{route: "DELETE /ajar/v1/tokens/{id}", who: anybody, fresh: ownToken},
		{route: "DELETE /ajar/v1/tokens/{id}", action: ajar.PrincipalWrite, at: ajar.Root, also: look, query: "principal=idle", fresh: theirToken},
		{route: "POST /ajar/v1/logout", who: anybody, fresh: ownToken},
		{route: "GET /ajar/v1/me", who: anybody},
	}
}

func rightRows() []row {
	const (
		defs, assign, denies, groups = "/ajar/v1/role-definitions", "/ajar/v1/role-assignments", "/ajar/v1/deny-assignments", "/ajar/v1/management-groups"

		roleText   = `"permissions":[{"actions":["a/read"]}],"assignableScopes":["` + string(lab) + `"]}`
		assignText = `{"principal":"{p}","role":"Reader","scope":"` + string(lab) + `"}`
		denyText   = `{"name":"made","scope":"` + string(lab) + `","principals":["00000000-0000-0000-0000-000000000000"],"permissions":[{"actions":["nothing/at/all"]}]}`
	)
	planted := map[string]string{"id": plantedRole}
	look := []need{{ajar.PrincipalRead, ajar.Root}} // whom it is given to is looked up
	return []row{
		// Roles are no secret: whoever is signed in may read what there is.
		{route: "GET " + defs, who: anybody},
		{route: "GET " + defs + "/{id}", who: anybody, with: planted},
		{route: "PUT " + defs, at: lab, body: `{"name":"{unique}",` + roleText},
		{route: "PUT " + defs + "/{id}", at: lab, with: planted, body: `{"name":"planted",` + roleText},
		{route: "DELETE " + defs + "/{id}", at: lab, fresh: freshRole},
		{route: "GET " + assign, who: anybody, query: "$top=1000&scope=" + string(inOne), list: []entry{shownTo(plantedAssignment, ajar.RoleAssignmentRead, lab), shownTo(otherAssignment, ajar.RoleAssignmentRead, yard)}},
		{route: "GET " + assign + "/{id}", at: lab, with: map[string]string{"id": plantedAssignment}},
		{route: "PUT " + assign, at: lab, also: look, body: assignText, fresh: freshAssignee},
		{route: "PUT " + assign + "/{id}", at: lab, also: look, body: assignText, fresh: freshAssignee},
		{route: "DELETE " + assign + "/{id}", at: lab, fresh: freshAssignment(lab)},
		{route: "GET " + denies, who: anybody, list: []entry{shownTo(plantedDeny, ajar.DenyAssignmentRead, lab), shownTo(otherDeny, ajar.DenyAssignmentRead, yard)}},
		{route: "PUT " + denies, at: lab, body: denyText},
		{route: "PUT " + denies + "/{id}", at: lab, with: map[string]string{"id": plantedID}, body: denyText},
		{route: "DELETE " + denies + "/{id}", at: lab, fresh: freshDeny},
		{route: "GET " + groups, who: anybody, list: groupEntries},
		{route: "PUT " + groups + "/{name}", at: corp, with: map[string]string{"name": "corp"}, body: `{"subscriptions":["` + subOne + `"]}`},
		// Of a management group that is not among those that callers hold roles at, nothing is held but at the root.
		{route: "DELETE " + groups + "/{name}", at: "/providers/Microsoft.Management/managementGroups/" + "made", with: map[string]string{"name": "made"}, fresh: freshGroup},
	}
}

var groupEntries = []entry{shownTo(withID(corp), ajar.ManagementGroupRead, corp), shownTo(withID(others), ajar.ManagementGroupRead, others)}

func openRows() []row {
	return []row{
		{route: "POST /ajar/v1/login", who: open2all, body: `{"name":"person","password":"` + password + `"}`},
		{route: "GET /ajar/v1/ca", who: open2all},
		{route: "GET /openapi.json", who: open2all},
		{route: "GET /docs", who: open2all},
		{route: "GET /metadata/endpoints", who: open2all, query: "api-version=2022-09-01"},
	}
}
