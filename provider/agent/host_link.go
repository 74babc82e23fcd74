package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/rand/v2"
	"net"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ajar-access/ajar"
)

// How long is waited between two tries to reach the plane: from firstWait, doubling, up to soonWait, so that a host that
// can be reached is not waited for; up to lastWait when the plane has been away for longer than awayLong; hopelessWait
// where only a person can help.
const (
	firstWait    = 50 * time.Millisecond
	soonWait     = 600 * time.Millisecond
	lastWait     = 3 * time.Second
	awayLong     = 10 * time.Minute
	hopelessWait = time.Minute
)

// errLeft ends a link, and Run, because the host has left.
var errLeft = errors.New("the host has left")

// goodbye is what the plane said before it hung up.
type goodbye struct {
	err  error
	lift bool
}

func (g *goodbye) Error() string { return "the plane refuses this host: " + g.err.Error() }
func (g *goodbye) Unwrap() error { return g.err }

// keepLink keeps the host connected. It returns when ctx ends or the host has left.
func (h *Host) keepLink(ctx context.Context) {
	wait, heard := firstWait, h.Clock.Boot()
	for ctx.Err() == nil {
		began := h.Clock.Boot()
		pause, err := h.linkOnce(ctx)
		was := h.linkDown(err)
		if ctx.Err() != nil || errors.Is(err, errLeft) {
			return
		}
		now, limit := h.Clock.Boot(), soonWait
		if was && now-began > 5*time.Second {
			wait, heard = firstWait, now
		}
		if now-heard > awayLong {
			limit = lastWait
		}
		h.Log.Debug("not connected", "err", err)
		if pause == 0 {
			pause = wait/2 + rand.N(wait/2+1)
			wait = min(2*wait, limit)
		}
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-t.C:
		case <-h.redial:
			wait = firstWait
		}
		t.Stop()
	}
}

// linkOnce connects and serves the plane until the connection ends. It says how long to wait before the next try where
// the usual is wrong.
func (h *Host) linkOnce(ctx context.Context) (time.Duration, error) {
	h.mu.Lock()
	id, left := h.id, h.left
	h.mu.Unlock()
	switch {
	case left:
		return 0, errLeft
	case id == nil:
		return hopelessWait, errNotJoined
	case id.Cert == "":
		return hopelessWait, ajar.Errorf(ajar.Forbidden, "the plane has removed this host: %s", id.Gone)
	}
	pair, leaf, err := id.certificate()
	if err != nil {
		return hopelessWait, err
	}
	if now := h.tlsTime(); now.After(leaf.NotAfter) {
		return hopelessWait, ajar.Errorf(ajar.Unauthenticated, "the certificate expired at %s; join anew", leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	err = h.serve(ctx, id, pair)
	var bye *goodbye
	if errors.As(err, &bye) {
		switch ajar.KindOf(bye.err) {
		case ajar.Forbidden:
			h.gone(ctx, ajar.Message(bye.err), bye.lift)
			return hopelessWait, err
		case ajar.Conflict:
			return lastWait, err
		}
	}
	if err != nil && strings.Contains(err.Error(), "tls: ") && strings.Contains(err.Error(), "certificate") {
		return hopelessWait / 4, err
	}
	return 0, err
}

// tlsTime is what certificates are judged by: the plane's time where it is known, since a host may wake up in 1970.
func (h *Host) tlsTime() time.Time { return h.Clock.Plane() }

func (h *Host) serve(ctx context.Context, id *identity, pair tls.Certificate) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn, err := h.dial(ctx, id, pair)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	w := newWire(conn, maxFromPlane, maxFromHost, h.Patience)
	defer w.close()
	hub, err := h.greet(ctx, w)
	if err != nil {
		return err
	}
	h.linkUp(w)
	h.Log.Info("connected", "server", id.Server)
	g, ctx := errgroup.WithContext(ctx)
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	g.Go(func() error { return h.listen(ctx, w, hub) })
	g.Go(func() error { return h.beat(ctx, w) })
	g.Go(func() error { return h.report(ctx) })
	g.Go(func() error { return h.keepCertificate(ctx) })
	return g.Wait()
}

func (h *Host) dial(ctx context.Context, id *identity, pair tls.Certificate) (net.Conn, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(id.CA)) {
		return nil, errors.New("the plane's authority in the state file cannot be read; join anew")
	}
	name, _, err := net.SplitHostPort(id.Server)
	if err != nil {
		return nil, err
	}
	dial := h.Dial
	if dial == nil {
		dial = dialTCP
	}
	raw, err := dial(ctx, id.Server)
	if err != nil {
		return nil, err
	}
	quicken(raw)
	conn := tls.Client(raw, &tls.Config{
		MinVersion: tls.VersionTLS13, ServerName: name, RootCAs: pool, Time: h.tlsTime, Certificates: []tls.Certificate{pair},
		DynamicRecordSizingDisabled: true,
	})
	hand, done := context.WithTimeout(ctx, 10*time.Second)
	defer done()
	if err := conn.HandshakeContext(hand); err != nil {
		raw.Close()
		return nil, err
	}
	return conn, nil
}

// greet says hello and hears the welcome.
func (h *Host) greet(ctx context.Context, w *wire) (hub string, err error) {
	h.mu.Lock()
	in := &hello{Protocol: protocol, Hub: h.want.hub, Rev: h.want.rev}
	h.mu.Unlock()
	in.Status = h.hostStatus(ctx)
	if skew, ok := h.Clock.Skew(); ok {
		ms := skew.Milliseconds()
		in.SkewMS = &ms
	}
	sent := h.Clock.Boot()
	if err := w.send(ctx, &message{Type: typeHello, Hello: in}); err != nil {
		return "", err
	}
	var m message
	if err := w.receive(&m); err != nil {
		return "", err
	}
	if m.Type == typeRefused {
		return "", &goodbye{err: m.Fault.err(), lift: m.Lift}
	}
	if m.Type != typeWelcome || m.Welcome == nil {
		return "", ajar.Errorf(ajar.Internal, "the plane answered hello with %s", m.Type)
	}
	h.heardTime(ctx, sent, m.Time)
	h.setSettings(m.Welcome.Settings)
	return m.Welcome.Hub, nil
}

