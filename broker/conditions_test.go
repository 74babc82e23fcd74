package broker_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/broker"
	"github.com/ajar-access/ajar/rbac"
)

// given assigns a role under a condition, as the Owner.
func (p *plane) given(to ajar.PrincipalID, role ajar.RoleID, at ajar.ID, condition string) *ajar.RoleAssignment {
	p.t.Helper()
	a, err := assigned(p.b, p.owner, ajar.RoleAssignment{Principal: to, Role: role, Scope: at, Condition: condition})
	p.must(err)
	return a
}

const (
	ifInitiate = `!(ActionMatches{'Microsoft.Security/locations/jitNetworkAccessPolicies/initiate/action'}) OR `
	ifWrite    = `!(ActionMatches{'Microsoft.Authorization/roleAssignments/write'}) OR `
	readerOnly = ifWrite + `(@Request[Microsoft.Authorization/roleAssignments:RoleDefinitionId] GuidEquals acdd72a7-3385-48ef-bd42-f606fba81ae7)`
)

// TestRequestsUnderAConditionOnTheRole: what is asked for must be within the condition of the role that allows asking, each
// port and each source of it; the refusal says what is not.
func TestRequestsUnderAConditionOnTheRole(t *testing.T) {
	p := newPlane(t)
	p.standard()
	alice := p.user("alice")
	id := p.given(alice.Principal, rbac.JITRequester, group, ifInitiate+
		`(@Request[Ajar.Access/requests:Port] ForAnyOfAnyValues:NumericEquals {22, 443} AND @Request[Ajar.Access/requests:SourcePrefix] IpMatch '203.0.113.0/24' AND @Request[Ajar.Access/requests:DurationMinutes] NumericLessThanEquals 60)`).ID
	_, err := p.b.Policy(ctx, alice, pol)
	p.must(err) // what the condition leaves alone
	_, err = p.ask(alice, ask(vm(group, "vm1"), 22, time.Hour, "203.0.113.0/28"))
	p.must(err)
	for _, c := range []struct {
		says string
		ask  ajar.Ask
	}{
		{"DurationMinutes] NumericLessThanEquals 60 is not so", ask(vm(group, "vm1"), 22, time.Hour+time.Second, "203.0.113.9/32")},
		{"IpMatch '203.0.113.0/24' is not so", ask(vm(group, "vm1"), 22, time.Hour, "203.0.113.9/32", "198.51.100.1/32")},
		{"IpMatch '203.0.113.0/24' cannot be told here", ask(vm(group, "vm1"), 22, time.Hour, "203.0.112.0/23")},
	} {
		_, err := p.ask(alice, c.ask)
		p.refused(ajar.Forbidden, err, c.says, id)
	}
	_, err = assigned(p.b, p.owner, ajar.RoleAssignment{ID: id, Principal: alice.Principal, Role: rbac.JITRequester, Scope: group,
		Condition: ifInitiate + `(@Request[Ajar.Access/requests:Port] NumericEquals 443)`})
	p.must(err)
	_, err = p.ask(alice, ask(vm(group, "vm1"), 22, time.Minute, "203.0.113.9/32"))
	p.refused(ajar.Forbidden, err, "Port] NumericEquals 443 is not so")

	// Another role of hers, without a condition, allows it.
	p.assign(alice.Principal, rbac.JITRequester, subscription)
	_, err = p.ask(alice, ask(vm(group, "vm1"), 22, time.Minute, "203.0.113.9/32"))
	p.must(err)
}

// TestOwnAddressAndTags: the caller's own address, and how the machine is tagged.
func TestOwnAddressAndTags(t *testing.T) {
	p := newPlane(t)
	p.standard()
	target, err := p.b.Target(ctx, p.owner, vm(group, "vm1"))
	p.must(err)
	target.Tags = map[string]string{"env": "test"}
	_, err = p.b.PutTarget(ctx, p.owner, *target)
	p.must(err)
	alice := p.user("alice")
	p.given(alice.Principal, rbac.JITRequester, group, ifInitiate+`(@Request[Ajar.Access/requests:OwnAddress] BoolEquals true AND @Resource[Microsoft.Compute/virtualMachines/tags:Env] StringEquals 'test')`)
	_, err = p.ask(alice, ask(vm(group, "vm1"), 22, time.Hour))
	p.must(err)
	_, err = p.ask(alice, ask(vm(group, "vm1"), 22, time.Hour, netip.PrefixFrom(alice.From, alice.From.BitLen()-1).Masked().String()))
	p.refused(ajar.Forbidden, err, "OwnAddress] BoolEquals true is not so")
	target.Tags = map[string]string{"tier": "web"}
	_, err = p.b.PutTarget(ctx, p.owner, *target)
	p.must(err)
	_, err = p.ask(alice, ask(vm(group, "vm1"), 22, time.Hour))
	p.refused(ajar.Forbidden, err, "tags:Env] StringEquals 'test' cannot be told here")
}

