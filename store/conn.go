package store

import "context"

// conn is one connection to a database, used by one goroutine at a time. Placeholders are $1, $2, …; arguments are
// strings, int64s, byte slices and nil.
type conn interface {
	// begin starts a transaction: one that only reads, from one snapshot, or one that writes, behind all others that do.
	begin(ctx context.Context, write bool) error
	// exec runs q and says how many rows it changed.
	exec(ctx context.Context, q string, args ...any) (int64, error)
	// later runs q, now or together with the next statement that must wait for an answer. Where want is not anyRows and
	// q turns out to have changed another number of rows after its caller was told that all is well, the transaction
	// fails with errGuess and must be run again.
	later(ctx context.Context, want int64, q string, args ...any) error
	// query runs q and calls each with every row it gives.
	query(ctx context.Context, q string, args []any, each func(row) error) error
	// careful says whether each part must be able to go alone, from the next begin on. Otherwise undo may fail with
	// errGuess, and all must be run again carefully.
	careful(bool)
	// part begins a part of a write transaction that can be undone without the rest, which is there if shared says so
	// or if anything was written outside of parts. undo does that, and says whether the whole transaction went because
	// nothing else was in it; keep joins the part to the rest.
	part(shared bool)
	undo(ctx context.Context) (whole bool, err error)
	keep(ctx context.Context) error
	// flush has the outcome of everything that was answered in advance. Then commit: an error of it leaves open whether
	// the transaction was committed.
	flush(ctx context.Context) error
	commit(ctx context.Context) error
	// rollback undoes the transaction, or gives the connection up.
	rollback(ctx context.Context) error
	close() error
}

const anyRows = -1

// row is one row of a result. Byte slices are the caller's to keep.
type row interface {
	text(i int) string
	int(i int) int64
	bytes(i int) []byte
}

// backend is a database that gives connections.
type backend interface {
	dialect() *dialect
	// ahead reports whether batches run before it is their turn, on what is remembered. It is worth it where others
	// seldom write.
	ahead() bool
	// tell queues what other Stores over the same database are to hear of a batch that is sealed.
	tell(ctx context.Context, b *batch) error
	// writer gives the one connection that may write, opening it anew when it was lost.
	writer(ctx context.Context) (conn, error)
	// reader gives a connection that reads; done gives it back.
	reader(ctx context.Context) (c conn, done func(), err error)
	// classify says what an error of the database is, for the caller and the log, and whether it makes sense to try the
	// same thing again.
	classify(err error) (e error, again bool)
	close() error
}
