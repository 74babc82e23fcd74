package store

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
)

// indexed is the position up to which the log is indexed.
func indexed(t *testing.T, s *Store) (n counters) {
	t.Helper()
	err := s.View(t.Context(), func(at ajar.Tx) (err error) {
		n, err = readCounters(t.Context(), at.(*tx).c)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// holdIndex stops the indexer, for a test to index as far as it likes.
func holdIndex(s *Store) { s.index.stop() }

func indexTo(t *testing.T, s *Store, to int64) {
	t.Helper()
	err := s.Update(t.Context(), func(at ajar.Tx) error {
		t := at.(*tx)
		from := t.w.indexed
		t.w.indexed = to
		if err := t.arm(); err != nil {
			return err
		}
		return indexEvents(t.ctx, t.c, from, to)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// someEvents are events with a few values of everything, whose times are nearly in order.
func someEvents(r *rand.Rand, n int) (events []ajar.Event) {
	for i := range n {
		events = append(events, ajar.Event{
			Time: planTime.Add(time.Duration(i-r.IntN(30)) * time.Second), Action: ajar.Action(fmt.Sprint("A/", r.IntN(4))), Outcome: []ajar.Outcome{ajar.Accepted, ajar.Refused}[r.IntN(2)],
			Scope:  ajar.ID([]string{"", "/s/a", "/s/a/providers/x", "/s/ab", "/s/a/providers/y/z"}[r.IntN(5)]),
			Caller: ajar.PrincipalID([]string{"", "alice", "bob"}[r.IntN(3)]), Corr: []string{"", fmt.Sprint(i / 2)}[r.IntN(2)], Request: ajar.RequestID([]string{"", fmt.Sprint(i / 3)}[r.IntN(2)]),
		})
	}
	return events
}

func someFilter(r *rand.Rand, n int) (f ajar.EventFilter) {
	sometimes := func(set func()) {
		if r.IntN(4) == 0 {
			set()
		}
	}
	when := func() time.Time { return planTime.Add(time.Duration(r.IntN(n)) * time.Second) }
	sometimes(func() {
		f.Scope = ajar.ID([]string{"/", "/s", "/s/A", "/s/a/providers/x", "/s/a/providers/y"}[r.IntN(5)])
	})
	sometimes(func() { f.Caller = "alice" })
	sometimes(func() { f.Action = ajar.Action(fmt.Sprint("a/", r.IntN(5))) })
	sometimes(func() { f.Outcome = ajar.Refused })
	sometimes(func() { f.Corr = fmt.Sprint(r.IntN(n / 2)) })
	sometimes(func() { f.Request = ajar.RequestID(fmt.Sprint(r.IntN(n / 3))) })
	sometimes(func() { f.Since = when() })
	sometimes(func() { f.Before = when() })
	sometimes(func() { f.After = r.Int64N(int64(n)) })
	sometimes(func() { f.Until = r.Int64N(int64(n) + 10) })
	f.Ascending = r.IntN(2) == 0
	f.Limit = []int{0, 1, 5, 1000}[r.IntN(4)]
	return f
}

// selected is what f selects of events, position 1 first.
func selected(events []ajar.Event, f ajar.EventFilter) (positions []int64) {
	under := scopeColumn(f.Scope.Key())
	for i, e := range events {
		pos := int64(i + 1)
		if pos <= f.After || (f.Until > 0 && pos >= f.Until) ||
			(f.Scope != "" && (e.Scope == "" || !strings.HasPrefix(scopeColumn(e.Scope.Key()), under))) || (f.Caller != "" && f.Caller != e.Caller) ||
			(f.Action != "" && !strings.EqualFold(string(f.Action), string(e.Action))) || (f.Outcome != "" && f.Outcome != e.Outcome) ||
			(f.Corr != "" && f.Corr != e.Corr) || (f.Request != "" && f.Request != e.Request) ||
			(!f.Since.IsZero() && e.Time.Before(f.Since)) || (!f.Before.IsZero() && !e.Time.Before(f.Before)) {
			continue
		}
		positions = append(positions, pos)
	}
	if !f.Ascending {
		slices.Reverse(positions)
	}
	limit := f.Limit
	if limit == 0 {
		limit = eventsDefault
	}
	return positions[:min(limit, len(positions))]
}

// However much of the log is indexed, a list gives the same.
func TestListsDoNotDependOnTheIndex(t *testing.T) {
	const n = 5000
	for name, dsn := range dsns(t) {
		s, r := mustOpen(t, dsn), rand.New(rand.NewPCG(1, 2))
		holdIndex(s)
		events := someEvents(r, n)
		for part := range slices.Chunk(events, 1000) {
			err := s.Update(t.Context(), func(tx ajar.Tx) error {
				for _, e := range part {
					if err := tx.Append(e); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		for _, to := range []int64{0, 700, 1023, 1024, 3000, n - 1, n} {
			if to > 0 {
				indexTo(t, s, to)
			}
			err := s.View(t.Context(), func(tx ajar.Tx) error {
				for range 150 {
					f := someFilter(r, n)
					found, err := tx.Events(f)
					if err != nil {
						return err
					}
					var got []int64
					for _, e := range found {
						got = append(got, e.Pos)
					}
					if want := selected(events, f); !slices.Equal(got, want) {
						return fmt.Errorf("indexed to %d, %+v: got %v, want %v", to, f, got, want)
					}
				}
				return nil
			})
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// The log is indexed behind the commits, by whichever replica comes first, and what one left the next goes on with.
func TestLogIsIndexedInTheEnd(t *testing.T) {
	for name, dsn := range dsns(t) {
		s := mustOpen(t, dsn)
		holdIndex(s)
		err := s.Update(t.Context(), func(tx ajar.Tx) error {
			for range 2*indexStep + 1 {
				if err := tx.Append(ajar.Event{Action: "a", Caller: "alice"}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if n := indexed(t, s); n.indexed != 0 {
			t.Fatalf("%s: %d are indexed, with nobody to do it", name, n.indexed)
		}
		others := []*Store{mustOpen(t, dsn), mustOpen(t, dsn)}
		if name == "sqlite" {
			others = others[:1]
		}
		eventually(t, name+" is indexed", func() bool { n := indexed(t, s); return n.indexed == n.pos })
		if err := others[0].Update(t.Context(), func(tx ajar.Tx) error { return tx.Append(ajar.Event{Action: "b"}) }); err != nil {
			t.Fatal(err)
		}
		eventually(t, name+" is indexed again", func() bool { n := indexed(t, s); return n.indexed == n.pos })
	}
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	limit, tick := time.After(2*time.Minute), time.NewTicker(5*time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("%s: not within two minutes", what)
		}
	}
}
