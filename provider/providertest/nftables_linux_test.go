package providertest_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/provider/nftables"
	"github.com/ajar-access/ajar/provider/providertest"
)

// The kernel's own firewall, in a namespace, tried from another one with real connections.
func TestNftables(t *testing.T) {
	providertest.Run(t, func(t *testing.T) providertest.World {
		host, guest := namespace(t), namespace(t)
		cable(t, host, guest)
		listen(t, host)
		open := func(t *testing.T) *nftables.Firewall {
			f, err := nftables.Config{NetNS: path(host), Clock: time.Now}.Open(t.Context(), slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			return f
		}
		fw := open(t)
		t.Cleanup(func() { fw.Close() })
		return providertest.World{
			Enforcer: fw, Endpoint: ajar.Endpoint{ID: "host", Provider: "nftables"}, Clock: time.Now,
			Reopen: func(t *testing.T) ajar.Enforcer {
				fw.Close()
				fw = open(t)
				return fw
			},
			Connects: func(t *testing.T, src netip.Addr, p ajar.Port) bool { return connects(t, guest, src, p) },
		}
	})
}

// inside runs fn on a thread in ns, which is thrown away.
func inside(ns *os.File, fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- fn()
	}()
	return <-done
}

func path(ns *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", ns.Fd()) }

func namespace(t *testing.T) (ns *os.File) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			ns, err = os.Open("/proc/thread-self/ns/net")
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatalf("make a network namespace: %v; run as root or under unshare -rn", err)
	}
	t.Cleanup(func() { ns.Close() })
	return ns
}

// cable joins host, which is 198.18.0.254, and guest, which is both callers of providertest.
func cable(t *testing.T, host, guest *os.File) {
	t.Helper()
	err := inside(host, func() error {
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "cable"}, PeerName: "cable", PeerNamespace: netlink.NsFd(guest.Fd())})
	})
	for _, end := range []struct {
		ns    *os.File
		addrs []string
	}{{host, []string{"198.18.0.254/24"}}, {guest, []string{"198.18.0.1/24", "198.18.0.2/24"}}} {
		err = errors.Join(err, inside(end.ns, func() error {
			l, err := netlink.LinkByName("cable")
			if err != nil {
				return err
			}
			for _, a := range end.addrs {
				addr, err := netlink.ParseAddr(a)
				if err != nil {
					return err
				}
				if err := netlink.AddrAdd(l, addr); err != nil {
					return err
				}
			}
			return netlink.LinkSetUp(l)
		}))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func listen(t *testing.T, host *os.File) {
	t.Helper()
	err := inside(host, func() error {
		l, err := net.Listen("tcp4", "198.18.0.254:22")
		if err != nil {
			return err
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				c.Close()
			}
		}()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func connects(t *testing.T, guest *os.File, src netip.Addr, p ajar.Port) bool {
	t.Helper()
	err := inside(guest, func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(src, 0))}
		c, err := d.DialContext(ctx, "tcp4", fmt.Sprintf("198.18.0.254:%d", p.Number))
		if err == nil {
			c.Close()
		}
		return err
	})
	if err != nil && !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("connect from %s: %v", src, err)
	}
	return err == nil
}
