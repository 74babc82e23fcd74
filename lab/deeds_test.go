//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
)

// yardLease is a lease that a deed made.
type yardLease struct {
	id      ajar.RequestID
	end     time.Time
	revoked bool
}

func (y *yard) open(ctx context.Context, port uint16, d time.Duration) error {
	req, err := y.Plane.Admin.Initiate(ctx, client.Initiate{Policy: testPolicy, Justification: "deed", Asks: []client.Ask{{
		Target: y.m.ID, Number: port, Source: y.RequesterAddr().String(), Duration: d,
	}}})
	if err == nil {
		y.leases[port] = &yardLease{id: req.ID, end: time.Now().Add(d)}
	}
	return err
}

// opened opens a port and sees it open, for longer than that if the lease is over before it is seen here.
func (y *yard) opened(ctx context.Context, port uint16, d time.Duration) error {
	for ; ; d *= 2 {
		if err := y.open(ctx, port, d); err != nil {
			return err
		}
		end := y.leases[port].end
		err := Await(ctx, min(bound, time.Until(end)), func() (bool, error) { err := y.Requester.Try(y.at(port)); return err == nil, err })
		if err == nil || ctx.Err() != nil || time.Now().Before(end) {
			return err
		}
	}
}

func (y *yard) revoke(ctx context.Context, port uint16) error {
	y.leases[port].revoked = true
	_, err := y.Plane.Admin.Revoke(ctx, y.leases[port].id, "deed")
	return err
}

// leasesRight compares all leases of the deed with the plane and the machine.
func leasesRight(ctx context.Context, y *yard) error {
	if !up(ctx, y) {
		return errors.New("the host is not connected")
	}
	have := map[ajar.RequestID]client.Lease{}
	for l, err := range y.Plane.Admin.Leases(ctx, client.LeaseQuery{}) {
		if err != nil {
			return err
		}
		have[l.Request] = l
	}
	for port, want := range y.leases {
		l, ok := have[want.id]
		through := y.Requester.Try(y.at(port))
		switch over := want.revoked || !time.Now().Before(l.End.Add(-slack)); {
		case !ok:
			return fmt.Errorf("the lease of port %d is lost", port)
		case over && through == nil:
			return fmt.Errorf("port %d is open, and its lease is %s since %s", port, l.State, l.End)
		case over && l.State != ajar.Closed:
			return fmt.Errorf("the lease of port %d is %s: %s", port, l.State, l.Trouble)
		case !over && (through != nil || l.State != ajar.Open):
			return fmt.Errorf("the lease of port %d is %s (%s), and a connection says %v", port, l.State, l.Trouble, through)
		}
	}
	return y.guarded(firstPort, secondPort, thirdPort)
}

// guarded finds a port that lets strangers in.
func (y *yard) guarded(ports ...uint16) error {
	for _, p := range ports {
		if y.Attacker.Try(y.at(p)) == nil {
			return fmt.Errorf("port %d is open to strangers", p)
		}
	}
	return nil
}

// closeAll ends all leases of the deed.
func closeAll(ctx context.Context, y *yard) error {
	for port, l := range y.leases {
		if !l.revoked && time.Now().Before(l.end) {
			if err := y.revoke(ctx, port); err != nil && !errors.Is(err, ajar.Conflict) {
				return err
			}
		}
	}
	return Await(ctx, bound, func() (bool, error) {
		for l, err := range y.Plane.Admin.Leases(ctx, client.LeaseQuery{Live: true}) {
			return false, errors.Join(err, fmt.Errorf("lease %s is still %s", l.ID, l.State))
		}
		return true, nil
	})
}

