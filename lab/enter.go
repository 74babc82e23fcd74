//go:build linux

package lab

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// inside marks the environment of a program that runs in its own namespaces; its value is the private folder.
const inside = "AJAR_LAB_DIR"

// Enter moves the program into namespaces of its own. Call it before anything else; it returns, in the new namespaces,
// only inside. Outside it waits for the program within and exits with its code.
func Enter() error {
	if dir := os.Getenv(inside); dir != "" {
		return settle(dir)
	}
	dir, err := os.MkdirTemp("", "ajar-lab-")
	if err != nil {
		return err
	}
	code, err := reexec(dir)
	if rmErr := os.RemoveAll(dir); err == nil && rmErr != nil {
		err = rmErr
	}
	if err != nil {
		return err
	}
	os.Exit(code)
	return nil
}

// reexec runs this program again inside and returns its exit code.
func reexec(dir string) (int, error) {
	// The child is killed when this thread ends, so the thread has to stay until it has been waited for.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := os.Chmod(dir, 0o755); err != nil {
		return 0, err
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), inside+"="+dir)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS,
		Pdeathsig:  syscall.SIGKILL,
	}
	if os.Getuid() != 0 {
		// The caller keeps its own uid inside, so that sshd runs as an ordinary user's; the rights that the user
		// namespace gives survive exec as ambient capabilities.
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getuid(), HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getgid(), HostID: os.Getgid(), Size: 1}}
		cmd.SysProcAttr.AmbientCaps = allCaps()
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGHUP)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return 0, forbidden(err)
	}
	go func() {
		for s := range signals {
			_ = cmd.Process.Signal(s) // it may be gone already
		}
	}()
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 0, err
	}
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return cmd.ProcessState.ExitCode(), nil
}

func allCaps() []uintptr {
	last := uintptr(unix.CAP_LAST_CAP)
	if b, err := os.ReadFile("/proc/sys/kernel/cap_last_cap"); err == nil {
		if n, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil && n >= 0 {
			last = uintptr(n)
		}
	}
	var caps []uintptr
	for c := uintptr(0); c <= last; c++ {
		if v, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, c, 0, 0, 0); err == nil && v == 1 {
			caps = append(caps, c)
		}
	}
	return caps
}

// forbidden says which setting keeps us from making namespaces, as far as the system tells.
func forbidden(err error) error { return explain(err, os.Getuid(), os.ReadFile) }

func explain(err error, uid int, read func(string) ([]byte, error)) error {
	if !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EINVAL) {
		return err
	}
	if uid == 0 {
		return fmt.Errorf("this root may not make namespaces (%w): it needs CAP_SYS_ADMIN and CAP_NET_ADMIN, which containers take away unless they are privileged", err)
	}
	for _, s := range []struct{ name, bad, good string }{
		{"kernel.unprivileged_userns_clone", "0", "1"},
		{"kernel.apparmor_restrict_unprivileged_userns", "1", "0"},
		{"user.max_user_namespaces", "0", "10000"},
	} {
		b, readErr := read("/proc/sys/" + strings.ReplaceAll(s.name, ".", "/"))
		if readErr == nil && string(bytes.TrimSpace(b)) == s.bad {
			return fmt.Errorf("user namespaces are forbidden here (%w): `sudo sysctl %s=%s` allows them, or run it with sudo (`sudo make demo`)", err, s.name, s.good)
		}
	}
	return fmt.Errorf("user namespaces are forbidden here (%w), perhaps by a container's seccomp profile: run it with sudo (`sudo make demo`)", err)
}

// settle makes the new namespaces fit to live in.
func settle(dir string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return forbidden(fmt.Errorf("make mounts private: %w", err))
	}
	// Where a new /proc is refused the old one still serves: it numbers processes as seen from outside.
	_ = unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	opts := fmt.Sprintf("mode=755,uid=%d,gid=%d", os.Getuid(), os.Getgid())
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, opts); err != nil {
		return forbidden(fmt.Errorf("mount a private /run: %w", err))
	}
	if err := os.Mkdir("/run/sshd", 0o755); err != nil {
		return err
	}
	if err := passwd(dir); err != nil {
		return fmt.Errorf("give the caller a shell and a home: %w", err)
	}
	if err := linkUp("lo"); err != nil {
		return forbidden(fmt.Errorf("bring up loopback: %w", err))
	}
	return nil
}

// passwd shows everybody inside an account with which the caller can sign in: it has a shell, and a home in the lab.
func passwd(dir string) error {
	home := homeOf(dir)
	if err := os.Mkdir(home, 0o755); err != nil {
		return err
	}
	old, err := os.ReadFile("/etc/passwd")
	if err != nil {
		return err
	}
	uid := strconv.Itoa(os.Getuid())
	mine := fmt.Sprintf("%s:x:%s:%d:lab:%s:/bin/sh\n", callerName(), uid, os.Getgid(), home)
	lines := mine
	for line := range strings.Lines(string(old)) {
		if f := strings.Split(line, ":"); len(f) > 2 && f[2] != uid {
			lines += line
		}
	}
	// A password that matches nothing, on an account that is not locked: keys alone sign in.
	shadow := callerName() + ":$6$none$none:20000:0:99999:7:::\nsshd:!:20000::::::\n"
	return errors.Join(cover("/etc/passwd", filepath.Join(dir, "passwd"), lines), cover("/etc/shadow", filepath.Join(dir, "shadow"), shadow))
}

// homeOf is the home of whoever runs commands in the lab.
func homeOf(dir string) string { return filepath.Join(dir, "home") }

// environment is that of every process in the lab.
func environment(more []string) []string {
	return append(append(os.Environ(), "HOME="+homeOf(os.Getenv(inside))), more...)
}

// cover shows text in the place of a file of the system.
func cover(name, file, text string) error {
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return err
	}
	return unix.Mount(file, name, "", unix.MS_BIND, "")
}

// callerName is the user name of who runs the lab: the one that ssh signs in as.
func callerName() string {
	if u, err := user.LookupId(strconv.Itoa(os.Getuid())); err == nil {
		return u.Username
	}
	return "lab"
}
