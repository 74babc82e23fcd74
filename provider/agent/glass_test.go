package agent

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ajar-access/ajar"
)

var glass = BreakGlass{Port: ssh.Port, From: netip.MustParsePrefix("198.51.100.9/32"), For: 10 * time.Minute, Reason: "plane down", User: "root"}

func TestBreakGlassStandsBesideThePlane(t *testing.T) {
	p, m := running(t)
	end := p.now().Add(time.Hour)
	r, err := m.BreakGlass(t.Context(), glass)
	if err != nil {
		t.Fatal(err)
	}
	if !isBreakGlass(r.Lease) || time.Until(r.Expires) > glass.For+time.Second {
		t.Errorf("opened: %+v", r)
	}
	if e := p.report(ajar.BreakGlass); e.Details["reason"] != "plane down" || e.Details["source"] != "198.51.100.9/32" || e.Details["user"] != "root" {
		t.Errorf("reported: %+v", e)
	}
	m.whole(2, guarding(ssh), rule("a", end))
	m.change(ajar.Delta{Base: 2, Rev: 3, Drop: []ajar.LeaseID{r.Lease}, Put: []ajar.Rule{rule(r.Lease, end)}})
	wantOpen(t, m, "a", r.Lease)
	if got := m.mem.openAt(m.bootNow() + glass.For); slices.Contains(got, r.Lease) {
		t.Error("the plane made it longer")
	}
	got, err := p.hub.Observe(t.Context(), m.at())
	if err != nil || len(got.Allow) != 1 {
		t.Errorf("the plane sees %v %v, want a alone", got.Allow, err)
	}
	m.halt()
	m.start()
	wantOpen(t, m, "a", r.Lease)
	if s := m.Status(t.Context()); len(s.Open) != 2 || s.Open[0].Lease != r.Lease {
		t.Errorf("status shows %v", s.Open)
	}
}

func TestBreakGlassWithoutThePlaneIsDeliveredLater(t *testing.T) {
	p, m := running(t)
	p.stop()
	m.await(false)
	r, err := m.BreakGlass(t.Context(), glass)
	if err != nil {
		t.Fatal(err)
	}
	wantOpen(t, m, r.Lease)
	m.halt()
	m.start()
	p.start(p.addr)
	if e := p.report(ajar.BreakGlass); e.Endpoint != "web" || e.Details["lease"] != string(r.Lease) {
		t.Errorf("delivered: %+v", e)
	}
	until(t, "the journal is empty", func() bool { return m.journal.waiting() == 0 })
}

func TestReportsWaitForADurablePlane(t *testing.T) {
	p, m := running(t)
	p.mu.Lock()
	p.recfail = true
	p.mu.Unlock()
	if _, err := m.BreakGlass(t.Context(), glass); err != nil {
		t.Fatal(err)
	}
	p.hub.Cut("web")
	m.await(false)
	m.await(true)
	if m.journal.waiting() != 1 {
		t.Error("forgotten before the plane had it")
	}
	p.mu.Lock()
	p.recfail = false
	p.mu.Unlock()
	p.report(ajar.BreakGlass)
	until(t, "the journal is empty", func() bool { return m.journal.waiting() == 0 })
}

// TestReportsAreSentAgainWhereThePlaneHadNoRoom: over the same connection, and without waiting for ever.
func TestReportsAreSentAgainWhereThePlaneHadNoRoom(t *testing.T) {
	p, m := running(t)
	p.mu.Lock()
	p.recfail = true
	p.mu.Unlock()
	for p.hub.news.add(item{report: ajar.Report{Endpoint: "web"}}) {
	}
	since, _ := p.hub.Connected("web")
	if _, err := m.BreakGlass(t.Context(), glass); err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	p.recfail = false
	p.mu.Unlock()
	p.report(ajar.BreakGlass)
	until(t, "the journal is empty", func() bool { return m.journal.waiting() == 0 })
	if at, up := p.hub.Connected("web"); !up || !at.Equal(since) {
		t.Error("the host had to connect again")
	}
}

