package arm

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/ajartest"
	"github.com/ajar-access/ajar/authn"
)

// shown is as much of a policy as these tests read.
type shown struct {
	Properties struct {
		VirtualMachines []struct {
			PublicIPAddress string `json:"publicIpAddress"`
		}
		Requests []struct {
			Requestor       string
			VirtualMachines []struct {
				Ports []struct {
					Number     int
					MappedPort int `json:"mappedPort"`
					Status     string
				}
			}
		}
		ProvisioningState string
	}
	Location string
}

func (r *rig) shown(path string) (s shown) {
	r.t.Helper()
	r.must(200, "GET", path+v, "").into(r.t, &s)
	return s
}

// TestPutKeepsHistory: whether a body leaves requests out or brings some, the history is the plane's.
func TestPutKeepsHistory(t *testing.T) {
	r := newRig(t)
	vm := r.Machine("vm1")
	p := string(ajartest.PolicyID("default"))
	r.must(200, "PUT", p+v, body(policyBodyText, vm))
	r.must(202, "POST", p+"/initiate"+v, body(`{"virtualMachines":[{"id":"%M","ports":[{"number":22,"duration":"PT1H"}]}]}`, vm))
	forged := `"requests":[{"virtualMachines":[{"id":"%M","ports":[{"number":22,"endTimeUtc":"2030-01-01T00:00:00Z","status":"Initiated","statusReason":"UserRequested"}]}],"startTimeUtc":"2026-01-01T00:00:00Z","requestor":"mallory"}],`
	for what, requests := range map[string]string{"left out": "", "empty": `"requests":[],`, "null": `"requests":null,`, "forged": forged, "of another form": `"requests":"none",`} {
		r.must(200, "PUT", p+v, body(strings.Replace(policyBodyText, `"virtualMachines"`, requests+`"virtualMachines"`, 1), vm))
		if s := r.shown(p); len(s.Properties.Requests) != 1 || s.Properties.Requests[0].Requestor != "admin" {
			t.Errorf("%s: %+v", what, s.Properties.Requests)
		}
	}
	var l list[leaseBody]
	r.must(200, "GET", "/ajar/v1/leases?scope="+string(vm), "").into(t, &l)
	if len(l.Value) != 1 {
		t.Errorf("%d leases", len(l.Value))
	}
}

// TestProvisioningStateIsTerminalAtOnce: whoever polls after a PUT is done with the first GET, and what is put again as it
// was read changes nothing that is shown: that is what a second plan compares.
func TestProvisioningStateIsTerminalAtOnce(t *testing.T) {
	r := newRig(t)
	vm := r.Machine("vm1")
	p := string(ajartest.PolicyID("default"))
	if code, _ := r.must(404, "GET", p+v, "").refusal(t); code != "ResourceNotFound" { // what a client asks before it creates
		t.Error(code)
	}
	for range 2 {
		var put shown
		r.must(200, "PUT", p+v, body(policyBodyText, vm)).into(t, &put)
		if put.Properties.ProvisioningState != "Updating" || put.Location != "westeurope" {
			t.Errorf("PUT: %+v", put)
		}
		if got := r.shown(p); got.Properties.ProvisioningState != "Succeeded" || got.Location != "westeurope" {
			t.Errorf("GET: %+v", got)
		}
	}
	first := r.must(200, "GET", p+v, "").body
	r.must(200, "PUT", p+v, first)
	if again := r.must(200, "GET", p+v, "").body; again != first {
		t.Errorf("%s\nbecame\n%s", first, again)
	}
}

// TestLocationOfABody: the path says where a policy is; a body may say the same in other letters, and nothing else.
func TestLocationOfABody(t *testing.T) {
	r := newRig(t)
	vm := r.Machine("vm1")
	p := string(ajartest.PolicyID("default"))
	with := func(location string) string {
		return body(strings.Replace(policyBodyText, `"kind"`, `"location":`+location+`,"kind"`, 1), vm)
	}
	for _, l := range []string{`"westeurope"`, `"West Europe"`, `"WESTEUROPE"`, `null`, `""`} {
		if a := r.must(200, "PUT", p+v, with(l)); !strings.HasSuffix(a.body, `"location":"westeurope"}`) {
			t.Errorf("%s: %s", l, a.body)
		}
	}
	code, msg := r.must(400, "PUT", p+v, with(`"northeurope"`)).refusal(t)
	if code != "InvalidResourceLocation" || !strings.Contains(msg, "'northeurope'") || !strings.Contains(msg, "'westeurope'") {
		t.Errorf("%s: %s", code, msg)
	}
}

