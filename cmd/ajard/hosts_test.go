package main

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
	"github.com/ajar-access/ajar/provider/agent"
	"github.com/ajar-access/ajar/provider/fake"
)

const vm ajar.ID = "/subscriptions/11111111-1111-4111-8111-111111111111/resourceGroups/lab/providers/Microsoft.Compute/virtualMachines/vm1"

const policy ajar.ID = "/subscriptions/11111111-1111-4111-8111-111111111111/resourceGroups/lab/providers/Microsoft.Security/locations/westeurope/jitNetworkAccessPolicies/default"

// local is a host's own firewall that remembers.
type local struct{ *fake.Firewall }

func (local) Resync(context.Context) error           { return nil }
func (local) Refused(context.Context) []ajar.Refusal { return nil }
func (local) Status() ajar.HostStatus                { return ajar.HostStatus{OwnTable: "fake"} }

// host is a machine with an agent that joined.
type host struct {
	*agent.Host
	firewall *fake.Firewall
	endpoint ajar.EndpointID
	stop     func()
}

func (p *program) join(admin *client.Client, replace bool) *host {
	p.t.Helper()
	j, err := admin.JoinToken(p.t.Context(), vm, "westeurope", replace)
	if err != nil {
		p.t.Fatal(err)
	}
	if !strings.Contains(j.Command, p.ca) || !strings.Contains(j.Command, p.agent) || strings.Contains(j.Command, j.Token) {
		p.t.Errorf("the command is %q", j.Command)
	}
	start, dir := time.Now(), p.t.TempDir()
	clock := &agent.Clock{Boot: func() time.Duration { return time.Since(start) }, Wall: time.Now}
	ep, err := agent.Join(p.t.Context(), agent.JoinAsk{Dir: dir, Server: p.agent, CAHash: p.ca, Token: j.Token, Clock: time.Now})
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := agent.Join(p.t.Context(), agent.JoinAsk{Dir: p.t.TempDir(), Server: p.agent, CAHash: p.ca, Token: j.Token, Clock: time.Now}); err == nil {
		p.t.Error("the token is good for a second host")
	}
	f := fake.New(clock.Now)
	h := &host{Host: &agent.Host{Local: local{f}, Clock: clock, Dir: dir, Version: "test", BootID: "boot"}, firewall: f, endpoint: ep}
	if err := h.Open(); err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	h.stop = sync.OnceFunc(func() {
		cancel()
		<-done
		h.Close()
	})
	p.t.Cleanup(h.stop)
	return h
}

func (p *program) policy(admin *client.Client) {
	p.t.Helper()
	_, err := admin.PutPolicy(p.t.Context(), client.Policy{ID: policy, Properties: client.PolicyProperties{Machines: []client.MachinePolicy{{
		ID: vm, Ports: []client.PortPolicy{{Number: 22, Protocol: ajar.TCP, Source: "*", MaxDuration: "PT3H"}},
	}}}}, client.PutOptions{})
	if err != nil {
		p.t.Fatal(err)
	}
}

// open asks for vm's port 22 and waits until it is open.
func (p *program) open(c *client.Client, source string) client.Request {
	p.t.Helper()
	r, err := c.Initiate(p.t.Context(), client.Initiate{Policy: policy, Asks: []client.Ask{{Target: vm, Number: 22, Source: source, Duration: time.Hour}}})
	if err != nil {
		p.t.Fatal(err)
	}
	if r, err = c.Wait(p.t.Context(), r.ID, nil); err != nil || !r.Opened() {
		p.t.Fatalf("%+v, %v\n%s", r, err, p.stderr)
	}
	return r
}

// TestAHostThroughTheWholePlane joins a host through the agents' own listener, and opens and closes a port on it.
func TestAHostThroughTheWholePlane(t *testing.T) {
	m := newMachine(t, "")
	p := m.serve()
	admin := p.mustLogin("admin", once.FindString(p.stderr.String()))
	h := p.join(admin, false)
	p.policy(admin)
	r := p.open(admin, "192.0.2.1")
	rules := h.firewall.Host(h.endpoint).Rules()
	if len(rules.Guard) != 1 || len(rules.Allow) != 1 || rules.Allow[0].Lease != r.Leases[0].ID {
		t.Errorf("on the host: %+v", rules)
	}
	if _, err := admin.Revoke(t.Context(), r.ID, "done"); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { return len(h.firewall.Host(h.endpoint).Rules().Allow) == 0 })

	// A host that takes its place cuts it off, and is not cut off itself.
	other := p.join(admin, true)
	if other.endpoint != h.endpoint {
		t.Errorf("the endpoint changed from %s to %s", h.endpoint, other.endpoint)
	}
	r = p.open(admin, "192.0.2.2")
	until(t, func() bool { return len(other.firewall.Host(other.endpoint).Rules().Allow) == 1 })
	if n := len(h.firewall.Host(h.endpoint).Rules().Allow); n != 0 {
		t.Errorf("the replaced host has %d openings", n)
	}

	// Removed: revoked and cut at once, and the guard stays.
	if err := admin.RemoveHost(t.Context(), vm, false); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool {
		rs := other.firewall.Host(other.endpoint).Rules()
		return len(rs.Allow) == 0 && len(rs.Guard) == 1
	})
	hosts, err := client.Collect(admin.Hosts(t.Context(), ajar.Root))
	if err != nil || len(hosts) != 0 {
		t.Errorf("hosts: %+v, %v", hosts, err)
	}
}

