package agent

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/ajar-access/ajar"
)

// record is one line of the ledger: the whole of what is desired, or a change of it.
type record struct {
	Clock anchor         `json:"clock"`
	Whole bool           `json:"whole,omitempty"` // forget what was before
	Hub   string         `json:"hub,omitempty"`
	Rev   uint64         `json:"rev,omitempty"`
	Guard *[]heldGuard   `json:"guard,omitempty"`
	Put   []held         `json:"put,omitempty"`
	Drop  []ajar.LeaseID `json:"drop,omitempty"`
	Own   []ajar.Rule    `json:"own,omitempty"`
}

// The kinds of record. The kind stands first, so that what was torn off is known to have closed something or not.
const (
	kindOpens  = 'o' // may be lost: what it opened is closed after a reboot
	kindCloses = 'c' // on disk before it is acknowledged
	kindNote   = 'n' // of the journal
	kindDone   = 'd' // of the journal: so many notes were delivered
)

// ledger keeps what is desired: the whole, in one record or several, and the changes since. A change costs its own size;
// the file is written anew when the changes outgrow the whole.
type ledger struct {
	path  string
	file  *os.File
	first int64 // size with the whole alone
	size  int64
	dirty chan struct{} // something was written that is not synced
}

// A ledger smaller than this is not worth writing anew.
const smallLedger = 1 << 20

// frameRecord is kind, length, checksum, JSON.
func frameRecord(kind byte, v any) ([]byte, error) {
	var b bytes.Buffer
	err := frameInto(&b, kind, v)
	return b.Bytes(), err
}

// frameInto leaves the record alone in b.
func frameInto(b *bytes.Buffer, kind byte, v any) error {
	b.Reset()
	b.Write(make([]byte, 9))
	if err := json.NewEncoder(b).Encode(v); err != nil {
		return err
	}
	b.Truncate(b.Len() - 1) // the line's end
	out := b.Bytes()
	out[0] = kind
	binary.BigEndian.PutUint32(out[1:], uint32(len(out)-9))
	binary.BigEndian.PutUint32(out[5:], checksum(kind, out[9:]))
	return nil
}

func checksum(kind byte, body []byte) uint32 {
	return crc32.Update(crc32.ChecksumIEEE([]byte{kind}), crc32.IEEETable, body)
}

// nextRecord takes the first record off b. ok is false at the end and where b is torn or damaged.
func nextRecord(b []byte) (kind byte, body, rest []byte, ok bool) {
	if len(b) < 9 {
		return 0, nil, b, false
	}
	n := int64(binary.BigEndian.Uint32(b[1:]))
	if int64(len(b)) < 9+n {
		return 0, nil, b, false
	}
	body = b[9 : 9+n]
	if checksum(b[0], body) != binary.BigEndian.Uint32(b[5:]) {
		return 0, nil, b, false
	}
	return b[0], body, b[9+n:], true
}

// readLedger gives what b says is desired, and the newest anchor. Where the end was torn off in the middle of something
// that may have closed an opening, or anything is damaged, everything is taken to be closed: never is more open than before.
func readLedger(b []byte) (d desired, at anchor, read int, sound bool) {
	d.take(&record{Whole: true})
	for ; len(b) > 0; read++ {
		kind, body, rest, ok := nextRecord(b)
		var r record
		if ok && (kind != kindOpens && kind != kindCloses || json.Unmarshal(body, &r) != nil) {
			ok = false
		}
		if !ok {
			if !tornOpening(b) {
				d.close()
			}
			return d, at, read, false
		}
		d.take(&r)
		at, b = r.Clock, rest
	}
	return d, at, read, true
}

// tornOpening reports whether b is the beginning of a record that only opened something, and nothing else.
func tornOpening(b []byte) bool {
	if b[0] != kindOpens || len(b) >= 9 && int64(len(b)) >= 9+int64(binary.BigEndian.Uint32(b[1:])) {
		return false
	}
	for i := 1; i < len(b); i++ { // a whole record behind it means that its length is what is damaged
		if b[i] == kindCloses {
			if _, _, _, ok := nextRecord(b[i:]); ok {
				return false
			}
		}
	}
	return true
}

// openLedger reads the ledger at path. known is false where there is none, and where nothing can be read in it: that nothing
// is guarded is not known then.
func openLedger(path string) (l *ledger, d desired, at anchor, known, sound bool, err error) {
	l = &ledger{path: path, dirty: make(chan struct{}, 1)}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		d, at, _, _ = readLedger(nil)
		return l, d, at, false, true, nil
	}
	if err != nil {
		return nil, d, at, false, false, fmt.Errorf("read the state: %w", err)
	}
	d, at, read, sound := readLedger(b)
	return l, d, at, read > 0, sound, nil
}

// write hands r to the kernel, so that it outlives this process, but not a power cut.
func (l *ledger) write(kind byte, r *record) error {
	b, err := frameRecord(kind, r)
	if err != nil {
		return err
	}
	if _, err := l.file.Write(b); err != nil {
		l.broken()
		return err
	}
	l.size += int64(len(b))
	return nil
}

// append writes r. What closes is on disk afterwards; what opens soon will be.
func (l *ledger) append(kind byte, r *record) error {
	if err := l.write(kind, r); err != nil {
		return err
	}
	if kind == kindOpens {
		select {
		case l.dirty <- struct{}{}:
		default:
		}
		return nil
	}
	if err := l.file.Sync(); err != nil {
		l.broken()
		return err
	}
	return nil
}

// broken gives up the file: after half a record nothing may follow. The next write is of the whole.
func (l *ledger) broken() {
	if l.file != nil {
		l.file.Close()
		l.file = nil
	}
}

// full reports whether the next write should be of the whole.
func (l *ledger) full() bool {
	return l.file == nil || l.size > smallLedger && l.size > 2*l.first
}

// rewrite puts a file with d alone in the place of the ledger. It never has more than a part of it in memory.
func (l *ledger) rewrite(d *desired, now time.Time, at anchor) error {
	l.broken()
	var n int64
	f, err := replaceFile(l.path, func(f io.Writer) error {
		var b bytes.Buffer
		for r := range d.whole(now) {
			r.Clock = at
			if err := frameInto(&b, kindCloses, r); err != nil {
				return err
			}
			if _, err := f.Write(b.Bytes()); err != nil {
				return err
			}
			n += int64(b.Len())
		}
		return nil
	})
	if err != nil {
		return err
	}
	l.file, l.first, l.size = f, n, n
	return nil
}

// half ends the name of a file that is not written to its end.
const half = ".new"

// replaceFile has path written, durably, so that at every moment the old or the new is there; the file stays open for
// appending.
func replaceFile(path string, write func(io.Writer) error) (*os.File, error) {
	tmp := path + half
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func writeFile(path string, b []byte) error {
	f, err := replaceFile(path, func(f io.Writer) error {
		_, err := f.Write(b)
		return err
	})
	if err != nil {
		return err
	}
	return f.Close()
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// syncSoon syncs what append left unsynced, until stop. Many changes share one sync.
func (h *Host) syncSoon(stop <-chan struct{}) error {
	for {
		select {
		case <-stop:
			return nil
		case <-h.ledger.dirty:
		}
		h.mu.Lock()
		f := h.ledger.file
		h.mu.Unlock()
		if f != nil {
			f.Sync() //nolint:errcheck // what is lost is an opening; a rewrite may have closed f
		}
		t := time.NewTimer(20 * time.Millisecond)
		select {
		case <-stop:
		case <-t.C:
		}
		t.Stop()
	}
}
