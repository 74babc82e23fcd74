package scale

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/broker"
)

// Figure is how long something took.
type Figure struct {
	Name   string
	Median time.Duration
	Worst  time.Duration
	Calls  int
	Things int // that were listed
}

// meter measures what is read from one store.
type meter struct {
	store   ajar.Store
	broker  *broker.Broker
	now     time.Time
	tell    func(Figure)
	figures []Figure
}

// Measure runs every list against s, which Fill filled at now, and tells each figure.
func Measure(ctx context.Context, s ajar.Store, now time.Time, tell func(Figure)) ([]Figure, error) {
	clock := func() time.Time { return now }
	m := &meter{store: s, now: now, tell: tell, broker: broker.New(broker.Config{Store: s, Clock: clock, NewID: uuid.NewString})}
	for _, part := range []func(context.Context) error{m.events, m.loop, m.leases, m.requests, m.things} {
		if err := part(ctx); err != nil {
			return m.figures, err
		}
	}
	return m.figures, nil
}

func caller(p ajar.PrincipalID) ajar.Caller { return ajar.Caller{Principal: p, Via: "test"} }

// How often each thing is measured, and how many pages of a list are turned at its beginning and at most.
const (
	times   = 7
	turns   = 10
	longest = 50
)

func (m *meter) add(name string, took []time.Duration, things int) {
	slices.Sort(took)
	if len(took) > 0 {
		m.say(Figure{name, took[len(took)/2], took[len(took)-1], len(took), things})
	}
}

func (m *meter) say(f Figure) {
	m.figures = append(m.figures, f)
	m.tell(f)
}

// time measures one call.
func (m *meter) time(name string, call func() (int, error)) error {
	var took []time.Duration
	things := 0
	for range times {
		began := time.Now() //nolint:forbidigo // a measurement
		n, err := call()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		took, things = append(took, time.Since(began)), n //nolint:forbidigo // a measurement
	}
	m.add(name, took, things)
	return nil
}

// pages turns the pages of a list: some at its beginning, and from each of the places to jump to. It says how many had
// nothing for the caller.
func (m *meter) pages(name string, list func(p broker.Page) (int, string, error), jumps ...jump) error {
	for _, from := range append([]jump{{"", ""}}, jumps...) {
		var took []time.Duration
		things, blank, cursor, most := 0, 0, from.cursor, longest
		if cursor != "" {
			most = turns
		}
		for len(took) < most {
			began := time.Now() //nolint:forbidigo // a measurement
			n, next, err := list(broker.Page{Cursor: cursor, Limit: 100})
			if err != nil {
				return fmt.Errorf("%s, page %d: %w", name, len(took)+1, err)
			}
			took = append(took, time.Since(began)) //nolint:forbidigo // a measurement
			if n == 0 {
				blank++
			}
			things += n
			if cursor = next; next == "" {
				break
			}
		}
		if from.cursor == "" && len(took) > turns {
			m.add(name+", later", slices.Clone(took[turns:]), things)
			took = took[:turns]
		}
		m.add(name+from.name, took, things)
		if blank > 1 {
			m.say(Figure{Name: name + from.name + " blank pages", Calls: blank, Things: things})
		}
	}
	return nil
}

// jump is a page in the middle of a list.
type jump struct{ name, cursor string }

// byTime are pages of a list that is in order of time: in its middle, and the last ones.
func byTime(now time.Time) []jump {
	at := func(name string, t time.Time) jump {
		list := base64.RawURLEncoding.EncodeToString([]byte("k\x00" + id(t, 0, 0)))
		return jump{name, base64.RawURLEncoding.EncodeToString([]byte("\n" + list))}
	}
	return []jump{at(", middle", now.Add(-span/2)), at(", last", now.Add(-span+span/5000))}
}

