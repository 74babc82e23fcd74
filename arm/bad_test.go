package arm

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/ajar-access/ajar/ajartest"
)

var longText = strings.Repeat("x", 5000)

func badPort(port string) string {
	return `{"properties":{"virtualMachines":[{"id":"%M","ports":[` + port + `]}]}}`
}

func badAsk(port string) string { return `{"virtualMachines":[{"id":"%M","ports":[` + port + `]}]}` }

// badRow is a body, and what the refusal must say.
type badRow struct{ body, says string }

// badInput is what makes no sense, operation by operation; %M stands for a machine and %P for a policy.
var badInput = []struct {
	method, path string
	rows         []badRow
}{
	{"PUT", "%P" + v, []badRow{
		{``, "properties is required"},
		{`null`, "null"},
		{`[]`, "array"},
		{`{`, "not JSON"},
		{`{} {}`, "not JSON"},
		{`{"properties":{}}`, "virtualMachines is required"},
		{`{"properties":{"virtualMachines":null}}`, "virtualMachines is required"},
		{`{"properties":{"virtualMachines":{}}}`, "virtualMachines is a JSON object"},
		{`{"properties":{"virtualMachines":[null]}}`, "virtualMachines[0].id is required"},
		{`{"properties":{"virtualMachines":[{"id":"vm1"}]}}`, "virtualMachines[0].id"},
		{`{"properties":{"virtualMachines":[{"id":"/subscriptions/x/resourceGroups/g/providers/Microsoft.Network/nics/n"}]}}`, "virtual machine"},
		{`{"properties":{"virtualMachines":[{"id":"` + string(ajartest.MachineID("nobody")) + `","ports":[]}]}}`, "nobody"},
		{`{"properties":{"virtualMachines":[{"id":"%M"},{"id":"%M"}]}}`, "twice"},
		{`{"kind":5,"properties":{"virtualMachines":[]}}`, "not a text"},
		{`{"kind":"` + longText + `","properties":{"virtualMachines":[]}}`, "kind"},
		{`{"properties":{"virtualMachines":[],"unguard":"maybe"}}`, "unguard"},
		{`{"properties":{"virtualMachines":[],"breakGlass":"maybe"}}`, "breakGlass"},
		{badPort(`null`), "ports[0].number is required"},
		{badPort(`{"protocol":"TCP"}`), "number is required"},
		{badPort(`{"number":0}`), "between 1 and 65535"},
		{badPort(`{"number":-1}`), "between 1 and 65535"},
		{badPort(`{"number":65536}`), "between 1 and 65535"},
		{badPort(`{"number":22.5}`), "not a whole number"},
		{badPort(`{"number":99999999999999999999}`), "not a whole number"},
		{badPort(`{"number":"ssh"}`), "not a whole number"},
		{badPort(`{"number":[22]}`), "not a whole number"},
		{badPort(`{"number":22,"protocol":""}`), "protocol"},
		{badPort(`{"number":22,"protocol":"ICMP"}`), "TCP, UDP or *"},
		{badPort(`{"number":22,"protocol":6}`), "protocol"},
		{badPort(`{"number":22,"allowedSourceAddressPrefix":"10.0.0.0/33"}`), "10.0.0.0/33"},
		{badPort(`{"number":22,"allowedSourceAddressPrefix":"fe80::1%eth0"}`), "zone"},
		{badPort(`{"number":22,"allowedSourceAddressPrefix":["10.0.0.1","10.0.0.2"]}`), "plural"},
		{badPort(`{"number":22,"allowedSourceAddressPrefix":"10.0.0.1","allowedSourceAddressPrefixes":["10.0.0.2"]}`), "both"},
		{badPort(`{"number":22,"allowedSourceAddressPrefixes":["*","10.0.0.2"]}`), "*"},
		{badPort(`{"number":22,"allowedSourceAddressPrefixes":"10.0.0.2"}`), "array"},
		{badPort(`{"number":22,"allowedSourceAddressPrefixes":[""]}`), "not an address"},
		{badPort(`{"number":22,"allowedSourceAddressPrefixes":[` + strings.Repeat(`"10.0.0.1",`, 300) + `"10.0.0.1"]}`), "at most"},
		{badPort(`{"number":22,"maxRequestAccessDuration":"3h"}`), "PT1H30M"},
		{badPort(`{"number":22,"maxRequestAccessDuration":"PT"}`), "PT1H30M"},
		{badPort(`{"number":22,"maxRequestAccessDuration":"-PT1H"}`), "PT1H30M"},
		{badPort(`{"number":22,"maxRequestAccessDuration":"PT0S"}`), "between"},
		{badPort(`{"number":22,"maxRequestAccessDuration":"P1Y"}`), "PT1H30M"},
		{badPort(`{"number":22,"maxRequestAccessDuration":"P2D"}`), "between"},
		{badPort(`{"number":22,"maxRequestAccessDuration":7200}`), "not a text"},
		{badPort(`{"number":22,"endMode":"slam"}`), "end mode"},
		{badPort(`{"number":22,"drainDuration":"P9999D"}`), "drain"},
		{badPort(`{"number":22,"widestIPv4Prefix":40}`), "widest"},
		{badPort(`{"number":22,"approvals":-1}`), "approvals"},
		{badPort(`{"number":22,"protocol":"TCP"},{"number":22,"protocol":"*"}`), "twice"},
		{badPort(strings.Repeat(`{"number":22},`, 200) + `{"number":22}`), "at most"},
		{strings.Repeat("[", 20000), "JSON"},
		{`{"kind":"` + strings.Repeat("x", 1<<20) + `"}`, "larger"},
	}},
	{"PUT", "%P" + v + "&ajar-confirm-within=soon", []badRow{{`{"properties":{"virtualMachines":[]}}`, "soon"}}},
	{"PUT", "%P" + v + "&ajar-force=perhaps", []badRow{{`{"properties":{"virtualMachines":[]}}`, "ajar-force"}}},
	{"POST", "%P/initiate" + v, []badRow{
		{``, "virtualMachines is required"},
		{`{"virtualMachines":[]}`, "virtualMachines is required"},
		{`{"virtualMachines":[{"id":"%M"}]}`, "ports is required"},
		{`{"virtualMachines":[{"id":"%M","ports":[]}]}`, "ports is required"},
		{`{"virtualMachines":[{"ports":[{"number":22,"duration":"PT1H"}]}]}`, "id is required"},
		{badAsk(`{"number":22}`), "endTimeUtc is required"},
		{badAsk(`{"duration":"PT1H"}`), "number is required"},
		{badAsk(`{"number":0,"duration":"PT1H"}`), "between 1 and 65535"},
		{badAsk(`{"number":23,"duration":"PT1H"}`), "not offered"},
		{badAsk(`{"number":22,"duration":"PT0S"}`), "zero"},
		{badAsk(`{"number":22,"duration":"-PT1H"}`), "PT1H30M"},
		{badAsk(`{"number":22,"duration":"PT4H"}`), "longer than port 22 may be open"},
		{badAsk(`{"number":22,"duration":"PT1H","endTimeUtc":"2030-01-01T00:00:00Z"}`), "both"},
		{badAsk(`{"number":22,"endTimeUtc":"9999-12-31T23:59:59Z"}`), "longer than port 22 may be open"},
		{badAsk(`{"number":22,"endTimeUtc":"2001-01-01T00:00:00Z"}`), "not in the future"},
		{badAsk(`{"number":22,"endTimeUtc":"0000-00-00T00:00:00Z"}`), "not a time"},
		{badAsk(`{"number":22,"endTimeUtc":"tomorrow"}`), "not a time"},
		{badAsk(`{"number":22,"endTimeUtc":1893456000}`), "not a text"},
		{badAsk(`{"number":22,"duration":"PT1H","protocol":"SCTP"}`), "TCP, UDP or *"},
		{badAsk(`{"number":22,"duration":"PT1H","protocol":"UDP"}`), "offered for protocol TCP"},
		{badAsk(`{"number":22,"duration":"PT1H","allowedSourceAddressPrefix":"everywhere"}`), "not an address"},
		{badAsk(`{"number":22,"duration":"PT1H","allowedSourceAddressPrefix":"::ffff:0:0/90"}`), "wider"},
		{badAsk(`{"number":22,"duration":"PT1H","allowedSourceAddressPrefix":"fe80::1%25eth0"}`), "zone"},
		{badAsk(`{"number":22,"duration":"PT1H"},{"number":22,"duration":"PT2H"}`), "twice"},
		{`{"justification":"` + longText + `","virtualMachines":[{"id":"%M","ports":[{"number":22,"duration":"PT1H"}]}]}`, "justification"},
		{`{"justification":{"x":1},"virtualMachines":[{"id":"%M","ports":[{"number":22,"duration":"PT1H"}]}]}`, "not a text"},
		{badAsk(strings.Repeat(`{"number":22,"duration":"PT1H"},`, 1500) + `{"number":22,"duration":"PT1H"}`), "at most"},
	}},
	{"POST", "%P/requests/nosuch/revoke" + v, []badRow{{`{}`, "nosuch"}, {`{"reason":5}`, "not a text"}}},
	{"POST", "/ajar/v1/requests/nosuch/extend", []badRow{{`{}`, "endTimeUtc is required"}, {`{"duration":"PT0S"}`, "longer than zero"}, {`{"duration":"PT1H","endTimeUtc":"2030-01-01T00:00:00Z"}`, "not both"}, {`{"duration":"PT1H"}`, "nosuch"}}},
	{"GET", "/ajar/v1/requests?state=Sleeping", []badRow{{``, "state"}}},
	{"GET", "/ajar/v1/requests?mine=perhaps", []badRow{{``, "mine"}}},
	{"GET", "/ajar/v1/requests/nosuch?wait=forever", []badRow{{``, "wait"}}},
	{"GET", "/ajar/v1/leases?scope=nowhere", []badRow{{``, "slash"}}},
	{"GET", "/ajar/v1/leases?$top=0", []badRow{{``, "$top"}}},
	{"GET", "/ajar/v1/leases?$top=many", []badRow{{``, "$top"}}},
	{"GET", "/ajar/v1/leases?$skiptoken=AAAA", []badRow{{``, "skiptoken"}}},
	{"GET", "/ajar/v1/events?since=yesterday", []badRow{{``, "since"}}},
	{"GET", "/ajar/v1/events?limit=100000", []badRow{{``, "limit"}}},
	{"GET", "/ajar/v1/events?after=-1", []badRow{{``, "after"}}},
	{"GET", "/ajar/v1/target", []badRow{{``, "id"}}},
	{"GET", "/ajar/v1/target?id=/x/../y", []badRow{{``, "virtual machine"}}},
	{"PUT", "/ajar/v1/target?id=" + "%M", []badRow{{`{"addresses":["here"]}`, "not an address"}, {`{"sshPort":70000}`, "sshPort"}, {`{"location":7}`, "not a text"}}},
	{"POST", "/ajar/v1/hosts/join-token", []badRow{{`{}`, "target"}, {`{"target":"vm1"}`, "virtual machine"}, {`{"target":"%M","replace":"yes"}`, "true or false"}}},
	{"POST", "/ajar/v1/hosts/release-guard", []badRow{{`{"target":"%M"}`, "port is required"}, {`{"target":"%M","port":22,"protocol":"X"}`, "TCP, UDP"}}},
	{"POST", "/ajar/v1/principals", []badRow{{`{"kind":"Robot","name":"x"}`, "kind"}, {`{"kind":"User","name":""}`, "name"}, {`{"kind":"User","name":"x","password":"short"}`, "too short"}, {`{"kind":"Group","name":"x","password":"correct horse battery"}`, "people alone"}}},
	{"PUT", "/ajar/v1/principals/admin/password", []badRow{{`{"password":"short"}`, "too short"}, {`{}`, "too short"}}},
	{"PUT", "/ajar/v1/principals/nobody/password", []badRow{{`{"password":"correct horse battery"}`, "nobody"}}},
	{"POST", "/ajar/v1/principals/admin/secrets", []badRow{{`{"duration":"P9999D"}`, "between"}}},
	{"POST", "/ajar/v1/tokens", []badRow{{`{"duration":"PT0S"}`, "between"}, {`{"duration":"P400D"}`, "between"}, {`{"name":"` + longText + `"}`, "name"}}},
	{"PUT", "/ajar/v1/role-assignments/", []badRow{{`{}`, "required"}, {`{"principal":"admin","role":"King","scope":"/"}`, "King"}, {`{"principal":"admin","role":"Owner","scope":"x"}`, "scope"}}},
	{"PUT", "/ajar/v1/role-definitions", []badRow{{`{"name":"x","assignableScopes":["x"]}`, "assignableScopes[0]"}, {`{"permissions":[{"actions":"*"}]}`, "array"}}},
	{"PUT", "/ajar/v1/deny-assignments", []badRow{{`{"scope":"x"}`, "scope"}, {`{"scope":"/","principals":["nobody"]}`, "nobody"}}},
	{"PUT", "/ajar/v1/management-groups/x%3Fy", []badRow{{`{}`, "invalid"}}},
	{"PUT", "/ajar/v1/management-groups/x", []badRow{{`{"subscriptions":["x"]}`, "GUID"}}},
	{"POST", "/ajar/v1/what-if", []badRow{{`{"properties":{"virtualMachines":[]}}`, "id is required"}, {`{"id":"x","properties":{"virtualMachines":[]}}`, "slash"}, {`{"id":"/x","properties":{"virtualMachines":[]}}`, "policy"}}},
	{"POST", "/ajar/v1/login", []badRow{{`{}`, "name"}, {`{"name":5}`, "text"}, {`{"name":"` + longText + `","password":"x"}`, "256"}}},
}

