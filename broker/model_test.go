package broker_test

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/broker"
)

// life is a plane that random verbs are carried out on, with what was said to its callers.
type life struct {
	*plane
	machines []ajar.ID
	policies []ajar.ID
	people   []ajar.Caller
	asked    []ajar.RequestID
	revoked  map[ajar.LeaseID]bool      // somebody was told that it is closed
	until    map[ajar.LeaseID]time.Time // the end that somebody was told last
	calls    int
}

// call counts a verb: each leaves one event with its own correlation id.
func (m *life) call(t *rapid.T, who ajar.Caller, verb func(who ajar.Caller) error) error {
	m.calls++
	who.Corr = fmt.Sprintf("call-%d", m.calls)
	err := verb(who)
	if err != nil && (ajar.KindOf(err) == ajar.Internal || ajar.KindOf(err) == ajar.Unavailable) {
		t.Fatalf("%v", err)
	}
	es, bad := m.b.Events(ctx, m.owner, ajar.EventFilter{Corr: who.Corr, Limit: 1000})
	m.must(bad)
	want := ajar.Accepted
	if err != nil {
		want = ajar.Refused
	}
	n := 0
	for _, e := range es {
		if e.Outcome == want {
			n++
		}
	}
	if n == 0 || (err != nil && len(es) != 1) {
		t.Fatalf("%v left %d events, %d of them %s", err, len(es), n, want)
	}
	return err
}

func (m *life) told(o *broker.Outcome) {
	for _, l := range o.Leases {
		m.until[l.ID] = l.End
	}
}

func (m *life) someone(t *rapid.T) ajar.Caller { return rapid.SampledFrom(m.people).Draw(t, "who") }

func (m *life) body(t *rapid.T) ajar.Policy {
	p := ajar.Policy{ID: rapid.SampledFrom(m.policies).Draw(t, "policy"), Unguard: rapid.SampledFrom([]ajar.Unguard{"", ajar.Lift}).Draw(t, "unguard")}
	for _, v := range m.machines {
		if rapid.IntRange(0, 3).Draw(t, "names "+v.Name()) == 3 {
			continue
		}
		mp := ajar.MachinePolicy{Target: v}
		for _, n := range []uint16{22, 80} {
			if rapid.IntRange(0, 3).Draw(t, fmt.Sprint("offers ", n)) < 3 {
				mp.Ports = append(mp.Ports, port(n, rapid.SampledFrom([]ajar.Protocol{ajar.Both, ajar.TCP, ajar.UDP}).Draw(t, "protocol"),
					upTo(rapid.SampledFrom([]time.Duration{10 * time.Minute, time.Hour}).Draw(t, "longest")), approvals(rapid.IntRange(0, 4).Draw(t, "approvals")/4)))
			}
		}
		p.Machines = append(p.Machines, mp)
	}
	return p
}

