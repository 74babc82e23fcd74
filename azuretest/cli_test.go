//go:build linux

package azuretest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/lab"
)

// The command line of Azure, as Debian ships it, from its first command to its last: nothing in it is changed, and it
// has never heard of us.
func TestAzureCLI(t *testing.T) {
	t.Parallel()
	w := shared(t)
	owner := w.addProgram(t, "az-owner", "Owner", lab.Subscription)
	a := newAZ(t, w)
	a.register(t)
	var cloud struct {
		Endpoints struct{ ActiveDirectory, ResourceManager, ActiveDirectoryResourceID string }
		IsActive  bool
	}
	a.run(t, &cloud, "cloud", "show", "-n", "Ajar")
	if cloud.Endpoints.ActiveDirectory != w.url+"/adfs" || cloud.Endpoints.ResourceManager != w.url || !cloud.IsActive {
		t.Errorf("the cloud is %+v", cloud)
	}
	fresh := a.copy(t)

	var accounts []account
	a.run(t, &accounts, "login", "--service-principal", "-u", owner.id, "-p", owner.secret, "--tenant", w.tenant)
	if len(accounts) != 1 || accounts[0].ID != labSubscription || accounts[0].State != "Enabled" || accounts[0].TenantID != w.tenant ||
		accounts[0].User.Name != owner.id || accounts[0].User.Type != "servicePrincipal" || !accounts[0].IsDefault {
		t.Fatalf("accounts: %+v", accounts)
	}
	t.Run("around", func(t *testing.T) {
		t.Run("sign in", func(t *testing.T) { t.Parallel(); waysIn(t, fresh) })
		t.Run("account", func(t *testing.T) { t.Parallel(); a.account(t, owner) })
		t.Run("directory", func(t *testing.T) { t.Parallel(); a.directory(t) })
		t.Run("security", func(t *testing.T) { t.Parallel(); a.security(t) })
		t.Run("policy", func(t *testing.T) { t.Parallel(); a.life(t, owner) })
	})
	a.run(t, nil, "logout")
	a.refuse(t, []string{"az login"}, "security", "jit-policy", "list")
	t.Logf("%d command lines took %.0f s, one after the other", timings.calls, timings.sum.Seconds())
}

// waysIn are the ways to sign in that need no browser, and what is said to who may not.
func waysIn(t *testing.T, fresh *az) {
	w := fresh.w
	p := w.addProgram(t, "az-reader", "Reader", lab.Group)
	fresh.refuse(t, []string{"AADSTS7000215"}, "login", "--service-principal", "-u", p.id, "-p", "wrong", "--tenant", w.tenant)
	var accounts []account
	pem := w.addCertificate(t, p.id, "az-reader")
	fresh.run(t, &accounts, "login", "--service-principal", "-u", p.id, "-p", pem, "--tenant", domain)
	if len(accounts) != 1 || accounts[0].ID != labSubscription || accounts[0].TenantID != w.tenant {
		t.Errorf("with a certificate: %+v", accounts)
	}
	body := fmt.Sprintf(`{"kind":"Basic","properties":{"virtualMachines":[{"id":"%s","ports":[]}]}}`, w.lab.Machines[ofCLI].ID)
	fresh.refuse(t, []string{"AuthorizationFailed", "Microsoft.Security/locations/jitNetworkAccessPolicies/write"},
		"rest", "--method", "put", "--url", string(policyID("mine"))+"?api-version=2020-01-01", "--body", body)

	w.addPerson(t, "az-person", "Just-in-time Requester")
	fresh.run(t, &accounts, "login", "-u", "az-person", "-p", password)
	if len(accounts) != 1 || accounts[0].User.Name != "az-person" || accounts[0].User.Type != "user" {
		t.Errorf("with a password: %+v", accounts)
	}
}

// account is what az knows without asking, and what it asks right after signing in.
func (a *az) account(t *testing.T, owner program) {
	var one account
	a.run(t, &one, "account", "show")
	if one.ID != labSubscription || one.TenantID != a.w.tenant {
		t.Errorf("account show: %+v", one)
	}
	var all []account
	a.run(t, &all, "account", "list")
	if len(all) != 1 || all[0].CloudName != "Ajar" {
		t.Errorf("account list: %+v", all)
	}
	var token struct{ AccessToken, TokenType, Tenant, Subscription string }
	a.run(t, &token, "account", "get-access-token")
	if token.TokenType != "Bearer" || token.Tenant != a.w.tenant || token.Subscription != labSubscription {
		t.Errorf("get-access-token: %+v", token)
	}
	if got := a.w.call(t, token.AccessToken, "GET", string(lab.Subscription)+"?api-version=2022-12-01", ""); got.status != 200 {
		t.Errorf("az's token is answered with %d %s", got.status, got.body)
	}
	var claims struct{ Aud, Oid, Tid, Appid, Idtyp string }
	if payload(t, token.AccessToken, &claims); claims.Oid != owner.id || claims.Tid != a.w.tenant || strings.TrimRight(claims.Aud, "/") != a.w.url {
		t.Errorf("az's token says %+v", claims)
	}
	var at []struct{ Name, DisplayName string }
	a.run(t, &at, "account", "list-locations")
	if len(at) != 1 || at[0].Name != lab.Location {
		t.Errorf("locations: %+v", at)
	}
}

