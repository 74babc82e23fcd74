package broker_test

import (
	"testing"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/broker"
)

func TestAnyPolicyThatNamesAMachineSwitchesBreakGlassOff(t *testing.T) {
	p := newPlane(t)
	ep := p.standard().Endpoint.ID
	off := func() int { return len(p.endpoint(ep).NoBreakGlass) }
	put := func(name string, s ajar.Switch, ms ...ajar.MachinePolicy) {
		t.Helper()
		_, err := p.b.PutPolicy(ctx, p.owner, ajar.Policy{ID: ajar.ID(string(group) + "/providers/Microsoft.Security/locations/west/jitNetworkAccessPolicies/" + name), Machines: ms, BreakGlass: s}, broker.PutOptions{})
		p.must(err)
	}
	one := machine(vm(group, "vm1"), port(23, ajar.TCP))
	put("a", ajar.On, one)
	if off() != 0 {
		t.Error("off though nobody said so")
	}
	looks := p.endpoint(ep).Looks
	put("a", ajar.Off, one)
	put("b", ajar.Off, machine(vm(group, "vm1"), port(24, ajar.TCP)))
	if off() != 2 || p.endpoint(ep).Looks <= looks {
		t.Errorf("%d policies switch it off, want 2, and a pass from whole state", off())
	}
	if e := p.recorded(ajar.PolicyWrite, ajar.Accepted); e.Details["breakGlass"] != "off" {
		t.Errorf("the event says %v", e.Details)
	}
	put("a", "", one)
	put("b", ajar.Off)
	if off() != 0 {
		t.Error("still off though nobody says so any longer")
	}
	_, err := p.b.PutTarget(ctx, p.owner, ajar.Target{ID: vm(group, "vm2"), Location: "west"})
	p.must(err)
	put("b", ajar.Off, machine(vm(group, "vm1"), port(24, ajar.TCP)), machine(vm(group, "vm2"), port(24, ajar.TCP)))
	if got := p.host(vm(group, "vm2")).Endpoint.NoBreakGlass; len(got) != 1 {
		t.Errorf("a host that joins later has it off by %v", got)
	}
	_, err = p.b.PutPolicy(ctx, p.owner, ajar.Policy{ID: p.policy().ID, BreakGlass: "maybe"}, broker.PutOptions{})
	p.refused(ajar.Invalid, err, "on or off")
}