// TestExtendingStaysWithinTheCondition: an extension counts from the first start.
func TestExtendingStaysWithinTheCondition(t *testing.T) {
	p := newPlane(t)
	p.standard()
	alice := p.user("alice")
	p.given(alice.Principal, rbac.JITRequester, group, ifInitiate+`(@Request[Ajar.Access/requests:DurationMinutes] NumericLessThanEquals 90)`)
	out, err := p.ask(alice, ask(vm(group, "vm1"), 22, time.Hour, "203.0.113.9/32"))
	p.must(err)
	p.wait(40 * time.Minute)
	_, err = p.b.Extend(ctx, alice, out.Request.ID, broker.Extension{By: 30 * time.Minute})
	p.must(err)
	_, err = p.b.Extend(ctx, alice, out.Request.ID, broker.Extension{By: time.Minute})
	p.refused(ajar.Forbidden, err, "DurationMinutes")
	_, err = p.b.ExtendLease(ctx, p.owner, out.Leases[0].ID, broker.Extension{By: time.Minute})
	p.refused(ajar.Conflict, err, "may not any longer", "DurationMinutes")
}

// TestTheConditionHoldsAtTheDecision: whoever asked must still be allowed to when the last yes comes.
func TestTheConditionHoldsAtTheDecision(t *testing.T) {
	p := newPlane(t)
	p.host(vm(group, "vm1"))
	_, err := p.b.PutPolicy(ctx, p.owner, ajar.Policy{ID: pol, Machines: []ajar.MachinePolicy{machine(vm(group, "vm1"), port(22, ajar.TCP, approvals(1)))}}, broker.PutOptions{})
	p.must(err)
	alice := p.user("alice")
	a := p.given(alice.Principal, rbac.JITRequester, group, ifInitiate+`(@Request[Ajar.Access/requests:Port] NumericEquals 22)`)
	out, err := p.ask(alice, ask(vm(group, "vm1"), 22, time.Hour, "203.0.113.9/32"))
	p.must(err)
	a.Condition = ifInitiate + `(@Request[Ajar.Access/requests:Port] NumericEquals 23)`
	_, err = assigned(p.b, p.owner, *a)
	p.must(err)
	_, err = p.b.Approve(ctx, p.owner, out.Request.ID, "")
	p.refused(ajar.Conflict, err, "may not any longer", "Port] NumericEquals 23 is not so")
}

// TestApproversUnderACondition decide what the condition leaves to them.
func TestApproversUnderACondition(t *testing.T) {
	p := newPlane(t)
	p.host(vm(group, "vm1"))
	_, err := p.b.PutPolicy(ctx, p.owner, ajar.Policy{ID: pol, Machines: []ajar.MachinePolicy{machine(vm(group, "vm1"), port(22, ajar.TCP, approvals(1)), port(3389, ajar.TCP, approvals(1)))}}, broker.PutOptions{})
	p.must(err)
	alice, bob := p.requester("alice"), p.user("bob")
	p.given(bob.Principal, rbac.JITApprover, group, `!(ActionMatches{'*/requests/approve/action'}) OR (@Request[Ajar.Access/requests:Port] NumericEquals 22)`)
	for port, may := range map[uint16]bool{22: true, 3389: false} {
		out, err := p.ask(alice, ask(vm(group, "vm1"), port, time.Hour, "203.0.113.9/32"))
		p.must(err)
		if _, err = p.b.Approve(ctx, bob, out.Request.ID, ""); may {
			p.must(err)
			continue
		}
		p.refused(ajar.Forbidden, err, "Port] NumericEquals 22 is not so")
		_, err = p.b.Deny(ctx, bob, out.Request.ID, "")
		p.must(err)
	}
}

