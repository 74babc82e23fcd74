package machines

import (
	"context"
	"strings"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/arm/rest"
	"github.com/ajar-access/ajar/broker"
)

func (s room) networkRoutes() (routes []rest.Route) {
	const sub, in = "/subscriptions/{s}", "/providers/microsoft.network"
	const group = sub + "/resourcegroups/{g}"
	for _, k := range []struct {
		path, what          string
		list, get           rest.Operation
		read, write, delete ajar.Action
		facet               broker.Facet
	}{
		{"/networkinterfaces", "network interface", rest.Op(200, s.listInterfaces), rest.Op(200, s.getInterface), ajar.InterfaceRead, ajar.InterfaceWrite, ajar.InterfaceDelete, broker.AsInterface},
		{"/networksecuritygroups", "network security group", rest.Op(200, s.listSecurityGroups), rest.Op(200, s.getSecurityGroup), ajar.SecurityGroupRead, ajar.SecurityGroupWrite, ajar.SecurityGroupDelete, broker.AsSecurityGroup},
		{"/publicipaddresses", "public address", rest.Op(200, s.listPublicAddresses), rest.Op(200, s.getPublicAddress), ajar.PublicAddressRead, ajar.PublicAddressWrite, ajar.PublicAddressDelete, broker.AsPublicAddress},
	} {
		one := group + in + k.path + "/{name}"
		routes = append(routes,
			rest.Get(sub+in+k.path, rest.Beside, k.list, "Lists every machine's "+k.what+" in a subscription.", k.read, "$top"),
			rest.Get(group+in+k.path, rest.Beside, k.list, "Lists every machine's "+k.what+" in a resource group.", k.read, "$top"),
			rest.Get(one, rest.Beside, k.get, "Shows a machine's "+k.what+".", k.read),
			rest.Put(one, rest.Beside, rest.Op(409, s.declineView(k.facet, k.write)), "Refused: a "+k.what+" is shown as its machine has it.", k.write),
			rest.Patch(one, rest.Beside, rest.Op(409, s.declineView(k.facet, k.write)), "Refused: a "+k.what+" is shown as its machine has it.", k.write),
			rest.Delete(one, rest.Beside, rest.Op(409, s.declineView(k.facet, k.delete)), "Refused: a "+k.what+" goes with its machine.", k.delete),
		)
	}
	const rules = group + in + "/networksecuritygroups/{name}/securityrules"
	return append(routes,
		rest.Get(rules, rest.Beside, rest.Op(200, s.listSecurityRules), "Lists the rules of a network security group.", ajar.SecurityRuleRead),
		rest.Get(rules+"/{rule}", rest.Beside, rest.Op(200, s.getSecurityRule), "Shows a rule of a network security group.", ajar.SecurityRuleRead),
		rest.Put(rules+"/{rule}", rest.Beside, rest.Op(409, s.declineView(broker.AsSecurityRule, ajar.SecurityRuleWrite)), "Refused: rules come from policies and requests.", ajar.SecurityRuleWrite),
		rest.Delete(rules+"/{rule}", rest.Beside, rest.Op(409, s.declineView(broker.AsSecurityRule, ajar.SecurityRuleDelete)), "Refused: rules go with policies and requests.", ajar.SecurityRuleDelete),
	)
}

// networkResource is any resource of Microsoft.Network.
type networkResource[P any] struct {
	ID         ajar.ID      `json:"id"`
	Name       string       `json:"name"`
	Type       string       `json:"type"`
	Location   string       `json:"location"`
	SKU        *resourceSKU `json:"sku,omitempty"`
	Properties P            `json:"properties"`
}

type resourceSKU struct {
	Name string `json:"name"`
	Tier string `json:"tier"`
}

type reference struct {
	ID ajar.ID `json:"id"`
}

type (
	networkInterface     = networkResource[interfaceProperties]
	networkSecurityGroup = networkResource[securityGroupProperties]
	publicAddress        = networkResource[addressProperties]
)

