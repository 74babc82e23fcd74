package nftables

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ajar-access/ajar"
	"golang.org/x/sys/unix"
)

// here are the types of address that are this host's.
var here = []uint32{unix.RTN_LOCAL, unix.RTN_BROADCAST, unix.RTN_ANYCAST, unix.RTN_MULTICAST}

// tableInfo reads the table's flags.
func (f *Firewall) tableInfo() (flags uint32, there bool, err error) {
	err = f.sock.exchange(f.request(unix.NFT_MSG_GETTABLE, unix.NLM_F_ACK, func(a *attrs) {
		a.str(unix.NFTA_TABLE_NAME, f.table)
	}), func(m message) error {
		there = true
		return eachAttr(m.payload(), func(typ uint16, v []byte) (err error) {
			if typ == unix.NFTA_TABLE_FLAGS {
				flags, err = num32(v)
			}
			return err
		})
	})
	if errors.Is(err, unix.ENOENT) {
		return 0, false, nil
	}
	return flags, there, err
}

// orphan are the flags of a table that outlived its owner: the kernel takes the owner's flag away when its socket closes.
const orphan = tablePersist

// taken answers where a table's owner is alive and not us.
func (f *Firewall) taken() error {
	return ajar.Errorf(ajar.Conflict, "table %s belongs to another process that is running", f.table)
}

// adopt makes the table ours: new, or taken over from a process that ended, with the guards and openings that it has.
func (f *Firewall) adopt(ctx context.Context) error {
	f.forgetAll()
	flags, there, err := f.tableInfo()
	if err != nil {
		return fmt.Errorf("look for table %s: %w", f.table, err)
	}
	f.looked, f.adopted = true, f.adopted || (there && !f.looked)
	if !there {
		return f.lay(ctx, false, tuples{})
	}
	if flags&tableOwner != 0 {
		return f.taken()
	}
	if f.persist && flags == orphan {
		// Own it before looking, so that nobody changes what was seen.
		b := f.batch()
		b.newTable(f.tableFlags())
		if err := f.sock.transact(b); err != nil {
			return fmt.Errorf("adopt table %s: %w", f.table, err)
		}
		flags = f.tableFlags()
	}
	left, err := f.read(ctx)
	if err != nil {
		return err
	}
	if flags != f.tableFlags() {
		return f.lay(ctx, true, left.tuples)
	}
	return f.restructure(ctx, left)
}

// survey looks at what the kernel really has, and puts the structure right.
func (f *Firewall) survey(ctx context.Context) error {
	flags, there, err := f.tableInfo()
	if err != nil {
		return err
	}
	if !there {
		return f.lay(ctx, false, tuples{})
	}
	left, err := f.read(ctx)
	if err != nil {
		return err
	}
	if flags != f.tableFlags() {
		return f.lay(ctx, true, left.tuples)
	}
	return f.restructure(ctx, left)
}

// tuples is what the sets of tuples hold, by set.
type tuples map[string][]member

// remains is what was found in a table.
type remains struct {
	tuples tuples
	fixed  []string // sets of ours that are always there
	shapes []shape  // sets of openings
	sets   []string // names that we do not know
	chains []string
}

// strangers are the sets and chains in our table that are not of our making.
func (f *Firewall) strangers(ctx context.Context) (r remains, err error) {
	sets, err := f.names(ctx, unix.NFT_MSG_GETSET, unix.NFTA_SET_TABLE, unix.NFTA_SET_NAME)
	if err != nil {
		return r, fmt.Errorf("list sets: %w", err)
	}
	fixed := fixedSets()
	for _, name := range sets {
		s, open := shapeOf(name)
		switch {
		case slices.ContainsFunc(fixed, func(s set) bool { return s.name == name }):
			r.fixed = append(r.fixed, name)
		case open:
			r.shapes = append(r.shapes, s)
		default:
			r.sets = append(r.sets, name)
		}
	}
	cs, err := f.names(ctx, unix.NFT_MSG_GETCHAIN, unix.NFTA_CHAIN_TABLE, unix.NFTA_CHAIN_NAME)
	if err != nil {
		return r, fmt.Errorf("list chains: %w", err)
	}
	for _, name := range cs {
		if !slices.ContainsFunc(chains, func(c chain) bool { return c.name == name }) {
			r.chains = append(r.chains, name)
		}
	}
	return r, nil
}

// read takes what the kernel has into memory: guards, openings' ends, tuples. What has no key of ours is in a set of another
// make, which cannot stay.
func (f *Firewall) read(ctx context.Context) (remains, error) {
	r, err := f.strangers(ctx)
	if err != nil {
		return r, err
	}
	r.tuples = tuples{}
	f.built, f.barred = map[shape]bool{}, map[bar]int64{}
	for _, e := range f.book.elems {
		e.wrote = 0
	}
	for _, s := range r.shapes {
		f.built[s] = true
		es, err := f.list(ctx, s.name())
		if err != nil {
			return r, fmt.Errorf("list set %s: %w", s.name(), err)
		}
		for _, e := range es {
			if p, err := placeOf(s, e.key); err == nil {
				el := f.book.at(p)
				el.wrote, el.about = e.end(), true
			}
		}
	}
	for _, name := range r.fixed {
		if err := f.readSet(ctx, name, r.tuples); err != nil {
			return r, fmt.Errorf("list set %s: %w", name, err)
		}
	}
	return r, nil
}

