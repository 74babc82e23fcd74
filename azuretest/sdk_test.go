//go:build linux

package azuretest

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/security/armsecurity"

	"golang.org/x/sync/errgroup"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/lab"
)

// options point Azure's SDK for Go at the plane.
func (w *world) options() azcore.ClientOptions {
	return azcore.ClientOptions{
		Cloud: cloud.Configuration{
			ActiveDirectoryAuthorityHost: w.url + "/",
			Services:                     map[cloud.ServiceName]cloud.ServiceConfiguration{cloud.ResourceManager: {Audience: w.url, Endpoint: w.url}},
		},
		Transport: w.http,
		Retry:     policy.RetryOptions{MaxRetries: -1}, // an answer that is an error shall be seen as it came
	}
}

func (w *world) bySecret(t *testing.T, p program) azcore.TokenCredential {
	t.Helper()
	c, err := azidentity.NewClientSecretCredential(w.tenant, p.id, p.secret, &azidentity.ClientSecretCredentialOptions{
		ClientOptions: w.options(), DisableInstanceDiscovery: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (w *world) byCertificate(t *testing.T, tenant string, p program, file string) azcore.TokenCredential {
	t.Helper()
	both, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	certs, key, err := azidentity.ParseCertificates(both, nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := azidentity.NewClientCertificateCredential(tenant, p.id, certs, key, &azidentity.ClientCertificateCredentialOptions{
		ClientOptions: w.options(), DisableInstanceDiscovery: true, SendCertificateChain: len(certs) > 0,
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (w *world) jit(t *testing.T, subscription string, c azcore.TokenCredential) *armsecurity.JitNetworkAccessPoliciesClient {
	t.Helper()
	client, err := armsecurity.NewJitNetworkAccessPoliciesClient(subscription, c, &arm.ClientOptions{ClientOptions: w.options(), DisableRPRegistration: true})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func to[T any](v T) *T { return &v }

// onePort is a policy of port 22 of a machine.
func onePort(machine ajar.ID, source, longest string) armsecurity.JitNetworkAccessPolicy {
	return armsecurity.JitNetworkAccessPolicy{Kind: to("Basic"), Properties: &armsecurity.JitNetworkAccessPolicyProperties{
		VirtualMachines: []*armsecurity.JitNetworkAccessPolicyVirtualMachine{{ID: to(string(machine)), Ports: []*armsecurity.JitNetworkAccessPortRule{{
			Number: to[int32](22), Protocol: to(armsecurity.ProtocolTCP), AllowedSourceAddressPrefix: to(source), MaxRequestAccessDuration: to(longest),
		}}}},
	}}
}

func askFor(machine ajar.ID, number int32, end time.Time, source *string) armsecurity.JitNetworkAccessPolicyInitiateRequest {
	return armsecurity.JitNetworkAccessPolicyInitiateRequest{
		Justification: to("from the SDK"),
		VirtualMachines: []*armsecurity.JitNetworkAccessPolicyInitiateVirtualMachine{{ID: to(string(machine)), Ports: []*armsecurity.JitNetworkAccessPolicyInitiatePort{{
			Number: to(number), EndTimeUTC: to(end), AllowedSourceAddressPrefix: source,
		}}}},
	}
}

// Azure's SDK for Go does every operation there is, with a secret and with a certificate, down to the packets.
func TestGoSDK(t *testing.T) {
	t.Parallel()
	w := shared(t)
	owner := w.addProgram(t, "sdk-owner", "Owner", lab.Subscription)
	file := w.addCertificate(t, owner.id, "sdk-owner")
	for _, c := range []struct {
		name string
		cred azcore.TokenCredential
	}{
		{"secret", w.bySecret(t, owner)},
		{"certificate", w.byCertificate(t, w.tenant, owner, file)},
		{"certificate at adfs", w.byCertificate(t, "adfs", owner, file)},
	} {
		t.Run(c.name, func(t *testing.T) { everyOperation(t, w, c.cred, strings.ReplaceAll(c.name, " ", "-")) })
	}
	t.Run("errors", func(t *testing.T) { everyError(t, w, owner) })
}

func everyOperation(t *testing.T, w *world, cred azcore.TokenCredential, name string) {
	ctx, m, began := t.Context(), w.lab.Machines[ofSDK], time.Now()
	jit := w.jit(t, labSubscription, cred)
	const group = "lab"
	put, err := jit.CreateOrUpdate(ctx, group, lab.Location, name, onePort(m.ID, "*", "PT1H"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if *put.ID != string(policyID(name)) || *put.Name != name || *put.Properties.ProvisioningState != "Updating" || len(put.Properties.Requests) != 0 {
		t.Errorf("put: %+v", put.JitNetworkAccessPolicy)
	}
	w.awaitClosed(t, m)
	end := time.Now().Add(5*time.Second + 10*time.Since(began)).UTC().Truncate(time.Millisecond)
	asked, err := jit.Initiate(ctx, group, lab.Location, name, askFor(m.ID, 22, end, nil), nil)
	if err != nil {
		t.Fatal(err)
	}
	port := asked.VirtualMachines[0].Ports[0]
	if *port.Status != "Initiating" || *port.StatusReason != armsecurity.StatusReasonUserRequested || !port.EndTimeUTC.Equal(end) ||
		*port.AllowedSourceAddressPrefix != w.lab.RequesterAddr().String() || *asked.Justification != "from the SDK" {
		t.Errorf("initiate: %+v", *port)
	}
	w.awaitOpen(t, m)
	if at := w.awaitClosed(t, m); at.Before(end.Add(-100 * time.Millisecond)) {
		t.Errorf("it closed at %s, and its end was %s", at, end)
	}
	got, err := jit.Get(ctx, group, lab.Location, name, nil)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(got.Properties.Requests); *got.Properties.ProvisioningState != "Succeeded" || n != 1 {
		t.Fatalf("get: %d requests, %s", n, *got.Properties.ProvisioningState)
	}
	err = lab.Await(ctx, patience, func() (bool, error) {
		got, err = jit.Get(ctx, group, lab.Location, name, nil)
		if err != nil {
			return true, err
		}
		port := got.Properties.Requests[0].VirtualMachines[0].Ports[0]
		return *port.Status == armsecurity.StatusRevoked && *port.StatusReason == armsecurity.StatusReasonExpired, fmt.Errorf("%s, %s", *port.Status, *port.StatusReason)
	})
	if err != nil {
		t.Errorf("after its end: %v", err)
	}
	// A PUT that leaves requests out keeps them, and so does one of everything that was read.
	if _, err := jit.CreateOrUpdate(ctx, group, lab.Location, name, onePort(m.ID, "*", "PT2H"), nil); err != nil {
		t.Error(err)
	}
	if _, err := jit.CreateOrUpdate(ctx, group, lab.Location, name, got.JitNetworkAccessPolicy, nil); err != nil {
		t.Errorf("put of what was read: %v", err)
	}
	if again, err := jit.Get(ctx, group, lab.Location, name, nil); err != nil || len(again.Properties.Requests) != 1 {
		t.Errorf("after a second put: %+v, %v", again.Properties, err)
	}
	everyList(t, jit, group, string(policyID(name)))
	for _, want := range []int{http.StatusOK, http.StatusNoContent} {
		var resp *http.Response
		if _, err := jit.Delete(policy.WithCaptureResponse(ctx, &resp), group, lab.Location, name, nil); err != nil || resp.StatusCode != want {
			t.Errorf("delete: %v, %v; want %d", resp, err, want)
		}
	}
	w.awaitOpenForAll(t, m)
}

func everyList(t *testing.T, jit *armsecurity.JitNetworkAccessPoliciesClient, group, id string) {
	t.Helper()
	has := func(what string, list []*armsecurity.JitNetworkAccessPolicy) {
		t.Helper()
		if !slices.ContainsFunc(list, func(p *armsecurity.JitNetworkAccessPolicy) bool { return *p.ID == id }) {
			t.Errorf("%s does not list %s", what, id)
		}
	}
	has("subscription", drain(t, jit.NewListPager(nil), func(r armsecurity.JitNetworkAccessPoliciesClientListResponse) []*armsecurity.JitNetworkAccessPolicy {
		return r.Value
	}))
	has("region", drain(t, jit.NewListByRegionPager(lab.Location, nil), func(r armsecurity.JitNetworkAccessPoliciesClientListByRegionResponse) []*armsecurity.JitNetworkAccessPolicy {
		return r.Value
	}))
	has("group", drain(t, jit.NewListByResourceGroupPager(group, nil), func(r armsecurity.JitNetworkAccessPoliciesClientListByResourceGroupResponse) []*armsecurity.JitNetworkAccessPolicy {
		return r.Value
	}))
	has("group and region", drain(t, jit.NewListByResourceGroupAndRegionPager(group, lab.Location, nil), func(r armsecurity.JitNetworkAccessPoliciesClientListByResourceGroupAndRegionResponse) []*armsecurity.JitNetworkAccessPolicy {
		return r.Value
	}))
}

// drain reads all pages.
func drain[R, T any](t *testing.T, pages *runtime.Pager[R], values func(R) []T) (all []T) {
	t.Helper()
	for pages.More() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, values(page)...)
	}
	return all
}

// everyError reads what is refused as programs do: by the error's code and status.
func everyError(t *testing.T, w *world, owner program) {
	ctx, m := t.Context(), w.lab.Machines[ofSDK]
	jit := w.jit(t, labSubscription, w.bySecret(t, owner))
	reader := w.jit(t, labSubscription, w.bySecret(t, w.addProgram(t, "sdk-reader", "Reader", lab.Group)))
	stranger := w.jit(t, labSubscription, w.bySecret(t, w.addProgram(t, "sdk-stranger", "Reader")))
	const group, name = "lab", "sdk-errors"
	if _, err := jit.CreateOrUpdate(ctx, group, lab.Location, name, onePort(m.ID, "203.0.113.0/24", "PT1H"), nil); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if _, err := jit.Delete(ctx, group, lab.Location, name, nil); err != nil {
			t.Error(err)
		}
	}()
	soon := time.Now().Add(10 * time.Minute)
	put := func(c *armsecurity.JitNetworkAccessPoliciesClient, p armsecurity.JitNetworkAccessPolicy) error {
		_, err := c.CreateOrUpdate(ctx, group, lab.Location, "other", p, nil)
		return err
	}
	ask := func(c *armsecurity.JitNetworkAccessPoliciesClient, policy string, r armsecurity.JitNetworkAccessPolicyInitiateRequest) error {
		_, err := c.Initiate(ctx, group, lab.Location, policy, r, nil)
		return err
	}
	get := func(c *armsecurity.JitNetworkAccessPoliciesClient, policy string) error {
		_, err := c.Get(ctx, group, lab.Location, policy, nil)
		return err
	}
	del := func(c *armsecurity.JitNetworkAccessPoliciesClient) error {
		_, err := c.Delete(ctx, group, lab.Location, name, nil)
		return err
	}
	inside := to("203.0.113.9")
	for _, c := range []struct {
		what   string
		err    error
		status int
		code   string
		says   string
	}{
		{"a policy that is not there", get(jit, "missing"), 404, "ResourceNotFound", "missing"},
		{"a request under it", ask(jit, "missing", askFor(m.ID, 22, soon, inside)), 404, "ResourceNotFound", "missing"},
		{"a port that the policy does not have", ask(jit, name, askFor(m.ID, 3389, soon, inside)), 400, "JitAccessRequestNotSubset", "not a subset of policy"},
		{"too long", ask(jit, name, askFor(m.ID, 22, soon.Add(24*time.Hour), inside)), 400, "JitAccessRequestNotSubset", "not a subset of policy"},
		{"another source", ask(jit, name, askFor(m.ID, 22, soon, to("192.0.2.1"))), 400, "JitAccessRequestNotSubset", "not a subset of policy"},
		{"a duration over a day", put(jit, onePort(m.ID, "*", "P2D")), 400, "", "PT48H"},
		{"a source that is none", put(jit, onePort(m.ID, "nowhere", "PT1H")), 400, "", "nowhere"},
		{"a machine that is not there", put(jit, onePort(lab.Group+"/providers/Microsoft.Compute/virtualMachines/none", "*", "PT1H")), 404, "LinkedResourceNotFound", "none"},
		{"a reader's put", put(reader, onePort(m.ID, "*", "PT1H")), 403, "AuthorizationFailed", "jitNetworkAccessPolicies/write"},
		{"a reader's delete", del(reader), 403, "AuthorizationFailed", "jitNetworkAccessPolicies/delete"},
		{"a reader's request", ask(reader, name, askFor(m.ID, 22, soon, inside)), 403, "AuthorizationFailed", "jitNetworkAccessPolicies/initiate/action"},
		{"a stranger's look", get(stranger, name), 403, "AuthorizationFailed", "jitNetworkAccessPolicies/read"},
	} {
		var e *azcore.ResponseError
		switch {
		case !errors.As(c.err, &e):
			t.Errorf("%s: %v is no answer of the server", c.what, c.err)
		case e.StatusCode != c.status || e.ErrorCode == "" || c.code != "" && e.ErrorCode != c.code || !strings.Contains(e.Error(), c.says):
			t.Errorf("%s: %d %s: %v; want %d %s", c.what, e.StatusCode, e.ErrorCode, e, c.status, c.code)
		}
	}
	_, err := w.bySecret(t, program{owner.id, "wrong"}).GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{w.url + "/.default"}})
	var failed *azidentity.AuthenticationFailedError
	if !errors.As(err, &failed) || failed.RawResponse.StatusCode != http.StatusUnauthorized || !strings.Contains(err.Error(), "AADSTS7000215") {
		t.Errorf("a wrong secret: %v", err)
	}
	unknown, _ := newCertificate(t, "unknown")
	_, err = w.byCertificate(t, w.tenant, owner, unknown).GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{w.url + "/.default"}})
	if !errors.As(err, &failed) || failed.RawResponse.StatusCode != http.StatusUnauthorized {
		t.Errorf("a certificate that is not registered: %v", err)
	}
}

// A thousand policies come in pages, and every client goes through all of them.
func TestPaging(t *testing.T) {
	t.Parallel()
	w := shared(t)
	const sub, each, hosts, location = paged, 20, 50, "many"
	owner := w.addProgram(t, "pager", "Owner", subscription(sub))
	jit := w.jit(t, sub, w.bySecret(t, owner))
	fill(t, w, jit, sub, location, hosts, each)
	t.Run("az", func(t *testing.T) {
		t.Parallel()
		a := newAZ(t, w)
		a.register(t)
		a.run(t, nil, "login", "--service-principal", "-u", owner.id, "-p", owner.secret, "--tenant", w.tenant)
		var list []policyOut
		a.run(t, &list, "security", "jit-policy", "list")
		whole(t, len(list), hosts*each, func(i int) string { return list[i].ID })
	})
	t.Run("go", func(t *testing.T) {
		t.Parallel()
		list := drain(t, jit.NewListPager(nil), func(r armsecurity.JitNetworkAccessPoliciesClientListResponse) []*armsecurity.JitNetworkAccessPolicy {
			return r.Value
		})
		whole(t, len(list), hosts*each, func(i int) string { return *list[i].ID })
	})
}

const paged = "11111111-0000-4000-8000-00000000000c"

// fill makes hosts machines, and each of them in as many policies.
func fill(t *testing.T, w *world, jit *armsecurity.JitNetworkAccessPoliciesClient, sub, location string, hosts, each int) {
	t.Helper()
	group := subscription(sub) + "/resourceGroups/many"
	var work errgroup.Group
	work.SetLimit(8)
	for i := range hosts {
		work.Go(func() error {
			vm := group + ajar.ID(fmt.Sprintf("/providers/Microsoft.Compute/virtualMachines/vm%02d", i))
			if _, err := w.admin.PutTarget(t.Context(), bare(vm, location)); err != nil {
				return err
			}
			for k := range each {
				p := onePort(vm, "*", "PT1H")
				p.Properties.VirtualMachines[0].Ports[0].Number = to(int32(1000 + k))
				if _, err := jit.CreateOrUpdate(t.Context(), "many", location, fmt.Sprintf("p%02d-%02d", i, k), p, nil); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := work.Wait(); err != nil {
		t.Fatal(err)
	}
}

func whole(t *testing.T, n, want int, id func(int) string) {
	t.Helper()
	seen := map[string]bool{}
	for i := range n {
		seen[id(i)] = true
	}
	if n != want || len(seen) != want {
		t.Errorf("%d policies, %d different ones; want %d", n, len(seen), want)
	}
}
