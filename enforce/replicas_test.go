package enforce_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/enforce"
	"github.com/ajar-access/ajar/provider/fake"
)

// TestReplicasAtRandom has verbs on three replicas grant, supersede across endpoints, extend and revoke at once, while
// firewalls dawdle and are out of reach, hosts report, and replicas die and come back. At rest every firewall has what
// the store says and the other way round; in the end each lease was closed once, and none was opened that no firewall
// took. AJAR_SOAK=10m in the environment has it go on for that long.
func TestReplicasAtRandom(t *testing.T) {
	end := time.Now()
	if s := os.Getenv("AJAR_SOAK"); s != "" {
		d, err := time.ParseDuration(s)
		if err != nil {
			t.Fatal(err)
		}
		end = end.Add(d)
	}
	for i := 0; (i < 5 || time.Now().Before(end)) && !t.Failed(); i++ {
		seed := rand.Uint64()
		synctest.Test(t, func(t *testing.T) {
			c := newCrowd(t, seed)
			for range 4 {
				c.mix()
				c.rest()
			}
			c.finish()
			if t.Failed() {
				t.Log("seed", seed)
			}
		})
	}
}

// crowd is three replicas over one store.
type crowd struct {
	*rig
	*rand.Rand
	eps   []ajar.EndpointID
	loops []*enforce.Loop
	stops []func()

	mu   sync.Mutex
	ids  []ajar.LeaseID
	told map[ajar.LeaseID]bool // by a firewall that took it
}

func newCrowd(t *testing.T, seed uint64) *crowd {
	c := &crowd{rig: newRig(t), Rand: rand.New(rand.NewPCG(seed, 0)), told: map[ajar.LeaseID]bool{}, loops: make([]*enforce.Loop, 3), stops: make([]func(), 3),
		eps: []ajar.EndpointID{"vm0", "vm1", "vm2"}}
	for i := range c.loops {
		c.start(i)
	}
	t.Cleanup(func() {
		for _, stop := range c.stops {
			stop()
		}
	})
	for i, ep := range c.eps {
		c.loop = c.loops[i]
		c.endpoint(ep)
	}
	return c
}

func (c *crowd) start(i int) {
	l := c.newLoop(fmt.Sprint("replica", i))
	// A fake firewall reports to one listener, so to none here.
	l.Enforcers["fake"] = struct{ ajar.Changer }{&overlap{Firewall: c.fw, under: map[ajar.EndpointID]int{}, during: c.dawdle}}
	ctx, cancel := context.WithCancel(context.Background())
	if err := l.Recover(ctx); err != nil {
		c.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	c.loops[i], c.stops[i] = l, func() { cancel(); <-done }
}

// dawdle is called when a firewall has answered, and before the loop knows.
func (c *crowd) dawdle() {
	c.mu.Lock()
	for _, ep := range c.eps {
		for _, r := range c.fw.Host(ep).Rules().Allow {
			c.told[r.Lease] = true
		}
	}
	d := time.Duration(c.IntN(8)) * time.Millisecond
	if c.IntN(20) == 0 {
		d = 4 * time.Second
	}
	c.mu.Unlock()
	<-time.After(d)
}

// mix is a while in which everything happens at once.
func (c *crowd) mix() {
	for range 25 {
		var verbs sync.WaitGroup
		for range 1 + c.draw(3) {
			verbs.Go(c.verb)
		}
		verbs.Wait()
		switch ep := c.eps[c.draw(len(c.eps))]; c.draw(12) {
		case 0:
			c.fw.Host(ep).Set(func(h *fake.Host) { h.Fault.Unreachable = !h.Fault.Unreachable })
		case 1:
			i := c.draw(3)
			c.stops[i]()
			c.start(i)
		case 2:
			<-time.After(time.Duration(c.draw(90)) * time.Second)
		default:
			<-time.After(time.Duration(c.draw(12)) * time.Millisecond)
		}
	}
}

func (c *crowd) draw(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.IntN(n)
}

// verb is what somebody does, on some replica.
func (c *crowd) verb() {
	loop := c.loops[c.draw(3)]
	what := c.draw(8)
	var begun func()
	err := c.store.Update(context.Background(), func(tx ajar.Tx) (err error) {
		w := &writing{Tx: tx}
		var eps []ajar.EndpointID
		switch {
		case what < 4:
			err = c.grant(w, &eps)
		case what < 7:
			err = c.alter(w, what, &eps)
		default:
			return c.tell(tx) // a host's report, which marks nothing
		}
		if err != nil {
			return err
		}
		slices.Sort(eps)
		eps = slices.Compact(eps)
		for _, ep := range eps {
			if err := tx.MarkDue(ep, c.now().Truncate(time.Millisecond)); err != nil {
				return err
			}
		}
		begun, err = loop.Take(tx, eps, w.leases)
		return err
	})
	if err != nil && !errors.Is(err, errNothing) {
		c.t.Error(err)
	}
	if begun != nil {
		begun()
	}
}

var errNothing = errors.New("there is nothing to do")

// grant makes leases, some in the place of others.
func (c *crowd) grant(tx ajar.Tx, eps *[]ajar.EndpointID) error {
	if c.draw(2) == 0 {
		if err := c.alter(tx, 4, eps); err != nil && !errors.Is(err, errNothing) {
			return err
		}
	}
	for range 1 + c.draw(2) {
		ep := c.eps[c.draw(len(c.eps))]
		c.mu.Lock()
		l := c.newLease(ep, time.Duration(1+c.IntN(300))*time.Second)
		l.Sources = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(c.n >> 8), byte(c.n)}), 32)}
		c.ids = append(c.ids, l.ID)
		c.mu.Unlock()
		if err := tx.Put(&l); err != nil {
			return err
		}
		*eps = append(*eps, ep)
	}
	return nil
}

