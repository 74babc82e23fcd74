package store

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/store/storetest"
)

const someMachine ajar.ID = "/subscriptions/s/resourceGroups/leases/providers/Microsoft.Compute/virtualMachines/leases"

// What one replica has in mind is gone as soon as the other has written, be it a document, a deletion or a due mark.
func TestReplicasForgetWhatAnotherChanged(t *testing.T) {
	dsn := storetest.StartPostgres(t)
	a, b := mustOpen(t, dsn), mustOpen(t, dsn)
	now := time.Date(2026, 11, 20, 7, 0, 0, 0, time.UTC)
	must := func(s *Store, fn func(tx ajar.Tx) error) {
		t.Helper()
		if err := s.Update(context.Background(), fn); err != nil {
			t.Fatal(err)
		}
	}
	put := func(d ajar.Doc) func(ajar.Tx) error { return func(tx ajar.Tx) error { return tx.Put(d) } }
	slot := &ajar.Lease{ID: "l1", Target: someMachine, Endpoint: "e", Requester: "p", State: ajar.Opening, End: now.Add(time.Hour),
		Sources: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}}
	seen := func(s *Store) (n int) {
		must(s, func(tx ajar.Tx) error {
			ls, _, err := ajar.List[ajar.Lease](tx, ajar.Filter{Scope: slot.Slot()})
			n = len(ls)
			return err
		})
		return n
	}
	must(a, put(&ajar.Endpoint{ID: "e"}))
	must(a, put(&ajar.RoleAssignment{ID: "r"}))
	if seen(a) != 0 || seen(b) != 0 {
		t.Fatal("there is no lease yet")
	}
	must(b, put(slot))
	if seen(a) != 1 {
		t.Error("a lease of another replica is not seen")
	}
	must(a, func(tx ajar.Tx) error { _, err := ajar.Get[ajar.RoleAssignment](tx, "r"); return err })
	must(b, func(tx ajar.Tx) error { return tx.Delete(ajar.KindRoleAssignment, "r") })
	must(a, func(tx ajar.Tx) error {
		if _, err := ajar.Get[ajar.RoleAssignment](tx, "r"); !errors.Is(err, ajar.NotFound) {
			return fmt.Errorf("an assignment that another replica deleted: %v", err)
		}
		return nil
	})
	claim := func(s *Store, owner string) (ok bool) {
		must(s, func(tx ajar.Tx) (err error) { _, ok, err = tx.Claim("e", now, time.Minute, owner); return err })
		return ok
	}
	must(a, func(tx ajar.Tx) error { return tx.MarkDue("e", now) })
	if !claim(b, "b") || claim(a, "a") {
		t.Error("one endpoint was claimed by two")
	}
}

