package agent

import (
	"errors"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
)

// TestAHostGetsOneCertificateAMinute: a host in the wrong hands does not fill the plane's log with new ones.
func TestAHostGetsOneCertificateAMinute(t *testing.T) {
	p := newPlane(t)
	m := newMachine(t, p, "web")
	m.build()
	if err := m.Open(); err != nil {
		t.Fatal(err)
	}
	pair, _, err := m.id.certificate()
	if err != nil {
		t.Fatal(err)
	}
	c, err := m.dial(t.Context(), m.id, pair)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	w := newWire(c, maxFromPlane, maxFromHost, 10*time.Second)
	if err := w.send(t.Context(), &message{Type: typeHello, Hello: &hello{Protocol: protocol}}); err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	before := p.serial
	p.mu.Unlock()
	const n = 20
	for i := range n {
		_, csr, err := newKey()
		if err != nil {
			t.Fatal(err)
		}
		if err := w.send(t.Context(), &message{Type: typeRenew, Call: uint64(i + 1), CSR: csr}); err != nil {
			t.Fatal(err)
		}
	}
	given := 0
	for answers := 0; answers < n; {
		var in message
		if err := w.receive(&in); err != nil {
			t.Fatal(err)
		}
		if in.Type != typeAnswer {
			continue
		}
		answers++
		if err := in.Fault.err(); err == nil {
			given++
		} else if !errors.Is(err, ajar.TooMany) {
			t.Errorf("refused with %v", err)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if given != 1 || p.serial != before+1 {
		t.Errorf("%d certificates came of %d made", given, p.serial-before)
	}
}
