package store

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/store/storetest"
)

// ear collects what a Store hears.
type ear struct {
	t    *testing.T
	mu   sync.Mutex
	all  []Commit
	more chan struct{}
}

func hear(t *testing.T, s *Store) *ear {
	t.Helper()
	e := &ear{t: t, more: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Hear(ctx, e.told) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Hear ended with %v", err)
		}
	})
	return e
}

func (e *ear) told(c Commit) {
	e.mu.Lock()
	e.all = append(e.all, c)
	e.mu.Unlock()
	select {
	case e.more <- struct{}{}:
	default:
	}
}

// until waits until something that is as wanted was heard, and gives and forgets all up to that.
func (e *ear) until(what string, wanted func(Commit) bool) []Commit {
	e.t.Helper()
	limit := time.NewTimer(30 * time.Second)
	defer limit.Stop()
	for {
		e.mu.Lock()
		all := e.all
		if i := slices.IndexFunc(all, wanted); i >= 0 {
			e.all = slices.Clone(all[i+1:])
			e.mu.Unlock()
			return all[:i+1]
		}
		e.mu.Unlock()
		select {
		case <-e.more:
		case <-limit.C:
			e.t.Fatalf("%s was not heard; what was: %+v", what, all)
		}
	}
}

func (e *ear) begins() { e.until("the beginning", func(c Commit) bool { return c.Missed }) }

// heardBy waits until s knows that others hear it: what it commits before is not told.
func heardBy(t *testing.T, s *Store) {
	t.Helper()
	storetest.Until(t, s.db.(*postgresDB).news.others.Load)
}

func appended(action ajar.Action) func(tx ajar.Tx) error {
	return func(tx ajar.Tx) error { return tx.Append(ajar.Event{Action: action}) }
}

// TestCommitsAreToldToOtherReplicas: what was committed, all of it and in order; and not what was refused, nor one's own.
func TestCommitsAreToldToOtherReplicas(t *testing.T) {
	dsn := storetest.StartPostgres(t)
	a, b := mustOpen(t, dsn), mustOpen(t, dsn)
	atA, atB := hear(t, a), hear(t, b)
	atA.begins()
	atB.begins()
	heardBy(t, a)
	heardBy(t, b)

	ep := &ajar.Endpoint{ID: "ep", Target: "/subscriptions/s", Provider: "agent"}
	lease := &ajar.Lease{ID: "lease", Target: "/subscriptions/s", Endpoint: "ep", State: ajar.Opening}
	other := errors.New("no")
	for _, fn := range []func(tx ajar.Tx) error{
		func(tx ajar.Tx) error {
			return errors.Join(tx.Put(ep), tx.SetHome("ep", "b", time.Now().Add(time.Hour)), tx.Put(lease), appended("a")(tx))
		},
		func(tx ajar.Tx) error {
			return errors.Join(appended("refused")(tx), tx.Put(&ajar.Lease{ID: "not"}), other)
		},
		func(tx ajar.Tx) error { lease.State = ajar.Open; return tx.Put(lease) },
		func(tx ajar.Tx) error { return tx.MarkDue("ep", time.Now()) },
		func(tx ajar.Tx) error { return tx.MarkDue("ep", time.Now().Add(time.Hour)) },
		func(tx ajar.Tx) error { return tx.SetHome("ep", "b", time.Now().Add(2*time.Hour)) },
		func(tx ajar.Tx) error { return tx.Delete(ajar.KindLease, "lease") },
		func(tx ajar.Tx) error { return errors.Join(appended("b")(tx), appended("last")(tx)) },
	} {
		if err := a.Update(t.Context(), fn); err != nil && !errors.Is(err, other) {
			t.Fatal(err)
		}
	}
	got := atB.until("the last", func(c Commit) bool { return c.Last == 3 })
	want := []Commit{
		{After: 0, Last: 1, Due: []ajar.EndpointID{"ep"}}, // a new one is due at once
		{Changed: []ajar.DocKind{ajar.KindLease}}, {Due: []ajar.EndpointID{"ep"}}, {Due: []ajar.EndpointID{"ep"}},
		{Changed: []ajar.DocKind{ajar.KindLease}}, {After: 1, Last: 3},
	}
	for i := range got {
		if i > 0 && got[i].Seq < got[i-1].Seq {
			t.Errorf("written behind %d, after what was written behind %d", got[i].Seq, got[i-1].Seq)
		}
		got[i].Seq = 0
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("heard: %+v", got)
	}
	if err := b.Update(t.Context(), appended("from b")); err != nil {
		t.Fatal(err)
	}
	if got := atA.until("b's", func(c Commit) bool { return c.Last > 0 }); len(got) != 1 || got[0].After != 3 || got[0].Last != 4 {
		t.Errorf("at a: %+v", got)
	}
}

