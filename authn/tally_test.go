package authn

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/store"
	"github.com/ajar-access/ajar/store/storetest"
)

// doors are n replicas over one database that share what failed.
func doors(t *testing.T, dsn string, n int) (all []*door) {
	t.Helper()
	c := &clock{t: time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)}
	kek := NewKEK()
	for range n {
		s, err := store.Open(t.Context(), dsn, store.Options{Clock: c.now})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		v, err := NewVault(s, c.now, kek)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, &door{New(Config{Store: s, Clock: c.now, Hasher: cheap(), Vault: v, Shared: true}), t, c})
	}
	return all
}

func work(all []*door) (n int64) {
	for _, d := range all {
		n += d.Hasher.work.Load()
	}
	return n
}

func (d *door) tallies() (list []*ajar.Tally) {
	d.t.Helper()
	err := d.Store.View(context.Background(), func(tx ajar.Tx) (err error) {
		list, _, err = ajar.List[ajar.Tally](tx, ajar.Filter{})
		return err
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return list
}

// TestGuessesAreCountedByAllReplicas: who has three replicas to try at has no more guesses than with one, at a password, at
// somebody's from many addresses, at codes of a second factor, and at whatever else is guessed.
func TestGuessesAreCountedByAllReplicas(t *testing.T) {
	t.Parallel()
	for name, dsn := range map[string]string{"sqlite": "sqlite:" + filepath.Join(t.TempDir(), "ajar.db"), "postgres": storetest.StartPostgres(t)} {
		t.Run(name, func(t *testing.T) {
			all := doors(t, dsn, 3)
			if name == "sqlite" {
				second := all[0].Config // one process has a file
				second.Hasher = cheap()
				all = append(all[:1], &door{New(second), t, all[0].clock})
			}
			alice := all[0].person("alice", secret)
			before := work(all)
			for i := range 60 {
				if _, err := all[i%len(all)].try("alice", "a wrong password", "203.0.113.66"); err == nil {
					t.Fatal("a guess was right")
				}
			}
			if n := work(all) - before; n != int64(pairRate.burst) {
				t.Errorf("%d of 60 guesses from one address were looked at", n)
			}
			all[0].clock.step(pairRate.every)
			before = work(all)
			for _, d := range all {
				if _, err := d.try("alice", "a wrong password", "203.0.113.66"); err == nil {
					t.Fatal("a guess was right")
				}
			}
			if n := work(all) - before; n != 1 {
				t.Errorf("%d guesses were looked at a while later", n)
			}
			codes := 0
			for i := range 60 {
				d := all[i%len(all)]
				s, err := d.Second(t.Context(), alice, Login{Name: "alice", From: netip.AddrFrom4([4]byte{198, 51, 100, byte(i)})})
				if err == nil {
					s.End(true)
					codes++
				} else if !errors.Is(err, ajar.TooMany) {
					t.Fatal(err)
				}
			}
			if codes != int(secondAccount.burst) {
				t.Errorf("%d codes could be guessed", codes)
			}
			l, others := Limit{Burst: 7, Every: time.Minute}, 0
			for i := range 60 {
				end, wait, err := all[i%len(all)].Guess(t.Context(), "thing", "p", netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}), l)
				if err != nil {
					t.Fatal(err)
				}
				if wait == 0 {
					end(true)
					others++
				}
			}
			if others != 7 {
				t.Errorf("%d other guesses", others)
			}
			all[len(all)-1].mustLogin("alice", secret, "192.0.2.1") // and she is not locked out

			list := all[0].tallies()
			text, err := json.Marshal(list)
			if err != nil || len(list) == 0 {
				t.Fatal(len(list), err)
			}
			for _, clear := range []string{"alice", string(alice.ID), "203.0.113", "198.51"} {
				if bytes.Contains(text, []byte(clear)) {
					t.Errorf("the store has %s in clear", clear)
				}
			}
			all[0].clock.step(2 * time.Hour)
			if err := all[0].SweepTallies(t.Context()); err != nil {
				t.Fatal(err)
			}
			if n := len(all[0].tallies()); n != 0 {
				t.Errorf("%d tallies are left that tell nothing", n)
			}
		})
	}
}

// TestRightLogInsLeaveNoTally, nor does a replica alone keep any.
func TestRightLogInsLeaveNoTally(t *testing.T) {
	d := doors(t, "sqlite:"+filepath.Join(t.TempDir(), "ajar.db"), 1)[0]
	d.person("alice", secret)
	d.mustLogin("alice", secret, "203.0.113.66")
	if n := len(d.tallies()); n != 0 {
		t.Errorf("%d tallies", n)
	}
	d.Shared = false
	if _, err := d.try("alice", "a wrong password", "203.0.113.66"); err == nil {
		t.Fatal("a guess was right")
	}
	if n := len(d.tallies()); n != 0 {
		t.Errorf("%d tallies where nobody shares them", n)
	}
}