type interfaceProperties struct {
	ProvisioningState string            `json:"provisioningState"`
	ResourceGUID      string            `json:"resourceGuid"`
	IPConfigurations  []ipConfiguration `json:"ipConfigurations"`
	DNSSettings       dnsSettings       `json:"dnsSettings"`
	Accelerated       bool              `json:"enableAcceleratedNetworking"`
	Forwarding        bool              `json:"enableIPForwarding"`
	SecurityGroup     *reference        `json:"networkSecurityGroup,omitempty"`
	Primary           bool              `json:"primary"`
	Machine           reference         `json:"virtualMachine"`
	NICType           string            `json:"nicType"`
}

type dnsSettings struct {
	Servers []string `json:"dnsServers"`
	Applied []string `json:"appliedDnsServers"`
}

type ipConfiguration struct {
	ID         ajar.ID      `json:"id"`
	Name       string       `json:"name"`
	Type       string       `json:"type"`
	Properties ipProperties `json:"properties"`
}

type ipProperties struct {
	ProvisioningState string     `json:"provisioningState"`
	PrivateAddress    string     `json:"privateIPAddress"`
	Allocation        string     `json:"privateIPAllocationMethod"`
	Version           string     `json:"privateIPAddressVersion"`
	Primary           bool       `json:"primary"`
	PublicAddress     *reference `json:"publicIPAddress,omitempty"`
}

type addressProperties struct {
	ProvisioningState string    `json:"provisioningState"`
	ResourceGUID      string    `json:"resourceGuid"`
	Address           string    `json:"ipAddress"`
	Version           string    `json:"publicIPAddressVersion"`
	Allocation        string    `json:"publicIPAllocationMethod"`
	IdleMinutes       int       `json:"idleTimeoutInMinutes"`
	Configuration     reference `json:"ipConfiguration"`
}

// facetOf is a machine's facet as a resource of Microsoft.Network.
func facetOf[P any](f broker.Facet, m *broker.Machine, p P) networkResource[P] {
	id := f.ID(m.ID)
	return networkResource[P]{ID: id, Name: id.Name(), Type: f.Type(), Location: broker.PlainLocation(m.Location), Properties: p}
}

// configurationID is the n-th address of a machine's interface.
func configurationID(m *broker.Machine, name string) ajar.ID {
	return broker.AsInterface.ID(m.ID) + "/ipConfigurations/" + ajar.ID(name)
}

func showInterface(m *broker.Machine) networkInterface {
	own, public := addressesOf(m)
	p := interfaceProperties{
		ProvisioningState: "Succeeded", ResourceGUID: guidOf(m.ID.Key(), "nic"), IPConfigurations: []ipConfiguration{}, Primary: true, NICType: "Standard",
		DNSSettings: dnsSettings{[]string{}, []string{}}, Machine: reference{m.ID},
	}
	if len(m.Endpoints) > 0 {
		p.SecurityGroup = &reference{broker.AsSecurityGroup.ID(m.ID)}
	}
	for i, a := range own {
		name := configurationName(i)
		c := ipConfiguration{ID: configurationID(m, name), Name: name, Type: broker.AsInterface.Type() + "/ipConfigurations", Properties: ipProperties{
			ProvisioningState: "Succeeded", PrivateAddress: a.String(), Allocation: "Static", Version: versionOf(a), Primary: i == 0,
		}}
		if i == 0 && public.IsValid() {
			c.Properties.PublicAddress = &reference{broker.AsPublicAddress.ID(m.ID)}
		}
		p.IPConfigurations = append(p.IPConfigurations, c)
	}
	return facetOf(broker.AsInterface, m, p)
}

func showPublicAddress(m *broker.Machine) publicAddress {
	_, public := addressesOf(m)
	b := facetOf(broker.AsPublicAddress, m, addressProperties{
		ProvisioningState: "Succeeded", ResourceGUID: guidOf(m.ID.Key(), "ip"), Address: public.String(), Version: versionOf(public), Allocation: "Static",
		IdleMinutes: 4, Configuration: reference{configurationID(m, configurationName(0))},
	})
	b.SKU = &resourceSKU{"Standard", "Regional"}
	return b
}

