package enforce_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ajar-access/ajar"
)

// dues has the endpoints due at a time, as the pass of a loop that died since left them.
func (r *rig) dues(at time.Time, ids ...ajar.EndpointID) {
	r.t.Helper()
	r.update(func(tx ajar.Tx) error {
		for _, id := range ids {
			c, ok, err := tx.Claim(id, r.now(), time.Second, "before")
			if err != nil || !ok {
				return fmt.Errorf("claim %s: %v, %w", id, ok, err)
			}
			if err := tx.Release(c, at, 0); err != nil {
				return err
			}
		}
		return nil
	})
}

// TestOverdueIsClosingAndFirst: when Recover has returned, and no loop runs yet, all that is overdue is durably Closing,
// however much that is, and its endpoints are first in the queue, whatever they were due at and whoever was at work on them.
func TestOverdueIsClosingAndFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		began := r.now()
		var waiting, late []ajar.EndpointID
		for i := range 40 {
			waiting = append(waiting, r.endpoint(ajar.EndpointID(fmt.Sprintf("a-waiting-%02d", i))))
		}
		var over, live []ajar.LeaseID
		for i := range 6 {
			ep := r.endpoint(ajar.EndpointID(fmt.Sprintf("late-%d", i)))
			late = append(late, ep)
			over = append(over, r.leases(ep, time.Minute, 2)...)
			over = append(over, r.lease(ep, 5*time.Minute)) // to the millisecond
			over = append(over, r.lease(ep, time.Minute, func(l *ajar.Lease) { l.State = ajar.Open }))
			over = append(over, r.lease(ep, time.Minute, func(l *ajar.Lease) { l.Mode, l.DrainFor = ajar.Drain, time.Hour }))
			live = append(live, r.lease(ep, 5*time.Minute+time.Millisecond))
		}
		// All is due before now, and what is late comes last: a loop that had no room for it put it off.
		r.dues(began.Add(2*time.Minute), waiting...)
		r.dues(began.Add(time.Hour), late...)
		r.update(func(tx ajar.Tx) error { // the one that died was at work on it
			_, ok, err := tx.Claim(late[0], r.now(), time.Hour, "one")
			if err == nil && !ok {
				err = fmt.Errorf("%s is claimed by somebody", late[0])
			}
			return err
		})
		after(5 * time.Minute)

		r.loop = r.newLoop("one")
		r.loop.Chunk = 2 // some is more than one Update takes
		if err := r.loop.Recover(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, id := range over {
			r.want(id, ajar.Closing, ajar.Expired)
		}
		for _, id := range live {
			r.want(id, ajar.Opening, "")
		}
		first := map[ajar.EndpointID]bool{}
		r.update(func(tx ajar.Tx) error {
			claims, err := tx.ClaimDue(r.now(), len(late), time.Second, "one")
			for _, c := range claims {
				first[c.Endpoint.ID] = true
			}
			return err
		})
		for _, ep := range late {
			if !first[ep] {
				t.Errorf("%s, on which a lease is overdue, is not among the first: %v", ep, first)
			}
		}
	})
}
