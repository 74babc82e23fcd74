package client

import (
	"context"
	"iter"
	"net/http"
	"net/netip"
	"time"

	"github.com/ajar-access/ajar"
)

// Lease is one port of one machine, open to some sources until End, or on its way there or back.
type Lease struct {
	ID        ajar.LeaseID     `json:"id"`
	Request   ajar.RequestID   `json:"request,omitempty"`
	Policy    ajar.ID          `json:"policy,omitempty"`
	Target    ajar.ID          `json:"target"`
	Endpoint  ajar.EndpointID  `json:"endpoint,omitempty"`
	Number    uint16           `json:"number"`
	Protocol  ajar.Protocol    `json:"protocol"`
	Sources   []string         `json:"sources,omitempty"`
	Requester ajar.PrincipalID `json:"requester,omitempty"`
	Name      string           `json:"name,omitempty"` // the requester's

	Start       time.Time    `json:"start,omitzero"`
	End         time.Time    `json:"end"`
	MaxDuration string       `json:"maxDuration,omitempty"` // longest time from Start to any End
	Mode        ajar.EndMode `json:"mode,omitempty"`
	HardStop    time.Time    `json:"hardStop,omitzero"` // live sessions end here at the latest

	State      ajar.LeaseState `json:"state"`
	Reason     ajar.Reason     `json:"reason,omitempty"`
	Opened     time.Time       `json:"opened,omitzero"`
	KernelEnd  time.Time       `json:"kernelEnd,omitzero"` // the deadline as last read back from the firewall
	Closed     time.Time       `json:"closed,omitzero"`
	Unverified bool            `json:"unverified,omitempty"` // closed without anybody having seen the rule go
	Trouble    string          `json:"trouble,omitempty"`    // why it is not open or closed yet

	// MayBeOpenUntil is set when the lease is over but its host could not be told: no later than this the firewall
	// closes it by itself.
	MayBeOpenUntil time.Time `json:"mayBeOpenUntil,omitzero"`
	// Of the request, where the query asked for it.
	Justification string     `json:"justification,omitempty"`
	From          netip.Addr `json:"from,omitzero"` // where it was asked from
	Approvals     []Approval `json:"approvals,omitempty"`

	Connected *bool     `json:"connected,omitempty"` // whether the host is reachable now
	Since     time.Time `json:"since,omitzero"`      // of Connected
	Refused   []Refusal `json:"refused,omitempty"`   // sources that the host lately turned away from the port
	// Outlived is set when live sessions went on after End, as Mode lets them.
	Outlived *Outlived `json:"outlived,omitempty"`
}

// Outlived is the sessions that outlived a lease, as its host saw them.
type Outlived struct {
	Live     int       `json:"live"`     // that may go on now
	Sessions int       `json:"sessions"` // when the host first looked, at At
	Peers    []Peer    `json:"peers"`    // some of them
	At       time.Time `json:"at"`
	Over     time.Time `json:"over,omitzero"` // when the last had ended or was cut
}

// Peer is the other end of a session.
type Peer struct {
	Address string    `json:"address"`
	Since   time.Time `json:"since,omitzero"` // where the host knows
}

// Live reports whether l is opening or open.
func (l *Lease) Live() bool { return l.State == ajar.Opening || l.State == ajar.Open }

// Held reports whether the firewall was seen to hold l until its End, give or take what rounding and clocks do.
func (l *Lease) Held() bool { return l.KernelEnd.Add(2 * time.Second).After(l.End) }

// LeaseQuery selects leases; empty fields do not.
type LeaseQuery struct {
	Scope ajar.ID
	Live  bool // opening or open, or with sessions that live on
	Mine  bool
	// Since and Before select those that let anybody in at some moment from the one on and before the other.
	Since, Before time.Time
	Expand        bool // with why they were asked for, from where, and who approved
	Page          int  // how many come in one answer; 0 = as many as the plane likes
}

// Leases lists leases that the caller may read.
func (c *Client) Leases(ctx context.Context, q LeaseQuery) iter.Seq2[Lease, error] {
	v := query("scope", string(q.Scope), "live", flag(q.Live), "mine", flag(q.Mine), "since", stamp(q.Since), "before", stamp(q.Before), "$top", top(q.Page))
	if q.Expand {
		v.Set("$expand", "request")
	}
	return list[Lease](ctx, c, "/ajar/v1/leases", v)
}

// Lease reads one lease.
func (c *Client) Lease(ctx context.Context, id ajar.LeaseID) (Lease, error) {
	var l Lease
	_, err := c.do(ctx, call{method: http.MethodGet, path: "/ajar/v1/leases/" + string(id), out: &l})
	return l, err
}

// WaitClosed gives a lease that was closed early once its rule was seen to be gone. When ctx ends it gives the last
// state it saw, with ctx's error.
func (c *Client) WaitClosed(ctx context.Context, l Lease) (Lease, error) {
	return c.waitLease(ctx, l, func(l Lease) bool { return l.State == ajar.Closed })
}

// WaitHeld gives a lease that was extended once the firewall itself has the new end, or the lease is not live any
// longer. When ctx ends it gives the last state it saw, with ctx's error.
func (c *Client) WaitHeld(ctx context.Context, l Lease) (Lease, error) {
	return c.waitLease(ctx, l, func(l Lease) bool { return !l.Live() || l.Held() })
}

func (c *Client) waitLease(ctx context.Context, l Lease, done func(Lease) bool) (Lease, error) {
	for try := 1; !done(l); try++ {
		if err := pause(ctx, backoff(try)/8); err != nil {
			return l, err
		}
		now, err := c.Lease(ctx, l.ID)
		if ctx.Err() != nil {
			return l, ctx.Err()
		}
		switch {
		case err == nil:
			l = now
		case !away(err):
			return l, err
		}
	}
	return l, nil
}

// CloseLease ends one lease early and cuts its sessions.
func (c *Client) CloseLease(ctx context.Context, id ajar.LeaseID, reason string) (Lease, error) {
	in := struct {
		Reason string `json:"reason,omitempty"`
	}{reason}
	var l Lease
	_, err := c.do(ctx, call{method: http.MethodPost, path: "/ajar/v1/leases/" + string(id) + "/close", in: in, out: &l})
	return l, err
}

// ExtendLease moves the end of one lease.
func (c *Client) ExtendLease(ctx context.Context, id ajar.LeaseID, e Extension) (Lease, error) {
	var l Lease
	_, err := c.do(ctx, call{method: http.MethodPost, path: "/ajar/v1/leases/" + string(id) + "/extend", in: e.body(), out: &l})
	return l, err
}
