package broker_test

import (
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/broker"
	"github.com/ajar-access/ajar/rbac"
)

// TestOnePortIsAskedForOnce: two asks that some packet is of both of would be two leases in one place.
func TestOnePortIsAskedForOnce(t *testing.T) {
	p := newPlane(t)
	v := vm(group, "vm1")
	p.host(v)
	p.policy(machine(v, port(53, ajar.Both)))
	alice := p.requester("alice")
	as := func(proto ajar.Protocol) ajar.Ask {
		a := ask(v, 53, time.Hour)
		a.Port.Protocol = proto
		return a
	}
	_, err := p.ask(alice, as(ajar.TCP), as(ajar.Both))
	p.refused(ajar.Invalid, err, "asked for twice")
	p.granted(alice, as(ajar.TCP), as(ajar.UDP))
}

// TestWarningEndsWithTheBound: however long a policy lets sessions go on, the plane's bound is the longest.
func TestWarningEndsWithTheBound(t *testing.T) {
	p := newPlane(t, func(c *broker.Config) { c.Bounds.MaxWarn = 2 * time.Hour })
	alice := p.requester("alice")
	long := func(q *ajar.PortPolicy) { q.DrainFor = 5 * time.Hour }
	short := func(q *ajar.PortPolicy) { q.DrainFor = time.Hour }
	p.standard(mode(ajar.Warn), long)
	for change, want := range map[*func(*ajar.PortPolicy)]time.Duration{&long: 2 * time.Hour, &short: time.Hour} {
		p.policy(machine(vm(group, "vm1"), port(22, ajar.TCP, mode(ajar.Warn), *change)))
		if l := p.lease(p.granted(alice).Leases[0].ID); l.DrainFor != want {
			t.Errorf("sessions may go on for %s, want %s", l.DrainFor, want)
		}
	}
}

// TestAWiderPolicyDoesNotStretchALease: what a lease may come to is what the policy said when it was granted.
func TestAWiderPolicyDoesNotStretchALease(t *testing.T) {
	p := newPlane(t)
	p.standard(upTo(2 * time.Hour))
	alice := p.requester("alice")
	o := p.granted(alice)
	p.policy(machine(vm(group, "vm1"), port(22, ajar.TCP, upTo(12*time.Hour))))
	_, err := p.b.Extend(ctx, alice, o.Request.ID, broker.Extension{By: 61 * time.Minute})
	p.refused(ajar.Invalid, err, "at most PT2H from its first start")
	_, err = p.b.Extend(ctx, alice, o.Request.ID, broker.Extension{By: time.Hour})
	p.must(err)
}

// TestApprovalsCountAtTheAskingAndNow: a policy that asks for fewer of them, or for none, does not do so for what was asked
// before; one that asks for them does so for what goes on.
func TestApprovalsCountAtTheAskingAndNow(t *testing.T) {
	p := newPlane(t)
	p.standard(approvals(2))
	v := vm(group, "vm1")
	alice, ann, bea := p.requester("alice"), p.user("ann", rbac.JITApprover, group), p.user("bea", rbac.JITApprover, group)
	o, err := p.ask(alice, ask(v, 22, time.Hour))
	p.must(err)
	p.policy(machine(v, port(22, ajar.TCP, approvals(1))))
	got, err := p.b.Approve(ctx, ann, o.Request.ID, "")
	p.must(err)
	if got.Request.State != ajar.Pending || got.Request.Needs != 2 {
		t.Fatalf("one of two: %s, needs %d", got.Request.State, got.Request.Needs)
	}
	_, err = p.b.Approve(ctx, bea, o.Request.ID, "")
	p.must(err)
	p.policy(machine(v, port(22, ajar.TCP)))
	_, err = p.b.Extend(ctx, alice, o.Request.ID, broker.Extension{By: time.Minute})
	p.refused(ajar.Conflict, err, "what was approved ends")

	bob := p.requester("bob")
	o = p.granted(bob)
	p.policy(machine(v, port(22, ajar.TCP, approvals(1))))
	_, err = p.b.Extend(ctx, bob, o.Request.ID, broker.Extension{By: time.Minute})
	p.refused(ajar.Conflict, err, "needs approval")
}

