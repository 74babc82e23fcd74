// Package rest is what all operations of the surface have in common. A room writes a table of routes; between a route and a
// function stands Op, and around it the Server: ids, bearer token, api-version, counters, error. So an operation is a few
// lines, and none can skip a step. No resource is known here: what operations do is the rooms' to say, and what may be
// done is the broker's.
//
//	rest.Get(pattern, rest.Ours, rest.Op(200, r.listLeases), "Lists leases.", ajar.RequestRead, "scope", "$top")
//
// A Call is one request to one operation: who calls, what the path and the query say, and what of the answer is not its body.
// Wire types read what clients send and write what they look at.
package rest
