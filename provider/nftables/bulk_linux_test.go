package nftables

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"golang.org/x/sys/unix"
)

// many are n leases with a source each.
func many(n int, end time.Time) []ajar.Rule {
	rs := make([]ajar.Rule, n)
	for i := range rs {
		a := netip.AddrFrom4([4]byte{100, byte(64 + i>>16), byte(i >> 8), byte(i)})
		rs[i] = ajar.Rule{
			Flow: flowAt(22, ajar.TCP), Lease: ajar.LeaseID(fmt.Sprintf("lease-%07d", i)),
			Sources: []netip.Prefix{netip.PrefixFrom(a, 32)}, Expires: end, HardStop: end,
		}
	}
	return rs
}

// TestManyOpenings: laid, read back, replaced by a successor that owns differently, all ended right, with whatever socket
// buffers the user may have.
func TestManyOpenings(t *testing.T) {
	p := newPair(t)
	p.host.serve("tcp", ":22")
	end := time.Now().Add(time.Hour)
	want := ajar.Ruleset{Guard: guardOf(22), Allow: append([]ajar.Rule{leaseOf("guest", 22, end, guest4)}, many(12000, end)...)}
	f := p.host.firewall(Config{OwnTable: "off"})
	start := time.Now()
	apply(t, f, want)
	t.Logf("12,000 laid and read back in %v", time.Since(start))
	c, err := p.guest.dial("tcp", ap(guest4, 0), ap(host4, 22))
	if err != nil {
		t.Fatal(err)
	}
	k := keep(c)
	f.Close()
	f = p.host.firewall(Config{})
	start = time.Now()
	apply(t, f, want)
	t.Logf("adopted and replaced in %v", time.Since(start))
	k.lives(t, "replaced")
	got, err := f.Observe(t.Context(), anyEndpoint)
	if err != nil {
		t.Fatal(err)
	}
	if d := want.Diff(got); !d.Empty() {
		t.Errorf("observed something else: %d to put, %d to drop", len(d.Put), len(d.Drop))
	}
	apply(t, f, ajar.Ruleset{Guard: guardOf(22)})
	if es, err := f.listed(t.Context(), "open4_32"); err != nil || len(es) != 0 {
		t.Errorf("%d are left, %v", len(es), err)
	}
	if _, err := k.ended(t); err == nil {
		t.Error("the session goes on")
	}
}

// core is what must also work without any right outside a namespace of one's own.
const core = "^(TestClosedPortIsResetAtOnce|TestOpeningLetsExactlyItsSourceIn|TestClosedUDPPortIsUnreachable|TestOwnCalls.*|TestManyOpenings" +
	"|TestSessionIsCutAtExpiryByTheKernelAlone|TestServersSideIsCutToo|TestRedirected.*|TestGrace.*|TestEveryChangeOfAnUnownedTableIsRepaired" +
	"|TestFlushHasNoEffectOnAnOwnedTable|TestOrphanedTableIsAdoptedWithoutAGap|TestRefusedSaysWhoAndWhen)$"

const stage = "AJAR_TEST_STAGE"

// TestAsOrdinaryUser runs the core again as nobody, in a user namespace that nobody made.
func TestAsOrdinaryUser(t *testing.T) {
	if os.Getenv(stage) == "" && os.Getuid() == 0 && inFirstUserNamespace() {
		out, err := again("^TestAsOrdinaryUser$", "nobody", &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}})
		if err != nil {
			t.Fatalf("as nobody: %v\n%s", err, out)
		}
		t.Logf("as nobody:\n%s", out)
		return
	}
	uid, gid := os.Getuid(), os.Getgid()
	out, err := again(core, "namespace", &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: gid, Size: 1}},
	})
	if err != nil {
		t.Fatalf("in a user namespace: %v (if it could not be made: user.max_user_namespaces or kernel.unprivileged_userns_clone forbid it)\n%s", err, out)
	}
	if n := strings.Count(string(out), "--- PASS"); n < 12 {
		t.Fatalf("only %d tests ran:\n%s", n, out)
	}
	t.Logf("uid %d in a namespace of its own:\n%s", uid, out)
}