// TestEveryMachineCountsAtTheDecision: who asked must still be allowed to see each of the machines.
func TestEveryMachineCountsAtTheDecision(t *testing.T) {
	p := newPlane(t)
	v, w := vm(group, "vm1"), vm(group, "vm2")
	p.host(v)
	p.host(w)
	p.policy(machine(v, port(22, ajar.TCP, approvals(1))), machine(w, port(22, ajar.TCP, approvals(1))))
	alice, ann := p.user("alice"), p.user("ann", rbac.JITApprover, group)
	p.assign(alice.Principal, rbac.JITRequester, pol)
	p.assign(alice.Principal, rbac.Reader, v)
	second := p.assign(alice.Principal, rbac.Reader, w)
	o, err := p.ask(alice, ask(v, 22, time.Hour), ask(w, 22, time.Hour))
	p.must(err)
	_, err = p.b.DeleteRoleAssignment(ctx, p.owner, second.ID)
	p.must(err)
	_, err = p.b.Approve(ctx, ann, o.Request.ID, "")
	p.refused(ajar.Conflict, err, "may not any longer", "vm2")
}

// TestWhoIsDisabledIsNotGrantedLater: what waits for approval when somebody is disabled is not granted to them.
func TestWhoIsDisabledIsNotGrantedLater(t *testing.T) {
	p := newPlane(t)
	p.standard(approvals(1))
	alice, ann := p.requester("alice"), p.user("ann", rbac.JITApprover, group)
	o, err := p.ask(alice, ask(vm(group, "vm1"), 22, time.Hour))
	p.must(err)
	_, err = p.b.PutPrincipal(ctx, p.owner, ajar.Principal{ID: alice.Principal, Name: "alice", Disabled: true})
	p.must(err)
	_, err = p.b.Approve(ctx, ann, o.Request.ID, "")
	p.refused(ajar.Conflict, err)
	got, err := p.b.Request(ctx, p.owner, o.Request.ID)
	p.must(err)
	if got.Request.State == ajar.Approved || len(got.Leases) > 0 {
		t.Errorf("%s, %d leases", got.Request.State, len(got.Leases))
	}
}

// TestImpactListsWhatWouldEnd: leases that have ended are none of it.
func TestImpactListsWhatWouldEnd(t *testing.T) {
	p := newPlane(t)
	p.standard()
	p.granted(p.requester("alice"))
	p.wait(2 * time.Hour)
	l := p.granted(p.requester("bob")).Leases[0].ID
	im, err := p.b.PolicyImpact(ctx, p.owner, ajar.Policy{ID: pol})
	p.must(err)
	if len(im.Leases) != 1 || im.Leases[0].ID != l {
		t.Errorf("%d leases would end, want bob's: %+v", len(im.Leases), im.Leases)
	}
}

// TestRevokingCutsWhatNobodySawEnd: a lease that drains is written down as Open until a loop comes by.
func TestRevokingCutsWhatNobodySawEnd(t *testing.T) {
	p := newPlane(t)
	p.standard(mode(ajar.Drain))
	alice := p.requester("alice")
	o := p.granted(alice)
	id := o.Leases[0].ID
	p.wait(time.Hour)
	if !p.lease(id).Draining(p.clock()) {
		t.Fatal("it should drain")
	}
	_, err := p.b.Revoke(ctx, alice, o.Request.ID, "")
	p.must(err)
	if l := p.wants(id, ajar.Closing, ajar.Revoked); l.Draining(p.clock()) {
		t.Error("it still drains")
	}
}