func (m *meter) leases(ctx context.Context) error {
	mid := Machines / 2
	for _, l := range []struct {
		name string
		who  ajar.PrincipalID
		f    broker.LeaseFilter
	}{
		{"leases", Admin, broker.LeaseFilter{}},
		{"leases live", Admin, broker.LeaseFilter{Live: true}},
		{"leases of a subscription", Admin, broker.LeaseFilter{Scope: Subscription(mid)}},
		{"leases of a subscription live", Admin, broker.LeaseFilter{Scope: Subscription(mid), Live: true}},
		{"leases of a group", Admin, broker.LeaseFilter{Scope: Group(mid)}},
		{"leases of a group live", Admin, broker.LeaseFilter{Scope: Group(mid), Live: true}},
		{"leases of a machine", Admin, broker.LeaseFilter{Scope: Machine(mid)}},
		{"leases of a machine live", Admin, broker.LeaseFilter{Scope: Machine(mid), Live: true}},
		{"leases of somebody", Admin, broker.LeaseFilter{Requester: Often}},
		{"leases of somebody live", Admin, broker.LeaseFilter{Requester: Often, Live: true}},
		{"leases of somebody seldom", Admin, broker.LeaseFilter{Requester: Seldom}},
		{"leases of somebody seldom live", Admin, broker.LeaseFilter{Requester: Seldom, Live: true}},
		{"leases of somebody in a group", Admin, broker.LeaseFilter{Requester: Often, Scope: Group(mid)}},
		{"leases, own", Often, broker.LeaseFilter{Requester: Often}},
		{"leases, what a requester may see", Often, broker.LeaseFilter{}},
		{"leases, what a requester may see live", Often, broker.LeaseFilter{Live: true}},
		{"leases, what nobody else has", Alone, broker.LeaseFilter{}},
		{"leases, what a reader of one group may see", Clerk, broker.LeaseFilter{}},
		{"leases, what a reader of one group may see live", Clerk, broker.LeaseFilter{Live: true}},
		{"leases, what a reader of one policy may see", Desk, broker.LeaseFilter{}},
		{"leases, what a reader of one policy may see live", Desk, broker.LeaseFilter{Live: true}},
	} {
		var jumps []jump
		if l.name == "leases" {
			jumps = byTime(m.now)
		}
		err := m.pages(l.name, func(p broker.Page) (int, string, error) {
			l.f.Page = p
			out, next, err := m.broker.Leases(ctx, caller(l.who), l.f)
			return len(out), next, err
		}, jumps...)
		if err != nil {
			return err
		}
	}
	return nil
}

func (m *meter) requests(ctx context.Context) error {
	mid := Machines / 2
	for _, r := range []struct {
		name string
		who  ajar.PrincipalID
		f    broker.RequestFilter
	}{
		{"requests", Admin, broker.RequestFilter{}},
		{"requests approved", Admin, broker.RequestFilter{State: ajar.Approved}},
		{"requests pending", Admin, broker.RequestFilter{State: ajar.Pending}},
		{"requests denied", Admin, broker.RequestFilter{State: ajar.Denied}},
		{"requests lapsed", Admin, broker.RequestFilter{State: ajar.Lapsed}},
		{"requests of a subscription", Admin, broker.RequestFilter{Policy: Subscription(mid)}},
		{"requests of a subscription pending", Admin, broker.RequestFilter{Policy: Subscription(mid), State: ajar.Pending}},
		{"requests of a group pending", Admin, broker.RequestFilter{Policy: Group(mid), State: ajar.Pending}},
		{"requests of a policy", Admin, broker.RequestFilter{Policy: Policy(mid)}},
		{"requests of a policy pending", Admin, broker.RequestFilter{Policy: Policy(mid), State: ajar.Pending}},
		{"requests of somebody", Admin, broker.RequestFilter{Requester: Often}},
		{"requests of somebody pending", Admin, broker.RequestFilter{Requester: Often, State: ajar.Pending}},
		{"requests of somebody seldom", Admin, broker.RequestFilter{Requester: Seldom}},
		{"requests, own", Often, broker.RequestFilter{Requester: Often}},
		{"requests, what a requester may see", Often, broker.RequestFilter{}},
		{"requests, what a requester may see pending", Often, broker.RequestFilter{State: ajar.Pending}},
		{"requests, what a reader of one group may see", Clerk, broker.RequestFilter{}},
		{"requests, what a reader of one group may see pending", Clerk, broker.RequestFilter{State: ajar.Pending}},
		{"requests, what a reader of one policy may see", Desk, broker.RequestFilter{}},
	} {
		var jumps []jump
		if r.name == "requests" {
			jumps = byTime(m.now)
		}
		err := m.pages(r.name, func(p broker.Page) (int, string, error) {
			r.f.Page = p
			out, next, err := m.broker.Requests(ctx, caller(r.who), r.f)
			return len(out), next, err
		}, jumps...)
		if err != nil {
			return err
		}
	}
	return nil
}

