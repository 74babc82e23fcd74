package agent

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// The largest frames that are taken, by who sends them.
const (
	maxFromPlane    = 64 << 20
	maxFromHost     = 4 << 20
	maxFromStranger = 64 << 10
)

// Buffers up to this size are kept for the next frame.
const keepBuffer = 64 << 10

// errTooLarge is answered by send for a frame that the other side would not take. The connection stays usable.
var errTooLarge = errors.New("frame is too large")

// wire is one connection, in frames. One goroutine receives; any may send.
type wire struct {
	conn     net.Conn
	max      int           // the largest frame taken
	maxSend  int           // the largest frame sent
	patience time.Duration // without a frame for so long, or with a write stuck for so long, the connection is closed

	silence *time.Timer
	head    [4]byte
	buf     []byte

	mu    sync.Mutex // one frame at a time on the way out
	stuck *time.Timer
}

func newWire(conn net.Conn, max, maxSend int, patience time.Duration) *wire {
	w := &wire{conn: conn, max: max, maxSend: maxSend, patience: patience}
	w.silence = time.AfterFunc(patience, func() { conn.Close() })
	w.stuck = time.AfterFunc(patience, func() { conn.Close() })
	w.stuck.Stop()
	return w
}

func (w *wire) close() {
	w.silence.Stop()
	w.conn.Close()
}

// receive reads the next frame into m. What m had is not kept while it waits: it may be a whole state.
func (w *wire) receive(m *message) error {
	*m = message{}
	w.heard()
	if _, err := io.ReadFull(w.conn, w.head[:]); err != nil {
		return err
	}
	body, err := readBody(w.conn, w.head, w.max, w.buf, w.heard)
	if err != nil {
		return err
	}
	if cap(body) <= keepBuffer {
		w.buf = body
	}
	w.silence.Stop() // handling it may take longer than patience; only waiting counts
	return decode(body, m)
}

func (w *wire) heard() { w.silence.Reset(w.patience) }

// readBody reads the body that head announces, into buf where that is large enough. Memory is taken as bytes arrive,
// not as announced; heard is called whenever some have.
func readBody(r io.Reader, head [4]byte, max int, buf []byte, heard func()) ([]byte, error) {
	n := int(binary.BigEndian.Uint32(head[:]))
	if n > max && string(head[:]) == "HTTP" {
		return nil, errors.New("it answers in HTTP: this is the door for people and programs; agents have one of their own")
	}
	if n > max {
		return nil, fmt.Errorf("frame of %d bytes announced; at most %d are taken", n, max)
	}
	buf = buf[:0]
	for len(buf) < n {
		step := min(n-len(buf), max64k(len(buf)))
		at := len(buf)
		if cap(buf) < at+step {
			buf = append(make([]byte, 0, at+step), buf...)
		}
		buf = buf[:at+step]
		if _, err := io.ReadFull(r, buf[at:]); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		heard()
	}
	return buf, nil
}

// max64k lets a buffer double, from 64 KiB on.
func max64k(have int) int { return max(have, keepBuffer) }

// decode reads one message. It keeps nothing of body.
func decode(body []byte, m *message) error {
	*m = message{}
	if err := json.Unmarshal(body, m); err != nil {
		return fmt.Errorf("read a frame of %d bytes: %w", len(body), err)
	}
	if m.Type == "" {
		return errors.New("a frame without a type")
	}
	m.size = len(body)
	return nil
}

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// send writes m as one frame with one write. A frame that does not fit into the kernel's buffers at once can block for
// as long as patience allows; ctx ends that wait sooner, and the connection with it.
func (w *wire) send(ctx context.Context, m *message) error {
	buf := buffers.Get().(*bytes.Buffer)
	defer func() {
		if buf.Cap() <= keepBuffer {
			buffers.Put(buf)
		}
	}()
	buf.Reset()
	buf.Write(make([]byte, 4))
	if err := json.NewEncoder(buf).Encode(m); err != nil {
		return fmt.Errorf("write a %s frame: %w", m.Type, err)
	}
	n := buf.Len() - 4
	if n > w.maxSend {
		return fmt.Errorf("%w: %d bytes, at most %d are taken", errTooLarge, n, w.maxSend)
	}
	binary.BigEndian.PutUint32(buf.Bytes(), uint32(n))
	if n > keepBuffer {
		defer context.AfterFunc(ctx, func() { w.conn.Close() })()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stuck.Reset(w.patience)
	_, err := w.conn.Write(buf.Bytes())
	w.stuck.Stop()
	return err
}
