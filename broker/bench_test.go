package broker_test

import (
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/store/storetest"
)

// BenchmarkInitiate is a request accepted, durable and recorded, from 64 clients at once.
func BenchmarkInitiate(b *testing.B) {
	run := func(b *testing.B, p *plane, clients int) {
		var targets []ajar.ID
		var machines []ajar.MachinePolicy
		for i := range 50 {
			v := vm(group, fmt.Sprintf("vm%d", i))
			p.host(v)
			targets = append(targets, v)
			machines = append(machines, machine(v, port(22, ajar.TCP)))
		}
		p.policy(machines...)
		alice := p.requester("alice")
		var n atomic.Uint32
		b.SetParallelism(max(1, clients/2))
		b.ResetTimer()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				i := n.Add(1)
				who := alice
				who.From = netip.AddrFrom4([4]byte{198, byte(i >> 16), byte(i >> 8), byte(i)})
				if _, err := p.ask(who, ask(targets[int(i)%len(targets)], 22, time.Hour)); err != nil {
					b.Error(err)
					return
				}
			}
		})
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
	}
	b.Run("sqlite/1", func(b *testing.B) { run(b, newPlane(b), 1) })
	b.Run("sqlite/64", func(b *testing.B) { run(b, newPlane(b), 64) })
	b.Run("postgres/64", func(b *testing.B) { run(b, planeOver(b, storetest.StartPostgres(b)), 64) })
}
