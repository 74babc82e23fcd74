package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
)

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// story is a ledger in which openings come and go, with what was open after each record.
func story(t testing.TB) (file []byte, ends []int, open [][]string) {
	t.Helper()
	write := func(kind byte, r *record) {
		r.Clock = anchor{Now: noon, BootID: "b"}
		b, err := frameRecord(kind, r)
		if err != nil {
			t.Fatal(err)
		}
		file = append(file, b...)
		d, _, _, sound := readLedger(file)
		if !sound {
			t.Fatal("the whole ledger is not sound")
		}
		ends, open = append(ends, len(file)), append(open, openIn(&d))
	}
	put := func(id ajar.LeaseID) held { return held{Rule: rule(id, noon.Add(time.Hour))} }
	g := []heldGuard{{Guard: ajar.Guard{Flow: ssh}}}
	write(kindCloses, &record{Whole: true, Hub: "h", Rev: 1, Guard: &g, Put: []held{put("a")}})
	write(kindOpens, &record{Hub: "h", Rev: 2, Put: []held{put("b")}})
	write(kindOpens, &record{Hub: "h", Rev: 3, Own: []ajar.Rule{rule("break-glass-1", noon.Add(time.Minute))}})
	write(kindCloses, &record{Hub: "h", Rev: 4, Drop: []ajar.LeaseID{"a", "break-glass-1"}})
	write(kindOpens, &record{Hub: "h", Rev: 5, Put: []held{put("c")}})
	return file, ends, open
}

func openIn(d *desired) []string { return openAt(d, noon) }

func openAt(d *desired, now time.Time) []string {
	var ids []string
	for _, r := range d.local(now).Allow {
		ids = append(ids, string(r.Lease))
	}
	return ids
}

// TestTornLedgerNeverOpensMore cuts the ledger at every byte: what is read is what stood there after some record, and
// where a record was torn that closed something, nothing is open.
func TestTornLedgerNeverOpensMore(t *testing.T) {
	file, ends, open := story(t)
	for n := range file {
		d, _, _, sound := readLedger(file[:n])
		k := 0 // whole records
		for k < len(ends) && ends[k] <= n {
			k++
		}
		var before []string
		if k > 0 {
			before = open[k-1]
		}
		got := openIn(&d)
		whole := k > 0 && ends[k-1] == n || n == 0
		if whole != sound {
			t.Errorf("cut at %d: sound is %v", n, sound)
		}
		if k == 3 && !whole { // the fourth record closes
			before = nil
		}
		if !slices.Equal(got, before) {
			t.Errorf("cut at %d: open is %v, want %v", n, got, before)
		}
		if k > 0 && len(d.guard) != 1 {
			t.Errorf("cut at %d: the guard is lost", n)
		}
	}
}

// TestDamagedLedgerNeverOpensMore flips each byte in turn.
func TestDamagedLedgerNeverOpensMore(t *testing.T) {
	file, _, open := story(t)
	last := open[len(open)-1]
	for n := range file {
		bad := bytes.Clone(file)
		bad[n] ^= 0x41
		d, _, _, _ := readLedger(bad)
		for _, id := range openIn(&d) {
			if !slices.Contains(last, id) && !slices.Contains([]string{"a", "break-glass-1"}, id) {
				t.Fatalf("damage at %d opened %s", n, id)
			}
			if (id == "a" || id == "break-glass-1") && !slices.Contains(last, id) {
				t.Errorf("damage at %d brought back %s", n, id)
			}
		}
	}
}

func FuzzLedger(f *testing.F) {
	file, _, _ := story(f)
	f.Add(file)
	f.Add(file[:len(file)-3])
	f.Add([]byte("o\x00\x00\x00\x02----{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, _, _, _ := readLedger(b)
		d.local(noon)
		var again []byte
		for r := range d.whole(noon) {
			part, err := frameRecord(kindCloses, r)
			if err != nil {
				return // a time that JSON cannot say
			}
			again = append(again, part...)
		}
		e, _, _, sound := readLedger(again)
		if !sound || !slices.Equal(openIn(&d), openIn(&e)) {
			t.Errorf("written anew it says %v, not %v", openIn(&e), openIn(&d))
		}
	})
}

