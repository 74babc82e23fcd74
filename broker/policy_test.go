package broker_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/broker"
	"github.com/ajar-access/ajar/rbac"
)

func (p *plane) put(who ajar.Caller, pl ajar.Policy, o broker.PutOptions) error {
	_, err := p.b.PutPolicy(ctx, who, pl, o)
	return err
}

func TestPolicyWriteNeedsEveryMachine(t *testing.T) {
	p := newPlane(t)
	here, there := vm(group, "vm1"), vm(other, "vm2")
	p.host(here)
	p.host(there)
	// Security Admin writes policies, Virtual Machine Contributor machines; carol holds both, but machines in one group.
	carol := p.user("carol", rbac.SecurityAdmin, group, rbac.VirtualMachineContributor, group)
	one := ajar.Policy{ID: pol, Machines: []ajar.MachinePolicy{machine(here, port(22, ajar.TCP))}}
	both := ajar.Policy{ID: pol, Machines: []ajar.MachinePolicy{machine(here, port(22, ajar.TCP)), machine(there, port(22, ajar.TCP))}}
	p.must(p.put(carol, one, broker.PutOptions{}))
	err := p.put(carol, both, broker.PutOptions{})
	p.refused(ajar.Forbidden, err, string(ajar.MachineWrite), string(there))
	if code(err) != "LinkedAuthorizationFailed" {
		t.Error(code(err))
	}
	// The old body counts too: nobody opens a machine by leaving it out, or by deleting.
	p.must(p.put(p.owner, both, broker.PutOptions{}))
	p.refused(ajar.Forbidden, p.put(carol, one, broker.PutOptions{}), string(there))
	_, err = p.b.DeletePolicy(ctx, carol, pol, 0)
	p.refused(ajar.Forbidden, err, string(there))
	_, err = p.b.PolicyImpact(ctx, carol, one)
	p.refused(ajar.Forbidden, err, string(there))
	// Machines alone are not enough.
	dave := p.user("dave", rbac.VirtualMachineContributor, ajar.Root)
	p.refused(ajar.Forbidden, p.put(dave, one, broker.PutOptions{}), string(ajar.PolicyWrite))
}

func TestPolicyNamesKnownMachinesOnly(t *testing.T) {
	p := newPlane(t)
	err := p.put(p.owner, ajar.Policy{ID: pol, Machines: []ajar.MachinePolicy{machine(vm(group, "ghost"), port(22, ajar.TCP))}}, broker.PutOptions{})
	p.refused(ajar.NotFound, err, "ghost")
	if code(err) != "LinkedResourceNotFound" {
		t.Error(code(err))
	}
}

func TestPolicyKeepsItsHistory(t *testing.T) {
	p := newPlane(t)
	p.standard()
	alice := p.requester("alice")
	o := p.granted(alice)
	before, err := p.b.Policy(ctx, p.owner, ajar.ID(strings.ToUpper(string(pol))))
	p.must(err)
	p.wait(time.Hour)
	after := p.policy(machine(vm(group, "vm1"), port(22, ajar.TCP), port(80, ajar.TCP)))
	if !after.Created.Equal(before.Created) || !after.Updated.After(before.Updated) || after.Rev == before.Rev {
		t.Errorf("%+v", after)
	}
	list, _, err := p.b.Requests(ctx, alice, broker.RequestFilter{Policy: pol})
	p.must(err)
	if len(list) != 1 || list[0].Request.ID != o.Request.ID {
		t.Error("a PUT that leaves requests out erased them")
	}
	p.refused(ajar.Conflict, p.put(p.owner, *after, broker.PutOptions{IfMatch: before.Rev}))
	p.must(p.put(p.owner, *after, broker.PutOptions{IfMatch: after.Rev}))
	p.refused(ajar.Conflict, p.put(p.owner, *after, broker.PutOptions{IfMatch: broker.IfNone}))
	absent := *after
	absent.ID += "-absent"
	p.refused(ajar.Conflict, p.put(p.owner, absent, broker.PutOptions{IfMatch: broker.IfAny}))
	p.must(p.put(p.owner, *after, broker.PutOptions{IfMatch: broker.IfAny}))
}

