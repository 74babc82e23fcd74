package agent

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ajar-access/ajar"
)

// peer is one connected host.
type peer struct {
	hub   *Hub
	ep    ajar.EndpointID
	wire  *wire
	cert  *x509.Certificate
	from  netip.AddrPort
	since time.Time
	gone  chan struct{} // closed when the connection is over
	out   chan struct{} // closed when everybody was told, and another may take the seat
	slot  chan struct{} // holds one token while an order is unanswered
	ready bool          // was welcomed: only then is it sent anything else; the hub's lock guards it
	notes atomic.Int32  // reports of this host that are not durable yet
	asks  atomic.Bool   // a question of this host's is under way: for a certificate, or to be let go

	renewed time.Time // when it last got a certificate; whoever holds asks guards it

	mu    sync.Mutex
	calls map[uint64]*call
	last  uint64
	rev   uint64 // what the host acknowledged to this Hub; 0 = unknown
	told  Settings
}

// call waits for an answer.
type call struct {
	answer chan *message
	order  bool // its answer frees the slot
	parts  []ajar.Rule
	size   int
}

// receiveHost serves one host until its connection ends. known is called once the host was identified.
func (h *Hub) receiveHost(ctx context.Context, conn net.Conn, cert *x509.Certificate, known func()) {
	p := &peer{hub: h, cert: cert, from: addrOf(conn), gone: make(chan struct{}), out: make(chan struct{}), slot: make(chan struct{}, 1)}
	p.wire = newWire(conn, maxFromHost, maxFromPlane, h.Patience)
	defer p.wire.close()
	ep, err := h.identify(ctx, cert)
	if err != nil {
		h.reportRefused("", p.from, cert, err)
		p.refuse(ctx, err)
		return
	}
	p.ep = ep
	var m message
	if err := p.wire.receive(&m); err != nil || m.Type != typeHello || m.Hello == nil {
		h.Log.Debug("hear a host's hello", "endpoint", ep, "from", p.from, "err", err)
		return
	}
	if m.Hello.Protocol < protocol {
		p.refuse(ctx, ajar.Errorf(ajar.Invalid, "this agent speaks protocol %d and the plane %d; update the agent", m.Hello.Protocol, protocol))
		return
	}
	known()
	if !h.seat(ctx, p) {
		h.Log.Warn("second connection with one certificate", "endpoint", ep, "from", p.from)
		p.refuse(ctx, ajar.Errorf(ajar.Conflict, "another connection with this certificate is alive"))
		return
	}
	defer h.unseat(p)
	if err := p.greet(ctx, m.Hello); err != nil {
		h.Log.Debug("welcome a host", "endpoint", ep, "from", p.from, "err", err)
		return
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { p.recheck(ctx, stop) })
	err = p.listen(ctx)
	close(stop)
	wg.Wait()
	h.Log.Info("host disconnected", "endpoint", ep, "err", err)
}

func (h *Hub) identify(ctx context.Context, cert *x509.Certificate) (ajar.EndpointID, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return h.Identify(ctx, cert)
}

// refuse says goodbye and why.
func (p *peer) refuse(ctx context.Context, err error) {
	p.hub.Log.Info("host refused", "endpoint", p.ep, "from", p.from, "serial", p.cert.SerialNumber.Text(16), "err", err)
	f := &fault{Kind: ajar.KindOf(err), Msg: ajar.Message(err)}
	var e *ajar.Error
	lift := errors.As(err, &e) && e.Code == LiftGuard
	p.send(ctx, &message{Type: typeRefused, Fault: f, Lift: lift}) //nolint:errcheck // the connection ends anyway
}

