package nftables

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// call is a connection of this host as packets are judged: a listening socket on its port is no proof that the
// other side began it, since a port may be both listened at and called from.
type call struct {
	sock sock
	flow flow // as the one who called named it, which redirection may have made another than the socket's
	ours bool // conntrack takes us for the beginner
}

// called finds out how packets of socks are judged, and leaves out talk within the host, which never is.
func (h *hanger) called(socks []sock) (calls []call, err error) {
	if len(socks) == 0 {
		return nil, nil
	}
	if err := h.ask(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil { // an answer may still be under way
			err = errors.Join(err, h.hushed())
		}
	}()
	for _, s := range socks {
		if h.routes.isLocal(s) {
			continue
		}
		c, err := h.ct.trace(s)
		if err != nil {
			// Who was redirected here cannot be told from who was not.
			return nil, fmt.Errorf("look up conntrack: %w", err)
		}
		calls = append(calls, c)
	}
	return calls, nil
}

// ask opens the sockets for questions to conntrack and routing, and keeps them: whoever closes a socket of netfilter's has
// the kernel finish what changes of nftables left for later, for up to tens of milliseconds, with the next change waiting.
func (h *hanger) ask() (err error) {
	if h.ct != nil {
		return nil
	}
	err = inNetNS(h.f.conf.NetNS, func() (err error) {
		if h.routes, err = dial(unix.NETLINK_ROUTE); err == nil {
			h.ct, err = dial(unix.NETLINK_NETFILTER)
		}
		return err
	})
	if err != nil {
		err = errors.Join(err, h.hushed())
	}
	return err
}

// hushed closes what ask opened.
func (h *hanger) hushed() (err error) {
	for _, s := range []*socket{h.ct, h.routes} {
		if s != nil {
			err = errors.Join(err, s.close())
		}
	}
	h.ct, h.routes = nil, nil
	return err
}

// trace asks conntrack for k.
func (s *socket) trace(k sock) (call, error) {
	c := call{sock: k}
	c.flow, _ = k.flow()
	err := s.exchange(trackRequest(k), func(m message) error {
		from, to, _, err := begun(m.payload())
		switch {
		case err != nil:
			return err
		case from == k.local:
			c.ours = true
		default:
			c.flow = flow{
				six: from.Addr().Is6(), remote: bytes16(from.Addr()), local: bytes16(to.Addr()),
				rport: from.Port(), lport: to.Port(), proto: k.proto,
			}
		}
		return nil
	})
	if errors.Is(err, unix.ENOENT) {
		err = nil // forgotten, or never tracked
	}
	return c, err
}

// Conntrack's numbers that x/sys/unix does not name. Addresses are numbered source, destination, and again for IPv6.
const (
	ctGet                                   = 1
	ctTupleOrig                             = 1
	ctTupleIP, ctTupleProto                 = 1, 2
	ctProtoNum, ctProtoSrcPort, ctProtoDest = 1, 2, 3
)

// trackRequest asks for the entry in which our side's tuple is the reply if the other side began, redirected or not, and the
// original if we did.
func trackRequest(k sock) []byte {
	family, first := uint8(unix.AF_INET), uint16(1)
	if k.local.Addr().Is6() {
		family, first = unix.AF_INET6, 3
	}
	return appendMessage(nil, unix.NFNL_SUBSYS_CTNETLINK<<8|ctGet, unix.NLM_F_REQUEST|unix.NLM_F_ACK, 1, family, 0, func(a *attrs) {
		all := a.nest(ctTupleOrig)
		ip := a.nest(ctTupleIP)
		a.raw(first, k.local.Addr().AsSlice())
		a.raw(first+1, k.remote.Addr().AsSlice())
		a.end(ip)
		proto := a.nest(ctTupleProto)
		a.raw(ctProtoNum, []byte{k.proto})
		a.raw(ctProtoSrcPort, binary.BigEndian.AppendUint16(nil, k.local.Port()))
		a.raw(ctProtoDest, binary.BigEndian.AppendUint16(nil, k.remote.Port()))
		a.end(proto)
		a.end(all)
	})
}

// begun reads who began an entry of conntrack's, to where, and the protocol.
func begun(b []byte) (from, to netip.AddrPort, proto uint8, err error) {
	var ips [2]netip.Addr
	var ports [2]uint16
	err = eachAttr(b, func(typ uint16, v []byte) error {
		if typ != ctTupleOrig {
			return nil
		}
		return eachAttr(v, func(part uint16, v []byte) error {
			return eachAttr(v, func(typ uint16, v []byte) error {
				ip, isAddr := netip.AddrFromSlice(v)
				switch {
				case part == ctTupleIP && isAddr && typ >= 1 && typ <= 4:
					ips[(typ-1)%2] = ip
				case part == ctTupleProto && typ == ctProtoNum && len(v) > 0:
					proto = v[0]
				case part == ctTupleProto && (typ == ctProtoSrcPort || typ == ctProtoDest) && len(v) >= 2:
					ports[typ-ctProtoSrcPort] = binary.BigEndian.Uint16(v)
				}
				return nil
			})
		})
	})
	if err == nil && (!ips[0].IsValid() || !ips[1].IsValid()) {
		err = errShort
	}
	return netip.AddrPortFrom(ips[0], ports[0]), netip.AddrPortFrom(ips[1], ports[1]), proto, err
}

// isLocal reports whether the other end of k is this host, too.
func (s *socket) isLocal(k sock) bool {
	const getRoute, newRoute, dst, oif, routeLen = 26, 24, 1, 4, 12
	addr := k.remote.Addr().AsSlice()
	b := make(attrs, headerLen+routeLen)
	b[headerLen], b[headerLen+1] = unix.AF_INET, byte(len(addr)*8)
	if k.remote.Addr().Is6() {
		b[headerLen] = unix.AF_INET6
	}
	b.raw(dst, addr)
	if link := k.id[36:40]; binary.NativeEndian.Uint32(link) != 0 {
		b.raw(oif, link)
	}
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], getRoute)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	local := false
	err := s.exchange(b, func(m message) error {
		local = local || m.typ == newRoute && len(m.body) >= routeLen && m.body[7] == unix.RTN_LOCAL
		return nil
	})
	return err == nil && local
}

// verdicts are the calls that the kernel's rules let no packet of pass: the same questions in the same order.
func (h *hanger) verdicts(calls []call) ([]call, error) {
	f := h.f
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sock == nil || !f.laid || f.suspect {
		return nil, errUnsure
	}
	var cut []call
	for _, c := range calls {
		socket, _ := c.sock.flow()
		if f.entitled(socket) || f.entitled(c.flow) {
			continue
		}
		key := [][]byte{c.flow.key()}
		out, err := f.look(named("outbound", c.flow.six), key)
		if err != nil {
			return nil, err
		}
		in, err := f.look(named("inbound", c.flow.six), key)
		if err != nil {
			return nil, err
		}
		if out[0].key == nil && (!c.ours || in[0].key != nil) {
			cut = append(cut, c)
		}
	}
	return cut, nil
}

// errUnsure: a change failed half way, so that memory does not know who is allowed.
var errUnsure = errors.New("the table is not as it should be")
