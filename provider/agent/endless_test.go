package agent

import (
	"errors"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
)

// An opening without an end would be one that the kernel keeps for ever, so nobody on the way takes it. Here it is the Hub's
// turn: the host hears nothing of it.
func TestHubRelaysNoOpeningWithoutAnEnd(t *testing.T) {
	p, m := running(t)
	end := p.now().Add(time.Hour)
	m.change(ajar.Delta{Base: 1, Rev: 2, Put: []ajar.Rule{rule("a", end)}})
	calls := func() int { m.mem.mu.Lock(); defer m.mem.mu.Unlock(); return m.mem.applies + m.mem.changes }
	before := calls()
	bad, soft := rule("b", time.Time{}), rule("b", end)
	soft.HardStop = time.Time{}
	for _, r := range []ajar.Rule{bad, soft} {
		if err := p.hub.Change(t.Context(), m.at(), ajar.Delta{Base: 2, Rev: 3, Put: []ajar.Rule{r}}); !errors.Is(err, ajar.Invalid) {
			t.Errorf("a change with an opening without an end: %v, want Invalid", err)
		}
		if err := p.hub.ApplyAt(t.Context(), m.at(), ajar.Ruleset{Guard: guarding(ssh), Allow: []ajar.Rule{rule("a", end), r}}, 3); !errors.Is(err, ajar.Invalid) {
			t.Errorf("a whole with an opening without an end: %v, want Invalid", err)
		}
	}
	if n := calls(); n != before {
		t.Errorf("the host changed its firewall %d times", n-before)
	}
	m.change(ajar.Delta{Base: 2, Rev: 3, Put: []ajar.Rule{rule("c", end)}}) // what it was at still holds
	wantOpen(t, m, "a", "c")
}

// TestHostOpensNothingWithoutAnEnd: a host does not rely on its plane. It carries out what closes, leaves out what has no
// end, and says so.
func TestHostOpensNothingWithoutAnEnd(t *testing.T) {
	p, m := running(t)
	end := p.now().Add(time.Hour)
	left := end.Sub(p.now()).Milliseconds()
	good := func(id ajar.LeaseID) timedRule { return timedRule{Rule: rule(id, end), Left: left, LeftStop: left} }
	bad := func(id ajar.LeaseID) timedRule {
		return timedRule{Rule: rule(id, time.Time{}), Left: left, LeftStop: left}
	}
	soft := good("soft")
	soft.HardStop = time.Time{}
	hard := good("hard")
	hard.Expires = time.Time{}
	gs := guarding(ssh)
	obey := func(kind string, o order) error {
		t.Helper()
		return m.Host.obey(t.Context(), "hub", &message{Type: kind, Time: p.now(), Order: &o})
	}
	if err := obey(typeWhole, order{Rev: 5, Guard: &gs, Put: []timedRule{good("a"), good("b"), good("c")}}); err != nil {
		t.Fatal(err)
	}
	wantOpen(t, m, "a", "b", "c")
	err := obey(typeDelta, order{Base: 5, Rev: 6, Put: []timedRule{bad("a"), bad("new"), soft, hard}, Drop: []ajar.LeaseID{"b"}})
	if !errors.Is(err, ajar.Invalid) {
		t.Errorf("a change with openings without an end: %v, want Invalid", err)
	}
	wantOpen(t, m, "c")
	if err := obey(typeDelta, order{Base: 6, Rev: 7}); !errors.Is(err, ajar.Conflict) {
		t.Errorf("a change after one that was not carried out: %v, want Conflict", err)
	}
	if err := obey(typeWhole, order{Rev: 8, Guard: &gs, Put: []timedRule{bad("c"), good("d")}}); !errors.Is(err, ajar.Invalid) {
		t.Errorf("a whole with an opening without an end: %v, want Invalid", err)
	}
	wantOpen(t, m, "d")
	// Nor does what remains of it make an end, or a message that does not say when it was sent.
	if err := obey(typeWhole, order{Rev: 9, Guard: &gs, Put: []timedRule{{Rule: rule("e", end)}}}); err != nil {
		t.Fatal(err)
	}
	wantOpen(t, m)
	if err := m.Host.obey(t.Context(), "hub", &message{Type: typeWhole, Order: &order{Rev: 10, Guard: &gs, Put: []timedRule{good("f")}}}); err != nil {
		t.Fatal(err)
	}
	wantOpen(t, m)
	b := m.mem.openAt(m.bootNow())
	if len(b) != 0 {
		t.Errorf("%v is open", b)
	}
}
