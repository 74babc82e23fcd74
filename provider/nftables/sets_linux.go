package nftables

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// field is one part of a set's key: nft's number for its type, and its length.
type field struct {
	magic  uint32
	length uint32
}

var (
	fieldAddr4 = field{7, 4}
	fieldAddr6 = field{8, 16}
	fieldProto = field{12, 1}
	fieldPort  = field{13, 2}
	fieldFIB   = field{38, 4}
)

func (f field) padded() uint32 { return (f.length + 3) &^ 3 }

// set is a set's definition.
type set struct {
	name    string
	fields  []field
	timed   bool
	dynamic bool   // packets add to it
	size    uint32 // 0 = no bound
}

func (s set) flags() uint32 {
	var f uint32
	if s.timed {
		f |= unix.NFT_SET_TIMEOUT
	}
	if s.dynamic {
		f |= unix.NFT_SET_EVAL
	}
	if len(s.fields) > 1 {
		f |= setConcat
	}
	return f
}

func (s set) keyType() (typ, length uint32) {
	for _, f := range s.fields {
		typ = typ<<6 | f.magic
		length += f.padded()
	}
	if len(s.fields) == 1 {
		length = s.fields[0].length
	}
	return typ, length
}

const (
	tupleLimit   = 65536
	refusedLimit = 4096
)

func addrField(six bool) field {
	if six {
		return fieldAddr6
	}
	return fieldAddr4
}

// fixedSets are there however many openings there are.
func fixedSets() []set {
	sets := []set{
		{name: "here", fields: []field{fieldFIB}},
		{name: "guard", fields: []field{fieldProto, fieldPort}, timed: true},
	}
	for _, six := range []bool{false, true} {
		a := addrField(six)
		tuple := []field{a, fieldPort, a, fieldPort, fieldProto}
		sets = append(sets, set{name: named("guard", six), fields: []field{a, fieldProto, fieldPort}, timed: true})
		for _, name := range []string{"grace", "outbound", "inbound", "answered", "halted"} {
			sets = append(sets, set{name: named(name, six), fields: tuple, timed: true, dynamic: true, size: tupleLimit})
		}
		sets = append(sets, set{
			name: named("refused", six), fields: []field{a, fieldProto, fieldPort}, timed: true, dynamic: true, size: refusedLimit,
		})
	}
	return sets
}

func named(name string, six bool) string {
	if six {
		return name + "6"
	}
	return name + "4"
}

// shape is what openings in one set have in common.
type shape struct {
	six   bool
	bits  uint8 // length of the source prefix
	to    bool  // towards one destination
	drain bool  // for established connections only
}

// exact are the shapes that nearly every opening has; their sets are always there, so that opening is one small
// transaction.
var exact = []shape{{bits: 32}, {six: true, bits: 128}}

func (s shape) name() string {
	name := "open"
	if s.drain {
		name = "drain"
	}
	name = named(name, s.six)
	if s.to {
		name += "to"
	}
	return name + "_" + strconv.Itoa(int(s.bits))
}

// shapeOf reads a set's name back.
func shapeOf(name string) (shape, bool) {
	head, bits, ok := strings.Cut(name, "_")
	n, err := strconv.ParseUint(bits, 10, 8)
	if !ok || err != nil {
		return shape{}, false
	}
	s := shape{bits: uint8(n)}
	head, s.to = strings.CutSuffix(head, "to")
	switch head {
	case "open4":
	case "open6":
		s.six = true
	case "drain4":
		s.drain = true
	case "drain6":
		s.six, s.drain = true, true
	default:
		return shape{}, false
	}
	return s, s.name() == name && n <= uint64(s.addrBits())
}

func (s shape) addrBits() int {
	if s.six {
		return 128
	}
	return 32
}

func (s shape) set() set {
	var fs []field
	if s.bits > 0 {
		fs = append(fs, addrField(s.six))
	}
	if s.to {
		fs = append(fs, addrField(s.six))
	}
	return set{name: s.name(), fields: append(fs, fieldProto, fieldPort), timed: true}
}

// place is one element: a shape's set and a key in it.
type place struct {
	shape shape
	src   [16]byte // masked; IPv4 in the first four bytes
	dst   [16]byte
	proto uint8
	port  uint16
}

// key is p's key as the kernel has it: every field padded to four bytes.
func (p place) key() []byte {
	n := 4
	if p.shape.six {
		n = 16
	}
	b := make([]byte, 0, 40)
	if p.shape.bits > 0 {
		b = append(b, p.src[:n]...)
	}
	if p.shape.to {
		b = append(b, p.dst[:n]...)
	}
	return append(b, p.proto, 0, 0, 0, byte(p.port>>8), byte(p.port), 0, 0)
}

// placeOf reads a kernel's key back.
func placeOf(s shape, key []byte) (place, error) {
	n := s.addrBits() / 8
	_, want := s.set().keyType()
	if len(key) != int(want) {
		return place{}, fmt.Errorf("key of %d bytes in %s, want %d", len(key), s.name(), want)
	}
	p := place{shape: s}
	if s.bits > 0 {
		copy(p.src[:], key[:n])
		key = key[n:]
	}
	if s.to {
		copy(p.dst[:], key[:n])
		key = key[n:]
	}
	p.proto, p.port = key[0], uint16(key[4])<<8|uint16(key[5])
	return p, nil
}

func (p place) addr(b [16]byte) netip.Addr {
	if p.shape.six {
		return netip.AddrFrom16(b)
	}
	return netip.AddrFrom4([4]byte(b[:4]))
}

// prefix is the source that p opens to.
func (p place) prefix() netip.Prefix { return netip.PrefixFrom(p.addr(p.src), int(p.shape.bits)) }

// dest is the destination that p opens; the zero Addr for all.
func (p place) dest() netip.Addr {
	if !p.shape.to {
		return netip.Addr{}
	}
	return p.addr(p.dst)
}

func (p place) String() string {
	s := fmt.Sprintf("%s %s %d/%s", p.shape.name(), p.prefix(), p.port, protoName(p.proto))
	if p.shape.to {
		s += " at " + p.dest().String()
	}
	return s
}
