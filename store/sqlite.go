package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/ajar-access/ajar"
	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"
)

// sqliteDB is a database in a file: one connection that writes, some that read. The driver is spoken to directly;
// database/sql would add a lock and a goroutine to every statement for a pool that is not needed.
type sqliteDB struct {
	path    string
	write   *sqliteConn
	slots   chan struct{}    // one for every reader in use
	readers chan *sqliteConn // that are idle
	closed  chan struct{}
	wal     *checkpointer
}

// The most readers at once, and the page cache of each connection in KiB. The writer's also holds what one commit
// changes.
const (
	sqliteReaders     = 8
	sqliteReaderCache = 4 << 10
	sqliteWriterCache = 32 << 10
)

func openSQLite(ctx context.Context, path string, log *slog.Logger) (*sqliteDB, error) {
	if path == "" || strings.HasPrefix(path, ":memory:") {
		return nil, ajar.Errorf(ajar.Invalid, "the database must be a file: sqlite:/path/to/ajar.db")
	}
	if err := privateFile(path); err != nil {
		return nil, err
	}
	db := &sqliteDB{path: path, slots: make(chan struct{}, sqliteReaders), readers: make(chan *sqliteConn, sqliteReaders), closed: make(chan struct{})}
	pool, err := sql.Open("sqlite", db.dsn(false))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	pool.SetMaxOpenConns(1)
	err = migrate(ctx, pool, sqliteDialect, log)
	if err = errors.Join(err, pool.Close()); err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	if db.write, err = db.open(false); err != nil {
		return nil, err
	}
	if err := db.widenLog(ctx); err != nil {
		log.Warn("commits are slower at first", "err", err)
	}
	db.wal = newCheckpointer(db, log)
	db.write.wal = db.wal
	return db, nil
}

// privateFile makes the database's file, for its owner alone, where there is none: SQLite would make it readable for
// everybody, and gives its journal the same mode.
func privateFile(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return ajar.Because(ajar.Unavailable, err, "cannot open the database file %s", path)
	}
	return f.Close()
}

func (db *sqliteDB) dsn(readOnly bool) string {
	q := url.Values{"_pragma": {
		"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)", "temp_store(MEMORY)",
		fmt.Sprintf("cache_size(-%d)", sqliteWriterCache), fmt.Sprintf("wal_autocheckpoint(%d)", walMost), "journal_size_limit(268435456)",
	}}
	if readOnly {
		q = url.Values{"_pragma": {"busy_timeout(10000)", "query_only(1)", "temp_store(MEMORY)", fmt.Sprintf("cache_size(-%d)", sqliteReaderCache)}}
	}
	abs, err := filepath.Abs(db.path)
	if err != nil {
		abs = db.path
	}
	return (&url.URL{Scheme: "file", Path: abs, RawQuery: q.Encode()}).String()
}

func (db *sqliteDB) open(readOnly bool) (*sqliteConn, error) {
	c, err := new(sqlite.Driver).Open(db.dsn(readOnly))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", db.path, err)
	}
	return &sqliteConn{c: c, statements: map[string]driver.Stmt{}}, nil
}

func (db *sqliteDB) dialect() *dialect { return sqliteDialect }

func (db *sqliteDB) ahead() bool { return true }

func (db *sqliteDB) tell(context.Context, *batch) error { return nil }

func (db *sqliteDB) writer(context.Context) (conn, error) { return db.write, nil }

func (db *sqliteDB) reader(ctx context.Context) (conn, func(), error) {
	select {
	case <-db.closed:
		return nil, nil, errClosed
	default:
	}
	select {
	case db.slots <- struct{}{}:
	case <-db.closed:
		return nil, nil, errClosed
	case <-ctx.Done():
		return nil, nil, fmt.Errorf("wait for a database connection: %w", context.Cause(ctx))
	}
	select {
	case c := <-db.readers:
		return c, func() { db.readers <- c; <-db.slots }, nil
	default:
	}
	c, err := db.open(true)
	if err != nil {
		<-db.slots
		return nil, nil, err
	}
	return c, func() { db.readers <- c; <-db.slots }, nil
}

func (db *sqliteDB) close() error {
	close(db.closed)
	db.wal.stop()
	for range sqliteReaders {
		db.slots <- struct{}{} // waits for Views that still run
	}
	close(db.readers)
	var errs []error
	for c := range db.readers {
		errs = append(errs, c.close())
	}
	return errors.Join(append(errs, db.write.close())...)
}

func (db *sqliteDB) classify(err error) (error, bool) {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return err, false
	}
	switch e.Code() & 0xff {
	case lib.SQLITE_BUSY, lib.SQLITE_LOCKED:
		return ajar.Because(ajar.Unavailable, err, "the database is busy; try again"), true
	case lib.SQLITE_FULL, lib.SQLITE_IOERR, lib.SQLITE_READONLY, lib.SQLITE_CANTOPEN, lib.SQLITE_NOMEM:
		return ajar.Because(ajar.Unavailable, err, "the database cannot be written to now"), true
	}
	return ajar.Because(ajar.Internal, err, "database fault"), false
}

