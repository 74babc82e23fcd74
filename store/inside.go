package store

import "context"

// inside makes a Store whose Updates and Views are parts of the transaction that c is in, for one goroutine: what they
// wrote is there once that is committed, and not before.
func (s *Store) inside(c conn) *Store {
	in := &Store{db: within{s.db, c}, log: s.log, clock: s.clock, index: &indexer{woken: make(chan struct{}, 1)}}
	in.sign.Store(s.sign.Load())
	in.index.store = in
	in.writer = newWriter(in, 0)
	return in
}

// within is a backend that has one connection.
type within struct {
	backend
	c conn
}

func (w within) writer(context.Context) (conn, error) { return &nested{conn: w.c}, nil }
func (w within) reader(context.Context) (conn, func(), error) {
	return &nested{conn: w.c}, func() {}, nil
}
func (w within) ahead() bool { return false }

func (w within) tell(context.Context, *batch) error { return nil } // who hears would look too early
func (w within) close() error                       { return nil }

// nested is a transaction within another: one that writes is a savepoint.
type nested struct {
	conn
	write bool
}

func (n *nested) begin(ctx context.Context, write bool) error {
	if n.write = write; !write {
		return nil
	}
	return n.later(ctx, anyRows, "SAVEPOINT inside")
}

// careful and part have each Update be undone by a savepoint of its own, never with the whole transaction.
func (n *nested) careful(bool) { n.conn.careful(true) }

func (n *nested) part(bool) { n.conn.part(true) }

func (n *nested) commit(ctx context.Context) error {
	_, err := n.exec(ctx, "RELEASE SAVEPOINT inside")
	return err
}

func (n *nested) rollback(ctx context.Context) error {
	if !n.write {
		return nil
	}
	switch c := n.conn.(type) {
	case *postgresConn:
		c.queue, c.armed, c.from = c.queue[:0], false, 0
	case *sqliteConn:
		c.armed = false
	}
	if _, err := n.exec(ctx, "ROLLBACK TO SAVEPOINT inside"); err != nil {
		return err
	}
	return n.commit(ctx)
}

func (n *nested) close() error { return nil }
