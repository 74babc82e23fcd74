package broker_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/broker"
	"github.com/ajar-access/ajar/rbac"
)

func TestRequestIsGrantedAndRecorded(t *testing.T) {
	p := newPlane(t)
	j := p.standard()
	alice := p.requester("alice")
	o := p.granted(alice)
	l := p.wants(o.Leases[0].ID, ajar.Opening, "")
	if !l.Start.Equal(start) || !l.End.Equal(start.Add(time.Hour)) || l.Endpoint != j.Endpoint.ID || l.Requester != alice.Principal || l.Name != "alice" {
		t.Errorf("%+v", l)
	}
	if got := l.Sources; len(got) != 1 || got[0].String() != "203.0.113.7/32" {
		t.Errorf("sources %v, want the caller's own", got)
	}
	if l.Flow.Port.Protocol != ajar.TCP || l.Mode != ajar.Cut {
		t.Errorf("%v %v", l.Flow, l.Mode)
	}
	e := p.last(1)[0]
	if e.Action != ajar.PolicyInitiate || e.Outcome != ajar.Accepted || e.Scope != pol || e.Name != "alice" || e.By == "" || e.Lease != l.ID ||
		e.Request != o.Request.ID || e.From != here || !strings.Contains(e.Details["asks"], "vm1 22/TCP from 203.0.113.7/32 for PT1H") || e.Details["justification"] != "because" {
		t.Errorf("%+v", e)
	}
	if p.woken[j.Endpoint.ID] == 0 {
		t.Error("the loop was not woken")
	}
	again, err := p.b.Request(ctx, alice, o.Request.ID)
	p.must(err)
	if again.Request.State != ajar.Approved || len(again.Leases) != 1 {
		t.Errorf("%+v", again)
	}
}

func TestRefusedRequestSaysWhatIsAllowed(t *testing.T) {
	p := newPlane(t)
	p.host(vm(group, "vm1"))
	p.host(vm(group, "vm2"))
	p.policy(machine(vm(group, "vm1"), port(22, ajar.TCP, from("203.0.113.0/24"), upTo(time.Hour))))
	alice := p.requester("alice")
	no := func(a ajar.Ask, words ...string) {
		t.Helper()
		_, err := p.ask(alice, a)
		p.refused(ajar.Invalid, err, append(words, "is not a subset of policy '"+string(pol)+"'")...)
		if code(err) != "JitAccessRequestNotSubset" {
			t.Errorf("code %q", code(err))
		}
	}
	no(ask(vm(group, "vm1"), 22, 2*time.Hour), "at most PT1H")
	no(ask(vm(group, "vm1"), 23, time.Hour), "offered: 22/TCP")
	no(ask(vm(group, "vm2"), 22, time.Hour), "not in the policy")
	no(ask(vm(group, "vm1"), 22, time.Hour, "198.51.100.1/32"), "203.0.113.0/24")
	no(ajar.Ask{Target: vm(group, "vm1"), Port: ajar.Port{Number: 22, Protocol: ajar.UDP}, Duration: time.Minute}, "TCP, not UDP")
	no(ajar.Ask{Target: vm(group, "vm1"), Port: ajar.Port{Number: 22}, End: start}, "not in the future")
	no(ajar.Ask{Target: vm(group, "vm1"), Port: ajar.Port{Number: 22}, End: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)}, "at most PT1H")
	if p.count(ajar.KindRequest) != 0 || p.count(ajar.KindLease) != 0 {
		t.Error("something was kept of a refused request")
	}
}

func TestRefusalIsRecorded(t *testing.T) {
	p := newPlane(t)
	p.standard()
	mallory := p.user("mallory")
	_, err := p.ask(mallory, ask(vm(group, "vm1"), 22, time.Hour))
	p.refused(ajar.Forbidden, err, string(ajar.PolicyInitiate), "Just-in-time Requester")
	e := p.last(1)[0]
	if e.Outcome != ajar.Refused || e.Kind != ajar.Forbidden || e.Action != ajar.PolicyInitiate || e.Caller != mallory.Principal || e.Name != "mallory" || e.Scope != pol || e.Message != ajar.Message(err) {
		t.Errorf("%+v", e)
	}
	alice := p.requester("alice")
	_, err = p.ask(alice, ask(vm(group, "vm1"), 22, 30*time.Hour))
	p.refused(ajar.Invalid, err)
	if e := p.last(1)[0]; e.Outcome != ajar.Refused || e.Kind != ajar.Invalid || !strings.Contains(e.Message, "at most") {
		t.Errorf("%+v", e)
	}
}