func (f *Firewall) readSet(ctx context.Context, name string, ts tuples) error {
	if name == "here" {
		return nil
	}
	es, err := f.list(ctx, name)
	if err != nil {
		return err
	}
	for _, e := range es {
		var err error
		switch name {
		case "guard", "guard4", "guard6":
			if k, err := barOf(name, e.key); err == nil {
				f.barred[k] = e.end()
			}
			continue
		case "refused4", "refused6":
			_, err = placeOf(shape{six: name == "refused6", bits: uint8(shape{six: name == "refused6"}.addrBits())}, e.key)
		default:
			var c flow
			if c, err = flowOf(strings.HasSuffix(name, "6"), e.key); err == nil && strings.HasPrefix(name, "grace") {
				f.spared[c] = true
			}
		}
		if err == nil && e.expires > 0 {
			ts[name] = append(ts[name], member{key: e.key, end: e.end()})
		}
	}
	return nil
}

// restructure writes chains and rules anew in place, and removes what is not ours. Packets see all of it or nothing.
func (f *Firewall) restructure(ctx context.Context, left remains) error {
	b := f.batch()
	f.structure(b)
	for _, name := range left.chains {
		b.flushChain(name)
	}
	for _, name := range left.chains {
		b.delChain(name)
	}
	for _, name := range left.sets {
		b.delSet(name)
	}
	if err := f.sock.transact(b); err != nil {
		f.log.WarnContext(ctx, "the table cannot be kept as it is and is replaced", "err", err)
		return f.lay(ctx, true, left.tuples)
	}
	f.laid = true
	return nil
}

// structure appends all sets, chains and rules. What is there already stays.
func (f *Firewall) structure(b *batch) {
	id := uint32(1)
	for _, s := range fixedSets() {
		b.newSet(s, id)
		id++
	}
	fillHere(b)
	for _, s := range f.book.shapes() {
		f.built[s] = true
	}
	for s := range f.built {
		b.newSet(s.set(), id)
		id++
	}
	for _, c := range chains {
		b.newChain(c)
	}
	b.fill(f.shapesBuilt(), true)
}

func fillHere(b *batch) {
	types := make([]member, len(here))
	for i, t := range here {
		types[i].key = host32(t)
	}
	b.elements(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, "here", types)
}

// lay makes the table, in place of one that is there if replace is set, with what memory says the kernel has or had: one
// transaction, so that no packet meets a host without its guards.
func (f *Firewall) lay(ctx context.Context, replace bool, keep tuples) error {
	live := f.live()
	b := f.batch()
	if replace {
		b.delTable()
	}
	b.newTable(f.tableFlags())
	f.structure(b)
	f.layOpenings(b, live)
	f.layGuards(b, keep)
	err := f.sock.transact(b)
	if errors.Is(err, unix.EMSGSIZE) {
		err = f.layByParts(replace, live, keep)
	}
	if err != nil {
		return fmt.Errorf("lay table %s: %w", f.table, err)
	}
	f.laid = true
	f.log.InfoContext(ctx, "table laid", "table", f.table, "replaced", replace, "owned", f.persist)
	// In one big transaction the kernel comes to the last element a while after it was sent.
	wrong, err := f.readBack(ctx, live)
	if err != nil {
		return err
	}
	for part := range slices.Chunk(wrong, chunk) {
		if err := f.write(ctx, f.batch(), part); err != nil {
			return err
		}
	}
	return nil
}

// live are the openings that the kernel has or had and that have not ended.
func (f *Firewall) live() []edit {
	soon := f.clock().Add(2 * soonest).UnixMilli()
	var es []edit
	for p, e := range f.book.elems {
		if e.wrote < soon || e.wrote == forever {
			e.wrote = 0
			continue
		}
		es = append(es, edit{p, e.wrote})
	}
	slices.SortFunc(es, func(a, b edit) int { return a.place.shape.compare(b.place.shape) })
	return es
}

func (f *Firewall) layOpenings(b *batch, es []edit) {
	for len(es) > 0 {
		n := 1
		for n < len(es) && es[n].place.shape == es[0].place.shape {
			n++
		}
		ms := make([]member, n)
		for i, e := range es[:n] {
			ms[i] = member{key: e.place.key(), end: e.end}
		}
		b.elements(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, es[0].place.shape.name(), ms)
		es = es[n:]
	}
}

// layByParts is lay where so many openings do not fit the socket's buffer: an ordinary user's namespace. Guards come last,
// so that no opening is cut.
func (f *Firewall) layByParts(replace bool, live []edit, keep tuples) error {
	b := f.batch()
	if replace {
		b.delTable()
	}
	b.newTable(f.tableFlags())
	f.structure(b)
	for part := range slices.Chunk(live, chunk) {
		f.layOpenings(b, part)
		if err := f.sock.transact(b); err != nil {
			return err
		}
		b = f.batch()
	}
	f.layGuards(b, keep)
	if b.empty() {
		return nil
	}
	return f.sock.transact(b)
}

func (f *Firewall) layGuards(b *batch, keep tuples) {
	for name, list := range keep {
		b.elements(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, name, list)
	}
	for k, end := range f.barred {
		if end == forever || end > f.clock().Add(soonest).UnixMilli() {
			f.writeBar(b, k, 0, end)
		}
	}
}

// remove takes the table away.
func (f *Firewall) remove() error {
	flags, there, err := f.tableInfo()
	if err != nil {
		return err
	}
	if there {
		if flags&tableOwner != 0 && !f.laid {
			return f.taken()
		}
		b := f.batch()
		b.delTable()
		if err := f.sock.transact(b); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	f.forgetAll()
	return nil
}
