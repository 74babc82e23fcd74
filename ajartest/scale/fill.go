package scale

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/rbac"
)

// Size is how much there is: requests that are over, with a lease and two events each, and requests whose lease is open.
type Size struct{ History, Live int }

// The world that the requests are spread over. It does not grow with them.
const (
	subscriptions = 10
	groups        = 10  // of a subscription
	machines      = 100 // of a group
	perPolicy     = 10
	people        = 500
)

// span is the time that all of it took.
const span = 2 * 365 * 24 * time.Hour

// Machines is how many machines there are.
const Machines = subscriptions * groups * machines

// The people who have something to themselves.
var (
	Admin  = person(people)     // Owner at /
	Clerk  = person(people + 1) // Reader of one group
	Desk   = person(people + 2) // Reader of one policy
	Seldom = person(people + 3) // asked a few times, long ago
	Alone  = person(people + 4) // may do nothing
	Often  = person(7)          // one of the many
)

func person(i int) ajar.PrincipalID {
	return ajar.PrincipalID(fmt.Sprintf("22222222-2222-4222-8222-%012d", i))
}

// Subscription, Group, Machine and Policy name what there is.
func Subscription(i int) ajar.ID {
	return ajar.ID(fmt.Sprintf("/subscriptions/11111111-1111-4111-8111-%012d", i/machines/groups))
}

func Group(i int) ajar.ID {
	return Subscription(i) + ajar.ID(fmt.Sprintf("/resourceGroups/rg%02d", i/machines%groups))
}

func Machine(i int) ajar.ID {
	return Group(i) + ajar.ID(fmt.Sprintf("/providers/Microsoft.Compute/virtualMachines/vm%05d", i))
}

func Policy(i int) ajar.ID {
	return Group(i) + ajar.ID(fmt.Sprintf("/providers/Microsoft.Security/locations/west/jitNetworkAccessPolicies/p%04d", i/perPolicy))
}

// Endpoint is where the rules of a machine are.
func Endpoint(i int) ajar.EndpointID {
	return ajar.EndpointID(fmt.Sprintf("33333333-3333-4333-8333-%012d", i))
}

// Fill writes all that into an empty store. The newest of it happened at now.
func Fill(ctx context.Context, s ajar.Store, size Size, now time.Time) error {
	f := &filler{store: s, now: now.UTC().Truncate(time.Millisecond), size: size}
	return errors.Join(f.world(ctx), f.requests(ctx))
}

type filler struct {
	store ajar.Store
	now   time.Time
	size  Size
}

// How many things one Update writes.
const chunk = 1000

