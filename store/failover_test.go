package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/store/storetest"
)

// leased is an Update that writes one lease and its event.
func leased(id string) func(tx ajar.Tx) error {
	return func(tx ajar.Tx) error {
		l := &ajar.Lease{ID: ajar.LeaseID(id), Target: "/subscriptions/s", Endpoint: "ep", State: ajar.Open}
		return errors.Join(tx.Put(l), tx.Append(ajar.Event{Action: ajar.LeaseOpened, Lease: l.ID}))
	}
}

// inLog waits until the store can be read, and gives how often each lease is in the log; a lease without its event, or an
// event without its lease, fails the test.
func inLog(t *testing.T, s *Store) map[string]int {
	t.Helper()
	seen := map[string]int{}
	storetest.Until(t, func() bool { return s.Ready(t.Context()) == nil })
	err := s.View(t.Context(), func(tx ajar.Tx) error {
		for after := int64(0); ; {
			es, err := tx.Events(ajar.EventFilter{After: after, Ascending: true, Limit: 1000})
			if err != nil || len(es) == 0 {
				return err
			}
			for _, e := range es {
				if e.Pos != after+1 {
					t.Errorf("position %d follows %d", e.Pos, after)
				}
				after = e.Pos
				seen[string(e.Lease)]++
				if _, err := ajar.Get[ajar.Lease](tx, string(e.Lease)); err != nil {
					t.Errorf("logged, and not there: %v", err)
				}
			}
			if n, err := tx.Count(ajar.KindLease, ajar.Filter{}); err != nil || int(n) < len(seen) {
				t.Errorf("%d leases, %v", n, err)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := VerifyLog(t.Context(), s, nil, 0); err != nil {
		t.Error(err)
	}
	return seen
}

// TestACommitThatIsCutInTheMiddle: nobody is told that it happened, nobody tries it again, it happened once or not at all,
// and the next is made on another connection without anybody's doing.
func TestACommitThatIsCutInTheMiddle(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		cut  storetest.Cut
		want int
	}{"before the server had it": {storetest.CutBefore, 0}, "before its answer came": {storetest.CutAfter, 1}} {
		proxy := storetest.NewProxy(t, storetest.StartPostgres(t))
		s := mustOpen(t, proxy.DSN)
		if err := s.Update(t.Context(), leased("first")); err != nil {
			t.Fatal(err)
		}
		cuts := 0
		proxy.Sent(func(b []byte) storetest.Cut {
			if cuts > 0 || !bytes.Contains(b, []byte("COMMIT\x00")) {
				return storetest.Pass
			}
			cuts++
			return c.cut
		})
		kept := &ajar.Lease{ID: "kept", Target: "/subscriptions/s", Endpoint: "ep", State: ajar.Open}
		runs := 0
		err := s.Update(t.Context(), func(tx ajar.Tx) error {
			runs++
			return errors.Join(tx.Put(kept), leased("cut")(tx))
		})
		if !errors.Is(err, ajar.Unavailable) || !strings.Contains(err.Error(), "look whether it happened") {
			t.Errorf("%s: answered %v", name, err)
		}
		if runs != 1 || kept.Rev != 0 {
			t.Errorf("%s: run %d times, and what it wrote is left with revision %d", name, runs, kept.Rev)
		}
		if err := s.Update(t.Context(), leased("next")); err != nil {
			t.Errorf("%s: the next: %v", name, err)
		}
		if seen := inLog(t, s); seen["first"] != 1 || seen["cut"] != c.want || seen["next"] != 1 {
			t.Errorf("%s: %v", name, seen)
		}
		// What was remembered before is not taken for what there is.
		err = s.Update(t.Context(), func(tx ajar.Tx) error {
			_, err := ajar.Get[ajar.Lease](tx, "kept")
			if there := err == nil; there != (c.want == 1) {
				return fmt.Errorf("there: %v, %w", there, err)
			}
			return nil
		})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// crowd writes with several writers at once until it is told to stop, and keeps what was acknowledged.
type crowd struct {
	mu           sync.Mutex
	acknowledged []string
	unknown      int // that were answered with a fault
	stop         context.CancelFunc
	ended        sync.WaitGroup
}

func newCrowd(t *testing.T, s *Store) *crowd {
	c := &crowd{}
	var ctx context.Context
	ctx, c.stop = context.WithCancel(t.Context())
	for w := range 6 {
		c.ended.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				id := fmt.Sprintf("%d-%d", w, i)
				err := s.Update(ctx, leased(id))
				c.mu.Lock()
				switch {
				case err == nil:
					c.acknowledged = append(c.acknowledged, id)
				case ctx.Err() == nil:
					c.unknown++
					if !errors.Is(err, ajar.Unavailable) {
						t.Errorf("answered %v", err)
					}
				}
				c.mu.Unlock()
			}
		})
	}
	return c
}

// more waits until n more were acknowledged.
func (c *crowd) more(t *testing.T, n int) {
	t.Helper()
	count := func() int { c.mu.Lock(); defer c.mu.Unlock(); return len(c.acknowledged) }
	from := count()
	storetest.Until(t, func() bool { return count() >= from+n })
}

// check has it end and compares what was acknowledged with what there is.
func (c *crowd) check(t *testing.T, s *Store) {
	t.Helper()
	c.stop()
	c.ended.Wait()
	seen := inLog(t, s)
	for _, id := range c.acknowledged {
		if seen[id] != 1 {
			t.Errorf("%s was acknowledged, and is there %d times", id, seen[id])
		}
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("%s is there %d times", id, n)
		}
	}
	t.Logf("%d acknowledged, %d not, %d there", len(c.acknowledged), c.unknown, len(seen))
}

// TestAServerThatIsKilled under load comes back with all that was acknowledged, each once, and the Store with it.
func TestAServerThatIsKilled(t *testing.T) {
	t.Parallel()
	server := storetest.NewServer(t)
	s := mustOpen(t, server.DSN)
	c := newCrowd(t, s)
	defer c.stop()
	for range 2 {
		c.more(t, 30)
		server.Kill()
		storetest.Until(t, func() bool { return s.Ready(t.Context()) != nil })
		server.Start(t)
		c.more(t, 30)
	}
	c.check(t, s)
}

// TestAStandbyTakesOver: where the primary waits for its standby, nothing that was acknowledged is lost with the primary. A
// standby that was not promoted is neither written to nor read from.
func TestAStandbyTakesOver(t *testing.T) {
	t.Parallel()
	primary := storetest.NewServer(t, "-c", "synchronous_standby_names=*")
	primary.Exec(t, "ALTER SYSTEM SET synchronous_commit = 'local'") // for what is done by hand until there is one
	primary.Exec(t, "SELECT pg_reload_conf()")
	standby := primary.Standby(t)
	storetest.Until(t, func() bool {
		return primary.Ask(t, "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'") == "1"
	})
	primary.Exec(t, "ALTER SYSTEM RESET synchronous_commit")
	primary.Exec(t, "SELECT pg_reload_conf()")
	storetest.Until(t, func() bool { return primary.Ask(t, "SELECT current_setting('synchronous_commit')") == "on" })

	// Both are named, as an operator would; the standby first, so that it is asked first.
	s := mustOpen(t, storetest.Both(t, standby.DSN, primary.DSN))
	c := newCrowd(t, s)
	defer c.stop()
	c.more(t, 30)
	primary.Kill()
	storetest.Until(t, func() bool { return s.Ready(t.Context()) != nil })
	if err := s.View(t.Context(), func(tx ajar.Tx) error { _, err := tx.RightsGen(); return err }); !errors.Is(err, ajar.Unavailable) {
		t.Errorf("with a standby alone a View answers %v", err)
	}
	standby.Promote(t)
	c.more(t, 30)
	c.check(t, s)
}

// TestACommitThatTheStandbyDoesNotHave is not acknowledged, even where the server calls it a success because somebody told
// it not to wait.
func TestACommitThatTheStandbyDoesNotHave(t *testing.T) {
	t.Parallel()
	primary := storetest.NewServer(t)
	s := mustOpen(t, primary.DSN)
	if err := s.Update(t.Context(), leased("first")); err != nil {
		t.Fatal(err)
	}
	primary.Exec(t, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
	primary.Exec(t, "SELECT pg_reload_conf()")
	storetest.Until(t, func() bool { return primary.Ask(t, "SELECT current_setting('synchronous_standby_names')") == "nobody" })
	answer := make(chan error, 1)
	go func() { answer <- s.Update(t.Context(), leased("alone")) }()
	storetest.Until(t, func() bool {
		return primary.Ask(t, "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND application_name = 'ajar/2'") != "0"
	})
	if err := <-answer; !errors.Is(err, ajar.Unavailable) {
		t.Errorf("answered %v", err)
	}
	primary.Exec(t, "ALTER SYSTEM RESET synchronous_standby_names")
	primary.Exec(t, "SELECT pg_reload_conf()")
	if seen := inLog(t, s); seen["alone"] != 1 {
		t.Errorf("%v", seen)
	}
}

// TestAServerThatLostTheEndIsNotWrittenTo: a standby that was behind when it took over has not what was acknowledged. The
// planes that know say so and stop; one that is started anew goes on with what there is.
func TestAServerThatLostTheEndIsNotWrittenTo(t *testing.T) {
	t.Parallel()
	primary := storetest.NewServer(t)
	s := mustOpen(t, primary.DSN)
	if err := s.Update(t.Context(), leased("first")); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	standby := primary.Standby(t)
	standby.Kill()
	s = mustOpen(t, storetest.Both(t, primary.DSN, standby.DSN))
	if err := s.Update(t.Context(), leased("second")); err != nil {
		t.Fatal(err)
	}
	primary.Kill()
	standby.Start(t)
	standby.Promote(t)
	lost := func() bool {
		err := s.Update(t.Context(), leased("third"))
		if err == nil {
			t.Fatal("it is written to")
		}
		return errors.Is(err, ajar.Unavailable) && strings.Contains(err.Error(), "position 2 of the activity log")
	}
	storetest.Until(t, lost) // until then it is not promoted
	for range 2 {
		if !lost() || s.Ready(t.Context()) == nil {
			t.Error("it is forgotten that something is lost")
		}
	}
	anew := mustOpen(t, standby.DSN)
	if err := anew.Update(t.Context(), leased("third")); err != nil {
		t.Error(err)
	}
	if seen := inLog(t, anew); seen["second"] != 0 || seen["third"] != 1 {
		t.Errorf("%v", seen)
	}
}
