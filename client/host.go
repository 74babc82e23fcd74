package client

import (
	"context"
	"iter"
	"net/http"
	"time"

	"github.com/ajar-access/ajar"
)

// Host is a place where rules are enforced, as it was last seen.
type Host struct {
	ID                 ajar.EndpointID `json:"id"`
	Target             ajar.ID         `json:"target"`
	Provider           string          `json:"provider,omitempty"`
	Connected          bool            `json:"connected"`
	Since              time.Time       `json:"since,omitzero"` // of Connected
	LastSeen           time.Time       `json:"lastSeen,omitzero"`
	Trouble            string          `json:"trouble,omitempty"`
	SkewMS             int64           `json:"skewMs,omitempty"`
	Version            string          `json:"version,omitempty"`
	Kernel             string          `json:"kernel,omitempty"`
	OwnTable           string          `json:"ownTable,omitempty"`
	CertificateExpires time.Time       `json:"certificateExpires,omitzero"`
	Guards             []HostGuard     `json:"guards,omitempty"`
	GuardsPending      bool            `json:"guardsPending,omitempty"` // the firewall was not yet seen to have them so
	Refused            []Refusal       `json:"refused,omitempty"`
}

// HostGuard is a port kept closed on a host unless leased.
type HostGuard struct {
	Number    uint16        `json:"number"`
	Protocol  ajar.Protocol `json:"protocol"`
	Policies  []ajar.ID     `json:"policies,omitempty"`
	Kept      bool          `json:"kept,omitempty"`     // no policy names it any longer; closed until released
	ConfirmBy time.Time     `json:"confirmBy,omitzero"` // lifted again then, unless confirmed
	Since     time.Time     `json:"since,omitzero"`
}

// Join is what a host needs to join, once.
type Join struct {
	Token   string    `json:"token"` // a secret
	Expires time.Time `json:"expires,omitzero"`
	Command string    `json:"command,omitempty"` // as the plane would have it typed
}

// Hosts lists the hosts that the caller may read.
func (c *Client) Hosts(ctx context.Context, scope ajar.ID) iter.Seq2[Host, error] {
	return list[Host](ctx, c, "/ajar/v1/hosts", query("scope", string(scope)))
}

// JoinToken makes a token with which one host may join as target, once. The target is made if there is none; replace
// lets the new host take the place of one that is joined already.
func (c *Client) JoinToken(ctx context.Context, target ajar.ID, location string, replace bool) (Join, error) {
	in := struct {
		Target   ajar.ID `json:"target"`
		Location string  `json:"location,omitempty"`
		Replace  bool    `json:"replace,omitempty"`
	}{target, location, replace}
	var j Join
	_, err := c.do(ctx, call{method: http.MethodPost, path: "/ajar/v1/hosts/join-token", in: in, out: &j})
	return j, err
}

// RemoveHost revokes a host's identity and cuts its connection at once. Its ports stay guarded unless lift.
func (c *Client) RemoveHost(ctx context.Context, target ajar.ID, lift bool) error {
	_, err := c.do(ctx, call{method: http.MethodDelete, path: "/ajar/v1/hosts", query: query("target", string(target), "lift", flag(lift))})
	return err
}

// ConfirmGuards keeps the new guards of a host, which would be lifted again otherwise.
func (c *Client) ConfirmGuards(ctx context.Context, target ajar.ID) error {
	in := struct {
		Target ajar.ID `json:"target"`
	}{target}
	_, err := c.do(ctx, call{method: http.MethodPost, path: "/ajar/v1/hosts/confirm", in: in})
	return err
}

// ReleaseGuard opens a kept port to everybody again.
func (c *Client) ReleaseGuard(ctx context.Context, target ajar.ID, number uint16, p ajar.Protocol) error {
	in := struct {
		Target   ajar.ID       `json:"target"`
		Port     uint16        `json:"port"`
		Protocol ajar.Protocol `json:"protocol"`
	}{target, number, p}
	_, err := c.do(ctx, call{method: http.MethodPost, path: "/ajar/v1/hosts/release-guard", in: in})
	return err
}
