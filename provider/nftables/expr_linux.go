package nftables

import (
	"encoding/binary"
	"time"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// rule is expressions in the kernel's form, ready to be nested.
type rule [][]byte

// Registers are counted in words of four bytes, as concatenated keys need them.
func word(n int) uint32 { return unix.NFT_REG32_00 + uint32(n) }

func enc(es ...expr.Any) rule {
	r := make(rule, 0, len(es))
	for _, e := range es {
		b, err := expr.Marshal(unix.NFPROTO_INET, e)
		if err != nil {
			panic("nftables: constant expression: " + err.Error()) // constants only: a fault here is found by any test
		}
		r = append(r, b)
	}
	return r
}

func join(rs ...rule) rule {
	var out rule
	for _, r := range rs {
		out = append(out, r...)
	}
	return out
}

// part loads a value of some words into registers from a word on.
type part struct {
	words int
	load  func(at uint32) rule
}

func payload(base expr.PayloadBase, offset, length uint32) part {
	return part{int(length+3) / 4, func(at uint32) rule {
		return enc(&expr.Payload{DestRegister: at, Base: base, Offset: offset, Len: length})
	}}
}

func meta(key expr.MetaKey) part {
	return part{1, func(at uint32) rule { return enc(&expr.Meta{Key: key, Register: at}) }}
}

// ctOriginal is conntrack's view of the side that began. expr.Ct writes no direction for the keys that name a family, and
// the kernel refuses them without.
func ctOriginal(key uint32, words int) part {
	return part{words, func(at uint32) rule { return ctRule(key, at, true) }}
}

func ctRule(key, at uint32, original bool) rule {
	var a attrs
	a.str(unix.NFTA_EXPR_NAME, "ct")
	n := a.nest(unix.NFTA_EXPR_DATA)
	a.u32(unix.NFTA_CT_KEY, key)
	a.u32(unix.NFTA_CT_DREG, at)
	if original {
		a.raw(unix.NFTA_CT_DIRECTION, []byte{0})
	}
	a.end(n)
	return rule{a}
}

var (
	l4proto = meta(expr.MetaKeyL4PROTO)
	sport   = payload(expr.PayloadBaseTransportHeader, 0, 2)
	dport   = payload(expr.PayloadBaseTransportHeader, 2, 2)
)

func saddr(six bool) part {
	if six {
		return payload(expr.PayloadBaseNetworkHeader, 8, 16)
	}
	return payload(expr.PayloadBaseNetworkHeader, 12, 4)
}

func daddr(six bool) part {
	if six {
		return payload(expr.PayloadBaseNetworkHeader, 24, 16)
	}
	return payload(expr.PayloadBaseNetworkHeader, 16, 4)
}

// masked is p with all but its first bits cleared.
func masked(p part, bits int) part {
	length := p.words * 4
	if bits == length*8 {
		return p
	}
	mask := make([]byte, length)
	for i := range bits {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return part{p.words, func(at uint32) rule {
		return join(p.load(at), enc(&expr.Bitwise{
			SourceRegister: at, DestRegister: at, Len: uint32(length), Mask: mask, Xor: make([]byte, length),
		}))
	}}
}

func concat(ps ...part) rule {
	var r rule
	at := 0
	for _, p := range ps {
		r = append(r, p.load(word(at))...)
		at += p.words
	}
	return r
}

// in matches what a set holds.
func in(set string, ps ...part) rule {
	return join(concat(ps...), enc(&expr.Lookup{SourceRegister: word(0), SetName: set}))
}

// remember adds to a set, or renews what is there.
func remember(set string, life time.Duration, ps ...part) rule {
	return join(concat(ps...), enc(&expr.Dynset{
		SrcRegKey: word(0), SetName: set, Operation: unix.NFT_DYNSET_OP_UPDATE, Timeout: life,
	}))
}

func equal(p part, v ...byte) rule {
	return join(p.load(word(0)), enc(&expr.Cmp{Op: expr.CmpOpEq, Register: word(0), Data: v}))
}

func host32(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

func isFamily(six bool) rule {
	v := byte(unix.NFPROTO_IPV4)
	if six {
		v = unix.NFPROTO_IPV6
	}
	return equal(meta(expr.MetaKeyNFPROTO), v)
}

func isTCP() rule { return equal(l4proto, unix.IPPROTO_TCP) }
func isUDP() rule { return equal(l4proto, unix.IPPROTO_UDP) }

const (
	flagSYN = 0x02
	flagRST = 0x04
	flagACK = 0x10
)

// tcpFlags matches TCP packets whose flags under mask are (or are not) want.
func tcpFlags(mask byte, op expr.CmpOp, want byte) rule {
	return join(isTCP(), payload(expr.PayloadBaseTransportHeader, 13, 1).load(word(0)), enc(
		&expr.Bitwise{SourceRegister: word(0), DestRegister: word(0), Len: 1, Mask: []byte{mask}, Xor: []byte{0}},
		&expr.Cmp{Op: op, Register: word(0), Data: []byte{want}},
	))
}

// begins matches a TCP packet that begins a connection; goesOn any other TCP packet.
func begins() rule { return tcpFlags(flagSYN|flagACK, expr.CmpOpEq, flagSYN) }
func goesOn() rule { return tcpFlags(flagSYN|flagACK, expr.CmpOpNeq, flagSYN) }
func resets() rule { return tcpFlags(flagRST, expr.CmpOpEq, flagRST) }

const (
	dirOriginal = 0
	dirReply    = 1
	statusDNAT  = 1 << 5 // IPS_DST_NAT
)

func ctDirection(d byte) rule {
	return join(ctRule(unix.NFT_CT_DIRECTION, word(0), false), enc(&expr.Cmp{Op: expr.CmpOpEq, Register: word(0), Data: []byte{d}}))
}

// ctHas matches where any of bits is set in a conntrack word.
func ctHas(key, bits uint32) rule {
	return join(ctRule(key, word(0), false), enc(
		&expr.Bitwise{SourceRegister: word(0), DestRegister: word(0), Len: 4, Mask: host32(bits), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: word(0), Data: make([]byte, 4)},
	))
}

func ctState(bits uint32) rule { return ctHas(unix.NFT_CT_STATE, bits) }

// isHere matches addresses that are this host's: local, broadcast, anycast, multicast.
func isHere(source bool) rule {
	return join(enc(&expr.Fib{Register: word(0), ResultADDRTYPE: true, FlagSADDR: source, FlagDADDR: !source},
		&expr.Lookup{SourceRegister: word(0), SetName: "here"}))
}

func isNotHere() rule {
	return enc(&expr.Fib{Register: word(0), ResultADDRTYPE: true, FlagDADDR: true}, &expr.Lookup{SourceRegister: word(0), SetName: "here", Invert: true})
}

func loops(key expr.MetaKey) rule {
	return equal(meta(key), binary.NativeEndian.AppendUint16(nil, unix.ARPHRD_LOOPBACK)...)
}

func accept() rule { return enc(&expr.Verdict{Kind: expr.VerdictAccept}) }
func drop() rule   { return enc(&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop}) }

func jumpTo(c string) rule { return enc(&expr.Verdict{Kind: expr.VerdictJump, Chain: c}) }
func goTo(c string) rule   { return enc(&expr.Verdict{Kind: expr.VerdictGoto, Chain: c}) }

// rejects are the two ways to say no.
func rejects() []rule {
	const portUnreachable = 1 // NFT_REJECT_ICMPX_PORT_UNREACH
	return []rule{
		join(isTCP(), enc(&expr.Counter{}, &expr.Reject{Type: unix.NFT_REJECT_TCP_RST})),
		enc(&expr.Counter{}, &expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: portUnreachable}),
	}
}