// listen obeys the plane until the connection ends. Orders are carried out here, on the goroutine that read them.
func (h *Host) listen(ctx context.Context, w *wire, hub string) error {
	var m message
	var waits *message // an order that came with a new time, until it is known how long it was under way
	for {
		if err := w.receive(&m); err != nil {
			return err
		}
		h.link.mu.Lock()
		h.link.heard = h.Clock.Plane()
		h.link.mu.Unlock()
		switch {
		case m.Type == typeBeat:
			h.heardTime(ctx, time.Duration(m.Sent), m.Time)
			if waits == nil {
				continue
			}
			m, waits = *waits, nil
		case h.noticeStep(ctx, m.Time) && (m.Type == typeWhole || m.Type == typeDelta):
			order := m
			waits = &order
			continue
		}
		answer := &message{Type: typeAnswer, Call: m.Call}
		switch m.Type {
		case typeNoted, typeAnswer:
			h.linkAnswered(m)
			continue
		case typeSetting:
			if m.Settings != nil {
				h.setSettings(*m.Settings)
			}
			continue
		case typeRefused:
			return &goodbye{err: m.Fault.err(), lift: m.Lift}
		case typeRemoved:
			h.gone(ctx, "removed at the plane", m.Lift)
			w.send(ctx, answer) //nolint:errcheck // the plane cuts in any case
			return ajar.Errorf(ajar.Forbidden, "the plane has removed this host")
		case typeWhole, typeDelta:
			answer.Fault = faultOf(h.obey(ctx, hub, &m))
		case typeObserve:
			if err := h.observe(ctx, w, answer); err != nil {
				return err
			}
		case typePreview:
			h.preview(ctx, &m, answer)
		case typeRecent:
			answer.Recent = h.Local.Refused(ctx)
		case typePing:
		default:
			h.Log.Info("message of an unknown type ignored", "type", m.Type)
			continue
		}
		if err := w.send(ctx, answer); err != nil {
			return err
		}
		if m.Order != nil && len(m.Order.Put) > manyRules {
			// Reading it took several times what is kept of it, and a quiet host would not collect that for minutes.
			m = message{}
			go debug.FreeOSMemory()
		}
	}
}

// observePart is how many rules go into one frame.
const observePart = 4000

// observe tells what Local has of the plane's, in as many frames as it takes; the last is left in answer.
func (h *Host) observe(ctx context.Context, w *wire, answer *message) error {
	h.mu.Lock()
	got, err := h.Local.Observe(ctx, h.endpoint())
	if err == nil {
		got = h.inPlaneTerms(got)
	}
	h.mu.Unlock()
	if err != nil {
		answer.Fault = faultOf(err)
		return nil
	}
	for len(got.Allow) > observePart {
		part := &message{Type: typeAnswer, Call: answer.Call, More: true, Ruleset: &ajar.Ruleset{Allow: got.Allow[:observePart]}}
		if err := w.send(ctx, part); err != nil {
			return err
		}
		got.Allow = got.Allow[observePart:]
	}
	answer.Ruleset = &got
	return nil
}

// inPlaneTerms takes out what was opened here, and turns ends that the plane's stepping clock moved back into what the
// plane called them. Called with mu.
func (h *Host) inPlaneTerms(got ajar.Ruleset) ajar.Ruleset {
	out := ajar.Ruleset{}
	for _, g := range got.Guard {
		for _, w := range h.want.guard {
			if w.Flow == g.Flow && g.ConfirmBy.UnixMilli() == w.due().UnixMilli() {
				g.ConfirmBy = w.ConfirmBy
			}
		}
		out.Guard = append(out.Guard, g)
	}
	for _, r := range got.Allow {
		if isBreakGlass(r.Lease) {
			continue
		}
		if w, ok := h.want.rules[r.Lease]; ok {
			r.Expires, r.HardStop = r.Expires.Add(-w.shift), r.HardStop.Add(-w.shift)
		}
		out.Allow = append(out.Allow, r)
	}
	return out
}

// The most of what a preview lists that is sent.
const maxImpact = 5000

func (h *Host) preview(ctx context.Context, m, answer *message) {
	var guard []ajar.Guard
	if m.Ruleset != nil {
		guard = m.Ruleset.Guard
	}
	h.mu.Lock()
	impact, err := h.Local.Preview(ctx, h.endpoint(), guard)
	h.mu.Unlock()
	impact.Connections = impact.Connections[:min(len(impact.Connections), maxImpact)]
	impact.Listening = impact.Listening[:min(len(impact.Listening), maxImpact)]
	answer.Impact, answer.Fault = &impact, faultOf(err)
}

// beat asks for the time: a few times at once, since the first answers may have been long under way and deadlines are
// only as exact as the quickest; and then every Beat.
func (h *Host) beat(ctx context.Context, w *wire) error {
	t := time.NewTimer(0)
	defer t.Stop()
	for wait := 25 * time.Millisecond; ; wait = min(2*wait, h.Beat) {
		t.Reset(wait)
		if err := w.send(ctx, &message{Type: typeBeat, Sent: int64(h.Clock.Boot())}); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
			poke(h.kick)
		case <-h.ask:
		}
	}
}
