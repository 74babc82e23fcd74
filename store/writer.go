package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ajar-access/ajar"
)

// writer makes Updates run one after the other and commit together. Whoever finds nobody leading leads: it runs its
// own Update and those that wait, commits, answers, and hands the lead to the one that waits longest.
type writer struct {
	store  *Store
	max    int
	acked  atomic.Pointer[counters] // as the last commit that logged something left them
	failed atomic.Bool              // the last that was to be committed was not, for no fault of its own
	trial  sync.Mutex               // held by whoever tries whether one can be again
	memory *memory                  // of whoever leads

	mu      sync.Mutex
	queue   []*update
	leading bool
	closed  bool
	idle    chan struct{} // closed when the store is closed and nobody leads any longer
}

// update is one call of Update.
type update struct {
	ctx   context.Context
	fn    func(ajar.Tx) error
	err   error        // what came of it, once it ran
	moved []movedStamp // by what it put, if it was accepted
	word  chan word    // to whoever waits for it
}

// word tells a waiting Update to take the lead, or how it ended.
type word struct {
	lead bool
	err  error
}

// How often an Update is tried alone after a fault of the database, and the pause before each.
var patience = []time.Duration{0, 20 * time.Millisecond, 200 * time.Millisecond, time.Second}

func newWriter(s *Store, maxBatch int) *writer {
	if maxBatch <= 0 {
		maxBatch = 256
	}
	return &writer{store: s, max: maxBatch, memory: newMemory(), idle: make(chan struct{})}
}

func (w *writer) do(ctx context.Context, fn func(ajar.Tx) error) error {
	u := &update{ctx: ctx, fn: fn}
	w.mu.Lock()
	switch {
	case w.closed:
		w.mu.Unlock()
		return errClosed
	case !w.leading:
		w.leading = true
		w.mu.Unlock()
		return w.lead(u)
	}
	u.word = make(chan word, 1)
	w.queue = append(w.queue, u)
	w.mu.Unlock()
	select {
	case m := <-u.word:
		return w.heed(u, m)
	case <-ctx.Done():
	}
	if w.drop(u) {
		return fmt.Errorf("wait for the database: %w", context.Cause(ctx))
	}
	return w.heed(u, <-u.word) // too late to drop it; the answer is on its way
}

func (w *writer) heed(u *update, m word) error {
	if m.lead {
		return w.lead(u)
	}
	return m.err
}

// drop takes u out of the queue and reports whether it was still there.
func (w *writer) drop(u *update) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, v := range w.queue {
		if v == u {
			w.queue = append(w.queue[:i], w.queue[i+1:]...)
			return true
		}
	}
	return false
}

// next takes the Update that waits longest.
func (w *writer) next() *update {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) == 0 {
		return nil
	}
	u := w.queue[0]
	w.queue[0] = nil
	w.queue = w.queue[1:]
	return u
}

// lead runs a batch that begins with first, answers everybody in it, and passes the lead on. All that is deferred also
// happens when an fn ends its goroutine, which in a test is what t.Fatal does.
func (w *writer) lead(first *update) error {
	b := &batch{writer: w, store: w.store, updates: []*update{first}}
	defer w.pass()
	defer func() { b.answer(first) }()
	fault := b.runTogether()
	if errors.Is(fault, errGuess) {
		b = &batch{writer: w, store: w.store, updates: b.updates, sure: true}
		fault = b.runTogether()
	}
	if fault != nil {
		w.store.log.Warn("a commit met a fault; trying each update alone", "err", fault, "updates", len(b.updates))
		for _, u := range b.updates {
			w.alone(u)
		}
	}
	b.finished = true
	return first.err
}

// alone tries an Update by itself, more than once if the fault can pass.
func (w *writer) alone(u *update) {
	for try, pause := range patience {
		if pause > 0 {
			timer := time.NewTimer(pause)
			select {
			case <-timer.C:
			case <-u.ctx.Done():
				timer.Stop()
			}
		}
		b := &batch{writer: w, store: w.store, updates: []*update{u}, sure: true}
		fault := b.runOne()
		if fault == nil {
			return
		}
		w.failed.Store(true)
		err, again := w.store.db.classify(fault)
		u.err = err
		if !again || u.ctx.Err() != nil || try == len(patience)-1 {
			return
		}
	}
}

// pass hands the lead to the next Update that waits, or lets it lie.
func (w *writer) pass() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) > 0 {
		u := w.queue[0]
		w.queue[0] = nil
		w.queue = w.queue[1:]
		u.word <- word{lead: true}
		return
	}
	w.leading = false
	if w.closed {
		close(w.idle)
	}
}

// stop refuses new Updates and waits for those that are queued. It reports false if that was done before.
func (w *writer) stop() bool {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return false
	}
	w.closed = true
	if !w.leading {
		close(w.idle)
	}
	w.mu.Unlock()
	<-w.idle
	return true
}

var errStopped = errors.New("the goroutine that ran the update ended")
