package broker_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/broker"
	"github.com/ajar-access/ajar/rbac"
)

func joining(doc *ajar.JoinToken, serial string) broker.Joining {
	return broker.Joining{TokenHash: doc.Hash, From: here, Serial: serial, Expires: start.Add(24 * time.Hour)}
}

func TestJoinTokenWorksOnceAndForFifteenMinutes(t *testing.T) {
	p := newPlane(t)
	v := vm(group, "vm1")
	_, doc, err := p.b.CreateJoinToken(ctx, p.owner, ajar.Target{ID: v, Location: "west"}, false)
	p.must(err)
	if !doc.Expires.Equal(start.Add(15*time.Minute)) || doc.By != p.owner.Principal {
		t.Errorf("%+v", doc)
	}
	j, err := p.b.Join(ctx, joining(doc, "aa"))
	p.must(err)
	if j.Replaced || j.Endpoint.Provider != "agent" || j.Target.Location != "west" || j.Identity.Endpoint != j.Endpoint.ID {
		t.Errorf("%+v", j)
	}
	e := p.recorded(ajar.HostJoined, ajar.Accepted)
	if e.Scope != v || e.Endpoint != j.Endpoint.ID || e.Principal != p.owner.Principal || e.From != here {
		t.Errorf("%+v", e)
	}
	_, err = p.b.Join(ctx, joining(doc, "bb"))
	p.refused(ajar.Unauthenticated, err, "used already")
	p.recorded(ajar.HostJoined, ajar.Refused)
	_, err = p.b.Join(ctx, broker.Joining{TokenHash: strings.Repeat("0", 64), Serial: "cc", Expires: start.Add(time.Hour)})
	p.refused(ajar.Unauthenticated, err, "not known")

	_, _, err = p.b.CreateJoinToken(ctx, p.owner, ajar.Target{ID: v}, true)
	p.must(err)
	if n := p.count(ajar.KindJoinToken); n != 1 {
		t.Errorf("%d tokens are kept", n)
	}
	_, doc, err = p.b.CreateJoinToken(ctx, p.owner, ajar.Target{ID: vm(group, "vm2")}, false)
	p.must(err)
	p.wait(15 * time.Minute)
	_, err = p.b.Join(ctx, joining(doc, "dd"))
	p.refused(ajar.Unauthenticated, err, "expired")
	for _, bad := range []broker.Joining{{}, {TokenHash: "zz", Serial: "aa"}, joining(doc, ""), joining(doc, "XYZ"), joining(doc, strings.Repeat("a", 65))} {
		_, err = p.b.Join(ctx, bad)
		p.refused(ajar.Invalid, err)
	}
}

func TestLiveIdentityIsReplacedOnlyWhenAsked(t *testing.T) {
	p := newPlane(t)
	first := p.standard()
	v := vm(group, "vm1")
	_, _, err := p.b.CreateJoinToken(ctx, p.owner, ajar.Target{ID: v}, false)
	p.refused(ajar.Conflict, err, "replaces")
	_, doc, err := p.b.CreateJoinToken(ctx, p.owner, ajar.Target{ID: v}, true)
	p.must(err)
	j := p.join(doc)
	if !j.Replaced || j.Endpoint.ID != first.Endpoint.ID || p.guards(j.Endpoint.ID) != "22/TCP" {
		t.Errorf("%+v", j)
	}
	if _, told := p.removed[first.Endpoint.ID]; !told {
		t.Error("the old connection was not cut")
	}
	_, err = p.b.CheckIdentity(ctx, first.Endpoint.ID, first.Identity.Serial)
	p.refused(ajar.Unauthenticated, err, "replaced")
	_, err = p.b.CheckIdentity(ctx, j.Endpoint.ID, j.Identity.Serial)
	p.must(err)
	// A token made before the host joined does not replace it either.
	w := vm(group, "vm2")
	_, early, err := p.b.CreateJoinToken(ctx, p.owner, ajar.Target{ID: w}, false)
	p.must(err)
	p.host(w)
	_, err = p.b.Join(ctx, joining(early, "ee"))
	p.refused(ajar.Conflict, err, "live identity")
	// Once it has expired, anybody with a token may take its place.
	p.wait(40 * 24 * time.Hour)
	if again := p.host(w); again.Replaced {
		t.Error("there was nothing live to replace")
	}
}

