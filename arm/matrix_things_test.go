package arm

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net/netip"
	"time"

	"github.com/google/uuid"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/ajartest"
	"github.com/ajar-access/ajar/authn"
	"github.com/ajar-access/ajar/broker"
	"github.com/ajar-access/ajar/rbac"
)

// What the matrix's plane has: two subscriptions, in a management group each; two resource groups in the first; a machine
// with a policy, a request and a lease in each place, so that every list has something beside what a caller may read.
const (
	subOne, subTwo = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"

	inOne, inTwo ajar.ID = "/subscriptions/" + subOne, "/subscriptions/" + subTwo
	corp, others ajar.ID = "/providers/Microsoft.Management/managementGroups/" + "corp", "/providers/Microsoft.Management/managementGroups/" + "others"
	lab, yard    ajar.ID = inOne + "/resourceGroups/lab", inOne + "/resourceGroups/yard"
	far          ajar.ID = inTwo + "/resourceGroups/far"

	vmOne, vmTwo   ajar.ID = lab + machinesAt + "vm-one", lab + machinesAt + "vm-two"
	vmYard, vmFar  ajar.ID = yard + machinesAt + "vm-yard", far + machinesAt + "vm-far"
	polOne, polTwo ajar.ID = lab + policiesAt + "default", lab + policiesAt + "second"
	polYard        ajar.ID = yard + "/providers/Microsoft.Security/locations/northeurope/jitNetworkAccessPolicies/third"
	polFar         ajar.ID = far + policiesAt + "fourth"

	machinesAt = "/providers/Microsoft.Compute/virtualMachines/"
	policiesAt = "/providers/Microsoft.Security/locations/westeurope/jitNetworkAccessPolicies/"
)

// groupsCover is what lies in which management group.
var groupsCover = map[ajar.ID]ajar.ID{corp: inOne, others: inTwo}

// matrixScopes are where the callers hold their roles. Around any thing of the plane some are above, at, below and beside.
var matrixScopes = []struct {
	name   string
	scopes []ajar.ID
}{
	{"at the root", []ajar.ID{ajar.Root}},
	{"at the management group", []ajar.ID{corp}},
	{"at the subscription", []ajar.ID{inOne}},
	{"at the resource group", []ajar.ID{lab}},
	{"at the policy", []ajar.ID{polOne}},
	{"at the machine", []ajar.ID{vmOne}},
	{"below the machine and the policy", []ajar.ID{vmOne + "/extensions/agent", polOne + "/requests/" + plantedID}},
	{"at the machine's facets", []ajar.ID{broker.AsInterface.ID(vmOne), broker.AsSecurityGroup.ID(vmOne), broker.AsPublicAddress.ID(vmOne)}},
	{"at the neighbours", []ajar.ID{polTwo, vmTwo}},
	{"at the other group", []ajar.ID{yard}},
	{"in another management group", []ajar.ID{others, inTwo}},
}

const plantedID = "7d1f4c1e-50aa-4c4e-8d3a-5f1c1b3a0a01"

// matrixThings are what was planted and has a name of its own making.
type matrixThings struct {
	asker, spare ajar.Caller
	idle         ajar.Caller // who holds nothing
	pem          string
}

// place is where a machine lies, with its policy and what was planted there.
type place struct {
	machine, policy ajar.ID
	location        string
	request, lease  string
}

var allPlaces = []place{
	{vmOne, polOne, "westeurope", "7d1f4c1e-50aa-4c4e-8d3a-000000000001", "7d1f4c1e-50aa-4c4e-8d3a-100000000001"},
	{vmTwo, polTwo, "westeurope", "7d1f4c1e-50aa-4c4e-8d3a-000000000002", "7d1f4c1e-50aa-4c4e-8d3a-100000000002"},
	{vmYard, polYard, "northeurope", "7d1f4c1e-50aa-4c4e-8d3a-000000000003", "7d1f4c1e-50aa-4c4e-8d3a-100000000003"},
	{vmFar, polFar, "westeurope", "7d1f4c1e-50aa-4c4e-8d3a-000000000004", "7d1f4c1e-50aa-4c4e-8d3a-100000000004"},
}

