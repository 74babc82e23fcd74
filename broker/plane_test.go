package broker_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/broker"
	"github.com/ajar-access/ajar/rbac"
	"github.com/ajar-access/ajar/store"
)

const (
	subscription ajar.ID = "/subscriptions/11111111-1111-1111-1111-111111111111"

	group         = subscription + "/resourceGroups/ops"
	other ajar.ID = "/subscriptions/22222222-2222-2222-2222-222222222222/resourceGroups/lab"
	pol           = group + "/providers/Microsoft.Security/locations/west/jitNetworkAccessPolicies/default"
)

var (
	ctx   = context.Background()
	start = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	here  = netip.MustParseAddr("203.0.113.7")
)

// plane is a whole broker over a real store, with a clock that tests turn.
type plane struct {
	t     testing.TB
	dsn   string
	store ajar.Store
	b     *broker.Broker
	owner ajar.Caller

	mu      sync.Mutex
	now     time.Time
	woken   map[ajar.EndpointID]int
	removed map[ajar.EndpointID]bool // lifted?
}

func newPlane(t testing.TB, change ...func(*broker.Config)) *plane {
	t.Helper()
	return planeOver(t, "sqlite:"+filepath.Join(t.TempDir(), "ajar.db"), change...)
}

func planeOver(t testing.TB, dsn string, change ...func(*broker.Config)) *plane {
	t.Helper()
	p := &plane{t: t, dsn: dsn, now: start, woken: map[ajar.EndpointID]int{}, removed: map[ajar.EndpointID]bool{}}
	s, err := store.Open(ctx, dsn, store.Options{Clock: p.clock})
	p.must(err)
	t.Cleanup(func() { _ = s.Close() })
	p.store = s
	p.b = p.broker(s, change...)
	_, err = p.b.Bootstrap(ctx)
	p.must(err)
	admin, _, err := p.b.EnsureAdmin(ctx, broker.Admin{Name: "root", Hash: "x"})
	p.must(err)
	p.owner = ajar.Caller{Principal: admin.ID, Via: "arm", From: here, Corr: "corr-1", AuthTime: start}
	return p
}

func (p *plane) broker(s ajar.Store, change ...func(*broker.Config)) *broker.Broker {
	c := broker.Config{Store: s, Clock: p.clock, NewID: uuid.NewString,
		Wake: func(eps ...ajar.EndpointID) {
			p.mu.Lock()
			defer p.mu.Unlock()
			for _, ep := range eps {
				p.woken[ep]++
			}
		},
		Removed: func(ep ajar.EndpointID, lift bool) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.removed[ep] = lift
		},
	}
	for _, f := range change {
		f(&c)
	}
	return broker.New(c)
}

func (p *plane) clock() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now
}

func (p *plane) wait(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = p.now.Add(d)
}

func (p *plane) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// refused wants err to be of kind and to say each of words.
func (p *plane) refused(kind ajar.Kind, err error, words ...string) {
	p.t.Helper()
	if err == nil || ajar.KindOf(err) != kind {
		p.t.Fatalf("got %v (%s), want a refusal of kind %s", err, ajar.KindOf(err), kind)
	}
	for _, w := range words {
		if !strings.Contains(ajar.Message(err), w) {
			p.t.Fatalf("%q does not say %q", ajar.Message(err), w)
		}
	}
}

