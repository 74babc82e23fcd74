package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ajar-access/ajar"
)

// world is a host in a model: the plane's word, the kernel, the disk and the clocks, and whatever may befall them.
type world struct {
	t     *rapid.T
	dir   string
	hands hands
	plane time.Time
	life  int

	host   *Host
	kernel *memory
	rev    uint64
	want   map[ajar.LeaseID]ajar.Rule // what the plane wants now
	latest map[ajar.LeaseID]time.Time // the latest end that was ever granted
	gone   map[ajar.LeaseID]bool      // revoked, and the host acknowledged that
	exact  bool                       // the host acknowledged want
}

func (w *world) begin() {
	c := w.hands.clock()
	if w.kernel == nil {
		w.kernel = newMemory(c)
	}
	w.kernel.clock = c
	w.host = &Host{Local: w.kernel, Clock: c, Dir: w.dir, BootID: fmt.Sprint(w.life), TrustWall: true}
	if err := w.host.Open(); err != nil {
		w.t.Fatal(err)
	}
	if err := w.host.Restore(context.Background()); err != nil && w.kernel.fail == nil {
		w.t.Fatal(err)
	}
}

func (w *world) pass(d time.Duration) {
	w.hands.boot += d
	w.hands.wall = w.hands.wall.Add(d)
	w.plane = w.plane.Add(d)
}

// tell gives the host an order, as the hub does: the difference, and the whole where that is refused.
func (w *world) tell(d ajar.Delta) {
	took := rapid.SampledFrom([]time.Duration{0, time.Millisecond, 300 * time.Millisecond}).Draw(w.t, "under way")
	sent := w.hands.boot
	w.pass(took / 2)
	stamp := w.plane
	w.pass(took - took/2)
	w.host.heardTime(context.Background(), sent, stamp)
	before := w.rev
	w.rev++
	ask := func(kind string, o order, put []ajar.Rule) error {
		o.Rev, o.Put = w.rev, timed(put, stamp)
		return w.host.obey(context.Background(), "hub", &message{Type: kind, Time: stamp, Order: &o})
	}
	err := ask(typeDelta, order{Base: before, Drop: d.Drop}, d.Put)
	if errors.Is(err, ajar.Conflict) {
		gs, all := guarding(ssh), []ajar.Rule(nil)
		for _, r := range w.want {
			all = append(all, r)
		}
		err = ask(typeWhole, order{Guard: &gs}, all)
	}
	if w.exact = err == nil; w.exact {
		for id := range w.latest {
			if _, ok := w.want[id]; !ok {
				w.gone[id] = true
			}
		}
	}
}

func (w *world) lease() ajar.LeaseID {
	return ajar.LeaseID(rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(w.t, "lease"))
}

func (w *world) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"time passes": func(t *rapid.T) { w.pass(time.Duration(rapid.IntRange(1, 900).Draw(t, "seconds")) * time.Second) },
		"open, extend or shorten": func(t *rapid.T) {
			id := w.lease()
			r := rule(id, w.plane.Add(time.Duration(rapid.IntRange(1, 3600).Draw(t, "seconds"))*time.Second))
			w.want[id] = r
			if w.latest[id].Before(r.Expires) {
				w.latest[id] = r.Expires
			}
			delete(w.gone, id)
			w.tell(ajar.Delta{Put: []ajar.Rule{r}})
		},
		"revoke": func(*rapid.T) {
			id := w.lease()
			delete(w.want, id)
			w.tell(ajar.Delta{Drop: []ajar.LeaseID{id}})
		},
		"the firewall fails or works again": func(*rapid.T) {
			if w.kernel.fail == nil {
				w.kernel.fail = errors.New("no memory")
			} else {
				w.kernel.fail = nil
				w.host.passTime(context.Background())
			}
		},
		"somebody sets the wall clock": func(t *rapid.T) {
			w.hands.wall = w.plane.Add(time.Duration(rapid.IntRange(-7200, 7200).Draw(t, "seconds")) * time.Second)
			w.host.keepWall() // as the timer does that the kernel cancels then
		},
		"the agent is killed": func(*rapid.T) {
			w.host.Close()
			w.begin()
		},
		"a power cut": func(t *rapid.T) {
			w.host.Close()
			w.tear()
			fail := w.kernel.fail
			w.kernel = nil
			w.life++
			// The wall clock runs through the cut, right or wrong, or is found far back.
			off := time.Duration(rapid.IntRange(10, 900).Draw(t, "off")) * time.Second
			w.plane = w.plane.Add(off)
			w.hands.wall, w.hands.boot = w.hands.wall.Add(off), 5*time.Second
			if rapid.Bool().Draw(t, "empty battery") {
				w.hands.wall = noon.Add(-1000 * time.Hour)
			}
			w.exact = false
			w.begin()
			w.kernel.fail = fail
		},
		"": w.check,
	}
}

// tear leaves of the ledger what a power cut may: all that was synced, and any part of what was not.
func (w *world) tear() {
	path := filepath.Join(w.dir, ledgerFile)
	b, err := os.ReadFile(path)
	if err != nil {
		return
	}
	synced := 0
	for rest := b; ; {
		kind, _, next, ok := nextRecord(rest)
		if !ok {
			break
		}
		rest = next
		if kind == kindCloses {
			synced = len(b) - len(rest)
		}
	}
	n := rapid.IntRange(synced, len(b)).Draw(w.t, "left on disk")
	if err := os.WriteFile(path, b[:n], 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) check(t *rapid.T) {
	open := w.kernel.open()
	for _, id := range open {
		end, granted := w.latest[id]
		if !granted {
			t.Fatalf("%s is open and was never granted", id)
		}
		if !w.plane.Before(end) {
			t.Fatalf("%s is open %s past its end", id, w.plane.Sub(end))
		}
		if w.gone[id] {
			t.Fatalf("%s is open, and the host had acknowledged that it is not", id)
		}
	}
	if !w.exact {
		return
	}
	var want []ajar.LeaseID
	for id, r := range w.want {
		if w.plane.Add(time.Second).Before(r.Expires) { // a slow answer may have cost it a moment
			want = append(want, id)
		}
	}
	slices.Sort(want)
	for _, id := range want {
		if !slices.Contains(open, id) {
			t.Fatalf("%s is not open, and the host had acknowledged that it is", id)
		}
	}
}

// TestHostModel lets everything happen to a host but a lie of its wall clock while it was off. Whatever happens, a port
// is open only if that was granted and not past its end, and what was acknowledged is so.
func TestHostModel(t *testing.T) {
	dir, n := t.TempDir(), 0
	if shm, err := os.MkdirTemp("/dev/shm", "ajar-model-"); err == nil { // thousands of syncs
		dir = shm
		t.Cleanup(func() { os.RemoveAll(shm) })
	}
	rapid.Check(t, func(t *rapid.T) {
		n++
		w := &world{
			t: t, dir: filepath.Join(dir, fmt.Sprint(n)), hands: hands{boot: time.Minute, wall: noon}, plane: noon,
			want: map[ajar.LeaseID]ajar.Rule{}, latest: map[ajar.LeaseID]time.Time{}, gone: map[ajar.LeaseID]bool{},
		}
		w.begin()
		defer func() { w.host.Close() }()
		t.Repeat(w.actions())
	})
}
