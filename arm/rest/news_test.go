package rest

import (
	"errors"
	"testing"

	"github.com/ajar-access/ajar"
)

// One principal's waiting calls are bounded, and keep nobody else from waiting.
func TestWaitersAreBounded(t *testing.T) {
	var n News
	var stops []func()
	for range maxWaiting {
		_, stop, err := n.Watch("mallory", "r")
		if err != nil {
			t.Fatal(err)
		}
		stops = append(stops, stop)
	}
	if _, _, err := n.Follow("mallory", ajar.EventFilter{}); !errors.Is(err, ajar.TooMany) {
		t.Errorf("one more: %v, want TooMany", err)
	}
	_, stop, err := n.Watch("alice", "r")
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

// Whoever follows the log with a filter sleeps through what is not for them.
func TestFollowersAreWokenByWhatTheyFollow(t *testing.T) {
	s := new(Server)
	woken := func(f ajar.EventFilter, events ...ajar.Event) bool {
		t.Helper()
		ch, stop, err := s.News.Follow("alice", f)
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
		s.Logged(events)
		return len(ch) == 1
	}
	mine := ajar.Event{Action: ajar.LeaseOpened, Outcome: ajar.Happened, Scope: "/subscriptions/s/resourceGroups/a/x", Caller: "alice", Corr: "c", Request: "r"}
	other := ajar.Event{Action: ajar.HostSkew, Outcome: ajar.Refused, Caller: "bob"}
	for what, f := range map[string]ajar.EventFilter{
		"scope": {Scope: "/SUBSCRIPTIONS/s/resourcegroups/A"}, "caller": {Caller: "ALICE"}, "action": {Action: "ajar.access/leases/OPENED"},
		"outcome": {Outcome: ajar.Happened}, "correlation": {Corr: "c"}, "request": {Request: "R"},
	} {
		if !woken(f, other, mine) {
			t.Errorf("%s: slept through its own", what)
		}
		if woken(f, other) {
			t.Errorf("%s: woken by another's", what)
		}
	}
	for _, f := range []ajar.EventFilter{{}, {Scope: ajar.Root}} {
		if !woken(f, other) || woken(f) {
			t.Errorf("%+v follows everything, and is not woken by nothing", f)
		}
	}
}
