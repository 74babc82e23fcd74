package client

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"net/netip"
	"time"

	"github.com/ajar-access/ajar"
)

// Ask is one port of one machine, from one source, until some time. Exactly one of End and Duration is set.
type Ask struct {
	Target   ajar.ID
	Number   uint16
	Protocol ajar.Protocol // "" = the one the policy has
	Source   string        // an address, a prefix or *; "" = the address that the plane sees the caller at
	End      time.Time
	Duration time.Duration // from the decision on
}

// Initiate asks for access under a policy. Duration starts at the decision, never at the asking.
type Initiate struct {
	Policy        ajar.ID
	Asks          []Ask
	Justification string
}

// Request is somebody's ask and what became of it.
type Request struct {
	ID            ajar.RequestID    `json:"id"`
	Policy        ajar.ID           `json:"policy"`
	State         ajar.RequestState `json:"state"`
	Requester     ajar.PrincipalID  `json:"requester,omitempty"`
	Name          string            `json:"name,omitempty"` // the requester's
	From          netip.Addr        `json:"from,omitzero"`
	Justification string            `json:"justification,omitempty"`
	Created       time.Time         `json:"created,omitzero"`
	Decided       time.Time         `json:"decided,omitzero"`
	Deadline      time.Time         `json:"deadline,omitzero"` // a pending request lapses here
	Needs         int               `json:"needs,omitempty"`   // approvals
	Approvals     []Approval        `json:"approvals,omitempty"`
	Asks          []RequestedPort   `json:"asks,omitempty"`
	Leases        []Lease           `json:"leases,omitempty"`
	Warnings      []string          `json:"warnings,omitempty"` // doubts about a source
}

// RequestedPort is one line of a request, as it was asked.
type RequestedPort struct {
	Target   ajar.ID       `json:"target"`
	Number   uint16        `json:"number"`
	Protocol ajar.Protocol `json:"protocol,omitempty"`
	Sources  []string      `json:"sources,omitempty"`
	End      time.Time     `json:"endTimeUtc,omitzero"`
	Duration string        `json:"duration,omitempty"`
}

// Approval is one person's yes or no.
type Approval struct {
	By     ajar.PrincipalID `json:"by"`
	Name   string           `json:"name,omitempty"`
	Yes    bool             `json:"yes"`
	Reason string           `json:"reason,omitempty"`
	At     time.Time        `json:"at,omitzero"`
}

// Settled reports whether nothing more will happen to r by itself before a lease ends: somebody decided, and no lease
// is on its way to be opened.
func (r *Request) Settled() bool {
	if r.State == ajar.Pending {
		return false
	}
	for _, l := range r.Leases {
		if l.State == ajar.Opening {
			return false
		}
	}
	return true
}

// Opened reports whether every lease of r is open.
func (r *Request) Opened() bool {
	for _, l := range r.Leases {
		if l.State != ajar.Open {
			return false
		}
	}
	return r.State == ajar.Approved && len(r.Leases) > 0
}

type wirePort struct {
	Number   uint16        `json:"number"`
	Protocol ajar.Protocol `json:"protocol,omitempty"`
	Source   string        `json:"allowedSourceAddressPrefix,omitempty"`
	End      time.Time     `json:"endTimeUtc,omitzero"`
	Duration string        `json:"duration,omitempty"`
}

type wireMachine struct {
	ID    ajar.ID    `json:"id"`
	Ports []wirePort `json:"ports"`
}

// body gathers the asks by machine, in the order in which machines first appear.
func (in Initiate) body() any {
	var ms []*wireMachine
	at := map[string]*wireMachine{}
	for _, a := range in.Asks {
		m := at[a.Target.Key()]
		if m == nil {
			m = &wireMachine{ID: a.Target}
			at[a.Target.Key()], ms = m, append(ms, m)
		}
		m.Ports = append(m.Ports, wirePort{a.Number, a.Protocol, a.Source, a.End, iso(a.Duration)})
	}
	return struct {
		Machines      []*wireMachine `json:"virtualMachines"`
		Justification string         `json:"justification,omitempty"`
	}{ms, in.Justification}
}

// Initiate asks, once. The answer's leases are Opening: Wait tells when they are open. What the plane refuses because
// the policy does not allow it has the Code NotSubset.
func (c *Client) Initiate(ctx context.Context, in Initiate) (Request, error) {
	var out Request
	_, err := c.do(ctx, call{method: http.MethodPost, path: string(in.Policy) + "/initiate", query: query("api-version", apiVersion), in: in.body(), out: &out})
	out.Policy = in.Policy
	return out, err
}

