package broker

import (
	"context"
	"time"

	"github.com/ajar-access/ajar"
)

// PutOptions are how a policy is put.
type PutOptions struct {
	// ConfirmWithin rolls guards that are new back unless they are confirmed in that time; 0 = the plane's default,
	// negative = they are confirmed at once.
	ConfirmWithin time.Duration
	// Force guards the plane's own listeners all the same.
	Force bool
	// IfMatch is the Rev that the stored policy must have, -1 that there must be none; 0 = whatever it has.
	IfMatch int64
}

// Impact is what putting a policy would do.
type Impact struct {
	Guard   []GuardChange  // ports that would be closed unless leased
	Lift    []GuardChange  // ports that nobody would keep closed any longer
	Keep    []GuardChange  // ports that no policy would name but that would stay closed (unguard: keep)
	Leases  []*ajar.Lease  // live leases that would end
	Targets []TargetImpact // what the new guards would cut, asked of the hosts
}

// GuardChange is one port of one machine.
type GuardChange struct {
	Target   ajar.ID
	Endpoint ajar.EndpointID // "" where no host has joined yet
	Flow     ajar.Flow
}

// TargetImpact is what a machine says its new guards would cut, or why it could not be asked.
type TargetImpact struct {
	Target   ajar.ID
	Endpoint ajar.EndpointID
	Impact   ajar.Impact
	Trouble  string // "" when the host answered
}

// PutPolicy creates or replaces a policy. It needs PolicyWrite at the policy and MachineWrite on each machine that the
// old or the new body names. Machines must exist (NotFound, Code LinkedResourceNotFound), unless the old body named
// them already. Ports that are new get guarded, ports that no policy names any longer are lifted or kept, and leases
// on what this policy dropped are closed.
func (b *Broker) PutPolicy(ctx context.Context, who ajar.Caller, p ajar.Policy, o PutOptions) (*ajar.Policy, error) {
	return nil, nil
}

// DeletePolicy removes a policy: PolicyDelete, and MachineWrite on each machine it names. Its requests stay as history;
// those still Pending are denied, and its live leases are closed.
func (b *Broker) DeletePolicy(ctx context.Context, who ajar.Caller, id ajar.ID) (existed bool, err error) {
	return false, nil
}

// Policy reads one policy.
func (b *Broker) Policy(ctx context.Context, who ajar.Caller, id ajar.ID) (*ajar.Policy, error) {
	return nil, nil
}

// Policies lists the policies at and below scope that the caller may read.
func (b *Broker) Policies(ctx context.Context, who ajar.Caller, scope ajar.ID, page Page) (list []*ajar.Policy, next string, err error) {
	return nil, "", nil
}

// PolicyImpact tells what PutPolicy would do, and does nothing. It needs what PutPolicy needs.
func (b *Broker) PolicyImpact(ctx context.Context, who ajar.Caller, p ajar.Policy) (*Impact, error) {
	return nil, nil
}
