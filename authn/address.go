package authn

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Proxies says whose word about a client's address is taken, and in which one header they give it. The zero value
// trusts nobody.
type Proxies struct {
	Trusted []netip.Prefix
	Header  string // such as X-Forwarded-For or Forwarded (RFC 7239); "" = none
}

// At most this much of the header is looked at.
const (
	maxHops   = 64
	maxHeader = 8 << 10
)

// Client is the address that r came from: the connection's own, or, if that is a trusted proxy's, the rightmost hop of
// the header that is not. It is the zero Addr when a trusted proxy says something that is not an address: then nobody
// knows, and guessing would open a port to the wrong one. A connection's own may have a zone, and a port is not opened to
// it then.
func (p Proxies) Client(r *http.Request) netip.Addr {
	conn, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	from := conn.Addr().Unmap()
	if p.Header == "" || !p.trusts(from) {
		return from
	}
	hops, ok := splitHops(r.Header.Values(p.Header), strings.EqualFold(p.Header, "Forwarded"))
	if !ok {
		return netip.Addr{}
	}
	for _, hop := range slices.Backward(hops) {
		a, ok := parseHop(hop)
		if !ok {
			return netip.Addr{}
		}
		from = a
		if !p.trusts(a) {
			break
		}
	}
	return from
}

func (p Proxies) trusts(a netip.Addr) bool {
	return slices.ContainsFunc(p.Trusted, func(t netip.Prefix) bool { return t.Contains(a.WithZone("")) })
}

func splitHops(lines []string, rfc7239 bool) (hops []string, ok bool) {
	size := 0
	for _, line := range lines {
		size += len(line)
		if size > maxHeader {
			return nil, false
		}
		for hop := range strings.SplitSeq(line, ",") {
			hop = strings.TrimSpace(hop)
			if rfc7239 {
				hop = forParam(hop)
			}
			hops = append(hops, hop)
		}
	}
	return hops, len(hops) <= maxHops
}

// forParam is the "for" of one element of a Forwarded header.
func forParam(element string) string {
	for pair := range strings.SplitSeq(element, ";") {
		k, v, _ := strings.Cut(strings.TrimSpace(pair), "=")
		if strings.EqualFold(k, "for") {
			return strings.Trim(v, `"`)
		}
	}
	return ""
}

// parseHop reads 203.0.113.7, 203.0.113.7:4711, 2001:db8::1, [2001:db8::1] and [2001:db8::1]:4711.
func parseHop(s string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
	if err != nil {
		ap, err := netip.ParseAddrPort(s)
		if err != nil {
			return netip.Addr{}, false
		}
		a = ap.Addr()
	}
	if a.Zone() != "" {
		return netip.Addr{}, false
	}
	return a.Unmap(), true
}
