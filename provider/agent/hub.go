package agent

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/ajar-access/ajar"
)

// Hub is the plane's half: an Enforcer whose endpoints are hosts that dialled in. Set the fields before Serve.
type Hub struct {
	Clock ajar.Clock // the plane's time
	Log   *slog.Logger
	// Server gives the certificate that agents are shown. It is asked at each handshake, so that it may be renewed.
	Server func() (*tls.Certificate, error)
	// CA lists who signs hosts' certificates; they are sent along with Server's, for --ca-hash to be checked against.
	CA func() []*x509.Certificate
	// Identify says whose certificate it is. Forbidden is final: the identity was revoked.
	Identify func(ctx context.Context, cert *x509.Certificate) (ajar.EndpointID, error)
	// Join uses up a token and gives the host its identity.
	Join func(ctx context.Context, j Joining) (Joined, error)
	// Renew gives the host that came with a certificate a new one for a new key, PEM. That certificate may stand for nobody
	// any longer: another host may have its place.
	Renew func(ctx context.Context, ep ajar.EndpointID, by *x509.Certificate, csr *x509.CertificateRequest) ([]byte, error)
	// Home is told that a host is now connected here, or no longer. Optional.
	Home func(ep ajar.EndpointID, connected bool)
	// Settings says what a host is told besides rules. Optional. It is asked about an endpoint as the loop has it, or by its
	// ID alone when its host has come; where it fails then, the host has to come again.
	Settings func(ctx context.Context, ep ajar.Endpoint) (Settings, error)
	// Left is told that a host's administrator took it out, and records it; by is what the host came with. Optional:
	// otherwise, and where Left fails for another reason than that, it is reported as HostLeft.
	Left func(ctx context.Context, ep ajar.EndpointID, by *x509.Certificate) error

	// Recheck is how often a connected host is identified again. 0 = 15 s.
	Recheck time.Duration
	// Patience is how long a host may be silent or stuck before its connection is closed. 0 = 45 s.
	Patience time.Duration

	once  sync.Once
	id    string
	door  *door
	knock *knocks
	news  *news
	turns turns

	mu    sync.Mutex
	peers map[ajar.EndpointID]*peer
	away  map[ajar.EndpointID]time.Time // since when, for hosts that were here
	asked map[ajar.EndpointID]bool      // somebody is at the door with the same certificate
	told  map[ajar.EndpointID]time.Time // when that was last reported
	since time.Time                     // when this hub started
}

// Joining is what a host that wants to join sends.
type Joining struct {
	TokenHash string // hex SHA-256 of the token
	CSR       *x509.CertificateRequest
	From      netip.Addr
	Status    ajar.HostStatus
}

// Joined is what it gets.
type Joined struct {
	Endpoint    ajar.EndpointID
	Certificate []byte // PEM, the leaf first
}

// LiftGuard is the Code of an Identify error (Forbidden) after which the host lifts its guard, too.
const LiftGuard = "LiftGuard"

var (
	_ ajar.Changer   = (*Hub)(nil)
	_ ajar.Previewer = (*Hub)(nil)
	_ ajar.Reporter  = (*Hub)(nil)
)

func (h *Hub) init() {
	h.once.Do(func() {
		h.id = rand.Text()
		h.door = newDoor(h.Clock)
		h.knock = newKnocks(h.Clock)
		h.news = newNews()
		h.turns = newTurns()
		h.peers = map[ajar.EndpointID]*peer{}
		h.away = map[ajar.EndpointID]time.Time{}
		h.asked = map[ajar.EndpointID]bool{}
		h.told = map[ajar.EndpointID]time.Time{}
		h.since = h.Clock()
		if h.Recheck == 0 {
			h.Recheck = 15 * time.Second
		}
		if h.Patience == 0 {
			h.Patience = 45 * time.Second
		}
		if h.Log == nil {
			h.Log = slog.New(slog.DiscardHandler)
		}
	})
}

// Serve takes hosts from ln, a plain TCP listener, until ctx ends. It may run on several listeners at once.
func (h *Hub) Serve(ctx context.Context, ln net.Listener) error {
	h.init()
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		conn, err := ln.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				conn.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil:
			h.Log.Warn("accept a host", "err", err)
			if !pause(ctx, 100*time.Millisecond) {
				return nil
			}
			continue
		}
		leave, ok := h.door.enter(addrOf(conn))
		if !ok {
			conn.Close()
			continue
		}
		wg.Go(func() { h.receive(ctx, conn, leave) })
	}
}

