//go:build linux

package azuretest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
)

// The script that people configure many machines with: for each subscription, group and machine, unless it is excluded
// or in a policy already, a policy of its own. It makes the calls that the cmdlets of Az PowerShell make, in their order.
func TestAtScale(t *testing.T) {
	t.Parallel()
	w := shared(t)
	machine := func(sub, group, name string) ajar.ID {
		return subscription(sub) + ajar.ID("/resourceGroups/"+group+"/providers/Microsoft.Compute/virtualMachines/"+name)
	}
	for _, id := range []ajar.ID{
		machine(first, "web", "web1"), machine(first, "web", "web2"), machine(first, "web", "jump"), machine(first, "db", "db1"), machine(second, "Web", "Web1"),
	} {
		w.addMachine(t, id, "westeurope")
	}
	p := w.addProgram(t, "scale", "Contributor", subscription(first), subscription(second))
	token := w.token(t, p)
	// One is configured already, in a policy that somebody named otherwise.
	_, err := w.admin.PutPolicy(t.Context(), policyOf(machine(first, "web", "WEB2"), "default"), client.PutOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s := script{w: w, t: t, token: token, source: "10.1.2.0/26", excluded: []string{"JUMP"}, subscriptions: []string{
		first, "99999999-0000-4000-8000-000000000000", second,
	}}
	s.run()
	want := []string{
		"11111111-0000-4000-8000-00000000000a/db/db1: enabled",
		"11111111-0000-4000-8000-00000000000a/web/jump: excluded",
		"11111111-0000-4000-8000-00000000000a/web/web1: enabled",
		"11111111-0000-4000-8000-00000000000a/web/web2: there already",
		"99999999-0000-4000-8000-000000000000: 403 AuthorizationFailed",
		"11111111-0000-4000-8000-00000000000b/Web/Web1: enabled",
	}
	if !slices.Equal(s.said, want) {
		t.Errorf("first run:\n%s\nwant:\n%s", strings.Join(s.said, "\n"), strings.Join(want, "\n"))
	}
	wantCalls := []string{
		"GET subscriptions/*", "GET resourcegroups",
		"GET virtualMachines", "GET jitNetworkAccessPolicies", "PUT db1-JITPolicy",
		"GET virtualMachines", "GET jitNetworkAccessPolicies", "PUT web1-JITPolicy", "GET jitNetworkAccessPolicies",
		"GET subscriptions/*",
		"GET subscriptions/*", "GET resourcegroups", "GET virtualMachines", "GET jitNetworkAccessPolicies", "PUT Web1-JITPolicy",
	}
	if !slices.Equal(s.calls, wantCalls) {
		t.Errorf("first run calls:\n%s\nwant:\n%s", strings.Join(s.calls, "\n"), strings.Join(wantCalls, "\n"))
	}
	before := w.policies(t, token)
	again := script{w: w, t: t, token: token, source: s.source, excluded: s.excluded, subscriptions: s.subscriptions}
	again.run()
	for i, line := range want {
		want[i] = strings.Replace(line, "enabled", "there already", 1)
	}
	if !slices.Equal(again.said, want) {
		t.Errorf("second run:\n%s\nwant:\n%s", strings.Join(again.said, "\n"), strings.Join(want, "\n"))
	}
	if slices.ContainsFunc(again.calls, func(c string) bool { return !strings.HasPrefix(c, "GET ") }) {
		t.Errorf("the second run writes: %v", again.calls)
	}
	if after := w.policies(t, token); len(before) != 4 || !maps.Equal(before, after) {
		t.Errorf("policies before the second run: %v\nafter it: %v", before, after)
	}
}

// script is one run of it.
type script struct {
	w                       *world
	t                       *testing.T
	token, source           string
	subscriptions, excluded []string
	said                    []string // of each machine, in the order of the run
	calls                   []string
}

func (s *script) call(as, method, path, body string) answer {
	s.t.Helper()
	s.calls = append(s.calls, method+" "+as)
	return s.w.call(s.t, s.token, method, path, body)
}

func (s *script) tell(format string, a ...any) { s.said = append(s.said, fmt.Sprintf(format, a...)) }

func (s *script) run() {
	s.t.Helper()
	for _, sub := range s.subscriptions {
		// Set-AzContext
		if got := s.call("subscriptions/*", http.MethodGet, "/subscriptions/"+sub+"?api-version=2021-01-01", ""); got.status != http.StatusOK {
			s.tell("%s: %d %s", sub, got.status, got.code())
			continue
		}
		// Get-AzResourceGroup
		for _, group := range names(s.t, s.call("resourcegroups", http.MethodGet, "/subscriptions/"+sub+"/resourcegroups?api-version=2021-04-01", "")) {
			s.group(sub, group)
		}
	}
}

func (s *script) group(sub, group string) {
	s.t.Helper()
	below := "/subscriptions/" + sub + "/resourceGroups/" + url.PathEscape(group) + "/providers/"
	// Get-AzVM -ResourceGroupName
	var vms struct {
		Value []struct{ Name, Location string }
	}
	s.call("virtualMachines", http.MethodGet, below+"Microsoft.Compute/virtualMachines?api-version=2023-09-01", "").into(s.t, &vms)
	for _, vm := range vms.Value {
		if slices.ContainsFunc(s.excluded, func(x string) bool { return strings.EqualFold(x, vm.Name) }) {
			s.tell("%s/%s/%s: excluded", sub, group, vm.Name)
			continue
		}
		// Get-AzJitNetworkAccessPolicy -ResourceGroupName
		var policies struct {
			Value []struct {
				Properties struct{ VirtualMachines []struct{ ID string } }
			}
		}
		s.call("jitNetworkAccessPolicies", http.MethodGet, below+"Microsoft.Security/jitNetworkAccessPolicies?api-version=2020-01-01", "").into(s.t, &policies)
		id := below + "Microsoft.Compute/virtualMachines/" + vm.Name
		there := false
		for _, p := range policies.Value {
			there = there || slices.ContainsFunc(p.Properties.VirtualMachines, func(m struct{ ID string }) bool { return strings.EqualFold(m.ID, id) })
		}
		if there {
			s.tell("%s/%s/%s: there already", sub, group, vm.Name)
			continue
		}
		// Set-AzJitNetworkAccessPolicy -Kind Basic -Name "${VMName}-JITPolicy"
		name := vm.Name + "-JITPolicy"
		got := s.call(name, http.MethodPut, below+"Microsoft.Security/locations/"+vm.Location+"/jitNetworkAccessPolicies/"+name+"?api-version=2020-01-01",
			putBody(s.t, id, portBody{22, "*", s.source, "PT3H"}, portBody{3389, "*", s.source, "PT3H"}))
		if got.status != http.StatusOK {
			s.tell("%s/%s/%s: %d %s", sub, group, vm.Name, got.status, got.body)
			continue
		}
		s.tell("%s/%s/%s: enabled", sub, group, vm.Name)
	}
}

// names are those of a list's entries.
func names(t *testing.T, a answer) (all []string) {
	t.Helper()
	var list struct{ Value []struct{ Name string } }
	a.into(t, &list)
	for _, v := range list.Value {
		all = append(all, v.Name)
	}
	return all
}

// portBody is a port of a policy, its members in the order in which Az PowerShell sends them.
type portBody struct {
	Number  int    `json:"number"`
	Proto   string `json:"protocol"`
	Source  string `json:"allowedSourceAddressPrefix"`
	Longest string `json:"maxRequestAccessDuration"`
}

// putBody is what Set-AzJitNetworkAccessPolicy sends for one machine.
func putBody(t *testing.T, machine string, ports ...portBody) string {
	t.Helper()
	type vm struct {
		ID    string     `json:"id"`
		Ports []portBody `json:"ports"`
	}
	var body struct {
		Kind       string `json:"kind"`
		Properties struct {
			VirtualMachines []vm `json:"virtualMachines"`
		} `json:"properties"`
	}
	body.Kind, body.Properties.VirtualMachines = "Basic", []vm{{machine, ports}}
	b, err := json.MarshalIndent(body, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(b), "\n", "\r\n") // as .NET writes it
}

// policies are all of both subscriptions: the bodies, by id.
func (w *world) policies(t *testing.T, token string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, sub := range []string{first, second} {
		var list struct{ Value []json.RawMessage }
		w.call(t, token, http.MethodGet, "/subscriptions/"+sub+"/providers/Microsoft.Security/jitNetworkAccessPolicies?api-version=2020-01-01", "").into(t, &list)
		for _, raw := range list.Value {
			var p struct{ ID string }
			if err := json.Unmarshal(raw, &p); err != nil {
				t.Fatal(err)
			}
			all[p.ID] = string(raw)
		}
	}
	return all
}

// policyOf is one of a machine, as another tool would have made it.
func policyOf(machine ajar.ID, name string) client.Policy {
	group := ajar.ID(strings.Split(string(machine), "/providers/")[0])
	p := client.Policy{Kind: "Basic", ID: group + "/providers/Microsoft.Security/locations/westeurope/jitNetworkAccessPolicies/" + ajar.ID(name), Location: "westeurope"}
	p.Properties.Machines = []client.MachinePolicy{{ID: machine, Ports: []client.PortPolicy{{Number: 22, Protocol: ajar.TCP, Source: "*", MaxDuration: "PT1H"}}}}
	return p
}

// token is one that a program gets with its secret, as any OAuth client does.
func (w *world) token(t *testing.T, p program) string {
	t.Helper()
	resp, err := w.http.PostForm(w.url+"/"+w.tenant+"/oauth2/v2.0/token", url.Values{
		"grant_type": {"client_credentials"}, "client_id": {p.id}, "client_secret": {p.secret}, "scope": {w.url + "/.default"},
	})
	return tokenOf(t, resp, err)
}

func tokenOf(t *testing.T, resp *http.Response, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var got struct {
		AccessToken string `json:"access_token"`
		Description string `json:"error_description"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil || got.AccessToken == "" {
		t.Fatalf("no token: %v %s", err, got.Description)
	}
	return got.AccessToken
}
