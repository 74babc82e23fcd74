package discover_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/ajartest"
	"github.com/ajar-access/ajar/broker"
	"github.com/ajar-access/ajar/discover"
	"github.com/ajar-access/ajar/provider/fake"
	"github.com/ajar-access/ajar/store"
	"github.com/ajar-access/ajar/store/storetest"
)

// rig is a plane whose firewall also lists what is below ajartest.Group.
type rig struct {
	*ajartest.Plane
	*testing.T
	loop *discover.Loop
	ends []ajar.Ended
	errs []error
}

func newRig(t *testing.T, o ajartest.Options) *rig {
	r := &rig{Plane: ajartest.New(t, o), T: t}
	r.loop = r.replica("one", r.Broker)
	r.loop.Listed = func(_ ajar.Origin, end ajar.Ended, _ time.Duration, err error) {
		r.ends, r.errs = append(r.ends, end), append(r.errs, err)
	}
	return r
}

func (r *rig) replica(name string, b *broker.Broker) *discover.Loop {
	return &discover.Loop{Gate: b, Finders: map[string]ajar.Finder{ajartest.Provider: r.Firewall}, Clock: r.Now, Owner: name}
}

// found is a machine as the fake lists it, with one host.
func found(name string) ajar.Found {
	return ajar.Found{ID: ajartest.MachineID(name), Location: "westeurope", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.4")}, Places: []string{name}}
}

func many(n int) (all []ajar.Found) {
	for i := range n {
		all = append(all, found(fmt.Sprintf("vm%03d", i)))
	}
	return all
}

// lists has the firewall list that, and runs one listing of it.
func (r *rig) lists(found ...ajar.Found) ajar.Ended {
	r.Helper()
	r.Firewall.SetListing(ajartest.Group, &fake.Listing{Found: found, Page: 7})
	return r.again()
}

// again lets the next listing come.
func (r *rig) again() ajar.Ended {
	r.Helper()
	r.Step(time.Hour)
	n := len(r.ends)
	if _, err := r.loop.Once(r.Context()); err != nil {
		r.Fatal(err)
	}
	if len(r.ends) != n+1 {
		r.Fatalf("%d listings ran", len(r.ends)-n)
	}
	return r.ends[n]
}

func (r *rig) fails() error {
	r.Helper()
	r.again()
	err := r.errs[len(r.errs)-1]
	if err == nil {
		r.Fatal("the listing did not fail")
	}
	return err
}

// machine is the stored target, or nil.
func (r *rig) machine(name string) (m *ajar.Target) {
	r.Helper()
	err := r.Store.View(r.Context(), func(tx ajar.Tx) (err error) {
		m, err = ajar.Get[ajar.Target](tx, ajartest.MachineID(name).Key())
		return err
	})
	if err != nil && !errors.Is(err, ajar.NotFound) {
		r.Fatal(err)
	}
	if err != nil {
		return nil
	}
	return m
}

func (r *rig) count() (n int64) {
	r.Helper()
	err := r.Store.View(r.Context(), func(tx ajar.Tx) (err error) {
		n, err = tx.Count(ajar.KindTarget, ajar.Filter{})
		return err
	})
	if err != nil {
		r.Fatal(err)
	}
	return n
}

func (r *rig) happened(a ajar.Action, want int) []*ajar.Event {
	r.Helper()
	es := r.Events(a)
	if len(es) != want {
		r.Fatalf("%s happened %d times, want %d", a, len(es), want)
	}
	return es
}

func eachDatabase(t *testing.T, test func(r *rig)) {
	t.Run("sqlite", func(t *testing.T) { test(newRig(t, ajartest.Options{})) })
	t.Run("postgres", func(t *testing.T) { test(newRig(t, ajartest.Options{DSN: storetest.StartPostgres(t)})) })
}

func TestWhatIsListedAppears(t *testing.T) {
	eachDatabase(t, func(r *rig) {
		if end := r.lists(many(20)...); end.Targets != 20 || end.Missing != 0 || r.count() != 20 {
			r.Fatalf("got %+v and %d machines", end, r.count())
		}
		m := r.machine("vm007")
		if m.Source != ajartest.Provider || m.Finding.Provider != ajartest.Provider || m.Finding.Scope != ajartest.Group || len(m.Endpoints) != 1 || m.OS != "Linux" {
			r.Errorf("got %+v", m)
		}
		r.happened(ajar.TargetFound, 20)

		// It can be asked for like any other.
		alice := r.User("alice", ajartest.At("Owner", ajar.Root))
		policy := r.Policy("default", m.ID)
		out := r.Open(alice, policy, m.ID, 22, "203.0.113.9", time.Hour)
		r.Until(func() bool { return r.Lease(out.Leases[0].ID).State == ajar.Open })
	})
}

func TestListingsThatChangeNothingWriteNothing(t *testing.T) {
	r := newRig(t, ajartest.Options{Idle: true})
	r.lists(many(20)...)
	events := len(r.Events(ajar.MachineWrite)) + len(r.Events(ajar.TargetChanged))
	rev := r.machine("vm001").Rev
	for range 3 {
		r.again()
	}
	if n := len(r.Events(ajar.MachineWrite)) + len(r.Events(ajar.TargetChanged)); n != events || r.machine("vm001").Rev != rev {
		r.Errorf("%d events were logged for nothing", n-events)
	}
}

func TestWhatChangedIsUpdated(t *testing.T) {
	r := newRig(t, ajartest.Options{Idle: true})
	r.lists(many(3)...)
	admin := r.User("admin", ajartest.At("Owner", ajar.Root))
	if _, err := r.Broker.PutTarget(r.Context(), admin, ajar.Target{ID: ajartest.MachineID("vm001"), Login: "ops"}); err != nil {
		t.Fatal(err)
	}
	moved := many(3)
	moved[1].Addresses, moved[1].Places = []netip.Addr{netip.MustParseAddr("10.9.9.9")}, []string{"vm001", "second"}
	moved[1].Tags = map[string]string{"team": "web"}
	moved[1].ID = ajar.ID(strings.Replace(string(moved[1].ID), "vm001", "VM001", 1))
	r.lists(moved...)
	m := r.machine("vm001")
	if len(m.Addresses) != 1 || m.Addresses[0] != moved[1].Addresses[0] || len(m.Endpoints) != 2 || m.ID.Name() != "VM001" || m.Login != "ops" || m.Tags["team"] != "web" {
		t.Errorf("got %+v", m)
	}
	r.happened(ajar.TargetChanged, 1)

	// What a listing says of a machine is not a person's to change; the rest is.
	_, err := r.Broker.PutTarget(r.Context(), admin, ajar.Target{ID: m.ID, Location: "elsewhere"})
	if !errors.Is(err, ajar.Conflict) {
		t.Errorf("a person moved a listed machine: %v", err)
	}
}

// A machine goes with its leases when two whole listings in a row lack it, and not before.
func TestWhatVanishesGoesWithItsLeases(t *testing.T) {
	eachDatabase(t, func(r *rig) {
		r.lists(many(20)...)
		alice, id := r.User("alice", ajartest.At("Owner", ajar.Root)), ajartest.MachineID("vm003")
		policy := r.Policy("default", id, ajartest.MachineID("vm004"))
		out := r.Open(alice, policy, id, 22, "203.0.113.9", 3*time.Hour)
		r.Until(func() bool { return r.Lease(out.Leases[0].ID).State == ajar.Open })
		ends := r.Lease(out.Leases[0].ID).KernelEnd

		rest := append(many(3), many(20)[4:]...)
		if end := r.lists(rest...); end.Missing != 1 || end.Gone != 0 {
			r.Fatalf("the first listing: %+v", end)
		}
		if m := r.machine("vm003"); m == nil || m.Finding.Missing.IsZero() || r.Lease(out.Leases[0].ID).State != ajar.Open {
			r.Fatalf("after one listing: %+v", m)
		}
		if end := r.again(); end.Gone != 1 || end.Targets != 19 || r.machine("vm003") != nil {
			r.Fatalf("the second listing: %+v", end)
		}
		l := r.Lease(out.Leases[0].ID)
		if l.State != ajar.Closed || !l.Unverified || l.Reason != ajar.ReasonGone || ends.IsZero() || !l.KernelEnd.Equal(ends) {
			r.Errorf("got %+v", l)
		}
		if e := r.happened(ajar.LeaseClosed, 1)[0]; e.Details["unverified"] != "true" || e.Details["kernelEnd"] == "" {
			r.Errorf("got %+v", e)
		}
		r.happened(ajar.TargetGone, 1)
		if p := ajartest.Get[ajar.Policy](r.Plane, policy.Key()); len(p.Machines) != 1 {
			r.Errorf("the policy names %d machines", len(p.Machines))
		}
	})
}

// Nothing goes for a listing that was not whole, and what comes and goes is never removed.
func TestNothingGoesForABrokenListing(t *testing.T) {
	r := newRig(t, ajartest.Options{Idle: true})
	r.lists(many(20)...)
	boom := errors.New("token 12345 is not valid")
	for _, l := range []fake.Listing{
		{Found: many(5), Page: 2, Stop: 1, Err: boom},
		{Found: many(5), Page: 2, Stop: 99, Err: boom},
		{Err: ajar.Errorf(ajar.Unavailable, "the cloud is throttling")},
		{Found: append(many(19), ajar.Found{ID: "/nonsense"})},
		{Found: append(many(19), ajar.Found{ID: "/subscriptions/11111111-1111-4111-8111-111111111112/resourceGroups/x/providers/Microsoft.Compute/virtualMachines/y"})},
	} {
		for range 3 {
			r.Firewall.SetListing(ajartest.Group, &l)
			r.fails()
		}
	}
	if r.count() != 20 || !r.machine("vm019").Finding.Missing.IsZero() {
		t.Fatalf("%d machines are left", r.count())
	}
	e := r.happened(ajar.ListingFailed, 1)[0]
	if strings.Contains(e.Message, "12345") {
		t.Errorf("the event says %q", e.Message)
	}
	state := ajartest.Get[ajar.Listing](r.Plane, (ajar.Origin{Provider: ajartest.Provider, Scope: ajartest.Group}).Key())
	if state.Failures != 15 || state.Trouble == "" || state.Owner != "" {
		t.Errorf("got %+v", state)
	}
	r.lists(many(20)...)
	r.happened(ajar.ListingWorked, 1)

	for range 4 {
		r.lists(many(19)...)
		r.lists(many(20)...)
	}
	if r.count() != 20 {
		t.Errorf("a machine that comes and goes is gone")
	}
	r.happened(ajar.TargetMissing, 4)
	r.happened(ajar.TargetGone, 0)
}

// A listing that lacks most of what is known removes nothing, however often it comes.
func TestMassRemovalIsRefused(t *testing.T) {
	r := newRig(t, ajartest.Options{Idle: true})
	r.lists(many(50)...)
	for _, few := range [][]ajar.Found{nil, many(10), many(39)} {
		for range 3 {
			if end := r.lists(few...); !end.Refused || end.Gone != 0 {
				t.Fatalf("got %+v", end)
			}
		}
	}
	if r.count() != 50 {
		t.Fatalf("%d machines are left", r.count())
	}
	if e := r.happened(ajar.ListingRefused, 1)[0]; !strings.Contains(e.Message, "50 of the 50") {
		t.Errorf("the event says %q", e.Message)
	}
	r.lists(many(40)...)
	if end := r.again(); end.Gone != 10 || end.Targets != 40 {
		t.Errorf("a fifth may go: %+v", end)
	}
	r.happened(ajar.ListingWorked, 1)

	// Of few, one may go at a time; so the last of them does.
	r.lists(many(40)...)
	for n := 40; n > 0; n -= max(1, n/5) {
		r.lists(many(n - max(1, n/5))...)
		if end := r.again(); end.Refused || end.Targets != n-max(1, n/5) {
			t.Fatalf("of %d: %+v", n, end)
		}
	}
}

func TestRemovePercent(t *testing.T) {
	for _, c := range []struct{ percent, known, left, after int }{
		{100, 30, 0, 0}, {-1, 30, 29, 30}, {50, 30, 15, 15}, {50, 30, 14, 30}, {0, 1, 0, 0},
	} {
		r := newRig(t, ajartest.Options{Idle: true})
		b := broker.New(broker.Config{Store: r.Store, Clock: r.Now, NewID: uuid.NewString, RemovePercent: c.percent})
		r.loop.Gate = b
		r.lists(many(c.known)...)
		r.lists(many(c.left)...)
		r.again()
		if n := r.count(); n != int64(c.after) {
			t.Errorf("%+v: %d machines are left", c, n)
		}
	}
}

// What somebody put stays theirs, and what a host joined on stays, whatever is listed.
func TestListingsTouchOnlyTheirOwn(t *testing.T) {
	r := newRig(t, ajartest.Options{Idle: true})
	mine := r.Machine("mine")
	r.lists(append(many(10), found("mine"))...)
	m := r.machine("mine")
	if m.Source != "person" || len(m.Addresses) != 0 || m.Finding.Clash.Scope != ajartest.Group {
		t.Errorf("got %+v", m)
	}
	r.again()
	if e := r.happened(ajar.TargetClash, 1)[0]; e.Scope != mine {
		t.Errorf("got %+v", e)
	}
	r.lists(many(10)...)
	if m := r.machine("mine"); m == nil || m.Finding.Clash != (ajar.Origin{}) || !m.Finding.Missing.IsZero() {
		t.Errorf("got %+v", m)
	}

	// Another scope's listing has it, too.
	r.Firewall.SetListing("/subscriptions/11111111-1111-4111-8111-111111111111", &fake.Listing{Found: many(1)})
	r.Step(time.Hour)
	if _, err := r.loop.Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	if m := r.machine("vm000"); m.Finding.Scope != ajartest.Group || m.Finding.Clash.Scope == "" {
		t.Errorf("got %+v", m)
	}
	r.Firewall.SetListing("/subscriptions/11111111-1111-4111-8111-111111111111", nil)

	// A host joined on a listed machine.
	admin := r.User("admin", ajartest.At("Owner", ajar.Root))
	_, token, err := r.Broker.CreateJoinToken(t.Context(), admin, ajar.Target{ID: ajartest.MachineID("vm009")}, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Broker.Join(t.Context(), broker.Joining{TokenHash: token.Hash, Serial: "01", Expires: r.Now().Add(24 * time.Hour)}); err != nil {
		t.Fatal(err)
	}
	r.lists(many(9)...)
	for range 3 {
		if end := r.again(); end.Gone != 0 || end.Missing != 1 {
			t.Fatalf("got %+v", end)
		}
	}
	r.happened(ajar.TargetKept, 1)
	if m := r.machine("vm009"); m.Finding.Kept == "" || len(m.Endpoints) != 2 {
		t.Errorf("got %+v", m)
	}
	if err := r.Broker.RemoveHost(t.Context(), admin, ajartest.MachineID("vm009"), true); err != nil {
		t.Fatal(err)
	}
	if r.again(); r.machine("vm009") != nil {
		t.Error("the machine is still there without its host")
	}
}

// A place that two listings lack goes, and its leases are closed unseen; the machine and its other places stay.
func TestAPlaceThatVanishesGoes(t *testing.T) {
	r := newRig(t, ajartest.Options{})
	two := found("vm1")
	two.Places = []string{"a", "b"}
	r.lists(two)
	alice := r.User("alice", ajartest.At("Owner", ajar.Root))
	out := r.Open(alice, r.Policy("default", two.ID), two.ID, 22, "203.0.113.9", 3*time.Hour)
	r.Until(func() bool {
		return r.Lease(out.Leases[0].ID).State == ajar.Open && r.Lease(out.Leases[1].ID).State == ajar.Open
	})
	r.lists(found("vm2"), ajar.Found{ID: two.ID, Location: two.Location, Addresses: two.Addresses, Places: []string{"a"}})
	if m := r.machine("vm1"); len(m.Endpoints) != 2 {
		t.Fatalf("got %+v", m)
	}
	r.again()
	closed := 0
	for _, l := range out.Leases {
		if l := r.Lease(l.ID); l.State == ajar.Closed && l.Unverified {
			closed++
		}
	}
	if m := r.machine("vm1"); len(m.Endpoints) != 1 || closed != 1 {
		t.Errorf("%d leases are closed on %+v", closed, m)
	}
}

// What was written while a listing ran is not removed for it: the listing is older.
func TestAListingOlderThanTheTarget(t *testing.T) {
	r := newRig(t, ajartest.Options{Idle: true})
	r.lists(many(20)...)
	r.lists(many(19)...) // vm019 is missing
	r.Step(time.Hour)
	o := ajar.Origin{Provider: ajartest.Provider, Scope: ajartest.Group}
	l, ok, err := r.Broker.BeginListing(t.Context(), ajar.Plane, o, "one", time.Minute)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	r.Policy("default", ajartest.MachineID("vm019"))
	listed := map[string]bool{}
	for _, f := range many(19) {
		listed[f.ID.Key()] = true
	}
	end, err := r.Broker.EndListing(t.Context(), ajar.Plane, l, listed, r.Now())
	if err != nil || end.Gone != 0 || r.machine("vm019") == nil {
		t.Fatalf("got %+v, %v", end, err)
	}
	if end := r.again(); end.Gone != 1 {
		t.Errorf("the next listing: %+v", end)
	}
}

// Who lost the claim changes nothing any more.
func TestAListingThatWasTakenOver(t *testing.T) {
	r := newRig(t, ajartest.Options{Idle: true})
	r.lists(many(20)...)
	o := ajar.Origin{Provider: ajartest.Provider, Scope: ajartest.Group}
	r.Step(time.Hour)
	begin := func(owner string, want bool) *ajar.Listing {
		t.Helper()
		l, ok, err := r.Broker.BeginListing(t.Context(), ajar.Plane, o, owner, time.Minute)
		if err != nil || ok != want {
			t.Fatalf("%s: %v, %v", owner, ok, err)
		}
		return l
	}
	old := begin("one", true)
	begin("two", false)
	r.Step(2 * time.Minute)
	begin("two", true)
	_, err := r.Broker.Agree(t.Context(), ajar.Plane, old, []ajar.Found{found("new")})
	if !errors.Is(err, ajar.Conflict) || r.machine("new") != nil {
		t.Errorf("the old one added: %v", err)
	}
	if _, err := r.Broker.EndListing(t.Context(), ajar.Plane, old, map[string]bool{}, r.Now()); !errors.Is(err, ajar.Conflict) {
		t.Errorf("the old one ended: %v", err)
	}
	if err := r.Broker.FailListing(t.Context(), ajar.Plane, old, "x", r.Now()); !errors.Is(err, ajar.Conflict) {
		t.Errorf("the old one failed: %v", err)
	}

	// Nobody but the plane, or who may write machines there, lists.
	nobody := r.User("nobody")
	if _, _, err := r.Broker.BeginListing(t.Context(), nobody, o, "x", time.Minute); !errors.Is(err, ajar.Forbidden) {
		t.Errorf("nobody may list: %v", err)
	}
}

// Of two replicas one lists at a time, each scope once in its interval; when one dies in the middle the other goes on
// after the claim.
func TestTwoReplicasListOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &rig{Plane: ajartest.New(t, ajartest.Options{Idle: true, DSN: "sqlite:" + filepath.Join(t.TempDir(), "ajar.db")}), T: t}
		r.Firewall.SetListing(ajartest.Group, &fake.Listing{Found: many(20)})
		other := broker.New(broker.Config{Store: r.Store, Clock: r.Now, NewID: uuid.NewString})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 2)
		go func() { done <- r.replica("one", r.Broker).Run(ctx) }()
		go func() { done <- r.replica("two", other).Run(ctx) }()
		<-time.After(time.Hour)
		n, most := r.Firewall.Listings()
		if n < 10 || n > 14 || most != 1 {
			t.Errorf("%d listings in an hour, %d at once", n, most)
		}
		if r.count() != 20 {
			t.Errorf("%d machines", r.count())
		}

		// One hangs: its claim ends, and listings go on with a wait that grows.
		r.Firewall.SetListing(ajartest.Group, &fake.Listing{Hang: true})
		<-time.After(24 * time.Hour)
		hung, most := r.Firewall.Listings()
		if hung -= n; hung < 24 || hung > 60 || most != 1 {
			t.Errorf("%d listings in a day that hang, %d at once", hung, most)
		}
		cancel()
		<-done
		<-done
	})
}

// Two processes over one database, asked at the same moment: one of them lists.
func TestTwoProcesses(t *testing.T) {
	for name, dsn := range map[string]string{"sqlite": "sqlite:" + filepath.Join(t.TempDir(), "ajar.db"), "postgres": storetest.StartPostgres(t)} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, ajartest.Options{Idle: true, DSN: dsn})
			s, err := store.Open(t.Context(), dsn, store.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			r.Firewall.SetListing(ajartest.Group, &fake.Listing{Found: many(50), Page: 5})
			loops := []*discover.Loop{
				r.replica("one", r.Broker), r.replica("two", broker.New(broker.Config{Store: s, Clock: r.Now, NewID: uuid.NewString})),
			}
			for range 8 {
				r.Step(time.Hour)
				done := make(chan error, len(loops))
				for _, l := range loops {
					go func() { _, err := l.Once(t.Context()); done <- err }()
				}
				for range loops {
					if err := <-done; err != nil {
						t.Fatal(err)
					}
				}
			}
			if n, most := r.Firewall.Listings(); n != 8 || most != 1 || r.count() != 50 {
				t.Errorf("%d listings, %d at once, %d machines", n, most, r.count())
			}
		})
	}
}
