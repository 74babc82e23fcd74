package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/store/storetest"
)

// asProgram has a process of this test be ajard.
const asProgram = "AJAR_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		if err := smallDisk(os.Getenv(onSmallDisk)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// process is ajard as a process of its own, which dies with the test.
func (m *machine) process(args ...string) (*exec.Cmd, *output) {
	m.t.Helper()
	return m.processAs(func(*exec.Cmd) {}, args...)
}

func (m *machine) processAs(change func(*exec.Cmd), args ...string) (*exec.Cmd, *output) {
	m.t.Helper()
	self, err := os.Executable()
	if err != nil {
		m.t.Fatal(err)
	}
	c := exec.Command(self, args...)
	c.Env = append(os.Environ(), asProgram+"=1")
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	said := &output{}
	c.Stdout, c.Stderr = said, said
	change(c)
	if err := c.Start(); err != nil {
		m.t.Fatal(err)
	}
	return c, said
}

// serveAs is serve in a process of its own.
func (m *machine) serveAs(change func(*exec.Cmd)) (*program, *os.Process) {
	m.t.Helper()
	c, said := m.processAs(change, "serve", "-c", m.conf)
	p := &program{t: m.t, stderr: said, done: make(chan error, 1)}
	p.stop = func() { c.Process.Signal(syscall.SIGTERM) } //nolint:errcheck // it may be gone already
	go func() { p.done <- c.Wait() }()
	m.t.Cleanup(p.end)
	p.ready()
	return p, c.Process
}

// TestARestoreThatIsKilledLeavesNothing: however far a restore into PostgreSQL has come when its process is killed, nothing of
// it is there afterwards that a plane could serve with its old leases open, and it can be made again.
func TestARestoreThatIsKilledLeavesNothing(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "kek: {file: kek}\n")
	p := m.serve()
	admin := p.mustLogin("admin", once.FindString(p.stderr.String()))
	if err := admin.SetPassword(t.Context(), "admin", password, ""); err != nil {
		t.Fatal(err)
	}
	p.join(admin, false)
	p.policy(admin)
	open := p.open(admin, "192.0.2.1")
	file := filepath.Join(m.dir, "backup")
	m.must("backup", "-c", m.conf, file)
	p.end()

	dsn := storetest.StartPostgres(t)
	proxy := storetest.NewProxy(t, dsn)
	m.configure("sqlite:ajar.db", proxy.DSN)
	// While what was in the backup is written, while it is closed, and with the commit on its way or not.
	for _, when := range []struct {
		text string
		nth  int64
	}{{"INSERT INTO docs", 1}, {"UPDATE docs SET", 1}, {"UPDATE counters SET", 2}, {"COMMIT\x00", 1}} {
		var seen atomic.Int64
		var victim atomic.Pointer[os.Process]
		begin := make(chan struct{})
		proxy.Sent(func(b []byte) storetest.Cut {
			<-begin
			// The migrations' own commits come before.
			if !bytes.Contains(b, []byte(when.text)) || (when.text == "COMMIT\x00" && seen.Load() == 0) {
				if bytes.Contains(b, []byte("UPDATE docs SET")) && when.text == "COMMIT\x00" {
					seen.Add(1)
				}
				return storetest.Pass
			}
			if when.text != "COMMIT\x00" && seen.Add(1) != when.nth {
				return storetest.Pass
			}
			victim.Load().Kill() //nolint:errcheck // the test sees whether it ended
			return storetest.CutBefore
		})
		c, said := m.process("restore", "-c", m.conf, file)
		victim.Store(c.Process)
		close(begin)
		if err := c.Wait(); err == nil || c.ProcessState.ExitCode() != -1 {
			t.Fatalf("%q: the restore was not killed: %v\n%s", when.text, err, said)
		}
		proxy.Sent(nil)
		if n := rowsOf(t, dsn, "docs") + rowsOf(t, dsn, "events"); n != 0 {
			t.Errorf("killed at %q: %d rows are there", when.text, n)
		}
	}
	if out := m.must("restore", "-c", m.conf, file); !strings.Contains(out, "1 leases are being closed") {
		t.Errorf("restore says %q", out)
	}
	p = m.serve()
	r, err := p.mustLogin("admin", password).Request(t.Context(), open.ID)
	if err != nil {
		t.Fatal(err)
	}
	if s := r.Leases[0].State; s != ajar.Closing && s != ajar.Closed {
		t.Errorf("after the restore the lease is %s", s)
	}
}
