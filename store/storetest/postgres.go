package storetest

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// server is the PostgreSQL that all tests of a process share. It dies with the process: the directory is made anew by
// the next one.
var server struct {
	once sync.Once
	dsn  string
	err  error
	n    atomic.Int64
}

// StartPostgres gives a test an empty database of its own, on a server that is started on loopback for the tests of
// this process and that dies with it. The server does not wait for the disk: for measuring take StartPostgresServer.
// Where PostgreSQL is not installed the test fails.
func StartPostgres(t testing.TB) (dsn string) {
	t.Helper()
	server.once.Do(func() {
		server.dsn, server.err = startShared()
	})
	if server.err != nil {
		t.Fatalf("start PostgreSQL: %v", server.err)
	}
	name := fmt.Sprintf("ajar_%d", server.n.Add(1))
	if err := administer(server.dsn, "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := administer(server.dsn, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Error(err)
		}
	})
	u, err := url.Parse(server.dsn)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	return u.String()
}

func administer(dsn, q string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	_, err = c.Exec(ctx, q)
	return err
}

// startShared starts the server of this process. Nothing tells a test binary that it ends, so the kernel stops the
// server with it, and a directory that a dead process left is removed by the next one.
func startShared() (string, error) {
	removeOld()
	dir, err := os.MkdirTemp("", fmt.Sprintf("ajar-postgres-%d-", os.Getpid()))
	if err != nil {
		return "", err
	}
	// Tests kill clients, never the server; it need not wait for the disk.
	dsn, _, err := startServer(dir, "-c", "fsync=off")
	return dsn, err
}

func removeOld() {
	old, _ := filepath.Glob(filepath.Join(os.TempDir(), "ajar-postgres-*-*"))
	for _, dir := range old {
		var pid int
		if _, err := fmt.Sscanf(filepath.Base(dir), "ajar-postgres-%d-", &pid); err == nil && syscall.Kill(pid, 0) == syscall.ESRCH {
			os.RemoveAll(dir)
		}
	}
}

// StartPostgresServer starts a server with its data in dir, listening on a loopback port and on a socket in dir. It dies
// with this process if stop is not called before. As root it runs as the user postgres or nobody, since it refuses to
// run as root.
func StartPostgresServer(dir string) (dsn string, stop func() error, err error) {
	return startServer(dir)
}

func startServer(dir string, options ...string) (dsn string, stop func() error, err error) {
	s, err := newServer(dir, options...)
	if err != nil {
		return "", nil, err
	}
	data := filepath.Join(dir, "data")
	if err := s.command("initdb", "-D", data, "-U", "ajar", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"); err != nil {
		return "", nil, err
	}
	if err := s.start(); err != nil {
		return "", nil, err
	}
	return s.DSN, s.stop, nil
}