func TestWhatAPolicyDropsIsClosed(t *testing.T) {
	p := newPlane(t)
	v := vm(group, "vm1")
	p.host(v)
	p.policy(machine(v, port(22, ajar.TCP), port(80, ajar.Both)))
	alice := p.requester("alice")
	ssh := p.granted(alice, ask(v, 22, time.Hour)).Leases[0].ID
	web := p.granted(alice, ask(v, 80, time.Hour)).Leases[0].ID
	// Narrowing what remains leaves running leases alone.
	p.policy(machine(v, port(22, ajar.TCP, upTo(5*time.Minute), from("198.51.100.0/24")), port(80, ajar.Both)))
	p.wants(ssh, ajar.Opening, "")
	im, err := p.b.PolicyImpact(ctx, p.owner, ajar.Policy{ID: pol, Machines: []ajar.MachinePolicy{machine(v, port(22, ajar.TCP), port(443, ajar.TCP))}})
	p.must(err)
	if len(im.Leases) != 1 || im.Leases[0].ID != web || len(im.Guard) != 1 || im.Guard[0].Flow.Port.Number != 443 || len(im.Lift) != 1 || im.Lift[0].Flow.Port.Number != 80 {
		t.Errorf("%+v", im)
	}
	p.policy(machine(v, port(22, ajar.TCP), port(443, ajar.TCP)))
	p.wants(web, ajar.Closing, ajar.ReasonGone)
	p.wants(ssh, ajar.Opening, "")
	pending, err := func() (*broker.Outcome, error) {
		p.policy(machine(v, port(22, ajar.TCP), port(23, ajar.TCP, approvals(1))))
		return p.ask(alice, ask(v, 23, time.Hour))
	}()
	p.must(err)
	existed, err := p.b.DeletePolicy(ctx, p.owner, pol, 0)
	p.must(err)
	p.wants(ssh, ajar.Closing, ajar.ReasonGone)
	if o, _ := p.b.Request(ctx, alice, pending.Request.ID); !existed || o.Request.State != ajar.Denied {
		t.Errorf("%v %+v", existed, o.Request)
	}
	existed, err = p.b.DeletePolicy(ctx, p.owner, pol, 0)
	p.must(err)
	if existed {
		t.Error("it was there twice")
	}
}

func TestGuardsCountReferencesOverPolicies(t *testing.T) {
	p := newPlane(t)
	v := vm(group, "vm1")
	ep := p.host(v).Endpoint.ID
	second := pol + "-2"
	wants := func(want string) {
		t.Helper()
		if got := p.guards(ep); got != want {
			t.Fatalf("guarded: %q, want %q", got, want)
		}
	}
	p.policy(machine(v, port(22, ajar.TCP), port(80, ajar.TCP)))
	wants("22/TCP 80/TCP")
	if e := p.recorded(ajar.GuardSet, ajar.Accepted); e.Endpoint != ep || e.Details["ports"] != "22/TCP, 80/TCP" || e.Details["count"] != "2" || !e.Scope.Equal(v) {
		t.Errorf("%+v", e)
	}
	p.must(p.put(p.owner, ajar.Policy{ID: second, Machines: []ajar.MachinePolicy{machine(v, port(22, ajar.TCP))}}, broker.PutOptions{}))
	_, err := p.b.DeletePolicy(ctx, p.owner, pol, 0)
	p.must(err)
	wants("22/TCP")
	if e := p.recorded(ajar.GuardLifted, ajar.Accepted); e.Details["ports"] != "80/TCP" || e.Name != "root" {
		t.Errorf("%+v", e)
	}
	p.must(p.put(p.owner, ajar.Policy{ID: second, Unguard: ajar.Keep, Machines: []ajar.MachinePolicy{machine(v, port(22, ajar.TCP))}}, broker.PutOptions{}))
	_, err = p.b.DeletePolicy(ctx, p.owner, second, 0)
	p.must(err)
	wants("22/TCP")
	p.recorded(ajar.GuardKept, ajar.Accepted)
	// A policy that names the port again takes the guard over; else somebody has to release it.
	flow := ajar.Flow{Port: ajar.Port{Number: 22, Protocol: ajar.TCP}}
	p.policy(machine(v, port(22, ajar.TCP)))
	p.refused(ajar.Conflict, p.b.ReleaseGuard(ctx, p.owner, v, flow), string(pol))
	p.must(p.put(p.owner, ajar.Policy{ID: pol, Unguard: ajar.Keep}, broker.PutOptions{}))
	wants("22/TCP")
	p.refused(ajar.Forbidden, p.b.ReleaseGuard(ctx, p.requester("alice"), v, flow), string(ajar.GuardRelease))
	p.refused(ajar.NotFound, p.b.ReleaseGuard(ctx, p.owner, v, ajar.Flow{Port: ajar.Port{Number: 23, Protocol: ajar.TCP}}))
	p.must(p.b.ReleaseGuard(ctx, p.owner, v, flow))
	wants("")
}