// TestFirewallFieldsAreKept: what Azure has for a firewall in front is given back as it came.
func TestFirewallFieldsAreKept(t *testing.T) {
	r := newRig(t)
	vm := r.Machine("vm1")
	p := string(ajartest.PolicyID("default"))
	r.must(200, "PUT", p+v, body(strings.Replace(policyBodyText, `"ports"`, `"publicIpAddress":"198.51.100.7","ports"`, 1), vm))
	a := r.must(202, "POST", p+"/initiate"+v, body(`{"virtualMachines":[{"id":"%M","ports":[{"number":22,"duration":"PT1H","mappedPort":"13422"},{"number":3389,"duration":"PT1H","allowedSourceAddressPrefix":"203.0.113.9","mappedPort":null}]}]}`, vm))
	if !strings.Contains(a.body, `"statusReason":"UserRequested","mappedPort":13422}`) || strings.Count(a.body, "mappedPort") != 1 {
		t.Errorf("%s", a.body)
	}
	s := r.shown(p)
	if s.Properties.VirtualMachines[0].PublicIPAddress != "198.51.100.7" || s.Properties.Requests[0].VirtualMachines[0].Ports[0].MappedPort != 13422 {
		t.Errorf("%+v", s)
	}
	r.must(400, "POST", p+"/initiate"+v, body(`{"virtualMachines":[{"id":"%M","ports":[{"number":22,"duration":"PT1H","mappedPort":65536}]}]}`, vm))
}

// TestPathsThatNoSpecificationHas: policies stand below a location of a resource group and nowhere else.
func TestPathsThatNoSpecificationHas(t *testing.T) {
	r := newRig(t)
	vm := r.Machine("vm1")
	r.Policy("default", vm)
	ask := body(`{"virtualMachines":[{"id":"%M","ports":[{"number":22,"duration":"PT1H"}]}]}`, vm)
	group, ns := string(ajartest.Group), "/providers/Microsoft.Security"
	for _, c := range [][2]string{
		{"POST", group + ns + "/jitNetworkAccessPolicies/default/initiate"},
		{"POST", testSub + ns + "/jitNetworkAccessPolicies/default/initiate"},
		{"POST", testSub + ns + "/locations/westeurope/jitNetworkAccessPolicies/default/initiate"},
		{"POST", ns + "/jitNetworkAccessPolicies/default/initiate"},
		{"POST", ns + "/locations/westeurope/jitNetworkAccessPolicies/default/initiate"},
		{"PUT", testSub + ns + "/locations/westeurope/jitNetworkAccessPolicies/default"},
		{"GET", group + ns + "/jitNetworkAccessPolicies/default"},
		{"POST", string(ajartest.PolicyID("default")) + "/activate"},
		{"GET", string(vm) + ns + "/jitNetworkAccessPolicies/default"},
	} {
		if a := r.do(c[0], c[1]+v, r.owner, ask); a.StatusCode != 404 {
			t.Errorf("%s %s: %d %s", c[0], c[1], a.StatusCode, a.body)
		}
	}
}

// TestListsByLocation: what is elsewhere is left out, and a location is known by any of its spellings.
func TestListsByLocation(t *testing.T) {
	r := newRig(t)
	vm := r.Machine("vm1")
	here := string(ajartest.PolicyID("default"))
	there := strings.Replace(here, "westeurope", "northeurope", 1)
	r.must(200, "PUT", here+v, body(policyBodyText, vm))
	r.must(200, "PUT", there+v, `{"kind":"Basic","properties":{"virtualMachines":[]}}`)
	for _, below := range []string{testSub, string(ajartest.Group)} {
		for at, want := range map[string]int{"westeurope": 1, "WestEurope": 1, "West%20Europe": 1, "northeurope": 1, "eastus": 0} {
			var l list[shown]
			r.must(200, "GET", below+"/providers/Microsoft.Security/locations/"+at+"/jitNetworkAccessPolicies"+v, "").into(t, &l)
			if len(l.Value) != want {
				t.Errorf("%s, %s: %d", below, at, len(l.Value))
			}
		}
		var l list[shown]
		if r.must(200, "GET", below+"/providers/Microsoft.Security/jitNetworkAccessPolicies"+v, "").into(t, &l); len(l.Value) != 2 {
			t.Errorf("%s: %d", below, len(l.Value))
		}
	}
}