// TestBadInput: what makes no sense is refused with a message that says what and where.
func TestBadInput(t *testing.T) {
	r := newRig(t)
	vm := r.Machine("vm1")
	p := string(r.Policy("default", vm))
	for _, group := range badInput {
		path := body(strings.ReplaceAll(group.path, "%P", p), vm)
		for _, c := range group.rows {
			a := r.do(group.method, path, r.owner, body(c.body, vm))
			short := fmt.Sprintf("%s %s %.200s", group.method, path, c.body)
			if a.StatusCode < 400 || a.StatusCode > 499 {
				t.Errorf("%s: %d: %.300s", short, a.StatusCode, a.body)
				continue
			}
			code, msg := a.refusal(t)
			if code == "" || !strings.Contains(strings.ToLower(msg), strings.ToLower(c.says)) {
				t.Errorf("%s: %s: %q says nothing of %q", short, code, msg, c.says)
			}
			if len(msg) > 1500 {
				t.Errorf("%s: the message has %d bytes", short, len(msg))
			}
		}
	}
}

// hostile is what a member may be instead of what it should be.
var hostile = []any{
	nil, true, 0, -1, 65536, 1e99, 0.5, "", "x", "*", "/", "/..", "\x00", "\u202e", "%", "::ffff:1.2.3.4%x", "0.0.0.0/0", "PT", "-PT1S", "PT9999999999H",
	"9999-12-31T23:59:60Z", strings.Repeat("é", 3000), []any{}, []any{nil}, []any{[]any{}}, map[string]any{}, map[string]any{"x": map[string]any{}},
}

