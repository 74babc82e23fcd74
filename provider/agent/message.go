package agent

import (
	"errors"
	"time"

	"github.com/ajar-access/ajar"
)

// protocol is the version of the wire that this code speaks. The other side may be newer: what it adds is ignored.
const protocol = 1

// The types of message. Others are logged and ignored.
const (
	// From the host.
	typeJoin  = "join"  // the only one that a stranger may send
	typeHello = "hello" // the first of a connection
	typeBeat  = "beat"  // I live; and what time is it? Answered with a beat
	typeNote  = "note"  // a report; answered with noted when it is durable
	typeRenew = "renew" // a certificate for this key, please
	typeLeave = "leave" // the administrator takes this host out
	// From the plane.
	typeJoined  = "joined"
	typeWelcome = "welcome"
	typeRefused = "refused" // goodbye, and why
	typeWhole   = "whole"   // be exactly this
	typeDelta   = "delta"   // from that revision to this
	typeObserve = "observe"
	typePreview = "preview"
	typeRecent  = "recent" // whom did you lately turn away?
	typePing    = "ping"
	typeSetting = "settings"
	typeRemoved = "removed" // the final order
	typeNoted   = "noted"
	// From both.
	typeAnswer = "answer"
)

// message is every frame there is. Which fields are set goes by Type.
type message struct {
	Type string `json:"type"`
	// Call numbers what is to be answered; the answer has the same.
	Call uint64 `json:"call,omitempty"`
	// Time is the plane's at sending. In the plane's frames only.
	Time time.Time `json:"time,omitzero"`
	// Sent is the host's own stamp of a beat, in nanoseconds since boot, and comes back with the answer.
	Sent int64 `json:"sent,omitempty"`
	// More: this answer is continued.
	More bool `json:"more,omitempty"`

	Fault    *fault         `json:"fault,omitempty"`
	Hello    *hello         `json:"hello,omitempty"`
	Welcome  *welcome       `json:"welcome,omitempty"`
	Order    *order         `json:"order,omitempty"`
	Ruleset  *ajar.Ruleset  `json:"ruleset,omitempty"`
	Impact   *ajar.Impact   `json:"impact,omitempty"`
	Recent   []ajar.Refusal `json:"recent,omitempty"`
	Note     *note          `json:"note,omitempty"`
	Join     *joinAsk       `json:"join,omitempty"`
	Joined   *joinAnswer    `json:"joined,omitempty"`
	CSR      []byte         `json:"csr,omitempty"`
	Cert     []byte         `json:"cert,omitempty"`
	Settings *Settings      `json:"settings,omitempty"`
	Lift     bool           `json:"lift,omitempty"`

	size int
}

// Settings are what the plane tells a host to do differently. A host keeps them while the plane is away.
type Settings struct {
	NoBreakGlass bool   `json:"noBreakGlass,omitempty"`
	By           string `json:"by,omitempty"` // who switched it off, for people
}

type hello struct {
	Protocol int             `json:"protocol"`
	Status   ajar.HostStatus `json:"status"`
	SkewMS   *int64          `json:"skewMs,omitempty"`
	// What the host has: the revision, and the Hub that gave it.
	Hub string `json:"hub,omitempty"`
	Rev uint64 `json:"rev,omitempty"`
}

type welcome struct {
	Protocol int             `json:"protocol"`
	Hub      string          `json:"hub"`
	Endpoint ajar.EndpointID `json:"endpoint"`
	Settings Settings        `json:"settings"`
}

// order is a whole state or a delta.
type order struct {
	Base  uint64         `json:"base,omitempty"`
	Rev   uint64         `json:"rev,omitempty"`
	Guard *[]ajar.Guard  `json:"guard,omitempty"`
	Put   []timedRule    `json:"put,omitempty"`
	Drop  []ajar.LeaseID `json:"drop,omitempty"`
}

// timedRule is a rule with what remained of it by the plane's clock when the frame was sent.
type timedRule struct {
	ajar.Rule
	Left     int64 `json:"left"`     // milliseconds to Expires
	LeftStop int64 `json:"leftStop"` // milliseconds to HardStop
}

// endless is why r cannot be carried out if it has no end, or nil: whoever relays it refuses it, and so does the host.
func endless(r ajar.Rule) error {
	if r.Expires.IsZero() || r.HardStop.IsZero() {
		return ajar.Errorf(ajar.Invalid, "the rule of lease %s has no end", r.Lease)
	}
	return nil
}

func timed(rules []ajar.Rule, now time.Time) []timedRule {
	if len(rules) == 0 {
		return nil
	}
	out := make([]timedRule, len(rules))
	for i, r := range rules {
		out[i] = timedRule{Rule: r, Left: r.Expires.Sub(now).Milliseconds(), LeftStop: r.HardStop.Sub(now).Milliseconds()}
	}
	return out
}

// note is a report on its way.
type note struct {
	Time    time.Time         `json:"time"`
	Action  ajar.Action       `json:"action,omitempty"`
	Message string            `json:"message,omitempty"`
	Details map[string]string `json:"details,omitempty"`
	Status  *ajar.HostStatus  `json:"status,omitempty"`
	SkewMS  *int64            `json:"skewMs,omitempty"`
	Look    bool              `json:"look,omitempty"`
	// With SessionsOutlive and SessionsOver.
	Lease    ajar.LeaseID   `json:"lease,omitempty"`
	Sessions *ajar.Sessions `json:"sessions,omitempty"`
}

func noteOf(r ajar.Report) note {
	return note{Time: r.Time, Action: r.Action, Message: r.Message, Details: r.Details, Status: r.Status, SkewMS: r.SkewMS, Look: r.Look, Lease: r.Lease, Sessions: r.Sessions}
}

type joinAsk struct {
	Protocol int             `json:"protocol"`
	Token    string          `json:"token"`
	CSR      []byte          `json:"csr"` // DER
	Status   ajar.HostStatus `json:"status"`
}

type joinAnswer struct {
	Endpoint ajar.EndpointID `json:"endpoint"`
	Cert     []byte          `json:"cert"` // PEM, the leaf first
	Settings Settings        `json:"settings"`
}

// fault is an error on its way.
type fault struct {
	Kind ajar.Kind `json:"kind"`
	Code string    `json:"code,omitempty"`
	Msg  string    `json:"msg"`
}

// faultOf carries what the other side may read. Both sides are the operator's own, so the cause goes along.
func faultOf(err error) *fault {
	if err == nil {
		return nil
	}
	f := &fault{Kind: ajar.KindOf(err), Msg: err.Error()}
	var e *ajar.Error
	if errors.As(err, &e) {
		f.Code = e.Code
	}
	return f
}

func (f *fault) err() error {
	if f == nil {
		return nil
	}
	return &ajar.Error{Kind: f.Kind, Code: f.Code, Msg: f.Msg}
}