func (m *life) actions() map[string]func(*rapid.T) {
	minutes := rapid.SampledFrom([]int{5, 9, 10, 30, 60, 61})
	onRequest := func(verb func(context.Context, ajar.Caller, ajar.RequestID, string) (*broker.Outcome, error), then func(o *broker.Outcome)) func(*rapid.T) {
		return func(t *rapid.T) {
			if len(m.asked) == 0 {
				return
			}
			id := rapid.SampledFrom(m.asked).Draw(t, "request")
			_ = m.call(t, m.someone(t), func(who ajar.Caller) error {
				o, err := verb(ctx, who, id, "")
				if err == nil {
					then(o)
				}
				return err
			})
		}
	}
	return map[string]func(*rapid.T){
		"": m.check,
		"ask": func(t *rapid.T) {
			var asks []ajar.Ask
			for range rapid.SampledFrom([]int{1, 1, 2}).Draw(t, "asks") {
				asks = append(asks, ask(rapid.SampledFrom(m.machines).Draw(t, "machine"), rapid.SampledFrom([]uint16{22, 80}).Draw(t, "port"),
					time.Duration(minutes.Draw(t, "minutes"))*time.Minute, rapid.SampledFrom([]string{"203.0.113.7/32", "203.0.113.0/24"}).Draw(t, "source")))
			}
			policy := rapid.SampledFrom(m.policies).Draw(t, "policy")
			_ = m.call(t, m.someone(t), func(who ajar.Caller) error {
				o, err := m.b.Initiate(ctx, who, ajar.Request{Policy: policy, Asks: asks})
				if err == nil {
					m.told(o)
					m.asked = append(m.asked, o.Request.ID)
				}
				return err
			})
		},
		"ask again": func(t *rapid.T) {
			who, i := m.someone(t), rapid.IntRange(0, 1).Draw(t, "machine")
			_ = m.call(t, who, func(who ajar.Caller) error {
				o, err := m.b.Initiate(ctx, who, ajar.Request{Policy: m.policies[i], Asks: []ajar.Ask{ask(m.machines[i], 22, 10*time.Minute)}})
				if err == nil {
					m.told(o)
					m.asked = append(m.asked, o.Request.ID)
				}
				return err
			})
		},
		"approve":  onRequest(m.b.Approve, m.told),
		"deny":     onRequest(m.b.Deny, func(*broker.Outcome) {}),
		"withdraw": onRequest(m.b.Withdraw, func(*broker.Outcome) {}),
		"revoke": onRequest(m.b.Revoke, func(o *broker.Outcome) {
			for _, l := range o.Leases {
				m.revoked[l.ID] = true
			}
		}),
		"extend": func(t *rapid.T) {
			by := broker.Extension{By: time.Duration(minutes.Draw(t, "by")) * time.Minute}
			onRequest(func(c context.Context, who ajar.Caller, id ajar.RequestID, _ string) (*broker.Outcome, error) {
				return m.b.Extend(c, who, id, by)
			}, m.told)(t)
		},
		"put": func(t *rapid.T) {
			p := m.body(t)
			_ = m.call(t, m.owner, func(who ajar.Caller) error { return m.put(who, p, broker.PutOptions{}) })
		},
		"delete": func(t *rapid.T) {
			id := rapid.SampledFrom(m.policies).Draw(t, "policy")
			_ = m.call(t, m.someone(t), func(who ajar.Caller) error { return first(m.b.DeletePolicy(ctx, who, id, 0)) })
		},
		"remove host": func(t *rapid.T) {
			v := rapid.SampledFrom(m.machines).Draw(t, "machine")
			_ = m.call(t, m.someone(t), func(who ajar.Caller) error { return m.b.RemoveHost(ctx, who, v, true) })
		},
		"join": func(t *rapid.T) {
			v := rapid.SampledFrom(m.machines).Draw(t, "machine")
			_ = m.call(t, m.owner, func(who ajar.Caller) error {
				_, doc, err := m.b.CreateJoinToken(ctx, who, ajar.Target{ID: v}, true)
				if err == nil {
					m.join(doc)
				}
				return err
			})
		},
		"wait": func(t *rapid.T) { m.wait(time.Duration(rapid.IntRange(1, 9).Draw(t, "minutes")) * time.Minute) },
	}
}

