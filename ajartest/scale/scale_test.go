package scale_test

import (
	"context"
	"crypto/ed25519"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/ajartest/scale"
	"github.com/ajar-access/ajar/broker"
	"github.com/ajar-access/ajar/enforce"
	"github.com/ajar-access/ajar/store"
	"github.com/ajar-access/ajar/store/storetest"
)

// What is measured is compared between these sizes, if AJAR_SOAK is in the environment. Otherwise a little is measured
// once, to see that it can be.
var (
	brief = scale.Size{History: 1000, Live: 100}
	whole = [2]scale.Size{{History: 10_000, Live: 1000}, {History: 1_000_000, Live: 100_000}}
)

// No list, and nothing that the loop asks for, takes longer because there was more before. AJAR_SCALE names a database
// that is filled once, and measured alone each time, while somebody looks for what is slow.
func TestScaleOfLists(t *testing.T) {
	here := func(t testing.TB) string { return "sqlite:" + filepath.Join(t.TempDir(), "ajar.db") }
	if kept := os.Getenv("AJAR_SCALE"); kept != "" {
		measure(t, kept, whole[1])
		return
	}
	if os.Getenv("AJAR_SOAK") == "" {
		measure(t, here(t), brief)
		return
	}
	for name, dsn := range map[string]func(testing.TB) string{"sqlite": here, "postgres": storetest.StartPostgres} {
		t.Run(name, func(t *testing.T) {
			var all [2][]scale.Figure
			for i, size := range whole {
				all[i] = measure(t, dsn(t), size)
			}
			compare(t, all)
		})
	}
}

// compare prints what was measured, and complains of what has grown.
func compare(t *testing.T, all [2][]scale.Figure) {
	few := map[string]scale.Figure{}
	for _, f := range all[0] {
		few[f.Name] = f
	}
	for _, f := range all[1] {
		was := few[f.Name]
		t.Logf("%-62s %9s was %9s", f.Name, short(f.Median), short(was.Median))
		if grew(was, f) {
			t.Errorf("%s grew with the table", f.Name)
		}
	}
}

// grew leaves room for an index that is a level deeper and for memory that is colder.
func grew(few, many scale.Figure) bool {
	switch {
	case strings.HasPrefix(many.Name, "count of"), strings.HasPrefix(many.Name, "whole:"):
		return false // they grow with their answer
	case strings.HasSuffix(many.Name, "blank pages"):
		return many.Calls > max(3, 2*few.Calls)
	}
	return many.Median > 4*few.Median+5*time.Millisecond
}

func short(d time.Duration) string { return d.Round(10 * time.Microsecond).String() }

// measure fills a database, unless it is one that was kept full, and reads it.
func measure(t *testing.T, dsn string, size scale.Size) (figures []scale.Figure) {
	t.Helper()
	ctx, now := t.Context(), time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)) // the same for a database that is kept
	pub := key.Public().(ed25519.PublicKey)
	open := func() *store.Store {
		s, err := store.Open(ctx, dsn, store.Options{Clock: clock, Sign: func(head []byte) []byte { return ed25519.Sign(key, head) }})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	timed := func(name string, fn func() error) {
		t.Helper()
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		began := time.Now()
		if err := fn(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		took := time.Since(began)
		runtime.ReadMemStats(&after)
		t.Logf("%s: %s, %d MiB on the heap at its end, %d MiB before", name, took.Round(time.Millisecond), after.HeapAlloc>>20, before.HeapAlloc>>20)
		figures = append(figures, scale.Figure{Name: "whole: " + name, Median: took, Worst: took, Calls: 1})
	}
	timed("fill", func() error {
		if kept, err := filled(ctx, s); kept || err != nil {
			return err
		}
		return scale.Fill(ctx, s, size, now)
	})
	timed("index", func() error { return indexed(ctx, dsn) })
	more, err := scale.Measure(ctx, s, now, func(f scale.Figure) {
		t.Logf("%-62s %9s worst %9s calls %4d things %6d", f.Name, short(f.Median), short(f.Worst), f.Calls, f.Things)
	})
	if err != nil {
		t.Fatal(err)
	}
	timed("log verify", func() error { _, err := store.VerifyLog(ctx, s, pub, 0); return err })
	timed("backup", func() error { return s.Backup(ctx, filepath.Join(t.TempDir(), "backup")) })
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	var starts scale.Figure
	began := time.Now()
	s = open()
	b := broker.New(broker.Config{Store: s, Clock: clock, NewID: uuid.NewString})
	if _, err := b.Bootstrap(ctx); err != nil {
		t.Fatal(err)
	}
	if err := (&enforce.Loop{Store: s, Clock: clock, Owner: "plane", Enforcers: map[string]ajar.Enforcer{}}).Recover(ctx); err != nil {
		t.Fatal(err)
	}
	starts = scale.Figure{Name: "start", Median: time.Since(began), Worst: time.Since(began), Calls: 1}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return append(append(figures, more...), starts)
}

func filled(ctx context.Context, s *store.Store) (is bool, err error) {
	err = s.View(ctx, func(tx ajar.Tx) error {
		n, err := tx.Count(ajar.KindPolicy, ajar.Filter{})
		is = n > 0
		return err
	})
	return is, err
}

// indexed waits until the log is found by more than its positions.
func indexed(ctx context.Context, dsn string) error {
	driver, name := "pgx", dsn
	if path, ok := strings.CutPrefix(dsn, "sqlite:"); ok {
		driver, name = "sqlite", "file:"+path+"?mode=ro&_pragma=busy_timeout(10000)"
	}
	db, err := sql.Open(driver, name)
	if err != nil {
		return err
	}
	defer db.Close()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for behind := 1; ; {
		err := db.QueryRowContext(ctx, "SELECT pos - indexed FROM counters").Scan(&behind)
		if err != nil || behind == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d events are not indexed yet: %w", behind, context.Cause(ctx))
		case <-tick.C:
		}
	}
}
