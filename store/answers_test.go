package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
)

// book is what a test asks of many Stores over one database: each Update reads how many there were before it and which was
// the last, and so says what its answer rests on.
type book struct {
	t      *testing.T
	reader *Store // over which nothing fails
	mu     sync.Mutex
	pages  []*page
	next   atomic.Int64
}

// page is one Update: what its last run saw, and what came of it.
type page struct {
	id    string
	n     int64
	last  string
	wrote bool
	err   error
}

const lastPage = "last"

var (
	errRefused = errors.New("refused")
	errGone    = errors.New("its goroutine has ended")
)

func newBook(t *testing.T, dsn string) *book {
	b := &book{t: t, reader: mustOpen(t, dsn)}
	if err := b.reader.Update(t.Context(), func(tx ajar.Tx) error { return tx.Put(&ajar.Lease{ID: lastPage, State: ajar.Open}) }); err != nil {
		t.Fatal(err)
	}
	return b
}

// write runs one Update and checks at once that what it was told lasts.
func (b *book) write(s *Store) {
	p := &page{id: fmt.Sprint("page ", b.next.Add(1)), err: errGone}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.pages = append(b.pages, p)
	}()
	if rand.IntN(12) == 0 {
		go cancel()
	}
	mode := rand.IntN(24)
	p.err = s.Update(ctx, func(tx ajar.Tx) error { return p.fill(tx, mode, cancel) })
	if p.unknown() {
		return
	}
	n, want := b.durable(), p.n
	if p.err == nil && p.wrote {
		want++
	}
	if n < want {
		b.t.Errorf("%s was told %v, having seen %d, when %d were durable", p.id, p.err, p.n, n)
	}
}

// fill is what the Update does.
func (p *page) fill(tx ajar.Tx, mode int, cancel func()) error {
	p.wrote = false
	l, err := ajar.Get[ajar.Lease](tx, lastPage)
	if err != nil {
		return err
	}
	p.n, p.last = int64(l.Max), l.Trouble
	switch mode {
	case 0, 1, 2:
		return nil
	case 3, 4:
		return errRefused
	case 5:
		panic(errRefused)
	case 6:
		if rand.IntN(3) == 0 {
			runtime.Goexit()
		}
	case 7, 8:
		if p.last != "" { // it is there already
			if err := tx.Put(&ajar.Lease{ID: ajar.LeaseID(p.last), State: ajar.Open}); err != nil {
				return err
			}
		}
	case 9:
		if n, err := tx.Count(ajar.KindLease, ajar.Filter{}); err != nil || n != p.n+1 {
			return errors.Join(err, fmt.Errorf("%d leases, want %d", n, p.n+1))
		}
	}
	p.wrote = true
	l.Max++
	l.Trouble = p.id
	err = errors.Join(tx.Put(l), tx.Put(&ajar.Lease{ID: ajar.LeaseID(p.id), State: ajar.Open}),
		tx.Append(ajar.Event{Action: "written", Corr: p.id, Message: fmt.Sprint(p.n, " ", p.last)}))
	if err != nil {
		return err
	}
	switch mode {
	case 10, 11:
		return errRefused
	case 12:
		_, err := tx.Count(ajar.KindLease, ajar.Filter{})
		return errors.Join(err, errRefused)
	case 13:
		cancel()
		_, err := ajar.Get[ajar.Lease](tx, lastPage)
		return err
	}
	return nil
}

// unknown reports whether its answer says nothing about what it saw.
func (p *page) unknown() bool {
	return p.open() || errors.Is(p.err, errClosed) || errors.Is(p.err, errStopped) || errors.Is(p.err, context.Canceled)
}

// open reports whether its answer leaves open whether it happened.
func (p *page) open() bool {
	return (errors.Is(p.err, ajar.Unavailable) && !errors.Is(p.err, errClosed)) || errors.Is(p.err, errGone)
}

func (b *book) durable() (n int64) {
	err := b.reader.View(context.Background(), func(tx ajar.Tx) error {
		l, err := ajar.Get[ajar.Lease](tx, lastPage)
		if err == nil {
			n = int64(l.Max)
		}
		return err
	})
	if err != nil {
		b.t.Error(err)
	}
	return n
}