// TestEveryMemberOfEveryBody puts something hostile in the place of each member of each body in turn: never a 500, and
// a refusal always has a code and a message.
func TestEveryMemberOfEveryBody(t *testing.T) {
	r := newRig(t)
	vm := r.Machine("vm1")
	p := string(r.Policy("default", vm))
	for _, c := range []struct{ method, path, body string }{
		{"PUT", p + v, `{"id":"x","name":"y","type":"z","location":"l","kind":"Basic","properties":{"unguard":"lift","requests":[],"virtualMachines":[{"id":"%M","publicIpAddress":"203.0.113.1","ports":[{"number":22,"protocol":"TCP","allowedSourceAddressPrefix":"*","maxRequestAccessDuration":"PT3H","endMode":"cut","drainDuration":"PT1M","widestIPv4Prefix":24,"widestIPv6Prefix":64,"approvals":0},{"number":23,"allowedSourceAddressPrefixes":["10.0.0.0/8","2001:db8::/32"]}]}]}}`},
		{"POST", p + "/initiate" + v, `{"justification":"j","virtualMachines":[{"id":"%M","ports":[{"number":22,"protocol":"TCP","duration":"PT1H","allowedSourceAddressPrefix":"10.0.0.1"}]}]}`},
		{"POST", p + "/initiate" + v, `{"virtualMachines":[{"id":"%M","ports":[{"number":22,"endTimeUtc":"2030-01-01T00:00:00Z","allowedSourceAddressPrefixes":["10.0.0.1"]}]}]}`},
		{"POST", "/ajar/v1/what-if", `{"id":"` + p + `","kind":"Basic","properties":{"virtualMachines":[{"id":"%M","ports":[{"number":22,"protocol":"TCP"}]}]}}`},
		{"POST", "/ajar/v1/requests/00000000-0000-4000-8000-000000000000/approve", `{"reason":"r"}`},
		{"POST", "/ajar/v1/requests/00000000-0000-4000-8000-000000000000/extend", `{"endTimeUtc":"2030-01-01T00:00:00Z","duration":"PT1H"}`},
		{"POST", "/ajar/v1/leases/00000000-0000-4000-8000-000000000000/close", `{"reason":"r"}`},
		{"POST", "/ajar/v1/tokens", `{"name":"n","duration":"PT1H"}`},
		{"POST", "/ajar/v1/principals", `{"kind":"User","name":"somebody","display":"d","disabled":false,"password":"correct horse battery"}`},
		{"PUT", "/ajar/v1/principals/somebody", `{"name":"somebody","display":"d","disabled":false}`},
		{"PUT", "/ajar/v1/principals/somebody/password", `{"password":"correct horse battery"}`},
		{"POST", "/ajar/v1/principals/somebody/secrets", `{"duration":"PT1H"}`},
		{"PUT", "/ajar/v1/target?id=" + string(ajartest.MachineID("vm2")), `{"location":"l","os":"Linux","addresses":["10.0.0.1"],"login":"root","sshPort":22}`},
		{"POST", "/ajar/v1/hosts/join-token", `{"target":"` + string(ajartest.MachineID("vm3")) + `","location":"l","os":"Linux","addresses":[],"replace":true}`},
		{"POST", "/ajar/v1/hosts/confirm", `{"target":"%M"}`},
		{"POST", "/ajar/v1/hosts/in-force", `{"targets":["%M"]}`},
		{"POST", "/ajar/v1/hosts/release-guard", `{"target":"%M","port":22,"protocol":"TCP"}`},
		{"PUT", "/ajar/v1/role-definitions", `{"name":"n","description":"d","permissions":[{"actions":["*/read"],"notActions":["x"],"dataActions":["y"],"notDataActions":["z"]}],"assignableScopes":["/subscriptions/11111111-1111-4111-8111-111111111111"]}`},
		{"PUT", "/ajar/v1/role-assignments", `{"principal":"somebody","role":"Reader","scope":"/","description":"d"}`},
		{"PUT", "/ajar/v1/deny-assignments", `{"name":"n","scope":"/subscriptions/11111111-1111-4111-8111-111111111111/resourceGroups/elsewhere","permissions":[{"actions":["x/write"]}],"principals":["somebody"],"excludePrincipals":[],"doNotApplyToChildScopes":false}`},
		{"PUT", "/ajar/v1/management-groups/mg", `{"display":"d","parent":"/","subscriptions":["22222222-2222-4222-8222-222222222222"]}`},
	} {
		var whole any
		if err := json.Unmarshal([]byte(body(c.body, vm)), &whole); err != nil {
			t.Fatal(err)
		}
		for _, text := range mutations(t, whole) {
			a := r.do(c.method, c.path, r.owner, text)
			if a.StatusCode >= 500 {
				t.Errorf("%s %s %.300s: %d: %s", c.method, c.path, text, a.StatusCode, a.body)
			} else if a.StatusCode >= 400 {
				if code, msg := a.refusal(t); code == "" || len(msg) < 10 || len(msg) > 1500 {
					t.Errorf("%s %s %.300s: %s: %.100q (%d bytes)", c.method, c.path, text, code, msg, len(msg))
				}
			}
		}
	}
	if strings.Contains(r.log.String(), `"msg":"panic"`) {
		t.Error("something panicked")
	}
}

