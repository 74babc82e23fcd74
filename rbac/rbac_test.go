package rbac

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ajar-access/ajar"
)

const (
	sub1  ajar.ID          = "/subscriptions/11111111-1111-1111-1111-111111111111"
	sub2  ajar.ID          = "/subscriptions/22222222-2222-2222-2222-222222222222"
	ops                    = sub1 + "/resourceGroups/Ops"
	web                    = sub1 + "/resourceGroups/web"
	vm1                    = ops + "/providers/Microsoft.Compute/virtualMachines/vm1"
	pol                    = ops + "/providers/Microsoft.Security/locations/west/jitNetworkAccessPolicies/default"
	corp  ajar.ID          = "/providers/Microsoft.Management/managementGroups/corp"
	prod  ajar.ID          = "/providers/Microsoft.Management/managementGroups/prod"
	alice ajar.PrincipalID = "a0000000-0000-0000-0000-000000000001"
	bob   ajar.PrincipalID = "b0000000-0000-0000-0000-000000000002"
	team  ajar.PrincipalID = "c0000000-0000-0000-0000-000000000003"
	night ajar.PrincipalID = "c0000000-0000-0000-0000-000000000004"
)

// world builds an index step by step, so that tests read aloud.
type world struct {
	t *testing.T
	Data
	ix *Index
}

func newWorld(t *testing.T) *world {
	w := &world{t: t}
	for _, r := range BuiltIn() {
		w.Roles = append(w.Roles, &r)
	}
	return w
}

func (w *world) assign(who ajar.PrincipalID, role ajar.RoleID, scope ajar.ID) string {
	id := fmt.Sprintf("e0000000-0000-0000-0000-%012d", len(w.Assignments))
	w.Assignments = append(w.Assignments, &ajar.RoleAssignment{ID: id, Principal: who, Role: role, Scope: scope})
	w.ix = nil
	return id
}

func (w *world) denied(d ajar.DenyAssignment) {
	d.ID = fmt.Sprintf("d0000000-0000-0000-0000-%012d", len(w.Denies))
	w.Denies = append(w.Denies, &d)
	w.ix = nil
}

func (w *world) group(id ajar.PrincipalID, members ...ajar.PrincipalID) {
	w.Principals = append(w.Principals, &ajar.Principal{ID: id, Kind: ajar.Group, Members: members})
	w.ix = nil
}

func (w *world) index() *Index {
	if w.ix == nil {
		w.ix = New(w.Data)
	}
	return w.ix
}

func (w *world) allow(who ajar.PrincipalID, action ajar.Action, scope ajar.ID) {
	w.t.Helper()
	if d := w.index().Decide(ajar.Caller{Principal: who}, action, scope); !d.Allow || d.By == "" {
		w.t.Errorf("%s may not %s at %s: %v", who, action, scope, d.Unmet)
	}
}

func (w *world) deny(who ajar.PrincipalID, action ajar.Action, scope ajar.ID) ajar.Decision {
	w.t.Helper()
	d := w.index().Decide(ajar.Caller{Principal: who}, action, scope)
	if d.Allow || len(d.Unmet) == 0 {
		w.t.Errorf("%s may %s at %s by %s", who, action, scope, d.By)
	}
	return d
}

func TestRolesHoldAtTheirScopeAndBelow(t *testing.T) {
	w := newWorld(t)
	w.assign(alice, Reader, ops)
	w.allow(alice, ajar.MachineRead, vm1)
	w.allow(alice, ajar.MachineRead, ops)
	w.allow(alice, ajar.PolicyRead, pol)
	w.allow(alice, ajar.MachineRead, ajar.ID(strings.ToUpper(string(vm1))))
	w.deny(alice, ajar.MachineRead, sub1)
	w.deny(alice, ajar.MachineRead, ajar.Root)
	w.deny(alice, ajar.MachineRead, ops+"2/providers/Microsoft.Compute/virtualMachines/vm1")
	w.deny(alice, ajar.MachineRead, web)
	w.deny(alice, ajar.MachineWrite, vm1)
	w.deny(bob, ajar.MachineRead, vm1)
	w.deny(alice, ajar.MachineRead, "")
	w.deny(alice, ajar.MachineRead, "nonsense")
	w.assign(bob, Owner, ajar.Root)
	w.allow(bob, ajar.MachineWrite, vm1)
	w.allow(bob, ajar.EventRead, ajar.Root)
}

