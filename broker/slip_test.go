package broker_test

import (
	"testing"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/rbac"
)

// TestADenyIsNotSlippedByMoving: an Owner of a subscription, who may write management groups, does not take it out from
// under a deny assignment that an Owner above has made, nor move the group that it lies in.
func TestADenyIsNotSlippedByMoving(t *testing.T) {
	p := newPlane(t)
	const low, high ajar.ID = "/providers/Microsoft.Management/managementGroups/low", "/providers/Microsoft.Management/managementGroups/high"
	sub := ajar.ID(group).Subscription()
	p.must(first(p.b.PutManagementGroup(ctx, p.owner, ajar.ManagementGroup{ID: high})))
	p.must(first(p.b.PutManagementGroup(ctx, p.owner, ajar.ManagementGroup{ID: low, Parent: high, Subscriptions: []string{sub}})))
	worker := p.user("worker", rbac.Owner, ajar.ID("/subscriptions/"+sub))
	for _, at := range []ajar.ID{low, high} {
		p.must(first(assigned(p.b, p.owner, ajar.RoleAssignment{Principal: worker.Principal, Role: rbac.Contributor, Scope: at})))
	}
	p.must(first(assigned(p.b, p.owner, ajar.RoleAssignment{Principal: worker.Principal, Role: rbac.Contributor, Scope: ajar.Root})))
	out := ajar.ManagementGroup{ID: low, Parent: high}
	p.must(first(p.b.PutManagementGroup(ctx, worker, out))) // nothing is denied yet
	p.must(first(p.b.PutManagementGroup(ctx, worker, ajar.ManagementGroup{ID: low, Parent: high, Subscriptions: []string{sub}})))
	p.must(first(p.b.PutDenyAssignment(ctx, p.owner, ajar.DenyAssignment{Name: "no machines", Scope: high, Principals: []ajar.PrincipalID{worker.Principal},
		Permissions: []ajar.Permission{{Actions: []ajar.Action{ajar.MachineWrite}}}})))
	p.refused(ajar.Forbidden, first(p.b.PutManagementGroup(ctx, worker, out)), "no machines")
	p.must(first(assigned(p.b, p.owner, ajar.RoleAssignment{Principal: worker.Principal, Role: rbac.Owner, Scope: low})))
	p.refused(ajar.Forbidden, first(p.b.PutManagementGroup(ctx, worker, ajar.ManagementGroup{ID: low, Subscriptions: []string{sub}})), "no machines")
	p.must(first(p.b.PutManagementGroup(ctx, p.owner, out)))
}
