package broker_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/broker"
	"github.com/ajar-access/ajar/rbac"
)

func (p *plane) lay(at string, ids ...ajar.ID) {
	p.t.Helper()
	for _, id := range ids {
		_, err := p.b.PutTarget(ctx, p.owner, ajar.Target{ID: id, Location: at})
		p.must(err)
	}
}

func (p *plane) subscriptions(who ajar.Caller) (out []string) {
	p.t.Helper()
	all, next, err := p.b.Subscriptions(ctx, who, broker.Page{})
	p.must(err)
	if next != "" {
		p.t.Errorf("there is a next page: %q", next)
	}
	for _, s := range all {
		out = append(out, s.ID[:1]+" "+s.Name[:min(4, len(s.Name))])
	}
	return out
}

// groups are "name@location", page by page.
func (p *plane) groups(who ajar.Caller, sub string, size int) (out []string) {
	p.t.Helper()
	for page := (broker.Page{Limit: size}); ; {
		all, next, err := p.b.ResourceGroups(ctx, who, sub, page)
		p.must(err)
		if len(all) > size {
			p.t.Errorf("a page of %d has %d", size, len(all))
		}
		for _, g := range all {
			out = append(out, g.ID.Name()+"@"+g.Location)
		}
		if next == "" {
			return out
		}
		page.Cursor = next
	}
}