// check reads the log, and compares it with what everybody was told.
func (b *book) check() {
	ids, at := []string{""}, map[string]int64{}
	err := b.reader.View(context.Background(), func(tx ajar.Tx) error {
		for {
			es, err := tx.Events(ajar.EventFilter{After: int64(len(ids) - 1), Ascending: true, Limit: 1000})
			if err != nil || len(es) == 0 {
				return err
			}
			for _, e := range es {
				if want := fmt.Sprint(len(ids)-1, " ", ids[len(ids)-1]); e.Message != want {
					b.t.Errorf("position %d rests on %q, and is behind %q", e.Pos, e.Message, want)
				}
				if at[e.Corr] != 0 {
					b.t.Errorf("%s happened at %d and at %d", e.Corr, at[e.Corr], e.Pos)
				}
				ids, at[e.Corr] = append(ids, e.Corr), e.Pos
			}
		}
	})
	if err != nil {
		b.t.Fatal(err)
	}
	if n := b.durable(); n != int64(len(ids)-1) {
		b.t.Errorf("%d were counted, and %d logged", n, len(ids)-1)
	}
	if n := count(b.t, b.reader); n != int64(len(ids)) {
		b.t.Errorf("%d leases for %d pages", n, len(ids)-1)
	}
	for _, p := range b.pages {
		switch {
		case p.err == nil && p.wrote && at[p.id] != p.n+1:
			b.t.Errorf("%s is at %d, and was told that it follows %d", p.id, at[p.id], p.n)
		case !p.open() && (p.err != nil || !p.wrote) && at[p.id] != 0:
			b.t.Errorf("%s was told %v, and happened", p.id, p.err)
		case !p.unknown() && (p.n >= int64(len(ids)) || ids[p.n] != p.last):
			b.t.Errorf("%s was told %v, resting on %q as number %d, which is %q", p.id, p.err, p.last, p.n, ids[min(p.n, int64(len(ids)-1))])
		}
		if p.err != nil && !p.unknown() && !errors.Is(p.err, errRefused) && !errors.Is(p.err, ajar.Conflict) && !strings.Contains(p.err.Error(), "panic") {
			b.t.Errorf("%s: %v", p.id, p.err)
		}
	}
	verified(b.t, b.reader)
}

// Whoever is told anything but Unavailable was told what lasts, and nothing happens that nobody was told of: with several
// Stores over one file, of which most fail at random, with contexts that are cancelled, goroutines that end, and Stores
// that are closed under their writers. AJAR_SOAK=10m in the environment has it go on for that long.
func TestAnswersRestOnWhatLasts(t *testing.T) {
	end := time.Now()
	if s := os.Getenv("AJAR_SOAK"); s != "" {
		d, err := time.ParseDuration(s)
		if err != nil {
			t.Fatal(err)
		}
		end = end.Add(d)
	}
	for again := true; again && !t.Failed(); again = time.Now().Before(end) {
		dsn := "sqlite:" + filepath.Join(t.TempDir(), "ajar.db")
		b := newBook(t, dsn)
		for round := range 5 {
			b.round(dsn, round%2 == 0)
		}
		b.check()
	}
}

const pagesPerRound = 180

// round opens Stores, has twelve write, and closes the Stores, which may be before they are through.
func (b *book) round(dsn string, bad bool) {
	var stores []*Store
	for i := range 1 + rand.IntN(3) {
		s, err := Open(b.t.Context(), dsn, Options{MaxBatch: []int{0, 1, 2, 7}[rand.IntN(4)]})
		if err != nil {
			b.t.Fatal(err)
		}
		s.index.stop() // which has begun already
		if rand.IntN(3) == 0 {
			forgetful(s)
		}
		if i == 0 || bad {
			s.db = &badLine{s.db}
		}
		s.index = newIndexer(s)
		s.index.wake()
		stores = append(stores, s)
	}
	half := b.next.Load() + pagesPerRound/2
	var done sync.WaitGroup
	for i := range 12 {
		done.Go(func() {
			for range pagesPerRound / 12 {
				var one sync.WaitGroup // whose goroutine may end
				one.Go(func() { b.write(stores[i%len(stores)]) })
				one.Wait()
			}
		})
	}
	if rand.IntN(2) == 0 {
		for b.next.Load() < half {
			runtime.Gosched()
		}
	} else {
		done.Wait()
	}
	for _, s := range stores {
		if err := s.Close(); err != nil {
			b.t.Error(err)
		}
	}
	done.Wait()
}

