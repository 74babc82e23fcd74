package nftables

import (
	"cmp"
	"slices"
	"time"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// chain is a chain's definition. A base chain hangs on a hook.
type chain struct {
	name     string
	base     bool
	hook     uint32
	priority int32
}

// Priorities: after conntrack (-200), before mangle (-150), DNAT (-100) and every filter (0), so that nobody's accept
// and nobody's rewriting comes first; in postrouting after un-DNAT (100).
const (
	before = -160
	after  = 160
)

// Chains are created in this order and flushed before any is filled, so that jumps find their targets.
var chains = []chain{
	{name: "open4"}, {name: "open6"}, {name: "back4"}, {name: "back6"},
	{name: "refuse"}, {name: "hangup"}, {name: "judge"}, {name: "judgeback"},
	{name: "who4"}, {name: "who6"}, {name: "whom4"}, {name: "whom6"},
	{name: "ask"}, {name: "answer"}, {name: "settle"},
	{name: "in", base: true, hook: unix.NF_INET_PRE_ROUTING, priority: before},
	{name: "local", base: true, hook: unix.NF_INET_LOCAL_IN, priority: before},
	{name: "out", base: true, hook: unix.NF_INET_LOCAL_OUT, priority: before},
	{name: "fwd", base: true, hook: unix.NF_INET_FORWARD, priority: before},
	{name: "post", base: true, hook: unix.NF_INET_POST_ROUTING, priority: after},
}

const (
	// tupleLife is how long a tuple is remembered after its last packet: longer than conntrack remembers an
	// established connection (five days), so that ours is not the first to forget.
	tupleLife = 6 * 24 * time.Hour
	// haltLife must outlast the gap to the next retransmission, and no more: the tuple may be used anew.
	haltLife    = 5 * time.Second
	refusedLife = 10 * time.Minute
)

// tuple is guest . its port . our address . our port . protocol, whichever way the packet goes.
func tuple(six, outward bool) []part {
	if outward {
		return []part{daddr(six), dport, saddr(six), sport, l4proto}
	}
	return []part{saddr(six), sport, daddr(six), dport, l4proto}
}

// ctTuple is the same from conntrack, for packets whose header shows a container instead of us.
func ctTuple(six bool) []part {
	src, dst, words := uint32(unix.NFT_CT_SRC_IP), uint32(unix.NFT_CT_DST_IP), 1
	if six {
		src, dst, words = unix.NFT_CT_SRC_IP6, unix.NFT_CT_DST_IP6, 4
	}
	return []part{
		ctOriginal(src, words), ctOriginal(unix.NFT_CT_PROTO_SRC, 1),
		ctOriginal(dst, words), ctOriginal(unix.NFT_CT_PROTO_DST, 1), l4proto,
	}
}

// fixedRules are all rules but those that look openings up.
func fixedRules() map[string][]rule {
	rs := map[string][]rule{
		"in":        guarded(false, "ask"),
		"local":     delivered(),
		"out":       guarded(true, "answer"),
		"ask":       {join(loops(expr.MetaKeyIIFTYPE), accept())},
		"answer":    {join(loops(expr.MetaKeyOIFTYPE), accept()), join(resets(), accept())},
		"settle":    {join(loops(expr.MetaKeyOIFTYPE), accept()), join(resets(), accept())},
		"refuse":    {join(ctState(expr.CtStateBitINVALID), drop())},
		"hangup":    {join(ctState(expr.CtStateBitINVALID), drop())},
		"judge":     {},
		"judgeback": {},
	}
	// What DNAT redirected is judged in postrouting, where the header shows what the client sees.
	rs["answer"] = append(rs["answer"], join(ctDirection(dirReply), ctHas(unix.NFT_CT_STATUS, statusDNAT), accept()))
	for _, six := range []bool{false, true} {
		add := func(chain string, parts ...rule) { rs[chain] = append(rs[chain], join(parts...)) }
		v := isFamily(six)
		rs[named("who", six)] = who(six)
		rs[named("whom", six)] = whom(six)
		add("ask", v, jumpTo(named("who", six)))
		add("answer", v, jumpTo(named("whom", six)))
		add("judge", v, jumpTo(named("open", six)))
		add("judgeback", v, jumpTo(named("back", six)))
		add("refuse", v, remember(named("refused", six), refusedLife, saddr(six), l4proto, dport))
		add("settle", v, in(named("grace", six), tuple(six, true)...), accept())
		add("settle", v, jumpTo(named("back", six)))
		add("settle", v, remember(named("halted", six), haltLife, ctTuple(six)...))
		for _, no := range rejects() {
			add("fwd", ctDirection(dirReply), v, in(named("halted", six), ctTuple(six)...), no)
		}
	}
	rs["ask"] = append(rs["ask"], join(ctDirection(dirReply), accept()), goTo("judge"))
	rs["answer"] = append(rs["answer"], join(ctDirection(dirOriginal), accept()), goTo("judgeback"))
	rs["judge"] = append(rs["judge"], goTo("refuse"))
	rs["judgeback"] = append(rs["judgeback"], goTo("hangup"))
	// What conntrack calls invalid is dropped: a reset would end a connection of our own that one odd packet hit.
	rs["refuse"] = append(rs["refuse"], rejects()...)
	rs["hangup"] = append(rs["hangup"], rejects()...)
	rs["settle"] = append(rs["settle"], drop())
	rs["post"] = unDNAT()
	return rs
}

// guarded sends packets from or to guarded ports to a chain. A guard of every address holds where the address is this
// host's; a guard of one address needs no such question, and may guard one that is only ever DNATed.
func guarded(outward bool, to string) []rule {
	addr, port := daddr, dport
	if outward {
		addr, port = saddr, sport
	}
	all := in("guard", l4proto, port)
	if !outward {
		all = join(all, isHere(false))
	}
	return []rule{
		join(all, goTo(to)),
		join(isFamily(false), in("guard4", addr(false), l4proto, port), goTo(to)),
		join(isFamily(true), in("guard6", addr(true), l4proto, port), goTo(to)),
	}
}

// delivered catches what is delivered here although the main table does not call its destination ours: addresses in a VRF,
// and "local" routes in tables of policy routing.
func delivered() []rule {
	return []rule{
		join(ctHas(unix.NFT_CT_STATUS, statusDNAT), accept()), // decided by what the client named
		join(in("guard", l4proto, dport), isNotHere(), goTo("ask")),
	}
}

func unDNAT() []rule {
	reply := join(ctDirection(dirReply), ctHas(unix.NFT_CT_STATUS, statusDNAT))
	return []rule{
		join(reply, in("guard", l4proto, sport), isHere(true), goTo("settle")),
		join(reply, isFamily(false), in("guard4", saddr(false), l4proto, sport), goTo("settle")),
		join(reply, isFamily(true), in("guard6", saddr(true), l4proto, sport), goTo("settle")),
	}
}

// who sorts packets that come in by what is remembered of their connection.
func who(six bool) []rule {
	v, t := isFamily(six), tuple(six, false)
	grace, inbound, outbound, answered := named("grace", six), named("inbound", six), named("outbound", six), named("answered", six)
	return []rule{
		join(v, in(grace, t...), accept()),
		join(v, isUDP(), in(answered, t...), goTo("judge")),
		// Not for a packet that begins a connection: having once been called from a guarded port entitles nobody to call back.
		join(v, goesOn(), in(outbound, t...), remember(outbound, tupleLife, t...), accept()),
		join(v, in(inbound, t...), remember(inbound, tupleLife, t...), goTo("judge")),
	}
}

// whom sorts packets that go out from a guarded port.
func whom(six bool) []rule {
	v, t := isFamily(six), tuple(six, true)
	grace, inbound, outbound, answered := named("grace", six), named("inbound", six), named("outbound", six), named("answered", six)
	// Conntrack met this connection in the middle. It is no call of ours, or it would be in outbound: so a guest's, whose
	// server spoke first. From now on conntrack takes us for the beginner; the tuple remembers better.
	met := join(v, goesOn(), ctDirection(dirOriginal), ctState(expr.CtStateBitNEW))
	return []rule{
		// UDP says nowhere who began, and conntrack forgets within minutes: whom we once answered stays a guest.
		join(v, isUDP(), ctDirection(dirReply), remember(answered, tupleLife, t...)),
		join(v, in(grace, t...), accept()),
		join(v, isUDP(), in(answered, t...), remember(answered, tupleLife, t...), goTo("judgeback")),
		join(v, begins(), remember(outbound, tupleLife, t...), accept()),
		join(v, in(outbound, t...), remember(outbound, tupleLife, t...), accept()),
		join(met, remember(inbound, tupleLife, t...)),
		join(v, in(inbound, t...), remember(inbound, tupleLife, t...), goTo("judgeback")),
		join(met, goTo("hangup")), // the set was full
	}
}

// openings are the rules that look openings up, one for each shape in use and direction.
func openings(shapes []shape) map[string][]rule {
	shapes = slices.Clone(shapes)
	// The likeliest first: exact before wide, open before drain.
	slices.SortFunc(shapes, func(a, b shape) int {
		return cmp.Or(-cmp.Compare(a.bits, b.bits), cmp.Compare(order(a), order(b)))
	})
	rs := map[string][]rule{}
	for _, s := range shapes {
		rs[named("open", s.six)] = append(rs[named("open", s.six)], opening(s, false))
		rs[named("back", s.six)] = append(rs[named("back", s.six)], opening(s, true))
	}
	return rs
}

func order(s shape) int {
	n := 0
	if s.to {
		n++
	}
	if s.drain {
		n += 2
	}
	return n
}

func opening(s shape, outward bool) rule {
	guest, us, port := saddr(s.six), daddr(s.six), dport
	if outward {
		guest, us, port = daddr(s.six), saddr(s.six), sport
	}
	var key []part
	if s.bits > 0 {
		key = append(key, masked(guest, int(s.bits)))
	}
	if s.to {
		key = append(key, us)
	}
	r := isFamily(s.six)
	if s.drain {
		r = join(r, ctState(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED))
	}
	return join(r, in(s.name(), append(key, l4proto, port)...), accept())
}

// opens are the chains that change with the shapes in use.
var opens = []string{"open4", "open6", "back4", "back6"}

// fill empties the chains and writes their rules anew. Within a transaction no packet sees them empty.
func (b *batch) fill(shapes []shape, all bool) {
	rs := openings(shapes)
	names := opens
	if all {
		for name, list := range fixedRules() {
			rs[name] = list
		}
		names = nil
		for _, c := range chains {
			names = append(names, c.name)
		}
	}
	for _, name := range names {
		b.flushChain(name)
	}
	for _, name := range names {
		for _, r := range rs[name] {
			b.newRule(name, r)
		}
	}
}
