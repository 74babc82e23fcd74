package broker_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/broker"
	"github.com/ajar-access/ajar/rbac"
)

// Whoever may read a part of what there is gets that part whole, each thing once, whatever the size of a page; and no
// page of theirs is empty because of what they may not read.
func TestListsOfWhoMayReadSome(t *testing.T) {
	p := newPlane(t)
	north, south := pol, ajar.ID(other+"/providers/Microsoft.Security/locations/west/jitNetworkAccessPolicies/default")
	machines := []ajar.ID{vm(group, "vm1"), vm(group, "vm2"), vm(other, "vm1")}
	for _, id := range machines {
		p.host(id)
	}
	open := []ajar.PortPolicy{port(22, ajar.TCP), port(443, ajar.TCP)}
	for id, ms := range map[ajar.ID][]ajar.ID{north: machines, south: machines[2:]} { // a policy reaches beyond its group
		q := ajar.Policy{ID: id, Kind: "Basic"}
		for _, m := range ms {
			q.Machines = append(q.Machines, machine(m, open...))
		}
		_, err := p.b.PutPolicy(ctx, p.owner, q, broker.PutOptions{})
		p.must(err)
	}
	alice, bob := p.user("alice", rbac.JITRequester, ajar.Root, rbac.Reader, ajar.Root), p.user("bob", rbac.JITRequester, ajar.ID(other), rbac.Reader, ajar.ID(other))
	for i := range 12 {
		p.wait(time.Second)
		for who, where := range map[*ajar.Caller][]ajar.ID{&alice: {north, south}, &bob: {south}} {
			for _, at := range where {
				asks := []ajar.Ask{ask(machines[2], 22, time.Hour, "192.0.2.1/32")}
				if at == north && i%2 == 0 {
					asks = append(asks, ask(machines[i%3/2], 443, time.Hour, "192.0.2.2/32"))
				}
				_, err := p.b.Initiate(ctx, *who, ajar.Request{Policy: at, Asks: asks})
				p.must(err)
			}
		}
	}
	callers := []ajar.Caller{p.owner, alice, bob, p.user("none"), p.user("one", rbac.Reader, south), p.user("two", rbac.Reader, ajar.ID(group), rbac.SecurityReader, ajar.ID(other))}
	for _, who := range callers {
		may := func(owner ajar.PrincipalID, policy ajar.ID) bool {
			_, err := p.b.Policy(ctx, who, policy)
			return err == nil || owner == who.Principal
		}
		for _, scope := range []ajar.ID{ajar.Root, group, other, machines[2], south} {
			var want, wantRequests, wantLive []string
			ls, _, err := p.b.Leases(ctx, p.owner, broker.LeaseFilter{Scope: scope, Page: broker.Page{Limit: 1000}})
			p.must(err)
			for _, l := range ls {
				if may(l.Requester, l.Policy) {
					want = append(want, string(l.ID))
					if l.Live(p.clock()) {
						wantLive = append(wantLive, string(l.ID))
					}
				}
			}
			rs, _, err := p.b.Requests(ctx, p.owner, broker.RequestFilter{Policy: scope, Page: broker.Page{Limit: 1000}})
			p.must(err)
			for _, r := range rs {
				if may(r.Request.Requester, r.Request.Policy) {
					wantRequests = append(wantRequests, string(r.Request.ID))
				}
			}
			for _, size := range []int{1, 7, 1000} {
				var got, gotRequests, live []string
				for cursor, pages := "", 0; pages == 0 || cursor != ""; pages++ {
					ls, next, err := p.b.Leases(ctx, who, broker.LeaseFilter{Scope: scope, Live: true, Page: broker.Page{Cursor: cursor, Limit: size}})
					p.must(err)
					if cursor = next; pages > 400 {
						t.Fatal("the list has no end")
					}
					for _, l := range ls {
						live = append(live, string(l.ID))
					}
				}
				for cursor, pages := "", 0; pages == 0 || cursor != ""; pages++ {
					ls, next, err := p.b.Leases(ctx, who, broker.LeaseFilter{Scope: scope, Page: broker.Page{Cursor: cursor, Limit: size}})
					p.must(err)
					if cursor = next; pages > 200 {
						t.Fatal("the list has no end")
					}
					for _, l := range ls {
						got = append(got, string(l.ID))
					}
				}
				for cursor, pages := "", 0; pages == 0 || cursor != ""; pages++ {
					rs, next, err := p.b.Requests(ctx, who, broker.RequestFilter{Policy: scope, Page: broker.Page{Cursor: cursor, Limit: size}})
					p.must(err)
					if cursor = next; pages > 200 {
						t.Fatal("the list has no end")
					}
					for _, r := range rs {
						gotRequests = append(gotRequests, string(r.Request.ID))
					}
				}
				for _, x := range []struct {
					what      string
					got, want []string
				}{{"leases", got, want}, {"requests", gotRequests, wantRequests}, {"live leases", live, wantLive}} {
					slices.Sort(x.got)
					slices.Sort(x.want)
					if !slices.Equal(x.got, x.want) {
						t.Errorf("%s of %s at %s, pages of %d: %d, want %d", x.what, who.Name, scope, size, len(x.got), len(x.want))
					}
				}
			}
		}
	}
}

// The live leases below a scope are listed machine by machine, whatever their names and the size of a page.
func TestLiveLeasesBelowAScope(t *testing.T) {
	p := newPlane(t)
	want := map[string]bool{}
	p.must(p.store.Update(ctx, func(tx ajar.Tx) error {
		clear(want)
		for i := range 170 {
			at := ajar.ID(group)
			if i%9 == 0 {
				at = other
			}
			m := &ajar.Target{ID: vm(at, fmt.Sprintf([]string{"vm%d", "VM-%d", "vm%d-x"}[i%3], i))}
			if err := tx.Put(m); err != nil {
				return err
			}
			for n := range 5 {
				l := &ajar.Lease{ID: ajar.LeaseID(uuid.NewString()), Target: m.ID, Policy: pol, Requester: p.owner.Principal, State: ajar.Open, Start: start, End: start.Add(time.Hour),
					Flow: ajar.Flow{Port: ajar.Port{Number: uint16(n + 1), Protocol: ajar.TCP}}}
				if n > i%4 {
					l.State = ajar.Closed
				} else if at == group {
					want[string(l.ID)] = true
				}
				if err := tx.Put(l); err != nil {
					return err
				}
			}
		}
		return nil
	}))
	for _, size := range []int{1, 3, 50, 1000} {
		got := map[string]bool{}
		for cursor, first := "", true; first || cursor != ""; first = false {
			ls, next, err := p.b.Leases(ctx, p.owner, broker.LeaseFilter{Scope: group, Live: true, Page: broker.Page{Cursor: cursor, Limit: size}})
			p.must(err)
			if len(ls) > size {
				t.Fatalf("a page of %d has %d", size, len(ls))
			}
			for _, l := range ls {
				if got[string(l.ID)] || !want[string(l.ID)] {
					t.Fatalf("pages of %d: %s of %s is wrong", size, l.ID, l.Target)
				}
				got[string(l.ID)] = true
			}
			cursor = next
		}
		if len(got) != len(want) {
			t.Errorf("pages of %d: %d leases, want %d", size, len(got), len(want))
		}
	}
}
