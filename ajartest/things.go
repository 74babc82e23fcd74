package ajartest

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/broker"
	"github.com/ajar-access/ajar/rbac"
)

// Group is the scope that all of a plane's machines and policies lie in, unless they are named by full ID.
const Group ajar.ID = "/subscriptions/11111111-1111-4111-8111-111111111111/resourceGroups/lab"

// Role is a role at a scope, for User.
type Role struct {
	Name  string
	Scope ajar.ID
}

// At is a role, by its name, at a scope.
func At(name string, scope ajar.ID) Role { return Role{name, scope} }

// Put writes documents as they are, past the broker.
func (p *Plane) Put(docs ...ajar.Doc) {
	p.T.Helper()
	err := p.Store.Update(context.Background(), func(tx ajar.Tx) error {
		for _, d := range docs {
			if err := tx.Put(d); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		p.T.Fatal(err)
	}
}

// roles writes the built-in roles that are not there yet.
func (p *Plane) roles() {
	p.T.Helper()
	for _, r := range rbac.BuiltIn() {
		err := p.Store.Update(context.Background(), func(tx ajar.Tx) error {
			c := r
			if err := tx.Put(&c); !errors.Is(err, ajar.Conflict) {
				return err
			}
			return nil
		})
		if err != nil {
			p.T.Fatal(err)
		}
	}
}

// User makes a person, who calls from 198.51.100.1.
func (p *Plane) User(name string, roles ...Role) ajar.Caller {
	p.T.Helper()
	who := ajar.Caller{Principal: ajar.PrincipalID(uuid.NewString()), Name: name, From: netip.MustParseAddr("198.51.100.1"), Via: "test"}
	p.Put(&ajar.Principal{ID: who.Principal, Kind: ajar.User, Name: name, Created: p.Now()})
	p.Assign(who, roles...)
	return who
}

// Admin makes an Owner of everything.
func (p *Plane) Admin() ajar.Caller {
	p.T.Helper()
	return p.User("admin", At("Owner", ajar.Root))
}

// Assign gives roles to a principal.
func (p *Plane) Assign(who ajar.Caller, roles ...Role) {
	p.T.Helper()
	for _, r := range roles {
		id := ajar.RoleID("")
		for _, b := range rbac.BuiltIn() {
			if strings.EqualFold(b.Name, r.Name) {
				id = b.ID
			}
		}
		if id == "" {
			p.T.Fatalf("there is no role %q", r.Name)
		}
		p.Put(&ajar.RoleAssignment{ID: uuid.NewString(), Principal: who.Principal, PrincipalKind: ajar.User, Role: id, Scope: r.Scope, Created: p.Now()})
	}
}

// MachineID is the ID of a machine of that name.
func MachineID(name string) ajar.ID {
	return Group + "/providers/Microsoft.Compute/virtualMachines/" + ajar.ID(name)
}

// PolicyID is the ID of a policy of that name.
func PolicyID(name string) ajar.ID {
	return Group + "/providers/Microsoft.Security/locations/westeurope/jitNetworkAccessPolicies/" + ajar.ID(name)
}

// Endpoint is the endpoint of a machine that Machine made.
func Endpoint(machine ajar.ID) ajar.EndpointID { return ajar.EndpointID(machine.Name()) }

// Machine makes a target whose host has joined.
func (p *Plane) Machine(name string) ajar.ID {
	p.T.Helper()
	id := MachineID(name)
	p.Put(
		&ajar.Target{ID: id, Location: "westeurope", OS: "Linux", Source: "person", Endpoints: []ajar.EndpointID{Endpoint(id)}, Created: p.Now()},
		&ajar.Endpoint{ID: Endpoint(id), Provider: Provider, Target: id, Address: name},
	)
	p.Loop.Wake(Endpoint(id))
	return id
}

// Policy puts a policy of that name that offers port 22 of the machines to everybody for up to three hours. The verb is
// the plane's own.
func (p *Plane) Policy(name string, machines ...ajar.ID) ajar.ID {
	p.T.Helper()
	return p.PolicyOf(name, []ajar.PortPolicy{{Number: 22, Protocol: ajar.TCP, Any: true, MaxDuration: 3 * time.Hour}}, machines...)
}

// PolicyOf puts a policy with those ports.
func (p *Plane) PolicyOf(name string, ports []ajar.PortPolicy, machines ...ajar.ID) ajar.ID {
	p.T.Helper()
	pol := ajar.Policy{ID: PolicyID(name), Kind: "Basic"}
	for _, m := range machines {
		pol.Machines = append(pol.Machines, ajar.MachinePolicy{Target: m, Ports: ports})
	}
	if _, err := p.Broker.PutPolicy(context.Background(), ajar.Plane, pol, broker.PutOptions{}); err != nil {
		p.T.Fatal(err)
	}
	return pol.ID
}

// Open asks for a port of a machine from a source, for d.
func (p *Plane) Open(who ajar.Caller, policy, machine ajar.ID, port uint16, source string, d time.Duration) *broker.Outcome {
	p.T.Helper()
	out, err := p.Initiate(who, policy, machine, port, source, d)
	if err != nil {
		p.T.Fatal(err)
	}
	return out
}

// Initiate is Open for requests that may be refused.
func (p *Plane) Initiate(who ajar.Caller, policy, machine ajar.ID, port uint16, source string, d time.Duration) (*broker.Outcome, error) {
	from, err := ajar.ParsePrefix(source)
	if err != nil {
		return nil, err
	}
	return p.Broker.Initiate(context.Background(), who, ajar.Request{
		Policy: policy, Justification: "test",
		Asks: []ajar.Ask{{Target: machine, Port: ajar.Port{Number: port}, Sources: from, Duration: d, Shown: source}},
	})
}

// Lease reads a lease.
func (p *Plane) Lease(id ajar.LeaseID) *ajar.Lease {
	p.T.Helper()
	return Get[ajar.Lease](p, string(id))
}

// Get reads a document that must be there.
func Get[D any, P interface {
	*D
	ajar.Doc
}](p *Plane, key string) (d P) {
	p.T.Helper()
	err := p.Store.View(context.Background(), func(tx ajar.Tx) (err error) {
		d, err = ajar.Get[D, P](tx, key)
		return err
	})
	if err != nil {
		p.T.Fatal(err)
	}
	return d
}

// Events reads the log's events of one action, the oldest first.
func (p *Plane) Events(a ajar.Action) (es []*ajar.Event) {
	p.T.Helper()
	err := p.Store.View(context.Background(), func(tx ajar.Tx) (err error) {
		es, err = tx.Events(ajar.EventFilter{Action: a, Ascending: true, Limit: 1000})
		return err
	})
	if err != nil {
		p.T.Fatal(err)
	}
	return es
}
