package main

import (
	"crypto/tls"
	"strings"
	"testing"
)

// TestOnlyCiphersOfToday: neither listener speaks what can be read later, or changed on the way; agents speak TLS 1.3 alone.
func TestOnlyCiphersOfToday(t *testing.T) {
	p := newMachine(t, "").serve()
	api := strings.TrimPrefix(p.url, "https://")
	for _, c := range []struct {
		what, at string
		max      uint16
		cipher   uint16
		ok       bool
	}{
		{"TLS 1.3", api, tls.VersionTLS13, 0, true},
		{"TLS 1.2 with GCM", api, tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, true},
		{"TLS 1.2 with CBC", api, tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, false},
		{"TLS 1.2 without forward secrecy", api, tls.VersionTLS12, tls.TLS_RSA_WITH_AES_128_GCM_SHA256, false},
		{"TLS 1.1", api, tls.VersionTLS11, 0, false},
		{"TLS 1.3, as an agent", p.agent, tls.VersionTLS13, 0, true},
		{"TLS 1.2, as an agent", p.agent, tls.VersionTLS12, 0, false},
	} {
		conf := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: c.max} //nolint:gosec // who it is does not matter here
		if c.cipher != 0 {
			conf.CipherSuites = []uint16{c.cipher}
		}
		conn, err := tls.Dial("tcp", c.at, conf)
		if err == nil {
			conn.Close()
		}
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}
