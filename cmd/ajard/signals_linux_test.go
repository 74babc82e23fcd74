package main

import (
	"crypto/tls"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// TestSignals: SIGHUP has the plane read names and how much it says anew and go on; with a wrong configuration it goes on
// as it was; SIGTERM ends it well.
func TestSignals(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "names: [one.example]\n")
	p, process := m.serveAs(func(*exec.Cmd) {})
	names := func() []string {
		c, err := tls.Dial("tcp", strings.TrimPrefix(p.url, "https://"), &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // it is the certificate that is looked at
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].DNSNames
	}
	if !slices.Contains(names(), "one.example") {
		t.Fatalf("the certificate is for %v", names())
	}
	hangUp := func() {
		t.Helper()
		if err := process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	m.configure("one.example", "two.example", "replica: test", "replica: test\nlogLevel: debug")
	hangUp()
	until(t, func() bool {
		return slices.Contains(names(), "two.example") && !slices.Contains(names(), "one.example")
	})
	if _, err := tls.Dial("tcp", strings.TrimPrefix(p.url, "https://"), &tls.Config{}); err == nil {
		t.Error("an authority that nobody knows is believed")
	}
	until(t, func() bool { return strings.Contains(p.stderr.String(), `"level":"DEBUG"`) }) // of the broken handshake

	m.configure("two.example", "three.example", "logLevel: debug", "logLevel: loud")
	hangUp()
	until(t, func() bool { return strings.Contains(p.stderr.String(), "configuration not read again") })
	if got := names(); !slices.Contains(got, "two.example") || slices.ContainsFunc(got, func(n string) bool { _, err := netip.ParseAddr(n); return err == nil }) {
		t.Errorf("with a wrong configuration the certificate is for %v", got)
	}
	p.end() // by SIGTERM
}
