//go:build linux

package lab

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A process can be killed at an exact step without a hook in it: the steps that others can tell apart are the system
// calls with which it writes, and a tracer sees each before it happens. The tracer is this test binary once more, since
// a process that waits for its children cannot trace them as well. (strace counts for each thread on its own, and Go
// moves its goroutines between threads.)

// traced marks the environment of a tracer; its value is the victim's process and, after a blank, the step to kill at.
const traced = "AJAR_LAB_TRACE"

// trace is a running tracer.
type trace struct {
	step  string // to kill at
	cmd   *exec.Cmd
	lines chan string // steps as they come, closed when the tracer has ended
	stdin io.Closer
}

// follow traces p from now on and kills it just before the given step; "" kills nothing.
func follow(p *Proc, step string) (*trace, error) {
	t := &trace{step: step, lines: make(chan string, 1000), cmd: exec.Command("/proc/self/exe")}
	t.cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %s", traced, p.PID, step), "GORACE=atexit_sleep_ms=0")
	t.cmd.Stderr = os.Stderr
	out, err := t.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if t.stdin, err = t.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := t.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(t.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			t.lines <- s.Text()
		}
	}()
	if first := <-t.lines; first != "ready" {
		return nil, errors.Join(fmt.Errorf("process %d cannot be traced: %q", p.PID, first), t.end())
	}
	return t, nil
}

// rest is the steps until the one to kill at, or until there were none for a while after the given time.
func (t *trace) rest(until time.Time, quiet time.Duration) (steps []string, killed bool) {
	for {
		timer := time.NewTimer(max(quiet, time.Until(until)))
		select {
		case s, more := <-t.lines:
			if !more {
				return steps, false
			}
			if steps = append(steps, s); s == t.step {
				return steps, true
			}
		case <-timer.C:
			return steps, false
		}
	}
}

// end ends the tracer; a victim that lives goes on without it.
func (t *trace) end() error {
	t.stdin.Close()
	for range t.lines {
	}
	return t.cmd.Wait()
}

// calls are the system calls that leave something behind, with the argument that holds the file or its name.
var calls = map[uint64]struct {
	name string
	arg  int
	path bool
}{
	unix.SYS_WRITE: {"write", 0, false}, unix.SYS_WRITEV: {"writev", 0, false},
	unix.SYS_PWRITE64: {"pwrite", 0, false}, unix.SYS_PWRITEV: {"pwritev", 0, false},
	unix.SYS_FSYNC: {"fsync", 0, false}, unix.SYS_FDATASYNC: {"fdatasync", 0, false},
	unix.SYS_FTRUNCATE: {"ftruncate", 0, false}, unix.SYS_FALLOCATE: {"fallocate", 0, false},
	unix.SYS_SENDTO: {"send", 0, false}, unix.SYS_SENDMSG: {"sendmsg", 0, false},
	unix.SYS_CONNECT: {"connect", 0, false}, unix.SYS_SHUTDOWN: {"shutdown", 0, false},
	unix.SYS_RENAMEAT: {"rename", 1, true}, unix.SYS_RENAMEAT2: {"rename", 1, true},
	unix.SYS_UNLINKAT: {"unlink", 1, true}, unix.SYS_OPENAT: {"create", 1, true},
}

// tracer is one victim as the tracer's process sees it. Everything in it runs on one thread, as ptrace wants it.
type tracer struct {
	pid   int
	pidfd int
	step  string // to kill at
	count map[string]int
	out   *os.File
}

// runTracer is the tracer's process.
func runTracer(args string) error {
	runtime.LockOSThread()
	pid, step, _ := strings.Cut(args, " ")
	n, err := strconv.Atoi(pid)
	if err != nil {
		return err
	}
	t := &tracer{pid: n, step: step, count: map[string]int{}, out: os.Stdout}
	if t.pidfd, err = unix.PidfdOpen(n, 0); err != nil {
		return err
	}
	go func() { // the test is done with us: the kernel lets go of the victim
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	threads, err := t.seize()
	if err != nil {
		return err
	}
	return t.loop(threads)
}

func ptrace(request, tid int, addr, data uintptr) (uintptr, error) {
	r, _, errno := unix.Syscall6(unix.SYS_PTRACE, uintptr(request), uintptr(tid), addr, data, 0, 0)
	if errno != 0 && errno != unix.ESRCH { // it may be gone at any time
		return 0, fmt.Errorf("ptrace %d of %d: %w", request, tid, errno)
	}
	return r, nil
}

// seize takes all threads of the victim, also those that are made meanwhile, and stops them once.
func (t *tracer) seize() (threads map[int]bool, err error) {
	threads = map[int]bool{}
	for grew := true; grew; {
		grew = false
		entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", t.pid))
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			tid, err := strconv.Atoi(e.Name())
			if err != nil || threads[tid] {
				continue
			}
			_, err = ptrace(unix.PTRACE_SEIZE, tid, 0, unix.PTRACE_O_TRACESYSGOOD|unix.PTRACE_O_TRACECLONE)
			if err != nil && !errors.Is(err, unix.EPERM) { // a thread that one of ours made is ours already
				return nil, err
			}
			threads[tid], grew = true, true
		}
	}
	for tid := range threads {
		if _, err := ptrace(unix.PTRACE_INTERRUPT, tid, 0, 0); err != nil {
			return nil, err
		}
	}
	return threads, nil
}

