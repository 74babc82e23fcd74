package nftables

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
	"golang.org/x/sys/unix"
)

// Report watches the table and repairs at once what anybody else does to it. Repairs do not wait for fn: what fn has
// not taken yet is kept, also for the next call of Report. Nobody repairs while Report is not running.
func (f *Firewall) Report(ctx context.Context, fn func(ajar.Report) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		cancel(f.guardTable(ctx))
	}()
	defer func() { cancel(nil); <-done }()
	for {
		if err := f.deliver(fn); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-f.news:
		}
	}
}

// guardTable is the loop around what the monitor hears.
func (f *Firewall) guardTable(ctx context.Context) error {
	for {
		d, err := f.mon.next(ctx)
		if err != nil {
			return err
		}
		f.repair(ctx, d)
	}
}

func (f *Firewall) deliver(fn func(ajar.Report) error) error {
	for {
		f.mu.Lock()
		if len(f.reports) == 0 {
			f.mu.Unlock()
			return nil
		}
		r := f.reports[0]
		f.reports = f.reports[1:]
		f.mu.Unlock()
		if err := fn(r); err != nil {
			f.mu.Lock()
			f.reports = slices.Insert(f.reports, 0, r)
			f.mu.Unlock()
			return err
		}
	}
}

// keptReports bounds what waits for somebody to take it; beyond it the oldest go.
const keptReports = 256

func (f *Firewall) tell(r ajar.Report) {
	if len(f.reports) >= keptReports {
		f.reports = f.reports[1:]
	}
	f.reports = append(f.reports, r)
	select {
	case f.news <- struct{}{}:
	default:
	}
}

// repair undoes d.
func (f *Firewall) repair(ctx context.Context, d *drift) {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer f.ring()
	if f.sock == nil || !f.laid {
		return // we hold nothing
	}
	from := f.clock()
	err := f.mend(ctx, d)
	took := f.clock().Sub(from)
	what := d.String()
	if err != nil {
		f.suspect = true
		f.log.ErrorContext(ctx, "table cannot be repaired", "what", what, "err", err)
		f.tell(ajar.Report{Time: from, Action: ajar.DriftRepaired, Look: true,
			Message: "somebody changed our table and it could not be repaired: " + what,
			Details: d.details(took, ajar.Message(err))})
		return
	}
	if d.whole {
		f.losing(anyBar) // whoever came in meanwhile
	}
	f.log.WarnContext(ctx, "table repaired", "what", what, "took", took)
	f.tell(ajar.Report{Time: from, Action: ajar.DriftRepaired,
		Message: "somebody changed our table; it was put right: " + what, Details: d.details(took, "")})
}

func (d *drift) String() string {
	var list []string
	for _, k := range slices.Sorted(maps.Keys(d.counts)) {
		list = append(list, fmt.Sprintf("%s ×%d", k, d.counts[k]))
	}
	s := strings.Join(list, ", ")
	if d.by != "" {
		s += fmt.Sprintf(" by %s (process %d)", d.by, d.pid)
	}
	return s
}

func (d *drift) details(took time.Duration, fault string) map[string]string {
	m := map[string]string{
		"open": took.String(), "openMicros": strconv.FormatInt(took.Microseconds(), 10),
		"process": d.by, "pid": strconv.FormatUint(uint64(d.pid), 10),
	}
	for k, n := range d.counts {
		m[k] = strconv.Itoa(n)
	}
	if fault != "" {
		m["error"] = fault
	}
	return m
}

// mend first closes what is open, then looks at the rest.
func (f *Firewall) mend(ctx context.Context, d *drift) error {
	if f.suspect {
		d.whole, d.contents = true, true // memory does not know what is there
	}
	if !d.whole {
		return f.mendElements(ctx, d)
	}
	flags, there, err := f.tableInfo()
	switch {
	case err != nil:
		return err
	case !there:
		if err := f.lay(ctx, false, f.graces(f.clock())); err != nil {
			return err
		}
		if err := f.remind(ctx); err != nil {
			return err
		}
		return f.mendAll(ctx)
	case flags != f.tableFlags():
		return f.mendWhole(ctx)
	}
	b := f.batch()
	f.structure(b)
	f.layGuards(b, nil) // adding again changes nothing where it is still there
	if err := f.sock.transact(b); err != nil || d.contents {
		return f.mendWhole(ctx)
	}
	// What became of elements was told one by one, so that no set need be listed.
	left, err := f.strangers(ctx)
	if err != nil {
		return err
	}
	if len(left.sets)+len(left.chains) > 0 {
		if err := f.restructure(ctx, left); err != nil {
			return err
		}
	}
	return f.mendElements(ctx, d)
}

