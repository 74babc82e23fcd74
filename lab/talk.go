//go:build linux

package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// pace is how often either side of a Talk sends a byte: how exactly its end can be told.
const pace = 500 * time.Microsecond

// service is a TCP server in a machine that talks back, so that sessions can be watched without the weight of an sshd.
type service struct {
	mu    sync.Mutex
	heard map[string]time.Time // by client address: when its last byte came
}

func (v *service) serve(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			chat(conn, func(at time.Time) {
				v.mu.Lock()
				v.heard[conn.RemoteAddr().String()] = at
				v.mu.Unlock()
			})
		}()
	}
}

// chat sends a byte at every pace, and calls heard for what the other side sends, until the connection breaks.
func chat(conn net.Conn, heard func(time.Time)) {
	broken := make(chan struct{})
	go func() {
		defer close(broken)
		var b [64]byte
		for {
			if _, err := conn.Read(b[:]); err != nil {
				return
			}
			heard(time.Now())
		}
	}()
	t := time.NewTicker(pace)
	defer t.Stop()
	for {
		select {
		case <-broken:
			return
		case <-t.C:
		}
		if _, err := conn.Write([]byte{1}); err != nil {
			conn.Close()
			<-broken
			return
		}
	}
}

// Talk is a live session in which both sides send all the time.
type Talk struct {
	conn  net.Conn
	v     *service
	local string
	mu    sync.Mutex
	last  time.Time
	done  chan struct{}
}

// Talk opens a session from s to one of Options.Ports, and returns once something was said in it.
func (s *Space) Talk(ctx context.Context, m *Machine, port uint16) (*Talk, error) {
	v := m.services[port]
	if v == nil {
		return nil, fmt.Errorf("nothing on port %d of %s talks", port, m.Name)
	}
	conn, err := s.DialContext(ctx, "tcp", netip.AddrPortFrom(m.IPv4, port).String())
	if err != nil {
		return nil, err
	}
	t := &Talk{conn: conn, v: v, local: conn.LocalAddr().String(), done: make(chan struct{})}
	go func() {
		defer close(t.done)
		chat(conn, func(at time.Time) {
			t.mu.Lock()
			t.last = at
			t.mu.Unlock()
		})
	}()
	err = Await(ctx, time.Second, func() (bool, error) { return !t.LastByte().IsZero(), nil })
	if err != nil {
		t.Close()
		return nil, fmt.Errorf("port %d of %s says nothing: %w", port, m.Name, err)
	}
	return t, nil
}

// LastByte is when the last byte came through, in whichever direction.
func (t *Talk) LastByte() time.Time {
	t.mu.Lock()
	at := t.last
	t.mu.Unlock()
	t.v.mu.Lock()
	defer t.v.mu.Unlock()
	if h := t.v.heard[t.local]; h.After(at) {
		at = h
	}
	return at
}

// Done is closed when the session is over for the side that opened it.
func (t *Talk) Done() <-chan struct{} { return t.done }

// Close ends the session.
func (t *Talk) Close() {
	t.conn.Close()
	<-t.done
}
