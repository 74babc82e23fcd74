package model_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// space is a network namespace, and a thread that stays there.
type space struct {
	fd   *os.File
	work chan func()
}

// newSpace makes a network namespace, whose loopback is up.
func newSpace(t testing.TB) *space {
	t.Helper()
	s := &space{work: make(chan func())}
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			s.fd, err = os.Open("/proc/thread-self/ns/net")
		}
		made <- err
		for fn := range s.work {
			fn()
		}
	}()
	if err := <-made; err != nil {
		close(s.work)
		t.Fatalf("make a network namespace: %v; this test needs CAP_SYS_ADMIN and CAP_NET_ADMIN: run it as root or under unshare -rn", err)
	}
	if err := s.do(func() error { return raise("lo") }); err != nil {
		t.Fatal(err)
	}
	return s
}

// do runs fn on the namespace's thread.
func (s *space) do(fn func() error) error {
	done := make(chan error, 1)
	s.work <- func() { done <- fn() }
	return <-done
}

func (s *space) path() string { return fmt.Sprintf("/proc/self/fd/%d", s.fd.Fd()) }

// close lets go of the namespace. It ends when nothing else holds it.
func (s *space) close() {
	close(s.work)
	s.fd.Close()
}

func raise(link string, addrs ...netip.Prefix) error {
	l, err := netlink.LinkByName(link)
	if err != nil {
		return err
	}
	for _, a := range addrs {
		n := &net.IPNet{IP: a.Addr().AsSlice(), Mask: net.CIDRMask(a.Bits(), a.Addr().BitLen())}
		if err := netlink.AddrAdd(l, &netlink.Addr{IPNet: n}); err != nil {
			return err
		}
	}
	return netlink.LinkSetUp(l)
}

// cable joins a host to the guest, and sends all that the host answers back over it.
func cable(host, guest *space, name string, ours, theirs netip.Prefix) error {
	return errors.Join(
		guest.do(func() error {
			v := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: name, PeerNamespace: netlink.NsFd(host.fd.Fd())}
			if err := netlink.LinkAdd(v); err != nil {
				return err
			}
			return raise(name, theirs)
		}),
		host.do(func() error {
			if err := raise(name, ours); err != nil {
				return err
			}
			return netlink.RouteAdd(&netlink.Route{Gw: theirs.Addr().AsSlice()})
		}))
}

// unplug takes the cable away.
func unplug(guest *space, name string) error {
	return guest.do(func() error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		return netlink.LinkDel(l)
	})
}
