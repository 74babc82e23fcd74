package enforce_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/provider/fake"
)

func outliving(a ajar.Action, id ajar.LeaseID, live int, cut string, from ...string) ajar.Report {
	s := &ajar.Sessions{Live: live, Cut: cut}
	for _, f := range from {
		s.Peers = append(s.Peers, ajar.Peer{Addr: netip.MustParseAddrPort(f)})
	}
	return ajar.Report{Action: a, Lease: id, Sessions: s}
}

func warns(l *ajar.Lease) { l.Mode, l.DrainFor = ajar.Warn, time.Hour }

func TestSessionsThatOutliveALeaseAreEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.run()
		ep := r.endpoint("vm1")
		id := r.lease(ep, time.Minute, warns)
		after(time.Minute + time.Second)
		r.want(id, ajar.Closing, ajar.Expired)
		h := r.fw.Host(ep)
		for range 3 { // a host may say it again
			h.Say(outliving(ajar.SessionsOutlive, id, 2, "", "10.0.0.1:4000", "10.9.9.9:1"))
			after(time.Second)
		}
		es := r.events(ajar.SessionsOutlive)
		count(t, es, 1)
		if e := es[0]; e.Details["sessions"] != "2" || e.Details["peers"] != "10.0.0.1:4000" || e.Lease != id || e.Request != "request" || !strings.Contains(e.Message, "2 sessions go on until") {
			t.Errorf("event %+v", e)
		}
		if n := r.get(id).LiveOn(r.now()); n != 2 {
			t.Errorf("%d sessions live on, want 2", n)
		}
		for range 2 {
			h.Say(outliving(ajar.SessionsOver, id, 0, ""))
			after(time.Second)
		}
		count(t, r.events(ajar.SessionsOver), 1)
		if n := r.get(id).LiveOn(r.now()); n != 0 {
			t.Errorf("%d sessions live on, want none", n)
		}
		r.want(id, ajar.Closing, ajar.Expired) // new sessions are not let in, and live ones might be
		after(time.Hour)
		r.want(id, ajar.Closed, ajar.Expired)
	})
}

// What is closed by hand has no sessions left once its rule was seen to be gone.
func TestNothingLivesOnWhenTheRuleIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.run()
		ep := r.endpoint("vm1")
		id := r.lease(ep, time.Minute, warns)
		after(2 * time.Minute)
		r.fw.Host(ep).Say(outliving(ajar.SessionsOutlive, id, 1, ""))
		after(time.Second)
		r.fw.Host(ep).Set(func(h *fake.Host) { h.Fault.Unreachable = true })
		r.change(func(l *ajar.Lease) error { l.Reason = ajar.Revoked; return nil }, id)
		after(time.Second)
		if n := r.want(id, ajar.Closing, ajar.Revoked).LiveOn(r.now()); n != 1 {
			t.Errorf("%d live on while the host cannot be told, want 1", n)
		}
		r.fw.Host(ep).Set(func(h *fake.Host) { h.Fault.Unreachable = false })
		after(time.Minute)
		if n := r.want(id, ajar.Closed, ajar.Revoked).LiveOn(r.now()); n != 0 {
			t.Errorf("%d live on when the rule is gone, want none", n)
		}
	})
}

// A host that could not hear of the confirmation lifts what the plane has as confirmed: that is news.
func TestRollBackThatThePlaneDidNotWantIsAnEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.run()
		ep := r.endpoint("vm1")
		r.fw.Host(ep).Say(ajar.Report{Action: ajar.GuardRolledBack, Look: true, Details: map[string]string{"port": ssh.String(), "confirmBy": "2026-11-20T10:00:00Z"}})
		after(time.Second)
		count(t, r.events(ajar.GuardRolledBack), 1)
	})
}

// A host that nobody hears of any longer leaves nothing shown as alive past the hard stop.
func TestNothingLivesOnPastTheHardStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.run()
		ep := r.endpoint("vm1")
		id := r.lease(ep, time.Minute, warns)
		after(2 * time.Minute)
		r.fw.Host(ep).Say(outliving(ajar.SessionsOutlive, id, 1, ""))
		after(time.Hour)
		if l := r.want(id, ajar.Closed, ajar.Expired); l.Outlived == nil || l.LiveOn(r.now()) != 0 {
			t.Errorf("%+v, %d live on", l.Outlived, l.LiveOn(r.now()))
		}
		r.fw.Host(ep).Say(outliving(ajar.SessionsOver, id, 1, "cut at the hard stop")) // heard late
		after(time.Second)
		es := r.events(ajar.SessionsOver)
		count(t, es, 1)
		if !strings.Contains(es[0].Message, "1 session was left, cut at the hard stop") {
			t.Errorf("message %q", es[0].Message)
		}
	})
}

func TestAHostCannotTellOfLeasesThatAreNotItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.run()
		ep, other := r.endpoint("vm1"), r.endpoint("vm2")
		warn, cut, live := r.lease(ep, time.Minute, warns), r.lease(ep, time.Minute), r.lease(ep, time.Hour, warns)
		after(2 * time.Minute)
		r.fw.Host(other).Say(outliving(ajar.SessionsOutlive, warn, 1, "")) // another's
		h := r.fw.Host(ep)
		h.Say(outliving(ajar.SessionsOutlive, cut, 1, ""))                       // whose mode lets nothing go on
		h.Say(outliving(ajar.SessionsOutlive, live, 1, ""))                      // that has not ended
		h.Say(outliving(ajar.SessionsOutlive, "lease-9999", 1, ""))              // that there is not
		h.Say(outliving(ajar.SessionsOver, warn, 0, ""))                         // that nobody outlived
		h.Say(outliving(ajar.SessionsOutlive, warn, 0, ""))                      // likewise
		h.Say(ajar.Report{Action: ajar.SessionsOutlive, Lease: warn})            // nothing said
		h.Say(ajar.Report{Action: ajar.SessionsOver, Lease: warn, Message: "x"}) // nothing said
		after(time.Second)
		count(t, r.events(ajar.SessionsOutlive), 0)
		count(t, r.events(ajar.SessionsOver), 0)
		var many []string
		for i := range 3 * ajar.MaxPeers {
			many = append(many, fmt.Sprintf("10.0.0.1:%d", 1000+i))
		}
		h.Say(outliving(ajar.SessionsOutlive, warn, len(many), "", many...))
		after(time.Second)
		if l := r.get(warn); len(l.Outlived.Peers) != ajar.MaxPeers {
			t.Errorf("%d peers are kept, want %d", len(l.Outlived.Peers), ajar.MaxPeers)
		}
	})
}