// Of Updates that are tried alone each has its own answer, though a goroutine ended between them.
func TestEndedGoroutineAmongThoseTriedAlone(t *testing.T) {
	h := hold(t, insertDoc)
	x := h.start(putLease("x"))
	<-h.reached
	ran := make(chan bool, 9)
	started := func(fn func(ajar.Tx) error) chan error {
		answer := h.start(func(tx ajar.Tx) error {
			defer func() { ran <- true }()
			return fn(tx)
		})
		<-ran
		return answer
	}
	started(putLease("leader"))
	a, runs := started(putLease("a")), 0
	b := started(func(tx ajar.Tx) error {
		if runs++; runs == 2 {
			runtime.Goexit()
		}
		return putLease("b")(tx)
	})
	c := started(putLease("c"))
	var once atomic.Bool
	at := func(q string) error {
		if strings.HasPrefix(q, insertDoc) && once.CompareAndSwap(false, true) {
			return errFault
		}
		return nil
	}
	h.db.(*gate).at.Store(&at)
	h.end <- nil
	if err := errors.Join(<-x, <-a); err != nil {
		t.Errorf("one that was through: %v", err)
	}
	for _, answer := range []chan error{b, c} {
		if err := <-answer; !errors.Is(err, errStopped) {
			t.Errorf("one that was not: %v", err)
		}
	}
	if err := h.Update(t.Context(), putLease("d")); err != nil {
		t.Error(err)
	}
	if n := count(t, h.Store); n != 5 {
		t.Errorf("%d documents, want 5", n)
	}
}

// What an Update read of its own work is forgotten when that is undone, by a refusal or a fault.
func TestFaultsLeaveNothingInMind(t *testing.T) {
	s := mustOpen(t, "sqlite:"+filepath.Join(t.TempDir(), "ajar.db"))
	now := time.UnixMilli(1).UTC()
	claim := func(owner string) (ok bool) {
		err := s.Update(t.Context(), func(tx ajar.Tx) (err error) {
			_, ok, err = tx.Claim("ep", now, time.Hour, owner)
			return err
		})
		if err != nil {
			t.Error(err)
		}
		return ok
	}
	if err := s.Update(t.Context(), func(tx ajar.Tx) error { return errors.Join(tx.Put(&ajar.Endpoint{ID: "ep"}), putLease("l")(tx)) }); err != nil {
		t.Fatal(err)
	}
	if !claim("one") {
		t.Fatal("a free endpoint was not given")
	}
	g := &gate{backend: s.db}
	at := func(q string) error {
		if strings.HasPrefix(q, "DELETE") {
			return errFault
		}
		return nil
	}
	g.at.Store(&at)
	s.db = g
	for _, end := range []func(ajar.Tx) error{
		func(ajar.Tx) error { return errRefused },
		func(tx ajar.Tx) error { return tx.Delete(ajar.KindLease, "l") },
	} {
		runs := 0
		err := s.Update(t.Context(), func(tx ajar.Tx) error {
			if runs++; runs > 1 {
				return errRefused
			}
			return errors.Join(tx.DropClaims("one"), tx.MarkDue("ep", now), end(tx))
		})
		if !errors.Is(err, errRefused) {
			t.Errorf("got %v in %d runs", err, runs)
		}
		if claim("two") {
			t.Errorf("what one has was given to two, after %d runs", runs)
		}
	}
}

// A document is as it was when the Update that wrote it met a fault and runs again.
func TestStampsAreAsTheyWereBehindAFault(t *testing.T) {
	s := mustOpen(t, "sqlite:"+filepath.Join(t.TempDir(), "ajar.db"))
	if err := s.Update(t.Context(), putLease("l")); err != nil {
		t.Fatal(err)
	}
	g := &gate{backend: s.db}
	var once atomic.Bool
	at := func(q string) error {
		if strings.HasPrefix(q, "DELETE") && once.CompareAndSwap(false, true) {
			return errFault
		}
		return nil
	}
	g.at.Store(&at)
	s.db = g
	doc, runs := &ajar.Lease{ID: "new"}, 0
	err := s.Update(t.Context(), func(tx ajar.Tx) error {
		runs++
		return errors.Join(tx.Put(doc), tx.Delete(ajar.KindLease, "l"))
	})
	if err != nil || runs != 2 || doc.Rev != 1 {
		t.Errorf("%v after %d runs, and it has rev %d", err, runs, doc.Rev)
	}
}
