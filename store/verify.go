package store

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"fmt"

	"github.com/ajar-access/ajar"
)

// Verified is what a check of the log saw.
type Verified struct {
	First, Last int64  // the positions that were checked; 0 and 0 of an empty log
	Batches     int    //
	Signed      int    // of them; the chain makes a signature vouch for everything before it
	Head        []byte // of the last batch: keep it, with Last, to find a truncation later
}

// Broken says where a log is not what was written.
type Broken struct {
	Pos int64 // the first position that cannot be vouched for
	Why string
}

// Error names the position.
func (b *Broken) Error() string {
	return fmt.Sprintf("the log is broken at position %d: %s", b.Pos, b.Why)
}

// VerifyLog reads the log of s from the batch that holds position from on (0 = all of it) and finds any cut, edit or
// reordering, also of what lists find events by. With a key it checks the signatures too: once a batch is signed all
// later ones must be, and at least one must be. Known heads from earlier checks find a log that was cut short or written anew. A fault is a *Broken.
func VerifyLog(ctx context.Context, s ajar.Store, key ed25519.PublicKey, from int64, known ...ajar.Batch) (Verified, error) {
	v := &verifier{key: key, known: known, next: 1}
	if err := v.skip(ctx, s, from); err != nil {
		return v.seen, err
	}
	for more := true; more; {
		if err := ctx.Err(); err != nil {
			return v.seen, context.Cause(ctx)
		}
		// Page by page, so that a long log does not hold on to a snapshot.
		err := s.View(ctx, func(tx ajar.Tx) (err error) {
			more, err = v.page(tx)
			return err
		})
		if err != nil {
			return v.seen, err
		}
	}
	return v.seen, v.end()
}

// verifier walks the chain.
type verifier struct {
	key   ed25519.PublicKey
	known []ajar.Batch
	next  int64  // the position that must come
	head  []byte // of the batch before
	seen  Verified
}

// skip starts behind the batch that ends before from, and trusts its head.
func (v *verifier) skip(ctx context.Context, s ajar.Store, from int64) error {
	if from <= 1 {
		return nil
	}
	return s.View(ctx, func(tx ajar.Tx) error {
		at, err := tx.Batches(from, 1)
		if err != nil {
			return err
		}
		if len(at) == 0 || at[0].First <= 1 {
			return nil
		}
		before, err := tx.Batches(at[0].First-1, 1)
		if err != nil || len(before) == 0 {
			return err
		}
		v.next, v.head = at[0].First, before[0].Head
		return nil
	})
}

// How many batches a page has.
const verifyPage = 64

func (v *verifier) page(tx ajar.Tx) (more bool, err error) {
	batches, err := tx.Batches(v.next, verifyPage)
	if err != nil {
		return false, err
	}
	for _, b := range batches {
		bodies, err := eventBodies(tx, b.First, b.Last)
		if err != nil {
			return false, err
		}
		if err := v.batch(b, bodies); err != nil {
			return false, err
		}
	}
	// Only over our own databases does anything stand beside the events that they are found by.
	if t, ok := tx.(interface {
		misfiled(first, last int64) (int64, string, error)
	}); ok && len(batches) > 0 {
		pos, why, err := t.misfiled(batches[0].First, v.next-1)
		if err != nil {
			return false, err
		} else if pos != 0 {
			return false, v.broken(pos, "%s", why)
		}
	}
	if len(batches) == verifyPage {
		return true, nil
	}
	loose, err := tx.Events(ajar.EventFilter{After: v.next - 1, Ascending: true, Limit: 1})
	if err != nil {
		return false, err
	}
	if len(loose) > 0 {
		return false, v.broken(v.next, "there are events that no batch holds")
	}
	if c, ok := tx.(interface{ logEnd() (int64, error) }); ok {
		switch end, err := c.logEnd(); {
		case err != nil:
			return false, err
		case end >= v.next:
			return false, v.broken(v.next, "the log ends here, but %d positions were given", end)
		}
	}
	return false, nil
}