// things are the kinds that do not grow with use.
func (m *meter) things(ctx context.Context) error {
	for _, l := range []struct {
		name string
		list func(p broker.Page) (int, string, error)
	}{
		{"machines", func(p broker.Page) (int, string, error) {
			out, next, err := m.broker.Targets(ctx, caller(Admin), "/", "", p)
			return len(out), next, err
		}},
		{"hosts", func(p broker.Page) (int, string, error) {
			out, next, err := m.broker.Hosts(ctx, caller(Admin), "/", p)
			return len(out), next, err
		}},
		{"policies", func(p broker.Page) (int, string, error) {
			out, next, err := m.broker.Policies(ctx, caller(Admin), "/", p)
			return len(out), next, err
		}},
		{"machines of one name", func(p broker.Page) (int, string, error) {
			out, next, err := m.broker.Targets(ctx, caller(Admin), "/", Machine(Machines/2).Name(), p)
			return len(out), next, err
		}},
	} {
		if err := m.pages(l.name, l.list); err != nil {
			return err
		}
	}
	return nil
}

func (m *meter) events(ctx context.Context) error {
	mid := Machines / 2
	var some *ajar.Event
	all, err := m.broker.Events(ctx, caller(Admin), ajar.EventFilter{Limit: 1})
	if err != nil || len(all) == 0 {
		return err
	}
	newest := all[0].Pos
	if all, err = m.broker.Events(ctx, caller(Admin), ajar.EventFilter{Limit: 1, Action: ajar.PolicyInitiate, Until: newest / 2}); err != nil || len(all) == 0 {
		return err
	}
	some = all[0]
	ago := func(part time.Duration) time.Time { return m.now.Add(-span / part) }
	for _, e := range []struct {
		name string
		f    ajar.EventFilter
	}{
		{"events", ajar.EventFilter{}},
		{"events, middle", ajar.EventFilter{Until: newest / 2}},
		{"events, last", ajar.EventFilter{Until: 200}},
		{"events ascending", ajar.EventFilter{Ascending: true, After: newest / 2}},
		{"events of a subscription", ajar.EventFilter{Scope: Subscription(mid)}},
		{"events of a subscription, middle", ajar.EventFilter{Scope: Subscription(mid), Until: newest / 2}},
		{"events of a group", ajar.EventFilter{Scope: Group(mid)}},
		{"events of a group, middle", ajar.EventFilter{Scope: Group(mid), Until: newest / 2}},
		{"events of a group, refused", ajar.EventFilter{Scope: Group(mid), Outcome: ajar.Refused}},
		{"events of a policy", ajar.EventFilter{Scope: Policy(mid)}},
		{"events of a policy, action", ajar.EventFilter{Scope: Policy(mid), Action: ajar.PolicyInitiate}},
		{"events of a machine", ajar.EventFilter{Scope: Machine(mid)}},
		{"events of a caller", ajar.EventFilter{Caller: Often}},
		{"events of a caller, middle", ajar.EventFilter{Caller: Often, Until: newest / 2}},
		{"events of a caller seldom", ajar.EventFilter{Caller: Seldom}},
		{"events of a caller in a group", ajar.EventFilter{Caller: Often, Scope: Group(mid)}},
		{"events of a caller, refused", ajar.EventFilter{Caller: Often, Outcome: ajar.Refused}},
		{"events of an action", ajar.EventFilter{Action: ajar.LeaseClosed}},
		{"events of an action that never was", ajar.EventFilter{Action: ajar.BreakGlass}},
		{"events of an action in a group", ajar.EventFilter{Action: ajar.LeaseClosed, Scope: Group(mid)}},
		{"events of an action of a caller", ajar.EventFilter{Action: ajar.LeaseClosed, Caller: Often}},
		{"events refused", ajar.EventFilter{Outcome: ajar.Refused}},
		{"events of a request", ajar.EventFilter{Request: some.Request}},
		{"events of a correlation", ajar.EventFilter{Corr: some.Corr}},
		{"events since half", ajar.EventFilter{Since: ago(2)}},
		{"events between", ajar.EventFilter{Since: ago(2), Before: ago(4)}},
		{"events before half", ajar.EventFilter{Before: ago(2)}},
		{"events before all", ajar.EventFilter{Before: ago(1).Add(-time.Hour)}},
		{"events of a group between", ajar.EventFilter{Scope: Group(mid), Since: ago(2), Before: ago(4)}},
		{"events of a caller between", ajar.EventFilter{Caller: Often, Since: ago(2), Before: ago(4)}},
	} {
		err := m.time(e.name, func() (int, error) {
			out, err := m.broker.Events(ctx, caller(Admin), e.f)
			return len(out), err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// loop is what the loop and the gate ask for again and again.
func (m *meter) loop(ctx context.Context) error {
	view := func(name string, fn func(tx ajar.Tx) (int, error)) error {
		return m.time(name, func() (n int, err error) {
			err = m.store.View(ctx, func(tx ajar.Tx) (err error) { n, err = fn(tx); return err })
			return n, err
		})
	}
	live, after := []string{string(ajar.Opening), string(ajar.Open)}, int64(0)
	all := append(live[:2:2], string(ajar.Closing))
	far := m.now.Add(100 * time.Hour)
	count := func(kind ajar.DocKind, f ajar.Filter) func(tx ajar.Tx) (int, error) {
		return func(tx ajar.Tx) (int, error) { n, err := tx.Count(kind, f); return int(n), err }
	}
	leases := func(f ajar.Filter) func(tx ajar.Tx) (int, error) {
		return func(tx ajar.Tx) (int, error) { ls, _, err := ajar.List[ajar.Lease](tx, f); return len(ls), err }
	}
	for _, v := range []struct {
		name string
		fn   func(tx ajar.Tx) (int, error)
	}{
		{"NextDue", func(tx ajar.Tx) (int, error) { _, err := tx.NextDue("somebody"); return 1, err }},
		{"RightsGen", func(tx ajar.Tx) (int, error) { _, err := tx.RightsGen(); return 1, err }},
		{"count of what is live", count(ajar.KindLease, ajar.Filter{States: live})},
		{"count of what is overdue", count(ajar.KindLease, ajar.Filter{States: all, UntilBefore: m.now})},
		{"count of what somebody has live", count(ajar.KindLease, ajar.Filter{Owner: Often, States: live})},
		{"count of what somebody has pending", count(ajar.KindRequest, ajar.Filter{Owner: Often, States: []string{string(ajar.Pending)}})},
		{"count of requests", count(ajar.KindRequest, ajar.Filter{})},
		{"leases that an endpoint has live", leases(ajar.Filter{Ref: string(Endpoint(Machines / 2)), States: all})},
		{"leases of an endpoint that changed", leases(ajar.Filter{Ref: string(Endpoint(Machines / 2)), After: &after, States: all})},
		{"leases by end", leases(ajar.Filter{States: live, UntilBefore: far, Limit: 100})},
		{"leases overdue", leases(ajar.Filter{States: live, UntilBefore: m.now, Limit: 100})},
		{"requests that lapse", func(tx ajar.Tx) (int, error) {
			rs, _, err := ajar.List[ajar.Request](tx, ajar.Filter{States: []string{string(ajar.Pending)}, UntilBefore: m.now, Limit: 100})
			return len(rs), err
		}},
	} {
		if err := view(v.name, v.fn); err != nil {
			return err
		}
	}
	return m.time("ClaimDue", func() (n int, err error) {
		err = m.store.Update(ctx, func(tx ajar.Tx) error {
			cs, err := tx.ClaimDue(m.now.Add(time.Minute), 16, time.Second, "somebody")
			n = len(cs)
			for i := 0; err == nil && i < len(cs); i++ {
				err = tx.Release(cs[i], m.now, 0)
			}
			return err
		})
		return n, err
	})
}
