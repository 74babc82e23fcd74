package broker_test

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/broker"
	"github.com/ajar-access/ajar/rbac"
	"github.com/ajar-access/ajar/store"
)

func TestRequesterRoleCanRequestAndNothingElse(t *testing.T) {
	p := newPlane(t)
	p.standard()
	alice := p.requester("alice")
	p.granted(alice)
	var may []string
	for action := range allActions {
		if err := p.b.May(ctx, alice, action, vm(group, "vm1")); err == nil {
			may = append(may, string(action))
		} else {
			p.refused(ajar.Forbidden, err)
		}
	}
	if len(may) != 4 {
		t.Errorf("may %v", may)
	}
	for _, a := range []ajar.Action{ajar.PolicyRead, ajar.RequestRead, ajar.PolicyInitiate, ajar.MachineRead} {
		if err := p.b.May(ctx, alice, a, vm(group, "vm1")); err != nil {
			t.Errorf("may not %s: %v", a, err)
		}
	}
}

var allActions = map[ajar.Action]bool{
	ajar.PolicyRead: true, ajar.PolicyWrite: true, ajar.PolicyDelete: true, ajar.PolicyInitiate: true, ajar.RequestRead: true, ajar.RequestApprove: true,
	ajar.RequestDeny: true, ajar.RequestRevoke: true, ajar.RequestExtend: true, ajar.MachineRead: true, ajar.MachineWrite: true, ajar.MachineDelete: true,
	ajar.HostRead: true, ajar.HostWrite: true, ajar.HostDelete: true, ajar.GuardRelease: true, ajar.GuardConfirm: true, ajar.PrincipalRead: true,
	ajar.PrincipalWrite: true, ajar.PrincipalDelete: true, ajar.EventRead: true, ajar.RoleDefinitionRead: true, ajar.RoleDefinitionWrite: true,
	ajar.RoleDefinitionDelete: true, ajar.RoleAssignmentRead: true, ajar.RoleAssignmentWrite: true, ajar.RoleAssignmentDelete: true,
	ajar.DenyAssignmentRead: true, ajar.DenyAssignmentWrite: true, ajar.DenyAssignmentDelete: true, ajar.ManagementGroupRead: true,
	ajar.ManagementGroupWrite: true, ajar.ManagementGroupDelete: true, "Microsoft.Compute/virtualMachines/login/action": true, "*": true,
}

func TestRemovedAssignmentRefusesNextCall(t *testing.T) {
	p := newPlane(t)
	p.standard()
	alice := p.user("alice")
	a := p.assign(alice.Principal, rbac.JITRequester, group)
	// A second replica over the same file, which has the rights in memory.
	s, err := store.Open(ctx, p.dsn, store.Options{Clock: p.clock})
	p.must(err)
	t.Cleanup(func() { _ = s.Close() })
	replica := p.broker(s)
	req := ajar.Request{Policy: pol, Asks: []ajar.Ask{ask(vm(group, "vm1"), 22, time.Hour)}}
	for _, b := range []*broker.Broker{p.b, replica} {
		_, err := b.Initiate(ctx, alice, req)
		p.must(err)
	}
	_, err = p.b.DeleteRoleAssignment(ctx, p.owner, a.ID)
	p.must(err)
	for _, b := range []*broker.Broker{replica, p.b} {
		_, err := b.Initiate(ctx, alice, req)
		p.refused(ajar.Forbidden, err)
		_, err = b.Policy(ctx, alice, pol)
		p.refused(ajar.Forbidden, err)
	}
	p.assign(alice.Principal, rbac.JITRequester, group)
	for _, b := range []*broker.Broker{replica, p.b} {
		_, err := b.Initiate(ctx, alice, req)
		p.must(err)
	}
}