func TestRefusalRollsBackEverything(t *testing.T) {
	p := newPlane(t)
	p.standard()
	p.host(vm(group, "vm2"))
	p.policy(machine(vm(group, "vm1"), port(22, ajar.TCP)), machine(vm(group, "vm2"), port(22, ajar.TCP)))
	alice := p.requester("alice")
	old := p.granted(alice)
	_, err := p.b.DeleteTarget(ctx, p.owner, vm(group, "vm2"), true)
	p.must(err)
	p.policy(machine(vm(group, "vm1"), port(22, ajar.TCP)))
	_, _, err = p.b.CreateJoinToken(ctx, p.owner, ajar.Target{ID: vm(group, "vm2")}, false)
	p.must(err)
	p.policy(machine(vm(group, "vm1"), port(22, ajar.TCP)), machine(vm(group, "vm2"), port(22, ajar.TCP)))
	before := p.everything()
	// The first ask would supersede the old lease; the second has no host.
	_, err = p.ask(alice, ask(vm(group, "vm1"), 22, time.Minute*10), ask(vm(group, "vm2"), 22, time.Minute*10))
	p.refused(ajar.Conflict, err, "none has joined")
	if after := p.everything(); after != before {
		t.Errorf("a refused verb left traces:\n%s\n%s", before, after)
	}
	p.wants(old.Leases[0].ID, ajar.Opening, "")
}

func TestSourceIsTheCallersOwn(t *testing.T) {
	p := newPlane(t)
	p.standard()
	alice := p.requester("alice")
	for _, c := range []struct{ from, want, warning string }{
		{"::ffff:198.51.100.9", "198.51.100.9/32", ""},
		{"2001:db8::7", "2001:db8::7/128", ""},
		{"127.0.0.1", "127.0.0.1/32", "loopback"},
		{"10.1.2.3", "10.1.2.3/32", "private"},
		{"100.64.1.1", "100.64.1.1/32", "shared"},
	} {
		alice.From = netip.MustParseAddr(c.from)
		o := p.granted(alice)
		if got := o.Leases[0].Sources[0].String(); got != c.want {
			t.Errorf("from %s: %s", c.from, got)
		}
		if w := strings.Join(o.Request.Warnings, ""); (c.warning == "") != (w == "") || !strings.Contains(w, c.warning) {
			t.Errorf("from %s: warnings %q", c.from, w)
		}
	}
	for _, bad := range []netip.Addr{{}, netip.MustParseAddr("fe80::1%eth0")} {
		alice.From = bad
		_, err := p.ask(alice, ask(vm(group, "vm1"), 22, time.Hour))
		p.refused(ajar.Invalid, err, "name a source")
	}
}

func TestAskWithoutProtocolIsForEachRow(t *testing.T) {
	p := newPlane(t)
	p.host(vm(group, "vm1"))
	p.policy(machine(vm(group, "vm1"), port(3389, ajar.TCP), port(3389, ajar.UDP), port(22, ajar.Both)))
	alice := p.requester("alice")
	o := p.granted(alice, ask(vm(group, "vm1"), 3389, time.Hour), ask(vm(group, "vm1"), 22, time.Hour))
	var got []string
	for _, l := range o.Leases {
		got = append(got, l.Flow.Port.String())
	}
	if slices.Sort(got); strings.Join(got, " ") != "22/* 3389/TCP 3389/UDP" {
		t.Error(got)
	}
	_, err := p.ask(alice, ask(vm(group, "vm1"), 22, time.Hour), ask(vm(group, "vm1"), 22, time.Minute*9))
	p.refused(ajar.Invalid, err, "asked for twice")
}

