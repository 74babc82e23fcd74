package nftables

import (
	"context"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/ajar-access/ajar"
	"golang.org/x/sys/unix"
)

// bar is one element of a guard set.
type bar struct {
	to    bool
	six   bool
	dst   [16]byte
	proto uint8
	port  uint16
}

// forever is the end of a confirmed guard.
const forever = math.MaxInt64

// bars are the elements that g asks for.
func bars(g ajar.Guard, now int64) (map[bar]int64, error) {
	protos, err := protocols(g.Port.Protocol)
	if err != nil {
		return nil, err
	}
	end := int64(forever)
	if !g.ConfirmBy.IsZero() {
		if end = g.ConfirmBy.UnixMilli(); end < now+soonest.Milliseconds() {
			return nil, nil // not confirmed in time: no longer wanted
		}
	}
	m := map[bar]int64{}
	for _, proto := range protos {
		k := bar{proto: proto, port: g.Port.Number}
		if d := g.Dest.Unmap(); d.IsValid() {
			k.to, k.six, k.dst = true, d.Is6(), bytes16(d)
		}
		m[k] = end
	}
	return m, nil
}

func (k bar) set() string {
	if !k.to {
		return "guard"
	}
	return named("guard", k.six)
}

func (k bar) key() []byte {
	p := place{shape: shape{six: k.six, to: k.to}, dst: k.dst, proto: k.proto, port: k.port}
	return p.key()
}

// barOf reads a kernel's key back.
func barOf(set string, key []byte) (bar, error) {
	p, err := placeOf(shape{to: set != "guard", six: set == "guard6"}, key)
	return bar{to: p.shape.to, six: p.shape.six, dst: p.dst, proto: p.proto, port: p.port}, err
}

func (k bar) dest() netip.Addr {
	return place{shape: shape{six: k.six, to: k.to}, dst: k.dst}.dest()
}

// covers reports whether k guards c's port.
func (k bar) covers(c flow) bool {
	return k.port == c.lport && k.proto == c.proto && (!k.to || (k.six == c.six && k.dst == c.local))
}

// reguard appends to b what makes the guards as wanted. What it returns must be called once b is in the kernel.
func (f *Firewall) reguard(ctx context.Context, b *batch, guards []ajar.Guard, now time.Time) (func(context.Context) error, error) {
	want := map[bar]int64{}
	for _, g := range guards {
		ks, err := bars(g, now.UnixMilli())
		if err != nil {
			return nil, err
		}
		for k, end := range ks {
			want[k] = max(want[k], end) // confirmed once is confirmed
		}
	}
	var fresh []bar
	for k := range want {
		if was := f.barred[k]; was == 0 || was <= now.UnixMilli() {
			fresh = append(fresh, k)
		}
	}
	conns, err := f.connections(ctx, fresh)
	if err != nil {
		return nil, err
	}
	for k, end := range want {
		if f.barred[k] != end {
			f.writeBar(b, k, f.barred[k], end)
		}
	}
	for k, was := range f.barred {
		if want[k] == 0 {
			f.writeBar(b, k, was, 0)
		}
	}
	f.respare(b, want)
	f.recall(b, conns, fresh, want)
	return func(ctx context.Context) error {
		old := f.barred
		f.guards, f.barred = slices.Clone(guards), want
		f.losing(func(k bar) bool { return want[k] == forever && old[k] != forever })
		if err := f.checkBars(old); err != nil || len(fresh) == 0 {
			return err
		}
		// Connections that were made between the first look and the guard.
		conns, err := f.connections(ctx, fresh)
		if err != nil {
			return err
		}
		b := f.batch()
		if f.recall(b, conns, fresh, want); b.empty() {
			return nil
		}
		return f.sock.transact(b)
	}, nil
}

func (f *Firewall) writeBar(b *batch, k bar, was, end int64) {
	m := member{key: k.key()}
	if was != 0 {
		f.destroyElems(b, k.set(), []member{m})
	}
	if end == 0 {
		return
	}
	if end != forever {
		m.end = end
	}
	b.elements(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, k.set(), []member{m})
}

// checkBars reads back every guard that was just written.
func (f *Firewall) checkBars(old map[bar]int64) error {
	for k, end := range f.barred {
		if old[k] == end {
			continue
		}
		// A guard that lifts itself a little late harms nobody, unlike an opening.
		now := f.clock().Add(-200 * time.Millisecond).UnixMilli()
		got, err := f.look(k.set(), [][]byte{k.key()})
		if err != nil {
			return err
		}
		e := edit{end: end}
		switch {
		case end == forever && got[0].key != nil && got[0].expires == 0:
		case end != forever && got[0].key != nil && e.ok(got[0], now):
		case end != forever && got[0].key == nil && end <= f.clock().UnixMilli()+soonest.Milliseconds():
		default:
			return ajar.Errorf(ajar.Unavailable, "the guard of %d/%s was not read back as it should be", k.port, protoName(k.proto))
		}
	}
	return nil
}

// respare keeps the grace of live connections in step with their guards: gone where the guard was confirmed or lifted, and
// as long as the guard's where that moved.
func (f *Firewall) respare(b *batch, want map[bar]int64) {
	for c := range f.spared {
		var end, was int64
		for k := range want {
			if k.covers(c) {
				end = max(end, want[k])
				was = max(was, f.barred[k])
			}
		}
		if end == was && end != 0 {
			continue
		}
		set, m := named("grace", c.six), member{key: c.key()}
		f.destroyElems(b, set, []member{m})
		if end == 0 || end == forever {
			delete(f.spared, c)
			continue
		}
		m.end = end
		b.elements(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, set, []member{m})
	}
}

// recall appends to b what is known of the connections on freshly guarded ports: who began them, which conntrack may
// not know or have wrong, and whether they are spared.
func (f *Firewall) recall(b *batch, conns []conn, fresh []bar, want map[bar]int64) {
	lists := map[string][]member{}
	add := func(set string, c flow, m member) {
		set, m.key = named(set, c.six), c.key()
		lists[set] = append(lists[set], m)
	}
	for _, c := range conns {
		if c.socket && c.proto == unix.IPPROTO_TCP {
			if !c.served {
				add("outbound", c.flow, member{life: tupleLife})
				continue
			}
			add("inbound", c.flow, member{life: tupleLife})
		}
		if c.proto == unix.IPPROTO_UDP && c.known {
			add("answered", c.flow, member{life: tupleLife})
		}
		var end int64
		for _, k := range fresh {
			if k.covers(c.flow) {
				end = max(end, want[k])
			}
		}
		if end != 0 && end != forever && !f.spared[c.flow] {
			add("grace", c.flow, member{end: end})
			f.spared[c.flow] = true
		}
	}
	for set, ms := range lists {
		b.elements(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, set, ms)
	}
}
