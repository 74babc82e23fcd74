package broker

import (
	"context"
	"time"

	"github.com/ajar-access/ajar"
)

// Outcome is a request with the leases that came of it, in the order of its asks.
type Outcome struct {
	Request *ajar.Request
	Leases  []*ajar.Lease
}

// Extension says how far a lease should go: to an absolute time, or for so much longer than it would. Exactly one is
// set.
type Extension struct {
	Until time.Time
	By    time.Duration
}

// RequestFilter selects requests. Zero fields do not filter.
type RequestFilter struct {
	Policy    ajar.ID // this policy, or any scope above policies
	Requester ajar.PrincipalID
	State     ajar.RequestState // as it reads now: a Pending request past its deadline is Lapsed
	Page      Page
}

// LeaseFilter selects leases. Zero fields do not filter.
type LeaseFilter struct {
	Scope     ajar.ID // of the target
	Requester ajar.PrincipalID
	Live      bool // only Opening and Open ones that have not ended
	Page      Page
}

// Initiate asks for access under r.Policy: r.Policy, r.Asks and r.Justification are read, everything else is filled
// in. It needs PolicyInitiate at the policy and MachineRead on each machine. An ask without sources is for the
// caller's own address; an ask without a protocol is for each of the policy's rows of that port. What is not a subset
// of the policy is Invalid with Code JitAccessRequestNotSubset. Where approvals are needed the request is Pending,
// otherwise Approved with one lease per ask and endpoint, and the caller's older leases on the same machine, port and
// source are superseded.
func (b *Broker) Initiate(ctx context.Context, who ajar.Caller, r ajar.Request) (*Outcome, error) {
	return nil, nil
}

// Request reads one request: one's own, or with RequestRead or PolicyRead at its policy.
func (b *Broker) Request(ctx context.Context, who ajar.Caller, id ajar.RequestID) (*Outcome, error) {
	return nil, nil
}

// Requests lists the requests that the caller may read, newest first.
func (b *Broker) Requests(ctx context.Context, who ajar.Caller, f RequestFilter) (list []*Outcome, next string, err error) {
	return nil, "", nil
}

// Approve says yes to somebody else's Pending request (RequestApprove at its policy). The last yes that is needed
// decides: the policy is checked again, durations start now, leases are granted.
func (b *Broker) Approve(ctx context.Context, who ajar.Caller, id ajar.RequestID, reason string) (*Outcome, error) {
	return nil, nil
}

// Deny says no to somebody else's Pending request (RequestDeny at its policy). One no denies it.
func (b *Broker) Deny(ctx context.Context, who ajar.Caller, id ajar.RequestID, reason string) (*Outcome, error) {
	return nil, nil
}

// Withdraw takes one's own Pending request back.
func (b *Broker) Withdraw(ctx context.Context, who ajar.Caller, id ajar.RequestID, reason string) (*Outcome, error) {
	return nil, nil
}

// Revoke closes every lease of a request that is still live or draining: one's own, or with RequestRevoke at its policy.
func (b *Broker) Revoke(ctx context.Context, who ajar.Caller, id ajar.RequestID, reason string) (*Outcome, error) {
	return nil, nil
}

// CloseLease closes one lease early: one's own, or with RequestRevoke at its policy.
func (b *Broker) CloseLease(ctx context.Context, who ajar.Caller, id ajar.LeaseID, reason string) (*ajar.Lease, error) {
	return nil, nil
}

// Extend moves the end of every live lease of a request, all of them or none: one's own, or with RequestExtend at its
// policy. The same leases go on without a gap, never beyond the longest duration counted from their first start, and
// only while the policy still offers them.
func (b *Broker) Extend(ctx context.Context, who ajar.Caller, id ajar.RequestID, to Extension) (*Outcome, error) {
	return nil, nil
}

// ExtendLease is Extend for one lease.
func (b *Broker) ExtendLease(ctx context.Context, who ajar.Caller, id ajar.LeaseID, to Extension) (*ajar.Lease, error) {
	return nil, nil
}

// Lease reads one lease: one's own, or with RequestRead or PolicyRead at its policy.
func (b *Broker) Lease(ctx context.Context, who ajar.Caller, id ajar.LeaseID) (*ajar.Lease, error) {
	return nil, nil
}

// Leases lists the leases that the caller may read, newest first.
func (b *Broker) Leases(ctx context.Context, who ajar.Caller, f LeaseFilter) (list []*ajar.Lease, next string, err error) {
	return nil, "", nil
}

// Lapse writes down which Pending requests have passed their deadline, at most a thousand at a time. They read as
// Lapsed without it; this makes the Event that notices are sent from.
func (b *Broker) Lapse(ctx context.Context) (n int, err error) { return 0, nil }
