package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/ajar-access/ajar"
)

func testViewsSeeCommits(_ *testing.T, s *suite) {
	s.together(8, func(ctx context.Context, i int) error {
		for j := range 20 {
			id := fmt.Sprintf("%d-%d", i, j)
			if err := s.s.Update(ctx, func(tx ajar.Tx) error { return tx.Put(lease(id)) }); err != nil {
				return err
			}
			if err := s.s.View(ctx, func(tx ajar.Tx) error { _, err := ajar.Get[ajar.Lease](tx, id); return err }); err != nil {
				return fmt.Errorf("read what was just committed: %w", err)
			}
		}
		return nil
	})
}

func testSnapshots(_ *testing.T, s *suite) {
	s.put(lease("a"))
	s.view(func(tx ajar.Tx) error {
		before, err := tx.Count(ajar.KindLease, ajar.Filter{})
		if err != nil {
			return err
		}
		s.put(lease("b"))
		after, err := tx.Count(ajar.KindLease, ajar.Filter{})
		same(s, "a View sees what is committed meanwhile", after != before, false)
		return err
	})
}

func testViewsCannotWrite(_ *testing.T, s *suite) {
	s.put(endpoint("ep"))
	for what, fn := range map[string]func(ajar.Tx) error{
		"Put":        func(tx ajar.Tx) error { return tx.Put(lease("a")) },
		"Delete":     func(tx ajar.Tx) error { return tx.Delete(ajar.KindEndpoint, "ep") },
		"Append":     func(tx ajar.Tx) error { return tx.Append(ajar.Event{Action: "a"}) },
		"MarkDue":    func(tx ajar.Tx) error { return tx.MarkDue("ep", noon) },
		"SetHome":    func(tx ajar.Tx) error { return tx.SetHome("ep", "me", noon) },
		"ClaimDue":   func(tx ajar.Tx) error { _, err := tx.ClaimDue(noon, 1, 1e9, "me"); return err },
		"DropClaims": func(tx ajar.Tx) error { return tx.DropClaims("me") },
		"Release":    func(tx ajar.Tx) error { return tx.Release(ajar.Claim{Endpoint: endpoint("ep"), Owner: "me"}, noon, 0) },
	} {
		if err := s.s.View(s.Context(), fn); !errors.Is(err, ajar.Internal) {
			s.Errorf("%s in a View: got %v, want Internal", what, err)
		}
	}
}

var errNo = errors.New("no")

func testRefusal(_ *testing.T, s *suite) {
	s.put(lease("kept"))
	err := s.s.Update(s.Context(), func(tx ajar.Tx) error {
		if err := tx.Put(lease("a")); err != nil {
			return err
		}
		if _, err := ajar.Get[ajar.Lease](tx, "a"); err != nil {
			return fmt.Errorf("read one's own write: %w", err)
		}
		if err := tx.Delete(ajar.KindLease, "kept"); err != nil {
			return err
		}
		if err := tx.Append(ajar.Event{Action: "refused"}); err != nil {
			return err
		}
		return errNo
	})
	if !errors.Is(err, errNo) {
		s.Fatalf("got %v, want the error of fn", err)
	}
	s.want("leases", s.keys(ajar.Filter{}), []string{"kept"})
	s.view(func(tx ajar.Tx) error {
		es, err := tx.Events(ajar.EventFilter{})
		same(s, "events", len(es), 0)
		return err
	})
}

// Refusals, panics and successes that commit together stay apart, whatever each has read and written before.
func testNeighbours(_ *testing.T, s *suite) {
	const writers, rounds = 16, 12
	var expected atomic.Int64
	s.together(writers, func(ctx context.Context, i int) error {
		for j := range rounds {
			id := fmt.Sprintf("%02d-%02d", i, j)
			outcome := (i + j) % 4
			err := s.s.Update(ctx, func(tx ajar.Tx) error {
				if err := tx.Put(lease(id)); err != nil {
					return err
				}
				if j%2 == 0 { // reading what was written makes some stores send it
					if _, err := ajar.Get[ajar.Lease](tx, id); err != nil {
						return err
					}
				}
				if err := tx.Append(ajar.Event{Action: ajar.Action(id)}); err != nil {
					return err
				}
				switch outcome {
				case 1:
					return errNo
				case 2:
					panic("in the middle")
				case 3:
					return tx.Put(lease(id)) // exists already
				}
				return nil
			})
			switch want := [...]error{nil, errNo, ajar.Internal, ajar.Conflict}[outcome]; {
			case want == nil && err != nil, want != nil && !errors.Is(err, want):
				return fmt.Errorf("%s: got %v, want %v", id, err, want)
			case want == nil:
				expected.Add(1)
			}
		}
		return nil
	})
	s.view(func(tx ajar.Tx) error {
		n, err := tx.Count(ajar.KindLease, ajar.Filter{})
		if err != nil {
			return err
		}
		same(s, "leases", n, expected.Load())
		events, err := tx.Events(ajar.EventFilter{Limit: 1000})
		same(s, "events", int64(len(events)), expected.Load())
		for _, e := range events {
			if _, err := ajar.Get[ajar.Lease](tx, string(e.Action)); err != nil {
				s.Errorf("there is an event of lease %s and no lease: %v", e.Action, err)
			}
		}
		return err
	})
}