// TestApproversAreAskedAboutEveryAsk: an approver under a condition does not let through what stands beside what it allows.
func TestApproversAreAskedAboutEveryAsk(t *testing.T) {
	p := newPlane(t)
	v := vm(group, "vm1")
	p.host(v)
	p.policy(machine(v, port(22, ajar.TCP, approvals(1)), port(3389, ajar.TCP)))
	alice, bob := p.requester("alice"), p.user("bob")
	p.given(bob.Principal, rbac.JITApprover, group, `!(ActionMatches{'*/requests/approve/action'}) OR (@Request[Ajar.Access/requests:Port] NumericEquals 22)`)
	o, err := p.ask(alice, ask(v, 22, time.Hour), ask(v, 3389, time.Hour))
	p.must(err)
	_, err = p.b.Approve(ctx, bob, o.Request.ID, "")
	p.refused(ajar.Forbidden, err, "Port] NumericEquals 22 is not so")
}

// TestWhatCannotBeGrantedIsNotAskedFor: rows of one port are as many asks, also where nobody is granted anything yet.
func TestWhatCannotBeGrantedIsNotAskedFor(t *testing.T) {
	p := newPlane(t, func(c *broker.Config) { c.MaxLeases = 2 })
	v := vm(group, "vm1")
	p.host(v)
	p.policy(machine(v, port(1, ajar.TCP, approvals(1)), port(1, ajar.UDP), port(2, ajar.TCP)))
	alice := p.requester("alice")
	_, err := p.ask(alice, ask(v, 1, time.Hour), ask(v, 2, time.Hour))
	p.refused(ajar.Invalid, err, "comes to 3 ports")
	_, err = p.ask(alice, ask(v, 1, time.Hour))
	p.must(err)
}

// TestWhatIsOverKeepsNothingFromBeingExtended: of a request's leases those go on that are live.
func TestWhatIsOverKeepsNothingFromBeingExtended(t *testing.T) {
	p := newPlane(t)
	v := vm(group, "vm1")
	p.host(v)
	p.policy(machine(v, port(22, ajar.TCP), port(3389, ajar.TCP)))
	alice := p.requester("alice")
	o := p.granted(alice, ask(v, 22, 30*time.Minute), ask(v, 3389, time.Hour))
	p.wait(40 * time.Minute)
	_, err := p.b.Extend(ctx, alice, o.Request.ID, broker.Extension{By: time.Hour})
	p.must(err)
	for i, want := range []time.Duration{30 * time.Minute, 2 * time.Hour} {
		if l := p.lease(o.Leases[i].ID); !l.End.Equal(start.Add(want)) {
			t.Errorf("the lease of port %s ends at %s, want %s", l.Flow.Port, l.End, start.Add(want))
		}
	}
}

// TestAnEndThatPassedIsNotGranted: an end is absolute, and may come before the last yes.
func TestAnEndThatPassedIsNotGranted(t *testing.T) {
	p := newPlane(t)
	p.standard(approvals(1))
	alice, ann := p.requester("alice"), p.user("ann", rbac.JITApprover, group)
	a := ask(vm(group, "vm1"), 22, 0)
	a.End = start.Add(time.Hour)
	o, err := p.ask(alice, a)
	p.must(err)
	p.wait(time.Hour)
	_, err = p.b.Approve(ctx, ann, o.Request.ID, "")
	p.refused(ajar.Invalid, err, "not in the future")
}

// TestLeasesOfATime: from the one moment on, and before the other.
func TestLeasesOfATime(t *testing.T) {
	p := newPlane(t)
	p.standard()
	p.granted(p.requester("alice"))
	for _, c := range []struct {
		since, before time.Duration
		want          int
	}{{0, time.Millisecond, 1}, {-time.Hour, 0, 0}, {time.Hour, 2 * time.Hour, 1}, {time.Hour + time.Millisecond, 2 * time.Hour, 0}} {
		ls, _, err := p.b.Leases(ctx, p.owner, broker.LeaseFilter{Since: start.Add(c.since), Before: start.Add(c.before)})
		p.must(err)
		if len(ls) != c.want {
			t.Errorf("from %s on and before %s: %d leases, want %d", c.since, c.before, len(ls), c.want)
		}
	}
}
