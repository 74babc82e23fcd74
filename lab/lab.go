//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ajar-access/ajar"
)

// Options say what lab to make. The zero value is three machines and a plane with SQLite.
type Options struct {
	Bin      string // the folder with ajard, ajar and ajar-agent
	Machines int    // 0 = 3
	Database string // "" = SQLite in the lab's folder
	// OwnTable is the agent's setting on the machine of that number, from 1 on; nil = auto everywhere.
	OwnTable func(machine int) string
	// Ports are those on which each machine has a server that talks back, for Talk and for scans; sshd has 22.
	Ports []uint16
	// Grace is how long guards that come over ARM wait for a confirmation; 0 = none is asked for.
	GuardConfirm string
	Config       string // more lines of the plane's ajard.yaml

	noPlane bool // the network and the machines alone
	side    byte // tells labs apart that are in one program at the same time, 0 to 9; they share nothing but the bridge
}

// Lab is a running lab.
type Lab struct {
	Dir       string // everything that it writes is below
	Home      string // of the requester
	Login     string // as whom ssh signs in
	Plane     *Plane
	Requester *Space
	Attacker  *Space
	Machines  []*Machine

	o          Options
	logs       string
	authorized string
	sshd, nft  string
}

// The addresses of the lab, from the ranges that are set apart for documentation. They are nobody's, and not private,
// so that nothing warns about them.
var (
	net4 = netip.MustParsePrefix("198.51.100.0/24")
	net6 = netip.MustParsePrefix("2001:db8:a::/64")
)

// Subscription is the scope of all the lab's machines.
const (
	Subscription = ajar.ID("/subscriptions/00000000-0000-4000-8000-000000000001")
	Group        = Subscription + "/resourceGroups/lab"
	Location     = "here"
)

// addr4 and addr6 are the addresses with the given last number.
func addr4(n byte) netip.Addr {
	b := net4.Addr().As4()
	b[3] = n
	return netip.AddrFrom4(b)
}

func addr6(n byte) netip.Addr {
	b := net6.Addr().As16()
	b[15] = n
	return netip.AddrFrom16(b)
}

func both(n byte) []netip.Prefix {
	return []netip.Prefix{netip.PrefixFrom(addr4(n), net4.Bits()), netip.PrefixFrom(addr6(n), net6.Bits())}
}

// The last numbers of the lab's addresses.
const (
	operatorN  = 1
	planeN     = 10
	requesterN = 20
	attackerN  = 66
	machineN   = 100 // and the machine's number
)

// number is what n is in this lab: beside others, its own.
func (l *Lab) number(n byte) byte {
	if n == machineN {
		return n + 10*l.o.side
	}
	return n + l.o.side
}

// spaceName is the name of a space in this lab.
func (l *Lab) spaceName(name string) string {
	if l.o.side == 0 {
		return name
	}
	return fmt.Sprintf("%s-%d", name, l.o.side)
}

// RequesterAddr and AttackerAddr are who they are on the network.
func (l *Lab) RequesterAddr() netip.Addr { return addr4(l.number(requesterN)) }

// AttackerAddr is the attacker's IPv4 address.
func (l *Lab) AttackerAddr() netip.Addr { return addr4(l.number(attackerN)) }

// New makes the network, starts the plane and the machines' sshd, and signs the operator in. Enter must have been
// called. Hosts join with Machine.Join. Close ends it; if the program dies, all of it dies with it.
func New(ctx context.Context, o Options) (*Lab, error) {
	dir := os.Getenv(inside)
	if dir == "" {
		return nil, errors.New("lab.Enter was not called")
	}
	if o.Machines == 0 {
		o.Machines = 3
	}
	sub, err := os.MkdirTemp(dir, "run-")
	if err != nil {
		return nil, err
	}
	l := &Lab{Dir: sub, Home: homeOf(dir), Login: callerName(), o: o, logs: filepath.Join(sub, "logs")}
	if err := l.build(ctx); err != nil {
		if l.Plane != nil && l.Plane.proc != nil {
			err = fmt.Errorf("%w\n%s", err, l.Plane.proc.Tail())
		}
		l.Close()
		return nil, err
	}
	return l, nil
}

func (l *Lab) build(ctx context.Context) (err error) {
	if l.sshd, err = findSystem("sshd"); err != nil {
		return fmt.Errorf("%w: apt-get install openssh-server", err)
	}
	if l.nft, err = findSystem("nft"); err != nil {
		return fmt.Errorf("%w: apt-get install nftables", err)
	}
	if err := errors.Join(os.Chmod(l.Dir, 0o755), os.Mkdir(l.logs, 0o755)); err != nil {
		return err
	}
	if err := makeBridge(); err != nil {
		return err
	}
	if err := operatorAddress(); err != nil {
		return err
	}
	if l.Requester, err = l.place("requester", requesterN); err != nil {
		return err
	}
	if l.Attacker, err = l.place("attacker", attackerN); err != nil {
		return err
	}
	if err := l.makeMachines(ctx); err != nil {
		return err
	}
	if l.o.noPlane {
		return nil
	}
	return l.startPlane(ctx)
}

// operatorAddress puts this program itself on the bridge.
func operatorAddress() error {
	br, err := netlink.LinkByName(Bridge)
	if err != nil {
		return err
	}
	for _, p := range both(operatorN) {
		n := &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
		if err := netlink.AddrAdd(br, &netlink.Addr{IPNet: n, Flags: unix.IFA_F_NODAD}); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("address of %s: %w", Bridge, err)
		}
	}
	return nil
}

// place makes a space and plugs it in.
func (l *Lab) place(name string, n byte) (*Space, error) {
	s, err := newSpace(l.spaceName(name))
	if err != nil {
		return nil, err
	}
	if err := plug(s, both(l.number(n))...); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (l *Lab) makeMachines(ctx context.Context) error {
	ssh := filepath.Join(l.Home, ".ssh")
	if err := os.MkdirAll(ssh, 0o700); err != nil {
		return err
	}
	key, err := sshKey(filepath.Join(ssh, "id_ed25519"), "requester")
	if err != nil {
		return err
	}
	l.authorized = filepath.Join(l.Dir, "authorized_keys")
	if err := os.WriteFile(l.authorized, []byte(key), 0o644); err != nil {
		return err
	}
	var known []string
	for i := range l.o.Machines {
		m, host, err := l.newMachine(i + 1)
		if err != nil {
			return err
		}
		l.Machines = append(l.Machines, m)
		known = append(known, fmt.Sprintf("%s,%s,%s %s", m.Name, m.IPv4, m.IPv6, host))
	}
	if err := sshHome(l.Home, l.Login, known); err != nil {
		return err
	}
	for _, m := range l.Machines {
		if err := m.boot(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Close ends everything. It can be called more than once.
func (l *Lab) Close() {
	for _, m := range l.Machines {
		m.off()
	}
	if l.Plane != nil {
		l.Plane.close()
	}
	for _, s := range []*Space{l.Requester, l.Attacker} {
		if s != nil {
			s.Close()
		}
	}
	_ = os.RemoveAll(l.Dir) // what Enter made is removed by Enter
}
