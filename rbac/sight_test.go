package rbac

import (
	"testing"

	"github.com/ajar-access/ajar"
)

func (w *world) sees(who ajar.PrincipalID, scopes ...ajar.ID) {
	w.t.Helper()
	s := w.index().Sight(ajar.Caller{Principal: who})
	for _, at := range scopes {
		if !s.Sees(at) {
			w.t.Errorf("%s does not see %s", who, at)
		}
	}
}

func (w *world) overlooks(who ajar.PrincipalID, scopes ...ajar.ID) {
	w.t.Helper()
	s := w.index().Sight(ajar.Caller{Principal: who})
	for _, at := range scopes {
		if s.Sees(at) {
			w.t.Errorf("%s sees %s", who, at)
		}
	}
}

func TestOneSeesWhereSomethingCanBeReadAboveAtOrBelow(t *testing.T) {
	w := newWorld(t)
	w.overlooks(alice, ajar.Root, sub1, ops, corp, "", "subscriptions")
	w.assign(alice, JITRequester, pol)
	w.sees(alice, ajar.Root, sub1, ops, pol, pol+"/requests")
	w.overlooks(alice, sub2, web, vm1, corp)
	w.assign(bob, Reader, sub1)
	w.sees(bob, ajar.Root, sub1, ops, web, vm1)
	w.overlooks(bob, sub2)
	w.assign(team, SecurityReader, ajar.Root)
	w.group(team, night)
	w.sees(night, ajar.Root, sub1, sub2, vm1, corp)
}

func TestARoleThatReadsNothingShowsNothing(t *testing.T) {
	w := newWorld(t)
	write := ajar.RoleDefinition{ID: "r1", Name: "Writer", Permissions: []ajar.Permission{{Actions: []ajar.Action{"Microsoft.Compute/virtualMachines/write", "a/b/action"}}}}
	blind := ajar.RoleDefinition{ID: "r2", Name: "Blind", Permissions: []ajar.Permission{{Actions: []ajar.Action{"*"}, NotActions: []ajar.Action{"*/read"}}}}
	part := ajar.RoleDefinition{ID: "r3", Name: "Part", Permissions: []ajar.Permission{{Actions: []ajar.Action{"Microsoft.Compute/*"}, NotActions: []ajar.Action{"Microsoft.Security/*"}}}}
	w.Roles = append(w.Roles, &write, &blind, &part)
	w.assign(alice, "r1", sub1)
	w.assign(alice, "r2", sub1)
	w.overlooks(alice, ajar.Root, sub1, ops)
	w.assign(bob, "r3", ops)
	w.sees(bob, sub1, ops)
	w.overlooks(bob, web)
}

func TestManagementGroupsAreSeenAndSeenThrough(t *testing.T) {
	w := newWorld(t)
	w.ManagementGroups = []*ajar.ManagementGroup{
		{ID: corp, Parent: ajar.Root},
		{ID: prod, Parent: corp, Subscriptions: []string{sub1.Subscription()}},
	}
	w.assign(alice, Reader, corp)
	w.sees(alice, ajar.Root, corp, prod, sub1, ops, vm1)
	w.overlooks(alice, sub2)
	w.assign(bob, Reader, ops)
	w.sees(bob, ajar.Root, corp, prod, sub1, ops)
	w.overlooks(bob, web)
	w.assign(night, Reader, prod)
	w.sees(night, corp, prod, sub1)
}

func TestADenyTakesTheSightAway(t *testing.T) {
	w := newWorld(t)
	w.assign(alice, Owner, ajar.Root)
	w.assign(bob, Contributor, sub1)
	w.denied(ajar.DenyAssignment{Scope: ops, Principals: []ajar.PrincipalID{ajar.Everyone}, Permissions: []ajar.Permission{{Actions: []ajar.Action{"*/read"}}}})
	w.sees(alice, ajar.Root, sub1, sub2, web)
	w.overlooks(alice, ops, vm1)
	w.overlooks(bob, ops, vm1)
	w.denied(ajar.DenyAssignment{Scope: sub1, Principals: []ajar.PrincipalID{bob}, Permissions: []ajar.Permission{{Actions: []ajar.Action{"*"}}}, NotBelow: true})
	w.overlooks(bob, sub1)
	w.sees(bob, web)
	w.denied(ajar.DenyAssignment{Scope: ajar.Root, Principals: []ajar.PrincipalID{bob}, Permissions: []ajar.Permission{{Actions: []ajar.Action{"*"}}}})
	w.overlooks(bob, ajar.Root, sub1, web)
}
