//go:build linux

package lab

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if v := os.Getenv(traced); v != "" {
		if err := runTracer(v); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	if err := Enter(); err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func bare(t *testing.T) *Lab {
	t.Helper()
	l, err := New(t.Context(), Options{noPlane: true, Ports: []uint16{7000}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

// The machines are real: ssh signs in and runs a command on the right one, over both families.
func TestSSHReachesEachMachine(t *testing.T) {
	l := bare(t)
	for _, m := range l.Machines {
		for _, a := range []netip.Addr{m.IPv4, m.IPv6} {
			out, err := l.Requester.Output(t.Context(), nil, "ssh", a.String(), "hostname; id -u")
			if want := fmt.Sprintf("%s\n%d\n", m.Name, os.Getuid()); err != nil || out != want {
				t.Errorf("ssh %s: %q, %v; want %q", a, out, err, want)
			}
		}
	}
}

// The namespaces see each other and nothing else.
func TestNothingLeadsOut(t *testing.T) {
	l := bare(t)
	for _, s := range []*Space{l.Requester, l.Attacker, l.Machines[0].Space()} {
		out, err := s.Output(t.Context(), nil, "ip", "route")
		if err != nil || strings.Contains(out, "default") {
			t.Errorf("%s has a way out: %q, %v", s.Name, out, err)
		}
	}
}

func TestWatchSeesARuleComeAndGo(t *testing.T) {
	l := bare(t)
	m := l.Machines[0]
	to := netip.AddrPortFrom(m.IPv4, 7000)
	for port, open := range map[uint16]bool{22: true, 80: false, 7000: true} {
		if err := l.Attacker.Try(netip.AddrPortFrom(m.IPv4, port)); (err == nil) != open {
			t.Fatalf("port %d: %v", port, err)
		}
	}
	began := time.Now()
	talk, err := l.Requester.Talk(t.Context(), m, 7000)
	if err != nil {
		t.Fatal(err)
	}
	w := l.Requester.Watch(to, 0)
	sees := func(changes int) { // the watcher itself: what another sees, it may sleep through on busy cores
		t.Helper()
		err := Await(t.Context(), 30*time.Second, func() (bool, error) { return len(w.Now().Changes) >= changes, nil })
		if err != nil {
			t.Fatalf("changes: %v; %v", w.Now().Changes, err)
		}
	}
	sees(1)
	rule := "table inet x { chain c { type filter hook input priority 0; tcp dport 7000 reject with tcp reset; }; }"
	if _, err := m.Nft(t.Context(), rule); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Requester.AwaitClosed(t.Context(), to); err != nil {
		t.Fatal(err)
	}
	sees(2)
	<-talk.Done()
	over := time.Now()
	if _, err := m.Nft(t.Context(), "flush ruleset"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Requester.AwaitOpen(t.Context(), to); err != nil {
		t.Fatal(err)
	}
	sees(3)
	seen := w.Stop()
	if len(seen.Changes) < 3 || !seen.Changes[0].Open || seen.Changes[1].Open || !seen.Changes[2].Open {
		t.Errorf("changes: %v", seen.Changes)
	}
	if last := talk.LastByte(); last.Before(began) || last.After(over) {
		t.Errorf("last byte at %s, of a talk from %s to %s", last, began, over)
	}
}

func TestRebootLosesTheKernelsState(t *testing.T) {
	l := bare(t)
	m := l.Machines[1]
	if _, err := m.Nft(t.Context(), "add table inet mine"); err != nil {
		t.Fatal(err)
	}
	if err := m.Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	if out, err := m.Nft(t.Context(), "list ruleset"); err != nil || out != "" {
		t.Errorf("after a reboot: %q, %v", out, err)
	}
	if out, err := l.Requester.Output(t.Context(), nil, "ssh", m.Name, "-o", "HostName="+m.IPv6.String(), "hostname"); err != nil || out != "vm2\n" {
		t.Errorf("ssh: %q, %v", out, err)
	}
	if err := m.Partition(); err != nil {
		t.Fatal(err)
	}
	if l.Requester.Try(m.SSH()) == nil {
		t.Error("a machine that is off the network answers")
	}
	if err := m.Rejoin(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Requester.AwaitOpen(t.Context(), m.SSH()); err != nil {
		t.Error(err)
	}
}
