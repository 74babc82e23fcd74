package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/store/storetest"
)

func dsns(t *testing.T) map[string]string {
	return map[string]string{"sqlite": "sqlite:" + filepath.Join(t.TempDir(), "ajar.db"), "postgres": storetest.StartPostgres(t)}
}

func mustOpen(t *testing.T, dsn string) *Store {
	t.Helper()
	s, err := Open(t.Context(), dsn, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// raw runs SQL past the Store, as an administrator of the database could.
func raw(t *testing.T, dsn, q string) error {
	t.Helper()
	driver, name := "pgx", dsn
	if path, ok := strings.CutPrefix(dsn, "sqlite:"); ok {
		driver, name = "sqlite", "file:"+path+"?_pragma=busy_timeout(5000)"
	}
	db, err := sql.Open(driver, name)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	_, err = db.Exec(q)
	return err
}

func TestTheDatabaseRefusesToChangeTheLog(t *testing.T) {
	for name, dsn := range dsns(t) {
		s := mustOpen(t, dsn)
		if err := s.Update(t.Context(), func(tx ajar.Tx) error { return tx.Append(ajar.Event{Action: "a"}) }); err != nil {
			t.Fatal(err)
		}
		for _, q := range []string{
			"UPDATE events SET body = body", "DELETE FROM events", "UPDATE log_batches SET head = head", "DELETE FROM log_batches WHERE last = 1",
		} {
			if err := raw(t, dsn, q); err == nil || !strings.Contains(err.Error(), "append-only") {
				t.Errorf("%s: %s: got %v", name, q, err)
			}
		}
	}
}

// Whoever drops the triggers first is found by the chain.
func TestTamperedDatabaseIsFound(t *testing.T) {
	drop := map[string]string{
		"sqlite":   "DROP TRIGGER events_update; DROP TRIGGER events_delete; DROP TRIGGER log_batches_update; DROP TRIGGER log_batches_delete;",
		"postgres": "DROP TRIGGER events_guard ON events; DROP TRIGGER log_batches_guard ON log_batches;",
	}
	for what, c := range map[string]struct {
		pos int64
		q   string
	}{
		"an event removed":                     {4, "DELETE FROM events WHERE pos = 4"},
		"an event replaced":                    {4, "UPDATE events SET body = (SELECT e.body FROM events e WHERE e.pos = 3) WHERE pos = 4"},
		"two events swapped":                   {3, "UPDATE events SET pos = -pos WHERE pos IN (3, 4); UPDATE events SET pos = 7 + pos WHERE pos < 0"},
		"the last commit removed":              {6, "DELETE FROM events WHERE pos = 6; DELETE FROM log_batches WHERE last = 6"},
		"the last event removed":               {6, "DELETE FROM events WHERE pos = 6"},
		"a batch removed":                      {3, "DELETE FROM log_batches WHERE last = 3"},
		"a batch and its event removed":        {3, "DELETE FROM log_batches WHERE last = 3; DELETE FROM events WHERE pos = 3"},
		"an event added behind":                {7, "INSERT INTO events SELECT 7, time, action, outcome, scope, caller, corr, request, body FROM events WHERE pos = 6"},
		"a head replaced":                      {2, "UPDATE log_batches SET head = (SELECT b.head FROM log_batches b WHERE b.last = 1) WHERE last = 2"},
		"all removed":                          {1, "DELETE FROM events; DELETE FROM log_batches"},
		"a batch that claims more than it has": {2, "UPDATE log_batches SET first = 1 WHERE last = 2"},
	} {
		for name, dsn := range dsns(t) {
			s := mustOpen(t, dsn)
			for i := range 6 {
				if err := s.Update(t.Context(), func(tx ajar.Tx) error { return tx.Append(ajar.Event{Action: "a", Message: fmt.Sprint(i)}) }); err != nil {
					t.Fatal(err)
				}
			}
			if err := raw(t, dsn, drop[name]+c.q); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			_, err := VerifyLog(t.Context(), s, nil, 0)
			var b *Broken
			if !errors.As(err, &b) || (b.Pos != c.pos && what != "a batch that claims more than it has") {
				t.Errorf("%s, %s: got %v, want it broken at %d", name, what, err, c.pos)
			}
		}
	}
}

func TestNewerDatabaseIsRefused(t *testing.T) {
	for name, dsn := range dsns(t) {
		s, err := Open(t.Context(), dsn, Options{})
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		mustOpen(t, dsn).Close() // a second start changes nothing
		if err := raw(t, dsn, "INSERT INTO schema_version (version_id, is_applied) VALUES (99, "+map[string]string{"sqlite": "1", "postgres": "true"}[name]+")"); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(t.Context(), dsn, Options{}); !errors.Is(err, ajar.Invalid) || !strings.Contains(err.Error(), "version 99") {
			t.Errorf("%s: got %v, want a refusal that names the version", name, err)
		}
	}
}

// faulty makes one connection's commits or statements fail.
type faulty struct {
	backend
	commits, statements atomic.Int64 // how many still fail
	committed           atomic.Int64
}

func (f *faulty) writer(ctx context.Context) (conn, error) {
	c, err := f.backend.writer(ctx)
	return faultyConn{c, f}, err
}

func (f *faulty) classify(err error) (error, bool) {
	if errors.Is(err, errFault) {
		return ajar.Because(ajar.Unavailable, err, "fault"), true
	}
	return f.backend.classify(err)
}

var errFault = errors.New("injected fault")

type faultyConn struct {
	conn
	f *faulty
}

func (c faultyConn) commit(ctx context.Context) error {
	if c.f.commits.Add(-1) >= 0 {
		return errFault
	}
	c.f.committed.Add(1)
	return c.conn.commit(ctx)
}

func (c faultyConn) query(ctx context.Context, q string, args []any, each func(row) error) error {
	if strings.Contains(q, "FROM docs") && c.f.statements.Add(-1) >= 0 {
		return errFault
	}
	return c.conn.query(ctx, q, args, each)
}

func faultyStore(t *testing.T, dsn string) (*Store, *faulty) {
	s := mustOpen(t, dsn)
	f := &faulty{backend: s.db}
	s.db = f
	return s, f
}

// behindOne runs updates that all wait behind one that is held until they do, so that they commit together.
func behindOne(t *testing.T, s *Store, fns ...func(ajar.Tx) error) []error {
	inside, leave := make(chan bool), make(chan bool)
	var once atomic.Bool
	errs := make([]chan error, len(fns)+1)
	for i := range errs {
		errs[i] = make(chan error, 1)
	}
	go func() {
		errs[0] <- s.Update(context.Background(), func(ajar.Tx) error {
			if once.CompareAndSwap(false, true) {
				close(inside)
				<-leave
			}
			return nil
		})
	}()
	<-inside
	for i, fn := range fns { // one after the other, for their order to be this
		go func() { errs[i+1] <- s.Update(context.Background(), fn) }()
		for queued := 0; queued <= i; runtime.Gosched() {
			s.writer.mu.Lock()
			queued = len(s.writer.queue)
			s.writer.mu.Unlock()
		}
	}
	close(leave)
	var got []error
	for _, c := range errs {
		got = append(got, <-c)
	}
	return got[1:]
}

func putLease(id string) func(ajar.Tx) error {
	return func(tx ajar.Tx) error { return tx.Put(&ajar.Lease{ID: ajar.LeaseID(id)}) }
}

func count(t *testing.T, s *Store) (n int64) {
	t.Helper()
	err := s.View(t.Context(), func(tx ajar.Tx) (err error) {
		n, err = tx.Count(ajar.KindLease, ajar.Filter{})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestFailedCommitIsNobodysSuccess(t *testing.T) {
	for name, dsn := range dsns(t) {
		s, f := faultyStore(t, dsn)
		f.commits.Store(1)
		doc := &ajar.Lease{ID: "c"}
		errs := behindOne(t, s, putLease("a"), func(tx ajar.Tx) error { putLease("b")(tx); return ajar.Errorf(ajar.Forbidden, "no") },
			func(tx ajar.Tx) error { return tx.Put(doc) },
			func(tx ajar.Tx) error { _, err := ajar.Get[ajar.Lease](tx, "a"); return err }) // which read what is not so
		for i, want := range []ajar.Kind{ajar.Unavailable, ajar.Unavailable, ajar.Unavailable, ajar.Unavailable} {
			if ajar.KindOf(errs[i]) != want {
				t.Errorf("%s: update %d: got %v, want %s", name, i, errs[i], want)
			}
		}
		if n := count(t, s); n != 0 {
			t.Errorf("%s: %d documents after a failed commit", name, n)
		}
		if doc.Rev != 0 {
			t.Errorf("%s: a document that was not written has rev %d", name, doc.Rev)
		}
		if err := s.Update(t.Context(), func(tx ajar.Tx) error { return tx.Put(doc) }); err != nil || count(t, s) != 1 {
			t.Errorf("%s: afterwards: %v", name, err)
		}
	}
}

func TestFaultsAreTriedAgainAlone(t *testing.T) {
	for name, dsn := range dsns(t) {
		s, f := faultyStore(t, dsn)
		f.statements.Store(2)
		read := func(id string) func(ajar.Tx) error {
			return func(tx ajar.Tx) error {
				if _, err := ajar.Get[ajar.Lease](tx, id); !errors.Is(err, ajar.NotFound) {
					return fmt.Errorf("not an answer: %w", err)
				}
				return putLease(id)(tx)
			}
		}
		for i, err := range behindOne(t, s, read("a"), read("b"), putLease("c")) {
			if err != nil {
				t.Errorf("%s: update %d: %v", name, i, err)
			}
		}
		if n := count(t, s); n != 3 {
			t.Errorf("%s: %d documents, want 3", name, n)
		}
		f.statements.Store(1000)
		if err := s.Update(t.Context(), read("d")); !errors.Is(err, ajar.Unavailable) {
			t.Errorf("%s: a fault that stays: got %v, want Unavailable", name, err)
		}
		f.statements.Store(0)
	}
}

// A server that is restarted takes nothing with it but time.
func TestLostConnectionIsOpenedAgain(t *testing.T) {
	dsn := storetest.StartPostgres(t)
	s := mustOpen(t, dsn)
	kill := "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
	for i := range 3 {
		if err := s.Update(t.Context(), putLease(fmt.Sprint("a", i))); err != nil {
			t.Fatal(err)
		}
		if err := raw(t, dsn, kill); err != nil {
			t.Fatal(err)
		}
		if err := s.Update(t.Context(), putLease(fmt.Sprint("b", i))); err != nil {
			t.Errorf("after the connection was lost: %v", err)
		}
	}
}

// Two replicas over one PostgreSQL are as serial as one.
func TestReplicasAreSerial(t *testing.T) {
	dsn := storetest.StartPostgres(t)
	replicas := []*Store{mustOpen(t, dsn), mustOpen(t, dsn)}
	if err := replicas[0].Update(t.Context(), putLease("counter")); err != nil {
		t.Fatal(err)
	}
	const writers, rounds = 8, 20
	errs := make(chan error, writers)
	for i := range writers {
		go func() {
			for range rounds {
				err := replicas[i%2].Update(context.Background(), func(tx ajar.Tx) error {
					l, err := ajar.Get[ajar.Lease](tx, "counter")
					if err != nil {
						return err
					}
					l.Max++
					return errors.Join(tx.Put(l), tx.Append(ajar.Event{Action: "counted"}))
				})
				if err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	for range writers {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	v, err := VerifyLog(t.Context(), replicas[1], nil, 0)
	if err != nil || v.Last != writers*rounds {
		t.Errorf("the log: %+v, %v", v, err)
	}
	err = replicas[1].View(t.Context(), func(tx ajar.Tx) error {
		l, err := ajar.Get[ajar.Lease](tx, "counter")
		if err == nil && l.Max != writers*rounds {
			err = fmt.Errorf("counted %d, want %d", l.Max, writers*rounds)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// A goroutine that ends in the middle of an fn, as t.Fatal does, must not take the others' answers with it.
func TestEndedGoroutineFreesTheWriter(t *testing.T) {
	s := mustOpen(t, dsns(t)["sqlite"])
	done := make(chan bool)
	go func() {
		defer close(done)
		s.Update(context.Background(), func(tx ajar.Tx) error {
			putLease("a")(tx)
			runtime.Goexit()
			return nil
		})
	}()
	<-done
	if err := s.Update(t.Context(), putLease("b")); err != nil {
		t.Fatal(err)
	}
	if n := count(t, s); n != 1 {
		t.Errorf("%d documents, want 1", n)
	}
}

// One Update's Conflict on a server that was asked too late does not cost the others their common commit.
func TestWrongGuessesCommitTogether(t *testing.T) {
	dsn := storetest.StartPostgres(t)
	s, f := faultyStore(t, dsn)
	if err := s.Update(t.Context(), putLease("there")); err != nil {
		t.Fatal(err)
	}
	before := f.committed.Load()
	caught := func(tx ajar.Tx) error {
		err := putLease("there")(tx)
		if !errors.Is(err, ajar.Conflict) {
			return fmt.Errorf("got %v, want Conflict", err)
		}
		return putLease("instead")(tx)
	}
	ends := []error{nil, ajar.Conflict, nil, nil}
	for i, err := range behindOne(t, s, putLease("a"), putLease("there"), putLease("b"), caught) {
		if !errors.Is(err, ends[i]) {
			t.Errorf("update %d: got %v, want %v", i, err, ends[i])
		}
	}
	if n := count(t, s); n != 4 {
		t.Errorf("%d documents, want 4", n)
	}
	if n := f.committed.Load() - before; n != 1 {
		t.Errorf("they took %d commits, want 1", n)
	}
}