// directory is what there is around policies.
func (a *az) directory(t *testing.T) {
	var groups []struct{ Name, Location, ID string }
	a.run(t, &groups, "group", "list")
	if len(groups) != 1 || groups[0].Name != "lab" || groups[0].Location != lab.Location {
		t.Errorf("groups: %+v", groups)
	}
	var exists bool
	if a.run(t, &exists, "group", "exists", "-n", "lab"); !exists {
		t.Error("group exists says no")
	}
	var list []struct{ ID, Name, Type, Location string }
	a.run(t, &list, "resource", "list", "--resource-type", "Microsoft.Compute/virtualMachines")
	if len(list) != machines || list[0].Type != "Microsoft.Compute/virtualMachines" || list[0].Location != lab.Location {
		t.Errorf("machines: %+v", list)
	}
	var vm struct {
		ID, Name, Type string
		Properties     struct {
			HardwareProfile any
			StorageProfile  struct{ OSDisk struct{ OSType string } }
			NetworkProfile  struct{ NetworkInterfaces []struct{ ID string } }
		}
	}
	m := a.w.lab.Machines[ofCLI]
	a.run(t, &vm, "resource", "show", "--ids", string(m.ID))
	if vm.ID != string(m.ID) || vm.Properties.StorageProfile.OSDisk.OSType != "Linux" || len(vm.Properties.NetworkProfile.NetworkInterfaces) != 1 {
		t.Errorf("the machine: %+v", vm)
	}
	var provider struct {
		Namespace, RegistrationState string
		ResourceTypes                []struct{ ResourceType string }
	}
	a.run(t, &provider, "provider", "show", "-n", "Microsoft.Security")
	if provider.RegistrationState != "Registered" || !slices.ContainsFunc(provider.ResourceTypes, func(r struct{ ResourceType string }) bool {
		return r.ResourceType == "locations/jitNetworkAccessPolicies"
	}) {
		t.Errorf("provider: %+v", provider)
	}
	var all []struct{ Namespace string }
	if a.run(t, &all, "provider", "list"); len(all) < 5 {
		t.Errorf("providers: %+v", all)
	}
	a.run(t, nil, "provider", "register", "-n", "Microsoft.Security")
	var roles struct {
		Value []struct {
			Properties struct{ RoleName, Type string }
		}
	}
	// az role crashes in Debian's build, so by hand what it would ask.
	a.run(t, &roles, "rest", "--method", "get", "--url", string(lab.Subscription)+"/providers/Microsoft.Authorization/roleDefinitions?api-version=2022-04-01&$filter=roleName eq 'Reader'")
	if len(roles.Value) != 1 || roles.Value[0].Properties.Type != "BuiltInRole" {
		t.Errorf("roles: %+v", roles)
	}
	var trees []struct{ Name string }
	a.run(t, &trees, "account", "management-group", "list") // az itself waits ten seconds here, for the registration that it asks for
	if len(trees) != 0 {
		t.Errorf("management groups that this one may read: %+v", trees)
	}
}

