package broker_test

import (
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/broker"
	"github.com/ajar-access/ajar/rbac"
)

// letters name the built-in roles in the matrix.
var letters = map[ajar.RoleID]string{
	rbac.Owner: "O", rbac.Contributor: "C", rbac.Reader: "R", rbac.UserAccessAdministrator: "U", rbac.RBACAdministrator: "B",
	rbac.SecurityReader: "sr", rbac.SecurityAdmin: "sa", rbac.SecurityManager: "sm", rbac.VirtualMachineContributor: "vc", rbac.NetworkContributor: "nc",
	rbac.VMUserLogin: "vu", rbac.VMAdministratorLogin: "va", rbac.VMLocalUserLogin: "vl", rbac.MonitoringReader: "mr", rbac.MonitoringContributor: "mc",
	rbac.LogAnalyticsReader: "lr", rbac.LogAnalyticsContributor: "lc", rbac.JITRequester: "jr", rbac.JITApprover: "ja",
}

// Who may, as sets of those letters. Everybody is whoever is signed in, for themselves.
const (
	everybody = "*"
	all       = "O C"                                              // roles that hold everything but access
	readers   = "O C R U B mr mc lr lc"                            // */read
	security  = "sr sa sm"                                         // Microsoft.Security/*/read and more
	authz     = "sr sa sm vc nc"                                   // Microsoft.Authorization/*/read
	holders   = readers + " " + security + " vc nc vu va vl jr ja" // whoever may read anything at all
)

var errNothing = ajar.Errorf(ajar.Forbidden, "the list is empty")

// seen makes an empty list a refusal: lists show what one may read.
func seen[T any](list []T, _ string, err error) error {
	if err == nil && len(list) == 0 {
		return errNothing
	}
	return err
}

func first[T any](_ T, err error) error { return err }

// bench is what a row finds ready: things made by others, under one roof.
type bench struct {
	*plane
	who, spare        ajar.Caller
	vm                ajar.ID
	role              ajar.RoleID
	assignment, deny  string
	theirs, own, open ajar.RequestID
	lease             ajar.LeaseID
	team              ajar.PrincipalID
	credential, token string
}

// listing is one that the plane holds.
func (m *bench) listing() *ajar.Listing {
	l, ok, err := m.b.BeginListing(ctx, ajar.Plane, ajar.Origin{Provider: "fake", Scope: group}, "x", time.Minute)
	if m.must(err); !ok {
		m.t.Fatal("the listing is not to be had")
	}
	return l
}

