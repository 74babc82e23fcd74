package model

import (
	"net/netip"
	"time"

	"github.com/ajar-access/ajar"
)

// Hosts is how many hosts a World has.
const Hosts = 2

// Ports are what is guarded on each. The second needs an approval; the third lets live sessions drain.
var Ports = []uint16{22, 3389, 5985}

// Probes are the sources that the ports are tried from. A World has them all.
var Probes = []netip.Addr{
	netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.3"),
	netip.MustParseAddr("10.0.0.77"), netip.MustParseAddr("192.0.2.1"),
}

// sources are what is asked for: all of them overlap.
var sources = []string{"10.0.0.1", "10.0.0.2", "10.0.0.0/30", "10.0.0.0/24", "0.0.0.0/0"}

// World is where the model is checked: hosts with real or imagined firewalls, whose ports somebody tries, and the things
// that happen to hosts and to the plane. Calls do not overlap.
type World interface {
	// Connects reports whether a new connection from src to the port gets through.
	Connects(host int, src netip.Addr, port uint16) bool
	// Session is a connection that stays; nil where none gets through.
	Session(host int, src netip.Addr, port uint16) Session
	// Rules is what the host's firewall holds. The host can be reached.
	Rules(host int) ajar.Ruleset
	// Linked is since when the plane has had its present link to the host; zero = it has none.
	Linked(host int) time.Time
	// Reach cuts the host off from the plane, or lets it reach the plane again.
	Reach(host int, ok bool)
	// Crash is the death of the host's agent, and its coming back.
	Crash(host int, back bool)
	// Reboot makes the host anew, with what its agent keeps on disk.
	Reboot(host int)
	// Flush is somebody who empties the host's firewall where somebody would repair it. It reports whether that can have
	// opened anything for a moment.
	Flush(host int) (opens bool)
	// StepClock sets the host's own clock forward or back.
	StepClock(host int, d time.Duration)
	// Plane is told that the plane has died, or is about to start again.
	Plane(up bool)
	// Pass lets time pass, and everything finish that can.
	Pass(d time.Duration)
}

// Session is a connection that was made and stays.
type Session interface {
	// Alive reports whether something can be said and answered over it. Once false, always false.
	Alive() bool
}

// Stall is a time in which nothing ran that should have, since the machine under the test had other things to do.
type Stall struct{ From, To time.Time }

// Pace is how fast a World lives.
type Pace struct {
	// Unit is the shortest lease; the longest that is asked for has sixty.
	Unit time.Duration
	// Breath is what is waited between an act and the check of what it did.
	Breath time.Duration
	// Late is how much later than at once something reachable may be carried out.
	Late time.Duration
	// Rest: one check of so many waits to Settle, and asks for liveness, too.
	Rest int
	// Settle is how long a host that is heard again may take until it has exactly what was granted.
	Settle time.Duration
	// Redial is how long it may take to hear the plane again; 0 = links are there at once.
	Redial time.Duration
	// Tick is how much later than at its deadline something may end, and how much earlier.
	Tick time.Duration
}
