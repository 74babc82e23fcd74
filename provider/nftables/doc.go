// Package nftables is the firewall of one Linux host: it keeps ports closed in a table of its own and opens them to
// single sources for a limited time, with the kernel holding every deadline. It does not know leases' owners, requests,
// the control plane or the agent: it is handed Rulesets and told the time.
//
// # How a packet is decided
//
//	prerouting  in ──► ask ──► judge ──► open4/open6 ──► accept
//	                    │                   └─ no set has it ──► refuse: counted, TCP reset or port unreachable
//	                    └─ not for us, our own connection's answer, loopback ──► accept (that is: not our business)
//	input       local ► the same for destinations that only policy routing or a VRF makes ours
//	output      out ─► answer ─► back4/back6 ──► accept, or hang up
//	forward     fwd      resets what post stopped
//	postrouting post ─► settle ─► back4/back6 ──► accept, or stop
//
// Everything stands before the established-accept of any other table and is looked up for each packet of a guarded
// port in both directions, so that a session ends when its set element times out, with no process of ours running.
//
// Who began a connection decides whether it is ours to judge: answers to the host's own connections pass whatever
// their source port. Conntrack knows the beginner as long as it saw the beginning. Where it did not (connections older
// than its hooks, a flushed table with nf_conntrack_tcp_loose=1), it takes whichever side speaks first for the
// beginner, so a guest whose server speaks first would look like our own connection. Four sets of tuples remember what conntrack
// may get wrong: inbound (begun by the other side, judge it), outbound (begun by us, let it be), answered (as inbound, for
// UDP, of which conntrack forgets within minutes who began) and grace (spared until a guard is confirmed). Each is
// bounded; what finds no place in it is as conntrack has it.
//
// Containers' ports are decided before DNAT, by the destination that the client named. Their answers are decided after
// un-DNAT, in postrouting, where the client's view of the connection is back and "is this address ours" can be asked;
// since nothing can be rejected there, what is stopped is noted in the set halted and reset on its retransmission in forward.
//
// # What the kernel holds
//
//	guard, guard4, guard6     protocol and port (and address) that are kept closed; timed while unconfirmed, so that an
//	                          unconfirmed guard lifts itself even if the agent died
//	open4_24, open6_128, …    one hash set per family and prefix length in use: overlapping prefixes cannot collide,
//	                          each element has an end of its own, and a lookup costs one hash for each length in use
//	open4to_24, …             the same with the destination in the key
//	drain4_24, …              lets established connections go on after the opening's end, until the hard stop
//	refused4, refused6        who was lately turned away; bounded, minutes
//
// # What ends at both ends
//
// The kernel stops a session's packets, but who only waits hears nothing of that, and the server keeps its socket. So while
// this process lives it looks, some milliseconds after an opening ended, was taken away or a guard was confirmed, for TCP
// sockets on the guarded ports that nothing allows any longer, and has the kernel close them (SOCK_DESTROY): the
// server gets an error and the guest a reset. It asks the same questions as the rules, so that the host's own calls, talk
// within the host, and who was redirected from a port that is open stay. With the process dead, or a kernel
// without CONFIG_INET_DIAG_DESTROY, the cut remains: who waits notices it with the next packet.
//
// Sockets in other network namespaces (containers), and those behind a guarded port that is redirected to another one, are
// out of reach. UDP has no sessions to end.
//
// # What it does not hold
//
// Packets that never come by the hooks: flows that somebody offloaded to a flowtable or hardware, XDP, raw sockets. Of
// UDP that is not tracked (notrack) nobody can tell who began: it is a guest's, in either direction. Whoever
// may change nf_tables in this namespace can open everything where nobody owns the table: until it is repaired, or, of an
// owner that died, until the next one adopts it. Kernels before 5.10 cannot reject in prerouting.
package nftables