// TestARemovedHostThatWasAwayHearsIt when it comes back, and lifts its guard if it was told so.
func TestARemovedHostThatWasAwayHearsIt(t *testing.T) {
	m := newMachine(t, "")
	p := m.serve()
	admin := p.mustLogin("admin", once.FindString(p.stderr.String()))
	h := p.join(admin, false)
	p.policy(admin)
	p.open(admin, "192.0.2.1")
	h.stop()
	if err := admin.RemoveHost(t.Context(), vm, true); err != nil {
		t.Fatal(err)
	}
	if err := h.Open(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	until(t, func() bool {
		rs := h.firewall.Host(h.endpoint).Rules()
		return len(rs.Allow) == 0 && len(rs.Guard) == 0
	})
	cancel()
	<-done
	h.Close()
}

// TestAHostThatLeavesIsForgotten: nobody takes it for guarded or unreachable, and another may join without replacing it.
func TestAHostThatLeavesIsForgotten(t *testing.T) {
	m := newMachine(t, "")
	p := m.serve()
	admin := p.mustLogin("admin", once.FindString(p.stderr.String()))
	h := p.join(admin, false)
	p.policy(admin)
	p.open(admin, "192.0.2.1")
	if untold, err := h.Leave(t.Context(), 0); err != nil || untold != nil {
		t.Fatalf("%v, untold %v", err, untold)
	}
	if rs := h.firewall.Host(h.endpoint).Rules(); len(rs.Guard)+len(rs.Allow) != 0 {
		t.Errorf("left behind: %+v", rs)
	}
	if hosts, err := client.Collect(admin.Hosts(t.Context(), ajar.Root)); err != nil || len(hosts) != 0 {
		t.Errorf("hosts: %+v, %v", hosts, err)
	}
	es, err := client.Collect(admin.Events(t.Context(), client.EventQuery{Scope: vm}))
	if err != nil {
		t.Fatal(err)
	}
	for _, action := range []ajar.Action{ajar.HostLeft, ajar.GuardLifted, ajar.LeaseClosed} {
		n := 0
		for _, e := range es {
			if e.Action == action {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%d events %s", n, action)
		}
	}
	if got := p.metric("ajar_guards_lifted_total"); got != "1" {
		t.Errorf("guards lifted: %s", got)
	}
	p.join(admin, false)
	p.open(admin, "192.0.2.1")
}

// TestStopAnswersWhoWaits: a client that waits for a port hears where it stands, and the plane ends at once.
func TestStopAnswersWhoWaits(t *testing.T) {
	m := newMachine(t, "")
	p := m.serve()
	admin := p.mustLogin("admin", once.FindString(p.stderr.String()))
	h := p.join(admin, false)
	p.policy(admin)
	h.stop()
	r, err := admin.Initiate(t.Context(), client.Initiate{Policy: policy, Asks: []client.Ask{{Target: vm, Number: 22, Source: "192.0.2.1", Duration: time.Hour}}})
	if err != nil {
		t.Fatal(err)
	}
	heard := make(chan client.Request, 1)
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer close(done)
		admin.Wait(ctx, r.ID, func(r client.Request) { //nolint:errcheck // it goes on until it is told to stop
			select {
			case heard <- r:
			default:
			}
		})
	}()
	until(t, func() bool { return len(heard) > 0 }) // there is trouble to tell of, and then it waits again
	if got := <-heard; len(got.Leases) != 1 || got.Leases[0].State != ajar.Opening || got.Leases[0].Trouble == "" {
		t.Errorf("heard: %+v", got)
	}
	p.end() // one that waits for who waits gives up after a while, and says so
	cancel()
	<-done
}
