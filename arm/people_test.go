package arm

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/ajartest"
	"github.com/ajar-access/ajar/arm/rest"
	"github.com/ajar-access/ajar/provider/fake"
)

const password = "correct horse battery staple"

// login signs in over the wire.
func (r *rig) login(name, secret string) sessionBody {
	r.t.Helper()
	a := r.do("POST", "/ajar/v1/login", "", fmt.Sprintf(`{"name":%q,"password":%q}`, name, secret))
	if a.StatusCode != 200 {
		r.t.Fatalf("log-in: %d %s", a.StatusCode, a.body)
	}
	var s sessionBody
	a.into(r.t, &s)
	return s
}

func TestPeople(t *testing.T) {
	r := newRig(t)
	var alice principalBody
	r.must(201, "POST", "/ajar/v1/principals", `{"kind":"User","name":"alice","display":"Alice","password":"`+password+`"}`).into(t, &alice)
	if alice.ID == "" || alice.Kind != ajar.User {
		t.Fatalf("made: %+v", alice)
	}
	s := r.login("ALICE", password)
	var me meBody
	a := r.do("GET", "/ajar/v1/me", s.Token, "")
	a.into(t, &me)
	if me.Principal != alice.ID || me.Name != "alice" || !me.From.IsLoopback() || !strings.Contains(me.Warning, "loopback") || me.Expires == nil {
		t.Errorf("me: %s", a.body)
	}

	var group, found principalBody
	r.must(201, "POST", "/ajar/v1/principals", `{"kind":"Group","name":"ops"}`).into(t, &group)
	r.must(200, "PUT", "/ajar/v1/principals/ops/members/alice", "").into(t, &group)
	if len(group.Members) != 1 || group.Members[0] != (memberBody{alice.ID, "alice"}) {
		t.Errorf("members: %+v", group.Members)
	}
	r.must(200, "PUT", "/ajar/v1/role-assignments/", `{"principal":"ops","role":"Just-in-time Requester","scope":"/"}`)
	var as list[assignmentBody]
	r.must(200, "GET", "/ajar/v1/role-assignments?principal=ops", "").into(t, &as)
	if len(as.Value) != 1 || as.Value[0].PrincipalName != "ops" || as.Value[0].RoleName != "Just-in-time Requester" || as.Value[0].Scope != "/" {
		t.Errorf("assignments: %+v", as)
	}
	vm := r.Machine("vm1")
	var below, at list[assignmentBody]
	r.must(200, "GET", "/ajar/v1/role-assignments?principal=alice&scope="+string(vm), "").into(t, &below)
	r.must(200, "GET", "/ajar/v1/role-assignments?principal=alice&role=just-in-time+requester&at="+string(vm), "").into(t, &at)
	if len(below.Value) != 0 || len(at.Value) != 1 || at.Value[0].ID != as.Value[0].ID {
		t.Errorf("below vm1: %+v; what holds there: %+v", below, at)
	}
	r.must(200, "GET", "/ajar/v1/role-assignments?role=Reader&at="+string(vm), "").into(t, &at)
	if len(at.Value) != 0 {
		t.Errorf("as readers: %+v", at)
	}
	r.must(400, "GET", "/ajar/v1/role-assignments?scope=/&at="+string(vm), "")
	r.must(400, "GET", "/ajar/v1/role-assignments?at=vm1", "")
	p := string(r.Policy("default", vm))
	ask := func() answer {
		return r.do("POST", p+"/initiate"+v, s.Token, body(`{"virtualMachines":[{"id":"%M","ports":[{"number":22,"duration":"PT1H"}]}]}`, vm))
	}
	if a := ask(); a.StatusCode != 202 {
		t.Errorf("as a member of ops: %d %s", a.StatusCode, a.body)
	}
	r.must(204, "DELETE", "/ajar/v1/role-assignments/"+as.Value[0].ID, "")
	if a := ask(); a.StatusCode != 403 {
		t.Errorf("the call after the assignment went: %d %s", a.StatusCode, a.body)
	}

	r.must(204, "PUT", "/ajar/v1/principals/alice/password", `{"password":"another horse, another battery"}`)
	if a := r.do("GET", "/ajar/v1/me", s.Token, ""); a.StatusCode != 401 {
		t.Errorf("a password set by somebody else leaves the old tokens: %d", a.StatusCode)
	}
	s = r.login("alice", "another horse, another battery")
	r.must(200, "GET", "/ajar/v1/principals/alice", "").into(t, &found)
	if found.ID != alice.ID || found.Display != "Alice" {
		t.Errorf("found: %+v", found)
	}
	r.must(200, "PUT", "/ajar/v1/principals/alice", `{"disabled":true}`).into(t, &found)
	if !found.Disabled || found.Display != "Alice" {
		t.Errorf("what a PUT leaves out changed: %+v", found)
	}
	if a := r.do("GET", "/ajar/v1/me", s.Token, ""); a.StatusCode != 401 {
		t.Errorf("disabled, and still in: %d", a.StatusCode)
	}
	r.must(204, "DELETE", "/ajar/v1/principals/alice", "")
	r.must(404, "GET", "/ajar/v1/principals/alice", "")
}

