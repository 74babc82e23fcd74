package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// binaries finds the newest PostgreSQL server that is installed.
func binaries() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil {
		return "", err
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		found = append(found, filepath.Dir(path))
	}
	best, newest := "", -1
	for _, dir := range found {
		if _, err := os.Stat(filepath.Join(dir, "postgres")); err != nil {
			continue
		}
		version, _ := strconv.Atoi(filepath.Base(filepath.Dir(dir)))
		if version > newest {
			best, newest = dir, version
		}
	}
	if best == "" {
		return "", errors.New("no PostgreSQL server is installed (looked for /usr/lib/postgresql/*/bin/postgres and for initdb in $PATH)")
	}
	return best, nil
}

// runAs says as whom the server runs: nil as whoever we are, somebody without rights if that is root.
func runAs() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("PostgreSQL does not run as root, and there is no user postgres or nobody to run it as")
}

// freePort takes a port that nobody else gets before it is let go of.
func freePort() (held io.Closer, port int, err error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, 0, err
	}
	return l, l.Addr().(*net.TCPAddr).Port, nil
}

// startLocked starts cmd on a thread that lives as long as cmd does: the kernel sends the signal of a parent's death
// when the thread that started the child ends.
func startLocked(cmd *exec.Cmd, ended chan<- error) error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		started <- nil
		ended <- cmd.Wait()
		close(ended)
	}()
	return <-started
}

// waitReady waits until the server with that data takes connections: at its port there may be another.
func waitReady(dsn, data string, ended <-chan error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := pgx.Connect(ctx, dsn)
		if err == nil {
			var theirs string
			err = errors.Join(c.QueryRow(ctx, "SHOW data_directory").Scan(&theirs), c.Close(ctx))
			if err == nil && theirs == data {
				return nil
			}
		}
		select {
		case <-tick.C:
		case err := <-ended:
			return fmt.Errorf("the server ended: %w", err)
		case <-ctx.Done():
			return fmt.Errorf("the server does not answer: %w", err)
		}
	}
}

// logBuffer keeps what the server says, for the message when it does not start.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.buf.Len() > 64<<10 {
		return len(p), nil
	}
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