func TestCertificatesRotate(t *testing.T) {
	p := newPlane(t)
	j := p.standard()
	ep, old := j.Endpoint.ID, j.Identity.Serial
	_, err := p.b.Renew(ctx, ep, "ffff", "aaaa", start.Add(48*time.Hour))
	p.refused(ajar.Unauthenticated, err)
	id, err := p.b.Renew(ctx, ep, old, "aaaa", start.Add(48*time.Hour))
	p.must(err)
	if id.Serial != "aaaa" || id.Previous != old {
		t.Errorf("%+v", id)
	}
	_, err = p.b.CheckIdentity(ctx, ep, old) // the answer may have been lost
	p.must(err)
	_, err = p.b.CheckIdentity(ctx, ep, "aaaa")
	p.must(err)
	_, err = p.b.CheckIdentity(ctx, ep, old)
	p.refused(ajar.Unauthenticated, err, "replaced")
	p.wait(49 * time.Hour)
	_, err = p.b.CheckIdentity(ctx, ep, "aaaa")
	p.refused(ajar.Unauthenticated, err, "join anew")
	_, err = p.b.CheckIdentity(ctx, "nonesuch", "aaaa")
	p.refused(ajar.Unauthenticated, err)
}

func TestHostThatLeftIsForgotten(t *testing.T) {
	p := newPlane(t)
	j := p.standard()
	o := p.granted(p.requester("alice"))
	p.refused(ajar.Unauthenticated, p.b.LeaveHost(ctx, j.Endpoint.ID, "abcd"), "replaced")
	p.must(p.b.LeaveHost(ctx, j.Endpoint.ID, j.Identity.Serial))
	p.wants(o.Leases[0].ID, ajar.Closed, ajar.ReasonGone)
	_, err := p.b.CheckIdentity(ctx, j.Endpoint.ID, j.Identity.Serial)
	p.refused(ajar.Unauthenticated, err, "removed")
	if _, told := p.removed[j.Endpoint.ID]; told {
		t.Error("it is told what it told")
	}
	if e := p.recorded(ajar.HostLeft, ajar.Accepted); e.Scope != vm(group, "vm1") || e.Endpoint != j.Endpoint.ID {
		t.Errorf("%+v", e)
	}
	if e := p.recorded(ajar.GuardLifted, ajar.Accepted); e.Details["ports"] != "22/TCP" {
		t.Errorf("%+v", e)
	}
	p.refused(ajar.Unauthenticated, p.b.LeaveHost(ctx, "nonesuch", "abcd"))
	p.host(vm(group, "vm1"))
}

func TestRemovedHostIsRevokedAndItsLeasesAreUnverified(t *testing.T) {
	p := newPlane(t)
	j := p.standard()
	alice := p.requester("alice")
	o := p.granted(alice)
	kernel := start.Add(time.Hour)
	p.set(o.Leases[0].ID, func(l *ajar.Lease) { p.must(l.Move(ajar.Open, "")); l.KernelEnd = kernel })
	p.refused(ajar.Forbidden, p.b.RemoveHost(ctx, alice, vm(group, "vm1"), true))
	p.must(p.b.RemoveHost(ctx, p.owner, vm(group, "vm1"), true))
	l := p.wants(o.Leases[0].ID, ajar.Closed, ajar.ReasonGone)
	if !l.Unverified || !l.KernelEnd.Equal(kernel) {
		t.Errorf("%+v", l)
	}
	_, err := p.b.CheckIdentity(ctx, j.Endpoint.ID, j.Identity.Serial)
	p.refused(ajar.Unauthenticated, err, "removed")
	if lift, told := p.removed[j.Endpoint.ID]; !told || !lift {
		t.Error("the connection was not cut")
	}
	if e := p.recorded(ajar.GuardLifted, ajar.Accepted); e.Details["ports"] != "22/TCP" {
		t.Errorf("%+v", e)
	}
	if e := p.recorded(ajar.LeaseClosed, ajar.Happened); e.Lease != l.ID || e.Details["unverified"] != "true" || e.Details["kernelEnd"] == "" {
		t.Errorf("%+v", e)
	}
	_, err = p.ask(alice, ask(vm(group, "vm1"), 22, time.Hour))
	p.refused(ajar.Conflict, err, "none has joined")
	p.refused(ajar.NotFound, p.b.RemoveHost(ctx, p.owner, vm(group, "vm1"), true))
	// It joins again as somebody else, with the guards that policies want.
	again := p.host(vm(group, "vm1"))
	if again.Endpoint.ID == j.Endpoint.ID || p.guards(again.Endpoint.ID) != "22/TCP" {
		t.Errorf("%+v", again)
	}
}