func TestGuardOfAWiderProtocolIsNoLift(t *testing.T) {
	p := newPlane(t)
	v := vm(group, "vm1")
	ep := p.host(v).Endpoint.ID
	p.policy(machine(v, port(22, ajar.TCP)))
	p.policy(machine(v, port(22, ajar.Both)))
	if es, _ := p.b.Events(ctx, p.owner, ajar.EventFilter{Action: ajar.GuardLifted}); len(es) != 0 {
		t.Errorf("%+v", es[0])
	}
	if p.guards(ep) != "22/*" {
		t.Error(p.guards(ep))
	}
	// Narrowing needs no new confirmation: it closes nothing that was open.
	p.must(p.put(p.owner, ajar.Policy{ID: pol, Machines: []ajar.MachinePolicy{machine(v, port(22, ajar.TCP))}}, broker.PutOptions{ConfirmWithin: time.Minute}))
	p.wait(time.Hour)
	if p.guards(ep) != "22/TCP" {
		t.Error(p.guards(ep))
	}
}

// TestGuardOfALaterHostWaitsForConfirmationToo: whoever asked for a confirmation is not spared it by a host that joins
// after the policy was written.
func TestGuardOfALaterHostWaitsForConfirmationToo(t *testing.T) {
	p := newPlane(t)
	v := vm(group, "vm1")
	_, err := p.b.PutTarget(ctx, p.owner, ajar.Target{ID: v, Location: "here"})
	p.must(err)
	body := ajar.Policy{ID: pol, Machines: []ajar.MachinePolicy{machine(v, port(22, ajar.TCP))}}
	p.must(p.put(p.owner, body, broker.PutOptions{ConfirmWithin: 10 * time.Minute}))
	p.wait(time.Hour)
	ep := p.host(v).Endpoint.ID
	if g := p.endpoint(ep).Guards[0]; !g.ConfirmBy.Equal(start.Add(70 * time.Minute)) {
		t.Errorf("%+v", g)
	}
}

func TestUnconfirmedGuardsRollBack(t *testing.T) {
	p := newPlane(t, func(c *broker.Config) { c.GuardConfirm = 5 * time.Minute })
	v := vm(group, "vm1")
	ep := p.host(v).Endpoint.ID
	body := ajar.Policy{ID: pol, Machines: []ajar.MachinePolicy{machine(v, port(22, ajar.TCP))}}
	if im, err := p.b.PolicyImpact(ctx, p.owner, body); err != nil || im.ConfirmWithin != 5*time.Minute {
		t.Errorf("what that would be: %+v, %v", im, err)
	}
	p.must(p.put(p.owner, body, broker.PutOptions{}))
	if g := p.endpoint(ep).Guards[0]; !g.ConfirmBy.Equal(start.Add(5 * time.Minute)) {
		t.Errorf("%+v", g)
	}
	p.wait(5 * time.Minute)
	if p.guards(ep) != "" {
		t.Error("still wanted")
	}
	_, err := p.b.ConfirmGuard(ctx, p.owner, v)
	p.refused(ajar.Conflict, err, "put the policy again")
	p.must(p.put(p.owner, body, broker.PutOptions{ConfirmWithin: time.Minute}))
	_, err = p.b.ConfirmGuard(ctx, p.requester("alice"), v)
	p.refused(ajar.Forbidden, err)
	gs, err := p.b.ConfirmGuard(ctx, p.owner, v)
	p.must(err)
	p.wait(time.Hour)
	if len(gs) != 1 || p.guards(ep) != "22/TCP" {
		t.Errorf("%v %s", gs, p.guards(ep))
	}
	_, err = p.b.ConfirmGuard(ctx, p.owner, v)
	p.refused(ajar.Conflict, err, "no guard")
	p.refused(ajar.Invalid, p.put(p.owner, body, broker.PutOptions{ConfirmWithin: 48 * time.Hour}))
}