func TestRightsOfGroupsFollowTheirMembers(t *testing.T) {
	p := newPlane(t)
	p.standard()
	alice := p.user("alice")
	team, err := p.b.PutPrincipal(ctx, p.owner, ajar.Principal{Kind: ajar.Group, Name: "team"})
	p.must(err)
	p.assign(team.ID, rbac.JITRequester, group)
	may := func(want bool) {
		t.Helper()
		_, err := p.ask(alice, ask(vm(group, "vm1"), 22, time.Hour))
		if (err == nil) != want {
			t.Fatalf("may ask: %v, want %v", err, want)
		}
	}
	may(false)
	_, err = p.b.AddMember(ctx, p.owner, team.ID, alice.Principal)
	p.must(err)
	may(true)
	_, err = p.b.RemoveMember(ctx, p.owner, team.ID, alice.Principal)
	p.must(err)
	may(false)
	_, err = p.b.AddMember(ctx, p.owner, team.ID, team.ID)
	p.refused(ajar.Invalid, err, "nest")
	_, err = p.b.AddMember(ctx, p.owner, alice.Principal, team.ID)
	p.refused(ajar.Invalid, err, "not a group")
}

func TestDisabledOrDeletedPrincipalIsStoppedAtOnce(t *testing.T) {
	p := newPlane(t)
	p.standard()
	alice, bob := p.requester("alice"), p.requester("bob")
	la, lb := p.granted(alice).Leases[0].ID, p.granted(bob).Leases[0].ID
	_, err := p.b.PutToken(ctx, bob, ajar.Token{Hash: strings.Repeat("ab", 32), Name: "x", Expires: start.Add(time.Hour)})
	p.must(err)
	_, err = p.b.PutPrincipal(ctx, p.owner, ajar.Principal{ID: alice.Principal, Name: "alice", Disabled: true})
	p.must(err)
	p.wants(la, ajar.Closing, ajar.Revoked)
	_, err = p.ask(alice, ask(vm(group, "vm1"), 22, time.Hour))
	p.refused(ajar.Forbidden, err, "disabled")
	_, err = p.b.Policy(ctx, alice, pol)
	p.refused(ajar.Forbidden, err, "disabled")
	existed, err := p.b.DeletePrincipal(ctx, p.owner, bob.Principal)
	p.must(err)
	if !existed {
		t.Error("bob existed")
	}
	p.wants(lb, ajar.Closing, ajar.Revoked)
	_, err = p.ask(bob, ask(vm(group, "vm1"), 22, time.Hour))
	p.refused(ajar.Unauthenticated, err)
	as, _, err := p.b.RoleAssignments(ctx, p.owner, broker.AssignmentFilter{Principal: bob.Principal})
	p.must(err)
	if len(as) != 0 {
		t.Errorf("%d assignments are left", len(as))
	}
	tokens, _, err := p.b.Tokens(ctx, p.owner, bob.Principal, broker.Page{})
	p.must(err)
	if len(tokens) != 1 || tokens[0].Revoked.IsZero() {
		t.Errorf("%+v", tokens)
	}
}

func TestLastOwnerStays(t *testing.T) {
	p := newPlane(t)
	as, _, err := p.b.RoleAssignments(ctx, p.owner, broker.AssignmentFilter{Role: rbac.Owner})
	p.must(err)
	if len(as) != 1 {
		t.Fatal(as)
	}
	stays := func(err error) {
		t.Helper()
		p.refused(ajar.Conflict, err, "Owner at /")
	}
	_, err = p.b.DeleteRoleAssignment(ctx, p.owner, as[0].ID)
	stays(err)
	_, err = p.b.PutPrincipal(ctx, p.owner, ajar.Principal{ID: p.owner.Principal, Name: "root", Disabled: true})
	stays(err)
	_, err = p.b.DeletePrincipal(ctx, p.owner, p.owner.Principal)
	stays(err)
	everybody := ajar.DenyAssignment{Name: "lockout", Scope: ajar.Root, Principals: []ajar.PrincipalID{ajar.Everyone}, Permissions: []ajar.Permission{{Actions: []ajar.Action{"*"}}}}
	_, err = p.b.PutDenyAssignment(ctx, p.owner, everybody)
	p.refused(ajar.Conflict, err, "no Owner")
	// An Owner elsewhere, a disabled one, an empty group: none of them counts.
	p.user("ops", rbac.Owner, group)
	off := p.user("off", rbac.Owner, ajar.Root)
	_, err = p.b.PutPrincipal(ctx, p.owner, ajar.Principal{ID: off.Principal, Name: "off", Disabled: true})
	p.must(err)
	team, err := p.b.PutPrincipal(ctx, p.owner, ajar.Principal{Kind: ajar.Group, Name: "owners"})
	p.must(err)
	p.assign(team.ID, rbac.Owner, ajar.Root)
	_, err = p.b.DeleteRoleAssignment(ctx, p.owner, as[0].ID)
	stays(err)
	// A group with somebody in it does, as long as somebody is in it.
	bea := p.user("bea")
	_, err = p.b.AddMember(ctx, p.owner, team.ID, bea.Principal)
	p.must(err)
	_, err = p.b.DeleteRoleAssignment(ctx, p.owner, as[0].ID)
	p.must(err)
	_, err = p.b.RemoveMember(ctx, bea, team.ID, bea.Principal)
	stays(err)
	_, err = p.b.DeletePrincipal(ctx, bea, team.ID)
	stays(err)
}