// RequestQuery selects requests; empty fields do not.
type RequestQuery struct {
	State ajar.RequestState
	Mine  bool
	Scope ajar.ID
	Page  int // how many come in one answer; 0 = as many as the plane likes
}

// Requests lists requests that the caller may read, newest first.
func (c *Client) Requests(ctx context.Context, q RequestQuery) iter.Seq2[Request, error] {
	return list[Request](ctx, c, "/ajar/v1/requests", query("state", string(q.State), "mine", flag(q.Mine), "scope", string(q.Scope), "$top", top(q.Page)))
}

// Request reads one request.
func (c *Client) Request(ctx context.Context, id ajar.RequestID) (Request, error) {
	return c.requestWithin(ctx, id, 0)
}

func (c *Client) requestWithin(ctx context.Context, id ajar.RequestID, hold time.Duration) (Request, error) {
	var r Request
	_, err := c.do(ctx, call{method: http.MethodGet, path: "/ajar/v1/requests/" + string(id), query: query("wait", iso(hold)), out: &r, hold: hold})
	return r, err
}

// hold is how long one question may be held back by the plane: shorter than what proxies usually allow.
const hold = 25 * time.Second

// Wait gives the request once it is settled: decided, and none of its leases still opening. Until then it asks, with
// questions that the plane holds back until there is news, and hands each answer to news, which may be nil. A plane that
// is away for a while, to be restarted perhaps, is asked again. When ctx ends it gives the last state it saw, with ctx's
// error, joined with the plane's if it was away then.
func (c *Client) Wait(ctx context.Context, id ajar.RequestID, news func(Request)) (Request, error) {
	var last Request
	var gone error
	for try := 1; ; try++ {
		r, err := c.requestWithin(ctx, id, hold)
		if ctx.Err() == nil || (away(err) && !unanswered(err)) {
			gone = err // and not what only says that time was up
		}
		if ctx.Err() != nil {
			return last, errors.Join(ctx.Err(), gone)
		}
		switch {
		case err == nil:
			last = r
			if news != nil {
				news(r)
			}
			if r.Settled() {
				return r, nil
			}
		case !away(err):
			return last, err
		}
		// A plane that does not hold answers back must not be asked without end.
		if err := pause(ctx, min(backoff(try)/4, time.Second)); err != nil {
			return last, errors.Join(err, gone)
		}
	}
}

// away reports whether err may be over soon: the plane could not be reached, or asks to come back.
func away(err error) bool {
	var e *ajar.Error
	return errors.As(err, &e) && (e.Kind == ajar.Unavailable || e.Kind == ajar.TooMany) && e.Code != UntrustedCertificate
}

func unanswered(err error) bool {
	var e *ajar.Error
	return errors.As(err, &e) && e.Code == NoAnswer
}

// Approve says yes to somebody else's pending request.
func (c *Client) Approve(ctx context.Context, id ajar.RequestID, reason string) (Request, error) {
	return c.act(ctx, id, "approve", reason)
}

// Deny says no to somebody else's pending request.
func (c *Client) Deny(ctx context.Context, id ajar.RequestID, reason string) (Request, error) {
	return c.act(ctx, id, "deny", reason)
}

// Withdraw takes back a pending request.
func (c *Client) Withdraw(ctx context.Context, id ajar.RequestID, reason string) (Request, error) {
	return c.act(ctx, id, "withdraw", reason)
}

// Revoke closes all leases of a request early and cuts their sessions.
func (c *Client) Revoke(ctx context.Context, id ajar.RequestID, reason string) (Request, error) {
	return c.act(ctx, id, "revoke", reason)
}

func (c *Client) act(ctx context.Context, id ajar.RequestID, verb, reason string) (Request, error) {
	in := struct {
		Reason string `json:"reason,omitempty"`
	}{reason}
	var r Request
	_, err := c.do(ctx, call{method: http.MethodPost, path: "/ajar/v1/requests/" + string(id) + "/" + verb, in: in, out: &r})
	return r, err
}

// Extension moves an end: to Until, or by By. Exactly one is set.
type Extension struct {
	Until time.Time
	By    time.Duration
}

func (e Extension) body() any {
	return struct {
		Until time.Time `json:"endTimeUtc,omitzero"`
		By    string    `json:"duration,omitempty"`
	}{e.Until, iso(e.By)}
}

// Extend moves the end of all leases of a request, without a gap, at most to the longest duration counted from their
// start.
func (c *Client) Extend(ctx context.Context, id ajar.RequestID, e Extension) (Request, error) {
	var r Request
	_, err := c.do(ctx, call{method: http.MethodPost, path: "/ajar/v1/requests/" + string(id) + "/extend", in: e.body(), out: &r})
	return r, err
}
