package ajartest_test

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/ajartest"
	"github.com/ajar-access/ajar/broker"
)

func after(d time.Duration) {
	t := time.NewTimer(d)
	<-t.C
	synctest.Wait()
}

func TestAnHourInAPlane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := ajartest.New(t, ajartest.Options{})
		alice := p.User("alice", ajartest.At("Just-in-time Requester", ajar.Root), ajartest.At("Reader", ajar.Root))
		vm := p.Machine("vm1")
		policy := p.Policy("default", vm)
		after(time.Second)
		host := p.Firewall.Host(ajartest.Endpoint(vm))
		from, ssh := netip.MustParseAddr("203.0.113.9"), ajar.Port{Number: 22, Protocol: ajar.TCP}
		if host.Open(from, ssh) {
			t.Fatal("a guarded port is open")
		}
		out := p.Open(alice, policy, vm, 22, "203.0.113.9", time.Hour)
		p.Until(func() bool { return p.Lease(out.Leases[0].ID).State == ajar.Open })
		if !host.Open(from, ssh) {
			t.Fatal("the port is not open")
		}
		p.Crash()
		after(2 * time.Hour)
		if host.Open(from, ssh) {
			t.Fatal("the port is open with the plane dead, past its deadline")
		}
		p.Restart()
		if s := p.Lease(out.Leases[0].ID).State; s != ajar.Closing {
			t.Fatalf("an overdue lease is %s when the first request is served", s)
		}
		p.Until(func() bool { return p.Lease(out.Leases[0].ID).State == ajar.Closed })
		if len(p.Events(ajar.LeaseOpened)) != 1 || len(p.Events(ajar.LeaseClosed)) != 1 {
			t.Fatal("the log does not tell what happened")
		}
	})
}

func TestOutsidersAreRefused(t *testing.T) {
	p := ajartest.New(t, ajartest.Options{})
	mallory := p.User("mallory")
	vm := p.Machine("vm1")
	policy := p.Policy("default", vm)
	if _, err := p.Initiate(mallory, policy, vm, 22, "203.0.113.9", time.Hour); ajar.KindOf(err) != ajar.Forbidden {
		t.Fatalf("refused with %v", err)
	}
	if _, err := p.Broker.PutPolicy(context.Background(), p.Admin(), ajar.Policy{ID: policy}, broker.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	p.Until(func() bool {
		return p.Firewall.Host(ajartest.Endpoint(vm)).Open(netip.MustParseAddr("203.0.113.9"), ajar.Port{Number: 22, Protocol: ajar.TCP})
	})
}
