package broker

import (
	"context"
	"net/netip"
	"time"

	"github.com/ajar-access/ajar"
)

// Host is a machine's place of enforcement, with what its agent lives by.
type Host struct {
	Endpoint *ajar.Endpoint
	Identity *ajar.HostIdentity // nil where none was ever issued
}

// Joining is what a host brings to Join. The serial is chosen before the certificate is made, so that the certificate
// can name the endpoint that Join answers with.
type Joining struct {
	TokenHash string     // hex SHA-256 of the join token
	From      netip.Addr // where the host called from
	Serial    string     // hex, of the certificate about to be issued
	Expires   time.Time  // of that certificate
	Corr      string
}

// Joined is what a host became.
type Joined struct {
	Target   *ajar.Target
	Endpoint *ajar.Endpoint
	Identity *ajar.HostIdentity
	Replaced bool // there was a live identity, which is revoked now
}

// CreateJoinToken makes a token with which one host can join as machine t.ID, once, within 15 minutes (HostWrite at the
// machine). A machine that does not exist yet is created from t (MachineWrite). replace lets the join revoke a live
// identity. The token is given out here and never again; its hash alone is kept.
func (b *Broker) CreateJoinToken(ctx context.Context, who ajar.Caller, t ajar.Target, replace bool) (token string, doc *ajar.JoinToken, err error) {
	return "", nil, nil
}

// Join uses a join token up and makes the endpoint and its identity. A machine that joined before keeps its endpoint.
// The guards of all policies that name the machine are on the endpoint at once.
func (b *Broker) Join(ctx context.Context, j Joining) (*Joined, error) { return nil, nil }

// Renew replaces the certificate with serial old by one with serial fresh. The old one stays good until the new one
// was used once.
func (b *Broker) Renew(ctx context.Context, ep ajar.EndpointID, old, fresh string, expires time.Time) (*ajar.HostIdentity, error) {
	return nil, nil
}

// CheckIdentity says whether a certificate with this serial may speak for ep now; Unauthenticated if not. The first use
// of a renewed certificate ends the one before.
func (b *Broker) CheckIdentity(ctx context.Context, ep ajar.EndpointID, serial string) (*ajar.HostIdentity, error) {
	return nil, nil
}

// RemoveHost revokes the identity of target's host and forgets its endpoint (HostDelete at target). The guard stays on
// the host unless lift. Its leases are Closed, unverified.
func (b *Broker) RemoveHost(ctx context.Context, who ajar.Caller, target ajar.ID, lift bool) error {
	return nil
}

// Hosts lists the hosts at and below scope that the caller may read (HostRead).
func (b *Broker) Hosts(ctx context.Context, who ajar.Caller, scope ajar.ID, page Page) (list []*Host, next string, err error) {
	return nil, "", nil
}
