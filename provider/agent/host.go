package agent

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ajar-access/ajar"
)

// Host is the half on the machine. Set the fields, then Open, then Run; Close at the end.
type Host struct {
	Local   Local
	Clock   *Clock
	Dir     string // the state directory, 0700
	Version string
	BootID  string
	// TrustWall says that the wall clock was right already when the machine started: it has a battery, or a hypervisor
	// that knows. Where it is false no opening outlives a reboot.
	TrustWall bool
	Log       *slog.Logger
	// Mono is CLOCK_MONOTONIC: Boot gains on it while the machine is suspended. nil = no suspend.
	Mono func() time.Duration
	// Stepped is sent to when the wall clock was set or the machine woke up. nil = noticed at the next beat.
	Stepped <-chan struct{}
	// Dial reaches the plane. nil = TCP.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	// Beat is how often the plane is asked for the time. 0 = 15 s. Patience is how long the plane may be silent. 0 = 3 Beats.
	Beat, Patience time.Duration

	ledger  *ledger
	journal *journal
	kick    chan struct{} // the timers must look again
	ends    chan struct{} // who outlives a lease must be looked for again
	redial  chan struct{} // the link must look again
	ask     chan struct{} // the plane must be asked for the time now
	status  chan note     // what is told if the plane is there, and forgotten if not
	asleep  time.Duration // Boot − Mono at the last look; the timers' own

	mu       sync.Mutex // also held while Local changes: orders are one at a time
	id       *identity  // nil = not joined
	want     desired
	known    bool // want is something: the plane or a person once said so
	rev      uint64
	adrift   bool   // Local may not have what is wanted; it must be applied whole
	skewed   bool   // it was reported
	written  anchor // when the state file last was, before Open
	resuming bool   // an agent that stays has not applied anything yet
	left     bool

	link link
}

// link is what is known of the connection, for status.
type link struct {
	mu      sync.Mutex
	up      bool
	since   time.Time
	heard   time.Time
	trouble string
	wire    *wire
	calls   map[uint64]chan *message
	last    uint64
}

// endpoint is what Local is told to act on. A Local has only one.
func (h *Host) endpoint() ajar.Endpoint {
	ep := ajar.Endpoint{Provider: "agent"}
	if h.id != nil {
		ep.ID = h.id.Endpoint
	}
	return ep
}

// Open reads the state directory. It changes nothing in the firewall.
func (h *Host) Open() error {
	if h.Log == nil {
		h.Log = slog.New(slog.DiscardHandler)
	}
	if h.Beat == 0 {
		h.Beat = 15 * time.Second
	}
	if h.Patience == 0 {
		h.Patience = 3 * h.Beat
	}
	h.kick, h.ends, h.redial, h.ask, h.status = make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{}, 1), make(chan note, 16)
	if err := os.MkdirAll(h.Dir, 0o700); err != nil {
		return fmt.Errorf("make the state directory: %w", err)
	}
	id, err := readIdentity(h.Dir)
	if err != nil && ajar.KindOf(err) != ajar.NotFound {
		h.Log.Error("without an identity the plane is not reached; what is guarded stays so", "err", err)
	}
	h.id = id // nil if it cannot be read
	var at anchor
	var sound bool
	h.ledger, h.want, at, h.known, sound, err = openLedger(filepath.Join(h.Dir, ledgerFile))
	if err != nil {
		return err
	}
	if !sound && !h.known {
		h.Log.Error("the state file cannot be read; the firewall stays as it is until the plane has said what is to be")
	} else if !sound {
		h.Log.Error("the state file is damaged at its end; openings that it may have lost are taken to be closed")
	}
	if !h.Clock.restore(at, h.BootID, h.TrustWall) && h.known {
		if n := len(h.want.rules) + len(h.want.own); n > 0 {
			h.Log.Warn("how long the machine was off is not known; nothing is opened again until the plane says so", "openings", n)
		}
		h.want.close()
	}
	if at.BootID != h.BootID { // what the firewall has now is the wall clock's opinion of it
		h.want.hub, h.want.rev = "", 0
	}
	h.written = at
	h.asleep = h.suspended()
	if h.journal, err = openJournal(filepath.Join(h.Dir, journalFile)); err != nil {
		h.Log.Error("what happens here cannot be kept for the plane; tried again with each report", "err", err)
	}
	return nil
}

