package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/authn"
	"github.com/ajar-access/ajar/broker"
	"github.com/ajar-access/ajar/provider/agent"
)

// hosts joins the agents' hub to the gate and the certificate authority, and keeps in the store which hosts are
// connected to this replica.
type hosts struct {
	p      *plane
	server *authn.Server
	came   func(ajar.EndpointID) string // the serial of what a connected host came with; "" = none is

	mu    sync.Mutex
	here  map[ajar.EndpointID]bool
	dirty map[ajar.EndpointID]bool // here or not, and the store does not know
	wake  chan struct{}
	// Hosts that were removed and are not cut yet.
	leaving map[ajar.EndpointID]chan struct{}
}

// A home is claimed for homeFor and claimed again every homeEvery.
const (
	homeFor   = 30 * time.Second
	homeEvery = 10 * time.Second
)

func newHosts(p *plane) *hosts {
	h := &hosts{
		p: p, server: &authn.Server{CA: p.ca, Names: p.cfg.serverNames()},
		here: map[ajar.EndpointID]bool{}, dirty: map[ajar.EndpointID]bool{},
		wake: make(chan struct{}, 1), leaving: map[ajar.EndpointID]chan struct{}{},
	}
	h.came = func(ep ajar.EndpointID) string {
		if cert := p.hub.Certificate(ep); cert != nil {
			return authn.Serial(cert.SerialNumber)
		}
		return ""
	}
	return h
}

func (h *hosts) hub() *agent.Hub {
	return &agent.Hub{
		Clock: h.p.clock, Log: h.p.log,
		Server:   func() (*tls.Certificate, error) { return h.server.Certificate(nil) },
		CA:       func() []*x509.Certificate { return []*x509.Certificate{h.p.ca.Certificate()} },
		Identify: h.identify, Join: h.join, Renew: h.renew, Home: h.home, Left: h.leave,
		Settings: h.settings,
	}
}

// settings is what a host is told besides rules. Break-glass is off where this plane's configuration or any policy that
// names the machine says so.
func (h *hosts) settings(ctx context.Context, ep ajar.Endpoint) (agent.Settings, error) {
	if ep.Target == "" {
		err := h.p.store.View(ctx, func(tx ajar.Tx) error {
			e, err := ajar.Get[ajar.Endpoint](tx, string(ep.ID))
			if err == nil {
				ep = *e
			}
			return err
		})
		if err != nil {
			return agent.Settings{}, err
		}
	}
	var by []string
	if h.p.cfg.BreakGlass == "off" {
		by = append(by, "the plane's configuration")
	}
	const most = 3 // a person looks at the first
	for i, id := range ep.NoBreakGlass {
		if i == most {
			by = append(by, fmt.Sprintf("%d more", len(ep.NoBreakGlass)-most))
			break
		}
		by = append(by, "policy "+string(id))
	}
	return agent.Settings{NoBreakGlass: len(by) > 0, By: strings.Join(by, ", ")}, nil
}

// identify asks the gate whether a certificate is still good.
func (h *hosts) identify(ctx context.Context, cert *x509.Certificate) (ajar.EndpointID, error) {
	ep, serial, err := authn.HostOf(cert)
	if err != nil {
		return "", err
	}
	if _, err := h.p.broker.CheckIdentity(ctx, ep, serial); err != nil {
		return "", h.final(ctx, ep, err)
	}
	return ep, nil
}

// final tells the hub, and through it the host, whether a refusal is for good: then the host closes what the plane
// opened, and keeps its guard or lifts it as the administrator said.
func (h *hosts) final(ctx context.Context, ep ajar.EndpointID, refusal error) error {
	if !errors.Is(refusal, ajar.Unauthenticated) {
		return refusal
	}
	err := h.p.store.View(ctx, func(tx ajar.Tx) error {
		id, err := ajar.Get[ajar.HostIdentity](tx, string(ep))
		if err != nil || id.Revoked.IsZero() {
			return refusal
		}
		e := &ajar.Error{Kind: ajar.Forbidden, Msg: ajar.Message(refusal)}
		if id.Lift {
			e.Code = agent.LiftGuard
		}
		return e
	})
	return err
}

// join gives a host its identity. The serial is recorded before the certificate exists.
func (h *hosts) join(ctx context.Context, j agent.Joining) (agent.Joined, error) {
	plan := h.p.ca.Plan()
	got, err := h.p.broker.Join(ctx, broker.Joining{TokenHash: j.TokenHash, From: j.From, Serial: plan.Serial, Expires: plan.Expires, Corr: ""})
	if err != nil {
		return agent.Joined{}, err
	}
	pem, err := h.p.ca.IssueClient(j.CSR, got.Endpoint.ID, got.Target.ID, plan)
	if err != nil {
		return agent.Joined{}, err
	}
	h.awaitGone(ctx, got.Endpoint.ID)
	return agent.Joined{Endpoint: got.Endpoint.ID, Certificate: pem}, nil
}

// leave forgets a host that was taken out on the host itself.
func (h *hosts) leave(ctx context.Context, ep ajar.EndpointID, by *x509.Certificate) error {
	return h.p.broker.LeaveHost(ctx, ep, authn.Serial(by.SerialNumber))
}

