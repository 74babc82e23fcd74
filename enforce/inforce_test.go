package enforce_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/provider/fake"
)

// A guard is in force once the firewall was seen to have it, and not before: that is an event, and stands in the store.
func TestGuardIsInForceOnceSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ep := r.endpoint("vm1")
		r.run()
		after(0)
		set := func(change func(*ajar.Endpoint)) {
			r.update(func(tx ajar.Tx) error {
				e, err := ajar.Get[ajar.Endpoint](tx, string(ep))
				if err != nil {
					return err
				}
				change(e)
				e.GuardsSet++
				return tx.Put(e)
			}, ep)
		}
		pending := func(want bool, events int) {
			t.Helper()
			if got := r.ep(ep).GuardsPending(); got != want {
				t.Errorf("pending: %v, want %v", got, want)
			}
			count(t, r.events(ajar.GuardInForce), events)
		}
		rdp := ajar.EndpointGuard{Flow: ajar.Flow{Port: ajar.Port{Number: 3389, Protocol: ajar.TCP}}, Policies: []ajar.ID{"/p"}}
		r.fw.Host(ep).Set(func(h *fake.Host) { h.Fault.Unreachable = true })
		set(func(e *ajar.Endpoint) { e.Guards = append(e.Guards, rdp) })
		after(time.Minute)
		pending(true, 0)
		r.fw.Host(ep).Set(func(h *fake.Host) { h.Fault.Unreachable = false })
		after(time.Hour)
		pending(false, 1)
		if e := r.events(ajar.GuardInForce)[0]; e.Details["ports"] != "22/TCP, 3389/TCP" || e.Scope != machine("vm1") {
			t.Errorf("the event: %+v", e)
		}
		r.lease(ep, time.Minute) // which is nothing to the guards
		after(time.Hour)
		pending(false, 1)
		set(func(e *ajar.Endpoint) { e.Guards = nil })
		after(time.Second)
		pending(false, 2)
	})
}