func TestBreakGlassNotWrittenDownDoesNotHappen(t *testing.T) {
	_, m := running(t)
	m.journal.mu.Lock()
	m.journal.file.Close()
	m.journal.path = filepath.Join(m.dir, "no", "such", "directory")
	m.journal.mu.Unlock()
	for range 2 {
		if _, err := m.BreakGlass(t.Context(), glass); !errors.Is(err, ajar.Unavailable) {
			t.Errorf("break-glass on a full disk: %v, want Unavailable", err)
		}
	}
	wantOpen(t, m)
}

func TestBreakGlassIsSwitchedOffByThePlane(t *testing.T) {
	p, m := running(t)
	p.mu.Lock()
	p.settings = Settings{NoBreakGlass: true, By: "policy /p"}
	p.mu.Unlock()
	m.whole(1, guarding(ssh)) // what the loop does when a policy changed
	until(t, "the host knows", func() bool { return !m.Status(t.Context()).BreakGlass })
	p.stop()
	m.halt()
	m.start() // and remembers
	if _, err := m.BreakGlass(t.Context(), glass); !errors.Is(err, ajar.Forbidden) || !strings.Contains(err.Error(), "off on this host by policy /p") {
		t.Errorf("break-glass where policy forbids it: %v, want Forbidden and by whom", err)
	}
	wantOpen(t, m)
	if s := m.Status(t.Context()); s.GlassOffBy != "policy /p" {
		t.Errorf("the status says it is off by %q", s.GlassOffBy)
	}
	p.mu.Lock()
	p.settings = Settings{}
	p.mu.Unlock()
	p.start(p.addr) // and hears of the opposite when it comes back
	until(t, "the host knows", func() bool { return m.Status(t.Context()).BreakGlass })
	if _, err := m.BreakGlass(t.Context(), glass); err != nil {
		t.Error(err)
	}
}

func TestBreakGlassAsksForSense(t *testing.T) {
	_, m := running(t)
	for name, bend := range map[string]func(*BreakGlass){
		"two hours":     func(b *BreakGlass) { b.For = 2 * time.Hour },
		"no time":       func(b *BreakGlass) { b.For = 0 },
		"negative time": func(b *BreakGlass) { b.For = -time.Minute },
		"everybody":     func(b *BreakGlass) { b.From = netip.MustParsePrefix("0.0.0.0/0") },
		"nobody":        func(b *BreakGlass) { b.From = netip.Prefix{} },
		"no reason":     func(b *BreakGlass) { b.Reason = " " },
		"long reason":   func(b *BreakGlass) { b.Reason = strings.Repeat("x", 1001) },
		"port 0":        func(b *BreakGlass) { b.Port.Number = 0 },
		"no protocol":   func(b *BreakGlass) { b.Port.Protocol = "SCTP" },
	} {
		b := glass
		bend(&b)
		if _, err := m.BreakGlass(t.Context(), b); !errors.Is(err, ajar.Invalid) {
			t.Errorf("%s: %v, want Invalid", name, err)
		}
	}
	wantOpen(t, m)
	if m.journal.waiting() != 0 {
		t.Error("what was refused was journalled")
	}
}

// alone is a host without a plane, with clocks of the bubble that it runs in.
func alone(t *testing.T) *machine {
	m := &machine{t: t, dir: t.TempDir(), boot: time.Now(), bootID: "boot-1"}
	m.build()
	if err := m.Open(); err != nil {
		t.Fatal(err)
	}
	m.Clock.Sample(m.bootNow(), time.Now())
	return m
}

func (m *machine) told(kind string, o order) error {
	for i := range o.Put {
		o.Put[i] = timed([]ajar.Rule{o.Put[i].Rule}, time.Now())[0]
	}
	return m.obey(context.Background(), "hub", &message{Type: kind, Time: time.Now(), Order: &o})
}