func TestNewerRequestSupersedesEvenWhenItEndsSooner(t *testing.T) {
	p := newPlane(t)
	p.host(vm(group, "vm1"))
	p.policy(machine(vm(group, "vm1"), port(22, ajar.TCP), port(443, ajar.Both)))
	alice, bob := p.requester("alice"), p.requester("bob")
	first := p.granted(alice).Leases[0].ID
	bobs := p.granted(bob).Leases[0].ID
	elsewhere := p.granted(alice, ask(vm(group, "vm1"), 22, time.Hour, "198.51.100.0/24")).Leases[0].ID
	otherPort := p.granted(alice, ask(vm(group, "vm1"), 443, time.Hour)).Leases[0].ID
	second := p.granted(alice, ask(vm(group, "vm1"), 22, 10*time.Minute)).Leases[0].ID
	l := p.wants(first, ajar.Closing, ajar.Superseded)
	if !l.End.Equal(start.Add(time.Hour)) {
		t.Errorf("the end of a superseded lease moved to %v", l.End)
	}
	for _, id := range []ajar.LeaseID{bobs, elsewhere, otherPort, second} {
		p.wants(id, ajar.Opening, "")
	}
	// The protocol need only overlap.
	tcp := ask(vm(group, "vm1"), 443, time.Hour)
	tcp.Port.Protocol = ajar.TCP
	p.granted(alice, tcp)
	p.wants(otherPort, ajar.Closing, ajar.Superseded)
}

func TestOwnRequestCannotBeApproved(t *testing.T) {
	p := newPlane(t)
	p.standard(approvals(1))
	alice := p.user("alice", rbac.Owner, ajar.Root)
	o, err := p.ask(alice, ask(vm(group, "vm1"), 22, time.Hour))
	p.must(err)
	_, err = p.b.Approve(ctx, alice, o.Request.ID, "")
	p.refused(ajar.Forbidden, err, "own request")
	_, err = p.b.Deny(ctx, alice, o.Request.ID, "")
	p.refused(ajar.Forbidden, err, "withdraw")
	if got, _ := p.b.Request(ctx, alice, o.Request.ID); got.Request.State != ajar.Pending || len(got.Leases) != 0 {
		t.Errorf("%+v", got.Request)
	}
}

func TestLastApprovalDecides(t *testing.T) {
	p := newPlane(t)
	p.standard(approvals(2))
	alice, ann, bea := p.requester("alice"), p.user("ann", rbac.JITApprover, group), p.user("bea", rbac.JITApprover, group)
	o, err := p.ask(alice, ask(vm(group, "vm1"), 22, time.Hour))
	p.must(err)
	if o.Request.State != ajar.Pending || o.Request.Needs != 2 || !o.Request.Deadline.Equal(start.Add(24*time.Hour)) || len(o.Leases) > 0 {
		t.Fatalf("%+v", o.Request)
	}
	id := o.Request.ID
	p.wait(10 * time.Minute)
	o, err = p.b.Approve(ctx, ann, id, "fine")
	p.must(err)
	if o.Request.State != ajar.Pending {
		t.Fatal("one of two approvals decided")
	}
	_, err = p.b.Approve(ctx, ann, id, "again")
	p.refused(ajar.Conflict, err, "different people")
	_, err = p.b.Approve(ctx, alice, id, "")
	p.refused(ajar.Forbidden, err)
	p.wait(10 * time.Minute)
	o, err = p.b.Approve(ctx, bea, id, "")
	p.must(err)
	l := o.Leases[0]
	if o.Request.State != ajar.Approved || !l.Start.Equal(start.Add(20*time.Minute)) || !l.End.Equal(start.Add(80*time.Minute)) {
		t.Errorf("the hour starts at the decision: %v to %v", l.Start, l.End)
	}
	_, err = p.b.Deny(ctx, ann, id, "")
	p.refused(ajar.Conflict, err, "Approved")
	// What was approved is what was approved.
	_, err = p.b.Extend(ctx, alice, id, broker.Extension{By: time.Minute})
	p.refused(ajar.Conflict, err, "needs approval")
}

func TestPolicyIsCheckedAgainAtTheDecision(t *testing.T) {
	p := newPlane(t)
	p.standard(approvals(1))
	alice, ann := p.requester("alice"), p.user("ann", rbac.JITApprover, group)
	o, err := p.ask(alice, ask(vm(group, "vm1"), 22, time.Hour))
	p.must(err)
	p.policy(machine(vm(group, "vm1"), port(22, ajar.TCP, approvals(1), upTo(30*time.Minute))))
	_, err = p.b.Approve(ctx, ann, o.Request.ID, "")
	p.refused(ajar.Invalid, err, "at most PT30M")
	p.policy(machine(vm(group, "vm1"), port(22, ajar.TCP, approvals(2))))
	got, err := p.b.Approve(ctx, ann, o.Request.ID, "")
	p.must(err)
	if got.Request.State != ajar.Pending || got.Request.Needs != 2 {
		t.Error("the policy asks for two approvals by now")
	}
}

