package storetest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
)

// History runs concurrent Updates of everything that a Tx can do, drawn at random, over stores that all have the same
// empty database; some refuse in the end, some panic. Each counts on a turn, and what it saw must be what it would have
// seen had they run one after the other in the order of their turns, over maps, whatever it was told; and so must what
// Views see afterwards. Only one that ends Unavailable is not told what it saw; it may have happened. AJAR_SOAK=10m in the
// environment has it go on for that long.
func History(t testing.TB, stores ...ajar.Store) {
	t.Helper()
	rounds, end := 20, time.Time{}
	if s := os.Getenv("AJAR_SOAK"); s != "" {
		d, err := time.ParseDuration(s)
		if err != nil {
			t.Fatal(err)
		}
		end = time.Now().Add(d)
	}
	h := &history{t: t, stores: stores, seed: rand.Uint64(), state: newNaive()}
	for i := 0; i < rounds || time.Now().Before(end); i++ {
		h.round(i)
		if t.Failed() {
			t.Fatalf("seed %d, round %d", h.seed, i)
		}
	}
}

type history struct {
	t      testing.TB
	stores []ajar.Store
	seed   uint64
	state  *naive
	claims []ajar.Claim // that were given
	n      uint64
	seq    int64
}

// change is one Update: as it was drawn, and what came of its last run.
type change struct {
	h     *history
	id    uint64
	known []ajar.Claim // that were given before
	run   *run
	err   error
	done  bool // it happened
}

// run is one run of it, in either world.
type run struct {
	*rand.Rand
	tx     ajar.Tx
	known  []ajar.Claim
	claims []ajar.Claim
	log    []string
	puts   []stamped
	turn   int64 // how many were before it
}

type stamped struct {
	doc ajar.Doc
	was ajar.Stamp
	is  ajar.Stamp
}

func (c *change) start(tx ajar.Tx) *run {
	return &run{Rand: rand.New(rand.NewPCG(c.h.seed, c.id)), tx: tx, known: c.known}
}

func (r *run) play(name string) error {
	turn := &ajar.Tally{Key: "turn"}
	if err := r.tx.GetDoc(ajar.KindTally, turn.Key, turn); err != nil && !errors.Is(err, ajar.NotFound) {
		return err
	}
	r.turn = turn.Rev
	if err := r.tx.Put(turn); err != nil {
		return err
	}
	for range 1 + r.IntN(7) {
		r.step()
		runtime.Gosched()
	}
	if err := r.tx.Append(ajar.Event{Time: noon, Action: "history", Corr: name, Message: name}); err != nil {
		return err
	}
	switch r.IntN(8) {
	case 0, 1:
		return errNo
	case 2:
		panic(errNo)
	}
	return nil
}

func (c *change) name() string { return fmt.Sprint("change ", c.id) }

func (h *history) round(i int) {
	rng := rand.New(rand.NewPCG(h.seed, uint64(i)))
	changes := make([]*change, 1+rng.IntN(10))
	var ready, done sync.WaitGroup
	ready.Add(len(changes) - 1)
	for i := range changes {
		h.n++
		c := &change{h: h, id: h.n<<20 | 1, known: h.claims}
		changes[i] = c
		s := h.stores[rng.IntN(len(h.stores))]
		done.Go(func() {
			if i > 0 {
				ready.Done()
			}
			c.err = s.Update(context.Background(), func(tx ajar.Tx) error {
				if i == 0 && c.run == nil { // the others gather behind it
					ready.Wait()
					for range 50 {
						runtime.Gosched()
					}
				}
				c.run = c.start(tx)
				return c.run.play(c.name())
			})
		})
	}
	done.Wait()
	for _, c := range changes {
		c.done = c.err == nil || (errors.Is(c.err, ajar.Unavailable) && h.logged(c))
	}
	slices.SortFunc(changes, (*change).compare)
	for _, c := range changes {
		if h.replay(c); h.t.Failed() {
			return
		}
	}
	for _, s := range h.stores {
		h.inspect(s)
	}
}

