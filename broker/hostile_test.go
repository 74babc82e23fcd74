package broker_test

import (
	"context"
	"errors"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/broker"
)

// words are what somebody might try in any text.
var hostile = []string{"", "/", "//", "\x00", "a\x00b", "\xff\xfe", strings.Repeat("a", 5000), strings.Repeat("/a", 40), "/subscriptions/../..", "%2e%2e", "'; DROP TABLE docs; --",
	"/subscriptions/x/resourceGroups/y/providers/Microsoft.Compute/virtualMachines/z\n", "\u202e", "{}", "null", "🔥", "/subscriptions/s/resourceGroups/g/providers/Microsoft.Security/locations/l/jitNetworkAccessPolicies/\x07"}

// tell wants a refusal that a caller can read, and never one of ours.
func tell(t *testing.T, what string, err error) {
	t.Helper()
	if err == nil {
		return
	}
	if k := ajar.KindOf(err); k == ajar.Internal || k == ajar.Unavailable {
		t.Errorf("%s: %s: %v", what, k, err)
	}
	if ajar.Message(err) == "" {
		t.Errorf("%s: no words", what)
	}
}

func TestHostileInputIsRefusedInWords(t *testing.T) {
	p := newPlane(t)
	p.standard()
	b, o := p.b, p.owner
	for _, s := range hostile {
		id, pr := ajar.ID(s), ajar.PrincipalID(s)
		o.Corr, o.Via = s, s
		_, err := b.PutPolicy(ctx, o, ajar.Policy{ID: id}, broker.PutOptions{})
		tell(t, "PutPolicy id", err)
		_, err = b.PutPolicy(ctx, o, ajar.Policy{ID: pol, Kind: s, Unguard: ajar.Unguard(s), Machines: []ajar.MachinePolicy{machine(id)}}, broker.PutOptions{})
		tell(t, "PutPolicy", err)
		q := port(22, ajar.Protocol(s))
		q.DurationText, q.SourceText = s, []string{s}
		_, err = b.PutPolicy(ctx, o, ajar.Policy{ID: pol, Machines: []ajar.MachinePolicy{{Target: vm(group, "vm1"), PublicIPAddress: s, Ports: []ajar.PortPolicy{q}}}}, broker.PutOptions{})
		tell(t, "PutPolicy port", err)
		_, err = b.DeletePolicy(ctx, o, id, 0)
		tell(t, "DeletePolicy", err)
		_, err = b.Policy(ctx, o, id)
		tell(t, "Policy", err)
		_, _, err = b.Policies(ctx, o, id, broker.Page{Cursor: s, Limit: -1})
		tell(t, "Policies", err)
		_, err = b.Initiate(ctx, o, ajar.Request{Policy: pol, Justification: s, Asks: []ajar.Ask{{Target: id, Port: ajar.Port{Number: 22, Protocol: ajar.Protocol(s)}, Duration: time.Hour, Shown: s}}})
		tell(t, "Initiate", err)
		for _, verb := range []func(context.Context, ajar.Caller, ajar.RequestID, string) (*broker.Outcome, error){b.Approve, b.Deny, b.Withdraw, b.Revoke} {
			_, err = verb(ctx, o, ajar.RequestID(s), s)
			tell(t, "decide", err)
			_, err = verb(ctx, o, ajar.RequestID(uuid.NewString()), s)
			tell(t, "decide", err)
		}
		_, err = b.CloseLease(ctx, o, ajar.LeaseID(s), s)
		tell(t, "CloseLease", err)
		_, _, err = b.Requests(ctx, o, broker.RequestFilter{Policy: id, Requester: pr, State: ajar.RequestState(s), Page: broker.Page{Cursor: s}})
		tell(t, "Requests", err)
		_, _, err = b.Leases(ctx, o, broker.LeaseFilter{Scope: id, Requester: pr, Page: broker.Page{Cursor: s}})
		tell(t, "Leases", err)
		_, err = b.PutTarget(ctx, o, ajar.Target{ID: vm(group, s), Location: s, OS: s, Login: s, Source: s})
		tell(t, "PutTarget", err)
		_, err = b.PutTarget(ctx, o, ajar.Target{ID: vm(group, "vm5"), Location: s, Login: s, Source: s})
		tell(t, "PutTarget", err)
		_, err = b.DeleteTarget(ctx, o, id, false)
		tell(t, "DeleteTarget", err)
		tell(t, "ReleaseGuard", b.ReleaseGuard(ctx, o, id, ajar.Flow{Port: ajar.Port{Protocol: ajar.Protocol(s)}}))
		_, _, err = b.CreateJoinToken(ctx, o, ajar.Target{ID: id, Location: s}, true)
		tell(t, "CreateJoinToken", err)
		_, err = b.Join(ctx, broker.Joining{TokenHash: s, Serial: s, Corr: s})
		tell(t, "Join", err)
		_, err = b.Renew(ctx, ajar.EndpointID(s), s, "aa", start.Add(time.Hour))
		tell(t, "Renew", err)
		_, err = b.CheckIdentity(ctx, ajar.EndpointID(s), s)
		tell(t, "CheckIdentity", err)
		_, err = b.PutPrincipal(ctx, o, ajar.Principal{ID: pr, Kind: ajar.PrincipalKind(s), Name: s, Display: s})
		tell(t, "PutPrincipal", err)
		_, err = b.PutPrincipal(ctx, o, ajar.Principal{Kind: ajar.User, Name: s, Display: s})
		tell(t, "PutPrincipal", err)
		_, err = b.DeletePrincipal(ctx, o, pr)
		tell(t, "DeletePrincipal", err)
		_, err = b.Principal(ctx, o, s)
		tell(t, "Principal", err)
		_, err = b.AddMember(ctx, o, pr, pr)
		tell(t, "AddMember", err)
		_, err = b.PutCredential(ctx, o, ajar.Credential{Principal: o.Principal, Kind: ajar.Secret, Hash: s, Hint: s})
		tell(t, "PutCredential", err)
		_, err = b.PutToken(ctx, o, ajar.Token{Hash: s, Name: s})
		tell(t, "PutToken", err)
		_, err = b.RevokeToken(ctx, o, o.Principal, s)
		tell(t, "RevokeToken", err)
		_, err = b.PutRoleDefinition(ctx, o, ajar.RoleDefinition{Name: s, Description: s, AssignableScopes: []ajar.ID{id}, Permissions: []ajar.Permission{{Actions: []ajar.Action{ajar.Action(s)}}}})
		tell(t, "PutRoleDefinition", err)
		_, err = assigned(b, o, ajar.RoleAssignment{ID: s, Principal: pr, Role: ajar.RoleID(s), Scope: id, Description: s})
		tell(t, "Assign", err)
		_, err = b.PutDenyAssignment(ctx, o, ajar.DenyAssignment{Name: s, Scope: id, Principals: []ajar.PrincipalID{pr}})
		tell(t, "PutDenyAssignment", err)
		_, err = b.PutManagementGroup(ctx, o, ajar.ManagementGroup{ID: id, Parent: id, Subscriptions: []string{s}})
		tell(t, "PutManagementGroup", err)
		_, err = b.DeleteManagementGroup(ctx, o, id)
		tell(t, "DeleteManagementGroup", err)
		_, err = b.Events(ctx, o, ajar.EventFilter{Scope: id, Caller: pr, Action: ajar.Action(s), Corr: s, Request: ajar.RequestID(s), Outcome: ajar.Outcome(s)})
		tell(t, "Events", err)
		tell(t, "May", b.May(ctx, o, ajar.Action(s), id))
		who := ajar.Caller{Principal: pr, Name: s, Groups: []ajar.PrincipalID{pr}, Via: s, Corr: s}
		_, err = b.Initiate(ctx, who, ajar.Request{Policy: pol, Asks: []ajar.Ask{ask(vm(group, "vm1"), 22, time.Hour)}})
		tell(t, "Initiate as", err)
	}
}