func FuzzJournal(f *testing.F) {
	b, _ := frameRecord(kindNote, note{Message: "a"})
	c, _ := frameRecord(kindDone, 1)
	f.Add(append(b, c...))
	f.Fuzz(func(t *testing.T, b []byte) { readJournal(b) })
}

func TestJournalDeliversAtLeastOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j, err := openJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if err := j.add(note{Message: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := j.delivered(); err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for n := range file { // killed at any byte, a note is lost only if it never was whole
		whole := bytes.Count(file[:n], []byte(`"message"`))
		notes := readJournal(file[:n])
		first, end := 0, 0
		if len(notes) > 0 {
			fmt.Sscan(notes[0].Message, &first)
			fmt.Sscan(notes[len(notes)-1].Message, &end)
			end++
		}
		if len(notes) != end-first || first > 2 || len(notes) > 0 && end < whole-1 {
			t.Fatalf("cut at %d, behind note %d: %v", n, whole, notes)
		}
	}
	j.close()
	if j, err = openJournal(path); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"2", "3", "4"} {
		if n, ok := j.next(); !ok || n.Message != want {
			t.Errorf("next is %q, want %q", n.Message, want)
		}
		j.delivered()
	}
	if _, ok := j.next(); ok {
		t.Error("something is left")
	}
	if fi, err := os.Stat(path); err != nil || fi.Size() != 0 {
		t.Errorf("the file is not empty: %v", err)
	}
}

func TestFullJournalSaysSo(t *testing.T) {
	j := &journal{path: filepath.Join(t.TempDir(), "journal"), notes: make([]note, maxNotes), wake: make(chan struct{}, 1)}
	if err := j.add(note{}); err == nil {
		t.Error("a full journal took one more")
	}
	if err := j.add(note{Action: ajar.BreakGlass}); err != nil {
		t.Errorf("noise keeps the host's own door closed: %v", err)
	}
	j.notes = make([]note, maxNotes+glassNotes)
	if err := j.add(note{Action: ajar.BreakGlass}); err == nil {
		t.Error("a full journal took one more")
	}
}

// TestAHostIsGuardedWhateverItsDiskSays: after a reboot with a disk that is full or damaged the guard is laid all the same, and
// what is guarded is never taken to be nothing.
func TestAHostIsGuardedWhateverItsDiskSays(t *testing.T) {
	for name, spoil := range map[string]func(dir string) error{
		"the journal cannot be written": func(dir string) error {
			return os.Mkdir(filepath.Join(dir, journalFile+".new"), 0o700) // stands in the way, as a full disk does
		},
		"the journal cannot be read": func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, journalFile)), os.Mkdir(filepath.Join(dir, journalFile), 0o700))
		},
		"the identity is damaged": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, identityFile), []byte("{"), 0o600)
		},
		"nothing of the state can be read": func(dir string) error {
			b, err := os.ReadFile(filepath.Join(dir, ledgerFile))
			if err == nil {
				b[20] ^= 1
				err = os.WriteFile(filepath.Join(dir, ledgerFile), b, 0o600)
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			p, m := running(t)
			m.whole(4, guarding(ssh), rule("a", p.now().Add(time.Hour)))
			m.halt()
			m.await(false)
			if err := spoil(m.dir); err != nil {
				t.Fatal(err)
			}
			h := m.build()
			if err := h.Open(); err != nil {
				t.Fatalf("it does not even start: %v", err)
			}
			defer h.Close()
			if err := h.Restore(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got, _ := m.mem.Observe(t.Context(), m.at()); len(got.Guard) != 1 {
				t.Error("nothing is guarded any longer")
			}
		})
	}
}

