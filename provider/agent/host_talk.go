package agent

import (
	"context"
	"errors"
	"reflect"
	"time"

	"github.com/ajar-access/ajar"
)

func (h *Host) linkUp(w *wire) {
	h.link.mu.Lock()
	defer h.link.mu.Unlock()
	h.link.up, h.link.since, h.link.trouble = true, h.Clock.Plane(), ""
	h.link.heard = h.link.since
	h.link.wire, h.link.calls = w, map[uint64]chan *message{}
}

// linkDown notes that there is no connection, and reports whether there was one.
func (h *Host) linkDown(err error) (was bool) {
	h.link.mu.Lock()
	defer h.link.mu.Unlock()
	if was = h.link.up; was {
		h.Log.Warn("connection to the plane lost; what is guarded stays so", "err", err)
		h.link.since = h.Clock.Plane()
	}
	h.link.up, h.link.wire = false, nil
	if err != nil {
		h.link.trouble = err.Error()
	}
	for _, c := range h.link.calls {
		close(c)
	}
	h.link.calls = nil
	return was
}

// linkAnswered hands an answer of the plane's to who waits for it.
func (h *Host) linkAnswered(m message) {
	h.link.mu.Lock()
	c := h.link.calls[m.Call]
	delete(h.link.calls, m.Call)
	h.link.mu.Unlock()
	if c != nil {
		c <- &m
	}
}

var errNoLink = errors.New("the plane is not connected")

// askPlane sends m and waits for the answer.
func (h *Host) askPlane(ctx context.Context, m *message) (*message, error) {
	c := make(chan *message, 1)
	h.link.mu.Lock()
	w := h.link.wire
	if w == nil {
		h.link.mu.Unlock()
		return nil, errNoLink
	}
	h.link.last++
	m.Call = h.link.last
	h.link.calls[m.Call] = c
	h.link.mu.Unlock()
	if err := w.send(ctx, m); err != nil {
		return nil, err
	}
	select {
	case a := <-c:
		if a == nil {
			return nil, errNoLink
		}
		return a, a.Fault.err()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

const (
	refusedEvery = 10 * time.Second // how often the plane is told anew whom the guard turns away
	tellAgain    = 2 * time.Second  // until a report is sent again that the plane had no room for
)

// report delivers the journal, oldest first, each when the one before is durable in the plane; and what is only worth
// telling now.
func (h *Host) report(ctx context.Context) error {
	tick := time.NewTicker(refusedEvery)
	defer tick.Stop()
	told := h.hostStatus(ctx)
	for {
		for {
			n, ok := h.journal.next()
			if !ok {
				break
			}
			answer, err := h.askPlane(ctx, &message{Type: typeNote, Note: &n})
			if answer == nil {
				return err
			}
			if err != nil { // the plane is there, and has no room
				if !pause(ctx, tellAgain) {
					return ctx.Err()
				}
				continue
			}
			if err := h.journal.delivered(); err != nil {
				h.Log.Error("write the journal; the plane will be told twice", "err", err)
			}
		}
		var n note
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-h.journal.wake:
			continue
		case n = <-h.status:
		case <-tick.C:
			now := h.hostStatus(ctx)
			if reflect.DeepEqual(now, told) {
				continue
			}
			told = now
			n = note{Time: h.Clock.Plane(), Status: &now}
		}
		if answer, err := h.askPlane(ctx, &message{Type: typeNote, Note: &n}); answer == nil {
			return err
		}
	}
}

// keepCertificate renews the certificate when two thirds of its life are over, and again and again if that fails.
func (h *Host) keepCertificate(ctx context.Context) error {
	for {
		h.mu.Lock()
		if h.id == nil {
			h.mu.Unlock()
			return errLeft
		}
		id := *h.id
		h.mu.Unlock()
		_, leaf, err := id.certificate()
		if err != nil {
			return err
		}
		life := leaf.NotAfter.Sub(leaf.NotBefore)
		if left := leaf.NotBefore.Add(life * 2 / 3).Sub(h.Clock.Plane()); left > 0 {
			if !pause(ctx, min(left, time.Hour)) {
				return ctx.Err()
			}
			continue
		}
		if err := h.renew(ctx, id); err == nil {
			poke(h.redial)
			return errors.New("connecting again with the renewed certificate")
		} else if ctx.Err() == nil {
			h.Log.Error("renew the certificate; trying again", "expires", leaf.NotAfter, "err", err)
		}
		if !pause(ctx, max(min(life/100, 10*time.Minute), time.Second)) {
			return ctx.Err()
		}
	}
}

func (h *Host) renew(ctx context.Context, id identity) error {
	key, csr, err := newKey()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	m, err := h.askPlane(ctx, &message{Type: typeRenew, CSR: csr})
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.left || h.id == nil {
		return errLeft
	}
	next := *h.id
	next.Key, next.Cert = key, string(m.Cert)
	if _, _, err := next.certificate(); err != nil {
		return err
	}
	if err := next.write(h.Dir); err != nil {
		return err
	}
	h.id = &next
	h.Log.Info("certificate renewed")
	return nil
}

// setSettings keeps what the plane said.
func (h *Host) setSettings(s Settings) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.left || h.id == nil || h.id.Settings == s {
		return
	}
	next := *h.id
	next.Settings = s
	if err := next.write(h.Dir); err != nil {
		h.Log.Error("keep the plane's settings", "err", err)
	}
	h.id = &next
}

// gone carries out the final order: what is open is closed, and the guard stays or is lifted. The identity is deleted.
func (h *Host) gone(ctx context.Context, why string, lift bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.left || h.id == nil || h.id.Cert == "" {
		return
	}
	h.Log.Warn("the plane will not have this host any longer", "why", why, "guard lifted", lift)
	c := &change{closes: true}
	for id := range h.want.rules {
		c.rec.Drop = append(c.rec.Drop, id)
	}
	c.delta.Drop = c.rec.Drop
	if lift {
		for id := range h.want.own {
			c.rec.Drop = append(c.rec.Drop, id)
		}
		c.rec.Guard, c.delta.Guard = &[]heldGuard{}, &[]ajar.Guard{} // not nil: that would say unchanged
	}
	if err := h.carryOut(ctx, c, true); err != nil {
		h.Log.Error("close what is open; trying again", "err", err)
	}
	next := *h.id
	next.Cert, next.Key, next.Gone, next.GoneAt, next.Lifted = "", "", why, h.Clock.Plane().UTC(), lift
	if err := next.write(h.Dir); err != nil {
		h.Log.Error("delete the identity", "err", err)
	}
	h.id = &next
}
