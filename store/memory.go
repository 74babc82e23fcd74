package store

import (
	"bytes"
	"cmp"
	"hash/maphash"
	"slices"
	"strings"

	"github.com/ajar-access/ajar"
)

// memory is what the writer knows of the database from one commit to the next. It is as of the counters that its last
// commit left, or, where batches run ahead, that the one under way is to leave; a transaction that finds others behind
// the lock forgets all of it, for then somebody else has written, or that one has not come about. Every commit that changes a document or a due mark moves the counters. Whatever goes wrong also clears it.
type memory struct {
	known bool
	at    counters
	docs  generations[docKey, *doc] // but for those of asked
	asked generations[docKey, *doc] // requests and leases, of which there are always new ones
	due   generations[string, dueRow]
	slots generations[string, *family]
	news  journal
}

// How much of each is held, twice: bytes of documents, endpoints, and slots of leases.
const (
	memoryDocs  = 6 << 20
	memoryAsked = 4 << 20
	memoryDue   = 20_000
	memorySlots = 100_000
)

type docKey struct {
	kind ajar.DocKind
	key  string
}

// doc is a document with its columns. It never changes.
type doc struct {
	docKey
	rev, seq                 int64
	scope, owner, ref, state string
	until                    int64
	ends                     bool // there is an until
	body                     []byte
	copies                   *copies // of what the body says
}

// dueRow is a row of due without its endpoint.
type dueRow struct {
	due, mark, failures int64
	owner               string
	held                int64
	home                string
	homeUntil           int64
}

func newMemory() *memory {
	m := &memory{docs: generations[docKey, *doc]{most: memoryDocs}, asked: generations[docKey, *doc]{most: memoryAsked}, due: generations[string, dueRow]{most: memoryDue},
		slots: generations[string, *family]{most: memorySlots}}
	m.clear()
	return m
}

// clear forgets everything.
func (m *memory) clear() {
	m.known = false
	m.docs.clear()
	m.asked.clear()
	m.due.clear()
	m.slots.clear()
	m.news = journal{}
}

// meet compares what is known with the counters as a transaction finds them behind the lock, and the head that the last
// commit left. It reports whether it is still so.
func (m *memory) meet(c counters, head []byte) bool {
	if m.known && m.at.seq == c.seq && m.at.rights == c.rights && m.at.pos == c.pos && bytes.Equal(head, c.head) {
		return true
	}
	m.clear()
	m.known, m.at, m.news.base = true, c, c.seq
	return false
}

// absorb takes in what was committed.
func (m *memory) absorb(l *layer, c counters) {
	if m.news.n >= journalMost {
		m.news = journal{base: m.at.seq}
	}
	m.at = c
	var leases []*doc
	for _, k := range l.keys {
		p := l.docs[k]
		if p.gone {
			m.of(k.kind).drop(k)
			continue // and in the journal it is not found either
		}
		m.put(p.doc)
		if k.kind == ajar.KindLease {
			leases = append(leases, p.doc)
		}
	}
	slices.SortFunc(leases, func(a, b *doc) int { return cmp.Compare(a.seq, b.seq) })
	for _, d := range leases {
		m.news.add(d)
		if parent, ok := familyOf(d.scope); ok {
			if f, held := m.slots.get(parent); held {
				f.add(d.scope)
				m.slots.put(parent, f, f.weight())
			}
		}
	}
	for _, ep := range l.endpoints {
		if p := l.due[ep]; p.gone {
			m.due.drop(ep)
		} else {
			m.due.put(ep, p.dueRow, 1)
		}
	}
}

// of is where documents of that kind are remembered. What is asked for comes and goes, and must not make the writer forget
// the machines, policies and people that every verb reads.
func (m *memory) of(kind ajar.DocKind) *generations[docKey, *doc] {
	if asked(kind) {
		return &m.asked
	}
	return &m.docs
}

func (m *memory) doc(k docKey) (*doc, bool) { return m.of(k.kind).get(k) }

func (m *memory) put(d *doc) { m.of(d.kind).put(d.docKey, d, d.weight()) }

func (d *doc) weight() int { return 2*len(d.body) + 500 }

// generations is a map that forgets what was not used lately.
type generations[K comparable, V any] struct {
	young, old   map[K]weighed[V]
	weight, most int // of the young ones
}

type weighed[V any] struct {
	v      V
	weight int
}

func (g *generations[K, V]) clear() { g.young, g.old, g.weight = map[K]weighed[V]{}, nil, 0 }

func (g *generations[K, V]) get(k K) (v V, ok bool) {
	w, ok := g.young[k]
	if !ok {
		if w, ok = g.old[k]; ok {
			g.put(k, w.v, w.weight)
		}
	}
	return w.v, ok
}

func (g *generations[K, V]) put(k K, v V, weight int) {
	more := weight - g.young[k].weight // what is replaced may have been smaller
	if g.weight+more > g.most {
		g.old, g.young, g.weight, more = g.young, map[K]weighed[V]{}, 0, weight
	}
	g.weight += more
	g.young[k] = weighed[V]{v, weight}
}

func (g *generations[K, V]) drop(k K) {
	g.weight -= g.young[k].weight
	delete(g.young, k)
	delete(g.old, k)
}

// family is the slots below one machine that may have a lease which is not Closed: all that have one, and some that had.
// A nil map says that there are too many to hold.
type family struct{ members map[uint64]struct{} }

// The most slots of one machine that are held.
const familyMost = 500

func (f *family) add(scope string) {
	if f.members == nil {
		return
	}
	if f.members[slotHash(scope)] = struct{}{}; len(f.members) >= 2*familyMost {
		f.members = nil
	}
}

func (f *family) weight() int { return len(f.members) + 16 }

var slotSeed = maphash.MakeSeed()

func slotHash(scope string) uint64 { return maphash.String(slotSeed, scope) }

// familyOf gives the part of a slot's column that all slots of its machine have. Nothing lies below a slot, so what a
// machine has in it is known by whole columns.
func familyOf(scope string) (parent string, ok bool) {
	end := len(scope)
	for range slotDepth + 1 {
		if end = strings.LastIndexByte(scope[:end], '/'); end < 0 {
			return "", false
		}
	}
	parent = scope[:end+1]
	of, ok := strings.CutSuffix(parent, "/~o/")
	if !ok {
		return "", false
	}
	machine := strings.LastIndexByte(of, '/') // otherwise it is something else that is called as leases are
	return parent, machine >= 0 && strings.HasSuffix(of[:machine], "/~v")
}

// slotDepth is how many segments a slot has below its machine's leases.
const slotDepth = 3

// journal has the leases that were written behind base, in order of that and by endpoint, so that what changed on one since then is known
// without asking.
type journal struct {
	base int64
	n    int
	of   map[string][]written
}

type written struct {
	seq int64
	key string
}

// How many writes it holds before it begins anew.
const journalMost = 20_000

func (j *journal) add(d *doc) {
	if j.of == nil {
		j.of = map[string][]written{}
	}
	j.of[d.ref] = append(j.of[d.ref], written{d.seq, d.key})
	j.n++
}

// since lists the keys of the leases of an endpoint that were written behind after.
func (j *journal) since(ref string, after int64) (keys []string, ok bool) {
	if after < j.base {
		return nil, false
	}
	seen := map[string]bool{}
	all := j.of[ref]
	for i := len(all) - 1; i >= 0 && all[i].seq > after; i-- {
		if !seen[all[i].key] {
			seen[all[i].key] = true
			keys = append(keys, all[i].key)
		}
	}
	return keys, true
}
