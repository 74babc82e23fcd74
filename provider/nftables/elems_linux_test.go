package nftables

import (
	"slices"
	"testing"

	"github.com/ajar-access/ajar"
)

// TestAnElementEndsWithTheLastOfItsHolders: leases may share an element, and leave it in any order.
func TestAnElementEndsWithTheLastOfItsHolders(t *testing.T) {
	var leases [4]ajar.Packed
	const stranger = 3
	for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		var e elem
		if e.held() || e.until() != 0 {
			t.Fatal("nobody came, and somebody holds it")
		}
		for i := range stranger {
			e.add(&leases[i], int64(10*(i+1)))
		}
		for n, who := range order {
			e.drop(&leases[stranger])
			left := order[n:]
			if want := int64(10 * (slices.Max(left) + 1)); !e.held() || e.until() != want {
				t.Fatalf("leaving in order %v, held by %v: held is %v, until %d, want %d", order, left, e.held(), e.until(), want)
			}
			e.drop(&leases[who])
		}
		if e.held() || e.until() != 0 || e.next != nil {
			t.Errorf("all left in order %v, and somebody holds it until %d", order, e.until())
		}
	}
}
