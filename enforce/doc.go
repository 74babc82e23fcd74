// Package enforce is the loop that makes firewalls agree with the store. It does not know which firewalls there are,
// who may ask for what, or which database keeps it: it meets them in ajar's Store and Enforcer.
//
// There is no expirer, no revoker, no retrier and no drift fixer. All of them are one pass over one endpoint:
//
//	ClaimDue ─► read what changed ─► plan: what is wanted now ─► Change or Apply ─► settle ─► Release(next due)
//	   ▲          (leases After seq)    (Delta, or the whole)      (firewall)        (one Update)     │
//	   └────────────── Wake by a verb, or a timer for the earliest due ◄──────────────────────────────┘
//
// A verb goes in where reading ends: by Take its own Update also claims, and its pass knows what it wrote. So one commit
// stands between a request and the firewall, the one that makes it durable. Every verb that writes a lease marks its
// endpoint due in the same Update; a mark that has moved by one since the last pass says that nobody else wrote, and
// the pass reads nothing, neither before the firewall is driven nor when it settles.
//
// A pass costs what changed, not what there is: the plan of an endpoint holds the compact form of its leases, counts
// per flow, and a heap of the moments at which what is wanted changes by itself. That shortcut is held to
// ajar.Desired, recomputed from scratch, by a property test.
//
// # Safety
//
// Each of these has a test of its name.
//
//   - An Apply gives up before its claim ends (ApplyTimeout < Hold), so no two replicas drive one endpoint.
//   - A lease that changed while the firewall was driven is not settled: what was read of it is dropped and the endpoint
//     looked at again, so a revoke that lands in the middle of Apply wins.
//   - Nobody but the loop calls Apply, and of leases it writes only what it saw happen.
//   - One endpoint's trouble never stops another's: every claimed endpoint has a goroutine of its own, and endpoints
//     that failed before may fill half of them at most.
//   - Open means read back: a lease is Open when the enforcer promised that it read the rule back with its deadline.
//
// Whatever is lost in a crash is found again from the store: a claimed endpoint stays due, and Recover ends the claims
// of the dead and makes everything overdue durably Closing before the first request is served.
package enforce
