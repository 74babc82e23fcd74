package fake

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/ajar-access/ajar"
)

// Host is one machine's firewall. Its exported methods are for whoever plays the world: they may be called at any time.
type Host struct {
	f  *Firewall
	id ajar.EndpointID

	// Guarded by f.mu; set them with Set.
	Fault       Fault
	Listening   []ajar.Listener
	Connections []ajar.Connection

	guard []guard
	rules map[ajar.LeaseID]held
	rev   uint64
	calls Calls
}

// Fault is what is wrong with a host. The zero Fault is none.
type Fault struct {
	Unreachable bool          // calls fail at once
	Hang        bool          // calls take as long as they may, and fail
	Slow        time.Duration // calls take this long
	Half        bool          // writes stop in the middle
	Lost        bool          // calls are carried out, but their answer gets lost
	Swallow     bool          // writes are taken, and come to nothing
}

// Calls counts what a host was asked.
type Calls struct{ Applied, Changed, Observed, Refused int }

// held is a rule with the time at which the kernel ends it, for new connections and for live ones.
type held struct {
	ajar.Rule
	end, stop time.Duration // of uptime
}

type guard struct {
	ajar.Guard
	lift time.Duration // of uptime; 0 = stays
}

// Set changes a host's faults, listeners or connections. A host that comes back reports that it is connected again.
func (h *Host) Set(fn func(*Host)) {
	h.f.mu.Lock()
	defer h.f.mu.Unlock()
	was := h.Fault
	fn(h)
	if was.Unreachable != h.Fault.Unreachable {
		up := !h.Fault.Unreachable
		h.f.say(ajar.Report{Endpoint: h.id, Connected: &up})
	}
}

// Connect reports the host for the first time.
func (h *Host) Connect() {
	h.f.mu.Lock()
	defer h.f.mu.Unlock()
	up := true
	h.f.say(ajar.Report{Endpoint: h.id, Connected: &up})
}

// Say reports what the host noticed, such as a use of break-glass.
func (h *Host) Say(r ajar.Report) {
	h.f.mu.Lock()
	defer h.f.mu.Unlock()
	r.Endpoint = h.id
	h.f.say(r)
}

// Flush is somebody who empties the firewall. An agent notices that where it runs; quiet tells that none does.
func (h *Host) Flush(quiet bool) {
	h.f.mu.Lock()
	defer h.f.mu.Unlock()
	h.guard, h.rules = nil, map[ajar.LeaseID]held{}
	if !quiet {
		h.f.say(ajar.Report{Endpoint: h.id, Action: ajar.DriftRepaired, Message: "the firewall was flushed", Look: true})
	}
}

// Meddle puts a rule there that nobody granted, or takes one away where r has no sources.
func (h *Host) Meddle(r ajar.Rule) {
	h.f.mu.Lock()
	defer h.f.mu.Unlock()
	if len(r.Sources) == 0 {
		delete(h.rules, r.Lease)
		return
	}
	h.rules[r.Lease] = h.hold(r)
}

// Reboot loses everything that the kernel held. What an agent keeps on disk is loaded again before the network is up:
// the guard and what is still live of the openings.
func (h *Host) Reboot(agent bool) {
	h.f.mu.Lock()
	defer h.f.mu.Unlock()
	h.expire()
	h.rev = 0
	if !agent {
		h.guard, h.rules = nil, map[ajar.LeaseID]held{}
	}
	if !h.Fault.Unreachable {
		up := true
		h.f.say(ajar.Report{Endpoint: h.id, Connected: &up, Look: true})
	}
}

// Calls tells what the host was asked so far.
func (h *Host) Calls() Calls {
	h.f.mu.Lock()
	defer h.f.mu.Unlock()
	return h.calls
}

// Rules is what the host has now, as Observe would tell.
func (h *Host) Rules() ajar.Ruleset {
	h.f.mu.Lock()
	defer h.f.mu.Unlock()
	return h.read()
}

// Open reports whether src can open a connection to the port now: nobody guards it, or a rule lets it in.
func (h *Host) Open(src netip.Addr, p ajar.Port) bool {
	return h.lets(src, p, func(r held) time.Duration { return r.end })
}

// Alive reports whether a session of src to the port that was opened earlier would still live.
func (h *Host) Alive(src netip.Addr, p ajar.Port) bool {
	return h.lets(src, p, func(r held) time.Duration { return r.stop })
}

func (h *Host) lets(src netip.Addr, p ajar.Port, until func(held) time.Duration) bool {
	h.f.mu.Lock()
	defer h.f.mu.Unlock()
	h.expire()
	if !slices.ContainsFunc(h.guard, func(g guard) bool {
		return g.Port.Number == p.Number && g.Port.Protocol.Meets(p.Protocol)
	}) {
		return true
	}
	up := h.f.uptime()
	for _, r := range h.rules {
		if up < until(r) && r.Port.Number == p.Number && r.Port.Protocol.Meets(p.Protocol) &&
			slices.ContainsFunc(r.Sources, func(s netip.Prefix) bool { return s.Contains(src) }) {
			return true
		}
	}
	return false
}

// write carries out d and reads back what it put. f.mu is held.
func (h *Host) write(d ajar.Delta) error {
	if h.Fault.Swallow {
		if d.Empty() {
			return nil
		}
		return ajar.Errorf(ajar.Unavailable, "what was written could not be read back")
	}
	for _, r := range d.Put {
		if r.Expires.IsZero() {
			return ajar.Errorf(ajar.Invalid, "the rule of lease %s has no end", r.Lease)
		}
	}
	puts, drops := d.Put, d.Drop
	if h.Fault.Half {
		puts, drops = puts[:len(puts)/2], drops[:len(drops)/2]
	}
	for _, id := range drops {
		delete(h.rules, id)
	}
	for _, r := range puts {
		h.rules[r.Lease] = h.hold(r)
	}
	if h.Fault.Half {
		return ajar.Errorf(ajar.Unavailable, "the firewall stopped in the middle")
	}
	if d.Guard != nil {
		h.guard = h.guard[:0:0]
		for _, g := range *d.Guard {
			h.guard = append(h.guard, h.guardOf(g))
		}
	}
	h.expire()
	return nil
}

// hold anchors a rule's deadlines to what remains of them by the plane's clock.
func (h *Host) hold(r ajar.Rule) held {
	r.Sources = slices.Clone(r.Sources)
	now, up := h.f.clock(), h.f.uptime()
	return held{r, up + r.Expires.Sub(now), up + r.HardStop.Sub(now)}
}

func (h *Host) guardOf(g ajar.Guard) guard {
	if g.ConfirmBy.IsZero() {
		return guard{g, 0}
	}
	return guard{g, max(1, h.f.uptime()+g.ConfirmBy.Sub(h.f.clock()))}
}

// expire is the kernel: what ended is gone, with nobody's help. f.mu is held.
func (h *Host) expire() {
	up := h.f.uptime()
	for id, r := range h.rules {
		if up >= r.stop && up >= r.end {
			delete(h.rules, id)
		}
	}
	h.guard = slices.DeleteFunc(h.guard, func(g guard) bool { return g.lift != 0 && up >= g.lift })
}

// read is what the host has. f.mu is held.
func (h *Host) read() ajar.Ruleset {
	h.expire()
	var rs ajar.Ruleset
	for _, g := range h.guard {
		rs.Guard = append(rs.Guard, g.Guard)
	}
	for _, r := range h.rules {
		rs.Allow = append(rs.Allow, r.Rule)
	}
	slices.SortFunc(rs.Allow, func(a, b ajar.Rule) int { return cmp.Compare(a.Lease, b.Lease) })
	return rs
}
