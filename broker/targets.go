package broker

import (
	"context"

	"github.com/ajar-access/ajar"
)

// PutTarget creates or changes a machine (MachineWrite). Which hosts and policies belong to it is kept.
func (b *Broker) PutTarget(ctx context.Context, who ajar.Caller, t ajar.Target) (*ajar.Target, error) {
	return nil, nil
}

// DeleteTarget removes a machine (MachineDelete) with its host and from the policies that name it. Its leases are
// Closed, unverified. keepGuard leaves the guard on the host; otherwise it is lifted there.
func (b *Broker) DeleteTarget(ctx context.Context, who ajar.Caller, id ajar.ID, keepGuard bool) (existed bool, err error) {
	return false, nil
}

// Target reads one machine (MachineRead).
func (b *Broker) Target(ctx context.Context, who ajar.Caller, id ajar.ID) (*ajar.Target, error) {
	return nil, nil
}

// Targets lists the machines at and below scope that the caller may read.
func (b *Broker) Targets(ctx context.Context, who ajar.Caller, scope ajar.ID, page Page) (list []*ajar.Target, next string, err error) {
	return nil, "", nil
}

// ReleaseGuard lifts a guard of target that no policy names any longer and that was kept (GuardRelease at target).
func (b *Broker) ReleaseGuard(ctx context.Context, who ajar.Caller, target ajar.ID, flow ajar.Flow) error {
	return nil
}

// ConfirmGuard confirms every guard of target that waits for it (GuardConfirm at target), and lists those.
func (b *Broker) ConfirmGuard(ctx context.Context, who ajar.Caller, target ajar.ID) ([]ajar.EndpointGuard, error) {
	return nil, nil
}
