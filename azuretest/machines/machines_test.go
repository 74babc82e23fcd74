//go:build !race

package machines

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/network/armnetwork/v9"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/security/armsecurity"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/ajartest"
	surface "github.com/ajar-access/ajar/arm"
	"github.com/ajar-access/ajar/authn"
	"github.com/ajar-access/ajar/broker"
)

// fixed is a credential that is a token.
type fixed string

// GetToken implements azcore.TokenCredential.
func (f fixed) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: string(f), ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// plane is one with web1 behind a policy and open to somebody, and as many machines beside it as are asked for.
type plane struct {
	*ajartest.Plane
	t      *testing.T
	server *httptest.Server
	cred   fixed
}

const group = "lab"

func newPlane(t *testing.T, more int) *plane {
	t.Helper()
	p := &plane{Plane: ajartest.New(t, ajartest.Options{}), t: t}
	var served http.Handler
	p.server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { served.ServeHTTP(w, r) }))
	t.Cleanup(p.server.Close)
	served = surface.New(surface.Config{
		Broker: p.Broker, Auth: authn.New(authn.Config{Store: p.Store, Clock: p.Now}), Clock: p.Now, PublicURL: p.server.URL,
		Tenant: ajar.Tenant{ID: "0f3c2b1a-7d6e-4c5b-9a80-91f2e3d4c5b6", Name: "Example", Domain: "example.org"},
	})
	text, hash := authn.NewToken()
	p.Put(&ajar.Token{Hash: hash, Principal: p.Admin().Principal, Name: "test", Created: p.Now(), Expires: p.Now().Add(time.Hour)})
	p.cred = fixed(text)
	addr := netip.MustParseAddr
	p.Put(
		&ajar.Target{ID: ajartest.MachineID("web1"), Location: "westeurope", OS: "Linux", Source: "person", Endpoints: []ajar.EndpointID{"web1"}, Created: p.Now(),
			Addresses: []netip.Addr{addr("10.0.0.4"), addr("203.0.113.9")}, Tags: map[string]string{"tier": "front"}},
		&ajar.Endpoint{ID: "web1", Provider: ajartest.Provider, Target: ajartest.MachineID("web1"), Address: "web1", Connected: true, LastSeen: p.Now()},
	)
	for i := range more {
		p.Put(&ajar.Target{ID: ajartest.MachineID(fmt.Sprintf("m%04d", i)), Location: "eastus", OS: "Windows", Source: "person", Created: p.Now(), Addresses: []netip.Addr{addr("198.51.100.7")}})
	}
	p.Policy("default", ajartest.MachineID("web1"))
	o := p.Open(p.User("alice", ajartest.At("Owner", ajartest.Group)), ajartest.PolicyID("default"), ajartest.MachineID("web1"), 22, "192.0.2.7/32", time.Hour)
	p.Until(func() bool { return p.Lease(o.Leases[0].ID).State == ajar.Open })
	return p
}

func (p *plane) options() *arm.ClientOptions {
	return &arm.ClientOptions{DisableRPRegistration: true, ClientOptions: azcore.ClientOptions{
		Cloud:     cloud.Configuration{Services: map[cloud.ServiceName]cloud.ServiceConfiguration{cloud.ResourceManager: {Audience: p.server.URL, Endpoint: p.server.URL}}},
		Transport: p.server.Client(),
		Retry:     policy.RetryOptions{MaxRetries: -1}, // an answer that is an error shall be seen as it came
	}}
}

var subscription = ajartest.Group.Subscription()

