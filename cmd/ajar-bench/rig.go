//go:build linux

package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
	"github.com/ajar-access/ajar/lab"
)

const policyID = lab.Group + "/providers/Microsoft.Security/locations/" + lab.Location + "/jitNetworkAccessPolicies/default"

// The ports that are measured on: each has a server that talks back.
const (
	firstPort = 7001
	nPorts    = 64
)

func port(i int) uint16 { return uint16(firstPort + i%nPorts) }

// rig is a lab with one real machine whose ports are guarded.
type rig struct {
	*lab.Lab
	vm *lab.Machine
	c  *client.Client
}

func (b *bench) rig(ctx context.Context) (*rig, error) {
	var ports []uint16
	for i := range nPorts {
		ports = append(ports, port(i))
	}
	l, err := lab.New(ctx, lab.Options{Bin: b.bin, Machines: 1, Ports: ports})
	if err != nil {
		return nil, err
	}
	r := &rig{Lab: l, vm: l.Machines[0], c: l.Plane.Admin}
	if err := r.guard(ctx); err != nil {
		l.Close()
		return nil, err
	}
	return r, nil
}

func (r *rig) guard(ctx context.Context) error {
	if err := r.vm.Join(ctx); err != nil {
		return err
	}
	if err := r.Plane.AwaitHost(ctx, r.vm, 10*time.Second); err != nil {
		return err
	}
	m := client.MachinePolicy{ID: r.vm.ID}
	for i := range nPorts {
		m.Ports = append(m.Ports, client.PortPolicy{Number: port(i), Protocol: ajar.TCP, Source: "*", MaxDuration: "PT1H"})
	}
	m.Ports = append(m.Ports, client.PortPolicy{Number: 22, Protocol: ajar.TCP, Source: "*", MaxDuration: "PT1H"})
	p := client.Policy{Kind: "Basic", ID: policyID, Location: lab.Location, Properties: client.PolicyProperties{Machines: []client.MachinePolicy{m}}}
	if _, err := r.c.PutPolicy(ctx, p, client.PutOptions{}); err != nil {
		return fmt.Errorf("guard %s: %w", r.vm.Name, err)
	}
	_, err := r.Attacker.AwaitClosed(ctx, r.at(nPorts-1))
	return err
}

// at is where the i-th port is.
func (r *rig) at(i int) netip.AddrPort { return netip.AddrPortFrom(r.vm.IPv4, port(i)) }

// ask opens the i-th port for the requester until a time, or for a time.
func (r *rig) ask(ctx context.Context, i int, until time.Time, d time.Duration) (client.Request, error) {
	return r.c.Initiate(ctx, client.Initiate{Policy: policyID, Justification: "bench", Asks: []client.Ask{{
		Target: r.vm.ID, Number: port(i), Source: r.RequesterAddr().String(), End: until, Duration: d,
	}}})
}

// opening is what one opening took: from before the call, and from the answer, until a connection came about.
type opening struct{ fromCall, fromAnswer time.Duration }

// openings opens one port after the other, n times in all, and closes each again.
func (r *rig) openings(ctx context.Context, n int) ([]opening, error) {
	var all []opening
	for i := range n + 5 {
		o, err := r.opening(ctx, i)
		if err != nil {
			return nil, fmt.Errorf("opening %d: %w", i, err)
		}
		if i >= 5 { // the first ones warm up connections and caches
			all = append(all, o)
		}
	}
	return all, nil
}

func (r *rig) opening(ctx context.Context, i int) (opening, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	first := make(chan time.Time, 1)
	failed := make(chan error, 1)
	go func() {
		at, err := r.Requester.PollOpen(ctx, r.at(i), 50*time.Microsecond)
		if err != nil {
			failed <- err
			return
		}
		first <- at
	}()
	time.Sleep(2 * time.Millisecond) // the prober runs
	called := time.Now()
	req, err := r.ask(ctx, i, time.Time{}, 10*time.Minute)
	answered := time.Now()
	if err != nil {
		return opening{}, err
	}
	var o opening
	select {
	case at := <-first:
		o = opening{at.Sub(called), max(0, at.Sub(answered))}
	case err := <-failed:
		return opening{}, err
	}
	if _, err := r.c.Revoke(ctx, req.ID, "measured"); err != nil {
		return opening{}, err
	}
	_, err = r.Requester.AwaitClosed(ctx, r.at(i))
	return o, err
}

func fromCall(all []opening) (ds []time.Duration) {
	for _, o := range all {
		ds = append(ds, o.fromCall)
	}
	return ds
}

func fromAnswer(all []opening) (ds []time.Duration) {
	for _, o := range all {
		ds = append(ds, o.fromAnswer)
	}
	return ds
}

func largest(ds []time.Duration) time.Duration {
	if len(ds) == 0 {
		return 0
	}
	return slices.Max(ds)
}
