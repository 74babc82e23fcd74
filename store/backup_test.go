package store_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/store"
	"github.com/ajar-access/ajar/store/storetest"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// contents is all that a Store gives out, for comparing one with another.
type contents struct {
	Leases    []*ajar.Lease
	Requests  []*ajar.Request
	Endpoints []*ajar.Endpoint
	Sealed    []*ajar.Sealed
	Rights    int64
	Export    string
	Due       time.Time
}

func read(t *testing.T, s *store.Store) (c contents) {
	t.Helper()
	err := s.View(t.Context(), func(tx ajar.Tx) (err error) {
		var errs [6]error
		c.Leases, _, errs[0] = ajar.List[ajar.Lease](tx, ajar.Filter{})
		c.Requests, _, errs[1] = ajar.List[ajar.Request](tx, ajar.Filter{})
		c.Endpoints, _, errs[2] = ajar.List[ajar.Endpoint](tx, ajar.Filter{})
		c.Sealed, _, errs[3] = ajar.List[ajar.Sealed](tx, ajar.Filter{})
		c.Rights, errs[4] = tx.RightsGen()
		c.Due, errs[5] = tx.NextDue("anybody")
		return errors.Join(errs[:]...)
	})
	if err != nil {
		t.Fatal(err)
	}
	c.Export = exported(t, s, 0)
	return c
}

func filled(t *testing.T, s *store.Store) {
	t.Helper()
	l := newLoad(t, s, 5)
	for range 1100 { // more than one page of each
		if err := l.one(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	err := s.Update(t.Context(), func(tx ajar.Tx) error {
		if _, err := tx.ClaimDue(start.Add(time.Hour), 3, time.Hour, "a replica that is gone by then"); err != nil {
			return err
		}
		return errors.Join(
			tx.Put(&ajar.Principal{ID: "g", Kind: ajar.Group, Name: "admins"}),
			tx.Put(&ajar.Sealed{Name: "ca", Public: []byte{0, 255}, Wrapped: []byte("<&>\x00")}),
			tx.Append(ajar.Event{Time: start, Action: "odd", Message: "a\nb <c> \u2028 \xff"}))
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestBackupRestores(t *testing.T) {
	open := map[string]func(testing.TB) *store.Store{"sqlite": openSQLite, "postgres": openPostgres}
	for from, source := range open {
		s := source(t)
		filled(t, s)
		path := filepath.Join(t.TempDir(), "backup")
		if err := s.Backup(t.Context(), path); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the backup has mode %v (%v), want 0600", info.Mode(), err)
		}
		if err := s.Backup(t.Context(), path); !errors.Is(err, ajar.Conflict) {
			t.Errorf("a second backup to the same path: got %v, want Conflict", err)
		}
		want := read(t, s)
		want.Due = time.UnixMilli(0).UTC() // every endpoint is due, whoever held it
		for to, dsn := range map[string]string{"sqlite": "sqlite:" + filepath.Join(t.TempDir(), "new.db"), "postgres": storetest.StartPostgres(t)} {
			if err := store.Restore(t.Context(), path, dsn, store.Options{}, nil); err != nil {
				t.Fatalf("from %s to %s: %v", from, to, err)
			}
			r, err := store.Open(t.Context(), dsn, store.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, read(t, r), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
				t.Errorf("from %s to %s (-before +after):\n%.2000s", from, to, diff)
			}
			if v, err := store.VerifyLog(t.Context(), r, nil, 0); err != nil || v.Last != 1101 {
				t.Errorf("from %s to %s: log %+v, %v", from, to, v, err)
			}
			l := want.Leases[0]
			l.State = ajar.Open
			err = r.Update(t.Context(), func(tx ajar.Tx) error {
				return errors.Join(tx.Put(l), tx.Append(ajar.Event{Time: start, Action: "goes on"}))
			})
			if err != nil || l.Seq <= want.Leases[len(want.Leases)-1].Seq {
				t.Errorf("from %s to %s: going on: seq %d, %v", from, to, l.Seq, err)
			}
			*l = *read(t, s).Leases[0]
			if _, err := store.VerifyLog(t.Context(), r, nil, 0); err != nil {
				t.Errorf("from %s to %s: going on: %v", from, to, err)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			if err := store.Restore(t.Context(), path, dsn, store.Options{}, nil); !errors.Is(err, ajar.Conflict) {
				t.Errorf("into a database that is not empty: got %v, want Conflict", err)
			}
		}
	}
}

// A backup that is made while others write is one moment of the store.
func TestBackupIsOneMoment(t *testing.T) {
	for name, s := range map[string]*store.Store{"sqlite": openSQLite(t), "postgres": openPostgres(t)} {
		l := newLoad(t, s, 5)
		var stop atomic.Bool
		ended := make(chan error)
		go func() {
			var err error
			for err == nil && !stop.Load() {
				err = l.one(t.Context())
			}
			ended <- err
		}()
		for i := range 5 {
			dir := t.TempDir()
			path, dsn := filepath.Join(dir, "b"), "sqlite:"+filepath.Join(dir, "new.db")
			if err := s.Backup(t.Context(), path); err != nil {
				t.Fatal(err)
			}
			if err := store.Restore(t.Context(), path, dsn, store.Options{}, nil); err != nil {
				t.Fatal(err)
			}
			r, err := store.Open(t.Context(), dsn, store.Options{})
			if err != nil {
				t.Fatal(err)
			}
			c := read(t, r)
			if events := strings.Count(c.Export, `{"pos"`); len(c.Leases) != len(c.Requests) || len(c.Leases) != events {
				t.Errorf("%s, backup %d: %d leases, %d requests, %d events", name, i, len(c.Leases), len(c.Requests), events)
			}
			r.Close()
		}
		stop.Store(true)
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func TestDamagedBackupIsRefused(t *testing.T) {
	s := openSQLite(t)
	l := newLoad(t, s, 2)
	for range 5 {
		if err := l.one(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "good")
	if err := s.Backup(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	good := string(text)
	lines := strings.SplitAfter(good, "\n")
	for what, bad := range map[string]string{
		"empty":              "",
		"something else":     "hello\n",
		"an export":          exported(t, s, 0),
		"cut off":            strings.Join(lines[:len(lines)-2], ""),
		"cut off in a line":  good[:len(good)/2],
		"a line missing":     lines[0] + strings.Join(lines[2:], ""),
		"a line twice":       lines[0] + lines[1] + strings.Join(lines[1:], ""),
		"a value changed":    strings.Replace(good, "west", "east", 1),
		"of a newer program": strings.Replace(good, `"schema":1`, `"schema":2`, 1),
	} {
		path, dsn := filepath.Join(dir, "bad"), filepath.Join(dir, fmt.Sprintf("%x.db", what))
		if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := store.Restore(t.Context(), path, "sqlite:"+dsn, store.Options{}, nil); !errors.Is(err, ajar.Invalid) {
			t.Errorf("%s: got %v, want Invalid", what, err)
		}
		if _, err := os.Stat(dsn); err == nil {
			t.Errorf("%s: a database was made all the same", what)
		}
	}
	if err := store.Restore(t.Context(), filepath.Join(dir, "nothing"), "sqlite:"+filepath.Join(dir, "x.db"), store.Options{}, nil); !errors.Is(err, ajar.NotFound) {
		t.Errorf("no file: got %v, want NotFound", err)
	}
}