func TestHostThatJoinsLaterGetsTheGuardsOfAllPolicies(t *testing.T) {
	p := newPlane(t)
	v := vm(group, "vm1")
	_, err := p.b.PutTarget(ctx, p.owner, ajar.Target{ID: v})
	p.must(err)
	p.policy(machine(v, port(22, ajar.TCP)))
	p.must(p.put(p.owner, ajar.Policy{ID: pol + "-2", Machines: []ajar.MachinePolicy{machine(v, port(80, ajar.TCP), port(22, ajar.TCP))}}, broker.PutOptions{}))
	p.must(p.put(p.owner, ajar.Policy{ID: pol + "-3", Machines: []ajar.MachinePolicy{machine(v, port(9, ajar.UDP))}}, broker.PutOptions{}))
	_, err = p.b.DeletePolicy(ctx, p.owner, pol+"-3", 0)
	p.must(err)
	_, err = p.ask(p.requester("alice"), ask(v, 22, time.Hour))
	p.refused(ajar.Conflict, err, "none has joined")
	// Writing the machine again keeps who names it.
	_, err = p.b.PutTarget(ctx, p.owner, ajar.Target{ID: v, Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}})
	p.must(err)
	j := p.host(v)
	if got := p.guards(j.Endpoint.ID); got != "22/TCP 80/TCP" {
		t.Errorf("guarded: %q", got)
	}
	if p.woken[j.Endpoint.ID] == 0 {
		t.Error("the loop was not woken")
	}
}

func TestPlanesOwnListenersAreSpared(t *testing.T) {
	p := newPlane(t, func(c *broker.Config) {
		c.PlaneListeners = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:8443")}
	})
	v := vm(group, "plane")
	_, err := p.b.PutTarget(ctx, p.owner, ajar.Target{ID: v, Addresses: []netip.Addr{netip.MustParseAddr("::ffff:192.0.2.1")}})
	p.must(err)
	body := ajar.Policy{ID: pol, Machines: []ajar.MachinePolicy{machine(v, port(8443, ajar.Both))}}
	p.refused(ajar.Invalid, p.put(p.owner, body, broker.PutOptions{}), "lock everybody out")
	p.must(p.put(p.owner, body, broker.PutOptions{Force: true}))
	body.Machines[0].Ports[0] = port(22, ajar.TCP)
	p.must(p.put(p.owner, body, broker.PutOptions{}))
}

func TestImpactAsksTheHosts(t *testing.T) {
	var asked []ajar.Guard
	fail := false
	p := newPlane(t, func(c *broker.Config) {
		c.Preview = func(_ context.Context, _ ajar.Endpoint, gs []ajar.Guard) (ajar.Impact, error) {
			if asked = gs; fail {
				return ajar.Impact{}, ajar.Errorf(ajar.Unavailable, "the host is away")
			}
			return ajar.Impact{Listening: []ajar.Listener{{Process: "sshd"}}}, nil
		}
	})
	v := vm(group, "vm1")
	p.host(v)
	before := p.everything()
	body := ajar.Policy{ID: pol, Machines: []ajar.MachinePolicy{machine(v, port(22, ajar.TCP))}}
	im, err := p.b.PolicyImpact(ctx, p.owner, body)
	p.must(err)
	if len(asked) != 1 || len(im.Targets) != 1 || im.Targets[0].Impact.Listening[0].Process != "sshd" {
		t.Errorf("%+v", im)
	}
	fail = true
	im, err = p.b.PolicyImpact(ctx, p.owner, body)
	p.must(err)
	if im.Targets[0].Trouble != "the host is away" {
		t.Errorf("%+v", im)
	}
	if p.everything() != before {
		t.Error("a what-if changed something")
	}
	// What is guarded already is not asked for: nobody who is connected there would be cut by this.
	p.must(p.put(p.owner, body, broker.PutOptions{}))
	body.Machines = []ajar.MachinePolicy{machine(v, port(22, ajar.TCP), port(8080, ajar.TCP))}
	_, err = p.b.PolicyImpact(ctx, p.owner, body)
	p.must(err)
	if len(asked) != 1 || asked[0].Port.Number != 8080 {
		t.Errorf("asked for %+v", asked)
	}
}

