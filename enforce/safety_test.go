package enforce_test

import (
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/provider/fake"
)

// Safety rule one. Two replicas, and a firewall that takes as long as it may: never are two calls for one endpoint under
// way, and no call is under way when its claim has ended.
func TestApplyGivesUpBeforeItsClaimEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		slow := &overlap{Firewall: r.fw, under: map[ajar.EndpointID]int{}}
		r.loop.Enforcers["fake"] = slow
		two := r.newLoop("two")
		two.Enforcers["fake"] = slow
		done := make(chan error, 1)
		go func() { done <- two.Run(t.Context()) }()
		r.run()
		ep := r.endpoint("vm1")
		after(0)
		r.fw.Host(ep).Set(func(h *fake.Host) { h.Fault.Hang = true })
		id := r.lease(ep, time.Hour)
		for range 60 {
			two.Wake(ep)
			r.loop.Wake(ep)
			after(time.Second)
		}
		l := r.want(id, ajar.Opening, "")
		if !strings.Contains(l.Trouble, "no answer within 5s") {
			t.Fatalf("trouble is %q", l.Trouble)
		}
		r.fw.Host(ep).Set(func(h *fake.Host) { h.Fault.Hang = false })
		after(time.Minute)
		r.want(id, ajar.Open, "")
		if slow.most != 1 || slow.longest >= r.loop.Hold {
			t.Fatalf("%d calls at once for one endpoint, the longest %s; a claim holds for %s", slow.most, slow.longest, r.loop.Hold)
		}
	})
}

// overlap watches calls.
type overlap struct {
	*fake.Firewall
	mu      sync.Mutex
	under   map[ajar.EndpointID]int
	most    int
	longest time.Duration
	during  func()
}

func (o *overlap) watch(ep ajar.EndpointID, fn func() error) error {
	began := time.Now()
	o.mu.Lock()
	o.under[ep]++
	o.most = max(o.most, o.under[ep])
	o.mu.Unlock()
	err := fn()
	if o.during != nil {
		o.during()
	}
	o.mu.Lock()
	o.under[ep]--
	o.longest = max(o.longest, time.Since(began))
	o.mu.Unlock()
	return err
}

func (o *overlap) ApplyAt(ctx context.Context, ep ajar.Endpoint, want ajar.Ruleset, rev uint64) error {
	return o.watch(ep.ID, func() error { return o.Firewall.ApplyAt(ctx, ep, want, rev) })
}

func (o *overlap) Change(ctx context.Context, ep ajar.Endpoint, d ajar.Delta) error {
	return o.watch(ep.ID, func() error { return o.Firewall.Change(ctx, ep, d) })
}

// Safety rule two. A revoke lands after the firewall was told to open and before the store is told that it did. The
// lease never becomes Open, and the rule goes at once.
func TestRevokeInTheMiddleOfApplyWins(t *testing.T) {
	for _, extend := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			o := &overlap{Firewall: r.fw, under: map[ajar.EndpointID]int{}}
			r.loop.Enforcers["fake"] = o
			ep := r.endpoint("vm1")
			r.run()
			after(0)
			landed := false
			id := ajar.LeaseID("lease-0001")
			o.during = func() {
				if landed {
					return
				}
				landed = true
				if !r.open(ep) {
					t.Error("the firewall was not told yet")
				}
				r.revoke(id)
			}
			n := 1
			if extend {
				n = 2 // beside it one that nobody touches
			}
			if got := r.leases(ep, time.Hour, n)[0]; got != id {
				t.Fatalf("the lease is %s", got)
			}
			after(0)
			if !landed {
				t.Fatal("nothing landed in the middle")
			}
			l := r.want(id, ajar.Closed, ajar.Revoked)
			if !l.Opened.IsZero() {
				t.Fatal("a revoked lease was recorded as opened")
			}
			r.wantOpen(ep, extend)
			opened := 0
			if extend {
				opened = 1
			}
			count(t, r.events(ajar.LeaseOpened), opened)
			count(t, r.events(ajar.LeaseClosed), 1)
		})
	}
}

