//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
	"github.com/ajar-access/ajar/lab"
	"github.com/ajar-access/ajar/store"
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
	b.note("fleet: %d leases written, and known to all hosts, in %.1f s", fleetLeases, time.Since(began).Seconds())
	if err := calm(r.Plane.Proc()); err != nil {
		return err
	}
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
	b.metric("plane_rss", b.planeRSS, "MB")
	b.metric("plane_idle_cpu", b.planeCPU, "%")
	stop()
	return g.Wait()
}

// fill guards one port of every host by policies, and gives the plane a hundred open leases on each: written into its
// database while it is stopped, so that filling takes seconds. What it makes of them then, it does by itself.
func (r *rig) fill(ctx context.Context, hosts []simulated) error {
	const perPolicy = 50
	policies := map[string]ajar.ID{}
	for first := 0; first < len(hosts); first += perPolicy {
		id := lab.Group + ajar.ID(fmt.Sprintf("/providers/Microsoft.Security/locations/%s/jitNetworkAccessPolicies/fleet%04d", lab.Location, first))
		p := client.Policy{Kind: "Basic", ID: id, Location: lab.Location}
		for _, h := range hosts[first:min(len(hosts), first+perPolicy)] {
			policies[h.id.Key()] = id
			p.Properties.Machines = append(p.Properties.Machines, client.MachinePolicy{ID: h.id, Ports: []client.PortPolicy{
				{Number: 22, Protocol: ajar.TCP, Source: "*", MaxDuration: "PT3H"}}})
		}
		if _, err := r.c.PutPolicy(ctx, p, client.PutOptions{}); err != nil {
			return fmt.Errorf("policy of the fleet: %w", err)
		}
	}
	r.Plane.Stop()
	if err := r.writeLeases(ctx, policies); err != nil {
		return fmt.Errorf("write leases: %w", err)
	}
	if err := r.Plane.Start(ctx); err != nil {
		return err
	}
	return r.allBack(ctx)
}

func (r *rig) writeLeases(ctx context.Context, policies map[string]ajar.ID) (err error) {
	st, err := store.Open(ctx, r.Plane.Database(), store.Options{Clock: time.Now})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	var eps []*ajar.Endpoint
	err = st.View(ctx, func(tx ajar.Tx) (err error) {
		eps, _, err = ajar.List[ajar.Endpoint](tx, ajar.Filter{})
		return err
	})
	if err != nil {
		return err
	}
	n := 0
	for _, ep := range eps {
		policy, ok := policies[ep.Target.Key()]
		if !ok {
			continue
		}
		err := st.Update(ctx, func(tx ajar.Tx) error { return putLeases(tx, ep, policy, n) })
		if err != nil {
			return err
		}
		n += fleetLeases / fleetHosts
	}
	if n != fleetLeases {
		return fmt.Errorf("%d leases were written, not %d", n, fleetLeases)
	}
	return nil
}

// putLeases opens ep for a hundred sources, each by a request of its own.
func putLeases(tx ajar.Tx, ep *ajar.Endpoint, policy ajar.ID, first int) error {
	now := time.Now().UTC().Truncate(time.Millisecond)
	end, who := now.Add(2*time.Hour), ajar.PrincipalID(guid(8, 0))
	for i := range fleetLeases / fleetHosts {
		id, flow := first+i, ajar.Flow{Port: ajar.Port{Number: 22, Protocol: ajar.TCP}}
		source := []netip.Prefix{netip.PrefixFrom(crowdSource(id), 32)}
		lease := &ajar.Lease{
			ID: ajar.LeaseID(guid(6, id)), Request: ajar.RequestID(guid(7, id)), Policy: policy, Target: ep.Target, Endpoint: ep.ID, Flow: flow,
			Sources: source, Requester: who, Name: "somebody", Start: now, End: end, Max: 3 * time.Hour, State: ajar.Open, Opened: now, KernelEnd: end,
		}
		request := &ajar.Request{
			ID: lease.Request, Policy: policy, Justification: "fleet", Requester: who, Name: lease.Name, From: crowdSource(id), State: ajar.Approved,
			Asks: []ajar.Ask{{Target: ep.Target, Port: flow.Port, Sources: source, End: end}}, Created: now, Decided: now, Leases: []ajar.LeaseID{lease.ID},
		}
		if err := tx.Put(request); err != nil {
			return err
		}
		if err := tx.Put(lease); err != nil {
			return err
		}
	}
	return tx.MarkDue(ep.ID, now)
}

// allBack waits until the whole fleet is connected and has what it should have.
func (r *rig) allBack(ctx context.Context) error {
	err := lab.Await(ctx, 120*time.Second, func() (bool, error) {
		m, err := r.Plane.Metrics(ctx)
		time.Sleep(50 * time.Millisecond) // asking costs the plane something, too
		return err == nil && m["ajar_hosts_connected"] >= fleetHosts+1 && m["ajar_live_leases"] >= fleetLeases, err
	})
	if err != nil {
		return fmt.Errorf("the fleet did not come back: %w", err)
	}
	return nil
}

// idle measures what the plane takes while nobody asks anything.
func (b *bench) idle(ctx context.Context, r *rig) error {
	p := r.Plane.Proc()
	if err := calm(p); err != nil {
		return err
	}
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

// calm waits until p has dealt with what was asked of it, for at most half a minute.
func calm(p *lab.Proc) error {
	was, err := p.Usage()
	for range 30 {
		if err != nil {
			return err
		}
		time.Sleep(time.Second)
		var now lab.Usage
		now, err = p.Usage()
		if now.CPU-was.CPU < 30*time.Millisecond {
			break
		}
		was = now
	}
	return err
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
		if err := r.allBack(ctx); err != nil {
			return err
		}
		b.note("plane: all hosts back %.1f s after it served again", time.Since(back).Seconds())
	}
	b.spread("plane_start", ds)
	b.metric("plane_start", largest(ds).Seconds(), "s")
	return nil
}