func TestLogoutEndsTheToken(t *testing.T) {
	r := newRig(t)
	r.must(201, "POST", "/ajar/v1/principals", `{"kind":"User","name":"alice","password":"`+password+`"}`)
	s := r.login("alice", password)
	if a := r.do("POST", "/ajar/v1/logout", s.Token, ""); a.StatusCode != 204 {
		t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	if a := r.do("GET", "/ajar/v1/me", s.Token, ""); a.StatusCode != 401 {
		t.Errorf("after logging out: %d", a.StatusCode)
	}
}

func TestTokens(t *testing.T) {
	r := newRig(t)
	var made tokenBody
	r.must(200, "POST", "/ajar/v1/tokens", `{"name":"ci","duration":"PT1H"}`).into(t, &made)
	if made.Token == "" || made.Name != "ci" || made.Expires.Sub(r.Now()) > time.Hour {
		t.Fatalf("made: %+v", made)
	}
	if a := r.do("GET", "/ajar/v1/me", made.Token, ""); a.StatusCode != 200 {
		t.Errorf("it does not work: %d", a.StatusCode)
	}
	a := r.must(200, "GET", "/ajar/v1/tokens", "")
	var l list[tokenBody]
	a.into(t, &l)
	current := 0
	for _, x := range l.Value {
		if x.Current {
			current++
		}
	}
	if len(l.Value) != 2 || current != 1 || strings.Contains(a.body, made.Token) {
		t.Errorf("listed: %s", a.body)
	}
	r.must(204, "DELETE", "/ajar/v1/tokens/"+made.ID, "")
	if a := r.do("GET", "/ajar/v1/me", made.Token, ""); a.StatusCode != 401 {
		t.Errorf("revoked, and still good: %d", a.StatusCode)
	}
	r.must(404, "DELETE", "/ajar/v1/tokens/0123456789abcdef", "")
}

func TestServicePrincipalSecrets(t *testing.T) {
	r := newRig(t)
	r.must(201, "POST", "/ajar/v1/principals", `{"kind":"ServicePrincipal","name":"deployer"}`)
	var made secretBody
	r.must(201, "POST", "/ajar/v1/principals/deployer/secrets", `{"duration":"PT1H"}`).into(t, &made)
	s := r.login("deployer", made.Secret)
	if s.Name != "deployer" {
		t.Errorf("signed in as %s", s.Name)
	}
	a := r.must(200, "GET", "/ajar/v1/principals/deployer/secrets", "")
	if strings.Contains(a.body, made.Secret) || !strings.Contains(a.body, made.Hint) {
		t.Errorf("listed: %s", a.body)
	}
	r.must(204, "DELETE", "/ajar/v1/principals/deployer/secrets/"+made.ID, "")
	if a := r.do("POST", "/ajar/v1/login", "", fmt.Sprintf(`{"name":"deployer","password":%q}`, made.Secret)); a.StatusCode != 401 {
		t.Errorf("a deleted secret: %d", a.StatusCode)
	}
}

func TestThrottledLogInsSayWhenToTryAgain(t *testing.T) {
	r := newRig(t)
	var last answer
	for range 30 {
		if last = r.do("POST", "/ajar/v1/login", "", `{"name":"admin","password":"wrong wrong wrong"}`); last.StatusCode == 429 {
			break
		}
	}
	if code, _ := last.refusal(t); last.StatusCode != 429 || code != "TooManyRequests" || last.Header.Get("Retry-After") == "" {
		t.Errorf("%d %s, Retry-After %q", last.StatusCode, last.body, last.Header.Get("Retry-After"))
	}
}

// TestSecretsNeverInLogs: neither the program's log nor the activity log nor any error shows a password, a secret or a
// token, whatever happened to them.
func TestSecretsNeverInLogs(t *testing.T) {
	r := newRig(t)
	var secrets []string
	r.must(201, "POST", "/ajar/v1/principals", `{"kind":"User","name":"alice","password":"`+password+`"}`)
	r.must(201, "POST", "/ajar/v1/principals", `{"kind":"ServicePrincipal","name":"deployer"}`)
	s := r.login("alice", password)
	var sec secretBody
	r.must(201, "POST", "/ajar/v1/principals/deployer/secrets", "").into(t, &sec)
	var tok tokenBody
	r.must(200, "POST", "/ajar/v1/tokens", `{"name":"x"}`).into(t, &tok)
	vm := r.Machine("vm1")
	var join joinBody
	r.must(201, "POST", "/ajar/v1/hosts/join-token", body(`{"target":"%M","replace":true}`, vm)).into(t, &join)
	secrets = append(secrets, password, s.Token, sec.Secret, tok.Token, join.Token, r.owner, "swordfish-swordfish", "ajt_"+strings.Repeat("A", 43))
	answers := ""
	for _, a := range []answer{
		r.do("POST", "/ajar/v1/login", "", `{"name":"alice","password":"swordfish-swordfish"}`),
		r.do("POST", "/ajar/v1/login", "", `{"name":"swordfish-swordfish","password":"x"}`),
		r.do("POST", "/ajar/v1/login", "", `{"name":"alice","password":{"x":"swordfish-swordfish"}}`),
		r.do("POST", "/ajar/v1/login", "", `{"name":"alice","password":"swordfish-swordfish`),
		r.do("PUT", "/ajar/v1/principals/alice/password", r.owner, `{"password":["swordfish-swordfish"]}`),
		r.do("GET", "/ajar/v1/me", "ajt_"+strings.Repeat("A", 43), ""),
		r.do("GET", "/ajar/v1/events?limit=1000", r.owner, ""),
		r.do("GET", "/ajar/v1/tokens?all=true", r.owner, ""),
		r.do("GET", "/ajar/v1/principals/deployer/secrets", r.owner, ""),
	} {
		answers += a.body
	}
	for _, x := range secrets {
		if strings.Contains(r.log.String(), x) {
			t.Errorf("the program's log shows %.8s…", x)
		}
		if strings.Contains(answers, x) {
			t.Errorf("an answer or the activity log shows %.8s…", x)
		}
	}
}

func TestWaitIsWoken(t *testing.T) {
	r := newRig(t)
	vm := r.Machine("vm1")
	p := r.Policy("default", vm)
	host := r.Firewall.Host(ajartest.Endpoint(vm))
	host.Set(func(h *fake.Host) { h.Fault.Unreachable = true })
	var got initiated
	r.must(202, "POST", string(p)+"/initiate"+v, body(`{"virtualMachines":[{"id":"%M","ports":[{"number":22,"duration":"PT1H"}]}]}`, vm)).into(t, &got)
	var wg sync.WaitGroup
	wg.Go(func() {
		a := r.do("GET", "/ajar/v1/requests/"+string(got.ID)+"?wait=Open&timeout=20s", r.owner, "")
		var b outcomeBody
		a.into(t, &b)
		if len(b.Leases) != 1 || (b.Leases[0].State != ajar.Open && b.Leases[0].Trouble == "") {
			t.Errorf("it returned with %s", a.body)
		}
	})
	r.Until(func() bool {
		return r.surface.News.Waiting(got.ID) == 1
	})
	host.Set(func(h *fake.Host) { h.Fault.Unreachable = false })
	r.Loop.Wake(ajartest.Endpoint(vm))
	r.Until(func() bool { r.surface.Changed(got.ID); return r.Lease(got.Leases[0].ID).State == ajar.Open })
	r.surface.Changed(got.ID)
	wg.Wait()
	r.Until(func() bool {
		return r.surface.News.Waiting(got.ID) == 0
	})
}

func TestWaitForADecisionAndForTheEnd(t *testing.T) {
	r := newRig(t)
	vm := r.Machine("vm1")
	p := r.PolicyOf("default", []ajar.PortPolicy{{Number: 22, Protocol: ajar.TCP, Any: true, MaxDuration: time.Hour, Approvals: 1}}, vm)
	bob := r.tokenFor(r.User("bob", ajartest.At("Owner", ajar.Root)))
	ask := func() initiated {
		var got initiated
		r.must(202, "POST", string(p)+"/initiate"+v, body(`{"virtualMachines":[{"id":"%M","ports":[{"number":22,"duration":"PT1H"}]}]}`, vm)).into(t, &got)
		return got
	}
	got := ask()
	if got.State != ajar.Pending || got.Needs != 1 || got.Deadline == nil || len(got.Leases) != 0 {
		t.Fatalf("asked: %+v", got)
	}
	at := "/ajar/v1/requests/" + string(got.ID)
	if a := r.do("POST", at+"/approve", r.owner, `{"reason":"mine"}`); a.StatusCode != 403 && a.StatusCode != 409 {
		t.Errorf("one's own request was approved: %d %s", a.StatusCode, a.body)
	}
	if a := r.do("POST", at+"/approve", bob, `{"reason":"fine"}`); a.StatusCode != 200 {
		t.Fatalf("approve: %d %s", a.StatusCode, a.body)
	}
	var b outcomeBody
	r.must(200, "GET", at+"?wait=Decided", "").into(t, &b)
	if b.State != ajar.Approved || len(b.Approvals) != 1 || b.Approvals[0].Name != "bob" || b.Approvals[0].Reason != "fine" || len(b.Leases) != 1 {
		t.Errorf("approved: %+v", b)
	}
	r.must(200, "GET", at+"?wait=PT10S", "").into(t, &b)
	if b.Leases[0].State != ajar.Open || b.Leases[0].KernelEnd == nil {
		t.Errorf("opened: %+v", b.Leases[0])
	}
	r.must(409, "POST", at+"/extend", `{"duration":"PT1S"}`) // beyond what was approved
	r.must(200, "POST", at+"/revoke", `{"reason":"done"}`)
	r.must(200, "GET", at+"?wait=Closed&timeout=10s", "").into(t, &b)
	if b.Leases[0].State != ajar.Closed || b.Leases[0].Reason != ajar.Revoked {
		t.Errorf("closed: %+v", b.Leases[0])
	}
	denied := ask()
	if a := r.do("POST", string(p)+"/requests/"+string(denied.ID)+"/deny"+v, bob, `{"reason":"no"}`); a.StatusCode != 200 || !strings.Contains(a.body, `"state":"Denied"`) {
		t.Errorf("deny: %d %s", a.StatusCode, a.body)
	}
	mine := ask()
	if a := r.do("POST", "/ajar/v1/requests/"+string(mine.ID)+"/withdraw", r.owner, ""); a.StatusCode != 200 || !strings.Contains(a.body, `"state":"Withdrawn"`) {
		t.Errorf("withdraw: %d %s", a.StatusCode, a.body)
	}
	var l list[outcomeBody]
	r.must(200, "GET", string(p)+"/requests"+v+"&state=Denied", "").into(t, &l)
	if len(l.Value) != 1 || l.Value[0].ID != denied.ID {
		t.Errorf("denied ones: %+v", l.Value)
	}
	// To Azure's clients, who know no approvals, all of them are over.
	for _, want := range []string{`"status":"Revoked"`} {
		if a := r.must(200, "GET", string(p)+v, ""); strings.Count(a.body, want) != 3 {
			t.Errorf("the policy shows %s", a.body)
		}
	}
}

func TestExtendAndClose(t *testing.T) {
	r := newRig(t)
	vm := r.Machine("vm1")
	p := r.Policy("default", vm)
	out := r.Open(r.User("alice", ajartest.At("Owner", ajar.Root)), p, vm, 22, "192.0.2.1", time.Hour)
	l, at := out.Leases[0], string(p)+"/requests/"+string(out.Request.ID)
	var b outcomeBody
	r.must(200, "POST", at+"/extend"+v, `{"duration":"PT30M"}`).into(t, &b)
	if got := b.Leases[0].End.Sub(l.End); got != 30*time.Minute {
		t.Errorf("extended by %s", got)
	}
	var one leaseBody
	r.must(200, "POST", "/ajar/v1/leases/"+string(l.ID)+"/extend", `{"endTimeUtc":"`+l.End.Add(time.Hour).Format(time.RFC3339Nano)+`"}`).into(t, &one)
	if got := one.End.Sub(l.End); got != time.Hour {
		t.Errorf("extended by %s", got)
	}
	if code, msg := r.do("POST", at+"/extend"+v, r.owner, `{"duration":"PT3H"}`).refusal(t); !strings.Contains(msg, "3") {
		t.Errorf("beyond the longest: %s: %s", code, msg)
	}
	r.must(200, "POST", "/ajar/v1/leases/"+string(l.ID)+"/close", `{"reason":"done"}`)
	r.Until(func() bool {
		r.must(200, "GET", "/ajar/v1/leases/"+string(l.ID), "").into(t, &one)
		return one.State == ajar.Closed
	})
	var none list[leaseBody]
	r.must(200, "GET", "/ajar/v1/leases?live=true", "").into(t, &none)
	if len(none.Value) != 0 {
		t.Errorf("live: %+v", none.Value)
	}
}

// TestARequestOfAnotherPolicyIsNotFound: what the path says must be so.
func TestARequestOfAnotherPolicyIsNotFound(t *testing.T) {
	r := newRig(t)
	vm := r.Machine("vm1")
	p := r.Policy("default", vm)
	q := r.PolicyOf("other", []ajar.PortPolicy{{Number: 23, Protocol: ajar.TCP, Any: true, MaxDuration: time.Hour}}, vm)
	out := r.Open(r.User("alice", ajartest.At("Owner", ajar.Root)), p, vm, 22, "192.0.2.1", time.Hour)
	r.must(200, "GET", string(p)+"/requests/"+string(out.Request.ID)+v, "")
	r.must(404, "GET", string(q)+"/requests/"+string(out.Request.ID)+v, "")
	r.must(404, "POST", string(q)+"/requests/"+string(out.Request.ID)+"/revoke"+v, "")
}

func TestEventsFollow(t *testing.T) {
	r := newRig(t)
	var l list[*ajar.Event]
	r.must(200, "GET", "/ajar/v1/events?limit=1", "").into(t, &l)
	last := int64(0)
	if len(l.Value) == 1 {
		last = l.Value[0].Pos
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		var l list[*ajar.Event]
		r.do("GET", fmt.Sprintf("/ajar/v1/events?ascending=true&after=%d&wait=PT20S", last), r.owner, "").into(t, &l)
		if len(l.Value) == 0 || l.Value[0].Pos != last+1 {
			t.Errorf("followed: %+v", l.Value)
		}
	})
	r.Until(func() bool {
		return r.surface.News.Waiting(rest.AnyEvent) == 1
	})
	if err := r.Broker.Record(t.Context(), ajar.Event{Action: ajar.HostSkew, Outcome: ajar.Happened, Message: "test"}); err != nil {
		t.Fatal(err)
	}
	r.surface.Logged([]ajar.Event{{Action: ajar.HostSkew, Outcome: ajar.Happened}})
	wg.Wait()
}

