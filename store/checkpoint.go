package store

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// How long commits gather in SQLite's write-ahead log before they are copied into the file, how often that is tried
// while others go on writing, and from how many pages on the log is worth beginning anew. If all of that fails the
// writer copies by itself at walMost.
const (
	walPause  = time.Second
	walPasses = 3
	walBusy   = 4000
	walMost   = 100_000
)

// checkpointer copies the write-ahead log into the database's file, on a connection of its own: copying on the
// writer's, which is SQLite's way, has a commit wait for thousands of pages and two waits for the disk.
type checkpointer struct {
	db    *sqliteDB
	log   *slog.Logger
	woken chan struct{}
	end   context.CancelFunc
	ended sync.WaitGroup
	// finish asks the writer to copy the little that was written while others were copied; then its next commit finds
	// the whole log copied and begins it anew.
	finish atomic.Bool
}

func newCheckpointer(db *sqliteDB, log *slog.Logger) *checkpointer {
	ctx, cancel := context.WithCancel(context.Background())
	k := &checkpointer{db: db, log: log, woken: make(chan struct{}, 1), end: cancel}
	k.ended.Go(func() { k.run(ctx) })
	return k
}

// finishBy copies the rest if that is asked for. The writer calls it between transactions.
func (k *checkpointer) finishBy(writer *sqliteConn) {
	if !k.finish.CompareAndSwap(true, false) {
		return
	}
	if _, err := writer.checkpoint(); err != nil {
		k.log.Warn("cannot copy the end of the write-ahead log", "err", err)
	}
}

// wake says that the log has grown.
func (k *checkpointer) wake() {
	select {
	case k.woken <- struct{}{}:
	default:
	}
}

func (k *checkpointer) stop() {
	k.end()
	k.ended.Wait()
}

func (k *checkpointer) run(ctx context.Context) {
	var c *sqliteConn
	defer func() {
		if c != nil {
			if err := c.close(); err != nil {
				k.log.Warn("cannot close a database connection", "err", err)
			}
		}
	}()
	for {
		select {
		case <-k.woken:
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(walPause):
		case <-ctx.Done():
			return
		}
		if c == nil {
			var err error
			if c, err = k.db.open(false); err != nil {
				k.log.Warn("cannot copy the write-ahead log", "err", err)
				continue
			}
		}
		k.pass(ctx, c)
	}
}

// pass copies what there is, and what came meanwhile, until that is little.
func (k *checkpointer) pass(ctx context.Context, c *sqliteConn) {
	for range walPasses {
		pages, err := c.checkpoint()
		if err != nil {
			k.log.Warn("cannot copy the write-ahead log", "err", err)
			return
		}
		if pages < walBusy || ctx.Err() != nil {
			return
		}
	}
	k.finish.Store(true)
}

// checkpoint copies what no reader needs to find in the log, without waiting for anybody, and says how many pages the
// log has.
func (c *sqliteConn) checkpoint() (pages int64, err error) {
	err = c.query(context.Background(), "PRAGMA wal_checkpoint(PASSIVE)", nil, func(r row) error {
		pages = r.int(1)
		return nil
	})
	return pages, err
}

// walWide is the size that the write-ahead log is given at once. To wait for the disk takes twice as long where a file
// grows with it.
const walWide = 8 << 20

// widenLog writes zeros behind the end of the write-ahead log, which SQLite takes for no frame: none has the salt of
// the log's header. It holds the lock of those who write, so that nobody appends meanwhile, be it another process. SQLite
// has no lock on the very file, so that closing it here takes none away.
func (db *sqliteDB) widenLog(ctx context.Context) (err error) {
	if _, err := db.write.run("BEGIN IMMEDIATE", nil); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.write.rollback(ctx)) }()
	f, err := os.OpenFile(db.path+"-wal", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && info.Size() < walWide {
		_, err = f.WriteAt(make([]byte, walWide-info.Size()), info.Size())
	}
	return errors.Join(err, f.Close())
}