// check is what holds after every verb.
func (m *life) check(t *rapid.T) {
	now := m.clock()
	policies := map[string]*ajar.Policy{}
	named := map[string][]string{} // by machine
	ps, _, err := m.b.Policies(ctx, m.owner, "", broker.Page{})
	m.must(err)
	for _, p := range ps {
		policies[p.ID.Key()] = p
		for _, mp := range p.Machines {
			named[mp.Target.Key()] = append(named[mp.Target.Key()], p.ID.Key())
		}
	}
	ts, _, err := m.b.Targets(ctx, m.owner, "", "", broker.Page{})
	m.must(err)
	live := map[ajar.EndpointID]bool{}
	for _, target := range ts {
		var got []string
		for _, p := range target.Policies {
			got = append(got, p.Key())
		}
		if slices.Sort(got); !slices.Equal(got, named[target.ID.Key()]) {
			t.Fatalf("%s knows of %v, and %v name it", target.ID.Name(), got, named[target.ID.Key()])
		}
		want := map[string]bool{}
		for _, k := range got {
			for _, f := range policies[k].Machine(target.ID).Flows() {
				want[f.Port.String()] = true
			}
		}
		for _, id := range target.Endpoints {
			live[id] = true
			guards := strings.Fields(m.guards(id))
			if len(guards) != len(want) || slices.ContainsFunc(guards, func(g string) bool { return !want[g] }) {
				t.Fatalf("%s guards %v, policies want %v", target.ID.Name(), guards, want)
			}
		}
	}
	m.checkLeases(t, now, policies, live)
}

func (m *life) checkLeases(t *rapid.T, now time.Time, policies map[string]*ajar.Policy, endpoints map[ajar.EndpointID]bool) {
	slots := map[string]*ajar.Lease{}
	var leases []*ajar.Lease
	m.must(m.store.View(ctx, func(tx ajar.Tx) (err error) {
		leases, _, err = ajar.List[ajar.Lease](tx, ajar.Filter{})
		return err
	}))
	for _, l := range leases {
		if !l.Live(now) {
			continue
		}
		p := policies[l.Policy.Key()]
		key := fmt.Sprint(l.Requester, l.Endpoint, l.Flow.Port.Number, l.Sources)
		other := slots[key]
		slots[key] = l
		switch {
		case m.revoked[l.ID]:
			t.Fatalf("a revoked lease is live: %+v", l)
		case !l.End.Equal(m.until[l.ID]):
			t.Fatalf("a lease ends at %v, and somebody was told %v", l.End, m.until[l.ID])
		case l.End.Sub(l.Start) > l.Max:
			t.Fatalf("a lease is longer than it may: %+v", l)
		case p == nil || p.Machine(l.Target) == nil || p.Machine(l.Target).Port(l.Flow.Port.Number, l.Flow.Port.Protocol) == nil:
			t.Fatalf("a lease is live that no policy offers: %+v", l)
		case !endpoints[l.Endpoint]:
			t.Fatalf("a lease is live on a host that is gone: %+v", l)
		case other != nil && other.Flow.Port.Protocol.Meets(l.Flow.Port.Protocol):
			t.Fatalf("two leases of one person in one place: %+v and %+v", other, l)
		}
	}
}

// rounds sets how many random lives are lived unless the command line says; each writes a database of its own.
func rounds(t *testing.T, n string) {
	f := flag.Lookup("rapid.checks")
	if f.Value.String() != f.DefValue {
		return
	}
	if err := f.Value.Set(n); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Value.Set(f.DefValue) })
}

// TestWhateverHappensTheRulesHold drives random verbs and checks the rules after each.
func TestWhateverHappensTheRulesHold(t *testing.T) {
	rounds(t, "25")
	outer := t
	rapid.Check(t, func(t *rapid.T) {
		m := &life{plane: newPlane(outer), revoked: map[ajar.LeaseID]bool{}, until: map[ajar.LeaseID]time.Time{}}
		for i := range 2 {
			v := vm(group, fmt.Sprintf("vm%d", i))
			m.host(v)
			m.machines = append(m.machines, v)
			m.policies = append(m.policies, pol+ajar.ID(fmt.Sprint(i)))
			m.must(m.put(m.owner, ajar.Policy{ID: m.policies[i], Machines: []ajar.MachinePolicy{machine(v, port(22, ajar.Both), port(80, ajar.TCP))}}, broker.PutOptions{}))
		}
		m.people = []ajar.Caller{m.requester("alice"), m.requester("bob"), m.owner}
		t.Repeat(m.actions())
	})
}
