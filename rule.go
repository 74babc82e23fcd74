package ajar

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"time"
)

// Port is a number and the protocol it is meant for.
type Port struct {
	Number   uint16   `json:"number"`
	Protocol Protocol `json:"protocol"`
}

// String is 22/TCP.
func (p Port) String() string { return strconv.Itoa(int(p.Number)) + "/" + string(p.Protocol) }

// Flow is what is guarded: a port, towards one destination, or towards every address of the endpoint if Dest is
// the zero Addr.
type Flow struct {
	Dest netip.Addr `json:"dest,omitzero"`
	Port Port       `json:"port"`
}

func (f Flow) compare(g Flow) int {
	return cmp.Or(f.Dest.Compare(g.Dest), cmp.Compare(f.Port.Number, g.Port.Number), cmp.Compare(f.Port.Protocol, g.Port.Protocol))
}

// Guard is a flow kept closed unless a rule allows it.
type Guard struct {
	Flow
	// ConfirmBy: the enforcer lifts this guard by itself at this time unless told otherwise first, and until then
	// spares connections that were alive when the guard arrived. Zero = confirmed.
	ConfirmBy time.Time `json:"confirmBy,omitzero"`
}

// Rule is one opening: what one lease wants of one endpoint. A lease has at most one rule on an endpoint, so Lease is
// its key.
type Rule struct {
	Flow
	Lease   LeaseID        `json:"lease"`
	Sources []netip.Prefix `json:"sources"`
	// Expires ends new connections, and live ones too unless HardStop is later. It may lie in the past while live
	// sessions drain.
	Expires time.Time `json:"expires"`
	// HardStop ends live sessions. Equal to Expires where sessions end with the lease.
	HardStop time.Time `json:"hardStop"`
}

// Same reports whether a and b are the same opening. Times are compared to the millisecond.
func (a Rule) Same(b Rule) bool {
	return a.Lease == b.Lease && a.Flow == b.Flow && slices.Equal(a.Sources, b.Sources) &&
		a.Expires.UnixMilli() == b.Expires.UnixMilli() && a.HardStop.UnixMilli() == b.HardStop.UnixMilli()
}

// Ruleset is all we own on an endpoint. The zero Ruleset owns nothing. Guard is sorted by flow, Allow by lease.
type Ruleset struct {
	Guard []Guard `json:"guard"`
	Allow []Rule  `json:"allow"`
}

// Desired is what an endpoint must have at now: the guards, and one rule for every lease that is live or draining. Past
// its End a lease is not desired, whether or not any process noticed. Where leases meet on a port number, whatever the
// protocol, the strictest holds for all: no session outlives its lease for longer than the strictest live one there
// allows. Leases on flows that nobody guards need no rule, but get one: the guard may arrive later.
//
// It is the heart of the project, and pure. The loop's incremental form must always agree with it.
func Desired(now time.Time, guard []Guard, leases []*Lease) Ruleset {
	strictest := map[uint16]time.Duration{}
	for _, l := range leases {
		if l.Live(now) {
			spare := l.HardStop().Sub(l.End)
			if least, met := strictest[l.Flow.Port.Number]; met {
				spare = min(spare, least)
			}
			strictest[l.Flow.Port.Number] = spare
		}
	}
	want := Ruleset{Guard: slices.Clone(guard)}
	for _, l := range leases {
		spare := l.HardStop().Sub(l.End)
		if least, met := strictest[l.Flow.Port.Number]; met {
			spare = min(spare, least)
		}
		stop := l.End.Add(spare)
		if l.Live(now) || l.Draining(now) && now.Before(stop) {
			want.Allow = append(want.Allow, Rule{Flow: l.Flow, Lease: l.ID, Sources: l.Sources, Expires: l.End, HardStop: stop})
		}
	}
	slices.SortFunc(want.Guard, func(a, b Guard) int { return a.Flow.compare(b.Flow) })
	slices.SortFunc(want.Allow, func(a, b Rule) int { return cmp.Compare(a.Lease, b.Lease) })
	return want
}

// Delta takes an endpoint from one revision of its Ruleset to another.
type Delta struct {
	Base  uint64    `json:"base"` // the revision it starts from
	Rev   uint64    `json:"rev"`  // the revision it leads to
	Guard *[]Guard  `json:"guard,omitempty"`
	Put   []Rule    `json:"put,omitempty"`  // new or changed, whole
	Drop  []LeaseID `json:"drop,omitempty"` // gone
}

// Empty reports whether d changes nothing.
func (d Delta) Empty() bool { return d.Guard == nil && len(d.Put) == 0 && len(d.Drop) == 0 }

// Diff is what must be done to got so that it becomes r. Base and Rev are the caller's to set.
func (r Ruleset) Diff(got Ruleset) Delta {
	var d Delta
	if !slices.EqualFunc(r.Guard, got.Guard, func(a, b Guard) bool {
		return a.Flow == b.Flow && a.ConfirmBy.UnixMilli() == b.ConfirmBy.UnixMilli()
	}) {
		g := slices.Clone(r.Guard)
		d.Guard = &g
	}
	have := make(map[LeaseID]Rule, len(got.Allow))
	for _, g := range got.Allow {
		have[g.Lease] = g
	}
	for _, w := range r.Allow {
		if h, ok := have[w.Lease]; !ok || !w.Same(h) {
			d.Put = append(d.Put, w)
		}
		delete(have, w.Lease)
	}
	for id := range have {
		d.Drop = append(d.Drop, id)
	}
	slices.Sort(d.Drop)
	return d
}

// With is r after d.
func (r Ruleset) With(d Delta) Ruleset {
	out := Ruleset{Guard: r.Guard}
	if d.Guard != nil {
		out.Guard = slices.Clone(*d.Guard)
	}
	skip := make(map[LeaseID]bool, len(d.Put)+len(d.Drop))
	for _, p := range d.Put {
		skip[p.Lease] = true
	}
	for _, id := range d.Drop {
		skip[id] = true
	}
	for _, a := range r.Allow {
		if !skip[a.Lease] {
			out.Allow = append(out.Allow, a)
		}
	}
	out.Allow = append(out.Allow, d.Put...)
	slices.SortFunc(out.Allow, func(a, b Rule) int { return cmp.Compare(a.Lease, b.Lease) })
	return out
}
