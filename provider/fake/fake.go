package fake

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/ajar-access/ajar"
)

// Config makes a fake firewall from a configuration file.
type Config struct {
	// Listing is a JSON file with what the firewall finds: for each scope an object whose Found is a list of ajar.Found.
	// It is read anew for each listing. "" = nothing is listed.
	Listing string
}

// Open implements provider.Config.
func (c *Config) Open(context.Context, *slog.Logger) (ajar.Enforcer, error) {
	f := New(nil)
	f.file = c.Listing
	return f, nil
}

// Firewall is any number of hosts, one for each endpoint it is asked about.
type Firewall struct {
	clock  ajar.Clock
	kernel time.Time // the kernels' time counts from here, and is never stepped

	mu      sync.Mutex
	hosts   map[ajar.EndpointID]*Host
	reports []ajar.Report
	news    chan struct{}

	file         string // of listings
	listings     map[ajar.ID]*Listing
	listed, most int
	listing      int // that run now
}

// New makes a firewall whose hosts read the plane's time from clock; nil is the system's.
func New(clock ajar.Clock) *Firewall {
	f := &Firewall{clock: clock, hosts: map[ajar.EndpointID]*Host{}, news: make(chan struct{}, 1)}
	if clock == nil {
		f.clock = func() time.Time { return f.kernel.Add(f.uptime()) }
	}
	f.kernel = started()
	return f
}

// Host gives the host of an endpoint.
func (f *Firewall) Host(id ajar.EndpointID) *Host {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.host(id)
}

func (f *Firewall) host(id ajar.EndpointID) *Host {
	h := f.hosts[id]
	if h == nil {
		h = &Host{f: f, id: id, rules: map[ajar.LeaseID]held{}}
		f.hosts[id] = h
	}
	return h
}

// Apply implements ajar.Enforcer.
func (f *Firewall) Apply(ctx context.Context, ep ajar.Endpoint, want ajar.Ruleset) error {
	return f.ApplyAt(ctx, ep, want, 0)
}

// ApplyAt implements ajar.Changer.
func (f *Firewall) ApplyAt(ctx context.Context, ep ajar.Endpoint, want ajar.Ruleset, rev uint64) error {
	return f.call(ctx, ep.ID, func(h *Host) error {
		// What is lost of an answer, or stops in the middle, must leave no revision that a difference could start from.
		h.rev = 0
		h.calls.Applied++
		keep := make(map[ajar.LeaseID]bool, len(want.Allow))
		for _, r := range want.Allow {
			keep[r.Lease] = true
		}
		var drop []ajar.LeaseID
		for id := range h.rules {
			if !keep[id] {
				drop = append(drop, id)
			}
		}
		if err := h.write(ajar.Delta{Guard: &want.Guard, Put: want.Allow, Drop: drop}); err != nil {
			return err
		}
		h.rev = rev
		return nil
	})
}

// Change implements ajar.Changer.
func (f *Firewall) Change(ctx context.Context, ep ajar.Endpoint, d ajar.Delta) error {
	return f.call(ctx, ep.ID, func(h *Host) error {
		if h.rev == 0 || h.rev != d.Base {
			return ajar.Errorf(ajar.Conflict, "the host is at revision %d, not %d", h.rev, d.Base)
		}
		h.rev = 0
		h.calls.Changed++
		if err := h.write(d); err != nil {
			return err
		}
		h.rev = d.Rev
		return nil
	})
}

// Observe implements ajar.Enforcer.
func (f *Firewall) Observe(ctx context.Context, ep ajar.Endpoint) (rs ajar.Ruleset, err error) {
	err = f.call(ctx, ep.ID, func(h *Host) error {
		h.calls.Observed++
		rs = h.read()
		return nil
	})
	return rs, err
}

// Preview implements ajar.Previewer: what was put into the host's Listening and Connections and would be cut.
func (f *Firewall) Preview(ctx context.Context, ep ajar.Endpoint, guard []ajar.Guard) (im ajar.Impact, err error) {
	err = f.call(ctx, ep.ID, func(h *Host) error {
		hit := func(p ajar.Port, a netip.Addr) bool {
			return slices.ContainsFunc(guard, func(g ajar.Guard) bool {
				return g.Port.Number == p.Number && g.Port.Protocol.Meets(p.Protocol) && (!g.Dest.IsValid() || !a.IsValid() || g.Dest == a)
			})
		}
		for _, l := range h.Listening {
			if hit(l.Port, l.Address) {
				im.Listening = append(im.Listening, l)
			}
		}
		for _, c := range h.Connections {
			if hit(c.Port, c.Local.Addr()) {
				im.Connections = append(im.Connections, c)
			}
		}
		return nil
	})
	return im, err
}

// Report implements ajar.Reporter: what hosts noticed, each until fn took it.
func (f *Firewall) Report(ctx context.Context, fn func(ajar.Report) error) error {
	for {
		f.mu.Lock()
		var r *ajar.Report
		if len(f.reports) > 0 {
			r = &f.reports[0]
		}
		f.mu.Unlock()
		if r == nil {
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-f.news:
			}
			continue
		}
		if err := fn(*r); err != nil {
			return err
		}
		f.mu.Lock()
		f.reports = f.reports[1:]
		f.mu.Unlock()
	}
}

// say queues a report. f.mu is held.
func (f *Firewall) say(r ajar.Report) {
	r.Time = f.clock()
	f.reports = append(f.reports, r)
	select {
	case f.news <- struct{}{}:
	default:
	}
}

// call runs fn on a host as a firewall's own side would: after the network let it through, and with the answer on its
// way back afterwards.
func (f *Firewall) call(ctx context.Context, id ajar.EndpointID, fn func(*Host) error) error {
	f.mu.Lock()
	h := f.host(id)
	hang, wait := h.Fault.Hang, h.Fault.Slow
	f.mu.Unlock()
	if hang {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	if wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-t.C:
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if h.Fault.Unreachable {
		h.calls.Refused++
		return ajar.Errorf(ajar.Unavailable, "the host is not connected")
	}
	err := fn(h)
	if err == nil && h.Fault.Lost {
		return ajar.Errorf(ajar.Unavailable, "the answer got lost")
	}
	return err
}
