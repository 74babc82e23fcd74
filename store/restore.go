package store

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/ajar-access/ajar"
)

// Restore reads the backup at path into the database at dsn, which must be empty. The file is checked as a whole before
// anything is written, and all of it is written in one transaction: afterwards the database is as the backed up one
// was, revisions and positions included, or still empty.
//
// What the firewalls did meanwhile is not in any backup, so every lease has to be looked at. That is then's, which may be
// nil: it is given a Store that has what was read and is good until it returns, and what it writes there is part of the
// same transaction. Nobody sees the one without the other, wherever this program ends; if then fails, nothing was restored.
func Restore(ctx context.Context, path, dsn string, o Options, then func(context.Context, *Store) error) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return ajar.Because(ajar.NotFound, err, "the backup cannot be read: %v", err)
	}
	defer f.Close()
	if err := readBackup(ctx, f, func(backupLine) error { return nil }); err != nil {
		return fmt.Errorf("check %s: %w", path, err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	s, err := Open(ctx, dsn, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	var refused error
	err = s.restore(ctx, f, func(in *Store) error {
		if then != nil {
			refused = then(ctx, in)
		}
		return refused
	})
	if refused != nil {
		return refused
	}
	if err != nil {
		err, _ = s.db.classify(err)
		return fmt.Errorf("restore %s: %w", path, err)
	}
	return nil
}

// readBackup calls each with every line up to the end, and checks that the file is whole.
func readBackup(ctx context.Context, r io.Reader, each func(backupLine) error) error {
	lines := bufio.NewReaderSize(r, 1<<20)
	sum := sha256.New()
	var seen backupEnd
	for n := 0; ; n++ {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		text, err := readLine(lines)
		if errors.Is(err, io.EOF) {
			return ajar.Errorf(ajar.Invalid, "the backup is cut off after %d lines", n)
		} else if err != nil {
			return err
		}
		var line backupLine
		if err := json.Unmarshal(text, &line); err != nil {
			return ajar.Because(ajar.Invalid, err, "line %d of the backup cannot be read: %v", n+1, err)
		}
		switch {
		case n == 0:
			if h := line.Header; h == nil || h.Ajar != "backup" {
				return ajar.Errorf(ajar.Invalid, "the file is not a backup of ajar")
			} else if h.Schema > backupSchema {
				return ajar.Errorf(ajar.Invalid, "the backup has schema %d and this program knows only %d; restore it with a newer program", h.Schema, backupSchema)
			}
		case line.Doc != nil:
			seen.Docs++
		case line.Event != nil:
			seen.Events++
		case line.Batch != nil:
			seen.Batches++
		case line.End != nil:
			seen.SHA256 = hex.EncodeToString(sum.Sum(nil))
			if seen != *line.End {
				return ajar.Errorf(ajar.Invalid, "the backup was changed: it has %d documents, %d events, %d batches, checksum %.8s…; its end says %d, %d, %d, %.8s…",
					seen.Docs, seen.Events, seen.Batches, seen.SHA256, line.End.Docs, line.End.Events, line.End.Batches, line.End.SHA256)
			}
			return nil
		default:
			return ajar.Errorf(ajar.Invalid, "line %d of the backup says nothing that is known", n+1)
		}
		sum.Write(append(text, '\n'))
		if err := each(line); err != nil {
			return fmt.Errorf("line %d: %w", n+1, err)
		}
	}
}

// How many rows are on their way to the database at once.
const restoreStep = 500

func (s *Store) restore(ctx context.Context, r io.Reader, then func(in *Store) error) (err error) {
	c, err := s.db.writer(ctx)
	if err != nil {
		return err
	}
	if err := c.begin(ctx, true); err != nil {
		return err
	}
	done := false
	defer func() {
		if !done {
			err = errors.Join(err, c.rollback(context.WithoutCancel(ctx)))
		}
	}()
	if err := mustBeEmpty(ctx, c); err != nil {
		return err
	}
	n := 0
	err = readBackup(ctx, r, func(line backupLine) error {
		if n++; n%restoreStep == 0 {
			if err := c.flush(ctx); err != nil {
				return err
			}
		}
		return restoreLine(ctx, c, line)
	})
	if err != nil {
		return err
	}
	if err := c.flush(ctx); err != nil {
		return err
	}
	if err := then(s.inside(c)); err != nil {
		return err
	}
	if err := indexRestored(ctx, c); err != nil {
		return err
	}
	done = true
	return c.commit(ctx)
}

func mustBeEmpty(ctx context.Context, c conn) error {
	rows := int64(0)
	err := c.query(ctx, "SELECT (SELECT count(*) FROM docs) + (SELECT count(*) FROM events) + seq + pos FROM counters WHERE id = 1", nil, func(r row) error {
		rows = r.int(0)
		return nil
	})
	if err == nil && rows > 0 {
		return ajar.Errorf(ajar.Conflict, "the database is not empty; a backup is restored into an empty one only")
	}
	return err
}

func restoreLine(ctx context.Context, c conn, line backupLine) error {
	switch {
	case line.Header != nil:
		h := line.Header
		return c.later(ctx, 1, "UPDATE counters SET seq = $1, rights = $2, pos = $3, head = $4 WHERE id = 1", h.Seq, h.Rights, h.Pos, append([]byte{}, h.Head...))
	case line.Doc != nil:
		return restoreDoc(ctx, c, line.Doc)
	case line.Event != nil:
		e := new(ajar.Event)
		if err := json.Unmarshal(line.Event, e); err != nil {
			return ajar.Because(ajar.Invalid, err, "an event cannot be read: %v", err)
		}
		return insertEventBody(ctx, c, e, line.Event)
	case line.Batch != nil:
		return insertBatch(ctx, c, ajar.Batch(*line.Batch))
	}
	return nil
}

func restoreDoc(ctx context.Context, c conn, d *backupDoc) error {
	kind, err := quote(d.Kind)
	if err != nil {
		return err
	}
	var until any
	if d.Until != nil {
		until = *d.Until
	}
	err = c.later(ctx, 1, "INSERT INTO docs (kind, key, rev, seq, scope, owner, ref, state, until, doc) VALUES ("+kind+
		", $1, $2, $3, $4, $5, $6, $7, $8, $9)", d.Key, d.Rev, d.Seq, d.Scope, d.Owner, d.Ref, d.State, until, []byte(d.Doc))
	if err != nil || d.Kind != ajar.KindEndpoint {
		return err
	}
	return c.later(ctx, 1, insertDue+"VALUES ($1, 0, 0, 0, '', 0, '', 0)", d.Key)
}
