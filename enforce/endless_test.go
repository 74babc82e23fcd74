package enforce_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/provider/fake"
)

// TestALeaseWithoutAnEndIsToldToNobody: however it came into the store, it is over, and no firewall hears of it, be it by
// a difference or as part of the whole.
func TestALeaseWithoutAnEndIsToldToNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.run()
		ep := r.endpoint("vm1")
		after(0)
		var ids []ajar.LeaseID
		for _, s := range []ajar.LeaseState{ajar.Opening, ajar.Open} {
			for _, m := range []ajar.EndMode{ajar.Cut, ajar.Drain, ajar.Warn} {
				ids = append(ids, r.lease(ep, time.Hour, func(l *ajar.Lease) {
					l.End, l.State, l.Mode = time.Time{}, s, m
					if m != ajar.Cut {
						l.DrainFor = time.Hour
					}
				}))
			}
		}
		good := r.lease(ep, time.Hour)
		told := func(when string) {
			t.Helper()
			after(0)
			if got := r.fw.Host(ep).Rules().Allow; !slices.EqualFunc(got, []ajar.LeaseID{good}, func(a ajar.Rule, id ajar.LeaseID) bool { return a.Lease == id }) {
				t.Errorf("%s the firewall has %+v", when, got)
			}
			for _, id := range ids {
				r.want(id, ajar.Closed, ajar.Expired)
			}
			if troubled := r.ep(ep).Trouble; troubled != "" {
				t.Errorf("%s the endpoint is in trouble: %s", when, troubled)
			}
		}
		told("by a difference")
		r.fw.Host(ep).Set(func(h *fake.Host) { h.Fault.Unreachable = true })
		ids = append(ids, r.lease(ep, time.Hour, func(l *ajar.Lease) { l.End = time.Time{} }))
		after(0)
		r.fw.Host(ep).Set(func(h *fake.Host) { h.Fault = fake.Fault{} })
		after(time.Minute)
		told("by the whole")
	})
}
