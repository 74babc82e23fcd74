package nftables

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
)

// reports runs f's watch and hands on what it reports.
func reports(t *testing.T, f *Firewall) <-chan ajar.Report {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ch, done := make(chan ajar.Report, 100), make(chan struct{})
	go func() {
		defer close(done)
		if err := f.Report(ctx, func(r ajar.Report) error { ch <- r; return nil }); !errors.Is(err, context.Canceled) {
			t.Errorf("watching ended: %v", err)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return ch
}

func repaired(t *testing.T, ch <-chan ajar.Report, want string) ajar.Report {
	t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case r := <-ch:
			if r.Action != ajar.DriftRepaired || r.Look {
				t.Fatalf("report: %+v", r)
			}
			if strings.Contains(r.Message, want) {
				return r
			}
			t.Logf("also: %s", r.Message)
		case <-deadline:
			t.Fatalf("no report that mentions %q", want)
		}
	}
}

func TestFlushHasNoEffectOnAnOwnedTable(t *testing.T) {
	p := newPair(t)
	p.host.serve("tcp", ":22")
	f := p.host.firewall(Config{})
	want := ajar.Ruleset{Guard: guardOf(22), Allow: []ajar.Rule{leaseOf("a", 22, time.Now().Add(time.Hour), guest4)}}
	if got := f.Status().OwnTable; !owns(t) {
		if !strings.Contains(got, "watched and repaired") {
			t.Errorf("this kernel cannot keep an owned table, and the status says %q", got)
		}
		ch := reports(t, f)
		apply(t, f, want)
		p.host.nft("flush ruleset")
		repaired(t, ch, "table deleted")
		p.guest.wantOpen(guest4, ap(host4, 22))
		p.guest.wantRefused(other4, ap(host4, 22))
		return
	} else if got != "owner+persist" {
		t.Fatalf("this kernel should own tables: %s", got)
	}
	apply(t, f, want)
	p.host.nft("flush ruleset")
	p.host.nftFails("delete table inet ajar")
	p.host.nftFails("flush chain inet ajar in")
	p.host.nftFails("add element inet ajar open4_32 { 10.7.0.3 . tcp . 22 }")
	p.host.nftFails("flush set inet ajar guard")
	p.guest.wantOpen(guest4, ap(host4, 22))
	p.guest.wantRefused(other4, ap(host4, 22))
}

