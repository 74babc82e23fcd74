package agent

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ajar-access/ajar"
)

func wantOpen(t testing.TB, m *machine, ids ...ajar.LeaseID) {
	t.Helper()
	got := m.mem.open()
	slices.Sort(ids)
	if !slices.Equal(got, ids) {
		t.Errorf("open at %s: %v, want %v", m.ep, got, ids)
	}
}

func TestWholeThenChanges(t *testing.T) {
	p := newPlane(t)
	m := newMachine(t, p, "web")
	m.start()
	m.await(true)
	now := p.now()
	err := p.hub.Change(t.Context(), m.at(), ajar.Delta{Base: 1, Rev: 2})
	if !errors.Is(err, ajar.Conflict) {
		t.Fatalf("a first change without a whole: %v, want Conflict", err)
	}
	m.whole(7, guarding(ssh), rule("a", now.Add(time.Hour)))
	wantOpen(t, m, "a")
	m.change(ajar.Delta{Base: 7, Rev: 8, Put: []ajar.Rule{rule("b", now.Add(time.Hour)), rule("a", now.Add(2*time.Hour))}})
	wantOpen(t, m, "a", "b")
	m.change(ajar.Delta{Base: 8, Rev: 9, Drop: []ajar.LeaseID{"b"}})
	wantOpen(t, m, "a")
	if err := p.hub.Change(t.Context(), m.at(), ajar.Delta{Base: 8, Rev: 10}); !errors.Is(err, ajar.Conflict) {
		t.Errorf("a change from the wrong base: %v, want Conflict", err)
	}
	got, err := p.hub.Observe(t.Context(), m.at())
	want := ajar.Ruleset{Guard: guarding(ssh), Allow: []ajar.Rule{rule("a", now.Add(2*time.Hour))}}
	if d := cmp.Diff(want, got, cmpopts.EquateComparable(want.Allow[0].Sources[0], ssh)); err != nil || d != "" {
		t.Errorf("observed: %v %s", err, d)
	}
	im, err := p.hub.Preview(t.Context(), m.at(), guarding(rdp))
	if err != nil || len(im.Listening) != 1 || im.Listening[0].Port != rdp.Port {
		t.Errorf("preview: %v %v", im, err)
	}
	if m.mem.changes != 2 {
		t.Errorf("%d changes reached the firewall, want 2", m.mem.changes)
	}
}

func TestUnknownHostIsUnavailableAtOnce(t *testing.T) {
	p := newPlane(t)
	err := p.hub.Apply(t.Context(), ajar.Endpoint{ID: "nobody"}, ajar.Ruleset{})
	if !errors.Is(err, ajar.Unavailable) || !strings.Contains(err.Error(), "host nobody is not connected since 2") {
		t.Errorf("got %v", err)
	}
}

func TestReconnectKeepsRevisionButANewPlaneDoesNot(t *testing.T) {
	p := newPlane(t)
	m := newMachine(t, p, "web")
	m.start()
	m.await(true)
	now := p.now()
	m.whole(7, guarding(ssh))
	m.change(ajar.Delta{Base: 7, Rev: 8, Put: []ajar.Rule{rule("a", now.Add(time.Hour))}})
	p.hub.Cut("web")
	m.await(false)
	m.await(true)
	m.change(ajar.Delta{Base: 8, Rev: 9, Put: []ajar.Rule{rule("b", now.Add(time.Hour))}})
	m.halt()
	m.await(false)
	wantOpen(t, m, "a", "b") // the dead agent's openings stay
	m.start()
	m.await(true)
	wantOpen(t, m, "a", "b") // and the new one adopts them
	m.change(ajar.Delta{Base: 9, Rev: 10, Drop: []ajar.LeaseID{"b"}})
	p.restart()
	m.await(true)
	if err := p.hub.Change(t.Context(), m.at(), ajar.Delta{Base: 10, Rev: 11}); !errors.Is(err, ajar.Conflict) {
		t.Errorf("a change by a new plane: %v, want Conflict", err)
	}
	m.whole(1, guarding(ssh), rule("a", now.Add(time.Hour)))
	wantOpen(t, m, "a")
}
