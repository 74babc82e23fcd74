package ajar

import (
	"net/netip"
	"time"
	"unique"
)

// Packed is a Rule without its lease, in less than half the memory: for who keeps ten thousand of them by their leases.
// Equal flows are there once.
type Packed struct {
	flow              unique.Handle[Flow]
	sources           []netip.Prefix
	expires, stop     int64 // Unix seconds
	expiresNS, stopNS int32
}

// Pack is r without its lease. The two share their sources.
func (r Rule) Pack() Packed {
	return Packed{
		flow: unique.Make(r.Flow), sources: r.Sources,
		expires: r.Expires.Unix(), expiresNS: int32(r.Expires.Nanosecond()),
		stop: r.HardStop.Unix(), stopNS: int32(r.HardStop.Nanosecond()),
	}
}

// Rule is what was packed, with its lease. Its times are in UTC.
func (p *Packed) Rule(lease LeaseID) Rule {
	return Rule{
		Flow: p.flow.Value(), Lease: lease, Sources: p.sources,
		Expires: time.Unix(p.expires, int64(p.expiresNS)).UTC(), HardStop: time.Unix(p.stop, int64(p.stopNS)).UTC(),
	}
}