func TestNobodyGrantsMoreThanTheyHold(t *testing.T) {
	p := newPlane(t)
	p.standard()
	friend := p.user("friend")
	boss := p.user("boss", rbac.Owner, group)
	clerk := p.user("clerk", rbac.RBACAdministrator, group)
	access := p.user("access", rbac.UserAccessAdministrator, group)
	worker := p.user("worker", rbac.Contributor, ajar.Root)
	give := func(who ajar.Caller, role ajar.RoleID, at ajar.ID) error {
		a, err := assigned(p.b, who, ajar.RoleAssignment{Principal: friend.Principal, Role: role, Scope: at})
		if err == nil {
			_, err := p.b.DeleteRoleAssignment(ctx, p.owner, a.ID)
			p.must(err)
		}
		return err
	}
	p.must(give(boss, rbac.Owner, group))
	p.must(give(access, rbac.Owner, vm(group, "vm1")))
	p.must(give(clerk, rbac.Reader, group))
	p.refused(ajar.Forbidden, give(boss, rbac.Reader, ajar.Root), string(ajar.RoleAssignmentWrite))
	p.refused(ajar.Forbidden, give(access, rbac.Owner, other))
	p.refused(ajar.Forbidden, give(clerk, rbac.Owner, group), "do not hold")
	p.refused(ajar.Forbidden, give(clerk, rbac.JITRequester, group), "initiate")
	p.refused(ajar.Forbidden, give(worker, rbac.Reader, group))

	role := func(who ajar.Caller, actions ...ajar.Action) error {
		_, err := p.b.PutRoleDefinition(ctx, who, ajar.RoleDefinition{Name: "custom " + uuid.NewString()[:8], Permissions: []ajar.Permission{{Actions: actions}}, AssignableScopes: []ajar.ID{group}})
		return err
	}
	p.must(role(boss, "*"))
	p.refused(ajar.Forbidden, role(clerk, "*/read"), string(ajar.RoleDefinitionWrite))

	// Whoever may manage people must not act as them.
	_, err := p.b.PutCredential(ctx, worker, ajar.Credential{Principal: p.owner.Principal, Kind: ajar.Password, Hash: "h"})
	p.refused(ajar.Forbidden, err, "holds more than you do")
	_, err = p.b.PutPrincipal(ctx, worker, ajar.Principal{ID: boss.Principal, Name: "boss", Disabled: true})
	p.refused(ajar.Forbidden, err, "holds more than you do")
	_, err = p.b.DeletePrincipal(ctx, worker, boss.Principal)
	p.refused(ajar.Forbidden, err, "holds more than you do")
	admins, err := p.b.PutPrincipal(ctx, worker, ajar.Principal{Kind: ajar.Group, Name: "admins"})
	p.must(err)
	_, err = p.b.AddMember(ctx, worker, admins.ID, worker.Principal)
	p.must(err)
	p.assign(admins.ID, rbac.UserAccessAdministrator, group)
	_, err = p.b.AddMember(ctx, worker, admins.ID, friend.Principal)
	p.must(err) // being in it, worker holds what it holds
	_, err = p.b.RemoveMember(ctx, p.owner, admins.ID, worker.Principal)
	p.must(err)
	_, err = p.b.AddMember(ctx, worker, admins.ID, worker.Principal)
	p.refused(ajar.Forbidden, err, "holds more than you do")
	_, err = p.b.PutCredential(ctx, worker, ajar.Credential{Principal: friend.Principal, Kind: ajar.Secret, Hash: "h"})
	p.refused(ajar.Forbidden, err, "holds more than you do")
}