// absence has three leases: one that ends while the victim is down, one that goes on, and one that is revoked meanwhile.
func absence(down func(context.Context, *yard) error, revokeFirst bool) func(context.Context, *yard) error {
	return func(ctx context.Context, y *yard) error {
		for port, d := range map[uint16]time.Duration{secondPort: time.Minute, thirdPort: time.Minute} {
			if err := y.opened(ctx, port, d); err != nil {
				return err
			}
		}
		if err := y.opened(ctx, firstPort, time.Second); err != nil {
			return err
		}
		if revokeFirst { // by a machine that cannot be reached
			if err := y.m.Partition(); err != nil {
				return err
			}
			if err := y.revoke(ctx, thirdPort); err != nil {
				return err
			}
			// What was written last is not what has to be found again.
			if _, err := y.Plane.Admin.Extend(ctx, y.leases[secondPort].id, client.Extension{By: time.Second}); err != nil {
				return err
			}
		}
		if err := down(ctx, y); err != nil {
			return err
		}
		if revokeFirst {
			if err := y.m.Rejoin(); err != nil {
				return err
			}
		} else if err := y.revoke(ctx, thirdPort); err != nil {
			return err
		}
		pauseFor(ctx, time.Until(y.leases[firstPort].end))
		return nil
	}
}

func killPlane(_ context.Context, y *yard) error { y.Plane.Kill(); return nil }
func killAgent(_ context.Context, y *yard) error { y.m.KillAgent(); return nil }

// comingBack are the deeds in which the first port's guard never goes.
func comingBack() []deed {
	return []deed{
		{name: "plane starts", begin: holdPlane, victim: thePlane, prepare: absence(killPlane, true), ready: up, right: leasesRight, tidy: closeAll},
		{name: "agent starts", begin: holdAgent, victim: theAgent, prepare: absence(killAgent, false), ready: up, right: leasesRight, tidy: closeAll},
		{name: "machine boots", prepare: absence(func(_ context.Context, y *yard) error { y.m.off(); return nil }, false),
			begin: holdRestore, again: bootAgain, right: leasesRight, tidy: closeAll},
		changeOf("guard is laid, plane", thePlane, false), changeOf("guard is laid, agent", theAgent, false),
		changeOf("guard is lifted, plane", thePlane, true), changeOf("guard is lifted, agent", theAgent, true),
		rollBackOf("guard is rolled back, plane", thePlane), rollBackOf("guard is rolled back, agent", theAgent),
		glassOf("break-glass, agent", theAgent), glassOf("break-glass, plane", thePlane),
		upgradeOf("plane is replaced", thePlane, "ajard"), upgradeOf("agent is replaced", theAgent, "ajar-agent"),
	}
}

// holdRestore has the machine boot up to the moment where its firewall is laid, before the network.
func holdRestore(_ context.Context, y *yard) (*Proc, error) {
	s, err := newSpace(y.spaceName(y.m.Name))
	if err != nil {
		return nil, err
	}
	y.m.mu.Lock()
	y.m.space = s
	y.m.mu.Unlock()
	return held(s, y.logs, "restore-"+y.m.Name, y.m.agentCommand("restore")...)
}

// bootAgain goes on with the boot, which tries what died once more.
func bootAgain(ctx context.Context, y *yard) error {
	y.m.mu.Lock()
	s := y.m.space
	y.m.mu.Unlock()
	return y.m.bootIn(ctx, s)
}

// yardPolicy guards the yard's ports, and the spare one if it says so.
func (y *yard) yardPolicy(spare bool) client.Policy {
	p := client.Policy{Kind: "Basic", ID: testPolicy, Location: Location}
	mp := client.MachinePolicy{ID: y.m.ID}
	for _, n := range []uint16{firstPort, secondPort, thirdPort, sparePort} {
		if n != sparePort || spare {
			mp.Ports = append(mp.Ports, client.PortPolicy{Number: n, Protocol: ajar.TCP, Source: "*", MaxDuration: "PT1H"})
		}
	}
	p.Properties.Machines = []client.MachinePolicy{mp}
	return p
}

// put has the spare port guarded or not, and waits until it is so.
func (y *yard) put(ctx context.Context, spare bool) error {
	if _, err := y.Plane.Admin.PutPolicy(ctx, y.yardPolicy(spare), client.PutOptions{}); err != nil {
		return err
	}
	return y.awaitSpare(ctx, spare)
}

