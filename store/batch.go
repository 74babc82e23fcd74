package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ajar-access/ajar"
)

// batch is the Updates of one commit.
type batch struct {
	writer    *writer
	store     *Store
	updates   []*update
	ahead     bool // it may run before its turn, on what those before it leave
	assumed   bool // it has, and nobody has looked yet whether that is so
	turn      bool // it is its turn: see writer.turn
	handed    bool // the lead was handed on
	sure      bool // a guess was wrong: nothing may be answered before it is known
	touched   bool // the database was written to
	through   int  // how many of updates have their answer
	committed bool

	c        conn
	accepts  *layer // what they wrote
	begun    bool
	counters counters  // as they are with what was accepted
	before   counters  // as the database has them
	events   []logged  // of the accepted Updates
	sealed   []sealing // the same
	accepted []*update
}

// sealing is what an Update has done in the database when its batch is sealed. It can no longer be refused then.
type sealing func(context.Context, conn) error

// counters is the one row that every write transaction reads first and most write last.
type counters struct {
	seq    int64  // of the last Put
	rights int64  // see ajar.Tx.RightsGen
	pos    int64  // of the last event
	head   []byte // of the log's chain

	indexed int64 // position up to which event_keys has the events
}

// The longest that one commit may take before a server that does not answer is given up.
const commitPatience = 30 * time.Second

// runTogether runs the first Update and all that wait, those included that come in while others run, and commits.
func (b *batch) runTogether() (fault error) {
	return b.transact(func(ctx context.Context) error {
		for i := 0; ; i++ {
			if i == len(b.updates) {
				u, err := b.more(ctx)
				if u == nil {
					return err
				}
				b.updates = append(b.updates, u)
			}
			if err := b.run(ctx, b.updates[i]); err != nil {
				return err
			}
		}
	})
}

// more takes another Update in, unless there are enough. A batch that runs ahead goes on taking them in until it is its
// turn.
func (b *batch) more(ctx context.Context) (*update, error) {
	w := b.writer
	for len(b.updates) < w.max {
		if u := w.next(); u != nil {
			return u, nil
		}
		if b.turn || !b.assumed {
			return nil, nil
		}
		select {
		case <-w.arrived:
		case w.turn <- struct{}{}:
			b.turn = true
			return nil, b.begin(ctx)
		}
	}
	return nil, nil
}

func (b *batch) runOne() (fault error) {
	return b.transact(func(ctx context.Context) error { return b.run(ctx, b.updates[0]) })
}

// transact runs the Updates in a transaction and commits it. A fault means that nothing was committed and that no
// Update has its answer.
func (b *batch) transact(updates func(context.Context) error) (fault error) {
	ctx := context.Background()
	if !b.ahead { // one that is may wait for others, and for nothing that does not answer
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, commitPatience)
		defer cancel()
	}
	b.accepts = newLayer()
	defer func() { b.end(ctx, fault) }()
	if fault = updates(ctx); fault != nil {
		return fault
	}
	if fault = b.settled(ctx); fault != nil || len(b.accepted) == 0 {
		return fault // or there is nothing to commit
	}
	if b.ahead {
		b.handOn()
	}
	if fault = b.seal(ctx); fault != nil {
		return fault
	}
	if fault = b.store.db.tell(ctx, b); fault != nil {
		return fault
	}
	if fault = b.c.flush(ctx); fault != nil {
		return fault
	}
	b.begun = false
	if err := b.c.commit(ctx); err != nil {
		// It may have happened or not. Nobody may be told that it did, and trying again could do it twice. What those
		// were told who came after the first that was accepted, and were refused or only looked, may rest on it.
		b.abandon(ctx)
		b.writer.failed.Store(true)
		b.store.log.Error("commit failed", "err", err, "updates", len(b.accepted))
		for _, u := range b.updates[slices.Index(b.updates, b.accepted[0]):] {
			u.err = ajar.Because(ajar.Unavailable, err, "the database did not confirm the change; look whether it happened before trying again")
		}
		return nil
	}
	b.committed = true
	b.writer.failed.Store(false)
	b.writer.head = b.counters.head
	if n := b.counters; len(b.events) > 0 {
		b.writer.acked.Store(&n)
	}
	if !b.handed {
		b.memory().absorb(b.accepts, b.counters)
	}
	if b.counters.indexed < b.counters.pos {
		b.store.index.wake()
	}
	return nil
}

// end leaves nothing behind of what did not come about, and gives the turn back.
func (b *batch) end(ctx context.Context, fault error) {
	if !b.committed && (b.touched || fault != nil) {
		if b.handed {
			b.writer.lost = true // what is remembered belongs to whoever leads now
		} else {
			b.memory().clear() // some of it may never have come about
		}
	}
	if b.begun {
		b.abandon(ctx)
	}
	if !b.committed {
		for _, u := range slices.Backward(b.accepted) {
			putBack(u.moved)
		}
	}
	if b.turn {
		b.turn = false
		<-b.writer.turn
	}
}

// handOn hands the lead on: whoever leads next finds in memory what this batch is about to commit, and waits for its turn
// before it relies on it.
func (b *batch) handOn() {
	n := b.counters
	n.pos += int64(len(b.events))
	b.memory().absorb(b.accepts, n)
	b.handed = true
	b.writer.handOn()
}

func (b *batch) memory() *memory { return b.writer.memory }

func (b *batch) abandon(ctx context.Context) {
	b.begun = false
	if err := b.c.rollback(ctx); err != nil {
		b.store.log.Warn("cannot undo a write transaction", "err", err)
	}
}