// sqliteConn keeps every statement that it prepared; there are a few dozen texts.
type sqliteConn struct {
	c          driver.Conn
	statements map[string]driver.Stmt
	wal        *checkpointer // of the writer

	armed bool // inside a part
	dirty bool // the transaction has writes of parts that were kept
	wrote bool // the part has written
	saved bool // the part has a savepoint
	wary  int  // for how many transactions yet parts have savepoints
}

// How many transactions are run with savepoints after one in which they were missed.
const waryFor = 20

func (c *sqliteConn) begin(_ context.Context, write bool) error {
	q := "BEGIN"
	if write {
		q = "BEGIN IMMEDIATE"
		c.wal.finishBy(c)
	}
	c.armed, c.dirty, c.wrote, c.saved = false, false, false, false
	c.wary = max(c.wary-1, 0)
	_, err := c.run(q, nil)
	return err
}

func (c *sqliteConn) careful(on bool) {
	if on {
		c.wary = waryFor
	}
}

// part, undo and keep do without savepoints as long as nobody is refused after writing, which is rare: with one, every
// page that a part changes is copied first.
func (c *sqliteConn) part(shared bool) {
	c.armed, c.wrote, c.saved, c.dirty = true, false, false, c.dirty || shared
}

func (c *sqliteConn) undo(ctx context.Context) (whole bool, err error) {
	switch {
	case c.saved:
		if _, err = c.run("ROLLBACK TO part", nil); err == nil {
			_, err = c.run("RELEASE part", nil)
		}
	case c.wrote && c.dirty:
		err = errGuess
	case c.wrote:
		whole, err = true, c.rollback(ctx)
	}
	c.armed = false
	return whole, err
}

func (c *sqliteConn) keep(context.Context) (err error) {
	if c.saved {
		_, err = c.run("RELEASE part", nil)
	}
	c.dirty = c.dirty || c.wrote
	c.armed = false
	return err
}

func (c *sqliteConn) exec(_ context.Context, q string, args ...any) (int64, error) {
	if c.armed && !c.wrote {
		c.wrote = true
		if c.dirty && c.wary > 0 {
			if _, err := c.run("SAVEPOINT part", nil); err != nil {
				return 0, err
			}
			c.saved = true
		}
	}
	c.dirty = c.dirty || !c.armed
	return c.run(q, args)
}

func (c *sqliteConn) run(q string, args []any) (int64, error) {
	s, err := c.prepare(q)
	if err != nil {
		return 0, err
	}
	// The driver's context would cost a goroutine for each statement. Statements are short; whoever runs many of them
	// looks at the context in between.
	res, err := s.(driver.StmtExecContext).ExecContext(context.Background(), named(args))
	if err != nil {
		return 0, fmt.Errorf("%s: %w", q, err)
	}
	return res.RowsAffected()
}

func (c *sqliteConn) later(ctx context.Context, want int64, q string, args ...any) error {
	n, err := c.exec(ctx, q, args...)
	if err == nil && want != anyRows && n != want {
		err = errGuess
	}
	return err
}

func (c *sqliteConn) query(_ context.Context, q string, args []any, each func(row) error) (err error) {
	s, err := c.prepare(q)
	if err != nil {
		return err
	}
	rows, err := s.(driver.StmtQueryContext).QueryContext(context.Background(), named(args))
	if err != nil {
		return fmt.Errorf("%s: %w", q, err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	r := make(sqliteRow, len(rows.Columns()))
	for {
		if err := rows.Next(r); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("%s: %w", q, err)
		}
		if err := each(r); err != nil {
			return err
		}
	}
}

func (c *sqliteConn) prepare(q string) (driver.Stmt, error) {
	if s := c.statements[q]; s != nil {
		return s, nil
	}
	s, err := c.c.Prepare(sqliteDialect.bind(q))
	if err != nil {
		return nil, fmt.Errorf("prepare %s: %w", q, err)
	}
	c.statements[q] = s
	return s, nil
}

func (c *sqliteConn) flush(context.Context) error { return nil }

func (c *sqliteConn) commit(context.Context) error {
	c.armed = false
	_, err := c.run("COMMIT", nil)
	c.wal.wake()
	return err
}

func (c *sqliteConn) rollback(context.Context) error {
	c.armed = false
	_, err := c.run("ROLLBACK", nil)
	if err != nil && strings.Contains(err.Error(), "no transaction is active") {
		return nil // the fault that led here already undid it
	}
	return err
}

func (c *sqliteConn) close() error {
	var errs []error
	for _, s := range c.statements {
		errs = append(errs, s.Close())
	}
	return errors.Join(append(errs, c.c.Close())...)
}

func named(args []any) []driver.NamedValue {
	nv := make([]driver.NamedValue, len(args))
	for i, a := range args {
		nv[i] = driver.NamedValue{Ordinal: i + 1, Value: a}
	}
	return nv
}

type sqliteRow []driver.Value

func (r sqliteRow) text(i int) string {
	switch v := r[i].(type) {
	case string:
		return v
	case []byte:
		return string(v)
	}
	return ""
}

func (r sqliteRow) int(i int) int64 {
	v, _ := r[i].(int64)
	return v
}

func (r sqliteRow) bytes(i int) []byte {
	if v, ok := r[i].([]byte); ok && v != nil {
		return v
	}
	return []byte{} // which the driver does not tell from NULL; no such column may be NULL
}
