//go:build linux

package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Bridge is the switch that everything hangs on, and this program's own interface to it.
const Bridge = "lab0"

func linkUp(name string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(l)
}

// makeBridge makes the switch that all spaces hang on, in the namespace that Enter made.
func makeBridge() error {
	a := netlink.NewLinkAttrs()
	a.Name = Bridge
	snoop := false
	if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: a, MulticastSnooping: &snoop}); err != nil && !errors.Is(err, unix.EEXIST) {
		return forbidden(fmt.Errorf("make a bridge: %w", err))
	}
	return linkUp(Bridge)
}

// plug connects s to the bridge as eth0 with the given addresses, up and usable at once. It is called from outside s.
func plug(s *Space, addresses ...netip.Prefix) error {
	br, err := netlink.LinkByName(Bridge)
	if err != nil {
		return err
	}
	outer := "v" + s.Name
	if old, err := netlink.LinkByName(outer); err == nil {
		// A machine that was switched off a moment ago: the kernel takes its time to clear its end away.
		if err := netlink.LinkDel(old); err != nil && !errors.Is(err, unix.ENODEV) {
			return fmt.Errorf("unplug %s: %w", s.Name, err)
		}
	}
	a := netlink.NewLinkAttrs()
	a.Name, a.MasterIndex = outer, br.Attrs().Index
	// The same hardware address after each boot, or the neighbours would talk to the old one for a second.
	last := addresses[0].Addr().As4()
	mac := net.HardwareAddr{2, 0, last[0], last[1], last[2], last[3]}
	veth := &netlink.Veth{LinkAttrs: a, PeerName: "eth0", PeerHardwareAddr: mac, PeerNamespace: netlink.NsFd(s.ns)}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("plug %s in: %w", s.Name, err)
	}
	err = s.Do(func() error {
		eth, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		for _, p := range addresses {
			// No duplicate address detection: an IPv6 address would be unusable for a second.
			n := &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
			if err := netlink.AddrAdd(eth, &netlink.Addr{IPNet: n, Flags: unix.IFA_F_NODAD}); err != nil {
				return fmt.Errorf("address %s: %w", p, err)
			}
		}
		return netlink.LinkSetUp(eth)
	})
	if err != nil {
		return fmt.Errorf("plug %s in: %w", s.Name, err)
	}
	return linkUp(outer)
}

// setPlugged takes s off the network or puts it back: a partition.
func setPlugged(s *Space, up bool) error {
	l, err := netlink.LinkByName("v" + s.Name)
	if err != nil {
		return err
	}
	if up {
		return netlink.LinkSetUp(l)
	}
	return netlink.LinkSetDown(l)
}

// cutOff removes the cable.
func cutOff(s *Space) error {
	l, err := netlink.LinkByName("v" + s.Name)
	if err != nil {
		return err
	}
	return netlink.LinkDel(l)
}
