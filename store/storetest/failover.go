package storetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Server is a PostgreSQL server of a test's own, that can die and be replaced. It waits for the disk.
type Server struct {
	DSN string

	dir, bin string
	port     int
	held     io.Closer // keeps the port from others until the first start
	who      *syscall.Credential
	options  []string
	cmd      *exec.Cmd
	ended    chan error
	log      *logBuffer
}

// NewServer starts a server with further options, as on its command line.
func NewServer(t testing.TB, options ...string) *Server {
	t.Helper()
	s := newServerIn(t, options...)
	if err := s.command("initdb", "-D", s.data(), "-U", "ajar", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"); err != nil {
		t.Fatal(err)
	}
	s.Start(t)
	return s
}

// Standby starts a server that follows s.
func (s *Server) Standby(t testing.TB, options ...string) *Server {
	t.Helper()
	b := newServerIn(t, options...)
	from := fmt.Sprintf("host=127.0.0.1 port=%d user=ajar application_name=standby", s.port)
	if err := b.command("pg_basebackup", "-D", b.data(), "-R", "-X", "stream", "-c", "fast", "--no-sync", "-d", from); err != nil {
		t.Fatal(err)
	}
	b.Start(t)
	return b
}

func newServerIn(t testing.TB, options ...string) *Server {
	t.Helper()
	removeOld()
	dir, err := os.MkdirTemp("", fmt.Sprintf("ajar-postgres-%d-", os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	s, err := newServer(dir, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Kill()
		// Its children may write for a moment yet.
		Until(t, func() bool { return os.RemoveAll(dir) == nil })
	})
	return s
}

func newServer(dir string, options ...string) (*Server, error) {
	s := &Server{dir: dir, options: options, log: new(logBuffer)}
	var err error
	if s.bin, err = binaries(); err != nil {
		return nil, err
	}
	if s.who, err = runAs(); err != nil {
		return nil, err
	}
	if s.who != nil {
		if err := os.Chown(dir, int(s.who.Uid), int(s.who.Gid)); err != nil {
			return nil, err
		}
	}
	if s.held, s.port, err = freePort(); err != nil {
		return nil, err
	}
	s.DSN = fmt.Sprintf("postgres://ajar@127.0.0.1:%d/postgres?sslmode=disable", s.port)
	return s, nil
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// command runs one of the server's programs to its end.
func (s *Server) command(name string, args ...string) error {
	c := exec.Command(filepath.Join(s.bin, name), args...)
	c.Dir, c.SysProcAttr = s.dir, &syscall.SysProcAttr{Credential: s.who}
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	return nil
}

func (s *Server) start() error {
	options := append([]string{
		"-D", s.data(), "-h", "127.0.0.1", "-p", strconv.Itoa(s.port), "-k", s.dir,
		"-c", "max_connections=200", "-c", "shared_buffers=128MB", "-c", "max_wal_size=2GB",
	}, s.options...)
	s.cmd = exec.Command(filepath.Join(s.bin, "postgres"), options...)
	s.cmd.Dir, s.cmd.Stdout, s.cmd.Stderr = s.dir, s.log, s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.who, Setpgid: true, Pdeathsig: syscall.SIGQUIT}
	s.ended = make(chan error, 1)
	s.held.Close()
	if err := startLocked(s.cmd, s.ended); err != nil {
		return err
	}
	if err := waitReady(s.DSN, s.data(), s.ended); err != nil {
		s.cmd.Process.Kill()
		return fmt.Errorf("%w\n%s", err, s.log)
	}
	return nil
}

func (s *Server) stop() error { return errors.Join(s.cmd.Process.Signal(syscall.SIGINT), <-s.ended) }

// Start starts it again where it was.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	limit := time.Now().Add(time.Minute)
	for {
		err := s.start()
		if err == nil {
			return
		}
		// What is left of a server that was killed takes a moment to go, with its memory and its port, and the next does not
		// start beside it.
		why := err.Error()
		if !strings.Contains(why, "shared memory block") && !strings.Contains(why, "Address already in use") || time.Now().After(limit) {
			t.Fatal(err)
		}
	}
}

// Kill ends it as a loss of power does, but for what the machine's memory has of its files. It may be dead already.
func (s *Server) Kill() {
	if s.cmd == nil {
		return
	}
	s.cmd.Process.Kill()
	<-s.ended
}

// Promote makes a standby the primary.
func (s *Server) Promote(t testing.TB) {
	t.Helper()
	s.Exec(t, "SELECT pg_promote()")
}

// Exec runs SQL as the server's administrator.
func (s *Server) Exec(t testing.TB, q string) {
	t.Helper()
	if err := administer(s.DSN, q); err != nil {
		t.Fatal(err)
	}
}

// Ask gives the answer to a question that has one line of one column.
func (s *Server) Ask(t testing.TB, q string) (answer string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c, err := pgx.Connect(ctx, s.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(ctx)
	if err := c.QueryRow(ctx, "SELECT ("+q+")::text").Scan(&answer); err != nil {
		t.Fatal(err)
	}
	return answer
}

// Both names two servers in one address, to be tried in this order.
func Both(t testing.TB, first, second string) string {
	t.Helper()
	a, err := url.Parse(first)
	if err != nil {
		t.Fatal(err)
	}
	b, err := url.Parse(second)
	if err != nil {
		t.Fatal(err)
	}
	a.Host += "," + b.Host
	return a.String()
}