func hasSecurityGroup(m *broker.Machine) bool { return len(m.Endpoints) > 0 }

func hasPublicAddress(m *broker.Machine) bool {
	_, public := addressesOf(m)
	return public.IsValid()
}

// listFacets lists the machines at the path's scope as one of their facets.
func listFacets[B any](ctx context.Context, s room, c *rest.Call, f broker.Facet, keep func(*broker.Machine) bool, show func(*broker.Machine) B) (l rest.List[B], err error) {
	look, err := look(c)
	if err != nil {
		return l, err
	}
	look.Keep = keep
	all, next, err := s.Broker.Machines(ctx, c.Who, f, look)
	if err != nil {
		return l, err
	}
	return rest.Each(c, all, next, show), nil
}

// facet is the machine whose facet, or rule of it, the path names.
func (s room) facet(ctx context.Context, c *rest.Call, f broker.Facet, has func(*broker.Machine) bool) (*broker.Machine, error) {
	id, err := facetAt(c, f)
	if err != nil {
		return nil, err
	}
	m, err := s.Broker.Machine(ctx, c.Who, f, id, false)
	if err == nil && has != nil && !has(m) {
		err = notThere(id)
	}
	return m, err
}

func facetAt(c *rest.Call, f broker.Facet) (ajar.ID, error) {
	id, err := inGroup(c, f.Type(), c.Value("name"))
	if rule := c.Value("rule"); rule != "" && err == nil {
		if id, err = ajar.ParseID(string(id) + "/securityRules/" + rule); err != nil {
			err = rest.Coded(ajar.Invalid, "InvalidResourceName", "The resource name '%.100s' is invalid.", rule)
		}
	}
	return id, err
}

// notThere says that a resource is not there, in Azure's words.
func notThere(id ajar.ID) error {
	return rest.Coded(ajar.NotFound, "", "The Resource '%s/%.100s' under resource group '%s' was not found.", id.Type(), id.Name(), id.ResourceGroup())
}

func (s room) listInterfaces(ctx context.Context, c *rest.Call, _ rest.Nothing) (rest.List[networkInterface], error) {
	return listFacets(ctx, s, c, broker.AsInterface, nil, showInterface)
}

func (s room) getInterface(ctx context.Context, c *rest.Call, _ rest.Nothing) (*networkInterface, error) {
	m, err := s.facet(ctx, c, broker.AsInterface, nil)
	if err != nil {
		return nil, err
	}
	b := showInterface(m)
	return &b, nil
}

func (s room) listPublicAddresses(ctx context.Context, c *rest.Call, _ rest.Nothing) (rest.List[publicAddress], error) {
	return listFacets(ctx, s, c, broker.AsPublicAddress, hasPublicAddress, showPublicAddress)
}

func (s room) getPublicAddress(ctx context.Context, c *rest.Call, _ rest.Nothing) (*publicAddress, error) {
	m, err := s.facet(ctx, c, broker.AsPublicAddress, hasPublicAddress)
	if err != nil {
		return nil, err
	}
	b := showPublicAddress(m)
	return &b, nil
}

// declineView refuses to write what is only shown.
func (s room) declineView(f broker.Facet, action ajar.Action) func(context.Context, *rest.Call, rest.Nothing) (rest.Nothing, error) {
	return func(ctx context.Context, c *rest.Call, _ rest.Nothing) (rest.Nothing, error) {
		id, err := facetAt(c, f)
		if err != nil {
			return rest.Nothing{}, err
		}
		what := "'" + id.Name() + "' shows what the plane knows of its machine and cannot be written. "
		if strings.Contains(f.Type(), "SecurityGroups") {
			what += "Ports are closed by a just-in-time policy and opened by a request under it."
		} else {
			what += "A machine's addresses are put with PUT /ajar/v1/target."
		}
		return rest.Nothing{}, s.decline(ctx, c, action, id, what)
	}
}