func TestDenyAssignmentsTakeAwayAndGroupsDoNotSlip(t *testing.T) {
	p := newPlane(t)
	p.standard()
	alice := p.requester("alice")
	worker := p.user("worker", rbac.Contributor, ajar.Root)
	frozen, err := p.b.PutPrincipal(ctx, p.owner, ajar.Principal{Kind: ajar.Group, Name: "frozen"})
	p.must(err)
	for _, m := range []ajar.PrincipalID{alice.Principal, worker.Principal} {
		_, err = p.b.AddMember(ctx, p.owner, frozen.ID, m)
		p.must(err)
	}
	deny := ajar.DenyAssignment{Name: "freeze", Scope: group, Principals: []ajar.PrincipalID{frozen.ID}, Permissions: []ajar.Permission{{Actions: []ajar.Action{"*/initiate/action", "*/write"}}}}
	_, err = p.b.PutDenyAssignment(ctx, worker, deny)
	p.refused(ajar.Forbidden, err)
	d, err := p.b.PutDenyAssignment(ctx, p.owner, deny)
	p.must(err)
	_, err = p.ask(alice, ask(vm(group, "vm1"), 22, time.Hour))
	p.refused(ajar.Forbidden, err, "freeze")
	if e := p.last(1)[0]; e.By != d.ID {
		t.Errorf("%+v", e)
	}
	_, err = p.b.RemoveMember(ctx, worker, frozen.ID, worker.Principal)
	p.refused(ajar.Forbidden, err, "freeze")
	_, err = p.b.DeletePrincipal(ctx, worker, frozen.ID)
	p.refused(ajar.Forbidden, err)
	_, err = p.b.PutPrincipal(ctx, worker, ajar.Principal{ID: frozen.ID, Name: "frozen", Disabled: true})
	p.refused(ajar.Forbidden, err)
	list, _, err := p.b.DenyAssignments(ctx, p.owner, group, broker.Page{})
	p.must(err)
	if len(list) != 1 {
		t.Errorf("%d deny assignments", len(list))
	}
	_, err = p.b.DeleteDenyAssignment(ctx, worker, d.ID)
	p.refused(ajar.Forbidden, err)
	_, err = p.b.DeleteDenyAssignment(ctx, p.owner, d.ID)
	p.must(err)
	p.granted(alice)
}

