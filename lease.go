package ajar

import (
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// LeaseID is a lease's GUID.
type LeaseID string

// Lease is the timed permission that results from a request: one per ask and endpoint. It is the only thing that is
// enforced. A port is open because some lease says so, and for no other reason.
type Lease struct {
	Stamp
	ID        LeaseID
	Request   RequestID
	Policy    ID
	Target    ID
	Endpoint  EndpointID
	Flow      Flow
	Sources   []netip.Prefix
	Requester PrincipalID
	Name      string // the requester's name at that time

	Start    time.Time     // first start: the decision
	End      time.Time     // the one absolute deadline; early close and extension move it
	Max      time.Duration // longest time from Start to any End
	Mode     EndMode       // what becomes of live sessions at End
	DrainFor time.Duration // how long live sessions may outlive End where Mode is not Cut

	State  LeaseState
	Reason Reason // why it is Closing or Closed

	Opened     time.Time // when its rule was first read back with its deadline
	KernelEnd  time.Time // the deadline last read back from the firewall; zero = never seen there
	Closed     time.Time // when its rule was seen to be gone
	Unverified bool      // Closed without anybody having seen the rule go
	Ended      time.Time `json:",omitzero"` // when somebody or something ended it before End
	ClosedBy   PrincipalID
	Trouble    string // why it is still Opening or Closing, for people; "" when nothing is wrong
	// Outlived is what its host said of live sessions that went on after End; nil = nothing.
	Outlived *Outlived `json:",omitempty"`
}

// Outlived is the sessions that went on after their lease's End, as its mode lets them.
type Outlived struct {
	Sessions int       // when the host first looked
	Peers    []Peer    `json:",omitempty"` // some of them
	At       time.Time // when that was
	Over     time.Time // when the last had ended or was cut; zero = not heard yet
}

// LiveOn is how many sessions went on when l ended and may live still at now: until the host says that the last is over,
// or the rule was seen to be gone, and never past the hard stop, which the kernel keeps whatever is heard.
func (l *Lease) LiveOn(now time.Time) int {
	gone := l.State == Closed && !l.Unverified
	if l.Outlived == nil || gone || !l.Outlived.Over.IsZero() || !now.Before(l.HardStop()) {
		return 0
	}
	return l.Outlived.Sessions
}

// LeaseState is where a lease stands.
type LeaseState string

// The states of a lease.
const (
	Opening LeaseState = "Opening" // granted; its rule was not yet read back
	Open    LeaseState = "Open"    // its rule was read back with its deadline
	Closing LeaseState = "Closing" // over; its rule was not yet seen to be gone
	Closed  LeaseState = "Closed"  // final
)

// LeaseStates lists all states, in the order they are drawn.
var LeaseStates = []LeaseState{Opening, Open, Closing, Closed}

var leaseSteps = map[LeaseState][]LeaseState{
	Opening: {Open, Closing},
	Open:    {Closing},
	Closing: {Closed},
}

// Reason says why a lease is closing.
type Reason string

// The reasons.
const (
	Expired      Reason = "Expired"    // its deadline came
	Revoked      Reason = "Revoked"    // somebody closed it early
	Superseded   Reason = "Superseded" // a newer request of the same person for the same machine, port and source
	ReasonGone   Reason = "Withdrawn"  // its policy or target went
	ReasonFailed Reason = "Failed"     // its rule could never be laid
)

// Move takes the step to state to, or answers Conflict if the table has no such step. The reason is kept from the
// step to Closing on.
func (l *Lease) Move(to LeaseState, why Reason) error {
	if !slices.Contains(leaseSteps[l.State], to) {
		return Errorf(Conflict, "lease %s is %s and cannot become %s", l.ID, l.State, to)
	}
	l.State = to
	if to == Closing {
		l.Reason = why
	}
	return nil
}

// Slot names what no two live leases of one person share: whose it is, on which port of which machine, from which
// sources. The protocol is left out, since * meets both others.
func (l *Lease) Slot() ID {
	text := ""
	switch len(l.Sources) {
	case 0:
	case 1:
		text = strings.Replace(l.Sources[0].String(), "/", "-", 1)
	default:
		from := make([]string, len(l.Sources))
		for i, s := range l.Sources {
			from[i] = strings.ReplaceAll(s.String(), "/", "-")
		}
		slices.Sort(from)
		sum := sha256.Sum256([]byte(strings.Join(from, "+")))
		text = hex.EncodeToString(sum[:16])
	}
	return ID(string(l.Target) + "/leases/" + string(l.Requester) + "/" + strconv.Itoa(int(l.Flow.Port.Number)) + "/" + text)
}

// Live reports whether l lets anybody open a new connection at now: Opening or Open, and not past its End, whether or
// not any process noticed.
func (l *Lease) Live(now time.Time) bool {
	return (l.State == Opening || l.State == Open) && now.Before(l.End)
}

// HardStop is when live sessions end at the latest: End, or later where the mode lets them drain.
func (l *Lease) HardStop() time.Time {
	if l.Mode == Drain || l.Mode == Warn {
		return l.End.Add(l.DrainFor)
	}
	return l.End
}

// Draining reports whether at now l lets live sessions go on though no new ones may start: it ran to its End in a mode
// that drains, and was not revoked.
func (l *Lease) Draining(now time.Time) bool {
	over := (l.State == Opening || l.State == Open) || (l.State == Closing && l.Reason == Expired)
	return over && !now.Before(l.End) && now.Before(l.HardStop())
}

// Now is the state as it reads at now: a lease past its End is never shown as open.
func (l *Lease) Now(now time.Time) LeaseState {
	if (l.State == Opening || l.State == Open) && !now.Before(l.End) {
		return Closing
	}
	return l.State
}

// MayBeOpenUntil is the latest time at which the firewall may still hold l's rule although it should be gone: what an
// unreachable host is shown with. Zero when the rule was never seen there or was seen to go.
func (l *Lease) MayBeOpenUntil(now time.Time) time.Time {
	if l.Now(now) != Closing || !l.KernelEnd.After(now) {
		return time.Time{}
	}
	return l.KernelEnd
}
