package agent

import (
	"net/netip"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
)

// warning is an opening of ssh for alice whose sessions may outlive it.
func warning(id ajar.LeaseID, end time.Time, spare time.Duration) ajar.Rule {
	r := rule(id, end)
	r.HardStop = r.Expires.Add(spare)
	return r
}

func session(from string) ajar.Connection {
	return ajar.Connection{Port: ssh.Port, Local: netip.MustParseAddrPort("198.51.100.1:22"), Remote: netip.MustParseAddrPort(from)}
}

func wantSessions(t *testing.T, r ajar.Report, lease ajar.LeaseID, live int, cut string) {
	t.Helper()
	if r.Lease != lease || r.Sessions == nil || r.Sessions.Live != live || r.Sessions.Cut != cut {
		t.Errorf("report of %s: %+v, want lease %s with %d sessions, cut %q", r.Action, r.Sessions, lease, live, cut)
	}
}

func TestSessionsThatOutliveALeaseAreReportedOnce(t *testing.T) {
	p := newPlane(t)
	m := newMachine(t, p, "web")
	m.start()
	m.await(true)
	m.mem.connect(session("192.0.2.7:4000"), session("192.0.2.7:4001"), session("203.0.113.9:5000"))
	m.whole(1, guarding(ssh), warning("a", p.now().Add(300*time.Millisecond), time.Hour))
	r := p.report(ajar.SessionsOutlive)
	wantSessions(t, r, "a", 2, "")
	if len(r.Sessions.Peers) != 2 || r.Sessions.Peers[0].Addr != netip.MustParseAddrPort("192.0.2.7:4000") {
		t.Errorf("peers %v", r.Sessions.Peers)
	}
	// A new agent finds them again and does not say it twice; it hears of their end.
	until(t, "the plane's answer came", func() bool { return m.journal.waiting() == 0 })
	m.halt()
	m.await(false)
	m.start()
	m.await(true)
	m.mem.connect(session("203.0.113.9:5000"))
	poke(m.ends)
	for {
		r := <-p.reports
		if r.Action == ajar.SessionsOutlive {
			t.Fatal("told twice")
		}
		if r.Action == ajar.SessionsOver {
			wantSessions(t, r, "a", 0, "")
			break
		}
	}
}

func TestSessionsThatOutliveALeaseWhileThePlaneIsAway(t *testing.T) {
	p := newPlane(t)
	m := newMachine(t, p, "web")
	m.start()
	m.await(true)
	m.mem.connect(session("192.0.2.7:4000"))
	m.whole(1, guarding(ssh), warning("a", p.now().Add(time.Second), 2*time.Second))
	p.stop()
	until(t, "both were journalled", func() bool { // unless this machine was so slow that the first came through
		return m.journal.waiting() == 2 || len(p.reports) > 0 && m.journal.waiting() > 0
	})
	p.start(p.addr)
	wantSessions(t, p.report(ajar.SessionsOutlive), "a", 1, "")
	wantSessions(t, p.report(ajar.SessionsOver), "a", 1, "cut at the hard stop")
}

func TestSessionsThatWereLeftAloneWhileNoAgentRan(t *testing.T) {
	p := newPlane(t)
	m := newMachine(t, p, "web")
	m.start()
	m.await(true)
	m.mem.connect(session("192.0.2.7:4000"))
	end := p.now().Add(200 * time.Millisecond)
	m.whole(1, guarding(ssh), warning("a", end, time.Hour))
	m.halt()
	until(t, "the lease ended", func() bool { return p.now().After(end.Add(settleTime)) })
	m.start()
	wantSessions(t, p.report(ajar.SessionsOutlive), "a", 1, "")
}

func TestNobodyOutlivesALeaseThatCutsOrThatAnotherCovers(t *testing.T) {
	p := newPlane(t)
	m := newMachine(t, p, "web")
	m.start()
	m.await(true)
	m.mem.connect(session("192.0.2.7:4000"))
	now := p.now()
	// c tells that the others were looked at: its end is the last.
	m.whole(1, guarding(ssh), rule("cuts", now.Add(200*time.Millisecond)), warning("covered", now.Add(200*time.Millisecond), time.Hour),
		warning("c", now.Add(3*time.Second), time.Hour))
	wantSessions(t, p.report(ajar.SessionsOutlive), "c", 1, "")
	m.change(ajar.Delta{Base: 1, Rev: 2, Drop: []ajar.LeaseID{"c"}})
	poke(m.ends)
	wantSessions(t, p.report(ajar.SessionsOver), "c", 1, "cut before the hard stop")
}

func TestWhatAHostSaysOfSessionsIsBounded(t *testing.T) {
	n := note{Action: ajar.SessionsOutlive, Lease: "a", Sessions: &ajar.Sessions{Live: -5, Peers: make([]ajar.Peer, 1000), Cut: "\x1b[2J"}}
	got, ok := n.vetted()
	if !ok || got.Sessions.Live != 0 || len(got.Sessions.Peers) != ajar.MaxPeers || got.Sessions.Cut != "[2J" {
		t.Errorf("%v %+v", ok, got.Sessions)
	}
}