var verbs = []struct {
	name string
	may  string
	call func(m *bench) error
}{
	{"Policy", readers + " jr ja " + security, func(m *bench) error { return first(m.b.Policy(ctx, m.who, pol)) }},
	{"Policies", readers + " jr ja " + security, func(m *bench) error { return seen(m.b.Policies(ctx, m.who, group, broker.Page{})) }},
	{"PoliciesAsked", readers + " jr ja " + security, func(m *bench) error { return seen(m.b.PoliciesAsked(ctx, m.who, group, 1, broker.Page{})) }},
	{"PutPolicy", all, func(m *bench) error {
		return first(m.b.PutPolicy(ctx, m.who, ajar.Policy{ID: pol + "x", Machines: []ajar.MachinePolicy{machine(m.vm, port(80, ajar.TCP))}}, broker.PutOptions{}))
	}},
	{"PolicyImpact", all, func(m *bench) error {
		return first(m.b.PolicyImpact(ctx, m.who, ajar.Policy{ID: pol, Machines: []ajar.MachinePolicy{machine(m.vm, port(80, ajar.TCP))}}))
	}},
	{"DeletePolicy", all, func(m *bench) error { return first(m.b.DeletePolicy(ctx, m.who, pol, 0)) }},
	{"Initiate", all + " jr", func(m *bench) error { return first(m.ask(m.who, ask(m.vm, 22, time.Hour))) }},
	{"Request", readers + " jr ja " + security, func(m *bench) error { return first(m.b.Request(ctx, m.who, m.theirs)) }},
	{"RequestsByID", readers + " jr ja " + security, func(m *bench) error {
		found, err := m.b.RequestsByID(ctx, m.who, []ajar.RequestID{m.theirs, m.theirs, "nosuch"})
		return seen(slices.Collect(maps.Values(found)), "", err)
	}},
	{"Requests", everybody, func(m *bench) error {
		return seen(m.b.Requests(ctx, m.who, broker.RequestFilter{Requester: m.who.Principal}))
	}},
	{"Approve", all + " ja sa sm", func(m *bench) error { return first(m.b.Approve(ctx, m.who, m.theirs, "")) }},
	{"Deny", all + " ja sa sm", func(m *bench) error { return first(m.b.Deny(ctx, m.who, m.theirs, "")) }},
	{"Withdraw", everybody, func(m *bench) error { return first(m.b.Withdraw(ctx, m.who, m.own, "")) }},
	{"Revoke", all + " ja sa sm", func(m *bench) error { return first(m.b.Revoke(ctx, m.who, m.open, "")) }},
	{"CloseLease", all + " ja sa sm", func(m *bench) error { return first(m.b.CloseLease(ctx, m.who, m.lease, "")) }},
	{"Extend", all + " sa sm", func(m *bench) error { return first(m.b.Extend(ctx, m.who, m.open, broker.Extension{By: time.Minute})) }},
	{"ExtendLease", all + " sa sm", func(m *bench) error {
		return first(m.b.ExtendLease(ctx, m.who, m.lease, broker.Extension{By: time.Minute}))
	}},
	{"Lease", readers + " jr ja " + security, func(m *bench) error { return first(m.b.Lease(ctx, m.who, m.lease)) }},
	{"Leases", readers + " jr ja " + security, func(m *bench) error { return seen(m.b.Leases(ctx, m.who, broker.LeaseFilter{Scope: group})) }},

	{"Target", readers + " vc jr ja vu va", func(m *bench) error { return first(m.b.Target(ctx, m.who, m.vm)) }},
	{"Targets", readers + " vc jr ja vu va", func(m *bench) error { return seen(m.b.Targets(ctx, m.who, "", "", broker.Page{})) }},
	{"PutTarget", all + " vc", func(m *bench) error { return first(m.b.PutTarget(ctx, m.who, ajar.Target{ID: m.vm})) }},
	{"DeleteTarget", all + " vc", func(m *bench) error { return first(m.b.DeleteTarget(ctx, m.who, m.vm, true)) }},
	{"Machines", readers + " vc vu va jr ja", func(m *bench) error { return m.machines(broker.AsMachine) }},
	{"Machines", readers + " vc vu va", func(m *bench) error { return m.machines(broker.AsInstance) }},
	{"Machines", readers + " vc nc vu va", func(m *bench) error { return m.machines(broker.AsInterface) }},
	{"Machines", readers + " vc nc", func(m *bench) error { return m.machines(broker.AsSecurityGroup) }},
	{"Machines", readers + " nc", func(m *bench) error { return m.machines(broker.AsSecurityRule) }},
	{"Machines", readers + " vc nc vu va", func(m *bench) error { return m.machines(broker.AsPublicAddress) }},
	{"Machines", readers + " " + security, func(m *bench) error { return m.machines(broker.AsAssessment) }},
	{"Machines", readers, func(m *bench) error { return m.machines(broker.AsPolicyState) }},
	{"Machines", readers, func(m *bench) error { return m.machines(broker.AsPolicySummary) }},
	{"Machine", readers + " vc nc vu va", func(m *bench) error {
		return first(m.b.Machine(ctx, m.who, broker.AsInterface, broker.AsInterface.ID(m.vm), true))
	}},
	{"Tag", all + " vc", func(m *bench) error { return first(m.b.Tag(ctx, m.who, m.vm, map[string]string{"a": "b"}, nil)) }},
	{"Decline", all + " vc", func(m *bench) error {
		err := m.b.Decline(ctx, m.who, ajar.MachineStart, m.vm, ajar.Errorf(ajar.Conflict, "nobody can"))
		if errors.Is(err, ajar.Conflict) {
			return nil
		}
		return err
	}},
	{"AgreeInSubscription", all + " sa sm", func(m *bench) error {
		return m.b.AgreeInSubscription(ctx, m.who, ajar.PricingWrite, group.Subscription())
	}},
	{"InSubscription", readers + " " + authz, func(m *bench) error {
		return m.b.InSubscription(ctx, m.who, ajar.PolicyDefinitionRead, group.Subscription())
	}},
	{"May", readers + " " + authz, func(m *bench) error { return m.b.May(ctx, m.who, ajar.PolicyAssignmentRead, group) }},
	{"ReleaseGuard", all, func(m *bench) error {
		return m.b.ReleaseGuard(ctx, m.who, m.vm, ajar.Flow{Port: ajar.Port{Number: 9, Protocol: ajar.TCP}})
	}},
	{"ConfirmGuard", all, func(m *bench) error { return first(m.b.ConfirmGuard(ctx, m.who, m.vm)) }},
	{"CreateJoinToken", all, func(m *bench) error {
		_, _, err := m.b.CreateJoinToken(ctx, m.who, ajar.Target{ID: m.vm}, true)
		return err
	}},
	{"RemoveHost", all, func(m *bench) error { return m.b.RemoveHost(ctx, m.who, m.vm, false) }},
	{"Hosts", readers, func(m *bench) error { return seen(m.b.Hosts(ctx, m.who, "", broker.Page{})) }},
	{"HostsOf", readers + " vc jr ja vu va", func(m *bench) error {
		all, err := m.b.HostsOf(ctx, m.who, []ajar.ID{vm(group, "vm1")})
		return seen(all, "", err)
	}},

	{"BeginListing", all + " vc", func(m *bench) error {
		_, _, err := m.b.BeginListing(ctx, m.who, ajar.Origin{Provider: "fake", Scope: group}, "x", time.Minute)
		return err
	}},
	{"Agree", all + " vc", func(m *bench) error { return first(m.b.Agree(ctx, m.who, m.listing(), []ajar.Found{{ID: m.vm}})) }},
	{"EndListing", all + " vc", func(m *bench) error {
		return first(m.b.EndListing(ctx, m.who, m.listing(), map[string]bool{m.vm.Key(): true}, start))
	}},
	{"FailListing", all + " vc", func(m *bench) error { return m.b.FailListing(ctx, m.who, m.listing(), "broken", start) }},

	{"Principal", readers, func(m *bench) error { return first(m.b.Principal(ctx, m.who, "spare")) }},
	{"Principals", readers, func(m *bench) error { return seen(m.b.Principals(ctx, m.who, ajar.User, broker.Page{})) }},
	{"PutPrincipal", all, func(m *bench) error {
		return first(m.b.PutPrincipal(ctx, m.who, ajar.Principal{Kind: ajar.ServicePrincipal, Name: "made"}))
	}},
	{"DeletePrincipal", all, func(m *bench) error { return first(m.b.DeletePrincipal(ctx, m.who, m.spare.Principal)) }},
	{"AddMember", all, func(m *bench) error { return first(m.b.AddMember(ctx, m.who, m.team, m.who.Principal)) }},
	{"RemoveMember", all, func(m *bench) error { return first(m.b.RemoveMember(ctx, m.who, m.team, m.spare.Principal)) }},
	{"PutCredential", all, func(m *bench) error {
		return first(m.b.PutCredential(ctx, m.who, ajar.Credential{Principal: m.spare.Principal, Kind: ajar.Password, Hash: "h"}))
	}},
	{"Credentials", readers, func(m *bench) error { return first(m.b.Credentials(ctx, m.who, m.spare.Principal)) }},
	{"DeleteCredential", all, func(m *bench) error { return first(m.b.DeleteCredential(ctx, m.who, m.credential)) }},
	{"PutToken", everybody, func(m *bench) error {
		return first(m.b.PutToken(ctx, m.who, ajar.Token{Hash: strings.Repeat("ab", 32), Expires: start.Add(time.Hour)}))
	}},
	{"Tokens", readers, func(m *bench) error {
		_, _, err := m.b.Tokens(ctx, m.who, m.spare.Principal, broker.Page{})
		return err
	}},
	{"RevokeToken", all, func(m *bench) error { return first(m.b.RevokeToken(ctx, m.who, m.spare.Principal, m.token[:10])) }},

	{"PutFactor", everybody, func(m *bench) error {
		return first(m.b.PutFactor(ctx, m.who, ajar.Factor{Kind: ajar.TOTP, Name: "phone"}))
	}},
	{"DeleteFactor", everybody, func(m *bench) error {
		f, err := m.b.PutFactor(ctx, m.who, ajar.Factor{Kind: ajar.TOTP, Name: "phone"})
		m.must(err)
		return m.b.DeleteFactor(ctx, m.who, f.ID)
	}},
	{"ResetFactors", all, func(m *bench) error { return first(m.b.ResetFactors(ctx, m.who, m.spare.Principal)) }},
	{"Sessions", everybody, func(m *bench) error { return first(m.b.Sessions(ctx, m.who)) }},
	{"EndSession", everybody, func(m *bench) error { return m.b.EndSession(ctx, m.who, "", "") }},

	{"RoleDefinition", everybody, func(m *bench) error { return first(m.b.RoleDefinition(ctx, m.who, "owner")) }},
	{"RoleDefinitions", everybody, func(m *bench) error { return seen(m.b.RoleDefinitions(ctx, m.who, broker.Page{})) }},
	{"PutRoleDefinition", "O U", func(m *bench) error {
		return first(m.b.PutRoleDefinition(ctx, m.who, ajar.RoleDefinition{Name: "made", Permissions: []ajar.Permission{{Actions: []ajar.Action{"*"}}}, AssignableScopes: []ajar.ID{group}}))
	}},
	{"DeleteRoleDefinition", "O U", func(m *bench) error { return first(m.b.DeleteRoleDefinition(ctx, m.who, m.role)) }},
	{"RoleAssignment", readers + " " + authz, func(m *bench) error { return first(m.b.RoleAssignment(ctx, m.who, m.assignment)) }},
	{"RoleAssignments", readers + " " + authz, func(m *bench) error {
		return seen(m.b.RoleAssignments(ctx, m.who, broker.AssignmentFilter{Principal: m.spare.Principal}))
	}},
	{"Assign", "O U B", func(m *bench) error {
		_, _, err := m.b.Assign(ctx, m.who, ajar.RoleAssignment{Principal: m.spare.Principal, Role: rbac.Reader, Scope: other}, broker.AssignOptions{})
		return err
	}},
	{"Unassign", "O U B", func(m *bench) error { return first(m.b.Unassign(ctx, m.who, other, m.assignment)) }},
	{"RolesAt", readers + " " + authz, func(m *bench) error { return first(m.b.RolesAt(ctx, m.who, group, broker.RolesAsked{})) }},
	{"RoleAt", readers + " " + authz, func(m *bench) error { return first(m.b.RoleAt(ctx, m.who, group, m.role)) }},
	{"RemoveRole", "O U", func(m *bench) error { return first(m.b.RemoveRole(ctx, m.who, group, m.role)) }},
	{"AssignmentsAt", readers + " " + authz, func(m *bench) error { return seen(m.b.AssignmentsAt(ctx, m.who, group, broker.AssignmentsAsked{})) }},
	{"AssignmentAt", readers + " " + authz, func(m *bench) error { return first(m.b.AssignmentAt(ctx, m.who, other, m.assignment)) }},
	{"DeniesAt", readers + " " + authz, func(m *bench) error { return first(m.b.DeniesAt(ctx, m.who, group, broker.DeniesAsked{})) }},
	{"DenyAt", readers + " " + authz, func(m *bench) error { return first(m.b.DenyAt(ctx, m.who, other, m.deny)) }},
	{"Permissions", everybody, func(m *bench) error { return first(m.b.Permissions(ctx, m.who, group)) }},
	{"DeleteRoleAssignment", "O U B", func(m *bench) error { return first(m.b.DeleteRoleAssignment(ctx, m.who, m.assignment)) }},
	{"PutDenyAssignment", "O U", func(m *bench) error {
		return first(m.b.PutDenyAssignment(ctx, m.who, ajar.DenyAssignment{Scope: other, Principals: []ajar.PrincipalID{m.spare.Principal}, Permissions: []ajar.Permission{{Actions: []ajar.Action{"*"}}}}))
	}},
	{"DeleteDenyAssignment", "O U", func(m *bench) error { return first(m.b.DeleteDenyAssignment(ctx, m.who, m.deny)) }},
	{"DenyAssignments", readers + " " + authz, func(m *bench) error { return seen(m.b.DenyAssignments(ctx, m.who, "", broker.Page{})) }},
	{"PutManagementGroup", all, func(m *bench) error {
		return first(m.b.PutManagementGroup(ctx, m.who, ajar.ManagementGroup{ID: "/providers/Microsoft.Management/managementGroups/new"}))
	}},
	{"DeleteManagementGroup", all, func(m *bench) error {
		return first(m.b.DeleteManagementGroup(ctx, m.who, "/providers/Microsoft.Management/managementGroups/old"))
	}},
	{"ManagementGroups", readers + " sr sa", func(m *bench) error { return seen(m.b.ManagementGroups(ctx, m.who, broker.Page{})) }},
	{"ManagementGroup", readers + " sr sa", func(m *bench) error {
		return first(m.b.ManagementGroup(ctx, m.who, "/providers/Microsoft.Management/managementGroups/old"))
	}},

	{"Subscriptions", holders, func(m *bench) error { return seen(m.b.Subscriptions(ctx, m.who, broker.Page{})) }},
	{"Subscription", holders, func(m *bench) error { return first(m.b.Subscription(ctx, m.who, group.Subscription())) }},
	{"Locations", holders, func(m *bench) error { return first(m.b.Locations(ctx, m.who, group)) }},
	{"ResourceGroups", holders, func(m *bench) error { return seen(m.b.ResourceGroups(ctx, m.who, group.Subscription(), broker.Page{})) }},
	{"ResourceGroup", holders, func(m *bench) error { return first(m.b.ResourceGroup(ctx, m.who, group)) }},
	{"AgreeToResourceGroup", all, func(m *bench) error { return first(m.b.AgreeToResourceGroup(ctx, m.who, group)) }},

	{"Events", readers, func(m *bench) error { return first(m.b.Events(ctx, m.who, ajar.EventFilter{})) }},
	{"Batches", readers, func(m *bench) error { return first(m.b.Batches(ctx, m.who, 0, 1)) }},
}

