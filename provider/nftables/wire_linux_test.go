package nftables

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"golang.org/x/sys/unix"
)

// FuzzMessages: whatever comes over netlink is decoded or refused.
func FuzzMessages(f *testing.F) {
	b := newBatch("ajar", 1, func() time.Time { return anEnd })
	b.elements(unix.NFT_MSG_NEWSETELEM, 0, "open4_32", []member{{key: place{shape: exact[0], port: 22, proto: 6}.key(), life: 1e9}})
	b.newSet(shape{six: true, bits: 64}.set(), 1)
	b.newTable(3)
	f.Add([]byte(b.finish()))
	f.Add(diagRequest(diagByFamily, unix.NLM_F_DUMP, sock{family: unix.AF_INET, proto: unix.IPPROTO_TCP}, nil))
	f.Fuzz(func(t *testing.T, raw []byte) {
		_ = eachMessage(raw, func(m message) error {
			_, _, _ = m.verdict()
			d := newDrift()
			_, _ = d.note("ajar", m)
			_, set, es, err := readElements(m.payload())
			if err != nil {
				return nil
			}
			for _, e := range es {
				if s, ok := shapeOf(set); ok {
					_, _ = placeOf(s, e.key)
				}
				_, _ = barOf("guard", e.key)
				_, _ = flowOf(true, e.key)
			}
			_, _ = readSock(m.body, unix.IPPROTO_TCP)
			_, _ = readEntry(m.payload())
			return nil
		})
	})
}

func TestKeysReadBack(t *testing.T) {
	r := leaseOf("a", 22, anEnd, "10.1.2.3/20", "0.0.0.0/0", "2001:db8::1", "::/0", "::ffff:192.0.2.0/120")
	r.Port.Protocol = ajar.Both
	for _, dest := range []string{"", "192.0.2.1", "2001:db8::5"} {
		r.Dest = netip.Addr{}
		if dest != "" {
			r.Dest = netip.MustParseAddr(dest)
		}
		ws, err := wishes(r)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range ws {
			s, ok := shapeOf(w.place.shape.name())
			if !ok || s != w.place.shape {
				t.Errorf("%s reads back as %v", w.place.shape.name(), s)
			}
			p, err := placeOf(s, w.place.key())
			if err != nil || p != w.place {
				t.Errorf("%s reads back as %s, %v", w.place, p, err)
			}
			if p.dest() != r.Dest {
				t.Errorf("dest %s", p.dest())
			}
		}
	}
	for _, name := range []string{"open4_33", "open6_129", "open4_032", "open5_1", "drain4", "open4to_", "guard", "open4_+1"} {
		if s, ok := shapeOf(name); ok {
			t.Errorf("%s reads as %v", name, s)
		}
	}
}

func TestSourcesThatMakeNoSenseAreRefused(t *testing.T) {
	for _, bad := range []netip.Prefix{{}, netip.MustParsePrefix("::ffff:0.0.0.0/90"), netip.PrefixFrom(netip.MustParseAddr("10.0.0.1"), 33)} {
		if _, err := wishes(ajar.Rule{Flow: flowAt(22, ajar.TCP), Sources: []netip.Prefix{bad}, Expires: anEnd}); err == nil {
			t.Errorf("%v was taken", bad)
		}
	}
	if _, err := wishes(ajar.Rule{Flow: flowAt(22, "ICMP"), Expires: anEnd}); err == nil {
		t.Error("ICMP was taken")
	}
	if _, err := wishes(ajar.Rule{Flow: flowAt(22, ajar.TCP)}); err == nil {
		t.Error("a rule without an end was taken")
	}
}

// TestWhatEndedMeanwhileIsNotForEver: the machine stands still between the decision to open and the message to the kernel, and
// the end has come by then.
func TestWhatEndedMeanwhileIsNotForEver(t *testing.T) {
	now := time.Now()
	b := newBatch("ajar", 1, func() time.Time { return now })
	b.elements(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, "open4_32", []member{{key: make([]byte, 12), end: now.Add(time.Second).UnixMilli()}})
	now = now.Add(time.Minute)
	msg := b.finish()
	if life := binary.BigEndian.Uint64(msg[b.ends[0].at:]); life == 0 || life > uint64(soonest.Milliseconds()) {
		t.Errorf("it lives for %d ms", life)
	}
}