// security is Defender for Cloud around just-in-time access.
func (a *az) security(t *testing.T) {
	var plans struct {
		Value []struct{ Name, PricingTier, SubPlan string }
	}
	a.run(t, &plans, "security", "pricing", "list")
	if len(plans.Value) != 1 || plans.Value[0].Name != "VirtualMachines" || plans.Value[0].PricingTier != "Standard" || plans.Value[0].SubPlan != "P2" {
		t.Errorf("plans: %+v", plans)
	}
	var price struct{ Name, PricingTier string }
	if a.run(t, &price, "security", "pricing", "show", "-n", "VirtualMachines"); price.PricingTier != "Standard" {
		t.Errorf("plan: %+v", price)
	}
	var rules, assigned []struct{ Name, PolicyDefinitionID string }
	a.run(t, &rules, "policy", "definition", "list")
	a.run(t, &assigned, "policy", "assignment", "list")
	if len(rules) != 1 || rules[0].Name != "b0f33259-77d7-4c9e-aac6-3aabcfae693c" || len(assigned) != 1 || !strings.HasSuffix(assigned[0].PolicyDefinitionID, rules[0].Name) {
		t.Errorf("policy: %+v, assigned %+v", rules, assigned)
	}
	var states []struct{ ComplianceState, ResourceID string }
	if a.run(t, &states, "policy", "state", "list"); len(states) != machines {
		t.Errorf("policy states: %+v", states)
	}
	var at []struct{ Name string }
	if a.run(t, &at, "security", "location", "list"); len(at) != 1 || at[0].Name != lab.Location {
		t.Errorf("security locations: %+v", at)
	}
	var findings []struct {
		Name, DisplayName string
		Status            struct{ Code string }
		ResourceDetails   struct{ ID string }
	}
	a.run(t, &findings, "security", "assessment", "list")
	seen := map[string]string{}
	for _, f := range findings {
		if f.Name == "805651bc-6ecd-4c73-9b55-97a19d0582d0" {
			seen[strings.ToLower(f.ResourceDetails.ID)] = f.Status.Code
		}
	}
	for _, m := range a.w.lab.Machines {
		if seen[strings.ToLower(string(m.ID))] == "" {
			t.Errorf("%s has no assessment: %+v", m.Name, findings)
		}
	}
}

// life is a policy's, and a port's with it: put, asked under, expired, shown, deleted.
func (a *az) life(t *testing.T, owner program) {
	w, m, began := a.w, a.w.lab.Machines[ofCLI], time.Now()
	if mine, theirs := w.both(m, 22); mine != nil || theirs != nil {
		t.Fatalf("before there is a policy: %v, %v", mine, theirs)
	}
	p := policyID("vm1-JITPolicy")
	url := string(p) + "?api-version=2020-01-01"
	var put struct {
		Properties struct{ ProvisioningState string }
	}
	a.run(t, &put, "rest", "--method", "put", "--url", url, "--body", fmt.Sprintf(
		`{"kind":"Basic","properties":{"virtualMachines":[{"id":"%s","ports":[{"number":22,"protocol":"TCP","allowedSourceAddressPrefix":"*","maxRequestAccessDuration":"PT3H"}]}]}}`, m.ID))
	if put.Properties.ProvisioningState != "Updating" {
		t.Errorf("put: %+v", put)
	}
	w.awaitClosed(t, m)

	// Long enough to be asked for and shown, at the pace of this machine.
	end := time.Now().Add(5*time.Second + 5*time.Since(began)).UTC().Truncate(time.Millisecond)
	ask := fmt.Sprintf(`{"virtualMachines":[{"id":"%s","ports":[{"number":22,"endTimeUtc":"%s"}]}],"justification":"from the command line"}`, m.ID, end.Format("2006-01-02T15:04:05.0000000Z"))
	var asked struct {
		VirtualMachines []struct {
			Ports []struct{ Status, StatusReason, AllowedSourceAddressPrefix string }
		}
	}
	a.run(t, &asked, "rest", "--method", "post", "--url", strings.Replace(string(p), labSubscription, "{subscriptionId}", 1)+"/initiate?api-version=2020-01-01", "--body", ask)
	if len(asked.VirtualMachines) != 1 || asked.VirtualMachines[0].Ports[0].Status != "Initiating" || asked.VirtualMachines[0].Ports[0].AllowedSourceAddressPrefix != w.lab.RequesterAddr().String() {
		t.Errorf("initiate: %+v", asked)
	}
	w.awaitOpen(t, m)
	a.refuse(t, []string{"JitAccessRequestNotSubset", "is not a subset of policy"}, "rest", "--method", "post", "--url", string(p)+"/initiate?api-version=2020-01-01",
		"--body", strings.Replace(ask, end.Format("2006-01-02"), end.AddDate(0, 0, 3).Format("2006-01-02"), 1))

	var shown policyOut
	a.run(t, &shown, "security", "jit-policy", "show", "-g", "lab", "-l", lab.Location, "-n", "vm1-JITPolicy")
	checkShown(t, &shown, p, m.ID, owner, end)
	if at := w.awaitClosed(t, m); at.Before(end.Add(-time.Second)) || at.After(end.Add(patience/2)) {
		t.Errorf("it closed at %s, and its end was %s", at, end)
	}
	a.lists(t, p)
	a.log(t, p, owner)
	a.removal(t, p, m)
}

