package ajar

import (
	"errors"
	"strings"
	"testing"
)

const vm1 ID = "/subscriptions/487BB485-b5b0-471e-9c0d-10717612f869/resourceGroups/Ops/providers/Microsoft.Compute/virtualMachines/Vm1"

func TestIDCoversWholeSegmentsWithoutRegardToCase(t *testing.T) {
	covers := func(want bool, s, t2 ID) {
		t.Helper()
		if got := s.Covers(t2); got != want {
			t.Errorf("%q covers %q = %v", s, t2, got)
		}
	}
	covers(true, Root, vm1)
	covers(true, vm1, vm1)
	covers(true, "/subscriptions/487bb485-B5B0-471e-9c0d-10717612f869/resourcegroups/ops", vm1)
	covers(true, "/SUBSCRIPTIONS/487bb485-b5b0-471e-9c0d-10717612f869", vm1)
	covers(false, "/subscriptions/487bb485-b5b0-471e-9c0d-10717612f869/resourceGroups/op", vm1)
	covers(false, vm1, vm1.Group())
	covers(false, "", vm1)
	covers(false, Root, "")
}

func TestIDParts(t *testing.T) {
	policy := ID("/subscriptions/s/resourceGroups/Ops/providers/Microsoft.Security/locations/WestEurope/jitNetworkAccessPolicies/default")
	equal := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s = %q, want %q", what, got, want)
		}
	}
	equal("subscription", vm1.Subscription(), "487BB485-b5b0-471e-9c0d-10717612f869")
	equal("group name", vm1.ResourceGroup(), "Ops")
	equal("group", string(policy.Group()), "/subscriptions/s/resourceGroups/Ops")
	equal("name", vm1.Name(), "Vm1")
	equal("type", vm1.Type(), "Microsoft.Compute/virtualMachines")
	equal("type of a child", policy.Type(), "Microsoft.Security/locations/jitNetworkAccessPolicies")
	equal("location", policy.Location(), "WestEurope")
	equal("type of a group", policy.Group().Type(), "")
	if !vm1.IsMachine() || policy.IsMachine() || (vm1 + "/extensions/x").IsMachine() {
		t.Error("IsMachine is wrong")
	}
	if (policy + "/providers/Microsoft.Compute/virtualMachines/Vm1").IsMachine() {
		t.Error("what only ends like a machine is one")
	}
}

func TestHostileIDsAreRefused(t *testing.T) {
	for _, s := range []string{"", "x", "//", "/a//b", "/a/../b", "/a/./b", "/a/b\x00", "/a/b\n", "/a/b?c", "/a/b#c", "/a/%2e", `/a\b`, "/a/\xff", "/" + strings.Repeat("a", 2000), strings.Repeat("/a", 40)} {
		if id, err := ParseID(s); !errors.Is(err, Invalid) {
			t.Errorf("ParseID(%.40q) = %q, %v; want Invalid", s, id, err)
		}
	}
	for _, s := range []string{"/", "/a", "/a/", string(vm1), "/subscriptions/s/resourceGroups/ö (1)"} {
		if _, err := ParseID(s); err != nil {
			t.Errorf("ParseID(%q): %v", s, err)
		}
	}
}

func FuzzParseID(f *testing.F) {
	f.Add(string(vm1))
	f.Add("/a/../b")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseID(s)
		if err != nil {
			if KindOf(err) != Invalid {
				t.Fatalf("kind %s", KindOf(err))
			}
			return
		}
		if again, err := ParseID(string(id)); err != nil || again != id {
			t.Fatalf("%q does not parse to itself: %q, %v", id, again, err)
		}
		if !id.Covers(id) || !Root.Covers(id) {
			t.Fatalf("%q is not covered by itself and the root", id)
		}
		_, _, _ = id.Type(), id.Name(), id.Group()
	})
}
