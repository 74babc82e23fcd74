package nftables

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/ajar-access/ajar"
	"golang.org/x/sys/unix"
)

func protoName(p uint8) string {
	if p == unix.IPPROTO_UDP {
		return string(ajar.UDP)
	}
	return string(ajar.TCP)
}

func protocols(p ajar.Protocol) ([]uint8, error) {
	switch p {
	case ajar.TCP:
		return []uint8{unix.IPPROTO_TCP}, nil
	case ajar.UDP:
		return []uint8{unix.IPPROTO_UDP}, nil
	case ajar.Both:
		return []uint8{unix.IPPROTO_TCP, unix.IPPROTO_UDP}, nil
	}
	return nil, ajar.Errorf(ajar.Invalid, "protocol %q is not TCP, UDP or *", p)
}

func bytes16(a netip.Addr) (b [16]byte) {
	if a.Is4() {
		four := a.As4()
		copy(b[:], four[:])
		return b
	}
	return a.As16()
}

// plain checks a source and brings it to its one form: masked, IPv4 as IPv4.
func plain(p netip.Prefix) (netip.Prefix, error) {
	switch {
	case !p.IsValid():
		return p, ajar.Errorf(ajar.Invalid, "a source is not a prefix")
	case p.Addr().Zone() != "":
		return p, ajar.Errorf(ajar.Invalid, "source %s has a zone", p)
	case p.Addr().Is4In6():
		if p.Bits() < 96 {
			return p, ajar.Errorf(ajar.Invalid, "source %s mixes IPv4 and IPv6", p)
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), nil
}

// wish is one element that a rule asks for, and until when.
type wish struct {
	place place
	until int64 // Unix milliseconds
}

// wishes are the elements of r. Sources of another family than its destination open nothing.
func wishes(r ajar.Rule) ([]wish, error) {
	protos, err := protocols(r.Port.Protocol)
	if err != nil {
		return nil, err
	}
	if r.Expires.IsZero() {
		return nil, ajar.Errorf(ajar.Invalid, "the rule of lease %s has no end", r.Lease)
	}
	dest := r.Dest.Unmap()
	ws := make([]wish, 0, len(r.Sources)*len(protos))
	for _, source := range r.Sources {
		p, err := plain(source)
		if err != nil {
			return nil, fmt.Errorf("lease %s: %w", r.Lease, err)
		}
		if dest.IsValid() && dest.Is4() != p.Addr().Is4() {
			continue
		}
		at := place{shape: shape{six: p.Addr().Is6(), bits: uint8(p.Bits()), to: dest.IsValid()}, src: bytes16(p.Addr()), port: r.Port.Number}
		if at.shape.to {
			at.dst = bytes16(dest)
		}
		for _, proto := range protos {
			at.proto, at.shape.drain = proto, false
			ws = append(ws, wish{at, r.Expires.UnixMilli()})
			if r.HardStop.After(r.Expires) {
				at.shape.drain = true
				ws = append(ws, wish{at, r.HardStop.UnixMilli()})
			}
		}
	}
	return ws, nil
}

// hold is one lease's share in an element, and those of others.
type hold struct {
	by    *ajar.Packed // whose lease it is; nil = nobody's
	until int64
	next  *hold
}

// elem is what we want of one element and what the kernel was last seen to have. There are as many as openings, and
// nearly all are held by one.
type elem struct {
	hold
	wrote int64  // Unix milliseconds; 0 = not there
	due   int64  // the end that nobody has hung up at yet, Unix milliseconds; 0 = none
	at    int32  // place in the queue of ends, counted from 1; 0 = not in it
	port  uint16 // that is waited for; 0 where nobody hangs up: UDP
	about bool   // wrote was computed from a listing and may be off by some milliseconds
}

// until is the latest end of those who hold e.
func (e *elem) until() int64 {
	var end int64
	for h := &e.hold; h != nil; h = h.next {
		end = max(end, h.until)
	}
	return end
}

// held reports whether anybody holds e.
func (e *elem) held() bool { return e.by != nil }

func (e *elem) add(by *ajar.Packed, until int64) {
	if e.held() {
		e.next = &hold{by, until, e.next}
	} else {
		e.hold = hold{by: by, until: until}
	}
}

func (e *elem) drop(by *ajar.Packed) {
	if e.by == by {
		if e.next != nil {
			e.hold = *e.next
		} else {
			e.hold = hold{}
		}
		return
	}
	for h := &e.hold; h.next != nil; h = h.next {
		if h.next.by == by {
			h.next = h.next.next
			return
		}
	}
}

// book is all openings in memory. It makes one change independent of how many openings there are.
type book struct {
	rules map[ajar.LeaseID]*ajar.Packed
	elems map[place]*elem
	count map[shape]int // of elements
	queue queue
	lost  map[uint16]struct{} // TCP ports where connections lost their permission and were not hung up yet
}

func newBook() *book {
	return &book{rules: map[ajar.LeaseID]*ajar.Packed{}, elems: map[place]*elem{}, count: map[shape]int{}, lost: map[uint16]struct{}{}}
}

// drop takes a lease's holds away and adds the places to touched.
func (k *book) drop(id ajar.LeaseID, touched map[place]struct{}) {
	p, ok := k.rules[id]
	if !ok {
		return
	}
	ws, _ := wishes(p.Rule(id)) // it was checked when it came in
	for _, w := range ws {
		if e := k.elems[w.place]; e != nil {
			e.drop(p)
			k.queue.set(e, e.until())
			touched[w.place] = struct{}{}
		}
	}
	delete(k.rules, id)
}

// put gives a lease the holds of r, which are ws, instead of those it has.
func (k *book) put(r ajar.Rule, ws []wish, touched map[place]struct{}) {
	k.drop(r.Lease, touched)
	p := r.Pack()
	k.rules[r.Lease] = &p
	for _, w := range ws {
		e := k.at(w.place)
		e.drop(&p) // a rule may name one source twice
		e.add(&p, w.until)
		k.queue.set(e, e.until())
		touched[w.place] = struct{}{}
	}
}

func (k *book) at(p place) *elem {
	e := k.elems[p]
	if e == nil {
		e = &elem{}
		if p.proto == unix.IPPROTO_TCP {
			e.port = p.port
		}
		k.elems[p] = e
		k.count[p.shape]++
	}
	return e
}

// forget removes elements that nobody holds and the kernel does not have.
func (k *book) forget(p place) {
	if e := k.elems[p]; e != nil && !e.held() && e.wrote == 0 {
		delete(k.elems, p)
		if k.count[p.shape]--; k.count[p.shape] == 0 {
			delete(k.count, p.shape)
		}
	}
}

// shapes are those with elements, and the exact ones.
func (k *book) shapes() []shape {
	ss := slices.Clone(exact)
	for s := range k.count {
		if !slices.Contains(exact, s) {
			ss = append(ss, s)
		}
	}
	return ss
}

// edit is what must be done to one element.
type edit struct {
	place place
	end   int64 // 0 = delete
}

// soonest is the shortest life that is written. The kernel counts in ticks (10 ms at the slowest) and takes a life of
// less than one for no end at all.
const soonest = 12 * time.Millisecond

// near is how many milliseconds a listed end may be early for it to be the one that was meant; nearer, where an opening that
// was found is left as it is, so that it still counts as meant when it is looked at again.
const (
	near   = 40
	nearer = 30
)

// edits compares touched places with the kernel.
func (k *book) edits(now int64, touched map[place]struct{}) []edit {
	es := make([]edit, 0, len(touched))
	for p := range touched {
		e := k.elems[p]
		if e == nil {
			continue
		}
		end := e.until()
		if end == 0 && e.port != 0 && (e.due != 0 || e.wrote > now) {
			// Taken away before its end, or before anybody came to hang up at its end.
			k.lost[e.port], e.due = struct{}{}, 0
		}
		if end < now+soonest.Milliseconds() {
			end = 0
		}
		if e.about && e.wrote <= end+5 && e.wrote >= end-nearer {
			e.wrote = end // what is meant is there
		}
		e.about = false
		if end != e.wrote {
			es = append(es, edit{p, end})
		} else if end == 0 {
			k.forget(p)
		}
	}
	return es
}
