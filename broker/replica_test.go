package broker_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/broker"
	"github.com/ajar-access/ajar/rbac"
	"github.com/ajar-access/ajar/store"
	"github.com/ajar-access/ajar/store/storetest"
)

// replicas runs a test against two brokers over one store each, over one database.
func replicas(t *testing.T, test func(p *plane, bs []*broker.Broker)) {
	run := func(t *testing.T, p *plane) {
		s, err := store.Open(ctx, p.dsn, store.Options{Clock: p.clock})
		p.must(err)
		t.Cleanup(func() { _ = s.Close() })
		test(p, []*broker.Broker{p.b, p.broker(s)})
	}
	t.Run("sqlite", func(t *testing.T) { run(t, newPlane(t)) })
	t.Run("postgres", func(t *testing.T) { run(t, planeOver(t, storetest.StartPostgres(t))) })
}

// together runs n calls at once and gives their errors.
func together(n int, call func(i int) error) []error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	gate := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-gate
			errs[i] = call(i)
		})
	}
	close(gate)
	wg.Wait()
	return errs
}

// won counts the successes; every failure must be of kind.
func (p *plane) won(errs []error, kind ajar.Kind) (n int) {
	p.t.Helper()
	for _, err := range errs {
		if err == nil {
			n++
		} else if !errors.Is(err, kind) {
			p.t.Errorf("%v (%s), want a %s", err, ajar.KindOf(err), kind)
		}
	}
	return n
}

func TestManyAskAtOnceAndOneLeaseIsLive(t *testing.T) {
	replicas(t, func(p *plane, bs []*broker.Broker) {
		p.standard()
		alice := p.requester("alice")
		const n = 24
		errs := together(n, func(i int) error {
			_, err := bs[i%2].Initiate(ctx, alice, ajar.Request{Policy: pol, Asks: []ajar.Ask{ask(vm(group, "vm1"), 22, time.Duration(i+1)*time.Minute)}})
			return err
		})
		if got := p.won(errs, ajar.Conflict); got != n {
			p.t.Fatalf("%d of %d were granted", got, n)
		}
		live, _, err := p.b.Leases(ctx, alice, broker.LeaseFilter{Live: true})
		p.must(err)
		every, _, err := p.b.Leases(ctx, alice, broker.LeaseFilter{})
		p.must(err)
		if len(live) != 1 || len(every) != n {
			p.t.Errorf("%d of %d leases are live", len(live), len(every))
		}
	})
}

func TestDecisionsRaceAndOneCounts(t *testing.T) {
	replicas(t, func(p *plane, bs []*broker.Broker) {
		p.standard(approvals(1))
		alice := p.requester("alice")
		var judges []ajar.Caller
		for i := range 6 {
			judges = append(judges, p.user(fmt.Sprintf("judge%d", i), rbac.JITApprover, group))
		}
		for range 4 {
			o, err := p.ask(alice, ask(vm(group, "vm1"), 22, time.Hour))
			p.must(err)
			errs := together(len(judges)+1, func(i int) error {
				switch {
				case i == len(judges):
					_, err := bs[0].Withdraw(ctx, alice, o.Request.ID, "")
					return err
				case i%3 == 0:
					_, err := bs[i%2].Deny(ctx, judges[i], o.Request.ID, "")
					return err
				}
				_, err := bs[i%2].Approve(ctx, judges[i], o.Request.ID, "")
				return err
			})
			if got := p.won(errs, ajar.Conflict); got != 1 {
				p.t.Errorf("%d decisions counted", got)
			}
			o, err = p.b.Request(ctx, alice, o.Request.ID)
			p.must(err)
			if (o.Request.State == ajar.Approved) != (len(o.Leases) == 1) {
				p.t.Errorf("%s with %d leases", o.Request.State, len(o.Leases))
			}
		}
	})
}