// TestEveryChangeOfAnUnownedTableIsRepaired: and live sessions survive the repair.
func TestEveryChangeOfAnUnownedTableIsRepaired(t *testing.T) {
	p := newPair(t)
	p.host.serve("tcp", ":22")
	f := p.host.firewall(Config{OwnTable: "off"})
	if got := f.Status().OwnTable; !strings.Contains(got, "off") {
		t.Errorf("status: %s", got)
	}
	ch := reports(t, f)
	wide := leaseOf("b", 22, time.Now().Add(time.Hour), "fd07::2/127")
	apply(t, f, ajar.Ruleset{Guard: guardOf(22, 3389), Allow: []ajar.Rule{leaseOf("a", 22, time.Now().Add(time.Hour), guest4), wide}})
	want := p.host.normal(t)
	c, err := p.guest.dial("tcp", ap(guest4, 0), ap(host4, 22))
	if err != nil {
		t.Fatal(err)
	}
	k := keep(c)
	cuts := []string{"delete element inet ajar open4_32 { 10.7.0.2 . tcp . 22 }", "flush set inet ajar open4_32"}
	for _, x := range []struct{ script, want string }{
		{"flush ruleset", "table deleted"},
		{"delete table inet ajar", "table deleted"},
		{"delete element inet ajar open4_32 { 10.7.0.2 . tcp . 22 }", "element deleted"},
		{"flush set inet ajar open4_32", "element deleted"},
		{"flush set inet ajar open6_127", "element deleted"},
		{"add element inet ajar open4_32 { 10.7.0.3 . tcp . 22 }", "element added"},
		{"add element inet ajar open4_32 { 10.7.0.3 . tcp . 22 timeout 1h }", "element added"},
		{"delete element inet ajar guard { tcp . 22 }", "element deleted"},
		{"add element inet ajar guard { tcp . 23 }", "element added"},
		{"flush set inet ajar here", "element deleted"},
		{"add element inet ajar here { unicast }", "element added"},
		{"add element inet ajar grace4 { 10.7.0.3 . 1000 . 10.7.0.1 . 22 . tcp timeout 1h }", "element added"},
		{"insert rule inet ajar in tcp dport 22 accept", "rule added"},
		{"insert rule inet ajar open4 accept", "rule added"},
		{"flush chain inet ajar in", "rule deleted"},
		{"flush table inet ajar", "rule deleted"},
		{"add chain inet ajar mine { type filter hook prerouting priority -170; }\nadd rule inet ajar mine tcp dport 22 drop", "chain added"},
		{"add set inet ajar mine { type ipv4_addr; }", "set added"},
		{"add table inet ajar { flags dormant; }", "table changed"},
		{"flush chain inet ajar out\nadd chain inet ajar out { policy drop; }", "rule deleted"},
	} {
		p.host.nft(x.script)
		r := repaired(t, ch, x.want)
		if r.Details["process"] != "nft" || r.Details["open"] == "" {
			t.Errorf("%s: details %v", x.script, r.Details)
		}
		within(t, patience, x.script+": the table as it was", func() bool { return p.host.normal(t) == want })
		p.guest.wantOpen(guest4, ap(host4, 22))
		p.guest.wantOpen(guest6, ap(host6, 22))
		p.guest.wantRefused(other4, ap(host4, 22))
		t.Logf("%q: open for %s", x.script, r.Details["open"])
		if !slices.Contains(cuts, x.script) {
			k.lives(t, x.script)
			continue
		}
		// Its opening was away for a moment, which a session that is always talking may or may not survive.
		if c, err = p.guest.dial("tcp", ap(guest4, 0), ap(host4, 22)); err != nil {
			t.Fatal(err)
		}
		k = keep(c)
	}
}

// TestForeignRulesOfOthersAreNotOurs: other tables may change as they like.
func TestChangesOfOtherTablesAreNoDrift(t *testing.T) {
	p := newPair(t)
	f := p.host.firewall(Config{OwnTable: "off"})
	ch := reports(t, f)
	apply(t, f, ajar.Ruleset{Guard: guardOf(22)})
	p.host.nft("add table inet other\nadd chain inet other c\nadd table ip ajar\nadd chain ip ajar in")
	p.host.nft("delete table ip ajar")
	p.host.nft("delete element inet ajar guard { tcp . 22 }")
	if r := repaired(t, ch, "element deleted"); r.Details["chain added"] != "" {
		t.Errorf("%v", r.Details)
	}
}

// TestExpiryIsNoDrift: an element that timed out is not put back, and nobody reports it.
func TestExpiryIsNoDrift(t *testing.T) {
	p := newPair(t)
	p.host.serve("tcp", ":22")
	f := p.host.firewall(Config{OwnTable: "off"})
	ch := reports(t, f)
	until(ends(t, f, ajar.Ruleset{Guard: guardOf(22), Allow: []ajar.Rule{leaseOf("a", 22, time.Now(), guest4)}}))
	p.guest.wantRefused(guest4, ap(host4, 22))
	p.host.nft("flush ruleset")
	repaired(t, ch, "table deleted")
	p.guest.wantRefused(guest4, ap(host4, 22))
	select {
	case r := <-ch:
		t.Errorf("unexpected report: %+v", r)
	default:
	}
}

// TestReportsWaitForWhoTakesThem: repairs do not wait, and nothing is lost.
func TestReportsWaitForWhoTakesThem(t *testing.T) {
	p := newPair(t)
	f := p.host.firewall(Config{OwnTable: "off"})
	apply(t, f, ajar.Ruleset{Guard: guardOf(22)})
	busy := errors.New("not now")
	got := make(chan error, 1)
	go func() { got <- f.Report(context.Background(), func(ajar.Report) error { return busy }) }()
	p.host.nft("delete element inet ajar guard { tcp . 22 }")
	if err := <-got; !errors.Is(err, busy) {
		t.Fatal(err)
	}
	repaired(t, reports(t, f), "element deleted")
}

