//go:build linux

package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Proc is a process that was started in a space. Its output is in a file.
type Proc struct {
	Name string
	PID  int
	Log  string // the file with what it printed
	cmd  *exec.Cmd
	done chan struct{}
	err  error
}

// start runs a command in s until it ends by itself, is killed, or s is closed.
func start(s *Space, logDir, name string, env []string, argv ...string) (*Proc, error) {
	log := filepath.Join(logDir, name+".log")
	f, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = f, f
	cmd.Env = environment(env)
	cmd.Dir = logDir
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.Do(cmd.Start); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &Proc{Name: name, PID: cmd.Process.Pid, Log: log, cmd: cmd, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// Kill is kill -9, and waits until the process is gone.
func (p *Proc) Kill() {
	if p == nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGKILL) // it may have ended by itself
	<-p.done
}

// Stop asks the process to end, and kills it if it has not after five seconds.
func (p *Proc) Stop() {
	if p == nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(5 * time.Second):
		p.Kill()
	}
}

// Alive reports whether the process still runs.
func (p *Proc) Alive() bool {
	if p == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Usage is what a process takes.
type Usage struct {
	RSS int64         // resident memory in bytes
	CPU time.Duration // user and system time so far
}

// Usage reads what p takes now.
func (p *Proc) Usage() (Usage, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID))
	if err != nil {
		return Usage{}, err
	}
	_, rest, ok := strings.Cut(string(stat), ") ")
	f := strings.Fields(rest)
	if !ok || len(f) < 22 {
		return Usage{}, fmt.Errorf("/proc/%d/stat reads strangely", p.PID)
	}
	num := func(i int) int64 {
		n, convErr := strconv.ParseInt(f[i], 10, 64)
		err = errors.Join(err, convErr)
		return n
	}
	const tick = time.Second / 100 // USER_HZ, the same on every architecture Go knows
	u := Usage{CPU: time.Duration(num(11)+num(12)) * tick, RSS: num(21) * int64(os.Getpagesize())}
	return u, err
}

// Tail is the end of what p printed, for error messages.
func (p *Proc) Tail() string {
	b, err := os.ReadFile(p.Log)
	if err != nil {
		return err.Error()
	}
	if len(b) > 2000 {
		b = b[len(b)-2000:]
	}
	return string(b)
}

// Output runs a command in s to its end and returns what it printed on standard output. The error holds what it
// printed on standard error.
func (s *Space) Output(ctx context.Context, env []string, argv ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := s.Command(ctx, env, argv...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := s.Do(cmd.Start); err != nil {
		return "", err
	}
	if err := cmd.Wait(); err != nil {
		text := strings.TrimSpace(stderr.String())
		if text == "" {
			return stdout.String(), fmt.Errorf("%s: %w", filepath.Base(argv[0]), err)
		}
		return stdout.String(), &Failed{Argv: argv, Stderr: text, Err: err}
	}
	return stdout.String(), nil
}

// Command prepares a command to be started with s.Do(cmd.Start).
func (s *Space) Command(ctx context.Context, env []string, argv ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = environment(env)
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// Failed is a command that ended with an error and said why.
type Failed struct {
	Argv   []string
	Stderr string
	Err    error
}

func (f *Failed) Error() string { return f.Stderr }
func (f *Failed) Unwrap() error { return f.Err }
