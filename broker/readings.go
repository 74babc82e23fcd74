package broker

import (
	"encoding/json"
	"hash/maphash"
	"sync"

	"github.com/ajar-access/ajar"
)

// Lists read the same documents again and again, and to read them takes longer than to find them. So what was read from
// which bytes is remembered. It cannot be out of date: other bytes are another reading.
type listedReadings struct {
	policies readings[ajar.Policy, *ajar.Policy]
	requests readings[ajar.Request, *ajar.Request]
	leases   readings[ajar.Lease, *ajar.Lease]
}

// unread is a stored document as it stands, until somebody reads it.
type unread[D any, P interface {
	*D
	ajar.Doc
}] struct {
	ajar.Stamp
	body []byte
	doc  P
}

// Entry implements ajar.Doc.
func (*unread[D, P]) Entry() ajar.Entry { return P(new(D)).Entry() }

// UnmarshalJSON keeps the body, which the store does not change any more.
func (u *unread[D, P]) UnmarshalJSON(b []byte) error {
	u.body = b
	return nil
}

// readings are those of one kind, in two generations. The zero value is ready.
type readings[D any, P interface {
	*D
	ajar.Doc
}] struct {
	mu         sync.Mutex
	seed       maphash.Seed
	young, old map[uint64]reading[D]
	bytes      int // of young
}

type reading[D any] struct {
	body string
	doc  *D
}

// maxReadings bounds the bytes that one generation holds; larger documents than an eighth of that are not kept.
const maxReadings = 3 << 20

// of reads u. What it refers to is shared with whoever read the same, and never changed.
func (r *readings[D, P]) of(u *unread[D, P]) (P, error) {
	known, key, ok := r.recall(u.body)
	if !ok {
		known = reading[D]{string(u.body), new(D)}
		if err := json.Unmarshal(u.body, known.doc); err != nil {
			return nil, ajar.Because(ajar.Internal, err, "a stored %s cannot be read", u.Entry().Kind)
		}
		r.mu.Lock()
		r.keep(key, known)
		r.mu.Unlock()
	}
	d := *known.doc
	u.doc = &d
	*u.doc.Stamped() = u.Stamp
	return u.doc, nil
}

func (r *readings[D, P]) recall(body []byte) (known reading[D], key uint64, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.young == nil {
		r.seed, r.young = maphash.MakeSeed(), map[uint64]reading[D]{}
	}
	key = maphash.Bytes(r.seed, body)
	if known, ok = r.young[key]; !ok {
		known, ok = r.old[key]
	}
	if ok = ok && known.body == string(body); ok {
		r.keep(key, known)
	}
	return known, key, ok
}

// keep makes known one of the young. When they are full they are the old, and the old go.
func (r *readings[D, P]) keep(key uint64, known reading[D]) {
	if _, ok := r.young[key]; ok || len(known.body) > maxReadings/8 {
		return
	}
	if r.bytes += len(known.body); r.bytes > maxReadings {
		r.old, r.young, r.bytes = r.young, map[uint64]reading[D]{}, len(known.body)
	}
	r.young[key] = known
}
