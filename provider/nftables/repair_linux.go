package nftables

import (
	"context"
	"errors"
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
		f.mu.Unlock()
		if err := fn(r); err != nil {
			return err
		}
		f.mu.Lock()
		f.reports = f.reports[1:]
		f.mu.Unlock()
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
	if !d.whole {
		return f.mendElements(ctx, d)
	}
	flags, there, err := f.tableInfo()
	switch {
	case err != nil:
		return err
	case !there:
		if err := f.lay(ctx, false, nil); err != nil {
			return err
		}
		return f.mendAll(ctx)
	case flags != f.tableFlags():
		return f.mendWhole(ctx)
	}
	b := f.batch()
	f.structure(b)
	f.layGuards(b, nil, f.clock()) // adding again changes nothing where it is still there
	if err := f.sock.transact(b); err != nil {
		return f.mendWhole(ctx)
	}
	return f.mendWhole(ctx)
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
	return f.change(ctx, ajar.Delta{}, f.stale())
}

// mendElements puts back what was deleted and deletes what was added, without listing any set.
func (f *Firewall) mendElements(ctx context.Context, d *drift) error {
	touched := map[place]struct{}{}
	b := f.batch()
	var faults []error
	for set, keys := range d.elems {
		s, open := shapeOf(set)
		for _, key := range keys {
			switch {
			case open:
				p, err := placeOf(s, key)
				faults = append(faults, err)
				// Whatever is there now has no end that we know: deleted if it is, and written anew if it is wanted.
				f.book.at(p).wrote = forever
				touched[p] = struct{}{}
			case set == "guard" || set == "guard4" || set == "guard6":
				k, err := barOf(set, key)
				faults = append(faults, err)
				f.rewriteBar(b, k)
			case set == "here":
				return f.mendHere(ctx)
			default: // nobody but packets and we have business in the sets of tuples
				f.destroyElems(b, set, []member{{key: key}})
			}
		}
	}
	if err := errors.Join(faults...); err != nil {
		return err
	}
	if !b.empty() {
		if err := f.sock.transact(b); err != nil {
			return err
		}
	}
	return f.change(ctx, ajar.Delta{}, touched)
}

func (f *Firewall) rewriteBar(b *batch, k bar) {
	now := f.clock()
	f.destroyElems(b, k.set(), []member{{key: k.key()}})
	if end := f.barred[k]; end == forever || end > now.Add(soonest).UnixMilli() {
		f.writeBar(b, k, 0, end, now)
	}
}

// mendHere fills the set of address types anew.
func (f *Firewall) mendHere(ctx context.Context) error {
	b := f.batch()
	b.flushSet("here")
	f.structure(b)
	if err := f.sock.transact(b); err != nil {
		return err
	}
	return f.mendWhole(ctx)
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
	b, now := f.batch(), f.clock()
	for k, end := range f.barred {
		if end != forever {
			f.rewriteBar(b, k)
		}
	}
	for c := range f.spared {
		end := int64(0)
		for k, e := range f.barred {
			if k.covers(c) {
				end = max(end, e)
			}
		}
		m := member{key: c.key()}
		f.destroyElems(b, named("grace", c.six), []member{m})
		if m.life = time.UnixMilli(end).Sub(now); end != forever && m.life > soonest {
			b.elements(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, named("grace", c.six), []member{m})
		}
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
	return nil
}