func TestOrphanedTableIsAdoptedWithoutAGap(t *testing.T) {
	for _, own := range []string{"auto", "off"} {
		t.Run(own, func(t *testing.T) {
			p := newPair(t)
			p.host.serve("tcp", ":22")
			end := time.Now().Add(time.Hour)
			want := ajar.Ruleset{Guard: guardOf(22), Allow: []ajar.Rule{leaseOf("a", 22, end, guest4), leaseOf("b", 22, end, "fd07::2/127")}}
			f := p.host.firewall(Config{OwnTable: own})
			apply(t, f, want)
			if f.Adopted() {
				t.Error("it says that a table was there before the first")
			}
			c, err := p.guest.dial("tcp", ap(guest4, 0), ap(host4, 22))
			if err != nil {
				t.Fatal(err)
			}
			k := keep(c)
			stop, handle := p.tries(other4, ap(host4, 22)), p.host.handles()
			f.Close()
			// Dead: closed stays closed, open stays open.
			p.guest.wantRefused(other4, ap(host4, 22))
			p.guest.wantOpen(guest4, ap(host4, 22))
			for range 5 {
				f = p.host.firewall(Config{OwnTable: own})
				if got, err := f.Observe(t.Context(), anyEndpoint); err != nil || len(got.Guard) != 1 || len(got.Allow) != 2 {
					t.Errorf("before it is adopted: %+v, %v", got, err)
				}
				apply(t, f, want)
				if !f.Adopted() {
					t.Error("it says that no table was there")
				}
				p.guest.wantOpen(guest6, ap(host6, 22))
				f.Close()
			}
			k.lives(t, "five successors")
			if now := p.host.handles(); now != handle {
				t.Errorf("the table was replaced: %s, was %s", now, handle)
			}
			if n := stop(); n != 0 {
				t.Errorf("the closed port was open %d times while the table changed hands", n)
			}
		})
	}
}

// handles are the kernel's numbers of all tables.
func (m *machine) handles() (out string) {
	m.t.Helper()
	m.must(m.do(func() error {
		b, err := exec.Command("nft", "-a", "list", "tables").Output()
		out = string(b)
		return err
	}))
	return out
}

// tries knocks all the time and counts how often it was let in.
func (p *pair) tries(from, to string) (stop func() int) {
	quit, count := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		for {
			select {
			case <-quit:
				count <- n
				return
			default:
			}
			if c, err := p.guest.dial("tcp", ap(from, 0), to); err == nil {
				n++
				c.Close()
			}
		}
	}()
	return func() int { close(quit); return <-count }
}

// TestAdoptionChangesOwnership: an owned orphan where owning is off now, a plain table where it is on, a table of other make.
func TestAdoptionChangesOwnership(t *testing.T) {
	p := newPair(t)
	p.host.serve("tcp", ":22")
	want := ajar.Ruleset{Guard: guardOf(22), Allow: []ajar.Rule{leaseOf("a", 22, time.Now().Add(time.Hour), guest4)}}
	stop := func() int { return 0 }
	var k *keeper
	for i, own := range []string{"auto", "off", "auto", "off", "off", "auto", "auto"} {
		f := p.host.firewall(Config{OwnTable: own})
		apply(t, f, want)
		p.guest.wantRefused(other4, ap(host4, 22))
		if i == 0 {
			c, err := p.guest.dial("tcp", ap(guest4, 0), ap(host4, 22))
			if err != nil {
				t.Fatal(err)
			}
			k, stop = keep(c), p.tries(other4, ap(host4, 22))
		}
		f.Close()
	}
	k.lives(t, "changes of ownership")
	if n := stop(); n != 0 {
		t.Errorf("the port was open %d times", n)
	}
	q := newPair(t)
	q.host.serve("tcp", ":22")
	q.host.nft(`table inet ajar {
		set guard { type ipv4_addr
			elements = { 1.2.3.4 }
		}
		set open4_32 { type inet_service
			elements = { 22 }
		}
		set grace4 { type mark
			elements = { 1 }
		}
		chain in { type filter hook input priority 0
			accept
		}
	}`)
	apply(t, q.host.firewall(Config{OwnTable: "off"}), want)
	q.guest.wantRefused(other4, ap(host4, 22))
	q.guest.wantOpen(guest4, ap(host4, 22))
}