func TestHostileTimesAndCounts(t *testing.T) {
	p := newPlane(t)
	p.standard()
	alice := p.requester("alice")
	v := ajar.Port{Number: 22}
	no := func(a ajar.Ask) {
		t.Helper()
		a.Target = vm(group, "vm1")
		_, err := p.ask(alice, a)
		p.refused(ajar.Invalid, err)
	}
	no(ajar.Ask{Port: v})
	no(ajar.Ask{Port: v, Duration: -time.Hour})
	no(ajar.Ask{Port: v, Duration: time.Microsecond})
	no(ajar.Ask{Port: v, Duration: math.MaxInt64})
	no(ajar.Ask{Port: v, Duration: math.MinInt64})
	no(ajar.Ask{Port: v, Duration: time.Hour, End: start.Add(time.Hour)})
	no(ajar.Ask{Port: v, End: time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC)})
	no(ajar.Ask{Port: v, End: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)})
	no(ajar.Ask{Port: v, End: time.Date(-500, 1, 1, 0, 0, 0, 0, time.UTC)})
	no(ajar.Ask{Port: v, End: time.Unix(math.MaxInt64, 0)})
	no(ajar.Ask{Port: ajar.Port{}, Duration: time.Hour})
	no(ajar.Ask{Port: v, Duration: time.Hour, Sources: make([]netip.Prefix, 1)})
	no(ajar.Ask{Port: v, Duration: time.Hour, Sources: make([]netip.Prefix, ajar.MaxSources+1)})
	no(ajar.Ask{Port: v, Duration: time.Hour, Sources: []netip.Prefix{netip.MustParsePrefix("::ffff:0:0/80")}})
	_, err := p.ask(alice)
	p.refused(ajar.Invalid, err, "nothing")
	_, err = p.ask(alice, make([]ajar.Ask, 1001)...)
	p.refused(ajar.Invalid, err, "at most 1000")
	// Mixed families and overlaps are fine, and come out once each, masked and sorted.
	o := p.granted(alice, ask(vm(group, "vm1"), 22, time.Hour, "2001:db8::5/64", "203.0.113.9/24", "203.0.113.0/24", "::ffff:198.51.100.1/128"))
	var got []string
	for _, s := range o.Leases[0].Sources {
		got = append(got, s.String())
	}
	if strings.Join(got, " ") != "198.51.100.1/32 203.0.113.0/24 2001:db8::/64" {
		t.Error(got)
	}
	big := ajar.Policy{ID: pol, Machines: make([]ajar.MachinePolicy, ajar.MaxMachines+1)}
	p.refused(ajar.Invalid, p.put(p.owner, big, broker.PutOptions{}), "at most")
	big.Machines = []ajar.MachinePolicy{{Target: vm(group, "vm1"), Ports: make([]ajar.PortPolicy, ajar.MaxPorts+1)}}
	p.refused(ajar.Invalid, p.put(p.owner, big, broker.PutOptions{}), "at most")
}

