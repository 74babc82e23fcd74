package store

import (
	"context"
	"math/rand/v2"
	"testing"

	"github.com/ajar-access/ajar/store/storetest"
)

// Replicas over one database are one store, whatever each has in mind and however little.
func TestHistoriesOfReplicas(t *testing.T) {
	for name, dsn := range dsns(t) {
		t.Run(name, func(t *testing.T) {
			a, b, c := mustOpen(t, dsn), mustOpen(t, dsn), mustOpen(t, dsn)
			forgetful(b)
			storetest.History(t, a, a, a, b, c)
			verified(t, a)
		})
	}
}

func TestHistoryOfAForgetfulWriter(t *testing.T) {
	for name, dsn := range dsns(t) {
		t.Run(name, func(t *testing.T) {
			s := mustOpen(t, dsn)
			forgetful(s)
			storetest.History(t, s)
			verified(t, s)
		})
	}
}

// forgetful has s forget most things soon.
func forgetful(s *Store) {
	m := s.writer.memory
	m.docs.most, m.asked.most, m.due.most, m.slots.most = 1500, 1500, 2, 40
}

func verified(t *testing.T, s *Store) {
	t.Helper()
	if _, err := VerifyLog(context.Background(), s, nil, 0); err != nil {
		t.Error(err)
	}
}

// However often statements and commits fail, and whether or not a commit that failed had come about: nobody is told
// what is not so, and nothing that did not come about is remembered.
func TestHistoryOverABadLine(t *testing.T) {
	for name, dsn := range dsns(t) {
		t.Run(name, func(t *testing.T) {
			bad, good := mustOpen(t, dsn), mustOpen(t, dsn)
			bad.db = &badLine{bad.db}
			storetest.History(t, bad, bad, bad, good)
			bad.db = bad.db.(*badLine).backend
			verified(t, good)
		})
	}
}

// badLine fails one statement in many, and one commit in few.
type badLine struct{ backend }

func (b *badLine) writer(ctx context.Context) (conn, error) {
	c, err := b.backend.writer(ctx)
	return badConn{c}, err
}

func (b *badLine) classify(err error) (error, bool) {
	return (&faulty{backend: b.backend}).classify(err)
}

type badConn struct{ conn }

func (c badConn) begin(ctx context.Context, write bool) error {
	if write && rand.IntN(60) == 0 {
		return errFault
	}
	return c.conn.begin(ctx, write)
}

func (c badConn) commit(ctx context.Context) error {
	switch rand.IntN(12) {
	case 0:
		return errFault
	case 1:
		if err := c.conn.commit(ctx); err != nil {
			return err
		}
		return errFault
	}
	return c.conn.commit(ctx)
}

func (c badConn) query(ctx context.Context, q string, args []any, each func(row) error) error {
	if rand.IntN(400) == 0 {
		return errFault
	}
	return c.conn.query(ctx, q, args, each)
}

func (c badConn) later(ctx context.Context, want int64, q string, args ...any) error {
	if rand.IntN(400) == 0 {
		return errFault
	}
	return c.conn.later(ctx, want, q, args...)
}