func TestJoinTokenIsUsedOnce(t *testing.T) {
	replicas(t, func(p *plane, bs []*broker.Broker) {
		_, doc, err := p.b.CreateJoinToken(ctx, p.owner, ajar.Target{ID: vm(group, "vm1")}, false)
		p.must(err)
		errs := together(8, func(i int) error {
			_, err := bs[i%2].Join(ctx, joining(doc, fmt.Sprintf("%02x", i+1)))
			return err
		})
		if got := p.won(errs, ajar.Unauthenticated); got != 1 || p.count(ajar.KindHostIdentity) != 1 || p.count(ajar.KindEndpoint) != 1 {
			p.t.Errorf("%d hosts joined with one token", got)
		}
	})
}

func TestOwnersRemoveEachOtherAndOneStays(t *testing.T) {
	replicas(t, func(p *plane, bs []*broker.Broker) {
		var who []ajar.Caller
		var held []*ajar.RoleAssignment
		for i := range 4 {
			u := p.user(fmt.Sprintf("owner%d", i))
			who = append(who, u)
			held = append(held, p.assign(u.Principal, rbac.Owner, ajar.Root))
		}
		first, _, err := p.b.RoleAssignments(ctx, p.owner, broker.AssignmentFilter{Principal: p.owner.Principal})
		p.must(err)
		_, err = p.b.DeleteRoleAssignment(ctx, p.owner, first[0].ID)
		p.must(err)
		// Everybody removes the next one: whoever was removed first may no more, and the last stays.
		together(len(who), func(i int) error {
			_, err := bs[i%2].DeleteRoleAssignment(ctx, who[i], held[(i+1)%len(held)].ID)
			return err
		})
		left, _, err := p.b.RoleAssignments(ctx, ajar.Plane, broker.AssignmentFilter{Role: rbac.Owner})
		p.must(err)
		if len(left) == 0 {
			p.t.Error("nobody is Owner")
		}
	})
}

func TestExtendAndRevokeRaceAndRevokeWins(t *testing.T) {
	replicas(t, func(p *plane, bs []*broker.Broker) {
		p.standard()
		alice := p.requester("alice")
		o := p.granted(alice)
		errs := together(8, func(i int) error {
			if i == 4 {
				_, err := bs[0].Revoke(ctx, alice, o.Request.ID, "")
				return err
			}
			_, err := bs[i%2].Extend(ctx, alice, o.Request.ID, broker.Extension{By: time.Minute})
			return err
		})
		if errs[4] != nil {
			p.t.Error(errs[4])
		}
		p.won(errs, ajar.Conflict)
		if l := p.wants(o.Leases[0].ID, ajar.Closing, ajar.Revoked); l.Live(p.clock()) {
			p.t.Error("it is live")
		}
	})
}

// TestEventLogMatchesWhatHappened: every call leaves exactly one event of its own, whatever races.
func TestEventLogMatchesWhatHappened(t *testing.T) {
	replicas(t, func(p *plane, bs []*broker.Broker) {
		p.standard(approvals(0))
		alice, mallory := p.requester("alice"), p.user("mallory")
		errs := together(30, func(i int) error {
			who := alice
			if i%3 == 0 {
				who = mallory
			}
			who.Corr = fmt.Sprintf("call-%d", i)
			_, err := bs[i%2].Initiate(ctx, who, ajar.Request{Policy: pol, Asks: []ajar.Ask{ask(vm(group, "vm1"), 22, time.Hour)}})
			return err
		})
		for i, err := range errs {
			es, bad := p.b.Events(ctx, p.owner, ajar.EventFilter{Corr: fmt.Sprintf("call-%d", i)})
			p.must(bad)
			if len(es) != 1 {
				p.t.Fatalf("call %d left %d events", i, len(es))
			}
			if want := map[bool]ajar.Outcome{true: ajar.Accepted, false: ajar.Refused}[err == nil]; es[0].Outcome != want || !strings.HasSuffix(string(es[0].Action), "initiate/action") {
				p.t.Errorf("call %d: %v, recorded as %s", i, err, es[0].Outcome)
			}
		}
	})
}