// compare orders by turns. Of those that were told the same one, one at most happened, behind the others.
func (c *change) compare(d *change) int {
	return cmp.Or(cmp.Compare(c.turn(), d.turn()), cmp.Compare(c.last(), d.last()))
}

func (c *change) turn() int64 {
	if c.run == nil {
		return 0 // it never ran
	}
	return c.run.turn
}

func (c *change) last() int {
	if c.done {
		return 1
	}
	return 0
}

// replay does over maps what c did, and compares.
func (h *history) replay(c *change) {
	next := h.state.clone()
	want := c.start(next)
	wantErr := func() (err error) {
		defer func() {
			if recover() != nil {
				err = ajar.Internal
			}
		}()
		return want.play(c.name())
	}()
	told := !errors.Is(c.err, ajar.Unavailable)
	if told && ((c.err == nil) != (wantErr == nil) || (c.err != nil && !errors.Is(c.err, wantErr))) {
		h.t.Errorf("%s: got %v, want %v", c.name(), c.err, wantErr)
		return
	}
	if (c.done || told) && c.run != nil {
		for i := range min(len(want.log), len(c.run.log)) {
			if got := c.run.log[i]; got != want.log[i] {
				h.t.Errorf("%s, step %d of %v:\n got %s\nwant %s", c.name(), i, c.run.log[:i], got, want.log[i])
				return
			}
		}
	}
	if c.run != nil {
		for _, p := range c.run.puts {
			switch is := *p.doc.Stamped(); {
			case c.err != nil && is.Rev > p.was.Rev:
				h.t.Errorf("%s: a stamp was not put back: %+v, was %+v", c.name(), is, p.was)
			case c.done && p.is.Seq <= h.seq:
				h.t.Errorf("%s: Seq %d behind %d", c.name(), p.is.Seq, h.seq)
			case c.done:
				h.seq = p.is.Seq
			}
		}
	}
	if c.done {
		h.state = next
		if c.run != nil {
			h.claims = slices.Concat(h.claims[max(0, len(h.claims)-6):], c.run.claims)
		}
	}
}