// loop says "ready" once all of the threads have stopped, and each step from then on.
func (t *tracer) loop(waiting map[int]bool) error {
	for ready := false; ; {
		var ws unix.WaitStatus
		tid, err := unix.Wait4(-1, &ws, unix.WALL, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if errors.Is(err, unix.ECHILD) {
			return nil
		}
		if err != nil {
			return err
		}
		if delete(waiting, tid); len(waiting) == 0 && !ready {
			ready = true
			fmt.Fprintln(t.out, "ready")
		}
		if !ws.Stopped() {
			continue
		}
		signal, event := ws.StopSignal(), int(ws)>>16
		switch {
		case event != 0 && signal == unix.SIGTRAP:
			signal = 0
		case event != 0:
			if _, err := ptrace(unix.PTRACE_LISTEN, tid, 0, 0); err != nil {
				return err
			}
			continue
		case signal == unix.SIGTRAP|0x80:
			signal = 0
			if ready {
				t.call(tid)
			}
		}
		if _, err := ptrace(unix.PTRACE_SYSCALL, tid, 0, uintptr(signal)); err != nil {
			return err
		}
	}
}

// entry is the head of struct ptrace_syscall_info, at a call's beginning.
type entry struct {
	op   uint8
	_    [3]uint8
	arch uint32
	ip   uint64
	sp   uint64
	nr   uint64
	args [6]uint64
}

// call looks at the system call that a thread is about to make.
func (t *tracer) call(tid int) {
	var e entry
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_GET_SYSCALL_INFO, uintptr(tid), unsafe.Sizeof(e), uintptr(unsafe.Pointer(&e)), 0, 0)
	c, ok := calls[e.nr]
	if errno != 0 || e.op != unix.PTRACE_SYSCALL_INFO_ENTRY || !ok || e.nr == unix.SYS_OPENAT && e.args[2]&unix.O_CREAT == 0 {
		return
	}
	what := ""
	if c.path {
		what = t.path(e.args[c.arg])
	} else {
		what = t.object(int(e.args[c.arg]))
	}
	if what == "" {
		return
	}
	t.count[c.name+" "+what]++
	step := fmt.Sprintf("%s %s#%d", c.name, what, t.count[c.name+" "+what])
	if step == t.step {
		_ = unix.Kill(t.pid, unix.SIGKILL) // the call is not made any more
	}
	fmt.Fprintln(t.out, step)
}

var digits = regexp.MustCompile(`[0-9]{3,}`)

// path is the last element of a name in the victim's memory, without what is drawn by lot.
func (t *tracer) path(at uint64) string {
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", t.pid))
	if err != nil {
		return ""
	}
	defer mem.Close()
	b := make([]byte, 4096)
	n, _ := mem.ReadAt(b, int64(at)) // as far as it goes
	name, _, _ := bytes.Cut(b[:n], []byte{0})
	return digits.ReplaceAllString(filepath.Base(string(name)), "N")
}

// object names what is behind a file descriptor; "" is what nobody but the victim sees, or a log.
func (t *tracer) object(fd int) string {
	to, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", t.pid, fd))
	switch {
	case err == nil && strings.HasPrefix(to, "socket:"):
		return t.socket(fd)
	case err != nil, !strings.HasPrefix(to, "/"), strings.HasPrefix(to, "/dev/"), strings.HasSuffix(to, ".log"):
		return ""
	}
	return digits.ReplaceAllString(filepath.Base(to), "N")
}

func (t *tracer) socket(fd int) string {
	own, err := unix.PidfdGetfd(t.pidfd, fd, 0)
	if err != nil {
		return "socket"
	}
	defer unix.Close(own)
	name := func(sa unix.Sockaddr, err error) string {
		switch sa := sa.(type) {
		case *unix.SockaddrNetlink:
			return "netlink"
		case *unix.SockaddrInet4:
			return ports[sa.Port]
		case *unix.SockaddrInet6:
			return ports[sa.Port]
		}
		return ""
	}
	if s := name(unix.Getsockname(own)); s != "" {
		return s
	}
	if s := name(unix.Getpeername(own)); s != "" {
		return "to " + s
	}
	return "socket"
}

var ports = map[int]string{8443: "api", 8444: "agents", 9090: "metrics"}