func (y *yard) awaitSpare(ctx context.Context, closed bool) error {
	return Await(ctx, bound, func() (bool, error) {
		err := y.spareIs(closed)
		return err == nil, err
	})
}

func (y *yard) spareIs(closed bool) error {
	if through := y.Attacker.Try(y.at(sparePort)); (through == nil) == closed {
		return fmt.Errorf("the spare port should be closed: %v; and a connection says %v", closed, through)
	}
	return nil
}

// hasSpare reports whether the plane's policy guards the spare port.
func (y *yard) hasSpare(ctx context.Context) (bool, error) {
	p, err := y.Plane.Admin.Policy(ctx, testPolicy)
	if err != nil || len(p.Properties.Machines) != 1 {
		return false, errors.Join(err, errors.New("the policy is lost"))
	}
	return len(p.Properties.Machines[0].Ports) == 4, nil
}

// stays brings back what the blow took down, the agent at first without the plane, as a boot does: a guard that its
// predecessor had laid already stays.
func stays(ctx context.Context, y *yard) error {
	if y.m.Agent().Alive() { // there was no blow
		return bring(ctx, y)
	}
	laid, err := y.spareInKernel(ctx)
	if err != nil {
		return err
	}
	if laid {
		if err := y.m.restore(ctx); err != nil {
			return err
		}
		if still, err := y.spareInKernel(ctx); err != nil || !still {
			return errors.Join(err, errors.New("the guard was laid, and went when the host was restored"))
		}
	}
	return bring(ctx, y)
}

// spareInKernel reports whether the machine's kernel guards the spare port.
func (y *yard) spareInKernel(ctx context.Context) (bool, error) {
	set, err := y.m.Nft(ctx, "list", "set", "inet", "ajar", "guard")
	return strings.Contains(set, fmt.Sprint("tcp . ", sparePort)), err
}

// changeOf guards one more port, or lifts that again.
func changeOf(name string, v victim, lift bool) deed {
	again, always := bring, ""
	if v == theAgent && !lift {
		again, always = stays, "write desired#1" // before it the kernel must not have the guard, or it would go again
	}
	return deed{
		name: name, victim: v, again: again, always: always,
		prepare: func(ctx context.Context, y *yard) error { return y.put(ctx, lift) },
		act: func(ctx context.Context, y *yard) error {
			_, err := y.Plane.Admin.PutPolicy(ctx, y.yardPolicy(!lift), client.PutOptions{})
			return err
		},
		right: func(ctx context.Context, y *yard) error {
			is, err := y.hasSpare(ctx)
			if err != nil {
				return err
			}
			if y.answered && is == lift {
				return errors.New("the policy was accepted, and that is lost")
			}
			if !up(ctx, y) {
				return errors.New("the host is not connected")
			}
			return errors.Join(y.spareIs(is), y.guarded(firstPort, secondPort, thirdPort))
		},
		tidy: func(ctx context.Context, y *yard) error { return y.put(ctx, false) },
	}
}

// rollBackOf guards one more port, which nobody confirms.
func rollBackOf(name string, v victim) deed {
	return deed{
		name: name, victim: v,
		prepare: func(ctx context.Context, y *yard) error { return y.put(ctx, false) },
		act: func(ctx context.Context, y *yard) error {
			_, err := y.Plane.Admin.PutPolicy(ctx, y.yardPolicy(true), client.PutOptions{ConfirmWithin: time.Second})
			return err
		},
		ready: func(_ context.Context, y *yard) bool { return time.Since(y.since) > 1500*time.Millisecond },
		right: func(ctx context.Context, y *yard) error {
			h, err := y.Plane.Host(ctx, y.m)
			if err != nil {
				return err
			}
			for _, g := range h.Guards {
				if g.Number == sparePort {
					return errors.New("the plane still has the guard")
				}
			}
			is, err := y.hasSpare(ctx)
			if err != nil || y.answered && !is {
				return errors.Join(err, errors.New("the policy was accepted, and that is lost"))
			}
			if n, err := y.events(ctx, ajar.GuardRolledBack); err != nil || y.answered && n != 1 {
				return fmt.Errorf("%d events of the roll-back: %v", n, err)
			}
			return errors.Join(y.spareIs(false), y.guarded(firstPort, secondPort, thirdPort))
		},
		tidy: func(ctx context.Context, y *yard) error { return y.put(ctx, false) },
	}
}