// TestWhatIsClaimedAtHomeIsNotTold: its own replica is at work on it already.
func TestWhatIsClaimedAtHomeIsNotTold(t *testing.T) {
	dsn := storetest.StartPostgres(t)
	a, b := mustOpen(t, dsn), mustOpen(t, dsn)
	hear(t, a).begins()
	atB := hear(t, b)
	atB.begins()
	heardBy(t, a)
	for _, fn := range []func(tx ajar.Tx) error{
		func(tx ajar.Tx) error {
			return errors.Join(tx.Put(&ajar.Endpoint{ID: "ep", Target: "/subscriptions/s", Provider: "agent"}), tx.SetHome("ep", "a", time.Now().Add(time.Hour)))
		},
		func(tx ajar.Tx) error {
			_, ok, err := tx.Claim("ep", time.Now(), time.Minute, "a")
			if !ok {
				t.Error("not claimed")
			}
			return errors.Join(tx.MarkDue("ep", time.Now()), err)
		},
		appended("last"),
	} {
		if err := a.Update(t.Context(), fn); err != nil {
			t.Fatal(err)
		}
	}
	got := atB.until("the last", func(c Commit) bool { return c.Last > 0 })
	if len(got) != 2 {
		t.Errorf("heard: %+v", got)
	}
}

// TestManyDueEndpointsAreTold: more than one text of the server holds.
func TestManyDueEndpointsAreTold(t *testing.T) {
	dsn := storetest.StartPostgres(t)
	a, b := mustOpen(t, dsn), mustOpen(t, dsn)
	hear(t, a).begins()
	atB := hear(t, b)
	atB.begins()
	heardBy(t, a)
	const n = 1000
	err := a.Update(t.Context(), func(tx ajar.Tx) error {
		for i := range n {
			id := ajar.EndpointID("endpoint-" + string(rune('a'+i%26)) + "-" + time.Duration(i).String())
			if err := errors.Join(tx.Put(&ajar.Endpoint{ID: id, Target: "/subscriptions/s", Provider: "agent"}), tx.SetHome(id, "b", time.Now().Add(time.Hour))); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Update(t.Context(), appended("last")); err != nil {
		t.Fatal(err)
	}
	due := map[ajar.EndpointID]bool{}
	for _, c := range atB.until("the last", func(c Commit) bool { return c.Last > 0 }) {
		for _, ep := range c.Due {
			due[ep] = true
		}
	}
	if len(due) != n {
		t.Errorf("%d of %d are told", len(due), n)
	}
}

// TestHearingComesBack: after its connection was cut a Store hears again, knows that it missed something, and commits went
// on all the while.
func TestHearingComesBack(t *testing.T) {
	dsn := storetest.StartPostgres(t)
	a, b := mustOpen(t, dsn), mustOpen(t, dsn)
	hear(t, a).begins()
	atB := hear(t, b)
	atB.begins()
	for range 3 {
		if err := raw(t, dsn, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'ajar-hears/%'"); err != nil {
			t.Fatal(err)
		}
		if err := a.Update(t.Context(), appended("meanwhile")); err != nil {
			t.Fatal(err)
		}
		atB.begins()
	}
	heardBy(t, a)
	if err := a.Update(t.Context(), appended("last")); err != nil {
		t.Fatal(err)
	}
	atB.until("the last", func(c Commit) bool { return c.Last == 4 })
}

// TestNobodyIsToldWhereNobodyHears: a replica alone says nothing, and what hears is no replica of another version.
func TestNobodyIsToldWhereNobodyHears(t *testing.T) {
	for name, dsn := range dsns(t) {
		s := mustOpen(t, dsn)
		e := hear(t, s)
		if name == "postgres" {
			e.begins()
			if s.db.(*postgresDB).news.others.Load() {
				t.Error("it takes itself for another")
			}
			mustOpen(t, dsn)
		}
		if err := s.Update(t.Context(), appended("a")); err != nil {
			t.Fatal(err)
		}
	}
}

// TestClocksThatDifferAreNoticed, once, and so is that they agree again.
func TestClocksThatDifferAreNoticed(t *testing.T) {
	dsn := storetest.StartPostgres(t)
	var said bytes.Buffer
	s, err := Open(t.Context(), dsn, Options{Clock: func() time.Time { return time.Now().Add(time.Hour) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if _, ok := s.ClockAhead(); ok {
		t.Error("it knows before it asked")
	}
	hear(t, s).begins()
	if ahead, ok := s.ClockAhead(); ok && (ahead < 59*time.Minute || ahead > 61*time.Minute) {
		t.Errorf("ahead by %s, %v", ahead, ok)
	}

	n, log, now := newNews(), slog.New(slog.NewTextHandler(&said, nil)), time.Now()
	for _, ahead := range []time.Duration{0, 900 * time.Millisecond, 5 * time.Second, 5500 * time.Millisecond, -900 * time.Millisecond, 100 * time.Millisecond, -3 * time.Second} {
		n.compare(now.Add(ahead), now.Add(ahead+10*time.Millisecond), now, log)
	}
	n.compare(now.Add(time.Hour), now.Add(time.Hour+time.Second), now, log) // it took too long to tell anything
	if got := *n.ahead.Load(); got != -2995*time.Millisecond {
		t.Errorf("ahead by %s", got)
	}
	if warned, agreed := strings.Count(said.String(), "WARN"), strings.Count(said.String(), "agree again"); warned != 2 || agreed != 1 {
		t.Errorf("said:\n%s", said.String())
	}
}