// TestAnOpeningWithoutItsEndIsAFault: what reads back with no end, or with a later one, is not what was written.
func TestAnOpeningWithoutItsEndIsAFault(t *testing.T) {
	now := time.Now().UnixMilli()
	e := edit{end: now + 10_000}
	for left, want := range map[time.Duration]bool{
		0: false, -time.Second: false, time.Second: true, 10 * time.Second: true, 10*time.Second + late: true, 10*time.Second + 2*late: false, time.Hour: false,
	} {
		if got := e.ok(held{key: []byte{1}, expires: left}, now); got != want {
			t.Errorf("with %v left of 10s: %v", left, got)
		}
	}
	if (edit{}).ok(held{key: []byte{1}, expires: time.Second}, now) {
		t.Error("what was deleted is there")
	}
}

// TestConfirmedOnceIsConfirmed: where two policies guard a port, and one of them was confirmed, the guard stays.
func TestConfirmedOnceIsConfirmed(t *testing.T) {
	m := newMachine(t)
	f := m.firewall(Config{})
	sure, unsure := guardOf(22)[0], guardOf(22)[0]
	unsure.ConfirmBy = time.Now().Add(time.Minute)
	for _, gs := range [][]ajar.Guard{{sure, unsure}, {unsure, sure}} {
		apply(t, f, ajar.Ruleset{Guard: []ajar.Guard{unsure}})
		apply(t, f, ajar.Ruleset{Guard: gs})
		f.mu.Lock()
		got, err := f.look("guard", [][]byte{bar{proto: unix.IPPROTO_TCP, port: 22}.key()})
		f.mu.Unlock()
		if err != nil || got[0].key == nil || got[0].expires != 0 {
			t.Errorf("%v: %+v %v", gs, got, err)
		}
	}
}

// TestOldKernelsDeleteWhatIsGone: before Linux 6.3 nothing can be deleted that may have timed out already.
func TestOldKernelsDeleteWhatIsGone(t *testing.T) {
	m := newMachine(t)
	f := m.firewall(Config{})
	f.destroy = false
	if err := f.ApplyAt(t.Context(), anyEndpoint, ajar.Ruleset{Guard: guardOf(22)}, 1); err != nil {
		t.Fatal(err)
	}
	end := time.Now().Add(100 * time.Millisecond)
	short, long := leaseOf("a", 22, end, guest4), leaseOf("b", 22, anEnd, other4)
	if err := f.Change(t.Context(), anyEndpoint, ajar.Delta{Base: 1, Rev: 2, Put: []ajar.Rule{short, long}}); err != nil {
		t.Fatal(err)
	}
	until(end.Add(50 * time.Millisecond))
	if err := f.Change(t.Context(), anyEndpoint, ajar.Delta{Base: 2, Rev: 3, Drop: []ajar.LeaseID{"a", "b"}}); err != nil {
		t.Fatal(err)
	}
	if es, err := f.listed(t.Context(), "open4_32"); err != nil || len(es) != 0 {
		t.Errorf("there are %v %v", es, err)
	}
}

// TestNobodyIsHungUpFromMemoryThatMayBeWrong: a change failed half way.
func TestNobodyIsHungUpFromMemoryThatMayBeWrong(t *testing.T) {
	m := newMachine(t)
	f := m.firewall(Config{})
	apply(t, f, ajar.Ruleset{Guard: guardOf(22)})
	c := call{flow: flow{remote: bytes16(netip.MustParseAddr(guest4)), rport: 5000, local: bytes16(netip.MustParseAddr(host4)), lport: 22, proto: unix.IPPROTO_TCP}}
	c.sock = sock{proto: unix.IPPROTO_TCP, state: 1, local: netip.MustParseAddrPort(ap(host4, 22)), remote: netip.MustParseAddrPort(ap(guest4, 5000))}
	if cut, err := f.hang.verdicts([]call{c}); err != nil || len(cut) != 1 {
		t.Fatalf("a session without a lease: %v %v", cut, err)
	}
	f.mu.Lock()
	f.suspect = true
	f.mu.Unlock()
	if cut, err := f.hang.verdicts([]call{c}); err == nil || len(cut) != 0 {
		t.Errorf("from memory that may be wrong: %v %v", cut, err)
	}
}