func TestDeletedMachineLeavesItsPolicies(t *testing.T) {
	p := newPlane(t)
	j := p.standard()
	p.host(vm(group, "vm2"))
	p.policy(machine(vm(group, "vm1"), port(22, ajar.TCP)), machine(vm(group, "vm2"), port(22, ajar.TCP)))
	o := p.granted(p.requester("alice"))
	_, err := p.b.DeleteTarget(ctx, p.user("bob", rbac.Reader, ajar.Root), vm(group, "vm1"), false)
	p.refused(ajar.Forbidden, err)
	existed, err := p.b.DeleteTarget(ctx, p.owner, vm(group, "vm1"), true)
	p.must(err)
	if !existed {
		t.Error("it existed")
	}
	p.wants(o.Leases[0].ID, ajar.Closed, ajar.ReasonGone)
	if lift, told := p.removed[j.Endpoint.ID]; !told || lift {
		t.Error("the guard should stay on the host")
	}
	pl, err := p.b.Policy(ctx, p.owner, pol)
	p.must(err)
	if len(pl.Machines) != 1 || pl.Machines[0].Target.Name() != "vm2" {
		t.Errorf("%+v", pl.Machines)
	}
	_, err = p.b.Target(ctx, p.owner, vm(group, "vm1"))
	p.refused(ajar.NotFound, err)
	existed, err = p.b.DeleteTarget(ctx, p.owner, vm(group, "vm1"), true)
	if p.must(err); existed {
		t.Error("it existed twice")
	}
}

func TestMachinesAndHostsAreListedWhereOneMayRead(t *testing.T) {
	p := newPlane(t)
	p.host(vm(group, "vm1"))
	p.host(vm(group, "vm2"))
	p.host(vm(other, "vm3"))
	ops := p.user("ops", rbac.Reader, group)
	ms, _, err := p.b.Targets(ctx, ops, "", "", broker.Page{})
	p.must(err)
	hs, _, err := p.b.Hosts(ctx, ops, ajar.Root, broker.Page{})
	p.must(err)
	if len(ms) != 2 || len(hs) != 2 || hs[0].Identity == nil {
		t.Errorf("%d machines, %d hosts", len(ms), len(hs))
	}
	_, err = p.b.Target(ctx, ops, vm(other, "vm3"))
	p.refused(ajar.Forbidden, err)
	if _, err := p.b.PutTarget(ctx, ops, ajar.Target{ID: vm(group, "vm9")}); ajar.KindOf(err) != ajar.Forbidden {
		t.Error(err)
	}
	for _, bad := range []ajar.Target{{ID: "/x"}, {ID: group}, {ID: vm(group, "vm1"), OS: "BeOS"}, {ID: vm(group, "vm1"), Login: "-oProxyCommand=x"}, {ID: vm(group, "vm1"), Login: "a b"}} {
		_, err := p.b.PutTarget(ctx, p.owner, bad)
		p.refused(ajar.Invalid, err)
	}
}