// Safety rule three, by reading the source: nobody but the loop drives a firewall, and nobody but the broker, the loop
// and a restore takes a lease a step on.
func TestNobodyButTheLoopCallsApply(t *testing.T) {
	drive := map[string]bool{"Apply": true, "ApplyAt": true, "Change": true}
	found := 0
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		rel, err := filepath.Rel("..", path)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return nil // somebody is writing it; the compiler will say so
		}
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			sel, ok := call.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			dir := strings.Split(filepath.ToSlash(rel), "/")[0]
			switch {
			case drive[sel.Sel.Name] && len(call.Args) >= 3 && isCtx(call.Args[0]) && !isVault(sel.X):
				found++
				if dir != "enforce" && dir != "provider" && dir != "lab" && !strings.HasPrefix(rel, "cmd/ajar-agent") {
					t.Errorf("%s calls %s: only the loop drives firewalls", rel, sel.Sel.Name)
				}
			case sel.Sel.Name == "Move" && len(call.Args) == 2:
				if dir != "enforce" && dir != "broker" && dir != "store" {
					t.Errorf("%s moves a lease: only the broker and the loop do", rel)
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found < 4 {
		t.Fatalf("only %d calls found; this test looks in the wrong place", found)
	}
}

// isVault reports whether e is where secrets are kept, which change, too.
func isVault(e ast.Expr) bool {
	sel, ok := e.(*ast.SelectorExpr)
	return ok && sel.Sel.Name == "Vault"
}

func isCtx(e ast.Expr) bool {
	id, ok := e.(*ast.Ident)
	return ok && (id.Name == "ctx" || id.Name == "limit")
}

// Safety rule four. More hosts hang than there are places, and others panic; the next lease on a healthy host opens at
// once.
func TestOneEndpointsTroubleNeverStopsAnothers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.loop.Width = 16
		good := r.endpoint("good")
		r.loop.Enforcers["panics"] = panics{}
		r.run()
		r.update(func(tx ajar.Tx) error {
			return tx.Put(&ajar.Endpoint{ID: "mad", Provider: "panics", Target: machine("mad")})
		}, "mad")
		mad := r.lease("mad", time.Hour)
		var bad []ajar.EndpointID
		for i := range 40 {
			ep := r.endpoint(ajar.EndpointID(fmt.Sprintf("bad%02d", i)))
			r.fw.Host(ep).Set(func(h *fake.Host) { h.Fault.Hang = true })
			bad = append(bad, ep)
		}
		// All of them fail once, which shows that they do.
		after(20 * time.Second)
		for range 3 {
			r.update(func(tx ajar.Tx) error { return nil }, bad...)
			id := r.lease(good, time.Minute)
			after(10 * time.Millisecond)
			r.want(id, ajar.Open, "")
		}
		if l := r.want(mad, ajar.Opening, ""); !strings.HasPrefix(l.Trouble, "internal error") {
			t.Fatalf("trouble is %q", l.Trouble)
		}
	})
}

type panics struct{}

func (panics) Apply(context.Context, ajar.Endpoint, ajar.Ruleset) error { panic("at the disco") }
func (panics) Observe(context.Context, ajar.Endpoint) (ajar.Ruleset, error) {
	panic("at the disco")
}

// Open means read back: whatever way the firewall falls short of what it was told, the lease stays Opening, visibly, and
// is Open once the whole is there.
func TestOpenMeansReadBack(t *testing.T) {
	for name, fault := range map[string]fake.Fault{
		"swallowed": {Swallow: true}, "half": {Half: true}, "answer lost": {Lost: true}, "unreachable": {Unreachable: true}, "hangs": {Hang: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				ep := r.endpoint("vm1")
				r.run()
				after(0)
				r.fw.Host(ep).Set(func(h *fake.Host) { h.Fault = fault })
				one, two := r.lease(ep, time.Hour), r.lease(ep, time.Hour)
				after(20 * time.Second)
				for _, id := range []ajar.LeaseID{one, two} {
					if l := r.want(id, ajar.Opening, ""); l.Trouble == "" || !l.Opened.IsZero() || !l.KernelEnd.IsZero() {
						t.Fatalf("lease is %+v", l)
					}
				}
				count(t, r.events(ajar.LeaseOpened), 0)
				r.fw.Host(ep).Set(func(h *fake.Host) { h.Fault = fake.Fault{} })
				after(time.Minute)
				r.want(one, ajar.Open, "")
				r.want(two, ajar.Open, "")
				count(t, r.events(ajar.LeaseOpened), 2)
			})
		})
	}
}

// Nothing new opens while nobody can record it, and what is open runs to its deadline.
func TestOutageOfTheStoreOpensNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ep := r.endpoint("vm1")
		broken := &outage{Store: r.store}
		r.loop.Store = broken
		r.run()
		id := r.lease(ep, time.Minute)
		after(0)
		broken.set(true)
		loop := r.loop
		r.loop = r.newLoop("another") // that does not run: the verb came to a replica that reaches the database
		late := r.lease(ep, time.Hour, func(l *ajar.Lease) { l.Sources[0] = elsewhere })
		r.loop = loop
		r.loop.Wake(ep)
		after(30 * time.Second)
		r.wantOpen(ep, true)
		if r.fw.Host(ep).Open(elsewhere.Addr(), ssh) {
			t.Fatal("opened without a claim")
		}
		after(31 * time.Second)
		r.wantOpen(ep, false)
		broken.set(false)
		after(6 * time.Second)
		r.want(id, ajar.Closed, ajar.Expired)
		r.want(late, ajar.Open, "")
	})
}

type outage struct {
	ajar.Store
	mu   sync.Mutex
	down bool
}

func (o *outage) set(down bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.down = down
}

func (o *outage) Update(ctx context.Context, fn func(ajar.Tx) error) error {
	o.mu.Lock()
	down := o.down
	o.mu.Unlock()
	if down {
		return ajar.Errorf(ajar.Unavailable, "the database is away")
	}
	return o.Store.Update(ctx, fn)
}

// TestALeaseThatEndedMeanwhileWasNeverOpen: the firewall takes longer to answer than the lease lasts.
func TestALeaseThatEndedMeanwhileWasNeverOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ep := r.endpoint("vm1")
		r.run()
		after(0)
		r.fw.Host(ep).Set(func(h *fake.Host) { h.Fault.Slow = 3 * time.Second })
		id := r.lease(ep, time.Second)
		after(20 * time.Second)
		if l := r.want(id, ajar.Closed, ajar.Expired); !l.Opened.IsZero() {
			t.Errorf("it ended at %s and was opened at %s", l.End, l.Opened)
		}
		count(t, r.events(ajar.LeaseOpened), 0)
		count(t, r.events(ajar.LeaseClosed), 1)
	})
}
