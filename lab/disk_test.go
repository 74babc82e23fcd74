//go:build linux

package lab

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A machine whose disk is full, or came up read-only, is guarded after a reboot like any other, before its network is there.
func TestDiskThatTakesNothingLeavesNobodyUnguarded(t *testing.T) {
	l := full(t, Options{Machines: 1, Ports: []uint16{firstPort}})
	guard(t, l, firstPort)
	m := l.Machines[0]
	state := filepath.Join(m.dir, "agent")
	m.Agent().Stop()
	kept := map[string][]byte{}
	for _, name := range []string{"identity.json", "desired"} {
		b, err := os.ReadFile(filepath.Join(state, name))
		if err != nil {
			t.Fatal(err)
		}
		kept[name] = b
	}
	if err := unix.Mount("none", state, "tmpfs", 0, "size=256k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(state, unix.MNT_DETACH) })
	for name, b := range kept {
		if err := os.WriteFile(filepath.Join(state, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	strangers := l.Attacker.Watch(netip.AddrPortFrom(m.IPv4, firstPort), 2*time.Millisecond)
	defer strangers.Stop()
	for _, how := range []string{"full", "read-only"} {
		if how == "full" {
			if err := os.WriteFile(filepath.Join(state, "ballast"), make([]byte, 1<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
				t.Fatalf("the disk is not full: %v", err)
			}
		} else if err := unix.Mount("none", state, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
			t.Fatal(err)
		}
		if err := m.Reboot(t.Context()); err != nil {
			t.Fatalf("%s: %v", how, err)
		}
		tries := strangers.Now().Tries
		if err := Await(t.Context(), bound, func() (bool, error) { return strangers.Now().Tries > tries+20, nil }); err != nil {
			t.Fatal(err)
		}
		if seen := strangers.Now(); seen.EverOpen() {
			t.Fatalf("%s: a stranger came in: %v\n%s", how, seen.Changes, m.Agent().Tail())
		}
		t.Logf("%s: the agent runs: %v", how, m.Agent().Alive())
		m.KillAgent()
	}
}
