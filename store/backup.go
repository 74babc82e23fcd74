package store

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/ajar-access/ajar"
)

// A backup is a file of JSON lines: a header, the documents, the events with their batches, and an end with counts and
// a checksum. It says nothing of which database it came from and can be restored into either. Claims and homes are not
// in it: they belong to replicas that are gone by then, and every endpoint is due after a restore.
type (
	backupHeader struct {
		Ajar   string    `json:"ajar"` // "backup"
		Schema int64     `json:"schema"`
		Made   time.Time `json:"made"`
		Seq    int64     `json:"seq"`
		Rights int64     `json:"rights"`
		Pos    int64     `json:"pos"`
		Head   []byte    `json:"head"`
	}
	backupDoc struct {
		Kind  ajar.DocKind    `json:"kind"`
		Key   string          `json:"key"`
		Rev   int64           `json:"rev"`
		Seq   int64           `json:"seq"`
		Scope string          `json:"scope,omitempty"`
		Owner string          `json:"owner,omitempty"`
		Ref   string          `json:"ref,omitempty"`
		State string          `json:"state,omitempty"`
		Until *int64          `json:"until,omitempty"`
		Doc   json.RawMessage `json:"doc"`
	}
	backupEnd struct {
		Docs    int64  `json:"docs"`
		Events  int64  `json:"events"`
		Batches int64  `json:"batches"`
		SHA256  string `json:"sha256"` // of all lines before
	}
	backupLine struct {
		Header *backupHeader `json:"header,omitempty"`
		Doc    *backupDoc    `json:"doc,omitempty"`
		Event  []byte        `json:"event,omitempty"` // base64, since its very bytes were hashed
		Batch  *batchLine    `json:"batch,omitempty"`
		End    *backupEnd    `json:"end,omitempty"`
	}
)

// The schema that a backup of this program has. It grows when a migration changes what the lines mean.
const backupSchema = 1

// Backup writes everything to a new file at path, as it is at one moment, while others go on writing. The file appears
// only when it is complete, and only its owner can read it: it holds what the database holds.
func (s *Store) Backup(ctx context.Context, path string) (err error) {
	if _, err := os.Lstat(path); err == nil {
		return ajar.Errorf(ajar.Conflict, "%s exists already; a backup is not written over anything", path)
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return ajar.Because(ajar.Unavailable, err, "the backup cannot be written: %v", err)
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	b := newBackupWriter(f)
	err = s.View(ctx, func(t ajar.Tx) error { return b.all(t.(*tx)) })
	if err = errors.Join(err, b.w.Flush(), f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("back up to %s: %w", path, err)
	}
	// A link, unlike a rename, does not replace what appeared there meanwhile.
	if err := os.Link(f.Name(), path); err != nil {
		return ajar.Because(ajar.Unavailable, err, "the backup cannot be written: %v", err)
	}
	return errors.Join(os.Remove(f.Name()), syncDir(filepath.Dir(path)))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

type backupWriter struct {
	w    *bufio.Writer
	sum  hash.Hash
	end  backupEnd
	json *json.Encoder
}

func newBackupWriter(w io.Writer) *backupWriter {
	b := &backupWriter{w: bufio.NewWriterSize(w, 1<<20), sum: sha256.New()}
	b.json = json.NewEncoder(io.MultiWriter(b.w, b.sum))
	return b
}

func (b *backupWriter) all(t *tx) error {
	n, err := readCounters(t.ctx, t.c)
	if err != nil {
		return t.fault(err)
	}
	header := &backupHeader{"backup", backupSchema, t.store.clock().UTC(), n.seq, n.rights, n.pos, n.head}
	if err := b.json.Encode(backupLine{Header: header}); err != nil {
		return err
	}
	if err := b.docs(t); err != nil {
		return err
	}
	if err := b.log(t); err != nil {
		return err
	}
	b.end.SHA256 = hex.EncodeToString(b.sum.Sum(nil))
	return b.json.Encode(backupLine{End: &b.end})
}

func (b *backupWriter) docs(t *tx) error {
	kind, key := "", ""
	for {
		if err := t.ready(); err != nil {
			return err
		}
		n := 0
		err := t.query(`SELECT kind, key, rev, seq, scope, owner, ref, state, coalesce(until, $4), doc FROM docs
			WHERE (kind, key) > ($1, $2) ORDER BY kind, key LIMIT $3`, []any{kind, key, int64(listPage), int64(noUntil)}, func(r row) error {
			n++
			kind, key = r.text(0), r.text(1)
			d := &backupDoc{
				Kind: ajar.DocKind(kind), Key: key, Rev: r.int(2), Seq: r.int(3),
				Scope: r.text(4), Owner: r.text(5), Ref: r.text(6), State: r.text(7), Doc: r.bytes(9),
			}
			if until := r.int(8); until != noUntil {
				d.Until = &until
			}
			b.end.Docs++
			return b.json.Encode(backupLine{Doc: d})
		})
		if err != nil {
			return t.fault(err)
		}
		if n < listPage {
			return nil
		}
	}
}

// noUntil stands for no until where NULL cannot be told apart.
const noUntil = math.MinInt64

func (b *backupWriter) log(t *tx) error {
	for from := int64(0); ; {
		batches, err := t.Batches(from, verifyPage)
		if err != nil {
			return err
		}
		for _, link := range batches {
			bodies, err := eventBodies(t, link.First, link.Last)
			if err != nil {
				return err
			}
			for _, body := range bodies {
				b.end.Events++
				if err := b.json.Encode(backupLine{Event: body}); err != nil {
					return err
				}
			}
			b.end.Batches++
			line := batchLine(link)
			if err := b.json.Encode(backupLine{Batch: &line}); err != nil {
				return err
			}
			from = link.Last + 1
		}
		if len(batches) < verifyPage {
			return nil
		}
	}
}
