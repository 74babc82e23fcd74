package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ajar-access/ajar"
)

// Store is an ajar.Store over a database.
type Store struct {
	db     backend
	writer *writer
	index  *indexer
	log    *slog.Logger
	clock  ajar.Clock
	sign   atomic.Pointer[func(head []byte) []byte]
}

// Options are what Open can be told. The zero value will do.
type Options struct {
	Log      *slog.Logger             // nil = silent
	Clock    ajar.Clock               // dates events that have no time, and backups; nil = the machine's
	Sign     func(head []byte) []byte // signs the heads of the log; nil = not yet, see SetSigner
	MaxBatch int                      // the most Updates in one commit; 0 = 256
}

// Open opens the database that dsn names, sqlite:/path/to/file or postgres://…, makes it if it is an SQLite file that
// does not exist, and brings its schema up to date.
func Open(ctx context.Context, dsn string, o Options) (*Store, error) {
	s := &Store{log: o.Log, clock: o.Clock}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.clock == nil {
		s.clock = time.Now
	}
	s.SetSigner(o.Sign)
	scheme, rest, _ := strings.Cut(dsn, ":")
	var err error
	switch scheme {
	case "sqlite":
		s.db, err = openSQLite(ctx, strings.TrimPrefix(rest, "//"), s.log)
	case "postgres", "postgresql":
		s.db, err = openPostgres(ctx, dsn, s.log)
	default:
		return nil, ajar.Errorf(ajar.Invalid, "the database is named sqlite:/path/to/file or postgres://user@host/name, not %q", scheme)
	}
	if err != nil {
		return nil, err
	}
	s.writer = newWriter(s, o.MaxBatch)
	if db, ok := s.db.(*postgresDB); ok {
		db.acked, db.news.clock = s.writer.acked.Load, s.clock
	}
	s.index = newIndexer(s)
	switch behind, err := s.index.behind(ctx); {
	case err != nil:
		return nil, errors.Join(err, s.Close())
	case behind:
		s.index.wake() // what was left
	}
	return s, nil
}

// SetSigner gives the log its signature from the next commit on. The key is itself kept in the store, which is why it
// can come late.
func (s *Store) SetSigner(sign func(head []byte) []byte) {
	if sign == nil {
		sign = func([]byte) []byte { return nil }
	}
	s.sign.Store(&sign)
}

// Shared reports whether other processes can work over the same database.
func (s *Store) Shared() bool { return s.db.dialect() == postgresDialect }

// Update runs fn behind all other Updates and makes what it did durable, together with those that came in meanwhile.
// It implements ajar.Store.
func (s *Store) Update(ctx context.Context, fn func(ajar.Tx) error) error {
	return s.writer.do(ctx, fn)
}

// View runs fn on one snapshot that has everything committed so far. It implements ajar.Store.
func (s *Store) View(ctx context.Context, fn func(ajar.Tx) error) error {
	c, done, err := s.db.reader(ctx)
	if err != nil {
		err, _ := s.db.classify(err)
		return err
	}
	defer done()
	if err := c.begin(ctx, false); err != nil {
		err, _ := s.db.classify(err)
		return err
	}
	t := &tx{ctx: ctx, c: c, store: s}
	defer func() {
		t.over = true
		if err := c.rollback(context.WithoutCancel(ctx)); err != nil {
			s.log.Warn("cannot end a read transaction", "err", err)
		}
	}()
	return call(fn, t)
}

// Ready answers nil if the store can be read and, as far as is known, written to. Where the last write failed it tries
// another, which changes nothing.
func (s *Store) Ready(ctx context.Context) error {
	if err := s.View(ctx, func(tx ajar.Tx) error { _, err := tx.RightsGen(); return err }); err != nil || !s.writer.failed.Load() {
		return err
	}
	if !s.writer.trial.TryLock() {
		return ajar.Errorf(ajar.Unavailable, "the database could not be written to, and is being tried")
	}
	defer s.writer.trial.Unlock()
	return s.Update(ctx, func(at ajar.Tx) error {
		return at.(*tx).later(1, "UPDATE counters SET seq = seq WHERE id = 1")
	})
}

// Close waits for what runs, refuses what comes, and closes the database.
func (s *Store) Close() error {
	if !s.writer.stop() {
		return nil
	}
	s.index.stop()
	return s.db.close()
}

var errClosed = ajar.Errorf(ajar.Unavailable, "the store is closed")

// call runs fn. A panic in it is our fault, not a reason to take everybody else's Update down.
func call(fn func(ajar.Tx) error, t *tx) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = ajar.Because(ajar.Internal, fmt.Errorf("panic: %v\n%s", p, debug.Stack()), "panic in a transaction")
		}
	}()
	err = fn(t)
	if t.broken != nil {
		return errors.Join(t.broken, err)
	}
	return err
}