func TestUnconfirmedGuardIsLiftedWithoutThePlane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := alone(t)
		by := time.Now().Add(5 * time.Minute)
		gs := []ajar.Guard{{Flow: ssh}, {Flow: rdp, ConfirmBy: by}}
		if err := m.told(typeWhole, order{Rev: 1, Guard: &gs}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- m.Run(ctx) }()
		guard := func() int { got, _ := m.mem.Observe(ctx, ajar.Endpoint{}); return len(got.Guard) }
		<-time.After(5*time.Minute - time.Millisecond)
		synctest.Wait()
		if guard() != 2 {
			t.Errorf("%d flows guarded before the time, want 2", guard())
		}
		<-time.After(2 * time.Millisecond)
		synctest.Wait()
		if guard() != 1 {
			t.Errorf("%d flows guarded after the time, want 1", guard())
		}
		if n, ok := m.journal.next(); !ok || n.Action != ajar.GuardRolledBack || n.Details["port"] != "3389/TCP" {
			t.Errorf("journalled: %+v", n)
		}
		if err := m.told(typeWhole, order{Rev: 2, Guard: &gs}); err != nil { // a plane that is late
			t.Fatal(err)
		}
		if guard() != 1 {
			t.Error("a guard past its time was laid again")
		}
		cancel()
		<-done
		m.Close()
	})
}

func TestConfirmedGuardStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := alone(t)
		gs := []ajar.Guard{{Flow: ssh, ConfirmBy: time.Now().Add(time.Minute)}}
		if err := m.told(typeWhole, order{Rev: 1, Guard: &gs}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- m.Run(ctx) }()
		<-time.After(30 * time.Second)
		sure := guarding(ssh)
		if err := m.told(typeDelta, order{Base: 1, Rev: 2, Guard: &sure}); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Hour)
		synctest.Wait()
		if got, _ := m.mem.Observe(ctx, ajar.Endpoint{}); len(got.Guard) != 1 {
			t.Error("a confirmed guard was lifted")
		}
		cancel()
		<-done
		m.Close()
	})
}

// TestGuardUnconfirmedThroughARestart lets the agent be dead when the time comes.
func TestGuardUnconfirmedThroughARestart(t *testing.T) {
	p, m := running(t)
	gs := []ajar.Guard{{Flow: ssh}, {Flow: rdp, ConfirmBy: p.now().Add(200 * time.Millisecond)}}
	m.change(ajar.Delta{Base: 1, Rev: 2, Guard: &gs})
	p.stop()
	m.halt()
	due := time.After(220 * time.Millisecond)
	<-due
	m.start()
	got, _ := m.mem.Observe(t.Context(), ajar.Endpoint{})
	if len(got.Guard) != 1 || got.Guard[0].Flow != ssh {
		t.Errorf("guard is %v, want ssh alone", got.Guard)
	}
	p.start(p.addr)
	if r := p.report(ajar.GuardRolledBack); r.Details["port"] != "3389/TCP" || !r.Look {
		t.Errorf("reported: %+v", r)
	}
}

func TestLeave(t *testing.T) {
	p, m := running(t)
	m.change(ajar.Delta{Base: 1, Rev: 2, Put: []ajar.Rule{rule("a", p.now().Add(time.Hour))}})
	if err := os.WriteFile(filepath.Join(m.dir, identityFile+half), []byte("a key"), 0o600); err != nil { // of an agent that was killed
		t.Fatal(err)
	}
	a, b := net.Pipe()
	c := &Control{Host: m.Host, Admit: func(net.Conn) (string, error) { return "root", nil }}
	go c.serve(t.Context(), b)
	answer, err := AskAgent(t.Context(), a, ControlAsk{Do: AskLeave})
	if err != nil || answer.Untold != "" {
		t.Fatalf("%v, untold %q", err, answer.Untold)
	}
	if got, _ := m.mem.Observe(t.Context(), ajar.Endpoint{}); len(got.Guard)+len(got.Allow) != 0 {
		t.Errorf("left behind: %v", got)
	}
	if err := <-m.done; err != nil {
		t.Errorf("run ended with %v", err)
	}
	m.done <- nil
	for _, f := range []string{identityFile, identityFile + half, ledgerFile, journalFile} {
		if _, err := os.Stat(filepath.Join(m.dir, f)); err == nil {
			t.Errorf("%s is still there", f)
		}
	}
	if p.mu.Lock(); !slices.Equal(p.left, []ajar.EndpointID{"web"}) {
		t.Errorf("the plane heard of %v", p.left)
	}
	p.mu.Unlock()
}

