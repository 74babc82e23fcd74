//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Where TestKillMatrix kills while leases open and close, here plane and agent are killed while they come back, are made to
// go, or while something happens that there is less often: policies, joining, leaving, break-glass, roll-back, upgrades.

// yard is a lab in which one deed after the other is done.
type yard struct {
	*Lab
	m         *Machine
	strangers *Watch // at the first port, whose guard never goes; nil where it does
	leases    map[uint16]*yardLease
	since     time.Time // when the deed began
	answered  bool      // the deed was
	seen      bool      // somebody came in by the host's own door
	until     time.Time // which is open no longer than this
}

// The ports of a yard. The spare one is guarded only now and then.
const (
	firstPort  = 7001
	secondPort = 7002
	thirdPort  = 7003
	sparePort  = 7004
)

// deed is something that plane or agent are killed in.
type deed struct {
	name string
	// prepare makes things as they are before.
	prepare func(context.Context, *yard) error
	// begin starts the process that is followed, held before its first step; nil = victim names one that runs.
	begin  func(context.Context, *yard) (*Proc, error)
	victim victim
	// mayHaveNone says that the victim may end without a step that others can tell.
	mayHaveNone bool
	// always is a step that is killed at also where not all are; "" = none.
	always string
	// act does the deed while the victim is followed; nil = the victim's start is all. The victim may die of it.
	act func(context.Context, *yard) error
	// ready says that the deed is through; nil = it is when act has returned, or what begin started has ended.
	ready func(context.Context, *yard) bool
	// again brings back what the blow took down; nil = whatever of plane and agent does not run.
	again func(context.Context, *yard) error
	// right finds what is not as it must be afterwards.
	right func(context.Context, *yard) error
	// tidy makes things as they were.
	tidy func(context.Context, *yard) error
}

func newYard(t *testing.T, side byte, comesAndGoes bool) *yard {
	t.Helper()
	l := full(t, Options{Machines: 1, Ports: []uint16{firstPort, secondPort, thirdPort, sparePort}, side: side})
	guard(t, l, firstPort, secondPort, thirdPort)
	y := &yard{Lab: l, m: l.Machines[0]}
	if !comesAndGoes {
		y.strangers = l.Attacker.Watch(y.at(firstPort), 3*time.Millisecond)
	}
	return y
}

func (y *yard) at(port uint16) netip.AddrPort { return netip.AddrPortFrom(y.m.IPv4, port) }

// held starts a command that waits, with its process made, until somebody lets it go: a tracer is there from its first step.
func held(s *Space, logDir, name string, argv ...string) (*Proc, error) {
	p, err := start(s, logDir, name, nil, append([]string{"/bin/sh", "-c", `kill -STOP $$; exec "$@"`, "sh"}, argv...)...)
	if err != nil {
		return nil, err
	}
	err = Await(context.Background(), bound, func() (bool, error) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID))
		_, rest, _ := strings.Cut(string(b), ") ")
		return strings.HasPrefix(rest, "T"), err
	})
	return p, err
}

// holdPlane and holdAgent start them so.
func holdPlane(_ context.Context, y *yard) (*Proc, error) {
	p := y.Plane
	proc, err := held(p.Space, y.logs, "ajard", filepath.Join(y.o.Bin, "ajard"), "serve", "-c", p.file("ajard.yaml"))
	p.proc = proc
	return proc, err
}

func holdAgent(_ context.Context, y *yard) (*Proc, error) {
	proc, err := held(y.m.Space(), y.logs, "agent-"+y.m.Name, y.m.agentCommand("run")...)
	y.m.mu.Lock()
	y.m.agent = proc
	y.m.mu.Unlock()
	return proc, err
}

// up reports whether the plane serves and the machine's agent is connected to it.
func up(ctx context.Context, y *yard) bool {
	ok, err := y.Plane.ready(ctx)
	if !ok || err != nil {
		return false
	}
	h, err := y.Plane.Host(ctx, y.m)
	return err == nil && h.Connected
}

// bring starts what does not run.
func bring(ctx context.Context, y *yard) error {
	if !y.Plane.Proc().Alive() {
		if err := y.Plane.Start(ctx); err != nil {
			return err
		}
	}
	if y.m.joined && !y.m.Agent().Alive() {
		return y.m.StartAgent(ctx)
	}
	return nil
}

// done is how a deed went.
type done struct {
	steps  []string
	struck bool
	behind time.Duration
}

// do plays a deed in which the victim is killed before a step; "" is when the deed is through. count = nothing is killed.
func (y *yard) do(ctx context.Context, d deed, step string, count bool) (r done, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	y.leases, y.since, y.answered = map[uint16]*yardLease{}, time.Now().Add(-time.Millisecond), false
	if err := d.prepare(ctx, y); err != nil {
		return r, fmt.Errorf("prepare: %w", err)
	}
	proc := y.m.Agent()
	if d.victim == thePlane {
		proc = y.Plane.Proc()
	}
	if d.begin != nil {
		if proc, err = d.begin(ctx, y); err != nil {
			return r, err
		}
	}
	tr, err := follow(proc, step)
	if err != nil {
		return r, err
	}
	if d.begin != nil {
		if err := unix.Kill(proc.PID, unix.SIGCONT); err != nil {
			return r, err
		}
	}
	acted := make(chan error, 1)
	if d.act == nil {
		acted <- nil
	} else {
		go func() { acted <- d.act(ctx, y) }()
	}
	actErr := y.through(ctx, tr, d, proc, acted, &r, count)
	if err := errors.Join(actErr, tr.end()); err != nil {
		return r, err
	}
	if !count {
		proc.Kill() // if the deed was through without coming to the step
	}
	began := time.Now()
	again := d.again
	if again == nil {
		again = bring
	}
	if err := again(ctx, y); err != nil {
		return r, fmt.Errorf("come back: %w", err)
	}
	if err := Await(ctx, 2*bound, func() (bool, error) {
		err := d.right(ctx, y)
		return err == nil, err
	}); err != nil {
		return r, fmt.Errorf("afterwards: %w", err)
	}
	r.behind = time.Since(began)
	if err := d.tidy(ctx, y); err != nil {
		return r, fmt.Errorf("in the end: %w", err)
	}
	return r, nil
}

