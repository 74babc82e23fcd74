package broker

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
)

// Initiate asks for access under r.Policy: r.Policy, r.Asks and r.Justification are read, everything else is filled
// in. It needs PolicyInitiate at the policy and MachineRead on each machine. An ask without sources is for the
// caller's own address; an ask without a protocol is for each of the policy's rows of that port. What is not a subset
// of the policy is Invalid with Code JitAccessRequestNotSubset. Where approvals are needed the request is Pending,
// otherwise Approved with one lease per ask and endpoint, and the caller's older leases on the same machine, port and
// source are superseded.
func (b *Broker) Initiate(ctx context.Context, who ajar.Caller, r ajar.Request) (*Outcome, error) {
	bad := b.checkRequest(&r)
	b.count(ctx, foldID(who.Principal))
	var out *Outcome
	o := op{action: ajar.PolicyInitiate, scope: r.Policy, bad: bad, may: func(t *txn) error { return t.might(ajar.PolicyInitiate, r.Policy) }}
	err := b.do(ctx, who, o, func(t *txn) error {
		p, err := t.rules(r.Policy, r.Asks)
		if err != nil {
			return err
		}
		q := ajar.Request{
			ID: ajar.RequestID(newest(t.now, b.NewID)), Policy: p.ID, Justification: r.Justification,
			Requester: t.who.Principal, Name: t.who.Name, From: t.who.From.WithZone(""), Corr: t.event.Corr,
			State: ajar.Pending, Created: t.now, Deadline: t.now.Add(b.Bounds.Lapse),
		}
		t.event.Request = q.ID
		if err := t.fill(&q, p, r.Asks); err != nil {
			t.asked(&q, r.Asks)
			return err
		}
		t.detail("asks", describe(q.Asks, t.now))
		if err := t.mayAsk(&q, q.Asks, t.now); err != nil {
			return err
		}
		if q.Justification != "" {
			t.detail("justification", q.Justification)
		}
		q.Needs = approvals(p, q.Asks)
		out = &Outcome{Request: &q}
		if q.Needs > 0 {
			t.detail("needs", fmt.Sprint(q.Needs))
			if err := t.queue(); err != nil {
				return err
			}
			return t.Put(&q)
		}
		if err := q.Move(ajar.Approved, t.now); err != nil {
			return err
		}
		if out.Leases, err = t.grant(p, &q); err != nil {
			return err
		}
		return t.Put(&q)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// asked keeps what was asked for in the event of its refusal: with the sources and protocols that were filled in, as far
// as that went.
func (t *txn) asked(q *ajar.Request, asks []ajar.Ask) {
	if len(q.Asks) > 0 {
		asks = q.Asks
	}
	t.detail("asks", describe(asks, t.now))
}

// maxPending bounds what one principal can leave waiting for other people.
const maxPending = 100

// queue refuses one more Pending request of somebody who has too many.
func (t *txn) queue() error {
	n, err := t.Count(ajar.KindRequest, ajar.Filter{Owner: t.who.Principal, States: []string{string(ajar.Pending)}})
	if err == nil && n >= maxPending {
		err = ajar.Errorf(ajar.TooMany, "%d of your requests wait for approval already; withdraw some first", n)
	}
	return err
}

// checkRequest refuses what no policy could allow, and puts the rest into the form it is compared in.
func (b *Broker) checkRequest(r *ajar.Request) (err error) {
	if r.Policy, err = readID(r.Policy, policyID); err != nil {
		return err
	}
	if err := text("the justification", r.Justification, ajar.MaxText); err != nil {
		return err
	}
	switch n := len(r.Asks); {
	case n == 0:
		return ajar.Errorf(ajar.Invalid, "the request asks for nothing; name at least one machine and port")
	case n > b.MaxLeases:
		return ajar.Errorf(ajar.Invalid, "the request asks for %d ports; at most %d are taken at once", n, b.MaxLeases)
	}
	r.Asks = slices.Clone(r.Asks)
	for i := range r.Asks {
		if err := checkAsk(&r.Asks[i]); err != nil {
			return ajar.Errorf(ajar.Invalid, "ask %d: %s", i+1, ajar.Message(err))
		}
	}
	return nil
}

func checkAsk(a *ajar.Ask) (err error) {
	if a.Target, err = machine(a.Target); err != nil {
		return err
	}
	if a.Port.Number == 0 {
		return ajar.Errorf(ajar.Invalid, "the port must be between 1 and 65535")
	}
	if a.Port.Protocol != "" {
		if a.Port.Protocol, err = ajar.ParseProtocol(string(a.Port.Protocol)); err != nil {
			return err
		}
	}
	switch {
	case a.End.IsZero() == (a.Duration == 0):
		return ajar.Errorf(ajar.Invalid, "say how long: exactly one of an end and a duration")
	case a.Duration < 0 || (!a.End.IsZero() && a.End.Year() < 2000):
		return ajar.Errorf(ajar.Invalid, "the end must lie after the start")
	case a.End.Year() > 9999:
		return ajar.Errorf(ajar.Invalid, "the end lies beyond the year 9999")
	}
	a.End, a.Duration = trim(a.End), a.Duration.Truncate(time.Millisecond)
	if a.End.IsZero() && a.Duration == 0 {
		return ajar.Errorf(ajar.Invalid, "a millisecond is the least that can be asked for")
	}
	if err := word("the source", a.Shown, 4096); err != nil {
		return err
	}
	a.Sources, err = sources("the source", a.Sources)
	return err
}

// trim is t as times are kept, never later.
func trim(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Millisecond)
}

// fill gives q its asks: sources that were left out are the caller's address, protocols that were left out the
// policy's, and each must be within p.
func (t *txn) fill(q *ajar.Request, p *ajar.Policy, asks []ajar.Ask) error {
	read := map[string]bool{}
	for _, a := range asks {
		if k := a.Target.Key(); !read[k] {
			read[k] = true
			if err := t.linked(ajar.MachineRead, a.Target); err != nil {
				return err
			}
		}
	}
	for _, a := range asks {
		if len(a.Sources) == 0 {
			if err := t.ownSource(q, &a); err != nil {
				return err
			}
		}
		q.Asks = append(q.Asks, expand(p, a)...)
	}
	if n := len(q.Asks); n > t.b.MaxLeases {
		return ajar.Errorf(ajar.Invalid, "the request comes to %d ports; at most %d are taken at once", n, t.b.MaxLeases)
	}
	taken := map[string][]ajar.Protocol{}
	for _, a := range q.Asks {
		if d := p.Check(a, t.now); !d.Allow {
			return notSubset(p, d)
		}
		slot := (&ajar.Lease{Target: a.Target, Flow: ajar.Flow{Port: a.Port}, Sources: a.Sources}).Slot().Key()
		if slices.ContainsFunc(taken[slot], a.Port.Protocol.Meets) {
			return ajar.Errorf(ajar.Invalid, "port %s of %s is asked for twice from the same source", a.Port, a.Target.Name())
		}
		taken[slot] = append(taken[slot], a.Port.Protocol)
	}
	return nil
}

// ownSource makes a's source the address that the caller asks from.
func (t *txn) ownSource(q *ajar.Request, a *ajar.Ask) error {
	from := t.who.From
	if !from.IsValid() {
		return ajar.Errorf(ajar.Invalid, "no source is given, and the address you ask from is not known; name a source")
	}
	if from.Zone() != "" {
		return ajar.Errorf(ajar.Invalid, "no source is given, and the address you ask from, %s, has a zone that means nothing to another machine; name a source", from)
	}
	a.Sources = []netip.Prefix{netip.PrefixFrom(from, from.BitLen())}
	if w := ajar.SourceWarning(from); w != "" && !slices.Contains(q.Warnings, w) {
		q.Warnings = append(q.Warnings, w)
	}
	return nil
}

// expand gives an ask without a protocol those that p has for its port, once each.
func expand(p *ajar.Policy, a ajar.Ask) []ajar.Ask {
	m := p.Machine(a.Target)
	if a.Port.Protocol != "" || m == nil {
		return []ajar.Ask{a}
	}
	var out []ajar.Ask
	for _, q := range m.Ports {
		if q.Number == a.Port.Number {
			b := a
			b.Port.Protocol = q.Protocol
			out = append(out, b)
		}
	}
	if out == nil {
		return []ajar.Ask{a}
	}
	return out
}

// notSubset is Azure's refusal of a request that the policy does not allow, with the reason that Azure leaves out.
func notSubset(p *ajar.Policy, d ajar.Decision) error {
	return &ajar.Error{Kind: ajar.Invalid, Code: "JitAccessRequestNotSubset",
		Msg: fmt.Sprintf("The given access request is not a subset of policy '%s'. Please make sure that the access request is within the allowed policy properties. Reason: %s.", p.ID, strings.Join(d.Unmet, "; "))}
}

// approvals is how many people must approve asks: the most that any of them needs.
func approvals(p *ajar.Policy, asks []ajar.Ask) int {
	n := 0
	for _, a := range asks {
		if row := rowOf(p, a.Target, a.Port); row != nil {
			n = max(n, row.Approvals)
		}
	}
	return n
}

func rowOf(p *ajar.Policy, target ajar.ID, port ajar.Port) *ajar.PortPolicy {
	m := p.Machine(target)
	if m == nil {
		return nil
	}
	return m.Port(port.Number, port.Protocol)
}

// describe says in plain text what is asked for.
func describe(asks []ajar.Ask, start time.Time) string {
	var b strings.Builder
	for i, a := range asks {
		if i > 0 {
			b.WriteString("; ")
		}
		if b.Len() > 1500 {
			fmt.Fprintf(&b, "and %d more", len(asks)-i)
			break
		}
		from := make([]string, len(a.Sources))
		for j, s := range a.Sources {
			from[j] = s.String()
		}
		fmt.Fprintf(&b, "%s %s from %s ", a.Target.Name(), a.Port, strings.Join(from, ","))
		if a.End.IsZero() {
			b.WriteString("for " + ajar.FormatDuration(a.Duration))
		} else {
			b.WriteString("until " + a.End.Format(time.RFC3339))
		}
	}
	return b.String()
}

// grant makes the leases of r, which was decided now, and supersedes the requester's older ones in their place. The
// policy is checked as of now.
func (t *txn) grant(p *ajar.Policy, r *ajar.Request) ([]*ajar.Lease, error) {
	var out []*ajar.Lease
	targets := map[string]*ajar.Target{}
	for _, a := range r.Asks {
		if d := p.Check(a, r.Decided); !d.Allow {
			return nil, notSubset(p, d)
		}
		target, err := t.reachable(targets, a.Target)
		if err != nil {
			return nil, err
		}
		for _, ep := range target.Endpoints {
			l := t.b.lease(r, a, rowOf(p, a.Target, a.Port), target, ep)
			l.ID = ajar.LeaseID(newest(t.now, t.b.NewID))
			out = append(out, l)
		}
	}
	if len(out) > t.b.MaxLeases {
		return nil, ajar.Errorf(ajar.Invalid, "the request comes to %d leases; at most %d are granted at once", len(out), t.b.MaxLeases)
	}
	if err := t.room(r.Requester, len(out)); err != nil {
		return nil, err
	}
	for _, l := range out {
		if err := t.supersede(l); err != nil {
			return nil, err
		}
	}
	for _, l := range out {
		r.Leases = append(r.Leases, l.ID)
		if err := t.Put(l); err != nil {
			return nil, err
		}
		if err := t.due(l.Endpoint); err != nil {
			return nil, err
		}
	}
	if len(out) == 1 {
		t.event.Lease, t.event.Endpoint = out[0].ID, out[0].Endpoint
		t.detail("until", out[0].End.Format(time.RFC3339Nano))
	}
	return out, nil
}

// reachable is a target with at least one endpoint, which known remembers.
func (t *txn) reachable(known map[string]*ajar.Target, id ajar.ID) (*ajar.Target, error) {
	if target := known[id.Key()]; target != nil {
		return target, nil
	}
	target, err := ajar.Get[ajar.Target](t, id.Key())
	if errors.Is(err, ajar.NotFound) {
		return nil, &ajar.Error{Kind: ajar.NotFound, Code: "LinkedResourceNotFound", Msg: "machine " + string(id) + " does not exist any longer"}
	} else if err != nil {
		return nil, err
	}
	if len(target.Endpoints) == 0 {
		return nil, &ajar.Error{Kind: ajar.Conflict, Code: "HostNotJoined", Msg: "machine " + target.ID.Name() + " has no host that could open the port: none has joined yet"}
	}
	known[id.Key()] = target
	return target, nil
}

func (b *Broker) lease(r *ajar.Request, a ajar.Ask, row *ajar.PortPolicy, target *ajar.Target, ep ajar.EndpointID) *ajar.Lease {
	l := &ajar.Lease{
		Request: r.ID, Policy: r.Policy, Target: target.ID, Endpoint: ep, Flow: ajar.Flow{Port: a.Port}, Sources: a.Sources,
		Requester: r.Requester, Name: r.Name, Start: r.Decided, End: trim(a.EndAt(r.Decided)), Max: row.MaxDuration,
		Mode: row.EndMode, State: ajar.Opening,
	}
	switch l.Mode {
	case ajar.Drain:
		if l.DrainFor = row.DrainFor; l.DrainFor == 0 {
			l.DrainFor = b.Bounds.Drain
		}
	case ajar.Warn:
		if l.DrainFor = row.DrainFor; l.DrainFor == 0 || l.DrainFor > b.Bounds.MaxWarn {
			l.DrainFor = b.Bounds.MaxWarn
		}
	default:
		l.Mode = ajar.Cut
	}
	return l
}

// supersede ends the requester's older leases in l's slot, even if l ends sooner.
func (t *txn) supersede(l *ajar.Lease) error {
	older, _, err := ajar.List[ajar.Lease](t, ajar.Filter{Scope: l.Slot()})
	if err != nil {
		return err
	}
	for _, o := range older {
		if o.Endpoint == l.Endpoint && o.Flow.Dest == l.Flow.Dest && o.Flow.Port.Protocol.Meets(l.Flow.Port.Protocol) && slices.Equal(o.Sources, l.Sources) {
			if err := t.end(o, ajar.Superseded); err != nil {
				return err
			}
			t.detail("superseded", string(o.ID))
		}
	}
	return nil
}

// room refuses n more leases for somebody who has too many. What is known of them is a bound from above, since leases
// end without anybody counting; they are counted again only where that bound is too high.
func (t *txn) room(who ajar.PrincipalID, n int) error {
	b := t.b
	b.mu.Lock()
	have, known := b.live[who]
	b.mu.Unlock()
	recount := !known || have+n > b.MaxLive
	if recount {
		counted, err := countLive(t, who)
		if err != nil {
			return err
		}
		have = counted
	}
	if have+n > b.MaxLive {
		return ajar.Errorf(ajar.TooMany, "%d leases are live for one principal and %d more are asked for; at most %d are granted. Close some first", have, n, b.MaxLive)
	}
	t.after = append(t.after, func(context.Context) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if recount {
			b.live[who] = have
		}
		b.live[who] += n
	})
	return nil
}

// count finds out how many leases somebody has who was not seen before, where that holds no writer up.
func (b *Broker) count(ctx context.Context, who ajar.PrincipalID) {
	b.mu.Lock()
	_, known := b.live[who]
	b.mu.Unlock()
	if known {
		return
	}
	n := 0
	err := b.Store.View(ctx, func(tx ajar.Tx) (err error) {
		n, err = countLive(tx, who)
		return err
	})
	if err != nil {
		return // it is counted when a lease is granted
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.live) >= 100_000 {
		clear(b.live)
	}
	if _, known := b.live[who]; !known {
		b.live[who] = n
	}
}

func countLive(tx ajar.Tx, who ajar.PrincipalID) (int, error) {
	n, err := tx.Count(ajar.KindLease, ajar.Filter{Owner: who, States: []string{string(ajar.Opening), string(ajar.Open)}})
	return int(n), err
}