func TestPoliciesAreListedWhereOneMayRead(t *testing.T) {
	p := newPlane(t)
	v := vm(group, "vm1")
	p.host(v)
	for i := range 5 {
		p.must(p.put(p.owner, ajar.Policy{ID: pol + ajar.ID(fmt.Sprint(i)), Machines: []ajar.MachinePolicy{machine(v, port(22, ajar.TCP))}}, broker.PutOptions{}))
		elsewhere := other + "/providers/Microsoft.Security/locations/west/jitNetworkAccessPolicies/" + ajar.ID(fmt.Sprint(i))
		p.must(p.put(p.owner, ajar.Policy{ID: elsewhere}, broker.PutOptions{}))
	}
	_, err := p.b.PutManagementGroup(ctx, p.owner, ajar.ManagementGroup{ID: "/providers/Microsoft.Management/managementGroups/corp",
		Subscriptions: []string{"22222222-2222-2222-2222-222222222222"}})
	p.must(err)
	sees := func(who ajar.Caller, under ajar.ID, want int) {
		t.Helper()
		n, page := 0, broker.Page{Limit: 2}
		for {
			list, next, err := p.b.Policies(ctx, who, under, page)
			p.must(err)
			n += len(list)
			if page.Cursor = next; next == "" {
				break
			}
		}
		if n != want {
			t.Errorf("%s sees %d policies under %q, want %d", who.Name, n, under, want)
		}
	}
	sees(p.owner, "", 10)
	sees(p.user("ops", rbac.Reader, group), ajar.Root, 5)
	sees(p.user("corp", rbac.Reader, ajar.ID("/providers/Microsoft.Management/managementGroups/corp")), ajar.Root, 5)
	sees(p.user("one", rbac.Reader, pol+"3", rbac.Reader, other), ajar.Root, 6)
	sees(p.user("nobody"), ajar.Root, 0)
	sees(p.owner, "/providers/Microsoft.Management/managementGroups/corp", 5)
	sees(p.owner, other, 5)
}

// TestLargePolicyIsNeverStale: large policies are kept in memory, on two replicas, and every change counts at once.
func TestLargePolicyIsNeverStale(t *testing.T) {
	replicas(t, func(p *plane, bs []*broker.Broker) {
		var machines []ajar.MachinePolicy
		for i := range 14 {
			v := vm(group, fmt.Sprintf("vm%d", i))
			p.host(v)
			machines = append(machines, machine(v, port(22, ajar.TCP)))
		}
		p.policy(machines...)
		alice := p.requester("alice")
		may := func(want bool) {
			p.t.Helper()
			for i := range 6 {
				_, err := bs[i%2].Initiate(ctx, alice, ajar.Request{Policy: pol, Asks: []ajar.Ask{ask(vm(group, "VM7"), 22, time.Hour), ask(vm(group, "vm9"), 22, time.Hour)}})
				if (err == nil) != want {
					p.t.Fatalf("may: %v, want %v", err, want)
				}
			}
		}
		may(true)
		machines[7].Ports[0].MaxDuration = 10 * time.Minute
		p.policy(machines...)
		may(false)
		machines[7].Ports[0].MaxDuration = time.Hour
		p.policy(machines...)
		may(true)
		_, err := p.b.DeletePolicy(ctx, p.owner, pol, 0)
		p.must(err)
		may(false)
		p.policy(machines...)
		may(true)
		p.policy(append(machines[:9:9], machines[10:]...)...)
		may(false)
	})
}
