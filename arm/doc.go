// Package arm is the REST surface: Azure's operations on just-in-time policies, byte for byte where clients look, what Azure's
// clients ask around them, and Ajar's own routes. It translates and never decides: what may be done, and what becomes of it,
// is the broker's to say, and no operation reads the store.
//
// It is a house of rooms, which do not know each other; this package lists them, and has the tests of the surface whole.
//
//	rest      what all operations have in common: the table of routes, the call, pages, errors, wire types
//	jit       policies, requests, leases, machines and hosts
//	machines  machines in Azure's words: compute, network, security, Azure's policy
//	rights    roles, assignments, denials, management groups; Microsoft.Authorization
//	people    logging in, tokens, people and programs
//	places    where to sign in; tenants, subscriptions, groups, resources, providers
//	events    the activity log
//	openapi   the description of all of it
//
// In a room, one file per resource holds its routes, its wire types and its handlers. Start with jit/policies.go, and with
// rest/server.go for what happens before and after an operation.
//
// # How lenient it is
//
// Azure's clients in the wild send the case of fixed segments as they please, numbers as text, one prefix as a list,
// null for what is absent, durations in place of ends, and whole resources back with members that are read-only. All
// of that is taken. What is not understood where it matters is refused with a message that names the member.
//
// # History
//
// A policy is shown with its newest requests (fewer in lists). Older ones are not lost: the requests and leases below the
// policy and under /ajar/v1 list them all.
package arm
