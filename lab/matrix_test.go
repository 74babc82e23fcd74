//go:build linux

package lab

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// grounds is how many labs work on the matrix side by side: a cell mostly waits for a deadline.
const grounds = 6

// Plane and agent are killed, and the host is rebooted, before every step of opening, extending, revoking and expiring.
// Nothing is open past its deadline, the guard is never missing, and nothing that was answered is lost. All of the cells
// are played if AJAR_SOAK is set; else some of each kind.
func TestKillMatrix(t *testing.T) {
	_, all := soak(t, 0)
	var gs []*ground
	for i := range grounds {
		gs = append(gs, newGround(t, byte(i)))
	}
	known := counted(t, gs)
	every := cells(known, true)
	chosen := every
	if !all {
		chosen = cells(known, false)
	}
	t.Logf("%d of %d cells", len(chosen), len(every))
	if len(chosen) < 100 {
		t.Errorf("%d cells are too few to be all", len(chosen))
	}
	report(t, onAll(t, gs, chosen, false))
	for _, g := range gs {
		tries := g.watch.Stop().Tries
		for _, w := range g.strangers {
			seen := w.Stop()
			tries += seen.Tries
			if seen.EverOpen() {
				t.Errorf("a stranger came in: %v", seen.Changes)
			}
		}
		t.Logf("%d operations answered, %d tries to connect", len(g.answers.given), tries)
		ended(t, g.Lab, &g.answers)
	}
}

// part is an act as one of the two sees it.
type part struct {
	act    act
	victim victim
}

// counted plays each act without a kill and says what steps it has in each of the two.
func counted(t *testing.T, gs []*ground) map[part][]string {
	t.Helper()
	known := map[part][]string{}
	var runs []cell
	for _, a := range []act{open, extend, revoke, expire} {
		for _, v := range []victim{thePlane, theAgent} {
			runs = append(runs, cell{alone, a, v, ""})
		}
	}
	for _, p := range onAll(t, gs, runs, true) {
		if len(p.steps) < fewest {
			t.Errorf("%s of the %s has no more steps than %q", p.act, p.victim, p.steps)
		}
		known[part{p.act, p.victim}] = p.steps
	}
	if t.Failed() {
		t.FailNow()
	}
	return known
}

// site is what a step does, whichever time it does it.
func site(step string) string {
	s, _, _ := strings.Cut(step, "#")
	return s
}

// spread leaves the first, a middle and the last of several steps that do the same one after the other: a page of the
// database more or less makes no difference.
func spread(steps []string) []string {
	var out []string
	for i := 0; i < len(steps); {
		n := 1
		for i+n < len(steps) && site(steps[i+n]) == site(steps[i]) {
			n++
		}
		for _, k := range slices.Compact([]int{0, n / 2, n - 1}) {
			out = append(out, steps[i+k])
		}
		i += n
	}
	return out
}

// cells is the matrix: every cell, or some of each kind.
func cells(known map[part][]string, all bool) []cell {
	var out []cell
	for _, b := range []blow{alone, twice, late, reboot, dark} {
		for _, v := range []victim{theAgent, thePlane} {
			if b == reboot && v == thePlane {
				continue // the plane goes on
			}
			out = append(out, cell{b, rest, v, ""})
			for _, a := range []act{open, extend, revoke, expire} {
				steps := append(slices.Clone(known[part{a, v}]), "")
				if !all {
					steps = spread(steps)
				}
				for i, s := range steps {
					if all || b == alone || i%3 == 0 {
						out = append(out, cell{b, a, v, s})
					}
				}
			}
		}
	}
	return out
}

// onAll has all grounds play cells until none are left. count = nothing is killed.
func onAll(t *testing.T, gs []*ground, cs []cell, count bool) []played {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	queue := make(chan cell)
	go func() {
		defer close(queue)
		for _, c := range cs {
			select {
			case queue <- c:
			case <-ctx.Done():
				return
			}
		}
	}()
	var mu sync.Mutex
	var done []played
	var workers sync.WaitGroup
	for _, g := range gs {
		workers.Go(func() {
			for c := range queue {
				p, err := g.play(ctx, c, count)
				if err != nil { // what comes after would be of another world
					t.Errorf("%s: %v", c, err)
					cancel()
					return
				}
				mu.Lock()
				done = append(done, p)
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	return done
}

// report prints a line for each kind of cell, and fails if hardly any of its steps were met. (Some come when they come:
// SQLite's checkpoints, and the agent's fsync, for which nobody waits.)
func report(t *testing.T, done []played) {
	t.Helper()
	type kind struct {
		blow   blow
		act    act
		victim victim
	}
	by := map[kind][]played{}
	for _, p := range done {
		k := kind{p.blow, p.act, p.victim}
		by[k] = append(by[k], p)
	}
	var lines []string
	cells, met, missed := map[part]int{}, map[part]int{}, map[part][]string{}
	for k, ps := range by {
		struck, held := 0, 0
		var down, behind []time.Duration
		sites := map[string]bool{}
		for _, p := range ps {
			if p.struck {
				struck++
				sites[site(p.step)] = true
			} else {
				missed[part{k.act, k.victim}] = append(missed[part{k.act, k.victim}], p.step)
			}
			if p.held {
				held++
			}
			down, behind = append(down, p.down), append(behind, p.behind)
		}
		cells[part{k.act, k.victim}] += len(ps)
		met[part{k.act, k.victim}] += struck
		lines = append(lines, fmt.Sprintf("%-6s %-6s %s: %3d cells, %3d killed at a step, of %d kinds; open afterwards %3d; down %s; then behind %s",
			k.blow, k.act, k.victim, len(ps), struck, len(sites), held, span(down), span(behind)))
	}
	for p, n := range cells {
		if p.act != rest && met[p]*3 < n {
			t.Errorf("%s, %s: of %d cells only %d were killed at their step, the others not at %q", p.act, p.victim, n, met[p], missed[p])
		}
	}
	slices.SortFunc(lines, cmp.Compare)
	t.Logf("%d cells; least, median and most milliseconds\n%s", len(done), strings.Join(lines, "\n"))
}

func span(ds []time.Duration) string {
	slices.Sort(ds)
	return fmt.Sprintf("%4d %4d %4d", ds[0].Milliseconds(), ds[len(ds)/2].Milliseconds(), ds[len(ds)-1].Milliseconds())
}
