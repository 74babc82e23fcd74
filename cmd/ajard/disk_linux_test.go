package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
)

// onSmallDisk names the folder that has a disk of its own in the process, with little room.
const onSmallDisk = "AJAR_TEST_SMALL_DISK"

func smallDisk(dir string) error {
	if dir == "" {
		return nil
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=24m"); err != nil {
		return fmt.Errorf("mount a small disk: %w", err)
	}
	return nil
}

// TestAFullDisk: a plane over SQLite whose disk is full says so, refuses what it cannot record, goes on answering what
// needs no write, is not ready, and comes back by itself when there is room, with a log that is whole.
func TestAFullDisk(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "kek: {file: kek}\n")
	dir := filepath.Join(m.dir, "disk")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	m.configure("sqlite:ajar.db", "sqlite:disk/ajar.db")
	p, process := m.serveAs(func(c *exec.Cmd) {
		c.Env = append(c.Env, onSmallDisk+"="+dir)
		c.SysProcAttr.Cloneflags = syscall.CLONE_NEWNS
		if os.Getuid() != 0 {
			c.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
			c.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
			c.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
		}
	})
	admin := p.mustLogin("admin", once.FindString(p.stderr.String()))
	if err := admin.SetPassword(t.Context(), "admin", password, ""); err != nil {
		t.Fatal(err)
	}
	h := p.trusting()

	filler := filepath.Join("/proc", strconv.Itoa(process.Pid), "root", dir, "filler")
	f, err := os.Create(filler)
	if err != nil {
		t.Fatal(err)
	}
	for piece := make([]byte, 64<<10); err == nil; {
		_, err = f.Write(piece)
	}
	if f.Close(); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	made, refused, name := 0, 0, func(i int) string { return fmt.Sprintf("user%d", i) }
	until(t, func() bool { // to the last byte: a small write may fit where a larger did not
		_, err := admin.CreatePrincipal(t.Context(), client.Principal{Kind: ajar.User, Name: name(made), Display: strings.Repeat("x", 200)}, "")
		switch {
		case err == nil:
			made++
		case errors.Is(err, ajar.Unavailable):
			refused++
		default:
			t.Fatalf("with a full disk, after %d: %v", made, err)
		}
		return refused > 0 && p.readiness(h) == http.StatusServiceUnavailable
	})
	if me, err := admin.Me(t.Context()); err != nil || me.Name != "admin" {
		t.Errorf("what needs no write: %+v, %v", me, err)
	}
	if !strings.Contains(p.stderr.String(), "full") {
		t.Errorf("it does not say why:\n%s", p.stderr)
	}

	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { return p.readiness(h) == http.StatusOK })
	if _, err := admin.CreatePrincipal(t.Context(), client.Principal{Kind: ajar.User, Name: "afterwards"}, ""); err != nil {
		t.Errorf("with room again: %v", err)
	}
	all, err := client.Collect(admin.Principals(t.Context(), ajar.User))
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for _, u := range all {
		there[u.Name] = true
	}
	for i := range made {
		if !there[name(i)] {
			t.Errorf("%s was made, and is not there", name(i))
		}
	}
	checkExport(t, admin)
}
