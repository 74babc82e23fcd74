//go:build linux

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/rbac"
)

// rightsPart measures one decision over 10,000 assignments: the caller is in 50 groups that hold 500 of them, with wildcards,
// notActions and a deny assignment in the way.
func (b *bench) rightsPart(context.Context) error {
	const people, groups, roles = 2000, 50, 40
	var d rbac.Data
	for i := range roles {
		d.Roles = append(d.Roles, &ajar.RoleDefinition{ID: ajar.RoleID(guid(1, i)), Name: fmt.Sprintf("role %d", i), Permissions: []ajar.Permission{{
			Actions:    []ajar.Action{"*/read", ajar.Action(fmt.Sprintf("Microsoft.Part%d/*", i)), "Microsoft.Security/locations/*/action"},
			NotActions: []ajar.Action{"Microsoft.Authorization/*/Delete", "Microsoft.Security/locations/jitNetworkAccessPolicies/delete"},
		}}})
	}
	me := ajar.PrincipalID(guid(2, 0))
	for g := range groups {
		d.Principals = append(d.Principals, &ajar.Principal{ID: ajar.PrincipalID(guid(3, g)), Kind: ajar.Group, Name: fmt.Sprintf("group %d", g), Members: []ajar.PrincipalID{me}})
	}
	scope := func(i int) ajar.ID {
		return ajar.ID(fmt.Sprintf("/subscriptions/%s/resourceGroups/group%d", guid(4, i%100), i%1000))
	}
	for i := range 10_000 {
		a := &ajar.RoleAssignment{ID: guid(5, i), Role: ajar.RoleID(guid(1, i%roles)), Scope: scope(i), PrincipalKind: ajar.User, Principal: ajar.PrincipalID(guid(2, 1+i%people))}
		if i < 500 {
			a.Principal, a.PrincipalKind = ajar.PrincipalID(guid(3, i%groups)), ajar.Group
		}
		d.Assignments = append(d.Assignments, a)
	}
	d.Denies = append(d.Denies, &ajar.DenyAssignment{ID: guid(6, 0), Name: "no writes", Scope: "/", Principals: []ajar.PrincipalID{ajar.Everyone},
		Permissions: []ajar.Permission{{Actions: []ajar.Action{"*/write"}, NotActions: []ajar.Action{"Microsoft.Security/*"}}}})
	index := rbac.New(d)
	who := ajar.Caller{Principal: me, Name: "me"}
	var targets []ajar.ID
	for i := range 64 {
		targets = append(targets, scope(i*7)+ajar.ID(fmt.Sprintf("/providers/Microsoft.Compute/virtualMachines/vm%d", i)))
	}
	allowed := 0
	for _, t := range targets {
		if index.Decide(who, ajar.PolicyInitiate, t).Allow {
			allowed++
		}
	}
	if allowed != len(targets) || index.Decide(who, ajar.PolicyDelete, targets[0]).Allow || index.Decide(who, ajar.MachineWrite, targets[0]).Allow {
		return fmt.Errorf("the decisions to be measured are wrong: %d of %d allowed", allowed, len(targets))
	}
	rounds, each := 15, 100_000
	if b.quick {
		each = 20_000
	}
	var per []time.Duration
	for range rounds {
		began := time.Now()
		for i := range each {
			index.Decide(who, ajar.PolicyInitiate, targets[i%len(targets)])
		}
		per = append(per, time.Since(began)/time.Duration(each))
	}
	s := sorted(per)
	b.note("rbac_decision_10k: %d rounds of %d decisions, min %s, max %s", rounds, each, s[0], s[len(s)-1])
	b.metric("rbac_decision_10k", float64(median(per).Nanoseconds())/1000, "µs")
	return nil
}

// guid makes a GUID out of a kind and a number.
func guid(kind, n int) string { return fmt.Sprintf("%08x-0000-4000-8000-%012x", kind, n) }
