package nftables

import (
	"encoding/binary"
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// attrs builds netlink attributes by appending. nf_tables wants numbers big-endian; headers are in the host's order.
type attrs []byte

func (a *attrs) raw(typ uint16, b []byte) {
	*a = binary.NativeEndian.AppendUint16(*a, uint16(4+len(b)))
	*a = binary.NativeEndian.AppendUint16(*a, typ)
	*a = append(*a, b...)
	a.pad()
}

func (a *attrs) str(typ uint16, s string) {
	*a = binary.NativeEndian.AppendUint16(*a, uint16(5+len(s)))
	*a = binary.NativeEndian.AppendUint16(*a, typ)
	*a = append(append(*a, s...), 0)
	a.pad()
}

func (a *attrs) u32(typ uint16, v uint32) {
	*a = binary.NativeEndian.AppendUint16(*a, 8)
	*a = binary.NativeEndian.AppendUint16(*a, typ)
	*a = binary.BigEndian.AppendUint32(*a, v)
}

func (a *attrs) u64(typ uint16, v uint64) {
	*a = binary.NativeEndian.AppendUint16(*a, 12)
	*a = binary.NativeEndian.AppendUint16(*a, typ)
	*a = binary.BigEndian.AppendUint64(*a, v)
}

// nest opens a nested attribute and returns where; end closes it.
func (a *attrs) nest(typ uint16) int {
	at := len(*a)
	*a = binary.NativeEndian.AppendUint16(*a, 0)
	*a = binary.NativeEndian.AppendUint16(*a, typ|unix.NLA_F_NESTED)
	return at
}

func (a *attrs) end(at int) { binary.NativeEndian.PutUint16((*a)[at:], uint16(len(*a)-at)) }

func (a *attrs) pad() {
	for len(*a)%4 != 0 {
		*a = append(*a, 0)
	}
}

var errShort = errors.New("netlink: message cut short")

// eachAttr hands every attribute in b to fn.
func eachAttr(b []byte, fn func(typ uint16, v []byte) error) error {
	for len(b) >= 4 {
		n := int(binary.NativeEndian.Uint16(b))
		typ := binary.NativeEndian.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
		if n < 4 || n > len(b) {
			return errShort
		}
		if err := fn(typ, b[4:n]); err != nil {
			return err
		}
		b = b[min(len(b), (n+3)&^3):]
	}
	if len(b) != 0 {
		return errShort
	}
	return nil
}

func text(b []byte) string { return strings.TrimRight(string(b), "\x00") }

func num32(b []byte) (uint32, error) {
	if len(b) < 4 {
		return 0, errShort
	}
	return binary.BigEndian.Uint32(b), nil
}

func num64(b []byte) (uint64, error) {
	if len(b) < 8 {
		return 0, errShort
	}
	return binary.BigEndian.Uint64(b), nil
}

// message is one netlink message as received.
type message struct {
	typ   uint16
	flags uint16
	seq   uint32
	pid   uint32
	body  []byte
}

const headerLen = 16

// eachMessage hands every message in b to fn.
func eachMessage(b []byte, fn func(message) error) error {
	for len(b) >= headerLen {
		n := int(binary.NativeEndian.Uint32(b))
		if n < headerLen || n > len(b) {
			return errShort
		}
		m := message{
			typ:   binary.NativeEndian.Uint16(b[4:]),
			flags: binary.NativeEndian.Uint16(b[6:]),
			seq:   binary.NativeEndian.Uint32(b[8:]),
			pid:   binary.NativeEndian.Uint32(b[12:]),
			body:  b[headerLen:n],
		}
		if err := fn(m); err != nil {
			return err
		}
		b = b[min(len(b), (n+3)&^3):]
	}
	if len(b) != 0 {
		return errShort
	}
	return nil
}

// verdict reads an NLMSG_ERROR: the errno (0 = acknowledged) and the kernel's words for it, if it has any.
func (m message) verdict() (unix.Errno, string, error) {
	if len(m.body) < 4 {
		return 0, "", errShort
	}
	errno := unix.Errno(-int32(binary.NativeEndian.Uint32(m.body)))
	words := ""
	// With NETLINK_CAP_ACK the answer carries the header of the message in question only, then attributes.
	if m.flags&unix.NLM_F_ACK_TLVS != 0 && len(m.body) >= 4+headerLen {
		rest := m.body[4+headerLen:]
		if m.flags&unix.NLM_F_CAPPED == 0 {
			n := int(binary.NativeEndian.Uint32(m.body[4:]))
			if n < headerLen || 4+n > len(m.body) {
				return errno, "", nil
			}
			rest = m.body[min(len(m.body), 4+(n+3)&^3):]
		}
		_ = eachAttr(rest, func(typ uint16, v []byte) error {
			if typ == unix.NLMSGERR_ATTR_MSG {
				words = text(v)
			}
			return nil
		})
	}
	return errno, words, nil
}

// generation is the nfgenmsg that starts every nfnetlink body.
const generationLen = 4

// payload is m's attributes: its body without the family header.
func (m message) payload() []byte {
	if len(m.body) < generationLen {
		return nil
	}
	return m.body[generationLen:]
}
