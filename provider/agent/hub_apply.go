package agent

import (
	"context"
	"errors"
	"fmt"

	"github.com/ajar-access/ajar"
)

// Apply makes ep's host have exactly want, of which no Delta may start.
func (h *Hub) Apply(ctx context.Context, ep ajar.Endpoint, want ajar.Ruleset) error {
	return h.ApplyAt(ctx, ep, want, 0)
}

// ApplyAt makes ep's host have exactly want.
func (h *Hub) ApplyAt(ctx context.Context, ep ajar.Endpoint, want ajar.Ruleset, rev uint64) error {
	p, err := h.peer(ep.ID)
	if err != nil {
		return err
	}
	if err := p.tellSettings(ctx, ep); err != nil {
		return err
	}
	return p.order(ctx, typeWhole, order{Rev: rev, Guard: sayNone(&want.Guard)}, want.Allow)
}

// Change takes ep's host from one revision to the next.
func (h *Hub) Change(ctx context.Context, ep ajar.Endpoint, d ajar.Delta) error {
	p, err := h.peer(ep.ID)
	if err != nil {
		return err
	}
	return p.order(ctx, typeDelta, order{Base: d.Base, Rev: d.Rev, Guard: sayNone(d.Guard), Drop: d.Drop}, d.Put)
}

// sayNone makes a guard of nothing differ from none given: JSON's null would say the latter.
func sayNone(gs *[]ajar.Guard) *[]ajar.Guard {
	if gs != nil && *gs == nil {
		return &[]ajar.Guard{}
	}
	return gs
}

// Observe asks ep's host what its firewall has.
func (h *Hub) Observe(ctx context.Context, ep ajar.Endpoint) (ajar.Ruleset, error) {
	p, err := h.peer(ep.ID)
	if err != nil {
		return ajar.Ruleset{}, err
	}
	m, err := p.ask(ctx, &message{Type: typeObserve})
	if err != nil {
		return ajar.Ruleset{}, err
	}
	if m.Ruleset == nil {
		return ajar.Ruleset{}, nil
	}
	return *m.Ruleset, nil
}

// Preview asks ep's host whom a guard would cut.
func (h *Hub) Preview(ctx context.Context, ep ajar.Endpoint, guard []ajar.Guard) (ajar.Impact, error) {
	p, err := h.peer(ep.ID)
	if err != nil {
		return ajar.Impact{}, err
	}
	m, err := p.ask(ctx, &message{Type: typePreview, Ruleset: &ajar.Ruleset{Guard: guard}})
	if err != nil || m.Impact == nil {
		return ajar.Impact{}, err
	}
	return *m.Impact, nil
}

// Refused asks ep's host which sources it lately turned away.
func (h *Hub) Refused(ctx context.Context, ep ajar.EndpointID) ([]ajar.Refusal, error) {
	p, err := h.peer(ep)
	if err != nil {
		return nil, err
	}
	m, err := p.ask(ctx, &message{Type: typeRecent})
	if err != nil {
		return nil, err
	}
	return m.Recent, nil
}

// Remove gives ep's host its final order: to close what is open and keep its guard, or to lift it. The host forgets its
// identity and is cut. Unavailable means that the host did not hear it; it will when it dials and Identify answers
// Forbidden.
func (h *Hub) Remove(ctx context.Context, ep ajar.EndpointID, lift bool) error {
	p, err := h.peer(ep)
	if err != nil {
		return err
	}
	_, err = p.ask(ctx, &message{Type: typeRemoved, Lift: lift})
	p.wire.close()
	return err
}

// order sends a whole state or a delta and waits until the host has it. Orders to one host go one at a time: one that
// nobody waits for any longer still keeps the next one waiting until the host has answered it.
func (p *peer) order(ctx context.Context, kind string, o order, put []ajar.Rule) error {
	for _, r := range put {
		if err := endless(r); err != nil {
			return err
		}
	}
	select {
	case p.slot <- struct{}{}:
	case <-ctx.Done():
		return p.stopped(ctx)
	case <-p.gone:
		return p.lost()
	}
	p.mu.Lock()
	if kind == typeDelta && (p.rev == 0 || p.rev != o.Base) {
		rev := p.rev
		p.mu.Unlock()
		<-p.slot
		return ajar.Errorf(ajar.Conflict, "host %s is at revision %d, not %d", p.ep, rev, o.Base)
	}
	p.rev = 0 // unknown until it answers
	p.mu.Unlock()
	now := p.hub.Clock()
	o.Put = timed(put, now)
	m, err := p.exchange(ctx, &message{Type: kind, Time: now, Order: &o}, true)
	if err != nil {
		return err
	}
	if err := m.Fault.err(); err != nil {
		return err
	}
	p.mu.Lock()
	p.rev = o.Rev
	p.mu.Unlock()
	return nil
}

// ask sends what may go beside an order.
func (p *peer) ask(ctx context.Context, m *message) (*message, error) {
	m.Time = p.hub.Clock()
	m, err := p.exchange(ctx, m, false)
	if err == nil {
		err = m.Fault.err()
	}
	return m, err
}

// exchange sends m and waits for its answer.
func (p *peer) exchange(ctx context.Context, m *message, order bool) (*message, error) {
	c := &call{answer: make(chan *message, 1), order: order}
	p.mu.Lock()
	p.last++
	m.Call = p.last
	if p.calls == nil {
		p.calls = map[uint64]*call{}
	}
	p.calls[m.Call] = c
	p.mu.Unlock()
	if err := p.wire.send(ctx, m); err != nil {
		p.forget(m.Call)
		if errors.Is(err, errTooLarge) {
			return nil, ajar.Errorf(ajar.Invalid, "the state of host %s is too large to send: %w", p.ep, err)
		}
		p.wire.close() // a frame may be half written
		return nil, p.lost()
	}
	select {
	case a := <-c.answer:
		return a, nil
	case <-p.gone:
		return nil, p.lost()
	case <-ctx.Done():
		if !order { // an order's answer must still be waited for, by the slot
			p.forget(m.Call)
		}
		return nil, p.stopped(ctx)
	}
}

// forget gives up a call whose answer will not come or is not wanted.
func (p *peer) forget(id uint64) {
	p.mu.Lock()
	c := p.calls[id]
	delete(p.calls, id)
	p.mu.Unlock()
	if c != nil && c.order {
		<-p.slot
	}
}

// answered hands an answer to who waits for it. Parts of a long one are put together first.
func (p *peer) answered(m *message) error {
	p.mu.Lock()
	c := p.calls[m.Call]
	if c == nil {
		p.mu.Unlock()
		return nil // nobody waits any longer
	}
	if m.More {
		defer p.mu.Unlock()
		if c.size += m.size; c.size > maxFromPlane {
			return fmt.Errorf("an answer of more than %d bytes", maxFromPlane)
		}
		if m.Ruleset != nil {
			c.parts = append(c.parts, m.Ruleset.Allow...)
		}
		return nil
	}
	delete(p.calls, m.Call)
	p.mu.Unlock()
	if len(c.parts) > 0 && m.Ruleset != nil {
		m.Ruleset.Allow = append(c.parts, m.Ruleset.Allow...)
	}
	c.answer <- m
	if c.order {
		<-p.slot
	}
	return nil
}

func (p *peer) lost() error {
	return ajar.Errorf(ajar.Unavailable, "the connection to host %s was lost; what it has is not known", p.ep)
}

func (p *peer) stopped(ctx context.Context) error {
	return ajar.Because(ajar.Unavailable, context.Cause(ctx), "host %s did not answer in time", p.ep)
}