func checkShown(t *testing.T, shown *policyOut, p, machine ajar.ID, owner program, end time.Time) {
	t.Helper()
	if shown.ID != string(p) || shown.Type != "Microsoft.Security/locations/jitNetworkAccessPolicies" || shown.ProvisioningState != "Succeeded" || shown.ResourceGroup != "lab" {
		t.Errorf("show: %+v", shown)
	}
	if len(shown.VirtualMachines) != 1 || shown.VirtualMachines[0].ID != string(machine) || shown.VirtualMachines[0].Ports[0].MaxRequestAccessDuration != "PT3H" {
		t.Errorf("show: machines %+v", shown.VirtualMachines)
	}
	if len(shown.Requests) != 1 || len(shown.Requests[0].VirtualMachines) != 1 {
		t.Fatalf("show: requests %+v", shown.Requests)
	}
	port := shown.Requests[0].VirtualMachines[0].Ports[0]
	if !port.EndTimeUTC.Equal(end) || port.StatusReason == "" || port.Status != "Initiated" && port.Status != "Revoked" {
		t.Errorf("show: port %+v", port)
	}
	if shown.Requests[0].Requestor == "" || owner.id == "" {
		t.Errorf("show: nobody asked: %+v", shown.Requests[0])
	}
}

// lists are the four lists of policies, and the resource as any other.
func (a *az) lists(t *testing.T, p ajar.ID) {
	for _, where := range [][]string{nil, {"-g", "lab"}, {"-l", lab.Location}, {"-g", "lab", "-l", lab.Location}} {
		var list []policyOut
		a.run(t, &list, append([]string{"security", "jit-policy", "list"}, where...)...)
		if !slices.ContainsFunc(list, func(o policyOut) bool { return o.ID == string(p) }) {
			t.Errorf("jit-policy list %v: %+v", where, list)
		}
	}
	var shown struct {
		ID, Kind   string
		Properties struct{ VirtualMachines []json.RawMessage }
	}
	a.run(t, &shown, "resource", "show", "--ids", string(p))
	if shown.ID != string(p) || shown.Kind != "Basic" || len(shown.Properties.VirtualMachines) != 1 {
		t.Errorf("resource show: %+v", shown)
	}
}

// log is the activity log: who asked, when, for which policy.
func (a *az) log(t *testing.T, p ajar.ID, owner program) {
	type record struct {
		Caller, CorrelationID, ResourceID, Level string
		OperationName, Status, EventName         struct{ Value string }
		EventTimestamp                           time.Time
	}
	const initiate = "Microsoft.Security/locations/jitNetworkAccessPolicies/initiate/action"
	var all []record
	a.run(t, &all, "monitor", "activity-log", "list", "--resource-id", string(p), "--offset", "1h")
	statuses := map[string][]string{}
	for _, r := range all {
		if strings.EqualFold(r.OperationName.Value, initiate) {
			statuses[r.CorrelationID] = append(statuses[r.CorrelationID], r.Status.Value)
			if !strings.EqualFold(r.ResourceID, string(p)) || r.Caller != owner.id && r.Caller != "az-owner" {
				t.Errorf("record: %+v", r)
			}
		}
	}
	if len(statuses) != 2 { // one that went well, one that was refused
		t.Errorf("requests in the log: %v of %+v", statuses, all)
	}
	for corr, s := range statuses {
		if len(s) != 2 || !slices.Contains(s, "Started") {
			t.Errorf("%s: %v; a start and an end are wanted", corr, s)
		}
	}
	var mine []record
	a.run(t, &mine, "monitor", "activity-log", "list", "-g", "lab", "--offset", "1h", "--status", "Failed", "--caller", owner.id)
	if len(mine) == 0 || slices.ContainsFunc(mine, func(r record) bool { return r.Status.Value != "Failed" }) {
		t.Errorf("failed: %+v", mine)
	}
}

// removal takes policies away, in both ways that az has.
func (a *az) removal(t *testing.T, p ajar.ID, m *lab.Machine) {
	url := string(p) + "?api-version=2020-01-01"
	a.run(t, nil, "rest", "--method", "delete", "--url", url)
	a.w.awaitOpenForAll(t, m)
	a.refuse(t, []string{"ResourceNotFound"}, "security", "jit-policy", "show", "-g", "lab", "-l", lab.Location, "-n", "vm1-JITPolicy")
	a.run(t, nil, "rest", "--method", "put", "--url", url, "--body", fmt.Sprintf(
		`{"kind":"Basic","properties":{"virtualMachines":[{"id":"%s","ports":[{"number":22,"protocol":"*","allowedSourceAddressPrefix":"*","maxRequestAccessDuration":"PT1H"}]}]}}`, m.ID))
	a.run(t, nil, "resource", "delete", "--ids", string(p))
	a.refuse(t, []string{"ResourceNotFound"}, "resource", "show", "--ids", string(p))
	a.w.awaitOpenForAll(t, m)
}
