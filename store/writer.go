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
// own Update and those that wait, commits, answers, and hands the lead to the one that waits longest. Where batches run
// ahead (backend.ahead) it hands the lead on when its Updates have run, and then commits: so the Updates of one batch run
// while the one before is being written.
type writer struct {
	store  *Store
	max    int
	acked  atomic.Pointer[counters] // as the last commit that logged something left them
	failed atomic.Bool              // the last that was to be committed was not, for no fault of its own
	trial  sync.Mutex               // held by whoever tries whether one can be again
	memory *memory                  // of whoever leads

	turn chan struct{} // holds one: whoever put it in has the connection, and what follows
	lost bool          // a batch that had handed on the lead did not come about; what is remembered may be of it
	head []byte        // of the log, as the last commit left it

	mu      sync.Mutex
	queue   []*update
	leading bool
	flying  int // how many have handed on the lead and are not done
	closed  bool
	idle    chan struct{} // closed when the store is closed and nobody is at work any longer
	arrived chan struct{} // tells whoever leads that somebody has joined the queue
}

// update is one call of Update.
type update struct {
	ctx   context.Context
	fn    func(ajar.Tx) error
	err   error        // what came of it, once it ran
	moved []movedStamp // by what it put, if it was accepted
	word  chan word    // to whoever waits for it
	heir  bool         // no Update: whoever waits for it wants the lead, for what it has already
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
	return &writer{store: s, max: maxBatch, memory: newMemory(), turn: make(chan struct{}, 1), idle: make(chan struct{}), arrived: make(chan struct{}, 1)}
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
	case w.arrived <- struct{}{}:
	default:
	}
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

// next takes the Update that waits longest, unless the lead is promised.
func (w *writer) next() *update {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) == 0 || w.queue[0].heir {
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
	b := &batch{writer: w, store: w.store, updates: []*update{first}, ahead: w.store.db.ahead()}
	defer func() { w.leave(b.handed) }()
	defer func() { b.answer(first) }()
	fault := b.runTogether()
	if errors.Is(fault, errStale) {
		b = b.again(false)
		fault = b.runTogether()
	}
	if errors.Is(fault, errGuess) {
		b = b.again(true)
		fault = b.runTogether()
	}
	if fault != nil {
		w.store.log.Warn("a commit met a fault; trying each update alone", "err", fault, "updates", len(b.updates))
		b = b.again(true)
		for _, u := range b.updates {
			w.alone(u)
			b.through++
		}
	}
	b.through = len(b.updates)
	return first.err
}

// again is a batch of the same Updates, which did not come about. It does not run ahead, for which it must lead.
func (b *batch) again(sure bool) *batch {
	if b.handed {
		b.writer.retake()
	}
	return &batch{writer: b.writer, store: b.store, updates: b.updates, sure: sure}
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

// handOn hands the lead on before its batch is done.
func (w *writer) handOn() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flying++
	w.pass()
}

// retake waits for the lead, first of all, for a batch that handed it on and has to be run again.
func (w *writer) retake() {
	w.mu.Lock()
	w.flying--
	if !w.leading {
		w.leading = true
		w.mu.Unlock()
		return
	}
	u := &update{word: make(chan word, 1), heir: true}
	w.queue = append([]*update{u}, w.queue...)
	w.mu.Unlock()
	<-u.word
}

// leave ends a batch.
func (w *writer) leave(handed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if handed {
		w.flying--
		w.rest()
		return
	}
	w.pass()
}

// pass hands the lead to the next Update that waits, or lets it lie.
func (w *writer) pass() {
	if len(w.queue) > 0 {
		u := w.queue[0]
		w.queue[0] = nil
		w.queue = w.queue[1:]
		u.word <- word{lead: true}
		return
	}
	w.leading = false
	w.rest()
}

// rest tells whoever closes the store that nobody is at work any longer.
func (w *writer) rest() {
	if w.closed && !w.leading && w.flying == 0 {
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
	w.rest()
	w.mu.Unlock()
	<-w.idle
	return true
}

var errStopped = errors.New("the goroutine that ran the update ended")
