package ajar

import (
	"net/netip"
	"strings"
	"time"
)

// Event is one line of the activity log. The store gives it a position without gaps at commit and chains it to the
// one before; nothing changes or removes it afterwards.
type Event struct {
	Pos       int64             `json:"pos"`
	Time      time.Time         `json:"time"`
	Action    Action            `json:"action"`             // what was tried or happened
	Outcome   Outcome           `json:"outcome"`            //
	Scope     ID                `json:"scope,omitempty"`    // what it was done to
	Caller    PrincipalID       `json:"caller,omitempty"`   //
	Name      string            `json:"name,omitempty"`     // the caller's name at that time
	From      netip.Addr        `json:"from,omitzero"`      //
	Via       string            `json:"via,omitempty"`      //
	Corr      string            `json:"corr,omitempty"`     //
	By        string            `json:"by,omitempty"`       // the role assignment, deny or rule that decided
	Kind      Kind              `json:"kind,omitempty"`     // of a refusal
	Message   string            `json:"message,omitempty"`  //
	Request   RequestID         `json:"request,omitempty"`  //
	Lease     LeaseID           `json:"lease,omitempty"`    //
	Endpoint  EndpointID        `json:"endpoint,omitempty"` //
	Details   map[string]string `json:"details,omitempty"`  // port, source, end, … in plain text
	Principal PrincipalID       `json:"principal,omitempty"`
	App       string            `json:"app,omitempty"`  // the application that the caller's token was given to
	Role      string            `json:"role,omitempty"` // the name of the role that By gives
	Code      string            `json:"code,omitempty"` // of a refusal, where its Kind has several
	Call      *Call             `json:"call,omitempty"` // the HTTP request that the verb came as
}

// Call is an HTTP request, as far as the activity log keeps it: nothing of its body.
type Call struct {
	Line   string `json:"line"`             // method and target; a target that begins with the event's scope has ~ in its place
	Client string `json:"client,omitempty"` // the client's own id for it
	Status int    `json:"status,omitempty"` // of the answer to what was not refused; 0 = 200
}

// At is c as it is kept with an event about scope.
func (c *Call) At(scope ID) *Call {
	if c == nil {
		return nil
	}
	method, target, _ := strings.Cut(c.Line, " ")
	n := len(scope)
	if n < 2 || len(target) < n || !strings.EqualFold(target[:n], string(scope)) || (len(target) > n && !strings.ContainsRune("/?", rune(target[n]))) {
		return c
	}
	return &Call{Line: method + " ~" + target[n:], Client: c.Client, Status: c.Status}
}

// Parts are c's method and its whole target, given the scope that it was kept at.
func (c *Call) Parts(scope ID) (method, target string) {
	method, target, _ = strings.Cut(c.Line, " ")
	if rest, ok := strings.CutPrefix(target, "~"); ok {
		target = string(scope) + rest
	}
	return method, target
}

// Outcome says how it ended.
type Outcome string

// The outcomes there are.
const (
	Accepted Outcome = "Accepted" // a verb was carried out
	Refused  Outcome = "Refused"  // a verb was refused; Kind and Message say why
	Happened Outcome = "Happened" // nobody asked: a deadline, a repair, a fault
)

// What happens without anybody's verb. The actions of accepted and refused verbs are those of role.go.
const (
	LeaseOpened      Action = "Ajar.Access/leases/opened"
	LeaseClosed      Action = "Ajar.Access/leases/closed"
	LeaseExtended    Action = "Ajar.Access/leases/extended"
	LeaseUnreachable Action = "Ajar.Access/leases/unreachable"
	SessionsOutlive  Action = "Ajar.Access/sessions/outliveLease"
	SessionsOver     Action = "Ajar.Access/sessions/over"
	GuardSet         Action = "Ajar.Access/guards/set"
	GuardLifted      Action = "Ajar.Access/guards/lifted"
	GuardKept        Action = "Ajar.Access/guards/kept"
	GuardRolledBack  Action = "Ajar.Access/guards/rolledBack"
	GuardInForce     Action = "Ajar.Access/guards/inForce"
	DriftRepaired    Action = "Ajar.Access/drift/repaired"
	HostJoined       Action = "Ajar.Access/hosts/joined"
	HostConnected    Action = "Ajar.Access/hosts/connected"
	HostDuplicate    Action = "Ajar.Access/hosts/duplicate"
	HostRefused      Action = "Ajar.Access/hosts/refused"
	HostSkew         Action = "Ajar.Access/hosts/skew"
	HostLeft         Action = "Ajar.Access/hosts/left"
	BreakGlass       Action = "Ajar.Access/hosts/breakGlass"
	SignIn           Action = "Ajar.Access/signIn/action"
	SignOut          Action = "Ajar.Access/signOut/action"
	PlaneStarted     Action = "Ajar.Access/plane/started"
	PlaneRestored    Action = "Ajar.Access/plane/restored"
)

// EventFilter says which events to list, newest first unless Ascending. Zero fields do not filter.
type EventFilter struct {
	Scope     ID // this scope and below
	Caller    PrincipalID
	Action    Action // exact, without regard to case
	Outcome   Outcome
	Corr      string
	Request   RequestID
	Since     time.Time
	Before    time.Time
	After     int64 // positions greater than this
	Until     int64 // positions smaller than this; 0 = no bound
	Ascending bool
	Limit     int // 0 = 100; at most 1000
}

// Batch is one link of the log's chain: the events of one commit. Head is
// SHA-256(previous head ‖ SHA-256 of each event's stored bytes, in order); Signature is the plane's Ed25519 signature of
// Head, so whoever holds the public key finds any cut or edit, and a truncated tail once any later head is known.
type Batch struct {
	First, Last int64
	Head        []byte
	Signature   []byte
}

// Matches reports whether f's fields besides times and positions select e, so that whoever follows the log need not look
// because of an event that is not for them.
func (f EventFilter) Matches(e *Event) bool {
	switch {
	case f.Scope != "" && f.Scope != Root && !f.Scope.Covers(e.Scope),
		f.Caller != "" && !strings.EqualFold(string(f.Caller), string(e.Caller)),
		f.Action != "" && !strings.EqualFold(string(f.Action), string(e.Action)),
		f.Outcome != "" && f.Outcome != e.Outcome,
		f.Corr != "" && f.Corr != e.Corr,
		f.Request != "" && !strings.EqualFold(string(f.Request), string(e.Request)):
		return false
	}
	return true
}
