// Package model is one machine that drives a whole plane at random and knows what may be open: request, approve, revoke,
// extend, supersede, expiry, end modes, policy changes, overlapping prefixes, deaths of plane and agent, reboots,
// flushes, partitions, clock steps. It does not know what the ports belong to: that is a World, of fake hosts in a
// synctest bubble, or of the kernel's own firewall in network namespaces with real connections and real time.
//
// Safety: a port is open to a source only if an unexpired lease was granted, and if that was revoked, only while its host
// has been unreachable since. Liveness: a host that was reachable for a second has exactly what was granted.
package model