// Planted rights.
const (
	plantedRole       = "7d1f4c1e-50aa-4c4e-8d3a-200000000001"
	plantedAssignment = "7d1f4c1e-50aa-4c4e-8d3a-200000000002"
	plantedDeny       = "7d1f4c1e-50aa-4c4e-8d3a-200000000003"
	otherAssignment   = "7d1f4c1e-50aa-4c4e-8d3a-200000000004"
	otherDeny         = "7d1f4c1e-50aa-4c4e-8d3a-200000000005"
	rootAssignment    = "7d1f4c1e-50aa-4c4e-8d3a-200000000006"
	rootDeny          = "7d1f4c1e-50aa-4c4e-8d3a-200000000007"
)

var assigned = ajartest.At

// plant makes the plane's things.
func (m *matrix) plant() {
	m.surface.Export = func(_ context.Context, _ int64, w io.Writer) error {
		_, err := io.WriteString(w, "{}\n")
		return err
	}
	m.things.asker = m.User("asker", assigned("Just-in-time Requester", ajar.Root))
	m.things.spare = m.User("spare")
	m.things.idle = m.User("idle")
	m.things.pem = certificatePEM()
	m.must(201, "POST", "/ajar/v1/principals", `{"kind":"User","name":"person","password":"`+password+`"}`)
	m.Put(
		&ajar.ManagementGroup{ID: corp, Parent: ajar.Root, Subscriptions: []string{subOne}},
		&ajar.ManagementGroup{ID: others, Parent: ajar.Root, Subscriptions: []string{subTwo}},
		&ajar.Principal{ID: ajar.PrincipalID(uuid.NewString()), Kind: ajar.Group, Name: "team", Created: m.Now()},
		m.assignment(plantedAssignment, m.things.spare.Principal, lab), m.assignment(otherAssignment, m.things.spare.Principal, yard),
		m.assignment(rootAssignment, m.things.spare.Principal, ajar.Root),
		m.role(plantedRole, "planted"), m.deny(plantedDeny, lab), m.deny(otherDeny, yard), m.deny(rootDeny, ajar.Root),
	)
	for _, p := range allPlaces {
		m.settle(p)
		r, l := m.asked(p, p.request, m.things.asker), m.leased(p, p.lease, p.request, m.things.asker)
		r.State, r.Needs, r.Decided, r.Leases = ajar.Approved, 0, m.Now(), []ajar.LeaseID{l.ID}
		m.Put(r, l)
	}
}

func (m *matrix) role(id, name string) *ajar.RoleDefinition {
	return &ajar.RoleDefinition{ID: ajar.RoleID(id), Name: name, Permissions: []ajar.Permission{{Actions: []ajar.Action{"a/read"}}}, AssignableScopes: []ajar.ID{lab}, Created: m.Now()}
}

func (m *matrix) assignment(id string, who ajar.PrincipalID, at ajar.ID) *ajar.RoleAssignment {
	return &ajar.RoleAssignment{ID: id, Principal: who, PrincipalKind: ajar.User, Role: rbac.VMLocalUserLogin, Scope: at, Created: m.Now()}
}

func (m *matrix) deny(id string, at ajar.ID) *ajar.DenyAssignment {
	return &ajar.DenyAssignment{ID: id, Name: id, Scope: at, Principals: []ajar.PrincipalID{m.things.spare.Principal}, Permissions: []ajar.Permission{{Actions: []ajar.Action{"nothing/at/all"}}}, Created: m.Now()}
}

