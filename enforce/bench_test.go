package enforce_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
)

// timed notes when the firewall was called.
type timed struct {
	ajar.Changer
	called chan time.Time
}

func (f *timed) ApplyAt(ctx context.Context, ep ajar.Endpoint, want ajar.Ruleset, rev uint64) error {
	defer f.note(time.Now())
	return f.Changer.ApplyAt(ctx, ep, want, rev)
}

func (f *timed) Change(ctx context.Context, ep ajar.Endpoint, d ajar.Delta) error {
	defer f.note(time.Now())
	return f.Changer.Change(ctx, ep, d)
}

func (f *timed) note(at time.Time) {
	select {
	case f.called <- at:
	default:
	}
}

// latency opens n leases one by one and gives the median times from the wake to the call of the firewall, and to Open.
func (r *rig) latency(ep ajar.EndpointID, f *timed, hook *func(time.Duration), n int) (call, open time.Duration) {
	var calls, opens []time.Duration
	opened := make(chan time.Duration, 1)
	*hook = func(d time.Duration) { opened <- d }
	for range n {
		l := r.newLease(ep, time.Hour)
		select { // what an earlier pass left behind
		case <-f.called:
		default:
		}
		var begun func()
		err := r.store.Update(context.Background(), func(tx ajar.Tx) (err error) {
			c := l
			if err := errors.Join(tx.Put(&c), tx.MarkDue(ep, l.Start)); err != nil {
				return err
			}
			begun, err = r.loop.Take(tx, []ajar.EndpointID{ep}, []*ajar.Lease{&c})
			return err
		})
		if err != nil {
			r.t.Fatal(err)
		}
		at := time.Now()
		begun()
		calls = append(calls, (<-f.called).Sub(at))
		<-opened
		opens = append(opens, time.Since(at))
	}
	slices.Sort(calls)
	slices.Sort(opens)
	return calls[len(calls)/2], opens[len(opens)/2]
}

func BenchmarkWakeToApply(b *testing.B) {
	for _, leases := range []int{0, 10_000} {
		b.Run(fmt.Sprintf("leases=%d", leases), func(b *testing.B) {
			r := newRig(b)
			f := &timed{r.fw, make(chan time.Time, 1)}
			r.loop.Enforcers["fake"] = f
			hook := func(time.Duration) {}
			r.loop.Hooks.Opened = func(d time.Duration) { hook(d) }
			ep := r.endpoint("vm1")
			for n := leases; n > 0; n -= 1000 {
				r.leases(ep, 10*time.Hour, 1000)
			}
			r.run()
			for ; ; after2(10 * time.Millisecond) {
				s, err := r.loop.Stats(context.Background())
				if err != nil {
					b.Fatal(err)
				}
				if s.Flying == 0 && s.Plans == 1 && len(r.fw.Host(ep).Rules().Allow) == leases {
					break
				}
			}
			b.ResetTimer()
			call, open := r.latency(ep, f, &hook, b.N)
			b.ReportMetric(float64(call.Microseconds()), "µs-to-call")
			b.ReportMetric(float64(open.Microseconds()), "µs-to-open")
		})
	}
}

func after2(d time.Duration) { <-time.After(d) }

// BenchmarkSettled is how many leases a second are opened on 64 endpoints, with everything else at rest.
func BenchmarkSettled(b *testing.B) {
	r := newRig(b)
	done := make(chan struct{}, b.N+64)
	r.loop.Hooks.Opened = func(time.Duration) { done <- struct{}{} }
	var eps []ajar.EndpointID
	for i := range 64 {
		eps = append(eps, r.endpoint(ajar.EndpointID(fmt.Sprintf("vm%02d", i))))
	}
	r.run()
	b.ResetTimer()
	go func() {
		for i := 0; i < b.N; {
			var ls []ajar.Lease
			for range 32 {
				l := r.newLease(eps[i%64], time.Hour)
				l.Sources = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)}
				if i++; i <= b.N {
					ls = append(ls, l)
				}
			}
			r.update(func(tx ajar.Tx) error {
				for _, l := range ls {
					if err := tx.Put(&l); err != nil {
						return err
					}
					if err := tx.MarkDue(l.Endpoint, l.Start); err != nil {
						return err
					}
				}
				return nil
			})
			for _, l := range ls {
				r.loop.Wake(l.Endpoint)
			}
		}
	}()
	for range b.N {
		<-done
	}
}
