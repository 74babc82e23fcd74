package agent

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
)

func (p *plane) ask(token string) JoinAsk {
	return JoinAsk{Dir: filepath.Join(p.t.TempDir(), "state"), Server: p.addr, CAHash: p.ca.hash(), Token: token, Clock: time.Now}
}

func TestTokensWorkOnce(t *testing.T) {
	p := newPlane(t)
	tok := p.token("web")
	if ep, err := Join(t.Context(), p.ask(tok)); err != nil || ep != "web" {
		t.Fatalf("first join: %s %v", ep, err)
	}
	ask := p.ask(tok)
	if _, err := Join(t.Context(), ask); !errors.Is(err, ajar.Forbidden) {
		t.Errorf("second join with one token: %v, want Forbidden", err)
	}
	if _, err := os.Stat(filepath.Join(ask.Dir, identityFile)); err == nil {
		t.Error("a refused join left an identity")
	}
}

func TestJoiningTwiceNeedsReplace(t *testing.T) {
	p := newPlane(t)
	ask := p.ask(p.token("web"))
	if _, err := Join(t.Context(), ask); err != nil {
		t.Fatal(err)
	}
	ask.Token = p.token("web")
	if _, err := Join(t.Context(), ask); !errors.Is(err, ajar.Conflict) {
		t.Errorf("join of a joined host: %v, want Conflict", err)
	}
	ask.Replace = true
	if _, err := Join(t.Context(), ask); err != nil {
		t.Errorf("join with replace: %v", err)
	}
	for _, f := range []string{"", identityFile} {
		fi, err := os.Stat(filepath.Join(ask.Dir, f))
		if err != nil || fi.Mode().Perm()&0o077 != 0 {
			t.Errorf("%q is readable to others: %v %v", f, fi.Mode(), err)
		}
	}
}

func TestWrongAuthorityGetsNoToken(t *testing.T) {
	p := newPlane(t)
	tok := p.token("web")
	ask := p.ask(tok)
	ask.CAHash = "sha256:" + strings.Repeat("ab", 32)
	_, err := Join(t.Context(), ask)
	if !errors.Is(err, ajar.Unauthenticated) || !strings.Contains(err.Error(), p.ca.hash()) {
		t.Errorf("join under the wrong hash: %v, want Unauthenticated and the hash seen", err)
	}
	if _, err := Join(t.Context(), p.ask(tok)); err != nil {
		t.Errorf("the token was given away: %v", err)
	}
	for _, h := range []string{"", "sha256:", "md5:00", "sha256:zz", "sha256:" + strings.Repeat("a", 63)} {
		ask.CAHash = h
		if _, err := Join(t.Context(), ask); !errors.Is(err, ajar.Invalid) {
			t.Errorf("hash %q: %v, want Invalid", h, err)
		}
	}
}

func TestServerOfTheSameAuthorityMustBeThePlane(t *testing.T) {
	p := newPlane(t)
	_, port, _ := net.SplitHostPort(p.addr)
	ask := p.ask(p.token("web"))
	ask.Server = net.JoinHostPort("localhost", port) // the certificate is for 127.0.0.1
	if _, err := Join(t.Context(), ask); !errors.Is(err, ajar.Unauthenticated) {
		t.Errorf("join under another name: %v, want Unauthenticated", err)
	}
}