// made gives what a constructor, or a call, made.
func made[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// all reads a list to its end.
func all[P, V any](t *testing.T, pager *runtime.Pager[P], values func(P) []V) (out []V) {
	t.Helper()
	for pager.More() {
		out = append(out, values(made[P](t)(pager.NextPage(t.Context())))...)
	}
	return out
}

func refused(t *testing.T, what string, err error, status int, code string) {
	t.Helper()
	var r *azcore.ResponseError
	if !errors.As(err, &r) || r.StatusCode != status || r.ErrorCode != code {
		t.Errorf("%s: %v, not %d %s", what, err, status, code)
	}
}

// is compares what clients got, through their own pointers.
func is[T comparable](t *testing.T, what string, got *T, want T) {
	t.Helper()
	if got == nil || *got != want {
		t.Errorf("%s is %v, not %v", what, show(got), want)
	}
}

func show[T any](p *T) any {
	if p == nil {
		return "missing"
	}
	return *p
}

// knows fails where the plane sends members that the SDK's model of the answer does not have.
func (p *plane) knows(path string, model json.Unmarshaler) {
	p.t.Helper()
	req := made[*http.Request](p.t)(http.NewRequestWithContext(p.t.Context(), http.MethodGet, p.server.URL+path, nil))
	req.Header.Set("Authorization", "Bearer "+string(p.cred))
	resp := made[*http.Response](p.t)(p.server.Client().Do(req))
	defer resp.Body.Close()
	var sent, kept any
	if err := json.NewDecoder(resp.Body).Decode(&sent); err != nil {
		p.t.Fatal(err)
	}
	text := made[[]byte](p.t)(json.Marshal(sent))
	if err := model.UnmarshalJSON(text); err != nil {
		p.t.Fatalf("%s: %v", path, err)
	}
	if err := json.Unmarshal(made[[]byte](p.t)(json.Marshal(model)), &kept); err != nil {
		p.t.Fatal(err)
	}
	p.lost(path, sent, kept)
}

func (p *plane) lost(where string, sent, kept any) {
	p.t.Helper()
	switch sent := sent.(type) {
	case map[string]any:
		has, _ := kept.(map[string]any)
		for name, v := range sent {
			if _, ok := has[name]; !ok {
				p.t.Errorf("%s: the SDK does not know %q", where, name)
				continue
			}
			p.lost(where+" "+name, v, has[name])
		}
	case []any:
		has, _ := kept.([]any)
		for i, v := range sent {
			if i < len(has) {
				p.lost(where, v, has[i])
			}
		}
	}
}

func TestVirtualMachines(t *testing.T) {
	const many = 450
	p := newPlane(t, many)
	c := made[*armcompute.VirtualMachinesClient](t)(armcompute.NewVirtualMachinesClient(subscription, p.cred, p.options()))
	ctx := t.Context()
	vms := all(t, c.NewListAllPager(nil), func(r armcompute.VirtualMachinesClientListAllResponse) []*armcompute.VirtualMachine { return r.Value })
	ids := map[string]bool{}
	for _, m := range vms {
		ids[*m.Properties.VMID] = true
	}
	if len(vms) != many+1 || len(ids) != many+1 {
		t.Errorf("%d machines with %d ids, not %d", len(vms), len(ids), many+1)
	}
	in := all(t, c.NewListPager(group, nil), func(r armcompute.VirtualMachinesClientListResponse) []*armcompute.VirtualMachine { return r.Value })
	at := all(t, c.NewListByLocationPager("eastus", nil), func(r armcompute.VirtualMachinesClientListByLocationResponse) []*armcompute.VirtualMachine {
		return r.Value
	})
	if len(in) != many+1 || len(at) != many {
		t.Errorf("%d machines in the group, %d at the location", len(in), len(at))
	}

	view := armcompute.InstanceViewTypesInstanceView
	m := made[armcompute.VirtualMachinesClientGetResponse](t)(c.Get(ctx, group, "WEB1", &armcompute.VirtualMachinesClientGetOptions{Expand: &view}))
	is(t, "id", m.ID, string(ajartest.MachineID("web1")))
	is(t, "location", m.Location, "westeurope")
	is(t, "tag", m.Tags["tier"], "front")
	is(t, "operating system", m.Properties.StorageProfile.OSDisk.OSType, armcompute.OperatingSystemTypesLinux)
	is(t, "computer name", m.Properties.OSProfile.ComputerName, "web1")
	is(t, "interface", m.Properties.NetworkProfile.NetworkInterfaces[0].ID, string(broker.AsInterface.ID(ajartest.MachineID("web1"))))
	is(t, "state", m.Properties.ProvisioningState, "Succeeded")
	is(t, "power", m.Properties.InstanceView.Statuses[1].Code, "PowerState/running")
	if m.Properties.TimeCreated.IsZero() {
		t.Error("no time of creation")
	}
	now := made[armcompute.VirtualMachinesClientInstanceViewResponse](t)(c.InstanceView(ctx, group, "m0001", nil))
	is(t, "power", now.Statuses[1].Code, "PowerState/unknown")
	p.knows(string(ajartest.MachineID("web1"))+"?api-version=2024-07-01&$expand=instanceView", new(armcompute.VirtualMachine))

	// The SDK sends back what it read.
	m.Tags["owner"] = to("alice")
	put := made[*runtime.Poller[armcompute.VirtualMachinesClientCreateOrUpdateResponse]](t)(c.BeginCreateOrUpdate(ctx, group, "web1", m.VirtualMachine, nil))
	done := made[armcompute.VirtualMachinesClientCreateOrUpdateResponse](t)(put.PollUntilDone(ctx, nil))
	is(t, "tag", done.Tags["owner"], "alice")
	patch := made[*runtime.Poller[armcompute.VirtualMachinesClientUpdateResponse]](t)(c.BeginUpdate(ctx, group, "web1", armcompute.VirtualMachineUpdate{Tags: map[string]*string{"tier": to("back")}}, nil))
	changed := made[armcompute.VirtualMachinesClientUpdateResponse](t)(patch.PollUntilDone(ctx, nil))
	is(t, "tag", changed.Tags["tier"], "back")
	is(t, "id of its own", changed.Properties.VMID, *m.Properties.VMID)

	_, err := c.BeginStart(ctx, group, "web1", nil)
	refused(t, "start", err, http.StatusConflict, "OperationNotAllowed")
	_, err = c.BeginCreateOrUpdate(ctx, group, "web9", armcompute.VirtualMachine{Location: to("westeurope")}, nil)
	refused(t, "a new one", err, http.StatusConflict, "OperationNotAllowed")
	_, err = c.Get(ctx, group, "web9", nil)
	refused(t, "one that is not there", err, http.StatusNotFound, "ResourceNotFound")
	for range 2 {
		del := made[*runtime.Poller[armcompute.VirtualMachinesClientDeleteResponse]](t)(c.BeginDelete(ctx, group, "web1", nil))
		made[armcompute.VirtualMachinesClientDeleteResponse](t)(del.PollUntilDone(ctx, nil))
	}
	_, err = c.Get(ctx, group, "web1", nil)
	refused(t, "one that was deleted", err, http.StatusNotFound, "ResourceNotFound")
}

func to[T any](v T) *T { return &v }

func TestNetworks(t *testing.T) {
	p := newPlane(t, 2)
	ctx := t.Context()
	nics := made[*armnetwork.InterfacesClient](t)(armnetwork.NewInterfacesClient(subscription, p.cred, p.options()))
	nsgs := made[*armnetwork.SecurityGroupsClient](t)(armnetwork.NewSecurityGroupsClient(subscription, p.cred, p.options()))
	rules := made[*armnetwork.SecurityRulesClient](t)(armnetwork.NewSecurityRulesClient(subscription, p.cred, p.options()))
	ips := made[*armnetwork.PublicIPAddressesClient](t)(armnetwork.NewPublicIPAddressesClient(subscription, p.cred, p.options()))
	if n := len(all(t, nics.NewListAllPager(nil), func(r armnetwork.InterfacesClientListAllResponse) []*armnetwork.Interface { return r.Value })); n != 3 {
		t.Errorf("%d interfaces", n)
	}
	if n := len(all(t, nsgs.NewListPager(group, nil), func(r armnetwork.SecurityGroupsClientListResponse) []*armnetwork.SecurityGroup { return r.Value })); n != 1 {
		t.Errorf("%d security groups", n)
	}
	if n := len(all(t, ips.NewListPager(group, nil), func(r armnetwork.PublicIPAddressesClientListResponse) []*armnetwork.PublicIPAddress { return r.Value })); n != 3 {
		t.Errorf("%d public addresses", n)
	}

	// From the machine's interface to its address and its rules, as clients go.
	nic := made[armnetwork.InterfacesClientGetResponse](t)(nics.Get(ctx, group, "web1-nic", nil))
	is(t, "machine", nic.Properties.VirtualMachine.ID, string(ajartest.MachineID("web1")))
	own := nic.Properties.IPConfigurations[0].Properties
	is(t, "private address", own.PrivateIPAddress, "10.0.0.4")
	ip := made[armnetwork.PublicIPAddressesClientGetResponse](t)(ips.Get(ctx, group, ajar.ID(*own.PublicIPAddress.ID).Name(), nil))
	is(t, "public address", ip.Properties.IPAddress, "203.0.113.9")
	nsg := made[armnetwork.SecurityGroupsClientGetResponse](t)(nsgs.Get(ctx, group, ajar.ID(*nic.Properties.NetworkSecurityGroup.ID).Name(), nil))
	if len(nsg.Properties.SecurityRules) != 2 {
		t.Fatalf("%d rules", len(nsg.Properties.SecurityRules))
	}
	for i, want := range []struct {
		access   armnetwork.SecurityRuleAccess
		priority int32
		source   string
	}{{armnetwork.SecurityRuleAccessAllow, 100, "192.0.2.7"}, {armnetwork.SecurityRuleAccessDeny, 4096, "*"}} {
		r := nsg.Properties.SecurityRules[i]
		is(t, "access", r.Properties.Access, want.access)
		is(t, "priority", r.Properties.Priority, want.priority)
		is(t, "source", r.Properties.SourceAddressPrefix, want.source)
		is(t, "destination", r.Properties.DestinationAddressPrefix, "10.0.0.4")
		is(t, "port", r.Properties.DestinationPortRange, "22")
		is(t, "protocol", r.Properties.Protocol, armnetwork.SecurityRuleProtocolTCP)
		same := made[armnetwork.SecurityRulesClientGetResponse](t)(rules.Get(ctx, group, *nsg.Name, *r.Name, nil))
		is(t, "rule", same.ID, *r.ID)
	}
	if n := len(all(t, rules.NewListPager(group, *nsg.Name, nil), func(r armnetwork.SecurityRulesClientListResponse) []*armnetwork.SecurityRule { return r.Value })); n != 2 {
		t.Errorf("%d rules in the list", n)
	}
	const v = "?api-version=2024-05-01"
	p.knows(*nic.ID+v, new(armnetwork.Interface))
	p.knows(*nsg.ID+v, new(armnetwork.SecurityGroup))
	p.knows(*ip.ID+v, new(armnetwork.PublicIPAddress))

	_, err := nsgs.BeginDelete(ctx, group, "web1-nsg", nil)
	refused(t, "deleting a security group", err, http.StatusConflict, "OperationNotAllowed")
	_, err = nics.Get(ctx, group, "web1", nil)
	refused(t, "a machine as an interface", err, http.StatusNotFound, "ResourceNotFound")
}

func TestSecurity(t *testing.T) {
	p := newPlane(t, 2)
	ctx := t.Context()
	scope := "subscriptions/" + subscription
	prices := made[*armsecurity.PricingsClient](t)(armsecurity.NewPricingsClient(p.cred, p.options()))
	price := made[armsecurity.PricingsClientUpdateResponse](t)(prices.Update(ctx, scope, "VirtualMachines", armsecurity.Pricing{Properties: &armsecurity.PricingProperties{PricingTier: to(armsecurity.PricingTierStandard)}}, nil))
	is(t, "tier", price.Properties.PricingTier, armsecurity.PricingTierStandard)
	is(t, "plan", price.Properties.SubPlan, "P2")
	made[armsecurity.PricingsClientGetResponse](t)(prices.Get(ctx, scope, "VirtualMachines", nil))
	if l := made[armsecurity.PricingsClientListResponse](t)(prices.List(ctx, scope, nil)); len(l.Value) != 1 {
		t.Errorf("%d plans", len(l.Value))
	}
	_, err := prices.Update(ctx, scope, "VirtualMachines", armsecurity.Pricing{Properties: &armsecurity.PricingProperties{PricingTier: to(armsecurity.PricingTierFree)}}, nil)
	refused(t, "the free tier", err, http.StatusConflict, "OperationNotAllowed")
	p.knows(*price.ID+"?api-version=2024-01-01", new(armsecurity.Pricing))

	places := made[*armsecurity.LocationsClient](t)(armsecurity.NewLocationsClient(subscription, p.cred, p.options()))
	if l := all(t, places.NewListPager(nil), func(r armsecurity.LocationsClientListResponse) []*armsecurity.AscLocation { return r.Value }); len(l) != 2 {
		t.Errorf("%d locations", len(l))
	}
	made[armsecurity.LocationsClientGetResponse](t)(places.Get(ctx, "westeurope", nil))

	found := made[*armsecurity.AssessmentsClient](t)(armsecurity.NewAssessmentsClient(p.cred, p.options()))
	machine := string(ajartest.MachineID("web1"))[1:]
	one := made[armsecurity.AssessmentsClientGetResponse](t)(found.Get(ctx, machine, broker.AssessmentKey, nil))
	is(t, "status", one.Properties.Status.Code, armsecurity.AssessmentStatusCodeHealthy)
	if d, ok := one.Properties.ResourceDetails.(*armsecurity.AzureResourceDetails); !ok {
		t.Errorf("the resource is %T", one.Properties.ResourceDetails)
	} else {
		is(t, "resource", d.ID, "/"+machine)
	}
	codes := map[armsecurity.AssessmentStatusCode]int{}
	for _, a := range all(t, found.NewListPager(scope, nil), func(r armsecurity.AssessmentsClientListResponse) []*armsecurity.AssessmentResponse { return r.Value }) {
		codes[*a.Properties.Status.Code]++
	}
	if codes[armsecurity.AssessmentStatusCodeHealthy] != 1 || codes[armsecurity.AssessmentStatusCodeNotApplicable] != 2 {
		t.Errorf("assessments: %v", codes)
	}
	p.knows(*one.ID+"?api-version=2021-06-01&$expand=metadata", new(armsecurity.AssessmentResponse))
	about := made[*armsecurity.AssessmentsMetadataClient](t)(armsecurity.NewAssessmentsMetadataClient(subscription, p.cred, p.options()))
	for _, get := range []func() (*armsecurity.AssessmentMetadataPropertiesResponse, error){
		func() (*armsecurity.AssessmentMetadataPropertiesResponse, error) {
			r, err := about.Get(ctx, broker.AssessmentKey, nil)
			return r.Properties, err
		},
		func() (*armsecurity.AssessmentMetadataPropertiesResponse, error) {
			r, err := about.GetInSubscription(ctx, broker.AssessmentKey, nil)
			return r.Properties, err
		},
	} {
		is(t, "severity", made[*armsecurity.AssessmentMetadataPropertiesResponse](t)(get()).Severity, armsecurity.SeverityHigh)
	}
}
