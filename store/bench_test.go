package store_test

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/store"
	"github.com/ajar-access/ajar/store/storetest"
)

// load is what an accepted request costs the store: the request, one lease, one event, one endpoint marked due.
type load struct {
	store     *store.Store
	endpoints []ajar.EndpointID
	n         atomic.Int64
}

func newLoad(tb testing.TB, s *store.Store, endpoints int) *load {
	l := &load{store: s}
	err := s.Update(context.Background(), func(tx ajar.Tx) error {
		for i := range endpoints {
			ep := &ajar.Endpoint{ID: ajar.EndpointID(fmt.Sprintf("ep-%04d", i)), Provider: "fake", Target: target(i)}
			l.endpoints = append(l.endpoints, ep.ID)
			if err := tx.Put(ep); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

func target(i int) ajar.ID {
	return ajar.ID(fmt.Sprintf("/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/rg%d/providers/Microsoft.Compute/virtualMachines/vm%d", i%20, i))
}

// guid is an identifier as the plane makes them: random, and in the order of time.
func guid() string {
	var b [16]byte
	rand.Read(b[:])
	binary.BigEndian.PutUint64(b[:8], uint64(time.Now().UnixNano()))
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

var start = time.Date(2026, 11, 20, 7, 0, 0, 0, time.UTC)

func (l *load) accept(tx ajar.Tx, i int64) error {
	ep := int(i) % len(l.endpoints)
	now := start.Add(time.Duration(i) * time.Millisecond)
	who := ajar.PrincipalID(fmt.Sprintf("22222222-2222-2222-2222-%012d", i%500))
	source := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
	r := &ajar.Request{
		ID: ajar.RequestID(guid()), Policy: target(ep) + "/providers/Microsoft.Security/locations/west/jitNetworkAccessPolicies/default",
		Asks:          []ajar.Ask{{Target: target(ep), Port: ajar.Port{Number: 22, Protocol: "TCP"}, Sources: []netip.Prefix{source}, Duration: time.Hour}},
		Justification: strings.Repeat("look at the disk ", 15), Requester: who, Name: "somebody@example.org", From: source.Addr(), Corr: guid(),
		State: ajar.Approved, Created: now, Decided: now,
	}
	lease := &ajar.Lease{
		ID: ajar.LeaseID(guid()), Request: r.ID, Policy: r.Policy, Target: target(ep), Endpoint: l.endpoints[ep], Sources: r.Asks[0].Sources,
		Requester: who, Name: r.Name, Start: now, End: now.Add(time.Hour), Max: time.Hour, State: ajar.Opening,
	}
	r.Leases = []ajar.LeaseID{lease.ID}
	if err := tx.Put(r); err != nil {
		return err
	}
	if err := tx.Put(lease); err != nil {
		return err
	}
	if err := tx.Append(ajar.Event{
		Time: now, Action: ajar.PolicyInitiate, Outcome: ajar.Accepted, Scope: r.Policy, Caller: who, Name: r.Name, From: r.From, Via: "arm",
		Corr: r.Corr, By: guid(), Request: r.ID, Lease: lease.ID, Details: map[string]string{"port": "22/TCP", "source": source.String(), "end": lease.End.String()},
	}); err != nil {
		return err
	}
	return tx.MarkDue(lease.Endpoint, now)
}

func (l *load) one(ctx context.Context) error {
	i := l.n.Add(1)
	return l.store.Update(ctx, func(tx ajar.Tx) error { return l.accept(tx, i) })
}

// cpu is the processor time that this process has used; unlike the clock it does not mind busy neighbours.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func reportCPU(b *testing.B, from time.Duration, n int) {
	b.ReportMetric(float64((cpu()-from).Microseconds())/float64(n), "cpu-µs/op")
}

func benchmarkSingle(b *testing.B, s *store.Store) {
	l := newLoad(b, s, 1000)
	from := cpu()
	defer func() { reportCPU(b, from, b.N) }()
	took := make([]time.Duration, 0, b.N)
	for b.Loop() {
		began := time.Now()
		if err := l.one(b.Context()); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}

func benchmarkWriters(b *testing.B, s *store.Store, writers int) {
	l := newLoad(b, s, 1000)
	var left atomic.Int64
	left.Store(int64(b.N))
	var group sync.WaitGroup
	from := cpu()
	b.ResetTimer()
	for range writers {
		group.Go(func() {
			for left.Add(-1) >= 0 {
				if err := l.one(b.Context()); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	reportCPU(b, from, b.N)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "updates/s")
}

func BenchmarkSQLite1(b *testing.B)  { benchmarkSingle(b, openSQLite(b)) }
func BenchmarkSQLite64(b *testing.B) { benchmarkWriters(b, openSQLite(b), 64) }

func BenchmarkPostgres1(b *testing.B)  { benchmarkSingle(b, openDurablePostgres(b)) }
func BenchmarkPostgres64(b *testing.B) { benchmarkWriters(b, openDurablePostgres(b), 64) }

// Another replica hears of every commit, and so does this one.
func BenchmarkPostgres1Heard(b *testing.B)  { benchmarkSingle(b, heardOf(b)) }
func BenchmarkPostgres64Heard(b *testing.B) { benchmarkWriters(b, heardOf(b), 64) }

// openDurablePostgres opens a store on a server that waits for the disk.
func openDurablePostgres(b *testing.B) *store.Store {
	s, _ := durablePostgres(b)
	return s
}

func heardOf(b *testing.B) *store.Store {
	s, dsn := durablePostgres(b)
	other, err := store.Open(b.Context(), dsn, store.Options{})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	var ended sync.WaitGroup
	heard := make(chan struct{}, 2)
	for _, s := range []*store.Store{s, other} {
		ended.Go(func() {
			s.Hear(ctx, func(c store.Commit) { //nolint:errcheck // it ends with ctx
				if c.Missed {
					heard <- struct{}{}
				}
			})
		})
		<-heard
	}
	b.Cleanup(func() {
		cancel()
		ended.Wait()
		if err := other.Close(); err != nil {
			b.Error(err)
		}
	})
	return s
}

func durablePostgres(b *testing.B) (*store.Store, string) {
	dir, err := os.MkdirTemp("", "ajar-bench-") // the server's user must reach it
	if err != nil {
		b.Fatal(err)
	}
	dsn, stop, err := storetest.StartPostgresServer(dir)
	if err != nil {
		b.Fatal(err)
	}
	s, err := store.Open(b.Context(), dsn, store.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := errors.Join(s.Close(), stop(), os.RemoveAll(dir)); err != nil {
			b.Error(err)
		}
	})
	return s, dsn
}
