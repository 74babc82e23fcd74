package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
)

// A provider's listing brings machines in that people can ask for, and takes them out again, with what is open on them.
func TestAProvidersListing(t *testing.T) {
	world := filepath.Join(t.TempDir(), "world.json")
	lists := func(names ...string) {
		t.Helper()
		type listing struct{ Found []ajar.Found }
		var l listing
		for _, n := range names {
			l.Found = append(l.Found, ajar.Found{ID: ajar.ID(strings.TrimSuffix(string(vm), "vm1") + n), Location: "westeurope", Places: []string{n}})
		}
		b, err := json.Marshal(map[ajar.ID]listing{vm.Group(): l})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(world+".new", b, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(world+".new", world); err != nil {
			t.Fatal(err)
		}
	}
	lists("vm1", "vm2")
	p := newMachine(t, "providers: {fake: {listing: "+world+"}}\ndiscovery: {every: 1s}\n").serve()
	admin := p.mustLogin("admin", once.FindString(p.stderr.String()))
	var m client.Target
	until(t, func() (ok bool) {
		var err error
		m, err = admin.Target(t.Context(), vm)
		return err == nil
	})
	if m.Source != "fake" || m.FoundIn != vm.Group() || !m.Missing.IsZero() {
		t.Errorf("got %+v", m)
	}
	p.policy(admin)
	p.open(admin, "192.0.2.1")
	lists("vm2")
	until(t, func() bool { _, err := admin.Target(t.Context(), vm); return ajar.KindOf(err) == ajar.NotFound })
	leases, err := client.Collect(admin.Leases(t.Context(), client.LeaseQuery{}))
	if err != nil || len(leases) != 1 || leases[0].State != ajar.Closed || !leases[0].Unverified {
		t.Errorf("got %+v, %v", leases, err)
	}
	if n := p.metric(`ajar_listing_removed_total{provider="fake"}`); n != "1" {
		t.Errorf("%s machines were removed", n)
	}
}