// seat makes p the connection of its endpoint. Where there is one already it must be dead for p to replace it: whoever
// copied a certificate cannot take over, and is noticed.
func (h *Hub) seat(ctx context.Context, p *peer) bool {
	h.mu.Lock()
	old := h.peers[p.ep]
	if old == nil {
		h.peers[p.ep] = p
		h.mu.Unlock()
		return true
	}
	if h.asked[p.ep] { // one is asking already
		h.mu.Unlock()
		return false
	}
	h.asked[p.ep] = true
	ready := old.ready
	h.mu.Unlock()
	alive := old.alive(ctx, ready)
	if alive {
		h.reportDuplicate(p, old)
	} else {
		old.wire.close()
		select {
		case <-old.out:
		case <-ctx.Done():
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.asked, p.ep)
	if alive || h.peers[p.ep] != nil || ctx.Err() != nil {
		return false
	}
	h.peers[p.ep] = p
	return true
}

// reportDuplicate makes a Report of a second connection, at most one a minute for each host.
func (h *Hub) reportDuplicate(p, old *peer) {
	now := h.Clock()
	h.mu.Lock()
	last, ok := h.told[p.ep]
	if ok && now.Sub(last).Abs() < time.Minute {
		h.mu.Unlock()
		return
	}
	h.told[p.ep] = now
	h.mu.Unlock()
	h.news.add(item{report: ajar.Report{
		Endpoint: p.ep, Time: now, Action: ajar.HostDuplicate,
		Message: "a second connection with the same certificate was refused; the first one is alive",
		Details: map[string]string{"from": p.from.String(), "first": old.from.String(), "serial": p.cert.SerialNumber.Text(16)},
	}})
}

// alive asks the host for a sign of life. One that is busy with an order is given longer.
func (p *peer) alive(ctx context.Context, ready bool) bool {
	if !ready { // either it came this moment, or it is being shown out
		select {
		case <-p.gone:
			return false
		default:
			return true
		}
	}
	wait := time.Second
	if len(p.slot) > 0 {
		wait = p.hub.Patience
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	_, err := p.ask(ctx, &message{Type: typePing})
	return err == nil
}

// unseat tells of a connection that is over. Its seat is kept until all were told, so that they hear of the next one
// afterwards.
func (h *Hub) unseat(p *peer) {
	p.wire.close()
	close(p.gone)
	h.mu.Lock()
	was := p.ready
	p.ready = false
	if was {
		h.away[p.ep] = h.Clock()
	}
	h.mu.Unlock()
	if was {
		if h.Home != nil {
			h.Home(p.ep, false)
		}
		no := false
		h.news.add(item{report: ajar.Report{Endpoint: p.ep, Time: h.Clock(), Message: "the host's agent is no longer connected", Connected: &no}})
	}
	h.mu.Lock()
	delete(h.peers, p.ep)
	h.mu.Unlock()
	close(p.out)
}

// greet answers a hello, and tells everybody that the host is here.
func (p *peer) greet(ctx context.Context, in *hello) error {
	h := p.hub
	p.mu.Lock()
	if in.Hub == h.id {
		p.rev = in.Rev
	}
	p.mu.Unlock()
	s, err := h.settings(ctx, ajar.Endpoint{ID: p.ep})
	if err != nil {
		return fmt.Errorf("find its settings: %w", err)
	}
	p.mu.Lock()
	p.told = s
	p.mu.Unlock()
	w := &welcome{Protocol: protocol, Hub: h.id, Endpoint: p.ep, Settings: s}
	if err := p.send(ctx, &message{Type: typeWelcome, Welcome: w}); err != nil {
		return err
	}
	h.mu.Lock()
	p.ready, p.since = true, h.Clock()
	h.mu.Unlock()
	if h.Home != nil {
		h.Home(p.ep, true)
	}
	yes, status := true, tameStatus(in.Status)
	h.news.add(item{report: ajar.Report{
		Endpoint: p.ep, Time: h.Clock(), Action: ajar.HostConnected, Message: "the host's agent connected",
		Details: map[string]string{"from": p.from.String(), "version": status.Version, "protocol": strconv.Itoa(in.Protocol)},
		Status:  &status, Connected: &yes, SkewMS: in.SkewMS, Look: true,
	}})
	h.Log.Info("host connected", "endpoint", p.ep, "from", p.from, "version", status.Version)
	return nil
}

// recheck identifies the host again and again, so that a revocation that nobody told this replica of cuts it, too.
func (p *peer) recheck(ctx context.Context, stop chan struct{}) {
	t := time.NewTicker(p.hub.Recheck)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-stop:
			return
		}
		ep, err := p.hub.identify(ctx, p.cert)
		if err == nil && ep != p.ep {
			err = ajar.Errorf(ajar.Conflict, "the certificate now stands for another host")
		}
		if k := ajar.KindOf(err); err != nil && (k == ajar.Forbidden || k == ajar.NotFound || k == ajar.Unauthenticated || k == ajar.Conflict) {
			p.hub.reportRefused(p.ep, p.from, p.cert, err)
			p.refuse(ctx, err)
			p.wire.close()
			return
		}
	}
}

