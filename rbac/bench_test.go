package rbac

import (
	"fmt"
	"testing"

	"github.com/ajar-access/ajar"
)

// world10k has 10,000 role assignments. The caller is in 50 groups, which hold 500 of them; the roles have wildcards
// and notActions, and deny assignments stand in the way.
func world10k() (Data, ajar.Caller) {
	var d Data
	for _, r := range BuiltIn() {
		d.Roles = append(d.Roles, &r)
	}
	id := func(kind string, n int) string { return fmt.Sprintf("%s000000-0000-0000-0000-%012d", kind, n) }
	who := ajar.Caller{Principal: ajar.PrincipalID(id("aa", 1)), Name: "alice"}
	for g := range 50 {
		d.Principals = append(d.Principals, &ajar.Principal{ID: ajar.PrincipalID(id("bb", g)), Kind: ajar.Group, Members: []ajar.PrincipalID{who.Principal}})
	}
	scope := func(n int) ajar.ID {
		group := ajar.ID(fmt.Sprintf("/subscriptions/%s/resourceGroups/rg%d", id("cc", n%20), n%400))
		if n%3 == 0 {
			return group
		}
		return group + ajar.ID(fmt.Sprintf("/providers/Microsoft.Compute/virtualMachines/vm%d", n))
	}
	for n := range 10_000 {
		a := &ajar.RoleAssignment{ID: id("dd", n), Principal: ajar.PrincipalID(id("ee", n%2000)), Role: d.Roles[n%len(d.Roles)].ID, Scope: scope(n)}
		if n < 500 {
			a.Principal = ajar.PrincipalID(id("bb", n%50))
		}
		d.Assignments = append(d.Assignments, a)
	}
	for n := range 50 {
		d.Denies = append(d.Denies, &ajar.DenyAssignment{ID: id("ff", n), Name: "freeze", Scope: scope(n), NotBelow: n%2 == 0,
			Permissions: []ajar.Permission{{Actions: []ajar.Action{"*/write", "*/delete"}, NotActions: []ajar.Action{"Microsoft.Support/*"}}},
			Principals:  []ajar.PrincipalID{ajar.Everyone}, ExcludePrincipals: []ajar.PrincipalID{ajar.PrincipalID(id("99", n))}})
	}
	return d, who
}

func BenchmarkDecide10k(b *testing.B) {
	d, who := world10k()
	ix := New(d)
	scopes := make([]ajar.ID, 64)
	for i := range scopes {
		scopes[i] = ajar.ID(fmt.Sprintf("/subscriptions/cc000000-0000-0000-0000-%012d/resourceGroups/rg%d/providers/Microsoft.Security/locations/west/jitNetworkAccessPolicies/default", i%20, i))
	}
	allowed := 0
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if ix.Decide(who, ajar.PolicyRead, scopes[i%len(scopes)]).Allow {
			allowed++
		}
	}
	b.ReportMetric(float64(allowed)/float64(b.N), "allowed/op")
}

// BenchmarkDecide10kRefused is the same for what is refused, with its words.
func BenchmarkDecide10kRefused(b *testing.B) {
	d, who := world10k()
	ix := New(d)
	b.ReportAllocs()
	for b.Loop() {
		if ix.Decide(who, ajar.RoleAssignmentWrite, "/subscriptions/cc000000-0000-0000-0000-000000000099/resourceGroups/rg1").Allow {
			b.Fatal("allowed")
		}
	}
}

func BenchmarkNew10k(b *testing.B) {
	d, who := world10k()
	for b.Loop() {
		New(d).Decide(who, ajar.PolicyRead, ajar.Root)
	}
}

// BenchmarkDecide10kConditioned has a condition on everything that the caller holds.
func BenchmarkDecide10kConditioned(b *testing.B) {
	d, who := world10k()
	for _, a := range d.Assignments {
		a.Condition = `(!(ActionMatches{'Microsoft.Security/locations/jitNetworkAccessPolicies/initiate/action'})) OR (@Request[Ajar.Access/requests:Port] ForAnyOfAnyValues:NumericEquals {22, 3389} AND @Request[Ajar.Access/requests:SourcePrefix] IpMatch '10.0.0.0/8')`
	}
	ix, f := New(d), askFacts()
	scope := ajar.ID("/subscriptions/cc000000-0000-0000-0000-000000000000/resourceGroups/rg0/providers/Microsoft.Security/locations/west/jitNetworkAccessPolicies/default")
	b.ReportAllocs()
	for b.Loop() {
		ix.DecideWith(who, ajar.PolicyInitiate, scope, f)
	}
}
