package store

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/jackc/puddle/v2"
)

// postgresDB is a database on a server: one connection that writes, a pool that reads.
type postgresDB struct {
	config *pgx.ConnConfig
	pool   *pgxpool.Pool
	write  *postgresConn
	news   *news
	acked  func() *counters // as this Store's last commit left them; nil = it has made none
}

// The advisory locks that make the writers, and the migrations, of all replicas one.
const (
	writerLock    = 0x616a6172_0001
	migrationLock = 0x616a6172_0002
)

// replicaName is what our sessions are called at the server. Its number moves when replicas cannot work beside those of
// the version before, together with a migration, by which those cannot be started any longer. 2: every write moves the
// counters, by which the others know that what they remember is out of date.
const replicaName = "ajar/2"

// How long the sessions of a replica that was stopped a moment ago may take to go.
const replicaPatience = 3 * time.Second

// The oldest server that the tests run on.
const postgresOldest = 150000

func openPostgres(ctx context.Context, dsn string, log *slog.Logger) (*postgresDB, error) {
	pc, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, ajar.Because(ajar.Invalid, err, "the PostgreSQL address cannot be read; it looks like postgres://user@host:5432/name")
	}
	params := pc.ConnConfig.RuntimeParams
	params["application_name"] = replicaName
	// A replica that freezes inside a write transaction holds up all others; the server ends it.
	params["idle_in_transaction_session_timeout"] = "15000"
	if pc.ConnConfig.ValidateConnect == nil {
		// A standby would show what was true a while ago, and takes no writes: of several servers the primary is taken.
		pc.ConnConfig.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	db := &postgresDB{config: pc.ConnConfig, news: newNews()}
	if err := db.prepare(ctx, log); err != nil {
		return nil, fmt.Errorf("open PostgreSQL database %s on %s: %w", pc.ConnConfig.Database, pc.ConnConfig.Host, err)
	}
	if db.pool, err = pgxpool.NewWithConfig(ctx, pc); err != nil {
		return nil, err
	}
	if _, err = db.writer(ctx); err != nil {
		db.pool.Close()
		return nil, err
	}
	return db, nil
}

// prepare checks the server and migrates, one replica at a time.
func (db *postgresDB) prepare(ctx context.Context, log *slog.Logger) (err error) {
	pool := stdlib.OpenDB(*db.config)
	defer func() { err = errors.Join(err, pool.Close()) }()
	c, err := pool.Conn(ctx)
	if err != nil {
		return ajar.Because(ajar.Unavailable, err, "the database server cannot be reached")
	}
	defer c.Close()
	var version int
	if err := c.QueryRowContext(ctx, "SELECT current_setting('server_version_num')::int").Scan(&version); err != nil {
		return err
	}
	if version < postgresOldest {
		return ajar.Errorf(ajar.Invalid, "the server has version %d; PostgreSQL 15 or newer is needed", version/10000)
	}
	if _, err := c.ExecContext(ctx, "SELECT pg_advisory_lock($1)", int64(migrationLock)); err != nil {
		return err
	}
	defer func() {
		_, e := c.ExecContext(context.WithoutCancel(ctx), "SELECT pg_advisory_unlock($1)", int64(migrationLock))
		err = errors.Join(err, e)
	}()
	if err := mustBeAlike(ctx, c); err != nil {
		return err
	}
	return migrate(ctx, pool, postgresDialect, log)
}

