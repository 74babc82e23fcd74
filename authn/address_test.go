package authn

import (
	"net/http/httptest"
	"net/netip"
	"testing"
)

func proxies(header string, trusted ...string) Proxies {
	p := Proxies{Header: header}
	for _, t := range trusted {
		p.Trusted = append(p.Trusted, netip.MustParsePrefix(t))
	}
	return p
}

func TestForwardedHeaderFromUntrustedPeerIsIgnored(t *testing.T) {
	for _, p := range []Proxies{{}, proxies("X-Forwarded-For"), proxies("X-Forwarded-For", "10.0.0.0/8"), proxies("", "203.0.113.0/24")} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = "203.0.113.9:4711"
		for _, h := range []string{"X-Forwarded-For", "Forwarded", "X-Real-Ip", "X-Ms-Client-Ip-Address", "Cf-Connecting-Ip"} {
			r.Header.Set(h, "192.0.2.1")
		}
		if got := p.Client(r).String(); got != "203.0.113.9" {
			t.Errorf("%+v believes %s", p, got)
		}
	}
}

func TestClientAddress(t *testing.T) {
	xff := proxies("X-Forwarded-For", "10.0.0.0/8", "2001:db8:ffff::/48")
	fwd := proxies("Forwarded", "10.0.0.0/8")
	for _, c := range []struct {
		what   string
		p      Proxies
		remote string
		header []string
		want   string
	}{
		{"a connection's own", xff, "203.0.113.9:1", nil, "203.0.113.9"},
		{"an IPv4 address in IPv6's clothes", xff, "[::ffff:203.0.113.9]:1", nil, "203.0.113.9"},
		{"a zone is kept, for the gate to refuse", xff, "[fe80::1%eth0]:1", nil, "fe80::1%eth0"},
		{"the one hop", xff, "10.0.0.1:1", []string{"203.0.113.9"}, "203.0.113.9"},
		{"the rightmost that is not trusted", xff, "10.0.0.1:1", []string{"192.0.2.66, 203.0.113.9, 10.0.0.2"}, "203.0.113.9"},
		{"several lines are one list", xff, "10.0.0.1:1", []string{"192.0.2.66", "203.0.113.9, 10.0.0.2"}, "203.0.113.9"},
		{"what stands further left may be garbage", xff, "10.0.0.1:1", []string{"<script>, , 203.0.113.9"}, "203.0.113.9"},
		{"with a port", xff, "10.0.0.1:1", []string{"203.0.113.9:5555"}, "203.0.113.9"},
		{"IPv6 in brackets with a port", xff, "10.0.0.1:1", []string{"[2001:db8::9]:5555"}, "2001:db8::9"},
		{"IPv6 bare", xff, "10.0.0.1:1", []string{"2001:db8::9"}, "2001:db8::9"},
		{"mapped in the header", xff, "10.0.0.1:1", []string{"::ffff:203.0.113.9"}, "203.0.113.9"},
		{"a trusted IPv6 proxy", xff, "[2001:db8:ffff::1]:1", []string{"203.0.113.9"}, "203.0.113.9"},
		{"a mapped proxy is trusted as what it is", xff, "[::ffff:10.0.0.1]:1", []string{"203.0.113.9"}, "203.0.113.9"},
		{"all hops trusted: the leftmost", xff, "10.0.0.1:1", []string{"10.1.1.1, 10.2.2.2"}, "10.1.1.1"},
		{"the proxy itself asks", xff, "10.0.0.1:1", nil, "10.0.0.1"},
		{"a proxy that says garbage: nobody knows", xff, "10.0.0.1:1", []string{"203.0.113.9, unknown"}, "invalid IP"},
		{"a zone in the header", xff, "10.0.0.1:1", []string{"fe80::1%eth0"}, "invalid IP"},
		{"RFC 7239", fwd, "10.0.0.1:1", []string{`for=192.0.2.66;proto=https, For="[2001:db8::9]:4711";by=10.0.0.2`}, "2001:db8::9"},
		{"RFC 7239, hidden", fwd, "10.0.0.1:1", []string{"for=_hidden"}, "invalid IP"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = c.remote
		for _, h := range c.header {
			r.Header.Add(c.p.Header, h)
		}
		if got := c.p.Client(r).String(); got != c.want {
			t.Errorf("%s: %s, not %s", c.what, got, c.want)
		}
	}
}

// FuzzClientAddress: no header makes an address with a zone or a mapped one, and none is believed to be a trusted
// proxy's unless all are.
func FuzzClientAddress(f *testing.F) {
	f.Add("203.0.113.9, 10.0.0.1", "X-Forwarded-For")
	f.Add(`for="[2001:db8::1%25eth0]:1"`, "Forwarded")
	f.Add("::ffff:1.2.3.4%a,,,", "X-Forwarded-For")
	f.Fuzz(func(t *testing.T, line, header string) {
		p := proxies(header, "10.0.0.0/8")
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = "10.0.0.1:1"
		r.Header[header] = []string{line}
		a := p.Client(r)
		if a.Zone() != "" || a.Is4In6() {
			t.Errorf("%q gives %s", line, a)
		}
	})
}