// receive sees conn through its handshake and says whether it is a host or a stranger. leave is called once it is no
// longer unknown.
func (h *Hub) receive(ctx context.Context, raw net.Conn, leave func()) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { raw.Close() })()
	var left sync.Once
	defer left.Do(leave)
	quicken(raw)
	turn := &turnConn{Conn: raw, turns: h.turns}
	conn := tls.Server(turn, h.tlsConfig())
	defer conn.Close()
	hand, done := context.WithTimeout(ctx, 10*time.Second)
	err := conn.HandshakeContext(hand)
	done()
	turn.end()
	if err != nil {
		h.Log.Debug("handshake with a host", "from", raw.RemoteAddr(), "err", err)
		var bad *tls.CertificateVerificationError
		if errors.As(err, &bad) && len(bad.UnverifiedCertificates) > 0 {
			h.reportKnock("", addrOf(raw), bad.UnverifiedCertificates[0], bad.Err.Error())
		}
		return
	}
	certs := conn.ConnectionState().PeerCertificates
	if len(certs) == 0 {
		h.receiveStranger(ctx, conn)
		return
	}
	h.receiveHost(ctx, conn, certs[0], func() { left.Do(leave) })
}

func (h *Hub) tlsConfig() *tls.Config {
	pool := x509.NewCertPool()
	for _, ca := range h.CA() {
		pool.AddCert(ca)
	}
	return &tls.Config{
		MinVersion:                  tls.VersionTLS13,
		ClientAuth:                  tls.VerifyClientCertIfGiven,
		ClientCAs:                   pool,
		Time:                        h.Clock,
		SessionTicketsDisabled:      true, // each connection is identified anew
		DynamicRecordSizingDisabled: true, // one write per frame
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return h.serverChain()
		},
	}
}

// serverChain is Server's certificate with the authority at its end.
func (h *Hub) serverChain() (*tls.Certificate, error) {
	cert, err := h.Server()
	if err != nil {
		return nil, err
	}
	chain := *cert
	chain.Certificate = append([][]byte(nil), cert.Certificate...)
	for _, ca := range h.CA() {
		if string(chain.Certificate[len(chain.Certificate)-1]) != string(ca.Raw) {
			chain.Certificate = append(chain.Certificate, ca.Raw)
		}
	}
	return &chain, nil
}

// Connected says whether ep's host is connected, and since when it is or is not.
func (h *Hub) Connected(ep ajar.EndpointID) (since time.Time, ok bool) {
	h.init()
	h.mu.Lock()
	defer h.mu.Unlock()
	if p := h.peers[ep]; p != nil && p.ready {
		return p.since, true
	}
	if t, ok := h.away[ep]; ok {
		return t, false
	}
	return h.since, false
}

// Certificate is what ep's connected host came with; nil if none is connected.
func (h *Hub) Certificate(ep ajar.EndpointID) *x509.Certificate {
	h.init()
	h.mu.Lock()
	defer h.mu.Unlock()
	if p := h.peers[ep]; p != nil {
		return p.cert
	}
	return nil
}

// Cut ends the connection of ep's host at once. It may dial again, and is identified again.
func (h *Hub) Cut(ep ajar.EndpointID) {
	h.init()
	h.mu.Lock()
	p := h.peers[ep]
	h.mu.Unlock()
	if p != nil {
		p.wire.close()
	}
}

// tellSettings sends the host its settings if they are not what it was told last.
func (p *peer) tellSettings(ctx context.Context, ep ajar.Endpoint) error {
	s, err := p.hub.settings(ctx, ep)
	if err != nil {
		return err
	}
	p.mu.Lock()
	news := p.told != s
	p.told = s
	p.mu.Unlock()
	if !news {
		return nil
	}
	return p.send(ctx, &message{Type: typeSetting, Settings: &s})
}

func (h *Hub) settings(ctx context.Context, ep ajar.Endpoint) (Settings, error) {
	if h.Settings == nil {
		return Settings{}, nil
	}
	return h.Settings(ctx, ep)
}

// peer is the connected host, or Unavailable.
func (h *Hub) peer(ep ajar.EndpointID) (*peer, error) {
	h.init()
	h.mu.Lock()
	defer h.mu.Unlock()
	if p := h.peers[ep]; p != nil && p.ready {
		return p, nil
	}
	if t, ok := h.away[ep]; ok {
		return nil, ajar.Errorf(ajar.Unavailable, "host %s is not connected since %s", ep, t.UTC().Format(time.RFC3339))
	}
	return nil, ajar.Errorf(ajar.Unavailable, "host %s is not connected since %s, when this plane started", ep, h.since.UTC().Format(time.RFC3339))
}

func addrOf(c net.Conn) netip.AddrPort {
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		ap := a.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
	}
	return netip.AddrPort{}
}

// pause waits, unless ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
