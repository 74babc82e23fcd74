package store

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"io"

	"github.com/ajar-access/ajar"
)

// ExportLog writes the log from the batch that holds position from on: for each batch its events, one a line, as they
// are stored, and then a line of the batch itself. Where it does not begin at the beginning, a line of the batch before
// comes first, on which the rest hangs. VerifyStream reads it anywhere, without us.
func ExportLog(ctx context.Context, s ajar.Store, from int64, w io.Writer) error {
	if from > 1 {
		err := s.View(ctx, func(tx ajar.Tx) error {
			at, err := tx.Batches(from, 1)
			if err != nil || len(at) == 0 || at[0].First <= 1 {
				return err
			}
			before, err := tx.Batches(at[0].First-1, 1)
			if err != nil || len(before) == 0 {
				return err
			}
			return writeLines(w, nil, before[0])
		})
		if err != nil {
			return err
		}
	}
	for more := true; more; {
		err := s.View(ctx, func(tx ajar.Tx) error {
			batches, err := tx.Batches(from, verifyPage)
			if err != nil {
				return err
			}
			more = len(batches) == verifyPage
			for _, b := range batches {
				if err := exportBatch(tx, b, w); err != nil {
					return err
				}
				from = b.Last + 1
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func exportBatch(tx ajar.Tx, b ajar.Batch, w io.Writer) error {
	bodies, err := eventBodies(tx, b.First, b.Last)
	if err != nil {
		return err
	}
	return writeLines(w, bodies, b)
}

func writeLines(w io.Writer, bodies [][]byte, b ajar.Batch) error {
	link, err := json.Marshal(batchLine(b))
	if err != nil {
		return err
	}
	for _, line := range append(bodies, link) {
		if _, err := w.Write(append(line, '\n')); err != nil {
			return err
		}
	}
	return nil
}

// batchLine is a batch in an export or a backup.
type batchLine struct {
	First     int64  `json:"first"`
	Last      int64  `json:"last"`
	Head      []byte `json:"head"`
	Signature []byte `json:"signature,omitempty"`
}

// The longest line of an export.
const maxLine = 4 << 20

// VerifyStream checks an exported log as VerifyLog does. What it saw says where the export begins: an export that was
// made from a later position, or that lost its beginning, hangs on the head that stands first.
func VerifyStream(r io.Reader, key ed25519.PublicKey, known ...ajar.Batch) (Verified, error) {
	v := &verifier{key: key, known: known, next: 1}
	lines := bufio.NewReaderSize(r, 64<<10)
	var bodies [][]byte
	for first := true; ; first = false {
		line, err := readLine(lines)
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return v.seen, err
		}
		b, is := parseBatch(line)
		switch {
		case !is:
			bodies = append(bodies, line) // also what cannot be read: it was an event once
			continue
		case first:
			if key != nil && len(b.Signature) > 0 && !ed25519.Verify(key, b.Head, b.Signature) {
				return v.seen, v.broken(b.Last, "the signature is not by the known key")
			}
			v.next, v.head = b.Last+1, b.Head
		default:
			if err := v.batch(b, bodies); err != nil {
				return v.seen, err
			}
			bodies = nil
		}
	}
	if len(bodies) > 0 {
		return v.seen, v.broken(v.next, "there are events that no batch holds")
	}
	return v.seen, v.end()
}

// parseBatch reads a batch's line; an event's has no first position.
func parseBatch(line []byte) (ajar.Batch, bool) {
	var l struct {
		Pos       *int64 `json:"pos"`
		First     *int64 `json:"first"`
		Last      int64  `json:"last"`
		Head      []byte `json:"head"`
		Signature []byte `json:"signature"`
	}
	if json.Unmarshal(line, &l) != nil || l.Pos != nil || l.First == nil {
		return ajar.Batch{}, false
	}
	return ajar.Batch{First: *l.First, Last: l.Last, Head: l.Head, Signature: l.Signature}, true
}

// readLine reads a line that is not empty, without its end.
func readLine(r *bufio.Reader) ([]byte, error) {
	for {
		var line []byte
		for {
			part, err := r.ReadSlice('\n')
			line = append(line, part...)
			if len(line) > maxLine {
				return nil, ajar.Errorf(ajar.Invalid, "a line has more than %d bytes", maxLine)
			}
			if err == nil {
				break
			}
			if errors.Is(err, bufio.ErrBufferFull) {
				continue
			}
			if errors.Is(err, io.EOF) && len(line) > 0 {
				break
			}
			return nil, err
		}
		if line = bytes.TrimRight(line, "\r\n"); len(line) > 0 {
			return line, nil
		}
	}
}