// mustBeAlike refuses to work beside replicas of a version that ours cannot.
func mustBeAlike(ctx context.Context, c *sql.Conn) error {
	const q = `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name <> $1
		AND (application_name = 'ajar' OR application_name LIKE 'ajar/%')`
	tick := time.NewTicker(replicaPatience / 30)
	defer tick.Stop()
	for end := time.Now().Add(replicaPatience); ; {
		n := 0
		if err := c.QueryRowContext(ctx, q, replicaName).Scan(&n); err != nil || n == 0 {
			return err
		}
		if time.Now().After(end) {
			return ajar.Errorf(ajar.Unavailable, "a replica of another version works with the database and would not see what this one writes, nor this one what that one does; stop all of them first (pg_stat_activity has its %d sessions)", n)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (db *postgresDB) dialect() *dialect { return postgresDialect }

func (db *postgresDB) ahead() bool { return false }

func (db *postgresDB) tell(ctx context.Context, b *batch) error { return db.news.tell(ctx, b) }

func (db *postgresDB) writer(ctx context.Context) (conn, error) {
	if db.write != nil && !db.write.c.IsClosed() {
		return db.write, nil
	}
	config, said := db.config.Copy(), new(warning)
	config.OnNotice = said.hear
	c, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	// A server may be set up to acknowledge before it wrote. We may not.
	_, err = c.Exec(ctx, "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'")
	if err != nil {
		return nil, errors.Join(err, c.Close(ctx))
	}
	if err := db.mustHaveAcked(ctx, c); err != nil {
		return nil, errors.Join(err, c.Close(ctx))
	}
	db.write = &postgresConn{c: c, said: said}
	return db.write, nil
}

// mustHaveAcked refuses to write to a server that has not what this Store was told is durable: a standby that was behind
// when it took over, or a primary from which a standby had taken over. What is remembered is not so there, and the log
// would have two ends.
func (db *postgresDB) mustHaveAcked(ctx context.Context, c *pgx.Conn) error {
	if db.acked == nil || db.acked() == nil {
		return nil
	}
	n, head := db.acked(), []byte(nil)
	err := c.QueryRow(ctx, "SELECT head FROM log_batches WHERE last = $1", n.pos).Scan(&head)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	if !bytes.Equal(head, n.head) {
		return ajar.Errorf(ajar.Unavailable, "the database server has not what was made durable up to position %d of the activity log: it is not the one that was written to, or it lost the end. Look which server is right, and start ajard anew to go on with this one", n.pos)
	}
	return nil
}

func (db *postgresDB) reader(ctx context.Context) (conn, func(), error) {
	c, err := db.pool.Acquire(ctx)
	if errors.Is(err, puddle.ErrClosedPool) {
		return nil, nil, errClosed
	} else if err != nil {
		return nil, nil, err
	}
	return &postgresConn{c: c.Conn()}, c.Release, nil
}

func (db *postgresDB) close() error {
	db.pool.Close()
	if db.write == nil {
		return nil
	}
	return db.write.close()
}

func (db *postgresDB) classify(err error) (error, bool) {
	var known *ajar.Error
	if err == nil || errors.As(err, &known) {
		return err, false
	}
	var e *pgconn.PgError
	if errors.As(err, &e) {
		switch e.Code[:2] {
		case "40": // serialization, deadlock
			return ajar.Because(ajar.Unavailable, err, "the database is busy; try again"), true
		case "08", "53", "57", "25", "55": // connection, resources, shutdown, read-only or ended transaction, lock
			return ajar.Because(ajar.Unavailable, err, "the database cannot be written to now"), true
		}
		return ajar.Because(ajar.Internal, err, "database fault"), false
	}
	if errors.Is(err, errGuess) {
		return ajar.Because(ajar.Internal, err, "database fault"), false
	}
	return ajar.Because(ajar.Unavailable, err, "the database cannot be reached"), true
}

// postgresConn sends statements whose answer nobody waits for together with the next one that somebody does wait for:
// a round trip costs as much as ten of them. What is still queued when an Update is refused was never sent, and needs
// no savepoint to be undone.
type postgresConn struct {
	c     *pgx.Conn
	said  *warning // of the connection that writes
	queue []statement

	armed bool // inside a part
	from  int  // where the part begins in the queue
	dirty bool // the transaction has writes of parts that were kept
	sent  bool // writes of the part were sent
	saved bool // behind a savepoint
}

// warning is the last that the server gave.
type warning struct{ last *pgconn.Notice }

func (w *warning) hear(_ *pgconn.PgConn, n *pgconn.Notice) {
	if n.SeverityUnlocalized == "WARNING" {
		w.last = n
	}
}

type statement struct {
	q    string
	args []any
	want int64
}

var errGuess = errors.New("an answer given in advance was wrong")

func (c *postgresConn) begin(_ context.Context, write bool) error {
	*c = postgresConn{c: c.c, said: c.said, queue: c.queue[:0]}
	if !write {
		c.enqueue("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
		return nil
	}
	// Read committed: what is read after the lock is taken was committed by whoever held it before.
	c.enqueue("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
	c.enqueue("SELECT pg_advisory_xact_lock($1)", int64(writerLock))
	return nil
}

func (c *postgresConn) enqueue(q string, args ...any) {
	c.queue = append(c.queue, statement{q, args, anyRows})
}

func (c *postgresConn) later(_ context.Context, want int64, q string, args ...any) error {
	c.queue = append(c.queue, statement{q, args, want})
	c.dirty = c.dirty || !c.armed
	return nil
}

func (c *postgresConn) exec(ctx context.Context, q string, args ...any) (n int64, err error) {
	c.enqueue(q, args...)
	err = c.send(ctx, func(br pgx.BatchResults) error {
		tag, err := br.Exec()
		n = tag.RowsAffected()
		return err
	})
	return n, err
}

func (c *postgresConn) query(ctx context.Context, q string, args []any, each func(row) error) error {
	queued := len(c.queue)
	c.enqueue(q, args...)
	if queued == c.from {
		c.from++ // a read is not a write of the part
	}
	return c.send(ctx, func(br pgx.BatchResults) error {
		rows, err := br.Query()
		if err != nil {
			return err
		}
		defer rows.Close()
		r := postgresRow{rows}
		for rows.Next() {
			if err := each(r); err != nil {
				return err
			}
		}
		return rows.Err()
	})
}

// flush sends what is queued and checks what was answered in advance.
func (c *postgresConn) flush(ctx context.Context) error { return c.send(ctx, nil) }

// send sends the queue; last reads the answer to its last statement.
func (c *postgresConn) send(ctx context.Context, last func(pgx.BatchResults) error) (err error) {
	if len(c.queue) == 0 {
		return nil
	}
	b := &pgx.Batch{}
	for i, s := range c.queue {
		if c.armed && i == c.from {
			if c.dirty && !c.saved {
				b.Queue("SAVEPOINT part")
				c.saved = true
			}
			c.sent = true
		}
		b.Queue(s.q, s.args...)
	}
	queue, extra := c.queue, b.Len()-len(c.queue)
	from := c.from
	c.queue, c.from = c.queue[:0], 0
	br := c.c.SendBatch(ctx, b)
	defer func() { err = errors.Join(err, br.Close()) }()
	for i, s := range queue {
		if extra == 1 && i == from {
			if _, err := br.Exec(); err != nil {
				return fmt.Errorf("SAVEPOINT part: %w", err)
			}
		}
		if i == len(queue)-1 && last != nil {
			if err := last(br); err != nil {
				return fmt.Errorf("%s: %w", s.q, err)
			}
			continue
		}
		tag, err := br.Exec()
		if err != nil {
			return fmt.Errorf("%s: %w", s.q, err)
		}
		if s.want != anyRows && tag.RowsAffected() != s.want {
			return errGuess
		}
	}
	return nil
}

func (c *postgresConn) careful(bool) {}

func (c *postgresConn) part(shared bool) {
	c.armed, c.from, c.sent, c.saved, c.dirty = true, len(c.queue), false, false, c.dirty || shared
}

func (c *postgresConn) undo(ctx context.Context) (whole bool, err error) {
	if c.guessed() {
		// Perhaps it was refused for what it was wrongly told.
		if err := c.flush(ctx); err != nil {
			return false, err
		}
	}
	c.queue = c.queue[:c.from]
	c.armed = false
	switch {
	case c.saved:
		c.enqueue("ROLLBACK TO SAVEPOINT part")
		c.enqueue("RELEASE SAVEPOINT part")
	case c.sent:
		return true, c.rollback(ctx)
	}
	return false, nil
}

// guessed reports whether an answer given in advance to this part is still unknown.
func (c *postgresConn) guessed() bool {
	for _, s := range c.queue[c.from:] {
		if s.want != anyRows {
			return true
		}
	}
	return false
}

func (c *postgresConn) keep(context.Context) error {
	if c.saved {
		c.enqueue("RELEASE SAVEPOINT part")
	}
	c.dirty, c.armed = true, false
	return nil
}

func (c *postgresConn) commit(ctx context.Context) error {
	c.said.last = nil
	tag, err := c.c.Exec(ctx, "COMMIT")
	switch w := c.said.last; {
	case err != nil:
	case tag.String() != "COMMIT":
		err = fmt.Errorf("the server answered COMMIT with %s", tag)
	case w != nil: // it was told not to wait for its standby any longer, and calls that a success
		err = fmt.Errorf("the server answered COMMIT, but warns: %s (%s)", w.Message, w.Detail)
	}
	return err
}

func (c *postgresConn) rollback(ctx context.Context) error {
	c.queue, c.armed, c.from = c.queue[:0], false, 0
	if c.c.IsClosed() || c.c.PgConn().TxStatus() == 'I' {
		return nil
	}
	if _, err := c.c.Exec(ctx, "ROLLBACK"); err != nil {
		return errors.Join(err, c.c.Close(ctx))
	}
	return nil
}

func (c *postgresConn) close() error { return c.c.Close(context.Background()) }

// postgresRow reads columns from their wire form: the statements ask for text, bytes and integers alone.
type postgresRow struct{ rows pgx.Rows }

func (r postgresRow) text(i int) string { return string(r.rows.RawValues()[i]) }

func (r postgresRow) int(i int) int64 {
	switch b := r.rows.RawValues()[i]; len(b) {
	case 8:
		return int64(binary.BigEndian.Uint64(b))
	case 4:
		return int64(int32(binary.BigEndian.Uint32(b)))
	}
	return 0
}

func (r postgresRow) bytes(i int) []byte { return append([]byte{}, r.rows.RawValues()[i]...) }
