//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ajar-access/ajar"
)

func clockNow(id int32) time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		panic(err) // every kernel that has nftables has these clocks
	}
	return time.Duration(ts.Nano())
}

func sinceBoot() time.Duration { return clockNow(unix.CLOCK_BOOTTIME) }
func awake() time.Duration     { return clockNow(unix.CLOCK_MONOTONIC) }

func bootID() string {
	b, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b))
}

func kernel() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

// wallIsKept reports whether the wall clock was right already when the machine started: it has a clock with a battery,
// or a hypervisor that tells the time. Others start in the past, and would hold openings open for too long.
func wallIsKept() bool {
	if rtcs, _ := filepath.Glob("/sys/class/rtc/rtc*"); len(rtcs) > 0 {
		return true
	}
	b, _ := os.ReadFile("/sys/devices/system/clocksource/clocksource0/available_clocksource")
	for _, c := range []string{"kvm-clock", "xen", "hyperv"} {
		if strings.Contains(string(b), c) {
			return true
		}
	}
	return false
}

// watchClock sends whenever the wall clock was set or the machine woke up: the kernel cancels a timer then.
func watchClock(ctx context.Context, stepped chan<- struct{}) error {
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), "timerfd")
	defer f.Close()
	defer context.AfterFunc(ctx, func() { f.Close() })()
	never := unix.ItimerSpec{Value: unix.NsecToTimespec(1<<62 - 1)}
	const cancelOnSet = 2 // TFD_TIMER_CANCEL_ON_SET
	for buf := make([]byte, 8); ctx.Err() == nil; {
		if err := unix.TimerfdSettime(fd, unix.TFD_TIMER_ABSTIME|cancelOnSet, &never, nil); err != nil && !errors.Is(err, unix.ECANCELED) {
			return err
		}
		if _, err := f.Read(buf); err != nil && !errors.Is(err, unix.ECANCELED) {
			return err
		}
		select {
		case stepped <- struct{}{}:
		default:
		}
	}
	return nil
}

// lock keeps two agents from working on one state directory.
func (a *app) lock() (*os.File, error) {
	if err := os.MkdirAll(a.state, 0o700); err != nil {
		return nil, fmt.Errorf("make the state directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(a.state, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if errors.Is(err, unix.EROFS) { // a disk that came up read-only leaves nobody unguarded
		f, err = os.Open(filepath.Join(a.state, "lock"))
	}
	if errors.Is(err, fs.ErrPermission) {
		return nil, hint(ajar.Errorf(ajar.Forbidden, "the state in %s belongs to somebody else", a.state), "become root, or name a directory of yours with --state")
	}
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, hint(ajar.Errorf(ajar.Conflict, "an agent is at work on %s", a.state), "stop it first: systemctl stop ajar-agent")
	}
	return f, nil
}

// giveToOwner makes root's work readable to the agent's own user, whom the state directory belongs to.
func giveToOwner(dir string) error {
	var st unix.Stat_t
	if os.Geteuid() != 0 || unix.Stat(dir, &st) != nil || st.Uid == 0 {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.Lchown(filepath.Join(dir, e.Name()), int(st.Uid), int(st.Gid)); err != nil {
			return fmt.Errorf("hand the state to its owner: %w", err)
		}
	}
	return nil
}

// socketPath is the agent's local socket. Names of sockets are at most 107 bytes long; the directory's descriptor
// stands for a longer one for as long as keep is open.
func (a *app) socketPath() (path string, keep *os.File, err error) {
	path = filepath.Join(a.state, "agent.sock")
	if len(path) < 100 {
		return path, nil, nil
	}
	keep, err = os.Open(a.state)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/agent.sock", keep.Fd()), keep, nil
}

// listen opens the local socket for its owner alone.
func (a *app) listen() (net.Listener, error) {
	path, keep, err := a.socketPath()
	if err != nil {
		return nil, err
	}
	if keep != nil {
		defer keep.Close()
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	old := syscall.Umask(0o177)
	ln, err := net.Listen("unix", path)
	syscall.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("open the local socket: %w", err)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false) // the next agent replaces it
	return ln, nil
}

// admit lets in root and the user that the agent runs as.
func admit(c net.Conn) (string, error) {
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		return "", err
	}
	var cred *unix.Ucred
	var cerr error
	if err := raw.Control(func(fd uintptr) { cred, cerr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return "", err
	}
	if cerr != nil {
		return "", cerr
	}
	if !mayAsk(int(cred.Uid), os.Geteuid()) {
		return "", ajar.Errorf(ajar.Forbidden, "only root may ask the agent")
	}
	return userName(int(cred.Uid)), nil
}

func mayAsk(uid, own int) bool { return uid == 0 || uid == own }

// userName is who a uid is.
func userName(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return "uid " + strconv.Itoa(uid)
}