// events counts those of one sort since the deed began.
func (y *yard) events(ctx context.Context, a ajar.Action) (n int, err error) {
	for _, err := range y.Plane.Admin.Events(ctx, client.EventQuery{Action: a, Since: y.since}) {
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// glassFor is how long the host's own door stays open.
const glassFor = 1500 * time.Millisecond

// glassOf opens a port on the host itself: without a kill, with an agent that dies of it, with a plane that dies of the report.
func glassOf(name string, v victim) deed {
	return deed{
		name: name, victim: v,
		prepare: func(_ context.Context, y *yard) error { y.seen, y.until = false, time.Time{}; return nil },
		act: func(ctx context.Context, y *yard) error {
			_, err := y.m.AgentExec(ctx, "break-glass", fmt.Sprint(secondPort), "--from", y.RequesterAddr().String(), "--for", glassFor.String(), "--reason", "deed")
			y.until = time.Now().Add(glassFor)
			return err
		},
		right: func(ctx context.Context, y *yard) error {
			if !up(ctx, y) {
				return errors.New("the host is not connected")
			}
			if y.seen = y.seen || y.Requester.Try(y.at(secondPort)) == nil; time.Now().Before(y.until.Add(slack)) {
				return errors.New("it is not over yet")
			}
			if y.Requester.Try(y.at(secondPort)) == nil {
				return errors.New("it is open past its end")
			}
			n, err := y.events(ctx, ajar.BreakGlass)
			if err != nil || n == 0 && (y.answered || y.seen) {
				return fmt.Errorf("it was open (%v) or answered (%v), and there is no event of it: %v", y.seen, y.answered, err)
			}
			return y.guarded(firstPort, secondPort, thirdPort)
		},
		tidy: func(context.Context, *yard) error { return nil },
	}
}

// upgradeOf puts another binary in the place of the running one, and asks the running one to end.
func upgradeOf(name string, v victim, binary string) deed {
	return deed{
		name: name, victim: v, mayHaveNone: v == theAgent, // it has nothing to do before it ends
		prepare: func(ctx context.Context, y *yard) error { return y.opened(ctx, secondPort, time.Minute) },
		act: func(ctx context.Context, y *yard) error {
			path := filepath.Join(y.o.Bin, binary)
			next := path + y.spaceName(".new")
			// Not written by this process: whoever it forks meanwhile would hold the file open, and it could not be run.
			if out, err := exec.CommandContext(ctx, "cp", path, next).CombinedOutput(); err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			if err := os.Rename(next, path); err != nil {
				return err
			}
			p := y.m.Agent()
			if v == thePlane {
				p = y.Plane.Proc()
			}
			if err := p.cmd.Process.Signal(syscall.SIGTERM); !errors.Is(err, os.ErrProcessDone) { // it was killed before
				return err
			}
			return nil
		},
		ready: func(_ context.Context, y *yard) bool { return !y.Plane.Proc().Alive() || !y.m.Agent().Alive() },
		right: leasesRight, tidy: closeAll,
	}
}

// comingAndGoing are the deeds that make a host of a machine, and a machine of a host.
func comingAndGoing() []deed {
	leave := func(ctx context.Context, y *yard) error {
		_, err := y.m.AgentExec(ctx, "leave", "--yes")
		return err
	}
	// leaves tries until it works: an agent that starts is not at its door yet.
	leaves := func(ctx context.Context, y *yard) error {
		return Await(ctx, bound, func() (bool, error) { err := leave(ctx, y); return err == nil, err })
	}
	gone := func(ctx context.Context, y *yard) error {
		return Await(ctx, bound, func() (bool, error) { err := y.Attacker.Try(y.at(firstPort)); return err == nil, err })
	}
	left := func(ctx context.Context, y *yard) error {
		if err := leaves(ctx, y); err != nil {
			return err
		}
		y.m.KillAgent()
		y.m.joined = false
		return gone(ctx, y)
	}
	// rejoin has the machine be a host again, however far it came.
	rejoin := func(ctx context.Context, y *yard) error {
		if err := bring(ctx, y); err != nil {
			return err
		}
		y.m.KillAgent()
		if err := y.joinAnew(ctx); err != nil {
			return err
		}
		return Await(ctx, bound, func() (bool, error) {
			err := y.guarded(firstPort, secondPort, thirdPort)
			return err == nil && up(ctx, y), err
		})
	}
	isHost := func(ctx context.Context, y *yard) error {
		if !up(ctx, y) {
			return errors.New("the host is not connected")
		}
		return y.guarded(firstPort, secondPort, thirdPort)
	}
	isMachine := func(_ context.Context, y *yard) error {
		if err := y.Attacker.Try(y.at(firstPort)); err != nil {
			return fmt.Errorf("it has left, and its port is closed: %w", err)
		}
		for _, name := range []string{"identity.json", "identity.json.new", "desired", "desired.new"} {
			if _, err := os.Stat(filepath.Join(y.m.dir, "agent", name)); !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("it has left, and %s is there: %v", name, err)
			}
		}
		return nil
	}
	nothing := func(context.Context, *yard) error { return nil }
	leaveAgain := func(ctx context.Context, y *yard) error {
		if y.answered { // the agent ends by itself
			y.m.KillAgent()
		}
		if err := bring(ctx, y); err != nil {
			return err
		}
		if y.answered {
			<-y.m.Agent().done // it is no host any longer
		}
		err := leaves(ctx, y)
		y.m.KillAgent()
		y.m.joined = false
		return err
	}
	return []deed{
		{name: "host joins, command", prepare: left, begin: holdJoin, again: rejoin, right: isHost, tidy: nothing},
		{name: "host joins, plane", victim: thePlane, prepare: left, act: func(ctx context.Context, y *yard) error { return y.joinAnew(ctx) }, again: rejoin, right: isHost, tidy: nothing},
		{name: "host leaves, agent", victim: theAgent, prepare: nothing, act: leave, again: leaveAgain, right: isMachine, tidy: rejoin},
		{name: "host leaves, plane", victim: thePlane, prepare: nothing, act: leave, again: leaveAgain, right: isMachine, tidy: rejoin},
	}
}

// token makes a join token and writes it where the command reads it.
func (y *yard) token(ctx context.Context) (file string, err error) {
	token, err := y.Plane.Admin.JoinToken(ctx, y.m.ID, Location, true)
	if err != nil {
		return "", err
	}
	file = filepath.Join(y.m.dir, "token")
	return file, os.WriteFile(file, []byte(token.Token), 0o600)
}

func (y *yard) joinCommand(file string) []string {
	return []string{"--server", y.Plane.AgentAddr, "--ca-hash", y.Plane.CAHash, "--token-file", file, "--replace"}
}

func holdJoin(ctx context.Context, y *yard) (*Proc, error) {
	file, err := y.token(ctx)
	if err != nil {
		return nil, err
	}
	return held(y.m.Space(), y.logs, "join-"+y.m.Name, y.m.agentCommand("join", y.joinCommand(file)...)...)
}

// joinAnew joins with a new token, whatever became of the last one.
func (y *yard) joinAnew(ctx context.Context) error {
	file, err := y.token(ctx)
	if err != nil {
		return err
	}
	var joined error
	err = Await(ctx, time.Minute, func() (bool, error) { // one address may not join all the time
		_, joined = y.m.AgentExec(ctx, "join", y.joinCommand(file)...)
		return joined == nil || !strings.Contains(joined.Error(), "too many joins"), joined
	})
	if err = errors.Join(err, joined); err != nil {
		return err
	}
	y.m.joined = true
	return y.m.StartAgent(ctx)
}