func (c *crowd) some(tx ajar.Tx) (*ajar.Lease, error) {
	c.mu.Lock()
	var id ajar.LeaseID
	if n := len(c.ids); n > 0 {
		id = c.ids[max(0, n-1-c.IntN(8))]
	}
	c.mu.Unlock()
	l, err := ajar.Get[ajar.Lease](tx, string(id))
	if errors.Is(err, ajar.NotFound) {
		return nil, errNothing
	}
	return l, err
}

// alter ends a lease or has it go on.
func (c *crowd) alter(tx ajar.Tx, what int, eps *[]ajar.EndpointID) error {
	l, err := c.some(tx)
	if err != nil {
		return err
	}
	if !l.Live(c.now()) {
		return errNothing
	}
	switch what {
	case 4:
		err = l.Move(ajar.Closing, ajar.Superseded)
	case 5:
		err = l.Move(ajar.Closing, ajar.Revoked)
	default:
		l.End = l.End.Add(time.Minute)
	}
	*eps = append(*eps, l.Endpoint)
	return errors.Join(err, tx.Put(l))
}

func (c *crowd) tell(tx ajar.Tx) error {
	l, err := c.some(tx)
	if err != nil {
		return err
	}
	l.Outlived = &ajar.Outlived{Sessions: 1, At: c.now().UTC().Truncate(time.Millisecond)}
	return tx.Put(l)
}

// rest has all that is under way end, and compares.
func (c *crowd) rest() {
	for _, ep := range c.eps {
		c.fw.Host(ep).Set(func(h *fake.Host) { h.Fault.Unreachable = false })
	}
	after(7 * time.Minute)
	for _, ep := range c.eps {
		for _, r := range c.fw.Host(ep).Rules().Allow {
			if l := c.get(r.Lease); l.State != ajar.Open || !l.Live(c.now()) || !r.Expires.Equal(l.End) {
				c.t.Errorf("%s lets %s in until %s, which is %s until %s", ep, r.Lease, r.Expires, l.State, l.End)
			}
		}
	}
	for _, id := range c.ids {
		l := c.get(id)
		rule := slices.ContainsFunc(c.fw.Host(l.Endpoint).Rules().Allow, func(r ajar.Rule) bool { return r.Lease == id })
		if live := l.Live(c.now()); live != rule || live != (l.State == ajar.Open) || live == (l.State == ajar.Closed) || l.Trouble != "" {
			c.t.Errorf("%s is %s until %s (%s), and has a rule: %v", id, l.State, l.End, l.Trouble, rule)
		}
	}
}

func (c *crowd) finish() {
	after(time.Hour)
	closed := map[ajar.LeaseID]int{}
	err := c.store.View(context.Background(), func(tx ajar.Tx) error {
		for f := (ajar.EventFilter{Ascending: true, Limit: 1000}); ; {
			es, err := tx.Events(f)
			if err != nil || len(es) == 0 {
				return err
			}
			for _, e := range es {
				switch f.After = e.Pos; e.Action {
				case ajar.LeaseOpened:
					if !c.told[e.Lease] {
						c.t.Errorf("%s was opened, and no firewall had it", e.Lease)
					}
				case ajar.LeaseClosed:
					closed[e.Lease]++
				}
			}
		}
	})
	if err != nil {
		c.t.Fatal(err)
	}
	for _, id := range c.ids {
		if n := closed[id]; n != 1 {
			c.t.Errorf("%s was closed %d times, and is %s", id, n, c.get(id).State)
		}
	}
	for _, ep := range c.eps {
		if rs := c.fw.Host(ep).Rules().Allow; len(rs) > 0 {
			c.t.Errorf("%s still has %v", ep, rs)
		}
	}
}