func TestWhoLostTheRightToAskIsNotGrantedLater(t *testing.T) {
	p := newPlane(t)
	p.standard(approvals(1))
	alice, ann := p.user("alice"), p.user("ann", rbac.JITApprover, group)
	a := p.assign(alice.Principal, rbac.JITRequester, group)
	o, err := p.ask(alice, ask(vm(group, "vm1"), 22, time.Hour))
	p.must(err)
	_, err = p.b.DeleteRoleAssignment(ctx, p.owner, a.ID)
	p.must(err)
	_, err = p.b.Approve(ctx, ann, o.Request.ID, "")
	p.refused(ajar.Conflict, err, "may not any longer")
}

func TestWhoLostTheRightToAskIsNotExtended(t *testing.T) {
	p := newPlane(t)
	p.standard()
	v := vm(group, "vm1")
	alice := p.user("alice")
	at := p.assign(alice.Principal, rbac.JITRequester, pol)
	read := p.assign(alice.Principal, rbac.Reader, v)
	o := p.granted(alice, ask(v, 22, time.Hour))
	more := broker.Extension{By: time.Minute}
	_, err := p.b.Extend(ctx, alice, o.Request.ID, more)
	p.must(err)
	_, err = p.b.DeleteRoleAssignment(ctx, p.owner, read.ID)
	p.must(err)
	_, err = p.b.Extend(ctx, alice, o.Request.ID, more)
	p.refused(ajar.Forbidden, err, string(ajar.MachineRead))
	_, err = p.b.ExtendLease(ctx, p.owner, o.Leases[0].ID, more)
	p.refused(ajar.Conflict, err, "may not any longer")
	_, err = p.b.DeleteRoleAssignment(ctx, p.owner, at.ID)
	p.must(err)
	_, err = p.b.Extend(ctx, alice, o.Request.ID, more)
	p.refused(ajar.Forbidden, err)
}

func TestDenyWithdrawAndLapse(t *testing.T) {
	p := newPlane(t)
	p.standard(approvals(1))
	alice, bob, ann := p.requester("alice"), p.requester("bob"), p.user("ann", rbac.JITApprover, group)
	pending := func() ajar.RequestID {
		o, err := p.ask(alice, ask(vm(group, "vm1"), 22, time.Hour))
		p.must(err)
		return o.Request.ID
	}
	id := pending()
	o, err := p.b.Deny(ctx, ann, id, "not today")
	p.must(err)
	if o.Request.State != ajar.Denied || o.Request.Approvals[0].Reason != "not today" || o.Request.Approvals[0].Yes {
		t.Errorf("%+v", o.Request)
	}
	_, err = p.b.Approve(ctx, ann, id, "")
	p.refused(ajar.Conflict, err, "Denied")

	id = pending()
	_, err = p.b.Withdraw(ctx, bob, id, "")
	p.refused(ajar.Forbidden, err)
	_, err = p.b.Withdraw(ctx, ann, id, "")
	p.refused(ajar.Forbidden, err, "only who asked")
	o, err = p.b.Withdraw(ctx, alice, id, "")
	p.must(err)
	if o.Request.State != ajar.Withdrawn {
		t.Errorf("%+v", o.Request)
	}

	id, later := pending(), pending()
	p.wait(25 * time.Hour)
	list, _, err := p.b.Requests(ctx, alice, broker.RequestFilter{State: ajar.Lapsed})
	p.must(err)
	if len(list) != 2 {
		t.Errorf("%d requests read as lapsed", len(list))
	}
	_, err = p.b.Approve(ctx, ann, id, "")
	p.refused(ajar.Conflict, err, "lapsed")
	o, err = p.b.Request(ctx, alice, id)
	p.must(err)
	if o.Request.State != ajar.Lapsed {
		t.Error("the lapse was not written when the request was touched")
	}
	if e := p.recorded(broker.RequestLapsed, ajar.Happened); e.Request != id {
		t.Errorf("%+v", e)
	}
	n, err := p.b.Lapse(ctx)
	p.must(err)
	if o, _ = p.b.Request(ctx, alice, later); n != 1 || o.Request.State != ajar.Lapsed {
		t.Errorf("%d lapsed, %s", n, o.Request.State)
	}
}