// A change of a document that was read does not show in what the next one reads.
func TestDocumentsReadAreTheReadersOwn(t *testing.T) {
	s := mustOpen(t, dsns(t)["sqlite"])
	stored := &ajar.Policy{ID: "/subscriptions/s/p", Machines: []ajar.MachinePolicy{{Target: "/subscriptions/s/vm", Ports: []ajar.PortPolicy{{Number: 22}}}}}
	if err := s.Update(t.Context(), func(tx ajar.Tx) error { return tx.Put(stored) }); err != nil {
		t.Fatal(err)
	}
	var want *ajar.Policy
	for i := range 5 {
		err := s.Update(t.Context(), func(tx ajar.Tx) error {
			p, err := ajar.Get[ajar.Policy](tx, stored.ID.Key())
			if err != nil {
				return err
			}
			if want == nil {
				want, err = ajar.Get[ajar.Policy](tx, stored.ID.Key())
			}
			if d := cmp.Diff(want, p); d != "" {
				t.Errorf("reading %d differs:\n%s", i, d)
			}
			p.Machines[0].Ports[0].Number, p.Machines[0].Target = 23, "/changed"
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// An Update that is refused after all that it saw was written, and those that commit with it.
func TestRefusalsBehindAQuestion(t *testing.T) {
	for name, dsn := range dsns(t) {
		s := mustOpen(t, dsn)
		no := ajar.Errorf(ajar.Forbidden, "no")
		counts := func(id string, want int64, end error) func(ajar.Tx) error {
			return func(tx ajar.Tx) error {
				if err := putLease(id)(tx); err != nil {
					return err
				}
				n, err := tx.Count(ajar.KindLease, ajar.Filter{})
				if err == nil && n != want {
					err = fmt.Errorf("%s counts %d, want %d", id, n, want)
				}
				return errors.Join(err, end)
			}
		}
		event := func(tx ajar.Tx) error { return tx.Append(ajar.Event{Action: "alone"}) }
		errs := behindOne(t, s, event, counts("a", 1, no), putLease("b"), counts("c", 2, no), counts("d", 2, nil), putLease("d"))
		for i, want := range []error{nil, ajar.Forbidden, nil, ajar.Forbidden, nil, ajar.Conflict} {
			if !errors.Is(errs[i], want) {
				t.Errorf("%s: update %d: got %v, want %v", name, i, errs[i], want)
			}
		}
		if n := count(t, s); n != 2 {
			t.Errorf("%s: %d documents, want 2", name, n)
		}
		if v, err := VerifyLog(t.Context(), s, nil, 0); err != nil || v.Last != 1 {
			t.Errorf("%s: the event of an update that wrote nothing else: %+v, %v", name, v, err)
		}
	}
}

// An event alone is not lost when an Update behind it is refused after it wrote.
func TestEventsAloneSurviveARefusal(t *testing.T) {
	for name, dsn := range dsns(t) {
		s := mustOpen(t, dsn)
		errs := behindOne(t, s, func(tx ajar.Tx) error { return tx.Append(ajar.Event{Action: "alone"}) }, func(tx ajar.Tx) error {
			if err := putLease("a")(tx); err != nil {
				return err
			}
			if _, err := tx.Count(ajar.KindLease, ajar.Filter{}); err != nil {
				return err
			}
			return ajar.Errorf(ajar.Forbidden, "no")
		})
		if errs[0] != nil || !errors.Is(errs[1], ajar.Forbidden) {
			t.Errorf("%s: %v", name, errs)
		}
		if v, err := VerifyLog(t.Context(), s, nil, 0); err != nil || v.Last != 1 {
			t.Errorf("%s: %+v, %v", name, v, err)
		}
	}
}

// An Update that asks the database twice, and in between writes again what another of its batch wrote first, is run once.
func TestQuestionsBetweenWritesCostNothing(t *testing.T) {
	for name, dsn := range dsns(t) {
		s := mustOpen(t, dsn)
		runs := 0
		errs := behindOne(t, s, putLease("a"), func(tx ajar.Tx) error {
			runs++
			l, err := ajar.Get[ajar.Lease](tx, "a")
			for range 3 {
				_, e := tx.Count(ajar.KindLease, ajar.Filter{})
				err = errors.Join(err, e, tx.Put(l))
			}
			return err
		})
		if errors.Join(errs...) != nil || runs != 1 {
			t.Errorf("%s: %d runs, %v", name, runs, errs)
		}
	}
}

// Words that stand for leases may also be names; what lies below them is found.
func TestMachinesCalledLikeLeases(t *testing.T) {
	s := mustOpen(t, dsns(t)["sqlite"])
	l := &ajar.Lease{ID: "l", Target: someMachine, Endpoint: "e", Requester: "p", State: ajar.Open, End: time.Now(), Flow: ajar.Flow{Port: ajar.Port{Number: 22}},
		Sources: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}}
	if err := s.Update(t.Context(), func(tx ajar.Tx) error { return tx.Put(l) }); err != nil {
		t.Fatal(err)
	}
	err := s.Update(t.Context(), func(at ajar.Tx) error {
		for scope := l.Slot(); scope != "/subscriptions"; scope = scope[:strings.LastIndexByte(string(scope), '/')] {
			ls, _, err := ajar.List[ajar.Lease](at, ajar.Filter{Scope: scope})
			if err != nil || len(ls) != 1 {
				t.Errorf("%d leases at %s, %v", len(ls), scope, err)
			}
		}
		free, err := at.(*tx).slotIsFree(ajar.ID(strings.Replace(string(l.Slot()), "/22/", "/23/", 1)))
		if !free {
			t.Error("a slot that nobody has is not known to be free")
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// What is remembered is of one log, however far it is.
func TestAnotherLogIsNotTakenForTheSame(t *testing.T) {
	m := newMemory()
	c := counters{seq: 7, rights: 1, pos: 3, head: []byte("head")}
	if m.meet(c, c.head) {
		t.Error("who knows nothing took it for what he knows")
	}
	if !m.meet(c, c.head) {
		t.Error("what is as it was was not known again")
	}
	if m.meet(c, []byte("another")) {
		t.Error("another log that is as long was taken for the same")
	}
}

// What is remembered stays within its bound also where documents grow.
func TestGrownDocumentsCountAsTheyAre(t *testing.T) {
	g := generations[int, []byte]{most: 1000}
	g.clear()
	for n := range 100 {
		for i := range 20 {
			g.put(i, make([]byte, n), n)
			if i == 7 {
				g.drop(i)
			}
		}
		held := 0
		for _, w := range g.young {
			held += len(w.v)
		}
		if held != g.weight || held > g.most {
			t.Fatalf("%d bytes are held, %d counted, at most %d wanted", held, g.weight, g.most)
		}
	}
}

// A replica that moves no counters would have the others work with what is no longer so.
func TestReplicasOfAnotherVersionAreRefused(t *testing.T) {
	dsn := storetest.StartPostgres(t)
	mustOpen(t, dsn)
	mustOpen(t, dsn) // which is of the same
	old, err := pgx.Connect(t.Context(), dsn+"&application_name=ajar")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), dsn, Options{}); !errors.Is(err, ajar.Unavailable) || !strings.Contains(err.Error(), "another version") {
		t.Errorf("got %v, want Unavailable", err)
	}
	if err := old.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, dsn)
}