func (h *history) logged(c *change) (is bool) {
	err := h.stores[0].View(context.Background(), func(tx ajar.Tx) error {
		es, err := tx.Events(ajar.EventFilter{Corr: c.name()})
		is = len(es) > 0
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return is
}

// inspect compares what a View sees.
func (h *history) inspect(s ajar.Store) {
	look := func(tx ajar.Tx) []string {
		r := &run{Rand: rand.New(rand.NewPCG(h.seed, h.n)), tx: tx}
		for _, kind := range kinds {
			r.list(kind, ajar.Filter{})
		}
		for range 8 {
			r.list(r.kind(), r.filter())
			r.count()
		}
		for _, owner := range owners {
			at, err := tx.NextDue(owner)
			r.note("next due", owner, at.UTC(), err)
		}
		es, err := tx.Events(ajar.EventFilter{After: int64(max(0, len(h.state.events)-20)), Ascending: true, Limit: 30})
		for _, e := range es {
			r.note(e.Pos, e.Message)
		}
		gen, err2 := tx.RightsGen()
		r.note(gen, err, err2)
		return r.log
	}
	var got []string
	err := s.View(context.Background(), func(tx ajar.Tx) error { got = look(tx); return nil })
	if err != nil {
		h.t.Fatal(err)
	}
	for i, want := range look(h.state) {
		if got[i] != want {
			h.t.Fatalf("a View sees\n %s\nwant %s", got[i], want)
		}
	}
}

var (
	kinds  = []ajar.DocKind{ajar.KindLease, ajar.KindRequest, ajar.KindPrincipal, ajar.KindRoleAssignment, ajar.KindEndpoint, ajar.KindToken}
	owners = []string{"one", "two"}
)

func (r *run) note(what ...any) {
	for i, w := range what {
		if err, ok := w.(error); ok {
			what[i] = string(ajar.KindOf(err))
		}
	}
	r.log = append(r.log, fmt.Sprintln(what...))
}

func (r *run) kind() ajar.DocKind {
	switch r.IntN(5) {
	case 0:
		return kinds[r.IntN(len(kinds))]
	case 1:
		return ajar.KindEndpoint
	}
	return ajar.KindLease
}

func (r *run) key(kind ajar.DocKind) string {
	return fmt.Sprint(string(kind[0]), r.IntN(map[ajar.DocKind]int{ajar.KindLease: 16, ajar.KindEndpoint: 3}[kind]+3))
}

func (r *run) machine() ajar.ID { return machine("g", fmt.Sprint("vm", r.IntN(2))) }

func (r *run) time() time.Time { return noon.Add(time.Duration(r.IntN(30)) * time.Second) }

func (r *run) who() ajar.PrincipalID { return []ajar.PrincipalID{"alice", "bob"}[r.IntN(2)] }

func (r *run) endpoint() ajar.EndpointID { return ajar.EndpointID(r.key(ajar.KindEndpoint)) }

func blankDoc(kind ajar.DocKind) ajar.Doc {
	switch kind {
	case ajar.KindLease:
		return new(ajar.Lease)
	case ajar.KindRequest:
		return new(ajar.Request)
	case ajar.KindPrincipal:
		return new(ajar.Principal)
	case ajar.KindRoleAssignment:
		return new(ajar.RoleAssignment)
	case ajar.KindEndpoint:
		return new(ajar.Endpoint)
	}
	return new(ajar.Token)
}

// doc draws a document.
func (r *run) doc(kind ajar.DocKind, key string) ajar.Doc {
	text := fmt.Sprint(r.Uint32())
	switch kind {
	case ajar.KindLease:
		l := lease(key, func(l *ajar.Lease) {
			l.Target, l.Endpoint, l.Requester, l.End, l.Trouble = r.machine(), r.endpoint(), r.who(), r.time(), text
			l.State = ajar.LeaseStates[r.IntN(4)]
			l.Flow.Port.Number = uint16(22 + r.IntN(2))
			for range 1 + r.IntN(2) {
				l.Sources = append(l.Sources, netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(r.IntN(2))}), 32))
			}
		})
		if r.IntN(8) == 0 {
			l.End = time.Time{}
		}
		return l
	case ajar.KindRequest:
		return &ajar.Request{ID: ajar.RequestID(key), Policy: r.machine(), Requester: r.who(), Deadline: r.time(), Justification: text, Leases: []ajar.LeaseID{"x"},
			State: []ajar.RequestState{ajar.Pending, ajar.Approved, ajar.Denied}[r.IntN(3)]}
	case ajar.KindPrincipal:
		return &ajar.Principal{ID: ajar.PrincipalID(key), Kind: []ajar.PrincipalKind{ajar.User, ajar.Group}[r.IntN(2)], Name: fmt.Sprint("Name", r.IntN(3)), Display: text}
	case ajar.KindRoleAssignment:
		return &ajar.RoleAssignment{ID: key, Scope: []ajar.ID{"/", "/subscriptions/x", r.machine()}[r.IntN(3)], Principal: r.who(), Role: ajar.RoleID(text)}
	case ajar.KindEndpoint:
		return &ajar.Endpoint{ID: ajar.EndpointID(key), Provider: "fake", Target: r.machine(), Trouble: text,
			Guards: []ajar.EndpointGuard{{Flow: ajar.Flow{Port: ajar.Port{Number: 22, Protocol: ajar.TCP}}, Policies: []ajar.ID{"/p"}}}}
	}
	return &ajar.Token{Hash: key, Principal: r.who(), Family: text[:1], Expires: r.time()}
}