func code(err error) string {
	var e *ajar.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// user makes somebody with roles at scopes, in pairs.
func (p *plane) user(name string, roleAt ...any) ajar.Caller {
	p.t.Helper()
	u, err := p.b.PutPrincipal(ctx, p.owner, ajar.Principal{Kind: ajar.User, Name: name})
	p.must(err)
	for i := 0; i < len(roleAt); i += 2 {
		p.assign(u.ID, roleAt[i].(ajar.RoleID), roleAt[i+1].(ajar.ID))
	}
	return ajar.Caller{Principal: u.ID, Name: name, From: here, Via: "arm", AuthTime: p.clock()}
}

// assigned is Assign for whoever does not mind whether the assignment was there.
func assigned(b *broker.Broker, who ajar.Caller, a ajar.RoleAssignment) (*ajar.RoleAssignment, error) {
	out, _, err := b.Assign(ctx, who, a, broker.AssignOptions{})
	return out, err
}

func (p *plane) assign(who ajar.PrincipalID, role ajar.RoleID, at ajar.ID) *ajar.RoleAssignment {
	p.t.Helper()
	a, err := assigned(p.b, p.owner, ajar.RoleAssignment{Principal: who, Role: role, Scope: at})
	p.must(err)
	return a
}

func vm(in ajar.ID, name string) ajar.ID {
	return in + ajar.ID("/providers/Microsoft.Compute/virtualMachines/"+name)
}

// host makes a machine and lets a host join as it.
func (p *plane) host(id ajar.ID) *broker.Joined {
	p.t.Helper()
	token, doc, err := p.b.CreateJoinToken(ctx, p.owner, ajar.Target{ID: id, Location: "west"}, false)
	p.must(err)
	if token == "" || strings.Contains(doc.Hash, token) {
		p.t.Fatal("the token must be given and not kept")
	}
	return p.join(doc)
}

func (p *plane) join(doc *ajar.JoinToken) *broker.Joined {
	p.t.Helper()
	j, err := p.b.Join(ctx, broker.Joining{TokenHash: doc.Hash, From: here, Serial: strings.ReplaceAll(uuid.NewString(), "-", ""), Expires: p.clock().Add(30 * 24 * time.Hour)})
	p.must(err)
	return j
}

func port(n uint16, proto ajar.Protocol, change ...func(*ajar.PortPolicy)) ajar.PortPolicy {
	q := ajar.PortPolicy{Number: n, Protocol: proto, Any: true, MaxDuration: 3 * time.Hour}
	for _, f := range change {
		f(&q)
	}
	return q
}

func approvals(n int) func(*ajar.PortPolicy) { return func(q *ajar.PortPolicy) { q.Approvals = n } }
func upTo(d time.Duration) func(*ajar.PortPolicy) {
	return func(q *ajar.PortPolicy) { q.MaxDuration = d }
}
func mode(m ajar.EndMode) func(*ajar.PortPolicy) { return func(q *ajar.PortPolicy) { q.EndMode = m } }
func from(prefixes ...string) func(*ajar.PortPolicy) {
	return func(q *ajar.PortPolicy) {
		q.Any = false
		for _, s := range prefixes {
			q.Sources = append(q.Sources, netip.MustParsePrefix(s))
		}
	}
}

func machine(id ajar.ID, ports ...ajar.PortPolicy) ajar.MachinePolicy {
	return ajar.MachinePolicy{Target: id, Ports: ports}
}

func (p *plane) policy(machines ...ajar.MachinePolicy) *ajar.Policy {
	p.t.Helper()
	out, err := p.b.PutPolicy(ctx, p.owner, ajar.Policy{ID: pol, Kind: "Basic", Machines: machines}, broker.PutOptions{})
	p.must(err)
	return out
}

// standard is one host vm1 whose port 22 may be asked for.
func (p *plane) standard(change ...func(*ajar.PortPolicy)) *broker.Joined {
	p.t.Helper()
	j := p.host(vm(group, "vm1"))
	p.policy(machine(vm(group, "vm1"), port(22, ajar.TCP, change...)))
	return j
}

func ask(target ajar.ID, n uint16, d time.Duration, sources ...string) ajar.Ask {
	a := ajar.Ask{Target: target, Port: ajar.Port{Number: n}, Duration: d}
	for _, s := range sources {
		a.Sources = append(a.Sources, netip.MustParsePrefix(s))
	}
	return a
}

func (p *plane) ask(who ajar.Caller, asks ...ajar.Ask) (*broker.Outcome, error) {
	return p.b.Initiate(ctx, who, ajar.Request{Policy: pol, Asks: asks, Justification: "because"})
}

func (p *plane) granted(who ajar.Caller, asks ...ajar.Ask) *broker.Outcome {
	p.t.Helper()
	if len(asks) == 0 {
		asks = []ajar.Ask{ask(vm(group, "vm1"), 22, time.Hour)}
	}
	o, err := p.ask(who, asks...)
	p.must(err)
	if o.Request.State != ajar.Approved || len(o.Leases) == 0 {
		p.t.Fatalf("request is %s with %d leases", o.Request.State, len(o.Leases))
	}
	return o
}

func (p *plane) lease(id ajar.LeaseID) *ajar.Lease {
	p.t.Helper()
	l, err := p.b.Lease(ctx, p.owner, id)
	p.must(err)
	return l
}

// wants checks a lease's state and reason.
func (p *plane) wants(id ajar.LeaseID, state ajar.LeaseState, why ajar.Reason) *ajar.Lease {
	p.t.Helper()
	l := p.lease(id)
	if l.State != state || l.Reason != why {
		p.t.Fatalf("lease is %s %s, want %s %s", l.State, l.Reason, state, why)
	}
	return l
}

func (p *plane) endpoint(id ajar.EndpointID) *ajar.Endpoint {
	p.t.Helper()
	var ep *ajar.Endpoint
	p.must(p.store.View(ctx, func(tx ajar.Tx) (err error) {
		ep, err = ajar.Get[ajar.Endpoint](tx, string(id))
		return err
	}))
	return ep
}

// guards lists what an endpoint must keep closed now.
func (p *plane) guards(id ajar.EndpointID) string {
	var out []string
	for _, g := range p.endpoint(id).Guarded(p.clock()) {
		out = append(out, g.Port.String())
	}
	return strings.Join(out, " ")
}

// set changes a lease as the loop would.
func (p *plane) set(id ajar.LeaseID, change func(l *ajar.Lease)) {
	p.t.Helper()
	p.must(p.store.Update(ctx, func(tx ajar.Tx) error {
		l, err := ajar.Get[ajar.Lease](tx, string(id))
		if err != nil {
			return err
		}
		change(l)
		return tx.Put(l)
	}))
}

// last gives the newest events, newest first.
func (p *plane) last(n int) []*ajar.Event {
	p.t.Helper()
	es, err := p.b.Events(ctx, p.owner, ajar.EventFilter{Limit: n})
	p.must(err)
	return es
}

// recorded finds the newest event of an action.
func (p *plane) recorded(action ajar.Action, outcome ajar.Outcome) *ajar.Event {
	p.t.Helper()
	es, err := p.b.Events(ctx, p.owner, ajar.EventFilter{Action: action, Outcome: outcome, Limit: 1})
	p.must(err)
	if len(es) == 0 {
		p.t.Fatalf("no %s %s was recorded", action, outcome)
	}
	return es[0]
}

// count counts documents of a kind.
func (p *plane) count(kind ajar.DocKind) (n int64) {
	p.t.Helper()
	p.must(p.store.View(ctx, func(tx ajar.Tx) (err error) {
		n, err = tx.Count(kind, ajar.Filter{})
		return err
	}))
	return n
}

// everything is the text of all documents of all kinds, for finding out whether anything changed.
func (p *plane) everything() string {
	p.t.Helper()
	var b strings.Builder
	p.must(p.store.View(ctx, func(tx ajar.Tx) error {
		return errors.Join(
			dump[ajar.Policy](&b, tx), dump[ajar.Request](&b, tx), dump[ajar.Lease](&b, tx), dump[ajar.Target](&b, tx),
			dump[ajar.Endpoint](&b, tx), dump[ajar.Principal](&b, tx), dump[ajar.Credential](&b, tx), dump[ajar.Token](&b, tx),
			dump[ajar.RoleDefinition](&b, tx), dump[ajar.RoleAssignment](&b, tx), dump[ajar.DenyAssignment](&b, tx),
			dump[ajar.ManagementGroup](&b, tx), dump[ajar.HostIdentity](&b, tx), dump[ajar.JoinToken](&b, tx))
	}))
	return b.String()
}

func dump[D any, P interface {
	*D
	ajar.Doc
}](b *strings.Builder, tx ajar.Tx) error {
	docs, _, err := ajar.List[D, P](tx, ajar.Filter{})
	for _, d := range docs {
		fmt.Fprintf(b, "%+v\n", *d)
	}
	return err
}

// requester may ask in the group and do nothing else.
func (p *plane) requester(name string) ajar.Caller {
	p.t.Helper()
	return p.user(name, rbac.JITRequester, group)
}
