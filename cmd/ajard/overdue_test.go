package main

import (
	"context"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/store"
)

// TestOverdueIsClosingBeforeTheFirstRequest: a lease ended while no plane ran, and its endpoint is held by a replica that
// may be dead, so that no loop gets at it. When the plane serves, the lease is Closing all the same, and durably.
func TestOverdueIsClosingBeforeTheFirstRequest(t *testing.T) {
	m := newMachine(t, "")
	const (
		vm ajar.ID      = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/lab/providers/Microsoft.Compute/virtualMachines/vm1"
		id ajar.LeaseID = "11111111-1111-1111-1111-000000000001"
	)
	open := func() *store.Store {
		t.Helper()
		s, err := store.Open(t.Context(), "sqlite:"+filepath.Join(m.dir, "ajar.db"), store.Options{Clock: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	now := time.Now().UTC().Truncate(time.Millisecond)
	err := s.Update(t.Context(), func(tx ajar.Tx) error {
		if err := tx.Put(&ajar.Endpoint{ID: "ep", Provider: "agent", Target: vm}); err != nil {
			return err
		}
		if err := tx.Put(&ajar.Lease{
			ID: id, Request: "11111111-1111-1111-1111-000000000002", Policy: "/p", Target: vm, Endpoint: "ep", Requester: "somebody", Name: "somebody",
			Flow: ajar.Flow{Port: ajar.Port{Number: 22, Protocol: ajar.TCP}}, Sources: []netip.Prefix{netip.MustParsePrefix("203.0.113.7/32")},
			Start: now.Add(-time.Hour), End: now.Add(-time.Minute), Max: time.Hour, Mode: ajar.Cut, State: ajar.Open,
		}); err != nil {
			return err
		}
		_, _, err := tx.Claim("ep", now, time.Hour, "another")
		return err
	})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	m.serve().end()
	s = open()
	defer s.Close()
	err = s.View(context.Background(), func(tx ajar.Tx) error {
		l, err := ajar.Get[ajar.Lease](tx, string(id))
		if err == nil && (l.State != ajar.Closing || l.Reason != ajar.Expired) {
			t.Errorf("the lease is %s %s", l.State, l.Reason)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
