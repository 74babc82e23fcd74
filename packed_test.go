package ajar_test

import (
	"net/netip"
	"testing"
	"time"
	"unsafe"

	"github.com/ajar-access/ajar"
)

func TestPackedRuleIsTheSame(t *testing.T) {
	at := time.Date(2026, 11, 20, 12, 0, 0, 123_456_789, time.FixedZone("", 3600))
	flow := ajar.Flow{Dest: netip.MustParseAddr("2001:db8::1"), Port: ajar.Port{Number: 22, Protocol: ajar.TCP}}
	for name, r := range map[string]ajar.Rule{
		"nothing":     {Lease: "a"},
		"everything":  {Flow: flow, Lease: "a", Sources: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, Expires: at, HardStop: at.Add(time.Nanosecond)},
		"before 1970": {Lease: "a", Expires: time.Unix(-7, 5), HardStop: time.Unix(-7, 6)},
		"far away":    {Lease: "a", Expires: time.Date(9999, 12, 31, 0, 0, 0, 1, time.UTC), HardStop: time.Unix(1<<40, 999_999_999)},
	} {
		p := r.Pack()
		got := p.Rule(r.Lease)
		if !got.Same(r) || !got.Expires.Equal(r.Expires) || !got.HardStop.Equal(r.HardStop) || got.Expires.IsZero() != r.Expires.IsZero() {
			t.Errorf("%s: unpacked it is %v, not %v", name, got, r)
		}
	}
}

func TestPackedRuleIsSmall(t *testing.T) {
	if whole, packed := unsafe.Sizeof(ajar.Rule{}), unsafe.Sizeof(ajar.Packed{}); 2*packed > whole {
		t.Errorf("packed it takes %d bytes of %d", packed, whole)
	}
}