// mutations are whole with each of its members replaced in turn by each hostile value.
func mutations(t *testing.T, whole any) (texts []string) {
	t.Helper()
	emit := func() {
		b, err := json.Marshal(whole)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(b))
	}
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for k, old := range v {
				for _, h := range hostile {
					v[k] = h
					emit()
				}
				v[k] = old
				walk(old)
			}
		case []any:
			for i, old := range v {
				for _, h := range hostile {
					v[i] = h
					emit()
				}
				v[i] = old
				walk(old)
			}
		}
	}
	walk(whole)
	return texts
}

// TestHostilePaths: names in paths are as untrusted as bodies.
func TestHostilePaths(t *testing.T) {
	r := newRig(t)
	vm := r.Machine("vm1")
	p := string(r.Policy("default", vm))
	for _, name := range []string{"%00", "%2e%2e", "a%2Fb", "%F0%9F%92%A5", "..%2f..", "%25", "a%20b", strings.Repeat("n", 3000), "%E2%80%AE", "'", "<b>", "a;b", "%ff%fe"} {
		for _, path := range []string{
			"/subscriptions/" + name + "/providers/Microsoft.Security/jitNetworkAccessPolicies",
			string(vm.Group()) + name + "/providers/Microsoft.Security/jitNetworkAccessPolicies",
			strings.Replace(p, "/default", "/"+name, 1),
			strings.Replace(p, "/westeurope", "/"+name, 1),
			p + "/requests/" + name,
			"/ajar/v1/requests/" + name, "/ajar/v1/leases/" + name, "/ajar/v1/principals/" + name, "/ajar/v1/role-definitions/" + name,
			"/ajar/v1/role-assignments/" + name, "/ajar/v1/target?id=/" + name, "/ajar/v1/targets?scope=/" + name, "/ajar/v1/events?scope=/" + name + "&caller=" + name,
			"/ajar/v1/principals/admin/secrets/" + name, "/ajar/v1/tokens?principal=" + name,
		} {
			sep := "?"
			if strings.Contains(path, "?") {
				sep = "&"
			}
			for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete, http.MethodPost} {
				a := r.do(method, path+sep+v[1:], r.owner, "{}")
				if a.StatusCode >= 500 || a.StatusCode < 200 || (a.StatusCode >= 300 && a.StatusCode < 400) {
					t.Errorf("%s %.200s: %d %s", method, path, a.StatusCode, a.body)
				}
			}
		}
	}
}
