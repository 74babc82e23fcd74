package client

import (
	"context"
	"iter"
	"net/http"
	"net/netip"
	"time"

	"github.com/ajar-access/ajar"
)

// Target is a machine that access can be asked for, with what is known of its host and which policies name it.
type Target struct {
	ID        ajar.ID           `json:"id"`
	Name      string            `json:"name"`
	Location  string            `json:"location,omitempty"`
	OS        string            `json:"os,omitempty"`
	Addresses []netip.Addr      `json:"addresses,omitempty"`
	Login     string            `json:"login,omitempty"`   // user name for ssh; "" = the caller's own
	SSHPort   uint16            `json:"sshPort,omitempty"` // 0 = 22
	Tags      map[string]string `json:"tags,omitzero"`     // put as nil they stay as they are
	Source    string            `json:"source,omitempty"`  // "person", or the provider whose listing found it
	FoundIn   ajar.ID           `json:"foundIn,omitempty"`
	Missing   time.Time         `json:"missing,omitzero"` // when that listing lacked it for the first time
	Kept      string            `json:"kept,omitempty"`   // why it stays all the same
	Clash     string            `json:"clash,omitempty"`  // another provider that lists it, and changes nothing of it
	Created   time.Time         `json:"created,omitzero"`
	Removed   time.Time         `json:"removed,omitzero"`

	Joined   bool       `json:"joined,omitempty"` // whether a host has joined as the machine
	Host     *HostState `json:"host,omitempty"`   // how that is; nil also for who may not read hosts
	Policies []Offer    `json:"policies,omitempty"`
}

// HostState is what was last seen of the place where a target's rules are enforced.
type HostState struct {
	Connected bool      `json:"connected"`
	Since     time.Time `json:"since,omitzero"` // of Connected
	LastSeen  time.Time `json:"lastSeen,omitzero"`
	Trouble   string    `json:"trouble,omitempty"`
	SkewMS    int64     `json:"skewMs,omitempty"`
	Pending   bool      `json:"guardsPending,omitempty"` // the firewall was not yet seen to have what it is to guard
	Refused   []Refusal `json:"refused,omitempty"`
}

// Refusal is a source that the host lately turned away.
type Refusal struct {
	Source   netip.Addr    `json:"source"`
	Number   uint16        `json:"number"`
	Protocol ajar.Protocol `json:"protocol,omitempty"`
	At       time.Time     `json:"at"`
}

// Offer is what one policy offers on a target.
type Offer struct {
	ID    ajar.ID       `json:"id"`
	Ports []OfferedPort `json:"ports"`
}

// OfferedPort is one port of an Offer.
type OfferedPort struct {
	Number      uint16        `json:"number"`
	Protocol    ajar.Protocol `json:"protocol"`
	MaxDuration string        `json:"maxRequestAccessDuration,omitempty"`
	Approvals   int           `json:"approvals,omitempty"`
}

// TargetQuery selects targets; empty fields do not.
type TargetQuery struct {
	Scope ajar.ID
	Name  string // the machine's name, whole, without regard to case
}

// Targets lists the targets that the caller may read.
func (c *Client) Targets(ctx context.Context, q TargetQuery) iter.Seq2[Target, error] {
	return list[Target](ctx, c, "/ajar/v1/targets", query("scope", string(q.Scope), "name", q.Name))
}

// Target reads one target.
func (c *Client) Target(ctx context.Context, id ajar.ID) (Target, error) {
	var t Target
	_, err := c.do(ctx, call{method: http.MethodGet, path: "/ajar/v1/target", query: query("id", string(id)), out: &t})
	return t, err
}

// PutTarget makes or changes a target.
func (c *Client) PutTarget(ctx context.Context, t Target) (Target, error) {
	var out Target
	_, err := c.do(ctx, call{method: http.MethodPut, path: "/ajar/v1/target", query: query("id", string(t.ID)), in: t, out: &out})
	return out, err
}

// DeleteTarget removes a target; its leases close. keepGuard leaves its ports closed on the host.
func (c *Client) DeleteTarget(ctx context.Context, id ajar.ID, keepGuard bool) error {
	_, err := c.do(ctx, call{method: http.MethodDelete, path: "/ajar/v1/target", query: query("id", string(id), "keepGuard", flag(keepGuard))})
	return err
}