// listen reads what the host sends, until the connection ends.
func (p *peer) listen(ctx context.Context) error {
	for {
		m := new(message)
		if err := p.wire.receive(m); err != nil {
			return err
		}
		switch m.Type {
		case typeAnswer:
			if err := p.answered(m); err != nil {
				return err
			}
		case typeBeat:
			if err := p.send(ctx, &message{Type: typeBeat, Sent: m.Sent}); err != nil {
				return err
			}
		case typeNote:
			if m.Note != nil {
				p.note(ctx, m.Call, *m.Note)
			}
		case typeRenew:
			p.answer(ctx, m.Call, func() { p.renew(ctx, m.Call, m.CSR) })
		case typeLeave:
			p.answer(ctx, m.Call, func() { p.left(ctx, m.Call) })
		default:
			p.hub.Log.Info("message of an unknown type ignored", "endpoint", p.ep, "type", m.Type)
		}
	}
}

// note passes a host's report on, in the name of that host and no other.
func (p *peer) note(ctx context.Context, id uint64, n note) {
	n, ok := n.vetted()
	if !ok {
		p.hub.Log.Warn("a host reported what no host can know", "endpoint", p.ep, "from", p.from)
		go p.send(ctx, &message{Type: typeNoted, Call: id}) //nolint:errcheck // not to be heard again
		return
	}
	if p.notes.Add(1) > maxUnheard {
		p.notes.Add(-1)
		return // a host that is well waits for answers, and sends again what had none
	}
	noted := func() {
		p.notes.Add(-1)
		go p.send(ctx, &message{Type: typeNoted, Call: id}) //nolint:errcheck // the host sends it again
	}
	now := p.hub.Clock()
	at := n.Time
	if at.IsZero() || at.After(now) {
		at = now
	}
	room := p.hub.news.add(item{done: noted, report: ajar.Report{
		Endpoint: p.ep, Time: at, Action: n.Action, Message: n.Message, Details: n.Details, Status: n.Status, SkewMS: n.SkewMS, Look: n.Look,
		Lease: n.Lease, Sessions: n.Sessions,
	}})
	if !room { // or it would wait for an answer for ever
		p.notes.Add(-1)
		full := faultOf(ajar.Errorf(ajar.Unavailable, "too many reports wait to be recorded"))
		go p.send(ctx, &message{Type: typeNoted, Call: id, Fault: full}) //nolint:errcheck // the host sends it again
	}
}

// renewEvery is how often a host may have a certificate. It asks once in weeks.
const renewEvery = time.Minute

// answer has do answer a question that writes to the log, one at a time: no host fills the plane with them.
func (p *peer) answer(ctx context.Context, id uint64, do func()) {
	if !p.asks.CompareAndSwap(false, true) {
		busy := faultOf(ajar.Errorf(ajar.TooMany, "one question at a time"))
		go p.send(ctx, &message{Type: typeAnswer, Call: id, Fault: busy}) //nolint:errcheck // the host asks again
		return
	}
	go func() {
		defer p.asks.Store(false)
		do()
	}()
}

func (p *peer) renew(ctx context.Context, id uint64, der []byte) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	answer := &message{Type: typeAnswer, Call: id}
	csr, err := parseCSR(der)
	now := p.hub.Clock()
	switch {
	case err != nil:
	case !p.renewed.IsZero() && now.Sub(p.renewed).Abs() < renewEvery:
		err = ajar.Errorf(ajar.TooMany, "this host has a new certificate already")
	default:
		if answer.Cert, err = p.hub.Renew(ctx, p.ep, p.cert, csr); err == nil {
			p.renewed = now
		}
	}
	if err != nil {
		p.hub.Log.Warn("renew a host's certificate", "endpoint", p.ep, "err", err)
	}
	answer.Fault = faultOf(err)
	p.send(ctx, answer) //nolint:errcheck // the host asks again
}

func (p *peer) left(ctx context.Context, id uint64) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var err error
	if p.hub.Left != nil {
		err = p.hub.Left(ctx, p.ep, p.cert)
	}
	if p.hub.Left == nil || (err != nil && !errors.Is(err, ajar.Unauthenticated)) {
		p.hub.news.add(item{report: ajar.Report{
			Endpoint: p.ep, Time: p.hub.Clock(), Action: ajar.HostLeft, Look: true,
			Message: "the host's administrator took it out; its ports are no longer guarded",
		}})
	}
	p.send(ctx, &message{Type: typeAnswer, Call: id, Fault: faultOf(err)}) //nolint:errcheck // the host leaves anyway
}

func (p *peer) send(ctx context.Context, m *message) error {
	m.Time = p.hub.Clock()
	return p.wire.send(ctx, m)
}