// through takes steps until the victim is dead, or the deed is through and some more time went by. Where steps are counted
// there is at least one.
func (y *yard) through(ctx context.Context, tr *trace, d deed, proc *Proc, acted <-chan error, r *done, count bool) error {
	returned := false
	var err error
	for deadline := time.Now().Add(3 * bound); ; {
		steps, killed := tr.rest(time.Time{}, 150*time.Millisecond)
		r.steps = append(r.steps, steps...)
		r.struck = r.struck || killed
		select {
		case err = <-acted:
			returned = true
		default:
		}
		if killed || !proc.Alive() {
			if !killed { // it ended by itself: its last steps may have come since
				steps, killed = tr.rest(time.Time{}, bound)
				r.steps = append(r.steps, steps...)
				r.struck = r.struck || killed
			}
			if !returned {
				err = <-acted
			}
			break
		}
		ready := d.ready == nil && d.begin == nil || d.ready != nil && d.ready(ctx, y) // a command is through when it has ended
		if returned && ready && (!count || len(r.steps) > 0) {
			steps, r.struck = tr.rest(time.Now().Add(200*time.Millisecond), 100*time.Millisecond)
			r.steps = append(r.steps, steps...)
			break
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return fmt.Errorf("the deed does not come to an end: %v", err)
		}
	}
	y.answered = err == nil
	if err != nil && !forgiven(err) {
		var f *Failed
		if !errors.As(err, &f) && !strings.Contains(err.Error(), "killed") { // a command whose agent died
			return err
		}
	}
	return nil
}

// few is how many steps of each deed are killed at if not all are.
const few = 1

// sample leaves n of the steps that differ in kind.
func sample(steps []string, n int) []string {
	var firsts []string
	seen := map[string]bool{}
	for _, s := range steps {
		if !seen[site(s)] {
			seen[site(s)] = true
			firsts = append(firsts, s)
		}
	}
	if len(firsts) <= n {
		return firsts
	}
	var out []string
	for i := range n {
		out = append(out, firsts[(2*i+1)*len(firsts)/(2*n)])
	}
	return out
}

// Plane, agent, and the commands that work on a host are killed before every step of coming back, and of what happens less
// often than leases. Afterwards what was answered is so, nothing is open that is not granted, and no guard is missing. All
// of the cells are played if AJAR_SOAK is set; else a few of each kind.
func TestKillWhileRecovering(t *testing.T) {
	_, all := soak(t, 0)
	yards := 1
	if all {
		yards = 4
	}
	t.Run("comes back", func(t *testing.T) { playDeeds(t, all, yards, false, comingBack()) })
	t.Run("comes and goes", func(t *testing.T) { playDeeds(t, all, 1, true, comingAndGoing()) })
}

func playDeeds(t *testing.T, all bool, n int, comesAndGoes bool, deeds []deed) {
	var ys []*yard
	for i := range n {
		ys = append(ys, newYard(t, byte(i), comesAndGoes))
	}
	for _, d := range deeds {
		if !t.Run(d.name, func(t *testing.T) { playDeed(t, all, ys, d) }) {
			break // what comes after would be of another world
		}
	}
	for _, y := range ys {
		if y.strangers != nil {
			if seen := y.strangers.Stop(); seen.EverOpen() {
				t.Errorf("a stranger came in: %v", seen.Changes)
			}
		}
		if !t.Failed() {
			ended(t, y.Lab, &answers{})
		}
	}
}

// playDeed plays a deed once without a kill, to see its steps, and has the yards play its cells.
func playDeed(t *testing.T, all bool, ys []*yard, d deed) {
	r, err := ys[0].do(t.Context(), d, "", true)
	if err != nil {
		t.Fatalf("without a kill: %v", err)
	}
	if len(r.steps) == 0 && !d.mayHaveNone {
		t.Fatal("it has no steps")
	}
	steps := sample(r.steps, few)
	if d.always != "" {
		if !slices.Contains(r.steps, d.always) {
			t.Fatalf("it has no step %q among %q", d.always, r.steps)
		}
		if !slices.Contains(steps, d.always) {
			steps = append(steps, d.always)
		}
	}
	if all || len(r.steps) == 0 {
		steps = slices.Compact(append(r.steps, ""))
	}
	queue := make(chan string, len(steps))
	for _, s := range steps {
		queue <- s
	}
	close(queue)
	var mu sync.Mutex
	played, struck, worst := 0, 0, time.Duration(0)
	var workers sync.WaitGroup
	for _, y := range ys {
		workers.Go(func() {
			for step := range queue {
				r, err := y.do(t.Context(), d, step, false)
				mu.Lock()
				if played++; r.struck {
					struck++
				}
				worst = max(worst, r.behind)
				mu.Unlock()
				if err != nil {
					t.Errorf("killed at %q (%v): %v", step, r.struck, err)
					return
				}
			}
		})
	}
	workers.Wait()
	t.Logf("%d cells, %d killed at a step; everything right after at most %v", played, struck, worst.Round(time.Millisecond))
}
