package agent

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
)

// FuzzFrame feeds the decoder what a hostile peer might send. It must neither panic nor take more memory than came.
func FuzzFrame(f *testing.F) {
	add := func(s string) { f.Add(append(binary.BigEndian.AppendUint32(nil, uint32(len(s))), s...)) }
	add(`{"type":"delta","call":3,"time":"2026-11-20T12:00:00Z","order":{"base":1,"rev":2,"put":[{"port":{"number":22,"protocol":"TCP"},` +
		`"lease":"a","sources":["192.0.2.7/32"],"expires":"2026-11-20T13:00:00Z","hardStop":"2026-11-20T13:00:00Z","left":3600000,"leftStop":3600000}]}}`)
	add(`{"type":"answer","call":18446744073709551615,"more":true,"ruleset":{"guard":null,"allow":[{}]}}`)
	add(`{"type":"note","note":{"time":"9999-12-31T23:59:59Z","details":{"a":"b"}}}`)
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, '{'})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < 4 {
			return
		}
		body, err := readBody(bytes.NewReader(b[4:]), [4]byte(b[:4]), maxFromHost, nil, func() {})
		if err != nil {
			return
		}
		if cap(body) > 2*max(len(b), keepBuffer) {
			t.Fatalf("%d bytes of memory for %d that came", cap(body), len(b))
		}
		var m message
		if decode(body, &m) != nil {
			return
		}
		if m.Order != nil { // the host works it out without trusting any of it
			c := &Clock{Boot: func() time.Duration { return 0 }, Wall: func() time.Time { return noon }}
			h := &Host{Clock: c}
			h.want.take(&record{Whole: true})
			p := h.plan(m.Order, m.Time, m.Type == typeWhole)
			d := h.want.clone()
			d.take(&p.rec)
			for _, r := range d.local(noon).Allow {
				if isBreakGlass(r.Lease) {
					t.Error("the plane made a break-glass rule")
				}
			}
		}
	})
}

func TestFrameThatIsTooLargeOrCutShort(t *testing.T) {
	for _, c := range []struct {
		name string
		b    []byte
	}{
		{"larger than taken", append(binary.BigEndian.AppendUint32(nil, 101), bytes.Repeat([]byte("x"), 101)...)},
		{"cut short", append(binary.BigEndian.AppendUint32(nil, 50), "{"...)},
		{"empty", binary.BigEndian.AppendUint32(nil, 0)},
		{"no JSON", append(binary.BigEndian.AppendUint32(nil, 3), "abc"...)},
		{"no type", append(binary.BigEndian.AppendUint32(nil, 2), "{}"...)},
	} {
		a, b := net.Pipe()
		go func() { a.Write(c.b); a.Close() }()
		w := newWire(b, 100, 100, time.Second)
		var m message
		if err := w.receive(&m); err == nil || err == io.EOF {
			t.Errorf("%s: %v", c.name, err)
		}
		w.close()
	}
}

// Whoever takes the door for people for the one for agents is told so, and not of a frame of a billion bytes.
func TestTheDoorForPeopleIsNotTakenForOurs(t *testing.T) {
	_, err := readBody(strings.NewReader("/1.1 400 Bad Request"), [4]byte([]byte("HTTP")), maxFromPlane, nil, func() {})
	if err == nil || !strings.Contains(err.Error(), "answers in HTTP") {
		t.Errorf("got %v", err)
	}
}

func TestSilentConnectionIsClosed(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	w := newWire(b, 100, 100, 20*time.Millisecond)
	m := message{Order: &order{}}
	if err := w.receive(&m); err == nil {
		t.Error("a frame out of nothing")
	}
	if m.Order != nil {
		t.Error("while it waited it kept the frame before")
	}
	w = newWire(a, 100, 1<<20, 20*time.Millisecond)
	if err := w.send(t.Context(), &message{Type: "x", CSR: bytes.Repeat([]byte("y"), 1000)}); err == nil {
		t.Error("written to nobody")
	}
}

func TestUnknownMessagesAreIgnored(t *testing.T) {
	p, m := running(t)
	if err := m.link.wire.send(t.Context(), &message{Type: "from-the-future"}); err != nil {
		t.Fatal(err)
	}
	p.hub.mu.Lock()
	peer := p.hub.peers["web"]
	p.hub.mu.Unlock()
	if err := peer.send(t.Context(), &message{Type: "from-the-future"}); err != nil {
		t.Fatal(err)
	}
	m.change(ajar.Delta{Base: 1, Rev: 2})
}
