//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
	"github.com/ajar-access/ajar/lab"
	"github.com/ajar-access/ajar/provider/agent"
	"github.com/ajar-access/ajar/provider/fake"
)

// simulated is the real agent on the real wire over a firewall that only remembers.
type simulated struct {
	id   ajar.ID
	host *agent.Host
}

// local makes a fake firewall fit for an agent.
type local struct{ *fake.Firewall }

func (local) Resync(context.Context) error           { return nil }
func (local) Refused(context.Context) []ajar.Refusal { return nil }
func (local) Status() ajar.HostStatus {
	return ajar.HostStatus{Version: "simulated", OwnTable: "simulated"}
}

// simulate lets n hosts join and runs them until ctx ends. Their state is in memory, under the lab's private /run.
func (r *rig) simulate(ctx context.Context, g *errgroup.Group, n int) ([]simulated, error) {
	addrs, err := operatorAddresses(50)
	if err != nil {
		return nil, err
	}
	all := make([]simulated, n)
	joining, jctx := errgroup.WithContext(ctx)
	joining.SetLimit(8)
	for i := range n {
		joining.Go(func() (err error) {
			all[i], err = r.join(jctx, i, addrs[i%len(addrs)])
			return err
		})
	}
	if err := joining.Wait(); err != nil {
		return nil, err
	}
	for _, s := range all {
		g.Go(func() error {
			if err := s.host.Run(ctx); err != nil && ctx.Err() == nil {
				return err
			}
			return nil
		})
	}
	return all, nil
}

func (r *rig) join(ctx context.Context, i int, from netip.Addr) (simulated, error) {
	id := ajar.ID(fmt.Sprintf("%s/providers/Microsoft.Compute/virtualMachines/sim%04d", lab.Group, i))
	token, err := r.c.JoinToken(ctx, id, lab.Location, false)
	if err != nil {
		return simulated{}, err
	}
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: from.AsSlice()}, Timeout: 10 * time.Second}
	dial := func(ctx context.Context, addr string) (net.Conn, error) { return dialer.DialContext(ctx, "tcp", addr) }
	dir := filepath.Join("/run/fleet", id.Name())
	clock := &agent.Clock{Boot: sinceBoot, Wall: time.Now}
	_, err = agent.Join(ctx, agent.JoinAsk{
		Dir: dir, Server: r.Plane.AgentAddr, CAHash: r.Plane.CAHash, Token: token.Token, Clock: time.Now, Dial: dial,
	})
	if err != nil {
		return simulated{}, fmt.Errorf("join %s: %w", id.Name(), err)
	}
	h := &agent.Host{Local: local{fake.New(clock.Now)}, Clock: clock, Dir: dir, Version: "simulated", BootID: "simulated", Dial: dial}
	return simulated{id, h}, h.Open()
}

func sinceBoot() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic(err) // every kernel that has nftables has it
	}
	return time.Duration(ts.Nano())
}

// operatorAddresses gives this program more addresses: the plane bounds how often one may join.
func operatorAddresses(n int) ([]netip.Addr, error) {
	br, err := netlink.LinkByName(lab.Bridge)
	if err != nil {
		return nil, err
	}
	var addrs []netip.Addr
	for i := range n {
		a := netip.AddrFrom4([4]byte{198, 51, 100, byte(150 + i)})
		ipn := &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(24, 32)}
		if err := netlink.AddrAdd(br, &netlink.Addr{IPNet: ipn}); err != nil && !errors.Is(err, unix.EEXIST) {
			return nil, fmt.Errorf("address %s: %w", a, err)
		}
		addrs = append(addrs, a)
	}
	return addrs, nil
}

// crowd opens n leases on the one real machine, each for a source of its own.
func (r *rig) crowd(ctx context.Context, n int) error {
	const each = 250
	before, err := r.opened(ctx)
	if err != nil {
		return err
	}
	for first := 0; first < n; first += each {
		in := client.Initiate{Policy: policyID, Justification: "crowd"}
		for i := first; i < min(n, first+each); i++ {
			in.Asks = append(in.Asks, client.Ask{Target: r.vm.ID, Number: port(i), Source: crowdSource(i).String(), Duration: 50 * time.Minute})
		}
		if _, err := r.c.Initiate(ctx, in); err != nil {
			return fmt.Errorf("crowd: %w", err)
		}
	}
	return r.settled(ctx, before, n)
}

func crowdSource(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{203, byte(i >> 16), byte(i >> 8), byte(i)})
}

// opened is how many leases the plane has seen open since it started.
func (r *rig) opened(ctx context.Context) (float64, error) {
	m, err := r.Plane.Metrics(ctx)
	return m["ajar_open_latency_seconds_count"], err
}

// settled waits until n more leases are open than there were.
func (r *rig) settled(ctx context.Context, before float64, n int) error {
	var now float64
	err := lab.Await(ctx, 120*time.Second, func() (ok bool, err error) {
		now, err = r.opened(ctx)
		time.Sleep(50 * time.Millisecond) // asking costs the plane something, too
		return now-before >= float64(n), err
	})
	if err != nil {
		return fmt.Errorf("%.0f of %d leases opened: %w", now-before, n, err)
	}
	return nil
}