func TestMovingSubscriptionsTakesTheRightToGrantThere(t *testing.T) {
	p := newPlane(t)
	const mg, top ajar.ID = "/providers/Microsoft.Management/managementGroups/mine", "/providers/Microsoft.Management/managementGroups/top"
	sub := "11111111-1111-1111-1111-111111111111"
	worker := p.user("worker", rbac.Contributor, ajar.Root)
	_, err := p.b.PutManagementGroup(ctx, worker, ajar.ManagementGroup{ID: mg})
	p.must(err)
	_, err = p.b.PutManagementGroup(ctx, worker, ajar.ManagementGroup{ID: mg, Subscriptions: []string{sub}})
	p.refused(ajar.Forbidden, err, string(ajar.RoleAssignmentWrite))
	_, err = p.b.PutManagementGroup(ctx, p.owner, ajar.ManagementGroup{ID: mg, Subscriptions: []string{sub}})
	p.must(err)
	p.standard()
	alice := p.user("alice", rbac.JITRequester, mg)
	p.granted(alice)
	_, err = p.b.PutManagementGroup(ctx, p.owner, ajar.ManagementGroup{ID: top, Subscriptions: []string{sub}})
	p.refused(ajar.Conflict, err, "take it out")
	_, err = p.b.PutManagementGroup(ctx, p.owner, ajar.ManagementGroup{ID: top})
	p.must(err)
	_, err = p.b.PutManagementGroup(ctx, worker, ajar.ManagementGroup{ID: mg, Parent: top, Subscriptions: []string{sub}})
	p.refused(ajar.Forbidden, err)
	_, err = p.b.PutManagementGroup(ctx, p.owner, ajar.ManagementGroup{ID: mg, Parent: top, Subscriptions: []string{sub}})
	p.must(err)
	_, err = p.b.PutManagementGroup(ctx, p.owner, ajar.ManagementGroup{ID: top, Parent: mg})
	p.refused(ajar.Invalid, err, "within itself")
	_, err = p.b.DeleteManagementGroup(ctx, p.owner, top)
	p.refused(ajar.Conflict, err, "not empty")
	_, err = p.b.PutManagementGroup(ctx, p.owner, ajar.ManagementGroup{ID: mg, Parent: top})
	p.must(err)
	_, err = p.ask(alice, ask(vm(group, "vm1"), 22, time.Hour))
	p.refused(ajar.Forbidden, err)
	_, err = p.b.DeleteManagementGroup(ctx, p.owner, mg)
	p.refused(ajar.Conflict, err, "assignments")
	_, err = assigned(p.b, p.owner, ajar.RoleAssignment{Principal: alice.Principal, Role: rbac.Reader, Scope: "/providers/Microsoft.Management/managementGroups/none"})
	p.refused(ajar.NotFound, err)
}

func TestRolesAndAssignmentsKeepTheirForm(t *testing.T) {
	p := newPlane(t)
	alice := p.user("alice")
	scopes := []ajar.ID{group}
	r, err := p.b.PutRoleDefinition(ctx, p.owner, ajar.RoleDefinition{Name: "Closer", Permissions: []ajar.Permission{{Actions: []ajar.Action{ajar.RequestRevoke}}}, AssignableScopes: scopes})
	p.must(err)
	_, err = p.b.PutRoleDefinition(ctx, p.owner, ajar.RoleDefinition{Name: "closer", Permissions: r.Permissions, AssignableScopes: scopes})
	p.refused(ajar.Conflict, err, "already")
	_, err = p.b.PutRoleDefinition(ctx, p.owner, ajar.RoleDefinition{ID: rbac.Reader, Name: "Reader", Permissions: []ajar.Permission{{Actions: []ajar.Action{"*"}}}, AssignableScopes: []ajar.ID{ajar.Root}})
	p.refused(ajar.Conflict, err, "built-in")
	_, err = p.b.DeleteRoleDefinition(ctx, p.owner, rbac.Reader)
	p.refused(ajar.Conflict, err, "built-in")
	_, err = assigned(p.b, p.owner, ajar.RoleAssignment{Principal: alice.Principal, Role: r.ID, Scope: other})
	p.refused(ajar.Invalid, err, "cannot be assigned")
	a := p.assign(alice.Principal, r.ID, vm(group, "vm1"))
	_, err = assigned(p.b, p.owner, ajar.RoleAssignment{Principal: alice.Principal, Role: r.ID, Scope: vm(group, "VM1")})
	p.refused(ajar.Conflict, err, a.ID)
	_, err = assigned(p.b, p.owner, ajar.RoleAssignment{ID: a.ID, Principal: alice.Principal, Role: r.ID, Scope: group})
	p.refused(ajar.Conflict, err)
	b, err := assigned(p.b, p.owner, ajar.RoleAssignment{ID: a.ID, Principal: alice.Principal, Role: r.ID, Scope: a.Scope, Description: "why"})
	p.must(err)
	if b.Description != "why" || !b.Created.Equal(a.Created) || b.PrincipalKind != ajar.User {
		t.Errorf("%+v", b)
	}
	_, err = p.b.DeleteRoleDefinition(ctx, p.owner, r.ID)
	p.refused(ajar.Conflict, err, "assigned 1 times")
	r.AssignableScopes = []ajar.ID{other}
	_, err = p.b.PutRoleDefinition(ctx, p.owner, *r)
	p.refused(ajar.Conflict, err, "would not be assignable")
	own, err := p.b.RoleAssignment(ctx, alice, a.ID)
	if p.must(err); own.ID != a.ID {
		t.Error(own)
	}
	_, err = p.b.RoleAssignment(ctx, p.user("bob"), a.ID)
	p.refused(ajar.Forbidden, err)
	for _, bad := range []ajar.RoleDefinition{{}, {Name: "x"}, {Name: "x", AssignableScopes: scopes}, {Name: "x", AssignableScopes: []ajar.ID{"nonsense"}},
		{Name: "x", AssignableScopes: scopes, Permissions: []ajar.Permission{{Actions: []ajar.Action{"do it!"}}}},
		{Name: uuid.NewString(), AssignableScopes: scopes, Permissions: r.Permissions}} {
		_, err := p.b.PutRoleDefinition(ctx, p.owner, bad)
		p.refused(ajar.Invalid, err)
	}
}

