package store

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ajar-access/ajar"
)

// gate lets a test into what a Store does with its database: at is told of each write and of each commit before it
// happens, and what it answers instead of nil happens in its place.
type gate struct {
	backend
	at atomic.Pointer[func(q string) error]
}

func (g *gate) writer(ctx context.Context) (conn, error) {
	c, err := g.backend.writer(ctx)
	return gatedConn{c, g}, err
}

func (g *gate) classify(err error) (error, bool) {
	return (&faulty{backend: g.backend}).classify(err)
}

func (g *gate) ask(q string) error {
	if at := g.at.Load(); at != nil {
		return (*at)(q)
	}
	return nil
}

type gatedConn struct {
	conn
	g *gate
}

func (c gatedConn) begin(ctx context.Context, write bool) error {
	if err := c.g.ask("BEGIN"); err != nil {
		return err
	}
	return c.conn.begin(ctx, write)
}

func (c gatedConn) later(ctx context.Context, want int64, q string, args ...any) error {
	if err := c.g.ask(q); err != nil {
		return err
	}
	return c.conn.later(ctx, want, q, args...)
}

func (c gatedConn) commit(ctx context.Context) error {
	if err := c.g.ask("COMMIT"); err != nil {
		return err
	}
	return c.conn.commit(ctx)
}

// held is a Store over SQLite of which one step is held up, once, until it is told how it ends.
type held struct {
	*Store
	reached chan bool
	end     chan error
}

// hold has the next step that begins with q wait.
func hold(t *testing.T, q string) *held {
	s := mustOpen(t, dsns(t)["sqlite"])
	if err := s.Update(t.Context(), putLease("before")); err != nil { // from here on the writer remembers
		t.Fatal(err)
	}
	h := &held{s, make(chan bool), make(chan error)}
	g := &gate{backend: s.db}
	var once atomic.Bool
	at := func(has string) error {
		if strings.HasPrefix(has, q) && once.CompareAndSwap(false, true) {
			close(h.reached)
			return <-h.end
		}
		return nil
	}
	g.at.Store(&at)
	s.db = g
	return h
}

func (h *held) start(fn func(ajar.Tx) error) chan error {
	answer := make(chan error, 1)
	go func() { answer <- h.Update(context.Background(), fn) }()
	return answer
}

func isThere(tx ajar.Tx, id string) bool {
	_, err := ajar.Get[ajar.Lease](tx, id)
	return err == nil
}

// An Update runs while the one before it is being committed, sees what that one did, and has its answer after it.
func TestUpdatesRunAheadOfTheCommitBefore(t *testing.T) {
	h := hold(t, "COMMIT")
	logged := func(id string) func(ajar.Tx) error {
		return func(tx ajar.Tx) error { return errors.Join(putLease(id)(tx), tx.Append(ajar.Event{Action: "a"})) }
	}
	a := h.start(logged("a"))
	<-h.reached
	ran := make(chan bool, 2)
	b := h.start(func(tx ajar.Tx) error {
		ran <- isThere(tx, "a")
		return logged("b")(tx)
	})
	if !<-ran {
		t.Error("it did not see what the one before had done")
	}
	select {
	case err := <-b:
		t.Errorf("it was answered before the one before was durable: %v", err)
	default:
	}
	n := int64(0)
	c := h.start(func(tx ajar.Tx) (err error) {
		ran <- true
		n, err = tx.Count(ajar.KindLease, ajar.Filter{}) // which is asked of the database, and waits
		return errors.Join(err, ajar.Errorf(ajar.Forbidden, "no"))
	})
	<-ran
	d := h.start(logged("d"))
	h.end <- nil
	if err := errors.Join(<-a, <-b, <-d); err != nil {
		t.Error(err)
	}
	if err := <-c; !errors.Is(err, ajar.Forbidden) || n != 3 {
		t.Errorf("one that had to wait: %v, and counted %d, want 3", err, n)
	}
	if n := count(t, h.Store); n != 4 {
		t.Errorf("%d documents, want 4", n)
	}
	if len(ran) > 0 {
		t.Error("one ran again though all came about")
	}
	verified(t, h.Store)
}