func TestTableOfALivingProcessIsRefused(t *testing.T) {
	p := newPair(t)
	f := p.host.firewall(Config{})
	apply(t, f, ajar.Ruleset{Guard: guardOf(22)})
	g := p.host.firewall(Config{})
	if owns(t) { // older kernels do not know whose a table is; there the lock on the state directory alone keeps two agents apart
		err := g.Apply(t.Context(), anyEndpoint, ajar.Ruleset{Guard: guardOf(23)})
		if !errors.Is(err, ajar.Conflict) || !strings.Contains(err.Error(), "another process") {
			t.Errorf("got %v", err)
		}
		if err := g.Apply(t.Context(), anyEndpoint, ajar.Ruleset{}); err == nil {
			t.Error("removed somebody else's table")
		}
	}
	f.Close()
	apply(t, g, ajar.Ruleset{Guard: guardOf(23)})
}

func TestChangeNeedsItsRevision(t *testing.T) {
	p := newPair(t)
	p.host.serve("tcp", ":22")
	f := p.host.firewall(Config{})
	ctx := t.Context()
	put := ajar.Delta{Base: 7, Rev: 8, Put: []ajar.Rule{leaseOf("a", 22, time.Now().Add(time.Hour), guest4)}}
	if err := f.Change(ctx, anyEndpoint, put); !errors.Is(err, ajar.Conflict) {
		t.Errorf("nothing was applied yet: %v", err)
	}
	if err := f.ApplyAt(ctx, anyEndpoint, ajar.Ruleset{Guard: guardOf(22)}, 7); err != nil {
		t.Fatal(err)
	}
	if err := f.Change(ctx, anyEndpoint, put); err != nil {
		t.Fatal(err)
	}
	if err := f.Change(ctx, anyEndpoint, put); !errors.Is(err, ajar.Conflict) {
		t.Errorf("the base has moved: %v", err)
	}
	p.guest.wantOpen(guest4, ap(host4, 22))
	bad := leaseOf("b", 22, time.Now().Add(time.Hour), guest4)
	bad.Sources = append(bad.Sources, netip.Prefix{})
	if err := f.Change(ctx, anyEndpoint, ajar.Delta{Base: 8, Rev: 9, Put: []ajar.Rule{bad}, Drop: []ajar.LeaseID{"a"}}); !errors.Is(err, ajar.Invalid) {
		t.Errorf("got %v", err)
	}
	p.guest.wantOpen(guest4, ap(host4, 22)) // what is refused changes nothing
	if err := f.ApplyAt(ctx, anyEndpoint, ajar.Ruleset{Guard: guardOf(22)}, 0); err != nil {
		t.Fatal(err)
	}
	// From nothing to something and back, by changes alone.
	g := guardOf(22)
	if err := f.ApplyAt(ctx, anyEndpoint, ajar.Ruleset{}, 1); err != nil {
		t.Fatal(err)
	}
	if err := f.Change(ctx, anyEndpoint, ajar.Delta{Base: 1, Rev: 2, Guard: &g}); err != nil {
		t.Fatal(err)
	}
	p.guest.wantRefused(guest4, ap(host4, 22))
	g = nil
	if err := f.Change(ctx, anyEndpoint, ajar.Delta{Base: 2, Rev: 3, Guard: &g}); err != nil {
		t.Fatal(err)
	}
	if p.host.tableThere("ajar") {
		t.Error("the table is still there")
	}
	if err := f.Change(ctx, anyEndpoint, ajar.Delta{Base: 3, Rev: 4, Guard: &g, Put: put.Put}); err != nil {
		t.Fatal(err)
	}
}

