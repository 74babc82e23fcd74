//go:build linux

package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
	"github.com/ajar-access/ajar/lab"
)

const (
	fleetHosts  = 1000
	fleetLeases = 100_000
)

// fleetPart measures a plane with 100,000 live leases on 1,000 hosts that are connected to it.
func (b *bench) fleetPart(ctx context.Context) error {
	r, err := b.rig(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	before, err := r.openings(ctx, b.n(200, 60))
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	g, running := errgroup.WithContext(running)
	defer g.Wait() //nolint:errcheck // looked at below
	defer stop()
	began := time.Now()
	hosts, err := r.simulate(running, g, fleetHosts)
	if err != nil {
		return err
	}
	b.note("fleet: %d hosts joined in %.1f s", len(hosts), time.Since(began).Seconds())
	began = time.Now()
	if err := r.fill(ctx, hosts); err != nil {
		return err
	}
	b.note("fleet: %d leases granted and open in %.1f s", fleetLeases, time.Since(began).Seconds())
	after, err := r.openings(ctx, b.n(200, 60))
	if err != nil {
		return err
	}
	b.spread("open, alone", fromCall(before))
	b.spread("open, beside 100,000 on the plane", fromCall(after))
	b.metric("open_100k_ratio", ratio(after, before), "x")
	if err := b.idle(ctx, r); err != nil {
		return err
	}
	if err := b.restart(ctx, r); err != nil {
		return err
	}
	if err := b.idle(ctx, r); err != nil {
		return err
	}
	stop()
	return g.Wait()
}

// fill guards one port of every host and opens it for a hundred sources each, in requests of 250.
func (r *rig) fill(parent context.Context, hosts []simulated) error {
	const perPolicy, perRequest = 50, 250
	before, err := r.opened(parent)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(parent)
	g.SetLimit(4)
	for first := 0; first < len(hosts); first += perPolicy {
		mine := hosts[first:min(len(hosts), first+perPolicy)]
		id := lab.Group + ajar.ID(fmt.Sprintf("/providers/Microsoft.Security/locations/%s/jitNetworkAccessPolicies/fleet%04d", lab.Location, first))
		p := client.Policy{Kind: "Basic", ID: id, Location: lab.Location}
		for _, h := range mine {
			p.Properties.Machines = append(p.Properties.Machines, client.MachinePolicy{ID: h.id, Ports: []client.PortPolicy{
				{Number: 22, Protocol: ajar.TCP, Source: "*", MaxDuration: "PT3H"}}})
		}
		if _, err := r.c.PutPolicy(ctx, p, client.PutOptions{}); err != nil {
			return fmt.Errorf("policy of the fleet: %w", err)
		}
		g.Go(func() error {
			sources := fleetLeases / fleetHosts
			for s := 0; s < sources; s += perRequest / perPolicy {
				in := client.Initiate{Policy: id, Justification: "fleet"}
				for k := s; k < s+perRequest/perPolicy; k++ {
					for _, h := range mine {
						in.Asks = append(in.Asks, client.Ask{Target: h.id, Number: 22, Source: crowdSource(k).String(), Duration: 2 * time.Hour})
					}
				}
				if _, err := r.c.Initiate(ctx, in); err != nil {
					return fmt.Errorf("fill the fleet: %w", err)
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return r.settled(parent, before, fleetLeases)
}

// idle measures what the plane takes while nobody asks anything.
func (b *bench) idle(ctx context.Context, r *rig) error {
	time.Sleep(2 * time.Second) // what was just done has its aftermath
	p := r.Plane.Proc()
	from, err := p.Usage()
	if err != nil {
		return err
	}
	began := time.Now()
	time.Sleep(time.Duration(b.n(20, 8)) * time.Second)
	to, err := p.Usage()
	if err != nil {
		return err
	}
	b.note("plane: RSS %s MB, %s %% of a core", figure(mb(to.RSS)), figure(100*float64(to.CPU-from.CPU)/float64(time.Since(began))))
	b.planeRSS = max(b.planeRSS, mb(to.RSS))
	b.planeCPU = 100 * float64(to.CPU-from.CPU) / float64(time.Since(began))
	return nil
}

// restart kills the plane and measures until it answers a question about its leases.
func (b *bench) restart(ctx context.Context, r *rig) error {
	var ds []time.Duration
	for range b.n(3, 1) {
		r.Plane.Kill()
		began := time.Now()
		if err := r.Plane.Start(ctx); err != nil {
			return err
		}
		ds = append(ds, time.Since(began))
		back := time.Now()
		err := lab.Await(ctx, 60*time.Second, func() (bool, error) {
			m, err := r.Plane.Metrics(ctx)
			return err == nil && m["ajar_hosts_connected"] >= fleetHosts, err
		})
		if err != nil {
			return fmt.Errorf("the fleet did not come back: %w", err)
		}
		b.note("plane: all hosts back %.1f s after it served again", time.Since(back).Seconds())
	}
	b.spread("plane_start", ds)
	b.metric("plane_start", largest(ds).Seconds(), "s")
	return nil
}
