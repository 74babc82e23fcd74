package broker_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/broker"
	"github.com/ajar-access/ajar/rbac"
)

func (p *plane) asked(who ajar.Caller, n int) (out []string) {
	p.t.Helper()
	for page := (broker.Page{Limit: 100}); ; {
		all, next, err := p.b.PoliciesAsked(ctx, who, ajar.Root, n, page)
		p.must(err)
		for _, a := range all {
			s := fmt.Sprintf("%s %d %dm", a.Policy.ID.Name(), a.Policy.Rev, len(a.Policy.Machines))
			for _, r := range a.Requests {
				s += " " + r.Request.Justification
				for _, l := range r.Leases {
					s += "/" + string(l.State)
				}
			}
			out = append(out, s)
		}
		if page.Cursor = next; next == "" {
			return out
		}
	}
}

func TestPoliciesAreListedWithTheNewestOfWhatWasAsked(t *testing.T) {
	p := newPlane(t)
	p.standard()
	p.must(first(p.b.PutPolicy(ctx, p.owner, ajar.Policy{ID: pol + "2"}, broker.PutOptions{})))
	alice := p.user("alice", rbac.JITRequester, group)
	for i := range 3 {
		p.must(first(p.b.Initiate(ctx, alice, ajar.Request{Policy: pol, Asks: []ajar.Ask{ask(vm(group, "vm1"), 22, time.Hour)}, Justification: fmt.Sprint("no", i)})))
		p.wait(time.Minute)
	}
	for range 2 { // the second time from memory
		p.same("the newest two", p.asked(alice, 2), []string{"default 1 1m no2/Opening no1/Closing", "default2 1 0m"})
	}
	p.same("a stranger's", p.asked(p.user("stranger"), 2), []string(nil))
}

func TestWhatChangedIsNotListedFromMemory(t *testing.T) {
	p := newPlane(t)
	p.standard()
	p.same("as put", p.asked(p.owner, 1), []string{"default 1 1m"})
	p.policy()
	p.same("changed", p.asked(p.owner, 1), []string{"default 2 0m"})
	p.policy(machine(vm(group, "vm1"), port(22, ajar.TCP)))
	p.same("changed back", p.asked(p.owner, 1), []string{"default 3 1m"})
}

// TestAPageOfPoliciesEndsWhereItIsFull: few large policies are as much as many small ones.
func TestAPageOfPoliciesEndsWhereItIsFull(t *testing.T) {
	p := newPlane(t)
	p.must(p.store.Update(ctx, func(tx ajar.Tx) error {
		for i := range 120 {
			large := ajar.Policy{ID: pol + ajar.ID(fmt.Sprintf("%03d", i))}
			for j := range 100 {
				large.Machines = append(large.Machines, machine(vm(group, fmt.Sprint(j)), port(22, ajar.TCP)))
			}
			if err := tx.Put(&large); err != nil {
				return err
			}
		}
		return nil
	}))
	all, next, err := p.b.PoliciesAsked(ctx, p.owner, group, 10, broker.Page{Limit: 1000})
	p.must(err)
	if len(all) != 50 || next == "" {
		t.Errorf("a page of %d large policies, and then %q", len(all), next)
	}
	if n := len(p.asked(p.owner, 10)); n != 120 {
		t.Errorf("%d in all", n)
	}
}