// errStale says that a batch ran ahead on what was not so.
var errStale = errors.New("what the batch before was to leave did not come about, or another process has written")

// begin starts the transaction when it is the batch's turn and the first Update needs it, and again after one that had to
// be undone entirely, with which nobody's can have gone.
func (b *batch) begin(ctx context.Context) (err error) {
	if b.begun {
		return nil
	}
	w := b.writer
	if !b.turn {
		w.turn <- struct{}{}
		b.turn = true
	}
	if w.lost {
		w.lost = false
		b.memory().clear()
	}
	if b.c, err = b.store.db.writer(ctx); err != nil {
		return err
	}
	b.c.careful(b.sure)
	if err := b.c.begin(ctx, true); err != nil {
		return err
	}
	b.begun = true
	c, err := readCounters(ctx, b.c)
	if err != nil {
		return err
	}
	still := b.memory().meet(c, w.head)
	w.head = c.head
	if b.assumed {
		b.assumed = false
		if !still {
			return errStale
		}
		b.before, b.counters.head = c, c.head
		return nil
	}
	b.before, b.counters = c, c
	return nil
}

// settled makes sure that what ran ahead may be committed, or answered.
func (b *batch) settled(ctx context.Context) error {
	if b.assumed {
		return b.begin(ctx)
	}
	return nil
}

func readCounters(ctx context.Context, c conn) (n counters, err error) {
	err = errors.New("the row of counters is missing")
	e := c.query(ctx, "SELECT seq, rights, pos, head, indexed FROM counters WHERE id = 1", nil, func(r row) error {
		n, err = counters{seq: r.int(0), rights: r.int(1), pos: r.int(2), head: r.bytes(3), indexed: r.int(4)}, nil
		return nil
	})
	if e != nil {
		return n, e
	}
	return n, err
}

// prepare has an Update find what was committed before it, or is about to be.
func (b *batch) prepare(ctx context.Context) error {
	m := b.memory()
	switch {
	case b.assumed:
		return nil
	case !b.ahead || b.turn || !m.known:
		return b.begin(ctx)
	}
	b.assumed, b.before, b.counters = true, m.at, m.at
	return nil
}

// run runs one Update. What it wrote stays if it agrees, and goes alone if it does not.
func (b *batch) run(ctx context.Context, u *update) (fault error) {
	u.err = nil
	if u.ctx.Err() != nil {
		u.err = fmt.Errorf("wait for the database: %w", context.Cause(u.ctx))
		return nil
	}
	if err := b.prepare(ctx); err != nil {
		return err
	}
	t := &tx{ctx: ctx, caller: u.ctx, c: b.c, store: b.store, w: &b.counters, b: b, part: newLayer()}
	saved := b.counters
	u.err = call(u.fn, t)
	t.over = true
	if t.broken != nil {
		putBack(t.moved)
		return t.broken
	}
	if u.err != nil {
		putBack(t.moved)
		saved.head = b.counters.head // it may have been the first to begin
		b.counters = saved
		return b.refuse(ctx, t)
	}
	if !t.wrote() && len(t.events) == 0 {
		return nil
	}
	if t.wrote() && b.counters.seq == saved.seq {
		b.counters.seq++ // whoever holds something in memory sees by it that there was a change
	}
	b.events, b.sealed = append(b.events, t.events...), append(b.sealed, t.sealed...)
	b.accepted = append(b.accepted, u)
	b.accepts.join(t.part)
	u.moved = t.moved
	if t.armed {
		return b.c.keep(ctx)
	}
	return nil
}

// refuse undoes what an Update wrote, mostly by forgetting it.
func (b *batch) refuse(ctx context.Context, t *tx) error {
	if err := t.checkGuesses(); err != nil || !t.armed {
		return err
	}
	b.memory().clear() // it may have read what it wrote
	b.memory().meet(b.before, b.before.head)
	whole, err := b.c.undo(ctx)
	if whole {
		b.begun, b.touched = false, false
	}
	return err
}

// seal writes the events of the batch, chains and signs them, and counts on.
func (b *batch) seal(ctx context.Context) error {
	n := &b.counters
	b.touched = true
	if err := b.write(ctx, b.accepts); err != nil {
		return err
	}
	if len(b.events) > 0 {
		first := n.pos + 1
		chain := sha256.New()
		chain.Write(n.head)
		for i := range b.events {
			n.pos++
			b.events[i].number(n.pos, chain)
		}
		if err := insertEvents(ctx, b.c, b.store.db.dialect(), b.events); err != nil {
			return err
		}
		n.head = chain.Sum(nil)
		sig := (*b.store.sign.Load())(n.head)
		if err := insertBatch(ctx, b.c, ajar.Batch{First: first, Last: n.pos, Head: n.head, Signature: sig}); err != nil {
			return err
		}
	}
	for _, f := range b.sealed {
		if err := f(ctx, b.c); err != nil {
			return err
		}
	}
	if n.seq == b.before.seq && n.rights == b.before.rights && n.pos == b.before.pos {
		return nil
	}
	return b.c.later(ctx, 1, "UPDATE counters SET seq = $1, rights = $2, pos = $3, head = $4 WHERE id = 1", n.seq, n.rights, n.pos, n.head)
}

// answer tells everybody but the leader what became of their Updates.
func (b *batch) answer(leader *update) {
	for i, u := range b.updates {
		if i >= b.through {
			u.err = ajar.Because(ajar.Internal, errStopped, "the transaction was stopped")
		}
		if u != leader {
			u.word <- word{err: u.err}
		}
	}
}