// TestLinkedIDs: ids in a body that lead nowhere have ARM's own errors.
func TestLinkedIDs(t *testing.T) {
	r := newRig(t)
	r.Machine("vm1")
	p := string(ajartest.PolicyID("default"))
	put := func(id string) string {
		return `{"properties":{"virtualMachines":[{"id":"` + id + `","ports":[{"number":22}]}]}}`
	}
	for _, c := range []struct {
		id     string
		status int
		code   string
		says   string
	}{
		{"vm1", 400, "LinkedInvalidPropertyId", "properties.virtualMachines[0].id"},
		{"/subscriptions/resourceGroups/lab/providers/Microsoft.Compute/virtualMachines/vm1", 400, "LinkedInvalidPropertyId", "fully qualified"},
		{"/subscriptions/11111111/resourceGroups/lab/providers/Microsoft.Compute/virtualMachines/vm1", 403, "LinkedAuthorizationFailed",
			"The client has permission to perform action 'Microsoft.Compute/virtualMachines/write' on scope '" + p + "', however the linked subscription '11111111' was not found."},
		{string(ajartest.MachineID("nobody")), 404, "LinkedResourceNotFound", "nobody"},
	} {
		a := r.do("PUT", p+v, r.owner, put(c.id))
		if code, msg := a.refusal(t); a.StatusCode != c.status || code != c.code || !strings.Contains(msg, c.says) {
			t.Errorf("%s: %d %s", c.id, a.StatusCode, a.body)
		}
	}
	writer := r.tokenFor(r.User("writer", ajartest.At("Security Admin", ajartest.Group)))
	if a := r.do("PUT", p+v, writer, put("/subscriptions/11111111/resourceGroups/lab/providers/Microsoft.Compute/virtualMachines/vm1")); a.StatusCode != 403 || strings.Contains(a.body, "has permission") {
		t.Errorf("to somebody who may not: %s", a.body)
	}
}

// TestDurationOfThePreview: the older form of a request is taken under either version, and answered with the request,
// which who expects no body need not read.
func TestDurationOfThePreview(t *testing.T) {
	r := newRig(t)
	vm := r.Machine("vm1")
	p := string(r.Policy("default", vm))
	for i, version := range []string{"2015-06-01-preview", "2020-01-01", "2015-06-01-PREVIEW"} {
		a := r.must(202, "POST", p+"/Initiate?api-version="+version, body(fmt.Sprintf(`{"virtualMachines":[{"id":"%%M","ports":[{"number":22,"duration":"PT1H","allowedSourceAddressPrefix":"192.0.2.%d"}]}]}`, i+1), vm))
		var got struct {
			VirtualMachines []struct {
				Ports []struct {
					EndTimeUtc   time.Time
					Status       string
					StatusReason string
				}
			}
			StartTimeUtc time.Time
		}
		if err := json.Unmarshal([]byte(a.body), &got); err != nil || len(got.VirtualMachines) != 1 {
			t.Fatalf("%s: %s", version, a.body)
		}
		port := got.VirtualMachines[0].Ports[0]
		if port.EndTimeUtc.Sub(got.StartTimeUtc) != time.Hour || port.Status != "Initiating" || port.StatusReason != "UserRequested" {
			t.Errorf("%s: %+v", version, got)
		}
	}
}

// TestNamesOfAnyLength: what Azure cannot take is taken here, unless the plane is told to be as strict.
func TestNamesOfAnyLength(t *testing.T) {
	r := newRig(t)
	vm := r.Machine("a-machine-with-a-long-name-01")
	r.must(200, "PUT", string(ajartest.PolicyID(vm.Name()+"-JITPolicy-of-its-own"))+v, body(policyBodyText, vm))
}

// TestCallersAddressIsNeverAClientsHeader: the source of a request that names none is where the connection comes from, or
// what a trusted proxy says; nobody else's word is taken.
func TestCallersAddressIsNeverAClientsHeader(t *testing.T) {
	r := newRig(t)
	vm := r.Machine("vm1")
	p := string(r.Policy("default", vm))
	source := func(headers ...string) string {
		t.Helper()
		req := r.request("POST", p+"/initiate"+v, body(`{"virtualMachines":[{"id":"%M","ports":[{"number":22,"duration":"PT1H"}]}]}`, vm))
		for _, h := range headers {
			req.Header.Set(h, map[bool]string{true: "for=203.0.113.66", false: "203.0.113.66"}[h == "Forwarded"])
		}
		a := r.send(req)
		var got struct {
			VirtualMachines []struct {
				Ports []struct{ AllowedSourceAddressPrefix string }
			}
		}
		if a.into(t, &got); a.StatusCode != 202 {
			t.Fatalf("%d %s", a.StatusCode, a.body)
		}
		return got.VirtualMachines[0].Ports[0].AllowedSourceAddressPrefix
	}
	all := []string{"x-ms-client-ip-address", "X-Forwarded-For", "Forwarded", "X-Real-IP", "True-Client-IP", "CF-Connecting-IP", "X-Client-IP", "x-ms-client-principal"}
	for _, h := range all {
		if got := source(h); got != "127.0.0.1" {
			t.Errorf("%s from anybody makes the source %s", h, got)
		}
	}
	r.auth.Proxies = authn.Proxies{Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Header: "X-Forwarded-For"}
	for _, h := range all {
		want := map[bool]string{true: "203.0.113.66", false: "127.0.0.1"}[h == "X-Forwarded-For"]
		if got := source(h); got != want {
			t.Errorf("%s from the trusted proxy makes the source %s", h, got)
		}
	}
	if es := r.Events(ajar.PolicyInitiate); es[0].From != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("recorded: %s", es[0].From)
	}
	r.auth.Proxies.Trusted = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	if got := source("X-Forwarded-For"); got != "127.0.0.1" {
		t.Errorf("another peer than the proxy makes the source %s", got)
	}
}

