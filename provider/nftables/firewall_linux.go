package nftables

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/ajar-access/ajar"
	"golang.org/x/sys/unix"
)

// Firewall drives the table of one host. It implements ajar.Changer, ajar.Previewer and ajar.Reporter; the Endpoint that
// their methods name is ignored, since a Firewall has one.
type Firewall struct {
	conf  Config
	table string
	clock ajar.Clock
	log   *slog.Logger

	news  chan struct{} // wakes Report
	track tracker
	mon   *monitor
	hang  *hanger

	mu      sync.Mutex
	sock    *socket // the table's owner, where tables can be owned
	persist bool    // the kernel has owner+persist and we use it
	why     string  // why not, for people
	destroy bool    // the kernel can delete an element that may be gone already
	kernel  string

	laid    bool // the table is there and its structure is ours
	looked  bool // it was looked for
	adopted bool // and was there, then
	suspect bool // a transaction failed half way, or somebody else was at it: verify before trusting memory
	rev     uint64
	based   bool // rev means something
	guards  []ajar.Guard
	barred  map[bar]int64 // guard elements in the kernel and their ends; 0 = none
	spared  map[flow]bool // tuples in grace
	built   map[shape]bool
	book    *book
	reports []ajar.Report
}

var (
	_ ajar.Changer   = (*Firewall)(nil)
	_ ajar.Previewer = (*Firewall)(nil)
	_ ajar.Reporter  = (*Firewall)(nil)
)

// Open connects to the kernel. It changes nothing: a table left by an earlier process goes on as it is until the first
// Apply, which adopts it.
func (c Config) Open(_ context.Context, log *slog.Logger) (*Firewall, error) {
	if err := c.Validate(); err != nil {
		return nil, ajar.Errorf(ajar.Invalid, "nftables: %w", err)
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	f := &Firewall{conf: c, table: c.Table, clock: c.Clock, log: log, news: make(chan struct{}, 1), kernel: kernelRelease()}
	if f.table == "" {
		f.table = "ajar"
	}
	f.forgetAll()
	f.hang = newHanger(f)
	err := inNetNS(c.NetNS, func() (err error) {
		if f.sock, err = dial(unix.NETLINK_NETFILTER); err != nil {
			return err
		}
		if f.mon, err = watch(f.table, f.sock.pid); err != nil {
			return err
		}
		return f.hang.open()
	})
	if err == nil {
		err = f.probe()
	}
	if errors.Is(err, unix.EPERM) {
		err = ajar.Because(ajar.Forbidden, err, "changing nftables needs CAP_NET_ADMIN in this network namespace")
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	f.hang.start()
	return f, nil
}

// forgetAll empties memory.
func (f *Firewall) forgetAll() {
	f.laid, f.based, f.suspect = false, false, false
	f.guards, f.barred, f.spared = nil, map[bar]int64{}, map[flow]bool{}
	f.built, f.book = map[shape]bool{}, newBook()
}

// probe finds out what the kernel can do, with transactions that leave nothing behind.
func (f *Firewall) probe() error {
	b := f.batch()
	b.table = f.table + "_probe"
	b.do(msgDestroyTable, 0, "probe", func(a *attrs) { a.str(unix.NFTA_TABLE_NAME, b.table) })
	err := f.sock.transact(b)
	if errors.Is(err, unix.EPERM) {
		return err
	}
	f.destroy = err == nil
	if f.conf.OwnTable == "off" {
		f.why = "off by configuration; watched and repaired"
		return nil
	}
	b = f.batch()
	b.table = f.table + "_probe"
	b.newTable(tableOwner | tablePersist)
	b.delTable()
	switch err = f.sock.transact(b); {
	case err == nil:
		f.persist = true
	case errors.Is(err, unix.EPERM):
		return err
	default:
		// Without persist an owner's death would take the table along and open every port.
		f.why = fmt.Sprintf("kernel %s cannot keep an owned table alive (6.9 can); watched and repaired", f.kernel)
	}
	return nil
}

func (f *Firewall) batch() *batch { return newBatch(f.table, f.sock.seq+1, f.clock) }

func (f *Firewall) tableFlags() uint32 {
	if f.persist {
		return tableOwner | tablePersist
	}
	return 0
}

// Close lets go of the table and leaves it in place: closed ports stay closed, openings end by themselves.
func (f *Firewall) Close() error {
	errs := []error{f.hang.stop()}
	if f.mon != nil {
		errs = append(errs, f.mon.close())
	}
	f.track.mu.Lock()
	errs = append(errs, f.track.close())
	f.track.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sock != nil {
		errs = append(errs, f.sock.close())
		f.sock = nil
	}
	return errors.Join(errs...)
}

// Status tells how the table is held.
func (f *Firewall) Status() ajar.HostStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	own := "owner+persist"
	if !f.persist {
		own = f.why
	}
	return ajar.HostStatus{Kernel: f.kernel, OwnTable: own, HangUp: f.hang.status()}
}

// Adopted reports whether our table was there, left by another process, when the first Apply or Change that needs one looked.
func (f *Firewall) Adopted() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.adopted
}

func kernelRelease() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}

// errClosed answers calls after Close.
var errClosed = ajar.Errorf(ajar.Unavailable, "the firewall was closed")