// unasked lists what authorizes nobody, with the reason.
var unasked = map[string]string{
	"Bootstrap":     "start-up, before anything is served",
	"EnsureAdmin":   "programs on the plane's own machine",
	"AfterRestore":  "programs on the plane's own machine",
	"Lapse":         "the plane's own clockwork",
	"Record":        "the plane's own parts",
	"Join":          "the join token is the authorization",
	"Arrive":        "the provider's proof of who it is is the authorization",
	"Renew":         "the host's certificate is the authorization",
	"LeaveHost":     "the host's certificate is the authorization",
	"CheckIdentity": "says whether a certificate is one",
}

// TestEveryVerbIsInTheMatrix: a new verb without a row here fails.
func TestEveryVerbIsInTheMatrix(t *testing.T) {
	var rows []string
	for _, v := range verbs {
		rows = append(rows, v.name)
	}
	b := reflect.TypeFor[*broker.Broker]()
	for i := range b.NumMethod() {
		m := b.Method(i)
		caller := m.Type.NumIn() > 2 && m.Type.In(2) == reflect.TypeFor[ajar.Caller]()
		if _, ok := unasked[m.Name]; ok == caller {
			t.Errorf("%s: takes a Caller: %v, is listed as unasked: %v", m.Name, caller, ok)
		}
		if caller && !slices.Contains(rows, m.Name) {
			t.Errorf("%s has no row in the matrix", m.Name)
		}
	}
}

