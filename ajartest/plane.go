package ajartest

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/broker"
	"github.com/ajar-access/ajar/enforce"
	"github.com/ajar-access/ajar/provider/fake"
	"github.com/ajar-access/ajar/store"
)

// Options change what New makes. The zero value is right for most tests.
type Options struct {
	DSN          string              // the database; "" = SQLite in the test's own directory
	Bounds       ajar.Bounds         // zero = a second to 24 hours, otherwise the defaults
	GuardConfirm time.Duration       // see broker.Config
	Enforcer     ajar.Enforcer       // in place of the fake firewall; Machine's endpoints are of it
	Log          *slog.Logger        // nil = silent
	Idle         bool                // the loop is not started; call Start, or Loop.Once
	Tune         func(*enforce.Loop) // changes each loop before it starts
}

// Plane is a control plane with everything that it needs.
type Plane struct {
	T        testing.TB
	Store    *store.Store
	Broker   *broker.Broker
	Loop     *enforce.Loop
	Firewall *fake.Firewall // unless Options.Enforcer was set
	Enforcer ajar.Enforcer

	o    Options
	step atomic.Int64 // of the clock
	dead *atomic.Bool // the loop as it is now
	stop context.CancelFunc
	done chan error
}

// Provider is the kind of firewall that the plane's machines have.
const Provider = "fake"

// New makes a plane that ends with the test.
func New(t testing.TB, o Options) *Plane {
	t.Helper()
	if o.DSN == "" {
		o.DSN = "sqlite:" + filepath.Join(t.TempDir(), "ajar.db")
	}
	if o.Bounds == (ajar.Bounds{}) {
		o.Bounds = ajar.DefaultBounds
		o.Bounds.Shortest = time.Second
	}
	p := &Plane{T: t, o: o, Enforcer: o.Enforcer}
	s, err := store.Open(t.Context(), o.DSN, store.Options{Clock: p.Now, Log: o.Log})
	if err != nil {
		t.Fatal(err)
	}
	p.Store = s
	t.Cleanup(func() {
		p.Stop()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if p.Enforcer == nil {
		p.Firewall = fake.New(p.Now)
		p.Enforcer = p.Firewall
	}
	p.roles()
	p.build()
	if !o.Idle {
		p.Start()
	}
	return p
}

// Now is the plane's clock: the system's, or the bubble's, and what was stepped.
func (p *Plane) Now() time.Time { return time.Now().Add(time.Duration(p.step.Load())) }

// Step sets the plane's clock forward, or back.
func (p *Plane) Step(d time.Duration) { p.step.Add(int64(d)) }

// build makes a broker and a loop over the store, as a process does at start.
func (p *Plane) build() {
	p.Loop = &enforce.Loop{Store: p.Store, Enforcers: map[string]ajar.Enforcer{Provider: p.Enforcer}, Clock: p.Now, Log: p.o.Log, Owner: "plane"}
	if p.o.Tune != nil {
		p.o.Tune(p.Loop)
	}
	dead, inner := new(atomic.Bool), p.Loop.Failpoint
	p.dead = dead
	p.Loop.Failpoint = func(s enforce.Step, ep ajar.EndpointID) error {
		switch {
		case dead.Load():
			return errCrashed
		case inner != nil:
			return inner(s, ep)
		}
		return nil
	}
	p.Broker = broker.New(broker.Config{
		Store: p.Store, Clock: p.Now, NewID: uuid.NewString, Bounds: p.o.Bounds, GuardConfirm: p.o.GuardConfirm, Log: p.o.Log,
		Wake: p.Loop.Wake, Take: p.Loop.Take, Preview: p.preview,
	})
}

func (p *Plane) preview(ctx context.Context, ep ajar.Endpoint, gs []ajar.Guard) (ajar.Impact, error) {
	if pv, ok := p.Enforcer.(ajar.Previewer); ok {
		return pv.Preview(ctx, ep, gs)
	}
	return ajar.Impact{}, nil
}

// Start recovers and starts the loop.
func (p *Plane) Start() {
	p.T.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	loop, done := p.Loop, make(chan error, 1)
	if err := loop.Recover(ctx); err != nil {
		p.T.Fatal(err)
	}
	p.stop, p.done = cancel, done
	go func() { done <- loop.Run(ctx) }()
}

// Stop ends the loop and waits for it.
func (p *Plane) Stop() {
	p.T.Helper()
	if p.stop == nil {
		return
	}
	p.stop()
	if err := <-p.done; !errors.Is(err, context.Canceled) {
		p.T.Errorf("the loop ended: %v", err)
	}
	p.stop = nil
}

// Die makes the loop stop where it is, as SIGKILL would. It may be called from a failpoint; Crash then waits for the end.
func (p *Plane) Die() {
	p.dead.Store(true)
	p.stop()
}

// Crash ends broker and loop as SIGKILL would: nothing is given back, nothing tidied. Restart goes on.
func (p *Plane) Crash() {
	p.T.Helper()
	p.dead.Store(true)
	p.Stop()
}

var errCrashed = errors.New("crashed")

// Restart makes a new broker and loop over the same store, and starts it.
func (p *Plane) Restart() {
	p.T.Helper()
	p.build()
	p.Start()
}

// Until polls ok, for ten seconds at most.
func (p *Plane) Until(ok func() bool) {
	p.T.Helper()
	tick, limit := time.NewTicker(time.Millisecond), time.NewTimer(2*time.Minute)
	defer tick.Stop()
	defer limit.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-limit.C:
			p.T.Fatal("this did not come about within two minutes")
		}
	}
}
