package nftables

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ajar-access/ajar"
	"golang.org/x/sys/unix"
)

// What x/sys/unix does not name yet.
const (
	msgDestroyTable = 0x1a // since Linux 6.3: delete, and no fault if there is none
	msgDestroyElem  = 0x1e

	tableOwner   = 0x2
	tablePersist = 0x4

	attrGenPID  = 2
	attrGenName = 3

	setConcat        = 0x80
	descConcat       = 2
	udataByteOrder   = 0
	byteOrderNetwork = 2
	byteOrderHost    = 1
)

// batch is one nf_tables transaction in the making: the kernel takes all of it or nothing.
type batch struct {
	table  string
	clock  ajar.Clock
	buf    attrs
	seq    uint32
	labels []label
	last   int // where the last message starts
	ends   []stamp
}

// stamp is where an element's life goes once it is known when the batch is sent.
type stamp struct {
	at  int
	end int64
}

type label struct {
	seq  uint32
	what string
}

func newBatch(table string, seq uint32, clock ajar.Clock) *batch {
	b := &batch{table: table, seq: seq, clock: clock}
	b.message(unix.NFNL_MSG_BATCH_BEGIN, 0, unix.NFNL_SUBSYS_NFTABLES, nil)
	return b
}

// message appends one message; fill appends its attributes.
func (b *batch) message(typ, flags, res uint16, fill func(*attrs)) {
	b.last = len(b.buf)
	b.buf = appendMessage(b.buf, typ, flags|unix.NLM_F_REQUEST, b.seq, familyOf(res), res, fill)
	b.seq++
}

func familyOf(res uint16) uint8 {
	if res != 0 {
		return unix.AF_UNSPEC
	}
	return unix.NFPROTO_INET
}

func appendMessage(buf attrs, typ, flags uint16, seq uint32, family uint8, res uint16, fill func(*attrs)) attrs {
	at := len(buf)
	buf = binary.NativeEndian.AppendUint32(buf, 0)
	buf = binary.NativeEndian.AppendUint16(buf, typ)
	buf = binary.NativeEndian.AppendUint16(buf, flags)
	buf = binary.NativeEndian.AppendUint32(buf, seq)
	buf = binary.NativeEndian.AppendUint32(buf, 0)
	buf = append(buf, family, unix.NFNETLINK_V0)
	buf = binary.BigEndian.AppendUint16(buf, res)
	if fill != nil {
		fill(&buf)
	}
	binary.NativeEndian.PutUint32(buf[at:], uint32(len(buf)-at))
	return buf
}

func nft(msg uint16) uint16 { return unix.NFNL_SUBSYS_NFTABLES<<8 | msg }

func (b *batch) do(msg, flags uint16, what string, fill func(*attrs)) {
	b.labels = append(b.labels, label{b.seq, what})
	b.message(nft(msg), flags, 0, fill)
}

func (b *batch) empty() bool { return len(b.labels) == 0 }

// tick is by how much the kernel ends a life early on the average of its usual clocks: it counts whole ticks, from the
// one that is under way, and cuts off what is left over.
const tick = 4 * time.Millisecond

// finish closes the transaction. Only the last message asks to be acknowledged: a transaction's messages fail or
// succeed together, and ten thousand acknowledgements would only overrun the queue.
//
// Lives are counted last, so that what building took does not make them too long.
func (b *batch) finish() []byte {
	flags := binary.NativeEndian.Uint16(b.buf[b.last+6:])
	binary.NativeEndian.PutUint16(b.buf[b.last+6:], flags|unix.NLM_F_ACK)
	b.message(unix.NFNL_MSG_BATCH_END, 0, unix.NFNL_SUBSYS_NFTABLES, nil)
	if len(b.ends) > 0 {
		now := b.clock().UnixMilli()
		for _, e := range b.ends {
			binary.BigEndian.PutUint64(b.buf[e.at:], uint64(max(e.end-now+tick.Milliseconds(), soonest.Milliseconds())))
		}
	}
	return b.buf
}

func (b *batch) what(seq uint32) string {
	for _, l := range b.labels {
		if l.seq == seq {
			return l.what
		}
	}
	return "transaction"
}

func (b *batch) newTable(flags uint32) {
	b.do(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE, "table "+b.table, func(a *attrs) {
		a.str(unix.NFTA_TABLE_NAME, b.table)
		a.u32(unix.NFTA_TABLE_FLAGS, flags)
	})
}

func (b *batch) delTable() {
	b.do(unix.NFT_MSG_DELTABLE, 0, "delete table "+b.table, func(a *attrs) { a.str(unix.NFTA_TABLE_NAME, b.table) })
}

func (b *batch) newChain(c chain) {
	b.do(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE, "chain "+c.name, func(a *attrs) {
		a.str(unix.NFTA_CHAIN_TABLE, b.table)
		a.str(unix.NFTA_CHAIN_NAME, c.name)
		if c.base {
			at := a.nest(unix.NFTA_CHAIN_HOOK)
			a.u32(unix.NFTA_HOOK_HOOKNUM, c.hook)
			a.u32(unix.NFTA_HOOK_PRIORITY, uint32(c.priority))
			a.end(at)
			a.u32(unix.NFTA_CHAIN_POLICY, 1) // NF_ACCEPT
			a.str(unix.NFTA_CHAIN_TYPE, "filter")
		}
	})
}

func (b *batch) flushChain(name string) {
	b.do(unix.NFT_MSG_DELRULE, 0, "flush chain "+name, func(a *attrs) {
		a.str(unix.NFTA_RULE_TABLE, b.table)
		a.str(unix.NFTA_RULE_CHAIN, name)
	})
}