// TestWhoMayDoWhat calls every verb as the holder of every built-in role at /, and as somebody without any. The rest of
// the world is the same for all of them.
func TestWhoMayDoWhat(t *testing.T) {
	roles := append(rbac.BuiltIn(), ajar.RoleDefinition{Name: "no role at all"})
	for _, r := range roles {
		t.Run(r.Name, func(t *testing.T) {
			t.Parallel()
			letter, known := letters[r.ID]
			if !known && r.ID != "" {
				t.Fatal("the role has no letter")
			}
			m := newBench(t, r.ID)
			stale := true
			for _, v := range verbs {
				if stale {
					m.again()
				}
				may := v.may == everybody || (letter != "" && slices.Contains(strings.Fields(v.may), letter))
				before := m.everything()
				err := v.call(m)
				stale = m.everything() != before
				switch {
				case may && err != nil:
					t.Errorf("%s may not %s: %v", r.Name, v.name, err)
				case !may && !errors.Is(err, ajar.Forbidden):
					t.Errorf("%s may %s: %v", r.Name, v.name, err)
				case !may && stale:
					t.Errorf("%s was refused to %s, and something changed", r.Name, v.name)
				}
			}
		})
	}
}

func (m *bench) machines(f broker.Facet) error {
	return seen(m.b.Machines(ctx, m.who, f, broker.Look{Under: group}))
}

