package broker

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ajar-access/ajar"
)

// directory is which subscriptions, resource groups and locations there are. Nobody makes them: they are where machines
// and policies lie, what assignments and management groups name, and what the configuration lists. It is read once and
// then kept up with what was written since, so that a question costs as much as its answer.
type directory struct {
	mu       sync.Mutex
	seq      map[ajar.DocKind]int64
	rights   int64 // RightsGen of what is named; -1 = nothing was read yet
	counted  time.Time
	removed  bool // something was deleted here since it was counted
	seed     maphash.Seed
	things   map[uint64]thing // by kind and key
	machines int              // of things
	subs     map[string]*subscription
}

// recount is how often things are counted, which tells that another replica deleted some.
const recount = time.Second

// thing is where a machine or a policy lies.
type thing struct {
	group   *group
	at      *location
	machine bool
}

type subscription struct {
	id     string
	groups map[string]*group
	sorted []*group // nil = to be made
	named  bool     // by an assignment, a management group or the configuration
}

type group struct {
	id    ajar.ID // in the case it was last given in
	key   string
	seq   int64
	n     int
	named bool
	at    []*location
}

// location is where things of a group are.
type location struct {
	name        string // in the case it was first given in
	n, machines int
}

// placed is as much of a machine or a policy as tells where it lies.
type placed struct {
	ajar.Stamp
	kind     ajar.DocKind
	ID       ajar.ID
	Location string
}

// UnmarshalJSON reads the first members of what the store wrote where they are all there is to read, which makes the first
// look at a large plane several times as quick.
func (p *placed) UnmarshalJSON(b []byte) error {
	id, rest, ok := firstMember(b, `{"ID":"`)
	if ok && p.kind == ajar.KindTarget {
		var at []byte
		at, _, ok = firstMember(rest, `,"Location":"`)
		p.Location = string(at)
	}
	if ok {
		p.ID = ajar.ID(id)
		return nil
	}
	var whole struct {
		ID       ajar.ID
		Location string
	}
	if err := json.Unmarshal(b, &whole); err != nil {
		return err
	}
	p.ID, p.Location = whole.ID, whole.Location
	return nil
}