// TestResyncAfterSuspend: the clock went on while the kernel's did not.
func TestResyncAfterSuspend(t *testing.T) {
	p := newPair(t)
	p.host.serve("tcp", ":22")
	var slept atomic.Int64
	f := p.host.firewall(Config{Clock: func() time.Time { return time.Now().Add(time.Duration(slept.Load())) }})
	end := time.Now().Add(time.Hour)
	apply(t, f, ajar.Ruleset{Guard: guardOf(22), Allow: []ajar.Rule{leaseOf("a", 22, end, guest4), leaseOf("b", 22, end.Add(time.Hour), guest6)}})
	slept.Store(int64(time.Hour + time.Second))
	if err := f.Resync(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.guest.wantRefused(guest4, ap(host4, 22))
	p.guest.wantOpen(guest6, ap(host6, 22))
	es, err := f.listed(t.Context(), "open6_128")
	if err != nil || len(es) != 1 || es[0].expires > time.Hour {
		t.Errorf("%v %v", es, err)
	}
}

func TestClosedFirewallSaysSo(t *testing.T) {
	m := newMachine(t)
	f := m.firewall(Config{})
	f.Close()
	_, err := f.Observe(t.Context(), anyEndpoint)
	for _, err := range []error{err, f.Apply(t.Context(), anyEndpoint, ajar.Ruleset{}), f.Resync(t.Context()), f.Change(t.Context(), anyEndpoint, ajar.Delta{})} {
		if !errors.Is(err, ajar.Unavailable) {
			t.Errorf("got %v", err)
		}
	}
}

// TestRepairsAndChangesTogether: somebody is at the table all the while it changes; in the end it is as wanted.
func TestRepairsAndChangesTogether(t *testing.T) {
	p := newPair(t)
	f := p.host.firewall(Config{OwnTable: "off"})
	ch := reports(t, f)
	go func() {
		for range ch { // only drained
		}
	}()
	want := ajar.Ruleset{Guard: guardOf(22)}
	if err := f.ApplyAt(t.Context(), anyEndpoint, want, 0); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 5 {
			for _, script := range []string{"flush ruleset", "flush set inet ajar open4_32", "flush chain inet ajar in", "delete set inet ajar open4_24", "flush set inet ajar guard"} {
				_ = p.host.do(func() error { return exec.Command("nft", script).Run() }) // what is not there cannot be deleted
			}
		}
	}()
	rev, whole := uint64(0), 0
	for busy := true; busy; {
		select {
		case <-done:
			busy = false
		default:
		}
		source := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(rev >> 8), byte(rev)}), 24+8*int(rev%2))
		d := ajar.Delta{Base: rev, Rev: rev + 1, Put: []ajar.Rule{leaseOf(source.String(), 22, time.Now().Add(time.Hour), source.String())}}
		want = want.With(d)
		rev++
		if err := f.Change(t.Context(), anyEndpoint, d); err == nil {
			continue
		}
		whole++
		within(t, patience, "the whole can be applied", func() bool { return f.ApplyAt(t.Context(), anyEndpoint, want, rev) == nil })
	}
	t.Logf("%d changes, %d of them needed the whole", rev, whole)
	within(t, patience, "the table is as wanted", func() bool {
		got, err := f.Observe(t.Context(), anyEndpoint)
		return err == nil && want.Diff(got).Empty()
	})
}

// TestWhatFailedIsPutRight: a change that the kernel never saw leaves memory ahead of it, also of the sets that are there.
func TestWhatFailedIsPutRight(t *testing.T) {
	change := func(f *Firewall, want ajar.Ruleset) error {
		return f.Change(t.Context(), anyEndpoint, ajar.Delta{Base: 1, Rev: 2, Put: want.Allow})
	}
	repair := func(f *Firewall, _ ajar.Ruleset) error {
		f.repair(t.Context(), &drift{counts: map[string]int{"rule deleted": 1}, whole: true})
		return errors.New("it could not be repaired")
	}
	for name, again := range map[string]func(*Firewall, ajar.Ruleset) error{
		"whole": func(f *Firewall, want ajar.Ruleset) error { return f.ApplyAt(t.Context(), anyEndpoint, want, 3) },
		"change": func(f *Firewall, want ajar.Ruleset) error {
			if err := change(f, want); !errors.Is(err, ajar.Conflict) {
				return fmt.Errorf("a change from what is not known: %w", err)
			}
			return f.ApplyAt(t.Context(), anyEndpoint, want, 2)
		},
		"repair": func(f *Firewall, want ajar.Ruleset) error {
			if err := change(f, want); !errors.Is(err, ajar.Conflict) {
				return fmt.Errorf("a change from what is not known: %w", err)
			}
			return f.ApplyAt(t.Context(), anyEndpoint, want, 2)
		},
	} {
		fail := change
		if name == "repair" {
			fail = repair
		}
		p := newPair(t)
		p.host.serve("tcp", ":22")
		f := p.host.firewall(Config{})
		if err := f.ApplyAt(t.Context(), anyEndpoint, ajar.Ruleset{Guard: guardOf(22)}, 1); err != nil {
			t.Fatal(err)
		}
		want := ajar.Ruleset{Guard: guardOf(22), Allow: []ajar.Rule{leaseOf("a", 22, anEnd, "10.7.0.0/30")}} // the first of its length
		fd := f.sock.fd
		f.sock.fd = -1
		if err := fail(f, want); err == nil {
			t.Fatal("a change without a kernel")
		}
		f.sock.fd = fd
		if err := again(f, want); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		p.guest.wantOpen(guest4, ap(host4, 22))
		p.guest.wantRefused(guest6, ap(host6, 22))
	}
}