func newBench(t *testing.T, role ajar.RoleID) *bench {
	m := &bench{plane: newPlane(t), vm: vm(group, "vm1")}
	m.who = m.user("who")
	if role != "" {
		m.assign(m.who.Principal, role, ajar.Root)
	}
	return m
}

// again puts back what a verb may have taken away.
func (m *bench) again() {
	m.t.Helper()
	m.wait(time.Second)
	if ps, _, err := m.b.Principals(ctx, m.owner, ajar.ServicePrincipal, broker.Page{}); err == nil && len(ps) > 0 {
		_, err := m.b.DeletePrincipal(ctx, m.owner, ps[0].ID)
		m.must(err)
	}
	if p, err := m.b.Principal(ctx, m.owner, "spare"); err == nil {
		m.spare = ajar.Caller{Principal: p.ID, Name: "spare", From: here, AuthTime: m.clock()}
	} else {
		m.spare = m.user("spare")
	}
	m.host1()
	_, err := m.b.PutPolicy(ctx, m.owner, ajar.Policy{ID: pol, Unguard: ajar.Keep, Machines: []ajar.MachinePolicy{machine(m.vm, port(22, ajar.TCP), port(9, ajar.TCP), port(7, ajar.TCP, approvals(1)))}}, broker.PutOptions{})
	m.must(err)
	_, err = m.b.PutPolicy(ctx, m.owner, ajar.Policy{ID: pol, Unguard: ajar.Keep, Machines: []ajar.MachinePolicy{machine(m.vm, port(22, ajar.TCP), port(7, ajar.TCP, approvals(1)), port(uint16(1000+m.clock().Second()), ajar.UDP))}}, broker.PutOptions{ConfirmWithin: time.Hour})
	m.must(err)
	m.rightsAgain()
	m.theirs = m.plant(m.owner.Principal, ajar.Pending, 7)
	m.own = m.plant(m.who.Principal, ajar.Pending, 7)
	m.open = m.plant(m.owner.Principal, ajar.Approved, 22)
	g, err := m.b.PutPrincipal(ctx, m.owner, ajar.Principal{Kind: ajar.Group, Name: "group " + uuid.NewString()[:8]})
	m.must(err)
	_, err = m.b.AddMember(ctx, m.owner, g.ID, m.spare.Principal)
	m.must(err)
	c, err := m.b.PutCredential(ctx, m.owner, ajar.Credential{Principal: m.spare.Principal, Kind: ajar.Once, Hash: "h"})
	m.must(err)
	k, err := m.b.PutToken(ctx, m.spare, ajar.Token{Hash: strings.ReplaceAll(uuid.NewString()+uuid.NewString(), "-", ""), Expires: m.clock().Add(time.Hour)})
	m.must(err)
	m.team, m.credential, m.token = g.ID, c.ID, k.Hash
}