func TestManagementGroupsHandDownWhatTheyHold(t *testing.T) {
	w := newWorld(t)
	w.ManagementGroups = []*ajar.ManagementGroup{
		{ID: corp, Parent: ajar.Root},
		{ID: prod, Parent: corp, Subscriptions: []string{"11111111-1111-1111-1111-111111111111"}},
	}
	w.assign(alice, Reader, corp)
	w.assign(bob, Reader, prod)
	w.allow(alice, ajar.MachineRead, vm1)
	w.allow(alice, ajar.ManagementGroupRead, prod)
	w.allow(bob, ajar.MachineRead, vm1)
	w.deny(bob, ajar.ManagementGroupRead, corp)
	w.deny(alice, ajar.MachineRead, sub2)
	if got := fmt.Sprint(w.index().Scopes(ajar.Caller{Principal: alice}, ajar.MachineRead, ajar.Root)); got != "["+prod.Key()+"]" && !strings.Contains(got, sub1.Key()) {
		t.Errorf("alice reads at %s", got)
	}
	w.ManagementGroups[0].Parent = prod // a circle is harmless
	w.ix = nil
	w.allow(alice, ajar.MachineRead, vm1)
}

func TestNotActionsTakeOffOneRoleAlone(t *testing.T) {
	w := newWorld(t)
	w.assign(alice, Contributor, sub1)
	w.allow(alice, ajar.PolicyWrite, pol)
	w.deny(alice, ajar.RoleAssignmentWrite, ops)
	w.assign(alice, UserAccessAdministrator, ops)
	w.allow(alice, ajar.RoleAssignmentWrite, ops)
	w.deny(alice, ajar.RoleAssignmentWrite, web)
}

func TestStarsStandForSlashesTooAndCaseNeverMatters(t *testing.T) {
	for _, c := range []struct {
		pattern, action string
		want            bool
	}{
		{"*", "Microsoft.Compute/virtualMachines/read", true},
		{"*/read", "Microsoft.Compute/virtualMachines/extensions/READ", true},
		{"Microsoft.Network/*/read", "microsoft.network/a/b/read", true},
		{"Microsoft.Network/*/read", "Microsoft.Network/read", false},
		{"Microsoft.Compute/virtualMachines/*/read", "Microsoft.Compute/virtualMachines/read", true},
		{"Microsoft.Compute/virtualMachines/*/read", "Microsoft.Compute/virtualMachines/instanceView/read", true},
		{"Microsoft.Compute/virtualMachines/*/read", "Microsoft.Compute/virtualMachinesX/read", false},
		{"Microsoft.Compute/virtualMachines/*/read", "Microsoft.Compute/virtualMachines/write", false},
		{"a/b/*/c/*/read", "a/b/c/read", true},
		{"a/b/*/c/*/read", "a/b/x/c/read", true},
		{"a/b/*/c/*/read", "a/b/read", false},
		{"Microsoft.Compute/*", "Microsoft.ComputeX/read", false},
		{"a*b*c", "aXbYbZc", true},
		{"a*b*c", "aXbY", false},
		{"", "", true},
		{"", "a", false},
		{"**", "a", true},
	} {
		if got := matchAny(lower([]ajar.Action{ajar.Action(c.pattern)}), strings.ToLower(c.action)); got != c.want {
			t.Errorf("%q stands for %q = %v", c.pattern, c.action, got)
		}
	}
}

func TestControlPlaneNeverGrantsDataActions(t *testing.T) {
	w := newWorld(t)
	const login ajar.Action = "Microsoft.Compute/virtualMachines/login/action"
	w.assign(alice, Owner, ajar.Root)
	w.assign(bob, VMUserLogin, vm1)
	w.deny(bob, login, vm1)
	w.allow(alice, login, vm1)
}

