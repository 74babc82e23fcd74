// Package fake is a firewall that remembers what it was told, for tests, for benchmarks, and for a demo where there is
// no Linux. It does not filter anything, and knows no packet; it knows which source could open a connection and which
// session would still live.
//
// Its hosts count the time that remained of an opening when it arrived, as a kernel does, on a clock that nobody can
// step: what ends there ends with everything else dead. Faults are switched on per host.
package fake