// settle makes a machine with a host, and its policy, whatever is left of them.
func (m *matrix) settle(p place) {
	m.t.Helper()
	again := func(tx ajar.Tx, kind ajar.DocKind, key string, d ajar.Doc) error {
		if err := tx.Delete(kind, key); err != nil && !errors.Is(err, ajar.NotFound) {
			return err
		}
		return tx.Put(d)
	}
	ep := ajar.EndpointID(p.machine.Name())
	err := m.Store.Update(context.Background(), func(tx ajar.Tx) error {
		return errors.Join(
			again(tx, ajar.KindTarget, p.machine.Key(), &ajar.Target{ID: p.machine, Location: p.location, OS: "Linux", Source: "person", Endpoints: []ajar.EndpointID{ep}, Created: m.Now(),
				Addresses: []netip.Addr{netip.MustParseAddr("20.10.5.7")}}),
			again(tx, ajar.KindEndpoint, string(ep), &ajar.Endpoint{ID: ep, Provider: ajartest.Provider, Target: p.machine, Address: p.machine.Name()}),
		)
	})
	if err != nil {
		m.t.Fatal(err)
	}
	ports := []ajar.PortPolicy{{Number: 22, Protocol: ajar.TCP, Any: true, MaxDuration: 3 * time.Hour}}
	pol := ajar.Policy{ID: p.policy, Kind: "Basic", Machines: []ajar.MachinePolicy{{Target: p.machine, Ports: ports}}}
	if _, err := m.Broker.PutPolicy(context.Background(), ajar.Plane, pol, broker.PutOptions{}); err != nil {
		m.t.Fatal(err)
	}
}

// asked is a request that waits for approval.
func (m *matrix) asked(p place, id string, by ajar.Caller) *ajar.Request {
	return &ajar.Request{
		ID: ajar.RequestID(id), Policy: p.policy, Requester: by.Principal, Name: by.Name, State: ajar.Pending, Needs: 1, Created: m.Now(), Deadline: m.Now().Add(time.Hour),
		Asks: []ajar.Ask{{Target: p.machine, Port: ajar.Port{Number: 22, Protocol: ajar.TCP}, Sources: []netip.Prefix{netip.MustParsePrefix("203.0.113.7/32")}, Duration: time.Hour, Shown: "203.0.113.7"}},
	}
}

// leased is what an approved request opened.
func (m *matrix) leased(p place, id, request string, by ajar.Caller) *ajar.Lease {
	return &ajar.Lease{
		ID: ajar.LeaseID(id), Request: ajar.RequestID(request), Policy: p.policy, Target: p.machine, Endpoint: ajar.EndpointID(p.machine.Name()), Requester: by.Principal, Name: by.Name,
		Flow: ajar.Flow{Port: ajar.Port{Number: 22, Protocol: ajar.TCP}}, Sources: []netip.Prefix{netip.MustParsePrefix("203.0.113.7/32")},
		Start: m.Now(), End: m.Now().Add(time.Hour), Max: 3 * time.Hour, State: ajar.Opening,
	}
}

// The following are row.fresh of rows.

func theirRequest(m *matrix, _ *matrixCaller) map[string]string { return m.waiting(m.things.asker) }
func ownRequest(m *matrix, c *matrixCaller) map[string]string   { return m.waiting(c.who) }
func theirLease(m *matrix, _ *matrixCaller) map[string]string   { return m.opened(m.things.asker) }
func ownLease(m *matrix, c *matrixCaller) map[string]string     { return m.opened(c.who) }

func (m *matrix) waiting(by ajar.Caller) map[string]string {
	id := uuid.NewString()
	m.Put(m.asked(allPlaces[0], id, by))
	return map[string]string{"id": id}
}

// opened gives a request with one live lease: as {lease} and {id}, which rows about leases swap.
func (m *matrix) opened(by ajar.Caller) map[string]string {
	r, l := m.asked(allPlaces[0], uuid.NewString(), by), m.leased(allPlaces[0], uuid.NewString(), "", by)
	r.State, r.Needs, r.Decided, r.Leases, l.Request = ajar.Approved, 0, m.Now(), []ajar.LeaseID{l.ID}, r.ID
	m.Put(r, l)
	return map[string]string{"id": string(r.ID), "lease": string(l.ID)}
}

// asLease is fresh with the lease's id in the place of the request's.
func asLease(fresh func(*matrix, *matrixCaller) map[string]string) func(*matrix, *matrixCaller) map[string]string {
	return func(m *matrix, c *matrixCaller) map[string]string {
		return map[string]string{"id": fresh(m, c)["lease"]}
	}
}