// renew goes by the certificate of the connection that asks, not by what came last: a host that was replaced, and is not
// cut yet, gets none in the name of the other.
func (h *hosts) renew(ctx context.Context, ep ajar.EndpointID, by *x509.Certificate, csr *x509.CertificateRequest) ([]byte, error) {
	plan := h.p.ca.Plan()
	id, err := h.p.broker.Renew(ctx, ep, authn.Serial(by.SerialNumber), plan.Serial, plan.Expires)
	if err != nil {
		return nil, err
	}
	return h.p.ca.IssueClient(csr, ep, id.Target, plan)
}

// removed is called by the gate when a host's identity was revoked: the host hears it at once, and is cut.
func (h *hosts) removed(ep ajar.EndpointID, lift bool) {
	gone := make(chan struct{})
	h.mu.Lock()
	h.leaving[ep] = gone
	h.mu.Unlock()
	h.p.group(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := h.p.hub.Remove(ctx, ep, lift); err != nil {
			h.p.log.Info("removed host was not told", "endpoint", ep, "err", err)
		}
		h.p.hub.Cut(ep)
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.leaving[ep] == gone {
			delete(h.leaving, ep)
		}
		close(gone)
		return nil
	})
}

// awaitGone waits until the host that was replaced is cut. It has the endpoint of the new one, which must not be told
// to go in its place, and cannot come before it has its certificate.
func (h *hosts) awaitGone(ctx context.Context, ep ajar.EndpointID) {
	h.mu.Lock()
	gone := h.leaving[ep]
	h.mu.Unlock()
	if gone == nil {
		return
	}
	select {
	case <-gone:
	case <-ctx.Done():
	}
}

// home notes that a host is connected here now, or no longer. It does not wait for the store.
func (h *hosts) home(ep ajar.EndpointID, connected bool) {
	h.mu.Lock()
	if connected {
		h.here[ep] = true
	} else {
		delete(h.here, ep)
	}
	h.dirty[ep] = true
	h.mu.Unlock()
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// connected gives those of eps whose hosts are connected here.
func (h *hosts) connected(eps []ajar.EndpointID) (here []ajar.EndpointID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, ep := range eps {
		if h.here[ep] {
			here = append(here, ep)
		}
	}
	return here
}

// recheck lets hosts go that are connected here and were removed on another replica, as removed does those that were
// removed here. It reads what was written behind after.
func (h *hosts) recheck(ctx context.Context, after int64) error {
	var changed []*ajar.HostIdentity
	err := h.p.store.View(ctx, func(tx ajar.Tx) (err error) {
		changed, _, err = ajar.List[ajar.HostIdentity](tx, ajar.Filter{After: &after})
		return err
	})
	if err != nil {
		return err
	}
	for _, id := range changed {
		serial := h.came(id.Endpoint)
		switch known := serial == id.Serial || serial == id.Previous; {
		case serial == "":
		case !known: // another host has its place
			h.p.hub.Cut(id.Endpoint)
		case !id.Revoked.IsZero():
			h.removed(id.Endpoint, id.Lift)
		}
	}
	return nil
}

// run keeps the store's word on homes until ctx ends.
func (h *hosts) run(ctx context.Context) error {
	renew := time.NewTicker(homeEvery)
	defer renew.Stop()
	for {
		all := false
		select {
		case <-ctx.Done():
			return nil
		case <-h.wake:
		case <-renew.C:
			all = true
		}
		if err := h.save(ctx, all); err != nil && ctx.Err() == nil {
			h.p.log.Warn("homes not kept", "err", err)
		}
	}
}

func (h *hosts) save(ctx context.Context, all bool) error {
	h.mu.Lock()
	say := map[ajar.EndpointID]bool{}
	for ep := range h.dirty {
		say[ep] = h.here[ep]
	}
	if all {
		for ep := range h.here {
			say[ep] = true
		}
	}
	h.dirty = map[ajar.EndpointID]bool{}
	h.mu.Unlock()
	if len(say) == 0 {
		return nil
	}
	until := h.p.clock().Add(homeFor)
	err := h.p.store.Update(ctx, func(tx ajar.Tx) error {
		for ep, here := range say {
			owner, end := h.p.cfg.Replica, until
			if !here {
				owner, end = "", time.Time{}
			}
			if err := tx.SetHome(ep, owner, end); err != nil && ajar.KindOf(err) != ajar.NotFound {
				return fmt.Errorf("endpoint %s: %w", ep, err)
			}
		}
		return nil
	})
	if err != nil {
		h.mu.Lock()
		for ep := range say {
			h.dirty[ep] = true
		}
		h.mu.Unlock()
	}
	return err
}

// joinCommand is what to type on a host that has a token.
func (p *plane) joinCommand() string {
	if p.cfg.AgentListen == "off" {
		return ""
	}
	return strings.Join([]string{"ajar-agent join --server", p.cfg.AgentURL, "--ca-hash", p.ca.Hash(), "--token-file -"}, " ")
}