// TestAnOpeningThatCameTooLateIsWrittenAgain: wherever the machine pauses between the clock and the kernel, no opening is longer
// than it should be when Change returns.
func TestAnOpeningThatCameTooLateIsWrittenAgain(t *testing.T) {
	m := newMachine(t)
	var calls, pauseAt atomic.Int64
	f := m.firewall(Config{Clock: func() time.Time {
		if calls.Add(1) == pauseAt.Load() {
			return time.Now().Add(-time.Second) // what happens next happens a second later
		}
		return time.Now()
	}})
	if err := f.ApplyAt(t.Context(), anyEndpoint, ajar.Ruleset{Guard: guardOf(22)}, 1); err != nil {
		t.Fatal(err)
	}
	for n := range uint64(12) {
		end := time.Now().Add(time.Minute)
		r := leaseOf(fmt.Sprint("a", n), 22, end, fmt.Sprint("10.7.1.", n+1))
		calls.Store(0)
		pauseAt.Store(int64(n) + 1)
		if err := f.Change(t.Context(), anyEndpoint, ajar.Delta{Base: 1 + n, Rev: 2 + n, Put: []ajar.Rule{r}}); err != nil {
			t.Fatal(err)
		}
		pauseAt.Store(0)
		ws, err := wishes(r)
		if err != nil {
			t.Fatal(err)
		}
		f.mu.Lock()
		left := time.Until(end)
		got, err := f.look("open4_32", [][]byte{ws[0].place.key()})
		f.mu.Unlock()
		if err != nil || got[0].expires > left+2*late {
			t.Errorf("a pause at look %d at the clock: %v left of %v, %v", n+1, got[0].expires, left, err)
		}
	}
}

// TestWhoCameInMeanwhileIsHungUp: while a table was away that nobody owns, and also if they say nothing.
func TestWhoCameInMeanwhileIsHungUp(t *testing.T) {
	p := newPair(t)
	srv := p.idler(t, ":22")
	f := p.host.firewall(Config{OwnTable: "off"})
	apply(t, f, ajar.Ruleset{Guard: guardOf(22)})
	p.host.nft("flush ruleset") // and nobody watches
	s := srv.session(t, other4, ap(host4, 22))
	at := time.Now()
	repaired(t, reports(t, f), "table deleted")
	s.end(t, at)
}

// TestApplyLooksAtATableThatNobodyOwns: what somebody did there while nobody watched is undone.
func TestApplyLooksAtATableThatNobodyOwns(t *testing.T) {
	p := newPair(t)
	p.host.serve("tcp", ":22")
	f := p.host.firewall(Config{OwnTable: "off"})
	want := ajar.Ruleset{Guard: guardOf(22), Allow: []ajar.Rule{leaseOf("a", 22, anEnd, guest4)}}
	apply(t, f, want)
	p.host.nft("add element inet ajar open4_32 { 10.7.0.3 . tcp . 22 }\ndelete element inet ajar open4_32 { 10.7.0.2 . tcp . 22 }")
	p.guest.wantOpen(other4, ap(host4, 22))
	apply(t, f, want)
	p.guest.wantRefused(other4, ap(host4, 22))
	p.guest.wantOpen(guest4, ap(host4, 22))
}
