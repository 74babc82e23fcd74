package store

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
)

var (
	planTime   = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	planSeq    = int64(7)
	planStates = []string{"Opening", "Open", "Closing"}
)

// Every list that surfaces and loops ask for, the index that must find it, and whether the index gives the order too.
var indexedLists = []struct {
	kind   ajar.DocKind
	f      ajar.Filter
	index  string
	sorted bool // the index gives the order too
}{
	{ajar.KindPolicy, ajar.Filter{}, "docs_key", true},
	{ajar.KindPolicy, ajar.Filter{Scope: "/subscriptions/x"}, "docs_scope", true},
	{ajar.KindTarget, ajar.Filter{Scope: "/"}, "docs_scope", true},
	{ajar.KindRequest, ajar.Filter{Ref: "/subscriptions/x/p"}, "docs_scope", true},
	{ajar.KindRequest, ajar.Filter{Owner: "alice"}, "docs_requester", true},
	{ajar.KindRequest, ajar.Filter{States: []string{"Pending"}}, "docs_state", true},
	{ajar.KindRequest, ajar.Filter{UntilBefore: planTime}, "docs_until", true},
	{ajar.KindLease, ajar.Filter{Owner: "alice"}, "docs_requester", true},
	{ajar.KindLease, ajar.Filter{Scope: "/subscriptions/x/vm/leases/a/22/s"}, "docs_scope", true},
	{ajar.KindLease, ajar.Filter{Ref: "ep", States: planStates}, "docs_lease", false},
	{ajar.KindLease, ajar.Filter{Ref: "ep", After: &planSeq}, "docs_lease", false},
	{ajar.KindLease, ajar.Filter{Ref: "ep"}, "docs_lease", false},
	{ajar.KindLease, ajar.Filter{Ref: "ep", States: []string{"Open"}, After: &planSeq}, "docs_lease", true},
	{ajar.KindLease, ajar.Filter{States: planStates[:1]}, "docs_live", false},
	{ajar.KindLease, ajar.Filter{States: planStates}, "docs_live", false},
	{ajar.KindLease, ajar.Filter{States: planStates[:2], UntilBefore: planTime}, "docs_live", true},
	{ajar.KindRoleAssignment, ajar.Filter{After: &planSeq}, "docs_seq", true},
	{ajar.KindPolicy, ajar.Filter{Scope: "/subscriptions/x/p", After: &planSeq}, "docs_seq", true},
	{ajar.KindPrincipal, ajar.Filter{States: []string{"Group"}}, "docs_state", true},
	{ajar.KindPrincipal, ajar.Filter{Ref: "alice"}, "docs_ref", true},
	{ajar.KindCredential, ajar.Filter{Owner: "alice"}, "docs_owner", true},
	{ajar.KindToken, ajar.Filter{UntilBefore: planTime}, "docs_until", true},
	{ajar.KindHostIdentity, ajar.Filter{Ref: "0a1b"}, "docs_ref", true},
}

var indexedEvents = []struct {
	f     ajar.EventFilter
	field int64 // 0 = by position
}{
	{ajar.EventFilter{}, 0},
	{ajar.EventFilter{After: 5, Ascending: true}, 0},
	{ajar.EventFilter{Scope: "/a/b"}, keyScope},
	{ajar.EventFilter{Scope: "/a/b", Action: "a"}, keyAction},
	{ajar.EventFilter{Scope: "/a/providers/b", Action: "a", Outcome: ajar.Refused}, keyScope},
	{ajar.EventFilter{Caller: "alice", Action: "a"}, keyCaller},
	{ajar.EventFilter{Action: "a", Since: planTime, Before: planTime}, keyAction},
	{ajar.EventFilter{Outcome: ajar.Refused}, keyOutcome},
	{ajar.EventFilter{Outcome: ajar.Refused, Caller: "alice", Scope: "/a/b"}, keyOutcome},
	{ajar.EventFilter{Outcome: ajar.Accepted, Scope: "/a/b"}, keyScope},
	{ajar.EventFilter{Corr: "c"}, keyCorr},
	{ajar.EventFilter{Request: "r", Corr: "c", Caller: "alice"}, keyRequest},
}