// Who lost the right, or the account, cannot bring in a host with a token they kept.
func TestJoinTokenDiesWithTheRightToMakeIt(t *testing.T) {
	p := newPlane(t)
	v := vm(group, "vm1")
	ann, bob := p.user("ann"), p.user("bob", rbac.Owner, group)
	as := p.assign(ann.Principal, rbac.Owner, group)
	token := func(who ajar.Caller) *ajar.JoinToken {
		_, doc, err := p.b.CreateJoinToken(ctx, who, ajar.Target{ID: v}, true)
		p.must(err)
		return doc
	}
	anns, bobs := token(ann), token(bob)
	_, err := p.b.DeleteRoleAssignment(ctx, p.owner, as.ID)
	p.must(err)
	user, err := p.b.Principal(ctx, p.owner, "bob")
	p.must(err)
	user.Disabled = true
	_, err = p.b.PutPrincipal(ctx, p.owner, *user)
	p.must(err)
	for _, doc := range []*ajar.JoinToken{anns, bobs} {
		_, err = p.b.Join(ctx, broker.Joining{TokenHash: doc.Hash, Serial: "ab", Expires: start.Add(24 * time.Hour)})
		p.refused(ajar.Unauthenticated, err, "who made the join token")
	}
	p.recorded(ajar.HostJoined, ajar.Refused)
	p.join(token(p.owner))
}

// A machine that nobody gave addresses is known by where its host joined from.
func TestPlanesOwnMachineIsKnownByItsHost(t *testing.T) {
	p := newPlane(t, func(c *broker.Config) {
		c.PlaneListeners = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:8443")}
	})
	for name, from := range map[string]string{"here": "::ffff:192.0.2.1", "loop": "127.0.0.1", "there": "192.0.2.2"} {
		v := vm(group, name)
		_, doc, err := p.b.CreateJoinToken(ctx, p.owner, ajar.Target{ID: v}, false)
		p.must(err)
		_, err = p.b.Join(ctx, broker.Joining{TokenHash: doc.Hash, Serial: "ab", From: netip.MustParseAddr(from), Expires: start.Add(24 * time.Hour)})
		p.must(err)
		err = p.put(p.owner, ajar.Policy{ID: pol, Machines: []ajar.MachinePolicy{machine(v, port(8443, ajar.TCP))}}, broker.PutOptions{})
		if name == "there" {
			p.must(err)
		} else {
			p.refused(ajar.Invalid, err, "lock everybody out")
		}
	}
}

// A port that is kept closed until somebody releases it stays so though its host is removed and joins again.
func TestKeptGuardOutlivesTheRemovalOfItsHost(t *testing.T) {
	p := newPlane(t)
	v := vm(group, "vm1")
	first := p.host(v)
	body := ajar.Policy{ID: pol, Unguard: ajar.Keep, Machines: []ajar.MachinePolicy{machine(v, port(22, ajar.TCP))}}
	p.must(p.put(p.owner, body, broker.PutOptions{}))
	_, err := p.b.DeletePolicy(ctx, p.owner, pol, 0)
	p.must(err)
	kept := p.guards(first.Endpoint.ID)
	p.must(p.b.RemoveHost(ctx, p.owner, v, false))
	_, err = p.b.PutTarget(ctx, p.owner, ajar.Target{ID: v, Location: "west"})
	p.must(err)
	again := p.host(v)
	if got := p.guards(again.Endpoint.ID); got != kept || got == "" {
		t.Errorf("guarded after joining again: %q, before %q", got, kept)
	}
	p.recorded(ajar.GuardKept, ajar.Accepted)
	p.must(p.b.ReleaseGuard(ctx, p.owner, v, ajar.Flow{Port: ajar.Port{Number: 22, Protocol: ajar.TCP}}))
	p.must(p.b.RemoveHost(ctx, p.owner, v, false))
	if got := p.guards(p.host(v).Endpoint.ID); got != "" {
		t.Errorf("released, and yet guarded: %q", got)
	}
}