// What ran ahead of a commit that did not come about is run again, whether it agreed, was refused or only looked.
func TestWhatRanAheadOfAFailedCommitIsRunAgain(t *testing.T) {
	for _, step := range []string{"COMMIT", insertDoc} {
		h := hold(t, step)
		var runs atomic.Int64
		ran := make(chan bool, 10)
		seen := func(fn func(tx ajar.Tx, there bool) error) func(ajar.Tx) error {
			return func(tx ajar.Tx) error {
				runs.Add(1)
				defer func() { ran <- true }()
				return fn(tx, isThere(tx, "a"))
			}
		}
		a := h.start(func(tx ajar.Tx) error { return errors.Join(putLease("a")(tx), tx.Append(ajar.Event{Action: "a"})) })
		<-h.reached
		b := h.start(seen(func(tx ajar.Tx, there bool) error {
			if there {
				return ajar.Errorf(ajar.Conflict, "a is there")
			}
			return errors.Join(putLease("b")(tx), tx.Append(ajar.Event{Action: "b"}))
		}))
		<-ran
		c := h.start(seen(func(tx ajar.Tx, there bool) error {
			if !there {
				return ajar.Errorf(ajar.NotFound, "a is not there")
			}
			return putLease("c")(tx)
		}))
		<-ran
		var last atomic.Bool
		d := h.start(seen(func(_ ajar.Tx, there bool) error { last.Store(there); return nil }))
		<-ran
		if runs.Load() != 3 {
			t.Fatalf("%d ran ahead, want 3", runs.Load())
		}
		h.end <- errFault
		// A COMMIT of which nobody knows is not made again; a statement that failed is, behind those that have run.
		want, left := ajar.Unavailable, int64(2)
		if step != "COMMIT" {
			want, left = "", 3
		}
		if err := <-a; ajar.KindOf(err) != want && !(want == "" && err == nil) {
			t.Errorf("%s: the one that failed: got %v, want %q", step, err, want)
		}
		if err := <-b; err != nil {
			t.Errorf("%s: one that had been refused for what did not come about: %v", step, err)
		}
		if err := <-c; !errors.Is(err, ajar.NotFound) {
			t.Errorf("%s: one that had gone on for what did not come about: got %v, want NotFound", step, err)
		}
		if err := <-d; err != nil || last.Load() {
			t.Errorf("%s: one that only looked saw what did not come about (%v)", step, err)
		}
		if n := count(t, h.Store); n != left {
			t.Errorf("%s: %d documents, want %d", step, n, left)
		}
		runs.Store(0)
		if err := h.Update(t.Context(), seen(func(ajar.Tx, bool) error { return nil })); err != nil || runs.Load() != 1 {
			t.Errorf("%s: afterwards: %v, in %d runs", step, err, runs.Load())
		}
		verified(t, h.Store)
	}
}

// Whoever tries to make what is there already is told so, though the lead was handed on before the database was asked.
func TestAWrongGuessAheadOfOthers(t *testing.T) {
	h := hold(t, insertDoc)
	h.writer.memory.clear() // so that nobody knows of it
	if err := h.View(t.Context(), func(tx ajar.Tx) error { return nil }); err != nil {
		t.Fatal(err)
	}
	warm := h.start(func(tx ajar.Tx) error { _, err := tx.RightsGen(); return err }) // and the writer remembers again
	if err := <-warm; err != nil {
		t.Fatal(err)
	}
	a := h.start(putLease("before"))
	<-h.reached
	ran := make(chan bool, 2)
	b := h.start(func(tx ajar.Tx) error {
		ran <- true
		l, err := ajar.Get[ajar.Lease](tx, "before")
		if err != nil {
			return err
		}
		l.Max++
		return tx.Put(l)
	})
	<-ran
	h.end <- nil
	if err := <-a; !errors.Is(err, ajar.Conflict) {
		t.Errorf("got %v, want Conflict", err)
	}
	if err := <-b; err != nil {
		t.Error(err)
	}
	if n := count(t, h.Store); n != 1 {
		t.Errorf("%d documents, want 1", n)
	}
}

// What another process writes while an Update runs ahead has it run again.
func TestAnotherProcessWritesMeanwhile(t *testing.T) {
	dsn := dsns(t)["sqlite"]
	s, other := mustOpen(t, dsn), mustOpen(t, dsn)
	if err := s.Update(t.Context(), putLease("before")); err != nil {
		t.Fatal(err)
	}
	runs, there := 0, false
	err := s.Update(t.Context(), func(tx ajar.Tx) error {
		runs++
		if runs == 1 {
			if err := other.Update(context.Background(), putLease("other")); err != nil {
				return err
			}
		}
		there = isThere(tx, "other")
		return putLease("own")(tx)
	})
	if err != nil || runs != 2 || !there {
		t.Errorf("%v after %d runs, and the last saw what the other wrote: %v", err, runs, there)
	}
}

// What another process has made in place of a commit that did not come about is not taken for it, though the counters
// are where they were to be.
func TestAnotherProcessWritesInPlaceOfALostCommit(t *testing.T) {
	h := hold(t, "COMMIT")
	other := mustOpen(t, "sqlite:"+h.db.(*gate).backend.(*sqliteDB).path)
	a := h.start(putLease("a"))
	<-h.reached
	ran := make(chan bool, 2)
	b := h.start(func(tx ajar.Tx) error {
		ran <- isThere(tx, "a")
		return nil
	})
	<-ran
	var once atomic.Bool
	at := func(q string) error {
		if q == "BEGIN" && once.CompareAndSwap(false, true) {
			return other.Update(context.Background(), putLease("x"))
		}
		return nil
	}
	h.db.(*gate).at.Store(&at)
	h.end <- errFault
	if err := <-a; !errors.Is(err, ajar.Unavailable) {
		t.Errorf("got %v, want Unavailable", err)
	}
	if err := <-b; err != nil {
		t.Error(err)
	}
	if there := <-ran; there {
		t.Error("what did not come about was seen, and the answer given")
	}
}

// Close waits for a commit behind which nobody leads any longer.
func TestCloseWaitsForTheLastCommit(t *testing.T) {
	for _, end := range []error{nil, errFault} {
		h := hold(t, insertDoc)
		dsn := "sqlite:" + h.db.(*gate).backend.(*sqliteDB).path
		a := h.start(putLease("a"))
		<-h.reached
		closed := make(chan error, 1)
		go func() { closed <- h.Close() }()
		for refused := false; !refused; {
			refused = errors.Is(h.Update(canceled(), putLease("late")), errClosed)
		}
		select {
		case <-closed:
			t.Fatal("it was closed under a commit")
		default:
		}
		h.end <- end
		if err := errors.Join(<-a, <-closed); err != nil {
			t.Error(err)
		}
		if n := count(t, mustOpen(t, dsn)); n != 2 {
			t.Errorf("%d documents, want 2", n)
		}
	}
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