func (f *filler) each(ctx context.Context, n int, put func(tx ajar.Tx, i int) error) error {
	for from := 0; from < n; from += chunk {
		err := f.store.Update(ctx, func(tx ajar.Tx) error {
			for i := from; i < min(n, from+chunk); i++ {
				if err := put(tx, i); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// world writes who and what there is.
func (f *filler) world(ctx context.Context) error {
	var docs []ajar.Doc
	for _, r := range rbac.BuiltIn() {
		docs = append(docs, &r)
	}
	for i := range people + 5 {
		p := &ajar.Principal{ID: person(i), Kind: ajar.User, Name: fmt.Sprintf("person%d@example.org", i), Created: f.now}
		role, scope := rbac.JITRequester, ajar.ID("/")
		switch p.ID {
		case Alone:
			docs = append(docs, p)
			continue
		case Admin:
			role = rbac.Owner
		case Clerk:
			role, scope = rbac.Reader, Group(Machines/2)
		case Desk:
			role, scope = rbac.Reader, Policy(Machines/2)
		}
		docs = append(docs, p, &ajar.RoleAssignment{ID: strings.Replace(string(p.ID), "2222", "4444", 1), Principal: p.ID, PrincipalKind: p.Kind, Role: role, Scope: scope, Created: f.now})
	}
	err := f.each(ctx, len(docs), func(tx ajar.Tx, i int) error { return tx.Put(docs[i]) })
	if err != nil {
		return err
	}
	return f.each(ctx, Machines, func(tx ajar.Tx, i int) error {
		flow := ajar.Flow{Port: ajar.Port{Number: 22, Protocol: ajar.TCP}}
		err := errors.Join(
			tx.Put(&ajar.Target{ID: Machine(i), Location: "west", OS: "Linux", Source: "person", Endpoints: []ajar.EndpointID{Endpoint(i)}, Policies: []ajar.ID{Policy(i)}, Created: f.now}),
			tx.Put(&ajar.Endpoint{ID: Endpoint(i), Provider: "fake", Target: Machine(i), Address: Machine(i).Name(), Guards: []ajar.EndpointGuard{{Flow: flow, Policies: []ajar.ID{Policy(i)}, Since: f.now}}}),
			tx.MarkDue(Endpoint(i), f.now.Add(time.Duration(i)*time.Second)),
		)
		if err != nil || i%perPolicy > 0 {
			return err
		}
		p := &ajar.Policy{ID: Policy(i), Kind: "Basic", Updated: f.now}
		for m := i; m < i+perPolicy; m++ {
			p.Machines = append(p.Machines, ajar.MachinePolicy{Target: Machine(m), Ports: []ajar.PortPolicy{{Number: 22, Protocol: ajar.TCP, Any: true, MaxDuration: 3 * time.Hour}}})
		}
		return tx.Put(p)
	})
}

// requests writes the history, the oldest first, and then what is open.
func (f *filler) requests(ctx context.Context) error {
	n := f.size.History + f.size.Live
	step := span / time.Duration(n)
	return f.each(ctx, n, func(tx ajar.Tx, i int) error {
		at := f.now.Add(-step * time.Duration(n-i)).Truncate(time.Millisecond)
		return f.request(tx, i, at)
	})
}

// request writes the i-th request, its lease and its events.
func (f *filler) request(tx ajar.Tx, i int, at time.Time) error {
	vm := int(uint32(i) * 2654435761 % Machines)
	who := person(i % people)
	if i < f.size.History/2 && i%(f.size.History/40+1) == 0 {
		who = Seldom
	}
	src := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
	port := ajar.Port{Number: 22, Protocol: ajar.TCP}
	live := i >= f.size.History
	r := &ajar.Request{
		ID: ajar.RequestID(id(at, 1, i)), Policy: Policy(vm), Justification: "look at the disk, which is full again",
		Asks:      []ajar.Ask{{Target: Machine(vm), Port: port, Sources: []netip.Prefix{src}, Duration: time.Hour}},
		Requester: who, Name: "person", From: src.Addr(), Corr: id(at, 3, i), State: ajar.Approved, Created: at, Decided: at, Deadline: at.Add(time.Hour),
	}
	switch {
	case live:
	case i%100 == 1:
		r.State = ajar.Denied
	case i%100 == 2:
		r.State = ajar.Lapsed
	case i >= f.size.History-200:
		r.State, r.Decided, r.Deadline = ajar.Pending, time.Time{}, f.now.Add(time.Hour)
	}
	e := ajar.Event{Time: at, Action: ajar.PolicyInitiate, Outcome: ajar.Accepted, Scope: r.Policy, Caller: who, Name: r.Name, From: r.From, Via: "arm",
		Corr: r.Corr, By: string(person(i % people)), Request: r.ID, Details: map[string]string{"asks": "22/TCP from " + src.String()}}
	if r.State != ajar.Approved {
		return errors.Join(tx.Put(r), tx.Append(e))
	}
	l := &ajar.Lease{
		ID: ajar.LeaseID(id(at, 2, i)), Request: r.ID, Policy: r.Policy, Target: Machine(vm), Endpoint: Endpoint(vm), Flow: ajar.Flow{Port: port}, Sources: r.Asks[0].Sources,
		Requester: who, Name: r.Name, Start: at, End: at.Add(time.Hour), Max: 3 * time.Hour, Mode: ajar.Cut, State: ajar.Closed, Reason: ajar.Expired, Opened: at, Closed: at.Add(time.Hour),
	}
	end := ajar.Event{Time: at, Action: ajar.LeaseClosed, Outcome: ajar.Happened, Scope: l.Target, Principal: who, Request: r.ID, Lease: l.ID, Endpoint: l.Endpoint}
	if live {
		end.Action, l.State, l.Reason, l.Closed = ajar.LeaseOpened, ajar.Open, "", time.Time{}
		l.Start, l.End = f.now, f.now.Add(time.Hour+time.Duration(i%7200)*time.Second)
		l.KernelEnd = l.End
	}
	r.Leases, e.Lease = []ajar.LeaseID{l.ID}, l.ID
	return errors.Join(tx.Put(r), tx.Put(l), tx.Append(e), tx.Append(end))
}

// id is an identifier as the broker makes them: what is newer comes first.
func id(at time.Time, kind byte, i int) string {
	var b [6]byte
	for k, left := 0, uint64(1)<<48-1-uint64(at.UnixMilli()); k < 6; k++ {
		b[k] = byte(left >> (40 - 8*k))
	}
	head := hex.EncodeToString(b[:])
	return fmt.Sprintf("%s-%s-8%03x-8000-%012x", head[:8], head[8:], kind, i)
}