// Close gives up the files. The firewall stays as it is.
func (h *Host) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ledger != nil {
		h.ledger.broken()
	}
	if h.journal != nil {
		h.journal.close()
	}
}

// Restore lays what the state file says, without any plane: after a reboot, and when a new agent adopts the table of a
// dead one. Where nothing was ever ordered it leaves the firewall alone.
func (h *Host) Restore(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.known {
		return nil
	}
	return h.lay(ctx)
}

// Resume is Restore for who goes on where another agent, or the unit before the network, has left the firewall as the state
// file says. If nothing is there, the host was open meanwhile, and the plane hears of it.
func (h *Host) Resume(ctx context.Context) error {
	h.mu.Lock()
	h.resuming = h.known && len(h.want.guard) > 0
	h.mu.Unlock()
	return h.Restore(ctx)
}

// lay applies all that is wanted. Called with mu.
func (h *Host) lay(ctx context.Context) error {
	h.rev++
	err := h.Local.ApplyAt(ctx, h.endpoint(), h.want.local(h.Clock.Now()), h.rev)
	h.adrift = err != nil
	if err == nil {
		h.resumed()
	}
	return err
}

// resumed looks, once, at what was found by the first that was applied. Called with mu.
func (h *Host) resumed() {
	a, ok := h.Local.(Adopter)
	if !h.resuming || !ok {
		return
	}
	h.resuming = false
	if a.Adopted() {
		return
	}
	n := note{Time: h.Clock.Plane(), Action: ajar.DriftRepaired, Details: map[string]string{"agent": "none"}}
	if h.written.BootID == h.BootID {
		n.Message = "when the agent began nothing of ours was in the firewall of this guarded host: what is to be closed was open to everybody until then"
		n.Details["since"] = "after " + h.written.Now.UTC().Format(time.RFC3339)
	} else {
		up := h.Clock.Boot().Round(time.Second)
		n.Message = fmt.Sprintf("the machine had been up for %s when the agent began, and nothing of ours was in its firewall: ajar-agent-restore.service did not run before the network, or failed", up)
		n.Details["open"] = up.String()
	}
	h.Log.Error("the host was not guarded", "message", n.Message)
	if err := h.journal.add(n); err != nil {
		h.Log.Error("keep for the plane that the host was not guarded", "err", err)
	}
}

// Run keeps the host as it is wanted until ctx ends or somebody makes it leave. Restore comes first.
func (h *Host) Run(ctx context.Context) error {
	h.mu.Lock()
	if h.known && h.ledger.full() { // now, and not when the first opening waits for it
		if err := h.ledger.rewrite(&h.want, h.Clock.Now(), h.Clock.anchor(h.BootID)); err != nil {
			h.Log.Error("write the state", "err", err)
		}
	}
	h.mu.Unlock()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return h.syncSoon(ctx.Done()) })
	g.Go(func() error { h.keepTime(ctx); return nil })
	g.Go(func() error { h.watch(ctx); return nil })
	g.Go(func() error { h.watchEnds(ctx); return nil })
	g.Go(func() error { h.keepLink(ctx); stop(); return nil })
	return g.Wait()
}

// watch journals what Local notices.
func (h *Host) watch(ctx context.Context) {
	for {
		err := h.Local.Report(ctx, func(r ajar.Report) error {
			r.Time = h.Clock.Plane()
			if r.Action == "" {
				h.tell(noteOf(r))
				return nil
			}
			h.Log.Warn("the firewall reports", "action", r.Action, "message", r.Message)
			return h.journal.add(noteOf(r))
		})
		if ctx.Err() != nil {
			return
		}
		h.Log.Warn("watch the firewall", "err", err)
		if !pause(ctx, time.Second) {
			return
		}
	}
}

// tell sends n to the plane if it is there and has time.
func (h *Host) tell(n note) {
	select {
	case h.status <- n:
	default:
	}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// hostStatus is what the plane is told of this host.
func (h *Host) hostStatus(ctx context.Context) ajar.HostStatus {
	s := h.Local.Status()
	s.Version, s.BootID = h.Version, h.BootID
	s.Refused = h.Local.Refused(ctx)
	if len(s.Refused) > 16 {
		s.Refused = s.Refused[:16]
	}
	return s
}