// graces are the spared connections, for a table that is laid again.
func (f *Firewall) graces(now time.Time) tuples {
	ts := tuples{}
	for c := range f.spared {
		var end int64
		for k, e := range f.barred {
			if k.covers(c) {
				end = max(end, e)
			}
		}
		if end != forever && end > now.Add(soonest).UnixMilli() {
			name := named("grace", c.six)
			ts[name] = append(ts[name], member{key: c.key(), end: end})
		}
	}
	return ts
}

// remind tells a table that was laid again who began the connections that live.
func (f *Firewall) remind(ctx context.Context) error {
	on := slices.Collect(maps.Keys(f.barred))
	conns, err := f.connections(ctx, on)
	if err != nil {
		return err
	}
	b := f.batch()
	if f.recall(b, conns, nil, nil); b.empty() {
		return nil
	}
	return f.sock.transact(b)
}

// mendWhole compares everything with the kernel.
func (f *Firewall) mendWhole(ctx context.Context) error {
	if err := f.survey(ctx); err != nil {
		return err
	}
	return f.mendAll(ctx)
}

// mendAll writes whatever memory wants and the kernel has not.
func (f *Firewall) mendAll(ctx context.Context) error {
	return f.change(ctx, ajar.Delta{Guard: &f.guards}, f.stale())
}

// mendElements puts back what was deleted and deletes what was added, without listing any set.
func (f *Firewall) mendElements(ctx context.Context, d *drift) error {
	touched := map[place]struct{}{}
	b := f.batch()
	for set, keys := range d.elems {
		if set == "here" {
			b.flushSet("here")
			fillHere(b)
			continue
		}
		s, open := shapeOf(set)
		if open && !f.built[s] {
			continue // a set of somebody else's, which is gone by now
		}
		for _, key := range keys {
			if !open {
				f.mendElement(b, set, key)
			} else if p, err := placeOf(s, key); err == nil {
				// Whatever is there now has no end that we know: deleted if it is, and written anew if it is wanted.
				f.book.at(p).wrote = forever
				touched[p] = struct{}{}
			}
		}
	}
	if !b.empty() {
		if err := f.sock.transact(b); err != nil {
			return err
		}
	}
	return f.change(ctx, ajar.Delta{}, touched)
}

func (f *Firewall) mendElement(b *batch, name string, key []byte) {
	switch name {
	case "guard", "guard4", "guard6":
		if k, err := barOf(name, key); err == nil {
			f.rewriteBar(b, k)
		}
		return
	}
	if !slices.ContainsFunc(fixedSets(), func(s set) bool { return s.name == name }) {
		return
	}
	// Nobody but packets and we have business in the sets of tuples; a spared connection is spared again.
	f.destroyElems(b, name, []member{{key: key}})
	if !strings.HasPrefix(name, "grace") {
		return
	}
	if c, err := flowOf(name == "grace6", key); err == nil && f.spared[c] {
		for _, m := range f.graces(f.clock())[name] {
			if bytes.Equal(m.key, key) {
				b.elements(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, name, []member{m})
			}
		}
	}
}

func (f *Firewall) rewriteBar(b *batch, k bar) {
	now := f.clock()
	f.destroyElems(b, k.set(), []member{{key: k.key()}})
	if end := f.barred[k]; end == forever || end > now.Add(soonest).UnixMilli() {
		f.writeBar(b, k, 0, end)
	}
}

// Resync writes the life of every opening and guard anew from the clock: for a machine that was suspended, whose kernel
// did not count meanwhile, and after a step of the clock.
func (f *Firewall) Resync(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sock == nil {
		return errClosed
	}
	if !f.laid {
		return nil
	}
	b := f.batch()
	for k, end := range f.barred {
		if end != forever {
			f.rewriteBar(b, k)
		}
	}
	for c := range f.spared {
		f.destroyElems(b, named("grace", c.six), []member{{key: c.key()}})
	}
	for name, ms := range f.graces(f.clock()) {
		b.elements(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, name, ms)
	}
	if !b.empty() {
		if err := f.sock.transact(b); err != nil {
			return fmt.Errorf("write the guards' ends anew: %w", err)
		}
	}
	all := make(map[place]struct{}, len(f.book.elems))
	for p, e := range f.book.elems {
		if e.wrote != 0 {
			e.wrote, e.about = forever, false
		}
		all[p] = struct{}{}
	}
	if err := f.change(ctx, ajar.Delta{}, all); err != nil {
		return fmt.Errorf("write the openings' ends anew: %w", err)
	}
	f.hang.poke()
	return nil
}