func (b *batch) delChain(name string) {
	b.do(unix.NFT_MSG_DELCHAIN, 0, "delete chain "+name, func(a *attrs) {
		a.str(unix.NFTA_CHAIN_TABLE, b.table)
		a.str(unix.NFTA_CHAIN_NAME, name)
	})
}

func (b *batch) newRule(chain string, exprs [][]byte) {
	b.do(unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_APPEND, "rule in "+chain, func(a *attrs) {
		a.str(unix.NFTA_RULE_TABLE, b.table)
		a.str(unix.NFTA_RULE_CHAIN, chain)
		at := a.nest(unix.NFTA_RULE_EXPRESSIONS)
		for _, e := range exprs {
			a.raw(unix.NFTA_LIST_ELEM|unix.NLA_F_NESTED, e)
		}
		a.end(at)
	})
}

func (b *batch) newSet(s set, id uint32) {
	b.do(unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE, "set "+s.name, func(a *attrs) {
		a.str(unix.NFTA_SET_TABLE, b.table)
		a.str(unix.NFTA_SET_NAME, s.name)
		a.u32(unix.NFTA_SET_FLAGS, s.flags())
		typ, length := s.keyType()
		a.u32(unix.NFTA_SET_KEY_TYPE, typ)
		a.u32(unix.NFTA_SET_KEY_LEN, length)
		a.u32(unix.NFTA_SET_ID, id)
		if s.size != 0 || len(s.fields) > 1 {
			s.describe(a)
		}
		order := byte(byteOrderNetwork)
		if s.fields[0] == fieldFIB {
			order = byteOrderHost
		}
		a.raw(unix.NFTA_SET_USERDATA, append([]byte{udataByteOrder, 4}, binary.NativeEndian.AppendUint32(nil, uint32(order))...))
	})
}

func (s set) describe(a *attrs) {
	at := a.nest(unix.NFTA_SET_DESC)
	if s.size != 0 {
		a.u32(unix.NFTA_SET_DESC_SIZE, s.size)
	}
	if len(s.fields) > 1 {
		all := a.nest(descConcat)
		for _, f := range s.fields {
			one := a.nest(unix.NFTA_LIST_ELEM)
			a.u32(1, f.length) // NFTA_SET_FIELD_LEN
			a.end(one)
		}
		a.end(all)
	}
	a.end(at)
}

func (b *batch) delSet(name string) {
	b.do(unix.NFT_MSG_DELSET, 0, "delete set "+name, func(a *attrs) {
		a.str(unix.NFTA_SET_TABLE, b.table)
		a.str(unix.NFTA_SET_NAME, name)
	})
}

func (b *batch) flushSet(name string) {
	b.do(unix.NFT_MSG_DELSETELEM, 0, "flush set "+name, func(a *attrs) {
		a.str(unix.NFTA_SET_ELEM_LIST_TABLE, b.table)
		a.str(unix.NFTA_SET_ELEM_LIST_SET, name)
	})
}

// member is one element of a set: its key, and either when it ends (Unix milliseconds) or how long it lives. Neither is
// for ever.
type member struct {
	key  []byte
	end  int64
	life time.Duration
}

// listBytes bounds one list of elements: an attribute's length has 16 bits.
const listBytes = 48 << 10

// elements appends msg for all ms, in as many messages as it takes.
func (b *batch) elements(msg, flags uint16, name string, ms []member) {
	b.buf = slices.Grow(b.buf, len(ms)*64)
	for len(ms) > 0 {
		b.do(msg, flags, "elements of "+name, func(a *attrs) {
			a.str(unix.NFTA_SET_ELEM_LIST_TABLE, b.table)
			a.str(unix.NFTA_SET_ELEM_LIST_SET, name)
			list := a.nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS)
			for len(ms) > 0 && len(*a)-list < listBytes {
				if ms[0].append(a); ms[0].end != 0 {
					b.ends = append(b.ends, stamp{len(*a) - 8, ms[0].end})
				}
				ms = ms[1:]
			}
			a.end(list)
		})
	}
}

func (m member) append(a *attrs) {
	one := a.nest(unix.NFTA_LIST_ELEM)
	key := a.nest(unix.NFTA_SET_ELEM_KEY)
	a.raw(unix.NFTA_DATA_VALUE, m.key)
	a.end(key)
	if m.life > 0 || m.end != 0 {
		a.u64(unix.NFTA_SET_ELEM_TIMEOUT, uint64(m.life/time.Millisecond)) // must be the last: see elements
	}
	a.end(one)
}

// transact sends b. The kernel has done all of it or nothing when this returns.
func (s *socket) transact(b *batch) error {
	s.drain()
	s.seq = b.seq + 1
	if err := s.send(b.finish()); err != nil {
		return fmt.Errorf("send transaction: %w", err)
	}
	var fault *kernelError
	acked := false
	for {
		buf, ok, err := s.receive(unix.MSG_DONTWAIT)
		if err != nil {
			return fmt.Errorf("read the answer to a transaction: %w", err)
		}
		if !ok {
			break
		}
		err = eachMessage(buf, func(m message) error {
			if m.typ != unix.NLMSG_ERROR {
				return nil
			}
			errno, words, err := m.verdict()
			if err == nil && errno == 0 {
				acked = true
			} else if err == nil && fault == nil {
				fault = &kernelError{errno: errno, words: words, what: b.what(m.seq)}
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	switch {
	case fault != nil:
		return fault
	case !acked:
		return errors.New("netlink: transaction was not acknowledged")
	}
	return nil
}
