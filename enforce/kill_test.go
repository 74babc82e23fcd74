package enforce_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/enforce"
	"github.com/ajar-access/ajar/provider/fake"
)

// The kill matrix: the loop dies at every boundary between two steps of an opening, an extension, a revoke and an
// expiry, and another one starts over the same store. Nothing is open past its deadline, no event is lost or said twice,
// and the guard is there.
func TestKilledAtEveryStep(t *testing.T) {
	acts := []struct {
		name string
		do   func(r *rig, ids []ajar.LeaseID)
	}{
		{"open", nil},
		{"extend", func(r *rig, ids []ajar.LeaseID) { r.extend(time.Minute, ids...) }},
		{"revoke", func(r *rig, ids []ajar.LeaseID) { r.revoke(ids...) }},
		{"expire", func(*rig, []ajar.LeaseID) { after(61 * time.Second) }},
	}
	for _, act := range acts {
		for _, step := range enforce.Steps {
			for _, dead := range []time.Duration{0, 3 * time.Minute} {
				t.Run(fmt.Sprintf("%s/%s/%s", act.name, step, dead), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						k := &kill{rig: newRig(t), step: step}
						k.play(act.do)
						after(dead)
						k.restart()
						k.check()
					})
				})
			}
		}
	}
}

// kill is one cell of the matrix.
type kill struct {
	*rig
	step  enforce.Step
	armed atomic.Bool
	died  atomic.Bool
	ep    ajar.EndpointID
	ids   []ajar.LeaseID
}

var errKilled = errors.New("killed")

// point is the failpoint: the first time the step is reached, the loop dies, and gives back nothing afterwards.
func (k *kill) point(s enforce.Step, _ ajar.EndpointID) error {
	switch {
	case s == enforce.StepStop:
		return errKilled
	case !k.armed.Load() || s != k.step || k.died.Swap(true):
		return nil
	}
	k.stop()
	return errKilled
}

// play grants two leases and has act happen to them, until the loop is dead.
func (k *kill) play(act func(*rig, []ajar.LeaseID)) {
	k.loop.Chunk, k.loop.Failpoint = 1, k.point
	k.run()
	k.ep = k.endpoint("vm1")
	after(0)
	if act == nil {
		k.arm()
	}
	k.ids = k.leases(k.ep, time.Minute, 2)
	after(0)
	if act != nil {
		k.arm()
		act(k.rig, k.ids)
		after(0)
	}
	switch {
	case k.died.Load():
	case k.step == enforce.StepRecover || k.step == enforce.StepStop:
		k.stop()
	default:
		k.t.Fatalf("this never comes to step %s", k.step)
	}
	<-k.done
	k.stop = nil
}

func (k *kill) arm() {
	k.armed.Store(true)
	switch k.step {
	case enforce.StepFailed:
		k.fw.Host(k.ep).Set(func(h *fake.Host) { h.Fault.Half = true })
	case enforce.StepReported:
		k.fw.Host(k.ep).Say(ajar.Report{Action: ajar.BreakGlass})
	}
}

// restart looks at the world after the death, and starts another loop.
func (k *kill) restart() {
	over := func(id ajar.LeaseID) bool { l := k.get(id); return !k.now().Before(l.End) }
	if over(k.ids[0]) && k.open(k.ep) {
		k.t.Fatal("open past its deadline with the plane dead")
	}
	k.fw.Host(k.ep).Set(func(h *fake.Host) { h.Fault = fake.Fault{} })
	if k.step == enforce.StepRecover {
		first := k.newLoop("one")
		first.Failpoint = func(enforce.Step, ajar.EndpointID) error { return errKilled }
		_ = first.Recover(k.t.Context())
	}
	k.loop = k.newLoop("one")
	k.run()
	for _, id := range k.ids {
		if l := k.get(id); over(id) && (l.State == ajar.Open || l.State == ajar.Opening) {
			k.t.Fatalf("lease %s is overdue and %s after Recover", id, l.State)
		}
	}
	after(time.Second)
}

// check is what must hold a second after the restart, and in the end.
func (k *kill) check() {
	now, all := k.now(), []*ajar.Lease{k.get(k.ids[0]), k.get(k.ids[1])}
	want, got := ajar.Desired(now, k.ep0().Guarded(now), all), k.fw.Host(k.ep).Rules()
	if d := want.Diff(got); len(got.Guard) != 1 || !d.Empty() {
		k.t.Fatalf("a second after the restart the host has %+v, want %+v", got, want)
	}
	for _, l := range all {
		if live := now.Before(l.End) && l.Reason == ""; live && l.State != ajar.Open || !live && l.State != ajar.Closed {
			k.t.Fatalf("lease is %s %s %s, a second after the restart", l.State, l.Reason, l.Trouble)
		}
	}
	after(5 * time.Minute)
	k.wantOpen(k.ep, false)
	for _, id := range k.ids {
		l := k.get(id)
		opened, closed := said(k.events(ajar.LeaseOpened), id), said(k.events(ajar.LeaseClosed), id)
		if l.State != ajar.Closed || closed != 1 || opened > 1 || (opened == 1) == l.Opened.IsZero() {
			k.t.Fatalf("lease %s is %s and was opened at %s; the log says opened %d times, closed %d times", id, l.State, l.Opened, opened, closed)
		}
	}
	if k.step == enforce.StepReported && len(k.events(ajar.BreakGlass)) == 0 {
		k.t.Fatal("a report got lost")
	}
}

func (k *kill) ep0() *ajar.Endpoint { return k.rig.ep(k.ep) }

func said(es []*ajar.Event, id ajar.LeaseID) (n int) {
	for _, e := range es {
		if e.Lease == id {
			n++
		}
	}
	return n
}
