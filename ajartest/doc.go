// Package ajartest is a whole plane in a test: a store over a real SQLite file, the broker, the loop, a fake firewall
// and a clock that can be stepped. It knows how the parts are put together and nothing else; what it makes are the
// parts themselves, to be called directly.
//
//	p := ajartest.New(t, ajartest.Options{})
//	alice := p.User("alice", ajartest.At("Just-in-time Requester", ajar.Root), ajartest.At("Reader", ajar.Root))
//	vm := p.Machine("vm1")
//	policy := p.Policy("default", vm)
//	out := p.Open(alice, policy, vm, 22, "203.0.113.9", time.Hour)
//	p.Until(func() bool { return p.Lease(out.Leases[0].ID).State == ajar.Open })
//
// Inside a synctest bubble time is the bubble's: call New there, and an hour costs nothing.
package ajartest