func TestLeaveWhileThePlaneIsAway(t *testing.T) {
	p, m := running(t)
	p.stop()
	m.await(false)
	untold, err := m.Leave(t.Context(), 0)
	if err != nil || untold == nil {
		t.Errorf("left with %v, untold %v", err, untold)
	}
	if got, _ := m.mem.Observe(t.Context(), ajar.Endpoint{}); len(got.Guard) != 0 {
		t.Errorf("left behind: %v", got)
	}
}

// What happened on a host and is not with the plane is waited for, and leaving is refused rather than that it is lost.
func TestLeavingLosesNothingThatHappened(t *testing.T) {
	p, m := running(t)
	p.mu.Lock()
	p.recfail = true // the plane is there and has no room
	p.mu.Unlock()
	if _, err := m.BreakGlass(t.Context(), glass); err != nil {
		t.Fatal(err)
	}
	p.stop()
	m.await(false)
	refused := func(kept int) {
		t.Helper()
		_, err := m.Leave(t.Context(), kept)
		if e := (*ajar.Error)(nil); !errors.As(err, &e) || e.Code != NotesUntold {
			t.Fatalf("leaving with %d notes kept: got %v, want a refusal", kept, err)
		}
		if got, _ := m.mem.Observe(t.Context(), ajar.Endpoint{}); len(got.Guard) != 1 || m.journal.waiting() == 0 || !m.Status(t.Context()).Joined {
			t.Fatal("it has left all the same")
		}
	}
	refused(0)
	notes, err := m.Notes()
	if err != nil || len(notes) != 1 || !bytes.Contains(notes[0], []byte(ajar.BreakGlass)) {
		t.Errorf("notes: %s, %v", notes, err)
	}
	if _, err := m.BreakGlass(t.Context(), glass); err != nil {
		t.Fatal(err)
	}
	refused(1) // of another one nobody has taken care
	p.mu.Lock()
	p.recfail = false
	p.mu.Unlock()
	p.start(p.addr)
	until(t, "the host knows that it is connected", func() bool { return m.Status(t.Context()).Connected })
	if untold, err := m.Leave(t.Context(), 0); err != nil || untold != nil {
		t.Errorf("left with %v, untold %v", err, untold)
	}
	p.report(ajar.BreakGlass)
	p.report(ajar.BreakGlass)
}

func TestControlAdmitsNobodyElse(t *testing.T) {
	_, m := running(t)
	a, b := net.Pipe()
	c := &Control{Host: m.Host, Admit: func(net.Conn) (string, error) { return "", ajar.Errorf(ajar.Forbidden, "no") }}
	go c.serve(t.Context(), b)
	go a.Write([]byte(`{"do":"leave"}` + "\n"))
	got := make([]byte, 4096)
	n, _ := a.Read(got)
	if !bytes.Contains(got[:n], []byte("Forbidden")) {
		t.Errorf("answered %s", got[:n])
	}
	if m.Status(t.Context()).Joined == false {
		t.Error("it left all the same")
	}
}

func TestStatusTells(t *testing.T) {
	p, m := running(t)
	m.mem.mu.Lock()
	m.mem.refused = []ajar.Refusal{{Source: netip.MustParseAddr("203.0.113.5"), Port: ssh.Port, At: noon}}
	m.mem.mu.Unlock()
	m.change(ajar.Delta{Base: 1, Rev: 2, Put: []ajar.Rule{rule("a", p.now().Add(time.Hour))}})
	s := m.Status(t.Context())
	if !s.Connected || !s.Joined || len(s.Guarded) != 1 || len(s.Open) != 1 || len(s.Host.Refused) != 1 || s.SkewMS == nil || s.Heard.IsZero() || s.CertExpires.IsZero() {
		t.Errorf("%+v", s)
	}
	rs, err := p.hub.Refused(t.Context(), "web")
	if err != nil || len(rs) != 1 {
		t.Errorf("the plane is told of %v %v", rs, err)
	}
	m.halt()
	off, err := m.build().ReadStatus()
	if err != nil || off.Running || len(off.Guarded) != 1 || len(off.Open) != 1 || off.Endpoint != "web" {
		t.Errorf("without an agent: %+v %v", off, err)
	}
}
