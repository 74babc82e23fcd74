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
	"sync"
	"time"

	"github.com/ajar-access/ajar"
)

// Machine is one host of the lab: a namespace with an sshd and, once it has joined, an agent.
type Machine struct {
	Name       string
	ID         ajar.ID
	IPv4, IPv6 netip.Addr

	lab      *Lab
	number   int
	dir      string
	services map[uint16]*service
	joined   bool

	mu        sync.Mutex // guards what a reboot replaces
	space     *Space
	sshd      *Proc
	agent     *Proc
	listeners []net.Listener
}

// newMachine makes what outlives reboots: the disk, with the host key whose public half is returned.
func (l *Lab) newMachine(number int) (m *Machine, hostKey string, err error) {
	name := fmt.Sprintf("vm%d", number)
	n := l.number(machineN) + byte(number)
	m = &Machine{
		Name: name, number: number, lab: l, dir: filepath.Join(l.Dir, name), services: map[uint16]*service{},
		ID:   Group + "/providers/Microsoft.Compute/virtualMachines/" + ajar.ID(name),
		IPv4: addr4(n), IPv6: addr6(n),
	}
	for _, p := range l.o.Ports {
		m.services[p] = &service{heard: map[string]time.Time{}}
	}
	if err := os.Mkdir(m.dir, 0o755); err != nil {
		return nil, "", err
	}
	if hostKey, err = sshKey(filepath.Join(m.dir, "host_key"), name); err != nil {
		return nil, "", err
	}
	if _, err := sshdConfig(l.sshd, m.dir, l.authorized); err != nil {
		return nil, "", err
	}
	return m, hostKey, nil
}

// boot starts the machine in the order of a real one: the firewall from disk, the servers, and only then the network.
func (m *Machine) boot(ctx context.Context) error {
	s, err := newSpace(m.lab.spaceName(m.Name))
	if err != nil {
		return err
	}
	m.mu.Lock()
	m.space = s
	m.mu.Unlock()
	return m.bootIn(ctx, s)
}

// bootIn boots the machine in a kernel that has just come up.
func (m *Machine) bootIn(ctx context.Context, s *Space) error {
	if m.joined {
		if err := m.restore(ctx); err != nil {
			return err
		}
	}
	sshd, err := start(s, m.lab.logs, "sshd-"+m.Name, nil, m.lab.sshd, "-D", "-e", "-f", filepath.Join(m.dir, "sshd_config"))
	if err != nil {
		return err
	}
	m.mu.Lock()
	m.sshd = sshd
	m.mu.Unlock()
	for port, v := range m.services {
		ln, err := s.Listen("tcp", netip.AddrPortFrom(netip.IPv6Unspecified(), port).String())
		if err != nil {
			return err
		}
		m.mu.Lock()
		m.listeners = append(m.listeners, ln)
		m.mu.Unlock()
		go v.serve(ln)
	}
	if err := m.awaitSSHD(ctx); err != nil {
		return err
	}
	if err := plug(s, both(m.lab.number(machineN)+byte(m.number))...); err != nil {
		return err
	}
	if m.joined {
		return m.StartAgent(ctx)
	}
	return nil
}

// awaitSSHD waits on the machine's own loopback, which no guard touches.
func (m *Machine) awaitSSHD(ctx context.Context) error {
	for deadline := time.Now().Add(time.Minute); ; {
		err := m.space.Try(netip.MustParseAddrPort("127.0.0.1:22"))
		if err == nil {
			return nil
		}
		if !m.sshd.Alive() || time.Now().After(deadline) || ctx.Err() != nil {
			return fmt.Errorf("sshd of %s does not answer (%w): %s", m.Name, err, m.sshd.Tail())
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// off is the plug pulled out: every process of the machine is killed and everything in its kernel is lost.
func (m *Machine) off() {
	m.mu.Lock()
	s, procs, listeners := m.space, []*Proc{m.agent, m.sshd}, m.listeners
	m.space, m.agent, m.sshd, m.listeners = nil, nil, nil, nil
	m.mu.Unlock()
	if s == nil {
		return
	}
	_ = cutOff(s) // a machine that was never plugged in cannot be cut off
	for _, p := range procs {
		p.Kill()
	}
	for _, l := range listeners {
		l.Close()
	}
	s.Close()
}

// Reboot switches the machine off and on: its kernel's state is lost, its disk is not. The clocks go on, and the boot id
// is the old one: those belong to the machine that the lab is on.
func (m *Machine) Reboot(ctx context.Context) error {
	m.off()
	return m.boot(ctx)
}

// Partition takes the machine off the network until Rejoin; its processes and firewall go on.
func (m *Machine) Partition() error { return setPlugged(m.Space(), false) }

// Rejoin ends a Partition.
func (m *Machine) Rejoin() error { return setPlugged(m.Space(), true) }

// Space is the machine's namespace since its last boot.
func (m *Machine) Space() *Space {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.space
}

// SSH is where the machine's sshd listens.
func (m *Machine) SSH() netip.AddrPort { return netip.AddrPortFrom(m.IPv4, 22) }

// Nft runs nft on the machine as somebody else would, who knows nothing of us.
func (m *Machine) Nft(ctx context.Context, args ...string) (string, error) {
	return m.Space().Output(ctx, nil, append([]string{m.lab.nft}, args...)...)
}

// Exec runs a command on the machine.
func (m *Machine) Exec(ctx context.Context, argv ...string) (string, error) {
	return m.Space().Output(ctx, nil, argv...)
}

// Agent is the machine's agent process, or nil.
func (m *Machine) Agent() *Proc {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.agent
}

// KillAgent is kill -9.
func (m *Machine) KillAgent() { m.Agent().Kill() }

var errNotJoined = errors.New("the machine has not joined")