// scribble changes d as one may change what is one's own.
func scribble(d ajar.Doc) {
	switch d := d.(type) {
	case *ajar.Lease:
		for i := range d.Sources {
			d.Sources[i] = netip.MustParsePrefix("203.0.113.9/32")
		}
		d.Trouble, d.State = "scribbled", "scribbled"
	case *ajar.Request:
		for i := range d.Leases {
			d.Leases[i] = "scribbled"
		}
	case *ajar.Principal:
		d.Name = "scribbled"
	case *ajar.Endpoint:
		for i := range d.Guards {
			d.Guards[i].Flow.Port.Number = 9
			for j := range d.Guards[i].Policies {
				d.Guards[i].Policies[j] = "/scribbled"
			}
		}
	}
}

func text(d ajar.Doc) string {
	b, err := json.Marshal(d)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprint(d.Stamped().Rev, " ", string(b))
}

// step does one thing.
func (r *run) step() {
	kind := r.kind()
	switch key := r.key(kind); r.IntN(18) {
	case 0, 1, 2, 3:
		r.put(kind, key)
	case 4, 5:
		d := blankDoc(kind)
		err := r.tx.GetDoc(kind, key, d)
		r.note("get", kind, key, text(d), err)
		scribble(d)
	case 6:
		r.note("delete", kind, key, r.tx.Delete(kind, key))
	case 7, 8:
		r.list(kind, r.filter())
	case 9, 10:
		r.news()
	case 11:
		r.rewrite(kind)
	case 12:
		r.count()
	case 13:
		gen, err := r.tx.RightsGen()
		r.note("rights", gen, err)
	default:
		r.stepDue()
	}
}

func (r *run) put(kind ajar.DocKind, key string) {
	d := r.doc(kind, key)
	stored := blankDoc(kind)
	switch mode := r.IntN(8); {
	case mode < 3: // new, as far as anybody looked
	default:
		if err := r.tx.GetDoc(kind, key, stored); err == nil && mode == 3 {
			stored.Stamped().Rev++
		}
		*d.Stamped() = *stored.Stamped()
	}
	r.write(d)
}

func (r *run) write(d ajar.Doc) {
	was := *d.Stamped()
	err := r.tx.Put(d)
	r.note("put", d.Entry().Kind, d.Entry().Key, d.Stamped().Rev, err)
	if err == nil {
		r.puts = append(r.puts, stamped{d, was, *d.Stamped()})
	}
	if r.IntN(2) == 0 {
		scribble(d)
	}
}

func (r *run) filter() (f ajar.Filter) {
	if r.IntN(4) == 0 {
		f.Scope = []ajar.ID{"/", "/subscriptions/x", r.machine(), r.machine() + "/leases"}[r.IntN(4)]
	}
	if r.IntN(4) == 0 {
		f.Owner = r.who()
	}
	if r.IntN(3) == 0 {
		f.Ref = []string{string(r.endpoint()), r.machine().Key(), "name1", "fake", "1"}[r.IntN(5)]
	}
	if r.IntN(3) == 0 {
		all := []string{"Opening", "Open", "Closing", "Closed", "Pending", "Approved", "Denied", "Group", "User"}
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		f.States = all[:1+r.IntN(4)]
	}
	if r.IntN(5) == 0 {
		f.UntilBefore = r.time()
	}
	if r.IntN(3) == 0 {
		f.Limit = 1 + r.IntN(4)
	}
	if r.IntN(5) == 0 {
		f.After = r.seen()
	}
	return f
}

// seen is the Seq of some lease, or 0: the two worlds number alike, but not the same.
func (r *run) seen() *int64 {
	l := new(ajar.Lease)
	_ = r.tx.GetDoc(ajar.KindLease, r.key(ajar.KindLease), l)
	return &l.Seq
}