func TestEventPages(t *testing.T) {
	r := newRig(t)
	for i := range 25 {
		if err := r.Broker.Record(t.Context(), ajar.Event{Action: ajar.HostSkew, Outcome: ajar.Happened, Message: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	for _, order := range []string{"true", "false"} {
		seen, path := map[int64]bool{}, "/ajar/v1/events?limit=10&action="+string(ajar.HostSkew)+"&ascending="+order
		for path != "" {
			var l list[*ajar.Event]
			r.must(200, "GET", path, "").into(t, &l)
			for _, e := range l.Value {
				seen[e.Pos] = true
			}
			path = strings.TrimPrefix(l.NextLink, "https://ajar.example.com")
		}
		if len(seen) != 25 {
			t.Errorf("ascending=%s: %d events", order, len(seen))
		}
	}
}

func TestTargetsAndHosts(t *testing.T) {
	r := newRig(t)
	vm := r.Machine("vm1")
	r.Policy("default", vm)
	a := r.must(200, "GET", "/ajar/v1/targets?name=VM1", "")
	var l list[targetBody]
	a.into(t, &l)
	if len(l.Value) != 1 || l.Value[0].ID != vm || l.Value[0].Host == nil || len(l.Value[0].Policies) != 1 || l.Value[0].Policies[0].Ports[0].Number != 22 {
		t.Errorf("targets: %s", a.body)
	}
	r.must(404, "GET", "/ajar/v1/target?id="+string(ajartest.MachineID("vm9")), "")
	r.must(200, "PUT", "/ajar/v1/target?id="+string(ajartest.MachineID("vm2")), `{"location":"westeurope","os":"Linux","addresses":["::ffff:10.0.0.2"],"login":"root"}`)
	var one targetBody
	r.must(200, "GET", "/ajar/v1/target?id="+string(ajartest.MachineID("VM2")), "").into(t, &one)
	if one.Login != "root" || len(one.Addresses) != 1 || one.Addresses[0].String() != "10.0.0.2" || one.Host != nil {
		t.Errorf("target: %+v", one)
	}
	r.must(204, "DELETE", "/ajar/v1/target?id="+string(ajartest.MachineID("vm2")), "")
	r.must(404, "DELETE", "/ajar/v1/target?id="+string(ajartest.MachineID("vm2")), "")
	var hosts list[hostBody]
	r.must(200, "GET", "/ajar/v1/hosts", "").into(t, &hosts)
	if len(hosts.Value) != 1 || hosts.Value[0].Target != vm || len(hosts.Value[0].Guards) != 1 || hosts.Value[0].Guards[0].Number != 22 {
		t.Errorf("hosts: %+v", hosts.Value)
	}
}

func TestPutIfMatch(t *testing.T) {
	r := newRig(t)
	vm := r.Machine("vm1")
	p := string(ajartest.PolicyID("default"))
	put := func(header, value string) answer {
		req := r.request("PUT", p+v, body(policyBodyText, vm))
		req.Header.Set(header, value)
		return r.send(req)
	}
	if a := put("If-None-Match", "*"); a.StatusCode != 200 {
		t.Fatalf("new: %d %s", a.StatusCode, a.body)
	}
	if a := put("If-None-Match", "*"); a.StatusCode != 412 {
		t.Errorf("not new: %d %s", a.StatusCode, a.body)
	}
	tag := r.must(200, "GET", p+v, "").Header.Get("ETag")
	if a := put("If-Match", tag); a.StatusCode != 200 || a.Header.Get("ETag") == tag {
		t.Errorf("unchanged: %d, then %s", a.StatusCode, a.Header.Get("ETag"))
	}
	if a := put("If-Match", tag); a.StatusCode != 412 {
		t.Errorf("changed meanwhile: %d %s", a.StatusCode, a.body)
	}
	if a := put("If-Match", "yesterday"); a.StatusCode != 400 {
		t.Errorf("no tag: %d %s", a.StatusCode, a.body)
	}
	if a := put("If-Match", "*"); a.StatusCode != 200 {
		t.Errorf("there: %d %s", a.StatusCode, a.body)
	}
	remove := func(match string) answer {
		req := r.request("DELETE", p+v, "")
		req.Header.Set("If-Match", match)
		return r.send(req)
	}
	if a := remove(tag); a.StatusCode != 412 {
		t.Errorf("removed though it has changed: %d %s", a.StatusCode, a.body)
	}
	if a := remove(r.must(200, "GET", p+v, "").Header.Get("ETag")); a.StatusCode != 200 {
		t.Errorf("removed as it was read: %d %s", a.StatusCode, a.body)
	}
	if a := remove("*"); a.StatusCode != 204 {
		t.Errorf("gone already: %d %s", a.StatusCode, a.body)
	}
	if a := put("If-Match", "*"); a.StatusCode != 412 {
		t.Errorf("made though it had to be there: %d %s", a.StatusCode, a.body)
	}
}

func TestWhatIfChangesNothing(t *testing.T) {
	r := newRig(t)
	vm := r.Machine("vm1")
	p := r.Policy("default", vm)
	out := r.Open(r.User("alice", ajartest.At("Owner", ajar.Root)), p, vm, 22, "192.0.2.1", time.Hour)
	text := strings.Replace(body(`{"id":"%P","properties":{"virtualMachines":[{"id":"%M","ports":[{"number":3389}]}]}}`, vm), "%P", string(p), 1)
	r.Broker.GuardConfirm = 10 * time.Minute
	var b whatIfBody
	r.must(200, "POST", "/ajar/v1/what-if", text).into(t, &b)
	if len(b.Guard) != 1 || b.Guard[0].Number != 3389 || b.ConfirmWithin != "PT10M" || len(b.Lift) != 1 || b.Lift[0].Number != 22 || len(b.Leases) != 1 || b.Leases[0].ID != out.Leases[0].ID {
		t.Errorf("what if: %+v", b)
	}
	if l := r.Lease(out.Leases[0].ID); l.State == ajar.Closing || l.State == ajar.Closed {
		t.Error("the lease ended")
	}
}

// TestRefusedInitiateSaysWhatAzureSays, and then why.
func TestRefusedInitiateSaysWhatAzureSays(t *testing.T) {
	r := newRig(t)
	vm := r.Machine("vm1")
	p := string(r.Policy("default", vm))
	code, msg := r.must(400, "POST", p+"/initiate"+v, body(`{"virtualMachines":[{"id":"%M","ports":[{"number":22,"duration":"PT5H"}]}]}`, vm)).refusal(t)
	want := "The given access request is not a subset of policy '" + p + "'. Please make sure that the access request is within the allowed policy properties."
	if code != "JitAccessRequestNotSubset" || !strings.HasPrefix(msg, want) || !strings.Contains(msg, "PT3H") {
		t.Errorf("%s: %s", code, msg)
	}
	es := r.Events(ajar.PolicyInitiate)
	if len(es) != 1 || es[0].Outcome != ajar.Refused || es[0].Kind != ajar.Invalid {
		t.Errorf("recorded: %+v", es)
	}
}
