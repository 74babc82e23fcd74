package agent

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"

	"github.com/ajar-access/ajar"
)

// The most notes that are kept for the plane. Beyond, the newest are refused: somebody is making noise. No noise is to keep
// the door on the host itself closed, so some places are for who comes in by it.
const (
	maxNotes   = 10_000
	glassNotes = 1_000
)

// journal keeps on disk what happened here until the plane has it. Each note is delivered at least once.
type journal struct {
	mu    sync.Mutex
	path  string
	file  *os.File
	notes []note // not yet delivered
	done  int    // how many of the file's notes are
	wake  chan struct{}
}

// openJournal gives a journal whatever the disk says: a host that cannot read what happened, or write it down, is guarded all
// the same. err is for people; each later note tries the disk again.
func openJournal(path string) (j *journal, err error) {
	j = &journal{path: path, wake: make(chan struct{}, 1)}
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return j, fmt.Errorf("read the journal: %w", err)
	}
	j.notes = readJournal(b)
	if err := j.rewrite(); err != nil {
		return j, fmt.Errorf("write the journal: %w", err)
	}
	return j, nil
}

// readJournal gives the notes in b that were not delivered. What was torn off was never acted upon.
func readJournal(b []byte) []note {
	var notes []note
	done := 0
	for {
		kind, body, rest, ok := nextRecord(b)
		if !ok {
			break
		}
		var n note
		switch kind {
		case kindNote:
			if json.Unmarshal(body, &n) == nil {
				notes = append(notes, n)
			}
		case kindDone:
			var d int
			if json.Unmarshal(body, &d) == nil {
				done = d
			}
		}
		b = rest
	}
	return notes[min(max(done, 0), len(notes)):]
}

// rewrite leaves in the file what was not delivered.
func (j *journal) rewrite() error {
	if j.file != nil {
		j.file.Close()
		j.file = nil
	}
	f, err := replaceFile(j.path, func(f io.Writer) error {
		to := bufio.NewWriter(f)
		for _, n := range j.notes {
			b, err := frameRecord(kindNote, n)
			if err != nil {
				return err
			}
			to.Write(b) //nolint:errcheck // Flush says it
		}
		return to.Flush()
	})
	if err != nil {
		return err
	}
	j.file, j.done = f, 0
	return nil
}

// add keeps n. It is on disk afterwards.
func (j *journal) add(n note) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	limit := maxNotes
	if n.Action == ajar.BreakGlass {
		limit += glassNotes
	}
	if len(j.notes) >= limit {
		return errors.New("the journal is full; the plane must take it first")
	}
	j.notes = append(j.notes, n)
	err := j.write(kindNote, n)
	if err != nil {
		j.notes = j.notes[:len(j.notes)-1]
		return fmt.Errorf("write the journal: %w", err)
	}
	select {
	case j.wake <- struct{}{}:
	default:
	}
	return nil
}

func (j *journal) write(kind byte, v any) error {
	if j.file == nil { // a write failed before; half a record may stand at its end
		return j.rewrite()
	}
	b, err := frameRecord(kind, v)
	if err != nil {
		return err
	}
	_, err = j.file.Write(b)
	if err == nil {
		err = j.file.Sync()
	}
	if err != nil {
		j.file.Close()
		j.file = nil
	}
	return err
}

// next is the oldest note that was not delivered.
func (j *journal) next() (note, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.notes) == 0 {
		return note{}, false
	}
	return j.notes[0], true
}

// delivered forgets the oldest note.
func (j *journal) delivered() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.notes) == 0 {
		return nil
	}
	j.notes = j.notes[1:]
	j.done++
	if len(j.notes) == 0 {
		j.notes = nil
		return j.rewrite()
	}
	return j.write(kindDone, j.done)
}

func (j *journal) waiting() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.notes)
}

func (j *journal) close() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file != nil {
		j.file.Close()
		j.file = nil
	}
}