func TestCredentialsAndTokens(t *testing.T) {
	p := newPlane(t)
	alice, mallory := p.user("alice"), p.user("mallory")
	cred := func(who ajar.Caller, kind ajar.CredentialKind, of ajar.PrincipalID) (*ajar.Credential, error) {
		return p.b.PutCredential(ctx, who, ajar.Credential{Principal: of, Kind: kind, Hash: "argon"})
	}
	c, err := cred(alice, ajar.Password, alice.Principal)
	p.must(err)
	if c.Hash != "" {
		t.Error("the hash came back")
	}
	_, err = cred(mallory, ajar.Password, alice.Principal)
	p.refused(ajar.Forbidden, err)
	tok := ajar.Token{Hash: strings.Repeat("ab", 32), Name: "laptop", Expires: start.Add(time.Hour), Principal: p.owner.Principal}
	k, err := p.b.PutToken(ctx, alice, tok)
	p.must(err)
	if k.Principal != alice.Principal {
		t.Error("a token for somebody else")
	}
	_, err = cred(p.owner, ajar.Password, alice.Principal)
	p.must(err)
	list, err := p.b.Credentials(ctx, alice, alice.Principal)
	p.must(err)
	if len(list) != 1 || list[0].Hash != "" {
		t.Errorf("a new password replaces the old one: %+v", list)
	}
	tokens, _, err := p.b.Tokens(ctx, alice, alice.Principal, broker.Page{})
	p.must(err)
	if tokens[0].Revoked.IsZero() {
		t.Error("the token outlived a password set by somebody else")
	}
	_, _, err = p.b.Tokens(ctx, mallory, alice.Principal, broker.Page{})
	p.refused(ajar.Forbidden, err)
	tok.Hash = strings.Repeat("cd", 32)
	_, err = p.b.PutToken(ctx, alice, tok)
	p.must(err)
	_, err = p.b.RevokeToken(ctx, mallory, alice.Principal, "cdcdcdcd")
	p.refused(ajar.Forbidden, err)
	_, err = p.b.RevokeToken(ctx, alice, alice.Principal, "cdcdcdcd")
	p.must(err)
	_, err = p.b.RevokeToken(ctx, alice, alice.Principal, "00000000")
	p.refused(ajar.NotFound, err)
	_, err = p.b.DeleteCredential(ctx, mallory, list[0].ID)
	p.refused(ajar.Forbidden, err)
	existed, err := p.b.DeleteCredential(ctx, p.owner, list[0].ID)
	if p.must(err); !existed {
		t.Error("it existed")
	}
	_, err = p.b.Principal(ctx, mallory, "alice")
	p.refused(ajar.Forbidden, err)
	_, err = p.b.Principal(ctx, mallory, "whoever")
	p.refused(ajar.Forbidden, err) // who may not read learns nothing of who exists
	me, err := p.b.Principal(ctx, mallory, "MALLORY")
	if p.must(err); me.ID != mallory.Principal {
		t.Error(me)
	}
	_, err = p.b.PutPrincipal(ctx, p.owner, ajar.Principal{Kind: ajar.User, Name: "Alice"})
	p.refused(ajar.Conflict, err, "already")
}

