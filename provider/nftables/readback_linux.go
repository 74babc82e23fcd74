package nftables

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// late is how much later than allowed an element may read: what passes between the clock and the kernel on a busy
// machine. One that reads later is written again.
const late = 10 * time.Millisecond

// held is one element as the kernel has it.
type held struct {
	key     []byte
	life    time.Duration // as given
	expires time.Duration // what is left; 0 = no end
	at      int64         // when that was so, Unix milliseconds; set in lists
}

// end is when h ends.
func (h held) end() int64 {
	if h.expires <= 0 {
		return forever
	}
	return h.at + h.expires.Milliseconds()
}

// readElements decodes a message that lists elements.
func readElements(body []byte) (table, set string, es []held, err error) {
	err = eachAttr(body, func(typ uint16, v []byte) error {
		switch typ {
		case unix.NFTA_SET_ELEM_LIST_TABLE:
			table = text(v)
		case unix.NFTA_SET_ELEM_LIST_SET:
			set = text(v)
		case unix.NFTA_SET_ELEM_LIST_ELEMENTS:
			return eachAttr(v, func(_ uint16, v []byte) error {
				e, err := readElement(v)
				es = append(es, e)
				return err
			})
		}
		return nil
	})
	return table, set, es, err
}

func readElement(b []byte) (e held, err error) {
	err = eachAttr(b, func(typ uint16, v []byte) error {
		switch typ {
		case unix.NFTA_SET_ELEM_KEY:
			return eachAttr(v, func(typ uint16, v []byte) error {
				if typ == unix.NFTA_DATA_VALUE {
					e.key = append([]byte(nil), v...)
				}
				return nil
			})
		case unix.NFTA_SET_ELEM_TIMEOUT:
			e.life, err = millis(v)
		case unix.NFTA_SET_ELEM_EXPIRATION:
			e.expires, err = millis(v)
		}
		return err
	})
	return e, err
}

func millis(b []byte) (time.Duration, error) {
	n, err := num64(b)
	if n > uint64((1<<63-1)/time.Millisecond) {
		n = 0
	}
	return time.Duration(n) * time.Millisecond, err
}

// request is a single message outside a transaction.
func (f *Firewall) request(msg, flags uint16, fill func(*attrs)) []byte {
	f.sock.seq++
	return appendMessage(nil, nft(msg), flags|unix.NLM_F_REQUEST, f.sock.seq, unix.NFPROTO_INET, 0, fill)
}

// asked bounds the keys of one question: each answer takes a page of the socket's queue.
const asked = 48

// readBack reads every edited element and returns those that are not as they should be.
func (f *Firewall) readBack(ctx context.Context, es []edit) (wrong []edit, err error) {
	for i := 0; i < len(es); {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		j := i + 1
		for j < len(es) && j-i < asked && es[j].place.shape == es[i].place.shape && (es[j].end == 0) == (es[i].end == 0) {
			j++
		}
		if es[i].end == 0 {
			j = i + 1 // an absent element ends the kernel's answer: ask one by one
		}
		bad, err := f.ask(es[i:j])
		if err != nil {
			return nil, err
		}
		wrong = append(wrong, bad...)
		i = j
	}
	return wrong, nil
}

// ask reads elements of one set by their keys.
func (f *Firewall) ask(es []edit) (wrong []edit, err error) {
	keys := make([][]byte, len(es))
	for i, e := range es {
		keys[i] = e.place.key()
	}
	now := f.clock().UnixMilli() // before the kernel answers: what is left then is no more than what is left now
	got, err := f.look(es[0].place.shape.name(), keys)
	if err != nil {
		return nil, err
	}
	for i, e := range es {
		switch {
		case got[i].key == nil && (e.end == 0 || e.end <= f.clock().UnixMilli()+soonest.Milliseconds()): // gone, as it should be
		case got[i].key == nil, !e.ok(got[i], now):
			wrong = append(wrong, e)
		}
	}
	return wrong, nil
}

// look reads elements of one set by their keys, in order; one that is not there has no key.
func (f *Firewall) look(set string, keys [][]byte) ([]held, error) {
	all := make([]held, 0, len(keys))
	for len(all) < len(keys) {
		n := len(all)
		err := f.sock.exchange(f.request(unix.NFT_MSG_GETSETELEM, unix.NLM_F_ACK, func(a *attrs) {
			a.str(unix.NFTA_SET_ELEM_LIST_TABLE, f.table)
			a.str(unix.NFTA_SET_ELEM_LIST_SET, set)
			list := a.nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS)
			for _, k := range keys[n:] {
				member{key: k}.append(a)
			}
			a.end(list)
		}), func(m message) error {
			_, _, hs, err := readElements(m.payload())
			all = append(all, hs...)
			return err
		})
		switch {
		case errors.Is(err, unix.ENOENT) && len(all) < len(keys):
			all = append(all, held{}) // the first one without an answer is the one that is not there
		case err != nil:
			return nil, fmt.Errorf("read back from %s: %w", set, err)
		case len(all) != len(keys):
			return nil, fmt.Errorf("read back from %s: %d answers to %d questions", set, len(all), len(keys))
		}
	}
	return all, nil
}

// ok reports whether the kernel has e as it should be. An opening without an end is a fault, not an opening.
func (e edit) ok(h held, now int64) bool {
	if e.end == 0 {
		return false
	}
	left := max(time.Duration(e.end-now)*time.Millisecond, soonest)
	return h.expires > 0 && h.expires <= left+late
}

// list dumps a set. The hash sets of the kernel list slowly when they are big: only for looking at the whole.
func (f *Firewall) list(ctx context.Context, set string) (all []held, err error) {
	var at int64 // the kernel writes the next piece while it hands out the one before
	err = f.sock.dump(ctx, func() []byte {
		return f.request(unix.NFT_MSG_GETSETELEM, unix.NLM_F_DUMP, func(a *attrs) {
			a.str(unix.NFTA_SET_ELEM_LIST_TABLE, f.table)
			a.str(unix.NFTA_SET_ELEM_LIST_SET, set)
		})
	}, func() { all, at = nil, f.clock().UnixMilli() }, func(m message) error {
		next := f.clock().UnixMilli()
		_, _, hs, err := readElements(m.payload())
		for i := range hs {
			hs[i].at = at
		}
		all, at = append(all, hs...), next
		return err
	})
	return all, err
}

// names dumps the names of chains or sets in our table.
func (f *Firewall) names(ctx context.Context, msg uint16, attrTable, attrName uint16) (names []string, err error) {
	err = f.sock.dump(ctx, func() []byte {
		return f.request(msg, unix.NLM_F_DUMP, func(a *attrs) { a.str(attrTable, f.table) })
	}, func() { names = nil }, func(m message) error {
		var table, name string
		err := eachAttr(m.payload(), func(typ uint16, v []byte) error {
			switch typ {
			case attrTable:
				table = text(v)
			case attrName:
				name = text(v)
			}
			return nil
		})
		if table == f.table {
			names = append(names, name)
		}
		return err
	})
	return names, err
}
