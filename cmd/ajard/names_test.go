package main

import (
	"net/netip"
	"slices"
	"testing"
)

// A plane that listens everywhere is reached at every address of its machine, and none of these may be guarded by
// accident.
func TestListenersEverywhereAreTheMachinesAddresses(t *testing.T) {
	got := reachedAt([]netip.AddrPort{netip.MustParseAddrPort("[::]:8443"), netip.MustParseAddrPort("192.0.2.1:8444")}, []string{"192.0.2.7", "2001:db8::7"})
	for _, want := range []string{"192.0.2.7:8443", "[2001:db8::7]:8443", "192.0.2.1:8444"} {
		if !slices.Contains(got, netip.MustParseAddrPort(want)) {
			t.Errorf("%s is missing from %v", want, got)
		}
	}
	if slices.Contains(got, netip.MustParseAddrPort("192.0.2.7:8444")) {
		t.Errorf("a listener on one address is not on the others: %v", got)
	}
}