// TestOverdrawnIsWaitedFor: guesses that were under way on two replicas at once, more than one alone takes, are paid for.
func TestOverdrawnIsWaitedFor(t *testing.T) {
	t.Parallel()
	all := doors(t, storetest.StartPostgres(t), 2)
	from := netip.MustParseAddr("203.0.113.66")
	l := Limit{Burst: 5, Every: time.Minute}
	var ends []func(bool)
	for _, d := range all {
		for {
			end, wait, err := d.Guess(t.Context(), "thing", "p", from, l)
			if err != nil {
				t.Fatal(err)
			}
			if wait > 0 {
				break
			}
			ends = append(ends, end)
		}
	}
	if len(ends) != 10 {
		t.Fatalf("%d at once", len(ends))
	}
	for _, end := range ends {
		end(true)
	}
	looked := 0
	for range 20 { // minutes, of which the first five are owed
		all[0].clock.step(l.Every)
		for _, d := range all {
			end, wait, err := d.Guess(t.Context(), "thing", "p", from, l)
			if err != nil {
				t.Fatal(err)
			}
			if wait == 0 {
				end(true)
				looked++
			}
		}
	}
	if looked > 15 {
		t.Errorf("%d guesses in the twenty minutes behind ten in the first", looked)
	}
}

// TestRightLogInsAtOnce: those that come at the same moment are let in, one behind the other where it has to be, however
// many more than may be wrong; and wrong ones that come together are as few as ever.
func TestRightLogInsAtOnce(t *testing.T) {
	const n = 20
	d := newDoor(t)
	d.person("alice", secret)
	d.person("bob", secret)
	atOnce := func(name, password string) (errs []error) {
		for range cap(d.Hasher.slots) {
			d.Hasher.slots <- struct{}{} // so that nobody gets further before all are there
		}
		var all sync.WaitGroup
		var mu sync.Mutex
		for range n {
			all.Go(func() {
				_, err := d.try(name, password, "203.0.113.66")
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			})
		}
		storetest.Until(t, func() bool {
			d.throttle.mu.Lock()
			defer d.throttle.mu.Unlock()
			return d.throttle.lines["a 203.0.113.66"] == n-maxBusy
		})
		for range cap(d.Hasher.slots) {
			<-d.Hasher.slots
		}
		all.Wait()
		return errs
	}
	for _, err := range atOnce("alice", secret) {
		if err != nil {
			t.Errorf("a right one: %v", err)
		}
	}
	before := d.Hasher.work.Load()
	for _, err := range atOnce("bob", "a wrong password") {
		if err == nil {
			t.Error("a guess was right")
		}
	}
	if looked := d.Hasher.work.Load() - before; looked != int64(pairRate.burst) {
		t.Errorf("%d of %d wrong ones were looked at", looked, n)
	}
	if len(d.throttle.lines) != 0 || len(d.throttle.busy) != 0 {
		t.Errorf("left: %v, %v", d.throttle.lines, d.throttle.busy)
	}
}

// TestTheLineIsBounded: who comes when it is full is told to wait, and so is who has stood in it for long or gives up.
func TestTheLineIsBounded(t *testing.T) {
	th, now, from := newThrottle(), time.Now(), netip.MustParseAddr("203.0.113.66")
	for i := range maxBusy {
		if a, _ := th.begin(t.Context(), fmt.Sprint(i), from, true, false, now); a == nil {
			t.Fatal("refused")
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for i := range maxLine {
		all.Go(func() {
			if a, no := th.begin(ctx, fmt.Sprint("in line ", i), from, true, false, now); a != nil || no.wait == 0 {
				t.Error("somebody was let in")
			}
		})
	}
	storetest.Until(t, func() bool { th.mu.Lock(); defer th.mu.Unlock(); return th.lines["a 203.0.113.66"] == maxLine })
	if a, no := th.begin(t.Context(), "one more", from, true, false, now); a != nil || no.wait == 0 {
		t.Error("the line is longer than it may be")
	}
	cancel()
	all.Wait()
	if a, _ := th.begin(t.Context(), "elsewhere", netip.MustParseAddr("203.0.113.67"), true, false, now); a == nil {
		t.Error("another address has to wait")
	}
}
