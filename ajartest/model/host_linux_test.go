package model_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/ajartest/model"
	"github.com/ajar-access/ajar/provider/agent"
	"github.com/ajar-access/ajar/provider/nftables"
)

// spare is a port that nobody guards: when it answers, the host's network is up.
const spare = 7

// machine is a host: a namespace with servers in it, a disk, clocks, and whatever agent runs there now.
type machine struct {
	t     testing.TB
	guest *space
	n     int
	ep    ajar.EndpointID
	own   string // nftables.Config.OwnTable
	dir   string
	log   *slog.Logger

	space  *space
	booted time.Time
	boots  int
	served []io.Closer

	mu    sync.Mutex
	wall  time.Duration // the host's clock is wrong by that
	cut   bool
	conns map[net.Conn]bool

	stepped chan struct{}
	halt    func() // kills the agent; nil = none runs
}

func (m *machine) addr() netip.Prefix {
	return netip.MustParsePrefix(fmt.Sprintf("198.18.%d.1/30", m.n))
}
func (m *machine) cable() string { return fmt.Sprintf("cable%d", m.n) }

func (m *machine) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatalf("host %d: %v", m.n, err)
	}
}

// boot makes the host anew, as a machine does that comes up: the firewall is restored before there is a network.
func (m *machine) boot(run bool) {
	m.t.Helper()
	m.space, m.booted = newSpace(m.t), time.Now()
	m.boots++
	m.start(run)
	for _, p := range append([]uint16{spare}, model.Ports...) {
		m.must(m.serve(p))
	}
	theirs := netip.PrefixFrom(m.addr().Addr().Next(), 30)
	m.must(cable(m.space, m.guest, m.cable(), m.addr(), theirs))
	for limit := time.Now().Add(time.Minute); ; {
		c, err := dialFrom(m.guest, model.Probes[0], m.at(spare))
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(limit) {
			m.must(fmt.Errorf("the network does not come up: %w", err))
		}
		wait(time.Millisecond)
	}
}

// down is the end of a boot: nothing is written, nothing said.
func (m *machine) down() {
	m.kill()
	m.must(unplug(m.guest, m.cable()))
	for _, c := range m.served {
		c.Close()
	}
	m.served = nil
	m.space.close()
}

func (m *machine) at(port uint16) netip.AddrPort { return netip.AddrPortFrom(m.addr().Addr(), port) }

// serve answers on a port with what it is sent.
func (m *machine) serve(port uint16) error {
	var l net.Listener
	err := m.space.do(func() (err error) {
		l, err = net.Listen("tcp4", fmt.Sprintf(":%d", port))
		return err
	})
	if err != nil {
		return err
	}
	m.served = append(m.served, l)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return nil
}

func (m *machine) wallNow() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return time.Now().Add(m.wall)
}

// step sets the host's clock.
func (m *machine) step(d time.Duration) {
	m.mu.Lock()
	m.wall += d
	m.mu.Unlock()
	if m.halt != nil {
		m.stepped <- struct{}{}
	}
}

// dial reaches the plane, unless there is nothing in between.
func (m *machine) dial(ctx context.Context, addr string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cut {
		c.Close()
		return nil, errors.New("no route to the plane")
	}
	m.conns[c] = true
	return c, nil
}

// reach cuts the host off, or joins it to the plane again.
func (m *machine) reach(ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cut = !ok
	if m.cut {
		for c := range m.conns {
			c.Close()
		}
		clear(m.conns)
	}
}

// local is the kernel's firewall as the agent's.
type local struct{ *nftables.Firewall }

// Refused lists what can be listed.
func (l local) Refused(ctx context.Context) []ajar.Refusal {
	rs, _ := l.Firewall.Refused(ctx) //nolint:errcheck // nothing depends on it
	return rs
}

// start puts an agent together and restores what was there; run says whether it goes on.
func (m *machine) start(run bool) {
	m.t.Helper()
	booted := m.booted
	clock := &agent.Clock{Boot: func() time.Duration { return time.Since(booted) }, Wall: m.wallNow}
	fw, err := nftables.Config{OwnTable: m.own, NetNS: m.space.path(), Clock: clock.Now}.Open(m.t.Context(), m.log)
	m.must(err)
	m.stepped = make(chan struct{}, 100)
	h := &agent.Host{
		Local: local{fw}, Clock: clock, Dir: m.dir, Version: "model", BootID: fmt.Sprint("boot-", m.boots), TrustWall: true, Log: m.log,
		Mono: clock.Boot, Stepped: m.stepped, Dial: m.dial,
	}
	m.must(h.Open())
	m.must(h.Restore(m.t.Context()))
	gone := func() { h.Close(); fw.Close() }
	if !run {
		gone()
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	m.halt = func() {
		cancel()
		<-done
		gone()
	}
}

// kill ends the agent where it is. Its sockets close; the kernel keeps what it has.
func (m *machine) kill() {
	if m.halt != nil {
		m.halt()
		m.halt = nil
	}
}

// flush is somebody else who empties the firewall.
func (m *machine) flush() error {
	return m.space.do(func() error {
		out, err := exec.Command("nft", "flush", "ruleset").CombinedOutput()
		if err != nil && m.own == "off" {
			return fmt.Errorf("nft flush ruleset: %w: %s", err, out)
		}
		return nil // an owned table may be refused to others, or passed over
	})
}
