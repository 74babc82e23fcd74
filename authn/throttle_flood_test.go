package authn

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// TestFloodDoesNotForgetGuessedCodes: whoever has very many addresses does not buy more guesses at somebody's code by
// filling the memory with other attempts.
func TestFloodDoesNotForgetGuessedCodes(t *testing.T) {
	th, now := newThrottle(), time.Now()
	address := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}) }
	guesses := 0
	guess := func(from int) {
		for i := range 4 * int(secondAccount.burst) {
			if a, _ := th.second(t.Context(), "anna", address(from+i), false, now); a != nil {
				a.end(true, false)
				guesses++
			}
		}
	}
	guess(0)
	for i := range maxBuckets {
		if a, _ := th.begin(t.Context(), fmt.Sprint(i%1000), address(1000+i), false, false, now); a != nil {
			a.end(true, false)
		}
	}
	guess(2_000_000)
	if guesses > int(secondAccount.burst) {
		t.Errorf("%d codes could be guessed at once", guesses)
	}
}