func TestLedgerCostsAChangeItsOwnSize(t *testing.T) {
	l, d, _, _, _, err := openLedger(filepath.Join(t.TempDir(), "desired"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10_000 {
		d.take(&record{Hub: "h", Rev: 1, Put: []held{{Rule: rule(ajar.LeaseID(fmt.Sprint("lease-", i)), noon.Add(time.Hour))}}})
	}
	if err := l.rewrite(&d, noon, anchor{}); err != nil {
		t.Fatal(err)
	}
	rewrites := 0
	for i := range 20_000 {
		r := &record{Hub: "h", Rev: uint64(i), Put: []held{{Rule: rule("lease-7", noon.Add(time.Duration(i)*time.Millisecond))}}}
		d.take(r)
		if l.full() {
			rewrites++
			err = l.rewrite(&d, noon, anchor{})
		} else {
			err = l.append(kindOpens, r)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if rewrites == 0 || rewrites > 4 {
		t.Errorf("written anew %d times in 20,000 changes", rewrites)
	}
}

// TestTheWholeIsWrittenInParts: no record of it is large, however many openings there are, and who finds some of them only
// has the guard, opens none but those, and claims no revision.
func TestTheWholeIsWrittenInParts(t *testing.T) {
	const n = 2*recordPart + 1
	g := []heldGuard{{Guard: ajar.Guard{Flow: ssh}}}
	first := &record{Whole: true, Hub: "h", Rev: 7, Guard: &g, Own: []ajar.Rule{rule("break-glass-1", noon.Add(time.Minute))}}
	for i := range n {
		first.Put = append(first.Put, held{Rule: rule(ajar.LeaseID(fmt.Sprint("lease-", i)), noon.Add(time.Hour)), Shift: time.Second})
	}
	first.Put = append(first.Put, held{Rule: rule("over", noon.Add(-time.Hour))})
	var d desired
	d.take(first)
	path := filepath.Join(t.TempDir(), ledgerFile)
	l := &ledger{path: path}
	if err := l.rewrite(&d, noon, anchor{BootID: "b"}); err != nil {
		t.Fatal(err)
	}
	defer l.broken()
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(file)) != l.size || l.size != l.first {
		t.Errorf("%d bytes, counted as %d and %d", len(file), l.size, l.first)
	}
	all, at, read, sound := readLedger(file)
	if !sound || read != 3 || at.BootID != "b" || all.hub != "h" || all.rev != 7 || !slices.Equal(openIn(&all), openIn(&d)) || len(openIn(&all)) != n+1 {
		t.Errorf("of %d records: sound %v, at %q, %q %d, %d open", read, sound, at.BootID, all.hub, all.rev, len(openIn(&all)))
	}
	for rest := file; len(rest) > 0; {
		kind, body, next, ok := nextRecord(rest)
		var r record
		if !ok || kind != kindCloses || json.Unmarshal(body, &r) != nil || len(r.Put) > recordPart {
			t.Fatalf("a record of kind %c with %d openings", kind, len(r.Put))
		}
		rest = next
		some, _, _, sound := readLedger(file[:len(file)-len(rest)])
		if !sound || len(some.guard) != 1 || len(rest) > 0 && (some.hub != "" || some.rev != 0 || len(openIn(&some)) > n) {
			t.Errorf("without its last %d bytes: sound %v, guard %v, %q %d", len(rest), sound, some.guard, some.hub, some.rev)
		}
		if len(rest) > 0 {
			if torn, _, _, sound := readLedger(file[:len(file)-len(rest)+5]); sound || len(openIn(&torn)) > 0 || len(torn.guard) != 1 {
				t.Errorf("torn %d bytes before its end: sound %v, guard %v, open %v", len(rest)-5, sound, torn.guard, openIn(&torn))
			}
		}
	}
}

// reboot makes the machine as it is after a power cut and a time without power: the kernel has forgotten, the disk
// has not.
func (m *machine) reboot(off time.Duration) {
	m.t.Helper()
	m.halt()
	m.mu.Lock()
	m.bootID += "+"
	m.boot = time.Now()
	m.wall += off
	m.mu.Unlock()
	m.mem = nil
}

// restore runs what the unit runs before the network is up.
func (m *machine) restore() {
	m.t.Helper()
	h := m.build()
	if err := h.Open(); err != nil {
		m.t.Fatal(err)
	}
	if err := h.Restore(m.t.Context()); err != nil {
		m.t.Fatal(err)
	}
	h.Close()
}

func TestRebootWithoutThePlane(t *testing.T) {
	p, m := running(t)
	now := p.now()
	m.whole(2, guarding(ssh, rdp), rule("short", now.Add(10*time.Minute)), rule("long", now.Add(2*time.Hour)), rule("revoked", now.Add(2*time.Hour)))
	m.change(ajar.Delta{Base: 2, Rev: 3, Put: []ajar.Rule{rule("late", now.Add(time.Hour))}, Drop: []ajar.LeaseID{"revoked"}})
	p.stop()
	m.reboot(20 * time.Minute)
	m.restore()
	wantOpen(t, m, "late", "long")
	got, _ := m.mem.Observe(t.Context(), ajar.Endpoint{})
	if len(got.Guard) != 2 {
		t.Errorf("guard after a reboot: %v", got.Guard)
	}
	if left := m.mem.openAt(m.bootNow() + 40*time.Minute + time.Second); slices.Contains(left, "late") {
		t.Error("late is open past its deadline: the time without power was not counted")
	}
}

// A host that was bare while no agent ran says so, once; one that was guarded all the time says nothing.
func TestAHostThatWasBareSaysSo(t *testing.T) {
	p, m := running(t)
	m.whole(2, guarding(ssh), rule("a", p.now().Add(time.Hour)))
	heard := map[string]bool{}
	for _, c := range []struct {
		what, says, detail string
		between            func()
	}{
		{"started anew", "", "", m.halt},
		{"flushed while no agent ran", "nothing of ours was in the firewall", "since", func() { m.halt(); m.mem = nil }},
		{"rebooted without the unit", "ajar-agent-restore.service", "open", func() { m.reboot(time.Minute) }},
		{"rebooted with it", "", "", func() { m.reboot(time.Minute); m.restore() }},
	} {
		c.between()
		m.await(false)
		m.start()
		m.await(true)
		// A note goes before all that comes after it, and this comes after.
		end := "the end of " + c.what
		if err := m.journal.add(note{Action: ajar.DriftRepaired, Message: end}); err != nil {
			t.Fatal(err)
		}
		var said []ajar.Report
		for r := range p.reports {
			if r.Message == end {
				break
			}
			// What was delivered may be so again.
			if r.Action == ajar.DriftRepaired && !strings.HasPrefix(r.Message, "the end of ") && !heard[r.Message] {
				heard[r.Message] = true
				said = append(said, r)
			}
		}
		switch {
		case c.says == "" && len(said) > 0:
			t.Errorf("%s: it says %q", c.what, said[0].Message)
		case c.says != "" && (len(said) != 1 || !strings.Contains(said[0].Message, c.says) || said[0].Details[c.detail] == ""):
			t.Errorf("%s: it says %+v", c.what, said)
		}
		if got, _ := m.mem.Observe(t.Context(), m.at()); len(got.Guard) != 1 {
			t.Errorf("%s: guarded is %v", c.what, got.Guard)
		}
	}
}

func TestRebootWithAClockThatCannotBeBelieved(t *testing.T) {
	p, m := running(t)
	m.whole(2, guarding(ssh), rule("a", p.now().Add(2*time.Hour)))
	p.stop()
	m.reboot(-1000 * time.Hour) // the battery is empty
	m.restore()
	wantOpen(t, m)
	if got, _ := m.mem.Observe(t.Context(), ajar.Endpoint{}); len(got.Guard) != 1 {
		t.Errorf("guard after a reboot: %v", got.Guard)
	}
}

func TestKilledAgentLosesNoOpening(t *testing.T) {
	p, m := running(t)
	end := p.now().Add(time.Hour)
	m.change(ajar.Delta{Base: 1, Rev: 2, Put: []ajar.Rule{rule("a", end)}})
	// A copy of the disk as a killed process leaves it: written, perhaps not synced.
	dir := t.TempDir()
	for _, f := range []string{identityFile, ledgerFile, journalFile} {
		b, err := os.ReadFile(filepath.Join(m.dir, f))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, f), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m.halt()
	m.dir = dir
	m.start()
	wantOpen(t, m, "a")
}

// TestAgentKilledInTheMiddle looks at the disk as a kill before and after the kernel's change would leave it.
func TestAgentKilledInTheMiddle(t *testing.T) {
	p, m := running(t)
	end := p.now().Add(time.Hour)
	m.change(ajar.Delta{Base: 1, Rev: 2, Put: []ajar.Rule{rule("revoked", end), rule("narrowed", end), rule("stays", end)}})
	seen := 0
	m.mem.mu.Lock()
	m.mem.killed = func(when string) {
		seen++
		b, err := os.ReadFile(filepath.Join(m.dir, ledgerFile))
		if err != nil {
			t.Error(err)
		}
		d, _, _, sound := readLedger(b)
		if got := openAt(&d, p.now()); !sound || !slices.Equal(got, []string{"stays"}) {
			t.Errorf("killed %s the change, it would open %v again, want what stays", when, got)
		}
		if len(d.guard) != 2 {
			t.Errorf("killed %s the change, it would guard %v", when, d.guard)
		}
		if d.hub != "" {
			t.Errorf("killed %s the change, it would claim a revision", when)
		}
	}
	m.mem.mu.Unlock()
	narrow, gs := rule("narrowed", end.Add(-time.Minute)), guarding(ssh, rdp)
	m.change(ajar.Delta{Base: 2, Rev: 3, Guard: &gs, Drop: []ajar.LeaseID{"revoked"}, Put: []ajar.Rule{narrow, rule("new", end)}})
	if seen != 2 {
		t.Errorf("looked %d times, want 2", seen)
	}
	wantOpen(t, m, "narrowed", "new", "stays")
}

func TestFullDiskRefusesToForget(t *testing.T) {
	p, m := running(t)
	end := p.now().Add(time.Hour)
	m.change(ajar.Delta{Base: 1, Rev: 2, Put: []ajar.Rule{rule("a", end)}})
	m.Host.mu.Lock()
	m.ledger.file.Close() // writes fail from now on
	m.ledger.path = filepath.Join(m.dir, "no", "such", "directory")
	m.Host.mu.Unlock()
	err := p.hub.Change(t.Context(), m.at(), ajar.Delta{Base: 2, Rev: 3, Drop: []ajar.LeaseID{"a"}})
	if !errors.Is(err, ajar.Unavailable) || !strings.Contains(err.Error(), "could not write") {
		t.Errorf("a closing that could not be written down: %v", err)
	}
	wantOpen(t, m)
	m.whole(4, guarding(ssh)) // nothing to change, nothing to write: fine again
}

func TestIdentityReadsBack(t *testing.T) {
	id := &identity{Server: "a:1", Endpoint: "web", Settings: Settings{NoBreakGlass: true}}
	dir := t.TempDir()
	if err := id.write(dir); err != nil {
		t.Fatal(err)
	}
	got, err := readIdentity(dir)
	a, _ := json.Marshal(id)
	b, _ := json.Marshal(got)
	if err != nil || !bytes.Equal(a, b) {
		t.Errorf("%s, want %s: %v", b, a, err)
	}
}