func (p *plane) same(what string, got, want any) {
	p.t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		p.t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func TestWhatThereIsComesFromWhatLiesThere(t *testing.T) {
	p := newPlane(t, func(c *broker.Config) {
		c.SubscriptionNames = map[string]string{other.Subscription(): "Production", "33333333-3333-3333-3333-333333333333": ""}
	})
	p.same("only what is configured", p.subscriptions(p.owner), []string{"2 Prod", "3 3333"})
	p.same("no groups", p.groups(p.owner, other.Subscription(), 10), []string(nil))
	p.lay("West Europe", vm(group, "a"), vm(group, "b"), vm(group+"2", "c"))
	p.lay("eastus", vm(group, "d"))
	p.same("subscriptions", p.subscriptions(p.owner), []string{"1 1111", "2 Prod", "3 3333"})
	p.same("groups", p.groups(p.owner, group.Subscription(), 10), []string{"ops@West Europe", "ops2@West Europe"})

	p.lay("eastus", vm(group, "a"), vm(group, "b"))
	p.lay("westeurope", vm("/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/OPS2", "c"))
	p.same("machines that move take the group along, and its name is as last given", p.groups(p.owner, group.Subscription(), 1), []string{"ops@eastus", "OPS2@West Europe"})
	got, err := p.b.Locations(ctx, p.owner, "/subscriptions/"+ajar.ID(group.Subscription()))
	p.must(err)
	p.same("locations", got, []string{"eastus", "West Europe"})

	_, err = p.b.DeleteTarget(ctx, p.owner, vm(group+"2", "c"), false)
	p.must(err)
	p.same("the last machine takes its group along", p.groups(p.owner, group.Subscription(), 10), []string{"ops@eastus"})
	_, err = p.b.ResourceGroup(ctx, p.owner, group+"2")
	p.refused(ajar.NotFound, err, "Resource group 'ops2' could not be found")

	p.user("somebody", rbac.Reader, group+"3")
	p.same("an assignment names a group", p.groups(p.owner, group.Subscription(), 10), []string{"ops@eastus", "ops3@"})
	_, err = p.b.Subscription(ctx, p.owner, "44444444-4444-4444-4444-444444444444")
	p.refused(ajar.NotFound, err, "could not be found")
	_, _, err = p.b.ResourceGroups(ctx, p.owner, "44444444-4444-4444-4444-444444444444", broker.Page{})
	p.refused(ajar.NotFound, err, "could not be found")
}

func TestAPolicyAloneMakesItsGroup(t *testing.T) {
	p := newPlane(t)
	_, err := p.b.PutPolicy(ctx, p.owner, ajar.Policy{ID: pol}, broker.PutOptions{})
	p.must(err)
	p.same("groups", p.groups(p.owner, group.Subscription(), 10), []string{"ops@west"})
	p.lay("", vm(group, "a"))
	p.same("a machine that is nowhere leaves it there", p.groups(p.owner, group.Subscription(), 10), []string{"ops@west"})
	_, err = p.b.DeletePolicy(ctx, p.owner, pol, 0)
	p.must(err)
	p.same("groups", p.groups(p.owner, group.Subscription(), 10), []string{"ops@"})
}

func TestEverybodySeesTheirOwn(t *testing.T) {
	p := newPlane(t)
	p.lay("west", vm(group, "a"), vm(group+"2", "b"), vm(other, "c"))
	requester := p.user("requester", rbac.JITRequester, vm(group, "a"))
	reader := p.user("reader", rbac.Reader, ajar.ID("/subscriptions/"+other.Subscription()))
	stranger := p.user("stranger")
	_, err := p.b.PutManagementGroup(ctx, p.owner, ajar.ManagementGroup{ID: "/providers/Microsoft.Management/managementGroups/corp", Subscriptions: []string{group.Subscription()}})
	p.must(err)
	manager := p.user("manager", rbac.Reader, ajar.ID("/providers/Microsoft.Management/managementGroups/corp"))
	for _, c := range []struct {
		who  ajar.Caller
		subs []string
		ops  []string // the groups of the first subscription; nil = refused
	}{
		{p.owner, []string{"1 1111", "2 2222"}, []string{"ops@west", "ops2@west"}},
		{requester, []string{"1 1111"}, []string{"ops@west"}},
		{reader, []string{"2 2222"}, nil},
		{stranger, nil, nil},
		{manager, []string{"1 1111"}, []string{"ops@west", "ops2@west"}},
	} {
		p.same(c.who.Name+"'s subscriptions", p.subscriptions(c.who), c.subs)
		if c.ops != nil {
			p.same(c.who.Name+"'s groups", p.groups(c.who, group.Subscription(), 1), c.ops)
			continue
		}
		_, _, err := p.b.ResourceGroups(ctx, c.who, group.Subscription(), broker.Page{})
		p.refused(ajar.Forbidden, err, "Microsoft.Resources/subscriptions/resourceGroups/read")
		_, err = p.b.ResourceGroup(ctx, c.who, group)
		p.refused(ajar.Forbidden, err, "Microsoft.Resources/subscriptions/resourceGroups/read")
		_, err = p.b.Subscription(ctx, c.who, group.Subscription())
		p.refused(ajar.Forbidden, err, "Microsoft.Resources/subscriptions/read")
		_, err = p.b.Locations(ctx, c.who, group)
		p.refused(ajar.Forbidden, err, "Microsoft.Resources/subscriptions/locations/read")
	}
	_, err = p.b.ResourceGroup(ctx, requester, group+"2")
	p.refused(ajar.Forbidden, err, "ops2")
	all, err := p.b.Locations(ctx, stranger, ajar.Root)
	p.must(err)
	p.same("a stranger's locations", all, []string(nil))
}

// TestAReplicaLearnsWhatAnotherDeleted: within a second, and what it wrote at once.
func TestAReplicaLearnsWhatAnotherDeleted(t *testing.T) {
	replicas(t, func(p *plane, bs []*broker.Broker) {
		second := bs[1]
		see := func() (out []string) {
			all, _, err := second.ResourceGroups(ctx, p.owner, group.Subscription(), broker.Page{})
			if ajar.KindOf(err) == ajar.NotFound {
				return nil
			}
			p.must(err)
			for _, g := range all {
				out = append(out, g.ID.Name())
			}
			return out
		}
		p.lay("west", vm(group, "a"))
		p.same("at first", see(), []string{"ops"})
		p.lay("west", vm(group+"2", "b"))
		p.same("what another wrote", see(), []string{"ops", "ops2"})
		_, err := p.b.DeleteTarget(ctx, p.owner, vm(group, "a"), false)
		p.must(err)
		p.wait(time.Second)
		p.same("what another deleted", see(), []string{"ops2"})
	})
}

// BenchmarkGroups is one page of the groups of a plane with 100,000 machines in 1,000 groups.
func BenchmarkGroups(b *testing.B) {
	p := newPlane(b)
	for n := range 100 {
		p.must(p.store.Update(ctx, func(tx ajar.Tx) error {
			for i := range 1000 {
				g := group + ajar.ID(fmt.Sprint(i))
				if err := tx.Put(&ajar.Target{ID: vm(g, fmt.Sprint("vm", n)), Location: "west"}); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	began := time.Now()
	_, _, err := p.b.ResourceGroups(ctx, p.owner, group.Subscription(), broker.Page{})
	p.must(err)
	first := time.Since(began)
	b.ResetTimer()
	for b.Loop() {
		out, _, err := p.b.ResourceGroups(ctx, p.owner, group.Subscription(), broker.Page{Limit: 100})
		if err != nil || len(out) != 100 || !slices.IsSortedFunc(out, func(x, y broker.ResourceGroup) int { return strings.Compare(string(x.ID), string(y.ID)) }) {
			b.Fatal(len(out), err)
		}
	}
	b.ReportMetric(float64(first.Milliseconds()), "first-ms")
}