// FuzzInitiate feeds everything that a request has. It must be granted or refused in words; never an internal error,
// never a panic.
func FuzzInitiate(f *testing.F) {
	f.Add(string(vm(group, "vm1")), uint16(22), "", "203.0.113.7/32", int64(3600), int64(0), "because", "203.0.113.7")
	f.Add("/x", uint16(0), "tcp", "::/0", int64(-1), int64(253402300799), "\x00", "fe80::1%x")
	f.Add(string(vm(group, "VM1")), uint16(3389), "*", "::ffff:1.2.3.4/100", int64(0), int64(1), "\xff", "")
	p := newPlane(f)
	p.standard()
	alice := p.requester("alice")
	f.Fuzz(func(t *testing.T, target string, n uint16, proto, source string, seconds, end int64, why, from string) {
		a := ajar.Ask{Target: ajar.ID(target), Port: ajar.Port{Number: n, Protocol: ajar.Protocol(proto)}, Duration: time.Duration(seconds) * time.Second, Shown: source}
		if end != 0 {
			a.End = time.Unix(end, 0)
		}
		if s, err := netip.ParsePrefix(source); err == nil {
			a.Sources = []netip.Prefix{s}
		}
		who := alice
		who.From, _ = netip.ParseAddr(from)
		o, err := p.b.Initiate(ctx, who, ajar.Request{Policy: pol, Asks: []ajar.Ask{a}, Justification: why})
		if err != nil {
			if k := ajar.KindOf(err); k == ajar.Internal || k == ajar.Unavailable || ajar.Message(err) == "" {
				t.Fatalf("%s: %v", k, err)
			}
			return
		}
		for _, l := range o.Leases {
			if !l.End.After(l.Start) || l.End.Sub(l.Start) > 3*time.Hour || len(l.Sources) == 0 || l.Flow.Port.Number != 22 {
				t.Fatalf("%+v", l)
			}
		}
	})
}

// brokenLog is a store whose log cannot be written.
type brokenLog struct{ ajar.Store }

type brokenTx struct{ ajar.Tx }

func (s brokenLog) Update(ctx context.Context, fn func(ajar.Tx) error) error {
	return s.Store.Update(ctx, func(tx ajar.Tx) error { return fn(brokenTx{tx}) })
}

func (brokenTx) Append(ajar.Event) error { return errors.New("disk full") }

func TestWhatCannotBeRecordedDoesNotHappen(t *testing.T) {
	p := newPlane(t)
	p.standard()
	alice, mallory := p.requester("alice"), p.user("mallory")
	b := p.broker(brokenLog{p.store})
	before := p.everything()
	_, err := b.Initiate(ctx, alice, ajar.Request{Policy: pol, Asks: []ajar.Ask{ask(vm(group, "vm1"), 22, time.Hour)}})
	if err == nil || p.everything() != before {
		t.Errorf("it happened unrecorded: %v", err)
	}
	_, err = b.Initiate(ctx, mallory, ajar.Request{Policy: pol, Asks: []ajar.Ask{ask(vm(group, "vm1"), 22, time.Hour)}})
	p.refused(ajar.Unavailable, err, "log")
	if strings.Contains(ajar.Message(err), "disk") {
		t.Error("the cause crossed the gate")
	}
}
