//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// What this test binary is to be, by its environment: the tests inside their own network namespace, or the agent.
const (
	asVar    = "AJAR_AGENT_TEST_AS"
	asInside = "inside"
	asAgent  = "agent"
)

const (
	hostAddr  = "198.51.100.1"
	guestAddr = "198.51.100.2"
)

func TestMain(m *testing.M) {
	switch os.Getenv(asVar) {
	case asAgent:
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Getenv)
		stop()
		os.Exit(code)
	case asInside:
		os.Exit(m.Run())
	}
	runtime.LockOSThread()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), asVar+"="+asInside)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		fmt.Fprintln(os.Stderr, "enter a network namespace (kernel.unprivileged_userns_clone, or run as root):", err)
		os.Exit(1)
	}
	os.Exit(cmd.ProcessState.ExitCode())
}

// guest is a neighbour of this host, in a namespace of its own.
type guest struct{ ns netns.NsHandle }

// newGuest wires the neighbour up.
func newGuest(t *testing.T) *guest {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	up := func(name, addr string) {
		l, err := netlink.LinkByName(name)
		must(err)
		a, err := netlink.ParseAddr(addr)
		must(err)
		must(netlink.AddrAdd(l, a))
		must(netlink.LinkSetUp(l))
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	here, err := netns.Get()
	must(err)
	defer here.Close()
	there, err := netns.New()
	must(err)
	must(netns.Set(here))
	lo, err := netlink.LinkByName("lo")
	must(err)
	must(netlink.LinkSetUp(lo))
	must(netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "host0"}, PeerName: "guest0", PeerNamespace: netlink.NsFd(there)}))
	up("host0", hostAddr+"/24")
	must(netns.Set(there))
	up("guest0", guestAddr+"/24")
	must(netns.Set(here))
	t.Cleanup(func() {
		if l, err := netlink.LinkByName("host0"); err == nil {
			netlink.LinkDel(l) // a namespace takes its links with it some time later
		}
		there.Close()
	})
	return &guest{there}
}

// knock tries to connect to a port of the host.
func (g *guest) knock(port int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	here, err := netns.Get()
	if err != nil {
		return err
	}
	defer here.Close()
	if err := netns.Set(g.ns); err != nil {
		return err
	}
	defer netns.Set(here)
	for {
		// With a bound the call does not go on after a signal, of which the runtime sends many.
		if err := connect(port); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func connect(port int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Sec: 30})
	return unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte(net.ParseIP(hostAddr).To4())})
}