func (m *bench) host1() {
	m.t.Helper()
	target, err := m.b.Target(ctx, m.owner, m.vm)
	if err != nil || len(target.Endpoints) == 0 {
		m.host(m.vm)
	}
}

func (m *bench) rightsAgain() {
	m.t.Helper()
	role, err := m.b.RoleDefinition(ctx, m.owner, "planted")
	if err != nil {
		role, err = m.b.PutRoleDefinition(ctx, m.owner, ajar.RoleDefinition{Name: "planted", Permissions: []ajar.Permission{{Actions: []ajar.Action{"a/read"}}}, AssignableScopes: []ajar.ID{group}})
		m.must(err)
	}
	m.role = role.ID
	m.must(m.store.Update(ctx, dropMade))
	as, _, err := m.b.RoleAssignments(ctx, m.owner, broker.AssignmentFilter{Principal: m.spare.Principal})
	m.must(err)
	for _, a := range as {
		_, err := m.b.DeleteRoleAssignment(ctx, m.owner, a.ID)
		m.must(err)
	}
	m.assignment = m.assign(m.spare.Principal, rbac.VMLocalUserLogin, other).ID
	ds, _, err := m.b.DenyAssignments(ctx, m.owner, "", broker.Page{})
	m.must(err)
	for _, d := range ds {
		_, err := m.b.DeleteDenyAssignment(ctx, m.owner, d.ID)
		m.must(err)
	}
	d, err := m.b.PutDenyAssignment(ctx, m.owner, ajar.DenyAssignment{Name: "planted", Scope: other, Principals: []ajar.PrincipalID{m.owner.Principal}, Permissions: []ajar.Permission{{Actions: []ajar.Action{"nothing/at/all"}}}})
	m.must(err)
	m.deny = d.ID
	_, err = m.b.PutManagementGroup(ctx, m.owner, ajar.ManagementGroup{ID: "/providers/Microsoft.Management/managementGroups/old"})
	m.must(err)
}

