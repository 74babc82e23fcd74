// Package arm is the REST surface: Azure's eight operations on just-in-time policies, byte for byte where clients look,
// and Ajar's own routes beside them. It translates and never decides: what may be done, and what becomes of it, is the
// broker's to say, and no operation here reads the store.
//
// One file per resource holds its routes, its wire types and its handlers. Between a route and a handler stands op, and
// around it Server.serve: ids, bearer token, api-version, error. So an operation is three lines, and none can skip a step.
//
//	GET  /subscriptions/{s}/…/jitNetworkAccessPolicies/{n}            policies.go
//	POST /subscriptions/{s}/…/jitNetworkAccessPolicies/{n}/initiate   initiate.go
//	…    /subscriptions/{s}/…/jitNetworkAccessPolicies/{n}/requests   requests.go
//	…    /ajar/v1/…                                                   the others
//
// # How lenient it is
//
// Azure's clients in the wild send the case of fixed segments as they please, numbers as text, one prefix as a list,
// null for what is absent, durations in place of ends, and whole resources back with members that are read-only. All
// of that is taken. What is not understood where it matters is refused with a message that names the member.
//
// # History
//
// A policy is shown with its newest requests (historyShown; fewer in lists). Older ones are not lost: the requests
// and leases below the policy and under /ajar/v1 list them all.
package arm