func TestStartAndRecovery(t *testing.T) {
	p := newPlane(t)
	boot, err := p.b.Bootstrap(ctx)
	p.must(err)
	if boot.OwnerMissing {
		t.Error("there is an Owner")
	}
	gen := func() (n int64) {
		p.must(p.store.View(ctx, func(tx ajar.Tx) (err error) { n, err = tx.RightsGen(); return err }))
		return n
	}
	before := gen()
	_, err = p.b.Bootstrap(ctx)
	if p.must(err); gen() != before {
		t.Error("a start that changes nothing moved the rights")
	}
	_, made, err := p.b.EnsureAdmin(ctx, broker.Admin{Name: "another", Hash: "x"})
	if p.must(err); made {
		t.Error("a second administrator came out of nowhere")
	}
	_, err = p.b.PutDenyAssignment(ctx, p.owner, ajar.DenyAssignment{Name: "all but root", Scope: ajar.Root, Principals: []ajar.PrincipalID{ajar.Everyone},
		ExcludePrincipals: []ajar.PrincipalID{p.owner.Principal}, Permissions: []ajar.Permission{{Actions: []ajar.Action{"*"}}}})
	p.must(err)
	admin, made, err := p.b.EnsureAdmin(ctx, broker.Admin{Name: "rescue", Hash: "x", Recover: true})
	p.must(err)
	rescue := ajar.Caller{Principal: admin.ID, Via: "arm"}
	if _, _, err := p.b.Principals(ctx, rescue, "", broker.Page{}); err != nil || !made {
		t.Errorf("recovery did not recover: %v", err)
	}
}

func TestNobodySpeaksAsThePlane(t *testing.T) {
	p := newPlane(t)
	for _, via := range []string{"arm", "web", ""} {
		who := ajar.Plane
		who.Via = via
		_, _, err := p.b.Principals(ctx, who, "", broker.Page{})
		p.refused(ajar.Unauthenticated, err)
	}
}

func TestEventsAreShownAtTheirScope(t *testing.T) {
	p := newPlane(t)
	p.standard()
	p.granted(p.requester("alice"))
	ops := p.user("ops", rbac.Reader, group)
	_, err := p.b.Events(ctx, ops, ajar.EventFilter{})
	p.refused(ajar.Forbidden, err)
	es, err := p.b.Events(ctx, ops, ajar.EventFilter{Scope: group, Limit: 1000})
	p.must(err)
	for _, e := range es {
		if !group.Covers(e.Scope) {
			t.Errorf("%s is not below %s", e.Scope, group)
		}
	}
	if len(es) == 0 {
		t.Error("nothing is shown")
	}
	_, err = p.b.Batches(ctx, ops, 0, 10)
	p.refused(ajar.Forbidden, err)
	bs, err := p.b.Batches(ctx, p.owner, 1, 10)
	if p.must(err); len(bs) == 0 {
		t.Error("no batches")
	}
	p.must(p.b.Record(ctx, ajar.Event{Action: ajar.HostDuplicate, Outcome: ajar.Happened, Scope: vm(group, "vm1")}))
	p.recorded(ajar.HostDuplicate, ajar.Happened)
}