func TestEarlyClose(t *testing.T) {
	p := newPlane(t)
	p.standard()
	alice, bob, ann := p.requester("alice"), p.requester("bob"), p.user("ann", rbac.JITApprover, group)
	o := p.granted(alice)
	_, err := p.b.Revoke(ctx, bob, o.Request.ID, "")
	p.refused(ajar.Forbidden, err, "revoke")
	_, err = p.b.Revoke(ctx, alice, o.Request.ID, "done")
	p.must(err)
	l := p.wants(o.Leases[0].ID, ajar.Closing, ajar.Revoked)
	if l.ClosedBy != alice.Principal || !l.Ended.Equal(p.clock()) || !l.End.Equal(start.Add(time.Hour)) || l.Live(p.clock()) {
		t.Errorf("%+v", l)
	}
	_, err = p.b.Revoke(ctx, alice, o.Request.ID, "")
	p.refused(ajar.Conflict, err, "nothing")
	o = p.granted(alice)
	_, err = p.b.CloseLease(ctx, bob, o.Leases[0].ID, "")
	p.refused(ajar.Forbidden, err)
	_, err = p.b.CloseLease(ctx, ann, o.Leases[0].ID, "incident")
	p.must(err)
	p.wants(o.Leases[0].ID, ajar.Closing, ajar.Revoked)
	// Closing one's own needs no right that could have been taken away.
	a := p.user("carol")
	role := p.assign(a.Principal, rbac.JITRequester, group)
	o = p.granted(a)
	_, err = p.b.DeleteRoleAssignment(ctx, p.owner, role.ID)
	p.must(err)
	_, err = p.b.Revoke(ctx, a, o.Request.ID, "")
	p.must(err)
}

func TestRevokingCutsWhatDrains(t *testing.T) {
	p := newPlane(t)
	p.standard(mode(ajar.Drain))
	alice := p.requester("alice")
	o := p.granted(alice)
	id := o.Leases[0].ID
	if l := p.lease(id); l.Mode != ajar.Drain || l.DrainFor != 15*time.Minute {
		t.Fatalf("%+v", l)
	}
	p.wait(time.Hour)
	p.set(id, func(l *ajar.Lease) { p.must(l.Move(ajar.Closing, ajar.Expired)) })
	if !p.lease(id).Draining(p.clock()) {
		t.Fatal("it should drain")
	}
	_, err := p.b.CloseLease(ctx, alice, id, "")
	p.must(err)
	if l := p.wants(id, ajar.Closing, ajar.Revoked); l.Draining(p.clock()) {
		t.Error("it still drains")
	}
	_, err = p.b.CloseLease(ctx, alice, id, "")
	p.refused(ajar.Conflict, err)
}

func TestExtensionKeepsToTheLongestDuration(t *testing.T) {
	p := newPlane(t)
	p.standard()
	alice, bob := p.requester("alice"), p.requester("bob")
	o := p.granted(alice)
	id := o.Request.ID
	p.wait(50 * time.Minute)
	_, err := p.b.Extend(ctx, bob, id, broker.Extension{By: time.Hour})
	p.refused(ajar.Forbidden, err)
	got, err := p.b.Extend(ctx, alice, id, broker.Extension{By: time.Hour})
	p.must(err)
	if l := got.Leases[0]; l.ID != o.Leases[0].ID || !l.End.Equal(start.Add(2*time.Hour)) || l.State != ajar.Opening {
		t.Errorf("%+v", l)
	}
	_, err = p.b.Extend(ctx, alice, id, broker.Extension{By: 61 * time.Minute})
	p.refused(ajar.Invalid, err, "at most PT3H", start.Add(3*time.Hour).Format(time.RFC3339))
	_, err = p.b.Extend(ctx, alice, id, broker.Extension{Until: start.Add(90 * time.Minute)})
	p.refused(ajar.Invalid, err, "already")
	l, err := p.b.ExtendLease(ctx, alice, o.Leases[0].ID, broker.Extension{Until: start.Add(3 * time.Hour)})
	p.must(err)
	if !l.End.Equal(start.Add(3 * time.Hour)) {
		t.Errorf("%v", l.End)
	}
	// The policy must still offer it.
	o = p.granted(bob)
	p.policy(machine(vm(group, "vm1"), port(22, ajar.TCP, upTo(90*time.Minute))))
	_, err = p.b.Extend(ctx, bob, o.Request.ID, broker.Extension{By: time.Hour})
	p.refused(ajar.Invalid, err, "at most PT1H30M")
	p.wait(time.Hour)
	_, err = p.b.Extend(ctx, bob, o.Request.ID, broker.Extension{By: time.Minute})
	p.refused(ajar.Conflict, err, "ask anew")
	for _, e := range []broker.Extension{{}, {By: -time.Second}, {By: time.Hour, Until: start}, {Until: time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC)}} {
		_, err = p.b.Extend(ctx, bob, o.Request.ID, e)
		p.refused(ajar.Invalid, err)
	}
}

