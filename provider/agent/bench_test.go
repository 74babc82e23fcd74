package agent

import (
	"crypto/tls"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
)

// BenchmarkChange is one opening from Hub.Change to its acknowledgement, over TLS on loopback, without a firewall.
func BenchmarkChange(b *testing.B) {
	p := newPlane(b)
	m := newMachine(b, p, "web")
	m.start()
	m.await(true)
	m.whole(1, guarding(ssh))
	end := p.now().Add(time.Hour)
	rev := uint64(1)
	for b.Loop() {
		put := []ajar.Rule{rule(ajar.LeaseID(fmt.Sprint("lease-", rev%64)), end.Add(time.Duration(rev)*time.Millisecond))}
		m.change(ajar.Delta{Base: rev, Rev: rev + 1, Put: put})
		rev++
	}
}

// BenchmarkConnections is what a connected, idle host costs the plane and its own half together, less the agent's
// state: both ends of the wire live in this process.
func BenchmarkConnections(b *testing.B) {
	p := newPlane(b)
	m := newMachine(b, p, "web")
	m.build()
	if err := m.Open(); err != nil {
		b.Fatal(err)
	}
	id := m.id
	pair, _, _ := id.certificate()
	var before, after runtime.MemStats
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		const n = 1000
		var conns []*tls.Conn
		for i := range n {
			p.mu.Lock()
			for s := range p.serials {
				p.serials[s] = ajar.EndpointID(fmt.Sprint("host-", i))
			}
			p.mu.Unlock()
			c, err := m.dial(b.Context(), id, pair)
			if err != nil {
				b.Fatal(err)
			}
			w := newWire(c, maxFromPlane, maxFromHost, time.Minute)
			if err := w.send(b.Context(), &message{Type: typeHello, Hello: &hello{Protocol: protocol}}); err != nil {
				b.Fatal(err)
			}
			var in message
			if err := w.receive(&in); err != nil || in.Type != typeWelcome {
				b.Fatal(in.Type, err)
			}
			conns = append(conns, c.(*tls.Conn))
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapInuse+after.StackInuse-before.HeapInuse-before.StackInuse)/n, "B/pair")
		for _, c := range conns {
			c.Close()
		}
	}
}