func inFirstUserNamespace() bool {
	b, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && strings.Contains(string(b), "4294967295")
}

// again runs this test program anew. /proc/self/exe is reachable for users who may not enter the folder it lies in.
func again(tests, at string, as *syscall.SysProcAttr) ([]byte, error) {
	c := exec.Command("/proc/self/exe", "-test.run", tests, "-test.v", "-test.timeout", "30m")
	c.Env = append(os.Environ(), stage+"="+at, "HOME=/", "TMPDIR=/tmp")
	c.SysProcAttr = as
	c.Dir = "/"
	return c.CombinedOutput()
}

func benchFirewall(b *testing.B, n int) (*pair, *Firewall) {
	p := newPair(b)
	p.host.serve("tcp", ":22")
	f := p.host.firewall(Config{})
	want := ajar.Ruleset{Guard: guardOf(22), Allow: many(n, time.Now().Add(time.Hour))}
	if err := f.ApplyAt(b.Context(), anyEndpoint, want, 0); err != nil {
		b.Fatal(err)
	}
	return p, f
}

// BenchmarkChange is one opening through Change, read back.
func BenchmarkChange(b *testing.B) {
	for _, n := range []int{0, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			_, f := benchFirewall(b, n)
			end := time.Now().Add(time.Hour)
			rev := uint64(0)
			for b.Loop() {
				a := netip.AddrFrom4([4]byte{10, byte(rev >> 16), byte(rev >> 8), byte(rev)})
				r := ajar.Rule{Flow: flowAt(22, ajar.TCP), Lease: ajar.LeaseID(a.String()), Sources: []netip.Prefix{netip.PrefixFrom(a, 32)}, Expires: end, HardStop: end}
				if err := f.Change(b.Context(), anyEndpoint, ajar.Delta{Base: rev, Rev: rev + 1, Put: []ajar.Rule{r}}); err != nil {
					b.Fatal(err)
				}
				rev++
			}
		})
	}
}

// BenchmarkExtend moves one opening's end.
func BenchmarkExtend(b *testing.B) {
	_, f := benchFirewall(b, 1000)
	rev := uint64(0)
	for b.Loop() {
		r := leaseOf("x", 22, time.Now().Add(time.Hour+time.Duration(rev)*time.Millisecond), guest4)
		if err := f.Change(b.Context(), anyEndpoint, ajar.Delta{Base: rev, Rev: rev + 1, Put: []ajar.Rule{r}}); err != nil {
			b.Fatal(err)
		}
		rev++
	}
}

// BenchmarkConnectAfterChange is an opening, until a connection through it stands.
func BenchmarkConnectAfterChange(b *testing.B) {
	for _, n := range []int{0, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			p, f := benchFirewall(b, n)
			rev := uint64(0)
			// Enter the guest's namespace once: what is measured is not the change of namespaces.
			err := p.guest.do(func() error {
				for b.Loop() {
					r := leaseOf("x", 22, time.Now().Add(time.Hour), guest4)
					if err := f.Change(b.Context(), anyEndpoint, ajar.Delta{Base: rev, Rev: rev + 1, Put: []ajar.Rule{r}}); err != nil {
						return err
					}
					c, err := (&net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(ap(guest4, 0)))}).Dial("tcp", ap(host4, 22))
					if err != nil {
						return err
					}
					c.(*net.TCPConn).SetLinger(0)
					c.Close()
					rev++
				}
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkApply lays 100,000 openings and reads each back.
func BenchmarkApply(b *testing.B) {
	p := newPair(b)
	f := p.host.firewall(Config{})
	const n = 100_000
	want := ajar.Ruleset{Guard: guardOf(22), Allow: many(n, time.Now().Add(time.Hour))}
	for b.Loop() {
		if err := f.Apply(b.Context(), anyEndpoint, want); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := f.Apply(b.Context(), anyEndpoint, ajar.Ruleset{}); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "elements/s")
}
