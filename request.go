package ajar

import (
	"net/netip"
	"slices"
	"time"
)

// RequestID is a request's GUID.
type RequestID string

// Ask is one line of a request: one port of one machine, from some sources, until some time. Exactly one of End and
// Duration is set; a Duration starts at the decision, never at the asking and never at the opening.
type Ask struct {
	Target   ID
	Port     Port // an empty protocol means the one the policy has
	Sources  []netip.Prefix
	End      time.Time
	Duration time.Duration
	Mapped   uint16 `json:",omitempty"` // the port of a firewall in front that maps to this one (Azure); kept as given
	// Shown is the source as it was asked for (one text as the wire had it); "" when it was left out.
	Shown string
}

// EndAt is the absolute end if the decision falls at start.
func (a Ask) EndAt(start time.Time) time.Time {
	if !a.End.IsZero() {
		return a.End
	}
	return start.Add(a.Duration)
}

// Request is one person's ask under a policy.
type Request struct {
	Stamp
	ID            RequestID
	Policy        ID
	Asks          []Ask
	Justification string
	Requester     PrincipalID
	Name          string     // the requester's name at that time
	From          netip.Addr // the address the request came from
	Corr          string
	State         RequestState
	Approvals     []Approval
	Needs         int       // how many approvals
	Created       time.Time // when it was asked
	Decided       time.Time // when it left Pending; leases start here
	Deadline      time.Time // a Pending request lapses here
	Leases        []LeaseID // one per ask and endpoint, once approved
	Warnings      []string  // doubts about a source, for the requester
}

// Approval is one person's yes or no.
type Approval struct {
	By     PrincipalID
	Name   string
	Yes    bool
	Reason string
	At     time.Time
}

// RequestState is where a request stands. All but Pending are final.
type RequestState string

// The states of a request.
const (
	Pending   RequestState = "Pending"
	Approved  RequestState = "Approved"
	Denied    RequestState = "Denied"
	Withdrawn RequestState = "Withdrawn"
	Lapsed    RequestState = "Lapsed"
)

// RequestStates lists all states, in the order they are drawn.
var RequestStates = []RequestState{Pending, Approved, Denied, Withdrawn, Lapsed}

var requestSteps = map[RequestState][]RequestState{
	Pending: {Approved, Denied, Withdrawn, Lapsed},
}

// Now is the state as it reads at now: a Pending request past its deadline is Lapsed, written down or not.
func (r *Request) Now(now time.Time) RequestState {
	if r.State == Pending && !r.Deadline.IsZero() && !now.Before(r.Deadline) {
		return Lapsed
	}
	return r.State
}

// Move takes the step to state to at now, or answers Conflict if the table has no such step.
func (r *Request) Move(to RequestState, now time.Time) error {
	from := r.Now(now)
	if from == Lapsed && r.State == Pending && to != Lapsed {
		return Errorf(Conflict, "request %s lapsed at %s; ask anew", r.ID, r.Deadline.UTC().Format(time.RFC3339))
	}
	if !slices.Contains(requestSteps[r.State], to) {
		return Errorf(Conflict, "request %s is %s and cannot become %s", r.ID, r.State, to)
	}
	r.State, r.Decided = to, now
	return nil
}
