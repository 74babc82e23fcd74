package agent

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/ajar-access/ajar"
)

// memory is a Local that remembers, with timeouts of its own like the kernel's: counted from when a rule was put.
type memory struct {
	clock *Clock

	mu      sync.Mutex
	have    ajar.Ruleset
	rev     uint64
	applies int // ApplyAt
	changes int
	resyncs int
	fail    error         // answered by everything that writes
	block   chan struct{} // waited for by everything that writes
	ends    map[ajar.LeaseID]time.Duration
	reports chan ajar.Report
	refused []ajar.Refusal
	conns   []ajar.Connection
	killed  func(when string) // called before and after each write
	adopted bool              // something was there when the agent began
}

func (m *memory) Adopted() bool { return m.adopted }

func newMemory(c *Clock) *memory {
	return &memory{clock: c, ends: map[ajar.LeaseID]time.Duration{}, reports: make(chan ajar.Report)}
}

func (m *memory) wait(ctx context.Context) error {
	m.mu.Lock()
	block, fail, killed := m.block, m.fail, m.killed
	m.mu.Unlock()
	if killed != nil {
		killed("before")
	}
	if block != nil {
		select {
		case <-block:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return fail
}

func (m *memory) Apply(ctx context.Context, ep ajar.Endpoint, want ajar.Ruleset) error {
	return m.ApplyAt(ctx, ep, want, 0)
}

func (m *memory) ApplyAt(ctx context.Context, _ ajar.Endpoint, want ajar.Ruleset, rev uint64) error {
	if err := m.wait(ctx); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.have, m.rev = ajar.Ruleset{Guard: slices.Clone(want.Guard), Allow: slices.Clone(want.Allow)}, rev
	m.applies++
	m.count()
	return nil
}

func (m *memory) Change(ctx context.Context, _ ajar.Endpoint, d ajar.Delta) error {
	if err := m.wait(ctx); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if d.Base != m.rev {
		return ajar.Errorf(ajar.Conflict, "at %d, not %d", m.rev, d.Base)
	}
	m.have, m.rev = m.have.With(d), d.Rev
	m.changes++
	m.count()
	return nil
}

// count sets the kernel's timeouts: remaining time, from now on the boot clock.
func (m *memory) count() {
	if m.killed != nil {
		defer m.killed("after")
	}
	boot, now := m.clock.Boot(), m.clock.Now()
	clear(m.ends)
	for _, r := range m.have.Allow {
		m.ends[r.Lease] = boot + r.Expires.Sub(now)
	}
}

func (m *memory) Resync(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.resyncs++
	m.count()
	return nil
}

func (m *memory) Observe(context.Context, ajar.Endpoint) (ajar.Ruleset, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return ajar.Ruleset{Guard: slices.Clone(m.have.Guard), Allow: slices.Clone(m.have.Allow)}, nil
}

func (m *memory) Preview(_ context.Context, _ ajar.Endpoint, gs []ajar.Guard) (ajar.Impact, error) {
	var i ajar.Impact
	for _, g := range gs {
		i.Listening = append(i.Listening, ajar.Listener{Port: g.Port, Process: "sshd"})
	}
	return i, nil
}

func (m *memory) Report(ctx context.Context, fn func(ajar.Report) error) error {
	for {
		select {
		case r := <-m.reports:
			if err := fn(r); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (m *memory) Refused(context.Context) []ajar.Refusal {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.refused)
}

func (m *memory) Status() ajar.HostStatus { return ajar.HostStatus{Kernel: "test", OwnTable: "memory"} }

// openAt lists the leases that let somebody in at a moment since boot, by the kernel's timeouts alone.
func (m *memory) openAt(boot time.Duration) []ajar.LeaseID {
	m.mu.Lock()
	defer m.mu.Unlock()
	var ids []ajar.LeaseID
	for id, end := range m.ends {
		if boot < end {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

func (m *memory) open() []ajar.LeaseID { return m.openAt(m.clock.Boot()) }

func (m *memory) Sessions(context.Context, []ajar.Flow) ([]ajar.Connection, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.conns), nil
}

// connect says who is connected from now on.
func (m *memory) connect(cs ...ajar.Connection) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.conns = cs
}