// list reads a whole list, in pages if f has a Limit.
func (r *run) list(kind ajar.DocKind, f ajar.Filter) {
	var got []string
	for pages := 0; ; pages++ {
		n := 0
		next, err := r.tx.ListDocs(kind, f, func(decode func(ajar.Doc) error) error {
			n++
			d := blankDoc(kind)
			err := decode(d)
			got = append(got, d.Entry().Key+" "+text(d))
			scribble(d)
			return err
		})
		if err != nil || pages > 100 {
			r.note("list", kind, err, pages)
			return
		}
		if f.Limit > 0 && (n > f.Limit || (next != "" && n < f.Limit)) {
			r.note("a page of", n, "instead of", f.Limit)
		}
		if f.Cursor = next; next == "" {
			break
		}
	}
	if f.Scope != "" && f.After == nil && f.UntilBefore.IsZero() {
		slices.Sort(got)
	}
	f.Cursor, f.After = "", nil
	r.note("list", kind, fmt.Sprintf("%+v", f), strings.Join(got, "\n\t"))
}

// news asks what the writer may know by heart: what changed on an endpoint, and who has a slot.
func (r *run) news() {
	if r.IntN(2) == 0 {
		r.list(ajar.KindLease, ajar.Filter{Ref: string(r.endpoint()), After: r.seen()})
		return
	}
	l := r.doc(ajar.KindLease, "l").(*ajar.Lease) //nolint:errcheck // it is one
	if r.IntN(4) > 0 {
		_ = r.tx.GetDoc(ajar.KindLease, r.key(ajar.KindLease), l)
	}
	r.list(ajar.KindLease, ajar.Filter{Scope: l.Slot()})
}

// rewrite changes what it lists.
func (r *run) rewrite(kind ajar.DocKind) {
	f := r.filter()
	if f.Limit = 0; f.Scope != "" && f.After == nil {
		f.UntilBefore = noon.Add(time.Hour) // an order that both worlds know
	}
	_, err := r.tx.ListDocs(kind, f, func(decode func(ajar.Doc) error) error {
		d := blankDoc(kind)
		if err := decode(d); err != nil {
			return err
		}
		fresh := r.doc(kind, d.Entry().Key)
		*fresh.Stamped() = *d.Stamped()
		r.write(fresh)
		return nil
	})
	r.note("rewrite", kind, err)
}

func (r *run) count() {
	kind, f := r.kind(), r.filter()
	n, err := r.tx.Count(kind, f)
	r.note("count", kind, n, err)
}

// stepDue does one thing with what is due.
func (r *run) stepDue() {
	ep, owner, now := r.endpoint(), owners[r.IntN(2)], r.time()
	switch r.IntN(8) {
	case 0, 1:
		r.note("mark", ep, r.tx.MarkDue(ep, now))
	case 2:
		r.note("home", ep, r.tx.SetHome(ep, owner, now))
	case 3:
		cs, err := r.tx.ClaimDue(now, 1+r.IntN(3), time.Second, owner)
		r.given(cs, err)
	case 4:
		c, ok, err := r.tx.Claim(ep, now, 2*time.Second, owner)
		if r.note("claim", ep, ok, err); ok {
			r.given([]ajar.Claim{c}, err)
		}
	case 5, 6:
		if all := append(slices.Clone(r.known), r.claims...); len(all) > 0 {
			c := all[r.IntN(len(all))]
			r.note("release", c.Owner, c.Until.UTC(), r.tx.Release(c, now, r.IntN(3)))
		}
	case 7:
		if r.IntN(3) == 0 {
			r.note("drop", owner, r.tx.DropClaims(owner))
		}
		at, err := r.tx.NextDue(owner)
		r.note("next due", at.UTC(), err)
	}
}

func (r *run) given(cs []ajar.Claim, err error) {
	r.note("claims", len(cs), err)
	for _, c := range cs {
		r.note(c.Owner, c.Mark, c.Failures, c.Until.UTC(), text(c.Endpoint))
		r.claims = append(r.claims, c)
	}
}
