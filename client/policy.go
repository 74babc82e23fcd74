package client

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"net/netip"
	"time"

	"github.com/ajar-access/ajar"
)

const apiVersion = "2020-01-01"

// Policy is a just-in-time policy in Azure's shape, with Ajar's own members after Azure's.
type Policy struct {
	Kind       string           `json:"kind,omitempty"`
	Properties PolicyProperties `json:"properties"`
	ID         ajar.ID          `json:"id,omitempty"`
	Name       string           `json:"name,omitempty"`
	Type       string           `json:"type,omitempty"`
	Location   string           `json:"location,omitempty"`

	ETag string `json:"-"` // of the version that was read; PutPolicy sends it back
}

// PolicyProperties is the policy itself. Requests is its history and is not sent.
type PolicyProperties struct {
	Machines          []MachinePolicy `json:"virtualMachines"`
	Requests          json.RawMessage `json:"requests,omitempty"`
	ProvisioningState string          `json:"provisioningState,omitempty"`
	Unguard           ajar.Unguard    `json:"unguard,omitempty"`
	BreakGlass        ajar.Switch     `json:"breakGlass,omitempty"` // off: no machine's own administrator opens ports without the plane
}

// MachinePolicy is one machine of a policy.
type MachinePolicy struct {
	ID              ajar.ID      `json:"id"`
	Ports           []PortPolicy `json:"ports"`
	PublicIPAddress string       `json:"publicIpAddress,omitempty"`
}

// PortPolicy is what may be asked for on one port. Durations are ISO 8601 text, so that what is read and written back
// stays as its author wrote it.
type PortPolicy struct {
	Number      uint16        `json:"number"`
	Protocol    ajar.Protocol `json:"protocol"`
	Source      string        `json:"allowedSourceAddressPrefix,omitempty"`
	Sources     []string      `json:"allowedSourceAddressPrefixes,omitempty"`
	MaxDuration string        `json:"maxRequestAccessDuration"`

	EndMode   ajar.EndMode `json:"endMode,omitempty"`
	DrainFor  string       `json:"drainDuration,omitempty"`
	WidestV4  int          `json:"widestIPv4Prefix,omitempty"`
	WidestV6  int          `json:"widestIPv6Prefix,omitempty"`
	Approvals int          `json:"approvals,omitempty"`
}

// PutOptions say how a policy is put.
type PutOptions struct {
	ConfirmWithin time.Duration // new guards are lifted again unless confirmed in time; 0 = the plane's default
	Force         bool          // guard even the plane's own listeners
}

// Policies lists the policies in scope that the caller may read: of all subscriptions for ajar.Root, of a
// subscription, or of a resource group.
func (c *Client) Policies(ctx context.Context, scope ajar.ID) iter.Seq2[Policy, error] {
	if scope == "" || scope == ajar.Root {
		return list[Policy](ctx, c, "/ajar/v1/policies", nil)
	}
	return list[Policy](ctx, c, string(scope)+"/providers/Microsoft.Security/jitNetworkAccessPolicies", query("api-version", apiVersion))
}

// Policy reads one policy.
func (c *Client) Policy(ctx context.Context, id ajar.ID) (Policy, error) {
	var p Policy
	a, err := c.do(ctx, call{method: http.MethodGet, path: string(id), query: query("api-version", apiVersion), out: &p})
	if err == nil {
		p.ETag = a.header.Get("ETag")
	}
	return p, err
}

// PutPolicy makes or replaces a policy. If p was read with Policy and changed meanwhile, it answers Conflict.
func (c *Client) PutPolicy(ctx context.Context, p Policy, o PutOptions) (Policy, error) {
	q := query("api-version", apiVersion, "ajar-confirm-within", iso(o.ConfirmWithin), "ajar-force", flag(o.Force))
	p.Properties.Requests = nil
	var out Policy
	a, err := c.do(ctx, call{method: http.MethodPut, path: string(p.ID), query: q, in: p, out: &out, match: p.ETag})
	if err == nil {
		out.ETag = a.header.Get("ETag")
	}
	return out, err
}

// DeletePolicy removes a policy and tells whether there was one.
func (c *Client) DeletePolicy(ctx context.Context, id ajar.ID) (existed bool, _ error) {
	a, err := c.do(ctx, call{method: http.MethodDelete, path: string(id), query: query("api-version", apiVersion)})
	return err == nil && a.status != http.StatusNoContent, err
}

// WhatIf is what putting a policy would change.
type WhatIf struct {
	Guard  []GuardChange `json:"guard"`  // ports that would be closed unless leased
	Lift   []GuardChange `json:"lift"`   // ports that would be open to everybody again
	Keep   []GuardChange `json:"keep"`   // ports that would stay closed though no policy names them
	Leases []Lease       `json:"leases"` // leases that would end
	Impact []Impact      `json:"impact"` // who is connected to what would be guarded
	// In what time a new guard must be confirmed where the PUT does not say, or is rolled back; those connected are spared
	// until then. ISO 8601; "" = it need not be.
	ConfirmWithin string `json:"confirmWithin,omitempty"`
}

// GuardChange is one port of one machine.
type GuardChange struct {
	Target   ajar.ID       `json:"target"`
	Number   uint16        `json:"number"`
	Protocol ajar.Protocol `json:"protocol"`
}

// Impact is what new guards would do to one machine. Unknown says why nobody can tell.
type Impact struct {
	Target      ajar.ID      `json:"target"`
	Listening   []Listener   `json:"listening,omitempty"`
	Connections []Connection `json:"connections,omitempty"`
	Unknown     string       `json:"unknown,omitempty"`
}

// Listener is a socket that a guard would close to the outside.
type Listener struct {
	Number   uint16        `json:"number"`
	Protocol ajar.Protocol `json:"protocol"`
	Address  netip.Addr    `json:"address"`
	Process  string        `json:"process,omitempty"`
}

// Connection is a live connection that a guard would cut.
type Connection struct {
	Number   uint16         `json:"number"`
	Protocol ajar.Protocol  `json:"protocol"`
	Local    netip.AddrPort `json:"local"`
	Remote   netip.AddrPort `json:"remote"`
}

// WhatIf tells what putting p would change, and changes nothing. A policy without machines stands for its removal.
func (c *Client) WhatIf(ctx context.Context, p Policy) (WhatIf, error) {
	p.Properties.Requests = nil
	var w WhatIf
	_, err := c.do(ctx, call{method: http.MethodPost, path: "/ajar/v1/what-if", in: p, out: &w})
	return w, err
}