// firstMember is the text that begins behind head, if it is one without escapes.
func firstMember(b []byte, head string) (text, rest []byte, ok bool) {
	b, ok = bytes.CutPrefix(b, []byte(head))
	n := bytes.IndexAny(b, `"\`)
	if !ok || n < 0 || b[n] != '"' {
		return nil, nil, false
	}
	return b[:n], b[n+1:], true
}

// Entry implements ajar.Doc.
func (p *placed) Entry() ajar.Entry { return ajar.Entry{Kind: p.kind, Key: p.ID.Key()} }

func newDirectory() *directory { return &directory{seed: maphash.MakeSeed()} }

func (d *directory) clear() {
	d.seq, d.rights, d.things, d.machines = map[ajar.DocKind]int64{}, -1, map[uint64]thing{}, 0
	d.subs = map[string]*subscription{}
}

// updateDirectory brings the directory up to what is committed. The transaction begins with it locked, so that what is
// read never goes back. The first time may take longer than somebody waits; it is finished all the same, for the next.
func (b *Broker) updateDirectory(ctx context.Context) error {
	d := b.places
	ctx = context.WithoutCancel(ctx)
	if d.subs == nil {
		d.clear()
	}
	now := b.Clock()
	count := d.removed || now.Sub(d.counted) >= recount || now.Before(d.counted)
	err := b.Store.View(ctx, func(tx ajar.Tx) error {
		if err := d.readThings(tx); err != nil {
			return err
		}
		if count {
			whole, err := d.isWhole(tx)
			if err != nil {
				return err
			}
			if !whole {
				d.clear()
				if err := d.readThings(tx); err != nil {
					return err
				}
			}
		}
		return d.readNamed(tx, b.SubscriptionNames)
	})
	if err != nil {
		d.subs = nil // half read
		return fmt.Errorf("read where things lie: %w", err)
	}
	if count {
		d.counted, d.removed = now, false
	}
	return nil
}

var placedKinds = []ajar.DocKind{ajar.KindTarget, ajar.KindPolicy}

// readThings reads what was written since the last time.
func (d *directory) readThings(tx ajar.Tx) error {
	for _, kind := range placedKinds {
		since, f := d.seq[kind], ajar.Filter{}
		if since > 0 {
			f.After = &since
		}
		_, err := tx.ListDocs(kind, f, func(decode func(ajar.Doc) error) error {
			p := placed{kind: kind}
			if err := decode(&p); err != nil {
				return err
			}
			d.seq[kind] = max(d.seq[kind], p.Seq)
			d.place(&p)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// isWhole reports whether there are as many things as d knows of.
func (d *directory) isWhole(tx ajar.Tx) (bool, error) {
	for _, kind := range placedKinds {
		n, err := tx.Count(kind, ajar.Filter{})
		if err != nil {
			return false, err
		}
		known := d.machines
		if kind == ajar.KindPolicy {
			known = len(d.things) - d.machines
		}
		if int64(known) != n {
			return false, nil
		}
	}
	return true, nil
}

// place enters a thing, or moves it.
func (d *directory) place(p *placed) {
	key := maphash.String(d.seed, string(p.kind)+p.ID.Key())
	if old, ok := d.things[key]; ok {
		d.take(old)
	}
	t := thing{machine: p.kind == ajar.KindTarget}
	if t.machine {
		d.machines++
	} else {
		p.Location = p.ID.Location()
	}
	if t.group = d.group(p.ID, p.Seq); t.group != nil {
		t.group.n++
		t.at = t.group.locate(p.Location)
		t.at.n++
		if t.machine {
			t.at.machines++
		}
	}
	d.things[key] = t
}

func (d *directory) take(t thing) {
	if t.machine {
		d.machines--
	}
	if t.group == nil {
		return
	}
	t.group.n--
	t.at.n--
	if t.machine {
		t.at.machines--
	}
}

// group is the resource group that id lies in, in the case that it was last given in; nil if it is in none that clients
// could name.
func (d *directory) group(id ajar.ID, seq int64) *group {
	sub := d.subscription(id.Subscription())
	at := id.Group()
	if sub == nil || at == "" {
		return nil
	}
	key := at.Key()
	g := sub.groups[key]
	if g == nil {
		g = &group{key: key}
		sub.groups[key], sub.sorted = g, nil
	}
	if g.id == "" || seq > g.seq {
		g.id, g.seq = "/subscriptions/"+ajar.ID(sub.id)+"/resourceGroups/"+ajar.ID(at.Name()), seq
	}
	return g
}

func (d *directory) subscription(id string) *subscription {
	key := strings.ToLower(id)
	s := d.subs[key]
	if s == nil && isGUID(key) {
		s = &subscription{id: key, groups: map[string]*group{}}
		d.subs[key] = s
	}
	return s
}

// locate finds a location of g. As in Azure its name may be written with spaces, and in any case.
func (g *group) locate(name string) *location {
	for _, l := range g.at {
		if PlainLocation(l.name) == PlainLocation(name) {
			return l
		}
	}
	g.at = append(g.at, &location{name: name})
	return g.at[len(g.at)-1]
}

// PlainLocation is a location's name as locations are compared: "West Europe" is westeurope.
func PlainLocation(name string) string {
	return strings.ToLower(strings.ReplaceAll(name, " ", ""))
}

// readNamed reads what assignments and management groups name, if that has changed, and what the configuration lists.
func (d *directory) readNamed(tx ajar.Tx, configured map[string]string) error {
	gen, err := tx.RightsGen()
	if err != nil || gen == d.rights {
		return err
	}
	for _, s := range d.subs {
		s.named = false
		for _, g := range s.groups {
			g.named = false
		}
	}
	name := func(id ajar.ID) {
		if s := d.subscription(id.Subscription()); s != nil {
			s.named = true
		}
		if g := d.group(id, 0); g != nil {
			g.named = true
		}
	}
	_, err = tx.ListDocs(ajar.KindRoleAssignment, ajar.Filter{}, func(decode func(ajar.Doc) error) error {
		var a ajar.RoleAssignment
		if err := decode(&a); err != nil {
			return err
		}
		name(a.Scope)
		return nil
	})
	if err != nil {
		return err
	}
	_, err = tx.ListDocs(ajar.KindManagementGroup, ajar.Filter{}, func(decode func(ajar.Doc) error) error {
		var g ajar.ManagementGroup
		if err := decode(&g); err != nil {
			return err
		}
		for _, s := range g.Subscriptions {
			name("/subscriptions/" + ajar.ID(s))
		}
		return nil
	})
	if err != nil {
		return err
	}
	for s := range configured {
		name("/subscriptions/" + ajar.ID(s))
	}
	d.rights = gen
	return nil
}

func (s *subscription) there() bool {
	if s.named {
		return true
	}
	for _, g := range s.groups {
		if g.n > 0 || g.named {
			return true
		}
	}
	return false
}

// list is the groups of s in the order of their names.
func (s *subscription) list() []*group {
	if s.sorted == nil {
		s.sorted = make([]*group, 0, len(s.groups))
		for _, g := range s.groups {
			s.sorted = append(s.sorted, g)
		}
		slices.SortFunc(s.sorted, func(a, b *group) int { return strings.Compare(a.key, b.key) })
	}
	return s.sorted
}

// location is where most of a group's machines are, or its policies where there is no machine.
func (g *group) location() string {
	best := &location{}
	for _, l := range g.at {
		switch {
		case l.n == 0 || l.name == "":
		case l.machines > best.machines, l.machines == best.machines && l.n > best.n,
			l.machines == best.machines && l.n == best.n && l.name < best.name:
			best = l
		}
	}
	return best.name
}

// Delete deletes, and keeps in mind that there is less than d knows of.
func (t *txn) Delete(kind ajar.DocKind, key string) error {
	if slices.Contains(placedKinds, kind) {
		t.after = append(t.after, func(context.Context) {
			t.b.places.mu.Lock()
			defer t.b.places.mu.Unlock()
			t.b.places.removed = true
		})
	}
	return t.Tx.Delete(kind, key)
}