func testPanic(_ *testing.T, s *suite) {
	s.refused(ajar.Internal, func(tx ajar.Tx) error {
		if err := tx.Put(lease("a")); err != nil {
			return err
		}
		panic("at the worst moment")
	})
	s.put(lease("b")) // and life goes on
	s.want("leases", s.keys(ajar.Filter{}), []string{"b"})
}

// Read, change, write: without a lost update, though nobody retries.
func testSerial(_ *testing.T, s *suite) {
	s.put(lease("counter"))
	const writers, rounds = 12, 15
	s.together(writers, func(ctx context.Context, i int) error {
		for range rounds {
			err := s.s.Update(ctx, func(tx ajar.Tx) error {
				l, err := ajar.Get[ajar.Lease](tx, "counter")
				if err != nil {
					return err
				}
				l.Max++
				return tx.Put(l)
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	s.view(func(tx ajar.Tx) error {
		l, err := ajar.Get[ajar.Lease](tx, "counter")
		if err == nil {
			same(s, "count", int64(l.Max), writers*rounds)
			same(s, "rev", l.Rev, writers*rounds+1)
		}
		return err
	})
}

func testCancelled(_ *testing.T, s *suite) {
	gone, cancel := context.WithCancel(s.Context())
	cancel()
	err := s.s.Update(gone, func(tx ajar.Tx) error { return tx.Put(lease("a")) })
	if !errors.Is(err, context.Canceled) {
		s.Errorf("got %v, want context.Canceled", err)
	}
	// One that waits behind another gives up at once.
	inside, leave := make(chan bool), make(chan bool)
	first := make(chan error, 1)
	go func() {
		once := false
		first <- s.s.Update(s.Context(), func(tx ajar.Tx) error {
			if !once {
				once = true
				close(inside)
				<-leave
			}
			return tx.Put(lease("b"))
		})
	}()
	<-inside
	waiting, cancel := context.WithCancel(s.Context())
	second := make(chan error, 1)
	go func() {
		second <- s.s.Update(waiting, func(tx ajar.Tx) error { return tx.Put(lease("c")) })
	}()
	cancel()
	if err := <-second; !errors.Is(err, context.Canceled) {
		s.Errorf("waiting: got %v, want context.Canceled", err)
	}
	close(leave)
	if err := <-first; err != nil {
		s.Error(err)
	}
	s.want("leases", s.keys(ajar.Filter{}), []string{"b"})
}

func testEnded(_ *testing.T, s *suite) {
	var kept ajar.Tx
	s.update(func(tx ajar.Tx) error { kept = tx; return nil })
	same(s, "kind of a late Put", ajar.KindOf(kept.Put(lease("a"))), ajar.Internal)
	s.view(func(tx ajar.Tx) error { kept = tx; return nil })
	_, err := kept.RightsGen()
	same(s, "kind of a late read", ajar.KindOf(err), ajar.Internal)
}

// What is made once (a key, a certificate authority) is made once, and who loses can read it in the same Update.
func testCompareAndSet(_ *testing.T, s *suite) {
	var made, found atomic.Int64
	s.together(8, func(ctx context.Context, i int) error {
		won := false
		err := s.s.Update(ctx, func(tx ajar.Tx) error {
			won = false
			err := tx.Put(&ajar.Sealed{Name: "ca", Wrapped: []byte{byte(i)}})
			if errors.Is(err, ajar.Conflict) {
				_, err = ajar.Get[ajar.Sealed](tx, "ca")
				return err
			}
			won = true
			return err
		})
		if won {
			made.Add(1)
		} else {
			found.Add(1)
		}
		return err
	})
	same(s, "who made it", made.Load(), 1)
	same(s, "who found it", found.Load(), 7)
}

func testClosed(_ *testing.T, s *suite) {
	if err := s.s.Close(); err != nil {
		s.Fatal(err)
	}
	err := s.s.Update(s.Context(), func(ajar.Tx) error { return nil })
	same(s, "kind of an Update after Close", ajar.KindOf(err), ajar.Unavailable)
	err = s.s.View(s.Context(), func(ajar.Tx) error { return nil })
	same(s, "kind of a View after Close", ajar.KindOf(err), ajar.Unavailable)
	if err := s.s.Close(); err != nil {
		s.Errorf("a second Close: %v", err)
	}
}