func TestLimitsOnLeases(t *testing.T) {
	p := newPlane(t, func(c *broker.Config) { c.MaxLive, c.MaxLeases = 3, 2 })
	p.host(vm(group, "vm1"))
	p.policy(machine(vm(group, "vm1"), port(1, ajar.TCP), port(2, ajar.TCP), port(3, ajar.TCP), port(4, ajar.TCP)))
	alice, v := p.requester("alice"), vm(group, "vm1")
	_, err := p.ask(alice, ask(v, 1, time.Hour), ask(v, 2, time.Hour), ask(v, 3, time.Hour))
	p.refused(ajar.Invalid, err, "at most 2")
	p.granted(alice, ask(v, 1, time.Hour), ask(v, 2, time.Hour))
	last := p.granted(alice, ask(v, 3, time.Hour))
	_, err = p.ask(alice, ask(v, 4, time.Hour))
	p.refused(ajar.TooMany, err, "at most 3")
	_, err = p.b.Revoke(ctx, alice, last.Request.ID, "")
	p.must(err)
	p.granted(alice, ask(v, 4, time.Hour))
	p.granted(p.requester("bob"), ask(v, 1, time.Hour))
}

func TestListsShowWhatOneMaySeeNewestFirst(t *testing.T) {
	p := newPlane(t)
	p.standard()
	alice, mallory := p.requester("alice"), p.user("mallory")
	var ids []ajar.RequestID
	for i := range 7 {
		p.wait(time.Second)
		ids = append(ids, p.granted(alice, ask(vm(group, "vm1"), 22, time.Duration(i+1)*time.Minute)).Request.ID)
	}
	var got []ajar.RequestID
	page := broker.Page{Limit: 3}
	for {
		list, next, err := p.b.Requests(ctx, alice, broker.RequestFilter{Policy: group, Page: page})
		p.must(err)
		for _, o := range list {
			got = append(got, o.Request.ID)
			if len(o.Leases) != 1 {
				t.Error("a request lost its lease")
			}
		}
		if page.Cursor = next; next == "" {
			break
		}
	}
	if slices.Reverse(ids); !slices.Equal(got, ids) {
		t.Errorf("%v, want %v", got, ids)
	}
	for who, want := range map[*ajar.Caller]int{&alice: 1, &mallory: 0} {
		ls, _, err := p.b.Leases(ctx, *who, broker.LeaseFilter{Scope: vm(group, "vm1"), Live: true})
		p.must(err)
		if len(ls) != want {
			t.Errorf("%s sees %d live leases, want %d", who.Name, len(ls), want)
		}
	}
	_, err := p.b.Request(ctx, mallory, ids[0])
	p.refused(ajar.Forbidden, err)
	_, err = p.b.Request(ctx, alice, ajar.RequestID(uuid.NewString()))
	p.refused(ajar.NotFound, err)
	_, _, err = p.b.Requests(ctx, alice, broker.RequestFilter{Page: broker.Page{Cursor: "%%%"}})
	p.refused(ajar.Invalid, err)
}

func TestNobodyQueuesUpWithoutEnd(t *testing.T) {
	p := newPlane(t)
	p.standard(approvals(1))
	alice := p.requester("alice")
	var last *broker.Outcome
	for range 100 {
		o, err := p.ask(alice, ask(vm(group, "vm1"), 22, time.Hour))
		p.must(err)
		last = o
	}
	_, err := p.ask(alice, ask(vm(group, "vm1"), 22, time.Hour))
	p.refused(ajar.TooMany, err, "withdraw")
	_, err = p.b.Withdraw(ctx, alice, last.Request.ID, "")
	p.must(err)
	_, err = p.ask(alice, ask(vm(group, "vm1"), 22, time.Hour))
	p.must(err)
}
