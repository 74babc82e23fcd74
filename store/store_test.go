package store_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/store"
	"github.com/ajar-access/ajar/store/storetest"
)

func openSQLite(t testing.TB) *store.Store {
	t.Helper()
	s, err := store.Open(context.Background(), "sqlite:"+filepath.Join(t.TempDir(), "ajar.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func openPostgres(t testing.TB) *store.Store {
	t.Helper()
	s, err := store.Open(context.Background(), postgresDSN(t), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestSQLite(t *testing.T) {
	storetest.Run(t, func(t *testing.T) ajar.Store { return openSQLite(t) })
}

func TestPostgres(t *testing.T) {
	storetest.Run(t, func(t *testing.T) ajar.Store { return openPostgres(t) })
}

func postgresDSN(t testing.TB) string { return storetest.StartPostgres(t) }