func TestDenyAssignmentsWin(t *testing.T) {
	w := newWorld(t)
	w.assign(alice, Owner, ajar.Root)
	w.assign(bob, Owner, ajar.Root)
	w.group(team, bob)
	write := []ajar.Permission{{Actions: []ajar.Action{"*/write"}}}
	w.denied(ajar.DenyAssignment{Name: "freeze", Scope: ops, Permissions: write, Principals: []ajar.PrincipalID{ajar.Everyone}, ExcludePrincipals: []ajar.PrincipalID{team}})
	if d := w.deny(alice, ajar.MachineWrite, vm1); d.By != w.Denies[0].ID || !strings.Contains(d.Unmet[0], "freeze") {
		t.Errorf("%+v", d)
	}
	w.allow(alice, ajar.MachineWrite, web)
	w.allow(alice, ajar.MachineRead, vm1)
	w.allow(bob, ajar.MachineWrite, vm1)
	w.denied(ajar.DenyAssignment{Scope: sub1, Permissions: write, Principals: []ajar.PrincipalID{team}, NotBelow: true})
	w.deny(bob, ajar.PolicyWrite, sub1)
	w.allow(bob, ajar.PolicyWrite, pol)
	w.denied(ajar.DenyAssignment{Scope: sub1, Permissions: []ajar.Permission{{Actions: []ajar.Action{"*"}, NotActions: []ajar.Action{"*/read"}}}, Principals: []ajar.PrincipalID{bob}})
	w.deny(bob, ajar.PolicyWrite, pol)
	w.allow(bob, ajar.PolicyRead, pol)
}

func TestGroupsGiveTheirMembersWhatTheyHold(t *testing.T) {
	w := newWorld(t)
	w.group(team, alice)
	w.assign(team, JITRequester, ops)
	w.assign(night, Contributor, ops)
	w.allow(alice, ajar.PolicyInitiate, pol)
	w.deny(alice, ajar.PolicyWrite, pol)
	// Groups that the sign-in vouches for count for that call alone.
	claims := ajar.Caller{Principal: alice, Groups: []ajar.PrincipalID{night}}
	for range 2 {
		if d := w.index().Decide(claims, ajar.PolicyWrite, pol); !d.Allow {
			t.Error(d)
		}
		w.deny(alice, ajar.PolicyWrite, pol)
	}
	w.Principals[0].Disabled = true
	w.ix = nil
	w.deny(alice, ajar.PolicyInitiate, pol)
}

func TestDisabledPrincipalsHaveNothing(t *testing.T) {
	w := newWorld(t)
	w.assign(alice, Owner, ajar.Root)
	w.allow(alice, ajar.MachineRead, vm1)
	w.Principals = append(w.Principals, &ajar.Principal{ID: alice, Kind: ajar.User, Disabled: true})
	w.ix = nil
	w.deny(alice, ajar.MachineRead, vm1)
	if got := w.index().Scopes(ajar.Caller{Principal: alice}, ajar.MachineRead, ajar.Root); got != nil {
		t.Error(got)
	}
}

func TestRefusalsSayWhatWouldHelp(t *testing.T) {
	w := newWorld(t)
	w.assign(alice, Reader, ajar.Root)
	d := w.deny(alice, ajar.PolicyInitiate, pol)
	for _, want := range []string{string(alice), string(ajar.PolicyInitiate), string(pol), "Just-in-time Requester"} {
		if !strings.Contains(d.Unmet[0], want) {
			t.Errorf("%q does not say %q", d.Unmet[0], want)
		}
	}
}

