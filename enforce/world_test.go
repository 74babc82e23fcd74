package enforce_test

import (
	"net/netip"
	"testing/synctest"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/ajartest"
	"github.com/ajar-access/ajar/provider/fake"
)

// world is where the model is checked: hosts with real or imagined firewalls, whose ports somebody tries, and the
// things that happen to hosts.
type world interface {
	// Connects reports whether a new connection from src to the port gets through.
	Connects(host int, src netip.Addr, port uint16) bool
	// Rules is what the host's firewall holds.
	Rules(host int) ajar.Ruleset
	// Reach cuts the host off from the plane, or lets it reach the plane again.
	Reach(host int, ok bool)
	// Crash is the death of the host's agent, and its coming back.
	Crash(host int, back bool)
	// Reboot makes the host anew, with what its agent keeps on disk.
	Reboot(host int)
	// Flush is somebody who empties the host's firewall while its agent runs.
	Flush(host int)
	// Pass lets time pass, and everything finish that can.
	Pass(d time.Duration)
}

// imagined is a world of fake hosts, in a synctest bubble.
type imagined struct {
	fw    *fake.Firewall
	hosts []ajar.EndpointID
	cut   []bool
	dead  []bool
	plane func() bool // runs
}

func imagine(fw *fake.Firewall, machines []ajar.ID, plane func() bool) *imagined {
	w := &imagined{fw: fw, plane: plane, cut: make([]bool, len(machines)), dead: make([]bool, len(machines))}
	for _, m := range machines {
		w.hosts = append(w.hosts, ajartest.Endpoint(m))
	}
	return w
}

func (w *imagined) host(i int) *fake.Host { return w.fw.Host(w.hosts[i]) }

func (w *imagined) Connects(i int, src netip.Addr, port uint16) bool {
	return w.host(i).Open(src, ajar.Port{Number: port, Protocol: ajar.TCP})
}

func (w *imagined) Rules(i int) ajar.Ruleset { return w.host(i).Rules() }

func (w *imagined) Reach(i int, ok bool) {
	w.cut[i] = !ok
	w.link(i)
}

func (w *imagined) Crash(i int, back bool) {
	w.dead[i] = !back
	w.link(i)
}

func (w *imagined) link(i int) {
	w.host(i).Set(func(h *fake.Host) { h.Fault.Unreachable = w.cut[i] || w.dead[i] })
}

// alone reports whether the host cannot tell the plane anything.
func (w *imagined) alone(i int) bool { return w.cut[i] || w.dead[i] || !w.plane() }

// A host that reaches the plane may have lost everything; one that does not has what its agent kept.
func (w *imagined) Reboot(i int) { w.host(i).Reboot(w.alone(i)) }

// While nobody can tell the plane, an owned table is not flushed.
func (w *imagined) Flush(i int) {
	if !w.alone(i) {
		w.host(i).Flush(false)
	}
}

func (w *imagined) Pass(d time.Duration) {
	t := time.NewTimer(d)
	<-t.C
	synctest.Wait()
}
