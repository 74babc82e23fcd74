//go:build linux

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"sync"
	"time"

	"github.com/ajar-access/ajar/lab"
)

// session is a live ssh session in which somebody types all the time and sees what comes back, or only waits.
type session struct {
	cmd  *exec.Cmd
	mu   sync.Mutex
	last time.Time
	sent time.Time // when what came back in the last line was typed
	over chan struct{}
	gone time.Time // when ssh ended; after over
}

// ssh signs in to m from the requester's machine and waits for the first line. Then somebody types.
func (d *demo) ssh(ctx context.Context, m *lab.Machine) (*session, error) {
	s, in, err := d.signIn(ctx, m)
	if err == nil {
		go s.typing(in)
	}
	return s, err
}

// signIn is ssh in which nobody types yet.
func (d *demo) signIn(ctx context.Context, m *lab.Machine) (*session, io.WriteCloser, error) {
	s := &session{over: make(chan struct{})}
	s.cmd = d.lab.Requester.Command(ctx, nil, "ssh", m.IPv4.String(), "hostname; while read -r line; do echo \"$line\"; done")
	in, err := s.cmd.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := d.lab.Requester.Do(s.cmd.Start); err != nil {
		return nil, nil, err
	}
	first := make(chan string, 1)
	go func() {
		defer close(s.over)
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			s.heard(time.Now(), lines.Text())
			if n == 0 {
				first <- lines.Text()
			}
		}
		_ = s.cmd.Wait() // its end is what we look for; ssh calls it an error
		s.gone = time.Now()
	}()
	select {
	case host := <-first:
		if host != m.Name {
			return nil, nil, fmt.Errorf("ssh to %s ended up on %q", m.Name, host)
		}
		return s, in, nil
	case <-s.over:
		return nil, nil, fmt.Errorf("ssh to %s ended at once", m.Name)
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	}
}

// heard notes a line, which says when it was typed.
func (s *session) heard(at time.Time, line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = at
	if n, err := strconv.ParseInt(line, 10, 64); err == nil {
		s.sent = time.Unix(0, n)
	}
}

// typing sends a line every few milliseconds until ssh has ended.
func (s *session) typing(in io.WriteCloser) {
	t := time.NewTicker(5 * time.Millisecond)
	defer t.Stop()
	defer in.Close()
	for range t.C {
		if _, err := fmt.Fprintln(in, time.Now().UnixNano()); err != nil {
			return
		}
		select {
		case <-s.over:
			return
		default:
		}
	}
}

// lastLine is when the last line came.
func (s *session) lastLine() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// lastTyped is when the last line was typed that came back.
func (s *session) lastTyped() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent
}

// ended waits until ssh has ended.
func (s *session) ended(ctx context.Context) error {
	select {
	case <-s.over:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the live ssh session goes on, last line %s ago", time.Since(s.lastLine()).Round(time.Millisecond))
	}
}