// TestBuiltInRolesAreAzures is the table of who can do what with policies, as published.
func TestBuiltInRolesAreAzures(t *testing.T) {
	type row struct{ read, write, del, initiate bool }
	all, read, none := row{true, true, true, true}, row{read: true}, row{}
	want := map[ajar.RoleID]row{
		Owner: all, Contributor: all, SecurityAdmin: all, SecurityManager: all,
		Reader: read, SecurityReader: read, UserAccessAdministrator: read, RBACAdministrator: read,
		MonitoringReader: read, MonitoringContributor: read, LogAnalyticsReader: read, LogAnalyticsContributor: read,
		VirtualMachineContributor: none, NetworkContributor: none, VMUserLogin: none, VMAdministratorLogin: none, VMLocalUserLogin: none,
		JITRequester: {read: true, initiate: true}, JITApprover: read,
	}
	for _, r := range BuiltIn() {
		w := newWorld(t)
		w.assign(alice, r.ID, sub1)
		can := func(a ajar.Action) bool { return w.index().Decide(ajar.Caller{Principal: alice}, a, pol).Allow }
		got := row{can(ajar.PolicyRead), can(ajar.PolicyWrite), can(ajar.PolicyDelete), can(ajar.PolicyInitiate)}
		if expected, ok := want[r.ID]; !ok || got != expected {
			t.Errorf("%s: %+v, want %+v", r.Name, got, expected)
		}
		delete(want, r.ID)
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
}

func TestNobodyHoldsMoreThanTheirRolesSay(t *testing.T) {
	w := newWorld(t)
	w.assign(alice, RBACAdministrator, sub1)
	w.assign(bob, Contributor, sub1)
	lacks := func(who ajar.PrincipalID, want string, scope ajar.ID, p ajar.Permission) {
		t.Helper()
		if got := w.index().Lacks(ajar.Caller{Principal: who}, []ajar.Permission{p}, scope); got != want {
			t.Errorf("%s lacks %q, want %q", who, got, want)
		}
	}
	acts := func(a ...ajar.Action) ajar.Permission { return ajar.Permission{Actions: a} }
	lacks(alice, "", ops, acts("*/read"))
	lacks(alice, "", ops, acts("Microsoft.Compute/*/read"))
	lacks(alice, "*", ops, acts("*"))
	lacks(alice, "*/read", sub2, acts("*/read"))
	lacks(bob, "*", ops, acts("*"))
	lacks(bob, "", ops, acts("Microsoft.Compute/virtualMachines/*"))
	lacks(bob, "microsoft.compute/*", ops, acts("Microsoft.Compute/*")) // galleries/share is taken off
	lacks(bob, "microsoft.authorization/*", ops, acts("Microsoft.Authorization/*"))
	lacks(bob, "", ops, acts("Microsoft.Authorization/*/read"))
	lacks(bob, "", ops, ajar.Permission{Actions: []ajar.Action{"*"}, NotActions: BuiltIn()[1].Permissions[0].NotActions})
	lacks(bob, "microsoft.compute/virtualmachines/login/action", ops, ajar.Permission{DataActions: []ajar.Action{"Microsoft.Compute/virtualMachines/login/action"}})
	w.denied(ajar.DenyAssignment{Scope: vm1, Permissions: []ajar.Permission{acts("Microsoft.Compute/virtualMachines/delete")}, Principals: []ajar.PrincipalID{bob}})
	lacks(bob, "microsoft.compute/virtualmachines/*", ops, acts("Microsoft.Compute/virtualMachines/*"))
	lacks(bob, "", web, acts("Microsoft.Compute/virtualMachines/*"))
	w.denied(ajar.DenyAssignment{Scope: sub1, Permissions: []ajar.Permission{acts("Microsoft.Network/*")}, Principals: []ajar.PrincipalID{bob}})
	lacks(bob, "microsoft.network/networkinterfaces/read", web, acts("Microsoft.Network/networkInterfaces/read")) // taken away above
	w.denied(ajar.DenyAssignment{Scope: sub1, Permissions: []ajar.Permission{acts("Microsoft.Storage/*")}, Principals: []ajar.PrincipalID{bob}, NotBelow: true})
	lacks(bob, "", web, acts("Microsoft.Storage/storageAccounts/read"))
	lacks(bob, "microsoft.storage/storageaccounts/read", sub1, acts("Microsoft.Storage/storageAccounts/read"))
	if ix := w.index(); ix.Administers(ajar.Caller{Principal: alice}, ops) || ix.Administers(ajar.Caller{Principal: bob}, ops) {
		t.Error("neither is Owner nor User Access Administrator")
	}
	w.assign(alice, UserAccessAdministrator, ops)
	if ix := w.index(); !ix.Administers(ajar.Caller{Principal: alice}, vm1) || ix.Administers(ajar.Caller{Principal: alice}, web) {
		t.Error("alice administers ops alone")
	}
}

// TestNobodyHasNothing: groups that come along with no principal give nothing.
func TestNobodyHasNothing(t *testing.T) {
	w := newWorld(t)
	w.assign(team, Owner, ajar.Root)
	ix, who := w.index(), ajar.Caller{Groups: []ajar.PrincipalID{team}}
	if d := ix.Decide(who, ajar.PolicyRead, pol); d.Allow {
		t.Errorf("nobody may read by %s", d.By)
	}
	if roles, _ := ix.Holds(who, pol); len(roles) > 0 || len(ix.Scopes(who, ajar.PolicyRead, ajar.Root)) > 0 || ix.Administers(who, pol) {
		t.Errorf("nobody holds %v", roles)
	}
}