// logEnd is the last position that was given.
func (t *tx) logEnd() (int64, error) {
	n, err := readCounters(t.ctx, t.c)
	return n.pos, t.fault(err)
}

// eventBodies reads the stored bytes of the events first to last. A Store that does not show them writes each event as
// it was written first, which gives the same.
func eventBodies(tx ajar.Tx, first, last int64) (bodies [][]byte, err error) {
	f := ajar.EventFilter{After: first - 1, Until: last + 1, Ascending: true, Limit: eventsMost}
	for {
		n := 0
		each := func(pos int64, body []byte) error {
			n++
			f.After = pos
			bodies = append(bodies, body)
			return nil
		}
		if raw, ok := tx.(interface {
			rawEvents(ajar.EventFilter, func(int64, []byte) error) error
		}); ok {
			err = raw.rawEvents(f, each)
		} else {
			var events []*ajar.Event
			if events, err = tx.Events(f); err == nil {
				for _, e := range events {
					body, err := json.Marshal(e)
					if err != nil {
						return nil, err
					}
					each(e.Pos, body)
				}
			}
		}
		if err != nil || n < eventsMost {
			return bodies, err
		}
	}
}

// batch checks the next link.
func (v *verifier) batch(b ajar.Batch, bodies [][]byte) error {
	if b.First != v.next {
		if b.First > v.next {
			return v.broken(v.next, "the next batch begins at %d; the positions before it are missing", b.First)
		}
		return v.broken(b.First, "the batch begins at %d, which was there already", b.First)
	}
	if b.Last < b.First {
		return v.broken(b.First, "the batch ends at %d before it begins", b.Last)
	}
	chain := sha256.New()
	chain.Write(v.head)
	for i, body := range bodies {
		var e struct {
			Pos int64 `json:"pos"`
		}
		if err := json.Unmarshal(body, &e); err != nil || e.Pos != b.First+int64(i) {
			return v.broken(b.First+int64(i), "the event that stands here was not written here")
		}
		sum := sha256.Sum256(body)
		chain.Write(sum[:])
	}
	switch n := b.First + int64(len(bodies)); {
	case n <= b.Last:
		return v.broken(n, "the event is missing")
	case n > b.Last+1:
		return v.broken(b.Last+1, "there are events that no batch holds")
	}
	if !bytes.Equal(chain.Sum(nil), b.Head) {
		return v.broken(b.First, "an event from %d to %d, or the head of their batch or of the one before, was changed", b.First, b.Last)
	}
	if err := v.signature(b); err != nil {
		return err
	}
	for _, k := range v.known {
		if k.Last >= b.First && k.Last <= b.Last && (k.Last != b.Last || !bytes.Equal(k.Head, b.Head)) {
			return v.broken(b.First, "the head at position %d is not the one that was known; the log was written anew", k.Last)
		}
	}
	if v.seen.First == 0 {
		v.seen.First = b.First
	}
	v.seen.Last, v.seen.Head = b.Last, b.Head
	v.seen.Batches++
	v.next, v.head = b.Last+1, b.Head
	return nil
}

// signature checks b's. Before the signing key exists nothing is signed; the first signature vouches for that too.
func (v *verifier) signature(b ajar.Batch) error {
	if len(b.Signature) == 0 {
		if v.key != nil && v.seen.Signed > 0 {
			return v.broken(b.First, "the batch is not signed, though earlier ones are")
		}
		return nil
	}
	if v.key != nil && !ed25519.Verify(v.key, b.Head, b.Signature) {
		return v.broken(b.First, "the signature is not by the known key")
	}
	v.seen.Signed++
	return nil
}

// end checks what only the end shows.
func (v *verifier) end() error {
	for _, k := range v.known {
		if k.Last >= v.next {
			return v.broken(v.next, "the log ends here, but position %d was known", k.Last)
		}
	}
	if v.key != nil && v.seen.Batches > 0 && v.seen.Signed == 0 {
		return v.broken(v.seen.First, "nothing is signed")
	}
	return nil
}

func (v *verifier) broken(pos int64, format string, a ...any) error {
	return &Broken{Pos: pos, Why: fmt.Sprintf(format, a...)}
}