// dropMade removes the role and the tokens that verbs make, so that they can be made again.
func dropMade(tx ajar.Tx) error {
	rs, _, err := ajar.List[ajar.RoleDefinition](tx, ajar.Filter{Ref: "made"})
	for _, r := range rs {
		err = errors.Join(err, tx.Delete(ajar.KindRoleDefinition, string(r.ID)))
	}
	ks, _, err2 := ajar.List[ajar.Token](tx, ajar.Filter{})
	for _, k := range ks {
		err2 = errors.Join(err2, tx.Delete(ajar.KindToken, k.Hash))
	}
	return errors.Join(err, err2)
}

// plant writes a request straight into the store, as if it had been made by somebody who may.
func (m *bench) plant(who ajar.PrincipalID, state ajar.RequestState, n uint16) ajar.RequestID {
	m.t.Helper()
	now := m.clock()
	r := &ajar.Request{ID: ajar.RequestID(uuid.NewString()), Policy: pol, Requester: who, State: state, Needs: 1, Created: now, Deadline: now.Add(time.Hour)}
	a := ask(m.vm, n, time.Hour, "203.0.113.7/32")
	a.Port.Protocol = ajar.TCP
	r.Asks = []ajar.Ask{a}
	m.must(m.store.Update(ctx, func(tx ajar.Tx) error {
		r.Rev = 0
		if state != ajar.Approved {
			return tx.Put(r)
		}
		target, err := ajar.Get[ajar.Target](tx, m.vm.Key())
		if err != nil {
			return err
		}
		l := &ajar.Lease{ID: ajar.LeaseID(uuid.NewString()), Request: r.ID, Policy: pol, Target: m.vm, Endpoint: target.Endpoints[0], Flow: ajar.Flow{Port: a.Port},
			Sources: a.Sources, Requester: who, Start: now, End: now.Add(time.Hour), Max: 3 * time.Hour, State: ajar.Opening}
		r.Leases, r.Needs, m.lease = []ajar.LeaseID{l.ID}, 0, l.ID
		return errors.Join(tx.Put(r), tx.Put(l))
	}))
	return r.ID
}
