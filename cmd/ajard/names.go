package main

import (
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
)

// serverNames is what the server's certificate is for: how people and agents reach it by the configuration, this
// machine's name, and where it listens everywhere its addresses.
func (c *Config) serverNames() []string {
	names := slices.Clone(c.Names)
	if u, err := url.Parse(c.PublicURL); err == nil {
		names = append(names, u.Hostname())
	}
	if host, _, err := net.SplitHostPort(c.AgentURL); err == nil {
		names = append(names, host)
	}
	for _, listen := range []string{c.Listen, c.AgentListen} {
		host, _, err := net.SplitHostPort(listen)
		if err != nil {
			continue
		}
		if a, err := netip.ParseAddr(host); host == "" || (err == nil && a.IsUnspecified()) {
			names = append(names, machineAddresses()...)
		} else {
			names = append(names, host)
		}
	}
	if host, err := os.Hostname(); err == nil && hostName(host) {
		names = append(names, host)
	}
	names = append(names, "localhost", "127.0.0.1", "::1")
	var once []string
	for _, n := range names {
		if n != "" && !slices.Contains(once, n) {
			once = append(once, n)
		}
	}
	return once
}

func machineAddresses() (list []string) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil && !p.Addr().IsLinkLocalUnicast() && len(list) < 50 {
			list = append(list, p.Addr().Unmap().String())
		}
	}
	return list
}

// reachedAt is where listeners are reached: one that listens everywhere is so at each of the machine's addresses.
func reachedAt(listeners []netip.AddrPort, machine []string) (list []netip.AddrPort) {
	for _, l := range listeners {
		list = append(list, l)
		for i := 0; l.Addr().IsUnspecified() && i < len(machine); i++ {
			if a, err := netip.ParseAddr(machine[i]); err == nil {
				list = append(list, netip.AddrPortFrom(a, l.Port()))
			}
		}
	}
	return list
}
