// Package ajar is the vocabulary of just-in-time network access, and its rules.
//
// Ajar keeps the management ports of machines closed in the real firewall and opens one of them, to one source, for a
// limited time, to somebody who may. This package knows the words (Target, Policy, Request, Lease, Ruleset, Event) and
// the pure rules between them (Policy.Check, Desired, the state tables). It does not know any database, firewall,
// protocol or clock; it imports the standard library alone.
//
// # The tour
//
// A Policy says what may be asked for. A Request asks. The broker, the one gate, authorizes (rbac), checks
// (Policy.Check), and writes the Request, one Lease per ask and endpoint, and an Event, in one transaction of the Store.
// Then it wakes the loop. The loop (enforce) claims the endpoints that are due, computes Desired from their leases, and
// has an Enforcer make the firewall agree; when the rule was read back with its deadline the Lease is Open. At its End
// the endpoint is due again; the rule is no longer desired; it goes; the Lease is Closed.
//
//	arm, cmd/ajar ──► broker ──► Store ◄── enforce ──► Enforcer ──► firewall
//	  (translate)    (decide,     │         (agree)    (provider/*)
//	                  record)     └── Event log, chained and signed
//
// There is no expirer, no revoker and no drift fixer: opening, closing, retry and repair are the same pass. On a Linux
// host the deadline is also the kernel's own: the opening is a set element with a timeout, and closes with plane, agent
// and network dead.
//
// # Where to start
//
// Read lease.go and rule.go, then broker, then enforce. docs/architecture.md has the picture, docs/security.md the
// promises, docs/decisions the reasons.
//
// # Stability
//
// The exported names of this package, of client and of provider/providertest change only with notice.
package ajar