func (p *plane) stranger(t *testing.T) *tls.Conn {
	t.Helper()
	c, err := tls.Dial("tcp", p.addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestStrangersMayOnlyJoin(t *testing.T) {
	p := newPlane(t)
	for _, kind := range []string{typeHello, typeNote, typeLeave, typeRenew, typeBeat} {
		w := newWire(p.stranger(t), maxFromPlane, maxFromStranger, 5*time.Second)
		if err := w.send(t.Context(), &message{Type: kind, Hello: &hello{}, Note: &note{Action: ajar.BreakGlass}}); err != nil {
			t.Fatal(err)
		}
		var m message
		if err := w.receive(&m); err == nil && m.Fault.err() == nil {
			t.Errorf("a stranger's %s was answered with %s", kind, m.Type)
		}
		if err := w.receive(&m); err == nil {
			t.Errorf("the connection lived on after a stranger's %s", kind)
		}
	}
}

func TestStrangersBigFrameIsNotEvenRead(t *testing.T) {
	p := newPlane(t)
	c := p.stranger(t)
	head := binary.BigEndian.AppendUint32(nil, maxFromStranger+1)
	c.Write(append(head, bytes.Repeat([]byte(" "), 100)...))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && err == nil {
		t.Errorf("the plane answered: %v", err)
	}
}

func TestJoinsAreRateLimited(t *testing.T) {
	p := newPlane(t)
	var err error
	for i := 0; i < 2*joinBurst && !errors.Is(err, ajar.TooMany); i++ {
		_, err = Join(t.Context(), p.ask("guess"))
	}
	if !errors.Is(err, ajar.TooMany) {
		t.Errorf("after %d guesses: %v, want TooMany", 2*joinBurst, err)
	}
}

func TestDoorCountsUnknownConnections(t *testing.T) {
	d := newDoor(time.Now)
	var leave []func()
	for {
		l, ok := d.enter(addrPort("192.0.2.1:1"))
		if !ok {
			break
		}
		leave = append(leave, l)
	}
	if len(leave) != maxUnknownEach {
		t.Errorf("%d from one address, want %d", len(leave), maxUnknownEach)
	}
	if _, ok := d.enter(addrPort("192.0.2.2:1")); !ok {
		t.Error("another address is kept out, too")
	}
	leave[0]()
	if _, ok := d.enter(addrPort("192.0.2.1:1")); !ok {
		t.Error("nobody may enter after one left")
	}
}

func TestRevocationCutsAtOnce(t *testing.T) {
	p, m := running(t)
	m.change(ajar.Delta{Base: 1, Rev: 2, Put: []ajar.Rule{rule("a", p.now().Add(time.Hour))}})
	p.revoke("web")
	p.hub.Cut("web")
	m.await(false)
	until(t, "the host closes what the plane opened", func() bool { return len(m.mem.open()) == 0 })
	if got, _ := m.mem.Observe(t.Context(), ajar.Endpoint{}); len(got.Guard) != 1 {
		t.Errorf("guard is %v, want ssh kept", got.Guard)
	}
	until(t, "status says so", func() bool { return strings.Contains(m.Status(t.Context()).Advice, "removed this host") })
}

func TestRevocationIsNoticedWithoutCut(t *testing.T) {
	p, m := running(t)
	p.revoke("web")
	m.await(false)
	until(t, "the host knows", func() bool { return !m.Status(t.Context()).Joined })
}

func TestRefusalForOtherReasonsIsNotFinal(t *testing.T) {
	p, m := running(t)
	p.mu.Lock()
	p.refuse = ajar.Errorf(ajar.Unavailable, "the database is away")
	p.mu.Unlock()
	p.hub.Cut("web")
	m.await(false)
	p.mu.Lock()
	p.refuse = nil
	p.mu.Unlock()
	m.await(true)
}

func TestFinalOrder(t *testing.T) {
	for _, lift := range []bool{false, true} {
		p, m := running(t)
		m.change(ajar.Delta{Base: 1, Rev: 2, Put: []ajar.Rule{rule("a", p.now().Add(time.Hour))}})
		if err := p.hub.Remove(t.Context(), "web", lift); err != nil {
			t.Fatal(err)
		}
		wantOpen(t, m)
		got, _ := m.mem.Observe(t.Context(), ajar.Endpoint{})
		if len(got.Guard) == 0 != lift {
			t.Errorf("lift %v: guard is %v", lift, got.Guard)
		}
		s := m.Status(t.Context())
		if s.Joined || lift != strings.Contains(s.Advice, "no longer guarded") {
			t.Errorf("lift %v: %q", lift, s.Advice)
		}
		b, err := os.ReadFile(filepath.Join(m.dir, identityFile))
		if err != nil || bytes.Contains(b, []byte("PRIVATE KEY")) {
			t.Errorf("the key was not deleted: %v", err)
		}
		m.halt()
		m.start() // a new agent goes on guarding, closed
		if again, _ := m.mem.Observe(t.Context(), ajar.Endpoint{}); len(again.Guard) == 0 != lift || len(again.Allow) != 0 {
			t.Errorf("lift %v: after a restart %v", lift, again)
		}
	}
}

func TestRemovedWhileAway(t *testing.T) {
	p, m := running(t)
	m.change(ajar.Delta{Base: 1, Rev: 2, Put: []ajar.Rule{rule("a", p.now().Add(time.Hour))}})
	p.mu.Lock()
	p.refuse = &ajar.Error{Kind: ajar.Forbidden, Code: LiftGuard, Msg: "this host was removed"}
	p.mu.Unlock()
	p.hub.Cut("web")
	until(t, "all is lifted", func() bool {
		got, _ := m.mem.Observe(t.Context(), ajar.Endpoint{})
		return len(got.Guard)+len(got.Allow) == 0
	})
}

// copied dials with the machine's certificate, as a thief does.
func (m *machine) copied(t *testing.T) error {
	t.Helper()
	id, err := readIdentity(m.dir)
	if err != nil {
		t.Fatal(err)
	}
	pair, _, err := id.certificate()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := m.dial(t.Context(), id, pair)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	w := newWire(conn, maxFromPlane, maxFromHost, 5*time.Second)
	if err := w.send(t.Context(), &message{Type: typeHello, Hello: &hello{Protocol: protocol}}); err != nil {
		return err
	}
	var in message
	if err := w.receive(&in); err != nil {
		return err
	}
	return in.Fault.err()
}

func TestCopiedCertificateCannotTakeOver(t *testing.T) {
	p, m := running(t)
	since, _ := p.hub.Connected("web")
	for range 3 {
		if err := m.copied(t); !errors.Is(err, ajar.Conflict) {
			t.Errorf("a second connection: %v, want Conflict", err)
		}
	}
	if r := p.report(ajar.HostDuplicate); r.Endpoint != "web" || r.Details["from"] == "" || r.Details["first"] == "" {
		t.Errorf("reported: %+v", r)
	}
	if again, up := p.hub.Connected("web"); !up || again != since {
		t.Error("the first connection is gone")
	}
	m.change(ajar.Delta{Base: 1, Rev: 2})
}

// TestDeadConnectionIsReplaced lets the first connection die without a word, as behind a broken link.
func TestDeadConnectionIsReplaced(t *testing.T) {
	p := newPlane(t)
	m := newMachine(t, p, "web")
	m.build()
	if err := m.Open(); err != nil {
		t.Fatal(err)
	}
	id := m.id
	pair, _, _ := id.certificate()
	dead, err := m.dial(t.Context(), id, pair)
	if err != nil {
		t.Fatal(err)
	}
	defer dead.Close()
	w := newWire(dead, maxFromPlane, maxFromHost, time.Minute)
	if err := w.send(t.Context(), &message{Type: typeHello, Hello: &hello{Protocol: protocol}}); err != nil {
		t.Fatal(err)
	}
	m.await(true)
	first, _ := p.hub.Connected("web")
	m.Close()
	m.start()
	until(t, "the new connection has the seat", func() bool { s, up := p.hub.Connected("web"); return up && s != first })
	m.whole(1, guarding(ssh))
}

func TestCertificateIsRenewedInTime(t *testing.T) {
	p := newPlane(t)
	p.life = 2 * time.Second // two thirds are over in a second
	m := newMachine(t, p, "web")
	old, _ := os.ReadFile(filepath.Join(m.dir, identityFile))
	m.start()
	m.await(true)
	p.mu.Lock()
	p.life = time.Hour
	p.mu.Unlock()
	until(t, "a new certificate", func() bool {
		now, _ := os.ReadFile(filepath.Join(m.dir, identityFile))
		return !bytes.Equal(old, now)
	})
	until(t, "it is used", func() bool {
		p.hub.mu.Lock()
		defer p.hub.mu.Unlock()
		c := p.hub.peers["web"]
		return c != nil && time.Until(c.cert.NotAfter) > 30*time.Minute
	})
}

func TestExpiredCertificateKeepsEnforcing(t *testing.T) {
	p := newPlane(t)
	p.life = 300 * time.Millisecond
	m := newMachine(t, p, "web")
	p.mu.Lock()
	p.refuse = ajar.Errorf(ajar.Unavailable, "no")
	p.mu.Unlock()
	m.start()
	m.mu.Lock()
	m.wall = time.Hour
	m.mu.Unlock()
	until(t, "status says join anew", func() bool {
		s := m.Status(context.Background())
		return strings.Contains(s.Advice, "expired") && strings.Contains(s.Trouble, "expired")
	})
}