// TestInitiateGivesNothingToPoll: Azure sends none of these, and clients that find one wait for it.
func TestInitiateGivesNothingToPoll(t *testing.T) {
	r := newRig(t)
	vm := r.Machine("vm1")
	p := string(r.Policy("default", vm))
	a := r.must(202, "POST", p+"/initiate"+v, body(`{"virtualMachines":[{"id":"%M","ports":[{"number":22,"duration":"PT1H"}]}]}`, vm))
	for _, h := range []string{"Location", "Azure-AsyncOperation", "Retry-After", "Operation-Location"} {
		if a.Header.Get(h) != "" {
			t.Errorf("%s: %s", h, a.Header.Get(h))
		}
	}
}

// TestWhatThePublishedScriptsSend: the bodies of the old module and of the published runbooks, in the forms they have.
func TestWhatThePublishedScriptsSend(t *testing.T) {
	r := newRig(t)
	vm := r.Machine("vm1")
	p := string(ajartest.PolicyID("default"))
	odd := strings.Replace(p, "Microsoft.Security", "microsoft.Security", 1)
	for what, text := range map[string]string{
		"the old module": `{"kind":"Basic","type":"Microsoft.Security/locations/jitNetworkAccessPolicies","name":"default","id":"` + odd + `","properties":{"virtualMachines":[{"id":"%M","ports":[{"number":22,"protocol":"*","allowedSourceAddressPrefix":"*","maxRequestAccessDuration":"PT3H0M"}]}]}}`,
		"a logic app":    `{"id":"` + p + `","kind":"Basic","location":"westeurope","name":"default","type":"Microsoft.Security/locations/jitNetworkAccessPolicies","properties":{"provisioningState":"Succeeded","virtualMachines":[{"id":"%M","ports":[{"allowedSourceAddressPrefix":"*","allowedSourceAddressPrefixes":null,"maxRequestAccessDuration":"PT3H","number":22,"protocol":"*"},{"allowedSourceAddressPrefix":"*","allowedSourceAddressPrefixes":null,"maxRequestAccessDuration":"PT3H","number":5986,"protocol":"*"}]}]}}`,
		"azapi":          `{"kind":"Basic","location":"westeurope","properties":{"virtualMachines":[{"id":"%M","ports":[{"number":"22","protocol":"TCP","allowedSourceAddressPrefix":"*","maxRequestAccessDuration":"PT3H"}]}]}}`,
	} {
		for _, version := range []string{"2015-06-01-preview", "2020-01-01"} {
			if a := r.do("PUT", odd+"?api-version="+version, r.owner, body(text, vm)); a.StatusCode != 200 {
				t.Errorf("%s: %d %s", what, a.StatusCode, a.body)
			}
		}
	}
	end := r.Now().Add(time.Hour).UTC().Format("2006-01-02T15:04:05.0000000Z")
	for what, text := range map[string]string{
		"the old module": `{"virtualMachines":[{"id":"%M","ports":[{"number":22,"endTimeUtc":"` + end + `","allowedSourceAddressPrefix":"*"}]}]}`,
		"a shell script": `{"virtualMachines":[{"id":"%M","ports":[{"number":22,"duration":"PT3H","allowedSourceAddressPrefix":"192.0.2.1"}]}]}`,
		"with a reason":  `{"justification":"disk full","virtualMachines":[{"id":"%M","ports":[{"number":22,"endTimeUtc":"` + end + `"}]}]}`,
	} {
		if a := r.do("POST", odd+"/Initiate"+v, r.owner, body(text, vm)); a.StatusCode != 202 {
			t.Errorf("%s: %d %s", what, a.StatusCode, a.body)
		}
	}
}