func wholePlace(m *matrix, _ *matrixCaller) map[string]string {
	m.settle(allPlaces[0])
	return nil
}

func oneself(_ *matrix, c *matrixCaller) map[string]string {
	return map[string]string{"p": string(c.who.Principal)}
}

func ownToken(m *matrix, c *matrixCaller) map[string]string { return m.another(c.who) }

func theirToken(m *matrix, _ *matrixCaller) map[string]string {
	return map[string]string{"id": m.another(m.things.idle)["id"]}
}

// another is one more token of somebody's: as {token}, which the call is made with, and its {id}.
func (m *matrix) another(who ajar.Caller) map[string]string {
	text, hash := authn.NewToken()
	m.Put(&ajar.Token{Hash: hash, Principal: who.Principal, Name: "test", Created: m.Now(), Expires: m.Now().Add(time.Hour), AuthTime: m.Now()})
	return map[string]string{"id": authn.ShortHash(hash), "token": text}
}

func somebody(kind ajar.PrincipalKind) func(*matrix, *matrixCaller) map[string]string {
	return func(m *matrix, _ *matrixCaller) map[string]string {
		id := uuid.NewString()
		m.Put(&ajar.Principal{ID: ajar.PrincipalID(id), Kind: kind, Name: "made " + id[:13], Created: m.Now()})
		return map[string]string{"p": id}
	}
}

// member is a group with a member of its own.
func member(m *matrix, c *matrixCaller) map[string]string {
	id := uuid.NewString()
	m.Put(&ajar.Principal{ID: ajar.PrincipalID(id), Kind: ajar.Group, Name: "group " + id[:13], Members: []ajar.PrincipalID{m.things.idle.Principal}, Created: m.Now()})
	return map[string]string{"p": id}
}

func credential(kind ajar.CredentialKind) func(*matrix, *matrixCaller) map[string]string {
	return func(m *matrix, c *matrixCaller) map[string]string {
		v := somebody(ajar.ServicePrincipal)(m, c)
		v["id"] = uuid.NewString()
		block, _ := pem.Decode([]byte(m.things.pem))
		m.Put(&ajar.Credential{ID: v["id"], Principal: ajar.PrincipalID(v["p"]), Kind: kind, Hash: v["id"], Cert: block.Bytes, Created: m.Now()})
		return v
	}
}

func newCertificate(m *matrix, c *matrixCaller) map[string]string {
	v := somebody(ajar.ServicePrincipal)(m, c)
	text, err := json.Marshal(m.things.pem)
	if err != nil {
		m.t.Fatal(err)
	}
	v["pem"] = string(text)
	return v
}

func freshRole(m *matrix, _ *matrixCaller) map[string]string {
	id := uuid.NewString()
	m.Put(m.role(id, "role "+id[:13]))
	return map[string]string{"id": id}
}

func freshAssignment(at ajar.ID) func(*matrix, *matrixCaller) map[string]string {
	return func(m *matrix, c *matrixCaller) map[string]string {
		id, p := uuid.NewString(), somebody(ajar.User)(m, c)["p"]
		m.Put(m.assignment(id, ajar.PrincipalID(p), at))
		return map[string]string{"id": id}
	}
}

func freshAssignee(m *matrix, c *matrixCaller) map[string]string {
	return map[string]string{"id": uuid.NewString(), "p": somebody(ajar.User)(m, c)["p"]}
}

func freshDeny(m *matrix, _ *matrixCaller) map[string]string {
	id := uuid.NewString()
	m.Put(m.deny(id, lab))
	return map[string]string{"id": id}
}

func freshGroup(m *matrix, _ *matrixCaller) map[string]string {
	name := "made-" + uuid.NewString()[:13]
	m.Put(&ajar.ManagementGroup{ID: ajar.ID("/providers/Microsoft.Management/managementGroups/" + name), Parent: ajar.Root})
	return map[string]string{"name": name}
}

// certificatePEM is a certificate that a program could sign in with.
func certificatePEM() string {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	t := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "program"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(1000 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}