// However many documents there are, every list is found through an index.
func TestListsUseIndexes(t *testing.T) {
	for name, dsn := range dsns(t) {
		s := mustOpen(t, dsn)
		if name == "postgres" { // its planner looks at what there is
			populate(t, s)
			if err := s.index.catchUp(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := raw(t, dsn, "ANALYZE"); err != nil {
				t.Fatal(err)
			}
		}
		for _, l := range indexedLists {
			q, args, err := listQuery(l.kind, l.f, orderOf(l.f), 100, math.MaxInt64)
			if err != nil {
				t.Fatal(err)
			}
			plan := explain(t, s, q, args)
			many := name == "sqlite" || l.kind == ajar.KindLease || l.kind == ajar.KindRequest // of the others any index will do
			if !strings.Contains(plan, l.index) && (many || !strings.Contains(plan, "Index")) {
				t.Errorf("%s: %s %+v does not use %s:\n%s", name, l.kind, l.f, l.index, plan)
			}
			if name == "sqlite" && strings.Contains(plan, "TEMP B-TREE") == l.sorted {
				t.Errorf("%s %+v, sorted by %s: want %v:\n%s", l.kind, l.f, l.index, l.sorted, plan)
			}
		}
		for _, e := range indexedEvents {
			if got := fieldOf(e.f); got != e.field {
				t.Errorf("events %+v are found by %d, want %d", e.f, got, e.field)
			}
			q, args := eventStep{e.f, e.field}.query(100)
			plan := explain(t, s, q, args)
			want := []string{"events_pkey"}
			switch {
			case name == "sqlite" && e.field == 0:
				want = []string{"SEARCH events USING INTEGER PRIMARY KEY"}
			case name == "sqlite":
				want = []string{"SEARCH k USING PRIMARY KEY (field=? AND value", "SEARCH e USING INTEGER PRIMARY KEY"}
			case e.field != 0:
				want = []string{"event_keys_pkey", "events_pkey"}
			}
			for _, w := range want {
				if !strings.Contains(plan, w) {
					t.Errorf("%s: events %+v do not use %s:\n%s", name, e.f, w, plan)
				}
			}
			if name == "sqlite" && strings.Contains(plan, "TEMP B-TREE") != (e.field == keyScope) {
				t.Errorf("events %+v are sorted:\n%s", e.f, plan)
			}
		}
	}
}

// What an endpoint, a machine or a person has live is never looked for among all that is live: a planner whose statistics
// are of a quiet hour would take that for the shorter way.
func TestLiveLeasesOfOneAreNotSoughtAmongAll(t *testing.T) {
	dsn := dsns(t)["postgres"]
	s := mustOpen(t, dsn)
	put := func(n int, state ajar.LeaseState) {
		t.Helper()
		err := s.Update(t.Context(), func(tx ajar.Tx) error {
			for i := range n {
				l := &ajar.Lease{ID: ajar.LeaseID(fmt.Sprint(state, i)), Target: ajar.ID(fmt.Sprint("/s/vm", i%50)), Endpoint: ajar.EndpointID(fmt.Sprint("ep", i%50)),
					Requester: ajar.PrincipalID(fmt.Sprint("p", i%50)), State: state, End: planTime}
				if err := tx.Put(l); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	put(3000, ajar.Closed)
	if err := raw(t, dsn, "ANALYZE"); err != nil {
		t.Fatal(err)
	}
	put(3000, ajar.Open)
	for _, f := range []ajar.Filter{
		{Ref: "ep1", States: planStates}, {Ref: "ep1", States: planStates, After: &planSeq}, {Owner: "p1", States: planStates}, {Scope: "/s/vm1/leases", States: planStates},
	} {
		q, args, err := listQuery(ajar.KindLease, f, orderOf(f), 100, math.MaxInt64)
		if err != nil {
			t.Fatal(err)
		}
		if plan := explain(t, s, q, args); strings.Contains(plan, "docs_live") {
			t.Errorf("%+v:\n%s", f, plan)
		}
	}
}

// The newest events below a wide scope are found by walking, not by sorting all of them; below a narrow one by its index.
func TestEventsOfAScopeAreWalkedFirst(t *testing.T) {
	s := mustOpen(t, dsns(t)["sqlite"])
	err := s.Update(t.Context(), func(tx ajar.Tx) error {
		for i := range 3*eventWalk + 10 {
			scope := ajar.ID("/wide/a")
			if i%1500 == 7 {
				scope = "/narrow"
			}
			if err := tx.Append(ajar.Event{Action: "a", Scope: scope}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	positions := func(f ajar.EventFilter) (got []int64) {
		t.Helper()
		err := s.View(t.Context(), func(tx ajar.Tx) error {
			events, err := tx.Events(f)
			for _, e := range events {
				got = append(got, e.Pos)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	for _, c := range []struct {
		f    ajar.EventFilter
		want []int64
	}{
		{ajar.EventFilter{Scope: "/narrow"}, []int64{6008, 4508, 3008, 1508, 8}},
		{ajar.EventFilter{Scope: "/narrow", Ascending: true}, []int64{8, 1508, 3008, 4508, 6008}},
		{ajar.EventFilter{Scope: "/narrow", Limit: 2}, []int64{6008, 4508}},
		{ajar.EventFilter{Scope: "/narrow", Limit: 3}, []int64{6008, 4508, 3008}},
		{ajar.EventFilter{Scope: "/narrow", After: 8, Until: 6008}, []int64{4508, 3008, 1508}},
		{ajar.EventFilter{Scope: "/narrow", After: 8, Until: 6008, Ascending: true}, []int64{1508, 3008, 4508}},
		{ajar.EventFilter{Scope: "/wide", Limit: 3}, []int64{6010, 6009, 6007}},
		{ajar.EventFilter{Scope: "/wide", After: 6, Limit: 3, Ascending: true}, []int64{7, 9, 10}},
		{ajar.EventFilter{Scope: "/", After: 4000, Until: 4003}, []int64{4002, 4001}},
		{ajar.EventFilter{Scope: "/", After: 4000, Until: 4003, Ascending: true}, []int64{4001, 4002}},
	} {
		if got := positions(c.f); !slices.Equal(got, c.want) {
			t.Errorf("%+v: got %v, want %v", c.f, got, c.want)
		}
	}
}

// explain gives the plan of a query. PostgreSQL prefers to read small tables whole, unless it is told not to.
func explain(t *testing.T, s *Store, q string, args []any) (plan string) {
	t.Helper()
	err := s.View(t.Context(), func(at ajar.Tx) error {
		tx, words := at.(*tx), "EXPLAIN QUERY PLAN "
		if s.db.dialect() == postgresDialect {
			words = "EXPLAIN "
			if err := tx.c.later(t.Context(), anyRows, "SET LOCAL enable_seqscan = off"); err != nil {
				return err
			}
			if err := tx.c.later(t.Context(), anyRows, "SET LOCAL enable_bitmapscan = off"); err != nil {
				return err
			}
		}
		return tx.query(words+q, args, func(r row) error {
			column := 3
			if s.db.dialect() == postgresDialect {
				column = 0
			}
			plan += fmt.Sprintln(r.text(column))
			return nil
		})
	})
	if err != nil {
		t.Fatalf("%s: %v", q, err)
	}
	return plan
}

func populate(t *testing.T, s *Store) {
	t.Helper()
	states := []ajar.LeaseState{ajar.Open, ajar.Closed, ajar.Closed, ajar.Closed}
	err := s.Update(t.Context(), func(tx ajar.Tx) error {
		for i := range 4000 {
			l := &ajar.Lease{
				ID: ajar.LeaseID(fmt.Sprint("lease-", i)), Target: ajar.ID(fmt.Sprint("/subscriptions/s", i%20, "/vm", i%100)),
				Endpoint: ajar.EndpointID(fmt.Sprint("ep", i%100)), Requester: ajar.PrincipalID(fmt.Sprint("p", i%50)), State: states[i%4],
				End: time.Date(2026, 11, 20, 12, 0, i, 0, time.UTC),
			}
			r := &ajar.Request{ID: ajar.RequestID(fmt.Sprint("request-", i)), Policy: l.Target, Requester: l.Requester, State: ajar.Approved}
			e := ajar.Event{Action: ajar.Action(fmt.Sprint("a", i%30)), Scope: l.Target, Caller: l.Requester, Corr: fmt.Sprint(i), Request: r.ID}
			if err := errors.Join(tx.Put(l), tx.Put(r), tx.Append(e)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