// TestDelegationUnderACondition: an administrator under a condition gives what the condition names, and nothing else.
func TestDelegationUnderACondition(t *testing.T) {
	p := newPlane(t)
	carol, dave := p.user("carol"), p.user("dave")
	team, err := p.b.PutPrincipal(ctx, p.owner, ajar.Principal{Kind: ajar.Group, Name: "team"})
	p.must(err)
	p.given(carol.Principal, rbac.RBACAdministrator, group, `(`+ifWrite+`
		(@Request[Microsoft.Authorization/roleAssignments:RoleDefinitionId] ForAnyOfAnyValues:GuidEquals {`+string(rbac.JITRequester)+`} AND @Request[Microsoft.Authorization/roleAssignments:PrincipalType] StringEquals 'User'))
		AND (!(ActionMatches{'Microsoft.Authorization/roleAssignments/delete'}) OR (@Resource[Microsoft.Authorization/roleAssignments:RoleDefinitionId] GuidEquals `+string(rbac.JITRequester)+`))`)
	give := func(who ajar.Caller, to ajar.PrincipalID, role ajar.RoleID, at ajar.ID, condition string) (*ajar.RoleAssignment, error) {
		return assigned(p.b, who, ajar.RoleAssignment{Principal: to, Role: role, Scope: at, Condition: condition})
	}
	a, err := give(carol, dave.Principal, rbac.JITRequester, group, "") // which carol does not hold herself
	p.must(err)
	_, err = give(carol, team.ID, rbac.JITRequester, group, "")
	p.refused(ajar.Forbidden, err, "PrincipalType] StringEquals 'User' is not so")
	_, err = give(carol, dave.Principal, rbac.Reader, group, "")
	p.refused(ajar.Forbidden, err, "RoleDefinitionId]")
	_, err = give(carol, carol.Principal, rbac.Owner, group, "")
	p.refused(ajar.Forbidden, err, "RoleDefinitionId]")
	_, err = give(carol, dave.Principal, rbac.JITRequester, subscription, "")
	p.refused(ajar.Forbidden, err)
	_, err = p.b.DeleteRoleAssignment(ctx, carol, a.ID)
	p.must(err)
	other := p.assign(dave.Principal, rbac.Reader, group)
	_, err = p.b.DeleteRoleAssignment(ctx, carol, other.ID)
	p.refused(ajar.Forbidden, err, "@Resource[Microsoft.Authorization/roleAssignments:RoleDefinitionId]")

	// Without a condition the same role gives away what its holder has, and no more; and its holder cannot put a friend
	// under a condition that trusts them with more.
	erin := p.user("erin")
	p.assign(erin.Principal, rbac.RBACAdministrator, group)
	_, err = give(erin, dave.Principal, rbac.JITRequester, group, "")
	p.refused(ajar.Forbidden, err, "which you do not hold there yourself")
	_, err = give(erin, dave.Principal, rbac.RBACAdministrator, group, readerOnly)
	p.refused(ajar.Forbidden, err, "that takes an Owner or User Access Administrator")
	_, err = give(erin, dave.Principal, rbac.Reader, group, "")
	p.refused(ajar.Conflict, err, "already")
}

// TestTheLastOwnerIsNotPutUnderACondition: an Owner under a condition does not count.
func TestTheLastOwnerIsNotPutUnderACondition(t *testing.T) {
	p := newPlane(t)
	as, _, err := p.b.RoleAssignments(ctx, p.owner, broker.AssignmentFilter{Principal: p.owner.Principal, Role: rbac.Owner})
	p.must(err)
	a := *as[0]
	a.Condition = readerOnly
	_, err = assigned(p.b, p.owner, a)
	p.refused(ajar.Conflict, err, "nobody would be Owner")
	bob := p.user("bob")
	p.given(bob.Principal, rbac.Owner, ajar.Root, readerOnly)
	_, err = p.b.DeleteRoleAssignment(ctx, p.owner, a.ID)
	p.refused(ajar.Conflict, err, "nobody would be Owner")
}

// TestConditionsOfOlderClientsStay: whoever does not know of conditions does not lift them.
func TestConditionsOfOlderClientsStay(t *testing.T) {
	p := newPlane(t)
	bob := p.user("bob")
	a := *p.given(bob.Principal, rbac.Reader, group, `ActionMatches{'*/read'}`)
	a.Condition, a.Description = "", "changed"
	got, made, err := p.b.Assign(ctx, p.owner, a, broker.AssignOptions{KeepCondition: true})
	p.must(err)
	if made || got.Condition == "" || got.Description != "changed" || got.UpdatedBy != p.owner.Principal {
		t.Errorf("%v %+v", made, got)
	}
	a.Condition = `@Resource[x:y] StringEquals 'z'`
	_, err = assigned(p.b, p.owner, a)
	p.refused(ajar.Invalid, err, "there is no attribute @Resource[x:y]")
}