func TestAfterRestoreNothingStaysOpenUnlessNamed(t *testing.T) {
	p := newPlane(t)
	p.host(vm(group, "vm1"))
	p.policy(machine(vm(group, "vm1"), port(22, ajar.TCP, mode(ajar.Drain)), port(80, ajar.TCP), port(81, ajar.TCP)))
	alice := p.requester("alice")
	var ids []ajar.LeaseID
	for _, n := range []uint16{22, 80, 81} {
		ids = append(ids, p.granted(alice, ask(vm(group, "vm1"), n, time.Hour)).Leases[0].ID)
	}
	p.set(ids[0], func(l *ajar.Lease) { p.must(l.Move(ajar.Closing, ajar.Expired)) })
	n, missing, err := p.b.AfterRestore(ctx, []ajar.LeaseID{ids[2], "nonesuch"})
	p.must(err)
	if n != 2 || len(missing) != 1 || missing[0] != "nonesuch" {
		t.Errorf("%d are closing, missing %v", n, missing)
	}
	p.wants(ids[0], ajar.Closing, ajar.Revoked)
	p.wants(ids[1], ajar.Closing, ajar.Revoked)
	p.wants(ids[2], ajar.Opening, "")
	if e := p.recorded(ajar.PlaneRestored, ajar.Happened); e.Details["closing"] != "2" || e.Details["kept"] != "1" {
		t.Errorf("%+v", e)
	}
}

// TestRightsInMemoryFollowEveryChange compares a broker that has seen every change, another that sees them now and then,
// and one that reads everything anew.
func TestRightsInMemoryFollowEveryChange(t *testing.T) {
	p := newPlane(t)
	p.standard()
	rare := p.broker(p.store)
	var who []ajar.Caller
	for _, n := range []string{"a", "b", "c"} {
		who = append(who, p.user(n))
	}
	team, err := p.b.PutPrincipal(ctx, p.owner, ajar.Principal{Kind: ajar.Group, Name: "team"})
	p.must(err)
	roles := []ajar.RoleID{rbac.Reader, rbac.JITRequester, rbac.Contributor, rbac.SecurityAdmin}
	scopes := []ajar.ID{ajar.Root, group, vm(group, "vm1"), pol}
	r := rand.New(rand.NewPCG(1, 2))
	var held []string
	for step := range 150 {
		switch r.IntN(6) {
		case 0, 1, 2:
			to := who[r.IntN(3)].Principal
			if r.IntN(4) == 0 {
				to = team.ID
			}
			a, err := assigned(p.b, p.owner, ajar.RoleAssignment{Principal: to, Role: roles[r.IntN(4)], Scope: scopes[r.IntN(4)]})
			if err == nil {
				held = append(held, a.ID)
			}
		case 3, 4:
			if n := len(held); n > 0 {
				_, err := p.b.DeleteRoleAssignment(ctx, p.owner, held[n-1])
				p.must(err)
				held = held[:n-1]
			}
		case 5:
			m := who[r.IntN(3)].Principal
			if _, err := p.b.RemoveMember(ctx, p.owner, team.ID, m); err != nil {
				_, err = p.b.AddMember(ctx, p.owner, team.ID, m)
				p.must(err)
			}
		}
		brokers := []*broker.Broker{p.b, p.broker(p.store)}
		if step%7 == 0 {
			brokers = append(brokers, rare)
		}
		for _, w := range who {
			for _, a := range []ajar.Action{ajar.PolicyRead, ajar.PolicyInitiate, ajar.MachineWrite} {
				var last error
				for i, b := range brokers {
					err := b.May(ctx, w, a, pol)
					if err != nil {
						p.refused(ajar.Forbidden, err)
					}
					if i > 0 && (err == nil) != (last == nil) {
						t.Fatalf("step %d: %s %s: %v and %v", step, w.Name, a, last, err)
					}
					last = err
				}
			}
		}
	}
}

func TestLiftingByRemovalTakesTheRightToRelease(t *testing.T) {
	p := newPlane(t)
	j := p.standard()
	worker := p.user("worker", rbac.VirtualMachineContributor, group)
	_, err := p.b.DeleteTarget(ctx, worker, vm(group, "vm1"), false)
	p.refused(ajar.Forbidden, err, string(ajar.GuardRelease))
	if p.guards(j.Endpoint.ID) != "22/TCP" {
		t.Error("the guard is gone")
	}
	_, err = p.b.DeleteTarget(ctx, worker, vm(group, "vm1"), true)
	p.must(err)
}
