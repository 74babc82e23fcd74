package nftables

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// monitor hears of changes to nf_tables by anybody but us.
type monitor struct {
	table string
	file  *os.File // in the runtime's poller, so that a wait ends with its context
	buf   []byte
}

func watch(table string, ours uint32) (*monitor, error) {
	s, err := dial(unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, err
	}
	err = unix.SetsockoptInt(s.fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, unix.NFNLGRP_NFTABLES)
	if err == nil {
		err = ignore(s.fd, ours)
	}
	if err == nil {
		err = unix.SetNonblock(s.fd, true)
	}
	if err != nil {
		_ = s.close()
		return nil, fmt.Errorf("watch nf_tables: %w", err)
	}
	return &monitor{table: table, file: os.NewFile(uintptr(s.fd), "nf_tables events"), buf: s.buf}, nil
}

// ignore lets the kernel throw our own changes away, or one Apply of many openings would overrun the queue. The number
// is compared as the filter loads it: big-endian, while the header is in the host's order.
func ignore(fd int, pid uint32) error {
	k := binary.BigEndian.Uint32(binary.NativeEndian.AppendUint32(nil, pid))
	prog := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 12}, // nlmsg_pid
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: k, Jt: 0, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
		{Code: unix.BPF_RET | unix.BPF_K, K: ^uint32(0)},
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]})
}

func (m *monitor) close() error { return m.file.Close() }

// drift is what somebody else did to our table in one transaction.
type drift struct {
	pid      uint32
	by       string // the process's name
	counts   map[string]int
	elems    map[string][][]byte // keys that were added or deleted, by set
	whole    bool                // more than elements: look at the structure
	contents bool                // elements went without a notice for each: look at everything
}

func (d *drift) empty() bool { return len(d.counts) == 0 }

func newDrift() *drift { return &drift{counts: map[string]int{}, elems: map[string][][]byte{}} }

var changes = map[uint16]string{
	unix.NFT_MSG_NEWTABLE: "table changed", unix.NFT_MSG_DELTABLE: "table deleted",
	unix.NFT_MSG_NEWCHAIN: "chain added", unix.NFT_MSG_DELCHAIN: "chain deleted",
	unix.NFT_MSG_NEWRULE: "rule added", unix.NFT_MSG_DELRULE: "rule deleted",
	unix.NFT_MSG_NEWSET: "set added", unix.NFT_MSG_DELSET: "set deleted",
	unix.NFT_MSG_NEWSETELEM: "element added", unix.NFT_MSG_DELSETELEM: "element deleted",
	unix.NFT_MSG_NEWOBJ: "object added", unix.NFT_MSG_DELOBJ: "object deleted",
	unix.NFT_MSG_NEWFLOWTABLE: "flowtable added", unix.NFT_MSG_DELFLOWTABLE: "flowtable deleted",
}

// note works one message into d. It reports whether the message ends a transaction.
func (d *drift) note(table string, m message) (end bool, err error) {
	if m.typ>>8 != unix.NFNL_SUBSYS_NFTABLES {
		return false, nil
	}
	kind := m.typ & 0xff
	if kind == unix.NFT_MSG_NEWGEN {
		return true, eachAttr(m.payload(), func(typ uint16, v []byte) (err error) {
			switch typ {
			case attrGenPID:
				d.pid, err = num32(v)
			case attrGenName:
				d.by = text(v)
			}
			return err
		})
	}
	words, ok := changes[kind]
	if !ok || len(m.body) < generationLen || m.body[0] != unix.NFPROTO_INET {
		return false, nil
	}
	name := ""
	err = eachAttr(m.payload(), func(typ uint16, v []byte) error {
		if typ == unix.NFTA_TABLE_NAME { // the same number in every kind of message
			name = text(v)
		}
		return nil
	})
	if err != nil || name != table {
		return false, err
	}
	d.counts[words]++
	if kind != unix.NFT_MSG_NEWSETELEM && kind != unix.NFT_MSG_DELSETELEM {
		d.whole = true
		switch kind {
		case unix.NFT_MSG_NEWTABLE, unix.NFT_MSG_DELTABLE, unix.NFT_MSG_DELSET, unix.NFT_MSG_NEWSET:
			d.contents = true
		}
		return false, nil
	}
	_, set, es, err := readElements(m.payload())
	for _, e := range es {
		d.elems[set] = append(d.elems[set], e.key)
	}
	return false, err
}

// next waits for the next transaction of somebody else that touches our table.
func (m *monitor) next(ctx context.Context) (*drift, error) {
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(woken)
		_ = m.file.SetReadDeadline(time.Unix(1, 0)) // long past: wakes the wait
	})
	defer func() {
		if !stop() {
			<-woken
			_ = m.file.SetReadDeadline(time.Time{})
		}
	}()
	d := newDrift()
	for {
		b, err := m.read()
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case errors.Is(err, unix.ENOBUFS):
			d.whole, d.contents = true, true
			d.counts["notice lost"]++
			return d, nil
		case err != nil:
			return nil, fmt.Errorf("watch nf_tables: %w", err)
		}
		ended := false
		err = eachMessage(b, func(msg message) error {
			end, err := d.note(m.table, msg)
			ended = ended || end
			return err
		})
		if err != nil {
			d.whole, d.contents = true, true
			d.counts["notice not understood"]++
		}
		if ended || err != nil {
			if !d.empty() {
				return d, nil
			}
			d = newDrift()
		}
	}
}

func (m *monitor) read() (b []byte, err error) {
	raw, err := m.file.SyscallConn()
	if err != nil {
		return nil, err
	}
	var n int
	var fault error
	err = raw.Read(func(fd uintptr) bool {
		n, _, fault = unix.Recvfrom(int(fd), m.buf, unix.MSG_DONTWAIT)
		return !errors.Is(fault, unix.EAGAIN) && !errors.Is(fault, unix.EINTR)
	})
	if err == nil {
		err = fault
	}
	return m.buf[:max(n, 0)], err
}
