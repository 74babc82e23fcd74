package arm

import (
	"errors"
	"testing"

	"github.com/ajar-access/ajar"
)

// One principal's waiting calls are bounded, and keep nobody else from waiting.
func TestWaitersAreBounded(t *testing.T) {
	var n news
	var stops []func()
	for range maxWaiting {
		_, stop, err := n.watch("mallory", "r")
		if err != nil {
			t.Fatal(err)
		}
		stops = append(stops, stop)
	}
	if _, _, err := n.watch("mallory", anyEvent); !errors.Is(err, ajar.TooMany) {
		t.Errorf("one more: %v, want TooMany", err)
	}
	_, stop, err := n.watch("alice", "r")
	if err != nil {
		t.Fatalf("somebody else: %v", err)
	}
	stop()
	for _, stop := range stops {
		stop()
	}
	if len(n.waiting) != 0 || len(n.who) != 0 {
		t.Errorf("left behind: %d requests, %d principals", len(n.waiting), len(n.who))
	}
}
